/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Dominators by the semi-NCA method (Georgiadis, "Linear-Time Algorithms for
 * Dominators and Related Problems", 2005): numbers in depth-first order, each
 * number's semidominator from the last to the first, each one's dominator from
 * the first to the last.
 *
 * Everything but `number` is indexed by that order, so what lies on one way
 * lies together in memory. At most 28 bytes a node at a time, and 8 for each
 * edge that is not strong.
 */
#include <stdlib.h>

#include "graph.h"

#define UNSEEN UINT32_MAX

/* The forest of numbers that are done: where a way leads, and the lowest semidominator on it. */
struct link {
	uint32_t ancestor, lowest;
};

/* An edge that is not to be walked, as the reverse has it. */
struct weak {
	ca_node to, from;
};

struct tree {
	const struct ca_graph *graph;
	uint32_t *number;   /* [node_count]: of the node; UNSEEN */
	ca_node *node;      /* [count]: of the number */
	uint32_t *parent;   /* [count]: in the tree of the search, as numbers; at last the dominator's */
	uint32_t count;
	struct link *links; /* [count] */
	uint32_t *semi;     /* [count] */
	struct weak *weak;  /* by to, then by from */
	size_t weak_count, weak_capacity;
	uint64_t *has_weak; /* a bit a node: edges of `weak` lead there */
};

/* ---- depth-first search ---------------------------------------------------- */

struct step {
	uint64_t edge;
	uint32_t left;   /* edges to follow */
	uint32_t number;
};

static void note_weak(struct tree *t, ca_node from, ca_node to)
{
	t->weak = ca_grow(t->weak, &t->weak_capacity, t->weak_count + 1, sizeof(*t->weak));
	t->weak[t->weak_count++] = (struct weak){to, from};
	t->has_weak[to / 64] |= 1ull << to % 64;
}

static struct step enter(struct tree *t, ca_node node, uint32_t parent)
{
	uint64_t first = t->graph->first[node];

	t->number[node] = t->count;
	t->node[t->count] = node;
	t->parent[t->count] = parent;
	/* No object has 2^32 references: a count of the target is bounded by its memory's size. */
	return (struct step){first, (uint32_t)(t->graph->first[node + 1] - first), t->count++};
}

static void search(struct ca_context *ctx, struct tree *t)
{
	const struct ca_graph *graph = t->graph;
	struct step *path = ca_alloc(graph->node_count * sizeof(*path));
	size_t depth = 1;

	path[0] = enter(t, 0, 0);
	while (depth) {
		struct step *step = &path[depth - 1];

		if (!step->left) {
			depth--;
			continue;
		}

		uint64_t edge = step->edge++;
		ca_node to = graph->to[edge];

		step->left--;
		if (!(graph->flags[edge] & CA_EDGE_STRONG)) {
			note_weak(t, t->node[step->number], to);
		} else if (t->number[to] == UNSEEN) {
			path[depth++] = enter(t, to, step->number);
			if (!(t->count & 0xfffff))
				ca_progress(ctx, "dominators", t->count / 2, graph->node_count);
		}
	}
	free(path);
}

/* ---- semidominators ---------------------------------------------------------- */

/*
 * The lowest semidominator on the way from v up, as far as it is done (numbers
 * above `last`). The way is made shorter for the next one: up it goes with each
 * link turned round, down with each link set to the end.
 */
static uint32_t lowest(struct link *links, uint32_t v, uint32_t last)
{
	uint32_t at = v, below = UNSEEN;

	while (links[at].ancestor > last) {
		uint32_t above = links[at].ancestor;

		links[at].ancestor = below;
		below = at;
		at = above;
	}

	uint32_t end = links[at].ancestor, least = links[at].lowest;

	while (below != UNSEEN) {
		uint32_t next = links[below].ancestor;

		links[below].ancestor = end;
		if (links[below].lowest < least)
			least = links[below].lowest;
		links[below].lowest = least;
		below = next;
	}
	return least;
}

static int by_target(const void *a, const void *b)
{
	const struct weak *x = a, *y = b;

	if (x->to != y->to)
		return x->to < y->to ? -1 : 1;
	return (x->from > y->from) - (x->from < y->from);
}

/* The first of the weak edges to a node; the end where it has none. */
static size_t weak_edges(const struct tree *t, ca_node to)
{
	size_t low = 0, high = t->weak_count;

	if (!(t->has_weak[to / 64] >> to % 64 & 1))
		return t->weak_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (t->weak[middle].to < to)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Sources come in ascending order in both lists: a weak edge takes away one of its source's. */
static bool is_weak(const struct tree *t, size_t *weak, ca_node to, ca_node from)
{
	while (*weak < t->weak_count && t->weak[*weak].to == to && t->weak[*weak].from < from)
		++*weak;
	if (*weak == t->weak_count || t->weak[*weak].to != to || t->weak[*weak].from != from)
		return false;
	++*weak;
	return true;
}

static uint32_t semidominator(const struct tree *t, uint32_t v)
{
	ca_node node = t->node[v];
	struct ca_edges in = ca_graph_in(t->graph, node);
	size_t weak = weak_edges(t, node);
	uint32_t least = t->parent[v];

	for (uint64_t i = 0; i < in.count; i++) {
		uint32_t from = t->number[in.nodes[i]], semi;

		if (weak < t->weak_count && is_weak(t, &weak, node, in.nodes[i]))
			continue;
		if (from == UNSEEN)
			continue;
		semi = from <= v ? from : lowest(t->links, from, v);
		if (semi < least)
			least = semi;
	}
	return least;
}

static void find_semidominators(struct ca_context *ctx, struct tree *t)
{
	t->links = ca_alloc(t->count * sizeof(*t->links));
	t->semi = ca_alloc(t->count * sizeof(*t->semi));
	for (uint32_t v = 0; v < t->count; v++)
		t->links[v] = (struct link){t->parent[v], v};
	for (uint32_t v = t->count - 1; v > 0; v--) {
		t->semi[v] = t->links[v].lowest = semidominator(t, v);
		if (!(v & 0xfffff))
			ca_progress(ctx, "dominators", t->count - v / 2, t->graph->node_count);
	}
	free(t->links);
}

/* A dominator is the nearest one of the parent's that is not after the semidominator. */
static void find_dominators(struct tree *t)
{
	for (uint32_t v = 1; v < t->count; v++) {
		uint32_t dominator = t->parent[v];

		while (dominator > t->semi[v])
			dominator = t->parent[dominator];
		t->parent[v] = dominator;
	}
	free(t->semi);
}

void ca_dominators_build(struct ca_context *ctx, const struct ca_graph *graph,
			 struct ca_dominators *dominators)
{
	struct tree t = {.graph = graph};

	t.number = ca_alloc(graph->node_count * sizeof(*t.number));
	t.node = ca_alloc(graph->node_count * sizeof(*t.node));
	t.parent = ca_alloc(graph->node_count * sizeof(*t.parent));
	t.has_weak = ca_alloc((graph->node_count / 64 + 1) * sizeof(*t.has_weak));
	memset(t.number, 0xff, graph->node_count * sizeof(*t.number));
	search(ctx, &t);
	if (t.weak_count)
		qsort(t.weak, t.weak_count, sizeof(*t.weak), by_target);
	find_semidominators(ctx, &t);
	find_dominators(&t);
	for (uint32_t v = 0; v < t.count; v++)
		t.number[t.node[v]] = t.node[t.parent[v]];
	free(t.parent);
	free(t.weak);
	free(t.has_weak);
	*dominators = (struct ca_dominators){t.number, t.node, t.count};
}

void ca_dominators_fini(struct ca_dominators *dominators)
{
	free(dominators->parent);
	free(dominators->order);
	*dominators = (struct ca_dominators){0};
}
