/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who an object is put down to. Along the way to it, the path is a name as long
 * as it leads through modules, classes, attributes and containers of a few things:
 * app.registry.SESSIONS['active']. What is in a container of many belongs to that.
 */
#include <stdlib.h>

#include "analysis.h"

enum { MANY = 16, DEEPEST = 12 };

struct holding {
	const struct ca_naming *naming;
	const struct ca_graph *graph;
	const struct ca_ways *ways;
	uint32_t *children; /* [node_count] in the tree of ways */
	uint64_t *bytes;    /* [node_count] in the subtree */
	uint8_t *depth;     /* [node_count] names so far; DEEPEST: no further */
};

static uint64_t weight(const struct ca_graph *graph, ca_node node)
{
	if (!graph->objects || !node || node > graph->object_count)
		return 0;
	return ca_node_bytes(graph->objects, node) + ca_node_owned(graph->objects, node);
}

static void weigh(struct holding *h)
{
	for (uint32_t i = h->ways->reached; i-- > 1;) {
		ca_node node = h->ways->order[i], parent = h->ways->parent[node];

		h->children[parent]++;
		h->bytes[node] += weight(h->graph, node);
		h->bytes[parent] += h->bytes[node];
	}
}

/* Many things are in it, and they are no attributes. */
static bool is_collection(const struct holding *h, ca_node node)
{
	const struct ca_type *type = ca_graph_type(h->graph, node);

	return h->children[node] > MANY && type && !type->is_meta &&
	       !ca_way_is_namespace(h->naming, node);
}

static bool is_named(struct holding *h, ca_node node, const struct ca_holders *holders)
{
	ca_node parent = h->ways->parent[node];

	if (ca_node_is_root(h->graph, node) || ca_ways_is_space(h->ways, node) ||
	    ca_ways_is_space(h->ways, parent) || ca_node_is_root(h->graph, parent))
		return true;
	if (holders->named[parent] != parent || h->depth[parent] >= DEEPEST ||
	    is_collection(h, parent) || ca_ways_link(h->graph, h->ways, node))
		return false;
	h->depth[node] = h->depth[parent] + 1;
	return true;
}

/* Modules' dicts are their modules'. */
static ca_node space_of(const struct ca_graph *graph, const struct ca_ways *ways, ca_node node)
{
	const struct ca_type *type = ca_graph_type(graph, node);
	ca_node parent = ways->parent[node];

	if (type && !ca_type_is(type, "module") && ca_graph_type(graph, parent) &&
	    ca_type_is(ca_graph_type(graph, parent), "module"))
		return parent;
	return node;
}

void ca_holders_build(const struct ca_naming *naming, uint64_t least, const uint64_t *also,
		      struct ca_holders *holders)
{
	const struct ca_graph *graph = naming->graph;
	const struct ca_ways *ways = naming->ways;
	struct holding h = {.naming = naming, .graph = graph, .ways = ways};

	h.children = ca_alloc(graph->node_count * sizeof(*h.children));
	h.bytes = ca_alloc(graph->node_count * sizeof(*h.bytes));
	h.depth = ca_alloc(graph->node_count);
	holders->named = ca_alloc(graph->node_count * sizeof(*holders->named));
	holders->holder = ca_alloc(graph->node_count * sizeof(*holders->holder));
	weigh(&h);
	for (uint32_t i = 1; i < ways->reached; i++) {
		ca_node node = ways->order[i], parent = ways->parent[node];

		holders->named[node] = is_named(&h, node, holders) ? node : holders->named[parent];
		if (ca_node_is_root(graph, node))
			holders->holder[node] = node;
		else if (ca_ways_is_space(ways, node))
			holders->holder[node] = space_of(graph, ways, node);
		else if (holders->named[node] == node &&
			 (h.bytes[node] >= least || (also && also[node / 64] >> node % 64 & 1)))
			holders->holder[node] = node;
		else
			holders->holder[node] = holders->holder[parent];
	}
	free(h.children);
	free(h.bytes);
	free(h.depth);
}

void ca_holders_fini(struct ca_holders *holders)
{
	free(holders->named);
	free(holders->holder);
	*holders = (struct ca_holders){0};
}
