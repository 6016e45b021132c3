/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Preloaded into the command: kills it before or after a call that touches a
 * process. KILL_AT: which; KILL_COUNT: a file that gets how many there were.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int steps;
static int kill_at = -1;

__attribute__((constructor)) static void begin(void)
{
	const char *at = getenv("KILL_AT");

	kill_at = at ? atoi(at) : -1;
}

__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("KILL_COUNT");
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;

	if (fd >= 0) {
		dprintf(fd, "%d\n", steps);
		close(fd);
	}
}

static void step(void)
{
	if (steps++ == kill_at)
		kill(getpid(), SIGKILL);
}

#define WRAP(type, name, parameters, arguments)               \
	type name parameters                                  \
	{                                                     \
		type(*real) parameters = dlsym(RTLD_NEXT, #name); \
                                                              \
		step();                                       \
		type result = real arguments;                 \
                                                              \
		step();                                       \
		return result;                                \
	}

WRAP(long, ptrace, (long request, long pid, void *address, void *data), (request, pid, address, data))
WRAP(pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options))

/* Into the process, not into files: below the address space's middle there is no file so large. */
static int is_memory(off_t at)
{
	return at > (off_t)1 << 40 || at < 0;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
	ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");

	if (is_memory(at))
		step();
	ssize_t result = real(fd, bytes, size, at);

	if (is_memory(at))
		step();
	return result;
}
