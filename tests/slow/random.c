/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The worst case: edges from anywhere to anywhere, so that no two words that are
 * used together lie together, and nearly every node has several referrers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "slow.h"

static uint32_t draw(uint32_t below)
{
	static uint64_t state = 88172645463325252ull; /* xorshift64 */

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 32) * below >> 32);
}

/* Each node from an earlier one, so that all are reached; the other edges anywhere. */
static struct ca_graph *make(uint32_t nodes, uint64_t count)
{
	ca_node(*edges)[2] = ca_alloc(count * sizeof(*edges));
	struct ca_graph *graph;

	for (uint64_t i = 0; i < count; i++) {
		edges[i][0] = i < nodes ? draw((uint32_t)i + 1) : 1 + draw(nodes);
		edges[i][1] = i < nodes ? (uint32_t)i + 1 : 1 + draw(nodes);
	}
	graph = ca_graph_from_edges(nodes, 0, (const ca_node(*)[2])edges, NULL, count);
	free(edges);
	return graph;
}

static uint32_t plain_search(const struct ca_graph *graph)
{
	uint64_t *seen = ca_alloc((graph->node_count / 64 + 1) * sizeof(*seen));
	ca_node *stack = ca_alloc(graph->node_count * sizeof(*stack));
	size_t depth = 1;
	uint32_t reached = 1;

	seen[0] = 1;
	while (depth) {
		struct ca_edges out = ca_graph_out(graph, stack[--depth]);

		for (uint64_t i = 0; i < out.count; i++) {
			ca_node to = out.nodes[i];

			if (!(out.flags[i] & CA_EDGE_STRONG) || seen[to / 64] >> to % 64 & 1)
				continue;
			seen[to / 64] |= 1ull << to % 64;
			stack[depth++] = to;
			reached++;
		}
	}
	free(stack);
	free(seen);
	return reached;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* In bytes; 0: not to be had. */
static uint64_t memory(const char *field)
{
	FILE *status = fopen("/proc/self/status", "r");
	unsigned long long kib = 0;
	char line[256];

	while (status && fgets(line, sizeof(line), status))
		if (strncmp(line, field, strlen(field)) == 0)
			kib = strtoull(line + strlen(field), NULL, 10);
	if (status)
		fclose(status);
	return kib * 1024;
}

/* From here on VmHWM is the peak. */
static void forget_peak(void)
{
	FILE *file = fopen("/proc/self/clear_refs", "w");

	if (file) {
		fputs("5", file);
		fclose(file);
	}
}

int random_graph(uint32_t nodes, uint64_t edges)
{
	struct ca_graph *graph = make(nodes, edges);
	struct ca_context ctx;
	struct ca_retained retained;
	double begin = seconds(), search, whole;
	uint64_t before, peak;
	uint32_t reached = plain_search(graph);

	search = seconds() - begin;
	ca_context_init(&ctx);
	forget_peak();
	before = memory("VmRSS:");
	begin = seconds();
	ca_retained_build(&ctx, graph, &retained);
	whole = seconds() - begin;
	peak = memory("VmHWM:");
	printf("{\"nodes\": %u, \"edges\": %llu, \"search\": %.3f, \"retained\": %.3f, \"bytes\": %llu}\n",
	       reached, (unsigned long long)edges, search, whole, (unsigned long long)(peak - before));
	ca_retained_fini(&retained);
	ca_context_fini(&ctx);
	ca_graph_free(graph);
	return reached != nodes + 1;
}
