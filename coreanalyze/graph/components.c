/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Strongly connected components, by Pearce's method ("A space-efficient
 * algorithm for finding strongly connected components", 2016): one number a
 * node serves as mark, as order of discovery, as lowest node that is reached
 * and, at last, as the component.
 *
 *   0           not seen yet, or left out
 *   1, 2 ...    seen, its component is open: order of discovery or lower
 *   ... MAX-1   done: the component, counted downward from the top
 *
 * The way from the first node to the present one is an explicit stack: a chain
 * of objects may be as long as the heap is.
 */
#include <stdlib.h>

#include "private.h"

enum { UNSEEN = 0 };
#define TOP (UINT32_MAX - 1)

/* A node whose edges are being followed. */
struct step {
	ca_node node;
	bool lowest; /* nothing met so far was found before it */
	uint64_t edge, end;
};

struct search {
	const struct ca_graph *graph;
	const uint64_t *among;
	uint32_t *mark;
	uint32_t discovered; /* the next open node's mark */
	uint32_t done;       /* the next component's mark */
	uint8_t without;
	struct step *path;
	size_t depth, path_capacity;
	ca_node *open;       /* left, but not done */
	size_t open_count, open_capacity;
};

static bool takes(const struct search *s, ca_node node)
{
	return !s->among || ca_bit(s->among, node);
}

static void enter(struct search *s, ca_node node)
{
	s->path = ca_grow(s->path, &s->path_capacity, s->depth + 1, sizeof(*s->path));
	s->mark[node] = s->discovered++;
	s->path[s->depth++] = (struct step){node, true, s->graph->first[node],
					    s->graph->first[node + 1]};
}

static void meet(struct search *s, struct step *step, ca_node to)
{
	if (s->mark[to] < s->mark[step->node]) {
		s->mark[step->node] = s->mark[to];
		step->lowest = false;
	}
}

/* Its edges are all followed: it closes its component, or waits for who does. */
static void leave(struct search *s)
{
	const struct step *step = &s->path[--s->depth];
	uint32_t mark = s->mark[step->node];

	if (!step->lowest) {
		s->open = ca_grow(s->open, &s->open_capacity, s->open_count + 1, sizeof(*s->open));
		s->open[s->open_count++] = step->node;
	} else {
		s->discovered--;
		while (s->open_count && mark <= s->mark[s->open[s->open_count - 1]]) {
			s->mark[s->open[--s->open_count]] = s->done;
			s->discovered--;
		}
		s->mark[step->node] = s->done--;
	}
	if (s->depth)
		meet(s, &s->path[s->depth - 1], step->node);
}

static void search_from(struct search *s, ca_node start)
{
	const struct ca_graph *graph = s->graph;

	enter(s, start);
	while (s->depth) {
		struct step *step = &s->path[s->depth - 1];

		if (step->edge == step->end) {
			leave(s);
			continue;
		}

		uint64_t edge = step->edge++;
		ca_node to = graph->to[edge];

		if (graph->flags[edge] & s->without || !takes(s, to))
			continue;
		if (s->mark[to] != UNSEEN)
			meet(s, step, to);
		else if (graph->first[to] == graph->first[to + 1])
			s->mark[to] = s->done--; /* leads nowhere: a component by itself */
		else
			enter(s, to);
	}
}

void ca_components_build(const struct ca_graph *graph, uint8_t without, const uint64_t *among,
			 struct ca_components *components)
{
	struct search s = {.graph = graph, .among = among, .discovered = 1, .done = TOP, .without = without};

	s.mark = ca_alloc(((size_t)graph->node_count + 1) * sizeof(*s.mark));
	for (ca_node node = 0; node < graph->node_count; node++)
		if (takes(&s, node) && s.mark[node] == UNSEEN)
			search_from(&s, node);
	for (ca_node node = 0; node < graph->node_count; node++)
		if (takes(&s, node))
			s.mark[node] = TOP + 1 - s.mark[node];
	*components = (struct ca_components){s.mark, TOP - s.done};
	free(s.path);
	free(s.open);
}

void ca_components_fini(struct ca_components *components)
{
	free(components->number);
	*components = (struct ca_components){0};
}
