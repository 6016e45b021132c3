/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The chunks of glibc's malloc: see private.h. A user's address is CA_CHUNK_HEAD into one. */
#include <stdlib.h>

#include "private.h"

enum { MAX_LINKS = 1 << 16, MAX_TCACHES = 1 << 20, PAGE = 4096 };

bool ca_chunk_head(const struct ca_image *image, ca_addr chunk, uint64_t *size)
{
	return ca_image_u64(image, chunk + 8, size);
}

/* ---- walking ----------------------------------------------------------------- */

/* Chunk heads in ascending order: one look-up for a run of memory. */
struct heads {
	const struct ca_image *image;
	const uint8_t *run;
	ca_addr start;
	uint64_t length;
};

static bool head_at(struct heads *heads, ca_addr chunk, uint64_t *size)
{
	uint64_t offset = chunk + 8 - heads->start;

	if (!heads->run || offset >= heads->length || heads->length - offset < 8) {
		heads->start = chunk + 8;
		heads->run = ca_image_run(heads->image, heads->start, &heads->length);
		offset = 0;
		if (!heads->run || heads->length < 8)
			return false;
	}
	*size = ca_load_u64(heads->run + offset);
	return true;
}

/* Two chunks of 16 bytes, or less, end a heap: no chunk is so small. */
static bool is_fence(ca_addr chunk, uint64_t size, ca_addr limit)
{
	return size < CA_CHUNK_LEAST && limit - chunk <= 2 * CA_CHUNK_LEAST;
}

ca_addr ca_chunks_probe(const struct ca_image *image, ca_addr first, ca_addr top, ca_addr limit)
{
	struct heads heads = {.image = image};
	ca_addr at = first;

	while (at != top) {
		uint64_t size;

		if (at > limit - CA_CHUNK_HEAD || !head_at(&heads, at, &size))
			return at;
		size &= ~(uint64_t)CA_CHUNK_FLAGS;
		if (is_fence(at, size, limit))
			return limit;
		if (size < CA_CHUNK_LEAST || size % CA_EXTENT_ALIGN || size > limit - at)
			return at;
		at += size;
	}
	return top;
}

static bool may_be_tcache(uint64_t size);

static void note_tcache(struct ca_tcaches *tcaches, ca_addr chunk)
{
	if (tcaches->count == MAX_TCACHES)
		return;
	tcaches->items = ca_grow(tcaches->items, &tcaches->capacity, tcaches->count + 1,
				 sizeof(*tcaches->items));
	tcaches->items[tcaches->count++] = chunk;
}

void ca_chunks_walk(struct ca_heap *heap, ca_addr first, ca_addr end, struct ca_tcaches *tcaches)
{
	struct ca_extent *extent = ca_extent_add(heap, first + CA_CHUNK_HEAD, end + 8, 0, false);
	struct heads heads = {.image = heap->rt->image};
	uint64_t size, next;

	if (!extent || !head_at(&heads, first, &size))
		return;
	for (ca_addr at = first; at < end; at += size & ~(uint64_t)CA_CHUNK_FLAGS, size = next) {
		uint64_t bytes = size & ~(uint64_t)CA_CHUNK_FLAGS;

		if (bytes < CA_CHUNK_LEAST || bytes > end - at || !head_at(&heads, at + bytes, &next))
			return;
		if (!(next & CA_CHUNK_PREV_IN_USE))
			continue;
		ca_extent_set(extent, at + CA_CHUNK_HEAD);
		if (may_be_tcache(bytes))
			note_tcache(tcaches, at);
	}
}

/* ---- chunks that wait for the next malloc() ----------------------------------- */

/* The extent of malloc's with an allocated chunk whose user has `at`. */
static struct ca_extent *chunk_of(const struct ca_heap *heap, ca_addr at, uint64_t *bytes)
{
	const struct ca_extent *extent = ca_heap_extent(heap, at);

	if (!extent || extent->block_bytes || !extent->allocated || !ca_extent_has(extent, at) ||
	    !ca_chunk_head(heap->rt->image, at - CA_CHUNK_HEAD, bytes))
		return NULL;
	*bytes &= ~(uint64_t)CA_CHUNK_FLAGS;
	return &heap->extents[extent - heap->extents];
}

/* From 2.32 a link in a chunk is mangled by its own place. */
static ca_addr follow(const struct ca_heap *heap, ca_addr link, ca_addr lead)
{
	uint64_t value = 0, bytes;

	if (!ca_image_u64(heap->rt->image, link, &value) || !value || value == link >> 12)
		return 0;
	if (chunk_of(heap, value + lead, &bytes))
		return value + lead;
	return (value ^ link >> 12) + lead;
}

/*
 * struct tcache_perthread_struct: a number and a chain for each size of chunk.
 * The number is how many there are in the chain; from 2.42 on how many more
 * may come, and the last chains are of larger chunks of different sizes.
 */
struct tcache_form {
	uint16_t chunk_bytes;
	uint8_t bins, number_bytes;
	bool counts;
};
static const struct tcache_form tcache_forms[] = {
	{0x250, 64, 1, true},	/* 2.26 */
	{0x290, 64, 2, true},	/* 2.30 */
	{0x300, 76, 2, false},	/* 2.42 */
};
enum { SIZED_BINS = 64 };

static bool may_be_tcache(uint64_t size)
{
	for (size_t i = 0; i < CA_COUNT(tcache_forms); i++)
		if (tcache_forms[i].chunk_bytes == size)
			return true;
	return false;
}

static uint64_t bin_number(const struct tcache_form *form, const uint8_t *tcache, unsigned bin)
{
	return form->number_bytes == 1 ? tcache[bin]
				       : tcache[2 * bin] | (unsigned)tcache[2 * bin + 1] << 8;
}

/* Chunks in a bin's chain are freed, or counted only; false when it is no such chain. */
static bool run_bin(struct ca_heap *heap, const struct tcache_form *form, const uint8_t *tcache,
		    unsigned bin, bool apply)
{
	uint64_t number = bin_number(form, tcache, bin), count = 0, bytes;
	ca_addr at = ca_load_u64(tcache + form->bins * form->number_bytes + 8 * bin);

	for (; at && count <= MAX_LINKS; count++) {
		struct ca_extent *extent = chunk_of(heap, at, &bytes);
		ca_addr next = extent ? follow(heap, at, 0) : 0;

		if (!extent || (bin < SIZED_BINS ? bytes != CA_CHUNK_LEAST + 16 * bin
						 : bytes < CA_CHUNK_LEAST + 16 * SIZED_BINS))
			return false;
		if (apply)
			ca_extent_clear(extent, at);
		at = next;
	}
	return !at && (!form->counts || count == number);
}

static bool run_tcache(struct ca_heap *heap, const struct tcache_form *form, const uint8_t *tcache,
		       bool apply)
{
	for (unsigned bin = 0; bin < form->bins; bin++)
		if (!run_bin(heap, form, tcache, bin, apply))
			return false;
	return true;
}

void ca_tcaches_apply(struct ca_heap *heap, const struct ca_tcaches *tcaches)
{
	for (size_t i = 0; i < tcaches->count; i++) {
		ca_addr chunk = tcaches->items[i];
		uint64_t bytes;

		if (!chunk_of(heap, chunk + CA_CHUNK_HEAD, &bytes))
			continue;
		for (size_t k = 0; k < CA_COUNT(tcache_forms); k++) {
			const struct tcache_form *form = &tcache_forms[k];
			const uint8_t *tcache = ca_image_at(heap->rt->image, chunk + CA_CHUNK_HEAD,
							    bytes - CA_CHUNK_HEAD);

			if (tcache && form->chunk_bytes == bytes &&
			    run_tcache(heap, form, tcache, false))
				run_tcache(heap, form, tcache, true);
		}
	}
}

/* Ten chains of chunks before an arena's `top`; glibc 2.43 has other words there. */
void ca_fastbins_apply(struct ca_heap *heap, ca_addr end)
{
	enum { FASTBINS = 10 };

	for (unsigned bin = 0; bin < FASTBINS; bin++) {
		ca_addr chunk = 0;
		uint64_t bytes;

		if (!ca_image_u64(heap->rt->image, end - (FASTBINS - bin) * 8, &chunk) || !chunk)
			continue;
		for (ca_addr at = chunk + CA_CHUNK_HEAD; at;) {
			struct ca_extent *extent = chunk_of(heap, at, &bytes);

			if (!extent || bytes != CA_CHUNK_LEAST + 16 * bin)
				break;
			ca_extent_clear(extent, at); /* so that a loop ends */
			at = follow(heap, at, CA_CHUNK_HEAD);
		}
	}
}

/* ---- chunks with mappings of their own ----------------------------------------- */

/* From 2.43 the size leaves out the head. */
static uint64_t mapped_bytes(const uint8_t *page, uint64_t room)
{
	uint64_t before = ca_load_u64(page), size = ca_load_u64(page + 8);
	uint64_t flags = size & CA_CHUNK_FLAGS, bytes = size - flags;

	if (before > 1 || flags != CA_CHUNK_MAPPED || bytes > room)
		return 0;
	if (bytes % PAGE == PAGE - CA_CHUNK_HEAD)
		bytes += CA_CHUNK_HEAD;
	return bytes && bytes % PAGE == 0 && bytes <= room ? bytes : 0;
}

/* Where memory that is known to be another's ends, or at itself. */
static ca_addr skip(const struct ca_heap *heap, size_t sorted, ca_addr at)
{
	struct ca_heap known = *heap;
	const struct ca_arena_range *arena = ca_heap_arena(heap, at);
	const struct ca_extent *extent;

	if (arena)
		return arena->end;
	known.extent_count = sorted;
	extent = ca_heap_extent(&known, at);
	return extent ? extent->end : at;
}

static void search_segment(struct ca_heap *heap, size_t sorted, const struct ca_segment *segment)
{
	ca_addr at = (segment->start + PAGE - 1) & ~(uint64_t)(PAGE - 1);

	while (at < segment->end && segment->end - at >= PAGE) {
		ca_addr next = skip(heap, sorted, at);
		uint64_t bytes;

		if (next > at) {
			at = (next + PAGE - 1) & ~(uint64_t)(PAGE - 1);
			continue;
		}
		bytes = mapped_bytes(segment->data + (at - segment->start), segment->end - at);
		if (bytes)
			ca_extent_add(heap, at + CA_CHUNK_HEAD, at + bytes, 0, true);
		at += bytes ? bytes : PAGE;
	}
}

void ca_mapped_chunks(struct ca_heap *heap)
{
	const struct ca_image *image = heap->rt->image;
	size_t sorted = heap->extent_count;

	for (size_t i = 0; i < image->segment_count; i++) {
		const struct ca_segment *segment = &image->segments[i];

		if (segment->flags & CA_SEG_WRITE && !(segment->flags & CA_SEG_FILE))
			search_segment(heap, sorted, segment);
	}
}
