/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "instances.h"

void ca_words_add(struct ca_words *words, ca_addr word)
{
	words->items = ca_grow(words->items, &words->capacity, words->count + 1, sizeof(*words->items));
	words->items[words->count++] = word;
}

static int word_order(const void *a, const void *b)
{
	const ca_addr *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

void ca_words_sort(struct ca_words *words)
{
	if (words->count)
		qsort(words->items, words->count, sizeof(*words->items), word_order);
}

/* gc.get_referents() passes static types by (tp_is_gc). */
static bool is_collectors(const struct ca_objects *objects, ca_addr address,
			  const struct ca_instances *of)
{
	uint64_t flags;

	return !of->is_meta ||
	       (ca_image_u64(objects->image, address + (uint64_t)objects->rt->layout.type.tp_flags,
			     &flags) &&
		flags & CA_TPFLAGS_HEAPTYPE);
}

struct ca_instances *ca_instances_choose(const struct ca_objects *objects, uint32_t most,
					 bool (*wanted)(const struct ca_type *type))
{
	struct ca_instances *all = ca_alloc((objects->type_count + 1) * sizeof(*all));
	int32_t at = objects->rt->layout.type.tp_traverse;
	struct ca_cursor cursor;

	for (uint32_t node = 1; node <= objects->count; node++)
		all[ca_node_type(objects, node)].seen++;
	for (uint32_t i = 0; i < objects->type_count; i++) {
		const struct ca_type *type = objects->types[i].type;

		if (type->gc && wanted(type))
			ca_image_u64(objects->image, type->address + (uint64_t)at, &all[i].function);
		all[i].is_meta = type->is_meta;
		all[i].step = most && all[i].seen > most ? all[i].seen / most : 1;
		all[i].most = most ? most : UINT32_MAX;
		all[i].seen = 0;
	}
	for (ca_cursor_init(&cursor, objects); cursor.node; ca_cursor_next(&cursor)) {
		struct ca_instances *of = &all[ca_node_type(objects, cursor.node)];

		if (of->function && is_collectors(objects, cursor.address, of) &&
		    of->seen++ % of->step == 0 && of->addresses.count < of->most)
			ca_words_add(&of->addresses, cursor.address);
	}
	return all;
}

void ca_instances_free(struct ca_instances *instances, uint32_t type_count)
{
	for (uint32_t i = 0; i < type_count; i++)
		free(instances[i].addresses.items);
	free(instances);
}
