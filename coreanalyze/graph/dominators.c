/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Dominators by the semi-NCA method (Georgiadis, "Linear-Time Algorithms for
 * Dominators and Related Problems", 2005): numbers in depth-first order, each
 * number's semidominator from the last to the first, each one's dominator from
 * the first to the last.
 *
 * Most objects have one referrer, which is their dominator. Only the others,
 * joins, take part in the second step: the search notes for each what leads to
 * it beside the edge that found it. For an edge against the order it also notes
 * the turn, where the ways to its two ends part: the lowest semidominator of
 * what has one referrer, between the turn and the edge, is the turn itself.
 *
 * Memory: 12 bytes a node, 20 a join, 8 for each edge noted, 16 for each step
 * of the search's deepest way.
 */
#include <stdlib.h>

#include "graph.h"

#define UNSEEN UINT32_MAX
#define NONE UINT32_MAX

/* A node that is referred to by several. */
struct join {
	uint32_t parent; /* in the tree of the search */
	uint32_t semi;   /* lowest so far */
	uint32_t note;   /* the last one, or NONE */
};

/* An edge to a join, from a later number. */
struct note {
	uint32_t from;
	uint32_t next; /* of the same join, or NONE */
};

/* The forest of joins that are done: where a way leads, and the lowest semidominator on it. */
struct link {
	uint32_t ancestor, lowest;
};

struct step {
	uint64_t edge;
	uint32_t left;   /* edges to follow */
	uint32_t number;
};

struct tree {
	const struct ca_graph *graph;
	uint32_t *number;  /* [node_count]: of the node; UNSEEN. After the search: of the number, its last join */
	ca_node *node;     /* [count]: of the number */
	uint32_t *parent;  /* [count]: in the tree of the search; a join's: its index. At last the dominator's */
	uint32_t count;
	uint64_t *is_join; /* bit by number */
	struct join *joins;
	size_t join_count, join_capacity;
	struct note *notes;
	size_t note_count, note_capacity;
};

static bool is_join(const struct tree *t, uint32_t number)
{
	return t->is_join[number / 64] >> number % 64 & 1;
}

/* ---- depth-first search ---------------------------------------------------- */

static struct step enter(struct tree *t, ca_node node, uint32_t parent)
{
	uint64_t first = t->graph->first[node];

	t->number[node] = t->count;
	t->node[t->count] = node;
	t->parent[t->count] = parent;
	/* No object has 2^32 references: a count of the target is bounded by its memory's size. */
	return (struct step){first, (uint32_t)(t->graph->first[node + 1] - first), t->count++};
}

static struct join *join_of(struct tree *t, uint32_t number)
{
	if (!is_join(t, number)) {
		t->joins = ca_grow(t->joins, &t->join_capacity, t->join_count + 1, sizeof(*t->joins));
		t->joins[t->join_count] = (struct join){t->parent[number], t->parent[number], NONE};
		t->is_join[number / 64] |= 1ull << number % 64;
		t->parent[number] = (uint32_t)t->join_count++;
	}
	return &t->joins[t->parent[number]];
}

/* The last of the steps, whose numbers ascend, that is not after `number`. */
static uint32_t turn(const struct step *path, size_t depth, uint32_t number)
{
	size_t low = 0, high = depth;

	while (low + 1 < high) {
		size_t middle = low + (high - low) / 2;

		if (path[middle].number <= number)
			low = middle;
		else
			high = middle;
	}
	return path[low].number;
}

/* An edge to what has been found already. */
static void meet(struct tree *t, const struct step *path, size_t depth, uint32_t number)
{
	uint32_t from = path[depth - 1].number, lowest = from;
	struct join *join;

	if (number == from || number == 0 || (!is_join(t, number) && t->parent[number] == from))
		return;
	join = join_of(t, number);
	if (join->semi == 0)
		return;
	if (from > number) {
		t->notes = ca_grow(t->notes, &t->note_capacity, t->note_count + 1, sizeof(*t->notes));
		t->notes[t->note_count] = (struct note){from, join->note};
		join->note = (uint32_t)t->note_count++;
		lowest = turn(path, depth, number);
	}
	if (lowest < join->semi)
		join->semi = lowest;
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
		if (!(graph->flags[edge] & CA_EDGE_STRONG))
			continue;
		if (t->number[to] != UNSEEN) {
			meet(t, path, depth, t->number[to]);
			continue;
		}
		path[depth++] = enter(t, to, step->number);
		if (!(t->count & 0xfffff))
			ca_progress(ctx, "dominators", t->count / 2, graph->node_count);
	}
	free(path);
}

/* ---- semidominators ---------------------------------------------------------- */

/*
 * The lowest semidominator on the way from `at` up, as far as it is done (joins
 * after `last`). The way is made shorter for the next one: up it goes with each
 * link turned round, down with each link set to the end.
 */
static uint32_t lowest(struct link *links, uint32_t at, uint32_t last)
{
	uint32_t below = NONE;

	while (links[at].ancestor > last) {
		uint32_t above = links[at].ancestor;

		links[at].ancestor = below;
		below = at;
		at = above;
	}

	uint32_t end = links[at].ancestor, least = links[at].lowest;

	while (below != NONE) {
		uint32_t next = links[below].ancestor;

		links[below].ancestor = end;
		if (links[below].lowest < least)
			least = links[below].lowest;
		links[below].lowest = least;
		below = next;
	}
	return least;
}

/* Joins are told by their rank in order of numbers, from 1; the root is 0. */
static struct link *rank_joins(struct tree *t)
{
	struct link *links = ca_alloc((t->join_count + 1) * sizeof(*links));
	uint32_t *last = t->number, rank = 0;

	last[0] = 0;
	for (uint32_t v = 1; v < t->count; v++) {
		if (is_join(t, v)) {
			links[++rank].ancestor = last[t->joins[t->parent[v]].parent];
			last[v] = rank;
		} else {
			last[v] = last[t->parent[v]];
		}
	}
	return links;
}

static void find_semidominators(struct ca_context *ctx, struct tree *t)
{
	struct link *links = rank_joins(t);
	uint32_t rank = (uint32_t)t->join_count;

	for (uint32_t v = t->count - 1; rank > 0; v--) {
		struct join *join;

		if (!is_join(t, v))
			continue;
		join = &t->joins[t->parent[v]];
		for (uint32_t i = join->note; i != NONE && join->semi; i = t->notes[i].next) {
			uint32_t from = t->number[t->notes[i].from];
			uint32_t semi = from > rank ? lowest(links, from, rank) : v;

			if (semi < join->semi)
				join->semi = semi;
		}
		links[rank--].lowest = join->semi;
		if (!(rank & 0xfffff))
			ca_progress(ctx, "dominators", t->count - v / 2, t->graph->node_count);
	}
	free(links);
	free(t->notes);
}

/* A dominator is the nearest one of the parent's that is not after the semidominator. */
static void find_dominators(struct tree *t)
{
	for (uint32_t v = 1; v < t->count; v++) {
		const struct join *join;
		uint32_t dominator;

		if (!is_join(t, v))
			continue;
		join = &t->joins[t->parent[v]];
		dominator = join->parent;
		while (dominator > join->semi)
			dominator = t->parent[dominator];
		t->parent[v] = dominator;
	}
	free(t->joins);
	free(t->is_join);
}

void ca_dominators_build(struct ca_context *ctx, const struct ca_graph *graph,
			 struct ca_dominators *dominators)
{
	struct tree t = {.graph = graph};
	size_t bytes = graph->node_count * sizeof(*t.number);

	t.number = ca_alloc(bytes);
	t.node = ca_alloc(bytes);
	t.parent = ca_alloc(bytes);
	t.is_join = ca_alloc((graph->node_count / 64 + 1) * sizeof(*t.is_join));
	memset(t.number, 0xff, bytes);
	search(ctx, &t);
	find_semidominators(ctx, &t);
	find_dominators(&t);
	memset(t.number, 0xff, bytes);
	for (uint32_t v = 0; v < t.count; v++)
		t.number[t.node[v]] = t.node[t.parent[v]];
	free(t.parent);
	*dominators = (struct ca_dominators){t.number, t.node, t.count};
}

void ca_dominators_fini(struct ca_dominators *dominators)
{
	free(dominators->parent);
	free(dominators->order);
	*dominators = (struct ca_dominators){0};
}
