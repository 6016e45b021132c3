/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Frames: what they refer to, and where they are. */
#include "kind.h"

/* pycore_stackref.h */
enum { TAG_OWNED = 0, TAG_INT = 3 };
/* pycore_frame.h: enum _frameowner */
enum { OWNED_BY_THREAD = 0 };
/* No function has so many locals and stack slots. */
enum { MAX_SLOTS = 1 << 24 };

static uint64_t word_at(const struct ca_reader *reader, ca_addr base, int32_t offset)
{
	uint64_t word = 0;

	if (ca_has(offset))
		ca_image_u64(reader->image, base + (uint64_t)offset, &word);
	return word;
}

static uint32_t half_at(const struct ca_reader *reader, ca_addr base, int32_t offset)
{
	uint32_t word = 0;

	if (ca_has(offset))
		ca_image_u32(reader->image, base + (uint64_t)offset, &word);
	return word;
}

static ca_addr untagged(const struct ca_reader *reader, uint64_t word)
{
	return word & ~(uint64_t)reader->layout->c.stackref_tags;
}

/* ---- slots ------------------------------------------------------------------ */

/* Slots of a frame, and who names them. */
struct slots {
	const uint8_t *data;
	uint64_t count;
	enum ca_held held;
	enum ca_via via;
	const uint8_t *names; /* NULL: nobody */
};

/*
 * 3.14+: a slot's lowest bits tell whether it owns what it points at, and whether
 * it is a pointer at all.
 */
static void visit_tagged(const struct slots *slots, uint64_t tags, struct ca_visitor *v)
{
	for (uint64_t i = 0; i < slots->count; i++) {
		uint64_t word = ca_load_u64(slots->data + i * 8), pointer = word & ~tags;
		bool owned = (word & tags) == TAG_OWNED;
		struct ca_refs refs = {.data = (const uint8_t *)&pointer,
				       .count = 1,
				       .stride = 8,
				       .held = slots->held,
				       .via = slots->via,
				       .first = i,
				       .names = slots->names ? slots->names + i * 8 : NULL};

		if (!pointer || (word & tags) == TAG_INT)
			continue;
		if (!owned && slots->held != CA_HELD_UNSURE)
			refs.held = slots->held == CA_HELD_GC ? CA_HELD_VISITED : CA_HELD_WEAK;
		v->refs(v, &refs);
	}
}

static void visit_slots(const struct ca_reader *reader, const struct slots *slots,
			struct ca_visitor *v)
{
	uint64_t tags = (uint64_t)reader->layout->c.stackref_tags;

	if (!slots->count)
		return;
	if (tags) {
		visit_tagged(slots, tags, v);
		return;
	}
	v->refs(v, &(struct ca_refs){.data = slots->data,
				     .count = slots->count,
				     .stride = 8,
				     .held = slots->held,
				     .via = slots->via,
				     .names = slots->names,
				     .names_stride = 8});
}

/* A tuple's items, as many as *count says; fewer where it has not so many. */
static const uint8_t *tuple_items(const struct ca_reader *reader, ca_addr tuple, uint64_t *count)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t size = tuple ? word_at(reader, tuple, layout->var.ob_size) : 0, run = 0;
	const uint8_t *items = NULL;

	if (size && size < UINT64_MAX / 8)
		items = ca_image_part(reader->image, tuple + (uint64_t)layout->tuple.ob_item, size * 8, &run);

	if (size > run / 8)
		size = run / 8;
	*count = size;
	return items;
}

/* Locals at slots[0..], each piece named by a tuple; what is left of them has no names. */
static void visit_locals(const struct ca_reader *reader, const uint8_t *data, uint64_t count,
			 const ca_addr *tuples, size_t tuple_count, enum ca_held held,
			 struct ca_visitor *v)
{
	struct slots slots = {.data = data, .held = held, .via = CA_VIA_LOCAL};

	for (size_t i = 0; i < tuple_count && count; i++) {
		slots.names = tuple_items(reader, tuples[i], &slots.count);
		if (slots.count > count)
			slots.count = count;
		visit_slots(reader, &slots, v);
		slots.data += slots.count * 8;
		count -= slots.count;
	}
	slots.names = NULL;
	slots.count = count;
	visit_slots(reader, &slots, v);
}

static void visit_stack(const struct ca_reader *reader, const uint8_t *data, uint64_t count,
			enum ca_held held, struct ca_visitor *v)
{
	visit_slots(reader, &(struct slots){.data = data, .count = count, .held = held,
					    .via = CA_VIA_STACK}, v);
}

static void visit_field(const struct ca_reader *reader, ca_addr base, int32_t offset,
			enum ca_held held, enum ca_via via, const char *name, struct ca_visitor *v)
{
	uint64_t tags = (uint64_t)reader->layout->c.stackref_tags;
	uint64_t word = word_at(reader, base, offset), pointer = word & ~tags;

	if (!pointer || (word & tags) == TAG_INT)
		return;
	if (word & tags)
		held = held == CA_HELD_GC ? CA_HELD_VISITED : CA_HELD_WEAK;
	v->refs(v, &(struct ca_refs){.data = (const uint8_t *)&pointer, .count = 1, .stride = 8,
				     .held = held, .via = via, .name = name});
}

/* ---- 3.11+: the interpreter's frames ----------------------------------------- */

static uint8_t owner_of(const struct ca_reader *reader, ca_addr frame)
{
	const uint8_t *owner = ca_image_at(reader->image, frame + (uint64_t)reader->layout->iframe.owner, 1);

	return owner ? *owner : UINT8_MAX;
}

/* Slots up to the stack pointer; false when the interpreter has it in a register. */
static bool used_slots(const struct ca_reader *reader, ca_addr frame, uint64_t *used)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr first = frame + (uint64_t)layout->iframe.localsplus, top;

	if (!ca_has(layout->iframe.stackpointer)) {
		int32_t stacktop = (int32_t)half_at(reader, frame, layout->iframe.stacktop);

		*used = stacktop > 0 ? (uint64_t)stacktop : 0;
		return stacktop >= 0;
	}
	top = word_at(reader, frame, layout->iframe.stackpointer);
	*used = top > first ? (top - first) / 8 : 0;
	return top >= first;
}

static void visit_frame_slots(struct ca_reader *reader, ca_addr frame, ca_addr code,
			      enum ca_held held, struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr names = word_at(reader, code, layout->code.co_localsplusnames);
	uint64_t locals = half_at(reader, code, layout->code.co_nlocalsplus);
	uint64_t stack = half_at(reader, code, layout->code.co_stacksize), used, run = 0;
	const uint8_t *data = NULL;
	bool known = used_slots(reader, frame, &used);

	if (locals + stack <= MAX_SLOTS)
		data = ca_image_part(reader->image, frame + (uint64_t)layout->iframe.localsplus,
				     (locals + stack) * 8, &run);
	if (!data || locals + stack > run / 8)
		return;
	if (used > locals + stack)
		known = false;
	if (known && used < locals)
		locals = used; /* it is being cleared, or not yet filled */
	/* tp_traverse goes by the stack pointer: without one it sees no slot */
	visit_locals(reader, data, locals, &names, 1,
		     known || held == CA_HELD_HIDDEN ? held : CA_HELD_HIDDEN, v);
	visit_stack(reader, data + locals * 8, known ? used - locals : stack,
		    known ? held : CA_HELD_UNSURE, v);
}

void ca_visit_iframe(struct ca_reader *reader, ca_addr frame, enum ca_held held,
		     struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr code = untagged(reader, word_at(reader, frame, layout->iframe.code));

	visit_field(reader, frame, layout->iframe.frame_obj, held, CA_VIA_INSIDE, "frame_obj", v);
	visit_field(reader, frame, layout->iframe.locals, held, CA_VIA_ATTR, "f_locals", v);
	visit_field(reader, frame, layout->iframe.func, held, CA_VIA_INSIDE, "f_func", v);
	visit_field(reader, frame, layout->iframe.code, held, CA_VIA_ATTR, "f_code", v);
	visit_field(reader, frame, layout->iframe.globals, CA_HELD_WEAK, CA_VIA_ATTR, "f_globals", v);
	visit_field(reader, frame, layout->iframe.builtins, CA_HELD_WEAK, CA_VIA_ATTR, "f_builtins", v);
	visit_frame_slots(reader, frame, code, held, v);
}

/* Of a frame that was cleared only the code is left. */
void ca_visit_iframe_code(struct ca_reader *reader, ca_addr frame, struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	bool deferred = layout->c.stackref_tags != 0;

	visit_field(reader, frame, layout->iframe.code, deferred ? CA_HELD_GC : CA_HELD_HIDDEN,
		    CA_VIA_ATTR, "gi_code", v);
}

void ca_iframe_traverse(struct ca_reader *reader, ca_addr frame, struct ca_visitor *v)
{
	uint8_t owner = owner_of(reader, frame);

	/* What the interpreter puts between C's and Python's frames owns nothing. */
	if (owner == OWNED_BY_THREAD)
		ca_visit_iframe(reader, frame, CA_HELD_HIDDEN, v);
}

/* ---- up to 3.10: frame objects ------------------------------------------------ */

static void visit_object_slots(struct ca_reader *reader, const struct ca_object *object,
			       struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr code = ca_word(object, layout->frame.f_code);
	ca_addr stack = ca_word(object, layout->frame.f_valuestack);
	ca_addr first = object->address + (uint64_t)layout->frame.f_localsplus;
	const ca_addr names[] = {word_at(reader, code, layout->code.co_varnames),
				 word_at(reader, code, layout->code.co_cellvars),
				 word_at(reader, code, layout->code.co_freevars)};
	uint64_t room = ca_room(object, layout->frame.f_localsplus) / 8, locals, used;
	uint64_t most = half_at(reader, code, layout->code.co_stacksize);
	bool known;

	if (stack < first || (locals = (stack - first) / 8) > room)
		return;
	if (ca_has(layout->frame.f_stackdepth)) {
		int32_t depth = (int32_t)(uint32_t)ca_word(object, layout->frame.f_stackdepth);

		known = depth >= 0;
		used = known ? (uint64_t)depth : most;
	} else {
		ca_addr top = ca_word(object, layout->frame.f_stacktop);

		known = top >= stack;
		used = known ? (top - stack) / 8 : ca_byte(object, layout->frame.f_executing) ? most : 0;
	}
	visit_locals(reader, object->at + layout->frame.f_localsplus, locals, names,
		     CA_COUNT(names), CA_HELD_GC, v);
	if (used <= room - locals)
		visit_stack(reader, object->at + layout->frame.f_localsplus + locals * 8, used,
			    known ? CA_HELD_GC : CA_HELD_UNSURE, v);
}

/* ---- frame objects of all releases --------------------------------------------- */

void ca_frame_traverse(struct ca_reader *reader, const struct ca_object *object,
		       struct ca_visitor *v)
{
	static const char *const names[] = {"f_back", "f_trace", "f_code", "f_builtins",
					    "f_globals", "f_locals"};
	const struct ca_layout *layout = reader->layout;
	const int32_t fields[] = {layout->frame.f_back, layout->frame.f_trace,
				  layout->frame.f_code, layout->frame.f_builtins,
				  layout->frame.f_globals, layout->frame.f_locals};
	const int32_t later[] = {layout->frame.f_extra_locals, layout->frame.f_locals_cache,
				 layout->frame.f_overwritten_fast_locals};
	ca_addr frame = ca_word(object, layout->frame.f_frame);

	for (size_t i = 0; i < CA_COUNT(fields); i++)
		visit_field(reader, object->address, fields[i], CA_HELD_GC, CA_VIA_ATTR, names[i], v);
	for (size_t i = 0; i < CA_COUNT(later); i++)
		visit_field(reader, object->address, later[i], CA_HELD_GC, CA_VIA_INSIDE, "f_locals", v);
	if (!ca_has(layout->frame.f_frame))
		visit_object_slots(reader, object, v);
	else if (frame == object->address + (uint64_t)layout->frame._f_frame_data)
		ca_visit_iframe(reader, frame, CA_HELD_GC, v);
}

/* ---- where a frame is ------------------------------------------------------------ */

static bool is_code(struct ca_reader *reader, ca_addr address)
{
	struct ca_object object;

	return address && ca_object_read(reader, address, &object) && ca_type_is(object.type, "code");
}

static void read_code(struct ca_reader *reader, ca_addr code, uint64_t offset,
		      struct ca_frame *frame)
{
	if (!is_code(reader, code))
		return;
	frame->code = code;
	frame->line = ca_code_line(reader, code, offset);
}

static void read_iframe(struct ca_reader *reader, ca_addr address, struct ca_frame *frame)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr code = untagged(reader, word_at(reader, address, layout->iframe.code));
	ca_addr first = code + (uint64_t)layout->code.co_code_adaptive;
	ca_addr instruction = word_at(reader, address, layout->iframe.instr);

	frame->previous = word_at(reader, address, layout->iframe.previous);
	frame->of_thread = owner_of(reader, address) == OWNED_BY_THREAD;
	read_code(reader, code, instruction > first ? instruction - first : 0, frame);
}

static void read_frame_object(struct ca_reader *reader, ca_addr address, struct ca_frame *frame)
{
	const struct ca_layout *layout = reader->layout;
	int32_t last = (int32_t)half_at(reader, address, layout->frame.f_lasti);

	frame->previous = word_at(reader, address, layout->frame.f_back);
	frame->of_thread = !word_at(reader, address, layout->frame.f_gen);
	read_code(reader, word_at(reader, address, layout->frame.f_code),
		  last > 0 ? (uint64_t)last * (uint64_t)layout->c.lasti_bytes : 0, frame);
}

bool ca_frame_read(struct ca_reader *reader, ca_addr address, struct ca_frame *frame)
{
	bool own = ca_has(reader->layout->iframe.previous);
	int32_t size = own ? reader->layout->iframe.size : reader->layout->frame.size;

	*frame = (struct ca_frame){.address = address};
	if (address & 7 || !ca_image_at(reader->image, address, (uint64_t)size))
		return false;
	if (own)
		read_iframe(reader, address, frame);
	else
		read_frame_object(reader, address, frame);
	return true;
}
