/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * graph, inside: the steps of making one.
 *
 * The objects' edges are traversed once, by ranges of nodes, into spans, which
 * are joined as they are done. With the edges of the roots that are certain,
 * references are counted; what is then missing of an object's reference count is
 * filled from words that may be references, and at last put down to C. The
 * roots' edges are few, and kept apart until the end.
 */
#ifndef CA_GRAPH_PRIVATE_H
#define CA_GRAPH_PRIVATE_H

#include <pthread.h>

#include "graph.h"

/* The edges of a range of nodes, in order. */
struct ca_span {
	ca_node *to;
	uint8_t *flags;
	size_t count, to_room, flags_room;
	bool done;
};
enum { CA_SPAN_NODES = 1 << 15 };

/* Roots as they are found; the edges of root i are to[first[i]] to to[first[i + 1]], the last one's to the end. */
struct ca_rooting {
	struct ca_root *items;
	uint64_t *first;
	size_t count, capacity, first_capacity;
	ca_node *to;
	size_t edge_count, edge_capacity;
};

struct ca_builder {
	struct ca_context *ctx;
	struct ca_objects *objects;
	struct ca_graph *graph;
	struct ca_reader *readers; /* [threads] */
	struct ca_span *spans;     /* [span_count]: those that wait for one before them */
	size_t span_count, joined;
	struct ca_span edges;      /* of all that are joined */
	pthread_mutex_t lock;      /* of these */
	uint64_t *program;         /* bit by node: a module or its dict */
	bool *is_function;         /* by type */
	ca_node *interned;         /* [interned_count]: dicts of interned strings, whose references are not counted */
	size_t interned_count;
	uint64_t edge_limit, edge_count;
	struct ca_rooting roots;
	uint32_t *found;           /* [object_count + 1]: strong references to each object */
};

/* A stack of unknown depth makes no edges: frames.c fills by it. */
static inline bool ca_refs_are_edges(const struct ca_refs *refs)
{
	return refs->held != CA_HELD_WEAK && refs->held != CA_HELD_UNSURE;
}

/* traverse.c: the objects' edges, flat, and graph->first */
struct ca_error *ca_graph_traverse(struct ca_builder *builder);
/* spans.c */
void ca_span_reserve(struct ca_span *span, size_t more);
/* Of all the nodes' edges, those of range number `index`; empties the span. From any thread. */
void ca_span_join(struct ca_builder *builder, size_t index, struct ca_span *span);
/* interned.c: needs no edges, and tells which are not counted */
void ca_graph_find_interned(struct ca_builder *builder);
/* roots.c: what certainly holds references */
void ca_graph_find_roots(struct ca_builder *builder);
void ca_root_begin(struct ca_builder *builder, enum ca_root_kind kind, const char *name,
		   ca_addr address);
/* ", thread 4711": the LWP, where it is known. In the context's arena. */
const char *ca_thread_suffix(struct ca_builder *builder, const struct ca_thread *thread);
/* An edge of the root begun last; node 0 is none. */
void ca_root_add(struct ca_builder *builder, ca_node node);
/*
 * fill.c: a root for each word that may be a reference and leads to an object
 * of which a reference is missing.
 */
void ca_graph_fill(struct ca_builder *builder);
/* signals.c: "signal handler SIGUSR1" where a word of static data is one, else NULL; in the context's arena */
const char *ca_signal_root(struct ca_builder *builder, ca_addr at);
/* frames.c: the frames of a thread, as roots; what of their words may be references */
void ca_graph_add_frames(struct ca_builder *builder, const struct ca_thread *thread);
void ca_graph_fill_frames(struct ca_builder *builder, const struct ca_thread *thread);
/* "f() at app.py:12", or NULL. */
const char *ca_frame_place(struct ca_reader *reader, ca_addr frame, struct ca_arena *arena);
/* audit.c: counts references, fills what is missing, gives the rest to C */
void ca_graph_audit(struct ca_builder *builder);
/* Is a reference to the node missing? Then it is no more; of_static: it is a word of static data. */
bool ca_graph_take_missing(struct ca_builder *builder, ca_node node, bool of_static);
/* Where a reference to the node is missing: the thread's C stack may have it. */
void ca_graph_note_stack(struct ca_builder *builder, ca_node node, int32_t lwp);
/* reach.c: roots for what no root leads to, at most so many */
enum { CA_REACH_ROOTS = 3 };
void ca_graph_reach(struct ca_builder *builder);
/* label.c: what is remembered between labels */
struct ca_label_cache *ca_label_cache_make(void);
void ca_label_cache_free(struct ca_label_cache *cache);

#endif
