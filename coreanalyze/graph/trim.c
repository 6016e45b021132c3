/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which nodes may be in a cycle. One whose edges all lead to nodes that are in
 * none is in none itself. Each round asks that of all that are left, from the
 * lowest up and from the highest down in turn, so that what lies in order goes at
 * once. When a round takes away little, the rest is left to who looks at it
 * exactly: all rounds together take time in proportion to the edges.
 */
#include "graph.h"

enum { GRAIN = 1 << 15, MOST_ROUNDS = 16, WORTH = 8 };

struct round {
	const struct ca_graph *graph;
	uint64_t *bits; /* of a range of nodes one worker's, read by all */
	uint8_t without;
	bool down;
	uint64_t taken, left;
};

static bool leads_on(const struct round *round, ca_node node)
{
	struct ca_edges edges = ca_graph_out(round->graph, node);

	for (uint64_t i = 0; i < edges.count; i++) {
		ca_node to = edges.nodes[i];

		if (!(edges.flags[i] & round->without) &&
		    __atomic_load_n(&round->bits[to / 64], __ATOMIC_RELAXED) >> to % 64 & 1)
			return true;
	}
	return false;
}

/* Of 64 nodes; returns how many are left. */
static unsigned look_at_word(struct round *round, size_t word)
{
	uint64_t now = round->bits[word];

	for (uint64_t todo = now; todo;) {
		unsigned bit = (unsigned)(round->down ? 63 - __builtin_clzll(todo) : __builtin_ctzll(todo));

		todo &= ~(1ull << bit);
		if (leads_on(round, (ca_node)(word * 64 + bit)))
			continue;
		now &= ~(1ull << bit);
		__atomic_store_n(&round->bits[word], now, __ATOMIC_RELAXED);
	}
	return (unsigned)__builtin_popcountll(now);
}

static void look_at_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct round *round = arg;
	uint64_t before = 0, left = 0;

	(void)worker;
	for (size_t i = begin; i < end; i++) {
		size_t words = round->graph->node_count / 64 + 1;
		size_t word = round->down ? words - 1 - i : i;

		before += (unsigned)__builtin_popcountll(round->bits[word]);
		left += look_at_word(round, word);
	}
	__atomic_fetch_add(&round->taken, before - left, __ATOMIC_RELAXED);
	__atomic_fetch_add(&round->left, left, __ATOMIC_RELAXED);
}

void ca_graph_trim(struct ca_context *ctx, const struct ca_graph *graph, uint8_t without,
		   uint64_t *bits)
{
	struct round round = {.graph = graph, .bits = bits, .without = without};

	for (unsigned i = 0; i < MOST_ROUNDS; i++) {
		round.taken = round.left = 0;
		round.down = i & 1;
		ca_parallel(ctx, graph->node_count / 64 + 1, GRAIN / 64, look_at_range, &round);
		if (i && round.taken <= round.left / WORTH)
			break;
	}
}
