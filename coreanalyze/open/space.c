/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "space.h"

#define REGION_ALIGN 1024ull
enum { LEAF_ENTRIES = 1 << CA_LEAF_BITS, RANK_WORDS = 8 };

/* Objects are written to: they are in memory that the core has, or in writable pages of a file. */
static bool may_hold_objects(const struct ca_segment *segment)
{
	return !(segment->flags & CA_SEG_FILE) || segment->flags & CA_SEG_WRITE;
}

static void add_region(struct ca_space *space, size_t *capacity, ca_addr start, ca_addr end,
		       unsigned shift)
{
	struct ca_region *last = space->region_count ? &space->regions[space->region_count - 1] : NULL;

	/* No two regions, and no two pools, share a word of a bitmap. */
	start &= ~(REGION_ALIGN - 1);
	end = (end + REGION_ALIGN - 1) & ~(REGION_ALIGN - 1);
	if (last && last->end >= start && last->shift == shift) {
		last->end = end;
		return;
	}
	if (last && last->end > start)
		start = last->end;
	if (start >= end)
		return;
	space->regions = ca_grow(space->regions, capacity, space->region_count + 1,
				 sizeof(*space->regions));
	space->regions[space->region_count++] = 
		(struct ca_region){.start = start, .end = end, .shift = shift};
}

static uint32_t *window_entry(struct ca_space *space, uint64_t window)
{
	uint32_t **leaf = &space->windows[window >> CA_LEAF_BITS];

	if (!*leaf)
		*leaf = ca_alloc(LEAF_ENTRIES * sizeof(**leaf));
	return &(*leaf)[window & (LEAF_ENTRIES - 1)];
}

static void map_region(struct ca_space *space, size_t index)
{
	const struct ca_region *region = &space->regions[index];
	uint64_t last = (region->end - 1) >> CA_WINDOW_BITS;

	for (uint64_t w = region->start >> CA_WINDOW_BITS; w <= last; w++) {
		uint32_t *entry;

		if (w >> (CA_LEAF_BITS + CA_TOP_BITS))
			return;
		entry = window_entry(space, w);
		*entry = *entry == CA_WINDOW_NONE
				 ? (uint32_t)index << CA_WINDOW_INDEX_SHIFT | CA_WINDOW_OUTSIDE
				 : CA_WINDOW_MIXED;
	}
}

/*
 * Windows that runs of arenas fill, and those that they only touch. An arena
 * that is not aligned to a pool loses one: no object lies in such a gap.
 */
static void map_arenas(struct ca_space *space)
{
	const struct ca_heap *heap = space->heap;

	for (size_t i = 0; i < heap->arena_count;) {
		ca_addr start = heap->arenas[i].start, end = heap->arenas[i].end;

		for (i++; i < heap->arena_count && heap->arenas[i].start - end <= heap->pool_bytes; i++)
			end = heap->arenas[i].end;
		if (end <= start)
			continue;
		for (uint64_t w = start >> CA_WINDOW_BITS; w <= (end - 1) >> CA_WINDOW_BITS; w++) {
			bool filled = w << CA_WINDOW_BITS >= start && (w + 1) << CA_WINDOW_BITS <= end;
			uint32_t *entry;

			if (w >> (CA_LEAF_BITS + CA_TOP_BITS))
				break;
			entry = window_entry(space, w);
			if (filled && (*entry & CA_WINDOW_KIND) == CA_WINDOW_OUTSIDE)
				*entry = (*entry & ~(uint32_t)CA_WINDOW_KIND) | CA_WINDOW_ARENA;
			else
				*entry = CA_WINDOW_MIXED;
		}
	}
}

/* The region there has blocks; *words: what all such have. */
static void note_heap(struct ca_space *space, ca_addr addr, uint64_t *words)
{
	struct ca_region *region = ca_space_region(space, addr);

	if (!region || region->has_blocks)
		return;
	region->has_blocks = true;
	*words += region->words;
}

static uint64_t words_of(const struct ca_region *region)
{
	return ((region->end - region->start) >> region->shift) / 64 + 1;
}

/* Regions with blocks have three bitmaps more than the others. */
static void make_bitmaps(struct ca_space *space)
{
	const struct ca_heap *heap = space->heap;
	uint64_t words = 0, block_words = 0, *objects, *blocks;

	for (size_t i = 0; i < space->region_count; i++) {
		struct ca_region *region = &space->regions[i];

		region->words = words_of(region);
		words += region->words;
	}
	for (size_t i = 0; i < heap->arena_count; i++)
		note_heap(space, heap->arenas[i].start, &block_words);
	for (size_t i = 0; i < heap->extent_count; i++)
		note_heap(space, heap->extents[i].start, &block_words);
	objects = space->objects = ca_alloc(words * 8);
	blocks = space->blocks = ca_alloc(block_words * 8 * 3);
	for (size_t i = 0; i < space->region_count; i++) {
		struct ca_region *region = &space->regions[i];

		region->objects = objects;
		objects += region->words;
		if (!region->has_blocks)
			continue;
		region->blocks = blocks;
		region->owned = blocks + block_words;
		region->corpses = blocks + block_words * 2;
		blocks += region->words;
	}
}

struct ca_space *ca_space_build(const struct ca_image *image, const struct ca_heap *heap)
{
	struct ca_space *space = ca_alloc(sizeof(*space));
	size_t capacity = 0;

	space->heap = heap;
	space->windows = ca_alloc(sizeof(*space->windows) << CA_TOP_BITS);
	for (size_t i = 0; i < image->segment_count; i++) {
		const struct ca_segment *segment = &image->segments[i];

		if (may_hold_objects(segment))
			add_region(space, &capacity, segment->start, segment->end,
				   ca_image_module(image, segment->start) ? 3 : 4);
	}
	for (size_t i = 0; i < space->region_count; i++)
		map_region(space, i);
	map_arenas(space);
	make_bitmaps(space);
	return space;
}

struct ca_space *ca_space_restore(const struct ca_heap *heap, struct ca_region *regions, size_t count,
				  const uint64_t *bits, uint64_t words)
{
	struct ca_space *space = ca_alloc(sizeof(*space));

	space->heap = heap;
	space->windows = ca_alloc(sizeof(*space->windows) << CA_TOP_BITS);
	space->regions = regions;
	for (size_t i = 0; i < count; i++) {
		struct ca_region *region = &regions[i];

		region->words = words_of(region);
		if (region->words > words) {
			ca_space_free(space);
			return NULL;
		}
		region->objects = (uint64_t *)bits;
		bits += region->words;
		words -= region->words;
		map_region(space, i);
		space->region_count++;
	}
	return space;
}

void ca_space_free(struct ca_space *space)
{
	if (!space)
		return;
	for (size_t i = 0; i < space->region_count; i++)
		free(space->regions[i].rank);
	free(space->objects);
	free(space->blocks);
	for (size_t i = 0; i < 1u << CA_TOP_BITS; i++)
		free(space->windows[i]);
	free(space->windows);
	free(space->regions);
	free(space);
}

struct ca_region *ca_space_region_mixed(const struct ca_space *space, ca_addr addr)
{
	size_t low = 0, high = space->region_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (space->regions[middle].start <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low && addr < space->regions[low - 1].end ? &space->regions[low - 1] : NULL;
}

enum ca_where ca_space_where_mixed(const struct ca_space *space, ca_addr addr)
{
	uint32_t window = ca_space_window(space, addr);

	if ((window & CA_WINDOW_KIND) == CA_WINDOW_MIXED && ca_heap_arena(space->heap, addr))
		return CA_IN_ARENA;
	return ca_space_region(space, addr) ? CA_OUTSIDE : CA_NOWHERE;
}

uint64_t ca_space_rank(struct ca_space *space)
{
	uint64_t count = 0;

	for (size_t i = 0; i < space->region_count; i++) {
		struct ca_region *region = &space->regions[i];

		region->rank = ca_alloc((region->words / RANK_WORDS + 2) * sizeof(*region->rank));
		for (uint64_t w = 0; w < region->words; w++) {
			if (w % RANK_WORDS == 0)
				region->rank[w / RANK_WORDS] = (uint32_t)count;
			count += (uint64_t)__builtin_popcountll(region->objects[w]);
		}
		region->rank[(region->words + RANK_WORDS - 1) / RANK_WORDS] = (uint32_t)count;
	}
	return count;
}
