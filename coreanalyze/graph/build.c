/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The order of things, and the move into flat arrays. */
#include <stdlib.h>

#include "private.h"

/* Places of edges before the objects' own: node 0 has one for each root. */
static size_t room_for_roots(const struct ca_builder *builder)
{
	return builder->roots.count + CA_REACH_ROOTS;
}

static void join_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct ca_builder *builder = arg;
	struct ca_graph *graph = builder->graph;

	(void)worker;
	for (size_t i = begin; i < end; i++) {
		struct ca_span *span = &builder->spans[i];
		uint64_t at = graph->first[i * CA_SPAN_NODES + 1];

		if (span->count) {
			memcpy(graph->to + at, span->to, span->count * sizeof(*span->to));
			memcpy(graph->flags + at, span->flags, span->count);
		}
		ca_span_free(span);
	}
}

/* Numbers of edges become the places where they begin. */
static void sum_counts(struct ca_graph *graph)
{
	uint64_t at = 0;

	for (ca_node node = 1; node <= graph->object_count; node++) {
		uint64_t count = graph->first[node];

		graph->first[node] = at;
		at += count;
	}
	graph->first[graph->object_count + 1] = graph->edge_count = at;
}

static void join_spans(struct ca_builder *builder)
{
	struct ca_graph *graph = builder->graph;
	size_t room = room_for_roots(builder);

	sum_counts(graph);
	graph->edges = ca_alloc((room + graph->edge_count + 1) * sizeof(*graph->to));
	graph->edge_flags = ca_alloc(room + graph->edge_count + 1);
	graph->to = (ca_node *)graph->edges + room;
	graph->flags = (uint8_t *)graph->edge_flags + room;
	ca_parallel(builder->ctx, builder->span_count, 1, join_range, builder);
}

/* Node 0's edges go before the objects', the roots' behind them. */
static void add_roots(struct ca_builder *builder)
{
	struct ca_graph *graph = builder->graph;
	const struct ca_rooting *roots = &builder->roots;
	size_t room = (size_t)(graph->to - (ca_node *)graph->edges), all = room + graph->edge_count;

	graph->edges = ca_realloc(graph->edges, (all + roots->edge_count + 1) * sizeof(*graph->to));
	graph->edge_flags = ca_realloc(graph->edge_flags, all + roots->edge_count + 1);
	graph->to = (ca_node *)graph->edges + room - roots->count;
	graph->flags = (uint8_t *)graph->edge_flags + room - roots->count;
	for (size_t i = 0; i < roots->count; i++)
		graph->to[i] = graph->object_count + 1 + (ca_node)i;
	memset(graph->flags, CA_EDGE_STRONG, roots->count);
	graph->edge_count += roots->count;
	if (roots->edge_count)
		memcpy(graph->to + graph->edge_count, roots->to, roots->edge_count * sizeof(*roots->to));
	memset(graph->flags + graph->edge_count, CA_EDGE_STRONG, roots->edge_count);

	graph->first = ca_realloc(graph->first,
				  (graph->object_count + roots->count + 2) * sizeof(*graph->first));
	graph->first[0] = 0;
	for (ca_node node = 1; node <= graph->object_count; node++)
		graph->first[node] += roots->count;
	for (size_t i = 0; i < roots->count; i++)
		graph->first[graph->object_count + 1 + i] = graph->edge_count + roots->first[i];
	graph->edge_count += roots->edge_count;
	graph->first[graph->object_count + 1 + roots->count] = graph->edge_count;
	graph->roots = roots->items;
	graph->root_count = (uint32_t)roots->count;
	graph->node_count = graph->object_count + graph->root_count + 1;
}

static void free_builder(struct ca_builder *builder)
{
	for (size_t i = 0; builder->spans && i < builder->span_count; i++)
		ca_span_free(&builder->spans[i]);
	free(builder->spans);
	free(builder->readers);
	free(builder->found);
	free(builder->interned);
	free(builder->roots.first);
	free(builder->roots.to);
}

struct ca_error *ca_graph_build(struct ca_context *ctx, struct ca_objects *objects,
				struct ca_graph **out)
{
	struct ca_graph *graph = ca_alloc(sizeof(*graph));
	struct ca_builder builder = {.ctx = ctx, .objects = objects, .graph = graph};
	struct ca_error *err;

	graph->labels = ca_label_cache_make();
	graph->objects = objects;
	graph->object_count = objects->count;
	graph->first = ca_alloc((objects->count + 2ull) * sizeof(*graph->first));
	builder.readers = ca_alloc(ctx->threads * sizeof(*builder.readers));
	for (unsigned i = 0; i < ctx->threads; i++)
		ca_reader_init(&builder.readers[i], &objects->types_registry);
	ca_graph_find_interned(&builder);
	err = ca_graph_traverse(&builder);
	if (!err) {
		ca_progress(ctx, "counting references", 0, 0);
		ca_graph_find_roots(&builder);
		ca_graph_audit(&builder);
		join_spans(&builder);
		ca_graph_reach(&builder);
		add_roots(&builder);
		ca_graph_reverse(ctx, graph);
		*out = graph;
	}
	free_builder(&builder);
	if (err) {
		free(builder.roots.items);
		ca_graph_free(graph);
	}
	return err;
}
