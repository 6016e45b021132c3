/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Copying the pages of a process. process_vm_readv() is three times as fast as
 * /proc/PID/mem, but it pins pages, and Linux gives the target a copy of its own
 * of each pinned page that it shares with its parent or child: those are read
 * through /proc/PID/mem.
 */
#include "private.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define MIB UINT64_C(1048576)
#define CHUNK_BYTES MIB
#define GAP_MAX (64 * MIB)   /* mappings closer than this lie in one cluster */
#define CLUSTER_SLACK (16 * MIB) /* room on both sides, for what grows until the stop */

/* A run of the target's address space and its place here. */
struct ca_cluster {
	ca_addr start, end;
	uint8_t *at;	 /* memory; in a file only once it is kept */
	uint64_t offset; /* in the file */
	bool kept;	 /* by the image, which unmaps it */
};

static bool on_disk(const struct ca_copy *copy)
{
	return copy->spool.fd >= 0;
}

struct ca_error *ca_copy_open(struct ca_copy *copy, struct ca_context *ctx, int32_t pid,
			      const struct ca_image_options *options, uint64_t bytes)
{
	uint64_t memory = ca_memory_room(""), disk;
	char wanted[32], there[32], room[32];

	*copy = (struct ca_copy){ .ctx = ctx, .pid = pid, .spool = { .fd = -1 }, .lazy_mem = -1,
				  .store = -1 };
	/* A third of its size must be left, to others and to what we make of it. */
	if (bytes / 3 <= memory && bytes <= memory - bytes / 3)
		return NULL;
	struct ca_error *err = ca_spool_open(options, &copy->spool);

	if (err)
		return err;
	disk = ca_spool_room(&copy->spool);
	if (bytes <= disk)
		return NULL;
	ca_format_size(wanted, sizeof(wanted), bytes);
	ca_format_size(there, sizeof(there), memory);
	ca_format_size(room, sizeof(room), disk);
	return ca_process_refuse("name a folder with more room with --tmpdir",
				 "its copy takes %s (%llu bytes): too much for the %s (%llu bytes) of "
				 "memory that may be used, and for the %s (%llu bytes) in %s",
				 wanted, (unsigned long long)bytes, there,
				 (unsigned long long)memory, room, (unsigned long long)disk,
				 copy->spool.folder);
}

/* ---- room ------------------------------------------------------------------- */

static struct ca_cluster *find_cluster(const struct ca_copy *copy, ca_addr start, ca_addr end)
{
	for (size_t i = 0; i < copy->count; i++) {
		struct ca_cluster *cluster = &copy->clusters[i];

		if (start >= cluster->start && end <= cluster->end)
			return cluster;
	}
	return NULL;
}

static bool add_cluster(struct ca_copy *copy, ca_addr start, ca_addr end)
{
	struct ca_cluster cluster = {
		.start = start > CLUSTER_SLACK ? start - CLUSTER_SLACK : 0,
		.end = end + CLUSTER_SLACK > end ? end + CLUSTER_SLACK : end,
		.offset = copy->file_bytes,
	};
	uint64_t bytes = cluster.end - cluster.start;

	if (copy->lazy_mem >= 0) {
		int store = on_disk(copy) ? copy->spool.fd : copy->store;

		copy->file_bytes += bytes;
		if (ftruncate(store, (off_t)copy->file_bytes))
			return false;
		cluster.at = ca_lazy_map(copy->lazy_mem, store, cluster.offset, cluster.start, bytes);
		if (!cluster.at)
			return false;
	} else if (on_disk(copy)) {
		copy->file_bytes += bytes;
	} else {
		void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (at == MAP_FAILED)
			return false;
		cluster.at = at;
	}
	copy->clusters = ca_grow(copy->clusters, &copy->capacity, copy->count + 1, sizeof(cluster));
	copy->clusters[copy->count++] = cluster;
	return true;
}

/* Whether plan takes anything of [start, end); *run moves on. */
static bool is_taken(const struct ca_plan *plan, size_t *run, const struct ca_vma *vma)
{
	while (*run < plan->count && plan->runs[*run].end <= vma->start)
		++*run;
	return *run < plan->count && plan->runs[*run].start < vma->end;
}

bool ca_copy_reserve(struct ca_copy *copy, const struct ca_vmas *vmas, const struct ca_plan *plan)
{
	ca_addr start = 0, end = 0;
	size_t run = 0;

	for (size_t i = 0; i < vmas->count; i++) {
		const struct ca_vma *vma = &vmas->items[i];

		if (!is_taken(plan, &run, vma) || find_cluster(copy, vma->start, vma->end))
			continue;
		if (end && vma->start - end > GAP_MAX) {
			if (!add_cluster(copy, start, end))
				return false;
			end = 0;
		}
		if (!end)
			start = vma->start;
		end = vma->end;
	}
	return !end || add_cluster(copy, start, end);
}

/* ---- chunks ----------------------------------------------------------------- */

/* The runs cut to pieces that workers share out among them. */
struct job {
	struct ca_copy *copy;
	int mem;
	struct ca_run *chunks;
	size_t count, capacity;
	pthread_mutex_t lock;
};

static void cut(struct job *job, const struct ca_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		struct ca_run run = plan->runs[i];

		for (ca_addr at = run.start; at < run.end; at += CHUNK_BYTES) {
			ca_addr end = run.end - at < CHUNK_BYTES ? run.end : at + CHUNK_BYTES;

			job->chunks = ca_grow(job->chunks, &job->capacity, job->count + 1,
					      sizeof(*job->chunks));
			job->chunks[job->count++] = (struct ca_run){ at, end, run.common };
		}
	}
}

static void share_out(struct job *job, const struct ca_plan *plan,
		      void (*work)(void *arg, unsigned worker, size_t begin, size_t end))
{
	cut(job, plan);
	ca_parallel(job->copy->ctx, job->count, 1, work, job);
	free(job->chunks);
}

static void touch_chunk(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct job *job = arg;

	(void)worker;
	for (size_t i = begin; i < end; i++) {
		struct ca_run chunk = job->chunks[i];
		const struct ca_cluster *cluster = find_cluster(job->copy, chunk.start, chunk.end);

		/* Before Linux 5.14 it fails: then the copy itself touches them. */
		if (cluster)
			madvise(cluster->at + (chunk.start - cluster->start),
				chunk.end - chunk.start, MADV_POPULATE_WRITE);
	}
}

void ca_copy_touch(struct ca_copy *copy, const struct ca_plan *plan)
{
	struct job job = { .copy = copy };

	if (!on_disk(copy))
		share_out(&job, plan, touch_chunk);
}

/* ---- reading ---------------------------------------------------------------- */

static void lose_page(struct job *job, ca_addr page)
{
	struct ca_copy *copy = job->copy;

	pthread_mutex_lock(&job->lock);
	copy->lost = ca_grow(copy->lost, &copy->lost_capacity, copy->lost_count + 1,
			     sizeof(*copy->lost));
	copy->lost[copy->lost_count++] = (struct ca_run){ page, page + CA_PAGE, false };
	pthread_mutex_unlock(&job->lock);
}

ssize_t ca_run_read(int32_t pid, int mem, uint8_t *to, struct ca_run run)
{
	size_t size = run.end - run.start;
	struct iovec here = { to, size }, there = { (void *)(uintptr_t)run.start, size };
	ssize_t got = 0;

	if (pid && !run.common)
		got = process_vm_readv(pid, &here, 1, &there, 1, 0);
	return got > 0 ? got : pread(mem, to, size, (off_t)run.start);
}

/* All of it but for pages that nobody can read (a device's, a broken disk's). */
static void read_pages(struct job *job, uint8_t *to, struct ca_run chunk)
{
	while (chunk.start < chunk.end && !job->copy->ended) {
		ssize_t got = ca_run_read(job->copy->pid, job->mem, to, chunk);

		if (got < 0 && errno == EINTR)
			continue;
		if (!got)
			job->copy->ended = true; /* it has no memory any more */
		if (got < 0) {
			lose_page(job, ca_page_floor(chunk.start));
			got = (ssize_t)(ca_page_floor(chunk.start) + CA_PAGE - chunk.start);
		}
		chunk.start += (uint64_t)got;
		to += got;
	}
}

static void copy_chunk(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct job *job = arg;
	struct ca_copy *copy = job->copy;
	uint8_t *buffer = on_disk(copy) ? ca_alloc(CHUNK_BYTES) : NULL;

	(void)worker;
	for (size_t i = begin; i < end && !copy->ended && !copy->error; i++) {
		struct ca_run chunk = job->chunks[i];
		const struct ca_cluster *cluster = find_cluster(copy, chunk.start, chunk.end);
		uint64_t inside = chunk.start - cluster->start;

		read_pages(job, buffer ? buffer : cluster->at + inside, chunk);
		if (buffer && !ca_spool_write(&copy->spool, buffer, chunk.end - chunk.start,
					      cluster->offset + inside))
			copy->error = errno ? errno : EIO;
	}
	free(buffer);
}

static int by_start(const void *a, const void *b)
{
	ca_addr x = ((const struct ca_run *)a)->start, y = ((const struct ca_run *)b)->start;

	return x < y ? -1 : x > y;
}

void ca_copy_run(struct ca_copy *copy, int mem, const struct ca_plan *plan)
{
	struct job job = { .copy = copy, .mem = mem, .lock = PTHREAD_MUTEX_INITIALIZER };

	share_out(&job, plan, copy_chunk);
	if (copy->lost_count)
		qsort(copy->lost, copy->lost_count, sizeof(*copy->lost), by_start);
}

/* ---- what comes of it ------------------------------------------------------- */

static bool map_from_disk(const struct ca_copy *copy, struct ca_cluster *cluster)
{
	void *at = mmap(NULL, cluster->end - cluster->start, PROT_READ, MAP_PRIVATE, copy->spool.fd,
			(off_t)cluster->offset);

	if (at != MAP_FAILED)
		cluster->at = at;
	return at != MAP_FAILED;
}

bool ca_copy_keep(struct ca_copy *copy, struct ca_image *image)
{
	struct ca_image_private *priv = image->priv;

	bool lazy = copy->lazy_mem >= 0;

	if (on_disk(copy) && !lazy && ftruncate(copy->spool.fd, (off_t)copy->file_bytes))
		return false;
	priv->copies = ca_alloc(copy->count * sizeof(*priv->copies));
	for (size_t i = 0; i < copy->count; i++) {
		struct ca_cluster *cluster = &copy->clusters[i];
		uint64_t bytes = cluster->end - cluster->start;

		if (on_disk(copy) && !lazy && !map_from_disk(copy, cluster))
			return false;
		if (!lazy)
			mprotect(cluster->at, bytes, PROT_READ);
		cluster->kept = true;
		priv->copies[priv->copy_count++] = (struct ca_bytes){ cluster->at, bytes };
	}
	return true;
}

const uint8_t *ca_copy_at(const struct ca_copy *copy, ca_addr start, ca_addr end)
{
	const struct ca_cluster *cluster = find_cluster(copy, start, end);

	return cluster ? cluster->at + (start - cluster->start) : NULL;
}

void ca_copy_fini(struct ca_copy *copy)
{
	for (size_t i = 0; i < copy->count; i++) {
		const struct ca_cluster *cluster = &copy->clusters[i];

		if (!cluster->at || cluster->kept)
			continue;
		ca_lazy_unmap(cluster->at);
		munmap(cluster->at, cluster->end - cluster->start);
	}
	if (copy->store >= 0)
		close(copy->store);
	free(copy->clusters);
	free(copy->lost);
	ca_spool_close(&copy->spool);
	*copy = (struct ca_copy){ .spool = { .fd = -1 }, .lazy_mem = -1, .store = -1 };
}
