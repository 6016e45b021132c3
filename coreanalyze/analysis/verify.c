/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The audit's mismatches, by type. */
#include <stdlib.h>
#include <string.h>

#include "analysis.h"

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct ca_mismatch_row *)a)->name, ((const struct ca_mismatch_row *)b)->name);
}

static int by_references(const void *a, const void *b)
{
	const struct ca_mismatch_row *x = a, *y = b;

	return x->references == y->references ? by_name(a, b) : x->references < y->references ? 1 : -1;
}

/* Types that share a name become one row; those without a mismatch none. */
static size_t merge(struct ca_mismatch_row *rows, size_t count)
{
	size_t kept = 0;

	qsort(rows, count, sizeof(*rows), by_name);
	for (size_t i = 0; i < count; i++) {
		if (!rows[i].objects)
			continue;
		if (kept && strcmp(rows[kept - 1].name, rows[i].name) == 0) {
			rows[kept - 1].objects += rows[i].objects;
			rows[kept - 1].references += rows[i].references;
		} else {
			rows[kept++] = rows[i];
		}
	}
	qsort(rows, kept, sizeof(*rows), by_references);
	return kept;
}

static void add(struct ca_mismatch_row *row, const char *name, uint32_t references)
{
	if (!references)
		return;
	row->name = name;
	row->objects++;
	row->references += references;
}

void ca_verify_build(const struct ca_graph *graph, struct ca_verify *verify)
{
	const struct ca_objects *objects = graph->objects;
	size_t types = objects->type_count;

	verify->excess = ca_alloc((types + 1) * sizeof(*verify->excess));
	verify->deficit = ca_alloc((types + 1) * sizeof(*verify->deficit));
	for (size_t i = 0; i < types; i++)
		verify->excess[i].name = verify->deficit[i].name = objects->types[i].name;
	for (size_t i = 0; i < graph->audit.count; i++) {
		const struct ca_mismatch *item = &graph->audit.items[i];
		uint32_t type = ca_node_type(objects, item->node);

		add(&verify->excess[type], objects->types[type].name, item->excess);
		add(&verify->deficit[type], objects->types[type].name, item->deficit);
	}
	verify->excess_count = merge(verify->excess, types);
	verify->deficit_count = merge(verify->deficit, types);
}

void ca_verify_fini(struct ca_verify *verify)
{
	free(verify->excess);
	free(verify->deficit);
}
