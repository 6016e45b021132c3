/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The frames that run, each a root named by its function, file and line. Up to
 * 3.10 a frame is an object, to which the C code that runs it has a reference;
 * then what the interpreter's own frames hold is theirs. Where the interpreter
 * has the stack's depth in a register, the words of the stack are guesses, and
 * count where a reference is missing.
 */
#include "private.h"

enum { MOST_FRAMES = 1 << 20 };

static bool are_objects(const struct ca_builder *builder)
{
	return !ca_has(builder->objects->rt->layout.iframe.previous);
}

/* Calls for each frame of a Python function in a thread, innermost first. */
static void each_frame(struct ca_builder *builder, const struct ca_thread *thread,
		       void (*call)(struct ca_builder *, const struct ca_frame *, const char *name))
{
	struct ca_reader *reader = &builder->readers[0];
	struct ca_loop loop = {0};
	struct ca_frame frame;
	ca_addr at = thread->frame;

	for (int i = 0; at && i < MOST_FRAMES && !ca_loop_closed(&loop, at); i++, at = frame.previous) {
		const char *place;

		if (!ca_frame_read(reader, at, &frame))
			return;
		place = ca_code_place(reader, frame.code, frame.line, &builder->ctx->arena);
		if (place)
			call(builder, &frame,
			     ca_arena_printf(&builder->ctx->arena, "%s%s", place,
					     ca_thread_suffix(builder, thread)));
	}
}

const char *ca_frame_place(struct ca_reader *reader, ca_addr address, struct ca_arena *arena)
{
	struct ca_frame frame;

	return ca_frame_read(reader, address, &frame)
		       ? ca_code_place(reader, frame.code, frame.line, arena)
		       : NULL;
}

/* ---- what frames certainly hold -------------------------------------------- */

/* First member: callbacks get it back from the visitor. */
struct frame_visit {
	struct ca_visitor visitor;
	struct ca_builder *builder;
	const struct ca_frame *frame;
	const char *name;
	bool begun;
};

static void add_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct ca_builder *builder = ((struct frame_visit *)v)->builder;

	if (refs->held != CA_HELD_GC && refs->held != CA_HELD_HIDDEN)
		return;
	for (uint64_t i = 0; i < refs->count; i++)
		ca_root_add(builder, ca_objects_find(builder->objects,
						     ca_load_u64(refs->data + i * refs->stride)));
}

static void no_buffer(struct ca_visitor *v, ca_addr start, uint64_t bytes, enum ca_buffer how)
{
	(void)v;
	(void)start;
	(void)bytes;
	(void)how;
}

static void add_frame(struct ca_builder *builder, const struct ca_frame *frame, const char *name)
{
	struct frame_visit visit = {.visitor = {add_refs, no_buffer}, .builder = builder};

	if (!frame->of_thread)
		return;
	ca_root_begin(builder, CA_ROOT_FRAME, name, frame->address);
	if (are_objects(builder))
		ca_root_add(builder, ca_objects_find(builder->objects, frame->address));
	else
		ca_iframe_traverse(&builder->readers[0], frame->address, &visit.visitor);
}

void ca_graph_add_frames(struct ca_builder *builder, const struct ca_thread *thread)
{
	each_frame(builder, thread, add_frame);
}

/* ---- stacks of unknown depth ------------------------------------------------ */

static void fill_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct frame_visit *visit = (struct frame_visit *)v;
	struct ca_builder *builder = visit->builder;

	if (refs->held != CA_HELD_UNSURE)
		return;
	for (uint64_t i = 0; i < refs->count; i++) {
		ca_node node = ca_objects_find(builder->objects,
					       ca_load_u64(refs->data + i * refs->stride));

		if (!ca_graph_take_missing(builder, node, false))
			continue;
		if (!visit->begun)
			ca_root_begin(builder, CA_ROOT_FRAME,
				      ca_arena_printf(&builder->ctx->arena, CA_LABEL_STACK "%s", visit->name),
				      0);
		visit->begun = true;
		ca_root_add(builder, node);
	}
}

/* A generator's frame is a part of the generator. */
static void fill_frame(struct ca_builder *builder, const struct ca_frame *frame, const char *name)
{
	struct ca_reader *reader = &builder->readers[0];
	struct frame_visit visit = {.visitor = {fill_refs, no_buffer}, .builder = builder, .name = name};
	ca_addr holder = frame->address;
	struct ca_object object;

	if (!are_objects(builder) && frame->of_thread) {
		ca_iframe_traverse(reader, frame->address, &visit.visitor);
		return;
	}
	if (!are_objects(builder))
		holder -= (uint64_t)reader->layout->gen.gi_iframe;
	if (ca_objects_find(builder->objects, holder) && ca_object_read(reader, holder, &object))
		ca_object_traverse(reader, &object, &visit.visitor);
}

void ca_graph_fill_frames(struct ca_builder *builder, const struct ca_thread *thread)
{
	each_frame(builder, thread, fill_frame);
}
