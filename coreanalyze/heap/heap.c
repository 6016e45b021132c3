/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which allocators there are, and the extents of those that are not obmalloc. */
#include <stdlib.h>
#include <string.h>

#include "private.h"

/* ---- extents ----------------------------------------------------------------- */

static uint64_t bitmap_words(ca_addr start, ca_addr end)
{
	return (end - start) / CA_EXTENT_ALIGN / 64 + 1;
}

uint64_t ca_extent_words(const struct ca_extent *extent)
{
	return extent->allocated ? bitmap_words(extent->start, extent->end) : 1;
}

struct ca_extent *ca_extent_add(struct ca_heap *heap, ca_addr start, ca_addr end,
				uint64_t block_bytes, bool one)
{
	struct ca_extent *extent;

	if (start >= end || start % CA_EXTENT_ALIGN)
		return NULL;
	heap->extents = ca_grow(heap->extents, &heap->extent_capacity, heap->extent_count + 1,
				sizeof(*heap->extents));
	extent = &heap->extents[heap->extent_count++];
	*extent = (struct ca_extent){.start = start, .end = end, .block_bytes = block_bytes};
	if (!one)
		extent->allocated = ca_alloc(bitmap_words(start, end) * 8);
	return extent;
}

static int by_start(const void *a, const void *b)
{
	const struct ca_extent *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Two that overlap can only come from damage: the later one goes. */
void ca_extents_sort(struct ca_heap *heap)
{
	size_t kept = 0;

	if (heap->extent_count)
		qsort(heap->extents, heap->extent_count, sizeof(*heap->extents), by_start);
	for (size_t i = 0; i < heap->extent_count; i++) {
		if (kept && heap->extents[i].start < heap->extents[kept - 1].end)
			free(heap->extents[i].allocated);
		else
			heap->extents[kept++] = heap->extents[i];
	}
	heap->extent_count = kept;
}

const struct ca_extent *ca_heap_extent(const struct ca_heap *heap, ca_addr addr)
{
	size_t low = 0, high = heap->extent_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (heap->extents[middle].start <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low && addr < heap->extents[low - 1].end ? &heap->extents[low - 1] : NULL;
}

/* ---- blocks ------------------------------------------------------------------ */

bool ca_block_is_padded(const uint8_t *block)
{
	uint64_t mark = ca_load_u64(block + 8);

	return mark >> 8 == 0xfdfdfdfdfdfdfd && mark & 255 && strchr("omr", (int)(mark & 255));
}

/* A chunk that has a mapping of its own has whole pages. */
enum { MAPPED_SPARE = 4096 + 2 * CA_EXTENT_ALIGN };

/* The whole block, with what the debug hooks have put around it. */
static bool read_whole(const struct ca_heap *heap, const struct ca_extent *extent, ca_addr at,
		       struct ca_block *block)
{
	const struct ca_image *image = heap->rt->image;
	uint64_t room = extent->block_bytes, size;

	block->spare = room / 2; /* mimalloc leaves what shrinks to a half in its block */
	if (!extent->allocated) {
		block->spare = room ? room / 2 : MAPPED_SPARE;
		room = extent->end - at;
	} else if (!room) {
		if (!ca_chunk_head(image, at - CA_CHUNK_HEAD, &size))
			return false;
		room = (size & ~(uint64_t)CA_CHUNK_FLAGS) - 8;
		block->spare = 2 * CA_EXTENT_ALIGN - 1; /* a remainder too small for a chunk stays */
	}
	if (room > extent->end - at)
		return false;
	block->address = at;
	block->room = room;
	block->data = ca_image_at(image, at, room);
	return block->data;
}

/* Takes a layer of the debug hooks' padding off. */
static bool strip(struct ca_block *block)
{
	if (block->room < CA_DEBUG_BYTES || !ca_block_is_padded(block->data))
		return false;
	block->address += CA_DEBUG_LEAD;
	block->data += CA_DEBUG_LEAD;
	block->room -= CA_DEBUG_BYTES;
	return true;
}

bool ca_block_read(const struct ca_heap *heap, const struct ca_extent *extent, ca_addr at,
		   struct ca_block *block)
{
	if (!read_whole(heap, extent, at, block))
		return false;
	if (heap->debug && !strip(block))
		return false;
	while (heap->debug && strip(block))
		; /* of what obmalloc passed on to malloc, the raw domain's hooks too */
	return true;
}

static uint64_t pool_block_bytes(const struct ca_heap *heap, ca_addr addr)
{
	ca_addr pool = addr & ~(heap->pool_bytes - 1);
	uint32_t szidx;

	return ca_image_u32(heap->rt->image, pool + (uint64_t)heap->rt->layout.pool.szidx, &szidx) &&
			       szidx < 32
		       ? (szidx + 1) * CA_BLOCK_ALIGN
		       : 0;
}

uint64_t ca_heap_block_bytes(const struct ca_heap *heap, ca_addr addr)
{
	const struct ca_extent *extent;
	struct ca_block block;

	if (ca_heap_arena(heap, addr))
		return pool_block_bytes(heap, addr);
	for (unsigned lead = 0; lead <= 2 * CA_DEBUG_LEAD; lead += CA_DEBUG_LEAD) {
		extent = ca_heap_extent(heap, addr - lead);
		if (extent && ca_extent_has(extent, addr - lead) &&
		    ca_block_read(heap, extent, addr - lead, &block) && block.address == addr)
			return block.room;
	}
	return 0;
}

/* ---- all of them ------------------------------------------------------------- */

/* What C's library allocates for itself is never padded: a part tells. */
enum { FEW_PADDED = 8 };

static bool extents_are_padded(const struct ca_heap *heap)
{
	uint32_t seen = 0, padded = 0;
	struct ca_block block;

	for (size_t i = 0; i < heap->extent_count && seen < 1 << 16; i++) {
		const struct ca_extent *extent = &heap->extents[i];

		for (uint64_t w = 0; w < ca_extent_words(extent) && seen < 1 << 16; w++) {
			for (uint64_t bits = ca_extent_word(extent, w); bits; bits &= bits - 1) {
				ca_addr at = extent->start + CA_EXTENT_ALIGN *
					     (w * 64 + (unsigned)__builtin_ctzll(bits));

				if (!read_whole(heap, extent, at, &block) ||
				    block.room < CA_DEBUG_BYTES)
					continue;
				seen++;
				padded += ca_block_is_padded(block.data);
			}
		}
	}
	return seen && padded > seen / FEW_PADDED;
}

static void choose(struct ca_heap *heap, bool has_malloc)
{
	bool has_mimalloc = false;

	for (size_t i = 0; i < heap->extent_count; i++)
		has_mimalloc |= heap->extents[i].block_bytes != 0;
	heap->allocator = heap->arena_count ? CA_OBMALLOC
			  : has_mimalloc    ? CA_MIMALLOC
			  : has_malloc	    ? CA_MALLOC
					    : CA_UNKNOWN_ALLOCATOR;
	for (size_t i = 0; i < heap->extent_count; i++) {
		struct ca_extent *extent = &heap->extents[i];

		extent->of_objects = heap->allocator == (extent->block_bytes ? CA_MIMALLOC : CA_MALLOC);
	}
}

const char *ca_allocator_name(enum ca_allocator allocator)
{
	static const char *const names[] = {
		[CA_UNKNOWN_ALLOCATOR] = "unknown",
		[CA_OBMALLOC] = "obmalloc",
		[CA_MALLOC] = "malloc",
		[CA_MIMALLOC] = "mimalloc",
	};

	return names[allocator];
}

static void warn_unknown(struct ca_context *ctx, struct ca_heap *heap)
{
	heap->partly_known = true;
	if (heap->allocator == CA_UNKNOWN_ALLOCATOR)
		ca_warn_bytes(ctx, "no-arenas", 0, 0,
			"objects that neither the collector nor a reference reaches are missing",
			"obmalloc has no arenas, and no heap of mimalloc or of glibc's malloc was found");
	else if (heap->allocator == CA_OBMALLOC)
		ca_warn_bytes(ctx, "unknown-malloc", 0, 0,
			"objects over 512 bytes that neither the collector nor a reference reaches are "
			"missing",
			"no heap of glibc's malloc was found (musl, or another malloc)");
}

void ca_heap_open(struct ca_context *ctx, const struct ca_runtime *rt, struct ca_heap **out)
{
	struct ca_heap *heap = ca_alloc(sizeof(*heap));
	bool has_malloc;

	heap->rt = rt;
	heap->pool_bytes = rt->layout.c.pool_bytes;
	ca_obmalloc_open(heap);
	heap->debug = ca_obmalloc_is_padded(heap);
	if (!heap->arena_count)
		ca_mimalloc_open(heap);
	has_malloc = ca_malloc_open(heap);
	choose(heap, has_malloc);
	if (!heap->arena_count)
		heap->debug = extents_are_padded(heap);
	if (!has_malloc)
		warn_unknown(ctx, heap);
	*out = heap;
}

void ca_heap_close(struct ca_heap *heap)
{
	for (size_t i = 0; i < heap->extent_count; i++)
		free(heap->extents[i].allocated);
	free(heap->extents);
	free(heap->arenas);
	free(heap);
}
