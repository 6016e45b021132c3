/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The order of things; the roots become nodes. */
#include <stdlib.h>

#include "private.h"

/* Node 0's edges go before the objects', the roots' behind them. */
static void add_roots(struct ca_builder *builder)
{
	struct ca_graph *graph = builder->graph;
	const struct ca_rooting *roots = &builder->roots;
	size_t all = roots->count + graph->edge_count + roots->edge_count;

	graph->to = ca_realloc(graph->to, (all + 1) * sizeof(*graph->to));
	graph->flags = ca_realloc(graph->flags, all + 1);
	memmove(graph->to + roots->count, graph->to, graph->edge_count * sizeof(*graph->to));
	memmove(graph->flags + roots->count, graph->flags, graph->edge_count);
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
	struct ca_builder builder = {.ctx = ctx, .objects = objects, .graph = graph,
				     .lock = PTHREAD_MUTEX_INITIALIZER};
	struct ca_error *err;

	graph->labels = ca_label_cache_make();
	graph->reverse = ca_alloc(sizeof(*graph->reverse));
	graph->reverse->ctx = ctx;
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
		ca_graph_reach(&builder);
		add_roots(&builder);
		*out = graph;
	}
	free_builder(&builder);
	if (err) {
		free(builder.roots.items);
		ca_graph_free(graph);
	}
	return err;
}
