/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What objects of a core retain, the slow and obviously right way: take one out,
 * see what cannot be reached any more.
 *
 *     slow CORE SAMPLES
 *     slow --random NODES EDGES     what it costs, see random.c
 *
 * Prints the first differences; the status is 1 when there are any.
 */
#include <stdio.h>
#include <stdlib.h>

#include "slow.h"

struct reach {
	const struct ca_graph *graph;
	bool *seen;
	ca_node *stack;
};

static void go(struct reach *r, ca_node removed)
{
	size_t count = 1;

	memset(r->seen, 0, r->graph->node_count);
	r->seen[0] = true;
	r->stack[0] = 0;
	while (count) {
		struct ca_edges out = ca_graph_out(r->graph, r->stack[--count]);

		for (uint64_t i = 0; i < out.count; i++) {
			ca_node to = out.nodes[i];

			if (to == removed || r->seen[to] || !(out.flags[i] & CA_EDGE_STRONG))
				continue;
			r->seen[to] = true;
			r->stack[count++] = to;
		}
	}
}

static void lost(const struct reach *r, uint64_t *bytes, uint32_t *objects)
{
	*bytes = *objects = 0;
	for (ca_node node = 1; node <= r->graph->object_count; node++) {
		if (r->seen[node])
			continue;
		*bytes += ca_node_bytes(r->graph->objects, node) + ca_node_owned(r->graph->objects, node);
		++*objects;
	}
}

static int compare(const struct reach *r, const struct ca_retained *retained, ca_node node)
{
	uint64_t bytes;
	uint32_t objects;

	go((struct reach *)r, node);
	lost(r, &bytes, &objects);
	if (bytes == retained->bytes[node] && objects == retained->objects[node])
		return 0;
	printf("0x%llx: %llu bytes and %u objects are lost, %llu and %u are said to be retained\n",
	       (unsigned long long)ca_objects_address(r->graph->objects, node),
	       (unsigned long long)bytes, objects, (unsigned long long)retained->bytes[node],
	       retained->objects[node]);
	return 1;
}

/* Half of them anywhere, half of those that retain more than themselves. */
static ca_node choose(const struct ca_graph *graph, const struct ca_retained *retained, int i)
{
	ca_node node = 1 + (ca_node)((unsigned)rand() % graph->object_count);

	for (uint32_t tries = 0; i % 2 && retained->objects[node] < 3 && tries < 100000; tries++)
		node = 1 + (ca_node)((unsigned)rand() % graph->object_count);
	return node;
}

static int check(struct ca_session *session, int samples)
{
	struct reach r = {.graph = session->graph};
	struct ca_retained retained;
	int wrong = 0;

	r.seen = ca_alloc(r.graph->node_count);
	r.stack = ca_alloc(r.graph->node_count * sizeof(*r.stack));
	ca_retained_build(&session->ctx, session->graph, &retained);
	srand(1);
	for (int i = 0; i < samples && wrong < 10; i++)
		wrong += compare(&r, &retained, choose(r.graph, &retained, i));
	free(r.seen);
	free(r.stack);
	ca_retained_fini(&retained);
	printf("%d of %u objects compared, %d wrong\n", samples, r.graph->object_count, wrong);
	return wrong != 0;
}

int main(int argc, char **argv)
{
	struct ca_session *session = ca_session_make();
	struct ca_image_options files = {0};
	struct ca_error *err;
	int status;

	if (argc == 4 && strcmp(argv[1], "--random") == 0)
		return random_graph((uint32_t)strtoul(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
	if (argc != 3)
		return 2;
	err = ca_session_open(session, argv[1], &files);
	if (!err)
		err = ca_session_graph(session);
	if (err) {
		printf("%s: %s\n", err->what, err->why);
		return 2;
	}
	status = check(session, atoi(argv[2]));
	ca_session_close(session);
	return status;
}
