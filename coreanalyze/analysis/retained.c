/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "analysis.h"

static uint64_t weight(const struct ca_graph *graph, ca_node node)
{
	if (!graph->objects || !node || node > graph->object_count)
		return 0;
	return ca_node_bytes(graph->objects, node) + ca_node_owned(graph->objects, node);
}

void ca_retained_build(struct ca_context *ctx, const struct ca_graph *graph,
		       struct ca_retained *retained)
{
	struct ca_dominators *tree = &retained->tree;

	ca_dominators_build(ctx, graph, tree);
	retained->bytes = ca_alloc(graph->node_count * sizeof(*retained->bytes));
	retained->objects = ca_alloc(graph->node_count * sizeof(*retained->objects));
	for (uint32_t i = tree->reached; i-- > 0;) {
		ca_node node = tree->order[i], parent = tree->parent[node];

		retained->bytes[node] += weight(graph, node);
		retained->objects[node] += node && node <= graph->object_count;
		if (node) {
			retained->bytes[parent] += retained->bytes[node];
			retained->objects[parent] += retained->objects[node];
		}
	}
}

struct both {
	struct ca_context *ctx;
	const struct ca_graph *graph;
	struct ca_retained *retained;
	struct ca_ways *ways;
};

static void build_one(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct both *both = arg;

	(void)worker;
	(void)end;
	if (begin == 0)
		ca_retained_build(both->ctx, both->graph, both->retained);
	else
		ca_ways_build(both->graph, NULL, both->ways);
}

void ca_retained_build_with_ways(struct ca_context *ctx, const struct ca_graph *graph,
				 struct ca_retained *retained, struct ca_ways *ways)
{
	ca_parallel(ctx, 2, 1, build_one, &(struct both){ctx, graph, retained, ways});
}

void ca_retained_fini(struct ca_retained *retained)
{
	ca_dominators_fini(&retained->tree);
	free(retained->bytes);
	free(retained->objects);
	*retained = (struct ca_retained){0};
}

bool ca_retained_is_top(const struct ca_graph *graph, const struct ca_retained *retained,
			const struct ca_ways *ways, ca_node node)
{
	ca_node parent = retained->tree.parent[node];

	return node && node <= graph->object_count && parent != UINT32_MAX &&
	       !ca_ways_is_space(ways, node) &&
	       (ca_node_is_root(graph, parent) || ca_ways_is_space(ways, parent));
}

/* ---- by type ----------------------------------------------------------------- */

/*
 * Objects of a type that are inside another one of the same type are counted
 * with that one. The tree is walked from its root with a count of open objects
 * for each type.
 */
struct walk {
	const struct ca_graph *graph;
	const struct ca_retained *retained;
	ca_node *child, *next; /* [node_count]: the first child, the next of the same parent; 0 none */
};

static void link_children(struct walk *w)
{
	const struct ca_dominators *tree = &w->retained->tree;

	w->child = ca_alloc(w->graph->node_count * sizeof(*w->child));
	w->next = ca_alloc(w->graph->node_count * sizeof(*w->next));
	for (uint32_t i = tree->reached; i-- > 1;) {
		ca_node node = tree->order[i], parent = tree->parent[node];

		w->next[node] = w->child[parent];
		w->child[parent] = node;
	}
}

static void enter(const struct walk *w, const struct ca_type_totals *totals, uint32_t *open,
		  struct ca_retained_row *rows, ca_node node)
{
	if (!node || node > w->graph->object_count)
		return;

	const struct ca_objects *objects = w->graph->objects;
	uint32_t index = totals->row_of_type[ca_node_type(objects, node)];
	struct ca_retained_row *row = &rows[index];

	if (open[index]++)
		return;
	row->retained_bytes += w->retained->bytes[node];
	row->retained_objects += w->retained->objects[node];
}

static void leave(const struct walk *w, const struct ca_type_totals *totals, uint32_t *open,
		  ca_node node)
{
	if (node && node <= w->graph->object_count)
		open[totals->row_of_type[ca_node_type(w->graph->objects, node)]]--;
}

struct ca_retained_row *ca_retained_by_type(const struct ca_graph *graph,
					    const struct ca_retained *retained,
					    const struct ca_type_totals *totals)
{
	struct ca_retained_row *rows = ca_alloc((totals->count + 1) * sizeof(*rows));
	uint32_t *open = ca_alloc((totals->count + 1) * sizeof(*open));
	struct walk w = {graph, retained, NULL, NULL};
	ca_node node = 0;

	link_children(&w);
	for (size_t i = 0; i < totals->count; i++) {
		rows[i].name = totals->rows[i].name;
		rows[i].count = totals->rows[i].count;
		rows[i].bytes = totals->rows[i].bytes;
		rows[i].owned = totals->rows[i].owned;
	}
	/* Down to the first child, else to the next of the nearest one that has a next. */
	for (;;) {
		enter(&w, totals, open, rows, node);
		if (w.child[node]) {
			node = w.child[node];
			continue;
		}
		while (node && !w.next[node]) {
			leave(&w, totals, open, node);
			node = retained->tree.parent[node];
		}
		if (!node)
			break;
		leave(&w, totals, open, node);
		node = w.next[node];
	}
	free(open);
	free(w.child);
	free(w.next);
	return rows;
}
