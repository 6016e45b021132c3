/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The steps around the stop, where the process is copied while it stands still. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
	GROWN_MAX = 4,		   /* times that it may have grown beyond what was weighed: */
	GROWTH_PART = 8,	   /* by this part */
	GROWTH_BYTES = 16 << 20,   /* and so much */
	ATTEMPTS_MAX = 5,
	WAIT_LEAST_NS = 1000 * 1000, /* between them; at most ten times as long */
};

uint64_t ca_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- what it is ----------------------------------------------------------------- */

/* What an analysis needs whole: a library's own data, and the vDSO for whoever unwinds. */
static void choose_whole(struct ca_vmas *vmas)
{
	for (size_t i = 0; i < vmas->count; i++) {
		struct ca_vma *vma = &vmas->items[i];

		vma->whole = !vma->shared && ((vma->is_elf && vma->flags & CA_SEG_WRITE) ||
					      !strcmp(vma->path, "[vdso]"));
	}
}

struct ca_error *ca_capturing_survey(struct ca_capturing *c)
{
	if (!ca_vmas_read(c->view->proc, &c->vmas))
		return ca_process_refuse("", "it ended");
	choose_whole(&c->vmas);
	if (ca_plan_make(c->view->proc, &c->vmas, &c->plan))
		return NULL;
	if (errno == ERANGE)
		return ca_process_refuse("Linux 6.7 or later can",
					 "it has terabytes mapped, too many to look for what is there");
	return ca_process_refuse("", "it ended");
}

void ca_capturing_describe(struct ca_capturing *c)
{
	ca_notes_make(&c->notes, &(struct ca_noted){
					 .pid = c->view->pid,
					 .proc = c->view->proc,
					 .lwps = c->lwps,
					 .lwp_count = c->lwp_count,
					 .vmas = &c->vmas,
					 .chroot = c->chroot,
					 .auxv = c->auxv,
					 .auxv_bytes = c->auxv_bytes,
				 });
	ca_pieces_make(&c->pieces, &c->vmas, &c->plan);
	ca_pieces_place(&c->pieces, ca_core_head_bytes(&c->pieces, &c->notes));
}

/* ---- stopped -------------------------------------------------------------------- */

enum outcome { DONE, GROWN, UNSETTLED };

static struct ca_error *fill(struct ca_capturing *c)
{
	const struct ca_store *store = &c->store;

	ca_capturing_describe(c);
	if (ca_store_fill(&c->store, c->view->pid, c->view->mem, &c->plan, &c->pieces))
		return NULL;
	return store->ended ? ca_process_refuse("", "it ended while it was read")
			    : ca_output_refuse(&c->output, store->error);
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

static struct ca_error *take(struct ca_capturing *c, struct ca_stop *stop, uint64_t allowed,
			     enum outcome *outcome)
{
	bool settled = true;
	struct ca_error *err = ca_stop_all(stop);

	if (!err)
		err = look(c, stop, &settled);
	if (!err && !settled && c->taken.attempts < ATTEMPTS_MAX) {
		*outcome = UNSETTLED;
		return NULL;
	}
	if (!err)
		err = ca_capturing_survey(c);
	if (!err && c->plan.bytes > allowed) {
		*outcome = GROWN;
		return NULL;
	}
	*outcome = DONE;
	return err ? err : fill(c);
}

static struct ca_error *try_once(struct ca_capturing *c, uint64_t allowed, enum outcome *outcome)
{
	struct ca_stop stop = { .pid = c->view->pid, .proc = c->view->proc };
	uint64_t began = ca_now_ns();

	c->taken.attempts++;
	struct ca_error *err = take(c, &stop, allowed, outcome);

	/* One that was killed after the copy was made does not matter. */
	ca_stop_release(&stop);
	c->taken.pause_ns = ca_now_ns() - began;
	c->taken.at = time(NULL);
	c->taken.lost_pages = c->store.lost_pages;
	return err;
}

/* ---- the whole ------------------------------------------------------------------- */

static struct ca_error *open_store(struct ca_capturing *c, uint64_t bytes)
{
	struct ca_error *err = NULL;

	/* One that is to be packed goes to a file without a name first, if it goes to one. */
	if (c->options->compress && c->spool.fd < 0)
		err = ca_output_spool(&c->output, &c->spool);
	if (!err)
		err = ca_store_open(&c->store, c->view->ctx, bytes,
				    c->options->compress ? c->spool.fd : c->output.fd, false);
	snprintf(c->taken.method, sizeof(c->taken.method), "%s", c->store.memory ? "copy" : "stream");
	return err;
}

static void wait_a_little(unsigned attempt)
{
	uint64_t jitter = ca_now_ns() % 9;
	struct timespec pause = { .tv_nsec = (long)(WAIT_LEAST_NS * (1 + (jitter + attempt) % 10)) };

	nanosleep(&pause, NULL);
}

struct ca_error *ca_copy_stopped(struct ca_capturing *c)
{
	enum outcome outcome = GROWN;
	uint64_t allowed = 0;
	struct ca_error *err = NULL;

	for (unsigned grown = 0; !err && outcome != DONE;) {
		if (outcome == GROWN && ++grown > GROWN_MAX)
			return ca_process_refuse("try again", "it grows faster than it can be copied");
		if (outcome == GROWN) {
			ca_store_close(&c->store);
			err = ca_capturing_survey(c);
			allowed = c->plan.bytes + c->plan.bytes / GROWTH_PART + GROWTH_BYTES;
			if (!err)
				err = open_store(c, ca_page_ceil(allowed));
		} else {
			wait_a_little(c->taken.attempts);
		}
		if (!err)
			err = try_once(c, allowed, &outcome);
	}
	return err;
}
