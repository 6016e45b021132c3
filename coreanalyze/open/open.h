/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * open: every object of a process, found once.
 *
 * Four sources, because none has all: the blocks that obmalloc has handed out;
 * the collector's lists, followed where they leave the arenas; what references
 * reach outside the arenas (objects over 512 bytes, static types, singletons);
 * and then those of other allocators' blocks that only C knows. Then one row an object, in address order:
 *
 *   node     1     2     3   ...     0 is no object
 *   mold  [  .  |  .  |  .  |...     index into molds[]: its type, its sizes
 *
 * Most objects are of the same type and sizes as thousands of others: there are
 * few molds, since many sizes of a type take a sum of bytes that grows by their
 * square. Ask for a node's parts by ca_node_type() and the like.
 *
 * A bitmap has a bit for each place where an object may start, and a rank index
 * turns the bit into the node: "is this word an object, and which?" is a bit
 * test and a popcount.
 */
#ifndef CA_OPEN_H
#define CA_OPEN_H

#include "../heap/heap.h"
#include "../object/emulate.h"
#include "../object/object.h"

enum { CA_MOLD_TRACKED = 1 }; /* in a list of the collector */

/* What objects can have in common. */
struct ca_mold {
	uint32_t type;   /* into types */
	uint32_t flags;
	uint64_t bytes;  /* what sys.getsizeof gives */
	uint64_t owned;  /* what it leaves out */
	uint64_t count;  /* nodes of this mold */
};

/*
 * What became of the blocks that the allocator of Python's objects has handed
 * out, be it obmalloc, malloc or mimalloc: the parts add up to blocks.
 */
struct ca_trust {
	uint64_t blocks;      /* allocated, by the pools' own chains */
	uint64_t objects;     /* hold an object */
	uint64_t owned;       /* buffers of objects, and what C's own data point at */
	uint64_t freelist;    /* on CPython's own free lists: no objects */
	uint64_t unexplained;
	uint64_t counted;     /* sum of the pools' ref.count: equals obmalloc's blocks in a sound heap */
};

/* A type, with or without instances. */
struct ca_type_row {
	const struct ca_type *type;
	const char *name;    /* contract's name, escaped */
	bool bytes_exact;
};

struct ca_objects {
	struct ca_context *ctx;
	const struct ca_image *image;
	const struct ca_runtime *rt;
	struct ca_heap *heap;
	struct ca_types types_registry;
	struct ca_space *space;      /* bitmaps over the address space */
	uint32_t count;              /* nodes are 1 to count */
	uint32_t *mold;              /* [count + 1], into molds */
	struct ca_mold *molds;       /* by type, then by sizes */
	uint32_t mold_count;
	struct ca_type_row *types;   /* by address */
	uint32_t type_count;
	struct ca_trust trust;
	bool borrowed;               /* mold and molds are a snapshot's */
};

/* What of the objects a snapshot has (restore.c). The arrays are somebody else's, who outlives them. */
struct ca_objects_saved {
	struct {
		ca_addr start, end;
		uint32_t shift; /* log2 of the bytes for one bit */
	} *regions;             /* sorted, disjoint */
	size_t region_count;
	const uint64_t *bits;   /* of all regions, one after the other: an object starts here */
	uint64_t words;         /* in bits */
	uint32_t count;
	const uint32_t *mold;   /* as in struct ca_objects */
	const struct ca_mold *molds;
	uint32_t mold_count;
	struct {
		ca_addr address;
		const char *name;
		bool bytes_exact;
	} *types;
	uint32_t type_count;
	ca_addr lookdict;       /* of the registry of types */
	struct ca_trust trust;
	enum ca_allocator allocator;
	struct ca_arena_range *arenas; /* as in struct ca_heap */
	size_t arena_count;
	uint64_t arena_bytes, pool_bytes, raw_allocated_blocks;
};

/* regions and types are to be freed; arenas are the heap's. */
void ca_objects_save(const struct ca_objects *objects, struct ca_objects_saved *saved);
/* NULL: the parts do not go together, or a type is not there. Takes arenas over. */
struct ca_objects *ca_objects_restore(struct ca_context *ctx, const struct ca_runtime *rt,
				      const struct ca_objects_saved *saved);

/* Everything of a runtime, which must outlive it. */
struct ca_error *ca_objects_open(struct ca_context *ctx, const struct ca_runtime *rt,
				 struct ca_objects **out);
void ca_objects_close(struct ca_objects *objects);

/* The object that starts at addr, or 0. */
ca_node ca_objects_find(const struct ca_objects *objects, ca_addr addr);
ca_addr ca_objects_address(const struct ca_objects *objects, ca_node node);
/* ca_objects_find() of `count` words, `stride` bytes apart, without the bits of `tags`. */
void ca_objects_find_all(const struct ca_objects *objects, const uint8_t *words, uint64_t stride,
			 size_t count, uint64_t tags, ca_node *nodes);

/* The first object that starts at addr or after it, or 0. */
ca_node ca_objects_next(const struct ca_objects *objects, ca_addr addr);

/* ---- the collector's lists (lists.c) --------------------------------------- */

/* Where an object is. During a collection those under way are in none that we can find. */
enum ca_gc_place {
	CA_GC_NOWHERE,        /* not tracked, or see above */
	CA_GC_GENERATION,     /* + 0, 1, 2, as gc.get_objects() numbers them */
	CA_GC_FROZEN = CA_GC_GENERATION + CA_GC_GENERATIONS, /* the permanent generation */
	CA_GC_PLACES,
};
/*
 * enum ca_gc_place of each node: [count + 1], to be freed. each (or NULL) is
 * told of every object in a list and of the interpreter that it belongs to.
 */
uint8_t *ca_objects_places(struct ca_objects *objects,
			   void (*each)(void *arg, size_t interp, ca_node node, enum ca_gc_place place),
			   void *arg);
/* Those that gc.freeze() put aside, as bits by node; to be freed. */
uint64_t *ca_objects_frozen(struct ca_objects *objects);

/* What the collector goes by when it tells garbage, and what it does with it (counts.c). */
enum {
	CA_GC_FINALIZED = 1,   /* its finalizer has run already */
	CA_GC_FINALIZER = 2,   /* its type has a finalizer */
	CA_GC_LEGACY = 4,      /* its type has a tp_del */
};
struct ca_gc_facts {
	uint64_t *watched;   /* bit by node: a full collection looks at it: tracked, not frozen, not immortal */
	int32_t *references; /* [count + 1]: of the watched; INT32_MAX: so many or more */
	uint8_t *bits;       /* [count + 1]: of what the collector tracks and has a finalizer */
	uint8_t *finalizer;  /* [type_count]: enum ca_finalizer */
};
void ca_gc_facts_build(struct ca_objects *objects, struct ca_gc_facts *facts);
void ca_gc_facts_fini(struct ca_gc_facts *facts);

/* A weak reference: to an object (0: it is gone), with a callback (0: none). */
struct ca_weakref {
	ca_node node, to, callback;
};
/* All that point at something, by node; to be freed. */
struct ca_weakref *ca_objects_weakrefs(struct ca_objects *objects, size_t *count);

/*
 * The nodes of what an object refers to, in order of traversal, at most
 * `limit`; to be freed. None where it is no object.
 */
ca_node *ca_objects_referents(struct ca_objects *objects, ca_addr object, size_t limit,
			      size_t *count);

/* A walk over all nodes in order, with their addresses: one bit scan a step. */
struct ca_cursor {
	const struct ca_objects *objects;
	ca_node node; /* 0: at the end */
	ca_addr address;
	size_t region;
	uint64_t word, bits;
};
void ca_cursor_init(struct ca_cursor *cursor, const struct ca_objects *objects);
/* To begin elsewhere: node must be one of the objects'. */
void ca_cursor_seek(struct ca_cursor *cursor, const struct ca_objects *objects, ca_node node);
void ca_cursor_next(struct ca_cursor *cursor);

static inline const struct ca_mold *ca_node_mold(const struct ca_objects *objects, ca_node node)
{
	return &objects->molds[objects->mold[node]];
}

static inline uint32_t ca_node_type(const struct ca_objects *objects, ca_node node)
{
	return ca_node_mold(objects, node)->type;
}

static inline bool ca_node_tracked(const struct ca_objects *objects, ca_node node)
{
	return ca_node_mold(objects, node)->flags & CA_MOLD_TRACKED;
}

static inline uint64_t ca_node_bytes(const struct ca_objects *objects, ca_node node)
{
	return ca_node_mold(objects, node)->bytes;
}

static inline uint64_t ca_node_owned(const struct ca_objects *objects, ca_node node)
{
	return ca_node_mold(objects, node)->owned;
}

/* ---- types of no kind of ours (learn.c) ------------------------------------ */

/*
 * Runs the tp_traverse of each type that is not taught on its instances: on a sample, and where
 * that does not show the same words in all, on every one. From then on ca_object_traverse() tells
 * their references exactly. Once for a heap; not while another thread traverses. What could not
 * be learnt is a warning, and traversed by its words as before.
 */
void ca_objects_learn(struct ca_objects *objects);

/* ---- the oracle (deep.c) -------------------------------------------------- */

/* How our edges of a type's objects agree with its own tp_traverse, emulated. */
struct ca_deep_row {
	const struct ca_type_row *type;
	uint64_t objects;       /* that were compared */
	uint64_t equal;
	uint64_t not_emulated;
	enum ca_emulated why;   /* the last that was not */
	ca_addr different;      /* the first whose edges differ; 0 none */
	uint64_t missing, more; /* references: that only tp_traverse gives, that only we give */
};

struct ca_deep {
	struct ca_deep_row *rows; /* types that have a tp_traverse and instances, by address */
	size_t count;
	struct ca_deep_row sum;
};

/*
 * Runs every type's tp_traverse on at most `samples` of its objects (0: all), spread evenly,
 * and compares what it visits with ca_object_traverse(), with multiplicity.
 */
void ca_deep_build(struct ca_objects *objects, unsigned samples, struct ca_deep *deep);
void ca_deep_fini(struct ca_deep *deep);

#endif
