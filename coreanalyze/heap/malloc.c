/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * glibc's malloc: its arenas, and the heaps that they have. No symbol says where
 * main_arena is, but no other data looks like it: 127 bins, each of which, when
 * empty, points at itself.
 *
 *   malloc_state  ... | [fastbins 10] | top | last_remainder | bins 127 x {fd, bk} | binmap
 *                     | next | next_free | [attached_threads] | system_mem | max_system_mem
 *
 * The arenas are a ring through `next`. main_arena's heap is what brk() gave, but of
 * a second libc in the process (see regions.c);
 * a thread's arena is at the start of a mapping that is aligned to 64 MiB, and
 * continues in others of its kind. glibc malloc/malloc.c, malloc/arena.c.
 */
#include <stdlib.h>

#include "private.h"

enum { BINS = 127, BIN_BYTES = 16, MAX_ARENAS = 1 << 14, MAX_HEAPS = 1 << 16 };
/* From the bins on. Of what is before them, and of heap_info, releases differ. */
enum { AT_TOP = -16, AT_NEXT = BINS * BIN_BYTES + 16 };
enum { AT_FLAGS = 4, NONCONTIGUOUS = 2 }; /* of malloc_state */
enum { MAX_LIBCS = 16 };                  /* as many namespaces as dlmopen() makes */
#define HEAP_ALIGN (64ull << 20)

struct finder {
	struct ca_heap *heap;
	const struct ca_image *image;
	struct ca_tcaches tcaches;
	ca_addr main_bins;   /* main_arena's */
	ca_addr bins_offset; /* in malloc_state */
	/* Of main arenas that brk() does not serve: their top chunks, and bytes in all. */
	ca_addr tops[MAX_LIBCS];
	size_t top_count;
	uint64_t apart;
};

/* ---- main_arena -------------------------------------------------------------- */

/* An empty bin points at itself, as if it were a chunk with these two links. */
static bool is_empty_bin(const struct ca_image *image, ca_addr bin)
{
	uint64_t forward, backward;

	return ca_image_u64(image, bin, &forward) && forward == bin - BIN_BYTES &&
	       ca_image_u64(image, bin + 8, &backward) && backward == forward;
}

/* The last bin is never used: it is the last of those that are empty. One may be under change. */
static bool bins_at(const struct ca_image *image, ca_addr bins)
{
	unsigned empty = 0, broken = 0;

	if (!is_empty_bin(image, bins + (BINS - 1) * BIN_BYTES))
		return false;
	for (unsigned i = 0; i < BINS; i++) {
		ca_addr bin = bins + i * BIN_BYTES;
		uint64_t first, back;

		if (is_empty_bin(image, bin))
			empty++;
		else if (!ca_image_u64(image, bin, &first) ||
			 !ca_image_u64(image, first + CA_CHUNK_HEAD + 8, &back) ||
			 back != bin - BIN_BYTES)
			broken++;
	}
	return empty > BINS / 8 && broken <= 2;
}

/* From an empty bin to the first one. */
static bool find_bins(const struct ca_image *image, ca_addr hit, ca_addr *bins)
{
	ca_addr last = hit;

	for (unsigned i = 1; i < BINS; i++)
		if (is_empty_bin(image, hit + i * BIN_BYTES))
			last = hit + i * BIN_BYTES;
	*bins = last - (BINS - 1) * BIN_BYTES;
	return bins_at(image, *bins);
}

/* Of [start, end), data of a mapped file. */
static bool search(struct finder *f, ca_addr start, ca_addr end)
{
	ca_addr at = (start + 7) & ~7ull;
	uint64_t length;

	while (at < end) {
		const uint8_t *words = ca_image_run(f->image, at, &length);

		if (!words) {
			ca_addr next = (at + 4096) & ~4095ull;

			if (next < at)
				return false;
			at = next;
			continue;
		}
		if (length > end - at)
			length = end - at;
		for (uint64_t i = 0; i + 16 <= length; i += 8)
			if (ca_load_u64(words + i) == at + i - BIN_BYTES &&
			    ca_load_u64(words + i + 8) == at + i - BIN_BYTES &&
			    find_bins(f->image, at + i, &f->main_bins))
				return true;
		at += length > 8 ? length & ~7ull : 8;
	}
	return false;
}

/* In a writable part of a mapped file, or where its program headers say. How many there are. */
static size_t find_main_arenas(struct finder *f, ca_addr mains[MAX_LIBCS])
{
	const struct ca_image *image = f->image;
	size_t count = 0;

	for (size_t i = 0; i < image->module_count && count < MAX_LIBCS; i++)
		if (search(f, image->modules[i].data_start, image->modules[i].data_end))
			mains[count++] = f->main_bins;
	for (size_t i = 0; i < image->mapping_count && !count; i++) {
		const struct ca_mapping *mapping = &image->mappings[i];

		if (mapping->path[0] && (!mapping->flags || mapping->flags & CA_SEG_WRITE) &&
		    search(f, mapping->start, mapping->end))
			mains[count++] = f->main_bins;
	}
	return count;
}

/* ---- heaps ------------------------------------------------------------------- */

static void warn_rest(const struct finder *f, ca_addr at, ca_addr end)
{
	f->heap->partly_known |= at == end; /* and nobody knows how much it is */
	ca_warn_bytes(f->heap->rt->ctx, "malloc-heap", at, end - at,
		"objects in the rest of that heap that neither the collector nor a reference reaches "
		"are missing",
		"a heap of malloc's is damaged or not in the core, %llu bytes from there on",
		(unsigned long long)(end - at));
}

static void add_heap(struct finder *f, ca_addr first, ca_addr top, ca_addr limit)
{
	ca_addr sound = ca_chunks_probe(f->image, first, top, limit);
	ca_addr end = sound == limit ? limit : top;

	ca_chunks_walk(f->heap, first, sound, &f->tcaches);
	if (sound < end)
		warn_rest(f, sound, end);
}

/* The first chunk of [start, top), or start: somebody else may have called sbrk() before. */
static ca_addr find_first(const struct finder *f, ca_addr start, ca_addr top)
{
	enum { TRIED = 4096 };

	for (ca_addr first = start; first < top && first - start < TRIED; first += CA_EXTENT_ALIGN)
		if (ca_chunks_probe(f->image, first, top, top) == top)
			return first;
	return start;
}

/*
 * From where to `top` memory is mapped without a gap, down to `first`. What brk() gives after
 * a fork is a mapping of its own.
 */
static ca_addr find_start(const struct ca_image *image, ca_addr first, ca_addr top)
{
	const struct ca_mapping *mapping = ca_image_mapping(image, top);

	while (mapping && mapping > image->mappings && mapping->start > first &&
	       mapping[-1].end == mapping->start && !mapping[-1].path[0])
		mapping--;
	return mapping ? mapping->start : 0;
}

/* brk() gave system_mem bytes, which end with the top chunk. */
static void add_main_heap(struct finder *f, ca_addr top, uint64_t system_mem)
{
	uint64_t size = 0;

	if (!ca_image_mapping(f->image, top) || !ca_chunk_head(f->image, top, &size)) {
		warn_rest(f, top - system_mem, top);
		return;
	}

	ca_addr first = top + (size & ~(uint64_t)CA_CHUNK_FLAGS) - system_mem;

	first = (first + CA_EXTENT_ALIGN - 1) & ~(CA_EXTENT_ALIGN - 1ull);

	ca_addr start = find_start(f->image, first, top);

	if (first < start || first >= top) {
		warn_rest(f, first, start);
		first = start;
	}
	if (ca_chunks_probe(f->image, first, top, top) == first)
		first = find_first(f, start, top);
	add_heap(f, first, top, top);
}

static void add_apart(struct finder *f)
{
	uint64_t found;

	if (!f->top_count)
		return;
	found = ca_regions_walk(f->heap, f->tops, f->top_count, &f->tcaches);
	if (found < f->apart)
		ca_warn_bytes(f->heap->rt->ctx, "malloc-heap", f->tops[0], f->apart - found,
			"objects there that neither the collector nor a reference reaches are missing",
			"%llu bytes of a heap of malloc's that brk() did not give were not found",
			(unsigned long long)(f->apart - found));
}

/* struct heap_info: ar_ptr, prev, size ... The arena is behind its first one's. */
static void add_thread_heaps(struct finder *f, ca_addr arena, ca_addr top, uint64_t arena_bytes)
{
	ca_addr info = top & ~(HEAP_ALIGN - 1);
	ca_addr infos = arena - (arena & ~(HEAP_ALIGN - 1)); /* bytes of a heap_info */
	struct ca_loop loop = {0};

	for (unsigned i = 0; info && i < MAX_HEAPS; i++) {
		uint64_t owner, prev, size;

		if (ca_loop_closed(&loop, info) || !ca_image_u64(f->image, info, &owner) ||
		    owner != arena || !ca_image_u64(f->image, info + 8, &prev) ||
		    !ca_image_u64(f->image, info + 16, &size) || size > HEAP_ALIGN) {
			warn_rest(f, info, info);
			return;
		}

		ca_addr first = info + infos, end = info + size;

		if (info == arena - infos)
			first = (arena + arena_bytes + 15) & ~15ull;
		add_heap(f, first, i ? end : top, end);
		info = prev;
	}
}

/* ---- arenas ------------------------------------------------------------------ */

/* Releases before 2.23 count no attached threads: system_mem is whole pages. */
static bool read_system_mem(const struct finder *f, ca_addr bins, uint64_t *system_mem,
			    uint64_t *state_end)
{
	for (unsigned counter = 16; counter >= 8; counter -= 8) {
		uint64_t most;
		int32_t at = AT_NEXT + 8 + (int32_t)counter;

		*state_end = (uint64_t)at + 16;
		if (ca_image_u64(f->image, bins + (uint64_t)at, system_mem) &&
		    ca_image_u64(f->image, bins + (uint64_t)at + 8, &most) &&
		    *system_mem && *system_mem % 4096 == 0 && most >= *system_mem && most % 4096 == 0)
			return true;
	}
	return false;
}

static bool is_apart(const struct finder *f, ca_addr main)
{
	uint32_t flags = 0;

	ca_image_u32(f->image, main + AT_FLAGS, &flags);
	return flags & NONCONTIGUOUS;
}

static void note_apart(struct finder *f, ca_addr top, uint64_t system_mem)
{
	f->tops[f->top_count++] = top;
	f->apart += system_mem;
}

static bool add_arena(struct finder *f, ca_addr state)
{
	ca_addr bins = state + f->bins_offset;
	uint64_t top, system_mem, end;

	if (!bins_at(f->image, bins) || !ca_image_u64(f->image, bins + AT_TOP, &top))
		return false;
	if (top == bins + AT_TOP)
		return true; /* nothing was ever allocated in it */
	if (!read_system_mem(f, bins, &system_mem, &end))
		return false;
	if (bins == f->main_bins && is_apart(f, state))
		note_apart(f, top, system_mem);
	else if (bins == f->main_bins)
		add_main_heap(f, top, system_mem);
	else
		add_thread_heaps(f, state, top, f->bins_offset + end);
	return true;
}

/* The ring comes back to main_arena: so many bytes before its bins it begins. */
static bool closes(const struct finder *f, ca_addr offset)
{
	ca_addr main = f->main_bins - offset, at = main;

	for (unsigned i = 0; i < MAX_ARENAS; i++) {
		if (!ca_image_u64(f->image, at + offset + AT_NEXT, &at))
			return false;
		if (at == main)
			return true;
	}
	return false;
}

static bool find_offset(struct finder *f)
{
	static const uint8_t offsets[] = {112 /* 2.27 */, 24 /* 2.43: no fastbins */, 104};

	for (size_t i = 0; i < CA_COUNT(offsets); i++) {
		f->bins_offset = offsets[i];
		if (closes(f, offsets[i]))
			return true;
	}
	return false;
}

static void add_arenas(struct finder *f)
{
	ca_addr main = f->main_bins - f->bins_offset, at = main;

	do {
		if (!add_arena(f, at))
			warn_rest(f, at, at);
	} while (ca_image_u64(f->image, at + f->bins_offset + AT_NEXT, &at) && at != main);
}

static void apply_fastbins(struct finder *f)
{
	ca_addr main = f->main_bins - f->bins_offset, at = main;

	do {
		ca_fastbins_apply(f->heap, at + f->bins_offset + AT_TOP);
	} while (ca_image_u64(f->image, at + f->bins_offset + AT_NEXT, &at) && at != main);
}

bool ca_malloc_open(struct ca_heap *heap)
{
	struct finder f = {.heap = heap, .image = heap->rt->image};
	ca_addr mains[MAX_LIBCS], offsets[MAX_LIBCS];
	size_t count = 0, found = find_main_arenas(&f, mains);

	for (size_t i = 0; i < found; i++) {
		f.main_bins = mains[i];
		if (!find_offset(&f))
			continue;
		add_arenas(&f);
		mains[count] = mains[i];
		offsets[count++] = f.bins_offset;
	}
	if (!count)
		return false;
	ca_extents_sort(heap);
	add_apart(&f);
	ca_tcaches_apply(heap, &f.tcaches);
	for (size_t i = 0; i < count; i++) {
		f.main_bins = mains[i];
		f.bins_offset = offsets[i];
		apply_fastbins(&f);
	}
	ca_mapped_chunks(heap);
	ca_extents_sort(heap);
	free(f.tcaches.items);
	return true;
}
