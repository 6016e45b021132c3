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
		ca_visit_array(reader, v, items, (uint64_t)size);
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
	uint64_t count = (uint64_t)ca_ob_size(reader, object);
	uint64_t room = ca_room(object, at) / 8;

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
	/* {key, hash}: a removed entry keeps a dummy key with hash -1 (Objects/setobject.c). */
	for (uint64_t i = 0; i < slots; i++)
		if (ca_load_u64(entries + i * 16) && ca_load_u64(entries + i * 16 + 8) != UINT64_MAX)
			ca_visit_word(v, entries + i * 16);
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
		ca_visit_pointers(v, at + 8 + index * 8, count, CA_HELD_GC);
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
