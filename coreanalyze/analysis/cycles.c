/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reference cycles: the components, what is in them, what the collector makes of them. */
#include <stdlib.h>

#include "cycles.h"

/* ---- components ---------------------------------------------------------------- */

/* Of the edges that have none of `without`, between what may be in a cycle of them. */
struct parts {
	uint8_t without;
	uint64_t *among;
	struct ca_components components;
	uint32_t *sizes; /* [count + 1] */
};

struct work {
	const struct ca_graph *graph;
	struct parts *parts[2]; /* the second: of fewer edges; or NULL */
};

static void find_parts(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct work *work = arg;

	(void)worker;
	for (size_t i = begin; i < end; i++) {
		struct parts *parts = work->parts[i];
		const uint32_t *number;

		ca_components_build(work->graph, parts->without, parts->among, &parts->components);
		number = parts->components.number;
		parts->sizes = ca_alloc((parts->components.count + 1ull) * sizeof(*parts->sizes));
		for (ca_node node = ca_next_bit(parts->among, 0, work->graph->node_count);
		     node < work->graph->node_count;
		     node = ca_next_bit(parts->among, node + 1, work->graph->node_count))
			parts->sizes[number[node]]++;
	}
}

static void find_all_parts(struct ca_context *ctx, const struct ca_graph *graph, struct parts *all,
			   struct parts *fewer)
{
	struct work work = {graph, {all, fewer}};
	size_t words = graph->node_count / 64 + 1ull;

	all->among = ca_alloc(words * sizeof(*all->among));
	for (ca_node node = 1; node <= graph->object_count; node++)
		ca_set_bit(all->among, node);
	ca_graph_trim(ctx, graph, all->without, all->among);
	if (fewer) {
		fewer->among = memcpy(ca_alloc(words * sizeof(*fewer->among)), all->among,
				      words * sizeof(*fewer->among));
		ca_graph_trim(ctx, graph, fewer->without, fewer->among);
	}
	ca_parallel(ctx, fewer ? 2 : 1, 1, find_parts, &work);
}

static void free_parts(struct parts *parts)
{
	ca_components_fini(&parts->components);
	free(parts->among);
	free(parts->sizes);
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

static bool in_cycle(const struct ca_graph *graph, const struct parts *parts, ca_node node)
{
	return ca_bit(parts->among, node) && (parts->sizes[parts->components.number[node]] > 1 ||
					      refers_to_itself(graph, node, parts->without));
}

enum { NO_CYCLE = 0 };

/* Each component's cycle, its index + 1, in order of the lowest member. */
static uint32_t *number_cycles(const struct ca_graph *graph, const struct parts *parts,
			       struct ca_cycles *cycles)
{
	uint32_t *of = ca_alloc((parts->components.count + 1ull) * sizeof(*of));
	ca_node end = graph->object_count + 1;
	size_t capacity = 0;
	uint64_t members = 0;

	for (ca_node node = ca_next_bit(parts->among, 0, end); node < end;
	     node = ca_next_bit(parts->among, node + 1, end)) {
		uint32_t component = parts->components.number[node];

		if (of[component] != NO_CYCLE || !in_cycle(graph, parts, node))
			continue;
		cycles->items = ca_grow(cycles->items, &capacity, cycles->count + 1, sizeof(*cycles->items));
		cycles->items[cycles->count] = (struct ca_cycle){.first = members};
		of[component] = (uint32_t)++cycles->count;
		members += parts->sizes[component];
	}
	cycles->objects = members;
	cycles->members = ca_alloc((members + 1) * sizeof(*cycles->members));
	return of;
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
	cycle->unreachable |= ca_bit(garbage->found, node);
	cycle->kept |= ca_bit(garbage->kept, node);
}

static void fill_cycles(const struct ca_graph *graph, const struct ca_gc_facts *facts,
			const struct parts *parts, struct ca_cycles *cycles)
{
	uint32_t *of = number_cycles(graph, parts, cycles);
	ca_node end = graph->object_count + 1;

	for (ca_node node = ca_next_bit(parts->among, 0, end); node < end;
	     node = ca_next_bit(parts->among, node + 1, end)) {
		uint32_t index = of[parts->components.number[node]];

		if (index == NO_CYCLE)
			continue;

		struct ca_cycle *cycle = &cycles->items[index - 1];

		cycles->members[cycle->first + cycle->objects++] = node;
		add_member(graph, facts, &cycles->garbage, node, cycle);
	}
	free(of);
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

static void sum_program(const struct ca_graph *graph, const struct parts *all,
			const struct parts *fewer, struct ca_cycles *cycles)
{
	ca_node end = graph->object_count + 1;

	for (ca_node node = ca_next_bit(all->among, 0, end); node < end;
	     node = ca_next_bit(all->among, node + 1, end)) {
		if (in_cycle(graph, fewer, node) || !in_cycle(graph, all, node))
			continue;
		cycles->program_objects++;
		if (graph->objects)
			cycles->program_bytes += ca_node_bytes(graph->objects, node);
	}
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
		     struct ca_gc_facts *facts, bool all_edges,
		     const struct ca_cycle_filter *filter, struct ca_cycles *cycles)
{
	struct parts all = {.without = 0}, fewer = {.without = CA_EDGE_PROGRAM};
	struct parts *shown = all_edges ? &all : &fewer;

	*cycles = (struct ca_cycles){.without = shown->without};
	ca_garbage_build(ctx, graph, facts, &cycles->garbage);
	find_all_parts(ctx, graph, &all, all_edges ? NULL : &fewer);
	fill_cycles(graph, facts, shown, cycles);
	sum_cycles(cycles);
	if (!all_edges)
		sum_program(graph, &all, &fewer, cycles);
	cycles->components = shown->components;
	shown->components = (struct ca_components){0};
	free_parts(&all);
	free_parts(&fewer);
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
