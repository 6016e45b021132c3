/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Incoming edges. Each worker owns a range of targets and goes through all
 * edges in order of their sources: no locks, no sorting, and every list comes
 * out ascending, whoever filled it.
 */
#include <stdlib.h>

#include "graph.h"

struct reversal {
	const struct ca_graph *graph;
	uint64_t *end; /* [node_count + 1]: first, one further; counts, then where the next one goes */
	ca_node *from;
};

static void count_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct reversal *reversal = arg;
	const struct ca_graph *graph = reversal->graph;

	(void)worker;
	for (uint64_t i = 0; i < graph->edge_count; i++)
		if (graph->to[i] - begin < end - begin)
			reversal->end[graph->to[i] + 1]++;
}

static void fill_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct reversal *reversal = arg;
	const struct ca_graph *graph = reversal->graph;

	(void)worker;
	for (ca_node node = 0; node < graph->node_count; node++)
		for (uint64_t i = graph->first[node]; i < graph->first[node + 1]; i++)
			if (graph->to[i] - begin < end - begin)
				reversal->from[reversal->end[graph->to[i]]++] = node;
}

void ca_graph_reverse(const struct ca_graph *graph)
{
	struct ca_context alone = {.threads = 1}, *ctx = graph->reverse->ctx;
	struct reversal reversal = {.graph = graph};
	uint64_t *first = ca_alloc((graph->node_count + 2ull) * sizeof(*first));
	size_t share;

	if (!ctx)
		ctx = &alone;
	share = (graph->node_count + ctx->threads - 1) / ctx->threads;
	reversal.from = ca_alloc((graph->edge_count + 1) * sizeof(*reversal.from));
	/* While it is filled, a target's place moves from its own start to the next one's. */
	reversal.end = first + 1;
	ca_parallel(ctx, graph->node_count, share, count_range, &reversal);
	for (ca_node node = 0; node < graph->node_count; node++)
		reversal.end[node + 1] += reversal.end[node];
	ca_parallel(ctx, graph->node_count, share, fill_range, &reversal);
	graph->reverse->first = first;
	graph->reverse->from = reversal.from;
}
