/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of kinds, and what is common to all objects. */
#include "kind.h"

const struct ca_kind ca_kind_plain = {NULL, NULL, 0, ca_plain_shape, ca_plain_traverse, 0, NULL, false};

/* Kinds told by tp_name come first: OrderedDict is also a dict. */
static const struct ca_kind kinds[] = {
	{"float", NULL, 0, ca_plain_shape, ca_leaf_traverse, 0, NULL, true},
	{"complex", NULL, 0, ca_plain_shape, ca_leaf_traverse, 0, NULL, true},
	{"bytearray", NULL, 0, ca_bytearray_shape, ca_bytearray_traverse, 0, NULL, true},
	{"set", NULL, 0, ca_plain_shape, ca_set_traverse, 0, NULL, true},
	{"frozenset", NULL, 0, ca_plain_shape, ca_set_traverse, 0, NULL, true},
	{"frozendict", NULL, 0, ca_plain_shape, ca_dict_traverse, 0, NULL, true},
	{"collections.OrderedDict", NULL, 0, ca_plain_shape, ca_odict_traverse, 0, NULL, true},
	{"collections.deque", NULL, 0, ca_plain_shape, ca_deque_traverse, 0, NULL, true},
	{"datetime.time", NULL, 0, ca_datetime_shape, ca_datetime_traverse, 8, NULL, true},
	{"datetime.datetime", NULL, 0, ca_datetime_shape, ca_datetime_traverse, 8, NULL, true},
	{"code", NULL, 0, ca_code_shape, ca_code_traverse, 0, NULL, true},
	{"frame", NULL, 0, ca_frame_shape, ca_frame_traverse, 0, NULL, true},
	{"module", NULL, 0, ca_plain_shape, ca_module_traverse, 0, NULL, false},
	{"EncodingMap", NULL, 0, ca_encoding_map_shape, ca_leaf_traverse, 0, NULL, true},
	{"_io.BytesIO", NULL, 0, ca_plain_shape, ca_bytesio_traverse, 0, NULL, false},
	{"_io.StringIO", NULL, 0, ca_plain_shape, ca_stringio_traverse, 0, NULL, false},
	{"_io.FileIO", NULL, 0, ca_plain_shape, ca_fileio_traverse, 0, NULL, false},
	{"_io.BufferedReader", NULL, 0, ca_plain_shape, ca_buffered_traverse, 0, NULL, false},
	{"_io.BufferedWriter", NULL, 0, ca_plain_shape, ca_buffered_traverse, 0, NULL, false},
	{"_io.BufferedRandom", NULL, 0, ca_plain_shape, ca_buffered_traverse, 0, NULL, false},
	{"array.array", NULL, 0, ca_plain_shape, ca_array_traverse, 0, NULL, false},
	{"_struct.Struct", "Struct", 0, ca_plain_shape, ca_struct_traverse, 0, NULL, false},
	{"decimal.Decimal", NULL, 0, ca_plain_shape, ca_decimal_traverse, 0, NULL, false},
	{"_pickle.Pickler", NULL, 0, ca_plain_shape, ca_pickler_traverse, 0, ca_pickler_fits, false},
	{"_pickle.Unpickler", NULL, 0, ca_plain_shape, ca_unpickler_traverse, 0, ca_unpickler_fits, false},
	{"_pickle.Pdata", NULL, 0, ca_pdata_shape, ca_pdata_traverse, 0, NULL, false},
	{"xml.etree.ElementTree.Element", NULL, 0, ca_plain_shape, ca_element_traverse, 0, NULL, true},
	{"pyexpat.xmlparser", NULL, 0, ca_plain_shape, ca_xmlparser_traverse, 0, NULL, false},
	{"itertools.combinations", NULL, 0, ca_plain_shape, ca_combinations_traverse, 0, NULL, false},
	{"itertools.combinations_with_replacement", NULL, 0, ca_plain_shape, ca_combinations_traverse, 0, NULL, false},
	{"itertools.permutations", NULL, 0, ca_plain_shape, ca_permutations_traverse, 0, NULL, false},
	{"itertools.product", NULL, 0, ca_plain_shape, ca_product_traverse, 0, NULL, false},
	{"memoryview", NULL, 0, ca_plain_shape, ca_leaf_traverse, 0, NULL, false},
	{"re.Pattern", "_sre.SRE_Pattern", 0, ca_plain_shape, ca_leaf_traverse, 0, NULL, false},
	{"re.Match", "_sre.SRE_Match", 0, ca_plain_shape, ca_leaf_traverse, 0, NULL, false},
	{"PyCapsule", NULL, 0, ca_plain_shape, ca_capsule_traverse, 0, NULL, false},
	{"functools._lru_cache_wrapper", NULL, 0, ca_plain_shape, ca_lru_traverse, 0, NULL, false},
	{"itertools._tee_dataobject", NULL, 0, ca_plain_shape, ca_tee_traverse, 0, NULL, true},
	{"sqlite3.Connection", NULL, 0, ca_plain_shape, ca_sqlite_traverse, 0, NULL, true},
	{"sqlite3.Cache", NULL, 0, ca_plain_shape, ca_sqlite_cache_traverse, 0, NULL, false},
	{"_ctypes.PyCPointerType", NULL, 0, ca_pointer_type_shape, ca_pointer_type_traverse, 0, NULL, true},
	{"_queue.SimpleQueue", NULL, 0, ca_plain_shape, ca_simplequeue_traverse, 0, NULL, false},
	{"zoneinfo.ZoneInfo", NULL, 0, ca_plain_shape, ca_zoneinfo_traverse, 0, NULL, false},
	{"parser.st", NULL, 0, ca_plain_shape, ca_st_traverse, 0, NULL, true},
	{"StgDict", NULL, 0, ca_plain_shape, ca_stgdict_traverse, 0, NULL, true},
	{"_ctypes.CType_Type", NULL, 0, ca_ctype_shape, ca_ctype_traverse, 0, NULL, true},
	{"_ctypes.CThunkObject", NULL, 0, ca_plain_shape, ca_leaf_traverse, 0, NULL, false},
	{"_ctypes._CData", NULL, 0, ca_plain_shape, ca_cdata_traverse, 0, NULL, false},
	{"numpy.ndarray", NULL, 0, ca_ndarray_shape, ca_ndarray_traverse, 0, ca_ndarray_fits, true},
	{"numpy.dtype", NULL, 0, ca_plain_shape, ca_dtype_traverse, 0, NULL, false},
	{"hamt_bitmap_node", NULL, 0, ca_plain_shape, ca_hamt_traverse, 0, NULL, true},
	{"hamt_collision_node", NULL, 0, ca_plain_shape, ca_hamt_traverse, 0, NULL, true},
	{"generator", NULL, 0, ca_gen_shape, ca_gen_traverse, 0, NULL, true},
	{"coroutine", NULL, 0, ca_gen_shape, ca_gen_traverse, 0, NULL, true},
	{"async_generator", NULL, 0, ca_gen_shape, ca_gen_traverse, 0, NULL, true},
	{NULL, NULL, CA_TPFLAGS_LONG_SUBCLASS, ca_long_shape, ca_leaf_traverse, 0, NULL, true},
	{NULL, NULL, CA_TPFLAGS_UNICODE_SUBCLASS, ca_str_shape, ca_str_traverse, 0, NULL, true},
	{NULL, NULL, CA_TPFLAGS_BYTES_SUBCLASS, ca_bytes_shape, ca_leaf_traverse, 0, NULL, true},
	{NULL, NULL, CA_TPFLAGS_TUPLE_SUBCLASS, ca_tuple_shape, ca_tuple_traverse, 0, NULL, true},
	{NULL, NULL, CA_TPFLAGS_LIST_SUBCLASS, ca_list_shape, ca_list_traverse, 0, NULL, true},
	{NULL, NULL, CA_TPFLAGS_DICT_SUBCLASS, ca_plain_shape, ca_dict_traverse, 0, NULL, true},
	{NULL, NULL, CA_TPFLAGS_TYPE_SUBCLASS, ca_type_shape, ca_type_traverse, 0, NULL, true},
};

static bool name_is(const struct ca_kind *kind, const char *name)
{
	return kind->name && (strcmp(kind->name, name) == 0 ||
			      (kind->old_name && strcmp(kind->old_name, name) == 0));
}

const struct ca_kind *ca_kind_of(uint64_t flags, bool is_heap, const char *name)
{
	/* A class of Python code has no dot in its tp_name, a C type's spec does. */
	bool named = name && (!is_heap || strchr(name, '.'));

	for (size_t i = 0; i < CA_COUNT(kinds); i++)
		if ((named && name_is(&kinds[i], name)) || flags & kinds[i].flag)
			return &kinds[i];
	return NULL;
}

bool ca_type_is(const struct ca_type *type, const char *kind)
{
	return type->kind->name && strcmp(type->kind->name, kind) == 0;
}

bool ca_object_read(struct ca_reader *reader, ca_addr address, struct ca_object *object)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t head;

	if (address & 7 || !ca_image_u64(reader->image, address + layout->object.ob_type, &head))
		return false;

	const struct ca_type *type = ca_type_at(reader, head);
	uint64_t run;

	if (!type)
		return false;
	object->pre = type->pre;
	if (type->is_meta) {
		uint64_t flags;

		if (!ca_image_u64(reader->image, address + layout->type.tp_flags, &flags))
			return false;
		object->pre = flags & CA_TPFLAGS_HEAPTYPE ? type->pre : 0;
	}

	const uint8_t *at = ca_image_run(reader->image, address - object->pre, &run);

	if (!at || run < object->pre + type->least)
		return false;
	object->address = address;
	object->at = at + object->pre;
	object->readable = run - object->pre;
	object->type = type;
	return true;
}

/* The block was sized before the class gave one value less to its instances. */
enum { INLINE_SLACK = 16 };

bool ca_object_shape(struct ca_reader *reader, const struct ca_object *object,
		     struct ca_shape *shape)
{
	shape->slack = 0;
	if (!object->type->kind->shape(reader, object, shape))
		return false;
	if (object->type->inline_values) {
		shape->extent += ca_inline_bytes(reader, object);
		shape->slack += INLINE_SLACK;
	}
	return shape->extent <= object->readable;
}

bool ca_var_extent(const struct ca_object *object, uint64_t count, uint64_t *extent)
{
	const struct ca_type *type = object->type;

	if (type->itemsize && count > object->readable / type->itemsize)
		return false;
	*extent = type->basicsize + count * type->itemsize;
	return true;
}

void ca_visit_array(struct ca_reader *reader, struct ca_visitor *v, ca_addr array, uint64_t count,
		    enum ca_held held)
{
	uint64_t run;
	const uint8_t *data = count ? ca_image_run(reader->image, array, &run) : NULL;

	if (!data)
		return;
	ca_visit_pointers(v, data, count < run / 8 ? count : run / 8, held);
}

void ca_visit_buffer(struct ca_visitor *v, ca_addr start, uint64_t count, uint64_t item,
		     enum ca_buffer how)
{
	if (start && item && count <= CA_MOST_BYTES / item)
		v->buffer(v, start, count * item, how);
}

void ca_visit_text(struct ca_reader *reader, struct ca_visitor *v, ca_addr start,
		   enum ca_buffer how)
{
	enum { MAX_TEXT = 1 << 20 };
	uint64_t run;
	const uint8_t *text = start ? ca_image_run(reader->image, start, &run) : NULL;
	const uint8_t *end = text ? memchr(text, 0, run < MAX_TEXT ? run : MAX_TEXT) : NULL;

	if (end)
		v->buffer(v, start, (uint64_t)(end - text) + 1, how);
}

void ca_visit_guesses(struct ca_reader *reader, struct ca_visitor *v, ca_addr start, uint64_t bytes)
{
	uint64_t run;
	const uint8_t *data = ca_image_run(reader->image, start, &run);

	if (data)
		ca_visit_pointers(v, data, (bytes < run ? bytes : run) / 8, CA_HELD_GUESS);
}

void ca_visit_words(const struct ca_object *object, struct ca_visitor *v, uint64_t from, uint64_t to,
		    enum ca_held held)
{
	from = (from + 7) & ~7ull;
	if (to > object->readable)
		to = object->readable;
	if (from + 8 <= to)
		ca_visit_pointers(v, object->at + from, (to - from) / 8, held);
}

/* Entries that the table has bytes for. */
static const uint8_t *entries_of(struct ca_reader *reader, const struct ca_keys *keys, uint64_t *count)
{
	uint64_t run;
	const uint8_t *entries = keys->nentries ? ca_image_run(reader->image, keys->entries, &run) : NULL;

	if (!entries)
		return NULL;
	*count = run / keys->entry_bytes < keys->nentries ? run / keys->entry_bytes : keys->nentries;
	return entries + keys->key_at;
}

void ca_visit_keys(struct ca_reader *reader, struct ca_visitor *v, const struct ca_keys *keys,
		   enum ca_held held)
{
	uint64_t count;
	const uint8_t *entries = entries_of(reader, keys, &count);

	if (entries)
		v->refs(v, &(struct ca_refs){.data = entries, .count = count,
					     .stride = keys->entry_bytes, .held = held,
					     .via = CA_VIA_KEY, .names = entries,
					     .names_stride = keys->entry_bytes});
}

void ca_visit_entries(struct ca_reader *reader, struct ca_visitor *v, const struct ca_keys *keys)
{
	uint64_t count;
	const uint8_t *entries = entries_of(reader, keys, &count);

	if (entries)
		v->refs(v, &(struct ca_refs){.data = entries + 8, .count = count,
					     .stride = keys->entry_bytes, .held = CA_HELD_GC,
					     .via = CA_VIA_VALUE, .names = entries,
					     .names_stride = keys->entry_bytes});
}

void ca_visit_split(struct ca_reader *reader, struct ca_visitor *v, const struct ca_keys *keys,
		    ca_addr values, uint64_t count, enum ca_held held, enum ca_via via)
{
	uint64_t run, named = 0;
	const uint8_t *data = count ? ca_image_run(reader->image, values, &run) : NULL;
	const uint8_t *names = entries_of(reader, keys, &named);
	struct ca_refs refs = {.data = data, .stride = 8, .held = held, .via = via, .names = names,
			       .names_stride = keys->entry_bytes};

	if (!data)
		return;
	if (count > run / 8)
		count = run / 8;
	refs.count = names ? named < count ? named : count : 0;
	if (refs.count)
		v->refs(v, &refs);
	if (refs.count < count) /* places that no name is for yet */
		ca_visit_pointers(v, data + refs.count * 8, count - refs.count, held);
}

enum ca_held ca_object_type_held(struct ca_reader *reader, const struct ca_object *object)
{
	const struct ca_type *type = object->type;

	(void)reader;
	if (!(type->flags & CA_TPFLAGS_HEAPTYPE))
		return CA_HELD_WEAK;
	return ca_type_is_visited(type) ? CA_HELD_GC : CA_HELD_HIDDEN;
}

/* Values that a managed dict's place points at, or holds inline. */
static void visit_managed(struct ca_reader *reader, const struct ca_object *object,
			  struct ca_visitor *v);

static void traverse_learnt(const struct ca_object *object, struct ca_visitor *v)
{
	const struct ca_learnt *learnt = object->type->learnt;
	struct ca_refs refs = {.count = 1, .stride = 8, .held = CA_HELD_GC};
	const uint64_t *list;

	for (uint32_t i = 0; i < learnt->offset_count; i++) {
		refs.data = object->at + learnt->offsets[i];
		if (learnt->offsets[i] + 8u <= object->readable)
			v->refs(v, &refs);
	}
	list = learnt->constant ? NULL : ca_map_find(&learnt->lists, object->address);
	if (!list)
		return;
	refs.data = (const uint8_t *)(learnt->refs + (*list >> 32));
	refs.count = (uint32_t)*list;
	v->refs(v, &refs);
}

static void visit_part(const struct ca_object *object, const struct ca_part *part,
		       struct ca_visitor *v)
{
	if (part->at + part->count * 8ull > object->readable)
		return;
	v->refs(v, &(struct ca_refs){.data = object->at + part->at,
				     .count = part->count,
				     .stride = 8,
				     .held = part->held,
				     .via = part->via,
				     .name = part->name,
				     .names = part->names,
				     .names_stride = 8});
}

void ca_object_traverse(struct ca_reader *reader, const struct ca_object *object,
			struct ca_visitor *visitor)
{
	const struct ca_type *type = object->type;

	if (type->learnt) {
		traverse_learnt(object, visitor);
		return;
	}
	type->kind->traverse(reader, object, visitor);
	for (uint32_t i = 0; i < type->part_count; i++)
		visit_part(object, &type->parts[i], visitor);
	if (type->managed_dict && object->pre == type->pre) {
		visit_managed(reader, object, visitor);
	} else if (type->dictoffset < 0 && type->itemsize) {
		/* The dict's pointer lies behind the items (Objects/object.c: _PyObject_GetDictPtr). */
		struct ca_shape shape;

		if (ca_object_shape(reader, object, &shape)) {
			uint64_t end = (shape.extent + 7) & ~7ull;

			if (end <= object->readable && end >= ca_magnitude(type->dictoffset) &&
			    type->dictoffset <= -8)
				ca_visit_own(object, (int32_t)((int64_t)end + type->dictoffset), 1,
					     type->gc ? CA_HELD_GC : CA_HELD_HIDDEN, "__dict__",
					     visitor);
		}
	}
}

/* 3.11, 3.12: the byte before the values says how far before them the block starts. */
uint64_t ca_values_prefix(const struct ca_reader *reader, ca_addr values)
{
	const uint8_t *byte = ca_image_at(reader->image, values - 1, 1);

	return byte ? *byte : 0;
}

/* The names of attributes whose values lie apart from them. */
static bool shared_keys(struct ca_reader *reader, const struct ca_type *type, struct ca_keys *keys)
{
	uint64_t table;

	return ca_image_u64(reader->image,
			    type->address + (uint64_t)reader->layout->heaptype.ht_cached_keys, &table) &&
	       table && ca_keys_parse(reader->image, reader->layout, table, keys);
}

/* 3.11, 3.12: the order of insertion lies before the values (dictobject.c: new_values). */
static void visit_values(struct ca_reader *reader, struct ca_visitor *v, const struct ca_type *type,
			 ca_addr values)
{
	struct ca_keys keys;
	uint64_t order = ca_values_prefix(reader, values);

	if (!shared_keys(reader, type, &keys))
		return;
	ca_visit_split(reader, v, &keys, values, keys.shared_size, CA_HELD_GC, CA_VIA_NAMED);
	v->buffer(v, values - order, order + keys.shared_size * 8, CA_BUFFER_OWNED);
}

static void visit_inline(struct ca_reader *reader, const struct ca_object *object,
			 struct ca_visitor *v, bool *valid)
{
	const struct ca_layout *layout = reader->layout;
	const struct ca_type *type = object->type;
	uint64_t bytes = ca_inline_bytes(reader, object), at = type->basicsize;
	struct ca_keys keys;

	if (!bytes || at + bytes > object->readable || !object->at[at + layout->values.valid])
		return;

	uint64_t capacity = object->at[at + layout->values.capacity];

	*valid = true;
	at += (uint64_t)layout->values.values;
	if (shared_keys(reader, type, &keys))
		ca_visit_split(reader, v, &keys, object->address + at, capacity, CA_HELD_GC, CA_VIA_NAMED);
	else
		ca_visit_pointers(v, object->at + at, capacity, CA_HELD_GC);
}

static void visit_managed(struct ca_reader *reader, const struct ca_object *object,
			  struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	const struct ca_type *type = object->type;
	const uint8_t *slot = object->at + layout->c.managed_dict;
	ca_addr dict = ca_load_u64(slot);
	bool passed_by = false;

	if (type->inline_values) {
		if (!dict || !layout->c.dict_visits_inline)
			visit_inline(reader, object, v, &passed_by);
	} else if (layout->c.managed_values == layout->c.managed_dict && dict & 1) {
		visit_values(reader, v, type, dict + 1);
		return;
	} else if (layout->c.managed_values && layout->c.managed_values != layout->c.managed_dict) {
		ca_addr values = ca_load_u64(object->at + layout->c.managed_values);

		if (values)
			visit_values(reader, v, type, values);
	}
	if (dict)
		v->refs(v, &(struct ca_refs){.data = slot, .count = 1, .stride = 8,
					     .held = passed_by ? CA_HELD_HIDDEN : CA_HELD_GC,
					     .via = CA_VIA_ATTR, .name = "__dict__"});
}

uint64_t ca_object_refcount(const struct ca_layout *layout, const uint8_t *at)
{
	uint64_t count = ca_load_u64(at + layout->object.ob_refcnt);

	return layout->c.immortal == 2 ? (uint32_t)count : count;
}

bool ca_object_is_immortal(const struct ca_layout *layout, const uint8_t *at)
{
	return layout->c.immortal && (int32_t)ca_load_u64(at + layout->object.ob_refcnt) < 0;
}

/*
 * During a collection the way back is in other use (Modules/gcmodule.c: update_refs), and lists'
 * heads lie on the collector's stack.
 */
static bool leads_on(struct ca_reader *reader, ca_addr next)
{
	enum { STACK_NEAR = 1 << 20 };
	const struct ca_image *image = reader->image;
	uint64_t type;

	for (size_t i = 0; i < image->lwp_count; i++)
		if (next - image->lwps[i].sp < STACK_NEAR)
			return true;
	for (size_t i = 0; i < reader->rt->interp_count; i++)
		if (next - reader->rt->interps[i].gc < (uint64_t)reader->layout->gc.size)
			return true;
	if (!ca_image_u64(image, next + 16 + (uint64_t)reader->layout->object.ob_type, &type))
		return false;

	const struct ca_type *of = ca_type_at(reader, type);

	return of && of->gc;
}

bool ca_object_links_hold(struct ca_reader *reader, const struct ca_object *object)
{
	uint64_t next = ca_load_u64(object->at - 16), back;

	if (!next) /* bit 0: a finalizer has run (pycore_gc.h: _PyGC_PREV_MASK_FINALIZED) */
		return (ca_load_u64(object->at - 8) & ~1ull) == 0;
	if (reader->rt->collecting)
		return leads_on(reader, next & ~3ull);
	return ca_image_u64(reader->image, (next & ~3ull) + 8, &back) &&
	       (back & ~3ull) == ((object->address - 16) & ~3ull);
}

bool ca_object_is_corpse(const struct ca_layout *layout, const uint8_t *at)
{
	uint64_t word = ca_load_u64(at + layout->object.ob_refcnt);

	if (ca_has(layout->object.ob_overflow)) /* the link of a free list fills the word */
		return (uint32_t)word == 0 || (word >> 32 & 0xffff) != 0;
	return word == 0 || word >> 40; /* no process has so many references */
}
