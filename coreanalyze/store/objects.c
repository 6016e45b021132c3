/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The facts of objects: where they may be, their types, what was learnt of these. */
#include <stdlib.h>

#include "private.h"

static void trust_facts(struct ca_facts *facts, struct ca_trust *trust)
{
	ca_fact_u64(facts, &trust->blocks);
	ca_fact_u64(facts, &trust->objects);
	ca_fact_u64(facts, &trust->owned);
	ca_fact_u64(facts, &trust->freelist);
	ca_fact_u64(facts, &trust->unexplained);
	ca_fact_u64(facts, &trust->counted);
}

void ca_facts_of_objects(struct ca_facts *facts, struct ca_objects_saved *objects)
{
	size_t types = objects->type_count;

	ca_fact_u32(facts, &objects->count);
	trust_facts(facts, &objects->trust);
	objects->allocator = ca_fact_enum(facts, objects->allocator, CA_MIMALLOC + 1);
	objects->arenas = ca_fact_array(facts, objects->arenas, &objects->arena_count,
					sizeof(*objects->arenas), 3 * 8);
	for (size_t i = 0; i < objects->arena_count; i++) {
		ca_fact_u64(facts, &objects->arenas[i].start);
		ca_fact_u64(facts, &objects->arenas[i].end);
		ca_fact_u32(facts, &objects->arenas[i].index);
		facts->damaged |= objects->arenas[i].end < objects->arenas[i].start ||
				  (i && objects->arenas[i].start < objects->arenas[i - 1].end);
	}
	ca_fact_u64(facts, &objects->arena_bytes);
	ca_fact_u64(facts, &objects->pool_bytes);
	ca_fact_u64(facts, &objects->raw_allocated_blocks);
	ca_fact_u64(facts, &objects->lookdict);
	objects->regions = ca_fact_array(facts, objects->regions, &objects->region_count,
					 sizeof(*objects->regions), 3 * 8);
	for (size_t i = 0; i < objects->region_count; i++) {
		ca_fact_u64(facts, &objects->regions[i].start);
		ca_fact_u64(facts, &objects->regions[i].end);
		ca_fact_u32(facts, &objects->regions[i].shift);
	}
	objects->types = ca_fact_array(facts, objects->types, &types, sizeof(*objects->types), 3 * 8);
	objects->type_count = (uint32_t)types;
	facts->damaged |= types > CA_MAX_TYPES;
	for (size_t i = 0; i < types; i++) {
		ca_fact_u64(facts, &objects->types[i].address);
		ca_fact_shown(facts, &objects->types[i].name);
		ca_fact_bool(facts, &objects->types[i].bytes_exact);
	}
}

/* ---- what was learnt of types (open/learn.c) ---------------------------------- */

static void list_facts(struct ca_facts *facts, struct ca_learnt *learnt, size_t refs, uint64_t *address,
		       uint64_t *list)
{
	bool fresh;

	ca_fact_u64(facts, address);
	ca_fact_u64(facts, list);
	if (facts->saving)
		return;
	if (*list >> 32 > refs || (uint32_t)*list > refs - (*list >> 32))
		facts->damaged = true;
	else
		*ca_map_add(&learnt->lists, *address, &fresh) = *list;
}

static size_t count_refs(const struct ca_learnt *learnt)
{
	size_t refs = 0;

	for (size_t i = 0; i < learnt->lists.capacity; i++) {
		const struct ca_map_slot *slot = &learnt->lists.slots[i];

		if (slot->key && (slot->value >> 32) + (uint32_t)slot->value > refs)
			refs = (slot->value >> 32) + (uint32_t)slot->value;
	}
	return refs;
}

static void lists_facts(struct ca_facts *facts, struct ca_learnt *learnt)
{
	size_t refs = facts->saving ? count_refs(learnt) : 0, count;

	learnt->refs = ca_fact_array(facts, learnt->refs, &refs, sizeof(*learnt->refs), 8);
	for (size_t i = 0; i < refs; i++)
		ca_fact_u64(facts, &learnt->refs[i]);
	count = ca_fact_count(facts, learnt->lists.count, 2 * 8);
	for (size_t i = 0, told = 0; told < count; i++) {
		struct ca_map_slot slot = {0};

		if (facts->saving)
			slot = learnt->lists.slots[i];
		if (facts->saving && !slot.key)
			continue;
		list_facts(facts, learnt, refs, &slot.key, &slot.value);
		told++;
	}
}

static void lesson_facts(struct ca_facts *facts, struct ca_learnt *learnt)
{
	size_t offsets = learnt->offset_count;

	ca_fact_bool(facts, &learnt->constant);
	ca_fact_bool(facts, &learnt->visits_type);
	learnt->offsets = ca_fact_array(facts, learnt->offsets, &offsets, sizeof(*learnt->offsets), 8);
	learnt->offset_count = (uint32_t)offsets;
	for (size_t i = 0; i < offsets; i++) {
		uint32_t offset = learnt->offsets[i];

		ca_fact_u32(facts, &offset);
		learnt->offsets[i] = (uint16_t)offset;
	}
	lists_facts(facts, learnt);
}

void ca_facts_of_learnt(struct ca_facts *facts, struct ca_objects *objects)
{
	size_t count = 0;

	for (uint32_t i = 0; facts->saving && i < objects->type_count; i++)
		count += objects->types[i].type->learnt != NULL;
	count = ca_fact_count(facts, count, 4 * 8);
	for (uint32_t i = 0, told = 0; told < count && !facts->damaged; i++) {
		uint32_t number = i;
		struct ca_type *type;

		if (facts->saving && !objects->types[i].type->learnt)
			continue;
		number = ca_fact_enum(facts, number, objects->type_count);
		if (number >= objects->type_count)
			return;
		type = (struct ca_type *)objects->types[number].type;
		if (!facts->saving && !facts->damaged && !type->learnt)
			type->learnt = ca_alloc(sizeof(*type->learnt));
		else if (!facts->saving)
			facts->damaged = true;
		if (!facts->damaged)
			lesson_facts(facts, type->learnt);
		told++;
	}
}
