/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "settle.h"

enum { REACH = 64, STEP = 4, ABSENT = -1 }; /* bytes to either side of the table's offset */

static int32_t *field_in(struct ca_layout *layout, uint16_t field)
{
	return (int32_t *)((char *)layout + field - 1);
}

static unsigned count_fields(const struct ca_group *group)
{
	unsigned count = 0;

	while (count < CA_GROUP_FIELDS && group->fields[count])
		count++;
	return count;
}

static void note_found(struct ca_runtime *rt, uint16_t field, int32_t before)
{
	int32_t now = *field_in(&rt->layout, field);

	if (now == before)
		return;
	for (size_t i = 0; i < ca_layout_field_count; i++) {
		const struct ca_layout_field *f = &ca_layout_fields[i];

		if (f->offset + 1 != field)
			continue;
		rt->found = ca_grow(rt->found, &rt->found_capacity, rt->found_count + 1, sizeof(*rt->found));
		rt->found[rt->found_count++] =
			(struct ca_found_field){f->structure, f->field, before, now};
	}
}

/* The i-th place to look: 0, +STEP, -STEP, +2 STEP ... */
static int32_t place(unsigned i)
{
	int32_t away = (int32_t)((i + 1) / 2 * STEP);

	return i % 2 ? away : -away;
}

struct best {
	int64_t score;
	int32_t offsets[CA_GROUP_FIELDS];
};

static void take_if_better(struct ca_runtime *rt, const struct ca_group *group, struct best *best)
{
	int64_t score = group->score(rt);

	if (score <= best->score || (group->evidence && score == 0))
		return;
	best->score = score;
	for (unsigned i = 0; i < count_fields(group); i++)
		best->offsets[i] = *field_in(&rt->layout, group->fields[i]);
}

/* Moves fields[n] and, when `second` is one too, that: everywhere within reach. */
static void search(struct ca_runtime *rt, const struct ca_group *group, unsigned n, unsigned second,
		   struct best *best)
{
	int32_t *field = field_in(&rt->layout, group->fields[n]), table = *field;

	if (table == ABSENT)
		return;
	for (unsigned i = 0; i <= 2u * REACH / STEP; i++) {
		*field = table + place(i);
		if (!ca_has(*field) || *field % group->align)
			continue;
		if (second < count_fields(group))
			search(rt, group, second, CA_GROUP_FIELDS, best);
		else
			take_if_better(rt, group, best);
	}
	*field = table;
}

static void search_all(struct ca_runtime *rt, const struct ca_group *group, struct best *best)
{
	unsigned count = count_fields(group);

	for (unsigned n = 0; n < count; n++)
		search(rt, group, n, CA_GROUP_FIELDS, best);
	for (unsigned n = 0; group->two && best->score <= 0 && n < count; n++)
		for (unsigned second = n + 1; second < count; second++)
			search(rt, group, n, second, best);
}

static bool is_aligned(struct ca_runtime *rt, const struct ca_group *group)
{
	for (unsigned i = 0; i < count_fields(group); i++) {
		int32_t offset = *field_in(&rt->layout, group->fields[i]);

		if (offset != ABSENT && (!ca_has(offset) || offset % group->align))
			return false;
	}
	return true;
}

bool ca_settle_group(struct ca_runtime *rt, const struct ca_group *group)
{
	unsigned count = count_fields(group);
	struct best best = {.score = is_aligned(rt, group) ? group->score(rt) : -1};

	/* Of a release that the table was made from, what holds needs no better. */
	if (best.score > 0 && rt->proved)
		return true;
	for (unsigned i = 0; i < count; i++)
		best.offsets[i] = *field_in(&rt->layout, group->fields[i]);

	search_all(rt, group, &best);
	if (best.score < 0)
		return false;
	for (unsigned i = 0; i < count; i++) {
		int32_t *field = field_in(&rt->layout, group->fields[i]), before = *field;

		*field = best.offsets[i];
		note_found(rt, group->fields[i], before);
	}
	return true;
}

void ca_settle_without(struct ca_runtime *rt, const struct ca_group *group)
{
	for (unsigned i = 0; i < count_fields(group); i++)
		*field_in(&rt->layout, group->fields[i]) = ABSENT;
}

#define AT(field) offsetof(struct ca_layout, field) + 1

/* What the answer lacks, where all objects are found all the same. */
#define NO_MORE "counts and sizes are right; "
#define HELD_BY_C NO_MORE "what only it holds is shown as held by C"
#define WAITING                                                                       \
	"what waits there counts as unexplained blocks, or one object for each list as what waits"

const struct ca_group ca_group_interps = {
	"the list of interpreters", ca_score_interps,
	{AT(runtime.interpreters_head), AT(interp.next), AT(interp.runtime), AT(interp.sysdict)},
	8, true, true, false,
	NULL,
};

const struct ca_group ca_groups[] = {
	{"the dict of sys", ca_score_sysdict, {AT(interp.sysdict)}, 8, false, true, false,
	 HELD_BY_C},
	{"the numbers of interpreters", ca_score_ids, {AT(interp.id)}, 8, false, true, false,
	 NO_MORE "`info` may number interpreters wrongly"},
	{"sys.modules", ca_score_modules, {AT(interp.modules)}, 8, false, true, false,
	 NO_MORE "owners lack the names of modules' globals"},
	{"the dict of builtins", ca_score_builtins,
	 {AT(interp.builtins)}, 8, false, true, false,
	 HELD_BY_C},
	{"importlib", ca_score_importlib, {AT(interp.importlib)}, 8, false, true, false,
	 HELD_BY_C},
	{"the list of threads", ca_score_threads,
	 {AT(interp.threads_head), AT(thread.next), AT(thread.interp)}, 8, true, true, true,
	 "threads may be missing, with the objects that only their frames hold"},
	{"the threads' numbers", ca_score_thread_ids,
	 {AT(thread.thread_id)}, 8, false, true, false,
	 NO_MORE "`info` may number threads wrongly"},
	{"the threads' kernel numbers", ca_score_native_ids,
	 {AT(thread.native_thread_id)}, 8, false, true, false,
	 NO_MORE "`info` may number threads wrongly"},
	{"the frames of threads", ca_score_frames,
	 {AT(thread.frame), AT(thread.cframe), AT(thread.current_frame), AT(cframe.current_frame)},
	 8, false, true, true,
	 "objects that only frames hold may be missing, or shown as held by C"},
	{"the exceptions of threads", ca_score_exceptions,
	 {AT(thread.exc_info), AT(thread.exc_state)}, 8, false, true, false,
	 HELD_BY_C},
	{"the collector's lists", ca_score_collector,
	 {AT(gc.generations), AT(gc.permanent_generation), AT(gc.generation0), AT(gc_generation.size),
	  AT(interp.gc), AT(runtime.gc)},
	 4, true, true, true,
	 "objects over 512 bytes that only these lists reach may be missing; `gc` tells generations wrongly"},
	{"gc.garbage and gc.callbacks", ca_score_gc_lists,
	 {AT(gc.garbage), AT(gc.callbacks)}, 4, false, true, false,
	 NO_MORE "`gc` lacks them, and what only it holds is shown as held by C"},
	{"whether a collection was under way", ca_score_gc_collecting,
	 {AT(gc.collecting)}, 4, false, false, false,
	 NO_MORE "if one was, nothing says so"},
	{"the generations' thresholds and counts", ca_score_gc_generation,
	 {AT(gc_generation.threshold), AT(gc_generation.count)}, 4, false, false, false,
	 NO_MORE "`gc` may tell these wrongly"},
	{"the collector's figures", ca_score_gc_stats,
	 {AT(gc.generation_stats), AT(gc_generation_stats.size), AT(gc_generation_stats.collections),
	  AT(gc_generation_stats.collected), AT(gc_generation_stats.uncollectable), AT(gc_stats.young),
	  AT(gc_stats.young_index), AT(gc_stats.old), AT(gc_old_stats.size), AT(gc_old_stats.items),
	  AT(gc_old_stats.index)},
	 4, false, false, false,
	 NO_MORE "`gc` tells wrongly how often it ran"},
	{"obmalloc's state", ca_score_obmalloc, {AT(interp.obmalloc)}, 8, false, true, true,
	 "objects of up to 512 bytes that no reference reaches may be missing"},
	{"the states of static types", ca_score_static_types,
	 {AT(interp.types_builtins)}, 8, false, true, false,
	 HELD_BY_C},
	{"the states of extensions' static types", ca_score_extension_types,
	 {AT(interp.types_extensions)}, 8, false, true, false,
	 HELD_BY_C},
	{"the free lists", ca_score_freelists, {AT(interp.freelists)}, 8, false, true, false,
	 WAITING},
	{"the free list of floats", ca_score_floats,
	 {AT(interp.float_freelist)}, 8, false, false, false,
	 WAITING},
	{"the free list of dicts' tables", ca_score_keys,
	 {AT(interp.keys_freelist), AT(interp.keys_numfree)}, 4, false, false, false,
	 WAITING},
	{"whether the collector is on", ca_score_gc_flags, {0}, 4, false, false, false,
	 NO_MORE "`gc` may tell this wrongly"},
	{"the collector's counts", ca_score_gc_counts, {0}, 4, false, false, false,
	 NO_MORE "`gc` may tell these wrongly"},
	{0},
};

const struct ca_group ca_root_groups[] = {
	{"the table of interned strings", ca_score_interned,
	 {AT(interp.cached_interned)}, 8, false, true, false,
	 HELD_BY_C},
	{"the identifiers of C", ca_score_identifiers,
	 {AT(interp.unicode_ids), AT(interp.unicode_ids_size)}, 8, false, true, false,
	 HELD_BY_C},
	{"the callbacks of atexit", ca_score_atexit,
	 {AT(interp.atexit_callbacks)}, 8, false, true, false,
	 HELD_BY_C},
	{"the module atexit", ca_score_exitmodule,
	 {AT(interp.pyexitmodule)}, 8, false, true, false,
	 HELD_BY_C},
	{0},
};
