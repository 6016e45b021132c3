/* SPDX-License-Identifier: GPL-3.0-or-later */
/* graph: flat arrays in both directions. */
#include <CUnit/Basic.h>

#include <stdlib.h>

#include "../../coreanalyze/graph/graph.h"
#include "../../coreanalyze/graph/private.h"

static void check_nodes(struct ca_edges edges, const ca_node *wanted, size_t count)
{
	CU_ASSERT_EQUAL_FATAL(edges.count, count);
	for (size_t i = 0; i < count; i++)
		CU_ASSERT_EQUAL(edges.nodes[i], wanted[i]);
}

#define CHECK_NODES(edges, ...)                                                                   \
	check_nodes(edges, (const ca_node[]){__VA_ARGS__},                                        \
		    sizeof((const ca_node[]){__VA_ARGS__}) / sizeof(ca_node))

static void test_graph__by_hand(void)
{
	/* Nodes 1 to 3 are objects, 4 and 5 roots. 2 refers to 1 twice, and to itself. */
	const ca_node edges[][2] = {{0, 4}, {2, 3}, {2, 1}, {0, 5}, {2, 2}, {2, 1}, {1, 3}, {4, 2}};
	const uint8_t flags[] = {2, 3, 1, 2, 7, 3, 3, 2};
	struct ca_graph *graph = ca_graph_from_edges(3, 2, edges, flags, CA_COUNT(edges));

	CU_ASSERT_EQUAL(graph->node_count, 6);
	CHECK_NODES(ca_graph_out(graph, 0), 4, 5);
	CHECK_NODES(ca_graph_out(graph, 1), 3);
	CHECK_NODES(ca_graph_out(graph, 2), 3, 1, 2, 1);
	CHECK_NODES(ca_graph_out(graph, 4), 2);
	CU_ASSERT_EQUAL(ca_graph_out(graph, 3).count, 0);
	CU_ASSERT_EQUAL(ca_graph_out(graph, 5).count, 0);
	CU_ASSERT_EQUAL(ca_graph_out(graph, 2).flags[1], 1);
	CU_ASSERT_EQUAL(ca_graph_out(graph, 2).flags[2], 7);
	CU_ASSERT_EQUAL(ca_graph_in(graph, 0).count, 0);
	CHECK_NODES(ca_graph_in(graph, 1), 2, 2);
	CHECK_NODES(ca_graph_in(graph, 2), 2, 4);
	CHECK_NODES(ca_graph_in(graph, 3), 1, 2);
	CHECK_NODES(ca_graph_in(graph, 4), 0);
	CU_ASSERT(!ca_node_is_root(graph, 3) && ca_node_is_root(graph, 4));
	ca_graph_free(graph);
}

static void test_graph__without_edges(void)
{
	struct ca_graph *graph = ca_graph_from_edges(0, 0, NULL, NULL, 0);

	CU_ASSERT_EQUAL(graph->node_count, 1);
	CU_ASSERT_EQUAL(ca_graph_out(graph, 0).count, 0);
	CU_ASSERT_EQUAL(ca_graph_in(graph, 0).count, 0);
	ca_graph_free(graph);
	ca_graph_free(NULL);
}

/* The same random edges, reversed by any number of threads, and each node's found without. */
static void test_graph__reverse_with_any_threads(void)
{
	enum { NODES = 1000, EDGES = 200000 };
	ca_node(*edges)[2] = ca_alloc(EDGES * sizeof(*edges));
	struct ca_context ctx;
	struct ca_graph *graph;
	unsigned seed = 1;

	for (size_t i = 0; i < EDGES; i++) {
		edges[i][0] = (ca_node)rand_r(&seed) % (NODES + 1);
		edges[i][1] = (ca_node)rand_r(&seed) % (rand_r(&seed) % 4 ? NODES + 1 : 10);
	}
	graph = ca_graph_from_edges(NODES, 0, (const ca_node(*)[2])edges, NULL, EDGES);
	ca_context_init(&ctx);
	CU_ASSERT(!graph->reverse->first);
	ca_graph_reverse(graph);
	graph->reverse->ctx = &ctx;
	for (unsigned threads = 1; threads <= 4; threads++) {
		struct ca_reverse before = *graph->reverse;

		ctx.threads = threads;
		ca_graph_reverse(graph);
		CU_ASSERT(memcmp(before.first, graph->reverse->first, (NODES + 2) * sizeof(*before.first)) == 0);
		CU_ASSERT(memcmp(before.from, graph->reverse->from, EDGES * sizeof(*before.from)) == 0);
		free(before.first);
		free(before.from);
	}
	for (ca_node node = 0; node <= NODES; node++) {
		struct ca_edges in = ca_graph_in(graph, node);
		uint64_t count;
		ca_node *scanned = ca_graph_scan(graph, node, &count);

		for (uint64_t i = 1; i < in.count; i++)
			CU_ASSERT(in.nodes[i - 1] <= in.nodes[i]);
		CU_ASSERT_EQUAL(count, in.count);
		CU_ASSERT(memcmp(scanned, in.nodes, count * sizeof(*scanned)) == 0);
		free(scanned);
	}
	ca_context_fini(&ctx);
	ca_graph_free(graph);
	free(edges);
}

CU_TestInfo ca_tests_graph[] = {
	{ "graph by hand, both directions", test_graph__by_hand },
	{ "graph without edges", test_graph__without_edges },
	{ "graph: reverse with any number of threads", test_graph__reverse_with_any_threads },
	CU_TEST_INFO_NULL,
};
