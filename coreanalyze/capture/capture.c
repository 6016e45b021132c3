/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The whole of a capture. It runs in a thread of its own, since the kernel ties
 * what is stopped to the thread that stopped it: when that ends, all goes on.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void *run(void *arg)
{
	struct ca_capturing *c = arg;

	return c->options->fork ? ca_fork_taken(c) : ca_copy_taken(c);
}

/* A fork is not to be left half-way: signals to us wait, and are asked for. */
static struct ca_error *take(struct ca_capturing *c)
{
	pthread_t thread;
	void *err = NULL;
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(c->options->fork ? SIG_BLOCK : SIG_UNBLOCK, c->options->fork ? &all : NULL,
			&before);
	int failed = pthread_create(&thread, NULL, run, c);

	if (!failed)
		pthread_join(thread, &err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed)
		return ca_error_make(CA_INTERNAL, "cannot start a thread", "", "%s",
				     strerror(failed));
	return err;
}

/* Into a file whose memory is there already, or all of it. */
static bool write_core(struct ca_capturing *c)
{
	ca_notes_set_taken(&c->notes, &c->taken);
	if (c->store.memory)
		return ca_core_write(c->output.fd, c->options->compress, &c->pieces, &c->notes,
				     &c->store, &c->plan);
	if (!ca_core_write_head(c->store.fd, &c->pieces, &c->notes))
		return false;
	return c->store.fd == c->output.fd ||
	       ca_core_pack(c->store.fd, c->output.fd, c->pieces.file_bytes);
}

static void tell(const struct ca_capturing *c, struct ca_captured *out)
{
	struct stat st = { 0 };

	fstat(c->output.fd, &st);
	*out = (struct ca_captured){
		.bytes = c->pieces.file_bytes,
		.disk_bytes = (uint64_t)st.st_blocks * 512,
		.threads = c->lwp_count,
		.taken = c->taken,
	};
}

static void prepare(struct ca_capturing *c)
{
	size_t bytes;
	struct ca_arena *arena = &c->view->ctx->arena;
	char *auxv = ca_proc_read(c->view->proc, "auxv", &bytes);

	if (auxv) {
		void *kept = ca_arena_alloc(arena, bytes + 1);

		memcpy(kept, auxv, bytes);
		c->auxv = kept;
		c->auxv_bytes = bytes;
	}
	free(auxv);
	c->chroot = ca_process_chroot(arena, c->view->proc);
	ca_settled_init(&c->settled, c->view);
}

static void fini(struct ca_capturing *c)
{
	ca_store_close(&c->store);
	ca_spool_close(&c->spool);
	ca_output_close(&c->output);
	ca_settled_fini(&c->settled);
	ca_vmas_fini(&c->vmas);
	ca_plan_fini(&c->plan);
	ca_pieces_fini(&c->pieces);
	ca_notes_fini(&c->notes);
	free(c->lwps);
}

struct ca_error *ca_capture(const struct ca_view *view, const struct ca_capture_options *options,
			    struct ca_captured *out)
{
	struct ca_capturing c = { .view = view, .options = options, .spool = { .fd = -1 } };
	struct ca_error *err = ca_output_open(&c.output, options->file);

	prepare(&c);
	if (!err)
		err = take(&c);
	if (!err && (!write_core(&c) || !ca_output_commit(&c.output)))
		err = ca_output_refuse(&c.output, errno);
	if (!err)
		tell(&c, out);
	fini(&c);
	return err;
}
