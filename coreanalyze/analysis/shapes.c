/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Cycles of the same shape: the same set of "this type refers to that type".
 * So a parent with two children has the shape of one with three.
 */
#include <stdlib.h>

#include "cycles.h"

enum { RECENT = 1024, GRAIN = 256 };

struct job {
	const struct ca_graph *graph;
	const struct ca_cycles *cycles;
	const uint32_t *row_of_type; /* NULL: a graph by hand */
	uint64_t *prints;            /* of each cycle */
};

/* The pairs of types of one cycle. recent: so that most repeats are not even added. */
struct pairs {
	uint64_t *items;
	size_t count, capacity;
	uint64_t recent[RECENT];
};

static uint32_t type_row(const struct job *job, ca_node node)
{
	return job->row_of_type ? job->row_of_type[ca_node_type(job->graph->objects, node)] : 0;
}

/* A pair is never 0: the lowest bit is set. */
static void add_pair(struct pairs *pairs, uint32_t from, uint32_t to)
{
	uint64_t pair = (uint64_t)from << 33 | (uint64_t)to << 1 | 1;
	size_t slot = (pair ^ pair >> 30) / 2 % RECENT;

	if (pairs->recent[slot] == pair)
		return;
	pairs->recent[slot] = pair;
	pairs->items = ca_grow(pairs->items, &pairs->capacity, pairs->count + 1, sizeof(*pairs->items));
	pairs->items[pairs->count++] = pair;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t mix(uint64_t sum, uint64_t value)
{
	sum = (sum ^ value) * 0x9e3779b97f4a7c15u;
	return sum ^ sum >> 29;
}

static uint64_t print_of(struct pairs *pairs)
{
	uint64_t print = 1, last = 0;

	if (pairs->count > 1)
		qsort(pairs->items, pairs->count, sizeof(*pairs->items), by_value);
	for (size_t i = 0; i < pairs->count; i++) {
		if (pairs->items[i] != last)
			print = mix(print, pairs->items[i]);
		last = pairs->items[i];
	}
	return print;
}

static void forget(struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++) {
		uint64_t pair = pairs->items[i];

		pairs->recent[(pair ^ pair >> 30) / 2 % RECENT] = 0;
	}
	pairs->count = 0;
}

static void print_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct job *job = arg;
	struct pairs *pairs = ca_alloc(sizeof(*pairs));

	(void)worker;
	for (size_t i = begin; i < end; i++) {
		const struct ca_cycle *cycle = &job->cycles->items[i];

		for (uint32_t m = 0; m < cycle->objects; m++) {
			ca_node from = job->cycles->members[cycle->first + m];
			struct ca_edges edges = ca_graph_out(job->graph, from);

			for (uint64_t e = 0; e < edges.count; e++)
				if (ca_cycle_edge(job->cycles, from, edges.nodes[e], edges.flags[e]))
					add_pair(pairs, type_row(job, from), type_row(job, edges.nodes[e]));
		}
		job->prints[i] = print_of(pairs);
		forget(pairs);
	}
	free(pairs->items);
	free(pairs);
}

static void add_cycle(struct ca_cycles *cycles, struct ca_cycle_shape *shape, uint32_t index)
{
	const struct ca_cycle *cycle = &cycles->items[index];

	/* The smallest: cycles are sorted by size, of equal ones the first. */
	if (!shape->count || cycle->objects < cycles->items[shape->example].objects)
		shape->example = index;
	shape->count++;
	shape->objects += cycle->objects;
	shape->bytes += cycle->bytes;
	shape->owned += cycle->owned;
	shape->finalizers += cycle->finalizers;
	shape->unreachable += cycle->unreachable;
}

static void group(struct ca_cycles *cycles, const uint64_t *prints)
{
	struct ca_map known = {0};
	size_t capacity = 0;

	for (size_t i = 0; i < cycles->count; i++) {
		bool fresh;
		uint64_t *index = ca_map_add(&known, prints[i], &fresh);

		if (fresh) {
			*index = cycles->shape_count;
			cycles->shapes = ca_grow(cycles->shapes, &capacity, cycles->shape_count + 1,
						 sizeof(*cycles->shapes));
			cycles->shapes[cycles->shape_count++] = (struct ca_cycle_shape){0};
		}
		cycles->items[i].shape = (uint32_t)*index;
		add_cycle(cycles, &cycles->shapes[*index], (uint32_t)i);
	}
	ca_map_fini(&known);
}

static int by_size(const void *a, const void *b)
{
	const struct ca_cycle_shape *x = a, *y = b;
	uint64_t of_x = x->bytes + x->owned, of_y = y->bytes + y->owned;

	if (of_x != of_y)
		return of_x < of_y ? 1 : -1;
	return x->example < y->example ? -1 : x->example > y->example;
}

/* Sorts the shapes, and tells the cycles. */
static void order_shapes(struct ca_cycles *cycles)
{
	uint32_t *now = ca_alloc((cycles->shape_count + 1) * sizeof(*now));

	if (cycles->shape_count)
		qsort(cycles->shapes, cycles->shape_count, sizeof(*cycles->shapes), by_size);
	for (size_t i = 0; i < cycles->shape_count; i++)
		now[cycles->items[cycles->shapes[i].example].shape] = (uint32_t)i;
	for (size_t i = 0; i < cycles->count; i++)
		cycles->items[i].shape = now[cycles->items[i].shape];
	free(now);
}

void ca_cycle_shapes(struct ca_context *ctx, const struct ca_graph *graph, struct ca_cycles *cycles)
{
	struct ca_type_totals totals = {0};
	struct job job = {.graph = graph, .cycles = cycles};

	if (graph->objects) {
		ca_type_totals_build(graph->objects, &totals);
		job.row_of_type = totals.row_of_type;
	}
	job.prints = ca_alloc((cycles->count + 1) * sizeof(*job.prints));
	ca_parallel(ctx, cycles->count, GRAIN, print_range, &job);
	group(cycles, job.prints);
	order_shapes(cycles);
	free(job.prints);
	ca_type_totals_fini(&totals);
}
