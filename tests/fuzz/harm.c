/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "harm.h"

#include <stdlib.h>

/* SplitMix64: the same numbers everywhere. */
static uint64_t draw(struct harm *harm)
{
	uint64_t x = harm->state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t below(struct harm *harm, uint64_t limit)
{
	return limit ? draw(harm) % limit : 0;
}

static ca_addr some_object(struct harm *harm)
{
	return ca_objects_address(harm->objects, (ca_node)below(harm, harm->objects->count) + 1);
}

/* Each type has the same chance: most objects are of a few. */
static ca_addr object_of_some_type(struct harm *harm)
{
	uint32_t type = (uint32_t)below(harm, harm->objects->type_count);
	uint32_t start = harm->type_start[type], count = harm->type_start[type + 1] - start;

	return ca_objects_address(harm->objects, harm->by_type[start + below(harm, count)]);
}

/* ---- places ------------------------------------------------------------------ */

static ca_addr in_memory(struct harm *harm)
{
	uint64_t at = below(harm, harm->memory);

	for (size_t i = 0; i < harm->image->segment_count; i++) {
		const struct ca_segment *segment = &harm->image->segments[i];
		uint64_t bytes = segment->end - segment->start;

		if (!(segment->flags & CA_SEG_WRITE))
			continue;
		if (at < bytes)
			return segment->start + at;
		at -= bytes;
	}
	return 0;
}

static ca_addr in_object(struct harm *harm)
{
	return some_object(harm) - 32 + below(harm, 160);
}

static ca_addr in_rare_object(struct harm *harm)
{
	return object_of_some_type(harm) - 32 + below(harm, 288);
}

static ca_addr in_type(struct harm *harm)
{
	uint32_t type = (uint32_t)below(harm, harm->objects->type_count);

	return harm->objects->types[type].type->address - 32 + below(harm, 960);
}

static ca_addr in_runtime(struct harm *harm)
{
	return harm->objects->rt->address + below(harm, 1024);
}

static ca_addr in_interpreter(struct harm *harm)
{
	const struct ca_runtime *rt = harm->objects->rt;
	const struct ca_interp *interp = &rt->interps[below(harm, rt->interp_count)];

	switch (below(harm, 4)) {
	case 0:
		return interp->gc + below(harm, 256);
	case 1:
		return interp->obmalloc ? interp->obmalloc + below(harm, (uint64_t)rt->layout.obmalloc.size)
					: interp->address + below(harm, 64);
	case 2:
		return interp->address + below(harm, (uint64_t)rt->layout.interp.size);
	}
	return interp->address + below(harm, 1024);
}

static ca_addr in_thread(struct harm *harm)
{
	const struct ca_runtime *rt = harm->objects->rt;

	if (!rt->thread_count)
		return 0;

	const struct ca_thread *thread = &rt->threads[below(harm, rt->thread_count)];

	return draw(harm) & 1 && thread->frame ? thread->frame + below(harm, 160)
					       : thread->address + below(harm, 320);
}

static ca_addr in_arena_table(struct harm *harm)
{
	if (!harm->arena_word_count)
		return 0;
	return harm->arena_words[below(harm, harm->arena_word_count)] - 8 + below(harm, 64);
}

static ca_addr in_pool_header(struct harm *harm)
{
	const struct ca_heap *heap = harm->objects->heap;

	if (!heap->arena_count)
		return 0;

	const struct ca_arena_range *arena = &heap->arenas[below(harm, heap->arena_count)];
	uint64_t pools = (arena->end - arena->start) / heap->pool_bytes;

	return arena->start + below(harm, pools) * heap->pool_bytes + below(harm, CA_POOL_HEADER);
}

/* What a word of an object points at: keys tables, items, blocks of a deque. */
static ca_addr behind_object(struct harm *harm)
{
	ca_addr object = object_of_some_type(harm);
	uint64_t pointer;

	for (int tries = 0; tries < 8; tries++) {
		if (ca_image_u64(harm->image, object + 16 + 8 * below(harm, 12), &pointer) &&
		    ca_image_known(harm->image, pointer, pointer + 1))
			return pointer + below(harm, 128);
	}
	return object;
}

static const struct {
	const char *name;
	unsigned weight;
	ca_addr (*choose)(struct harm *harm);
} places[] = {
	{ "memory", 2, in_memory },
	{ "object", 3, in_object },
	{ "rare object", 8, in_rare_object },
	{ "type", 5, in_type },
	{ "runtime", 2, in_runtime },
	{ "interpreter", 3, in_interpreter },
	{ "thread", 2, in_thread },
	{ "arena table", 2, in_arena_table },
	{ "pool header", 3, in_pool_header },
	{ "behind an object", 6, behind_object },
};

/* ---- values ------------------------------------------------------------------- */

static uint64_t word_nearby(struct harm *harm, ca_addr address)
{
	uint64_t value = 0;

	ca_image_u64(harm->image, address - 64 + 8 * below(harm, 17), &value);
	return value;
}

static uint64_t choose_value(struct harm *harm, ca_addr address, uint64_t old)
{
	switch (below(harm, 16)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX;
	case 2:
		return 1ull << below(harm, 64);
	case 3:
		return (1ull << below(harm, 64)) - 1;
	case 4:
		return old ^ 1ull << below(harm, 64);
	case 5:
		return old + below(harm, 65) - 32;
	case 6:
		return (old & ~0xffull << 8 * below(harm, 8)) | below(harm, 256) << 8 * below(harm, 8);
	case 7:
		return (old & 0xffffffff00000000u) | (uint32_t)draw(harm);
	case 8:
		return draw(harm);
	case 9:
		return address; /* a cycle of one */
	case 10:
		return word_nearby(harm, address);
	case 11:
		return some_object(harm);
	case 12:
		return object_of_some_type(harm) + 8 * below(harm, 4);
	case 13:
		return in_memory(harm);
	case 14:
		return in_type(harm) & ~15ull;
	}
	return below(harm, 4096);
}

/* ---- doing and undoing ---------------------------------------------------------- */

/* The word's place in our memory, or NULL where nothing can be written. */
static uint8_t *writable_at(const struct harm *harm, ca_addr address)
{
	uint8_t *at = (uint8_t *)ca_image_at(harm->image, address, 8);

	/* Code and read-only data come from files, and are as the files have them. */
	for (size_t i = 0; at && i < harm->image->segment_count; i++) {
		const struct ca_segment *segment = &harm->image->segments[i];

		if (address >= segment->start && address < segment->end)
			return segment->flags & CA_SEG_FILE && !(segment->flags & CA_SEG_WRITE) ? NULL : at;
	}
	return NULL;
}

static void harm_one(struct harm *harm)
{
	uint64_t weights = 0, pick;
	size_t i = 0;

	for (size_t p = 0; p < CA_COUNT(places); p++)
		weights += places[p].weight;
	for (pick = below(harm, weights); pick >= places[i].weight; i++)
		pick -= places[i].weight;

	ca_addr address = places[i].choose(harm);

	/* Mostly whole words; some that straddle two. */
	if (below(harm, 16))
		address &= ~7ull;

	uint8_t *at = writable_at(harm, address);

	if (!at)
		return;

	struct harm_word word = { .address = address, .old = ca_load_u64(at), .place = places[i].name };

	word.value = choose_value(harm, address, word.old);
	memcpy(at, &word.value, sizeof(word.value));
	harm->done[harm->count++] = word;
}

void harm_do(struct harm *harm, uint64_t seed)
{
	static const unsigned most[] = { 1, 1, 2, 4, 8, HARM_MAX };

	harm->seed = seed;
	harm->state = seed * 0x2545f4914f6cdd1du;
	harm->count = 0;
	for (uint64_t n = below(harm, most[below(harm, CA_COUNT(most))]) + 1; n; n--)
		harm_one(harm);
}

void harm_undo(struct harm *harm)
{
	while (harm->count) {
		const struct harm_word *word = &harm->done[--harm->count];

		memcpy(writable_at(harm, word->address), &word->old, sizeof(word->old));
	}
}

void harm_print(const struct harm *harm, FILE *out)
{
	fprintf(out, "seed %llu\n", (unsigned long long)harm->seed);
	for (size_t i = 0; i < harm->count; i++)
		fprintf(out, "  0x%llx: 0x%llx -> 0x%llx (%s)\n",
			(unsigned long long)harm->done[i].address, (unsigned long long)harm->done[i].old,
			(unsigned long long)harm->done[i].value, harm->done[i].place);
}

/* ---- what there is to damage ----------------------------------------------------- */

static void sort_by_type(struct harm *harm)
{
	const struct ca_objects *objects = harm->objects;
	uint32_t *next = ca_alloc((objects->type_count + 1) * sizeof(*next));

	harm->by_type = ca_alloc((objects->count + 1) * sizeof(*harm->by_type));
	harm->type_start = ca_alloc((objects->type_count + 1) * sizeof(*harm->type_start));
	for (ca_node node = 1; node <= objects->count; node++)
		harm->type_start[ca_node_type(objects, node) + 1]++;
	for (uint32_t i = 0; i < objects->type_count; i++)
		harm->type_start[i + 1] += harm->type_start[i];
	memcpy(next, harm->type_start, objects->type_count * sizeof(*next));
	for (ca_node node = 1; node <= objects->count; node++)
		harm->by_type[next[ca_node_type(objects, node)]++] = node;
	free(next);
}

/* A table of arenas holds their addresses as they are; the first pool may lie above. */
static void find_arena_words(struct harm *harm, const struct ca_segment *segment)
{
	const struct ca_heap *heap = harm->objects->heap;

	for (uint64_t i = 0; i + 8 <= segment->end - segment->start; i += 8) {
		uint64_t value = ca_load_u64(segment->data + i);
		const struct ca_arena_range *arena =
			value ? ca_heap_arena(heap, value + heap->pool_bytes - 1) : NULL;

		if (!arena || value > arena->start)
			continue;
		harm->arena_words = ca_grow(harm->arena_words, &harm->arena_word_capacity,
					    harm->arena_word_count + 1, sizeof(*harm->arena_words));
		harm->arena_words[harm->arena_word_count++] = segment->start + i;
	}
}

struct harm *harm_make(const struct ca_objects *objects)
{
	struct harm *harm = ca_alloc(sizeof(*harm));

	harm->objects = objects;
	harm->image = objects->image;
	for (size_t i = 0; i < harm->image->mapping_count; i++)
		harm->mapped += harm->image->mappings[i].end - harm->image->mappings[i].start;
	sort_by_type(harm);
	for (size_t i = 0; i < harm->image->segment_count; i++) {
		const struct ca_segment *segment = &harm->image->segments[i];

		if (!(segment->flags & CA_SEG_WRITE))
			continue;
		harm->memory += segment->end - segment->start;
		find_arena_words(harm, segment);
	}
	return harm;
}

void harm_free(struct harm *harm)
{
	free(harm->by_type);
	free(harm->type_start);
	free(harm->arena_words);
	free(harm);
}
