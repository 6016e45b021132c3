/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reference counts, and what of an object's head the collector reads. */
#include <stdlib.h>

#include "open.h"

enum { GRAIN = 1 << 15 };

struct job {
	struct ca_objects *objects;
	const uint64_t *frozen;
	struct ca_gc_facts *facts;
};

/* Of what the collector tracks: its link back is the word before the object. */
static void read_facts(const struct job *job, ca_node node, const uint8_t *at)
{
	const struct ca_layout *layout = &job->objects->rt->layout;
	struct ca_gc_facts *facts = job->facts;
	enum ca_finalizer finalizer = facts->finalizer[ca_node_type(job->objects, node)];

	if (finalizer != CA_FINALIZER_NONE)
		facts->bits[node] = (uint8_t)((ca_object_finalized(at) ? CA_GC_FINALIZED : 0) | CA_GC_FINALIZER |
					      (finalizer == CA_FINALIZER_LEGACY ? CA_GC_LEGACY : 0));
	if (job->frozen[node / 64] >> node % 64 & 1 || ca_object_is_immortal(layout, at))
		return;

	uint64_t count = ca_object_refcount(layout, at);

	facts->references[node] = count < INT32_MAX ? (int32_t)count : INT32_MAX;
	facts->watched[node / 64] |= 1ull << node % 64;
}

/* Ranges share no word of bits: node 0 is in the first. */
static void read_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct job *job = arg;
	uint64_t length = 8 + (uint64_t)job->objects->rt->layout.object.size;
	struct ca_cursor cursor;

	(void)worker;
	ca_cursor_seek(&cursor, job->objects, (ca_node)(begin ? begin : 1));
	for (; cursor.node && cursor.node < end; ca_cursor_next(&cursor)) {
		const uint8_t *back = ca_node_tracked(job->objects, cursor.node)
					      ? ca_image_at(job->objects->image, cursor.address - 8, length)
					      : NULL;

		if (back)
			read_facts(job, cursor.node, back + 8);
	}
}

static void find_finalizers(struct ca_objects *objects, uint8_t *kinds)
{
	struct ca_reader *reader = ca_alloc(sizeof(*reader));
	struct ca_arena scratch = {0};

	ca_reader_init(reader, &objects->types_registry);
	for (uint32_t t = 0; t < objects->type_count; t++) {
		struct ca_finalizing finalizing;

		ca_type_finalizing(reader, objects->types[t].type, &scratch, &finalizing);
		kinds[t] = (uint8_t)finalizing.kind;
	}
	ca_arena_fini(&scratch);
	free(reader);
}

void ca_gc_facts_build(struct ca_objects *objects, struct ca_gc_facts *facts)
{
	uint64_t *frozen = ca_objects_frozen(objects);
	struct job job = {objects, frozen, facts};
	size_t nodes = objects->count + 1ull;

	facts->watched = ca_alloc((nodes / 64 + 1) * sizeof(*facts->watched));
	facts->references = ca_alloc(nodes * sizeof(*facts->references));
	facts->bits = ca_alloc(nodes);
	facts->finalizer = ca_alloc(objects->type_count + 1ull);
	find_finalizers(objects, facts->finalizer);
	ca_parallel(objects->ctx, nodes, GRAIN, read_range, &job);
	free(frozen);
}

void ca_gc_facts_fini(struct ca_gc_facts *facts)
{
	free(facts->watched);
	free(facts->references);
	free(facts->bits);
	free(facts->finalizer);
	*facts = (struct ca_gc_facts){0};
}

/* ---- weak references -------------------------------------------------------- */

/* ReferenceType, the two kinds of proxy, and their subclasses: their own part is the same. */
static bool is_weak(const struct ca_objects *objects, uint32_t t)
{
	static const char *const names[] = {"builtins.weakref", "builtins.weakproxy",
					    "builtins.weakcallableproxy", "weakref.ReferenceType",
					    "weakref.ProxyType", "weakref.CallableProxyType"};

	for (size_t i = 0; i < CA_COUNT(names); i++)
		if (strcmp(objects->types[t].name, names[i]) == 0)
			return true;
	return false;
}

static uint32_t type_at(const struct ca_objects *objects, ca_addr address)
{
	uint32_t low = 0, high = objects->type_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (objects->types[middle].type->address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* A type's base by its index; type_count: none that has instances. */
static uint32_t base_of(const struct ca_objects *objects, uint32_t t)
{
	uint64_t base = 0;
	uint32_t found;

	ca_image_u64(objects->image,
		     objects->types[t].type->address + (uint64_t)objects->rt->layout.type.tp_base, &base);
	found = type_at(objects, base);
	return found < objects->type_count && objects->types[found].type->address == base
		       ? found
		       : objects->type_count;
}

static bool *weak_types(const struct ca_objects *objects)
{
	enum { MAX_BASES = 64 };
	bool *weak = ca_alloc(objects->type_count + 1ull);

	for (uint32_t t = 0; t < objects->type_count; t++) {
		uint32_t base = t;

		for (int i = 0; i < MAX_BASES && base < objects->type_count && !weak[t]; i++) {
			weak[t] = is_weak(objects, base);
			base = base_of(objects, base);
		}
	}
	return weak;
}

struct ca_weakref *ca_objects_weakrefs(struct ca_objects *objects, size_t *count)
{
	struct ca_weakref *found = NULL;
	struct ca_reader *reader = ca_alloc(sizeof(*reader));
	bool *weak = weak_types(objects);
	size_t capacity = 0;

	*count = 0;
	ca_reader_init(reader, &objects->types_registry);
	for (ca_node node = 1; node <= objects->count; node++) {
		ca_addr to, callback;
		ca_node target;

		if (!weak[ca_node_type(objects, node)] ||
		    !ca_weakref_read(reader, ca_objects_address(objects, node), &to, &callback))
			continue;
		target = ca_objects_find(objects, to);
		if (!target)
			continue;
		found = ca_grow(found, &capacity, *count + 1, sizeof(*found));
		found[(*count)++] = (struct ca_weakref){node, target, ca_objects_find(objects, callback)};
	}
	free(weak);
	free(reader);
	return found;
}
