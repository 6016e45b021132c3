/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reference counts, and what of an object's head the collector reads. */
#include <stdlib.h>

#include "open.h"

enum { GRAIN = 1 << 15 };

struct job {
	struct ca_objects *objects;
	const uint64_t *frozen;
	struct ca_gc_facts *facts;
	struct ca_reader *readers;
};

static void read_facts(const struct job *job, struct ca_reader *reader, ca_node node, ca_addr address)
{
	const struct ca_layout *layout = reader->layout;
	struct ca_object object;

	if (!ca_object_read(reader, address, &object))
		return;

	uint64_t count = ca_object_refcount(layout, object.at);

	job->facts->refcount[node] = count < UINT32_MAX && !ca_object_is_immortal(layout, object.at)
					     ? (uint32_t)count
					     : UINT32_MAX;
	if (!ca_node_tracked(job->objects, node))
		return;

	enum ca_finalizer finalizer = job->facts->finalizer[ca_node_type(job->objects, node)];
	bool watched = !(job->frozen[node / 64] >> node % 64 & 1) && job->facts->refcount[node] != UINT32_MAX;

	job->facts->bits[node] = (uint8_t)((ca_object_finalized(&object) ? CA_GC_FINALIZED : 0) |
					   (ca_object_weakrefs(reader, &object) ? CA_GC_WEAKLY_HELD : 0) |
					   (finalizer != CA_FINALIZER_NONE ? CA_GC_FINALIZER : 0) |
					   (finalizer == CA_FINALIZER_LEGACY ? CA_GC_LEGACY : 0) |
					   (watched ? CA_GC_WATCHED : 0));
}

static void read_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct job *job = arg;
	struct ca_cursor cursor;

	ca_cursor_seek(&cursor, job->objects, (ca_node)begin + 1);
	for (size_t i = begin; i < end; i++, ca_cursor_next(&cursor))
		read_facts(job, &job->readers[worker], cursor.node, cursor.address);
}

static struct ca_reader *open_readers(struct ca_objects *objects)
{
	struct ca_reader *readers = ca_alloc(objects->ctx->threads * sizeof(*readers));

	for (unsigned i = 0; i < objects->ctx->threads; i++)
		ca_reader_init(&readers[i], &objects->types_registry);
	return readers;
}

static void find_finalizers(struct ca_objects *objects, struct ca_reader *reader, uint8_t *kinds)
{
	struct ca_arena scratch = {0};

	for (uint32_t t = 0; t < objects->type_count; t++) {
		struct ca_finalizing finalizing;

		ca_type_finalizing(reader, objects->types[t].type, &scratch, &finalizing);
		kinds[t] = (uint8_t)finalizing.kind;
	}
	ca_arena_fini(&scratch);
}

void ca_gc_facts_build(struct ca_objects *objects, struct ca_gc_facts *facts)
{
	uint64_t *frozen = ca_objects_frozen(objects);
	struct job job = {objects, frozen, facts, open_readers(objects)};

	facts->refcount = ca_alloc((objects->count + 1ull) * sizeof(*facts->refcount));
	facts->bits = ca_alloc(objects->count + 1ull);
	facts->finalizer = ca_alloc(objects->type_count + 1ull);
	find_finalizers(objects, job.readers, facts->finalizer);
	ca_parallel(objects->ctx, objects->count, GRAIN, read_range, &job);
	free(job.readers);
	free(frozen);
}

void ca_gc_facts_fini(struct ca_gc_facts *facts)
{
	free(facts->refcount);
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
