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

void ca_objects_find_all(const struct ca_objects *objects, const uint8_t *words, uint64_t stride,
			 size_t count, uint64_t tags, ca_node *nodes)
{
	for (size_t i = 0; i < count; i++)
		nodes[i] = ca_objects_find(objects, ca_load_u64(words + i * stride) & ~tags);
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

ca_node ca_objects_next(const struct ca_objects *objects, ca_addr addr)
{
	const struct ca_space *space = objects->space;
	size_t low = 0, high = space->region_count;
	uint64_t bit, word;
	uint32_t before;

	while (low < high) { /* the first region that ends behind it */
		size_t middle = low + (high - low) / 2;

		if (space->regions[middle].end <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == space->region_count)
		return 0;

	const struct ca_region *region = &space->regions[low];
	ca_addr room = (1ull << region->shift) - 1;

	bit = addr > region->start ? (addr - region->start + room) >> region->shift : 0;
	word = bit / 64;
	before = region->rank[word / 8];
	for (uint64_t w = word & ~7ull; w < word; w++)
		before += (uint32_t)__builtin_popcountll(region->objects[w]);
	before += (uint32_t)__builtin_popcountll(region->objects[word] & ((1ull << bit % 64) - 1));
	return before < objects->count ? before + 1 : 0;
}

void ca_cursor_init(struct ca_cursor *cursor, const struct ca_objects *objects)
{
	*cursor = (struct ca_cursor){.objects = objects};
	if (objects->space->region_count)
		cursor->bits = objects->space->regions[0].objects[0];
	ca_cursor_next(cursor);
}

void ca_cursor_seek(struct ca_cursor *cursor, const struct ca_objects *objects, ca_node node)
{
	ca_addr address = ca_objects_address(objects, node);
	const struct ca_region *region = ca_space_region(objects->space, address);
	uint64_t mask;

	*cursor = (struct ca_cursor){.objects = objects,
				     .node = node - 1,
				     .region = (size_t)(region - objects->space->regions)};
	ca_region_bit(region, address, &cursor->word, &mask);
	cursor->bits = region->objects[cursor->word] & ~(mask - 1);
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
