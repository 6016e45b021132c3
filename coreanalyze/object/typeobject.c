/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Types as objects. */
#include "kind.h"

bool ca_type_shape(struct ca_reader *reader, const struct ca_object *object, struct ca_shape *shape)
{
	const struct ca_layout *layout = reader->layout;

	shape->slack = UINT32_MAX;
	if (!object->pre) {
		shape->extent = shape->shallow = layout->type.size;
		return true;
	}
	shape->shallow = layout->heaptype.size;
	return object->type->basicsize >= (uint32_t)layout->heaptype.size &&
	       ca_var_extent(object, (uint64_t)ca_ob_size(reader, object), &shape->extent);
}

/*
 * Objects/structseq.c gives static types a table of members of their own, which
 * ends with one without name (struct PyMemberDef: 40 bytes, the name first).
 */
static void visit_members(struct ca_reader *reader, const struct ca_object *object,
			  struct ca_visitor *v)
{
	enum { MEMBER_BYTES = 40, MAX_MEMBERS = 4096 };
	ca_addr members = ca_word(object, reader->layout->type.tp_members);
	uint64_t count = 0, name;

	if (!members || ca_image_module(reader->image, members))
		return;
	while (count < MAX_MEMBERS &&
	       ca_image_u64(reader->image, members + count * MEMBER_BYTES, &name) && name)
		count++;
	v->buffer(v, members, (count + 1) * MEMBER_BYTES, CA_BUFFER_OWNED);
}

/* keys_are: what the table of its instances' attributes is to it. */
void ca_visit_type(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v,
		   enum ca_buffer keys_are)
{
	const struct ca_layout *layout = reader->layout;
	struct ca_keys keys;
	struct ca_shape shape;
	uint64_t end = layout->type.size;

	if (object->pre && ca_type_shape(reader, object, &shape))
		end = shape.extent;
	ca_visit_words(object, v, layout->object.size, end);

	ca_addr dict = ca_type_dict(reader, object->address);

	if (dict)
		ca_visit_word(v, (const uint8_t *)&dict);
	if (!object->pre) {
		visit_members(reader, object, v);
		return;
	}

	ca_addr table = ca_word(object, layout->heaptype.ht_cached_keys);

	if (table && ca_keys_parse(reader->image, layout, table, &keys)) {
		v->buffer(v, table, keys.bytes, keys_are);
		ca_visit_keys(reader, v, &keys);
	}
	if (ca_has(layout->heaptype._ht_tpname))
		ca_visit_text(reader, v, ca_word(object, layout->heaptype._ht_tpname),
			      CA_BUFFER_OWNED);
	ca_visit_text(reader, v, ca_word(object, layout->type.tp_doc), CA_BUFFER_OWNED);
}

void ca_type_traverse(struct ca_reader *reader, const struct ca_object *object,
		      struct ca_visitor *v)
{
	ca_visit_type(reader, object, v, CA_BUFFER_COUNTED);
}
