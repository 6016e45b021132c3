/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "analysis.h"

static bool same_modules(const struct ca_image *a, const struct ca_image *b)
{
	size_t common = 0;

	/* Modules may be loaded meanwhile; those of the first must still be where they were. */
	for (size_t i = 0, j = 0; i < a->module_count; i++) {
		while (j < b->module_count && b->modules[j].start < a->modules[i].start)
			j++;
		common += j < b->module_count && b->modules[j].start == a->modules[i].start &&
			  strcmp(b->modules[j].path, a->modules[i].path) == 0;
	}
	return common == a->module_count;
}

bool ca_same_process(const struct ca_objects *a, const struct ca_objects *b)
{
	return a->image->pid && a->image->pid == b->image->pid && a->rt->address == b->rt->address &&
	       memcmp(a->rt->hash_secret, b->rt->hash_secret, sizeof(a->rt->hash_secret)) == 0 &&
	       same_modules(a->image, b->image);
}

struct ca_heap_size ca_heap_size(const struct ca_objects *objects, const struct ca_type_totals *totals)
{
	return (struct ca_heap_size){
		.objects = totals->sum.count,
		.bytes = totals->sum.bytes,
		.owned = totals->sum.owned,
		.arena_bytes = objects->heap->arena_bytes,
		.mapped_bytes = ca_image_writable(objects->image),
	};
}

/* Rows of both sides by name; map_*: a side's row to the merged one. */
static void merge_rows(const struct ca_type_totals *before, const struct ca_type_totals *after,
		       struct ca_diff *diff, uint32_t *map_before, uint32_t *map_after)
{
	size_t i = 0, j = 0;

	diff->rows = ca_alloc((before->count + after->count + 1) * sizeof(*diff->rows));
	while (i < before->count || j < after->count) {
		int order = i == before->count  ? 1
			    : j == after->count ? -1
						: strcmp(before->rows[i].name, after->rows[j].name);
		struct ca_diff_row *row = &diff->rows[diff->count];

		if (order <= 0) {
			row->name = before->rows[i].name;
			map_before[i] = (uint32_t)diff->count;
			row->before = before->rows[i++];
		}
		if (order >= 0) {
			row->name = after->rows[j].name;
			map_after[j] = (uint32_t)diff->count;
			row->after = after->rows[j++];
		}
		diff->count++;
	}
}

/* An object that is only in the later heap. */
static void note_fresh(struct ca_diff *diff, const uint64_t *among, uint32_t row, ca_node node)
{
	if (among && !(among[node / 64] >> node % 64 & 1))
		return;
	diff->rows[row].fresh++;
	diff->fresh[node / 64] |= 1ull << node % 64;
}

/* Walks both heaps by address: an object survives where the same type is at the same address. */
static void tell_apart(const struct ca_objects *before, const struct ca_objects *after,
		       const uint32_t *row_before, const uint32_t *row_after, const uint64_t *among,
		       struct ca_diff *diff)
{
	struct ca_cursor a, b;

	diff->fresh = ca_alloc((after->count / 64 + 1) * sizeof(*diff->fresh));

	ca_cursor_init(&a, before);
	ca_cursor_init(&b, after);
	while (a.node || b.node) {
		if (a.node && (!b.node || a.address < b.address)) {
			diff->rows[row_before[ca_node_type(before, a.node)]].freed++;
			ca_cursor_next(&a);
		} else if (b.node && (!a.node || b.address < a.address)) {
			note_fresh(diff, among, row_after[ca_node_type(after, b.node)], b.node);
			ca_cursor_next(&b);
		} else {
			uint32_t was = row_before[ca_node_type(before, a.node)];
			uint32_t is = row_after[ca_node_type(after, b.node)];

			if (was != is) {
				diff->rows[was].freed++;
				note_fresh(diff, among, is, b.node);
			}
			ca_cursor_next(&a);
			ca_cursor_next(&b);
		}
	}
}

/* From a type's index to its row in the diff. */
static uint32_t *rows_of_types(const struct ca_objects *objects,
			       const struct ca_type_totals *totals, const uint32_t *map)
{
	uint32_t *rows = ca_alloc((objects->type_count + 1) * sizeof(*rows));

	for (uint32_t i = 0; i < objects->type_count; i++)
		rows[i] = map[totals->row_of_type[i]];
	return rows;
}

uint64_t *ca_diff_common(const struct ca_objects *first, const struct ca_objects *second)
{
	uint64_t *common = ca_alloc((second->count / 64 + 1) * sizeof(*common));
	struct ca_cursor cursor;

	for (ca_cursor_init(&cursor, second); cursor.node; ca_cursor_next(&cursor)) {
		ca_node same = ca_objects_find(first, cursor.address);

		if (same && strcmp(first->types[ca_node_type(first, same)].name,
				   second->types[ca_node_type(second, cursor.node)].name) == 0)
			common[cursor.node / 64] |= 1ull << cursor.node % 64;
	}
	return common;
}

void ca_diff_build(const struct ca_objects *before, const struct ca_objects *after,
		   const uint64_t *among, struct ca_diff *diff)
{
	struct ca_type_totals from, to;

	memset(diff, 0, sizeof(*diff));
	ca_type_totals_build(before, &from);
	ca_type_totals_build(after, &to);

	uint32_t *map_from = ca_alloc((from.count + 1) * sizeof(*map_from));
	uint32_t *map_to = ca_alloc((to.count + 1) * sizeof(*map_to));

	diff->same_process = ca_same_process(before, after);
	diff->before = ca_heap_size(before, &from);
	diff->after = ca_heap_size(after, &to);
	merge_rows(&from, &to, diff, map_from, map_to);
	if (diff->same_process) {
		uint32_t *rows_from = rows_of_types(before, &from, map_from);
		uint32_t *rows_to = rows_of_types(after, &to, map_to);

		tell_apart(before, after, rows_from, rows_to, among, diff);
		free(rows_from);
		free(rows_to);
	}
	free(map_from);
	free(map_to);
	ca_type_totals_fini(&from);
	ca_type_totals_fini(&to);
}

void ca_diff_fini(struct ca_diff *diff)
{
	free(diff->rows);
	free(diff->fresh);
}
