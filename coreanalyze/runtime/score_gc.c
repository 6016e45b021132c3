/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What proves struct _gc_runtime_state. */
#include "settle.h"

enum { ABSENT = -1 };

/* Walks over the collector's state of each interpreter; 3.8 has one, in the runtime. */
static size_t collectors(const struct ca_runtime *rt, ca_addr *out)
{
	const struct ca_layout *layout = &rt->layout;
	size_t count;

	if (!ca_has(layout->interp.gc)) {
		out[0] = rt->address + (uint64_t)layout->runtime.gc;
		return 1;
	}
	count = ca_scored_interps(rt, out);
	for (size_t i = 0; i < count; i++)
		out[i] += (uint64_t)layout->interp.gc;
	return count;
}

/*
 * A list's head: its next one points back, its previous one forth. Not so in the
 * middle of a collection, when these words are in other use.
 */
static bool is_head(const struct ca_image *image, ca_addr head, bool collecting)
{
	ca_addr next = ca_word_at(image, head, 0) & ~3ull, prev = ca_word_at(image, head, 8) & ~3ull;

	if (!next || !prev || head & 3)
		return false;
	if (collecting)
		return ca_image_at(image, next, 16) && ca_image_at(image, prev, 16);
	return (ca_word_at(image, next, 8) & ~3ull) == (head & ~3ull) &&
	       (ca_word_at(image, prev, 0) & ~3ull) == (head & ~3ull);
}

/* Of a generation, before its threshold and its count. */
enum { HEAD_BYTES = 16 };

static bool overlap(const struct ca_layout *layout)
{
	int32_t first = layout->gc.generations, frozen = layout->gc.permanent_generation;
	int32_t each = layout->gc_generation.size;

	return each < HEAD_BYTES ||
	       (frozen + each > first && frozen < first + (CA_GENERATIONS - 1) * each);
}

static bool lists_hold(const struct ca_runtime *rt, ca_addr gc)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr first = gc + (uint64_t)layout->gc.generations;
	uint32_t collecting = 0;

	ca_image_u32(rt->image, gc + (uint64_t)layout->gc.collecting, &collecting);
	if (ca_has(layout->gc.generation0) &&
	    ca_word_at(rt->image, gc, layout->gc.generation0) != first)
		return false;
	for (unsigned g = 0; g + 1 < CA_GENERATIONS; g++)
		if (!is_head(rt->image, first + g * (uint64_t)layout->gc_generation.size, collecting == 1))
			return false;
	return is_head(rt->image, gc + (uint64_t)layout->gc.permanent_generation, collecting == 1);
}

int64_t ca_score_collector(const struct ca_runtime *rt)
{
	ca_addr gcs[CA_SCORED_INTERPS];
	size_t count = collectors(rt, gcs);

	if (!count || overlap(&rt->layout))
		return -1;
	for (size_t i = 0; i < count; i++)
		if (!lists_hold(rt, gcs[i]))
			return -1;
	return 1;
}

/* The word behind the collector's lists that points at the first of them, or ABSENT. */
static int32_t find_generation0(const struct ca_runtime *rt, ca_addr gc)
{
	enum { MOST_BYTES = 320 };
	const struct ca_layout *layout = &rt->layout;
	int32_t at = layout->gc.permanent_generation + layout->gc_generation.size;

	for (at = (at + 7) & ~7; at < MOST_BYTES; at += 8)
		if (ca_word_at(rt->image, gc, at) == gc + (uint64_t)layout->gc.generations)
			return at;
	return ABSENT;
}

static void set_generation0(struct ca_runtime *rt, int32_t at)
{
	struct ca_layout *layout = &rt->layout;

	layout->gc.generation0 = at;
	layout->gc.long_lived_total = ca_has(at) ? at - 16 : ABSENT;
	layout->gc.long_lived_pending = ca_has(at) ? at - 8 : ABSENT;
}

void ca_settle_generation0(struct ca_runtime *rt)
{
	struct ca_layout *layout = &rt->layout;
	struct ca_layout table = *layout;
	ca_addr gcs[CA_SCORED_INTERPS];
	bool holds = ca_score_collector(rt) > 0;
	int32_t found;

	if (rt->proved || !ca_has(layout->gc.visited_space) || !collectors(rt, gcs) ||
	    (holds && ca_has(layout->gc.generation0)))
		return;
	set_generation0(rt, ABSENT);
	found = find_generation0(rt, gcs[0]);
	if (ca_has(found))
		set_generation0(rt, found);
	if (ca_score_collector(rt) < 0)
		*layout = table;
}

static bool is_list(const struct ca_runtime *rt, ca_addr addr)
{
	enum { LIST_SUBCLASS = 1 << 25 };
	ca_addr type = ca_plausible_type(rt, addr);

	return type && ca_word_at(rt->image, type, rt->layout.type.tp_flags) & LIST_SUBCLASS;
}

/*
 * Two lists, side by side, and no other beside them. Until the gc module is
 * imported there is no second, in 3.8 no first.
 */
int64_t ca_score_gc_lists(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr gcs[CA_SCORED_INTERPS];
	size_t count = collectors(rt, gcs);

	if (!count || layout->gc.callbacks != layout->gc.garbage + 8)
		return -1;

	ca_addr at = gcs[count - 1] + (uint64_t)layout->gc.garbage;
	ca_addr garbage = ca_word_at(rt->image, at, 0), callbacks = ca_word_at(rt->image, at, 8);

	if (at & 7 || (garbage ? !is_list(rt, garbage) : callbacks != 0) ||
	    (callbacks && !is_list(rt, callbacks)) || is_list(rt, ca_word_at(rt->image, at - 8, 0)) ||
	    is_list(rt, ca_word_at(rt->image, at, 16)))
		return -1;
	return (garbage != 0) + (callbacks != 0);
}

/* The flag stands before gc.garbage; 3.15 has the frame between them. */
int64_t ca_score_gc_collecting(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr gcs[CA_SCORED_INTERPS];
	uint32_t value;

	if (!collectors(rt, gcs) ||
	    layout->gc.garbage - layout->gc.collecting != (ca_has(layout->gc_stats.size) ? 16 : 8) ||
	    !ca_image_u32(rt->image, gcs[0] + (uint64_t)layout->gc.collecting, &value))
		return -1;
	return value <= 1 ? 1 : -1;
}

/* Between a generation's head and the next one is room for two int. */
int64_t ca_score_gc_generation(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;

	return layout->gc_generation.threshold == HEAD_BYTES &&
			       layout->gc_generation.count == HEAD_BYTES + 4 &&
			       layout->gc_generation.size == HEAD_BYTES + 8
		       ? 1
		       : -1;
}

/* Up to 3.14 the collector has three Py_ssize_t of each generation, and then `collecting`. */
static bool is_array(const struct ca_layout *layout)
{
	return layout->gc_generation_stats.collections == 0 && layout->gc_generation_stats.size == 24 &&
	       layout->gc.generation_stats + CA_GC_GENERATIONS * 24 == layout->gc.collecting;
}

/* The newest item of a ring has the sums of the one before it, and one collection more. */
static bool goes_on(const struct ca_runtime *rt, ca_addr ring, int32_t items, int32_t index)
{
	const struct ca_layout *layout = &rt->layout;
	int32_t each = layout->gc_generation_stats.size, count = (index - items) / each;
	const uint8_t *at = ca_image_at(rt->image, ring + (uint64_t)index, 1);

	if (!at || *at >= count)
		return false;

	ca_addr newest = ring + (uint64_t)(items + *at * each);
	ca_addr before = ring + (uint64_t)(items + (*at + count - 1) % count * each);
	int32_t collections = layout->gc_generation_stats.collections;
	uint64_t run = ca_word_at(rt->image, newest, collections);

	return run == 0 || ca_word_at(rt->image, before, collections) == run - 1;
}

/* 3.15: young and old rings of whole items, each with the newest's index behind it. */
static bool are_rings(const struct ca_layout *layout)
{
	int32_t each = layout->gc_generation_stats.size;
	int32_t young = layout->gc_stats.young_index - layout->gc_stats.young;
	int32_t old = layout->gc_old_stats.index - layout->gc_old_stats.items;

	return layout->gc_stats.young == 0 && layout->gc_old_stats.items == 0 &&
	       layout->gc_generation_stats.uncollectable + 8 <= each && young > each && old > each &&
	       young % each == 0 && old % each == 0 &&
	       layout->gc_stats.old == layout->gc_stats.young_index + 8 &&
	       layout->gc_old_stats.size == layout->gc_old_stats.index + 8;
}

static bool rings_go_on(const struct ca_runtime *rt, ca_addr gc)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr stats = ca_word_at(rt->image, gc, layout->gc.generation_stats);
	ca_addr old = stats + (uint64_t)layout->gc_stats.old;
	uint32_t collecting = 0;

	ca_image_u32(rt->image, gc + (uint64_t)layout->gc.collecting, &collecting);
	if (collecting)
		return true;
	return goes_on(rt, stats, layout->gc_stats.young, layout->gc_stats.young_index) &&
	       goes_on(rt, old, layout->gc_old_stats.items, layout->gc_old_stats.index) &&
	       goes_on(rt, old + (uint64_t)layout->gc_old_stats.size, layout->gc_old_stats.items,
		       layout->gc_old_stats.index);
}

/* The figures stand behind the frozen generation. */
int64_t ca_score_gc_stats(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	int32_t first = layout->gc_generation_stats.collections;
	ca_addr gcs[CA_SCORED_INTERPS];
	size_t count = collectors(rt, gcs);

	if (layout->gc.generation_stats !=
		    layout->gc.permanent_generation + layout->gc_generation.size ||
	    layout->gc_generation_stats.collected != first + 8 ||
	    layout->gc_generation_stats.uncollectable != first + 16)
		return -1;
	if (!ca_has(layout->gc_stats.size))
		return is_array(layout) ? 1 : -1;
	if (!are_rings(layout))
		return -1;
	for (size_t i = 0; i < count; i++)
		if (!rings_go_on(rt, gcs[i]))
			return -1;
	return 1;
}

/* Two int beside each other, before the generations. */
int64_t ca_score_gc_flags(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr gcs[CA_SCORED_INTERPS];
	uint32_t enabled, debug;

	if (!collectors(rt, gcs) || layout->gc.debug != layout->gc.enabled + 4 ||
	    layout->gc.debug + 4 > layout->gc.generations ||
	    !ca_image_u32(rt->image, gcs[0] + (uint64_t)layout->gc.enabled, &enabled) ||
	    !ca_image_u32(rt->image, gcs[0] + (uint64_t)layout->gc.debug, &debug))
		return -1;
	return enabled <= 1 && debug < 256 ? 1 : -1;
}

/* Two Py_ssize_t beside each other; the second counts a part of what the first does. */
int64_t ca_score_gc_counts(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;

	if (!ca_has(layout->gc.long_lived_total))
		return 0;
	return layout->gc.long_lived_pending == layout->gc.long_lived_total + 8 ? 1 : -1;
}
