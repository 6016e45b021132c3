/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Objects of fixed shape: basicsize, items where the type has any, inline values. */
#include "kind.h"

/*
 * CPython 3.13+: a table of {capacity, size, embedded, valid}, values, and their
 * order, at basicsize. The capacity is the instance's own: a class gives fewer to
 * each new one (Objects/dictobject.c: _PyObject_InitInlineValues).
 */
uint64_t ca_inline_bytes(const struct ca_reader *reader, const struct ca_object *object)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t basicsize = object->type->basicsize;

	if (!object->type->inline_values ||
	    basicsize + (uint64_t)layout->values.values > object->readable)
		return 0;

	uint64_t capacity = object->at[basicsize + layout->values.capacity];

	return layout->values.values + capacity * 8 + ((capacity + 7) & ~7ull);
}

bool ca_plain_shape(struct ca_reader *reader, const struct ca_object *object,
		    struct ca_shape *shape)
{
	const struct ca_type *type = object->type;

	if (!type->itemsize) {
		shape->extent = shape->shallow = type->basicsize;
		return true;
	}

	int64_t count = ca_ob_size(reader, object);

	if (!ca_var_extent(object, ca_magnitude(count), &shape->extent))
		return false;
	shape->shallow = shape->extent;
	shape->slack = 2ull * type->itemsize; /* PyType_GenericAlloc adds one */
	return true;
}

/* Words of the object itself are the type's parts; what is behind them are items. */
void ca_plain_traverse(struct ca_reader *reader, const struct ca_object *object,
		       struct ca_visitor *v)
{
	const struct ca_type *type = object->type;
	struct ca_shape shape;

	if (type->itemsize && ca_object_shape(reader, object, &shape))
		ca_visit_words(object, v, type->basicsize, shape.shallow,
				  type->untaught ? CA_HELD_GUESS : type->gc ? CA_HELD_GC : CA_HELD_HIDDEN);
}

/*
 * Modules/_datetimemodule.c: a time or datetime without a tzinfo is allocated
 * without the pointer to it; hastzinfo follows the hash code.
 */
bool ca_datetime_shape(struct ca_reader *reader, const struct ca_object *object,
		       struct ca_shape *shape)
{
	const struct ca_type *type = object->type;
	bool has_tzinfo = ca_byte(object, reader->layout->object.size + 8);
	bool subclass = type->address != type->kind_owner;

	shape->shallow = type->basicsize;
	shape->extent = type->basicsize - (has_tzinfo || subclass ? 0 : type->kind->truncated);
	return true;
}

void ca_datetime_traverse(struct ca_reader *reader, const struct ca_object *object,
			  struct ca_visitor *v)
{
	struct ca_shape shape;

	if (ca_datetime_shape(reader, object, &shape))
		ca_visit_words(object, v, (uint64_t)reader->layout->object.size,
			       shape.extent < object->type->kind_end ? shape.extent : object->type->kind_end,
			       CA_HELD_HIDDEN);
}

/*
 * Objects/unicodeobject.c: two tables of 16 and 128 bytes an entry lie behind
 * the object, of which its type does not know.
 */
bool ca_encoding_map_shape(struct ca_reader *reader, const struct ca_object *object,
			   struct ca_shape *shape)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t count2 = (uint32_t)ca_word(object, layout->encoding_map.count2);
	uint64_t count3 = (uint32_t)ca_word(object, layout->encoding_map.count3);

	shape->shallow = object->type->basicsize;
	shape->extent = shape->shallow + 16 * count2 + 128 * count3 - 1;
	return true;
}

void ca_leaf_traverse(struct ca_reader *reader, const struct ca_object *object,
		      struct ca_visitor *v)
{
	(void)reader;
	(void)object;
	(void)v;
}
