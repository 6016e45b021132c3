/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One way around a cycle, breadth first. */
#include <limits.h>
#include <stdlib.h>

#include "cycles.h"

struct search {
	const struct ca_graph *graph;
	const struct ca_cycles *cycles;
	const ca_node *members; /* ascending */
	uint32_t count;
	uint32_t *from;         /* [count]: member that it was reached from, + 1; 0 not reached */
	uint64_t *edge;         /* [count]: by which of its edges */
	uint32_t *queue;        /* [count]: members to look at */
	uint32_t last;          /* the one whose edge closes the loop */
	uint64_t closing;
};

/* Which member a node is. */
static uint32_t member_of(const struct search *s, ca_node node)
{
	uint32_t low = 0, high = s->count;

	while (low + 1 < high) {
		uint32_t middle = low + (high - low) / 2;

		if (s->members[middle] <= node)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/*
 * How well an object stands for its cycle, 0 best: an instance of a class, of any type but
 * CPython's, a class, what is none of these, code, what cycles merely go through.
 */
static unsigned rank(const struct ca_graph *graph, ca_node node)
{
	static const char *const code[] = {"builtins.function", "builtins.method"};
	static const char *const plumbing[] = {"builtins.cell", "builtins.dict", "builtins.frame",
					       "builtins.list", "builtins.set", "builtins.traceback",
					       "builtins.tuple"};
	const struct ca_type_row *row = &graph->objects->types[ca_node_type(graph->objects, node)];

	if (strncmp(row->name, "builtins.", 9) != 0)
		return row->type->flags & CA_TPFLAGS_HEAPTYPE ? 0 : 1;
	if (row->type->is_meta)
		return 2;
	if (is_one_of(row->name, plumbing, CA_COUNT(plumbing)))
		return 5;
	return is_one_of(row->name, code, CA_COUNT(code)) ? 4 : 3;
}

/* Of the best rank, one of the rarest type: the parent rather than a child; the lowest address. */
static uint32_t choose_start(const struct search *s)
{
	struct ca_map by_type = {0};
	unsigned best_rank = UINT_MAX;
	uint64_t best_count = 0;
	uint32_t best = 0;
	bool fresh;

	if (!s->graph->objects)
		return 0;
	for (uint32_t i = 0; i < s->count; i++)
		++*ca_map_add(&by_type, ca_node_type(s->graph->objects, s->members[i]), &fresh);
	for (uint32_t i = 0; i < s->count; i++) {
		unsigned its = rank(s->graph, s->members[i]);
		uint64_t count = *ca_map_find(&by_type, ca_node_type(s->graph->objects, s->members[i]));

		if (its > best_rank || (its == best_rank && count >= best_count))
			continue;
		best = i;
		best_rank = its;
		best_count = count;
	}
	ca_map_fini(&by_type);
	return best;
}

/* True when one of its edges closes the loop. */
static bool look_at(struct search *s, uint32_t member, uint32_t start, uint32_t *queued)
{
	ca_node node = s->members[member];
	struct ca_edges edges = ca_graph_out(s->graph, node);

	for (uint64_t e = 0; e < edges.count; e++) {
		if (!ca_cycle_edge(s->cycles, node, edges.nodes[e], edges.flags[e]))
			continue;

		uint32_t to = member_of(s, edges.nodes[e]);

		if (to == start) {
			s->last = member;
			s->closing = e;
			return true;
		}
		if (s->from[to])
			continue;
		s->from[to] = member + 1;
		s->edge[to] = e;
		s->queue[(*queued)++] = to;
	}
	return false;
}

static size_t collect(const struct search *s, uint32_t start, struct ca_loop_step **out)
{
	size_t count = 1, at;

	for (uint32_t m = s->last; m != start; m = s->from[m] - 1)
		count++;
	*out = ca_alloc(count * sizeof(**out));
	at = count - 1;
	(*out)[at] = (struct ca_loop_step){s->members[s->last], s->closing};
	for (uint32_t m = s->last; m != start; m = s->from[m] - 1) {
		at--;
		(*out)[at] = (struct ca_loop_step){s->members[s->from[m] - 1], s->edge[m]};
	}
	return count;
}

size_t ca_cycle_loop(const struct ca_graph *graph, const struct ca_cycles *cycles,
		     const struct ca_cycle *cycle, struct ca_loop_step **steps)
{
	struct search s = {.graph = graph, .cycles = cycles, .count = cycle->objects,
			   .members = cycles->members + cycle->first};
	uint32_t queued = 0, start = choose_start(&s);
	size_t count;

	s.from = ca_alloc(s.count * sizeof(*s.from));
	s.edge = ca_alloc(s.count * sizeof(*s.edge));
	s.queue = ca_alloc(s.count * sizeof(*s.queue));
	s.queue[queued++] = s.last = start;
	for (uint32_t i = 0; i < queued; i++)
		if (look_at(&s, s.queue[i], start, &queued))
			break;
	count = collect(&s, start, steps);
	free(s.from);
	free(s.edge);
	free(s.queue);
	return count;
}
