/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * graph: the objects of a process and the strong references between them, as
 * flat arrays that never change again.
 *
 *   nodes   0 | 1 ... object_count | object_count + 1 ... node_count - 1
 *           ^ the root above all   ^ named roots: node 0 refers to each
 *           `- objects, numbered as in struct ca_objects
 *
 *   first  [ 0 | 3 | 3 | 7 | ...            edges of node n: first[n] to first[n + 1]
 *   to     [ 5 | 9 | 9 | 2 | ...            in order of traversal, multiplicity kept
 *   flags  [ . | . | . | . | ...            enum ca_edge
 *
 * The reverse has the same shape, sources ascending; it is made when it is first
 * asked for. The same arrays come out for any number of threads. Memory: 8 bytes
 * a node and 5 an edge; the reverse 8 and 4 more.
 */
#ifndef CA_GRAPH_H
#define CA_GRAPH_H

#include "../open/open.h"

enum ca_edge {
	CA_EDGE_GC = 1,       /* tp_traverse visits it: one of gc.get_referents() */
	CA_EDGE_STRONG = 2,   /* a reference count stands for it */
	CA_EDGE_PROGRAM = 4,  /* to its own type, a function's globals and builtins, into a module or its dict */
	CA_EDGE_GUESS = 8,    /* of a type not taught: a word that is exactly an object's start */
};

enum ca_root_kind {
	CA_ROOT_INTERPRETER, /* a field of the interpreter's state: "modules", "builtins" */
	CA_ROOT_RUNTIME,     /* static types, singletons, small ints: immortal by construction */
	CA_ROOT_INTERNED,    /* the table of interned strings */
	CA_ROOT_THREAD,      /* a field of a thread's state: pending exception, context, async hooks */
	CA_ROOT_FRAME,       /* a frame that runs: locals, cells, evaluation stack */
	CA_ROOT_STATIC,      /* a word in a module's static data: fills an excess of references */
	CA_ROOT_C,           /* C code holds references that nothing else explains */
	CA_ROOT_UNREACHABLE, /* garbage that waits for the collector */
	CA_ROOT_LEAKED,      /* no referrer, and a count above zero */
};
/* The kind's word in documents: "interpreter", "frame". */
const char *ca_root_kind_name(enum ca_root_kind kind);

struct ca_root {
	enum ca_root_kind kind;
	const char *name; /* escaped: "modules", "f() at app.py:12, thread 4711"; in the context's arena */
	ca_addr address;  /* of the structure or word that it is; 0 none */
};

/*
 * An object whose reference count is another than the strong references found
 * to it. Found and missing ones add up: excess counts what no reference of an
 * object or a root accounts for (C code holds it, or has leaked it), deficit what
 * was found and is not counted.
 */
struct ca_mismatch {
	ca_node node;
	uint32_t statics; /* words of static data that filled a part of the excess */
	uint32_t excess, deficit; /* UINT32_MAX: so many or more */
	int32_t lwp; /* a thread on whose C stack a word leads to it; 0 none. Stale words lead to some, too */
};

/* Strong references found against ob_refcnt, over all objects that are not immortal. */
struct ca_audit {
	uint64_t checked, explained, explained_without_static;
	struct ca_mismatch *items; /* by node; statics alone: explained */
	size_t count;
};

enum { CA_SCANS = 2 };

struct ca_reverse {
	struct ca_context *ctx; /* whose workers make it; NULL: no others than the caller */
	uint64_t *first;        /* [node_count + 1]; NULL: not made yet */
	ca_node *from;          /* [edge_count] */
	ca_node *scanned[CA_SCANS]; /* the answers before it was worth making */
	unsigned scans;
};

struct ca_graph {
	const struct ca_objects *objects; /* NULL: made by hand */
	uint32_t object_count;
	uint32_t node_count;     /* object_count + root_count + 1 */
	struct ca_root *roots;   /* [root_count]: node object_count + 1 + i */
	uint32_t root_count;
	uint64_t edge_count;
	uint64_t *first;         /* [node_count + 1] */
	ca_node *to;             /* [edge_count] */
	uint8_t *flags;          /* [edge_count] */
	struct ca_reverse *reverse; /* see ca_graph_in() */
	struct ca_audit audit;   /* what the roots of kind static and C came from */
	struct ca_label_cache *labels;
	bool borrowed;           /* the arrays are a snapshot's */
};

/* Builds it from all objects, which must outlive it. */
struct ca_error *ca_graph_build(struct ca_context *ctx, struct ca_objects *objects,
				struct ca_graph **out);
/*
 * A graph of arrays that are a snapshot's, which must outlive it: they, the counts, roots and the audit are
 * still to be set. roots and audit.items are the graph's to free.
 */
struct ca_graph *ca_graph_restore(const struct ca_objects *objects);
/*
 * A graph by hand, without objects: `edges` pairs {from, to} of nodes below
 * node_count, in any order: each source keeps the order of its own. Node 0's edges
 * are to be given too. All flags are CA_EDGE_GC | CA_EDGE_STRONG unless given
 * (edge_flags, or NULL). For tests and tools.
 */
struct ca_graph *ca_graph_from_edges(uint32_t object_count, uint32_t root_count,
				     const ca_node (*edges)[2], const uint8_t *edge_flags,
				     uint64_t edge_count);
void ca_graph_free(struct ca_graph *graph);

struct ca_edges {
	const ca_node *nodes;
	const uint8_t *flags; /* NULL for incoming ones */
	uint64_t count;
};

static inline struct ca_edges ca_graph_out(const struct ca_graph *graph, ca_node node)
{
	uint64_t first = graph->first[node];

	return (struct ca_edges){graph->to + first, graph->flags + first,
				 graph->first[node + 1] - first};
}

void ca_graph_reverse(const struct ca_graph *graph);
/* The sources of edges to `node`, by going through all edges; the caller frees them. */
ca_node *ca_graph_scan(const struct ca_graph *graph, ca_node node, uint64_t *count);

/*
 * The first calls go through the whole graph, and the next one reverses it: not from several
 * threads. Sources ascend; valid as long as the graph.
 */
static inline struct ca_edges ca_graph_in(const struct ca_graph *graph, ca_node node)
{
	struct ca_reverse *reverse = graph->reverse;
	uint64_t count;

	if (!reverse->first && reverse->scans < CA_SCANS) {
		ca_node *found = ca_graph_scan(graph, node, &count);

		reverse->scanned[reverse->scans++] = found;
		return (struct ca_edges){found, NULL, count};
	}
	if (!reverse->first)
		ca_graph_reverse(graph);
	return (struct ca_edges){reverse->from + reverse->first[node], NULL,
				 reverse->first[node + 1] - reverse->first[node]};
}

static inline bool ca_bit(const uint64_t *bits, ca_node node)
{
	return bits[node / 64] >> (node % 64) & 1;
}
static inline void ca_set_bit(uint64_t *bits, ca_node node)
{
	bits[node / 64] |= 1ull << (node % 64);
}
/* The first from `node` on whose bit is set, below `end`; else `end`. */
static inline ca_node ca_next_bit(const uint64_t *bits, ca_node node, ca_node end)
{
	while (node < end) {
		uint64_t word = bits[node / 64] >> (node % 64);

		if (word) {
			node += (ca_node)__builtin_ctzll(word);
			return node < end ? node : end;
		}
		node = (node | 63) + 1;
	}
	return end;
}

static inline bool ca_node_is_root(const struct ca_graph *graph, ca_node node)
{
	return node > graph->object_count;
}

static inline const struct ca_root *ca_graph_root(const struct ca_graph *graph, ca_node node)
{
	return &graph->roots[node - graph->object_count - 1];
}

/* ---- strongly connected components (components.c) ----------------------- */

/*
 * Of the edges that have none of the bits in `without`, between the nodes whose
 * bit is set in `among` (NULL: all). number[node] is the component's, from 1, in
 * reverse topological order (an edge never leads to a higher one); 0 of a node that
 * is left out. No recursion. The caller frees `number`.
 */
struct ca_components {
	uint32_t *number; /* [node_count] */
	uint32_t count;
};
void ca_components_build(const struct ca_graph *graph, uint8_t without, const uint64_t *among,
			 struct ca_components *components);
void ca_components_fini(struct ca_components *components);

/* ---- what may be in a cycle (trim.c) ---------------------------------------- */

/*
 * Clears the bits of nodes that are in no cycle of such edges as above between
 * nodes whose bits are set: most of a heap is trees of data, which it peels off
 * from the leaves. What is left may be in one.
 */
void ca_graph_trim(struct ca_context *ctx, const struct ca_graph *graph, uint8_t without,
		   uint64_t *bits);

/* ---- what can be reached (spread.c) ----------------------------------------- */

/*
 * Clears the bits of all that edges with a flag of `with` lead to from `from`,
 * through nodes whose bits are set. `from` is freed.
 */
void ca_graph_spread(struct ca_context *ctx, const struct ca_graph *graph, uint8_t with,
		     uint64_t *bits, ca_node *from, size_t count);

/* ---- garbage (garbage.c) -------------------------------------------------- */

/*
 * What gc.collect() would find at this moment, as it does itself (Python/gc.c:
 * deduce_unreachable()): of each watched object's reference count those of watched
 * objects are subtracted; what has some left is alive, and all that it leads to.
 */
struct ca_garbage {
	uint64_t *found;       /* bit by node: a full collection finds it */
	uint64_t *kept;        /* of them: a tp_del keeps it (in gc.garbage, or what that leads to) */
	uint64_t objects;      /* found */
	uint64_t kept_objects;
	uint64_t finalizers;   /* of them: with a finalizer that has not run yet */
	uint64_t overcounted;  /* of them: more references were found than are counted, by damage or our error */
};
/* facts: of the graph's objects; their references become those from outside. The caller ends it. */
void ca_garbage_build(struct ca_context *ctx, const struct ca_graph *graph,
		      struct ca_gc_facts *facts, struct ca_garbage *garbage);
void ca_garbage_fini(struct ca_garbage *garbage);

/* ---- dominators (dominators.c) ------------------------------------------ */

/*
 * parent[n]: the node through which every path of strong edges from node 0 to n passes last. 0
 * for what hangs right under the root above all; UINT32_MAX where no path leads.
 * `order` lists the reached nodes, each after its parent. The caller frees them.
 */
struct ca_dominators {
	ca_node *parent;  /* [node_count] */
	ca_node *order;   /* [reached] */
	uint32_t reached;
};
void ca_dominators_build(struct ca_context *ctx, const struct ca_graph *graph,
			 struct ca_dominators *dominators);
void ca_dominators_fini(struct ca_dominators *dominators);

/* ---- the way from one node to another (label.c) -------------------------- */

/*
 * How `from` holds its edge number `index` (from the first of ca_graph_out()),
 * as Python would write it: "['key']", "[3]", ".attr", ".__closure__". Decoded anew
 * from the image at each call, at the cost of a traversal of `from`. Never NULL; in
 * the arena; escaped. Of node 0 and of roots but frames it is "".
 * redact: keys that are no attribute names become [str #length]. What a frame holds
 * begins with one of these words.
 */
#define CA_LABEL_LOCAL "local '"
#define CA_LABEL_STACK "evaluation stack of "
const char *ca_edge_label(const struct ca_graph *graph, struct ca_reader *reader, ca_node from,
			  uint64_t index, bool redact, struct ca_arena *arena);
/* Is the tuple one of a code object's that hold names? What is in such, and what a class refers to, are attribute names. */
bool ca_code_has_names(const struct ca_graph *graph, ca_node code, ca_addr tuple);
/*
 * Calls with the label of each edge to `only` (0: of all), in order, at the cost of one
 * traversal; as above, nothing for most roots. The callee may empty the arena.
 */
void ca_edge_each(const struct ca_graph *graph, struct ca_reader *reader, ca_node from, ca_node only,
		  bool redact, struct ca_arena *arena,
		  void (*call)(void *arg, uint64_t index, const char *label), void *arg);

#endif
