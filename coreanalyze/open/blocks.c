/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blocks that hold no object and are no buffer that a kind tells of, but whose
 * start something of C points at: a module's static data, the runtime's
 * structures, an instance of a type of C, or another such block. They are
 * owned, if not by whom. What looks like an object is left alone: that we did
 * not find it must show.
 */
#include <stdlib.h>

#include "collect.h"

/* A visitor that looks at guesses only: what is certainly a reference leads to an object. */
struct seeker {
	struct ca_visitor visitor; /* first: callbacks get the seeker back from it */
	struct ca_space *space;
	struct ca_reader *reader;
	ca_addr *queue; /* newly explained: what do they point at? */
	size_t queued, capacity;
};

static void explain(struct seeker *seeker, ca_addr addr)
{
	ca_addr type_at = addr + (uint64_t)seeker->reader->layout->object.ob_type;
	uint64_t word, mask, type;

	struct ca_region *region = ca_space_region(seeker->space, addr);

	if (!region || !region->blocks || !ca_region_bit(region, addr, &word, &mask) ||
	    !(region->blocks[word] & mask) ||
	    __atomic_load_n(&region->owned[word], __ATOMIC_RELAXED) & mask ||
	    !ca_image_u64(seeker->reader->image, type_at, &type) || ca_type_at(seeker->reader, type) ||
	    __atomic_fetch_or(&region->owned[word], mask, __ATOMIC_RELAXED) & mask)
		return;
	seeker->queue = ca_grow(seeker->queue, &seeker->capacity, seeker->queued + 1,
				sizeof(*seeker->queue));
	seeker->queue[seeker->queued++] = addr;
}

static void seek_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	for (uint64_t i = 0; refs->held == CA_HELD_GUESS && i < refs->count; i++)
		explain((struct seeker *)v, ca_load_u64(refs->data + i * refs->stride));
}

static void seek_buffer(struct ca_visitor *v, ca_addr start, uint64_t bytes, enum ca_buffer how)
{
	(void)v;
	(void)start;
	(void)bytes;
	(void)how;
}

/* ---- instances ------------------------------------------------------------ */

struct search {
	struct ca_collector *collector;
	struct seeker *seekers; /* one a worker */
	bool *opaque;           /* of each type, by its index: the registry itself may move */
};

static void seek_object(struct search *search, unsigned index, ca_addr addr)
{
	struct ca_reader *reader = &search->collector->workers[index].reader;
	struct ca_object object;

	if (ca_object_read(reader, addr, &object))
		ca_object_traverse(reader, &object, &search->seekers[index].visitor);
}

static bool is_opaque(const struct search *search, unsigned worker, uint32_t mold)
{
	return search->opaque[search->collector->workers[worker].molds.items[mold].type];
}

/* The arena's molds are its set bits, in the same order. */
static void seek_arena(struct search *search, unsigned index, size_t arena_index)
{
	struct ca_collector *collector = search->collector;
	const struct ca_arena_range *arena = &collector->space->heap->arenas[arena_index];
	const struct ca_region *region = ca_space_region(collector->space, arena->start);
	const struct ca_swept *swept = &collector->swept[arena_index];
	const uint32_t *mold = collector->objects->mold + swept->slot, *end = mold + swept->count;

	uint64_t word = (arena->start - region->start) >> region->shift >> 6;

	for (; mold < end; word++) {
		for (uint64_t bits = region->objects[word]; bits; bits &= bits - 1) {
			uint64_t bit = word * 64 + (unsigned)__builtin_ctzll(bits);

			if (is_opaque(search, swept->worker, *mold++))
				seek_object(search, index, region->start + (bit << region->shift));
		}
	}
}

static void seek_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct search *search = arg;

	for (size_t i = begin; i < end; i++)
		if (search->collector->swept[i].opaque)
			seek_arena(search, worker, i);
}

/* What lies outside the arenas: each worker has a list of its own. */
static void seek_outer(struct search *search)
{
	struct ca_collector *collector = search->collector;

	for (unsigned i = 0; i < collector->objects->ctx->threads; i++) {
		const struct ca_worker *worker = &collector->workers[i];

		for (size_t n = 0; n < worker->outer_count; n++)
			if (is_opaque(search, i, worker->outer[n].mold))
				seek_object(search, 0, worker->outer[n].address);
	}
}

/* ---- all of it ------------------------------------------------------------ */

/* Explained blocks in turn explain what they point at. */
static void seek_blocks(struct seeker *seeker, const struct ca_heap *heap)
{
	while (seeker->queued) {
		ca_addr block = seeker->queue[--seeker->queued];
		uint64_t bytes = ca_heap_block_bytes(heap, block);
		const uint8_t *words = ca_image_at(heap->rt->image, block, bytes);

		if (words)
			ca_visit_pointers(&seeker->visitor, words, bytes / 8, CA_HELD_GUESS);
	}
}

void ca_explain_blocks(struct ca_collector *collector)
{
	const struct ca_runtime *rt = collector->objects->rt;
	unsigned threads = collector->objects->ctx->threads;
	const struct ca_types *types = &collector->objects->types_registry;
	struct search search = {collector, ca_alloc(threads * sizeof(*search.seekers)),
				ca_alloc(types->count + 1)};

	for (size_t i = 0; i < types->count; i++)
		search.opaque[i] = types->items[i]->opaque;
	for (unsigned i = 0; i < threads; i++)
		search.seekers[i] = (struct seeker){.visitor = {seek_refs, seek_buffer},
						    .space = collector->space,
						    .reader = &collector->workers[i].reader};
	ca_visit_statics(rt, &search.seekers[0].visitor);
	ca_parallel(collector->objects->ctx, collector->space->heap->arena_count, 1, seek_range,
		    &search);
	seek_outer(&search);
	for (unsigned i = 0; i < threads; i++) {
		seek_blocks(&search.seekers[i], collector->space->heap);
		free(search.seekers[i].queue);
	}
	free(search.seekers);
	free(search.opaque);
}
