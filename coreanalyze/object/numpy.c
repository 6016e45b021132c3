/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * numpy's arrays and dtypes, which have no tp_traverse.
 *
 * An array that owns its data has a reference to each object in it; a view has one
 * to its base alone. Where in an element objects lie, its dtype tells: it is one
 * itself, or has fields, or is a subarray of another dtype, which may have fields.
 *
 * Structures are those of numpy's ndarraytypes.h and told apart by their size:
 * a type of another size is not taken for an array.
 */
#include <stdlib.h>

#include "kind.h"

/* PyArrayObject_fields: releases add to its end. */
enum {
	ARRAY_DATA = 16,
	ARRAY_ND = 24,
	ARRAY_DIMENSIONS = 32,
	ARRAY_STRIDES = 40,
	ARRAY_BASE = 48,
	ARRAY_DESCR = 56,
	ARRAY_FLAGS = 64,
	ARRAY_MEM_HANDLER = 88, /* 1.22 */
	OWNS_DATA = 4,          /* NPY_ARRAY_OWNDATA */
	MOST_DIMENSIONS = 64,   /* NPY_MAXDIMS: 32 up to 1.26 */
};

static const struct {
	uint16_t basicsize;
	bool has_handler;
	bool counts_subclass; /* __sizeof__ counts what a subclass adds */
} arrays[] = {
	{80, false, false}, /* up to 1.19 */
	{88, false, true},  /* 1.20, 1.21: from the source alone */
	{96, true, true},   /* 1.22 to 2.4 */
};

/* PyArray_Descr, from 2.0 _PyArray_LegacyDescr. */
static const struct descr {
	uint16_t basicsize, flags, elsize, elsize_bytes, subarray, fields;
} descrs[] = {
	{96, 27, 32, 4, 40, 48},   /* 1.x */
	{120, 32, 40, 8, 88, 96}, /* 2.x */
};
enum { DESCR_KIND = 24, DESCR_TYPE_NUM = 28, HAS_OBJECTS = 1, TYPE_NUM_OBJECT = 17 };

bool ca_ndarray_fits(const struct ca_layout *layout, uint64_t basicsize)
{
	(void)layout;
	for (size_t i = 0; i < CA_COUNT(arrays); i++)
		if (arrays[i].basicsize == basicsize)
			return true;
	return false;
}

/* ---- dtypes ----------------------------------------------------------------- */

struct dtype {
	uint64_t bytes;
	bool is_object, has_objects;
	ca_addr subarray; /* 0, or {dtype, shape} */
	ca_addr fields;   /* a dict: name -> (dtype, offset) or (dtype, offset, title) */
};

static const struct descr *descr_of(const struct ca_type *type)
{
	for (size_t i = 0; i < CA_COUNT(descrs); i++)
		if (descrs[i].basicsize == type->basicsize)
			return &descrs[i];
	return NULL;
}

static bool read_dtype(struct ca_reader *reader, ca_addr address, struct dtype *dtype)
{
	const struct descr *descr;
	struct ca_object object;

	if (!ca_object_read(reader, address, &object) || !ca_type_is(object.type, "numpy.dtype"))
		return false;
	descr = descr_of(object.type);
	if (!descr)
		return false;
	dtype->bytes = descr->elsize_bytes == 8 ? ca_load_u64(object.at + descr->elsize)
						: ca_load_u32(object.at + descr->elsize);
	dtype->has_objects = object.at[descr->flags] & HAS_OBJECTS;
	dtype->is_object = object.at[DESCR_KIND] == 'O' && dtype->bytes == 8 &&
			   ca_load_u32(object.at + DESCR_TYPE_NUM) == TYPE_NUM_OBJECT;
	dtype->subarray = ca_load_u64(object.at + descr->subarray);
	dtype->fields = ca_load_u64(object.at + descr->fields);
	return true;
}

/* Of the rest of a dtype's words nothing is taught. */
void ca_dtype_traverse(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v)
{
	enum { SUBARRAY_BYTES = 16 };
	const struct descr *descr = descr_of(object->type);
	ca_addr subarray = descr ? ca_word(object, descr->subarray) : 0;

	if (!subarray)
		return;
	v->buffer(v, subarray, SUBARRAY_BYTES, CA_BUFFER_OWNED);
	ca_visit_array(reader, v, subarray, SUBARRAY_BYTES / 8, CA_HELD_HIDDEN);
}

/* ---- where in an element objects lie ------------------------------------------ */

/* A dtype inside of an array's: a field of the one above it, or an item of its subarray. */
struct part {
	ca_addr dtype;
	uint64_t offset, count; /* bytes from the element's start; objects that lie side by side there */
	struct ca_step step;
	uint32_t above, depth;
};

/* No program's dtype has more. */
enum { MOST_PARTS = 1 << 14, MOST_DEPTH = 32 };

struct parts {
	struct part *items;
	size_t count, capacity;
	bool too_many;
};

static void add_part(struct parts *parts, struct part part)
{
	parts->too_many |= parts->count == MOST_PARTS || part.depth == MOST_DEPTH;
	if (parts->too_many)
		return;
	parts->items = ca_grow(parts->items, &parts->capacity, parts->count + 1, sizeof(*parts->items));
	parts->items[parts->count++] = part;
}

static uint64_t tuple_size(struct ca_reader *reader, ca_addr tuple)
{
	uint64_t size;

	return ca_image_u64(reader->image, tuple + (uint64_t)reader->layout->var.ob_size, &size) ? size : 0;
}

static uint64_t tuple_item(struct ca_reader *reader, ca_addr tuple, unsigned i)
{
	uint64_t item;

	return ca_image_u64(reader->image, tuple + (uint64_t)reader->layout->tuple.ob_item + 8 * i, &item)
		       ? item
		       : 0;
}

/* An int of at most two digits, which are of 30 bits. */
static bool read_offset(struct ca_reader *reader, ca_addr address, uint64_t *offset)
{
	enum { DIGIT_BITS = 30 };
	const struct ca_layout *layout = reader->layout;
	struct ca_object object;
	struct ca_shape shape;
	uint64_t digits;

	if (!ca_object_read(reader, address, &object) ||
	    !(object.type->flags & CA_TPFLAGS_LONG_SUBCLASS) || !ca_object_shape(reader, &object, &shape))
		return false;
	digits = ca_has(layout->pylong.lv_tag) ? ca_word(&object, layout->pylong.lv_tag) >> 3
					       : (uint64_t)ca_ob_size(reader, &object);
	if (digits > 2)
		return false;
	*offset = 0;
	for (uint64_t i = digits; i-- > 0;)
		*offset = *offset << DIGIT_BITS | ca_load_u32(object.at + layout->pylong.ob_digit + i * 4);
	return true;
}

/* The part's items, if they have objects; objects themselves make one part. */
static void add_subarray(struct ca_reader *reader, struct parts *parts, uint32_t above,
			 const struct dtype *whole)
{
	struct part part = parts->items[above];
	uint64_t item, shape;
	struct dtype dtype;

	if (!ca_image_u64(reader->image, whole->subarray, &item) ||
	    !ca_image_u64(reader->image, whole->subarray + 8, &shape) ||
	    !read_dtype(reader, item, &dtype) || !dtype.has_objects || !dtype.bytes)
		return;
	part.dtype = item;
	part.above = above;
	part.depth++;
	part.step = (struct ca_step){.kind = tuple_size(reader, shape) == 1 ? CA_STEP_INDEX : CA_STEP_FLAT};
	if (dtype.is_object) {
		part.count = whole->bytes / 8;
		add_part(parts, part);
		return;
	}
	for (uint64_t i = 0; i < whole->bytes / dtype.bytes && !parts->too_many; i++) {
		add_part(parts, part);
		part.step.index++;
		part.offset += dtype.bytes;
	}
}

/* A field with a title is there twice: a title's key is the third of its tuple. */
static void add_fields(struct ca_reader *reader, struct parts *parts, uint32_t above,
		       const struct dtype *whole)
{
	const struct part *from = &parts->items[above];
	uint64_t begin = from->offset, table, offset;
	uint32_t depth = from->depth + 1;
	struct ca_keys keys;
	struct dtype dtype;

	if (!ca_image_u64(reader->image, whole->fields + (uint64_t)reader->layout->dict.ma_keys, &table) ||
	    !ca_keys_parse(reader->image, reader->layout, table, &keys))
		return;
	for (uint64_t i = 0; i < keys.nentries && !parts->too_many; i++) {
		const uint8_t *entry = ca_image_at(
			reader->image, keys.entries + i * keys.entry_bytes + keys.key_at, 16);
		ca_addr key = entry ? ca_load_u64(entry) : 0, field = entry ? ca_load_u64(entry + 8) : 0;
		uint64_t size = field ? tuple_size(reader, field) : 0;

		if (size < 2 || (size > 2 && tuple_item(reader, field, 2) == key) ||
		    !read_dtype(reader, tuple_item(reader, field, 0), &dtype) || !dtype.has_objects ||
		    !read_offset(reader, tuple_item(reader, field, 1), &offset) ||
		    dtype.bytes > whole->bytes || offset > whole->bytes - dtype.bytes)
			continue;
		add_part(parts, (struct part){.dtype = tuple_item(reader, field, 0),
					      .offset = begin + offset,
					      .count = dtype.is_object,
					      .step = {.kind = CA_STEP_FIELD, .key = key},
					      .above = above,
					      .depth = depth});
	}
}

/* The first part is the dtype as a whole. Each has count 0, or is of objects. */
static void find_parts(struct ca_reader *reader, ca_addr address, struct parts *parts)
{
	struct dtype dtype;

	if (!read_dtype(reader, address, &dtype) || !dtype.has_objects)
		return;
	add_part(parts, (struct part){.dtype = address, .count = dtype.is_object});
	for (uint32_t i = 0; i < parts->count; i++) {
		if (parts->items[i].count || !read_dtype(reader, parts->items[i].dtype, &dtype))
			continue;
		if (dtype.subarray)
			add_subarray(reader, parts, i, &dtype);
		else
			add_fields(reader, parts, i, &dtype);
	}
}

/* ---- arrays ----------------------------------------------------------------- */

struct array {
	const uint8_t *dimensions, *strides;
	ca_addr data;
	uint32_t nd;
	uint64_t count, bytes; /* elements; bytes of each */
	bool owns_data;
};

static uint64_t dimension(const struct array *array, uint32_t i)
{
	return ca_load_u64(array->dimensions + i * 8);
}

static uint64_t stride(const struct array *array, uint32_t i)
{
	return ca_load_u64(array->strides + i * 8);
}

static bool read_array(struct ca_reader *reader, const struct ca_object *object, struct array *array)
{
	uint32_t flags = ca_load_u32(object->at + ARRAY_FLAGS);
	struct dtype dtype;

	*array = (struct array){.data = ca_word(object, ARRAY_DATA),
				.nd = ca_load_u32(object->at + ARRAY_ND),
				.count = 1,
				.owns_data = flags & OWNS_DATA};
	if (array->nd > MOST_DIMENSIONS || !read_dtype(reader, ca_word(object, ARRAY_DESCR), &dtype))
		return false;
	array->bytes = dtype.bytes;
	array->dimensions = ca_image_at(reader->image, ca_word(object, ARRAY_DIMENSIONS), array->nd * 8ull);
	array->strides = ca_image_at(reader->image, ca_word(object, ARRAY_STRIDES), array->nd * 8ull);
	if (array->nd && (!array->dimensions || !array->strides))
		return false;
	for (uint32_t i = 0; i < array->nd; i++)
		if (__builtin_mul_overflow(array->count, dimension(array, i), &array->count))
			return false;
	return array->count <= CA_MOST_BYTES && array->bytes <= CA_MOST_BYTES &&
	       (!array->bytes || array->count <= CA_MOST_BYTES / array->bytes);
}

/* What array_sizeof() of numpy's methods.c begins with; dimensions and strides are one buffer. */
bool ca_ndarray_shape(struct ca_reader *reader, const struct ca_object *object, struct ca_shape *shape)
{
	const struct ca_type *type = object->type;

	(void)reader;
	shape->extent = shape->shallow = type->basicsize;
	for (size_t i = 0; i < CA_COUNT(arrays); i++)
		if (arrays[i].basicsize == type->kind_end && !arrays[i].counts_subclass)
			shape->shallow = type->kind_end;
	return true;
}

/* Elements that lie in memory of the process, none over another. */
static bool elements_lie_apart(struct ca_reader *reader, const struct array *array)
{
	uint64_t span = array->bytes, step, run;

	for (uint32_t i = 0; i < array->nd; i++)
		if (__builtin_mul_overflow(dimension(array, i) - 1, stride(array, i), &step) ||
		    __builtin_add_overflow(span, step, &span))
			return false;
	if (span < array->count * array->bytes || span > CA_MOST_BYTES)
		return false;
	for (uint64_t at = 0; at < span; at += run)
		if (!ca_image_run(reader->image, array->data + at, &run))
			return false;
	return true;
}

/* `count` pointers of one row, `stride` bytes apart; a large buffer may lie in several mappings. */
static void visit_row(struct ca_reader *reader, struct ca_visitor *v, ca_addr at, uint64_t count,
		      struct ca_refs *refs)
{
	enum { BATCH = 64 };
	uint64_t words[BATCH];
	struct ca_refs batch = *refs;

	refs->count = count;
	refs->data = ca_image_at(reader->image, at, (count - 1) * refs->stride + 8);
	if (refs->data) {
		v->refs(v, refs);
		return;
	}
	batch.data = (const uint8_t *)words;
	batch.stride = 8;
	for (uint64_t i = 0; i < count; i += batch.count, batch.first += batch.count) {
		batch.count = count - i < BATCH ? count - i : BATCH;
		for (uint64_t k = 0; k < batch.count; k++)
			if (!ca_image_u64(reader->image, at + (i + k) * refs->stride, &words[k]))
				words[k] = 0;
		v->refs(v, &batch);
	}
}

/* The same pointer of each element, in the order of .flat. */
static void visit_pointer(struct ca_reader *reader, struct ca_visitor *v, const struct array *array,
			  uint64_t offset, const struct ca_element *element)
{
	uint64_t index[MOST_DIMENSIONS] = {0};
	uint32_t last = array->nd ? array->nd - 1 : 0;
	uint64_t row = array->nd ? dimension(array, last) : 1;
	struct ca_refs refs = {.stride = array->nd ? stride(array, last) : 8,
			       .held = CA_HELD_HIDDEN,
			       .via = CA_VIA_ELEMENT,
			       .element = element};
	uint32_t i;

	do {
		ca_addr at = array->data + offset;

		for (i = 0; i < last; i++)
			at += index[i] * stride(array, i);
		visit_row(reader, v, at, row, &refs);
		refs.first += row;
		for (i = last; i-- > 0 && ++index[i] == dimension(array, i);)
			index[i] = 0;
	} while (i != UINT32_MAX);
}

static void visit_part(struct ca_reader *reader, struct ca_visitor *v, const struct array *array,
		       const struct parts *parts, const struct part *part)
{
	struct ca_step steps[MOST_DEPTH];
	struct ca_element element = {.dimensions = array->nd, .steps = steps, .step_count = part->depth};
	const struct part *at = part;

	for (uint32_t i = part->depth; i-- > 0; at = &parts->items[at->above])
		steps[i] = at->step;
	for (uint64_t i = 0; i < part->count; i++) {
		visit_pointer(reader, v, array, part->offset + i * 8, &element);
		if (part->depth)
			steps[part->depth - 1].index++;
	}
}

static void visit_elements(struct ca_reader *reader, const struct ca_object *object,
			   const struct array *array, struct ca_visitor *v)
{
	struct parts parts = {0};

	find_parts(reader, ca_word(object, ARRAY_DESCR), &parts);
	if (parts.too_many)
		ca_warn(reader->rt->ctx, "numpy-fields", object->address,
			"what its other fields refer to is missing",
			"an array's dtype has more fields than %d, or deeper ones than %d", MOST_PARTS,
			MOST_DEPTH);
	if (parts.count && !elements_lie_apart(reader, array))
		ca_warn(reader->rt->ctx, "damaged-object", object->address,
			"what its elements refer to is missing",
			"an array says that its elements lie where the process has no memory");
	else
		for (size_t i = 0; i < parts.count; i++)
			visit_part(reader, v, array, &parts, &parts.items[i]);
	free(parts.items);
}

void ca_ndarray_traverse(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v)
{
	struct array array;

	ca_visit_own(object, ARRAY_BASE, 1, CA_HELD_HIDDEN, "base", v);
	ca_visit_own(object, ARRAY_DESCR, 1, CA_HELD_HIDDEN, "dtype", v);
	for (size_t i = 0; i < CA_COUNT(arrays); i++)
		if (arrays[i].basicsize == object->type->kind_end && arrays[i].has_handler)
			ca_visit_own(object, ARRAY_MEM_HANDLER, 1, CA_HELD_HIDDEN, NULL, v);
	if (!read_array(reader, object, &array))
		return;
	ca_visit_buffer(v, ca_word(object, ARRAY_DIMENSIONS), array.nd, 16, CA_BUFFER_COUNTED);
	if (!array.owns_data)
		return;
	ca_visit_buffer(v, array.data, array.count, array.bytes, CA_BUFFER_COUNTED);
	if (array.count)
		visit_elements(reader, object, &array, v);
}
