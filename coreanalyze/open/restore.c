/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Objects that were found before: what a snapshot has of them, and back. */
#include <stdlib.h>

#include "space.h"
#include "open.h"

void ca_objects_save(const struct ca_objects *objects, struct ca_objects_saved *saved)
{
	const struct ca_space *space = objects->space;

	*saved = (struct ca_objects_saved){
		.bits = space->region_count ? space->regions[0].objects : NULL,
		.count = objects->count,
		.mold = objects->mold,
		.molds = objects->molds,
		.mold_count = objects->mold_count,
		.lookdict = objects->types_registry.lookdict,
		.trust = objects->trust,
		.allocator = objects->heap->allocator,
		.arenas = objects->heap->arenas,
		.arena_count = objects->heap->arena_count,
		.arena_bytes = objects->heap->arena_bytes,
		.pool_bytes = objects->heap->pool_bytes,
		.raw_allocated_blocks = objects->heap->raw_allocated_blocks,
	};
	saved->regions = ca_alloc((space->region_count + 1) * sizeof(*saved->regions));
	for (size_t i = 0; i < space->region_count; i++) {
		const struct ca_region *region = &space->regions[i];

		saved->regions[i].start = region->start;
		saved->regions[i].end = region->end;
		saved->regions[i].shift = region->shift;
		saved->words += region->words;
	}
	saved->region_count = space->region_count;
	saved->types = ca_alloc((objects->type_count + 1ull) * sizeof(*saved->types));
	for (uint32_t i = 0; i < objects->type_count; i++) {
		saved->types[i].address = objects->types[i].type->address;
		saved->types[i].name = objects->types[i].name;
		saved->types[i].bytes_exact = objects->types[i].bytes_exact;
	}
	saved->type_count = objects->type_count;
}

/* Sorted, disjoint, and as ca_space_build() aligns them. */
static struct ca_region *make_regions(const struct ca_objects_saved *saved)
{
	enum { ALIGN = 1024 };
	struct ca_region *regions = ca_alloc((saved->region_count + 1) * sizeof(*regions));
	ca_addr end = 0;

	for (size_t i = 0; i < saved->region_count; i++) {
		regions[i].start = saved->regions[i].start;
		regions[i].end = saved->regions[i].end;
		regions[i].shift = saved->regions[i].shift;
		if (regions[i].start < end || regions[i].end <= regions[i].start ||
		    (regions[i].start | regions[i].end) % ALIGN ||
		    (regions[i].shift != 3 && regions[i].shift != 4)) {
			free(regions);
			return NULL;
		}
		end = regions[i].end;
	}
	return regions;
}

static bool restore_types(struct ca_objects *objects, const struct ca_objects_saved *saved)
{
	struct ca_reader *reader = ca_alloc(sizeof(*reader));
	bool good = true;

	ca_types_restore(&objects->types_registry, objects->rt, saved->lookdict);
	ca_reader_init(reader, &objects->types_registry);
	objects->types = ca_alloc((saved->type_count + 1ull) * sizeof(*objects->types));
	objects->type_count = saved->type_count;
	for (uint32_t i = 0; i < saved->type_count && good; i++) {
		objects->types[i] = (struct ca_type_row){
			.type = ca_type_at(reader, saved->types[i].address),
			.name = saved->types[i].name,
			.bytes_exact = saved->types[i].bytes_exact,
		};
		good = objects->types[i].type &&
		       (!i || saved->types[i - 1].address < saved->types[i].address);
	}
	free(reader);
	return good;
}

static bool restore_space(struct ca_objects *objects, const struct ca_objects_saved *saved)
{
	struct ca_region *regions = make_regions(saved);

	if (!regions)
		return false;
	objects->space = ca_space_restore(objects->heap, regions, saved->region_count, saved->bits,
					  saved->words);
	return objects->space && ca_space_rank(objects->space) == saved->count;
}

struct ca_objects *ca_objects_restore(struct ca_context *ctx, const struct ca_runtime *rt,
				      const struct ca_objects_saved *saved)
{
	struct ca_objects *objects = ca_alloc(sizeof(*objects));

	*objects = (struct ca_objects){
		.ctx = ctx,
		.image = rt->image,
		.rt = rt,
		.heap = ca_alloc(sizeof(*objects->heap)),
		.count = saved->count,
		.mold = (uint32_t *)saved->mold,
		.molds = (struct ca_mold *)saved->molds,
		.mold_count = saved->mold_count,
		.trust = saved->trust,
		.borrowed = true,
	};
	objects->heap->rt = rt;
	objects->heap->allocator = saved->allocator;
	objects->heap->arenas = saved->arenas;
	objects->heap->arena_count = saved->arena_count;
	objects->heap->arena_bytes = saved->arena_bytes;
	objects->heap->pool_bytes = saved->pool_bytes;
	objects->heap->raw_allocated_blocks = saved->raw_allocated_blocks;
	if (restore_types(objects, saved) && restore_space(objects, saved))
		return objects;
	ca_objects_close(objects);
	return NULL;
}
