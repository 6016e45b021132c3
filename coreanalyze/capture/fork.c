/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A copy by a fork. All threads stand still while one of them runs clone() for us;
 * then all go on. The child never runs: it is born traced and stopped, its memory is
 * read, it is killed, and waited for by its parent in one more call of ours. It has
 * no exit signal and is not waited for by wait(), so that its parent does not see
 * it; it shares the parent's table of files, so that a close is a close; it is the
 * first that the kernel would kill for memory.
 */
#include "fork.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	CALLS_MAX = 3,
	LOOK_NS = 20 * 1000 * 1000, /* how often memory and its life are looked at meanwhile */
};

struct ca_forking {
	struct ca_gadgets gadgets;
	struct ca_injection injection;
	int mem;    /* the process's, to be written to */
	int pidfd;  /* of the process */
	int32_t child, child_there; /* its number here, and as its parent sees it; 0: none */
	struct ca_vmas special; /* with traits, before the stop */
	bool has_special;	/* some of it must be copied during the stop */
	struct ca_plan now;	/* that was, */
	uint8_t *now_bytes;	/* and its bytes, one run behind the other */
	pthread_mutex_t lock;
	uint64_t looked_ns;
	const char *ended; /* why the copying ended early */
};

/* ---- before the stop ------------------------------------------------------------- */

/* What the child does not have, or has in common with others who write to it. */
static bool is_special(const struct ca_vma *vma)
{
	return vma->traits & CA_VMA_NOT_FORKED || (vma->shared && vma->whole);
}

static struct ca_error *prepare(struct ca_capturing *c)
{
	struct ca_forking *f = c->forking;
	const struct ca_view *view = c->view;
	struct ca_error *err = ca_capturing_survey(c);

	if (!err && !ca_smaps_read(view->proc, &c->vmas))
		err = ca_process_refuse("", "it ended");
	if (!err)
		err = ca_fork_check(view, &c->vmas);
	if (err)
		return err;
	if (!ca_gadgets_find(&f->gadgets, view))
		return ca_error_make(CA_TARGET, "cannot fork this process",
				     "without --fork it is copied while it stands still",
				     "no C library of it has the code that would run our call");
	f->mem = openat(view->proc, "mem", O_RDWR | O_CLOEXEC);
	f->pidfd = (int)syscall(SYS_pidfd_open, view->pid, 0);
	if (f->mem < 0 || f->pidfd < 0)
		return ca_process_refuse("", "its memory may not be written: %s", strerror(errno));
	for (size_t i = 0; i < c->vmas.count; i++)
		f->has_special |= is_special(&c->vmas.items[i]);
	f->special = c->vmas;
	c->vmas = (struct ca_vmas){ 0 };
	return ca_capturing_open_store(c, c->plan.bytes + c->plan.bytes / 8, true);
}

/* ---- during it ------------------------------------------------------------------- */

/* What was found out of mappings before the stop. */
static void take_over_traits(struct ca_capturing *c)
{
	const struct ca_vmas *before = &c->forking->special;
	size_t k = 0;

	for (size_t i = 0; i < c->vmas.count; i++) {
		struct ca_vma *vma = &c->vmas.items[i];

		while (k < before->count && before->items[k].start < vma->start)
			k++;
		if (k < before->count && before->items[k].start == vma->start) {
			vma->traits = before->items[k].traits;
			vma->whole = before->items[k].whole;
		}
	}
}

/* The lower the better: a call that was interrupted is restarted, which may show. */
static int rank(const struct ca_lwp *lwp)
{
	enum { RESTARTBLOCK = -516 };
	const struct user_regs_struct *regs = lwp->registers;

	if ((int64_t)regs->orig_rax < 0)
		return 0;
	return (int64_t)regs->rax == RESTARTBLOCK ? 2 : 1;
}

static struct ca_error *choose(struct ca_capturing *c)
{
	struct ca_forking *f = c->forking;
	const struct ca_lwp *best = NULL;
	const char *obstacle = NULL;
	size_t refused = 0;

	for (size_t i = 0; i < c->lwp_count; i++) {
		const struct ca_lwp *lwp = &c->lwps[i];
		const char *why = ca_inject_obstacle(lwp, c->view, &c->vmas);

		if (why)
			obstacle = why;
		refused += why != NULL;
		if (!why && (!best || rank(lwp) < rank(best)))
			best = lwp;
	}
	f->injection = (struct ca_injection){ .mem = f->mem, .gadgets = &f->gadgets };
	if (best) {
		f->injection.lwp = best->lwp;
		return NULL;
	}
	return ca_error_make(CA_TARGET, "cannot fork this process",
			     "try again, or without --fork it is copied while it stands still",
			     "none of its %zu threads can run our call; of the last one: %s", refused,
			     obstacle ? obstacle : "");
}

static struct ca_error *refuse_call(int64_t result)
{
	int why = (int)-result;
	const char *advice = why == EAGAIN ? "is a limit on processes (pids.max, ulimit -u) reached?"
					   : "without --fork it is copied while it stands still";

	return ca_error_make(CA_TARGET, "cannot fork this process", advice, "its clone(): %s",
			     strerror(why));
}

static struct ca_error *call_clone(struct ca_forking *f)
{
	struct ca_injection *injection = &f->injection;

	if (!ca_gadgets_hold(&f->gadgets, f->mem) || !ca_inject_prepare(injection))
		return ca_error_make(CA_TARGET, "cannot fork this process",
				     "without --fork it is copied while it stands still",
				     "a state of its processor (AMX) does not fit a signal frame, or its "
				     "library is gone");
	/* No exit signal: the low byte is 0. */
	const uint64_t arguments[6] = { CLONE_FILES | CLONE_FS, injection->frame.child_sp };

	for (unsigned i = 0; i < CALLS_MAX && !f->child; i++) {
		bool done = ca_inject(injection, SYS_clone, arguments);

		f->child = injection->child;
		if (!done)
			return ca_process_refuse("", "it ended while it was read");
		f->child_there = f->child ? (int32_t)injection->result : 0;
	}
	return f->child ? NULL : refuse_call(injection->result);
}

static void make_first_victim(int32_t child)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", child);
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	/* What may not be set stays: the memory is watched as well. */
	if (fd >= 0 && write(fd, "1000", 4) < 0)
		errno = 0;
	if (fd >= 0)
		close(fd);
}

/* What the child lacks is copied at once. */
static struct ca_error *copy_special(struct ca_capturing *c)
{
	struct ca_forking *f = c->forking;
	struct ca_vmas only = { 0 };
	uint8_t *to;

	if (!f->has_special)
		return NULL;
	only.items = ca_alloc(c->vmas.count * sizeof(*only.items));
	for (size_t i = 0; i < c->vmas.count; i++)
		if (is_special(&c->vmas.items[i]))
			only.items[only.count++] = c->vmas.items[i];
	bool made = ca_plan_make(c->view->proc, &only, &f->now);

	free(only.items);
	if (!made)
		return ca_process_refuse("", "it ended while it was read");
	to = f->now_bytes = ca_alloc(f->now.bytes);
	for (size_t i = 0; i < f->now.count; i++) {
		ca_read_pages(&c->store, 0, c->view->mem, to, f->now.runs[i]);
		to += f->now.runs[i].end - f->now.runs[i].start;
	}
	return NULL;
}

static struct ca_error *fork_it(struct ca_capturing *c)
{
	struct ca_error *err;

	if (!ca_vmas_read(c->view->proc, &c->vmas))
		return ca_process_refuse("", "it ended");
	take_over_traits(c);
	err = choose(c);
	if (!err)
		err = call_clone(c->forking);
	if (!err)
		make_first_victim(c->forking->child);
	return err ? err : copy_special(c);
}

/* ---- after it -------------------------------------------------------------------- */

/* Both sorted, without a page in common. */
static void merge(struct ca_plan *to, const struct ca_plan *a, const struct ca_plan *b)
{
	size_t i = 0, k = 0;

	to->runs = ca_alloc((a->count + b->count) * sizeof(*to->runs));
	while (i < a->count || k < b->count) {
		bool first = k == b->count || (i < a->count && a->runs[i].start < b->runs[k].start);

		to->runs[to->count++] = first ? a->runs[i++] : b->runs[k++];
	}
	to->bytes = a->bytes + b->bytes;
}

/* Its address space is the parent's of that moment, and stands still. */
static struct ca_error *survey_child(struct ca_capturing *c, struct ca_plan *of_child)
{
	struct ca_forking *f = c->forking;
	char folder[32];
	int proc;
	bool made;

	snprintf(folder, sizeof(folder), "/proc/%d", f->child);
	proc = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < c->vmas.count; i++)
		c->vmas.items[i].whole &= !is_special(&c->vmas.items[i]);
	made = proc >= 0 && ca_plan_make(proc, &c->vmas, of_child);
	if (proc >= 0)
		close(proc);
	if (!made)
		return ca_process_refuse("", "its copy ended while it was read: %s", strerror(errno));
	ca_plan_fini(&c->plan);
	merge(&c->plan, of_child, &f->now);
	return NULL;
}

/* A signal to us that would end us: it waits until all is undone. */
static bool is_interrupted(void)
{
	sigset_t pending;

	return !sigpending(&pending) &&
	       (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) ||
		sigismember(&pending, SIGHUP) || sigismember(&pending, SIGQUIT));
}

static bool has_ended(const struct ca_forking *f)
{
	struct pollfd process = { .fd = f->pidfd, .events = POLLIN };

	return poll(&process, 1, 0) > 0;
}

/* By its code: an exec() replaces all of its memory, and closes what the child holds open. */
static bool has_memory(const struct ca_capturing *c)
{
	return ca_gadgets_hold(&c->forking->gadgets, c->view->mem);
}

static const char *why_end(const struct ca_capturing *c)
{
	if (is_interrupted())
		return "we were told to end";
	if (has_ended(c->forking) || !has_memory(c))
		return "the process ended, or runs another program";
	if (ca_fork_is_short(c->view->pid))
		return "less than a twentieth of its memory limit, or of the machine's memory, was left";
	return NULL;
}

static bool go_on(void *arg)
{
	struct ca_capturing *c = arg;
	struct ca_forking *f = c->forking;

	pthread_mutex_lock(&f->lock);
	if (!f->ended && ca_now_ns() - f->looked_ns > LOOK_NS) {
		f->ended = why_end(c);
		f->looked_ns = ca_now_ns();
	}
	bool on = !f->ended;

	pthread_mutex_unlock(&f->lock);
	return on;
}

/* Bytes that the child's memory has not, or not as they were, into the core. */
static bool put_bytes(struct ca_capturing *c, ca_addr start, const uint8_t *bytes, uint64_t size)
{
	for (size_t i = 0; i < c->pieces.count && size; i++) {
		const struct ca_piece *piece = &c->pieces.items[i];
		uint64_t part = piece->end - start < size ? piece->end - start : size;

		if (start < piece->start || start >= piece->end)
			continue;
		if (piece->dumped && pwrite(c->store.fd, bytes, part,
					    (off_t)(piece->offset + (start - piece->start))) !=
					     (ssize_t)part)
			return false;
		start += part;
		bytes += part;
		size -= part;
	}
	return true;
}

static bool put_special(struct ca_capturing *c)
{
	const struct ca_forking *f = c->forking;
	const uint8_t *bytes = f->now_bytes;

	for (size_t i = 0; i < f->now.count; i++) {
		uint64_t size = f->now.runs[i].end - f->now.runs[i].start;

		if (!put_bytes(c, f->now.runs[i].start, bytes, size))
			return false;
		bytes += size;
	}
	/* Where our frame was. */
	return put_bytes(c, f->injection.frame.start, f->injection.before, f->injection.frame.size);
}

static struct ca_error *read_child(struct ca_capturing *c)
{
	struct ca_forking *f = c->forking;
	struct ca_plan of_child = { 0 };
	char path[32];
	struct ca_error *err = survey_child(c, &of_child);

	snprintf(path, sizeof(path), "/proc/%d/mem", f->child);
	int mem = err ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	if (!err && mem < 0)
		err = ca_process_refuse("", "its copy may not be read: %s", strerror(errno));
	if (!err) {
		c->store.go_on = go_on;
		c->store.arg = c;
		ca_capturing_describe(c);
		if (!ca_store_fill(&c->store, 0, mem, &of_child, &c->pieces))
			err = f->ended ? ca_process_refuse("without --fork it is copied while it "
							   "stands still",
							   "its copy was given up: %s", f->ended)
			      : c->store.ended ? ca_process_refuse("", "its copy was killed while it "
								       "was read")
					       : ca_output_refuse(&c->output, c->store.error);
		else if (!put_special(c))
			err = ca_output_refuse(&c->output, errno);
	}
	if (mem >= 0)
		close(mem);
	ca_plan_fini(&of_child);
	return err;
}

/* ---- the whole ------------------------------------------------------------------- */

static void end_child(struct ca_capturing *c)
{
	struct ca_forking *f = c->forking;
	uint64_t pause_ns = 0;
	int status;

	if (!f->child)
		return;
	kill(f->child, SIGKILL);
	while (waitpid(f->child, &status, __WALL) < 0 && errno == EINTR)
		;
	if (f->injection.was_stopped)
		kill(c->view->pid, SIGSTOP);
	if ((f->child_there <= 0 ||
	     !ca_fork_reap(c->view, &f->gadgets, f->mem, f->child_there, &pause_ns)) &&
	    !has_ended(f))
		ca_warn(c->view->ctx, "zombie", 0, "`capture --reap` tries again",
			"the copy, process %d, has ended, but its parent could not be made to wait "
			"for it", f->child);
	c->taken.pause_ns += pause_ns;
}

struct ca_error *ca_fork_taken(struct ca_capturing *c)
{
	struct ca_forking f = { .mem = -1, .pidfd = -1, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct ca_error *err;

	c->forking = &f;
	snprintf(c->taken.method, sizeof(c->taken.method), "fork");
	err = prepare(c);
	if (!err)
		err = ca_stopped(c, fork_it);
	if (!err)
		err = read_child(c);
	end_child(c);
	ca_vmas_fini(&f.special);
	ca_plan_fini(&f.now);
	free(f.now_bytes);
	if (f.mem >= 0)
		close(f.mem);
	if (f.pidfd >= 0)
		close(f.pidfd);
	c->forking = NULL;
	c->taken.lost_pages = c->store.lost_pages;
	return err;
}
