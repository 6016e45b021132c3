/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "analysis.h"

/* Sums of one worker, by type index. */
struct sums {
	struct ca_type_total *by_type;
};

struct job {
	const struct ca_objects *objects;
	struct sums *workers;
};

static void sum_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct job *job = arg;
	const struct ca_objects *objects = job->objects;
	struct ca_type_total *by_type = job->workers[worker].by_type;

	for (size_t i = begin; i < end; i++) {
		ca_node node = (ca_node)i + 1;
		struct ca_type_total *total = &by_type[ca_node_type(objects, node)];

		total->count++;
		total->bytes += ca_node_bytes(objects, node);
		total->owned += ca_node_owned(objects, node);
		total->gc_tracked += ca_node_tracked(objects, node);
	}
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
	unsigned threads = objects->ctx->threads;
	struct job job = {objects, ca_alloc(threads * sizeof(*job.workers))};

	memset(totals, 0, sizeof(*totals));
	totals->rows = ca_alloc((objects->type_count + 1) * sizeof(*totals->rows));
	totals->row_of_type = ca_alloc((objects->type_count + 1) * sizeof(*totals->row_of_type));
	for (unsigned i = 0; i < threads; i++)
		job.workers[i].by_type =
			ca_alloc((objects->type_count + 1) * sizeof(*job.workers[i].by_type));
	ca_parallel(objects->ctx, objects->count, 1 << 16, sum_range, &job);
	for (unsigned i = 1; i < threads; i++)
		for (uint32_t t = 0; t < objects->type_count; t++)
			add(&job.workers[0].by_type[t], &job.workers[i].by_type[t]);
	merge_names(objects, job.workers[0].by_type, totals);
	totals->sum.bytes_exact = true;
	for (size_t i = 0; i < totals->count; i++) {
		add(&totals->sum, &totals->rows[i]);
		totals->sum.type_objects += totals->rows[i].type_objects;
		totals->sum.bytes_exact &= totals->rows[i].bytes_exact;
	}
	for (unsigned i = 0; i < threads; i++)
		free(job.workers[i].by_type);
	free(job.workers);
}

void ca_type_totals_fini(struct ca_type_totals *totals)
{
	free(totals->rows);
	free(totals->row_of_type);
}
