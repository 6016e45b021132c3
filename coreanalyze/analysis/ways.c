/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The shortest way to every object, of those that a person can follow. What is
 * searched first wins, so the order says what a good explanation is:
 *
 *   1. what modules define: sys.modules, the modules in it and their dicts are
 *      where a search begins, at no cost
 *   2. what the interpreter, its threads and running frames hold
 *   3. through an object's type or a function's globals
 *   4. references in C's data, references that C must have
 *   5. the runtime's own objects; interned strings
 *   6. garbage and leaks
 */
#include <stdlib.h>

#include "analysis.h"

#define NONE UINT32_MAX

struct search {
	const struct ca_graph *graph;
	struct ca_ways *ways;
	const uint64_t *avoid; /* bit by node, or NULL: not to go through */
	const uint64_t *wanted;
	size_t missing;        /* of them; when it is 0 the search is over */
	uint32_t cheap, dear;  /* of ways->order: whose edges of either sort are followed */
};

static void reach(struct search *s, ca_node parent, uint32_t edge, ca_node node)
{
	struct ca_ways *ways = s->ways;

	if (ways->parent[node] != NONE)
		return;
	ways->parent[node] = parent;
	ways->edge[node] = edge;
	if (s->wanted && ca_bit(s->wanted, node))
		s->missing--;
	if (!s->avoid || !ca_bit(s->avoid, node))
		ways->order[ways->reached++] = node;
}

/* Follows strong edges of a node: those that have `program`, or those that have not. */
static void follow(struct search *s, ca_node node, bool program)
{
	struct ca_edges out = ca_graph_out(s->graph, node);

	for (uint64_t i = 0; i < out.count; i++)
		if ((out.flags[i] & CA_EDGE_STRONG) &&
		    !(out.flags[i] & CA_EDGE_PROGRAM) != program)
			reach(s, node, (uint32_t)i, out.nodes[i]);
}

/* From sys.modules to modules, from modules to their dicts: program edges, but not those to types. */
static void follow_modules(struct search *s, ca_node node)
{
	struct ca_edges out = ca_graph_out(s->graph, node);

	for (uint64_t i = 0; i < out.count; i++)
		if ((out.flags[i] & CA_EDGE_STRONG) && (out.flags[i] & CA_EDGE_PROGRAM) &&
		    !ca_node_is_class(s->graph, out.nodes[i]))
			reach(s, node, (uint32_t)i, out.nodes[i]);
}

/* All that what is reached leads to; the dear edges only where no other is left. */
static void drain(struct search *s)
{
	const struct ca_ways *ways = s->ways;

	do {
		while (s->missing && s->cheap < ways->reached)
			follow(s, ways->order[s->cheap++], false);
		if (s->missing && s->dear < ways->reached)
			follow(s, ways->order[s->dear++], true);
	} while (s->missing && (s->cheap < ways->reached || s->dear < ways->reached));
}

static void begin_at(struct search *s, uint32_t kinds)
{
	struct ca_edges roots = ca_graph_out(s->graph, 0);

	for (uint64_t i = 0; i < roots.count; i++)
		if (ca_node_is_root(s->graph, roots.nodes[i]) &&
		    kinds >> ca_graph_root(s->graph, roots.nodes[i])->kind & 1)
			reach(s, 0, (uint32_t)i, roots.nodes[i]);
}

/* The root of sys.modules: the field is called so, whatever follows tells interpreters apart. */
static bool is_modules(const struct ca_root *root)
{
	size_t length = strcspn(root->name, ",");

	return root->kind == CA_ROOT_INTERPRETER && length == strlen("modules") &&
	       memcmp(root->name, "modules", length) == 0;
}

/* From sys.modules by the edges that lead into modules, and on into their dicts. */
static void begin_at_modules(struct search *s)
{
	struct ca_ways *ways = s->ways;
	struct ca_edges roots = ca_graph_out(s->graph, 0);
	uint32_t begin, end;

	for (uint64_t i = 0; i < roots.count; i++)
		if (ca_node_is_root(s->graph, roots.nodes[i]) &&
		    is_modules(ca_graph_root(s->graph, roots.nodes[i])))
			reach(s, 0, (uint32_t)i, roots.nodes[i]);
	begin = 1;
	end = ways->reached;
	for (; begin < end; begin++)
		follow(s, ways->order[begin], false);
	for (end = ways->reached; begin < end; begin++)
		follow_modules(s, ways->order[begin]);
	for (end = ways->reached; begin < end; begin++)
		follow_modules(s, ways->order[begin]);
	for (uint32_t i = 0; i < ways->reached; i++)
		ca_set_bit(ways->spaces, ways->order[i]);
}

static void search(struct search *s)
{
	static const uint32_t kinds[] = {
		1u << CA_ROOT_THREAD | 1u << CA_ROOT_FRAME | 1u << CA_ROOT_INTERPRETER,
		1u << CA_ROOT_STATIC | 1u << CA_ROOT_C,
		1u << CA_ROOT_RUNTIME,
		1u << CA_ROOT_INTERNED,
		1u << CA_ROOT_UNREACHABLE | 1u << CA_ROOT_LEAKED,
	};

	s->ways->parent[0] = 0;
	s->ways->order[s->ways->reached++] = 0;
	ca_set_bit(s->ways->spaces, 0);
	s->cheap = s->dear = 1;
	begin_at_modules(s);
	for (size_t i = 0; i < CA_COUNT(kinds); i++) {
		begin_at(s, kinds[i]);
		drain(s);
	}
	/* Graphs by hand may have no roots. */
	follow(s, 0, false);
	drain(s);
}

static void build(struct search *s)
{
	const struct ca_graph *graph = s->graph;
	struct ca_ways *ways = s->ways;

	*ways = (struct ca_ways){0};
	ways->parent = ca_alloc(graph->node_count * sizeof(*ways->parent));
	ways->edge = ca_alloc(graph->node_count * sizeof(*ways->edge));
	ways->order = ca_alloc(graph->node_count * sizeof(*ways->order));
	ways->spaces = ca_alloc((graph->node_count / 64 + 1) * sizeof(*ways->spaces));
	memset(ways->parent, 0xff, graph->node_count * sizeof(*ways->parent));
	search(s);
}

void ca_ways_build(const struct ca_graph *graph, const uint64_t *avoid, struct ca_ways *ways)
{
	build(&(struct search){.graph = graph, .ways = ways, .avoid = avoid, .missing = SIZE_MAX});
}

void ca_ways_build_to(const struct ca_graph *graph, const uint64_t *wanted, size_t count,
		      struct ca_ways *ways)
{
	build(&(struct search){.graph = graph, .ways = ways, .wanted = wanted, .missing = count});
}

static bool same_type(const struct ca_graph *graph, ca_node a, ca_node b)
{
	const struct ca_type *type = ca_graph_type(graph, a);

	return type && type == ca_graph_type(graph, b);
}

/*
 * A link of a chain follows two of its kind, or as an instance and its dict in turn,
 * two of each.
 */
ca_node ca_ways_link(const struct ca_graph *graph, const struct ca_ways *ways, ca_node node)
{
	ca_node above[5] = {node};

	for (size_t i = 1; i < CA_COUNT(above); i++)
		above[i] = ways->parent[above[i - 1]];
	if (ca_ways_is_space(ways, above[1]) || ca_node_is_class(graph, node))
		return 0;
	if (same_type(graph, above[0], above[1]) && same_type(graph, above[0], above[2]) &&
	    ways->edge[above[0]] == ways->edge[above[1]])
		return above[1];
	if (same_type(graph, above[0], above[2]) && same_type(graph, above[1], above[3]) &&
	    same_type(graph, above[0], above[4]) && ways->edge[above[0]] == ways->edge[above[2]] &&
	    ways->edge[above[1]] == ways->edge[above[3]])
		return above[2];
	return 0;
}

void ca_ways_fini(struct ca_ways *ways)
{
	free(ways->parent);
	free(ways->edge);
	free(ways->order);
	free(ways->spaces);
	*ways = (struct ca_ways){0};
}
