/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Heaps of a main_arena that brk() does not serve, as of a libc in a namespace of its own
 * (dlmopen()): mappings, anywhere. Each but the last ends with two chunks too small to be
 * any. glibc malloc/malloc.c: sysmalloc().
 */
#include "private.h"

enum { PAGE = 4096, FENCE = CA_CHUNK_HEAD };
#define MOST_BYTES (34ull << 20) /* a chunk over 32 MiB has a mapping to itself */
#define MOST_WALKED (1ull << 30) /* to find one start */

static bool is_fenced(const struct ca_image *image, ca_addr end)
{
	uint64_t first, second;

	return ca_chunk_head(image, end - 2 * FENCE, &first) &&
	       ca_chunk_head(image, end - FENCE, &second) &&
	       (first & ~(uint64_t)CA_CHUNK_PREV_IN_USE) == FENCE &&
	       second == (FENCE | CA_CHUNK_PREV_IN_USE);
}

/*
 * Where the one that ends at `end` begins, of which the chunks lead to `to`; 0: unknown.
 * Its first chunk is the farthest that leads there, behind the end of another one.
 */
static ca_addr find_start(const struct ca_heap *known, ca_addr to, ca_addr end)
{
	const struct ca_image *image = known->rt->image;
	const struct ca_mapping *mapping = ca_image_mapping(image, end - 1);
	ca_addr found = 0;
	uint64_t walked = 0;

	if (!mapping || mapping->path[0])
		return 0;
	for (uint64_t bytes = PAGE; bytes <= MOST_BYTES && end - mapping->start >= bytes; bytes += PAGE) {
		ca_addr start = end - bytes, reached = 0;
		uint64_t size;

		if (ca_heap_extent(known, start + CA_CHUNK_HEAD) || walked > MOST_WALKED)
			break;
		if (ca_chunk_head(image, start, &size) &&
		    (size & CA_CHUNK_FLAGS) == CA_CHUNK_PREV_IN_USE) {
			reached = ca_chunks_probe(image, start, to, to);
			walked += reached - start;
		}
		if (reached == to)
			found = start;
		if (is_fenced(image, start))
			break;
	}
	return found;
}

static uint64_t walk_last(struct ca_heap *heap, ca_addr top, struct ca_tcaches *tcaches)
{
	uint64_t size;
	ca_addr start, end;

	if (!ca_chunk_head(heap->rt->image, top, &size))
		return 0;
	end = top + (size & ~(uint64_t)CA_CHUNK_FLAGS);
	start = end % PAGE ? 0 : find_start(heap, top, end);
	if (!start)
		return 0;
	ca_chunks_walk(heap, start, top, tcaches);
	ca_extent_add(heap, top + CA_CHUNK_HEAD, end, 0, false); /* none of it is allocated */
	ca_extents_sort(heap);
	return end - start;
}

static uint64_t walk_fenced(struct ca_heap *heap, const struct ca_segment *segment,
			    struct ca_tcaches *tcaches)
{
	size_t sorted = heap->extent_count;
	uint64_t bytes = 0;

	for (ca_addr end = segment->start + PAGE; end <= segment->end; end += PAGE) {
		struct ca_heap known = *heap; /* of ours none begins before another's end */
		ca_addr start;

		known.extent_count = sorted;
		if (!is_fenced(heap->rt->image, end) || ca_heap_extent(&known, end - FENCE))
			continue;
		start = find_start(&known, end, end);
		if (!start)
			continue;
		ca_chunks_walk(heap, start, end, tcaches);
		bytes += end - start;
	}
	return bytes;
}

uint64_t ca_regions_walk(struct ca_heap *heap, const ca_addr *tops, size_t count,
			 struct ca_tcaches *tcaches)
{
	const struct ca_image *image = heap->rt->image;
	uint64_t bytes = 0;

	for (size_t i = 0; i < count; i++)
		bytes += walk_last(heap, tops[i], tcaches);
	for (size_t i = 0; i < image->segment_count; i++) {
		const struct ca_segment *segment = &image->segments[i];

		if (segment->flags & CA_SEG_WRITE && !(segment->flags & CA_SEG_FILE))
			bytes += walk_fenced(heap, segment, tcaches);
		ca_extents_sort(heap);
	}
	return bytes;
}
