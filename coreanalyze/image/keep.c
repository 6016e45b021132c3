/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which words of an image are read: a bit for each 8 bytes of its segments. They answer again
 * as they did, whatever became of the others.
 */
#include "private.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 8 };

/* Where a segment's bytes are in our memory. */
struct place {
	const uint8_t *data, *end;
	size_t segment;
};

/* Bytes that are left out of words that are kept. */
struct blank {
	ca_addr start;
	uint32_t bytes;
};

struct ca_keep {
	const struct ca_image *image;
	uint64_t *bits;
	uint64_t *first;      /* [segment_count + 1]: of each segment's words in bits, in 64s */
	struct place *places; /* by data */
	pthread_mutex_t lock; /* of blanks, which are sorted when `sorted` says so */
	struct blank *blanks;
	size_t blank_count, blank_capacity;
	bool sorted;
};

static int by_data(const void *left, const void *right)
{
	const struct place *a = left, *b = right;

	return (a->data > b->data) - (a->data < b->data);
}

struct ca_keep *ca_keep_begin(struct ca_image *image)
{
	struct ca_keep *keep = ca_alloc(sizeof(*keep));

	keep->image = image;
	keep->first = ca_alloc((image->segment_count + 1) * sizeof(*keep->first));
	keep->places = ca_alloc((image->segment_count + 1) * sizeof(*keep->places));
	for (size_t i = 0; i < image->segment_count; i++) {
		const struct ca_segment *segment = &image->segments[i];
		uint64_t bytes = segment->end - segment->start;

		keep->first[i + 1] = keep->first[i] + bytes / WORD / 64 + 1;
		keep->places[i] = (struct place){ segment->data, segment->data + bytes, i };
	}
	qsort(keep->places, image->segment_count, sizeof(*keep->places), by_data);
	keep->bits = ca_alloc((keep->first[image->segment_count] + 1) * sizeof(*keep->bits));
	pthread_mutex_init(&keep->lock, NULL);
	image->priv->keep = keep;
	return keep;
}

void ca_keep_end(struct ca_image *image)
{
	struct ca_keep *keep = image->priv->keep;

	image->priv->keep = NULL;
	free(keep->bits);
	free(keep->first);
	free(keep->places);
	free(keep->blanks);
	pthread_mutex_destroy(&keep->lock);
	free(keep);
}

static void set_bits(uint64_t *bits, uint64_t mask)
{
	if ((__atomic_load_n(bits, __ATOMIC_RELAXED) & mask) != mask)
		__atomic_fetch_or(bits, mask, __ATOMIC_RELAXED);
}

/* Of a segment, [offset, offset + bytes), which lie in it. */
static void note(struct ca_keep *keep, size_t segment, uint64_t offset, uint64_t bytes)
{
	uint64_t from = offset / WORD, to = (offset + bytes - 1) / WORD; /* the last one */
	uint64_t *bits = keep->bits + keep->first[segment];

	for (uint64_t at = from / 64; at <= to / 64; at++) {
		uint64_t mask = UINT64_MAX;

		if (at == from / 64)
			mask &= UINT64_MAX << from % 64;
		if (at == to / 64)
			mask &= UINT64_MAX >> (63 - to % 64);
		set_bits(&bits[at], mask);
	}
}

void ca_keep_note(struct ca_keep *keep, const struct ca_segment *segment, ca_addr addr, uint64_t bytes)
{
	if (bytes)
		note(keep, (size_t)(segment - keep->image->segments), addr - segment->start, bytes);
}

void ca_keep_bytes(struct ca_keep *keep, ca_addr addr, uint64_t bytes)
{
	uint64_t part;

	for (; bytes && ca_image_part(keep->image, addr, bytes, &part); addr += part)
		bytes -= part;
}

void ca_keep_data(struct ca_keep *keep, const void *data, uint64_t bytes)
{
	static _Thread_local size_t last;
	const uint8_t *at = data;
	size_t low = 0, high = keep->image->segment_count;

	if (last >= high || at < keep->places[last].data || at >= keep->places[last].end) {
		while (low < high) { /* the first that begins behind it */
			size_t middle = low + (high - low) / 2;

			if (keep->places[middle].data <= at)
				low = middle + 1;
			else
				high = middle;
		}
		if (!low || at >= keep->places[low - 1].end)
			return;
		last = low - 1;
	}
	const struct place *place = &keep->places[last];
	uint64_t left = (uint64_t)(place->end - at);

	if (bytes)
		note(keep, place->segment, (uint64_t)(at - place->data), bytes < left ? bytes : left);
}

void ca_keep_blank(struct ca_keep *keep, ca_addr addr, uint32_t bytes)
{
	pthread_mutex_lock(&keep->lock);
	keep->blanks = ca_grow(keep->blanks, &keep->blank_capacity, keep->blank_count + 1,
			       sizeof(*keep->blanks));
	keep->blanks[keep->blank_count++] = (struct blank){ addr, bytes };
	keep->sorted = false;
	pthread_mutex_unlock(&keep->lock);
}

static int by_start(const void *left, const void *right)
{
	const struct blank *a = left, *b = right;

	return (a->start > b->start) - (a->start < b->start);
}

/* What is at [start, end) is in `to`. No blank is larger than a word. */
static void blank_out(struct ca_keep *keep, ca_addr start, ca_addr end, uint8_t *to)
{
	size_t low = 0, high = keep->blank_count;

	pthread_mutex_lock(&keep->lock);
	if (!keep->sorted && keep->blank_count)
		qsort(keep->blanks, keep->blank_count, sizeof(*keep->blanks), by_start);
	keep->sorted = true;
	pthread_mutex_unlock(&keep->lock);
	while (low < high) { /* the first that may reach behind start */
		size_t middle = low + (high - low) / 2;

		if (keep->blanks[middle].start + WORD <= start)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < keep->blank_count && keep->blanks[low].start < end; low++)
		for (uint32_t i = 0; i < keep->blanks[low].bytes; i++)
			if (keep->blanks[low].start + i - start < end - start)
				to[keep->blanks[low].start + i - start] = 0;
}

bool ca_keep_copy(struct ca_keep *keep, size_t segment, uint64_t offset, uint64_t bytes,
		  uint8_t *to)
{
	const uint8_t *data = keep->image->segments[segment].data;
	const uint64_t *bits = keep->bits + keep->first[segment];
	bool any = false;

	memset(to, 0, bytes);
	for (uint64_t at = 0; at < bytes; at += WORD * 64) {
		uint64_t left = bits[(offset + at) / WORD / 64];

		for (; left; left &= left - 1) {
			uint64_t word = at + (uint64_t)__builtin_ctzll(left) * WORD;

			if (word >= bytes)
				break;
			memcpy(to + word, data + offset + word, bytes - word < WORD ? bytes - word : WORD);
			any = true;
		}
	}
	if (any) {
		ca_addr start = keep->image->segments[segment].start + offset;

		blank_out(keep, start, start + bytes, to);
	}
	return any;
}
