/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From what was found to nodes, in address order. */
#include <stdlib.h>

#include "collect.h"

static int outer_order(const void *a, const void *b)
{
	const struct ca_outer *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

/* All workers' outer objects in one sorted array. */
static struct ca_outer *gather_outer(struct ca_collector *collector, size_t *count)
{
	unsigned threads = collector->objects->ctx->threads;

	*count = 0;
	for (unsigned i = 0; i < threads; i++)
		*count += collector->workers[i].outer_count;

	struct ca_outer *all = ca_alloc(*count * sizeof(*all));
	size_t at = 0;

	for (unsigned i = 0; i < threads; i++) {
		size_t n = collector->workers[i].outer_count;

		if (n)
			memcpy(all + at, collector->workers[i].outer, n * sizeof(*all));
		at += n;
	}
	qsort(all, *count, sizeof(*all), outer_order);
	return all;
}

/* ---- types ---------------------------------------------------------------- */

static int type_order(const void *a, const void *b)
{
	const struct ca_type_row *x = a, *y = b;

	return x->type->address < y->type->address ? -1 : x->type->address > y->type->address;
}

/*
 * Types in order of address, so that nothing depends on who met one first.
 * Returns what an index in the registry becomes.
 */
static uint32_t *settle_types(struct ca_objects *objects)
{
	struct ca_types *registry = &objects->types_registry;
	uint32_t *renumber = ca_alloc((registry->count + 1) * sizeof(*renumber));
	struct ca_reader *reader = ca_alloc(sizeof(*reader));

	ca_reader_init(reader, registry);
	objects->type_count = (uint32_t)registry->count;
	objects->types = ca_alloc((registry->count + 1) * sizeof(*objects->types));
	for (size_t i = 0; i < registry->count; i++)
		objects->types[i].type = registry->items[i];
	qsort(objects->types, objects->type_count, sizeof(*objects->types), type_order);
	for (uint32_t i = 0; i < objects->type_count; i++) {
		struct ca_type_row *row = &objects->types[i];

		renumber[row->type->index] = i;
		row->name = ca_type_name(reader, row->type, &objects->ctx->arena);
		row->bytes_exact = ca_type_bytes_exact(reader, row->type);
	}
	free(reader);
	return renumber;
}

/* ---- objects that are none ------------------------------------------------- */

static void drop(struct ca_region *region, uint64_t word, uint64_t mask, struct ca_mold *mold)
{
	region->objects[word] &= ~mask;
	region->blocks[word] |= mask;
	__atomic_fetch_sub(&mold->count, 1, __ATOMIC_RELAXED);
}

/* A candidate at a block's start that turned out to be another object's buffer is no object. */
static void drop_buffers(struct ca_collector *collector, size_t index)
{
	const struct ca_arena_range *arena = &collector->space->heap->arenas[index];
	struct ca_swept *swept = &collector->swept[index];
	struct ca_region *region = ca_space_region(collector->space, arena->start);
	struct ca_type **types = collector->objects->types_registry.items;
	struct ca_mold *molds = collector->workers[swept->worker].molds.items;
	uint32_t *mold = collector->objects->mold + swept->slot, *end = mold + swept->count;
	uint32_t *kept = mold;

	for (uint64_t word = (arena->start - region->start) >> region->shift >> 6; mold < end; word++) {
		uint64_t bits = region->objects[word], owned = region->owned[word];

		if (!(bits & owned) && kept == mold) {
			kept = mold += (unsigned)__builtin_popcountll(bits);
			continue;
		}
		for (; bits; bits &= bits - 1, mold++) {
			uint64_t mask = bits & -bits;

			if (owned & mask && !types[molds[*mold].type]->pre)
				drop(region, word, mask, &molds[*mold]);
			else
				*kept++ = *mold;
		}
	}
	swept->count -= (uint32_t)(end - kept);
}

static void drop_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct ca_collector *collector = arg;

	(void)worker;
	for (size_t i = begin; i < end; i++)
		if (collector->swept[i].count)
			drop_buffers(collector, i);
}

/* ---- numbering ------------------------------------------------------------ */

/* Room before the first arena's molds, for objects of lower addresses. Untouched, it costs nothing. */
enum { HEAD_ROOM = 1 << 20 };

/* So many in a row for one worker: it is the first to touch these pages, and they share a table. */
enum { PAGE_TABLE_ARENAS = 8 };

static void count_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct ca_collector *collector = arg;
	const struct ca_heap *heap = collector->space->heap;

	(void)worker;
	for (size_t i = begin; i < end; i++)
		collector->swept[i].count = ca_arena_blocks(heap, &heap->arenas[i]);
}

void ca_make_room(struct ca_collector *collector)
{
	size_t slots = HEAD_ROOM, arenas = collector->space->heap->arena_count;

	ca_parallel(collector->objects->ctx, arenas, PAGE_TABLE_ARENAS, count_range, collector);
	for (size_t i = 0; i < arenas; i++) {
		collector->swept[i].slot = slots;
		slots += collector->swept[i].count;
		collector->swept[i].count = 0;
	}
	collector->room = slots;
	collector->objects->mold = ca_alloc(slots * sizeof(*collector->objects->mold));
}

/* Where each arena's molds go; false when some would move up, over others not yet moved. */
static bool number_arenas(struct ca_collector *collector, const struct ca_outer *outer,
			  size_t outer_count)
{
	const struct ca_heap *heap = collector->space->heap;
	size_t node = 1, at = 0;
	bool downwards = true;

	for (size_t i = 0; i < heap->arena_count; i++) {
		while (at < outer_count && outer[at].address < heap->arenas[i].start) {
			at++;
			node++;
		}
		collector->swept[i].node = node;
		downwards &= node <= collector->swept[i].slot;
		node += collector->swept[i].count;
	}
	return downwards && node + (outer_count - at) <= collector->room;
}

/* Where molds go, and what they become. */
struct numbering {
	uint32_t *to;
	uint32_t **renumber; /* of each worker's */
	const struct ca_outer *outer;
	size_t outer_count;
};

/* The molds of the arenas move together, those of the outer objects go between. */
static void number_molds(const struct ca_collector *collector, const struct numbering *n)
{
	const struct ca_heap *heap = collector->space->heap;
	const struct ca_outer *outer = n->outer, *end = outer + n->outer_count;
	uint32_t *to = n->to + 1;

	for (size_t i = 0; i < heap->arena_count; i++) {
		const struct ca_swept *swept = &collector->swept[i];
		const uint32_t *from = collector->objects->mold + swept->slot;
		const uint32_t *renumber = n->renumber[swept->worker];

		for (; outer < end && outer->address < heap->arenas[i].start; outer++)
			*to++ = n->renumber[outer->worker][outer->mold];
		for (uint32_t k = 0; k < swept->count; k++)
			*to++ = renumber[from[k]];
	}
	for (; outer < end; outer++)
		*to++ = n->renumber[outer->worker][outer->mold];
}

static uint32_t **settle_molds(struct ca_collector *collector)
{
	unsigned threads = collector->objects->ctx->threads;
	const struct ca_molds **tables = ca_alloc(threads * sizeof(*tables));
	uint32_t *types = settle_types(collector->objects), **renumber;

	for (unsigned i = 0; i < threads; i++)
		tables[i] = &collector->workers[i].molds;
	renumber = ca_molds_settle(tables, threads, collector->objects, types);
	free(types);
	free(tables);
	return renumber;
}

static void number_nodes(struct ca_collector *collector, const struct ca_outer *outer,
			 size_t outer_count)
{
	struct ca_objects *objects = collector->objects;
	struct numbering n = {objects->mold, settle_molds(collector), outer, outer_count};

	if (!number_arenas(collector, outer, outer_count))
		n.to = ca_alloc(((size_t)objects->count + 1) * sizeof(*n.to));
	number_molds(collector, &n);
	if (n.to != objects->mold)
		free(objects->mold);
	objects->mold = n.to;
	for (unsigned i = 0; i < objects->ctx->threads; i++)
		free(n.renumber[i]);
	free(n.renumber);
}

static void count_buffers(struct ca_trust *trust, const struct ca_space *space)
{
	for (size_t i = 0; i < space->region_count; i++) {
		const struct ca_region *region = &space->regions[i];

		for (uint64_t w = 0; region->blocks && w < region->words; w++) {
			trust->owned += (uint64_t)__builtin_popcountll(region->blocks[w] & region->owned[w]);
			trust->unexplained +=
				(uint64_t)__builtin_popcountll(region->blocks[w] & ~region->owned[w]);
		}
	}
}

struct ca_error *ca_emit_nodes(struct ca_collector *collector)
{
	struct ca_objects *objects = collector->objects;
	size_t arenas = objects->heap->arena_count, outer_count, total;
	struct ca_outer *outer = gather_outer(collector, &outer_count);

	ca_parallel(objects->ctx, arenas, 1, drop_range, collector);
	total = outer_count;
	for (size_t i = 0; i < arenas; i++)
		total += collector->swept[i].count;
	if (total >= UINT32_MAX - 1) {
		free(outer);
		return ca_error_make(CA_TARGET, "too many objects", "",
				     "%zu objects are more than this version can number", total);
	}
	objects->count = (uint32_t)total;
	number_nodes(collector, outer, outer_count);
	ca_space_rank(objects->space);
	count_buffers(&objects->trust, collector->space);
	free(outer);
	return NULL;
}
