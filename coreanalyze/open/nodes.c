/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From address to node and back. */
#include "open.h"
#include "space.h"

ca_node ca_objects_find(const struct ca_objects *objects, ca_addr addr)
{
	const struct ca_region *region = ca_space_region(objects->space, addr);
	uint64_t word, mask;
	uint32_t node;

	if (!region || !ca_region_bit(region, addr, &word, &mask) || !(region->objects[word] & mask))
		return 0;
	node = region->rank[word / 8];
	for (uint64_t w = word & ~7ull; w < word; w++)
		node += (uint32_t)__builtin_popcountll(region->objects[w]);
	return node + (uint32_t)__builtin_popcountll(region->objects[word] & (mask - 1)) + 1;
}

/* The last rank entry below the node's number, then its bit. */
static ca_addr select_bit(const struct ca_region *region, uint32_t before)
{
	uint64_t low = 0, high = (region->words + 7) / 8;

	while (low + 1 < high) {
		uint64_t middle = low + (high - low) / 2;

		if (region->rank[middle] <= before)
			low = middle;
		else
			high = middle;
	}
	before -= region->rank[low];
	for (uint64_t w = low * 8; w < region->words; w++) {
		uint64_t bits = region->objects[w];
		uint32_t here = (uint32_t)__builtin_popcountll(bits);

		if (before >= here) {
			before -= here;
			continue;
		}
		while (before--)
			bits &= bits - 1;
		return region->start + ((w * 64 + (unsigned)__builtin_ctzll(bits)) << region->shift);
	}
	return 0;
}

ca_addr ca_objects_address(const struct ca_objects *objects, ca_node node)
{
	size_t low = 0, high = objects->space->region_count;

	while (low + 1 < high) {
		size_t middle = low + (high - low) / 2;

		if (objects->space->regions[middle].rank[0] < node)
			low = middle;
		else
			high = middle;
	}
	return node ? select_bit(&objects->space->regions[low], node - 1) : 0;
}

void ca_cursor_init(struct ca_cursor *cursor, const struct ca_objects *objects)
{
	*cursor = (struct ca_cursor){.objects = objects};
	if (objects->space->region_count)
		cursor->bits = objects->space->regions[0].objects[0];
	ca_cursor_next(cursor);
}

void ca_cursor_next(struct ca_cursor *cursor)
{
	const struct ca_space *space = cursor->objects->space;
	const struct ca_region *region = &space->regions[cursor->region];

	if (cursor->node == cursor->objects->count) {
		cursor->node = 0;
		return;
	}
	while (!cursor->bits) {
		if (++cursor->word == region->words) {
			region = &space->regions[++cursor->region];
			cursor->word = 0;
		}
		cursor->bits = region->objects[cursor->word];
	}
	cursor->address = region->start +
			  ((cursor->word * 64 + (unsigned)__builtin_ctzll(cursor->bits)) << region->shift);
	cursor->bits &= cursor->bits - 1;
	cursor->node++;
}
