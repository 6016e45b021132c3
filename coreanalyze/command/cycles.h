/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to the command cycles: what was asked and the list of cycles (cycles.c), the
 * way around one (loops.c), members with finalizers (finalizers.c), what waits for the
 * collector (waiting.c).
 */
#ifndef CA_COMMAND_CYCLES_H
#define CA_COMMAND_CYCLES_H

#include "command.h"

struct ca_cycles_options {
	struct ca_cycle_filter filter;
	bool all_edges;
};

struct ca_cycles_view {
	struct ca_writer *w;
	const struct ca_request *request;
	const struct ca_cycles_options *own;
	struct ca_session *session;
	struct ca_objects *objects;
	const struct ca_graph *graph;
	struct ca_cycle_facts found;
	struct ca_ways ways;              /* JSON: to the cycles that are shown */
	struct ca_reader *reader;
	struct ca_arena scratch;          /* of one row */
	struct ca_finalizing *finalizing; /* [type_count], found at first use */
	struct ca_arena names;            /* of finalizing */
};

static inline const char *ca_view_type(const struct ca_cycles_view *view, ca_node node)
{
	return view->objects->types[ca_node_type(view->objects, node)].name;
}

/*
 * "Parent.children[0].parent": from the first member back to it, as Python would write
 * it; in the scratch arena. Its steps are to be freed.
 */
const char *ca_loop_path(struct ca_cycles_view *view, const struct ca_cycle *cycle,
			 struct ca_loop_step **steps, size_t *count);
/* "path" and "edges" of a cycle. */
void ca_put_loop(struct ca_cycles_view *view, const struct ca_cycle *cycle);

/* Of one cycle. */
void ca_put_cycle_finalizers(struct ca_cycles_view *view, const struct ca_cycle *cycle);
/* Text: of all cycles in one table. */
void ca_list_finalizers(struct ca_cycles_view *view);

/* registrations.c: what weakref.finalize() is to call, and what that retains. */
void ca_put_registrations(struct ca_cycles_view *view);

/* Those of leaked references among the totals, and a line on what waits. */
void ca_say_waiting(const struct ca_cycles_view *view, uint64_t leaked);
/* What waits, by type; what weak references still give of it; what has leaked. */
void ca_put_waiting(struct ca_cycles_view *view);
/* Objects that nothing refers to, and yet are counted. */
uint64_t ca_leaked_count(const struct ca_graph *graph);

#endif
