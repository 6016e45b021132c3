/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "private.h"

enum { SIZE_CLASSES = 32, MAX_ARENAS = 1 << 24 };

/* What an entry of arenas[] says; false when it cannot be one. */
static bool parse_arena(const struct ca_runtime *rt, const uint8_t *entry, uint32_t index,
			struct ca_arena_range *range)
{
	const struct ca_layout *layout = &rt->layout;
	uint64_t pool_mask = layout->c.pool_bytes - 1;
	uint64_t pools = layout->c.arena_bytes / layout->c.pool_bytes;
	ca_addr address = ca_load_u64(entry + layout->arena.address);
	ca_addr carved = ca_load_u64(entry + layout->arena.pool_address);
	uint32_t total = ca_load_u32(entry + layout->arena.ntotalpools);
	uint32_t free_pools = ca_load_u32(entry + layout->arena.nfreepools);

	*range = (struct ca_arena_range){.index = index};
	if (!address)
		return true;
	range->start = (address + pool_mask) & ~pool_mask;
	range->end = carved;
	/* Pools in use have been carved. */
	return (total == pools || total == pools - 1) && free_pools <= total && !(carved & pool_mask) &&
	       carved >= range->start && carved - address <= (uint64_t)layout->c.arena_bytes &&
	       (carved - range->start) / (uint64_t)layout->c.pool_bytes >= total - free_pools;
}

static bool pool_agrees(const struct ca_runtime *rt, const struct ca_arena_range *range, ca_addr at)
{
	const struct ca_layout *layout = &rt->layout;
	const uint8_t *pool = ca_image_at(rt->image, at, CA_POOL_HEADER);

	return !pool || (ca_load_u32(pool + layout->pool.arenaindex) == range->index &&
			 ca_load_u32(pool + layout->pool.szidx) < SIZE_CLASSES);
}

/*
 * Does the first or the last carved pool record this arena? A pool that was freed
 * keeps its header. All are checked when they are read.
 */
static bool pools_agree(const struct ca_runtime *rt, const struct ca_arena_range *range)
{
	return range->start >= range->end || pool_agrees(rt, range, range->start) ||
	       pool_agrees(rt, range, range->end - rt->layout.c.pool_bytes);
}

static void add_arena(struct ca_heap *heap, size_t *capacity, const struct ca_arena_range *range)
{
	heap->arenas = ca_grow(heap->arenas, capacity, heap->arena_count + 1, sizeof(*heap->arenas));
	heap->arenas[heap->arena_count++] = *range;
	heap->arena_bytes += heap->rt->layout.c.arena_bytes;
}

/* Entries of arenas[] that cannot be followed: the arenas are in memory, who knows where. */
static void warn_arena(const struct ca_heap *heap, ca_addr where, uint64_t entries, const char *text)
{
	ca_warn_bytes(heap->rt->ctx, "arena", where, entries * (uint64_t)heap->rt->layout.c.arena_bytes,
		      "its objects are counted only where references reach them", "%s", text);
}

/* Reads a root's arenas[]; those that do not hold together are left out and counted. */
static void read_arenas(struct ca_heap *heap, size_t *capacity, ca_addr array, uint32_t count)
{
	const struct ca_runtime *rt = heap->rt;
	uint64_t entry_bytes = rt->layout.arena.size;

	if (count > MAX_ARENAS)
		count = MAX_ARENAS;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *entry = ca_image_at(rt->image, array + i * entry_bytes, entry_bytes);
		struct ca_arena_range range;

		if (!entry || !parse_arena(rt, entry, i, &range)) {
			warn_arena(heap, array + i * entry_bytes, entry ? 1 : count - i,
				   "an entry of obmalloc's table of arenas is unreadable or damaged");
			if (!entry)
				return;
			continue;
		}
		if (range.start)
			add_arena(heap, capacity, &range);
	}
}

/*
 * How many entries a table at `array` has, and how many pools those show that agree with it.
 * Damaged ones do not end it, as long as there are few.
 */
static uint32_t probe_table(const struct ca_runtime *rt, ca_addr array, uint64_t *pools)
{
	enum { MOST_DAMAGED = 4 };
	uint64_t entry_bytes = rt->layout.arena.size;
	uint32_t live = 0, agreeing = 0, damaged = 0;

	*pools = 0;
	for (uint32_t i = 0; i < MAX_ARENAS && damaged <= MOST_DAMAGED + agreeing; i++) {
		const uint8_t *entry = ca_image_at(rt->image, array + i * entry_bytes, entry_bytes);
		struct ca_arena_range range;

		if (!entry)
			break;
		if (!parse_arena(rt, entry, i, &range)) {
			damaged++;
			continue;
		}
		if (!range.start)
			continue;
		live = i + 1;
		if (pools_agree(rt, &range)) {
			agreeing++;
			*pools += (range.end - range.start) / rt->layout.c.pool_bytes;
		}
	}
	return live;
}

/*
 * Up to 3.11 `arenas` is a static variable without a symbol in stripped builds.
 * Every word of the module's data is tried; the table with the most pools that
 * record their own place in it wins (usable_arenas points into the same table,
 * but the pools' indices disagree with an offset one).
 */
static void scan_for_arenas(struct ca_heap *heap, size_t *capacity)
{
	const struct ca_runtime *rt = heap->rt;
	ca_addr at = rt->module->data_start, best = 0;
	uint64_t best_pools = 0, length;
	uint32_t best_count = 0;

	while (at < rt->module->data_end) {
		const uint8_t *words = ca_image_run(rt->image, at, &length);

		if (!words) {
			at = (at + 4096) & ~4095ull;
			continue;
		}
		if (length > rt->module->data_end - at)
			length = rt->module->data_end - at;
		for (uint64_t i = 0; i + 8 <= length; i += 8) {
			ca_addr value = ca_load_u64(words + i);
			uint64_t pools;

			if ((value & 7) || !value ||
			    (value >= rt->module->start && value < rt->module->end))
				continue;

			uint32_t count = probe_table(rt, value, &pools);

			if (pools > best_pools) {
				best = value;
				best_pools = pools;
				best_count = count;
			}
		}
		at += length > 8 ? length & ~7ull : 8;
	}
	if (best)
		read_arenas(heap, capacity, best, best_count);
}

static bool seen_before(const struct ca_runtime *rt, size_t interp)
{
	for (size_t i = 0; i < interp; i++)
		if (rt->interps[i].obmalloc == rt->interps[interp].obmalloc)
			return true;
	return false;
}

static void read_states(struct ca_heap *heap, size_t *capacity)
{
	const struct ca_runtime *rt = heap->rt;
	const struct ca_layout *layout = &rt->layout;

	for (size_t i = 0; i < rt->interp_count; i++) {
		ca_addr state = rt->interps[i].obmalloc;
		uint64_t array, raw = 0;
		uint32_t count;

		if (!state || seen_before(rt, i))
			continue;
		if (!ca_image_u64(rt->image, state + layout->obmalloc.arenas, &array) ||
		    !ca_image_u32(rt->image, state + layout->obmalloc.maxarenas, &count)) {
			heap->partly_known = true;
			ca_warn_bytes(rt->ctx, "obmalloc-state", state, 0,
				      "objects of its arenas that no reference reaches are missing",
				      "an interpreter's allocator state is unreadable");
			continue;
		}
		if (array)
			read_arenas(heap, capacity, array, count);
		if (ca_image_u64(rt->image, state + layout->obmalloc.raw_allocated_blocks, &raw))
			heap->raw_allocated_blocks += raw;
	}
}

static int by_start(const void *a, const void *b)
{
	const struct ca_arena_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Arenas of a damaged table may overlap: the later one goes. */
static void sort_arenas(struct ca_heap *heap)
{
	size_t kept = 0;

	if (heap->arena_count)
		qsort(heap->arenas, heap->arena_count, sizeof(*heap->arenas), by_start);
	for (size_t i = 0; i < heap->arena_count; i++) {
		if (kept && heap->arenas[i].start < heap->arenas[kept - 1].end) {
			warn_arena(heap, heap->arenas[i].start, 1,
				   "two entries of obmalloc's table of arenas overlap");
			continue;
		}
		heap->arenas[kept++] = heap->arenas[i];
	}
	heap->arena_count = kept;
}

/* All of the first blocks that are found are padded, or none is. */
bool ca_obmalloc_is_padded(const struct ca_heap *heap)
{
	uint32_t seen = 0, padded = 0;
	struct ca_pool pool;

	for (size_t i = 0; i < heap->arena_count && seen < CA_DEBUG_SAMPLE; i++) {
		const struct ca_arena_range *arena = &heap->arenas[i];

		for (ca_addr at = arena->start; at < arena->end && seen < CA_DEBUG_SAMPLE;
		     at += heap->pool_bytes) {
			if (ca_pool_read(heap, arena, at, &pool) != CA_POOL_READ)
				continue;
			for (uint32_t b = 0; b < pool.blocks && seen < CA_DEBUG_SAMPLE; b++) {
				if (pool.free[b / 64] >> (b % 64) & 1)
					continue;
				seen++;
				padded += ca_block_is_padded(pool.data + CA_POOL_HEADER + b * pool.block_bytes);
			}
		}
	}
	return seen && padded * 2 > seen;
}

void ca_obmalloc_open(struct ca_heap *heap)
{
	size_t capacity = 0;

	if (ca_has(heap->rt->layout.interp.obmalloc))
		read_states(heap, &capacity);
	else
		scan_for_arenas(heap, &capacity);
	sort_arenas(heap);
}

const struct ca_arena_range *ca_heap_arena(const struct ca_heap *heap, ca_addr addr)
{
	size_t low = 0, high = heap->arena_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (heap->arenas[middle].start <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low && addr < heap->arenas[low - 1].end ? &heap->arenas[low - 1] : NULL;
}

/* Follows the chain of free blocks; false when it leaves the pool or loops. */
static bool mark_free(struct ca_pool *pool, ca_addr first, uint32_t *count)
{
	uint32_t span = pool->blocks * pool->block_bytes;

	*count = 0;
	for (ca_addr at = first; at;) {
		uint64_t offset = at - pool->address - CA_POOL_HEADER;
		uint32_t block = offset < span ? (uint32_t)offset / pool->block_bytes : 0;

		if (offset >= span || block * pool->block_bytes != offset ||
		    (pool->free[block / 64] >> (block % 64) & 1))
			return false;
		pool->free[block / 64] |= 1ull << (block % 64);
		++*count;
		at = ca_load_u64(pool->data + CA_POOL_HEADER + offset);
	}
	return true;
}

/*
 * A pool in use, as its header tells; *damaged where it contradicts itself. One
 * that was carved, used or not, has a size of blocks.
 */
static bool parse_pool(const struct ca_heap *heap, const struct ca_arena_range *arena,
		       const uint8_t *header, struct ca_pool *pool, bool *damaged)
{
	const struct ca_layout *layout = &heap->rt->layout;
	uint32_t szidx = ca_load_u32(header + layout->pool.szidx);
	uint32_t next = ca_load_u32(header + layout->pool.nextoffset);

	pool->allocated = ca_load_u32(header + layout->pool.count);
	*damaged = !pool->allocated && !next && !szidx;
	if (!pool->allocated)
		return false;
	*damaged = szidx >= SIZE_CLASSES || ca_load_u32(header + layout->pool.arenaindex) != arena->index ||
		   next < CA_POOL_HEADER || next > heap->pool_bytes;
	if (*damaged)
		return false;
	pool->block_bytes = (szidx + 1) * CA_BLOCK_ALIGN;
	pool->blocks = (next - CA_POOL_HEADER) / pool->block_bytes;
	pool->lead = heap->debug ? CA_DEBUG_LEAD : 0;
	pool->room = pool->block_bytes;
	if (heap->debug)
		pool->room -= pool->block_bytes > CA_DEBUG_BYTES ? CA_DEBUG_BYTES : pool->block_bytes;
	return true;
}

uint32_t ca_arena_blocks(const struct ca_heap *heap, const struct ca_arena_range *arena)
{
	uint32_t blocks = 0;
	struct ca_pool pool;
	bool damaged;

	for (ca_addr at = arena->start; at < arena->end; at += heap->pool_bytes) {
		const uint8_t *header = ca_image_at(heap->rt->image, at, CA_POOL_HEADER);

		if (header && parse_pool(heap, arena, header, &pool, &damaged))
			blocks += pool.blocks;
	}
	return blocks;
}

enum ca_pool_state ca_pool_read(const struct ca_heap *heap, const struct ca_arena_range *arena,
				ca_addr address, struct ca_pool *pool)
{
	const struct ca_layout *layout = &heap->rt->layout;
	const uint8_t *data = ca_image_at(heap->rt->image, address, heap->pool_bytes);
	uint32_t free_blocks;
	bool damaged;

	if (!data)
		return CA_POOL_MISSING;
	if (!parse_pool(heap, arena, data, pool, &damaged))
		return !damaged ? CA_POOL_UNUSED : pool->allocated ? CA_POOL_DAMAGED : CA_POOL_BLANK;
	pool->address = address;
	pool->data = data;
	memset(pool->free, 0, (pool->blocks + 63) / 64 * 8);
	pool->damaged = !mark_free(pool, ca_load_u64(data + layout->pool.freeblock), &free_blocks) ||
			pool->blocks - free_blocks != pool->allocated;
	return CA_POOL_READ;
}

void ca_pool_warn(const struct ca_heap *heap, ca_addr address, enum ca_pool_state state)
{
	static const struct {
		const char *kind, *text, *effect;
	} warnings[] = {
		[CA_POOL_MISSING] = {"missing-pool", "a pool's bytes, or those before it in its arena, are not in the core",
				     "its objects are missing"},
		[CA_POOL_DAMAGED] = {"pool", "a pool's header is damaged", "its objects are missing"},
		/*
		 * Up to gdb 17 gcore leaves out what lies behind a page that cannot be read, in
		 * the same mapping, and glibc 2.42 has such a page under each thread's stack.
		 */
		[CA_POOL_BLANK] = {"blank-pool",
				   "a pool has zeros where its header is: who made the core could not read it",
				   "its objects are missing; gcore of gdb 18, the kernel, or pid: would have "
				   "them"},
	};

	if (warnings[state].kind)
		ca_warn_bytes(heap->rt->ctx, warnings[state].kind, address, heap->pool_bytes,
			      warnings[state].effect, "%s", warnings[state].text);
}
