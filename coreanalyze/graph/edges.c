/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Graphs by hand, and the end of all graphs. */
#include <stdlib.h>

#include "private.h"

/* Stable: a source's edges keep their order. */
static void sort_by_source(struct ca_graph *graph, const ca_node (*edges)[2],
			   const uint8_t *edge_flags)
{
	uint64_t *next = ca_alloc((graph->node_count + 1ull) * sizeof(*next));

	for (uint64_t i = 0; i < graph->edge_count; i++)
		graph->first[edges[i][0] + 1]++;
	for (ca_node node = 0; node < graph->node_count; node++)
		graph->first[node + 1] += graph->first[node];
	memcpy(next, graph->first, graph->node_count * sizeof(*next));
	for (uint64_t i = 0; i < graph->edge_count; i++) {
		uint64_t at = next[edges[i][0]]++;

		graph->to[at] = edges[i][1];
		graph->flags[at] = edge_flags ? edge_flags[i] : CA_EDGE_GC | CA_EDGE_STRONG;
	}
	free(next);
}

struct ca_graph *ca_graph_from_edges(uint32_t object_count, uint32_t root_count,
				     const ca_node (*edges)[2], const uint8_t *edge_flags,
				     uint64_t edge_count)
{
	struct ca_graph *graph = ca_alloc(sizeof(*graph));

	graph->object_count = object_count;
	graph->root_count = root_count;
	graph->node_count = object_count + root_count + 1;
	graph->edge_count = edge_count;
	graph->roots = ca_alloc((root_count + 1ull) * sizeof(*graph->roots));
	for (uint32_t i = 0; i < root_count; i++)
		graph->roots[i].name = "by hand";
	graph->first = ca_alloc((graph->node_count + 1ull) * sizeof(*graph->first));
	graph->to = ca_alloc((edge_count + 1) * sizeof(*graph->to));
	graph->flags = ca_alloc(edge_count + 1);
	sort_by_source(graph, edges, edge_flags);
	graph->reverse = ca_alloc(sizeof(*graph->reverse));
	return graph;
}

struct ca_graph *ca_graph_restore(const struct ca_objects *objects)
{
	struct ca_graph *graph = ca_alloc(sizeof(*graph));

	graph->objects = objects;
	graph->object_count = objects->count;
	graph->labels = ca_label_cache_make();
	graph->borrowed = true;
	graph->reverse = ca_alloc(sizeof(*graph->reverse));
	graph->reverse->ctx = objects->ctx;
	return graph;
}

void ca_graph_free(struct ca_graph *graph)
{
	if (!graph)
		return;
	ca_label_cache_free(graph->labels);
	free(graph->roots);
	free(graph->audit.items);
	if (!graph->borrowed) {
		free(graph->first);
		free(graph->to);
		free(graph->flags);
	}
	if (graph->reverse) {
		free(graph->reverse->first);
		free(graph->reverse->from);
		for (unsigned i = 0; i < graph->reverse->scans; i++)
			free(graph->reverse->scanned[i]);
	}
	free(graph->reverse);
	free(graph);
}
