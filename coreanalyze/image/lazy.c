/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Memory that is read when it is first touched. A process that a debugger holds
 * stands still: nothing of it need be copied ahead. Its addresses are mapped
 * here without any right; a touch ends in a signal, whose handler reads the
 * pages around it from /proc/PID/mem and grants reading. A snapshot's memory is
 * unpacked in the same way.
 *
 *   store   a file without a name, in memory or on disk, which holds what was read
 *   at      the store, mapped for those who read; rights by the chunk
 *   alias   the store, mapped for the handler, which writes
 *
 * Bytes are in the store before anybody may see them. Two threads may read the
 * same chunk: they get the same bytes.
 */
#include "private.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024 };

struct lazy {
	struct lazy *next;
	ca_addr start;
	uint64_t bytes, chunk;
	uint8_t *at, *alias;
	atomic_int mem; /* -1: the process goes on, what was not read reads as zeros */
	ca_lazy_fill *fill; /* NULL: it is read from mem */
	void *arg;
};

/* Who holds the lock touches no such memory. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lazy *all;
static struct sigaction action_before;

static struct lazy *find(const uint8_t *at)
{
	struct lazy *lazy;

	pthread_mutex_lock(&lock);
	lazy = all;
	while (lazy && (at < lazy->at || at >= lazy->at + lazy->bytes))
		lazy = lazy->next;
	pthread_mutex_unlock(&lock);
	return lazy;
}

static bool is_zero(const uint8_t *page)
{
	return !*page && !memcmp(page, page + 1, CA_PAGE - 1);
}

/* Pages that cannot be read stay zeros. A page of zeros takes no room in the store. */
static void fill(const struct lazy *lazy, uint64_t offset, uint64_t size)
{
	_Alignas(16) uint8_t buffer[CHUNK];
	int mem = lazy->mem;
	uint64_t done = 0;

	while (mem >= 0 && done < size) {
		ssize_t got = pread(mem, buffer + done, size - done, (off_t)(lazy->start + offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			uint64_t page = (done / CA_PAGE + 1) * CA_PAGE;

			memset(buffer + done, 0, page - done);
			done = page;
			continue;
		}
		done += (uint64_t)got;
	}
	for (uint64_t page = 0; page < done; page += CA_PAGE)
		if (!is_zero(buffer + page))
			memcpy(lazy->alias + offset + page, buffer + page, CA_PAGE);
}

static uint64_t chunk_size(const struct lazy *lazy, uint64_t offset)
{
	uint64_t left = lazy->bytes - offset;

	return left < lazy->chunk ? left : lazy->chunk;
}

static void fill_chunk(const struct lazy *lazy, uint64_t offset)
{
	uint64_t size = chunk_size(lazy, offset);

	if (lazy->fill)
		lazy->fill(lazy->arg, offset, size, lazy->alias + offset);
	else
		fill(lazy, offset, size);
}

/* The kernel gives a process so many mappings and no more: from here on this is one. */
static void fill_all(const struct lazy *lazy)
{
	for (uint64_t offset = 0; offset < lazy->bytes; offset += lazy->chunk)
		fill_chunk(lazy, offset);
	if (mprotect(lazy->at, lazy->bytes, PROT_READ))
		abort();
}

static void touched(int number, siginfo_t *info, void *context)
{
	const uint8_t *at = info->si_addr;
	const struct lazy *lazy = info->si_code > 0 ? find(at) : NULL; /* else somebody sent it */
	int kept = errno;

	(void)number;
	(void)context;
	if (!lazy) {
		sigaction(SIGSEGV, &action_before, NULL); /* it happens again, to whom it concerns */
		return;
	}
	uint64_t offset = (uint64_t)(at - lazy->at) & ~(lazy->chunk - 1);

	fill_chunk(lazy, offset);
	if (mprotect(lazy->at + offset, chunk_size(lazy, offset), PROT_READ))
		fill_all(lazy);
	errno = kept;
}

static void listen(void)
{
	struct sigaction action = { .sa_sigaction = touched, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction now;

	if (!sigaction(SIGSEGV, NULL, &now) && now.sa_sigaction == touched)
		return;
	sigemptyset(&action.sa_mask);
	sigaction(SIGSEGV, &action, &action_before);
}

static uint8_t *map_lazy(struct lazy *lazy, int store, uint64_t offset)
{
	uint64_t bytes = lazy->bytes;
	int flags = MAP_SHARED | MAP_NORESERVE;

	lazy->at = mmap(NULL, bytes, PROT_NONE, flags, store, (off_t)offset);
	lazy->alias = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, store, (off_t)offset);
	if (lazy->at == MAP_FAILED || lazy->alias == MAP_FAILED) {
		free(lazy);
		return NULL;
	}
	pthread_mutex_lock(&lock);
	listen();
	lazy->next = all;
	all = lazy;
	pthread_mutex_unlock(&lock);
	return lazy->at;
}

uint8_t *ca_lazy_map(int mem, int store, uint64_t offset, ca_addr start, uint64_t bytes)
{
	struct lazy *lazy = ca_alloc(sizeof(*lazy));

	*lazy = (struct lazy){ .start = start, .bytes = bytes, .chunk = CHUNK, .mem = mem };
	return map_lazy(lazy, store, offset);
}

uint8_t *ca_lazy_map_by(ca_lazy_fill *give, void *arg, int store, uint64_t bytes, uint64_t chunk)
{
	struct lazy *lazy = ca_alloc(sizeof(*lazy));

	*lazy = (struct lazy){ .bytes = bytes, .chunk = chunk, .mem = -1, .fill = give, .arg = arg };
	return map_lazy(lazy, store, 0);
}

void ca_lazy_unmap(const uint8_t *at)
{
	struct lazy *gone = find(at), **link = &all;

	if (!gone)
		return;
	pthread_mutex_lock(&lock);
	while (*link != gone)
		link = &(*link)->next;
	*link = gone->next;
	pthread_mutex_unlock(&lock);
	munmap(gone->alias, gone->bytes);
	free(gone);
}

static void let_go(const uint8_t *at)
{
	struct lazy *lazy = find(at);

	if (lazy)
		lazy->mem = -1;
}

/* ---- an image of such ------------------------------------------------------ */

void ca_image_let_go(struct ca_image *image)
{
	for (size_t i = 0; i < image->priv->copy_count; i++)
		let_go(image->priv->copies[i].data);
}

void ca_image_fetch(const struct ca_image *image)
{
	for (size_t i = 0; i < image->segment_count; i++) {
		const struct ca_segment *segment = &image->segments[i];

		if (!find(segment->data))
			continue;
		for (uint64_t at = 0; at < segment->end - segment->start; at += CA_PAGE)
			(void)*(const volatile uint8_t *)(segment->data + at);
	}
}
