/* SPDX-License-Identifier: GPL-3.0-or-later */
/* heap, inside: what each allocator adds. */
#ifndef CA_HEAP_PRIVATE_H
#define CA_HEAP_PRIVATE_H

#include "heap.h"

/* The debug hooks (PYTHONMALLOC=debug): what is before, and all that is around a caller's bytes. */
enum { CA_DEBUG_LEAD = 16, CA_DEBUG_BYTES = 24, CA_DEBUG_SAMPLE = 64 };
/* Is the block padded by them? Their mark says which allocator was asked. */
bool ca_block_is_padded(const uint8_t *block);

/* obmalloc.c */
void ca_obmalloc_open(struct ca_heap *heap);
bool ca_obmalloc_is_padded(const struct ca_heap *heap);

/* mimalloc.c: its segments are told by their shape. */
void ca_mimalloc_open(struct ca_heap *heap);

/* malloc.c: false when there is no glibc's malloc. */
bool ca_malloc_open(struct ca_heap *heap);

/* ---- extents (heap.c) ------------------------------------------------------- */

/*
 * Adds an extent, whose bits are clear, or one block of it all. The pointer
 * lives until the next is added. NULL: what it would cover is implausible.
 */
struct ca_extent *ca_extent_add(struct ca_heap *heap, ca_addr start, ca_addr end,
				uint64_t block_bytes, bool one);
void ca_extents_sort(struct ca_heap *heap);

static inline void ca_extent_set(struct ca_extent *extent, ca_addr block)
{
	uint64_t bit = (block - extent->start) / CA_EXTENT_ALIGN;

	extent->allocated[bit / 64] |= 1ull << (bit % 64);
}

static inline void ca_extent_clear(struct ca_extent *extent, ca_addr block)
{
	uint64_t bit = (block - extent->start) / CA_EXTENT_ALIGN;

	extent->allocated[bit / 64] &= ~(1ull << (bit % 64));
}

/* Is it the start of an allocated block? */
static inline bool ca_extent_has(const struct ca_extent *extent, ca_addr block)
{
	uint64_t bit = (block - extent->start) / CA_EXTENT_ALIGN;

	return !(block % CA_EXTENT_ALIGN) && ca_extent_word(extent, bit / 64) >> (bit % 64) & 1;
}

/* ---- glibc's chunks (chunks.c) ---------------------------------------------- */

/*
 *   chunk -> | size of the one before, if free | size, flags | user's ... | the next one's size
 */
enum { CA_CHUNK_HEAD = 16, CA_CHUNK_LEAST = 32 };
enum { CA_CHUNK_PREV_IN_USE = 1, CA_CHUNK_MAPPED = 2, CA_CHUNK_FLAGS = 7 };

/* Arrays of pointers that each thread has: told by the size of the chunk they are in. */
struct ca_tcaches {
	ca_addr *items; /* chunks that may be one */
	size_t count, capacity;
};

/* The size in a chunk's head, with its flags; false when it is not there. */
bool ca_chunk_head(const struct ca_image *image, ca_addr chunk, uint64_t *size);
/*
 * How far the chunks from `first` on hold together: `top` when they all do.
 * A heap that another one continued ends with a chunk too small to be one,
 * shortly before `limit`: then limit.
 */
ca_addr ca_chunks_probe(const struct ca_image *image, ca_addr first, ca_addr top, ca_addr limit);
/* Makes an extent of them; chunks that are allocated by their neighbours' heads. */
void ca_chunks_walk(struct ca_heap *heap, ca_addr first, ca_addr end, struct ca_tcaches *tcaches);
/* Chunks that wait in threads' caches and fast bins are free. After ca_extents_sort(). */
void ca_tcaches_apply(struct ca_heap *heap, const struct ca_tcaches *tcaches);
void ca_fastbins_apply(struct ca_heap *heap, ca_addr bins);
/* The heaps of main arenas that brk() does not serve, from their top chunks; returns their bytes (regions.c). */
uint64_t ca_regions_walk(struct ca_heap *heap, const ca_addr *tops, size_t count,
			 struct ca_tcaches *tcaches);
/* Chunks that have a mapping of their own. */
void ca_mapped_chunks(struct ca_heap *heap);

#endif
