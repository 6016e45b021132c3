/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the command owners: what was asked (owners.c), how it is shown (ownership.c). */
#ifndef CA_COMMAND_OWNERS_H
#define CA_COMMAND_OWNERS_H

#include "command.h"

struct ca_owners_options {
	const char *type;
	struct ca_where where;
	uint64_t paths; /* to each address; 0: the shortest */
	const char *avoid[16];
	size_t avoid_count;
	bool dot;
};

struct ca_owners_view {
	const struct ca_request *request;
	const struct ca_owners_options *own;
	struct ca_session *session;
	struct ca_objects *objects;
	const struct ca_graph *graph;
	struct ca_ways ways;
	struct ca_naming naming;
	struct ca_retained retained; /* where a condition needs it */
	struct ca_arena arena;
	uint64_t *avoid;             /* bit by node, or NULL */
	ca_node *targets;
	size_t target_count, target_capacity;
};

/* Writes the document. */
struct ca_error *ca_owners_show(struct ca_owners_view *v);

#endif
