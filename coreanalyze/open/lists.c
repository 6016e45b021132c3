/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The collector's lists, and what single objects hold. */
#include <stdlib.h>

#include "open.h"

/* Links and heads may carry bits of the collector's own in the lowest two. */
#define LINK(word) ((word) & ~3ull)

struct walk {
	struct ca_objects *objects;
	uint8_t *places;
	void (*each)(void *arg, size_t interp, ca_node node, enum ca_gc_place place);
	void *arg;
	size_t interp;
	ca_addr broken; /* where a list ended too early */
};

static void walk_list(struct walk *walk, ca_addr head, enum ca_gc_place place)
{
	ca_addr at = head;

	/* Each step marks a node, so it ends after as many as there are. */
	for (;;) {
		uint64_t next;

		if (!ca_image_u64(walk->objects->image, at, &next) || !LINK(next))
			break;
		at = LINK(next);
		if (at == LINK(head))
			return;

		ca_node node = ca_objects_find(walk->objects, at + 16);

		if (!node || walk->places[node] != CA_GC_NOWHERE)
			break;
		walk->places[node] = (uint8_t)place;
		if (walk->each)
			walk->each(walk->arg, walk->interp, node, place);
	}
	if (!walk->objects->rt->collecting)
		walk->broken = at;
}

static void warn_broken(const struct walk *walk)
{
	struct ca_objects *objects = walk->objects;
	uint64_t unlisted = 0;

	if (!walk->broken)
		return;
	for (ca_node node = 1; node <= objects->count; node++)
		unlisted += ca_node_tracked(objects, node) && walk->places[node] == CA_GC_NOWHERE;
	ca_warn(objects->ctx, "collector-list", walk->broken,
		"counts and sizes are right; objects by generation are too few by as many, and garbage may be "
		"missed",
		"a list of the collector is damaged: %llu objects that it tracks are in none that was read",
		(unsigned long long)unlisted);
}

static void walk_interp(struct walk *walk)
{
	const struct ca_runtime *rt = walk->objects->rt;
	const struct ca_interp *interp = &rt->interps[walk->interp];
	struct ca_gc gc;

	/* 3.8: one collector for all interpreters */
	if ((walk->interp && interp->gc == interp[-1].gc) || !ca_gc_read(rt, interp, &gc))
		return;
	for (unsigned list = 0; list < CA_GENERATIONS; list++)
		walk_list(walk, ca_runtime_generation(rt, interp, list),
			  (enum ca_gc_place)(CA_GC_GENERATION + ca_gc_generation_of(&gc, list)));
}

uint8_t *ca_objects_places(struct ca_objects *objects,
			   void (*each)(void *arg, size_t interp, ca_node node, enum ca_gc_place place),
			   void *arg)
{
	struct walk walk = {objects, ca_alloc((size_t)objects->count + 1), each, arg, 0, 0};

	for (; walk.interp < objects->rt->interp_count; walk.interp++)
		walk_interp(&walk);
	warn_broken(&walk);
	return walk.places;
}

static void set_bit(void *arg, size_t interp, ca_node node, enum ca_gc_place place)
{
	uint64_t *bits = arg;

	(void)interp;
	(void)place;
	bits[node / 64] |= 1ull << node % 64;
}

uint64_t *ca_objects_frozen(struct ca_objects *objects)
{
	uint64_t *bits = ca_alloc((objects->count / 64 + 1ull) * sizeof(*bits));
	struct walk walk = {objects, ca_alloc((size_t)objects->count + 1), set_bit, bits, 0, 0};

	for (; walk.interp < objects->rt->interp_count; walk.interp++) {
		const struct ca_interp *interp = &objects->rt->interps[walk.interp];

		if (!walk.interp || interp->gc != interp[-1].gc)
			walk_list(&walk, ca_runtime_generation(objects->rt, interp, CA_GENERATIONS - 1),
				  CA_GC_FROZEN);
	}
	if (walk.broken)
		ca_warn(objects->ctx, "collector-list", walk.broken,
			"what is frozen behind it may be called garbage",
			"the collector's list of frozen objects is damaged");
	free(walk.places);
	return bits;
}

struct listing {
	struct ca_visitor visitor;
	const struct ca_objects *objects;
	ca_node *nodes;
	size_t count, capacity, limit;
};

static void list_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct listing *l = (struct listing *)v;

	for (uint64_t i = 0; i < refs->count && l->count < l->limit; i++) {
		ca_node node = ca_objects_find(l->objects, ca_load_u64(refs->data + i * refs->stride));

		if (!node)
			continue;
		l->nodes = ca_grow(l->nodes, &l->capacity, l->count + 1, sizeof(*l->nodes));
		l->nodes[l->count++] = node;
	}
}

static void ignore_buffer(struct ca_visitor *v, ca_addr start, uint64_t bytes, enum ca_buffer how)
{
	(void)v;
	(void)start;
	(void)bytes;
	(void)how;
}

ca_node *ca_objects_referents(struct ca_objects *objects, ca_addr address, size_t limit,
			      size_t *count)
{
	struct listing l = {.visitor = {list_refs, ignore_buffer}, .objects = objects, .limit = limit};
	struct ca_reader *reader = ca_alloc(sizeof(*reader));
	struct ca_object object;

	ca_reader_init(reader, &objects->types_registry);
	if (ca_objects_find(objects, address) && ca_object_read(reader, address, &object))
		ca_object_traverse(reader, &object, &l.visitor);
	free(reader);
	*count = l.count;
	return l.nodes;
}
