/* SPDX-License-Identifier: GPL-3.0-or-later */
/* graph: strongly connected components, against hand graphs and a slow reference. */
#include <CUnit/Basic.h>

#include <stdlib.h>

#include "../../coreanalyze/graph/graph.h"

struct edge {
	ca_node from, to;
	uint8_t flags;
};

/* Edges in any order; nothing but what the components need. */
static struct ca_graph hand_graph(uint32_t nodes, const struct edge *edges, size_t count)
{
	struct ca_graph graph = {.object_count = nodes - 1, .node_count = nodes, .edge_count = count};

	graph.first = ca_alloc((nodes + 1) * sizeof(*graph.first));
	graph.to = ca_alloc((count + 1) * sizeof(*graph.to));
	graph.flags = ca_alloc(count + 1);
	for (size_t i = 0; i < count; i++)
		graph.first[edges[i].from + 1]++;
	for (uint32_t n = 0; n < nodes; n++)
		graph.first[n + 1] += graph.first[n];

	uint64_t *next = ca_alloc((nodes + 1) * sizeof(*next));

	memcpy(next, graph.first, (nodes + 1) * sizeof(*next));
	for (size_t i = 0; i < count; i++) {
		uint64_t at = next[edges[i].from]++;

		graph.to[at] = edges[i].to;
		graph.flags[at] = edges[i].flags;
	}
	free(next);
	return graph;
}

static void drop_graph(struct ca_graph *graph)
{
	free(graph->first);
	free(graph->to);
	free(graph->flags);
}

/* No edge leads to a component with a higher number, and each number is used. */
static void check_order(const struct ca_graph *graph, const struct ca_components *c, uint8_t without)
{
	uint8_t *used = ca_alloc(c->count + 1ull);
	uint32_t wrong = 0;

	for (ca_node n = 0; n < graph->node_count; n++) {
		wrong += c->number[n] == 0 || c->number[n] > c->count;
		used[c->number[n]] = 1;
		for (uint64_t e = graph->first[n]; e < graph->first[n + 1]; e++)
			wrong += !(graph->flags[e] & without) &&
				 c->number[graph->to[e]] > c->number[n];
	}
	for (uint32_t i = 1; i <= c->count; i++)
		wrong += !used[i];
	CU_ASSERT_EQUAL(wrong, 0);
	free(used);
}

static void test_hand_graphs(void)
{
	/* 0 -> {1 <-> 2} -> 3 -> 3, {4 -> 5 -> 6 -> 4} -> 2, 7 alone */
	const struct edge edges[] = {
		{0, 1, 0}, {1, 2, 0}, {2, 1, 0}, {2, 3, 0}, {3, 3, 0},
		{4, 5, 0}, {5, 6, 0}, {6, 4, 0}, {5, 2, 0}, {5, 2, 0},
	};
	struct ca_graph graph = hand_graph(8, edges, CA_COUNT(edges));
	struct ca_components c;

	ca_components_build(&graph, 0, NULL, &c);
	CU_ASSERT_EQUAL(c.count, 5);
	CU_ASSERT_EQUAL(c.number[1], c.number[2]);
	CU_ASSERT_EQUAL(c.number[4], c.number[5]);
	CU_ASSERT_EQUAL(c.number[4], c.number[6]);
	CU_ASSERT_NOT_EQUAL(c.number[0], c.number[1]);
	CU_ASSERT_NOT_EQUAL(c.number[3], c.number[1]);
	CU_ASSERT_NOT_EQUAL(c.number[7], c.number[0]);
	check_order(&graph, &c, 0);
	ca_components_fini(&c);
	drop_graph(&graph);
}

static void test_flagged_edges_are_left_out(void)
{
	const struct edge edges[] = {
		{1, 2, CA_EDGE_STRONG}, {2, 1, CA_EDGE_STRONG | CA_EDGE_PROGRAM},
		{3, 4, CA_EDGE_STRONG}, {4, 3, CA_EDGE_STRONG | CA_EDGE_GUESS},
	};
	struct ca_graph graph = hand_graph(5, edges, CA_COUNT(edges));
	const struct {
		uint8_t without;
		uint32_t count;
	} cases[] = {
		{0, 3}, {CA_EDGE_PROGRAM, 4}, {CA_EDGE_GUESS, 4},
		{CA_EDGE_GUESS | CA_EDGE_PROGRAM, 5}, {CA_EDGE_STRONG, 5},
	};

	for (size_t i = 0; i < CA_COUNT(cases); i++) {
		struct ca_components c;

		ca_components_build(&graph, cases[i].without, NULL, &c);
		CU_ASSERT_EQUAL(c.count, cases[i].count);
		check_order(&graph, &c, cases[i].without);
		ca_components_fini(&c);
	}
	drop_graph(&graph);
}

static void test_empty_graph(void)
{
	struct ca_graph graph = hand_graph(1, NULL, 0);
	struct ca_components c;

	ca_components_build(&graph, 0, NULL, &c);
	CU_ASSERT_EQUAL(c.count, 1);
	ca_components_fini(&c);
	drop_graph(&graph);
}

/* ---- random graphs ------------------------------------------------------- */

enum { MOST_NODES = 24 };

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33) % limit;
}

/* reach[i] bit j: a way leads from i to j (Warshall). */
static void close_transitively(const struct ca_graph *graph, uint8_t without, uint32_t *reach)
{
	for (ca_node n = 0; n < graph->node_count; n++) {
		reach[n] = 1u << n;
		for (uint64_t e = graph->first[n]; e < graph->first[n + 1]; e++)
			if (!(graph->flags[e] & without))
				reach[n] |= 1u << graph->to[e];
	}
	for (ca_node middle = 0; middle < graph->node_count; middle++)
		for (ca_node n = 0; n < graph->node_count; n++)
			if (reach[n] >> middle & 1)
				reach[n] |= reach[middle];
}

static uint32_t disagreements(const struct ca_graph *graph, uint8_t without)
{
	uint32_t reach[MOST_NODES], wrong = 0;
	struct ca_components c;

	close_transitively(graph, without, reach);
	ca_components_build(graph, without, NULL, &c);
	check_order(graph, &c, without);
	for (ca_node a = 0; a < graph->node_count; a++)
		for (ca_node b = 0; b < graph->node_count; b++)
			wrong += (c.number[a] == c.number[b]) !=
				 ((reach[a] >> b & 1) && (reach[b] >> a & 1));
	ca_components_fini(&c);
	return wrong;
}

static void test_random_graphs(void)
{
	enum { GRAPHS = 20000 };
	struct edge edges[4 * MOST_NODES];
	uint64_t state = 42;
	uint32_t wrong = 0;

	for (int i = 0; i < GRAPHS; i++) {
		uint32_t nodes = 1 + random_below(&state, MOST_NODES);
		uint32_t count = random_below(&state, 1 + nodes * (1 + random_below(&state, 4)));

		for (uint32_t e = 0; e < count; e++)
			edges[e] = (struct edge){random_below(&state, nodes), random_below(&state, nodes),
						 (uint8_t)random_below(&state, 8)};

		struct ca_graph graph = hand_graph(nodes, edges, count);

		wrong += disagreements(&graph, 0);
		wrong += disagreements(&graph, CA_EDGE_PROGRAM);
		drop_graph(&graph);
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

/* ---- sizes that no call stack would survive ------------------------------- */

enum { MANY = 5000000 };

static void check_line(bool closed)
{
	struct edge *edges = ca_alloc(MANY * sizeof(*edges));
	struct ca_components c;

	for (uint32_t i = 0; i < MANY; i++)
		edges[i] = (struct edge){i, (i + 1) % MANY, 0};

	struct ca_graph graph = hand_graph(MANY, edges, closed ? MANY : MANY - 1);

	free(edges);
	ca_components_build(&graph, 0, NULL, &c);
	CU_ASSERT_EQUAL(c.count, closed ? 1 : MANY);
	CU_ASSERT_EQUAL(c.number[0], closed ? 1 : MANY);
	CU_ASSERT_EQUAL(c.number[MANY - 1], 1);
	ca_components_fini(&c);
	drop_graph(&graph);
}

static void test_long_ring(void)
{
	check_line(true);
}

static void test_long_chain(void)
{
	check_line(false);
}

CU_TestInfo ca_tests_components[] = {
	{"hand_graphs", test_hand_graphs},
	{"flagged_edges_are_left_out", test_flagged_edges_are_left_out},
	{"empty_graph", test_empty_graph},
	{"random_graphs", test_random_graphs},
	{"long_ring", test_long_ring},
	{"long_chain", test_long_chain},
	CU_TEST_INFO_NULL,
};
