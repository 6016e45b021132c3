/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * open, inside: what the workers of a pass find.
 *
 * The sweep walks the arenas in parallel and finds the objects in blocks. What
 * their references reach outside the arenas is claimed (one worker wins the
 * bit), queued, and traversed in rounds until nothing new turns up.
 */
#ifndef CA_OPEN_COLLECT_H
#define CA_OPEN_COLLECT_H

#include "molds.h"
#include "open.h"
#include "space.h"

/*
 * What was found in one arena, in address order: as many molds as the arena has
 * object bits. They are written into the nodes' array, where each arena has room
 * for all of its blocks, and move together when all is counted.
 */
struct ca_swept {
	size_t slot;    /* of the first, in the nodes' array */
	uint32_t count;
	uint32_t worker; /* whose molds they are */
	bool opaque;    /* some are of opaque types */
	size_t node;    /* where the first one goes */
};

/* An object outside the arenas. */
struct ca_outer {
	ca_addr address;
	uint32_t mold, worker; /* whose mold it is */
};

struct ca_collector {
	struct ca_objects *objects;
	struct ca_space *space;
	struct ca_swept *swept; /* [arena_count] */
	size_t room;            /* elements of the nodes' array */
	struct ca_worker *workers;
};

/* What one thread has while it collects. */
struct ca_worker {
	struct ca_visitor visitor; /* first: visitor callbacks get it back from this */
	struct ca_collector *collector;
	struct ca_reader reader;
	uint64_t counted, owned;   /* buffers of the object being traversed */
	ca_addr *queue;            /* claimed, not yet traversed */
	size_t queued, queue_capacity;
	struct ca_outer *outer;    /* traversed */
	size_t outer_count, outer_capacity;
	struct ca_trust trust;
	struct ca_molds molds;
	uint8_t apart[128];        /* the next one's begins on a cache line of its own */
};

void ca_worker_init(struct ca_worker *worker, struct ca_collector *collector);
void ca_worker_fini(struct ca_worker *worker);
/* Traverses an object whose shape is known; returns its mold. */
uint32_t ca_worker_mold(struct ca_worker *worker, const struct ca_object *object,
			const struct ca_shape *shape);
/* Claims addr if an object outside the arenas starts there and nobody has. */
void ca_worker_claim(struct ca_worker *worker, ca_addr addr);
/* Claims what the neighbours in the collector's list are, where outside the arenas. */
void ca_worker_follow_list(struct ca_worker *worker, const struct ca_object *object);

/* emit.c: makes the nodes' array, with room for each arena's blocks */
void ca_make_room(struct ca_collector *collector);
/* sweep.c: all arenas */
void ca_sweep(struct ca_collector *collector);
/* sweep.c: queues the objects in blocks of other allocators that nothing has led to */
void ca_claim_extents(struct ca_collector *collector);
/* sweep.c: what the blocks are of the allocator, if not obmalloc, that objects are from */
void ca_count_extents(struct ca_collector *collector);
/* roots.c: queues what no object of the arenas need reach */
void ca_claim_roots(struct ca_worker *worker);
/* roots.c: every word of modules' data, interpreters and threads, as guesses */
void ca_visit_statics(const struct ca_runtime *rt, struct ca_visitor *v);
/* roots.c: marks the blocks on free lists that the runtime records */
void ca_mark_freelists(struct ca_collector *collector);
/* emit.c: what was found becomes nodes */
struct ca_error *ca_emit_nodes(struct ca_collector *collector);
/* closure.c: rounds over the queues until they are empty */
void ca_close_over(struct ca_collector *collector);
/* sweep.c: has the block's object been found? */
bool ca_block_holds_found(const struct ca_region *region, const struct ca_block *block);
/* missing.c: last of all, that objects may be missing, and how much they can be */
void ca_warn_missing(const struct ca_objects *objects);
/* blocks.c: which of the blocks that no object is known to own does C's own data point at? */
void ca_explain_blocks(struct ca_collector *collector);

#endif
