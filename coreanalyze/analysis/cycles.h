/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to analysis: the parts of the analysis of cycles. */
#ifndef CA_ANALYSIS_CYCLES_H
#define CA_ANALYSIS_CYCLES_H

#include "analysis.h"

/* shapes.c: groups the cycles, and gives each its shape. */
void ca_cycle_shapes(struct ca_context *ctx, const struct ca_graph *graph, struct ca_cycles *cycles);

/* An edge of a cycle: within its component, and not left out. */
static inline bool ca_cycle_edge(const struct ca_cycles *cycles, ca_node from, ca_node to,
				 uint8_t flags)
{
	return !(flags & cycles->without) && cycles->components.number[from] &&
	       cycles->components.number[from] == cycles->components.number[to];
}

#endif
