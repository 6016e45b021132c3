/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The objects that retain most: of millions, a few are kept in a heap whose first is the least. */
#include <stdlib.h>

#include "analysis.h"

struct ranked {
	uint64_t bytes;
	ca_node node;
};

struct ranking {
	struct ranked *items;
	size_t count, capacity, most;
};

/* The retained bytes lead; nodes are in order of address, which breaks ties. */
static int by_retained(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return (x->node > y->node) - (x->node < y->node);
}

/* Lets an item sink to its place among those from `at` on. */
static void sink(struct ranking *r, size_t at)
{
	struct ranked item = r->items[at];

	for (size_t below; (below = 2 * at + 1) < r->count; at = below) {
		if (below + 1 < r->count && by_retained(&r->items[below], &r->items[below + 1]) < 0)
			below++;
		if (by_retained(&item, &r->items[below]) >= 0)
			break;
		r->items[at] = r->items[below];
	}
	r->items[at] = item;
}

static void add(struct ranking *r, struct ranked item)
{
	if (r->count < r->most) {
		r->items = ca_grow(r->items, &r->capacity, r->count + 1, sizeof(*r->items));
		r->items[r->count++] = item;
		if (r->count == r->most)
			for (size_t at = r->count / 2; at-- > 0;)
				sink(r, at);
	} else if (r->most && by_retained(&item, &r->items[0]) < 0) {
		r->items[0] = item;
		sink(r, 0);
	}
}

void ca_biggest_build(const struct ca_graph *graph, const struct ca_retained *retained,
		      const struct ca_ways *ways, ca_node under, size_t most,
		      struct ca_biggest *biggest)
{
	struct ranking r = {.most = most};

	*biggest = (struct ca_biggest){0};
	for (ca_node node = 1; node <= graph->object_count; node++) {
		ca_node parent = retained->tree.parent[node];

		if (parent == UINT32_MAX || (under && parent != under) ||
		    (ways && !ca_retained_is_top(graph, retained, ways, node)))
			continue;
		biggest->all++;
		add(&r, (struct ranked){retained->bytes[node], node});
	}
	if (r.count)
		qsort(r.items, r.count, sizeof(*r.items), by_retained);
	biggest->count = r.count;
	biggest->nodes = ca_alloc((r.count + 1) * sizeof(*biggest->nodes));
	for (size_t i = 0; i < r.count; i++)
		biggest->nodes[i] = r.items[i].node;
	free(r.items);
}

void ca_biggest_fini(struct ca_biggest *biggest)
{
	free(biggest->nodes);
	*biggest = (struct ca_biggest){0};
}
