/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where objects may be missing: what they could own, or be, outside of the memory
 * that the warnings are about. It is allocated, and of no object that was found.
 */
#include "collect.h"

/* Of the allocator that objects are from: what the sweep has marked. */
static uint64_t weigh_region(const struct ca_heap *heap, const struct ca_region *region)
{
	uint64_t bytes = 0;

	for (uint64_t w = 0; region->blocks && w < region->words; w++) {
		for (uint64_t bits = region->blocks[w] & ~region->owned[w]; bits; bits &= bits - 1) {
			uint64_t bit = w * 64 + (unsigned)__builtin_ctzll(bits);

			bytes += ca_heap_block_bytes(heap, region->start + (bit << region->shift));
		}
	}
	return bytes;
}

static bool is_known(const struct ca_space *space, const struct ca_block *block)
{
	const struct ca_region *region = ca_space_region(space, block->address);

	return region && region->blocks &&
	       (ca_region_has(region, region->owned, block->address) || ca_block_holds_found(region, block));
}

static uint64_t weigh_extent(const struct ca_space *space, const struct ca_extent *extent)
{
	uint64_t bytes = 0;

	for (uint64_t w = 0; w < ca_extent_words(extent); w++) {
		for (uint64_t bits = ca_extent_word(extent, w); bits; bits &= bits - 1) {
			ca_addr at = extent->start + CA_EXTENT_ALIGN * (w * 64 + (unsigned)__builtin_ctzll(bits));
			struct ca_block block;

			if (ca_block_read(space->heap, extent, at, &block) && !is_known(space, &block))
				bytes += block.room;
		}
	}
	return bytes;
}

/* What is at hand, writable, and in no arena and no extent. */
static uint64_t weigh_rest(const struct ca_image *image, const struct ca_heap *heap)
{
	uint64_t bytes = 0, known = 0;

	for (size_t i = 0; i < image->segment_count; i++)
		if (image->segments[i].flags & CA_SEG_WRITE)
			bytes += image->segments[i].end - image->segments[i].start;
	for (size_t i = 0; i < heap->arena_count; i++)
		known += ca_image_known(image, heap->arenas[i].start, heap->arenas[i].end);
	for (size_t i = 0; i < heap->extent_count; i++)
		known += ca_image_known(image, heap->extents[i].start, heap->extents[i].end);
	return bytes > known ? bytes - known : 0;
}

/* Most blocks hold objects or their buffers; where many do not, something is not understood. */
enum { FEW_UNEXPLAINED = 50 }; /* one in so many */

static uint64_t weigh_blocks(const struct ca_objects *objects)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < objects->space->region_count; i++)
		bytes += weigh_region(objects->heap, &objects->space->regions[i]);
	return bytes;
}

static uint64_t weigh_others(const struct ca_objects *objects)
{
	const struct ca_heap *heap = objects->heap;
	uint64_t bytes = heap->partly_known ? weigh_rest(objects->image, heap) : 0;

	for (size_t i = 0; i < heap->extent_count; i++)
		if (!heap->extents[i].of_objects)
			bytes += weigh_extent(objects->space, &heap->extents[i]);
	return bytes;
}

void ca_warn_missing(const struct ca_objects *objects)
{
	const struct ca_trust *trust = &objects->trust;
	bool much = trust->unexplained > trust->blocks / FEW_UNEXPLAINED;
	uint64_t bytes;

	if (!much && !objects->ctx->warnings.lost)
		return;
	bytes = weigh_blocks(objects);
	if (much) {
		ca_warn_bytes(objects->ctx, "unexplained-blocks", 0, bytes,
			      "objects in them are missing from all figures",
			      "%llu of %llu allocated blocks hold nothing that is known",
			      (unsigned long long)trust->unexplained, (unsigned long long)trust->blocks);
		bytes = 0;
	}
	bytes += weigh_others(objects);
	if (bytes)
		ca_warn_bytes(objects->ctx, "unowned-memory", 0, bytes,
			      "what missing objects own, and objects that nothing leads to, lie there",
			      "there is memory that is of no object that was found");
}
