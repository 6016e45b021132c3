/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * mimalloc, as CPython 3.13 and newer have it in them (PYTHONMALLOC=mimalloc).
 * Its memory is in segments, aligned to 32 MiB, which need no root to be found.
 *
 *   segment | head, slices[] | page    | page | page            |
 *           | slices of 64 KiB each                             |
 *
 * slices[i] is the mi_page_t of the page that begins with slice i. A block is
 * allocated when it is on none of the page's lists of free blocks, nor on a
 * heap's list of blocks that other threads have freed.
 * CPython Include/internal/mimalloc/mimalloc/types.h.
 */
#include <stdlib.h>

#include "private.h"

#define SEGMENT_ALIGN (32ull << 20)
#define SLICE_BYTES (64ull << 10)
enum { MAX_SLICES = 1 << 20, SEGMENT_PAGE_SLICES = 512, MAX_INFO_SLICES = 8, MAX_HEAPS = 1 << 16 };

/*
 * Where things are. 2.1: CPython 3.13, 3.14 to .8, 3.15.0; 2.2 since. Which of
 * them a process has is told by what adds up.
 */
struct form {
	/* mi_segment_t */
	uint16_t segment_size, segment_slices, info_slices, kind, slice_entries, slices;
	/* mi_page_t */
	uint16_t page_bytes, free, local_free, thread_free, used, used_bytes, block_size, block_size_bytes;
	uint16_t page_start, heap; /* page_start 0: has none */
	/* mi_heap_t */
	uint16_t delayed_free;
};
enum { PAGE_SLICE_COUNT = 0, PAGE_CAPACITY = 10 };

static const struct form forms[] = {
	{32, 224, 232, 240, 248, 264, 80, 16, 32, 40, 24, 4, 28, 4, 0, 48, 2840},
	{32, 248, 256, 264, 272, 288, 96, 16, 24, 56, 32, 2, 40, 8, 48, 64, 8},
};

struct finder {
	struct ca_heap *heap;
	const struct ca_image *image;
	const struct form *form;
	ca_addr *heaps; /* mi_heap_t of the pages */
	size_t heap_count, heap_capacity;
	uint64_t pages, wrong, wrong_bytes; /* with a count of blocks that is not theirs */
	uint64_t lost, lost_bytes;          /* whose head cannot be followed */
	ca_addr first_wrong, first_lost;
};

struct segment {
	ca_addr address;
	uint64_t slices, info, entries;
};

static bool read_segment(const struct finder *f, ca_addr at, struct segment *s)
{
	const struct form *form = f->form;
	uint64_t size;
	uint32_t kind;

	s->address = at;
	return ca_image_u64(f->image, at + form->segment_slices, &s->slices) && s->slices &&
	       s->slices <= MAX_SLICES && ca_image_u64(f->image, at + form->info_slices, &s->info) &&
	       s->info && s->info < MAX_INFO_SLICES &&
	       ca_image_u64(f->image, at + form->slice_entries, &s->entries) &&
	       s->entries <= s->slices && s->entries <= SEGMENT_PAGE_SLICES &&
	       ca_image_u64(f->image, at + form->segment_size, &size) &&
	       size == s->slices * SLICE_BYTES && ca_image_u32(f->image, at + form->kind, &kind) &&
	       kind < 2;
}

/* ---- pages -------------------------------------------------------------------- */

struct page {
	ca_addr start; /* of its first block */
	uint64_t block_bytes, used, capacity;
};

/* Small blocks do not begin where the page does (_mi_segment_page_start). */
static uint64_t start_offset(uint64_t block_bytes)
{
	return block_bytes <= 64 ? 3 * block_bytes : block_bytes <= 512 ? block_bytes : 0;
}

static uint64_t number_at(const uint8_t *at, unsigned bytes)
{
	return bytes == 8 ? ca_load_u64(at) : bytes == 4 ? ca_load_u32(at) : at[0] | (unsigned)at[1] << 8;
}

static void lose(struct finder *f, ca_addr begin, uint64_t bytes)
{
	f->first_lost = f->first_lost ? f->first_lost : begin;
	f->lost++;
	f->lost_bytes += bytes;
}

/* The page that begins with slice i; false when it is free, or none, or lost. */
static bool read_page(struct finder *f, const struct segment *s, uint64_t i, const uint8_t *bytes,
		      struct page *page)
{
	ca_addr begin = s->address + i * SLICE_BYTES;
	ca_addr end = begin + ca_load_u32(bytes + PAGE_SLICE_COUNT) * SLICE_BYTES;

	page->block_bytes = number_at(bytes + f->form->block_size, f->form->block_size_bytes);
	page->capacity = number_at(bytes + PAGE_CAPACITY, 2);
	page->used = number_at(bytes + f->form->used, f->form->used_bytes);
	if (page->block_bytes <= 1 || !page->capacity)
		return false;
	if (page->capacity == 1 && page->block_bytes > end - begin)
		page->block_bytes = end - begin; /* 2.1 has 32 bits for it */
	page->start = f->form->page_start ? ca_load_u64(bytes + f->form->page_start)
					  : begin + start_offset(page->block_bytes);
	if (page->start >= begin && page->start <= end &&
	    page->capacity <= (end - page->start) / page->block_bytes)
		return true;
	lose(f, begin, end - begin);
	return false;
}

/* Frees the blocks of a chain, which its first words link; false when it leaves the page. */
static bool clear_chain(const struct finder *f, struct ca_extent *extent, ca_addr at)
{
	for (uint64_t next; at; at = next) {
		if (at < extent->start || at >= extent->end ||
		    (at - extent->start) % extent->block_bytes || !ca_extent_has(extent, at) ||
		    !ca_image_u64(f->image, at, &next))
			return false;
		ca_extent_clear(extent, at);
	}
	return true;
}

static uint64_t count_bits(const struct ca_extent *extent)
{
	uint64_t count = 0;

	for (uint64_t w = 0; w < ca_extent_words(extent); w++)
		count += (uint64_t)__builtin_popcountll(extent->allocated[w]);
	return count;
}

static void note_heap(struct finder *f, ca_addr heap)
{
	if (!heap || f->heap_count == MAX_HEAPS ||
	    (f->heap_count && f->heaps[f->heap_count - 1] == heap))
		return;
	f->heaps = ca_grow(f->heaps, &f->heap_capacity, f->heap_count + 1, sizeof(*f->heaps));
	f->heaps[f->heap_count++] = heap;
}

/* Blocks of 8 bytes hold nothing that we look for. */
static void add_page(struct finder *f, const uint8_t *bytes, const struct page *page)
{
	const struct form *form = f->form;
	uint64_t span = page->capacity * page->block_bytes;
	struct ca_extent *extent;

	if (page->block_bytes % CA_EXTENT_ALIGN)
		return;
	extent = ca_extent_add(f->heap, page->start, page->start + span, page->block_bytes, false);
	if (!extent)
		return;
	for (ca_addr at = page->start; at < extent->end; at += page->block_bytes)
		ca_extent_set(extent, at);

	bool sound = clear_chain(f, extent, ca_load_u64(bytes + form->free)) &
		     clear_chain(f, extent, ca_load_u64(bytes + form->local_free));
	uint64_t allocated = count_bits(extent);

	/* What other threads have freed is still counted as used. */
	sound &= clear_chain(f, extent, ca_load_u64(bytes + form->thread_free) & ~3ull);
	f->pages++;
	if (!sound || allocated != page->used) {
		f->first_wrong = f->first_wrong ? f->first_wrong : page->start;
		f->wrong++;
		f->wrong_bytes += span;
	}
	note_heap(f, ca_load_u64(bytes + form->heap));
}

static void add_segment(struct finder *f, const struct segment *s)
{
	for (uint64_t i = 0; i < s->entries;) {
		const uint8_t *bytes = ca_image_at(f->image, s->address + f->form->slices +
							     i * f->form->page_bytes,
						   f->form->page_bytes);
		uint64_t slices = bytes ? ca_load_u32(bytes + PAGE_SLICE_COUNT) : 0;
		struct page page;

		if (!slices || slices > s->slices - i) {
			lose(f, s->address + i * SLICE_BYTES, (s->slices - i) * SLICE_BYTES);
			return;
		}
		if (i >= s->info && read_page(f, s, i, bytes, &page))
			add_page(f, bytes, &page);
		i += slices;
	}
}

/* ---- all of it ------------------------------------------------------------------ */

static void each_segment(struct finder *f)
{
	const struct ca_image *image = f->image;

	for (size_t i = 0; i < image->segment_count; i++) {
		const struct ca_segment *run = &image->segments[i];
		ca_addr at = (run->start + SEGMENT_ALIGN - 1) & ~(SEGMENT_ALIGN - 1);

		for (; at >= run->start && at < run->end; at += SEGMENT_ALIGN) {
			struct segment segment;

			if (run->flags & CA_SEG_WRITE && read_segment(f, at, &segment))
				add_segment(f, &segment);
		}
	}
}

/* Blocks that other threads have freed of pages that were full wait in the heap's list. */
static void clear_delayed(const struct finder *f)
{
	for (size_t i = 0; i < f->heap_count; i++) {
		uint64_t at = 0;

		ca_image_u64(f->image, f->heaps[i] + f->form->delayed_free, &at);
		while (at) {
			const struct ca_extent *known = ca_heap_extent(f->heap, at);
			struct ca_extent *extent;

			if (!known || !known->block_bytes || !ca_extent_has(known, at))
				break;
			extent = &f->heap->extents[known - f->heap->extents];
			ca_extent_clear(extent, at);
			if (!ca_image_u64(f->image, at, &at))
				break;
		}
	}
}

static void remove_extents(struct ca_heap *heap)
{
	for (size_t i = 0; i < heap->extent_count; i++)
		free(heap->extents[i].allocated);
	heap->extent_count = 0;
}

static struct finder try_form(struct ca_heap *heap, const struct form *form)
{
	struct finder f = {.heap = heap, .image = heap->rt->image, .form = form};

	remove_extents(heap);
	each_segment(&f);
	return f;
}

static bool adds_up(const struct finder *f)
{
	return f->pages && f->wrong + f->lost <= f->pages / 2;
}

void ca_mimalloc_open(struct ca_heap *heap)
{
	struct finder f = {0};

	for (size_t i = 0; i < CA_COUNT(forms) && !adds_up(&f); i++) {
		free(f.heaps);
		f = try_form(heap, &forms[i]);
	}
	if (!adds_up(&f)) {
		remove_extents(heap);
	} else {
		ca_extents_sort(heap);
		clear_delayed(&f);
		if (f.wrong)
			ca_warn_bytes(heap->rt->ctx, "mimalloc-page", f.first_wrong, f.wrong_bytes,
				"free blocks of it may be taken for objects",
				"%llu of %llu pages of mimalloc's count other blocks than they have",
				(unsigned long long)f.wrong, (unsigned long long)f.pages);
		if (f.lost)
			ca_warn_bytes(heap->rt->ctx, "mimalloc-page", f.first_lost, f.lost_bytes,
				"its objects are counted only where references reach them",
				"%llu of mimalloc's pages have a damaged head", (unsigned long long)f.lost);
	}
	free(f.heaps);
}
