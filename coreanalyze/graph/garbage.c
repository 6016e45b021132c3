/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "graph.h"

enum { GRAIN = 1 << 15, COUNTED = CA_EDGE_GC | CA_EDGE_STRONG };

struct job {
	const struct ca_graph *graph;
	struct ca_gc_facts *facts;
	uint64_t *found; /* bit by node: garbage as far as is known */
	ca_node *held;   /* what is not watched holds them */
	size_t held_count;
};

static size_t bytes_of_bits(const struct ca_graph *graph)
{
	return (graph->node_count / 64 + 1ull) * sizeof(uint64_t);
}

/* Of each watched object's references those that watched ones hold are taken off. */
static void subtract_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct job *job = arg;
	const uint64_t *watched = job->found;
	ca_node last = (ca_node)end;

	(void)worker;
	for (ca_node node = ca_next_bit(watched, (ca_node)begin, last); node < last;
	     node = ca_next_bit(watched, node + 1, last)) {
		struct ca_edges edges = ca_graph_out(job->graph, node);

		for (uint64_t e = 0; e < edges.count; e++)
			if ((edges.flags[e] & COUNTED) == COUNTED && ca_bit(watched, edges.nodes[e]))
				__atomic_fetch_sub(&job->facts->references[edges.nodes[e]], 1,
						   __ATOMIC_RELAXED);
	}
}

/* Ranges share no word of bits. */
static void find_held(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct job *job = arg;
	ca_node last = (ca_node)end;

	(void)worker;
	for (ca_node node = ca_next_bit(job->found, (ca_node)begin, last); node < last;
	     node = ca_next_bit(job->found, node + 1, last)) {
		if (job->facts->references[node] <= 0)
			continue;
		job->found[node / 64] &= ~(1ull << node % 64);
		job->held[__atomic_fetch_add(&job->held_count, 1, __ATOMIC_RELAXED)] = node;
	}
}

/* Everything watched is taken for garbage first, then what is held is brought back. */
static void find_garbage(struct ca_context *ctx, struct job *job)
{
	const struct ca_graph *graph = job->graph;
	size_t nodes = graph->object_count + 1ull;

	job->found = ca_alloc(bytes_of_bits(graph));
	memcpy(job->found, job->facts->watched, (nodes / 64 + 1) * sizeof(*job->found));
	ca_parallel(ctx, nodes, GRAIN, subtract_range, job);
	job->held = ca_alloc(nodes * sizeof(*job->held));
	ca_parallel(ctx, nodes, GRAIN, find_held, job);
	ca_graph_spread(ctx, graph, CA_EDGE_GC, job->found, job->held, job->held_count);
}

/* Those with a tp_del, and all that they lead to. */
static uint64_t *find_kept(struct ca_context *ctx, const struct job *job)
{
	const struct ca_graph *graph = job->graph;
	const uint64_t *found = job->found;
	size_t bytes = bytes_of_bits(graph), count = 0, capacity = 0;
	uint64_t *kept = memcpy(ca_alloc(bytes), found, bytes);
	ca_node *legacy = NULL, end = graph->object_count + 1;

	for (ca_node node = ca_next_bit(found, 0, end); node < end; node = ca_next_bit(found, node + 1, end)) {
		if (!(job->facts->bits[node] & CA_GC_LEGACY))
			continue;
		kept[node / 64] &= ~(1ull << node % 64);
		legacy = ca_grow(legacy, &capacity, count + 1, sizeof(*legacy));
		legacy[count++] = node;
	}
	ca_graph_spread(ctx, graph, CA_EDGE_GC, kept, legacy, count);
	for (size_t i = 0; i < bytes / sizeof(*kept); i++)
		kept[i] ^= found[i];
	return kept;
}

static void sum_up(const struct job *job, struct ca_garbage *garbage)
{
	ca_node end = job->graph->object_count + 1;

	for (ca_node node = ca_next_bit(garbage->found, 0, end); node < end;
	     node = ca_next_bit(garbage->found, node + 1, end)) {
		uint8_t bits = job->facts->bits[node];

		garbage->objects++;
		garbage->overcounted += job->facts->references[node] < 0;
		garbage->kept_objects += ca_bit(garbage->kept, node);
		garbage->finalizers += (bits & CA_GC_FINALIZER) && !(bits & CA_GC_FINALIZED);
	}
}

void ca_garbage_build(struct ca_context *ctx, const struct ca_graph *graph,
		      struct ca_gc_facts *facts, struct ca_garbage *garbage)
{
	struct job job = {.graph = graph, .facts = facts};

	find_garbage(ctx, &job);
	*garbage = (struct ca_garbage){.found = job.found, .kept = find_kept(ctx, &job)};
	sum_up(&job, garbage);
}

void ca_garbage_fini(struct ca_garbage *garbage)
{
	free(garbage->found);
	free(garbage->kept);
	*garbage = (struct ca_garbage){0};
}
