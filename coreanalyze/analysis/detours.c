/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Other ways to an object than the shortest: each leaves that one at some node,
 * by another one that refers to it.
 */
#include <stdlib.h>

#include "analysis.h"

/* What is looked at: nodes of the way from its end, referrers of each, steps of a referrer's way. */
enum { MOST_NODES = 256, MOST_REFERRERS = 1024, MOST_CLIMB = 65536 };

struct seeking {
	const struct ca_graph *graph;
	const struct ca_ways *ways;
	struct ca_map place; /* node of the shortest way -> its distance from the target */
	struct ca_detours *detours;
};

/* Its length to the root; 0 where it comes through what is to be left, or is too long. */
static uint32_t climb(const struct seeking *s, ca_node node, uint32_t left_at)
{
	uint32_t length = 1;

	for (; node && length < MOST_CLIMB; node = s->ways->parent[node], length++) {
		const uint64_t *place = ca_map_find(&s->place, node);

		if (place && *place <= left_at)
			return 0;
	}
	return node ? 0 : length;
}

static void try_referrer(struct seeking *s, ca_node node, uint32_t place, ca_node referrer)
{
	struct ca_detours *detours = s->detours;
	uint32_t length;

	if (s->ways->parent[referrer] == UINT32_MAX || referrer == s->ways->parent[node] || !referrer)
		return;
	length = climb(s, referrer, place);
	if (!length)
		return;
	detours->items = ca_grow(detours->items, &detours->capacity, detours->count + 1,
				 sizeof(*detours->items));
	detours->items[detours->count++] = (struct ca_detour){node, referrer, length + place};
}

/* What a great many refer to says nothing: a class, a module. */
static bool is_common(const struct seeking *s, ca_node node)
{
	return ca_ways_is_space(s->ways, node) || ca_node_is_root(s->graph, node) ||
	       ca_node_is_class(s->graph, node);
}

static int by_length(const void *a, const void *b)
{
	const struct ca_detour *x = a, *y = b;

	if (x->length != y->length)
		return x->length < y->length ? -1 : 1;
	if (x->referrer != y->referrer)
		return x->referrer < y->referrer ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

void ca_detours_find(const struct ca_graph *graph, const struct ca_ways *ways, ca_node target,
		     struct ca_detours *detours)
{
	struct seeking s = {.graph = graph, .ways = ways, .detours = detours};
	uint32_t place = 0;
	bool fresh;

	*detours = (struct ca_detours){0};
	if (ways->parent[target] == UINT32_MAX)
		return;
	for (ca_node at = target; at && place < MOST_CLIMB; at = ways->parent[at])
		*ca_map_add(&s.place, at, &fresh) = place++;
	place = 0;
	for (ca_node at = target; at && place < MOST_NODES; at = ways->parent[at], place++) {
		struct ca_edges in = ca_graph_in(graph, at);

		if (place && is_common(&s, at))
			break;
		for (uint64_t i = 0; i < in.count && i < MOST_REFERRERS; i++)
			if (!i || in.nodes[i] != in.nodes[i - 1])
				try_referrer(&s, at, place, in.nodes[i]);
	}
	if (detours->count)
		qsort(detours->items, detours->count, sizeof(*detours->items), by_length);
	ca_map_fini(&s.place);
}

void ca_detours_fini(struct ca_detours *detours)
{
	free(detours->items);
	*detours = (struct ca_detours){0};
}
