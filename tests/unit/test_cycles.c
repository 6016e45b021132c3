/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Cycles and garbage of graphs by hand, against slow references. */
#include <CUnit/Basic.h>

#include <stdlib.h>

#include "../../coreanalyze/analysis/analysis.h"

enum { GC = CA_EDGE_GC | CA_EDGE_STRONG, HIDDEN = CA_EDGE_STRONG, VISITED = CA_EDGE_GC,
       PROGRAM = GC | CA_EDGE_PROGRAM };

struct edge {
	ca_node from, to;
	uint8_t flags;
};

struct fixture {
	struct ca_context ctx;
	struct ca_graph *graph;
	struct ca_gc_facts facts;
};

/* Objects 1 to count; refcounts are those of the strong edges, all watched. */
static void open_fixture(struct fixture *f, uint32_t objects, const struct edge *edges, size_t count)
{
	ca_node(*pairs)[2] = ca_alloc((count + 1) * sizeof(*pairs));
	uint8_t *flags = ca_alloc(count + 1);

	ca_context_init(&f->ctx);
	f->facts.watched = ca_alloc((objects / 64 + 1) * sizeof(*f->facts.watched));
	f->facts.references = ca_alloc((objects + 1) * sizeof(*f->facts.references));
	f->facts.bits = ca_alloc(objects + 1);
	f->facts.finalizer = ca_alloc(1);
	for (ca_node node = 1; node <= objects; node++)
		ca_set_bit(f->facts.watched, node);
	for (size_t i = 0; i < count; i++) {
		pairs[i][0] = edges[i].from;
		pairs[i][1] = edges[i].to;
		flags[i] = edges[i].flags;
		f->facts.references[edges[i].to] += (edges[i].flags & CA_EDGE_STRONG) != 0;
	}
	f->graph = ca_graph_from_edges(objects, 0, (const ca_node(*)[2])pairs, flags, count);
	free(pairs);
	free(flags);
}

static void unwatch(struct fixture *f, ca_node node)
{
	f->facts.watched[node / 64] &= ~(1ull << node % 64);
}

static void close_fixture(struct fixture *f)
{
	ca_graph_free(f->graph);
	ca_gc_facts_fini(&f->facts);
	ca_context_fini(&f->ctx);
}

/* ---- garbage -------------------------------------------------------------- */

static void test_garbage(void)
{
	const struct edge edges[] = {
		{1, 2, GC}, {2, 1, GC},                 /* garbage */
		{2, 3, GC},                             /* goes with it */
		{4, 5, GC}, {5, 4, GC},                 /* held from outside */
		{5, 6, GC},
		{7, 8, GC}, {8, 7, HIDDEN},             /* C holds 7, as the collector sees it */
		{9, 10, GC}, {10, 9, GC}, {9, 9, VISITED}, /* a reference that is not counted */
	};
	struct fixture f;
	struct ca_garbage garbage;

	open_fixture(&f, 10, edges, CA_COUNT(edges));
	f.facts.references[4]++;
	ca_garbage_build(&f.ctx, f.graph, &f.facts, &garbage);
	for (ca_node node = 1; node <= 10; node++)
		CU_ASSERT_EQUAL(ca_bit(garbage.found, node),
				node <= 3 || node == 9 || node == 10);
	CU_ASSERT_EQUAL(garbage.objects, 5);
	CU_ASSERT_EQUAL(garbage.kept_objects, 0);
	CU_ASSERT_EQUAL(garbage.overcounted, 0);
	ca_garbage_fini(&garbage);
	close_fixture(&f);
}

static void test_what_is_not_watched_holds(void)
{
	/* 3 is frozen, or immortal: what it refers to is alive */
	const struct edge edges[] = {{1, 2, GC}, {2, 1, GC}, {3, 1, GC}, {4, 4, GC}};
	struct fixture f;
	struct ca_garbage garbage;

	open_fixture(&f, 4, edges, CA_COUNT(edges));
	unwatch(&f, 3);
	ca_garbage_build(&f.ctx, f.graph, &f.facts, &garbage);
	CU_ASSERT_EQUAL(garbage.objects, 1);
	CU_ASSERT_TRUE(ca_bit(garbage.found, 4));
	ca_garbage_fini(&garbage);
	close_fixture(&f);
}

static void test_legacy_finalizers_keep(void)
{
	const struct edge edges[] = {{1, 2, GC}, {2, 1, GC}, {2, 3, GC}, {4, 2, GC}, {4, 4, GC}};
	struct fixture f;
	struct ca_garbage garbage;

	open_fixture(&f, 4, edges, CA_COUNT(edges));
	f.facts.bits[1] |= CA_GC_LEGACY | CA_GC_FINALIZER;
	f.facts.bits[4] |= CA_GC_FINALIZER;
	f.facts.bits[3] |= CA_GC_FINALIZER | CA_GC_FINALIZED;
	ca_garbage_build(&f.ctx, f.graph, &f.facts, &garbage);
	CU_ASSERT_EQUAL(garbage.objects, 4);
	CU_ASSERT_EQUAL(garbage.kept_objects, 3);
	CU_ASSERT_TRUE(ca_bit(garbage.found, 4));
	CU_ASSERT_FALSE(ca_bit(garbage.kept, 4));
	CU_ASSERT_EQUAL(garbage.finalizers, 2);
	ca_garbage_fini(&garbage);
	close_fixture(&f);
}

static void test_overcounted(void)
{
	const struct edge edges[] = {{1, 2, GC}, {1, 2, GC}, {2, 1, GC}};
	struct fixture f;
	struct ca_garbage garbage;

	open_fixture(&f, 2, edges, CA_COUNT(edges));
	f.facts.references[2]--;
	ca_garbage_build(&f.ctx, f.graph, &f.facts, &garbage);
	CU_ASSERT_EQUAL(garbage.overcounted, 1);
	CU_ASSERT_EQUAL(garbage.objects, 2);
	ca_garbage_fini(&garbage);
	close_fixture(&f);
}

/* ---- cycles ----------------------------------------------------------------- */

static void test_cycles(void)
{
	const struct edge edges[] = {
		{1, 2, GC}, {2, 1, GC}, {2, 3, GC}, {3, 4, GC}, {4, 3, PROGRAM},
		{5, 5, GC}, {6, 7, HIDDEN}, {7, 8, GC}, {8, 6, GC}, {9, 9, PROGRAM},
	};
	struct fixture f;
	struct ca_cycles cycles;

	open_fixture(&f, 9, edges, CA_COUNT(edges));
	f.facts.bits[2] |= CA_GC_FINALIZER;
	f.facts.bits[3] |= CA_GC_FINALIZER;
	f.facts.bits[7] |= CA_GC_FINALIZER | CA_GC_FINALIZED;
	f.facts.references[1]++;

	int32_t references[10];

	memcpy(references, f.facts.references, sizeof(references));
	ca_cycles_build(&f.ctx, f.graph, &f.facts, false, NULL, &cycles);
	CU_ASSERT_EQUAL(cycles.count, 3);
	CU_ASSERT_EQUAL(cycles.objects, 6);
	CU_ASSERT_EQUAL(cycles.program_objects, 3);
	CU_ASSERT_EQUAL(cycles.with_finalizers, 2);
	/* by hand all objects have one type: one shape, of which the self-reference is the smallest */
	CU_ASSERT_EQUAL(cycles.shape_count, 1);
	CU_ASSERT_EQUAL(cycles.shapes[0].count, 3);
	CU_ASSERT_EQUAL(cycles.items[cycles.shapes[0].example].objects, 1);
	CU_ASSERT_EQUAL(cycles.items[0].objects, 3);
	CU_ASSERT_EQUAL(cycles.items[0].finalizers, 1);
	CU_ASSERT_EQUAL(cycles.items[0].pending, 0);
	CU_ASSERT_EQUAL(cycles.items[1].objects, 2);
	CU_ASSERT_EQUAL(cycles.items[1].pending, 1);
	CU_ASSERT_FALSE(cycles.items[1].unreachable);
	CU_ASSERT_TRUE(cycles.items[2].unreachable);
	ca_cycles_fini(&cycles);

	const struct ca_cycle_filter finalizers = {.finalizers = true}, garbage = {.unreachable = true};

	memcpy(f.facts.references, references, sizeof(references));
	ca_cycles_build(&f.ctx, f.graph, &f.facts, false, &finalizers, &cycles);
	CU_ASSERT_EQUAL(cycles.count, 2);
	CU_ASSERT_EQUAL(cycles.all, 3);
	CU_ASSERT_EQUAL(cycles.shapes[0].count, 2);
	ca_cycles_fini(&cycles);
	memcpy(f.facts.references, references, sizeof(references));
	ca_cycles_build(&f.ctx, f.graph, &f.facts, false, &garbage, &cycles);
	CU_ASSERT_EQUAL(cycles.count, 1);
	ca_cycles_fini(&cycles);

	ca_cycles_build(&f.ctx, f.graph, &f.facts, true, NULL, &cycles);
	CU_ASSERT_EQUAL(cycles.count, 5);
	CU_ASSERT_EQUAL(cycles.objects, 9);
	CU_ASSERT_EQUAL(cycles.program_objects, 0);
	ca_cycles_fini(&cycles);
	close_fixture(&f);
}

/* ---- random graphs ------------------------------------------------------------ */

enum { MOST = 20 };

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33) % limit;
}

/* Bit j of reach[i]: a way of at least one edge leads from i to j. */
static void close_transitively(const struct ca_graph *graph, uint8_t with, uint8_t without,
			       const uint64_t *among, uint32_t *reach)
{
	memset(reach, 0, (MOST + 1) * sizeof(*reach));
	for (ca_node n = 1; n <= graph->object_count; n++)
		for (uint64_t e = graph->first[n]; e < graph->first[n + 1]; e++)
			if ((graph->flags[e] & with) && !(graph->flags[e] & without) &&
			    (!among || (ca_bit(among, n) && ca_bit(among, graph->to[e]))))
				reach[n] |= 1u << graph->to[e];
	for (ca_node middle = 1; middle <= graph->object_count; middle++)
		for (ca_node n = 1; n <= graph->object_count; n++)
			if (reach[n] >> middle & 1)
				reach[n] |= reach[middle];
}

static uint32_t wrong_cycles(const struct fixture *f, const struct ca_cycles *cycles)
{
	uint32_t reach[MOST + 1], in_cycle[MOST + 1] = {0}, wrong = 0;

	close_transitively(f->graph, 0xff, cycles->without, NULL, reach);
	for (size_t i = 0; i < cycles->count; i++) {
		const struct ca_cycle *cycle = &cycles->items[i];

		for (uint32_t m = 0; m < cycle->objects; m++)
			in_cycle[cycles->members[cycle->first + m]] = (uint32_t)i + 1;
	}
	for (ca_node a = 1; a <= f->graph->object_count; a++) {
		wrong += (in_cycle[a] != 0) != (reach[a] >> a & 1);
		for (ca_node b = 1; b <= f->graph->object_count; b++)
			wrong += in_cycle[a] && (in_cycle[a] == in_cycle[b]) !=
							((reach[a] >> b & 1) && (reach[b] >> a & 1));
	}
	return wrong;
}

/* Each step's edge leads to the next one, is allowed, and none is visited twice. */
static uint32_t wrong_loops(const struct fixture *f, const struct ca_cycles *cycles)
{
	uint32_t wrong = 0;

	for (size_t i = 0; i < cycles->count; i++) {
		struct ca_loop_step *steps;
		size_t count = ca_cycle_loop(f->graph, cycles, &cycles->items[i], &steps);
		uint32_t seen = 0;

		for (size_t s = 0; s < count; s++) {
			uint64_t edge = f->graph->first[steps[s].node] + steps[s].edge;

			wrong += f->graph->to[edge] != steps[(s + 1) % count].node;
			wrong += (f->graph->flags[edge] & cycles->without) != 0;
			wrong += seen >> steps[s].node & 1;
			seen |= 1u << steps[s].node;
		}
		free(steps);
	}
	return wrong;
}

/* What is held from outside of the watched, and what they lead to, is alive. */
static uint32_t wrong_garbage(const struct fixture *f, const int32_t *references,
			      const struct ca_garbage *garbage)
{
	const struct ca_graph *graph = f->graph;
	uint32_t reach[MOST + 1], alive = 0, wrong = 0;

	close_transitively(graph, CA_EDGE_GC, 0, f->facts.watched, reach);
	for (ca_node n = 1; n <= graph->object_count; n++) {
		int64_t left = references[n];

		for (ca_node from = 1; from <= graph->object_count; from++)
			for (uint64_t e = graph->first[from]; e < graph->first[from + 1]; e++)
				left -= graph->to[e] == n && (graph->flags[e] & GC) == GC &&
					ca_bit(f->facts.watched, from);
		if (left > 0 && ca_bit(f->facts.watched, n))
			alive |= 1u << n | reach[n];
	}
	for (ca_node n = 1; n <= graph->object_count; n++)
		wrong += ca_bit(garbage->found, n) != (ca_bit(f->facts.watched, n) && !(alive >> n & 1));
	return wrong;
}

static void test_random_graphs(void)
{
	enum { GRAPHS = 5000 };
	static const uint8_t kinds[] = {GC, GC, GC, HIDDEN, VISITED, PROGRAM};
	struct edge edges[3 * MOST];
	int32_t references[MOST + 1];
	uint64_t state = 7;
	uint32_t wrong = 0;

	for (int i = 0; i < GRAPHS; i++) {
		uint32_t objects = 1 + random_below(&state, MOST);
		uint32_t count = random_below(&state, 3 * objects);
		struct ca_cycles cycles;
		struct fixture f;

		for (uint32_t e = 0; e < count; e++)
			edges[e] = (struct edge){1 + random_below(&state, objects),
						 1 + random_below(&state, objects),
						 kinds[random_below(&state, CA_COUNT(kinds))]};
		open_fixture(&f, objects, edges, count);
		for (ca_node n = 1; n <= objects; n++) {
			f.facts.references[n] += random_below(&state, 8) == 0;
			if (random_below(&state, 8) == 0)
				unwatch(&f, n);
		}
		memcpy(references, f.facts.references, (objects + 1) * sizeof(*references));
		ca_cycles_build(&f.ctx, f.graph, &f.facts, i & 1, NULL, &cycles);
		wrong += wrong_cycles(&f, &cycles) + wrong_loops(&f, &cycles);
		wrong += wrong_garbage(&f, references, &cycles.garbage);
		ca_cycles_fini(&cycles);
		close_fixture(&f);
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

CU_TestInfo ca_tests_cycles[] = {
	{"garbage", test_garbage},
	{"what_is_not_watched_holds", test_what_is_not_watched_holds},
	{"legacy_finalizers_keep", test_legacy_finalizers_keep},
	{"overcounted", test_overcounted},
	{"cycles", test_cycles},
	{"random_graphs", test_random_graphs},
	CU_TEST_INFO_NULL,
};
