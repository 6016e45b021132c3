/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "molds.h"

enum { FIRST_BITS = 10 };

void ca_molds_init(struct ca_molds *molds)
{
	*molds = (struct ca_molds){.slots = ca_alloc(sizeof(*molds->slots) << FIRST_BITS),
				   .slot_bits = FIRST_BITS};
}

void ca_molds_fini(struct ca_molds *molds)
{
	free(molds->slots);
	free(molds->items);
}

static uint32_t *slot_of(const struct ca_molds *molds, const struct ca_mold *mold)
{
	uint64_t key = mold->bytes ^ (uint64_t)mold->type << 24 ^ mold->owned << 40 ^
		       mold->owned >> 24 ^ (uint64_t)mold->flags << 63;
	size_t mask = ((size_t)1 << molds->slot_bits) - 1;
	/* 2^64 / golden ratio: it moves all bits up to where we look. */
	size_t i = key * 0x9e3779b97f4a7c15u >> (64 - molds->slot_bits);

	while (molds->slots[i] && !ca_mold_is(&molds->items[molds->slots[i] - 1], mold))
		i = (i + 1) & mask;
	return &molds->slots[i];
}

static void double_slots(struct ca_molds *molds)
{
	free(molds->slots);
	molds->slots = ca_alloc(sizeof(*molds->slots) << ++molds->slot_bits);
	for (size_t i = 0; i < molds->count; i++)
		*slot_of(molds, &molds->items[i]) = (uint32_t)i + 1;
}

uint32_t ca_molds_find(struct ca_molds *molds, const struct ca_mold *mold)
{
	uint32_t *slot = slot_of(molds, mold);

	if (*slot)
		return *slot - 1;
	if (molds->count >> (molds->slot_bits - 2)) {
		double_slots(molds);
		slot = slot_of(molds, mold);
	}
	molds->items = ca_grow(molds->items, &molds->capacity, molds->count + 1,
			       sizeof(*molds->items));
	molds->items[molds->count] = *mold;
	molds->items[molds->count].count = 0;
	*slot = (uint32_t)++molds->count;
	return *slot - 1;
}

/* ---- settled -------------------------------------------------------------- */

struct met {
	struct ca_mold mold;
	uint32_t table, index;
};

static int mold_order(const void *left, const void *right)
{
	const struct ca_mold *a = &((const struct met *)left)->mold;
	const struct ca_mold *b = &((const struct met *)right)->mold;

	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	if (a->bytes != b->bytes)
		return a->bytes < b->bytes ? -1 : 1;
	if (a->owned != b->owned)
		return a->owned < b->owned ? -1 : 1;
	return a->flags < b->flags ? -1 : a->flags > b->flags;
}

static struct met *gather(const struct ca_molds *const *tables, size_t count, const uint32_t *types,
			  size_t *total)
{
	struct met *all;

	*total = 0;
	for (size_t t = 0; t < count; t++)
		*total += tables[t]->count;
	all = ca_alloc(*total * sizeof(*all));
	*total = 0;
	for (size_t t = 0; t < count; t++) {
		for (size_t i = 0; i < tables[t]->count; i++) {
			struct met *met = &all[(*total)++];

			*met = (struct met){tables[t]->items[i], (uint32_t)t, (uint32_t)i};
			met->mold.type = types[met->mold.type];
		}
	}
	return all;
}

uint32_t **ca_molds_settle(const struct ca_molds *const *tables, size_t count,
			   struct ca_objects *objects, const uint32_t *types)
{
	size_t total;
	struct met *all = gather(tables, count, types, &total);
	uint32_t **renumber = ca_alloc(count * sizeof(*renumber));
	struct ca_mold *last = NULL;

	for (size_t t = 0; t < count; t++)
		renumber[t] = ca_alloc(tables[t]->count * sizeof(**renumber));
	qsort(all, total, sizeof(*all), mold_order);
	objects->molds = ca_alloc(total * sizeof(*objects->molds));
	for (size_t i = 0; i < total; i++) {
		if (last && ca_mold_is(last, &all[i].mold)) {
			last->count += all[i].mold.count;
		} else {
			last = &objects->molds[objects->mold_count++];
			*last = all[i].mold;
		}
		renumber[all[i].table][all[i].index] = objects->mold_count - 1;
	}
	free(all);
	return renumber;
}
