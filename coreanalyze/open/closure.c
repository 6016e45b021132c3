/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What references reach outside the arenas, in rounds. */
#include <stdlib.h>

#include "collect.h"

struct round {
	struct ca_collector *collector;
	ca_addr *addresses;
};

static void traverse_range(void *arg, unsigned index, size_t begin, size_t end)
{
	struct round *round = arg;
	struct ca_worker *worker = &round->collector->workers[index];

	for (size_t i = begin; i < end; i++) {
		struct ca_object object;
		struct ca_shape shape;

		if (!ca_object_read(&worker->reader, round->addresses[i], &object) ||
		    !ca_object_shape(&worker->reader, &object, &shape))
			continue; /* cannot be: it was claimed after the same two */
		worker->outer = ca_grow(worker->outer, &worker->outer_capacity, worker->outer_count + 1,
					sizeof(*worker->outer));
		worker->outer[worker->outer_count++] =
			(struct ca_outer){object.address, ca_worker_mold(worker, &object, &shape), index};
	}
}

/* Takes all workers' queues. */
static size_t take_queues(struct ca_collector *collector, ca_addr **addresses)
{
	size_t count = 0;

	for (unsigned i = 0; i < collector->objects->ctx->threads; i++)
		count += collector->workers[i].queued;
	*addresses = ca_alloc(count * sizeof(**addresses));
	count = 0;
	for (unsigned i = 0; i < collector->objects->ctx->threads; i++) {
		struct ca_worker *worker = &collector->workers[i];

		if (worker->queued)
			memcpy(*addresses + count, worker->queue, worker->queued * sizeof(**addresses));
		count += worker->queued;
		worker->queued = 0;
	}
	return count;
}

/* Types are objects too, also those that no reference names. */
static size_t claim_types(struct ca_collector *collector, size_t from)
{
	struct ca_types *types = &collector->objects->types_registry;

	for (; from < types->count; from++)
		ca_worker_claim(&collector->workers[0], types->items[from]->address);
	return from;
}

void ca_close_over(struct ca_collector *collector)
{
	struct round round = {.collector = collector};
	size_t types_claimed = 0, count;

	do {
		types_claimed = claim_types(collector, types_claimed);
		count = take_queues(collector, &round.addresses);
		ca_parallel(collector->objects->ctx, count, 256, traverse_range, &round);
		free(round.addresses);
	} while (count || types_claimed < collector->objects->types_registry.count);
}
