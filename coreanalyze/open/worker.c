/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a worker does with one object: its mold, references, buffers. */
#include <stdlib.h>

#include "collect.h"

static bool set_bit(uint64_t *bits, uint64_t word, uint64_t mask)
{
	if (__atomic_load_n(&bits[word], __ATOMIC_RELAXED) & mask)
		return false;
	return !(__atomic_fetch_or(&bits[word], mask, __ATOMIC_RELAXED) & mask);
}

/* An array of pointers to types: the first of them would be a count, the second the type. */
static bool is_table_of_types(struct ca_worker *worker, const struct ca_object *object)
{
	enum { LEAST_ADDRESS = 1 << 16 };
	uint64_t count = ca_object_refcount(worker->reader.layout, object->at);

	return count >= LEAST_ADDRESS && ca_type_at(&worker->reader, count);
}

void ca_worker_claim(struct ca_worker *worker, ca_addr addr)
{
	const struct ca_space *space = worker->collector->space;
	struct ca_region *region = ca_space_region(space, addr);
	uint64_t word, mask;
	struct ca_object object;
	struct ca_shape shape;

	if (!region || !ca_region_bit(region, addr, &word, &mask) ||
	    __atomic_load_n(&region->objects[word], __ATOMIC_RELAXED) & mask)
		return;
	/* An arena's bits are its rows, which the sweep alone makes. */
	if (ca_space_where(space, addr) != CA_OUTSIDE)
		return;
	if (!ca_object_read(&worker->reader, addr, &object) ||
	    ca_object_is_corpse(worker->reader.layout, object.at) ||
	    is_table_of_types(worker, &object) ||
	    !ca_object_shape(&worker->reader, &object, &shape))
		return;
	if (object.type->gc && object.pre && !ca_object_links_hold(&worker->reader, &object))
		return;
	if (!set_bit(region->objects, word, mask))
		return;
	worker->queue = ca_grow(worker->queue, &worker->queue_capacity, worker->queued + 1,
				sizeof(*worker->queue));
	worker->queue[worker->queued++] = addr;
}

static void visit_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct ca_worker *worker = (struct ca_worker *)v;
	const struct ca_space *space = worker->collector->space;
	uint64_t tags =
		refs->held == CA_HELD_GUESS ? (uint64_t)worker->reader.layout->c.stackref_tags : 0;

	for (uint64_t i = 0; i < refs->count; i++) {
		ca_addr target = ca_load_u64(refs->data + i * refs->stride) & ~tags;

		if (target && ca_space_where(space, target) == CA_OUTSIDE)
			ca_worker_claim(worker, target);
	}
}

enum { LARGE_BUFFER = 1 << 20 };

/* A large one ends in memory that the process had: no damaged length drowns the totals. */
static bool is_plausible(const struct ca_worker *worker, ca_addr start, uint64_t bytes)
{
	const struct ca_image *image = worker->reader.image;
	ca_addr last;

	return bytes < LARGE_BUFFER || !start ||
	       (!__builtin_add_overflow(start, bytes - 1, &last) && ca_image_mapping(image, start) &&
		ca_image_mapping(image, last));
}

static void visit_buffer(struct ca_visitor *v, ca_addr start, uint64_t bytes, enum ca_buffer how)
{
	struct ca_worker *worker = (struct ca_worker *)v;
	uint64_t word, mask;

	if (!is_plausible(worker, start, bytes)) {
		ca_warn_bytes(worker->collector->objects->ctx, "damaged-object", start, 0,
			      "its buffer is left out of the sizes",
			      "an object says that it has more memory than the process");
		return;
	}
	if (how == CA_BUFFER_COUNTED)
		worker->counted += bytes;
	else if (how == CA_BUFFER_OWNED)
		worker->owned += bytes;

	struct ca_region *region = ca_space_region(worker->collector->space, start);

	if (!region || !region->owned || !ca_region_bit(region, start, &word, &mask))
		return;
	if (how == CA_BUFFER_SHARED)
		set_bit(region->owned, word, mask);
	else
		__atomic_fetch_or(&region->owned[word], mask, __ATOMIC_RELAXED);
}

uint32_t ca_worker_mold(struct ca_worker *worker, const struct ca_object *object,
			const struct ca_shape *shape)
{
	bool is_static_type = object->type->is_meta && !object->pre;
	uint64_t head = is_static_type && worker->reader.layout->c.type_getsizeof_head ? 16 : object->pre;

	worker->counted = worker->owned = 0;
	ca_object_traverse(&worker->reader, object, &worker->visitor);
	if (shape->extent > shape->shallow)
		worker->owned += shape->extent - shape->shallow;

	bool tracked = ca_object_tracked(object);

	if (tracked)
		ca_worker_follow_list(worker, object);
	const struct ca_mold mold = {
		.type = object->type->index,
		.flags = tracked ? CA_MOLD_TRACKED : 0,
		.bytes = head + shape->shallow + worker->counted,
		.owned = worker->owned,
	};

	return ca_molds_add(&worker->molds, &mold);
}

void ca_worker_follow_list(struct ca_worker *worker, const struct ca_object *object)
{
	ca_addr next = ca_load_u64(object->at - 16) & ~3ull;

	if (ca_space_where(worker->collector->space, next) == CA_OUTSIDE)
		ca_worker_claim(worker, next + 16);
}

void ca_worker_init(struct ca_worker *worker, struct ca_collector *collector)
{
	memset(worker, 0, sizeof(*worker));
	worker->visitor = (struct ca_visitor){visit_refs, visit_buffer};
	worker->collector = collector;
	ca_molds_init(&worker->molds);
	ca_reader_init(&worker->reader, &collector->objects->types_registry);
}

void ca_worker_fini(struct ca_worker *worker)
{
	free(worker->queue);
	free(worker->outer);
	ca_molds_fini(&worker->molds);
}
