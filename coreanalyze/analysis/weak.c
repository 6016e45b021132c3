/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Garbage that weak references still give to whoever asks them. */
#include <stdlib.h>

#include "analysis.h"

static int by_type(const void *a, const void *b)
{
	const struct ca_weak_row *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : x->node < y->node ? -1 : x->node > y->node;
}

static int by_count(const void *a, const void *b)
{
	const struct ca_weak_row *x = a, *y = b;

	return x->objects != y->objects ? (x->objects < y->objects ? 1 : -1) : strcmp(x->name, y->name);
}

/* Rows of one reference each, sorted, become a row a type. */
static size_t merge(struct ca_weak_row *rows, size_t count)
{
	size_t kept = 0;
	ca_node last = 0;

	for (size_t i = 0; i < count; i++) {
		struct ca_weak_row *row = kept ? &rows[kept - 1] : NULL;
		struct ca_weak_row now = rows[i];

		now.objects = now.node != last;
		last = now.node;
		if (!row || strcmp(row->name, now.name) != 0) {
			rows[kept++] = now;
			continue;
		}
		row->objects += now.objects;
		row->references++;
		row->callbacks += now.callbacks;
	}
	return kept;
}

void ca_weak_build(const struct ca_objects *objects, const struct ca_weakref *refs, size_t count,
		   const struct ca_garbage *garbage, struct ca_weak *weak)
{
	*weak = (struct ca_weak){.rows = ca_alloc((count + 1) * sizeof(*weak->rows))};
	for (size_t i = 0; i < count; i++) {
		if (!ca_bit(garbage->found, refs[i].to) || ca_bit(garbage->found, refs[i].node))
			continue;

		uint32_t type = ca_node_type(objects, refs[i].to);

		/* The collector calls back only where the reference itself is alive. */
		weak->callbacks += refs[i].callback != 0;
		weak->rows[weak->count++] = (struct ca_weak_row){
			objects->types[type].name, refs[i].to, 1, 1, refs[i].callback != 0};
	}
	if (weak->count)
		qsort(weak->rows, weak->count, sizeof(*weak->rows), by_type);
	weak->count = merge(weak->rows, weak->count);
	if (weak->count)
		qsort(weak->rows, weak->count, sizeof(*weak->rows), by_count);
}

void ca_weak_fini(struct ca_weak *weak)
{
	free(weak->rows);
	*weak = (struct ca_weak){0};
}
