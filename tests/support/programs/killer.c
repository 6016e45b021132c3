/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Preloaded into the command: KILL_AT=N kills it at the Nth moment before or after a
 * call that touches a process, FAIL_AT=N makes the Nth such call fail. KILL_COUNT: a
 * file that gets how many there were of both.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int steps, calls;
static int kill_at = -1, fail_at = -1;

__attribute__((constructor)) static void begin(void)
{
	const char *kill = getenv("KILL_AT"), *fail = getenv("FAIL_AT");

	kill_at = kill ? atoi(kill) : -1;
	fail_at = fail ? atoi(fail) : -1;
}

__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("KILL_COUNT");
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;

	if (fd >= 0) {
		dprintf(fd, "%d %d\n", steps, calls);
		close(fd);
	}
}

static void step(void)
{
	if (steps++ == kill_at)
		kill(getpid(), SIGKILL);
}

static int fails(void)
{
	step();
	if (calls++ != fail_at)
		return 0;
	errno = ESRCH; /* as for a thread that somebody kills */
	return 1;
}

long ptrace(long request, long pid, void *address, void *data)
{
	long (*real)(long, long, void *, void *) = dlsym(RTLD_NEXT, "ptrace");

	if (fails())
		return -1;
	long result = real(request, pid, address, data);

	step();
	return result;
}

pid_t waitpid(pid_t pid, int *status, int options)
{
	pid_t (*real)(pid_t, int *, int) = dlsym(RTLD_NEXT, "waitpid");

	pid_t result = real(pid, status, options);

	/* It is asked again and again. */
	if (result)
		step();
	return result;
}

/* Into the process, not into files: below the address space's middle there is no file so large. */
static int is_memory(off_t at)
{
	return at > (off_t)1 << 40 || at < 0;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
	ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");

	if (!is_memory(at))
		return real(fd, bytes, size, at);
	if (fails())
		return -1;
	ssize_t result = real(fd, bytes, size, at);

	step();
	return result;
}
