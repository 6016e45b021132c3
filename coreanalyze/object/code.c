/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Code objects, frames and generators: what executes. */
#include "kind.h"

/* No function has so many locals and stack slots. */
enum { MAX_SLOTS = 1 << 24 };

static bool field_u32(const struct ca_reader *reader, ca_addr base, int32_t offset, uint64_t *value)
{
	uint32_t word;

	if (!ca_has(offset) || !ca_image_u32(reader->image, base + offset, &word))
		return false;
	*value = word;
	return true;
}

static uint64_t tuple_length(const struct ca_reader *reader, ca_addr base, int32_t offset)
{
	uint64_t tuple, size;

	if (!ca_image_u64(reader->image, base + offset, &tuple) || !tuple ||
	    !ca_image_u64(reader->image, tuple + reader->layout->var.ob_size, &size))
		return 0;
	return size;
}

/* How many pointers a frame of this code holds behind its fixed part. */
static bool frame_slots(const struct ca_reader *reader, ca_addr code, uint64_t *slots)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t locals, stack, frame;

	if (field_u32(reader, code, layout->code.co_framesize, &frame)) {
		/* 3.12+: in words, the fixed part included */
		uint64_t fixed = layout->iframe.localsplus / 8;

		*slots = frame - fixed;
		return frame >= fixed && *slots <= MAX_SLOTS;
	}
	if (!field_u32(reader, code, layout->code.co_stacksize, &stack))
		return false;
	if (field_u32(reader, code, layout->code.co_nlocalsplus, &locals)) {
		*slots = locals + stack; /* 3.11 */
	} else if (field_u32(reader, code, layout->code.co_nlocals, &locals)) {
		*slots = locals + stack + tuple_length(reader, code, layout->code.co_cellvars) +
			 tuple_length(reader, code, layout->code.co_freevars);
	} else {
		return false;
	}
	return *slots <= MAX_SLOTS;
}

bool ca_code_shape(struct ca_reader *reader, const struct ca_object *object, struct ca_shape *shape)
{
	uint64_t units = object->type->itemsize ? (uint64_t)ca_ob_size(reader, object) : 0;

	if (!ca_var_extent(object, units, &shape->extent))
		return false;
	shape->shallow = (shape->extent + 7) & ~7ull; /* _PyObject_VAR_SIZE() rounds up */
	return true;
}

static void visit_opcache(struct ca_reader *reader, const struct ca_object *object,
			  struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr map = ca_word(object, layout->code.co_opcache_map);
	ca_addr cache = ca_word(object, layout->code.co_opcache);
	uint64_t code = ca_word(object, layout->code.co_code), bytes;

	if (!cache || !ca_image_u64(reader->image, code + layout->var.ob_size, &bytes))
		return;
	ca_visit_buffer(v, map, bytes / 2, 1, CA_BUFFER_COUNTED);
	ca_visit_buffer(v, cache, ca_byte(object, layout->code.co_opcache_size),
			(uint64_t)layout->c.opcache_entry, CA_BUFFER_COUNTED);
}

/* _PyCodeObjectExtra (Include/cpython/code.h): {ce_size, ce_extras[1]}. */
static void visit_extra(struct ca_reader *reader, ca_addr extra, struct ca_visitor *v)
{
	uint64_t count;

	if (extra && ca_image_u64(reader->image, extra, &count) && count >= 1 && count < 4096)
		v->buffer(v, extra, 8 + count * 8, CA_BUFFER_COUNTED);
}

/*
 * 3.12+: what tools of sys.monitoring and tracing keep for each instruction
 * (Python/instrumentation.c). `lines` has more from 3.14 on where a function is
 * so long that its lines' distances need more than a byte.
 */
static void visit_monitoring(struct ca_reader *reader, const struct ca_object *object,
			     struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	const struct {
		int32_t at;
		uint64_t item;
	} parts[] = {
		{layout->monitoring.tools, 1},
		{layout->monitoring.lines, 2},
		{layout->monitoring.line_tools, 1},
		{layout->monitoring.per_instruction_opcodes, 2},
		{layout->monitoring.per_instruction_tools, 1},
	};
	ca_addr data = ca_word(object, layout->code._co_monitoring);
	uint64_t units = (uint64_t)ca_ob_size(reader, object), part;

	ca_visit_buffer(v, data, 1, (uint64_t)layout->monitoring.size, CA_BUFFER_OWNED);
	for (size_t i = 0; data && i < CA_COUNT(parts); i++)
		if (ca_image_u64(reader->image, data + (uint64_t)parts[i].at, &part))
			ca_visit_buffer(v, part, units, parts[i].item, CA_BUFFER_OWNED);
}

/* 3.13+: {size, capacity, executors[]}, one for each hot loop (pycore_optimizer.h). */
static void visit_executors(struct ca_reader *reader, ca_addr executors, struct ca_visitor *v)
{
	const uint8_t *head = executors ? ca_image_at(reader->image, executors, 8) : NULL;

	if (!head)
		return;
	v->buffer(v, executors, 8 + 8ull * ca_load_u32(head + 4), CA_BUFFER_OWNED);
	ca_visit_array(reader, v, executors + 8, ca_load_u32(head), CA_HELD_HIDDEN);
}

/* 3.12+: attributes that were asked for (Include/cpython/code.h: _PyCoCached). */
static void visit_cached(struct ca_reader *reader, ca_addr cached, struct ca_visitor *v)
{
	uint64_t bytes = (uint64_t)reader->layout->co_cached.size;

	ca_visit_buffer(v, cached, 1, bytes, CA_BUFFER_OWNED);
	if (cached)
		ca_visit_array(reader, v, cached, bytes / 8, CA_HELD_HIDDEN);
}

/* Code is not the collector's: no tp_traverse tells of what it has. */
static void visit_members(const struct ca_layout *layout, const struct ca_object *object,
			  struct ca_visitor *v)
{
	const struct {
		int32_t at;
		const char *name;
	} members[] = {
		{layout->code.co_code, "co_code"},
		{layout->code.co_consts, "co_consts"},
		{layout->code.co_names, "co_names"},
		{layout->code.co_varnames, "co_varnames"},
		{layout->code.co_freevars, "co_freevars"},
		{layout->code.co_cellvars, "co_cellvars"},
		{layout->code.co_localsplusnames, "co_localsplusnames"},
		{layout->code.co_localspluskinds, "co_localspluskinds"},
		{layout->code.co_exceptiontable, "co_exceptiontable"},
		{layout->code.co_filename, "co_filename"},
		{layout->code.co_name, "co_name"},
		{layout->code.co_qualname, "co_qualname"},
		{layout->code.co_lnotab, "co_linetable"},
		{layout->code._co_code, "co_code"},
	};

	for (size_t i = 0; i < CA_COUNT(members); i++)
		ca_visit_own(object, members[i].at, 1, CA_HELD_HIDDEN, members[i].name, v);
	ca_visit_own(object, layout->code.co_zombieframe, 1, CA_HELD_WEAK, NULL, v);
}

void ca_code_traverse(struct ca_reader *reader, const struct ca_object *object,
		      struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t units = (uint64_t)ca_ob_size(reader, object);

	visit_members(layout, object, v);
	visit_extra(reader, ca_word(object, layout->code.co_extra), v);
	ca_visit_buffer(v, ca_word(object, layout->code.co_cell2arg),
			tuple_length(reader, object->address, layout->code.co_cellvars), 8,
			CA_BUFFER_COUNTED);
	ca_visit_buffer(v, ca_word(object, layout->code._co_linearray), units,
			ca_byte(object, layout->code._co_linearray_entry_size), CA_BUFFER_OWNED);
	if (ca_has(layout->code.co_opcache))
		visit_opcache(reader, object, v);
	visit_monitoring(reader, object, v);
	visit_executors(reader, ca_word(object, layout->code.co_executors), v);
	visit_cached(reader, ca_word(object, layout->code._co_cached), v);
}

bool ca_frame_shape(struct ca_reader *reader, const struct ca_object *object,
		    struct ca_shape *shape)
{
	const struct ca_layout *layout = reader->layout;
	bool has_interpreter_frame = ca_has(layout->frame.f_frame);
	uint64_t code = 0, slots;

	/* From 3.11 on there is an itemsize, but no ob_size (Objects/frameobject.c). */
	shape->extent = object->type->basicsize;
	if (!has_interpreter_frame &&
	    !ca_var_extent(object, (uint64_t)ca_ob_size(reader, object), &shape->extent))
		return false;
	if (has_interpreter_frame)
		ca_image_u64(reader->image,
			     ca_word(object, layout->frame.f_frame) + layout->iframe.code, &code);
	else
		code = ca_word(object, layout->frame.f_code);
	shape->slack = UINT32_MAX; /* frames are reused for code that needs less */
	shape->shallow = shape->extent;
	if (!frame_slots(reader, code & ~(uint64_t)layout->c.stackref_tags, &slots))
		return true;
	shape->shallow = has_interpreter_frame
				 ? layout->frame._f_frame_data + layout->iframe.localsplus + slots * 8
				 : layout->frame.size + (slots - 1) * 8;
	if (has_interpreter_frame)
		shape->extent = shape->shallow;
	return true;
}

bool ca_gen_shape(struct ca_reader *reader, const struct ca_object *object, struct ca_shape *shape)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t code, slots;

	shape->extent = shape->shallow = object->type->basicsize;
	if (!ca_has(layout->gen.gi_iframe))
		return true; /* up to 3.10 the frame is an object of its own */
	code = ca_word(object, ca_has(layout->gen.gi_code)
				       ? layout->gen.gi_code
				       : layout->gen.gi_iframe + layout->iframe.code);
	if (!frame_slots(reader, code & ~(uint64_t)layout->c.stackref_tags, &slots))
		return true;
	shape->extent = layout->gen.gi_iframe + layout->iframe.localsplus + slots * 8;
	shape->shallow = shape->extent;
	shape->slack = 16;
	return true;
}

/* The exception that it handles: {exc_value, previous} (3.11+), before {type, value, traceback, ...}. */
static void visit_exc_state(const struct ca_layout *layout, const struct ca_object *object,
			    struct ca_visitor *v)
{
	int32_t end = ca_has(layout->gen.gi_origin_or_finalizer) ? layout->gen.gi_origin_or_finalizer
								 : layout->gen.size;
	int32_t words = (end - layout->gen.gi_exc_state) / 8 - 1; /* the last links to the next state */

	if (words > 0 && words <= 4)
		ca_visit_own(object, layout->gen.gi_exc_state, (uint64_t)words, CA_HELD_GC,
			     "gi_exc_state", v);
}

void ca_gen_traverse(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	int32_t last = layout->gen.gi_origin_or_finalizer;
	bool is_coroutine = ca_type_is(object->type, "coroutine");
	bool cleared = ca_has(layout->gen.gi_frame_state) &&
		       (int8_t)ca_byte(object, layout->gen.gi_frame_state) >= layout->c.gen_cleared;
	ca_addr frame = object->address + (uint64_t)layout->gen.gi_iframe;

	ca_visit_own(object, layout->gen.gi_frame, 1, CA_HELD_GC, "gi_frame", v);
	ca_visit_own(object, layout->gen.gi_code, 1, CA_HELD_GC, "gi_code", v);
	ca_visit_own(object, layout->gen.gi_name, 1, CA_HELD_GC, "__name__", v);
	ca_visit_own(object, layout->gen.gi_qualname, 1, CA_HELD_GC, "__qualname__", v);
	visit_exc_state(layout, object, v);
	/* A coroutine's origin is passed by, an async generator's finalizer is not; others leave it unset. */
	if (is_coroutine)
		ca_visit_own(object, last, 1, CA_HELD_HIDDEN, "cr_origin", v);
	else if (ca_type_is(object->type, "async_generator"))
		ca_visit_own(object, last, 1, CA_HELD_GC, NULL, v);
	if (!ca_has(layout->gen.gi_iframe))
		return;
	if (!cleared)
		ca_visit_iframe(reader, frame, CA_HELD_GC, v);
	else if (!ca_has(layout->gen.gi_code))
		ca_visit_iframe_code(reader, frame, v);
}
