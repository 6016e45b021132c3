/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Modules/_ctypes: what a type of C is, and instances whose data are elsewhere. */
#include "kind.h"

/* The parts of a StgInfo that __sizeof__ counts: format, shape, elements of a structure. */
static void visit_stginfo(struct ca_reader *reader, struct ca_visitor *v, const uint8_t *info)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr elements = ca_load_u64(info + layout->stginfo.ffi_elements);
	uint32_t dimensions = ca_load_u32(info + layout->stginfo.ndim);
	ca_addr shape = ca_load_u64(info + layout->stginfo.shape);

	ca_visit_text(reader, v, ca_load_u64(info + layout->stginfo.format), CA_BUFFER_COUNTED);
	ca_visit_buffer(v, elements, ca_load_u64(info + layout->stginfo.length) + 1, 8,
			CA_BUFFER_COUNTED);
	v->buffer(v, shape, dimensions * 8ull, CA_BUFFER_COUNTED);
}

/*
 * Up to 3.12 the namespace of a ctypes type is a dict with a StgInfo behind it;
 * its __sizeof__ counts what is behind the dict twice (stgdict.c: PyCStgDict_sizeof).
 */
void ca_stgdict_traverse(struct ca_reader *reader, const struct ca_object *object,
			 struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t begin = (uint64_t)layout->dict.size, end = (uint64_t)layout->stginfo.size;

	ca_dict_traverse(reader, object, v);
	ca_visit_words(object, v, begin, end, CA_HELD_HIDDEN); /* tp_traverse is dict's */
	if (ca_has(layout->stginfo.initialized) || end > object->readable)
		return;
	v->buffer(v, 0, end - begin, CA_BUFFER_COUNTED);
	visit_stginfo(reader, v, object->at);
}

/* 3.13+: a metatype that does without what type.__sizeof__ counts (_ctypes.c). */
bool ca_ctype_shape(struct ca_reader *reader, const struct ca_object *object,
		    struct ca_shape *shape)
{
	if (!ca_type_shape(reader, object, shape))
		return false;
	shape->shallow = shape->extent;
	return true;
}

void ca_ctype_traverse(struct ca_reader *reader, const struct ca_object *object,
		       struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	/* PyObject_GetTypeData(): behind what the metatype's base has, aligned */
	uint64_t info = ((uint64_t)layout->heaptype.size + 15) & ~15ull;

	ca_visit_type(reader, object, v, CA_BUFFER_OWNED);
	if (ca_has(layout->stginfo.initialized) &&
	    info + (uint64_t)layout->stginfo.size <= object->readable &&
	    ca_load_u32(object->at + info + layout->stginfo.initialized)) {
		visit_stginfo(reader, v, object->at + info);
		ca_visit_words(object, v, info, info + (uint64_t)layout->stginfo.size, CA_HELD_GC);
	}
}

bool ca_pointer_type_shape(struct ca_reader *reader, const struct ca_object *object,
			   struct ca_shape *shape)
{
	return ca_has(reader->layout->stginfo.initialized) ? ca_ctype_shape(reader, object, shape)
							    : ca_type_shape(reader, object, shape);
}

/* Up to 3.12: what the type's dict of its own kind points to is visited with the type. */
void ca_pointer_type_traverse(struct ca_reader *reader, const struct ca_object *object,
			      struct ca_visitor *v)
{
	enum { PROTO_FROM_FORMAT = -72 }; /* stgdict.h: proto ... flags, format */
	const struct ca_layout *layout = reader->layout;
	ca_addr dict = ca_word(object, layout->type.tp_dict);
	uint64_t proto;

	if (ca_has(layout->stginfo.initialized)) {
		ca_ctype_traverse(reader, object, v);
		return;
	}
	ca_visit_type(reader, object, v, CA_BUFFER_COUNTED);
	if (dict && ca_image_u64(reader->image,
				 dict + (uint64_t)(layout->stginfo.format + PROTO_FROM_FORMAT), &proto))
		v->refs(v, &(struct ca_refs){.data = (const uint8_t *)&proto, .count = 1, .stride = 8,
					     .held = CA_HELD_VISITED});
}

/* Data too large for the instance are in memory of its own (_ctypes.c: PyCData_MallocBuffer). */
void ca_cdata_traverse(struct ca_reader *reader, const struct ca_object *object,
		       struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr data = ca_word(object, layout->cdata.b_ptr);
	bool inside = data == object->address + (uint64_t)layout->cdata.b_value;

	if (!inside && (uint32_t)ca_word(object, layout->cdata.b_needsfree))
		ca_visit_buffer(v, data, ca_word(object, layout->cdata.b_size), 1, CA_BUFFER_OWNED);
}
