/* SPDX-License-Identifier: GPL-3.0-or-later */
/* open, inside: the molds of objects, while these are found. Each worker has a table of its own. */
#ifndef CA_OPEN_MOLDS_H
#define CA_OPEN_MOLDS_H

#include "open.h"

/* A mold's type is an index in the registry of types, until it is settled. */
struct ca_molds {
	struct ca_mold *items;
	size_t count, capacity;
	uint32_t last;      /* found: a pool's objects are mostly alike */
	uint32_t *slots;    /* a hash table: index + 1, or 0 */
	unsigned slot_bits; /* log2 of how many */
};

void ca_molds_init(struct ca_molds *molds);
void ca_molds_fini(struct ca_molds *molds);
static inline bool ca_mold_is(const struct ca_mold *a, const struct ca_mold *b)
{
	return a->type == b->type && a->bytes == b->bytes && a->owned == b->owned &&
	       a->flags == b->flags;
}

/* The mold's index; it is added where there is none. */
uint32_t ca_molds_find(struct ca_molds *molds, const struct ca_mold *mold);

/* One more object of a mold; returns the mold's index. */
static inline uint32_t ca_molds_add(struct ca_molds *molds, const struct ca_mold *mold)
{
	if (!molds->count || !ca_mold_is(&molds->items[molds->last], mold))
		molds->last = ca_molds_find(molds, mold);
	molds->items[molds->last].count++;
	return molds->last;
}

/*
 * Merges count tables to objects' molds, in an order that does not depend on who
 * met one first. types: what a type's index becomes. Returns what a mold's index
 * becomes, for each table, to be freed.
 */
uint32_t **ca_molds_settle(const struct ca_molds *const *tables, size_t count,
			   struct ca_objects *objects, const uint32_t *types);

#endif
