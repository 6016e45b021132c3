/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How a copy goes. It has no exit signal, and so nobody but its parent can make it
 * go, by a wait4() that asks for such children (__WALL): one of the parent's threads
 * is made to call it. What an earlier end of ours left is told by just that signal.
 */
#include "fork.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	ATTEMPTS = 3, /* where a thread is, it may not be for long */
	PAUSE_NS = 3 * 1000 * 1000,
};

static bool call_wait(struct ca_injection *injection, int32_t child)
{
	const uint64_t arguments[6] = { (uint64_t)child, 0, WNOHANG | __WALL };

	return ca_inject_prepare(injection) && ca_inject(injection, SYS_wait4, arguments) &&
	       injection->result == child;
}

/* By one thread, which alone stands still for it. */
static bool wait_in(const struct ca_view *view, const struct ca_gadgets *gadgets, int mem,
		    const struct ca_vmas *vmas, int32_t lwp, int32_t child)
{
	struct ca_stop stop = { .pid = view->pid, .proc = view->proc };
	struct ca_injection injection = { .lwp = lwp, .mem = mem, .gadgets = gadgets };
	struct ca_arena arena = { 0 };
	struct ca_lwp *lwps = NULL;
	size_t count = 0;
	struct ca_error *err = ca_stop_one(&stop, lwp);

	if (!err)
		err = ca_stop_registers(&stop, &arena, &lwps, &count);
	bool done = !err && count && !ca_inject_obstacle(&lwps[0], view, vmas) &&
		    ca_gadgets_hold(gadgets, mem) && call_wait(&injection, child);

	ca_stop_release(&stop);
	if (injection.was_stopped)
		kill(view->pid, SIGSTOP);
	ca_error_free(err);
	free(lwps);
	ca_arena_fini(&arena);
	return done;
}

static int32_t next_task(DIR *folder)
{
	const struct dirent *entry;

	while ((entry = readdir(folder)))
		if (atoi(entry->d_name) > 0)
			return atoi(entry->d_name);
	return 0;
}

static bool wait_in_any(const struct ca_view *view, const struct ca_gadgets *gadgets, int mem,
			int32_t child, uint64_t *pause_ns)
{
	int fd = openat(view->proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct ca_vmas vmas = { 0 };
	bool done = false;

	if (folder && ca_vmas_read(view->proc, &vmas)) {
		for (int32_t lwp; !done && (lwp = next_task(folder));) {
			uint64_t began = ca_now_ns();

			done = wait_in(view, gadgets, mem, &vmas, lwp, child);
			*pause_ns += ca_now_ns() - began;
		}
	}
	ca_vmas_fini(&vmas);
	if (folder)
		closedir(folder);
	return done;
}

bool ca_fork_reap(const struct ca_view *view, const struct ca_gadgets *gadgets, int mem,
		  int32_t child, uint64_t *pause_ns)
{
	static const struct timespec pause = { .tv_nsec = PAUSE_NS };

	for (unsigned i = 0; i < ATTEMPTS; i++) {
		if (wait_in_any(view, gadgets, mem, child, pause_ns))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

/* ---- what was left ----------------------------------------------------------------- */

/* proc(5): of a zombie that never ran, without an exit signal, a child of parent. */
static bool is_left(int32_t pid, int32_t parent)
{
	char path[64], state = 0;
	int ppid = 0, exit_signal = -1;
	unsigned long utime = 1;
	size_t size;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	char *text = ca_proc_read(AT_FDCWD, path, &size);
	const char *end = text ? strrchr(text, ')') : NULL;
	/* Fields 3, 4, 14 and 38 of 52. */
	int found = end ? sscanf(end + 1,
				 " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %*u %*d %*d %*d %*d "
				 "%*d %*d %*u %*u %*d %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u "
				 "%*u %d", &state, &ppid, &utime, &exit_signal)
			: 0;

	free(text);
	return found == 4 && state == 'Z' && ppid == parent && !utime && !exit_signal;
}

/* Its number in the namespace that its parent's own number is of: "NSpid: outer ... inner". */
static int32_t number_in(int32_t pid, unsigned depth)
{
	char path[64];
	size_t size;
	int32_t number = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	char *text = ca_proc_read(AT_FDCWD, path, &size);
	const char *at = text ? strstr(text, "\nNSpid:") : NULL;
	char *end;

	at = at ? at + 7 : NULL;
	for (unsigned i = 0; at && i < depth; i++, at = end) {
		number = (int32_t)strtol(at, &end, 10);
		if (end == at)
			number = 0;
	}
	free(text);
	return number;
}

/* How many namespaces it is in, as seen from here. */
static unsigned depth_of(const struct ca_view *view)
{
	size_t size;
	char *text = ca_proc_read(view->proc, "status", &size);
	const char *at = text ? strstr(text, "\nNSpid:") : NULL;
	const char *line_end = at ? strchr(at + 1, '\n') : NULL;
	unsigned depth = 0;

	for (at = at ? at + 7 : NULL; at && line_end && at < line_end; at++)
		depth += *at == '\t';
	free(text);
	return depth ? depth : 1;
}

struct reaping {
	const struct ca_view *view;
	struct ca_gadgets gadgets;
	int mem;
	unsigned *reaped, *left;
};

static void reap_children(struct reaping *r, int32_t task)
{
	unsigned depth = depth_of(r->view);
	uint64_t pause_ns = 0;
	char name[64], *save = NULL;
	size_t size;

	snprintf(name, sizeof(name), "task/%d/children", task);
	char *text = ca_proc_read(r->view->proc, name, &size);

	for (char *word = text ? strtok_r(text, " \n", &save) : NULL; word;
	     word = strtok_r(NULL, " \n", &save)) {
		int32_t pid = atoi(word);

		if (!is_left(pid, r->view->pid))
			continue;
		if (ca_fork_reap(r->view, &r->gadgets, r->mem, number_in(pid, depth), &pause_ns))
			++*r->reaped;
		else
			++*r->left;
	}
	free(text);
}

static void *run(void *arg)
{
	struct reaping *r = arg;
	int fd = openat(r->view->proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);

	for (int32_t lwp; folder && (lwp = next_task(folder));)
		reap_children(r, lwp);
	if (folder)
		closedir(folder);
	return NULL;
}

struct ca_error *ca_capture_reap(const struct ca_view *view, unsigned *reaped, unsigned *left)
{
	struct reaping r = { .view = view, .reaped = reaped, .left = left };
	pthread_t thread;

	*reaped = *left = 0;
	if (!ca_gadgets_find(&r.gadgets, view))
		return ca_process_refuse("", "no C library of it has the code that would run our call");
	r.mem = openat(view->proc, "mem", O_RDWR | O_CLOEXEC);
	if (r.mem < 0)
		return ca_process_refuse("", "its memory may not be written: %s", strerror(errno));
	if (!pthread_create(&thread, NULL, run, &r))
		pthread_join(thread, NULL);
	close(r.mem);
	return NULL;
}
