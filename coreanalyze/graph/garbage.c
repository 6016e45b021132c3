/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "graph.h"

enum { GRAIN = 1 << 15, COUNTED = CA_EDGE_GC | CA_EDGE_STRONG };

struct job {
	const struct ca_graph *graph;
	const struct ca_gc_facts *facts;
	struct ca_garbage *garbage;
	uint32_t *inside; /* references to each watched object that watched ones hold */
};

struct stack {
	ca_node *nodes;
	size_t count, capacity;
};

static bool watched(const struct job *job, ca_node node)
{
	return node && node <= job->graph->object_count && job->facts->bits[node] & CA_GC_WATCHED;
}

static void push(struct stack *stack, ca_node node)
{
	stack->nodes = ca_grow(stack->nodes, &stack->capacity, stack->count + 1, sizeof(*stack->nodes));
	stack->nodes[stack->count++] = node;
}

/* Those that are left: held by what is not watched. */
static int64_t outside(const struct job *job, ca_node node)
{
	return (int64_t)job->facts->refcount[node] - job->inside[node];
}

static void count_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct job *job = arg;

	(void)worker;
	for (size_t i = begin; i < end; i++) {
		ca_node node = (ca_node)i + 1;
		struct ca_edges edges = ca_graph_out(job->graph, node);

		for (uint64_t e = 0; e < edges.count && watched(job, node); e++)
			if ((edges.flags[e] & COUNTED) == COUNTED && watched(job, edges.nodes[e]))
				__atomic_fetch_add(&job->inside[edges.nodes[e]], 1, __ATOMIC_RELAXED);
	}
}

/* All that collector's references lead to from the stack and is in state `from` becomes `to`. */
static void spread(const struct job *job, struct stack *stack, uint8_t from, uint8_t to)
{
	uint8_t *state = job->garbage->state;

	while (stack->count) {
		struct ca_edges edges = ca_graph_out(job->graph, stack->nodes[--stack->count]);

		for (uint64_t e = 0; e < edges.count; e++) {
			ca_node node = edges.nodes[e];

			if (!(edges.flags[e] & CA_EDGE_GC) || !watched(job, node) || state[node] != from)
				continue;
			state[node] = to;
			push(stack, node);
		}
	}
}

/* Everything watched is taken for garbage first, then what is held is brought back. */
static void bring_back(const struct job *job, struct stack *stack)
{
	struct ca_garbage *garbage = job->garbage;

	for (ca_node node = 1; node <= job->graph->object_count; node++) {
		if (!watched(job, node))
			continue;
		garbage->state[node] = outside(job, node) > 0 ? CA_GARBAGE_NONE : CA_GARBAGE_FREED;
		if (outside(job, node) > 0)
			push(stack, node);
	}
	spread(job, stack, CA_GARBAGE_FREED, CA_GARBAGE_NONE);
}

static void keep_legacy(const struct job *job, struct stack *stack)
{
	struct ca_garbage *garbage = job->garbage;

	for (ca_node node = 1; node <= job->graph->object_count; node++) {
		if (garbage->state[node] != CA_GARBAGE_FREED || !(job->facts->bits[node] & CA_GC_LEGACY))
			continue;
		garbage->state[node] = CA_GARBAGE_KEPT;
		push(stack, node);
	}
	spread(job, stack, CA_GARBAGE_FREED, CA_GARBAGE_KEPT);
}

static void sum_up(const struct job *job)
{
	struct ca_garbage *garbage = job->garbage;

	for (ca_node node = 1; node <= job->graph->object_count; node++) {
		uint8_t bits = job->facts->bits[node];

		if (garbage->state[node] == CA_GARBAGE_NONE)
			continue;
		garbage->objects++;
		garbage->overcounted += outside(job, node) < 0;
		garbage->kept += garbage->state[node] == CA_GARBAGE_KEPT;
		garbage->finalizers += (bits & CA_GC_FINALIZER) && !(bits & CA_GC_FINALIZED);
	}
}

void ca_garbage_build(struct ca_context *ctx, const struct ca_graph *graph,
		      const struct ca_gc_facts *facts, struct ca_garbage *garbage)
{
	struct job job = {graph, facts, garbage, NULL};
	struct stack stack = {0};

	*garbage = (struct ca_garbage){.state = ca_alloc(graph->object_count + 1ull)};
	job.inside = ca_alloc((graph->object_count + 1ull) * sizeof(*job.inside));
	ca_parallel(ctx, graph->object_count, GRAIN, count_range, &job);
	bring_back(&job, &stack);
	keep_legacy(&job, &stack);
	sum_up(&job);
	free(job.inside);
	free(stack.nodes);
}

void ca_garbage_fini(struct ca_garbage *garbage)
{
	free(garbage->state);
	*garbage = (struct ca_garbage){0};
}
