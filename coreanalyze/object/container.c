/* SPDX-License-Identifier: GPL-3.0-or-later */
/* list, tuple, set, deque. */
#include "kind.h"

bool ca_list_shape(struct ca_reader *reader, const struct ca_object *object, struct ca_shape *shape)
{
	int64_t size = ca_ob_size(reader, object);
	int64_t allocated = (int64_t)ca_word(object, reader->layout->list.allocated);

	shape->extent = shape->shallow = object->type->basicsize;
	return size <= allocated || allocated == -1; /* -1: list.sort() is at work */
}

static void visit_items(struct ca_reader *reader, struct ca_visitor *v, ca_addr items, uint64_t count)
{
	uint64_t run;
	const uint8_t *data = ca_image_run(reader->image, items, &run);

	if (data)
		v->refs(v, &(struct ca_refs){.data = data,
					     .count = count < run / 8 ? count : run / 8,
					     .stride = 8,
					     .held = CA_HELD_GC,
					     .via = CA_VIA_INDEX});
}

void ca_list_traverse(struct ca_reader *reader, const struct ca_object *object,
		      struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr items = ca_word(object, layout->list.ob_item);
	int64_t allocated = (int64_t)ca_word(object, layout->list.allocated);
	int64_t size = ca_ob_size(reader, object);

	if (!items || allocated <= 0)
		return;
	v->buffer(v, items, (uint64_t)allocated * 8, CA_BUFFER_COUNTED);
	if (size > 0 && size <= allocated)
		visit_items(reader, v, items, (uint64_t)size);
}

bool ca_tuple_shape(struct ca_reader *reader, const struct ca_object *object,
		    struct ca_shape *shape)
{
	const struct ca_type *type = object->type;
	bool exact = type->address == type->kind_owner;

	if (!ca_var_extent(object, (uint64_t)ca_ob_size(reader, object), &shape->extent))
		return false;
	shape->shallow = shape->extent;
	/* A struct sequence has fields beyond ob_size (Objects/structseq.c); a tuple may have shrunk. */
	shape->slack = exact ? shape->extent / 3 + 16 : UINT32_MAX;
	return true;
}

void ca_tuple_traverse(struct ca_reader *reader, const struct ca_object *object,
		       struct ca_visitor *v)
{
	int32_t at = reader->layout->tuple.ob_item;
	const struct ca_type *type = object->type;
	uint64_t count = (uint64_t)ca_ob_size(reader, object);
	uint64_t room = ca_room(object, at) / 8;

	if (count < type->real_items) {
		count = type->real_items;
	} else if (type->dictoffset >= -1 && type->basicsize > type->kind_end && count < room) {
		/* slots of a class lie behind the items (3.15) */
		uint64_t slots = (type->basicsize - type->kind_end) / 8;

		ca_visit_own(object, at + (int32_t)(count * 8), slots, CA_HELD_GC, NULL, v);
	}

	v->refs(v, &(struct ca_refs){.data = object->at + at,
				     .count = count < room ? count : room,
				     .stride = 8,
				     .held = CA_HELD_GC,
				     .via = CA_VIA_INDEX});
}

void ca_set_traverse(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t slots = ca_word(object, layout->set.mask) + 1;
	ca_addr table = ca_word(object, layout->set.table);
	uint64_t run;

	if (!table || !slots || slots > UINT64_MAX / 16)
		return;
	if (table != object->address + layout->set.smalltable)
		v->buffer(v, table, slots * 16, CA_BUFFER_COUNTED);

	const uint8_t *entries = ca_image_run(reader->image, table, &run);

	if (!entries)
		return;
	if (slots > run / 16)
		slots = run / 16;
	/* {key, hash}; a removed entry has a dummy key that is no object (Objects/setobject.c) */
	v->refs(v, &(struct ca_refs){.data = entries, .count = slots, .stride = 16,
				     .held = CA_HELD_GC, .via = CA_VIA_MEMBER});
}

/* Modules/_collectionsmodule.c: a block is {left, data[BLOCKLEN], right}. */
enum { BLOCKLEN = 64, BLOCK_BYTES = (BLOCKLEN + 2) * 8 };

void ca_deque_traverse(struct ca_reader *reader, const struct ca_object *object,
		       struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr block = ca_word(object, layout->deque.leftblock);
	uint64_t index = ca_word(object, layout->deque.leftindex);
	uint64_t left = (uint64_t)ca_ob_size(reader, object);
	struct ca_loop loop = {0};

	if (index >= BLOCKLEN + 1)
		return;
	do {
		const uint8_t *at = ca_loop_closed(&loop, block) ? NULL
								 : ca_image_at(reader->image, block, BLOCK_BYTES);
		uint64_t count = BLOCKLEN - index < left ? BLOCKLEN - index : left;

		if (!at)
			return;
		v->buffer(v, block, BLOCK_BYTES, CA_BUFFER_COUNTED);
		v->refs(v, &(struct ca_refs){.data = at + 8 + index * 8, .count = count,
					     .stride = 8, .held = CA_HELD_GC, .via = CA_VIA_INDEX,
					     .first = (uint64_t)ca_ob_size(reader, object) - left});
		left -= count;
		index = 0;
		block = ca_load_u64(at + 8 + BLOCKLEN * 8);
	} while (left);

	if (!ca_has(layout->deque.freeblocks))
		return;

	uint64_t spare = ca_word(object, layout->deque.numfreeblocks);

	for (uint64_t i = 0; i < spare && i < 16; i++)
		v->buffer(v, ca_word(object, layout->deque.freeblocks + i * 8), BLOCK_BYTES,
			  CA_BUFFER_OWNED);
}
