/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Stopping the threads of a process. PTRACE_SEIZE and PTRACE_INTERRUPT leave no
 * trace: no SIGSTOP is seen, a process that was stopped before stays so, and
 * when the thread that did it ends, however it does, the kernel lets all go on.
 * One thing cannot be helped, nor does any debugger: calls that Linux does not
 * restart after a stop (signal(7): epoll_wait, recv with a timeout) end by EINTR.
 */
#include "private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	PASSES_MAX = 1000,
	PAUSE_NS = 50 * 1000,
	PATIENCE_NS = 2000 * 1000 * 1000, /* without one more thread that stops */
	ENDING_NS = 10 * 1000 * 1000,	  /* from then on, see who is ending */
};

struct ca_stopped {
	int32_t lwp;  /* 0: it ended */
	bool stopped;
	int signal;   /* it was about to take: is given to it when it goes on */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The letter of its state, as ps shows it; 0 when it is gone. */
static char state_of(const struct ca_stop *stop, int32_t lwp)
{
	char name[64];
	size_t size;

	snprintf(name, sizeof(name), "task/%d/stat", lwp);
	char *text = ca_proc_read(stop->proc, name, &size);
	const char *end = text ? strrchr(text, ')') : NULL; /* its name may hold anything */
	char state = end && end[1] == ' ' ? end[2] : '\0';

	free(text);
	return state;
}

static bool is_ending(const struct ca_stop *stop, int32_t lwp)
{
	char state = state_of(stop, lwp);

	return !state || state == 'Z' || state == 'X';
}

static void forget(struct ca_stop *stop, struct ca_stopped *thread)
{
	*ca_map_add(&stop->known, (uint64_t)thread->lwp, NULL) = 0;
	thread->lwp = 0;
}

/* ---- seizing --------------------------------------------------------------- */

static struct ca_error *seize(struct ca_stop *stop, int32_t lwp, bool *added)
{
	uint64_t *number = ca_map_add(&stop->known, (uint64_t)lwp, NULL);

	if (*number)
		return NULL;
	if (ptrace(PTRACE_SEIZE, lwp, NULL, NULL)) {
		int why = errno;

		if (why == ESRCH || is_ending(stop, lwp))
			return NULL;
		return ca_process_refuse(
			why == EPERM ? "run as its user or as root; is a debugger on it, or is "
				       "kernel.yama.ptrace_scope set?" : "",
			"its thread %d cannot be stopped: %s", lwp, strerror(why));
	}
	ptrace(PTRACE_INTERRUPT, lwp, NULL, NULL); /* when it has just ended, the wait says so */
	stop->threads = ca_grow(stop->threads, &stop->capacity, stop->count + 1,
				sizeof(*stop->threads));
	stop->threads[stop->count++] = (struct ca_stopped){ .lwp = lwp };
	*number = stop->count;
	*added = true;
	return NULL;
}

static struct ca_error *seize_new(struct ca_stop *stop, bool *added)
{
	int fd = openat(stop->proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct ca_error *err = NULL;
	const struct dirent *entry;

	*added = false;
	if (!folder) {
		if (fd >= 0)
			close(fd);
		return ca_process_refuse("", "it ended");
	}
	while (!err && (entry = readdir(folder))) {
		int32_t lwp = atoi(entry->d_name);

		if (lwp > 0)
			err = seize(stop, lwp, added);
	}
	closedir(folder);
	return err;
}

/* ---- waiting --------------------------------------------------------------- */

/* True when there was news of it. */
static bool look_at(struct ca_stop *stop, struct ca_stopped *thread)
{
	int status;
	pid_t got = waitpid(thread->lwp, &status, __WALL | WNOHANG);

	if (!got || (got < 0 && errno == EINTR))
		return false;
	if (got < 0 || !WIFSTOPPED(status)) {
		forget(stop, thread);
		return true;
	}
	/* Caught as it was about to take a signal: it is stopped as well. */
	if (status >> 16 != PTRACE_EVENT_STOP)
		thread->signal = WSTOPSIG(status);
	thread->stopped = true;
	return true;
}

/* A main thread that ended before the others is not waited for until they end. */
static bool forget_ending(struct ca_stop *stop)
{
	bool found = false;

	for (size_t i = 0; i < stop->count; i++) {
		struct ca_stopped *thread = &stop->threads[i];

		if (thread->lwp && !thread->stopped && is_ending(stop, thread->lwp)) {
			forget(stop, thread);
			found = true;
		}
	}
	return found;
}

/* The first thread that still runs, or NULL. */
static struct ca_stopped *look_at_all(struct ca_stop *stop, bool *news)
{
	struct ca_stopped *running = NULL;

	for (size_t i = 0; i < stop->count; i++) {
		struct ca_stopped *thread = &stop->threads[i];

		if (!thread->lwp || thread->stopped)
			continue;
		*news |= look_at(stop, thread);
		if (thread->lwp && !thread->stopped && !running)
			running = thread;
	}
	return running;
}

static struct ca_error *wait_for_all(struct ca_stop *stop)
{
	static const struct timespec pause = { .tv_nsec = PAUSE_NS };
	uint64_t last = now_ns();

	for (;;) {
		bool news = false;
		const struct ca_stopped *running = look_at_all(stop, &news);
		uint64_t waited = now_ns() - last;

		if (!running)
			return NULL;
		if (waited > ENDING_NS)
			news |= forget_ending(stop);
		if (news)
			last = now_ns();
		else if (waited > PATIENCE_NS)
			return ca_process_refuse(
				"try again when it does not wait for a disk or a network file system",
				"its thread %d does not stop (state %c)", running->lwp,
				state_of(stop, running->lwp));
		else
			nanosleep(&pause, NULL);
	}
}

/* ---- the whole ------------------------------------------------------------- */

static size_t alive(const struct ca_stop *stop)
{
	size_t count = 0;

	for (size_t i = 0; i < stop->count; i++)
		count += stop->threads[i].lwp != 0;
	return count;
}

/* Only threads that still run make new ones: a pass without one is the last. */
struct ca_error *ca_stop_all(struct ca_stop *stop)
{
	bool added = true;

	for (unsigned pass = 0; added && pass < PASSES_MAX; pass++) {
		size_t before = alive(stop);
		struct ca_error *err = seize_new(stop, &added);

		if (!err)
			err = wait_for_all(stop);
		if (err)
			return err;
		/* Who ended may have started another, or hidden one from the listing. */
		added |= alive(stop) < before;
	}
	if (added)
		return ca_process_refuse("try again", "it starts threads faster than they can be stopped");
	return alive(stop) ? NULL : ca_process_refuse("", "it ended");
}

struct ca_error *ca_stop_one(struct ca_stop *stop, int32_t lwp)
{
	bool added = false;
	struct ca_error *err = seize(stop, lwp, &added);

	if (!err)
		err = wait_for_all(stop);
	if (!err && !alive(stop))
		err = ca_process_refuse("", "its thread %d ended", lwp);
	return err;
}

/* A set of registers, kept as long as the image; NULL: there is none. */
static const void *read_set(struct ca_arena *arena, int32_t lwp, uintptr_t set, size_t *bytes)
{
	enum { MAX_BYTES = 64 * 1024 }; /* AMX has 8 KiB */
	uint8_t buffer[MAX_BYTES];
	struct iovec room = { buffer, sizeof(buffer) };
	void *kept;

	*bytes = 0;
	if (ptrace(PTRACE_GETREGSET, lwp, set, &room) || room.iov_len == 0)
		return NULL;
	kept = ca_arena_alloc(arena, room.iov_len);
	memcpy(kept, buffer, room.iov_len);
	*bytes = room.iov_len;
	return kept;
}

static void read_sets(struct ca_arena *arena, struct ca_lwp *lwp)
{
	size_t bytes;

	lwp->registers = read_set(arena, lwp->lwp, NT_PRSTATUS, &bytes);
	if (bytes != sizeof(struct user_regs_struct))
		lwp->registers = NULL;
	lwp->fp_registers = read_set(arena, lwp->lwp, NT_PRFPREG, &bytes);
	if (bytes != sizeof(struct user_fpregs_struct))
		lwp->fp_registers = NULL;
	lwp->xstate = read_set(arena, lwp->lwp, NT_X86_XSTATE, &lwp->xstate_bytes);
}

struct ca_error *ca_stop_registers(const struct ca_stop *stop, struct ca_arena *arena,
				   struct ca_lwp **lwps, size_t *count)
{
	struct ca_lwp *all = ca_alloc(stop->count * sizeof(*all));

	*lwps = all;
	*count = 0;
	for (size_t i = 0; i < stop->count; i++) {
		struct user_regs_struct regs = { 0 };
		struct iovec room = { &regs, sizeof(regs) };
		int32_t lwp = stop->threads[i].lwp;

		if (!lwp)
			continue;
		if (ptrace(PTRACE_GETREGSET, lwp, NT_PRSTATUS, &room))
			return ca_process_refuse("", "it ended while it was read");
		if (room.iov_len != sizeof(regs))
			return ca_process_refuse("", "it is a 32-bit process; x86-64 ones can be read");
		size_t to = lwp == stop->pid ? 0 : *count;

		all[(*count)++] = all[to];
		all[to] = (struct ca_lwp){
			.lwp = lwp,
			.ip = regs.rip,
			.sp = regs.rsp,
			.fs_base = regs.fs_base,
			.signal = stop->threads[i].signal,
		};
		read_sets(arena, &all[to]);
	}
	return NULL;
}

bool ca_stop_release(struct ca_stop *stop)
{
	bool all = true;

	for (size_t i = 0; i < stop->count; i++) {
		struct ca_stopped *thread = &stop->threads[i];

		if (thread->lwp && thread->stopped)
			all &= !ptrace(PTRACE_DETACH, thread->lwp, NULL, (void *)(long)thread->signal);
	}
	ca_stop_fini(stop);
	return all;
}

void ca_stop_fini(struct ca_stop *stop)
{
	free(stop->threads);
	ca_map_fini(&stop->known);
	stop->threads = NULL;
	stop->count = stop->capacity = 0;
	stop->known = (struct ca_map){ 0 };
}
