/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From rows to nodes: what was found, in address order. */
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

/* ---- rows ----------------------------------------------------------------- */

/* Moves a row within its arena. */
static void copy_row(struct ca_objects *objects, size_t to, size_t from)
{
	objects->type[to] = objects->type[from];
	objects->bytes[to] = objects->bytes[from];
	objects->owned[to] = objects->owned[from];
	objects->flags[to] = objects->flags[from];
}

/* A candidate at a block's start that turned out to be another object's buffer is no object. */
static void drop_buffers(struct ca_collector *collector, size_t index)
{
	const struct ca_arena_range *arena = &collector->space->heap->arenas[index];
	struct ca_swept *swept = &collector->swept[index];
	struct ca_region *region = ca_space_region(collector->space, arena->start);
	struct ca_objects *objects = collector->objects;
	struct ca_type **types = objects->types_registry.items;
	size_t row = swept->slot, end = swept->slot + swept->count, kept = row;

	for (uint64_t word = (arena->start - region->start) >> region->shift >> 6; row < end; word++) {
		uint64_t bits = region->objects[word], owned = region->owned[word];

		if (!(bits & owned) && kept == row) {
			kept = row += (unsigned)__builtin_popcountll(bits);
			continue;
		}
		for (; bits; bits &= bits - 1) {
			uint64_t mask = bits & -bits;

			if (owned & mask && !types[objects->type[row]]->pre) {
				region->objects[word] &= ~mask;
				region->blocks[word] |= mask;
			} else {
				copy_row(objects, kept++, row);
			}
			row++;
		}
	}
	swept->count = (uint32_t)(kept - swept->slot);
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

/* Room before the first arena's rows, for objects of lower addresses. Untouched, it costs nothing. */
enum { HEAD_ROOM = 1 << 20 };

static void allocate_nodes(struct ca_objects *objects, size_t count)
{
	objects->type = ca_alloc(count * sizeof(*objects->type));
	objects->bytes = ca_alloc(count * sizeof(*objects->bytes));
	objects->owned = ca_alloc(count * sizeof(*objects->owned));
	objects->flags = ca_alloc(count);
}

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

	ca_parallel(collector->objects->ctx, arenas, 1, count_range, collector);
	for (size_t i = 0; i < arenas; i++) {
		collector->swept[i].slot = slots;
		slots += collector->swept[i].count;
		collector->swept[i].count = 0;
	}
	collector->room = slots;
	allocate_nodes(collector->objects, slots);
}

/* Where each arena's rows go; false when one would move up, over rows not yet moved. */
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

/* The arrays as they were swept, and as they will be: the same ones, mostly. */
struct mover {
	struct ca_collector *collector;
	struct ca_objects from;
	const uint32_t *renumber;
	const struct ca_outer *outer;
	size_t outer_count;
};

static void move_rows(const struct mover *m, void *to, const void *from, size_t element)
{
	for (size_t i = 0; i < m->collector->space->heap->arena_count; i++) {
		const struct ca_swept *swept = &m->collector->swept[i];

		memmove((char *)to + swept->node * element, (const char *)from + swept->slot * element,
			swept->count * element);
	}
}

/* One array at a time: they do not depend on each other. */
static void move_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct mover *m = arg;
	struct ca_objects *to = m->collector->objects;

	(void)worker;
	for (size_t array = begin; array < end; array++) {
		if (array == 0)
			move_rows(m, to->type, m->from.type, sizeof(*to->type));
		else if (array == 1)
			move_rows(m, to->bytes, m->from.bytes, sizeof(*to->bytes));
		else if (array == 2)
			move_rows(m, to->owned, m->from.owned, sizeof(*to->owned));
		else
			move_rows(m, to->flags, m->from.flags, sizeof(*to->flags));
	}
}

static void renumber_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct mover *m = arg;
	uint32_t *type = m->collector->objects->type;

	(void)worker;
	for (size_t node = begin + 1; node < end + 1; node++)
		type[node] = m->renumber[type[node]];
}

/* The outer objects go between the arenas. */
static void place_outer(const struct mover *m)
{
	const struct ca_heap *heap = m->collector->space->heap;
	size_t node = 1, at = 0;

	for (size_t i = 0; i <= heap->arena_count; i++) {
		bool last = i == heap->arena_count;

		for (; at < m->outer_count && (last || m->outer[at].address < heap->arenas[i].start); at++)
			ca_put_row(m->collector->objects, node++, &m->outer[at].row);
		node += last ? 0 : m->collector->swept[i].count;
	}
}

static void free_arrays(struct ca_objects *objects)
{
	free(objects->type);
	free(objects->bytes);
	free(objects->owned);
	free(objects->flags);
}

static void number_nodes(struct ca_collector *collector, const struct ca_outer *outer,
			 size_t outer_count)
{
	struct ca_objects *objects = collector->objects;
	struct mover m = {collector, *objects, settle_types(objects), outer, outer_count};
	bool in_place = number_arenas(collector, outer, outer_count);

	if (!in_place)
		allocate_nodes(objects, (size_t)objects->count + 1);
	ca_parallel(objects->ctx, 4, 1, move_range, &m);
	place_outer(&m);
	ca_parallel(objects->ctx, objects->count, 1 << 18, renumber_range, &m);
	if (!in_place)
		free_arrays(&m.from);
	free((uint32_t *)m.renumber);
}

static void move_large(struct ca_collector *collector)
{
	struct ca_objects *objects = collector->objects;
	bool fresh;

	for (unsigned i = 0; i < objects->ctx->threads; i++) {
		const struct ca_worker *worker = &collector->workers[i];

		for (size_t n = 0; n < worker->large_count; n++) {
			const struct ca_large *large = &worker->large[n];
			ca_node node = ca_objects_find(objects, large->address);

			if (node)
				*ca_map_add(large->owned ? &objects->large_owned : &objects->large_bytes,
					    node, &fresh) = large->size;
		}
	}
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
	move_large(collector);
	count_buffers(&objects->trust, collector->space);
	free(outer);
	return NULL;
}
