/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CA_TESTS_SLOW_H
#define CA_TESTS_SLOW_H

#include "../../coreanalyze/session.h"

/* random.c: what is retained in a random graph, against a plain search of it. Prints the figures. */
int random_graph(uint32_t nodes, uint64_t edges);

#endif
