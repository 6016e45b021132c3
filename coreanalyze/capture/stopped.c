/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is done while the process stands still, and when: not in mid-update, if that can be had. */
#include "private.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum {
	ATTEMPTS_MAX = 5,
	WAIT_NS = 1000 * 1000, /* between them: one to ten of these */
};

uint64_t ca_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct ca_error *look(struct ca_capturing *c, const struct ca_stop *stop, bool *settled)
{
	struct ca_error *err;

	free(c->lwps);
	c->lwps = NULL;
	err = ca_stop_registers(stop, &c->view->ctx->arena, &c->lwps, &c->lwp_count);
	if (!err)
		*settled = ca_settled_look(&c->settled, c->view->mem, c->lwps, c->lwp_count, &c->taken);
	return err;
}

/* Not in step with what the process does at regular times. */
static void wait_a_little(void)
{
	struct timespec pause = { .tv_nsec = (long)(WAIT_NS * (1 + ca_now_ns() / 7 % 10)) };

	nanosleep(&pause, NULL);
}

enum { FIRST = -20 }; /* nice(2) */

/*
 * While it stands still nothing on this machine is as urgent as that it goes on:
 * this thread, and those that it starts meanwhile, run before others, if we may.
 * Returns what to set it back to.
 */
static int hurry(void)
{
	int before = getpriority(PRIO_PROCESS, 0);

	setpriority(PRIO_PROCESS, 0, FIRST);
	return before;
}

static struct ca_error *try_once(struct ca_capturing *c, ca_stopped_act *act, bool *settled)
{
	struct ca_stop stop = { .pid = c->view->pid, .proc = c->view->proc };
	int nice = hurry();
	uint64_t began = ca_now_ns();
	struct ca_error *err = ca_stop_all(&stop);

	if (!err)
		err = look(c, &stop, settled);
	*settled |= c->taken.attempts == ATTEMPTS_MAX;
	if (!err && *settled)
		err = act(c);
	/* One that was killed after the copy was made does not matter. */
	ca_stop_release(&stop);
	c->taken.pause_ns = ca_now_ns() - began;
	c->taken.at = time(NULL);
	setpriority(PRIO_PROCESS, 0, nice);
	return err;
}

struct ca_error *ca_stopped(struct ca_capturing *c, ca_stopped_act *act)
{
	bool settled = false;
	struct ca_error *err = NULL;

	for (c->taken.attempts = 1; !err; c->taken.attempts++) {
		err = try_once(c, act, &settled);
		if (settled)
			break;
		wait_a_little();
	}
	return err;
}
