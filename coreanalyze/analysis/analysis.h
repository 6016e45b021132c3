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

#endif
