/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The frames that run, each a root named by its function, file and line. Up to
 * 3.10 a frame is an object, to which the C code that runs it has a reference;
 * then what the interpreter's own frames hold is theirs.
 */
#include "private.h"

enum { MOST_FRAMES = 1 << 20, MOST_SLOTS = 1 << 16 };

struct frame {
	ca_addr address, previous, code;
	int line;
	bool of_thread; /* no generator's: that holds what is in its frame */
};

static uint64_t word_at(const struct ca_image *image, ca_addr base, int32_t offset)
{
	uint64_t word = 0;

	if (ca_has(offset))
		ca_image_u64(image, base + (uint64_t)offset, &word);
	return word;
}

/* The interpreter's own, 3.11+. */
static void read_iframe(struct ca_reader *reader, struct frame *frame)
{
	enum { OWNED_BY_THREAD = 0 };
	const struct ca_layout *layout = reader->layout;
	const uint8_t *owner = ca_image_at(reader->image, frame->address + (uint64_t)layout->iframe.owner, 1);
	ca_addr start;

	frame->previous = word_at(reader->image, frame->address, layout->iframe.previous);
	frame->code = word_at(reader->image, frame->address, layout->iframe.code) &
		      ~(uint64_t)layout->c.stackref_tags;
	start = frame->code + (uint64_t)layout->code.co_code_adaptive;
	frame->line = ca_code_line(reader, frame->code,
				   word_at(reader->image, frame->address, layout->iframe.instr) - start);
	frame->of_thread = owner && *owner == OWNED_BY_THREAD && frame->line;
}

/* An object, up to 3.10. */
static void read_object(struct ca_reader *reader, struct frame *frame)
{
	const struct ca_layout *layout = reader->layout;
	uint32_t last = 0;

	ca_image_u32(reader->image, frame->address + (uint64_t)layout->frame.f_lasti, &last);
	frame->previous = word_at(reader->image, frame->address, layout->frame.f_back);
	frame->code = word_at(reader->image, frame->address, layout->frame.f_code);
	frame->line = ca_code_line(reader, frame->code,
				   (uint64_t)((int64_t)(int32_t)last * layout->c.lasti_bytes));
	frame->of_thread = !word_at(reader->image, frame->address, layout->frame.f_gen);
}

static void read_frame(struct ca_reader *reader, struct frame *frame)
{
	if (ca_has(reader->layout->iframe.previous))
		read_iframe(reader, frame);
	else
		read_object(reader, frame);
}

const char *ca_frame_place(struct ca_reader *reader, ca_addr address, struct ca_arena *arena)
{
	struct frame frame = {.address = address};

	read_frame(reader, &frame);
	return ca_code_place(reader, frame.code, frame.line, arena);
}

/* Calls for each frame of a thread, innermost first. */
static void each_frame(struct ca_builder *builder, const struct ca_thread *thread,
		       void (*call)(struct ca_builder *, const struct frame *, const char *name))
{
	struct ca_reader *reader = &builder->readers[0];
	struct frame frame = {.address = thread->frame};
	struct ca_loop loop = {0};

	for (int i = 0; frame.address && i < MOST_FRAMES && !ca_loop_closed(&loop, frame.address); i++) {
		read_frame(reader, &frame);

		const char *place = ca_code_place(reader, frame.code, frame.line, &builder->ctx->arena);

		if (place)
			call(builder, &frame,
			     ca_arena_printf(&builder->ctx->arena, "%s%s", place,
					     ca_thread_suffix(builder, thread)));
		frame.address = frame.previous;
	}
}

static void add_frame(struct ca_builder *builder, const struct frame *frame, const char *name)
{
	ca_node node = ca_objects_find(builder->objects, frame->address);

	if (!frame->of_thread || !node)
		return;
	ca_root_begin(builder, CA_ROOT_FRAME, name, frame->address);
	ca_root_add(builder, node);
}

void ca_graph_add_frames(struct ca_builder *builder, const struct ca_thread *thread)
{
	if (!ca_has(builder->objects->rt->layout.iframe.previous))
		each_frame(builder, thread, add_frame);
}

static void fill_frame(struct ca_builder *builder, const struct frame *frame, const char *name)
{
	const struct ca_layout *layout = &builder->objects->rt->layout;
	const struct ca_image *image = builder->objects->image;
	uint32_t locals = 0, stack = 0;

	if (!frame->of_thread)
		return;
	ca_image_u32(image, frame->code + (uint64_t)layout->code.co_nlocalsplus, &locals);
	ca_image_u32(image, frame->code + (uint64_t)layout->code.co_stacksize, &stack);

	uint64_t slots = (uint64_t)locals + stack < MOST_SLOTS ? (uint64_t)locals + stack : MOST_SLOTS;

	ca_graph_fill_words(builder, CA_ROOT_FRAME, name, frame->address,
			    frame->address + (uint64_t)layout->iframe.localsplus + slots * 8);
}

void ca_graph_fill_frames(struct ca_builder *builder, const struct ca_thread *thread)
{
	if (ca_has(builder->objects->rt->layout.iframe.previous))
		each_frame(builder, thread, fill_frame);
}
