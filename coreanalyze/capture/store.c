/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the pages go while the process stands still: to memory that was touched
 * before, which takes a fifth of a second a GiB, or to the core itself.
 */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CHUNK_BYTES = 1024 * 1024 };

static struct ca_error *refuse_room(uint64_t bytes, uint64_t memory, uint64_t disk)
{
	char wanted[32], there[32], room[32];

	ca_format_size(wanted, sizeof(wanted), bytes);
	ca_format_size(there, sizeof(there), memory);
	ca_format_size(room, sizeof(room), disk);
	return ca_error_make(CA_TARGET, "cannot write the core",
			     "nothing is left behind; name a file on a larger disk with -o",
			     "it takes %s (%llu bytes): too much for the %s (%llu bytes) that may be "
			     "used of its disk, and for the %s (%llu bytes) of memory",
			     wanted, (unsigned long long)bytes, room, (unsigned long long)disk, there,
			     (unsigned long long)memory);
}

static void touch(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct ca_store *store = arg;

	(void)worker;
	/* Before Linux 5.14 it fails: then the copy itself touches them. */
	madvise(store->memory + begin, end - begin, MADV_POPULATE_WRITE);
}

struct ca_error *ca_store_open(struct ca_store *store, struct ca_context *ctx, uint64_t bytes,
			       int fd, bool to_file)
{
	uint64_t memory = ca_memory_room(""), disk;

	*store = (struct ca_store){ .ctx = ctx, .fd = fd };
	/* A third of its size must be left, to others and to the pages of the file. */
	if (!to_file && bytes / 3 <= memory && bytes <= memory - bytes / 3) {
		void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (at != MAP_FAILED) {
			store->memory = at;
			store->room = bytes;
			madvise(at, bytes, MADV_HUGEPAGE);
			ca_parallel(ctx, bytes, 64 * CHUNK_BYTES, touch, store);
			return NULL;
		}
	}
	disk = ca_spool_room(&(struct ca_spool){ .fd = fd });
	return bytes <= disk ? NULL : refuse_room(bytes, memory, disk);
}

void ca_store_close(struct ca_store *store)
{
	if (store->memory)
		munmap(store->memory, store->room);
	store->memory = NULL;
}

/* ---- filling ------------------------------------------------------------------ */

struct chunk {
	struct ca_run run;
	uint64_t to; /* in memory, or in the file */
};

struct job {
	struct ca_store *store;
	int32_t pid;
	int mem;
	struct chunk *chunks;
	size_t count, capacity;
};

/* Pieces and runs are sorted, and every run lies in dumped pieces. */
static uint64_t place_of(const struct ca_pieces *pieces, size_t *piece, ca_addr at)
{
	while (pieces->items[*piece].end <= at)
		++*piece;
	return pieces->items[*piece].offset + (at - pieces->items[*piece].start);
}

static ca_addr end_of(const struct ca_pieces *pieces, size_t piece, struct ca_run run)
{
	ca_addr end = run.end - run.start < CHUNK_BYTES ? run.end : run.start + CHUNK_BYTES;

	return end < pieces->items[piece].end ? end : pieces->items[piece].end;
}

static void cut(struct job *job, const struct ca_plan *plan, const struct ca_pieces *pieces)
{
	size_t piece = 0;
	uint64_t packed = 0;

	for (size_t i = 0; i < plan->count; i++) {
		struct ca_run run = plan->runs[i];

		while (run.start < run.end) {
			uint64_t place = place_of(pieces, &piece, run.start);
			ca_addr end = end_of(pieces, piece, run);
			struct chunk chunk = { { run.start, end, run.common },
					       job->store->memory ? packed : place };

			job->chunks = ca_grow(job->chunks, &job->capacity, job->count + 1,
					      sizeof(chunk));
			job->chunks[job->count++] = chunk;
			packed += end - run.start;
			run.start = end;
		}
	}
}

void ca_read_pages(struct ca_store *store, int32_t pid, int mem, uint8_t *to, struct ca_run run)
{
	while (run.start < run.end && !store->ended) {
		ssize_t got = ca_run_read(pid, mem, to, run);

		if (got < 0 && errno == EINTR)
			continue;
		if (!got)
			store->ended = true; /* it has no memory any more */
		if (got < 0) {
			got = (ssize_t)(ca_page_floor(run.start) + CA_PAGE - run.start);
			memset(to, 0, (size_t)got);
			store->lost_pages++;
		}
		run.start += (uint64_t)got;
		to += got;
	}
}

static void fill(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct job *job = arg;
	struct ca_store *store = job->store;
	struct ca_spool file = { .fd = store->fd };
	uint8_t *buffer = store->memory ? NULL : ca_alloc(CHUNK_BYTES);

	(void)worker;
	for (size_t i = begin; i < end && !store->ended && !store->error && !store->stopped; i++) {
		const struct chunk *chunk = &job->chunks[i];

		if (store->go_on && !store->go_on(store->arg))
			store->stopped = true;
		ca_read_pages(store, job->pid, job->mem, buffer ? buffer : store->memory + chunk->to,
			      chunk->run);
		if (buffer && !store->ended &&
		    !ca_spool_write(&file, buffer, chunk->run.end - chunk->run.start, chunk->to))
			store->error = errno ? errno : EIO;
	}
	free(buffer);
}

bool ca_store_fill(struct ca_store *store, int32_t pid, int mem, const struct ca_plan *plan,
		   const struct ca_pieces *pieces)
{
	struct job job = { .store = store, .pid = pid, .mem = mem };

	cut(&job, plan, pieces);
	ca_parallel(store->ctx, job.count, store->memory ? 8 : 1, fill, &job);
	free(job.chunks);
	return !store->ended && !store->error && !store->stopped;
}
