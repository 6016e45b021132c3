/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The order of things: runtime, heap, sweep, closure, nodes. */
#include <stdlib.h>
#include <string.h>

#include "collect.h"

static void collect(struct ca_collector *collector)
{
	struct ca_objects *objects = collector->objects;
	unsigned threads = objects->ctx->threads;

	ca_mark_freelists(collector);
	ca_make_room(collector);
	ca_sweep(collector);
	ca_claim_roots(&collector->workers[0]);
	ca_progress(objects->ctx, "following references", 0, 0);
	ca_close_over(collector);
	ca_claim_extents(collector);
	ca_close_over(collector);
	ca_count_extents(collector);
	ca_explain_blocks(collector);
	ca_close_over(collector); /* over types that nothing else led to */
	for (unsigned i = 0; i < threads; i++) {
		objects->trust.blocks += collector->workers[i].trust.blocks;
		objects->trust.freelist += collector->workers[i].trust.freelist;
		objects->trust.counted += collector->workers[i].trust.counted;
	}
}

/* A type without name is a row of its own: the row that it belongs to is short by as many. */
static void warn_unnamed(const struct ca_objects *objects)
{
	uint64_t count = 0, bytes = 0;

	for (uint32_t i = 0; i < objects->mold_count; i++) {
		const struct ca_mold *mold = &objects->molds[i];

		if (strncmp(objects->types[mold->type].name, CA_UNNAMED, strlen(CA_UNNAMED)))
			continue;
		count += mold->count;
		bytes += mold->count * (mold->bytes + mold->owned);
	}
	if (count)
		ca_warn(objects->ctx, "unnamed-types", 0, "the rows of these types are short by as many",
			"%llu objects, %llu bytes, are of static types whose names are in files that are not "
			"at hand",
			(unsigned long long)count, (unsigned long long)bytes);
}

/* What a collection under way has taken off the lists: if anything is freed by half, it is of those. */
static void weigh_collecting(struct ca_objects *objects)
{
	uint64_t bytes = 0;
	uint8_t *places;

	if (!objects->rt->collecting)
		return;
	places = ca_objects_places(objects, NULL, NULL);
	for (ca_node node = 1; node <= objects->count; node++)
		if (ca_node_tracked(objects, node) && places[node] == CA_GC_NOWHERE)
			bytes += ca_node_bytes(objects, node) + ca_node_owned(objects, node);
	free(places);
	ca_warn_weigh(objects->ctx, "collecting", bytes);
}

static struct ca_error *enumerate(struct ca_objects *objects)
{
	struct ca_collector collector = {.objects = objects, .space = objects->space};
	unsigned threads = objects->ctx->threads;
	struct ca_error *err;

	collector.swept = ca_alloc((objects->heap->arena_count + 1) * sizeof(*collector.swept));
	collector.workers = ca_alloc(threads * sizeof(*collector.workers));
	for (unsigned i = 0; i < threads; i++)
		ca_worker_init(&collector.workers[i], &collector);
	collect(&collector);
	err = ca_emit_nodes(&collector);
	for (unsigned i = 0; i < threads; i++)
		ca_worker_fini(&collector.workers[i]);
	free(collector.swept);
	free(collector.workers);
	return err;
}

struct ca_error *ca_objects_open(struct ca_context *ctx, const struct ca_runtime *rt,
				 struct ca_objects **out)
{
	struct ca_objects *objects = ca_alloc(sizeof(*objects));
	struct ca_error *err;

	objects->ctx = ctx;
	objects->image = rt->image;
	objects->rt = rt;
	ca_heap_open(ctx, objects->rt, &objects->heap);
	ca_types_init(&objects->types_registry, objects->rt);
	objects->space = ca_space_build(rt->image, objects->heap);
	err = enumerate(objects);
	if (!err) {
		objects->trust.objects = objects->trust.blocks - objects->trust.freelist -
					 objects->trust.owned - objects->trust.unexplained;
		warn_unnamed(objects);
		weigh_collecting(objects);
		ca_warn_missing(objects);
		*out = objects;
		return NULL;
	}
	ca_objects_close(objects);
	return err;
}

void ca_objects_close(struct ca_objects *objects)
{
	if (!objects->borrowed) {
		free(objects->mold);
		free(objects->molds);
	}
	free(objects->types);
	ca_types_fini(&objects->types_registry);
	ca_space_free(objects->space);
	ca_heap_close(objects->heap);
	free(objects);
}
