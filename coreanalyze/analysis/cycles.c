/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reference cycles: the components, what is in them, what the collector makes of them. */
#include <stdlib.h>

#include "cycles.h"

/* ---- three questions at a time --------------------------------------------- */

struct questions {
	struct ca_context *ctx;
	const struct ca_graph *graph;
	const struct ca_gc_facts *facts;
	struct ca_cycles *cycles;
	struct ca_components all; /* of all edges, where cycles->components is of fewer */
};

static void answer(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct questions *q = arg;

	(void)worker;
	for (size_t question = begin; question < end; question++) {
		if (question == 0)
			ca_components_build(q->graph, 0, q->cycles->without ? &q->all : &q->cycles->components);
		else if (q->cycles->without)
			ca_components_build(q->graph, q->cycles->without, &q->cycles->components);
	}
}

/* ---- which components are cycles --------------------------------------------- */

static bool refers_to_itself(const struct ca_graph *graph, ca_node node, uint8_t without)
{
	struct ca_edges edges = ca_graph_out(graph, node);

	for (uint64_t i = 0; i < edges.count; i++)
		if (edges.nodes[i] == node && !(edges.flags[i] & without))
			return true;
	return false;
}

/* Members of each component. */
static uint32_t *component_sizes(const struct ca_graph *graph, const struct ca_components *components)
{
	uint32_t *sizes = ca_alloc((components->count + 1ull) * sizeof(*sizes));

	for (ca_node node = 1; node <= graph->object_count; node++)
		sizes[components->number[node]]++;
	return sizes;
}

enum { NO_CYCLE = 0 };

/* Turns sizes to the cycle's index + 1 for each component, in order of the lowest member. */
static void number_cycles(const struct ca_graph *graph, struct ca_cycles *cycles, uint32_t *of)
{
	const uint32_t *number = cycles->components.number;
	size_t capacity = 0;
	uint64_t members = 0;
	uint8_t *seen = ca_alloc(cycles->components.count / 8 + 1ull);

	for (ca_node node = 1; node <= graph->object_count; node++) {
		uint32_t component = number[node];
		uint32_t size = of[component];

		if (seen[component / 8] >> component % 8 & 1)
			continue;
		seen[component / 8] |= (uint8_t)(1u << component % 8);
		of[component] = NO_CYCLE;
		if (size < 2 && !refers_to_itself(graph, node, cycles->without))
			continue;
		cycles->items = ca_grow(cycles->items, &capacity, cycles->count + 1, sizeof(*cycles->items));
		cycles->items[cycles->count] = (struct ca_cycle){.first = members};
		of[component] = (uint32_t)++cycles->count;
		members += size;
	}
	free(seen);
	cycles->objects = members;
	cycles->members = ca_alloc((members + 1) * sizeof(*cycles->members));
}

static void add_member(const struct ca_graph *graph, const struct ca_gc_facts *facts,
		       const struct ca_garbage *garbage, ca_node node, struct ca_cycle *cycle)
{
	uint8_t bits = facts->bits[node];

	if (graph->objects) {
		cycle->bytes += ca_node_bytes(graph->objects, node);
		cycle->owned += ca_node_owned(graph->objects, node);
	}
	if (bits & CA_GC_FINALIZER) {
		cycle->finalizers++;
		cycle->pending += !(bits & CA_GC_FINALIZED);
	}
	cycle->unreachable |= garbage->state[node] != CA_GARBAGE_NONE;
	cycle->kept |= garbage->state[node] == CA_GARBAGE_KEPT;
}

static void fill_cycles(const struct ca_graph *graph, const struct ca_gc_facts *facts,
			struct ca_cycles *cycles, const uint32_t *of)
{
	for (ca_node node = 1; node <= graph->object_count; node++) {
		uint32_t index = of[cycles->components.number[node]];

		if (index == NO_CYCLE)
			continue;

		struct ca_cycle *cycle = &cycles->items[index - 1];

		cycles->members[cycle->first + cycle->objects++] = node;
		add_member(graph, facts, &cycles->garbage, node, cycle);
	}
}

static void sum_cycles(struct ca_cycles *cycles)
{
	for (size_t i = 0; i < cycles->count; i++) {
		cycles->bytes += cycles->items[i].bytes;
		cycles->owned += cycles->items[i].owned;
		cycles->with_finalizers += cycles->items[i].finalizers != 0;
	}
}

/* ---- the program: what only the edges that were left out close ----------------- */

static void sum_program(const struct ca_graph *graph, const struct ca_components *all,
			const uint32_t *of, struct ca_cycles *cycles)
{
	uint32_t *sizes = component_sizes(graph, all);

	for (ca_node node = 1; node <= graph->object_count; node++) {
		if (of[cycles->components.number[node]] != NO_CYCLE)
			continue;
		if (sizes[all->number[node]] < 2 && !refers_to_itself(graph, node, 0))
			continue;
		cycles->program_objects++;
		if (graph->objects)
			cycles->program_bytes += ca_node_bytes(graph->objects, node);
	}
	free(sizes);
}

/* ---- which of them are wanted --------------------------------------------------- */

static bool has_type(const struct ca_objects *objects, const struct ca_cycles *cycles,
		     const struct ca_cycle *cycle, const char *name)
{
	for (uint32_t m = 0; objects && m < cycle->objects; m++) {
		ca_node node = cycles->members[cycle->first + m];

		if (strcmp(objects->types[ca_node_type(objects, node)].name, name) == 0)
			return true;
	}
	return false;
}

static void keep_wanted(const struct ca_graph *graph, const struct ca_cycle_filter *filter,
			struct ca_cycles *cycles)
{
	size_t kept = 0;

	for (size_t i = 0; i < cycles->count; i++) {
		const struct ca_cycle *cycle = &cycles->items[i];

		if ((filter->finalizers && !cycle->finalizers) ||
		    (filter->unreachable && !cycle->unreachable) ||
		    cycle->bytes + cycle->owned < filter->min_bytes ||
		    (filter->type && !has_type(graph->objects, cycles, cycle, filter->type)))
			continue;
		cycles->items[kept++] = *cycle;
	}
	cycles->count = kept;
}

/* ---- order ------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	const struct ca_cycle *x = a, *y = b;
	uint64_t of_x = x->bytes + x->owned, of_y = y->bytes + y->owned;

	if (of_x != of_y)
		return of_x < of_y ? 1 : -1;
	if (x->objects != y->objects)
		return x->objects < y->objects ? 1 : -1;
	return x->first < y->first ? -1 : x->first > y->first;
}

void ca_cycles_build(struct ca_context *ctx, const struct ca_graph *graph,
		     const struct ca_gc_facts *facts, bool all_edges,
		     const struct ca_cycle_filter *filter, struct ca_cycles *cycles)
{
	struct questions q = {.ctx = ctx, .graph = graph, .facts = facts, .cycles = cycles};

	*cycles = (struct ca_cycles){.without = all_edges ? 0 : CA_EDGE_PROGRAM};
	ca_garbage_build(ctx, graph, facts, &cycles->garbage);
	ca_parallel(ctx, 2, 1, answer, &q);

	uint32_t *of = component_sizes(graph, &cycles->components);

	number_cycles(graph, cycles, of);
	fill_cycles(graph, facts, cycles, of);
	sum_cycles(cycles);
	if (cycles->without)
		sum_program(graph, &q.all, of, cycles);
	free(of);
	ca_components_fini(&q.all);
	cycles->all = cycles->count;
	if (filter)
		keep_wanted(graph, filter, cycles);
	if (cycles->count)
		qsort(cycles->items, cycles->count, sizeof(*cycles->items), by_size);
	ca_cycle_shapes(ctx, graph, cycles);
}

void ca_cycles_fini(struct ca_cycles *cycles)
{
	free(cycles->items);
	free(cycles->members);
	free(cycles->shapes);
	ca_components_fini(&cycles->components);
	ca_garbage_fini(&cycles->garbage);
	*cycles = (struct ca_cycles){0};
}

void ca_cycle_facts_fini(struct ca_cycle_facts *facts)
{
	ca_cycles_fini(&facts->cycles);
	ca_gc_facts_fini(&facts->gc);
}
