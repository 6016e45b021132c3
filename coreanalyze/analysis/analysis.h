/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * analysis: pure functions from a const heap to a plain result. Nothing here
 * reads target memory or prints. Results are the caller's to free with the
 * function beside them.
 */
#ifndef CA_ANALYSIS_H
#define CA_ANALYSIS_H

#include "../graph/graph.h"

/* ---- types.c: objects by type ------------------------------------------ */

/* All types that share a name are one row. */
struct ca_type_total {
	const char *name;
	uint64_t count, bytes, owned, gc_tracked;
	uint32_t type_objects;
	bool bytes_exact;
};

struct ca_type_totals {
	struct ca_type_total *rows; /* by name */
	size_t count;
	struct ca_type_total sum;   /* name NULL */
	uint32_t *row_of_type;      /* [objects->type_count] */
};

void ca_type_totals_build(const struct ca_objects *objects, struct ca_type_totals *totals);
void ca_type_totals_fini(struct ca_type_totals *totals);

/* ---- diff.c: what grew between two cores -------------------------------- */

struct ca_diff_row {
	const char *name;
	struct ca_type_total before, after; /* counts zero where the type was not there */
	uint64_t fresh, freed;              /* by address and type; of the same process only */
};

struct ca_heap_size {
	uint64_t objects, bytes, owned, arena_bytes, mapped_bytes;
};

struct ca_diff {
	bool same_process; /* same pid, same modules at the same addresses, same hash secret */
	struct ca_heap_size before, after;
	struct ca_diff_row *rows; /* by name */
	size_t count;
};

void ca_diff_build(const struct ca_objects *before, const struct ca_objects *after,
		   struct ca_diff *diff);
void ca_diff_fini(struct ca_diff *diff);

/* ---- collector.c: what the collector watches ------------------------------ */

struct ca_gc_sum {
	uint64_t objects, bytes, owned;
};
/* One interpreter's. */
struct ca_gc_sums {
	struct ca_gc_sum generations[CA_GC_GENERATIONS], frozen;
};
struct ca_gc_report {
	struct ca_gc_sums *interps; /* [rt->interp_count]; 3.8: the first has all */
	uint64_t unlisted;          /* tracked, but in no list: the collection under way has them */
	uint8_t *places;            /* enum ca_gc_place, [objects->count + 1] */
};
void ca_gc_report_build(struct ca_objects *objects, struct ca_gc_report *report);
void ca_gc_report_fini(struct ca_gc_report *report);

/* ---- verify.c: reference counts that do not fit, by type ---------------- */

struct ca_mismatch_row {
	const char *name;
	uint64_t objects, references;
};

struct ca_verify {
	struct ca_mismatch_row *excess, *deficit; /* most references first */
	size_t excess_count, deficit_count;
};

void ca_verify_build(const struct ca_graph *graph, struct ca_verify *verify);
void ca_verify_fini(struct ca_verify *verify);

/* ---- cycles.c, shapes.c: reference cycles ---------------------------------- */

/*
 * A strongly connected component of more than one object, or of one that refers
 * to itself. Types are rows of ca_type_totals; in a graph by hand all are 0.
 */
struct ca_cycle {
	uint64_t first;      /* its members: cycles->members[first] on, ascending */
	uint32_t objects;
	uint32_t finalizers; /* members whose type has one */
	uint32_t pending;    /* of them: it has not run yet */
	uint32_t shape;
	uint64_t bytes, owned;
	bool unreachable;    /* the collector would find it */
	bool kept;           /* and keep it for a tp_del */
};

/* Cycles with the same types that refer to each other in the same way, however many of each. */
struct ca_cycle_shape {
	uint32_t example;    /* the smallest such cycle */
	uint64_t count, objects, bytes, owned, finalizers, unreachable;
};

struct ca_cycles {
	struct ca_cycle *items; /* biggest first; those that the filter lets through */
	size_t count, all;      /* all: before it */
	ca_node *members;
	struct ca_cycle_shape *shapes; /* biggest first */
	size_t shape_count;
	uint64_t objects, bytes, owned, with_finalizers; /* of all */
	uint64_t program_objects, program_bytes; /* in a component by CA_EDGE_PROGRAM alone */
	struct ca_components components;         /* of the edges without CA_EDGE_PROGRAM, or of all */
	struct ca_garbage garbage;
	uint8_t without;                         /* flags of the edges that were left out */
};

struct ca_cycle_filter {
	const char *type;   /* with a member of a type of this name; NULL: any */
	uint64_t min_bytes; /* bytes and owned together */
	bool finalizers;    /* with a member that has one */
	bool unreachable;
};

/*
 * facts: of the graph's objects. all_edges: with those of the program's structure.
 * filter: NULL for all.
 */
void ca_cycles_build(struct ca_context *ctx, const struct ca_graph *graph,
		     const struct ca_gc_facts *facts, bool all_edges,
		     const struct ca_cycle_filter *filter, struct ca_cycles *cycles);
void ca_cycles_fini(struct ca_cycles *cycles);

/* What the collector goes by, and what became of it. */
struct ca_cycle_facts {
	struct ca_gc_facts gc;
	struct ca_cycles cycles;
};
void ca_cycle_facts_fini(struct ca_cycle_facts *facts);

/* ---- loop.c: one way around a cycle ------------------------------------------ */

struct ca_loop_step {
	ca_node node;
	uint64_t edge; /* number among its edges: leads to the next step, the last one's to the first */
};
/*
 * The shortest way around from the cycle's most telling member: one of a class
 * where there is one. Returns the number of steps, at least 1; to be freed.
 */
size_t ca_cycle_loop(const struct ca_graph *graph, const struct ca_cycles *cycles,
		     const struct ca_cycle *cycle, struct ca_loop_step **steps);

/* ---- weak.c: garbage that weak references still give ---------------------------- */

struct ca_weak_row {
	const char *name;    /* the type of what is pointed at */
	ca_node node;        /* the first one */
	uint64_t objects, references, callbacks;
};
struct ca_weak {
	struct ca_weak_row *rows; /* most objects first */
	size_t count;
	uint64_t callbacks;       /* that a full collection would make */
};
/* refs: ca_objects_weakrefs()'s. Of those that are alive, while what they point at is garbage. */
void ca_weak_build(const struct ca_objects *objects, const struct ca_weakref *refs, size_t count,
		   const struct ca_garbage *garbage, struct ca_weak *weak);
void ca_weak_fini(struct ca_weak *weak);

#endif
