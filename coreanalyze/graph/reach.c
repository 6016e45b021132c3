/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What no root leads to. Objects that nothing refers to, and yet are counted,
 * have leaked; what then is left are cycles that wait for the collector, with
 * what hangs on them. Each gets a root, so that every object is reached from
 * node 0 and all sums close.
 */
#include <stdlib.h>

#include "private.h"

struct reach {
	struct ca_builder *builder;
	uint64_t *unseen; /* bit by node */
};

static void see_all(const struct reach *reach, const ca_node *from, size_t count)
{
	struct ca_builder *builder = reach->builder;
	ca_node *nodes = ca_alloc((count + 1) * sizeof(*nodes));

	for (size_t i = 0; i < count; i++) {
		nodes[i] = from[i];
		reach->unseen[from[i] / 64] &= ~(1ull << from[i] % 64);
	}
	ca_graph_spread(builder->ctx, builder->graph, CA_EDGE_STRONG, reach->unseen, nodes, count);
}

static void add(const struct reach *reach, ca_node node)
{
	ca_root_add(reach->builder, node);
	see_all(reach, &node, 1);
}

static bool is_immortal(const struct ca_builder *builder, ca_node node)
{
	const struct ca_objects *objects = builder->objects;
	const uint8_t *head = ca_image_at(objects->image, ca_objects_address(objects, node), 16);

	return head && ca_object_is_immortal(&objects->rt->layout, head);
}

/* Never freed, whoever refers to them. */
static void add_immortal(const struct reach *reach)
{
	struct ca_builder *builder = reach->builder;

	ca_root_begin(builder, CA_ROOT_RUNTIME, "immortal objects", 0);
	for (ca_node node = 1; node <= builder->objects->count; node++)
		if (ca_bit(reach->unseen, node) && is_immortal(builder, node))
			add(reach, node);
}

static void add_leaked(const struct reach *reach)
{
	struct ca_builder *builder = reach->builder;

	ca_root_begin(builder, CA_ROOT_LEAKED, "leaked", 0);
	for (ca_node node = 1; node <= builder->objects->count; node++)
		if (!builder->found[node] && ca_bit(reach->unseen, node))
			add(reach, node);
}

/* ---- garbage -------------------------------------------------------------- */

static int edge_order(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return x[1] != y[1] ? (x[1] < y[1] ? 1 : -1) : x[0] < y[0] ? -1 : x[0] > y[0];
}

/* The objects left, as a graph of their own: `left` lists them, ascending. */
static struct ca_graph *cut_out(const struct ca_graph *graph, const ca_node *left, uint32_t count)
{
	struct ca_map number = {0};
	ca_node(*edges)[2] = NULL;
	size_t edge_count = 0, capacity = 0;
	bool fresh;

	for (uint32_t i = 0; i < count; i++)
		*ca_map_add(&number, left[i], &fresh) = i + 1;
	for (uint32_t i = 0; i < count; i++) {
		for (uint64_t e = graph->first[left[i]]; e < graph->first[left[i] + 1]; e++) {
			uint64_t *to = ca_map_find(&number, graph->to[e]);

			if (!to || !(graph->flags[e] & CA_EDGE_STRONG))
				continue;
			edges = ca_grow(edges, &capacity, edge_count + 1, sizeof(*edges));
			edges[edge_count][0] = i + 1;
			edges[edge_count++][1] = (ca_node)*to;
		}
	}

	struct ca_graph *cut = ca_graph_from_edges(count, 0, (const ca_node(*)[2])edges, NULL, edge_count);

	ca_map_fini(&number);
	free(edges);
	return cut;
}

/*
 * One edge to each component that no other leads to: they come first in order of
 * their numbers, from the highest. Of a component the lowest address is chosen.
 */
static void add_garbage(const struct reach *reach)
{
	struct ca_builder *builder = reach->builder;
	ca_node *left = NULL;
	size_t count = 0, capacity = 0;

	ca_root_begin(builder, CA_ROOT_UNREACHABLE, "unreachable", 0);
	for (ca_node node = 1; node <= builder->objects->count; node++) {
		if (!ca_bit(reach->unseen, node))
			continue;
		left = ca_grow(left, &capacity, count + 1, sizeof(*left));
		left[count++] = node;
	}
	if (!count)
		return;

	struct ca_graph *cut = cut_out(builder->graph, left, (uint32_t)count);
	struct ca_components components;
	uint32_t(*order)[2] = ca_alloc(count * sizeof(*order));

	ca_components_build(cut, 0, NULL, &components);
	for (size_t i = 0; i < count; i++) {
		order[i][0] = left[i];
		order[i][1] = components.number[i + 1];
	}
	qsort(order, count, sizeof(*order), edge_order);
	for (size_t i = 0; i < count; i++)
		if (ca_bit(reach->unseen, order[i][0]))
			add(reach, order[i][0]);
	ca_components_fini(&components);
	ca_graph_free(cut);
	free(order);
	free(left);
}

void ca_graph_reach(struct ca_builder *builder)
{
	size_t words = builder->objects->count / 64 + 1ull;
	struct reach reach = {builder, ca_alloc(words * sizeof(*reach.unseen))};

	memset(reach.unseen, 0xff, words * sizeof(*reach.unseen));
	see_all(&reach, builder->roots.to, builder->roots.edge_count);
	add_immortal(&reach);
	add_leaked(&reach);
	add_garbage(&reach);
	free(reach.unseen);
}
