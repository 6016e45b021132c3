/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What weakref.finalize() has been asked to call. Its registry holds an object of
 * class _Info for each, and that the function and the arguments: when they lead
 * back to what is to be watched, it never goes.
 */
#include <stdlib.h>

#include "analysis.h"

static ca_node target_of(const struct ca_weakref *refs, size_t count, ca_node node)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (refs[middle].node < node)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && refs[low].node == node ? refs[low].to : 0;
}

struct reading {
	struct ca_edges edges;
	ca_node weakref, function;
};

static void read_slot(void *arg, uint64_t index, const char *label)
{
	struct reading *reading = arg;

	if (strcmp(label, ".weakref") == 0)
		reading->weakref = reading->edges.nodes[index];
	else if (strcmp(label, ".func") == 0)
		reading->function = reading->edges.nodes[index];
}

struct ca_registration *ca_registrations_find(const struct ca_graph *graph, struct ca_reader *reader,
					      const struct ca_weakref *refs, size_t ref_count,
					      size_t *count)
{
	const struct ca_objects *objects = graph->objects;
	bool *is_info = ca_alloc(objects->type_count + 1ull);
	struct ca_registration *found = NULL;
	struct ca_arena scratch = {0};
	size_t capacity = 0;

	*count = 0;
	for (uint32_t t = 0; t < objects->type_count; t++)
		is_info[t] = strcmp(objects->types[t].name, "weakref.finalize._Info") == 0;
	for (ca_node node = 1; node <= objects->count; node++) {
		struct reading reading = {.edges = ca_graph_out(graph, node)};

		if (!is_info[ca_node_type(objects, node)])
			continue;
		ca_edge_each(graph, reader, node, 0, false, &scratch, read_slot, &reading);
		ca_arena_fini(&scratch);
		found = ca_grow(found, &capacity, *count + 1, sizeof(*found));
		found[(*count)++] = (struct ca_registration){
			.info = node, .function = reading.function,
			.object = target_of(refs, ref_count, reading.weakref)};
	}
	free(is_info);
	return found;
}

void ca_registrations_weigh(const struct ca_graph *graph, const struct ca_retained *retained,
			    struct ca_registration *items, size_t count)
{
	/* The nearest registration above each node, + 1. */
	uint32_t *above = ca_alloc(graph->node_count * sizeof(*above));

	for (size_t i = 0; i < count; i++)
		above[items[i].info] = (uint32_t)i + 1;
	for (uint32_t i = 0; i < retained->tree.reached; i++) {
		ca_node node = retained->tree.order[i];

		if (!above[node])
			above[node] = above[retained->tree.parent[node]];
	}
	for (size_t i = 0; i < count; i++) {
		items[i].bytes = retained->bytes[items[i].info];
		items[i].objects = retained->objects[items[i].info];
		items[i].keeps_object = above[items[i].object] == i + 1;
	}
	free(above);
}
