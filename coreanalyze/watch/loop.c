/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Waits for all that can happen, and does what is due: see watch.h. */
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
	LOOK_MS = 2000,         /* who there is */
	LOOK_SOON_MS = 200,     /* after one has ended, whose successor comes at once, or is just there */
	GRACE_MS = 5000,        /* for a capture that is under way when we are to stop */
	EVENTS = 32,
};

/* ---- news ------------------------------------------------------------------------- */

void ca_loop_tell(struct ca_watch_loop *loop, struct ca_watch_news news)
{
	news.when = ca_watch_date();
	if (!loop->watch->tell(loop->watch->arg, &news))
		loop->stopping = true;
}

void ca_loop_tell_trouble(struct ca_watch_loop *loop, const char *text)
{
	ca_loop_tell(loop, (struct ca_watch_news){ .event = CA_WATCH_TROUBLE, .text = text });
}

struct ca_watch_news ca_loop_news_of(struct ca_watch_loop *loop, const struct ca_subject *subject,
				    enum ca_watch_event event)
{
	const struct ca_group *group = ca_membership_tightest(&loop->groups, &subject->membership);

	return (struct ca_watch_news){
		.event = event,
		.pid = subject->pid,
		.rss = subject->rss,
		.limit = group ? group->figures.limit : 0,
		.used = group ? ca_memory_group_used(&group->figures) : 0,
	};
}

/* ---- who there is --------------------------------------------------------------------- */

struct ca_subject *ca_loop_find(struct ca_watch_loop *loop, int32_t pid)
{
	for (size_t i = 0; i < CA_SUBJECTS_MAX; i++)
		if (loop->subjects[i].pid == pid)
			return &loop->subjects[i];
	return NULL;
}

static void lose(struct ca_watch_loop *loop, struct ca_subject *subject)
{
	struct ca_watch_news news = ca_loop_news_of(loop, subject, CA_WATCH_ENDED);

	news.oom_kills = ca_membership_kills(&subject->membership);
	ca_groups_leave(&loop->groups, &subject->membership);
	ca_subject_close(subject, loop->epoll);
	loop->count--;
	loop->look_due = ca_watch_now() + LOOK_SOON_MS;
	loop->look_soon = true;
	ca_loop_tell(loop, news);
}

static void look_at(struct ca_watch_loop *loop, struct ca_subject *subject, int64_t now)
{
	if (!ca_subject_look(subject, loop->watch, now))
		lose(loop, subject);
}

static void take_new(struct ca_watch_loop *loop, struct ca_subject *subject, const struct ca_proc_row *row)
{
	int64_t now = ca_watch_now();

	if (!ca_subject_open(subject, row, loop->watch, now))
		return;
	loop->count++;
	ca_groups_join(&loop->groups, row->pid, &subject->membership);
	if (subject->pidfd >= 0)
		ca_watch_wait(loop->epoll, subject->pidfd, EPOLLIN, CA_WAKE_SUBJECT,
			      (int)(subject - loop->subjects));
	ca_subject_look(subject, loop->watch, now); /* when it is gone already, the next look tells */
	ca_loop_tell(loop, ca_loop_news_of(loop, subject, CA_WATCH_FOUND));
}

static void take_process(void *arg, const struct ca_proc_row *row)
{
	struct ca_watch_loop *loop = arg;
	struct ca_subject *subject = ca_loop_find(loop, row->pid);

	if (subject && subject->started == row->started)
		return;
	if (subject)
		lose(loop, subject); /* another one has its number */
	subject = ca_loop_find(loop, 0);
	if (subject)
		take_new(loop, subject, row);
	else if (!loop->too_many)
		ca_loop_tell_trouble(loop, "there are more than 256 such processes: the others are not watched");
	loop->too_many |= !subject;
}

static void look_around(struct ca_watch_loop *loop, int64_t now)
{
	loop->look_soon = ca_source_look(&loop->source, loop->look_soon, take_process, loop);
	loop->look_due = now + (loop->look_soon ? LOOK_SOON_MS : LOOK_MS);
	if (loop->groups.unarmed && !loop->untriggered) {
		ca_loop_tell_trouble(loop, "the kernel does not tell of memory pressure here: its average over ten "
				   "seconds is read instead");
		loop->untriggered = true;
	}
}

/* ---- what has triggered ------------------------------------------------------------------ */

static bool is_member(const struct ca_membership *membership, int group, int pressure)
{
	bool found = pressure >= 0 && membership->pressure == pressure;

	for (unsigned i = 0; i < membership->count; i++)
		found |= membership->groups[i] == group;
	return found;
}

/* Of all that share the memory, the one that has most of it. */
static void want_largest(struct ca_watch_loop *loop, int group, int pressure, enum ca_trigger trigger)
{
	struct ca_subject *largest = NULL;

	for (size_t i = 0; i < CA_SUBJECTS_MAX; i++) {
		struct ca_subject *subject = &loop->subjects[i];

		if (subject->pid && is_member(&subject->membership, group, pressure) &&
		    ca_proc_resident(subject->statm, &subject->rss) &&
		    (!largest || subject->rss > largest->rss))
			largest = subject;
	}
	if (largest)
		ca_subject_want(largest, trigger);
}

static void look_at_group(struct ca_watch_loop *loop, int i, int64_t now, bool heard)
{
	if (loop->groups.items[i].members && ca_group_look(&loop->groups, i, now, heard))
		want_largest(loop, i, -1, CA_BY_PERCENT);
}

static void look_at_pressure(struct ca_watch_loop *loop, int i, int64_t now, bool heard)
{
	if (loop->groups.pressures[i].members && ca_pressure_look(&loop->groups, i, now, heard))
		want_largest(loop, -1, i, CA_BY_PRESSURE);
}

static bool is_due(int64_t due, int64_t now)
{
	return due != CA_NEVER_MS && due <= now;
}

static void look_at_all(struct ca_watch_loop *loop, int64_t now)
{
	if (is_due(loop->look_due, now))
		look_around(loop, now);
	for (size_t i = 0; i < CA_SUBJECTS_MAX; i++)
		if (loop->subjects[i].pid && is_due(loop->subjects[i].due, now))
			look_at(loop, &loop->subjects[i], now);
	for (int i = 0; i < CA_GROUPS_MAX; i++) {
		if (loop->groups.items[i].members && is_due(loop->groups.items[i].due, now))
			look_at_group(loop, i, now, false);
		if (loop->groups.pressures[i].fd < 0 && is_due(loop->groups.pressures[i].due, now))
			look_at_pressure(loop, i, now, false);
	}
}

/* ---- the end ------------------------------------------------------------------------------------ */

/* Once: what is under way may be finished. Twice: it is undone. */
static void hear_signal(struct ca_watch_loop *loop, int64_t now)
{
	struct signalfd_siginfo info;

	while (read(loop->signals, &info, sizeof(info)) > 0) {
		loop->stop_by = loop->stopping ? now : now + GRACE_MS;
		loop->stopping = true;
	}
}

static bool is_done(struct ca_watch_loop *loop, int64_t now)
{
	bool busy = ca_work_is_busy(loop);

	if (loop->watch->pid && loop->look_due && !loop->count && !busy)
		return true;
	return loop->stopping && (!busy || now >= loop->stop_by);
}

/* ---- the loop -------------------------------------------------------------------------------------- */

static void sooner(int64_t *next, int64_t due)
{
	if (due != CA_NEVER_MS && due < *next)
		*next = due;
}

static int until_next(struct ca_watch_loop *loop, int64_t now)
{
	int64_t next = INT64_MAX;

	sooner(&next, loop->room_due);
	if (loop->stopping)
		sooner(&next, loop->stop_by);
	else
		sooner(&next, loop->look_due);
	for (size_t i = 0; i < CA_SUBJECTS_MAX && !loop->stopping; i++) {
		const struct ca_subject *subject = &loop->subjects[i];

		if (!subject->pid)
			continue;
		sooner(&next, subject->due);
		if (subject->wanted && !loop->capture.child)
			sooner(&next, subject->rest_until);
	}
	for (int i = 0; i < CA_GROUPS_MAX && !loop->stopping; i++) {
		if (loop->groups.items[i].members)
			sooner(&next, loop->groups.items[i].due);
		if (loop->groups.pressures[i].members && loop->groups.pressures[i].fd < 0)
			sooner(&next, loop->groups.pressures[i].due);
	}
	return next <= now ? 0 : next - now > LOOK_MS ? LOOK_MS : (int)(next - now);
}

static void hear(struct ca_watch_loop *loop, enum ca_wake wake, int i)
{
	int64_t now = ca_watch_now();

	switch (wake) {
	case CA_WAKE_SIGNAL:
		hear_signal(loop, now);
		break;
	case CA_WAKE_SUBJECT:
		if (loop->subjects[i].pid)
			lose(loop, &loop->subjects[i]);
		break;
	case CA_WAKE_GROUP:
		look_at_group(loop, i, now, true);
		break;
	case CA_WAKE_EVENTS:
		ca_groups_hear(&loop->groups, now);
		break;
	case CA_WAKE_PRESSURE:
		look_at_pressure(loop, i, now, true);
		break;
	case CA_WAKE_CAPTURE:
		if (loop->capture.child)
			ca_work_capture_ended(loop);
		break;
	case CA_WAKE_COMMAND:
		if (loop->command.child)
			ca_work_command_ended(loop);
		break;
	}
}

static void run(struct ca_watch_loop *loop)
{
	struct epoll_event events[EVENTS];
	int64_t now;

	while (now = ca_watch_now(), !is_done(loop, now)) {
		if (is_due(loop->room_due, now))
			ca_work_look_at_room(loop, now);
		if (!loop->stopping) {
			look_at_all(loop, now);
			ca_work_capture(loop, now);
		}
		ca_work_command(loop);

		int count = epoll_wait(loop->epoll, events, EVENTS, until_next(loop, ca_watch_now()));

		for (int i = 0; i < count; i++)
			hear(loop, (enum ca_wake)(events[i].data.u64 >> 32), (int)(uint32_t)events[i].data.u64);
	}
	ca_work_stop(loop);
}

/* ---- the whole ---------------------------------------------------------------------------------------- */

static struct ca_error *check(const struct ca_watch *watch)
{
	struct ca_proc_row row;

	if (watch->pid && !ca_proc_row(watch->pid, &row))
		return ca_error_make(CA_TARGET, "cannot watch it", "is it in another PID namespace?",
				     "there is no process %d here", watch->pid);
	if (watch->pressure && access("/proc/pressure/memory", R_OK))
		return ca_error_make(CA_TARGET, "cannot watch pressure",
				     "the kernel needs CONFIG_PSI, and psi=1 on its command line",
				     "/proc/pressure/memory: %s", strerror(errno));
	return NULL;
}

static void open_loop(struct ca_watch_loop *loop, const sigset_t *signals)
{
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->signals = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
	ca_watch_wait(loop->epoll, loop->signals, EPOLLIN, CA_WAKE_SIGNAL, 0);
	ca_groups_init(&loop->groups, loop->watch, "", loop->epoll);
}

static void close_loop(struct ca_watch_loop *loop)
{
	for (size_t i = 0; i < CA_SUBJECTS_MAX; i++) {
		if (!loop->subjects[i].pid)
			continue;
		ca_groups_leave(&loop->groups, &loop->subjects[i].membership);
		ca_subject_close(&loop->subjects[i], loop->epoll);
	}
	ca_groups_fini(&loop->groups);
	close(loop->signals);
	close(loop->epoll);
}

struct ca_error *ca_watch_run(const struct ca_watch *watch)
{
	struct ca_watch_loop *loop = ca_alloc(sizeof(*loop));
	struct sigaction ignored = { .sa_handler = SIG_IGN }, pipe_before;
	sigset_t signals, before;
	struct ca_error *err = check(watch);

	loop->watch = loop->source.watch = watch;
	loop->shelf.folder = -1;
	loop->room_due = CA_NEVER_MS;
	if (!err)
		err = ca_shelf_open(&loop->shelf, watch);
	if (!err) {
		sigemptyset(&signals);
		sigaddset(&signals, SIGTERM);
		sigaddset(&signals, SIGINT);
		sigprocmask(SIG_BLOCK, &signals, &before);
		sigaction(SIGPIPE, &ignored, &pipe_before); /* ca_loop_tell() is told so */
		open_loop(loop, &signals);
		ca_loop_tell(loop, (struct ca_watch_news){ .event = CA_WATCH_STARTED });
		run(loop);
		ca_loop_tell(loop, (struct ca_watch_news){ .event = CA_WATCH_STOPPED });
		close_loop(loop);
		sigaction(SIGPIPE, &pipe_before, NULL);
		sigprocmask(SIG_SETMASK, &before, NULL);
	}
	ca_shelf_close(&loop->shelf);
	free(loop);
	return err;
}
