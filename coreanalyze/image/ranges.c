/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Overlapping ranges to disjoint pieces, by a sweep over the addresses: a heap
 * holds the ranges that cover the present address, the strongest on top.
 */
#include "private.h"

#include <stdlib.h>

struct sweep {
	struct ca_range *heap;
	size_t heap_count;
	struct ca_range *out;
	size_t out_count, out_capacity;
};

static int by_start(const void *left, const void *right)
{
	const struct ca_range *a = left, *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

static void swap(struct ca_range *a, struct ca_range *b)
{
	struct ca_range kept = *a;

	*a = *b;
	*b = kept;
}

static void heap_push(struct sweep *sweep, struct ca_range range)
{
	struct ca_range *heap = sweep->heap;
	size_t i = sweep->heap_count++;

	heap[i] = range;
	for (; i && heap[(i - 1) / 2].index > heap[i].index; i = (i - 1) / 2)
		swap(&heap[i], &heap[(i - 1) / 2]);
}

static void heap_pop(struct sweep *sweep)
{
	struct ca_range *heap = sweep->heap;
	size_t count = --sweep->heap_count, i = 0;

	heap[0] = heap[count];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= count)
			return;
		if (child + 1 < count && heap[child + 1].index < heap[child].index)
			child++;
		if (heap[i].index < heap[child].index)
			return;
		swap(&heap[i], &heap[child]);
		i = child;
	}
}

static void emit(struct sweep *sweep, ca_addr start, ca_addr end, size_t index)
{
	struct ca_range *last = sweep->out_count ? &sweep->out[sweep->out_count - 1] : NULL;

	if (last && last->index == index && last->end == start) {
		last->end = end;
		return;
	}
	sweep->out = ca_grow(sweep->out, &sweep->out_capacity, sweep->out_count + 1,
			     sizeof(*sweep->out));
	sweep->out[sweep->out_count++] = (struct ca_range){ start, end, index };
}

size_t ca_ranges_cut(struct ca_range *ranges, size_t count, struct ca_range **out)
{
	struct sweep sweep = { .heap = ca_alloc(count * sizeof(*ranges)) };
	ca_addr here = 0;
	size_t next = 0;

	if (count)
		qsort(ranges, count, sizeof(*ranges), by_start);
	while (next < count || sweep.heap_count) {
		if (!sweep.heap_count)
			here = ranges[next].start;
		for (; next < count && ranges[next].start <= here; next++) {
			if (ranges[next].start < ranges[next].end)
				heap_push(&sweep, ranges[next]);
		}
		while (sweep.heap_count && sweep.heap[0].end <= here)
			heap_pop(&sweep);
		if (!sweep.heap_count)
			continue;
		struct ca_range top = sweep.heap[0];
		ca_addr stop = top.end;

		if (next < count && ranges[next].start < stop)
			stop = ranges[next].start;
		emit(&sweep, here, stop, top.index);
		here = stop;
	}
	free(sweep.heap);
	*out = sweep.out;
	return sweep.out_count;
}
