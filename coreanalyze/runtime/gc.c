/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The collector's own state: struct _gc_runtime_state. */
#include "runtime.h"

static uint32_t u32_at(const struct ca_runtime *rt, ca_addr base, int32_t offset)
{
	uint32_t value = 0;

	if (ca_has(offset))
		ca_image_u32(rt->image, base + (uint64_t)offset, &value);
	return value;
}

static uint64_t u64_at(const struct ca_runtime *rt, ca_addr base, int32_t offset)
{
	uint64_t value = 0;

	if (ca_has(offset))
		ca_image_u64(rt->image, base + (uint64_t)offset, &value);
	return value;
}

static void read_stats(const struct ca_runtime *rt, ca_addr at, struct ca_gc_generation *to)
{
	const struct ca_layout *layout = &rt->layout;

	to->collections = (int64_t)u64_at(rt, at, layout->gc_generation_stats.collections);
	to->collected = (int64_t)u64_at(rt, at, layout->gc_generation_stats.collected);
	to->uncollectable = (int64_t)u64_at(rt, at, layout->gc_generation_stats.uncollectable);
}

/* The newest of a ring of `bytes`: each has the sums of all before it. 0: damaged. */
static ca_addr newest(const struct ca_runtime *rt, ca_addr items, int32_t bytes, ca_addr index)
{
	const uint8_t *at = ca_image_at(rt->image, index, 1);
	int32_t each = rt->layout.gc_generation_stats.size;

	if (!at || (*at + 1) * each > bytes)
		return 0;
	return items + (uint64_t)(*at * each);
}

/* 3.15: the collector points at a ring for each generation (struct gc_stats). */
static ca_addr ring_stats(const struct ca_runtime *rt, ca_addr stats, unsigned generation)
{
	const struct ca_layout *layout = &rt->layout;
	int32_t young = layout->gc_stats.young, items = layout->gc_old_stats.items;

	if (generation == 0)
		return newest(rt, stats + (uint64_t)young, layout->gc_stats.young_index - young,
			      stats + (uint64_t)layout->gc_stats.young_index);

	ca_addr old = stats + (uint64_t)layout->gc_stats.old +
		      (generation - 1) * (uint64_t)layout->gc_old_stats.size;

	return newest(rt, old + (uint64_t)items, layout->gc_old_stats.index - items,
		      old + (uint64_t)layout->gc_old_stats.index);
}

static ca_addr stats_of(const struct ca_runtime *rt, ca_addr gc, unsigned generation)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr stats;

	if (!ca_has(layout->gc_stats.size))
		return gc + (uint64_t)layout->gc.generation_stats +
		       generation * (uint64_t)layout->gc_generation_stats.size;
	stats = u64_at(rt, gc, layout->gc.generation_stats);
	return stats ? ring_stats(rt, stats, generation) : 0;
}

/*
 * CPython 3.14.0 Modules/gcmodule.c: get_threshold() gives 0 for the oldest
 * generation, get_count() the space that is visited first.
 */
static void as_incremental(const struct ca_runtime *rt, ca_addr at, struct ca_gc *gc)
{
	struct ca_gc_generation *of = gc->generations;

	of[2].threshold = 0;
	if (u32_at(rt, at, rt->layout.gc.visited_space) == 1) {
		int32_t first = of[1].count;

		of[1].count = of[2].count;
		of[2].count = first;
	}
}

bool ca_gc_read(const struct ca_runtime *rt, const struct ca_interp *interp, struct ca_gc *gc)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr at = interp->gc;
	bool counts = ca_has(layout->gc.long_lived_total);

	if (!ca_image_at(rt->image, at, (uint64_t)layout->gc.size))
		return false;
	*gc = (struct ca_gc){
		.enabled = u32_at(rt, at, layout->gc.enabled),
		.collecting = u32_at(rt, at, layout->gc.collecting),
		.incremental = ca_has(layout->gc.visited_space) && !ca_has(layout->gc.generation0),
		.debug = u32_at(rt, at, layout->gc.debug),
		.long_lived_total = counts ? (int64_t)u64_at(rt, at, layout->gc.long_lived_total) : -1,
		.long_lived_pending = counts ? (int64_t)u64_at(rt, at, layout->gc.long_lived_pending) : -1,
		.garbage = u64_at(rt, at, layout->gc.garbage),
		.callbacks = u64_at(rt, at, layout->gc.callbacks),
	};
	for (unsigned i = 0; i < CA_GC_GENERATIONS; i++) {
		ca_addr generation = ca_runtime_generation(rt, interp, i);
		ca_addr stats = stats_of(rt, at, i);

		gc->generations[i].threshold = (int32_t)u32_at(rt, generation, layout->gc_generation.threshold);
		gc->generations[i].count = (int32_t)u32_at(rt, generation, layout->gc_generation.count);
		if (stats)
			read_stats(rt, stats, &gc->generations[i]);
	}
	if (gc->incremental)
		as_incremental(rt, at, gc);
	return true;
}
