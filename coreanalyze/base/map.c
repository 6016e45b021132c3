/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base.h"

#include <stdlib.h>

enum { SMALLEST = 16 };

/*
 * Addresses share their low bits and mostly their high ones; a multiplication
 * by an odd constant near 2^64 / golden ratio moves all of them to the top,
 * and the shift by 32 folds the top down to where the mask looks.
 */
static uint64_t mix(uint64_t key)
{
	key *= 0x9e3779b97f4a7c15u;
	return key ^ (key >> 32);
}

/* The key's slot, or the empty one where it would go. */
static struct ca_map_slot *slot_of(const struct ca_map *map, uint64_t key)
{
	size_t mask = map->capacity - 1;
	size_t i = mix(key) & mask;

	while (map->slots[i].key != key && map->slots[i].key)
		i = (i + 1) & mask;
	return &map->slots[i];
}

static void double_capacity(struct ca_map *map)
{
	struct ca_map old = *map;

	map->capacity = old.capacity ? old.capacity * 2 : SMALLEST;
	size_t bytes;

	/* An impossible size makes ca_alloc() end the program. */
	if (__builtin_mul_overflow(map->capacity, sizeof(*map->slots), &bytes))
		bytes = SIZE_MAX;
	map->slots = ca_alloc(bytes);
	for (size_t i = 0; i < old.capacity; i++) {
		if (old.slots[i].key)
			*slot_of(map, old.slots[i].key) = old.slots[i];
	}
	free(old.slots);
}

uint64_t *ca_map_find(const struct ca_map *map, uint64_t key)
{
	if (!key)
		return map->has_zero ? (uint64_t *)&map->zero_value : NULL;
	if (!map->capacity)
		return NULL;
	struct ca_map_slot *slot = slot_of(map, key);

	return slot->key ? &slot->value : NULL;
}

uint64_t *ca_map_add(struct ca_map *map, uint64_t key, bool *fresh)
{
	uint64_t *value = ca_map_find(map, key);

	if (fresh)
		*fresh = !value;
	if (value)
		return value;
	map->count++;
	if (!key) {
		map->has_zero = true;
		return &map->zero_value;
	}
	/* At most 5/8 full: linear probing stays short. */
	if (map->count > map->capacity / 8 * 5)
		double_capacity(map);
	struct ca_map_slot *slot = slot_of(map, key);

	slot->key = key;
	return &slot->value;
}

void ca_map_fini(struct ca_map *map)
{
	free(map->slots);
	*map = (struct ca_map){ 0 };
}
