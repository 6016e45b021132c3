/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "analysis.h"

static void add_mold(struct ca_type_total *total, const struct ca_mold *mold)
{
	total->count += mold->count;
	total->bytes += mold->bytes * mold->count;
	total->owned += mold->owned * mold->count;
	total->gc_tracked += mold->flags & CA_MOLD_TRACKED ? mold->count : 0;
}

static void add(struct ca_type_total *to, const struct ca_type_total *from)
{
	to->count += from->count;
	to->bytes += from->bytes;
	to->owned += from->owned;
	to->gc_tracked += from->gc_tracked;
}

struct named {
	const char *name;
	uint32_t type;
};

static int by_name(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->type > y->type) - (x->type < y->type);
}

static void merge_names(const struct ca_objects *objects, const struct ca_type_total *by_type,
			struct ca_type_totals *totals)
{
	struct named *order = ca_alloc((objects->type_count + 1) * sizeof(*order));

	for (uint32_t i = 0; i < objects->type_count; i++)
		order[i] = (struct named){objects->types[i].name, i};
	qsort(order, objects->type_count, sizeof(*order), by_name);
	for (uint32_t i = 0; i < objects->type_count; i++) {
		uint32_t type = order[i].type;
		const struct ca_type_total *last = totals->count ? &totals->rows[totals->count - 1] : NULL;

		if (!by_type[type].count)
			continue;
		if (!last || strcmp(order[i].name, last->name) != 0)
			totals->rows[totals->count++] =
				(struct ca_type_total){.name = order[i].name, .bytes_exact = true};

		struct ca_type_total *row = &totals->rows[totals->count - 1];

		totals->row_of_type[type] = (uint32_t)totals->count - 1;
		add(row, &by_type[type]);
		row->type_objects++;
		row->bytes_exact &= objects->types[type].bytes_exact;
	}
	free(order);
}

void ca_type_totals_build(const struct ca_objects *objects, struct ca_type_totals *totals)
{
	struct ca_type_total *by_type = ca_alloc((objects->type_count + 1) * sizeof(*by_type));

	memset(totals, 0, sizeof(*totals));
	totals->rows = ca_alloc((objects->type_count + 1) * sizeof(*totals->rows));
	totals->row_of_type = ca_alloc((objects->type_count + 1) * sizeof(*totals->row_of_type));
	for (uint32_t i = 0; i < objects->mold_count; i++)
		add_mold(&by_type[objects->molds[i].type], &objects->molds[i]);
	merge_names(objects, by_type, totals);
	totals->sum.bytes_exact = true;
	for (size_t i = 0; i < totals->count; i++) {
		add(&totals->sum, &totals->rows[i]);
		totals->sum.type_objects += totals->rows[i].type_objects;
		totals->sum.bytes_exact &= totals->rows[i].bytes_exact;
	}
	free(by_type);
}

void ca_type_totals_fini(struct ca_type_totals *totals)
{
	free(totals->rows);
	free(totals->row_of_type);
}
