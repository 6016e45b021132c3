/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Incoming edges of one node, when reversing the graph would cost more. */
#include <stdlib.h>

#include "graph.h"

enum { CHUNK = 1 << 16 }; /* edges */

struct scan {
	const struct ca_graph *graph;
	ca_node node;
	uint64_t *place; /* [chunks + 1]: hits of a chunk, then where they go */
	ca_node *from;
};

static uint64_t chunk_end(const struct ca_graph *graph, size_t chunk)
{
	uint64_t left = graph->edge_count - (uint64_t)chunk * CHUNK;

	return (uint64_t)chunk * CHUNK + (left < CHUNK ? left : CHUNK);
}

static void count_hits(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct scan *scan = arg;
	const struct ca_graph *graph = scan->graph;

	(void)worker;
	for (size_t chunk = begin; chunk < end; chunk++) {
		uint64_t to = chunk_end(graph, chunk);
		uint32_t hits = 0;

		for (uint64_t i = (uint64_t)chunk * CHUNK; i < to; i++)
			hits += graph->to[i] == scan->node;
		scan->place[chunk] = hits;
	}
}

/* The node that the edge leaves: the last one that begins at or before it. */
static ca_node source_of(const struct ca_graph *graph, uint64_t edge)
{
	ca_node low = 0, high = graph->node_count;

	while (high - low > 1) {
		ca_node middle = low + (high - low) / 2;

		if (graph->first[middle] <= edge)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void name_hits(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct scan *scan = arg;
	const struct ca_graph *graph = scan->graph;

	(void)worker;
	for (size_t chunk = begin; chunk < end; chunk++) {
		ca_node *from = scan->from + scan->place[chunk];
		ca_node *last = scan->from + scan->place[chunk + 1];

		for (uint64_t i = (uint64_t)chunk * CHUNK; from < last; i++)
			if (graph->to[i] == scan->node)
				*from++ = source_of(graph, i);
	}
}

ca_node *ca_graph_scan(const struct ca_graph *graph, ca_node node, uint64_t *count)
{
	struct ca_context alone = {.threads = 1}, *ctx = graph->reverse->ctx;
	size_t chunks = (graph->edge_count + CHUNK - 1) / CHUNK;
	struct scan scan = {graph, node, ca_alloc((chunks + 1) * sizeof(*scan.place)), NULL};
	uint64_t total = 0;

	if (!ctx)
		ctx = &alone;
	ca_parallel(ctx, chunks, 4, count_hits, &scan);
	for (size_t i = 0; i <= chunks; i++) {
		uint64_t hits = scan.place[i];

		scan.place[i] = total;
		total += hits;
	}
	scan.from = ca_alloc((total + 1) * sizeof(*scan.from));
	ca_parallel(ctx, chunks, 4, name_hits, &scan);
	free(scan.place);
	*count = total;
	return scan.from;
}
