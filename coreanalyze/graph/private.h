/* SPDX-License-Identifier: GPL-3.0-or-later */
/* graph, inside: the steps of making one. */
#ifndef CA_GRAPH_PRIVATE_H
#define CA_GRAPH_PRIVATE_H

#include "graph.h"

/* reverse.c: reverse_first and from, out of first and to. ctx: NULL for one thread. */
void ca_graph_reverse(struct ca_context *ctx, struct ca_graph *graph);

#endif
