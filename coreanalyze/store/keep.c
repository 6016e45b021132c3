/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a snapshot keeps of memory: whatever is read to answer any question. Each is asked
 * here once, of everything: what types are, what objects are worth showing, how they hold what they refer
 * to, what the collector knows.
 */
#include <stdlib.h>

#include "private.h"

enum { GRAIN = 1 << 14 };

/* What one worker asks with. */
struct asker {
	struct ca_visitor visitor; /* first: callbacks get the asker back from it */
	const struct ca_saving *saving;
	struct ca_keep *keep;
	struct ca_reader *reader;
	struct ca_arena arena;     /* for answers, which nobody reads */
	const uint64_t *names;     /* bit by node: names of attributes; NULL: values are kept */
	bool is_told_more;         /* labels of the present object tell of frames, or of what its type declares */
};

struct asking {
	struct asker *askers;
};

static void keep_word(const struct asker *a, const struct ca_object *object, int32_t offset)
{
	if (ca_has(offset) && (uint64_t)offset + 8 <= object->readable)
		ca_keep_data(a->keep, object->at + offset, 8);
}

/* One byte of a word. */
static void keep_byte(const struct asker *a, const struct ca_object *object, int32_t offset)
{
	ca_addr at = object->address + (uint64_t)offset;

	keep_word(a, object, offset & ~7);
	ca_keep_blank(a->keep, at & ~7ull, (uint32_t)(at & 7));
	ca_keep_blank(a->keep, at + 1, 7 - (uint32_t)(at & 7));
}

/* ---- an object's own words ----------------------------------------------------- */

/* Characters lie behind the head of a compact str. */
static uint64_t str_head(const struct ca_layout *layout, const struct ca_object *str, uint64_t extent)
{
	uint32_t state = ca_load_u32(str->at + layout->ascii.state);
	bool compact = state >> 5 & 1, ascii = state >> 6 & 1;

	if (!compact)
		return extent;
	return (uint64_t)(ascii ? layout->ascii.size : layout->compact.size);
}

/* Text is kept as far as it is shown, and digits. */
static uint64_t kept_extent(const struct asker *a, const struct ca_object *object)
{
	enum { TEXT = 64, DIGITS = 34 * 4 };
	const struct ca_layout *layout = a->reader->layout;
	uint64_t flags = object->type->flags, most = UINT64_MAX;
	struct ca_shape shape;

	if (!ca_object_shape(a->reader, object, &shape))
		return object->type->least;
	if (flags & CA_TPFLAGS_UNICODE_SUBCLASS)
		most = str_head(layout, object, shape.extent);
	else if (flags & CA_TPFLAGS_BYTES_SUBCLASS)
		most = (uint64_t)layout->bytes.ob_sval + TEXT;
	else if (flags & CA_TPFLAGS_LONG_SUBCLASS)
		most = (uint64_t)layout->pylong.ob_digit + DIGITS;
	return shape.extent < most ? shape.extent : most;
}

/* Kinds whose own words are no values: counts, places, flags. */
static bool is_structure(const struct ca_object *object)
{
	static const char *const kinds[] = {
		"collections.deque", "code", "frame", "generator", "coroutine", "async_generator",
		"function", "module", "frozendict", "_pickle.Pickler", "_pickle.Unpickler", "_pickle.Pdata",
		"xml.etree.ElementTree.Element", "itertools.combinations", "itertools.permutations",
		"itertools.combinations_with_replacement", "itertools.product", "itertools._tee_dataobject",
		"functools._lru_cache_wrapper", "sqlite3.Connection", "sqlite3.Cache", "_queue.SimpleQueue",
		"zoneinfo.ZoneInfo", "parser.st", "PyCapsule",
	};

	for (size_t i = 0; i < CA_COUNT(kinds); i++)
		if (ca_type_is(object->type, kinds[i]))
			return true;
	return object->type->is_meta ||
	       object->type->flags & (CA_TPFLAGS_LIST_SUBCLASS | CA_TPFLAGS_DICT_SUBCLASS);
}

/* Without values: words that point somewhere, and what tells how much there is. */
static void keep_pointers(const struct asker *a, const struct ca_object *object, uint64_t extent)
{
	const struct ca_layout *layout = a->reader->layout;
	const struct ca_image *image = a->saving->image;
	uint64_t flags = object->type->flags;
	bool is_str = flags & CA_TPFLAGS_UNICODE_SUBCLASS;
	uint64_t from = 16;

	ca_keep_data(a->keep, object->at - object->pre, object->pre + 16u);
	/* A dict behind an int's digits is found by their number. */
	if (object->type->itemsize && (!(flags & CA_TPFLAGS_LONG_SUBCLASS) || object->type->dictoffset))
		keep_word(a, object, layout->var.ob_size);
	if (is_str) {
		keep_word(a, object, layout->ascii.length);
		keep_word(a, object, layout->ascii.state & ~7);
		if (layout->ascii.state + 4 < 8 + (layout->ascii.state & ~7))
			ca_keep_blank(a->keep, object->address + (uint64_t)layout->ascii.state + 4, 4);
	}
	if (ca_type_is(object->type, "set") || ca_type_is(object->type, "frozenset")) {
		keep_word(a, object, layout->set.used);
		keep_word(a, object, layout->set.mask);
		keep_word(a, object, layout->set.table);
		from = object->type->kind_end; /* hashes lie beside the members */
	}
	if (ca_type_is(object->type, "datetime.time") || ca_type_is(object->type, "datetime.datetime"))
		keep_byte(a, object, layout->object.size + 8); /* hastzinfo; the date begins behind it */
	if (object->type->inline_values && object->type->basicsize < extent)
		ca_keep_data(a->keep, object->at + object->type->basicsize, (uint64_t)layout->values.values);
	for (uint64_t at = from; at + 8 <= extent; at += 8)
		if (ca_image_mapping(image, ca_load_u64(object->at + at)))
			ca_keep_data(a->keep, object->at + at, 8);
}

static void keep_object(const struct asker *a, const struct ca_object *object)
{
	uint64_t extent = kept_extent(a, object);

	if (extent > object->readable)
		extent = object->readable;
	if (!a->names || is_structure(object))
		ca_keep_data(a->keep, object->at - object->pre, object->pre + extent);
	else
		keep_pointers(a, object, extent);
}

/* ---- what it refers to ----------------------------------------------------------- */

static void keep_refs(const struct asker *a, const uint8_t *data, uint64_t count, uint64_t stride)
{
	const struct ca_objects *objects = a->saving->objects;
	uint64_t tags = (uint64_t)a->reader->layout->c.stackref_tags;

	if (stride == 8 && !a->names) {
		ca_keep_data(a->keep, data, count * 8);
		return;
	}
	for (uint64_t i = 0; i < count; i++, data += stride)
		if (!a->names || ca_objects_find(objects, ca_load_u64(data) & ~tags))
			ca_keep_data(a->keep, data, 8);
}

/*
 * A name is an object and is asked as such; names of attributes and variables are shown
 * longer than values. What is none is no key of a sound dict.
 */
static void ask_name(struct asker *a, ca_addr address, bool is_variable)
{
	enum { SHOWN = 200, SHORT = 128 };
	const struct ca_objects *objects = a->saving->objects;
	ca_node node = address ? ca_objects_find(objects, address) : 0;
	struct ca_object name;

	if (!address || (node && (!is_variable || ca_node_bytes(objects, node) <= SHORT)) ||
	    (a->names && !is_variable) || !ca_object_read(a->reader, address, &name))
		return;
	if (!node)
		keep_object(a, &name);
	if (is_variable && name.type->flags & CA_TPFLAGS_UNICODE_SUBCLASS)
		ca_str_text(a->reader, &name, &a->arena, SHOWN);
	else if (!a->names)
		ca_object_value(a->reader, &name, &a->arena);
}

static void ask_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct asker *a = (struct asker *)v;
	bool is_variable = refs->via == CA_VIA_NAMED || refs->via == CA_VIA_LOCAL;

	keep_refs(a, refs->data, refs->count, refs->stride);
	a->is_told_more |= refs->via == CA_VIA_LOCAL || refs->via == CA_VIA_STACK ||
			   refs->via == CA_VIA_UNKNOWN;
	if (!refs->names)
		return;
	keep_refs(a, refs->names, refs->count, refs->names_stride);
	for (uint64_t i = 0; i < refs->count; i++)
		ask_name(a, ca_load_u64(refs->names + i * refs->names_stride), is_variable);
}

static void no_buffer(struct ca_visitor *v, ca_addr start, uint64_t bytes, enum ca_buffer how)
{
	(void)v;
	(void)start;
	(void)bytes;
	(void)how;
}

static void no_label(void *arg, uint64_t index, const char *label)
{
	(void)arg;
	(void)index;
	(void)label;
}

static void ask_labels(struct asker *a, ca_node node)
{
	ca_edge_each(a->saving->graph, a->reader, node, 0, a->names != NULL, &a->arena, no_label, NULL);
}

/* ---- everything ------------------------------------------------------------------- */

static void ask_object(struct asker *a, ca_node node, ca_addr address)
{
	struct ca_object object;

	if (!ca_object_read(a->reader, address, &object))
		return;
	keep_object(a, &object);
	a->is_told_more = false;
	ca_object_traverse(a->reader, &object, &a->visitor);
	if (a->is_told_more)
		ask_labels(a, node);
	if (!a->names || ca_bit(a->names, node) || ca_object_is_named(a->reader, &object))
		ca_object_value(a->reader, &object, &a->arena);
	ca_object_name(a->reader, &object, &a->arena);
}

static void ask_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct asker *a = &((struct asking *)arg)->askers[worker];
	const struct ca_objects *objects = a->saving->objects;
	struct ca_cursor cursor;

	if (!worker)
		ca_progress(a->saving->ctx, "choosing what to keep", begin, objects->count);
	ca_cursor_seek(&cursor, objects, (ca_node)begin + 1);
	for (size_t i = begin; i < end; i++, ca_cursor_next(&cursor)) {
		ask_object(a, cursor.node, cursor.address);
		if (i % 256 == 0)
			ca_arena_fini(&a->arena);
	}
	ca_arena_fini(&a->arena);
}

/* From 3.11 a frame that runs is no object; before, and where it only fills an excess, it is. */
static void ask_root(struct asker *a, ca_node node)
{
	const struct ca_root *root = ca_graph_root(a->saving->graph, node);

	if (root->kind != CA_ROOT_FRAME)
		return;
	if (root->address && ca_has(a->reader->layout->iframe.previous))
		ca_iframe_traverse(a->reader, root->address, &a->visitor);
	ask_labels(a, node);
}

static void ask_objects(const struct ca_saving *saving, struct ca_keep *keep, const uint64_t *names)
{
	unsigned threads = saving->ctx->threads;
	struct asking asking = {ca_alloc(threads * sizeof(*asking.askers))};
	struct ca_reader *readers = ca_alloc(threads * sizeof(*readers));

	for (unsigned i = 0; i < threads; i++) {
		ca_reader_init(&readers[i], &saving->objects->types_registry);
		asking.askers[i] = (struct asker){.visitor = {ask_refs, no_buffer},
						  .saving = saving,
						  .keep = keep,
						  .reader = &readers[i],
						  .names = names};
	}
	ca_parallel(saving->ctx, saving->objects->count, GRAIN, ask_range, &asking);
	for (uint32_t i = 0; i < saving->graph->root_count; i++)
		ask_root(&asking.askers[0], saving->graph->object_count + 1 + i);
	ca_arena_fini(&asking.askers[0].arena);
	free(readers);
	free(asking.askers);
}

/* With a registry that knows nothing: so will that of the snapshot. */
static void ask_types(const struct ca_saving *saving)
{
	const struct ca_objects *objects = saving->objects;
	struct ca_reader *reader = ca_alloc(sizeof(*reader));
	struct ca_types types;
	struct ca_arena arena = {0};
	struct ca_finalizing finalizing;

	ca_types_restore(&types, saving->rt, objects->types_registry.lookdict);
	ca_reader_init(reader, &types);
	for (uint32_t i = 0; i < objects->type_count; i++) {
		const struct ca_type *type = ca_type_at(reader, objects->types[i].type->address);

		if (!type)
			continue;
		ca_type_name(reader, type, &arena);
		ca_type_bytes_exact(reader, type);
		ca_type_finalizing(reader, type, &arena, &finalizing);
		ca_type_dict(reader, type->address);
	}
	ca_arena_fini(&arena);
	ca_types_fini(&types);
	free(reader);
}

static void ask_collector(const struct ca_saving *saving)
{
	struct ca_gc_facts facts;
	size_t count;

	free(ca_objects_places(saving->objects, NULL, NULL));
	ca_gc_facts_build(saving->objects, &facts);
	ca_gc_facts_fini(&facts);
	free(ca_objects_weakrefs(saving->objects, &count));
}

/* ---- names ------------------------------------------------------------------------- */

static void set_targets(uint64_t *bits, const struct ca_graph *graph, ca_node node)
{
	struct ca_edges out = ca_graph_out(graph, node);

	for (uint64_t i = 0; i < out.count; i++)
		ca_set_bit(bits, out.nodes[i]);
}

/* Bit by node: what a class refers to, and what is in code objects' tuples of names. */
static uint64_t *find_names(const struct ca_graph *graph)
{
	const struct ca_objects *objects = graph->objects;
	uint64_t *bits = ca_alloc((graph->node_count / 64 + 1ull) * sizeof(*bits));

	for (ca_node node = 1; node <= objects->count; node++) {
		const struct ca_type *type = objects->types[ca_node_type(objects, node)].type;
		struct ca_edges out = ca_graph_out(graph, node);

		if (type->is_meta)
			set_targets(bits, graph, node);
		for (uint64_t i = 0; ca_type_is(type, "code") && i < out.count; i++)
			if (ca_code_has_names(graph, node, ca_objects_address(objects, out.nodes[i])))
				set_targets(bits, graph, out.nodes[i]);
	}
	return bits;
}

void ca_snapshot_ask(const struct ca_saving *saving, struct ca_keep *keep, bool redact)
{
	uint64_t *names = redact ? find_names(saving->graph) : NULL;

	ask_types(saving);
	ask_objects(saving, keep, names);
	ask_collector(saving);
	free(names);
}
