/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The steps around the stop, where the process is copied while it stands still. */
#include "private.h"

#include <errno.h>
#include <stdio.h>

enum {
	GROWN_MAX = 4,		   /* times that it may have grown beyond what was weighed: */
	GROWTH_PART = 8,	   /* by this part */
	GROWTH_BYTES = 16 << 20,   /* and so much */
};

/* ---- what it is ----------------------------------------------------------------- */

struct ca_error *ca_capturing_survey(struct ca_capturing *c)
{
	if (!ca_vmas_read(c->view->proc, &c->vmas) ||
	    !ca_choose(c->view->proc, &c->vmas, c->options->full))
		return ca_process_refuse("", "it ended");
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

/* A core that is to be packed goes to a file without a name first, if it goes to one. */
struct ca_error *ca_capturing_open_store(struct ca_capturing *c, uint64_t bytes, bool to_file)
{
	bool pack = c->options->compress;
	struct ca_error *err = NULL;

	if (pack && c->spool.fd < 0)
		err = ca_output_spool(&c->output, &c->spool);
	if (err)
		return err;
	return ca_store_open(&c->store, c->view->ctx, bytes, pack ? c->spool.fd : c->output.fd, to_file);
}

/* ---- stopped -------------------------------------------------------------------- */

static struct ca_error *copy(struct ca_capturing *c)
{
	const struct ca_store *store = &c->store;
	struct ca_error *err = ca_capturing_survey(c);

	c->grown = !err && c->plan.bytes > c->allowed;
	if (err || c->grown)
		return err;
	ca_capturing_describe(c);
	if (ca_store_fill(&c->store, c->view->pid, c->view->mem, &c->plan, &c->pieces))
		return NULL;
	return store->ended ? ca_process_refuse("", "it ended while it was read")
			    : ca_output_refuse(&c->output, store->error);
}

/* ---- the whole ------------------------------------------------------------------- */

static struct ca_error *prepare(struct ca_capturing *c)
{
	struct ca_error *err = ca_capturing_survey(c);

	c->allowed = ca_page_ceil(c->plan.bytes + c->plan.bytes / GROWTH_PART + GROWTH_BYTES);
	if (!err)
		err = ca_capturing_open_store(c, c->allowed, false);
	snprintf(c->taken.method, sizeof(c->taken.method), "%s", c->store.memory ? "copy" : "stream");
	return err;
}

struct ca_error *ca_copy_taken(struct ca_capturing *c)
{
	for (unsigned i = 0; i < GROWN_MAX; i++) {
		struct ca_error *err = prepare(c);

		if (!err)
			err = ca_stopped(c, copy);
		c->taken.lost_pages = c->store.lost_pages;
		if (err || !c->grown)
			return err;
		ca_store_close(&c->store);
	}
	return ca_process_refuse("try again", "it grows faster than it can be copied");
}
