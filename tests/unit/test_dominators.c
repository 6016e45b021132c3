/* SPDX-License-Identifier: GPL-3.0-or-later */
/* graph: dominators, against graphs whose answer is known and against the slow way. */
#include <CUnit/Basic.h>

#include <stdlib.h>

#include "../../coreanalyze/graph/graph.h"

#define NONE UINT32_MAX

static struct ca_context ctx;

static struct ca_dominators dominators_of(const struct ca_graph *graph)
{
	struct ca_dominators dominators;

	ctx.threads = 1;
	ca_dominators_build(&ctx, graph, &dominators);
	return dominators;
}

/* Each reached node once, after its parent. */
static void check_order(const struct ca_graph *graph, const struct ca_dominators *d)
{
	bool *seen = ca_alloc(graph->node_count);
	uint32_t reached = 0;

	CU_ASSERT(d->reached > 0 && d->order[0] == 0 && d->parent[0] == 0);
	seen[0] = true;
	for (uint32_t i = 1; i < d->reached; i++) {
		ca_node node = d->order[i];

		CU_ASSERT_FATAL(node < graph->node_count && d->parent[node] != NONE);
		CU_ASSERT(!seen[node] && seen[d->parent[node]]);
		seen[node] = true;
	}
	for (ca_node node = 0; node < graph->node_count; node++)
		reached += d->parent[node] != NONE;
	CU_ASSERT_EQUAL(reached, d->reached);
	free(seen);
}

static void check(uint32_t nodes, const ca_node (*edges)[2], const uint8_t *flags,
		  uint64_t edge_count, const ca_node *expected)
{
	struct ca_graph *graph = ca_graph_from_edges(nodes - 1, 0, edges, flags, edge_count);
	struct ca_dominators d = dominators_of(graph);

	check_order(graph, &d);
	for (ca_node node = 0; node < nodes; node++)
		CU_ASSERT_EQUAL(d.parent[node], expected[node]);
	ca_dominators_fini(&d);
	ca_graph_free(graph);
}

static void test_dominators__root_alone(void)
{
	check(1, NULL, NULL, 0, (const ca_node[]){0});
	check(3, NULL, NULL, 0, (const ca_node[]){0, NONE, NONE});
}

static void test_dominators__diamond(void)
{
	static const ca_node edges[][2] = {{0, 1}, {1, 2}, {1, 3}, {2, 4}, {3, 4}, {4, 5}};

	check(6, edges, NULL, CA_COUNT(edges), (const ca_node[]){0, 0, 1, 1, 1, 4});
}

/* Two ways into a loop: neither of its nodes has the other. */
static void test_dominators__loop_with_two_ways_in(void)
{
	static const ca_node edges[][2] = {{0, 1}, {0, 2}, {1, 3}, {2, 4}, {3, 4}, {4, 3}, {3, 5}};

	check(6, edges, NULL, CA_COUNT(edges), (const ca_node[]){0, 0, 0, 0, 0, 3});
}

/* What the paper by Lengauer and Tarjan shows the method with (1979, figure 1). */
static void test_dominators__textbook(void)
{
	enum { R, A, B, C, D, E, F, G, H, I, J, K, L };
	static const ca_node edges[][2] = {
		{R, A}, {R, B}, {R, C}, {A, D}, {B, A}, {B, D}, {B, E}, {C, F}, {C, G}, {D, L}, {E, H},
		{F, I}, {G, I}, {G, J}, {H, E}, {H, K}, {I, K}, {J, I}, {K, I}, {K, R}, {L, H},
	};

	check(13, edges, NULL, CA_COUNT(edges),
	      (const ca_node[]){R, R, R, R, R, R, C, C, R, R, G, R, D});
}

static void test_dominators__loops_and_doubles(void)
{
	static const ca_node edges[][2] = {{0, 0}, {0, 1}, {0, 1}, {1, 1}, {1, 2}, {1, 2}, {2, 2}, {2, 0}};

	check(3, edges, NULL, CA_COUNT(edges), (const ca_node[]){0, 0, 1});
}

static void test_dominators__unreached_nodes_hold_nothing(void)
{
	static const ca_node edges[][2] = {{0, 1}, {1, 2}, {3, 2}, {3, 4}, {4, 3}};

	check(5, edges, NULL, CA_COUNT(edges), (const ca_node[]){0, 0, 1, NONE, NONE});
}

static void test_dominators__weak_edges_hold_nothing(void)
{
	static const ca_node edges[][2] = {{0, 1}, {0, 2}, {1, 3}, {2, 3}, {2, 3}, {0, 3}, {0, 4}};
	static const uint8_t flags[] = {2, 3, CA_EDGE_GC, CA_EDGE_GC, 2, CA_EDGE_GUESS, CA_EDGE_GC};

	/* Of two edges from 2 to 3, one is strong. */
	check(5, edges, flags, CA_COUNT(edges), (const ca_node[]){0, 0, 0, 2, NONE});
}

/* ---- against the slow way -------------------------------------------------------- */

enum { MOST = 64 };
struct made {
	uint32_t nodes, count;
	ca_node edges[4 * MOST][2];
	uint8_t flags[4 * MOST];
};

static uint64_t reachable_without(const struct made *g, ca_node removed)
{
	uint64_t seen = removed == 0 ? 0 : 1, before = 0;

	while (seen != before) {
		before = seen;
		for (uint32_t i = 0; i < g->count; i++)
			if (g->edges[i][1] != removed && (g->flags[i] & CA_EDGE_STRONG) &&
			    (seen >> g->edges[i][0] & 1))
				seen |= 1ull << g->edges[i][1];
	}
	return seen;
}

/* By what the word means: a dominates b when b is lost with a. */
static bool right(const struct made *g, const struct ca_dominators *d)
{
	uint64_t all = reachable_without(g, NONE), lost[MOST];

	for (ca_node a = 0; a < g->nodes; a++)
		lost[a] = all & ~reachable_without(g, a) & ~(1ull << a);
	for (ca_node b = 0; b < g->nodes; b++) {
		uint64_t above = 0, expected = 0;

		if ((all >> b & 1) != (d->parent[b] != NONE))
			return false;
		if (!(all >> b & 1))
			continue;
		for (ca_node a = b; a != 0;) {
			a = d->parent[a];
			above |= 1ull << a;
		}
		for (ca_node a = 0; a < g->nodes; a++)
			expected |= (lost[a] >> b & 1) << a;
		if (above != expected)
			return false;
	}
	return true;
}

static void make(struct made *g, unsigned seed)
{
	srand(seed);
	g->nodes = 1 + (uint32_t)rand() % MOST;
	g->count = (uint32_t)rand() % (1 + 4 * g->nodes);
	unsigned weak = (unsigned)rand() % 3, local = (unsigned)rand() % 2;

	for (uint32_t i = 0; i < g->count; i++) {
		ca_node from = (uint32_t)rand() % g->nodes;
		ca_node to = local ? (from + (uint32_t)rand() % 5) % g->nodes
				   : (uint32_t)rand() % g->nodes;

		g->edges[i][0] = from;
		g->edges[i][1] = to;
		g->flags[i] = weak && rand() % 4 < (int)weak ? CA_EDGE_GC : CA_EDGE_STRONG;
	}
}

static void test_dominators__random_graphs_as_the_slow_way(void)
{
	static struct made g;

	for (unsigned seed = 0; seed < 6000; seed++) {
		make(&g, seed);

		struct ca_graph *graph = ca_graph_from_edges(g.nodes - 1, 0, g.edges, g.flags, g.count);
		struct ca_dominators d = dominators_of(graph);
		bool good = right(&g, &d);

		check_order(graph, &d);
		if (!good)
			printf("seed %u\n", seed);
		CU_ASSERT(good);
		ca_dominators_fini(&d);
		ca_graph_free(graph);
	}
}

/* ---- large ------------------------------------------------------------------------ */

/* A chain as long as a heap, from both ends and with every node leading back. */
static void test_dominators__long_chains(void)
{
	enum { LENGTH = 1000000 };
	ca_node(*edges)[2] = ca_alloc(3 * LENGTH * sizeof(*edges));
	uint64_t count = 0;

	for (ca_node node = 0; node < LENGTH; node++) {
		edges[count][0] = node;
		edges[count++][1] = node + 1;
		edges[count][0] = node + 1;
		edges[count++][1] = node;
		if (node % 1000 == 0) {
			edges[count][0] = LENGTH;
			edges[count++][1] = node;
		}
	}

	struct ca_graph *graph = ca_graph_from_edges(LENGTH, 0, edges, NULL, count);
	struct ca_dominators d = dominators_of(graph);
	bool good = d.reached == LENGTH + 1;

	for (ca_node node = 1; good && node <= LENGTH; node++)
		good = d.parent[node] == node - 1;
	CU_ASSERT(good);
	ca_dominators_fini(&d);
	ca_graph_free(graph);
	free(edges);
}

CU_TestInfo ca_tests_dominators[] = {
	{"root_alone", test_dominators__root_alone},
	{"diamond", test_dominators__diamond},
	{"loop_with_two_ways_in", test_dominators__loop_with_two_ways_in},
	{"textbook", test_dominators__textbook},
	{"loops_and_doubles", test_dominators__loops_and_doubles},
	{"unreached_nodes_hold_nothing", test_dominators__unreached_nodes_hold_nothing},
	{"weak_edges_hold_nothing", test_dominators__weak_edges_hold_nothing},
	{"random_graphs_as_the_slow_way", test_dominators__random_graphs_as_the_slow_way},
	{"long_chains", test_dominators__long_chains},
	CU_TEST_INFO_NULL,
};
