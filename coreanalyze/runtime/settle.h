/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * runtime, inside: a layout is a candidate until the image proves it.
 *
 * Fields that one invariant proves are a group. Where the invariant does not
 * hold at the table's offsets, one field of the group after the other (then two
 * at a time) is moved within bounds until it does.
 */
#ifndef CA_RUNTIME_SETTLE_H
#define CA_RUNTIME_SETTLE_H

#include "locate.h"

enum { CA_GROUP_FIELDS = 11 };

struct ca_group {
	const char *what; /* what could not be found, for people */
	/*
	 * How much the image bears the layout out: below 0 it contradicts, 0 it says
	 * nothing, above 0 the more the better.
	 */
	int64_t (*score)(const struct ca_runtime *rt);
	uint16_t fields[CA_GROUP_FIELDS]; /* offsets in struct ca_layout, plus 1; 0 ends them */
	uint8_t align;                    /* of the fields, bytes */
	bool two;                         /* two of them may have moved */
	bool evidence;                    /* nothing moves to where nothing is said */
	bool lost;                        /* without it objects may be missing */
	const char *effect;               /* what the answer lacks without it */
};

/* The fields of a group become absent. */
void ca_settle_without(struct ca_runtime *rt, const struct ca_group *group);
/* Finds the group's fields; false when the image contradicts every offset within bounds. */
bool ca_settle_group(struct ca_runtime *rt, const struct ca_group *group);

/*
 * 3.14.5 gave the collector gc.generation0 back, which 3.14.0 had not: it is where
 * memory has it, whatever the table says.
 */
void ca_settle_generation0(struct ca_runtime *rt);

/* The interpreters, their list, and the dict of sys: without them there is nothing. */
extern const struct ca_group ca_group_interps;
/* All else, in the order in which they stand on each other; .what NULL ends them. */
extern const struct ca_group ca_groups[];
/* What holds objects that are there all the same: without one the rest is as it is. */
extern const struct ca_group ca_root_groups[];

/* What the scores read with. */
ca_addr ca_word_at(const struct ca_image *image, ca_addr base, int32_t offset);
/* The addresses of the interpreters that the list has, at most max. */
enum { CA_SCORED_INTERPS = 64, CA_SCORED_THREADS = 4096 };
size_t ca_scored_interps(const struct ca_runtime *rt, ca_addr *out);
/* The threads of an interpreter, at most CA_SCORED_THREADS; false when the list contradicts itself. */
bool ca_scored_threads(const struct ca_runtime *rt, ca_addr interp, ca_addr *out, size_t *count);
/* Is it a type? Its own type's type is itself. */
bool ca_is_type(const struct ca_runtime *rt, ca_addr addr);
/* An object's type, if it is one, else 0. */
ca_addr ca_plausible_type(const struct ca_runtime *rt, ca_addr object);

/* score_interps.c */
int64_t ca_score_interps(const struct ca_runtime *rt);
int64_t ca_score_ids(const struct ca_runtime *rt);
int64_t ca_score_sysdict(const struct ca_runtime *rt);
int64_t ca_score_modules(const struct ca_runtime *rt);
int64_t ca_score_builtins(const struct ca_runtime *rt);
int64_t ca_score_importlib(const struct ca_runtime *rt);
/* score_roots.c */
int64_t ca_score_interned(const struct ca_runtime *rt);
int64_t ca_score_identifiers(const struct ca_runtime *rt);
int64_t ca_score_atexit(const struct ca_runtime *rt);
int64_t ca_score_exitmodule(const struct ca_runtime *rt);
/* score_threads.c */
int64_t ca_score_threads(const struct ca_runtime *rt);
int64_t ca_score_thread_ids(const struct ca_runtime *rt);
int64_t ca_score_native_ids(const struct ca_runtime *rt);
int64_t ca_score_frames(const struct ca_runtime *rt);
int64_t ca_score_exceptions(const struct ca_runtime *rt);
/* score_gc.c */
int64_t ca_score_collector(const struct ca_runtime *rt);
int64_t ca_score_gc_lists(const struct ca_runtime *rt);
int64_t ca_score_gc_collecting(const struct ca_runtime *rt);
int64_t ca_score_gc_flags(const struct ca_runtime *rt);
int64_t ca_score_gc_generation(const struct ca_runtime *rt);
int64_t ca_score_gc_stats(const struct ca_runtime *rt);
int64_t ca_score_gc_counts(const struct ca_runtime *rt);
/* score_heap.c */
int64_t ca_score_obmalloc(const struct ca_runtime *rt);
int64_t ca_score_static_types(const struct ca_runtime *rt);
int64_t ca_score_extension_types(const struct ca_runtime *rt);
int64_t ca_score_freelists(const struct ca_runtime *rt);
int64_t ca_score_floats(const struct ca_runtime *rt);
int64_t ca_score_keys(const struct ca_runtime *rt);

#endif
