/* SPDX-License-Identifier: GPL-3.0-or-later */
/* graph: what is peeled off before components are looked for, and what can be reached. */
#include <CUnit/Basic.h>

#include <stdlib.h>

#include "../../coreanalyze/graph/graph.h"

enum { STRONG = CA_EDGE_STRONG, PROGRAM = CA_EDGE_STRONG | CA_EDGE_PROGRAM, THREADS = 4 };

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33) % limit;
}

static struct ca_graph *random_graph(uint64_t *state, uint32_t objects, uint32_t count)
{
	ca_node(*edges)[2] = ca_alloc((count + 1ull) * sizeof(*edges));
	uint8_t *flags = ca_alloc(count + 1ull);

	for (uint32_t i = 0; i < count; i++) {
		edges[i][0] = 1 + random_below(state, objects);
		edges[i][1] = 1 + random_below(state, objects);
		flags[i] = random_below(state, 4) ? STRONG : PROGRAM;
	}

	struct ca_graph *graph =
		ca_graph_from_edges(objects, 0, (const ca_node(*)[2])edges, flags, count);

	free(edges);
	free(flags);
	return graph;
}

static uint64_t *all_bits(const struct ca_graph *graph)
{
	uint64_t *bits = ca_alloc((graph->node_count / 64 + 1ull) * sizeof(*bits));

	for (ca_node node = 1; node <= graph->object_count; node++)
		ca_set_bit(bits, node);
	return bits;
}

static bool refers_to_itself(const struct ca_graph *graph, ca_node node, uint8_t without)
{
	for (uint64_t e = graph->first[node]; e < graph->first[node + 1]; e++)
		if (graph->to[e] == node && !(graph->flags[e] & without))
			return true;
	return false;
}

/* What is in a cycle is left, and its components are those of the whole graph. */
static uint32_t wrong_after_trim(struct ca_context *ctx, const struct ca_graph *graph, uint8_t without)
{
	struct ca_components whole, rest;
	uint64_t *bits = all_bits(graph);
	uint32_t *sizes, *twin, wrong = 0;

	ca_components_build(graph, without, NULL, &whole);
	ca_graph_trim(ctx, graph, without, bits);
	ca_components_build(graph, without, bits, &rest);
	sizes = ca_alloc((whole.count + 1ull) * sizeof(*sizes));
	twin = ca_alloc((whole.count + 1ull) * sizeof(*twin));
	for (ca_node node = 1; node <= graph->object_count; node++)
		sizes[whole.number[node]]++;
	for (ca_node node = 1; node <= graph->object_count; node++) {
		uint32_t component = whole.number[node];

		wrong += (rest.number[node] != 0) != ca_bit(bits, node);
		if (sizes[component] < 2 && !refers_to_itself(graph, node, without))
			continue;
		wrong += !ca_bit(bits, node);
		wrong += twin[component] && twin[component] != rest.number[node];
		twin[component] = rest.number[node];
	}
	ca_components_fini(&whole);
	ca_components_fini(&rest);
	free(sizes);
	free(twin);
	free(bits);
	return wrong;
}

static void test_cycles_are_left(void)
{
	enum { GRAPHS = 200, MOST = 5000 };
	struct ca_context ctx;
	uint64_t state = 11;
	uint32_t wrong = 0;

	ca_context_init(&ctx);
	ctx.threads = THREADS;
	for (int i = 0; i < GRAPHS; i++) {
		uint32_t objects = 1 + random_below(&state, MOST);
		struct ca_graph *graph = random_graph(&state, objects, random_below(&state, 2 * objects));

		wrong += wrong_after_trim(&ctx, graph, 0);
		wrong += wrong_after_trim(&ctx, graph, CA_EDGE_PROGRAM);
		ca_graph_free(graph);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	ca_context_fini(&ctx);
}

enum { MANY = 1 << 20 };

static uint32_t left_of(struct ca_context *ctx, const ca_node (*edges)[2], uint32_t count)
{
	struct ca_graph *graph = ca_graph_from_edges(MANY, 0, edges, NULL, count);
	uint64_t *bits = all_bits(graph);
	uint32_t left = 0;

	ca_graph_trim(ctx, graph, 0, bits);
	for (ca_node node = 1; node <= MANY; node++)
		left += ca_bit(bits, node);
	free(bits);
	ca_graph_free(graph);
	return left;
}

/* However long, and whichever way: a list, the same in reverse, a tree. Of a ring nothing goes. */
static void test_data_goes(void)
{
	ca_node(*edges)[2] = ca_alloc(MANY * sizeof(*edges));
	struct ca_context ctx;

	ca_context_init(&ctx);
	ctx.threads = 1;
	for (uint32_t i = 0; i < MANY - 1; i++) {
		edges[i][0] = i + 1;
		edges[i][1] = i + 2;
	}
	CU_ASSERT_EQUAL(left_of(&ctx, (const ca_node(*)[2])edges, MANY - 1), 0);
	for (uint32_t i = 0; i < MANY - 1; i++) {
		edges[i][0] = i + 2;
		edges[i][1] = i + 1;
	}
	CU_ASSERT_EQUAL(left_of(&ctx, (const ca_node(*)[2])edges, MANY - 1), 0);
	edges[MANY - 1][0] = 1;
	edges[MANY - 1][1] = MANY;
	CU_ASSERT_EQUAL(left_of(&ctx, (const ca_node(*)[2])edges, MANY), MANY);
	for (uint32_t i = 0; i < MANY - 1; i++) {
		edges[i][0] = (i + 2) / 2;
		edges[i][1] = i + 2;
	}
	CU_ASSERT_EQUAL(left_of(&ctx, (const ca_node(*)[2])edges, MANY - 1), 0);
	free(edges);
	ca_context_fini(&ctx);
}

/* ---- spread ------------------------------------------------------------------- */

/* The same by a plain stack. */
static void reach(const struct ca_graph *graph, uint8_t with, uint64_t *bits, ca_node from)
{
	ca_node *stack = ca_alloc((graph->object_count + 1ull) * sizeof(*stack));
	size_t depth = 0;

	stack[depth++] = from;
	while (depth) {
		ca_node node = stack[--depth];

		for (uint64_t e = graph->first[node]; e < graph->first[node + 1]; e++) {
			ca_node to = graph->to[e];

			if (!(graph->flags[e] & with) || !ca_bit(bits, to))
				continue;
			bits[to / 64] &= ~(1ull << to % 64);
			stack[depth++] = to;
		}
	}
	free(stack);
}

static uint32_t wrong_spread(struct ca_context *ctx, uint64_t *state, uint32_t objects, uint8_t with)
{
	struct ca_graph *graph = random_graph(state, objects, 2 * objects);
	uint64_t *fast = all_bits(graph), *slow = all_bits(graph);
	ca_node *from = ca_alloc(2 * sizeof(*from));
	uint32_t wrong = 0;

	for (uint32_t i = 0; i < objects / 8; i++) {
		ca_node node = 1 + random_below(state, objects);

		fast[node / 64] &= ~(1ull << node % 64); /* a wall */
		slow[node / 64] &= ~(1ull << node % 64);
	}
	from[0] = 1 + random_below(state, objects);
	from[1] = 1 + random_below(state, objects);
	reach(graph, with, slow, from[0]);
	reach(graph, with, slow, from[1]);
	ca_graph_spread(ctx, graph, with, fast, from, 2);
	for (ca_node node = 1; node <= objects; node++)
		wrong += ca_bit(fast, node) != ca_bit(slow, node);
	free(fast);
	free(slow);
	ca_graph_free(graph);
	return wrong;
}

static void test_spread(void)
{
	struct ca_context ctx;
	uint64_t state = 5;
	uint32_t wrong = 0;

	ca_context_init(&ctx);
	ctx.threads = THREADS;
	for (int i = 0; i < 500; i++)
		wrong += wrong_spread(&ctx, &state, 8 + random_below(&state, 300),
				      i & 1 ? STRONG : CA_EDGE_PROGRAM);
	/* More than one worker has the patience for. */
	for (int i = 0; i < 4; i++)
		wrong += wrong_spread(&ctx, &state, MANY, STRONG);
	CU_ASSERT_EQUAL(wrong, 0);
	ca_context_fini(&ctx);
}

CU_TestInfo ca_tests_trim[] = {
	{"cycles_are_left", test_cycles_are_left},
	{"data_goes", test_data_goes},
	{"spread", test_spread},
	CU_TEST_INFO_NULL,
};
