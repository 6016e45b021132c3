/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The sweep over allocated blocks: which hold an object, and where in the block.
 * obmalloc's come first, since no object in them need be reached; those of
 * other allocators after the closure, for what nothing else has led to.
 */
#include <stdlib.h>

#include "collect.h"

/* The pre-headers that exist: none; a head; a head and managed pointers. */
static const uint8_t pre_sizes[] = {16, 0, 32};

static void set_bit(uint64_t *bits, const struct ca_region *region, ca_addr addr)
{
	uint64_t bit = (addr - region->start) >> region->shift;

	/* Not atomic: pools share no word, and a worker takes whole arenas. */
	bits[bit / 64] |= 1ull << (bit % 64);
}

/*
 * A size class holds from 15 bytes less than its blocks (its spare), and what
 * slack the kind allows. One whose neighbour in the collector's list points back is an object,
 * however much its type's allocator asked for.
 */
static bool fits_block(const struct ca_object *object, const struct ca_shape *shape,
		       const struct ca_block *block)
{
	uint64_t needed = object->pre + shape->extent;

	return needed <= block->room &&
	       (ca_object_tracked(object) || needed + shape->slack + block->spare >= block->room);
}

enum block_state { HOLDS_NONE, HOLDS_OBJECT, HOLDS_CORPSE };

/* Is there an object `pre` bytes into the block? */
static enum block_state probe(struct ca_worker *worker, const struct ca_block *block, unsigned pre,
			      struct ca_object *object, struct ca_shape *shape)
{
	const struct ca_layout *layout = worker->reader.layout;
	struct ca_reader *reader = &worker->reader;

	if (pre + (unsigned)layout->object.size > block->room)
		return HOLDS_NONE;

	ca_addr type = ca_load_u64(block->data + pre + layout->object.ob_type);

	/* Types are larger than any of obmalloc's blocks, so they lie outside the arenas. */
	object->type = ca_type_cached(reader, type);
	if (!object->type && !(type & 7) &&
	    ca_space_where(worker->collector->space, type) == CA_OUTSIDE)
		object->type = ca_type_at(reader, type);
	if (!object->type || object->type->pre != pre || object->type->is_meta ||
	    pre + object->type->least > block->room)
		return HOLDS_NONE;
	object->address = block->address + pre;
	object->at = block->data + pre;
	object->readable = block->room - pre;
	object->pre = (uint8_t)pre;
	if (pre && !ca_object_links_hold(reader, object))
		return HOLDS_NONE;
	if (ca_object_is_corpse(layout, object->at))
		return HOLDS_CORPSE;
	if (ca_object_refcount(layout, object->at) > UINT32_MAX ||
	    !ca_object_shape(reader, object, shape) || !fits_block(object, shape, block))
		return HOLDS_NONE;
	return HOLDS_OBJECT;
}

/*
 * Tries the places where an object may start, the last successful one first:
 * the objects of a pool are mostly of one kind. At most one place passes, as the
 * links of a head, and arenas holding no types, rule out the others.
 */
static enum block_state classify(struct ca_worker *worker, const struct ca_block *block,
				 unsigned *likely, struct ca_object *object, struct ca_shape *shape)
{
	enum block_state state = probe(worker, block, *likely, object, shape);

	for (size_t i = 0; state == HOLDS_NONE && i < CA_COUNT(pre_sizes); i++) {
		if (pre_sizes[i] == *likely)
			continue;
		state = probe(worker, block, pre_sizes[i], object, shape);
		if (state == HOLDS_OBJECT)
			*likely = pre_sizes[i];
	}
	return state;
}

/* ---- obmalloc's ---------------------------------------------------------------- */

/* How far before its time memory is fetched: pools mostly lie side by side. */
enum { AHEAD = 1024 };

/* Writes the molds of the pool's objects; returns how many there are. */
static uint32_t sweep_pool(struct ca_worker *worker, struct ca_region *region,
			   const struct ca_pool *pool, uint32_t *mold, bool *opaque)
{
	unsigned likely = pre_sizes[0];
	uint32_t count = 0;

	worker->trust.counted += pool->allocated;
	for (uint32_t i = 0; i < pool->blocks; i++) {
		uint32_t offset = CA_POOL_HEADER + i * pool->block_bytes + pool->lead;
		struct ca_block block = {pool->address + offset, pool->data + offset, pool->room,
					 CA_BLOCK_ALIGN - 1};
		struct ca_object object;
		struct ca_shape shape;
		enum block_state state;

		if (pool->free[i / 64] >> (i % 64) & 1)
			continue;
		worker->trust.blocks++;
		__builtin_prefetch(block.data + AHEAD);
		state = classify(worker, &block, &likely, &object, &shape);
		if (state == HOLDS_OBJECT && !ca_region_has(region, region->corpses, object.address)) {
			set_bit(region->objects, region, object.address);
			mold[count++] = ca_worker_mold(worker, &object, &shape);
			*opaque |= object.type->opaque;
		} else if (state != HOLDS_NONE || ca_region_has(region, region->corpses, block.address)) {
			worker->trust.freelist++;
		} else {
			set_bit(region->blocks, region, block.address);
		}
	}
	return count;
}

/* What it has lost, and what was taken for objects of it. */
static void warn_count(const struct ca_worker *worker, const struct ca_pool *pool,
		       const uint32_t *mold, uint32_t count)
{
	const struct ca_heap *heap = worker->collector->space->heap;
	uint64_t bytes = heap->pool_bytes;

	for (uint32_t i = 0; i < count; i++)
		bytes += worker->molds.items[mold[i]].bytes + worker->molds.items[mold[i]].owned;
	ca_warn_bytes(heap->rt->ctx, "pool-count", pool->address, bytes,
		      "free blocks of it may be taken for objects, or objects for free blocks",
		      "a pool's count of blocks differs from its chain of free blocks");
}

/* region: the arena's, which lacks the pools behind a gap. */
static uint32_t sweep_one(struct ca_worker *worker, const struct ca_arena_range *arena,
			  struct ca_region *region, ca_addr at, uint32_t *mold, bool *opaque)
{
	const struct ca_heap *heap = worker->collector->space->heap;
	struct ca_pool pool;
	enum ca_pool_state state = CA_POOL_MISSING;
	uint32_t count;

	if (region && at + heap->pool_bytes <= region->end)
		state = ca_pool_read(heap, arena, at, &pool);
	if (state != CA_POOL_READ) {
		ca_pool_warn(heap, at, state);
		return 0;
	}
	count = sweep_pool(worker, region, &pool, mold, opaque);
	if (pool.damaged)
		warn_count(worker, &pool, mold, count);
	return count;
}

static void sweep_arena(struct ca_collector *collector, unsigned index, size_t arena_index)
{
	const struct ca_heap *heap = collector->space->heap;
	const struct ca_arena_range *arena = &heap->arenas[arena_index];
	struct ca_region *region = ca_space_region(collector->space, arena->start);
	struct ca_worker *worker = &collector->workers[index];
	/* On our stack: its neighbours in the table are written to by others. */
	struct ca_swept swept = {.slot = collector->swept[arena_index].slot, .worker = index};
	uint32_t *mold = collector->objects->mold + swept.slot;

	for (ca_addr at = arena->start; at < arena->end; at += heap->pool_bytes)
		swept.count += sweep_one(worker, arena, region, at, mold + swept.count,
					 &swept.opaque);
	collector->swept[arena_index] = swept;
}

static void sweep_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct ca_collector *collector = arg;

	for (size_t i = begin; i < end; i++) {
		if (!worker) /* ranges are handed out in order: all before it are done, or nearly */
			ca_progress(collector->objects->ctx, "reading objects", i,
				    collector->space->heap->arena_count);
		sweep_arena(collector, worker, i);
	}
}

void ca_sweep(struct ca_collector *collector)
{
	ca_parallel(collector->objects->ctx, collector->space->heap->arena_count, 1, sweep_range,
		    collector);
}

/* ---- those of other allocators ---------------------------------------------------- */

/* So many words of an extent's bitmap are one piece of work. */
enum { PIECE_WORDS = 4096 };

struct pieces {
	struct ca_collector *collector;
	size_t *first; /* of each extent, in all pieces */
	bool counting;
};

/* Its object, if it has been found. */
bool ca_block_holds_found(const struct ca_region *region, const struct ca_block *block)
{
	for (size_t i = 0; i < CA_COUNT(pre_sizes); i++)
		if (pre_sizes[i] < block->room &&
		    ca_region_has(region, region->objects, block->address + pre_sizes[i]))
			return true;
	return false;
}

/* What nothing has led to. A known buffer is no object, whatever its bytes say. */
static void claim_block(struct ca_worker *worker, const struct ca_region *region,
			const struct ca_block *block)
{
	unsigned likely = pre_sizes[0];
	struct ca_object object;
	struct ca_shape shape;

	if (!ca_region_has(region, region->owned, block->address) &&
	    !ca_region_has(region, region->corpses, block->address) &&
	    classify(worker, block, &likely, &object, &shape) == HOLDS_OBJECT &&
	    !ca_region_has(region, region->corpses, object.address))
		ca_worker_claim(worker, object.address);
}

static void count_block(struct ca_worker *worker, struct ca_region *region,
			const struct ca_block *block)
{
	uint64_t bit = (block->address - region->start) >> region->shift;
	unsigned likely = pre_sizes[0];
	struct ca_object object;
	struct ca_shape shape;

	worker->trust.blocks++;
	if (ca_block_holds_found(region, block))
		return;
	if (!ca_region_has(region, region->owned, block->address) &&
	    (ca_region_has(region, region->corpses, block->address) ||
	     classify(worker, block, &likely, &object, &shape) == HOLDS_CORPSE))
		worker->trust.freelist++;
	else
		__atomic_fetch_or(&region->blocks[bit / 64], 1ull << (bit % 64), __ATOMIC_RELAXED);
}

static void sweep_block(const struct pieces *pieces, struct ca_worker *worker,
			const struct ca_extent *extent, ca_addr at)
{
	const struct ca_space *space = pieces->collector->space;
	struct ca_region *region;
	struct ca_block block;

	if (!ca_block_read(space->heap, extent, at, &block))
		return; /* with the debug hooks: the C library's own */
	region = ca_space_region(space, block.address);
	if (!region || !region->blocks || block.address + block.room > region->end)
		return;
	if (pieces->counting)
		count_block(worker, region, &block);
	else if (!ca_block_holds_found(region, &block))
		claim_block(worker, region, &block);
}

static void sweep_piece(const struct pieces *pieces, unsigned index, const struct ca_extent *extent,
			uint64_t word)
{
	struct ca_worker *worker = &pieces->collector->workers[index];
	uint64_t words = ca_extent_words(extent), end = word + PIECE_WORDS;

	for (; word < words && word < end; word++) {
		for (uint64_t bits = ca_extent_word(extent, word); bits; bits &= bits - 1)
			sweep_block(pieces, worker, extent,
				    extent->start + CA_EXTENT_ALIGN *
						   (word * 64 + (unsigned)__builtin_ctzll(bits)));
	}
}

static void sweep_pieces(void *arg, unsigned index, size_t begin, size_t end)
{
	const struct pieces *pieces = arg;
	const struct ca_heap *heap = pieces->collector->space->heap;
	size_t low = 0, high = heap->extent_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pieces->first[middle] <= begin)
			low = middle + 1;
		else
			high = middle;
	}
	for (size_t i = low - 1; begin < end; begin++) {
		while (pieces->first[i + 1] <= begin)
			i++;
		if (!pieces->counting || heap->extents[i].of_objects)
			sweep_piece(pieces, index, &heap->extents[i],
				    (begin - pieces->first[i]) * PIECE_WORDS);
	}
}

static void run_pieces(struct ca_collector *collector, bool counting)
{
	const struct ca_heap *heap = collector->space->heap;
	struct pieces pieces = {collector, NULL, counting};
	size_t count = 0;

	pieces.first = ca_alloc((heap->extent_count + 1) * sizeof(*pieces.first));
	for (size_t i = 0; i < heap->extent_count; i++) {
		pieces.first[i] = count;
		count += (ca_extent_words(&heap->extents[i]) + PIECE_WORDS - 1) / PIECE_WORDS;
	}
	pieces.first[heap->extent_count] = count;
	ca_parallel(collector->objects->ctx, count, 16, sweep_pieces, &pieces);
	free(pieces.first);
}

void ca_claim_extents(struct ca_collector *collector)
{
	run_pieces(collector, false);
}

void ca_count_extents(struct ca_collector *collector)
{
	run_pieces(collector, true);
}
