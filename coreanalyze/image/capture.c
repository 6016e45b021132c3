/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The steps around the stop. What can be done before it is done before it: the
 * copy is weighed, and the memory for it touched. It runs in a thread of its
 * own, since the kernel ties what is stopped to the thread that stopped it:
 * when that ends, all goes on.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
	TRIES = 4,		   /* for one that grows while it is weighed */
	GROWTH_PART = 8,	   /* it may grow by this part, */
	GROWTH_BYTES = 16 << 20,   /* and so much, until it is stopped */
};

struct ca_error *ca_process_refuse(const char *advice, const char *format, ...)
{
	va_list args;
	char *why;

	va_start(args, format);
	if (vasprintf(&why, format, args) < 0)
		why = NULL;
	va_end(args);
	struct ca_error *err = ca_error_make(CA_TARGET, "cannot read this process", advice, "%s",
					     why ? why : format);

	free(why);
	return err;
}

static struct ca_error *refuse_unreadable(const char *file)
{
	if (errno == EACCES || errno == EPERM)
		return ca_process_refuse("run as its user or as root (CAP_SYS_PTRACE)",
					 "its %s may not be read: %s", file, strerror(errno));
	if (errno == ERANGE)
		return ca_process_refuse("Linux 6.7 or later can",
					 "it has terabytes mapped, too many to look for what is there");
	return ca_process_refuse("", "it ended");
}

static struct ca_error *survey(struct ca_capture *c)
{
	if (!ca_vmas_read(c->proc, &c->vmas))
		return refuse_unreadable("maps");
	if (!ca_plan_make(c->proc, &c->vmas, &c->plan))
		return refuse_unreadable("pagemap");
	return NULL;
}

static struct ca_error *reserve(struct ca_capture *c)
{
	return ca_copy_reserve(&c->copy, &c->vmas, &c->plan)
		       ? NULL
		       : ca_process_refuse("is a limit on address space (ulimit -v) set?",
					   "there is no address space for its copy");
}

/* ---- before the stop --------------------------------------------------------- */

static struct ca_error *prepare(struct ca_capture *c, uint64_t *allowed)
{
	struct ca_error *err = survey(c);

	if (err)
		return err;
	*allowed = c->plan.bytes + c->plan.bytes / GROWTH_PART + GROWTH_BYTES;
	err = ca_copy_open(&c->copy, c->image->ctx, c->pid, c->options, *allowed);
	if (!err)
		err = reserve(c);
	if (!err)
		ca_copy_touch(&c->copy, &c->plan);
	return err;
}

/* ---- during it --------------------------------------------------------------- */

static struct ca_error *copy_pages(struct ca_capture *c)
{
	int mem = openat(c->proc, "mem", O_RDONLY | O_CLOEXEC);

	if (mem < 0)
		return refuse_unreadable("mem");
	ca_copy_run(&c->copy, mem, &c->plan);
	close(mem);
	if (c->copy.ended)
		return ca_process_refuse("", "it ended while it was read");
	if (c->copy.error == ENOSPC || c->copy.error == EDQUOT)
		return ca_spool_full(&c->copy.spool, "cannot read this process", "", c->plan.bytes);
	if (c->copy.error)
		return ca_process_refuse("name another folder with --tmpdir", "%s: %s",
					 c->copy.spool.folder, strerror(c->copy.error));
	return NULL;
}

static void read_auxv(struct ca_capture *c)
{
	size_t size;
	char *auxv = ca_proc_read(c->proc, "auxv", &size);

	if (!auxv)
		return;
	void *kept = ca_arena_alloc(&c->image->ctx->arena, size + 1);

	memcpy(kept, auxv, size);
	free(auxv);
	ca_auxv_read(c->image, (struct ca_bytes){ kept, size });
}

/* *grown: it has become larger than was weighed. */
static struct ca_error *copy_stopped(struct ca_capture *c, struct ca_stop *stop, uint64_t allowed,
				     bool *grown)
{
	struct ca_error *err = ca_stop_all(stop);

	if (!err)
		err = survey(c);
	*grown = !err && c->plan.bytes > allowed;
	if (!err && !*grown)
		err = ca_stop_registers(stop, &c->image->ctx->arena, &c->image->lwps,
					&c->image->lwp_count);
	if (!err && !*grown)
		err = reserve(c);
	if (!err && !*grown)
		err = copy_pages(c);
	return err;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct ca_error *try_once(struct ca_capture *c, bool *grown)
{
	struct ca_stop stop = { .pid = c->pid, .proc = c->proc };
	uint64_t allowed;
	struct ca_error *err = prepare(c, &allowed);

	*grown = false;
	if (err)
		return err;
	uint64_t began = now_ns();

	err = copy_stopped(c, &stop, allowed, grown);
	/* One that was killed after the copy was made does not matter. */
	ca_stop_release(&stop);
	c->image->taken.pause_ns = now_ns() - began;
	c->image->taken.at = time(NULL);
	return err;
}

static struct ca_error *capture(struct ca_capture *c)
{
	read_auxv(c);
	for (unsigned try = 0; try < TRIES; try++) {
		bool grown;
		struct ca_error *err = try_once(c, &grown);

		if (err || !grown)
			return err;
		ca_copy_fini(&c->copy);
	}
	return ca_process_refuse("try again", "it grows faster than it can be copied");
}

/* ---- the thread ---------------------------------------------------------------- */

struct errand {
	struct ca_capture *capture;
	struct ca_error *err;
};

static void *run(void *arg)
{
	struct errand *errand = arg;

	errand->err = capture(errand->capture);
	return NULL;
}

struct ca_error *ca_capture_run(struct ca_capture *capture)
{
	struct errand errand = { .capture = capture };
	pthread_t thread;
	int failed = pthread_create(&thread, NULL, run, &errand);

	if (failed)
		return ca_error_make(CA_INTERNAL, "cannot start a thread", "", "%s",
				     strerror(failed));
	pthread_join(thread, NULL);
	return errand.err;
}
