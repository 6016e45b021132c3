/* SPDX-License-Identifier: GPL-3.0-or-later */
/* int, str, bytes, bytearray: values, and the buffers that hold them. */
#include "kind.h"

enum { CA_BLOCK_SLACK = 16 };

/* A block is kept by realloc when it shrinks by less than a quarter (Objects/obmalloc.c). */
static uint64_t realloc_slack(uint64_t extent)
{
	return extent / 3 + CA_BLOCK_SLACK;
}

bool ca_long_shape(struct ca_reader *reader, const struct ca_object *object, struct ca_shape *shape)
{
	const struct ca_layout *layout = reader->layout;
	const struct ca_type *type = object->type;
	uint64_t digits;

	if (ca_has(layout->pylong.lv_tag)) {
		uint64_t tag = ca_word(object, layout->pylong.lv_tag);

		digits = tag >> 3;
		if ((tag & 3) == 3 || (digits == 0) != ((tag & 3) == 1))
			return false;
	} else {
		int64_t size = ca_ob_size(reader, object);

		digits = ca_magnitude(size);
	}
	if (digits > object->readable / 4 || !ca_var_extent(object, digits, &shape->extent))
		return false;
	shape->slack = UINT32_MAX; /* normalising drops digits without giving them back */

	uint64_t counted = digits || !layout->c.int_counts_zero_digit ? digits : 1;

	shape->shallow = (layout->c.int_sizeof_by_type ? type->basicsize
						       : (uint64_t)layout->pylong.ob_digit) +
			 counted * 4;
	return true;
}

/* PyASCIIObject.state (Include/cpython/unicodeobject.h), the same bits in 3.8 to 3.15. */
struct str_state {
	unsigned kind;
	bool compact, ascii;
};

static struct str_state str_state(const struct ca_layout *layout, const uint8_t *at)
{
	uint32_t bits = ca_load_u32(at + layout->ascii.state);

	return (struct str_state){bits >> 2 & 7, bits >> 5 & 1, bits >> 6 & 1};
}

bool ca_str_shape(struct ca_reader *reader, const struct ca_object *object, struct ca_shape *shape)
{
	const struct ca_layout *layout = reader->layout;
	struct str_state state = str_state(layout, object->at);
	uint64_t length = ca_word(object, layout->ascii.length);

	/* kind 0: a legacy str that was never made ready (3.8 to 3.11) */
	if ((state.kind != 1 && state.kind != 2 && state.kind != 4 &&
	     !(state.kind == 0 && ca_has(layout->ascii.wstr) && !state.compact)) ||
	    length >> 40)
		return false;
	if (!state.compact) {
		shape->extent = object->type->basicsize;
		shape->shallow = layout->unicode.size;
		return true;
	}
	shape->extent = state.ascii ? layout->ascii.size + length + 1
				    : layout->compact.size + (length + 1) * state.kind;
	shape->shallow = shape->extent;
	shape->slack = realloc_slack(shape->extent);
	return !state.ascii || state.kind == 1;
}

void ca_str_traverse(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	struct str_state state = str_state(layout, object->at);
	uint64_t length = ca_word(object, layout->ascii.length);
	ca_addr data = object->address + (state.ascii ? layout->ascii.size : layout->compact.size);

	if (!state.compact) {
		data = ca_word(object, layout->unicode.data);
		if (data)
			v->buffer(v, data, (length + 1) * state.kind, CA_BUFFER_COUNTED);
	}
	if (!(state.compact && state.ascii)) {
		ca_addr utf8 = ca_word(object, layout->compact.utf8);

		if (utf8 && utf8 != data)
			v->buffer(v, utf8, ca_word(object, layout->compact.utf8_length) + 1,
				  CA_BUFFER_COUNTED);
	}
	if (ca_has(layout->ascii.wstr)) {
		ca_addr wstr = ca_word(object, layout->ascii.wstr);
		uint64_t count = state.compact && state.ascii
					 ? length
					 : ca_word(object, layout->compact.wstr_length);

		if (wstr && wstr != data)
			v->buffer(v, wstr, (count + 1) * 4, CA_BUFFER_COUNTED);
	}
}

bool ca_bytes_shape(struct ca_reader *reader, const struct ca_object *object,
		    struct ca_shape *shape)
{
	uint64_t length = (uint64_t)ca_ob_size(reader, object);

	if (!ca_var_extent(object, length, &shape->extent))
		return false;
	shape->shallow = shape->extent;
	shape->slack = realloc_slack(shape->extent);
	return true;
}

bool ca_bytearray_shape(struct ca_reader *reader, const struct ca_object *object,
			struct ca_shape *shape)
{
	shape->extent = shape->shallow = object->type->basicsize;
	return ca_ob_size(reader, object) >= 0;
}

void ca_bytearray_traverse(struct ca_reader *reader, const struct ca_object *object,
			   struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr data = ca_word(object, layout->bytearray.ob_bytes);
	uint64_t allocated = ca_word(object, layout->bytearray.ob_alloc);

	if (!ca_has(layout->bytearray.ob_bytes_object)) {
		ca_visit_buffer(v, data, allocated, 1, CA_BUFFER_COUNTED);
		return;
	}
	/* 3.15: the buffer is a bytes object, and counts as one */
	ca_visit_own(object, layout->bytearray.ob_bytes_object, 1, CA_HELD_HIDDEN, NULL, v);
	if (allocated && allocated < CA_MOST_BYTES &&
	    ca_image_mapping(reader->image, data + allocated - 1))
		v->buffer(v, 0, (uint64_t)layout->bytes.ob_sval + allocated + 1, CA_BUFFER_COUNTED);
}
