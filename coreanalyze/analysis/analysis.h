/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * analysis: pure functions from a const heap to a plain result. Nothing here
 * prints, and but for names nothing reads target memory. Results are the caller's to free with the
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
	uint64_t *fresh;          /* bit by node of the later one; NULL: two processes */
};

/* Two moments of one process. */
bool ca_same_process(const struct ca_objects *a, const struct ca_objects *b);
struct ca_heap_size ca_heap_size(const struct ca_objects *objects, const struct ca_type_totals *totals);
/* among: bit by node of `after`, what may count as fresh; NULL: everything. */
void ca_diff_build(const struct ca_objects *before, const struct ca_objects *after,
		   const uint64_t *among, struct ca_diff *diff);
/* Bit by node of `second`: the same type is at the same address in `first`. To be freed. */
uint64_t *ca_diff_common(const struct ca_objects *first, const struct ca_objects *second);
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
	uint64_t unlisted;          /* tracked, but in no list: a collection has them, or an interpreter left them */
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
/* ---- ways.c: the shortest way to every object ------------------------------ */

/*
 * A tree over strong references from node 0, in which a node's parent is the one
 * that a person would name: modules before frames, frames before C's data, types
 * last. Searches that avoid nodes reach these, but nothing through them.
 */
struct ca_ways {
	ca_node *parent;   /* [node_count]: UINT32_MAX where no way leads; 0's is 0 */
	uint32_t *edge;    /* [node_count]: which of the parent's edges */
	ca_node *order;    /* [reached]: each after its parent; node 0 first */
	uint32_t reached;
	uint64_t *spaces;  /* bit by node: node 0, sys.modules, modules and their dicts */
};
/* avoid: bit by node, or NULL. */
void ca_ways_build(const struct ca_graph *graph, const uint64_t *avoid, struct ca_ways *ways);
/* Until there is one to each of the `count` nodes whose bits are set: to others there may be none yet. */
void ca_ways_build_to(const struct ca_graph *graph, const uint64_t *wanted, size_t count,
		      struct ca_ways *ways);
void ca_ways_fini(struct ca_ways *ways);
/* In a chain (A.next -> A.next -> A) the link before this one, which another one is before; else 0. */
ca_node ca_ways_link(const struct ca_graph *graph, const struct ca_ways *ways, ca_node node);

static inline bool ca_ways_is_space(const struct ca_ways *ways, ca_node node)
{
	return ways->spaces[node / 64] >> node % 64 & 1;
}

/* False in graphs by hand. */
static inline const struct ca_type *ca_graph_type(const struct ca_graph *graph, ca_node node)
{
	if (!graph->objects || !node || ca_node_is_root(graph, node))
		return NULL;
	return graph->objects->types[ca_node_type(graph->objects, node)].type;
}

static inline bool ca_node_is_class(const struct ca_graph *graph, ca_node node)
{
	const struct ca_type *type = ca_graph_type(graph, node);

	return type && type->is_meta;
}

/* ---- names.c: what an object is called by way of who holds it --------------- */

struct ca_naming {
	const struct ca_graph *graph;
	const struct ca_ways *ways;
	struct ca_reader *reader;
	bool redact;            /* keys that are no names are left out */
	struct ca_arena *arena; /* where names go */
};
/*
 * "app.registry.SESSIONS['active']", "x in f() at app.py:12, thread 4711": how a
 * person finds it. Begins at the nearest module, class, function or root of its
 * way. Never NULL; escaped.
 */
const char *ca_way_name(const struct ca_naming *naming, ca_node node);
/* How its parent on the way holds it: "['active']"; "" under the root above all. */
const char *ca_way_label(const struct ca_naming *naming, ca_node node);
/* It is the __dict__ of its parent: what is in there are attributes of that. */
bool ca_way_is_namespace(const struct ca_naming *naming, ca_node node);

/* ---- paths.c: the ways to a set of objects, folded --------------------------- */

/* One node of the tree of ways, or many alike below one group. */
struct ca_path_group {
	uint32_t parent;  /* a lower number; group 0 is node 0 */
	ca_node node;     /* the first of them: a target where there are any */
	uint32_t nodes;
	uint32_t targets; /* of the set itself */
	const char *via;  /* how its parent holds it: "['active']", "[*]" of many; in the naming's arena */
	bool many;        /* it may have more than one node */
};
struct ca_paths {
	struct ca_path_group *groups;
	size_t count, capacity;
	uint64_t unheld; /* targets that no way leads to */
};
void ca_paths_build(const struct ca_naming *naming, const ca_node *targets, size_t count,
		    struct ca_paths *paths);
void ca_paths_fini(struct ca_paths *paths);

/* ---- detours.c: other ways than the shortest --------------------------------- */

/* From the root to `referrer` by its own way, to `node` by an edge, and on to the target by the target's. */
struct ca_detour {
	ca_node node, referrer;
	uint32_t length;
};
struct ca_detours {
	struct ca_detour *items; /* shortest first */
	size_t count, capacity;
};
void ca_detours_find(const struct ca_graph *graph, const struct ca_ways *ways, ca_node target,
		     struct ca_detours *detours);
void ca_detours_fini(struct ca_detours *detours);

/* ---- holders.c: who an object is put down to -------------------------------- */

/*
 * named[n]: the last node of n's way whose name is stable: it leads through
 * attributes and through containers of a few things only, so that a container of
 * many is the end of it. holder[n]: the last such node whose subtree of ways has
 * `least` bytes; a module where none has; 0 or a root where no module is on the way.
 */
enum { CA_LEAST_OWNER = 16 << 10 };
struct ca_holders {
	ca_node *named, *holder; /* [node_count] */
};
/* also: bit by node, holders though they have less; or NULL. */
void ca_holders_build(const struct ca_naming *naming, uint64_t least, const uint64_t *also,
		      struct ca_holders *holders);
void ca_holders_fini(struct ca_holders *holders);

/* ---- retained.c: what would go with an object -------------------------------- */

struct ca_retained {
	struct ca_dominators tree;
	uint64_t *bytes;   /* [node_count]: bytes and owned of all that the node dominates, itself included */
	uint32_t *objects; /* [node_count] */
};
void ca_retained_build(struct ca_context *ctx, const struct ca_graph *graph,
		       struct ca_retained *retained);
/* And ca_ways_build(), at the same time. */
void ca_retained_build_with_ways(struct ca_context *ctx, const struct ca_graph *graph,
				 struct ca_retained *retained, struct ca_ways *ways);
void ca_retained_fini(struct ca_retained *retained);
/* An object that is inside no other one; modules and their dicts are no objects in this. */
bool ca_retained_is_top(const struct ca_graph *graph, const struct ca_retained *retained,
			const struct ca_ways *ways, ca_node node);

/* A type or an owner. What an object of a group retains inside another of the same counts once. */
struct ca_retained_row {
	const char *name;
	uint64_t count, bytes, owned, retained_bytes, retained_objects;
};
/* A row for each of totals->rows; the caller frees them. */
struct ca_retained_row *ca_retained_by_type(const struct ca_graph *graph,
					    const struct ca_retained *retained,
					    const struct ca_type_totals *totals);

/* ---- biggest.c: the objects that retain most ---------------------------------- */

struct ca_biggest {
	ca_node *nodes; /* the most retained bytes first */
	size_t count;
	uint64_t all;   /* objects that these are chosen from */
};
/*
 * At most `most` objects: right below `under` in the dominators' tree (0: anywhere);
 * ways: those alone that are inside no other one, or NULL.
 */
void ca_biggest_build(const struct ca_graph *graph, const struct ca_retained *retained,
		      const struct ca_ways *ways, ca_node under, size_t most,
		      struct ca_biggest *biggest);
void ca_biggest_fini(struct ca_biggest *biggest);

/* ---- owned.c: all objects by who they are put down to ------------------------ */

struct ca_owner_row {
	ca_node holder;
	struct ca_retained_row sums; /* names in the naming's arena */
};
struct ca_owners {
	struct ca_owner_row *rows; /* in order of their first object's address */
	size_t count, capacity;
};
/* retained: or NULL. Every object is in one row: the sums are the heap's. */
void ca_owners_build(const struct ca_naming *naming, const struct ca_holders *holders,
		     const struct ca_retained *retained, struct ca_owners *owners);
void ca_owners_fini(struct ca_owners *owners);

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
 * facts: of the graph's objects, as for ca_garbage_build(). all_edges: with those of
 * the program's structure. filter: NULL for all.
 */
void ca_cycles_build(struct ca_context *ctx, const struct ca_graph *graph,
		     struct ca_gc_facts *facts, bool all_edges,
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

/* ---- registered.c: what weakref.finalize() is to call -------------------------- */

struct ca_registration {
	ca_node info;             /* the registry's object for it, which holds function and arguments */
	ca_node function, object; /* 0: not read; object: what it waits for */
	uint64_t bytes, objects;  /* what the registration retains */
	bool keeps_object;        /* its object among them: it never goes by itself */
};
/* All, by info; to be freed. refs: ca_objects_weakrefs()'s. */
struct ca_registration *ca_registrations_find(const struct ca_graph *graph, struct ca_reader *reader,
					      const struct ca_weakref *refs, size_t ref_count,
					      size_t *count);
/* Fills in what they retain. */
void ca_registrations_weigh(const struct ca_graph *graph, const struct ca_retained *retained,
			    struct ca_registration *items, size_t count);

/* ---- growth.c: what grew between two cores, by owner --------------------------- */

struct ca_growth_row {
	const char *owner;       /* in the naming's arena of either side */
	ca_node before, after;   /* the holder; 0: none on that side, or no object */
	uint64_t count_before, count_after, bytes_before, bytes_after, owned_before, owned_after;
	uint64_t fresh;          /* of the objects after, those that were asked about */
};
struct ca_growth {
	struct ca_growth_row *rows; /* by owner */
	size_t count;
};
/*
 * Holders are matched by name; of the same process, what is a holder in one core
 * is one in the other. fresh: bit by node of the later one: those to be counted
 * apart, or NULL. Every object is in one row: the sums are the heaps'.
 */
void ca_growth_build(const struct ca_naming *before, const struct ca_naming *after,
		     bool same_process, const uint64_t *fresh, struct ca_growth *growth);
void ca_growth_fini(struct ca_growth *growth);

/* What owners' names are told apart by: the same frame at another line is the same owner. */
const char *ca_owner_key(const char *name, struct ca_arena *arena);

/* ---- series.c: how types and owners grew over several cores of one process ------ */

/* One type or owner; zeros where it was not there. */
struct ca_series_row {
	const char *name;
	uint64_t *counts;  /* [moments] objects, */
	uint64_t *bytes;   /* [moments] and their bytes, owned ones too */
	int64_t grown;     /* bytes, from the first moment to the last */
	uint64_t rose;     /* from one moment to the next: so many times it had more bytes */
};
struct ca_series_table {
	struct ca_series_row *rows; /* what grew most first */
	size_t count;
};
struct ca_series {
	size_t moments;
	struct ca_arena arena;
	struct ca_map holders[2]; /* address -> type's name: whom objects are put down to */
	struct ca_series_parts {
		struct ca_series_part *items;
		size_t count, capacity;
	} types, owners, inside;
};
/*
 * In this order: the holders of the first and of the last core, which are whom
 * objects are put down to at each moment, so that figures are of the same thing
 * throughout; then each core once, in any order. Every object is in one row of both
 * tables.
 */
void ca_series_init(struct ca_series *series, size_t moments);
void ca_series_find_holders(struct ca_series *series, const struct ca_naming *naming, bool last);
void ca_series_add(struct ca_series *series, size_t moment, const struct ca_naming *naming);
/* Of one owner, the types of what is put down to it: of the first core and the last. */
void ca_series_look_inside(struct ca_series *series, size_t moment, const struct ca_naming *naming,
			   const char *owner);
/* A table of types, owners or inside. What is in its rows is the series', the rows are to be freed. */
void ca_series_table(struct ca_series *series, const struct ca_series_parts *parts,
		     struct ca_series_table *table);
void ca_series_fini(struct ca_series *series);

/* ---- suspects.c: where a leak most likely is ---------------------------------- */

enum { CA_MOST_SUSPECTS = 5 };
struct ca_suspect {
	ca_node place;        /* an object, or the root of what nobody holds */
	uint64_t retained_bytes;
	double share;         /* of the heap */
	const char *owner;    /* the place's name, in the naming's arena */
	const char *type;     /* of what accumulates there: so many of them, which retain so much */
	uint64_t count, bytes;
	bool spread;          /* they are not side by side, but all through what hangs there */
};
/* The most retained bytes first; none where nothing stands out. */
size_t ca_suspects_find(const struct ca_naming *naming, const struct ca_retained *retained,
			struct ca_suspect suspects[CA_MOST_SUSPECTS]);

#endif
