/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The checksum of a section. A hash of up to 1 MiB: four of them side by side take a word of 8
 * bytes in turn, the last one filled up with zeros, as
 *
 *	hash = rotate_left(hash ^ word, 29) * 0x9e3779b97f4a7c15
 *
 * beginning with 1, 2, 3, 4; their sequence is hashed in the same way, beginning with the number of bytes.
 * The sequence of these hashes makes the section's, beginning with its bytes. It is there to find
 * damage, not malice.
 */
#include <stdlib.h>
#include <string.h>

#include "private.h"

enum { BLOCK = 1 << 20, LANES = 4 };

static inline uint64_t mix(uint64_t hash, uint64_t word)
{
	hash ^= word;
	return (hash << 29 | hash >> 35) * 0x9e3779b97f4a7c15u;
}

static uint64_t hash_words(uint64_t hash, const uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		hash = mix(hash, words[i]);
	return hash;
}

static uint64_t hash_block(const uint8_t *bytes, size_t size)
{
	uint64_t lanes[LANES] = {1, 2, 3, 4}, rest[LANES] = {0};
	size_t whole = size / sizeof(rest) * sizeof(rest);

	for (size_t at = 0; at < whole; at += sizeof(rest))
		for (size_t i = 0; i < LANES; i++)
			lanes[i] = mix(lanes[i], ca_load_u64(bytes + at + i * 8));
	if (whole < size)
		memcpy(rest, bytes + whole, size - whole);
	for (size_t i = 0; i < LANES && whole < size; i++)
		lanes[i] = mix(lanes[i], rest[i]);
	return hash_words(size, lanes, LANES);
}

struct job {
	const uint8_t *bytes;
	uint64_t size;
	uint64_t *hashes;
};

static void hash_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct job *job = arg;

	(void)worker;
	for (size_t i = begin; i < end; i++) {
		uint64_t at = (uint64_t)i * BLOCK, left = job->size - at;

		job->hashes[i] = hash_block(job->bytes + at, left < BLOCK ? left : BLOCK);
	}
}

uint64_t ca_checksum(struct ca_context *ctx, const void *bytes, uint64_t size)
{
	size_t blocks = (size + BLOCK - 1) / BLOCK;
	struct job job = {bytes, size, ca_alloc((blocks + 1) * sizeof(*job.hashes))};
	uint64_t sum;

	if (blocks > 1)
		ca_parallel(ctx, blocks, 4, hash_range, &job);
	else
		hash_range(&job, 0, 0, blocks);
	sum = hash_words(size, job.hashes, blocks);
	free(job.hashes);
	return sum;
}
