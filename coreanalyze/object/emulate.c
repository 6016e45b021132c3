/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Our side: the child's life and what of its answers is believed. */
#include "emulate.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emulated.h"

enum {
	MAX_DEATHS = 3,         /* by one function, and it is not called again */
	PATIENCE_MS = 120000,   /* for a batch, whose calls have limits of their own */
};

struct ca_emulator {
	const struct ca_runtime *rt;
	struct ca_emulated_batch *batch; /* NULL: no memory for it */
	pid_t child;                     /* 0: none */
	int pipe;
};

const char *ca_emulated_name(enum ca_emulated how)
{
	static const char *const names[] = {
		[CA_EMULATED_WELL] = "emulated",
		[CA_EMULATED_NO_BYTES] = "code or data of a missing file",
		[CA_EMULATED_LIMIT] = "took too long",
		[CA_EMULATED_FAILED] = "an instruction that cannot be emulated",
		[CA_EMULATED_DIED] = "ended the emulator",
	};

	return names[how];
}

struct ca_emulator *ca_emulator_make(const struct ca_runtime *rt)
{
	struct ca_emulator *emulator = ca_alloc(sizeof(*emulator));
	void *batch = mmap(NULL, sizeof(*emulator->batch), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	emulator->rt = rt;
	emulator->batch = batch != MAP_FAILED ? batch : NULL;
	return emulator;
}

static void end_child(struct ca_emulator *emulator)
{
	if (!emulator->child)
		return;
	kill(emulator->child, SIGKILL);
	while (waitpid(emulator->child, NULL, 0) < 0 && errno == EINTR)
		;
	close(emulator->pipe);
	emulator->child = 0;
}

void ca_emulator_close(struct ca_emulator *emulator)
{
	if (!emulator)
		return;
	end_child(emulator);
	if (emulator->batch)
		munmap(emulator->batch, sizeof(*emulator->batch));
	free(emulator);
}

static bool start_child(struct ca_emulator *emulator)
{
	int ends[2];

	if (emulator->child)
		return true;
	if (!emulator->batch || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return false;
	ca_image_fetch(emulator->rt->image);
	emulator->child = fork();
	if (emulator->child == 0) {
		close(ends[0]);
		ca_emulated_serve(emulator->rt, emulator->batch, ends[1]);
	}
	close(ends[1]);
	emulator->pipe = ends[0];
	if (emulator->child > 0)
		return true;
	close(ends[0]);
	emulator->child = 0;
	return false;
}

/* False when the child died, or is to. */
static bool exchange(struct ca_emulator *emulator)
{
	struct pollfd answer = {.fd = emulator->pipe, .events = POLLIN};
	char byte = 0;

	return send(emulator->pipe, &byte, 1, MSG_NOSIGNAL) == 1 &&
	       poll(&answer, 1, PATIENCE_MS) == 1 && recv(emulator->pipe, &byte, 1, 0) == 1;
}

/* What one batch gave, from `first` on; returns how many objects it answered for. */
static size_t take_results(const struct ca_emulated_batch *batch, size_t asked, size_t first,
			   ca_emulator_take *take, void *arg)
{
	size_t done = __atomic_load_n(&batch->done, __ATOMIC_ACQUIRE);
	uint32_t at = 0;

	if (done > asked)
		done = asked;
	for (size_t i = 0; i < done; i++) {
		uint32_t end = batch->results[i].refs_end, how = batch->results[i].how;

		if (how > CA_EMULATED_DIED || end < at || end > CA_EMULATED_REFS)
			return i;
		take(arg, first + i, (enum ca_emulated)how, batch->refs + at,
		     how == CA_EMULATED_WELL ? end - at : 0);
		at = end;
	}
	return done;
}

void ca_emulator_traverse(struct ca_emulator *emulator, ca_addr function, const ca_addr *objects,
			  size_t count, ca_emulator_take *take, void *arg)
{
	struct ca_emulated_batch *batch = emulator->batch;
	unsigned deaths = 0;
	size_t at = 0;

	while (at < count && deaths < MAX_DEATHS && start_child(emulator)) {
		size_t asked = count - at < CA_EMULATED_BATCH ? count - at : CA_EMULATED_BATCH;

		batch->function = function;
		batch->count = (uint32_t)asked;
		batch->done = 0;
		memcpy(batch->objects, objects + at, asked * sizeof(*objects));

		bool lives = exchange(emulator);
		size_t done = take_results(batch, asked, at, take, arg);

		at += done;
		if (lives && done)
			continue;
		deaths++;
		end_child(emulator);
		if (done < asked)
			take(arg, at++, CA_EMULATED_DIED, NULL, 0);
	}
	for (; at < count; at++)
		take(arg, at, CA_EMULATED_DIED, NULL, 0);
}
