/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The facts of a graph: how many of what, and its roots. */
#include <stdlib.h>

#include "private.h"

void ca_facts_of_graph(struct ca_facts *facts, struct ca_graph *graph)
{
	size_t roots = graph->root_count;

	ca_fact_u32(facts, &graph->object_count);
	ca_fact_u64(facts, &graph->edge_count);
	ca_fact_u64(facts, &graph->audit.checked);
	ca_fact_u64(facts, &graph->audit.explained);
	ca_fact_u64(facts, &graph->audit.explained_without_static);
	graph->roots = ca_fact_array(facts, graph->roots, &roots, sizeof(*graph->roots), 3 * 8);
	facts->damaged |= roots > UINT32_MAX - 2 - graph->object_count;
	graph->root_count = (uint32_t)roots;
	graph->node_count = graph->object_count + graph->root_count + 1;
	for (size_t i = 0; i < roots; i++) {
		struct ca_root *root = &graph->roots[i];

		root->kind = ca_fact_enum(facts, root->kind, CA_ROOT_LEAKED + 1);
		ca_fact_shown(facts, &root->name);
		ca_fact_u64(facts, &root->address);
	}
}
