/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * C types of the standard library that have buffers of their own; most have a
 * __sizeof__ that counts them.
 */
#include <stdlib.h>

#include "kind.h"

/* What a bytes object inside another counts for it: sys.getsizeof() of the bytes. */
static uint64_t inner_bytes(struct ca_reader *reader, ca_addr address, struct ca_object *bytes)
{
	struct ca_shape shape;

	if (!address || !ca_object_read(reader, address, bytes) ||
	    !(bytes->type->flags & CA_TPFLAGS_BYTES_SUBCLASS) ||
	    !ca_object_shape(reader, bytes, &shape))
		return 0;
	return bytes->pre + shape.shallow;
}

/* ---- Modules/_io ------------------------------------------------------- */

/* bytesio.c: the bytes count unless somebody else has them too (SHARED_BUF). */
void ca_bytesio_traverse(struct ca_reader *reader, const struct ca_object *object,
			 struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	struct ca_object bytes;
	uint64_t size = inner_bytes(reader, ca_word(object, layout->bytesio.buf), &bytes);

	if (size && ca_object_refcount(layout, bytes.at) == 1)
		v->buffer(v, 0, size, CA_BUFFER_COUNTED);
}

void ca_stringio_traverse(struct ca_reader *reader, const struct ca_object *object,
			  struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;

	ca_visit_buffer(v, ca_word(object, layout->stringio.buf),
			ca_word(object, layout->stringio.buf_size), 4, CA_BUFFER_OWNED);
}

/* fileio.c, 3.14+: what fstat() said when the file was opened. */
void ca_fileio_traverse(struct ca_reader *reader, const struct ca_object *object,
			struct ca_visitor *v)
{
	enum { STAT_BYTES = 144 }; /* struct stat of x86-64 */

	ca_visit_buffer(v, ca_word(object, reader->layout->fileio.stat_atopen), 1, STAT_BYTES,
			CA_BUFFER_OWNED);
}

void ca_buffered_traverse(struct ca_reader *reader, const struct ca_object *object,
			  struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;

	ca_visit_buffer(v, ca_word(object, layout->buffered.buffer),
			ca_word(object, layout->buffered.buffer_size), 1, CA_BUFFER_COUNTED);
}

/* ---- arraymodule.c, _struct.c, _decimal.c ------------------------------ */

static void warn_items(struct ca_reader *reader, ca_addr array, uint64_t allocated)
{
	enum { MOST_BYTES = 8 };
	uint64_t most = ca_image_writable(reader->image) / MOST_BYTES;

	ca_warn(reader->rt->ctx, "array-items", array, "its items are missing in its bytes",
		"the size of an array's items is in a binary that is not at hand");
	ca_warn_weigh(reader->rt->ctx, "array-items",
		      (allocated < most ? allocated : most) * MOST_BYTES);
}

void ca_array_traverse(struct ca_reader *reader, const struct ca_object *object,
		       struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr descr = ca_word(object, layout->array.ob_descr);
	uint64_t allocated = ca_word(object, layout->array.allocated);
	uint32_t itemsize;

	if (!ca_image_u32(reader->image, descr + layout->arraydescr.itemsize, &itemsize))
		warn_items(reader, object->address, allocated);
	else
		ca_visit_buffer(v, ca_word(object, layout->array.ob_item), allocated, itemsize,
				CA_BUFFER_COUNTED);
}

/* The codes end with one that has no fmtdef, which counts too. Each is a letter of the format. */
void ca_struct_traverse(struct ca_reader *reader, const struct ca_object *object,
			struct ca_visitor *v)
{
	enum { MAX_CODES = 1 << 16 };
	const struct ca_layout *layout = reader->layout;
	ca_addr codes = ca_word(object, layout->structobject.s_codes);
	uint64_t size = (uint64_t)layout->formatcode.size, run, at = 0;
	const uint8_t *data = codes ? ca_image_run(reader->image, codes, &run) : NULL;

	if (!data)
		return;
	if (run > MAX_CODES * size)
		run = MAX_CODES * size;
	while (at + size <= run && ca_load_u64(data + at + layout->formatcode.fmtdef))
		at += size;
	v->buffer(v, codes, at + size, CA_BUFFER_COUNTED);
}

/* The digits are inside the object until there are too many (mpdecimal.h: MPD_DATAFLAGS). */
void ca_decimal_traverse(struct ca_reader *reader, const struct ca_object *object,
			 struct ca_visitor *v)
{
	enum { DATA_ELSEWHERE = 0x20 | 0x40 | 0x80 }; /* static, shared, constant */
	const struct ca_layout *layout = reader->layout;

	if (!(ca_byte(object, layout->decimal.flags) & DATA_ELSEWHERE))
		ca_visit_buffer(v, ca_word(object, layout->decimal.data),
				ca_word(object, layout->decimal.alloc), 8, CA_BUFFER_COUNTED);
}

/* ---- _pickle.c --------------------------------------------------------- */

bool ca_pickler_fits(const struct ca_layout *layout, uint64_t basicsize)
{
	return basicsize == (uint64_t)layout->pickler.size;
}

bool ca_unpickler_fits(const struct ca_layout *layout, uint64_t basicsize)
{
	return basicsize == (uint64_t)layout->unpickler.size;
}

static enum ca_held memo_held(const struct ca_layout *layout)
{
	return layout->c.traverse_gaps & CA_GAP_PICKLE_MEMO ? CA_HELD_HIDDEN : CA_HELD_GC;
}

static void visit_memo_table(struct ca_reader *reader, struct ca_visitor *v, ca_addr memo)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t size = (uint64_t)layout->memoentry.size, run;
	const uint8_t *table = ca_image_at(reader->image, memo, (uint64_t)layout->memotable.size);

	if (!table)
		return;

	uint64_t count = ca_load_u64(table + layout->memotable.mt_allocated);
	ca_addr entries = ca_load_u64(table + layout->memotable.mt_table);
	const uint8_t *data = entries ? ca_image_run(reader->image, entries, &run) : NULL;

	v->buffer(v, memo, (uint64_t)layout->memotable.size, CA_BUFFER_COUNTED);
	ca_visit_buffer(v, entries, count, size, CA_BUFFER_COUNTED);
	if (data)
		v->refs(v, &(struct ca_refs){.data = data + layout->memoentry.me_key,
					     .count = count < run / size ? count : run / size,
					     .stride = size,
					     .held = memo_held(layout)});
}

void ca_pickler_traverse(struct ca_reader *reader, const struct ca_object *object,
			 struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr memo = ca_word(object, layout->pickler.memo);
	struct ca_object bytes;

	if (memo)
		visit_memo_table(reader, v, memo);
	v->buffer(v, 0, inner_bytes(reader, ca_word(object, layout->pickler.output_buffer), &bytes),
		  CA_BUFFER_COUNTED);
}

void ca_unpickler_traverse(struct ca_reader *reader, const struct ca_object *object,
			   struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	const int32_t texts[] = {layout->unpickler.input_line, layout->unpickler.encoding,
				 layout->unpickler.errors};
	ca_addr memo = ca_word(object, layout->unpickler.memo);
	uint64_t memo_size = ca_word(object, layout->unpickler.memo_size);

	ca_visit_buffer(v, memo, memo_size, 8, CA_BUFFER_COUNTED);
	if (memo)
		ca_visit_array(reader, v, memo, memo_size, memo_held(layout));
	ca_visit_buffer(v, ca_word(object, layout->unpickler.marks),
			ca_word(object, layout->unpickler.marks_size), 8, CA_BUFFER_COUNTED);
	for (size_t i = 0; i < CA_COUNT(texts); i++)
		ca_visit_text(reader, v, ca_word(object, texts[i]), CA_BUFFER_COUNTED);
}

/* The unpickler's stack counts its items, but they are not behind it. */
bool ca_pdata_shape(struct ca_reader *reader, const struct ca_object *object,
		    struct ca_shape *shape)
{
	const struct ca_type *type = object->type;
	uint64_t count = type->itemsize ? (uint64_t)ca_ob_size(reader, object) : 0;

	shape->extent = type->basicsize;
	shape->shallow = type->basicsize + count * type->itemsize;
	return count <= CA_MOST_BYTES / 8;
}

void ca_pdata_traverse(struct ca_reader *reader, const struct ca_object *object,
		       struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr data = ca_word(object, layout->pdata.data);

	ca_visit_buffer(v, data, ca_word(object, layout->pdata.allocated), 8, CA_BUFFER_OWNED);
	if (data)
		ca_visit_array(reader, v, data, (uint64_t)ca_ob_size(reader, object), CA_HELD_GC);
}

/* ---- _elementtree.c, pyexpat.c ----------------------------------------- */

void ca_element_traverse(struct ca_reader *reader, const struct ca_object *object,
			 struct ca_visitor *v)
{
	enum { JOINED = 1 }; /* text and tail: a list of strings, still to be joined */
	const struct ca_layout *layout = reader->layout;
	ca_addr extra = ca_word(object, layout->element.extra);

	for (int32_t at = layout->object.size; at + 8 <= (int32_t)object->type->kind_end; at += 8) {
		uint64_t word = ca_word(object, at) & ~(uint64_t)JOINED;

		ca_visit_pointers(v, (const uint8_t *)&word, 1, CA_HELD_GUESS);
	}

	uint64_t size = (uint64_t)layout->element_extra.size;
	const uint8_t *data = extra ? ca_image_at(reader->image, extra, size) : NULL;

	if (!data)
		return;

	ca_addr children = ca_load_u64(data + layout->element_extra.children);

	v->buffer(v, extra, size, CA_BUFFER_COUNTED);
	if (children != extra + (uint64_t)layout->element_extra.inline_children)
		ca_visit_buffer(v, children, ca_load_u64(data + layout->element_extra.allocated), 8,
				CA_BUFFER_COUNTED);
	ca_visit_word(v, data + layout->element_extra.attrib);
	ca_visit_array(reader, v, children, ca_load_u64(data + layout->element_extra.length), CA_HELD_GC);
}

/* The last member of xmlparseobject is an array of one function for each of expat's events. */
void ca_xmlparser_traverse(struct ca_reader *reader, const struct ca_object *object,
			   struct ca_visitor *v)
{
	enum { HANDLERS = 22 };
	ca_addr handlers = ca_word(object, (int32_t)object->type->kind_end - 8);

	ca_visit_buffer(v, handlers, HANDLERS, 8, CA_BUFFER_OWNED);
	if (handlers)
		ca_visit_array(reader, v, handlers, HANDLERS, CA_HELD_GC);
}

/* ---- itertoolsmodule.c ------------------------------------------------- */

static uint64_t tuple_length(struct ca_reader *reader, ca_addr tuple)
{
	uint64_t size = 0;

	if (tuple)
		ca_image_u64(reader->image, tuple + (uint64_t)reader->layout->var.ob_size, &size);
	return size;
}

void ca_combinations_traverse(struct ca_reader *reader, const struct ca_object *object,
			      struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;

	ca_visit_buffer(v, ca_word(object, layout->combinations.indices),
			ca_word(object, layout->combinations.r), 8, CA_BUFFER_COUNTED);
}

void ca_permutations_traverse(struct ca_reader *reader, const struct ca_object *object,
			      struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t n = tuple_length(reader, ca_word(object, layout->permutations.pool));

	ca_visit_buffer(v, ca_word(object, layout->permutations.indices), n, 8, CA_BUFFER_COUNTED);
	ca_visit_buffer(v, ca_word(object, layout->permutations.cycles),
			ca_word(object, layout->permutations.r), 8, CA_BUFFER_COUNTED);
}

void ca_product_traverse(struct ca_reader *reader, const struct ca_object *object,
			 struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;

	ca_visit_buffer(v, ca_word(object, layout->product.indices),
			tuple_length(reader, ca_word(object, layout->product.pools)), 8,
			CA_BUFFER_COUNTED);
}

/* Values up to numread have been taken; what is behind them was never set. */
void ca_tee_traverse(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t read = (uint32_t)ca_word(object, layout->tee.numread);
	uint64_t room = object->type->basicsize > (uint32_t)layout->tee.values
				? (object->type->basicsize - (uint32_t)layout->tee.values) / 8
				: 0;

	ca_visit_words(object, v, (uint64_t)layout->object.size, (uint64_t)layout->tee.values, CA_HELD_GC);
	ca_visit_own(object, layout->tee.values, read < room ? read : room, CA_HELD_GC, "values", v);
}

/* ---- _queuemodule.c, _zoneinfo.c --------------------------------------- */

void ca_simplequeue_traverse(struct ca_reader *reader, const struct ca_object *object,
			     struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr items = ca_word(object, layout->simplequeue.items);
	uint64_t count = ca_word(object, layout->simplequeue.items_cap);

	ca_visit_buffer(v, items, count, 8,
			layout->c.simplequeue_counts_items ? CA_BUFFER_COUNTED : CA_BUFFER_OWNED);
	if (items)
		ca_visit_array(reader, v, items, count, CA_HELD_GC);
}

/* The tables of transitions, and what holds in between: {utcoff, dstoff, tzname, seconds}. */
void ca_zoneinfo_traverse(struct ca_reader *reader, const struct ca_object *object,
			  struct ca_visitor *v)
{
	enum { TTINFO_BYTES = 32, RULE_BYTES = 16 };
	const struct ca_layout *layout = reader->layout;
	const int32_t lists[] = {layout->zoneinfo.trans_list_utc, layout->zoneinfo.trans_list_wall,
				 layout->zoneinfo.trans_list_wall + 8,
				 layout->zoneinfo.trans_ttinfos};
	const int32_t rules[] = {layout->zoneinfo.rule_start, layout->zoneinfo.rule_end};
	uint64_t transitions = ca_word(object, layout->zoneinfo.num_transitions);
	uint64_t count = ca_word(object, layout->zoneinfo.num_ttinfos);
	ca_addr ttinfos = ca_word(object, layout->zoneinfo.ttinfos);

	for (size_t i = 0; i < CA_COUNT(lists); i++)
		ca_visit_buffer(v, ca_word(object, lists[i]), transitions, 8, CA_BUFFER_OWNED);
	for (size_t i = 0; i < CA_COUNT(rules); i++)
		ca_visit_buffer(v, ca_word(object, rules[i]), 1, RULE_BYTES, CA_BUFFER_OWNED);
	ca_visit_buffer(v, ttinfos, count, TTINFO_BYTES, CA_BUFFER_OWNED);
	if (ttinfos && count <= CA_MOST_BYTES / TTINFO_BYTES)
		ca_visit_array(reader, v, ttinfos, count * TTINFO_BYTES / 8, CA_HELD_HIDDEN);
}

/* ---- parsermodule.c (3.8, 3.9) ------------------------------------------ */

/* Parser/node.c: how many children a node has room for. */
static uint64_t node_room(uint32_t children)
{
	uint64_t room = 256;

	if (children <= 1)
		return children;
	if (children <= 128)
		return (children + 3) & ~3u;
	while (room < children)
		room <<= 1;
	return room;
}

/*
 * A tree of nodes, each with an array of its children and a text. The stack
 * holds the rest of each array on the way down (the parser's own is 6000 deep).
 */
enum { MAX_DEPTH = 6000, MAX_NODES = 1 << 22 };

struct nodes {
	ca_addr at;
	uint32_t left;
};

/* Visits what hangs on a node; false when it has no children. */
static bool visit_node(struct ca_reader *reader, struct ca_visitor *v, ca_addr node,
		       struct nodes *children)
{
	const struct ca_layout *layout = reader->layout;
	const uint8_t *at = ca_image_at(reader->image, node, (uint64_t)layout->node.size);

	if (!at)
		return false;
	children->at = ca_load_u64(at + layout->node.n_child);
	children->left = ca_load_u32(at + layout->node.n_nchildren);
	ca_visit_text(reader, v, ca_load_u64(at + layout->node.n_str), CA_BUFFER_COUNTED);
	if (!children->at || children->left > MAX_NODES)
		return false;
	ca_visit_buffer(v, children->at, node_room(children->left), (uint64_t)layout->node.size,
			CA_BUFFER_COUNTED);
	return children->left != 0;
}

void ca_st_traverse(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr root = ca_word(object, layout->st.st_node);
	struct nodes *stack = ca_alloc(MAX_DEPTH * sizeof(*stack));
	size_t depth = root ? 1 : 0;

	stack[0] = (struct nodes){root, 1};
	ca_visit_buffer(v, root, 1, (uint64_t)layout->node.size, CA_BUFFER_COUNTED);
	for (uint32_t i = 0; depth && i < MAX_NODES; i++) {
		struct nodes *top = &stack[depth - 1];
		ca_addr node = top->at;

		top->at += (uint64_t)layout->node.size;
		if (--top->left == 0)
			depth--;
		if (depth < MAX_DEPTH && visit_node(reader, v, node, &stack[depth]))
			depth++;
	}
	free(stack);
}
