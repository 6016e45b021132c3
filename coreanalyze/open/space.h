/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * open, inside: bitmaps over the parts of the address space where objects can
 * be.
 *
 *   address >> 18 -> window -> region -> bit (one for each 16 bytes; in a
 *                                       module's data one for each 8)
 *
 * A window of 256 KiB that lies wholly in obmalloc's arenas says so itself: most
 * words of a heap are settled by that one look.
 */
#ifndef CA_OPEN_SPACE_H
#define CA_OPEN_SPACE_H

#include "../heap/heap.h"

enum { CA_WINDOW_BITS = 18 };

struct ca_region {
	ca_addr start, end;
	unsigned shift;      /* log2 of the bytes for one bit */
	uint64_t *objects;   /* bit: an object starts here */
	uint64_t *blocks;    /* an allocated block that holds no object starts here; NULL: no heap */
	uint64_t *owned;     /* in a heap: an object's buffer starts here */
	uint64_t *corpses;   /* in a heap: on a free list */
	uint32_t *rank;      /* objects before each 512 bits, from node 0 on; made last */
	uint64_t words;
	bool has_blocks;
};

enum ca_where { CA_NOWHERE, CA_IN_ARENA, CA_OUTSIDE /* mapped, in no arena */ };

struct ca_space {
	const struct ca_heap *heap;
	struct ca_region *regions; /* by start */
	size_t region_count;
	uint64_t *objects, *blocks; /* the memory of all regions' bitmaps: huge pages serve a large one */
	uint32_t **windows;        /* [address >> 32][address >> 18 & 16383] */
};

enum { CA_LEAF_BITS = 14, CA_TOP_BITS = 47 - CA_WINDOW_BITS - CA_LEAF_BITS };
/*
 * What a window's entry says: nothing is there; one of the kinds, with the
 * region's index in the bits above.
 */
enum {
	CA_WINDOW_NONE = 0,
	CA_WINDOW_ARENA = 1,   /* wholly in arenas */
	CA_WINDOW_OUTSIDE = 2, /* in one region, without arenas */
	CA_WINDOW_MIXED = 3,   /* look it up; no index */
	CA_WINDOW_KIND = 3,
	CA_WINDOW_INDEX_SHIFT = 2,
};

struct ca_space *ca_space_build(const struct ca_image *image, const struct ca_heap *heap);
/* Out of regions that have start, end and shift: bits are all their bitmaps of objects. False: they are too few. */
struct ca_space *ca_space_restore(const struct ca_heap *heap, struct ca_region *regions, size_t count,
				  const uint64_t *bits, uint64_t words);
void ca_space_free(struct ca_space *space); /* NULL is allowed */
/* Numbers the set bits of objects, in address order from 1; returns the last number. */
uint64_t ca_space_rank(struct ca_space *space);

enum ca_where ca_space_where_mixed(const struct ca_space *space, ca_addr addr);
struct ca_region *ca_space_region_mixed(const struct ca_space *space, ca_addr addr);

static inline uint32_t ca_space_window(const struct ca_space *space, ca_addr addr)
{
	uint64_t window = addr >> CA_WINDOW_BITS;
	const uint32_t *leaf;

	if (window >> (CA_LEAF_BITS + CA_TOP_BITS))
		return CA_WINDOW_NONE;
	leaf = space->windows[window >> CA_LEAF_BITS];
	return leaf ? leaf[window & ((1u << CA_LEAF_BITS) - 1)] : CA_WINDOW_NONE;
}

/* The region that holds addr, or NULL. */
static inline struct ca_region *ca_space_region(const struct ca_space *space, ca_addr addr)
{
	uint32_t window = ca_space_window(space, addr);
	struct ca_region *region = &space->regions[window >> CA_WINDOW_INDEX_SHIFT];

	if (window == CA_WINDOW_NONE)
		return NULL;
	if ((window & CA_WINDOW_KIND) == CA_WINDOW_MIXED)
		return ca_space_region_mixed(space, addr);
	return addr >= region->start && addr < region->end ? region : NULL;
}

static inline enum ca_where ca_space_where(const struct ca_space *space, ca_addr addr)
{
	uint32_t window = ca_space_window(space, addr);

	if (window == CA_WINDOW_NONE)
		return CA_NOWHERE;
	if ((window & CA_WINDOW_KIND) == CA_WINDOW_ARENA)
		return CA_IN_ARENA;
	return ca_space_where_mixed(space, addr);
}

/* Of an address that is in the region, and aligned as its bits are. */
static inline bool ca_region_has(const struct ca_region *region, const uint64_t *bits, ca_addr addr)
{
	uint64_t bit = (addr - region->start) >> region->shift;

	return bits[bit / 64] >> (bit % 64) & 1;
}

/* The bit of addr in a region; false when no object can start there. */
static inline bool ca_region_bit(const struct ca_region *region, ca_addr addr, uint64_t *word,
				 uint64_t *mask)
{
	uint64_t bit = (addr - region->start) >> region->shift;

	*word = bit / 64;
	*mask = 1ull << (bit % 64);
	return !(addr & ((1u << region->shift) - 1));
}

#endif
