/* SPDX-License-Identifier: GPL-3.0-or-later */
/* analysis: ways, what is retained and detours, of graphs made by hand. */
#include <CUnit/Basic.h>

#include <stdlib.h>

#include "../../coreanalyze/analysis/analysis.h"

enum { HELD = CA_EDGE_STRONG | CA_EDGE_GC, PROGRAM = HELD | CA_EDGE_PROGRAM };
#define NONE UINT32_MAX

/*
 * 1 sys.modules, 2 a module, 3 its dict, 4 and 5 globals, 6 a local of a frame,
 * 7 held by 4, by 6 and by C, 8 a class that 6 is of, 9 garbage. Roots: 10 modules, 11 a
 * frame, 12 C, 13 unreachable.
 */
enum { ROOT_MODULES = 10, ROOT_FRAME, ROOT_C, ROOT_GARBAGE };
static const ca_node edges[][2] = {
	{0, ROOT_C}, {0, ROOT_GARBAGE}, {0, ROOT_FRAME}, {0, ROOT_MODULES},
	{ROOT_MODULES, 1}, {ROOT_FRAME, 6}, {ROOT_C, 7}, {ROOT_GARBAGE, 9},
	{1, 2}, {2, 3}, {3, 4}, {3, 5}, {4, 7}, {6, 7}, {6, 8}, {9, 7}, {8, 3},
};
static const uint8_t flags[] = {
	HELD, HELD, HELD, HELD, HELD, HELD, HELD, HELD,
	PROGRAM, PROGRAM, HELD, HELD, HELD, HELD, PROGRAM, HELD, PROGRAM,
};

static struct ca_graph *make(void)
{
	struct ca_graph *graph = ca_graph_from_edges(9, 4, edges, flags, CA_COUNT(edges));

	graph->roots[0] = (struct ca_root){CA_ROOT_INTERPRETER, "modules", 0};
	graph->roots[1] = (struct ca_root){CA_ROOT_FRAME, "f() at app.py:1", 0};
	graph->roots[2] = (struct ca_root){CA_ROOT_C, "C", 0};
	graph->roots[3] = (struct ca_root){CA_ROOT_UNREACHABLE, "garbage", 0};
	return graph;
}

static void test_analysis__ways_prefer_what_has_a_name(void)
{
	static const ca_node expected[] = {0, ROOT_MODULES, 1, 2, 3, 3, ROOT_FRAME, 4, 6, ROOT_GARBAGE,
					   0, 0, 0, 0};
	struct ca_graph *graph = make();
	struct ca_ways ways;

	ca_ways_build(graph, NULL, &ways);
	CU_ASSERT_EQUAL(ways.reached, graph->node_count);
	for (ca_node node = 0; node < graph->node_count; node++)
		CU_ASSERT_EQUAL(ways.parent[node], expected[node]);
	for (ca_node node = 1; node < graph->node_count; node++)
		CU_ASSERT_EQUAL(ca_graph_out(graph, ways.parent[node]).nodes[ways.edge[node]], node);
	for (ca_node node = 0; node < graph->node_count; node++)
		CU_ASSERT_EQUAL(ca_ways_is_space(&ways, node), node <= 3 || node == ROOT_MODULES);
	ca_ways_fini(&ways);
	ca_graph_free(graph);
}

static void test_analysis__ways_go_round_what_they_avoid(void)
{
	struct ca_graph *graph = make();
	uint64_t avoid[1] = {1ull << 4};
	struct ca_ways ways;

	ca_ways_build(graph, avoid, &ways);
	CU_ASSERT_EQUAL(ways.parent[4], 3);
	CU_ASSERT_EQUAL(ways.parent[7], 6);
	ca_ways_fini(&ways);
	avoid[0] |= 1ull << 6 | 1ull << ROOT_C | 1ull << 9;
	ca_ways_build(graph, avoid, &ways);
	CU_ASSERT_EQUAL(ways.parent[7], NONE);
	CU_ASSERT_EQUAL(ways.parent[8], NONE);
	ca_ways_fini(&ways);
	ca_graph_free(graph);
}

static void test_analysis__what_is_retained(void)
{
	static const uint32_t objects[] = {9, 1, 1, 3, 1, 1, 2, 1, 1, 1, 2, 2, 0, 1};
	static const bool top[] = {false, false, false, false, true, true, true, true, false, true};
	struct ca_graph *graph = make();
	struct ca_context ctx;
	struct ca_retained retained;
	struct ca_ways ways;

	ca_context_init(&ctx);
	ca_retained_build(&ctx, graph, &retained);
	ca_ways_build(graph, NULL, &ways);
	/* The module's dict is held by the class too, which the frame's local holds. */
	CU_ASSERT_EQUAL(retained.tree.parent[3], 0);
	CU_ASSERT_EQUAL(retained.tree.parent[7], 0);
	for (ca_node node = 0; node < graph->node_count; node++)
		if (node != ROOT_MODULES && node != 1)
			CU_ASSERT_EQUAL(retained.objects[node], objects[node]);
	CU_ASSERT_EQUAL(retained.objects[1], 2);
	for (ca_node node = 4; node <= 9; node++)
		CU_ASSERT_EQUAL(ca_retained_is_top(graph, &retained, &ways, node), top[node]);
	ca_ways_fini(&ways);
	ca_retained_fini(&retained);
	ca_context_fini(&ctx);
	ca_graph_free(graph);
}

/* Of few different figures, so that many are equal: of these the lower address comes first. */
static ca_node slow_biggest(const struct ca_retained *retained, uint32_t objects, ca_node under,
			    const bool *taken)
{
	ca_node best = 0;

	for (ca_node node = objects; node > 0; node--)
		if (!taken[node] && retained->tree.parent[node] != NONE &&
		    (!under || retained->tree.parent[node] == under) &&
		    (!best || retained->bytes[node] >= retained->bytes[best]))
			best = node;
	return best;
}

static void check_biggest(const struct ca_graph *graph, const struct ca_retained *retained,
			  ca_node under, size_t most)
{
	bool *taken = ca_alloc(graph->node_count);
	struct ca_biggest biggest;
	uint64_t all = 0;

	ca_biggest_build(graph, retained, NULL, under, most, &biggest);
	for (ca_node node; (node = slow_biggest(retained, graph->object_count, under, taken)); all++) {
		if (all < most)
			CU_ASSERT(all < biggest.count && biggest.nodes[all] == node);
		taken[node] = true;
	}
	CU_ASSERT_EQUAL(biggest.all, all);
	CU_ASSERT_EQUAL(biggest.count, all < most ? all : most);
	ca_biggest_fini(&biggest);
	free(taken);
}

static void test_analysis__the_biggest(void)
{
	enum { OBJECTS = 200 };
	struct ca_graph graph = {.object_count = OBJECTS, .node_count = OBJECTS + 1};
	ca_node parent[OBJECTS + 1];
	uint64_t bytes[OBJECTS + 1];
	struct ca_retained retained = {.tree.parent = parent, .bytes = bytes};

	srand(7);
	for (int round = 0; round < 50; round++) {
		for (ca_node node = 0; node <= OBJECTS; node++) {
			parent[node] = rand() % 10 ? (ca_node)(rand() % 4) : NONE;
			bytes[node] = (uint64_t)(rand() % 50);
		}
		for (ca_node under = 0; under < 3; under++)
			for (size_t most = 0; most <= OBJECTS; most = most * 3 + 1)
				check_biggest(&graph, &retained, under, most);
		check_biggest(&graph, &retained, 0, OBJECTS);
	}
}

static void test_analysis__detours(void)
{
	struct ca_graph *graph = make();
	struct ca_detours detours;
	struct ca_ways ways;

	ca_ways_build(graph, NULL, &ways);
	ca_detours_find(graph, &ways, 7, &detours);
	/* Not by 4, which is the shortest way; by C, then by the frame's local and by garbage. */
	CU_ASSERT_EQUAL_FATAL(detours.count, 3);
	CU_ASSERT_EQUAL(detours.items[0].referrer, ROOT_C);
	CU_ASSERT_EQUAL(detours.items[1].referrer, 6);
	CU_ASSERT_EQUAL(detours.items[2].referrer, 9);
	CU_ASSERT(detours.items[0].length < detours.items[1].length);
	ca_detours_fini(&detours);
	ca_ways_fini(&ways);
	ca_graph_free(graph);
}

CU_TestInfo ca_tests_analysis[] = {
	{"ways_prefer_what_has_a_name", test_analysis__ways_prefer_what_has_a_name},
	{"ways_go_round_what_they_avoid", test_analysis__ways_go_round_what_they_avoid},
	{"what_is_retained", test_analysis__what_is_retained},
	{"the_biggest", test_analysis__the_biggest},
	{"detours", test_analysis__detours},
	CU_TEST_INFO_NULL,
};
