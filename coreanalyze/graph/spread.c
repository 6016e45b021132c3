/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What can be reached. Workers follow what is to be followed each by a stack of
 * its own, but only so far: then what is left on all stacks is shared out anew.
 */
#include <stdlib.h>

#include "graph.h"

enum { GRAIN = 1 << 12, PATIENCE = 1 << 16 };

struct stack {
	ca_node *nodes;
	size_t count, capacity;
};

struct spread {
	const struct ca_graph *graph;
	uint64_t *bits;
	uint8_t with;
	struct stack *stacks; /* of the workers */
	struct stack from;
};

static void push(struct stack *stack, const ca_node *nodes, size_t count)
{
	if (!count)
		return;
	stack->nodes = ca_grow(stack->nodes, &stack->capacity, stack->count + count, sizeof(*stack->nodes));
	memcpy(stack->nodes + stack->count, nodes, count * sizeof(*nodes));
	stack->count += count;
}

/* True for one of those who ask at a time. */
static bool clear(const struct spread *spread, ca_node node)
{
	uint64_t bit = 1ull << node % 64, *word = &spread->bits[node / 64];

	return __atomic_load_n(word, __ATOMIC_RELAXED) & bit &&
	       __atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED) & bit;
}

static void follow(const struct spread *spread, struct stack *stack, ca_node node)
{
	struct ca_edges edges = ca_graph_out(spread->graph, node);

	for (uint64_t i = 0; i < edges.count; i++)
		if (edges.flags[i] & spread->with && clear(spread, edges.nodes[i]))
			push(stack, &edges.nodes[i], 1);
}

/* As far as patience goes, and not below what was on the stack before. */
static void follow_stack(const struct spread *spread, struct stack *stack, size_t floor)
{
	for (unsigned i = 0; i < PATIENCE && stack->count > floor; i++)
		follow(spread, stack, stack->nodes[--stack->count]);
}

static void follow_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct spread *spread = arg;
	struct stack *stack = &spread->stacks[worker];
	size_t floor = stack->count;

	push(stack, spread->from.nodes + begin, end - begin);
	follow_stack(spread, stack, floor);
}

/* What is left on the workers' stacks. */
static void gather(struct spread *spread, unsigned workers)
{
	spread->from.count = 0;
	for (unsigned i = 0; i < workers; i++) {
		push(&spread->from, spread->stacks[i].nodes, spread->stacks[i].count);
		spread->stacks[i].count = 0;
	}
}

void ca_graph_spread(struct ca_context *ctx, const struct ca_graph *graph, uint8_t with,
		     uint64_t *bits, ca_node *from, size_t count)
{
	struct spread spread = {.graph = graph, .bits = bits, .with = with,
				.from = {from, count, count}};

	/* Most of what is asked is little, and not worth a thread. */
	follow_stack(&spread, &spread.from, 0);
	if (spread.from.count)
		spread.stacks = ca_alloc(ctx->threads * sizeof(*spread.stacks));
	while (spread.from.count) {
		ca_parallel(ctx, spread.from.count, GRAIN, follow_range, &spread);
		gather(&spread, ctx->threads);
	}
	for (unsigned i = 0; spread.stacks && i < ctx->threads; i++)
		free(spread.stacks[i].nodes);
	free(spread.stacks);
	free(spread.from.nodes);
}
