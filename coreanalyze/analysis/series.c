/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Each core leaves a few numbers for each type and owner, and can be closed. */
#include <stdlib.h>

#include "analysis.h"

struct ca_series_part {
	const char *key, *name;
	size_t moment;
	uint64_t count, bytes;
};

void ca_series_init(struct ca_series *series, size_t moments)
{
	*series = (struct ca_series){.moments = moments};
}

void ca_series_fini(struct ca_series *series)
{
	free(series->types.items);
	free(series->owners.items);
	free(series->inside.items);
	ca_map_fini(&series->holders[0]);
	ca_map_fini(&series->holders[1]);
	ca_arena_fini(&series->arena);
	*series = (struct ca_series){0};
}

static void add_part(struct ca_series_parts *parts, struct ca_series_part part)
{
	parts->items = ca_grow(parts->items, &parts->capacity, parts->count + 1, sizeof(*parts->items));
	parts->items[parts->count++] = part;
}

static void add_type(struct ca_series *series, struct ca_series_parts *parts, const char *type,
		     size_t moment, uint64_t count, uint64_t bytes)
{
	const char *name = ca_arena_strdup(&series->arena, type);

	add_part(parts, (struct ca_series_part){name, name, moment, count, bytes});
}

static void add_owner(struct ca_series *series, const struct ca_retained_row *sums, size_t moment)
{
	add_part(&series->owners, (struct ca_series_part){
		.key = ca_owner_key(sums->name, &series->arena),
		.name = ca_arena_strdup(&series->arena, sums->name),
		.moment = moment,
		.count = sums->count,
		.bytes = sums->bytes + sums->owned,
	});
}

/* ---- whom objects are put down to --------------------------------------------------- */

void ca_series_find_holders(struct ca_series *series, const struct ca_naming *naming, bool last)
{
	const struct ca_objects *objects = naming->graph->objects;
	struct ca_holders holders;

	ca_holders_build(naming, CA_LEAST_OWNER, NULL, &holders);
	for (ca_node node = 1; node <= naming->graph->object_count; node++) {
		const char *type = objects->types[ca_node_type(objects, node)].name;

		if (holders.holder[node] == node)
			*ca_map_add(&series->holders[last], ca_objects_address(objects, node), NULL) =
				(uintptr_t)ca_arena_strdup(&series->arena, type);
	}
	ca_holders_fini(&holders);
}

/* Bit by node: it is at the place of a holder of one of the two cores, and of its type. */
static uint64_t *mark_holders(const struct ca_series *series, const struct ca_naming *naming)
{
	const struct ca_objects *objects = naming->graph->objects;
	uint64_t *bits = ca_alloc((naming->graph->node_count / 64 + 1) * sizeof(*bits));
	struct ca_cursor cursor;

	for (ca_cursor_init(&cursor, objects); cursor.node; ca_cursor_next(&cursor)) {
		const char *type = objects->types[ca_node_type(objects, cursor.node)].name;

		for (size_t i = 0; i < CA_COUNT(series->holders); i++) {
			const uint64_t *there = ca_map_find(&series->holders[i], cursor.address);

			if (there && strcmp((const char *)(uintptr_t)*there, type) == 0)
				bits[cursor.node / 64] |= 1ull << cursor.node % 64;
		}
	}
	return bits;
}

static void build_owners(const struct ca_series *series, const struct ca_naming *naming,
			 struct ca_holders *holders, struct ca_owners *owners)
{
	uint64_t *marked = mark_holders(series, naming);

	ca_holders_build(naming, UINT64_MAX, marked, holders);
	ca_owners_build(naming, holders, NULL, owners);
	free(marked);
}

/* ---- adding --------------------------------------------------------------------------- */

void ca_series_add(struct ca_series *series, size_t moment, const struct ca_naming *naming)
{
	struct ca_type_totals totals;
	struct ca_holders holders;
	struct ca_owners owners;

	ca_type_totals_build(naming->graph->objects, &totals);
	for (size_t i = 0; i < totals.count; i++)
		add_type(series, &series->types, totals.rows[i].name, moment, totals.rows[i].count,
			 totals.rows[i].bytes + totals.rows[i].owned);
	ca_type_totals_fini(&totals);
	build_owners(series, naming, &holders, &owners);
	for (size_t i = 0; i < owners.count; i++)
		add_owner(series, &owners.rows[i].sums, moment);
	ca_owners_fini(&owners);
	ca_holders_fini(&holders);
}

void ca_series_look_inside(struct ca_series *series, size_t moment, const struct ca_naming *naming,
			   const char *owner)
{
	const struct ca_objects *objects = naming->graph->objects;
	struct ca_type_total *by_type = ca_alloc((objects->type_count + 1) * sizeof(*by_type));
	uint8_t *is_it = ca_alloc(naming->graph->node_count);
	const char *key = ca_owner_key(owner, &series->arena);
	struct ca_holders holders;
	struct ca_owners owners;

	build_owners(series, naming, &holders, &owners);
	for (size_t i = 0; i < owners.count; i++)
		is_it[owners.rows[i].holder] =
			strcmp(ca_owner_key(owners.rows[i].sums.name, &series->arena), key) == 0;
	for (ca_node node = 1; node <= naming->graph->object_count; node++) {
		struct ca_type_total *total = &by_type[ca_node_type(objects, node)];

		if (!is_it[holders.holder[node]])
			continue;
		total->count++;
		total->bytes += ca_node_bytes(objects, node) + ca_node_owned(objects, node);
	}
	for (uint32_t i = 0; i < objects->type_count; i++)
		if (by_type[i].count)
			add_type(series, &series->inside, objects->types[i].name, moment, by_type[i].count,
				 by_type[i].bytes);
	ca_owners_fini(&owners);
	ca_holders_fini(&holders);
	free(is_it);
	free(by_type);
}

/* ---- tables --------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct ca_series_part *x = a, *y = b;
	int order = strcmp(x->key, y->key);

	return order ? order : (x->moment > y->moment) - (x->moment < y->moment);
}

static int by_growth(const void *a, const void *b)
{
	const struct ca_series_row *x = a, *y = b;

	return x->grown == y->grown ? strcmp(x->name, y->name) : x->grown < y->grown ? 1 : -1;
}

static void sum_up(struct ca_series_row *row, size_t moments)
{
	row->grown = (int64_t)(row->bytes[moments - 1] - row->bytes[0]);
	for (size_t i = 1; i < moments; i++)
		row->rose += row->bytes[i] > row->bytes[i - 1];
}

void ca_series_table(struct ca_series *series, const struct ca_series_parts *parts,
		     struct ca_series_table *table)
{
	struct ca_series_row *row = NULL;

	*table = (struct ca_series_table){ca_alloc((parts->count + 1) * sizeof(*table->rows)), 0};
	if (parts->count)
		qsort(parts->items, parts->count, sizeof(*parts->items), by_name);
	for (size_t i = 0; i < parts->count; i++) {
		const struct ca_series_part *part = &parts->items[i];

		if (!i || strcmp(part->key, part[-1].key) != 0) {
			row = &table->rows[table->count++];
			row->counts = ca_arena_alloc(&series->arena, series->moments * sizeof(uint64_t));
			row->bytes = ca_arena_alloc(&series->arena, series->moments * sizeof(uint64_t));
		}
		row->name = part->name; /* as it is called last */
		row->counts[part->moment] += part->count;
		row->bytes[part->moment] += part->bytes;
	}
	for (size_t i = 0; i < table->count; i++)
		sum_up(&table->rows[i], series->moments);
	if (table->count)
		qsort(table->rows, table->count, sizeof(*table->rows), by_growth);
}
