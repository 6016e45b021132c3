/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Waits for all that can happen, and does what is due: see watch.h. */
#include "private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
	LOOK_MS = 2000,         /* who there is */
	LOOK_SOON_MS = 200,     /* after one has ended: its successor comes at once */
	GRACE_MS = 5000,        /* for a capture that is under way when we are to stop */
	AGAIN_MS = 2000,        /* after one has failed, */
	TRIES = 3,              /* and so often */
	REST_PART = 10,         /* it may run for ten times as long as it stood still */
	COMMANDS_MAX = 64,      /* files whose command has not run */
	EVENTS = 32,
	ROOM_MS = 100,          /* how often the memory left to a capture is looked at */
};

/*
 * What the child needs at least of the memory that we may take: with less, it and
 * whoever shares our limit only wait for pages. It is ended when it has a quarter.
 */
#define LEAST_ROOM (UINT64_C(32) << 20)

struct waiting {
	struct ca_owner owner;
	enum ca_trigger reason;
	char file[4096];
};

struct loop {
	const struct ca_watch *watch;
	int epoll, signals;
	struct ca_source source;
	struct ca_groups groups;
	struct ca_shelf shelf;
	struct ca_subject subjects[CA_SUBJECTS_MAX];
	size_t count;          /* of subjects */
	bool too_many, untriggered; /* was told already */
	struct ca_job capture, command;
	struct waiting commands[COMMANDS_MAX]; /* the first one runs when command does */
	size_t command_count;
	int64_t look_due, room_due;
	bool look_soon;
	bool stopping;
	int64_t stop_by;
};

/* ---- news ------------------------------------------------------------------------- */

static void tell(struct loop *loop, struct ca_watch_news news)
{
	news.when = ca_watch_date();
	if (!loop->watch->tell(loop->watch->arg, &news))
		loop->stopping = true;
}

static void tell_dropped(void *arg, const struct ca_kept *kept, const char *why)
{
	tell(arg, (struct ca_watch_news){ .event = CA_WATCH_DROPPED, .pid = kept->pid, .file = kept->name,
					  .bytes = kept->bytes, .text = why });
}

static void tell_trouble(struct loop *loop, const char *text)
{
	tell(loop, (struct ca_watch_news){ .event = CA_WATCH_TROUBLE, .text = text });
}

/* Of a process: what it takes, and what its groups leave it. */
static struct ca_watch_news news_of(struct loop *loop, const struct ca_subject *subject,
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

static struct ca_subject *find_subject(struct loop *loop, int32_t pid)
{
	for (size_t i = 0; i < CA_SUBJECTS_MAX; i++)
		if (loop->subjects[i].pid == pid)
			return &loop->subjects[i];
	return NULL;
}

static void lose(struct loop *loop, struct ca_subject *subject)
{
	struct ca_watch_news news = news_of(loop, subject, CA_WATCH_ENDED);

	news.oom_kills = ca_membership_kills(&subject->membership);
	ca_groups_leave(&loop->groups, &subject->membership);
	ca_subject_close(subject, loop->epoll);
	loop->count--;
	loop->look_due = ca_watch_now() + LOOK_SOON_MS;
	loop->look_soon = true;
	tell(loop, news);
}

static void look_at(struct loop *loop, struct ca_subject *subject, int64_t now)
{
	if (!ca_subject_look(subject, loop->watch, now))
		lose(loop, subject);
}

static void take_new(struct loop *loop, struct ca_subject *subject, const struct ca_proc_row *row)
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
	tell(loop, news_of(loop, subject, CA_WATCH_FOUND));
}

static void take_process(void *arg, const struct ca_proc_row *row)
{
	struct loop *loop = arg;
	struct ca_subject *subject = find_subject(loop, row->pid);

	if (subject && subject->started == row->started)
		return;
	if (subject)
		lose(loop, subject); /* another one has its number */
	subject = find_subject(loop, 0);
	if (subject)
		take_new(loop, subject, row);
	else if (!loop->too_many)
		tell_trouble(loop, "there are more than 256 such processes: the others are not watched");
	loop->too_many |= !subject;
}

static void look_around(struct loop *loop, int64_t now)
{
	loop->look_due = now + LOOK_MS;
	ca_source_look(&loop->source, loop->look_soon, take_process, loop);
	loop->look_soon = false;
	if (loop->groups.unarmed && !loop->untriggered) {
		tell_trouble(loop, "the kernel does not tell of memory pressure here: its average over ten "
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
static void want_largest(struct loop *loop, int group, int pressure, enum ca_trigger trigger)
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

static void look_at_group(struct loop *loop, int i, int64_t now, bool heard)
{
	if (loop->groups.items[i].members && ca_group_look(&loop->groups, i, now, heard))
		want_largest(loop, i, -1, CA_BY_PERCENT);
}

static void look_at_pressure(struct loop *loop, int i, int64_t now, bool heard)
{
	if (loop->groups.pressures[i].members && ca_pressure_look(&loop->groups, i, now, heard))
		want_largest(loop, -1, i, CA_BY_PRESSURE);
}

static bool is_due(int64_t due, int64_t now)
{
	return due != CA_NEVER_MS && due <= now;
}

static void look_at_all(struct loop *loop, int64_t now)
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

/* ---- captures ------------------------------------------------------------------------------ */

static struct ca_subject *most_wanted(struct loop *loop, int64_t now)
{
	struct ca_subject *most = NULL;

	for (size_t i = 0; i < CA_SUBJECTS_MAX; i++) {
		struct ca_subject *subject = &loop->subjects[i];

		if (!subject->pid || !subject->wanted || subject->rest_until > now)
			continue;
		if (!most || subject->wanted > most->wanted ||
		    (subject->wanted == most->wanted && subject->rss > most->rss))
			most = subject;
	}
	return most;
}

/* Of the capture, with figures of when it began: it may have ended meanwhile. */
static void tell_capture(struct loop *loop, struct ca_watch_news news)
{
	const struct ca_job *job = &loop->capture;

	news.pid = job->owner.pid;
	news.reason = ca_trigger_name(job->reason);
	news.rss = job->rss;
	news.used = job->used;
	news.limit = job->limit;
	tell(loop, news);
}

static void tell_failed(struct loop *loop, const char *why)
{
	tell_capture(loop, (struct ca_watch_news){ .event = CA_WATCH_FAILED, .text = why });
}

static void tell_no_room(struct loop *loop, const char *format, uint64_t needed, uint64_t room)
{
	char wanted[32], there[32], why[256];

	ca_format_size(wanted, sizeof(wanted), needed);
	ca_format_size(there, sizeof(there), room);
	snprintf(why, sizeof(why), format, wanted, (unsigned long long)needed, there,
		 (unsigned long long)room);
	tell_failed(loop, why);
}

/* In memory and on the disk. */
static bool make_room(struct loop *loop, const struct ca_subject *subject)
{
	uint64_t needed = ca_proc_private(subject->pid) + (UINT64_C(2) << 20), room = ca_memory_room("");

	if (room < LEAST_ROOM) {
		tell_no_room(loop, "it would need %s (%llu bytes) of memory at least, and %s (%llu bytes) "
				   "may be used", LEAST_ROOM, room);
		return false;
	}
	if (ca_shelf_make_room(&loop->shelf, needed, tell_dropped, loop, &room))
		return true;
	tell_no_room(loop, "it may take %s (%llu bytes) on the disk, where with --max-disk there are %s "
			   "(%llu bytes) for it", needed, room);
	return false;
}

/* Who is watched must not wait for memory because of us. */
static void look_at_room(struct loop *loop, int64_t now)
{
	uint64_t room;

	loop->room_due = loop->capture.child ? now + ROOM_MS : CA_NEVER_MS;
	if (!loop->capture.child || (room = ca_memory_room("")) >= LEAST_ROOM / 4)
		return;
	ca_job_kill(&loop->capture);
	ca_shelf_undo(&loop->shelf, loop->capture.owner.pid, loop->capture.when);
	tell_no_room(loop, "it was ended: it needs %s (%llu bytes) of memory at least, and %s (%llu bytes) "
			   "were left", LEAST_ROOM / 4, room);
}

static void begin_capture(struct loop *loop, int64_t now)
{
	struct ca_subject *subject = most_wanted(loop, now);

	if (!subject || loop->capture.child)
		return;
	struct ca_watch_news news = news_of(loop, subject, CA_WATCH_CAPTURED);

	loop->capture = (struct ca_job){
		.epoll = loop->epoll,
		.wake = CA_WAKE_CAPTURE,
		.owner = { subject->pid, subject->started_date },
		.reason = subject->wanted,
		.when = ca_watch_date(),
		.rss = news.rss,
		.used = news.used,
		.limit = news.limit,
	};
	subject->wanted = CA_BY_NONE;
	if (!make_room(loop, subject))
		return;
	if (ca_job_capture(&loop->capture, loop->watch))
		loop->room_due = now + ROOM_MS;
	else
		tell_failed(loop, strerror(errno));
}

static void queue_command(struct loop *loop, const struct ca_job *job, const char *name)
{
	struct waiting *waiting = &loop->commands[loop->command_count];

	if (!loop->watch->command)
		return;
	if (loop->command_count == COMMANDS_MAX) {
		tell_trouble(loop, "too many files wait for the command: it is not run for the newest");
		return;
	}
	waiting->owner = job->owner;
	waiting->reason = job->reason;
	snprintf(waiting->file, sizeof(waiting->file), "%s/%s", loop->watch->directory, name);
	loop->command_count++;
}

static void keep_file(struct loop *loop, const struct ca_watch_result *result)
{
	const struct ca_job *job = &loop->capture;
	const struct ca_kept *kept;
	struct ca_watch_news news = {
		.event = CA_WATCH_CAPTURED,
		.pause_ns = result->pause_ns,
		.text = *result->text ? result->text : NULL,
	};

	if (!ca_shelf_add(&loop->shelf, &job->owner, job->when, result->suffix, tell_dropped, loop, &kept)) {
		tell_failed(loop, strerror(errno));
		ca_shelf_undo(&loop->shelf, job->owner.pid, job->when);
		return;
	}
	news.file = kept->name;
	news.bytes = kept->bytes;
	tell_capture(loop, news);
	queue_command(loop, job, kept->name);
}

static struct ca_subject *subject_of(struct loop *loop, const struct ca_job *job)
{
	struct ca_subject *subject = find_subject(loop, job->owner.pid);

	return subject && subject->started_date == job->owner.started_date ? subject : NULL;
}

static void finish_capture(struct loop *loop)
{
	struct ca_job *job = &loop->capture;
	struct ca_subject *subject = subject_of(loop, job);
	struct ca_watch_result result;

	ca_job_finish(job, &result);
	if (result.done) {
		keep_file(loop, &result);
	} else {
		ca_shelf_undo(&loop->shelf, job->owner.pid, job->when);
		tell_failed(loop, result.text);
	}
	if (!subject)
		return;
	subject->failures = result.done ? 0 : subject->failures + 1;
	subject->rest_until = ca_watch_now() + (int64_t)(result.pause_ns * REST_PART / 1000000);
	if (!result.done && subject->failures < TRIES) {
		ca_subject_want(subject, job->reason);
		subject->rest_until = ca_watch_now() + AGAIN_MS;
	} else {
		subject->failures = 0;
	}
}

/* ---- commands -------------------------------------------------------------------------------- */

static void next_command(struct loop *loop)
{
	loop->command_count--;
	memmove(loop->commands, loop->commands + 1, loop->command_count * sizeof(*loop->commands));
}

static void begin_command(struct loop *loop)
{
	const struct waiting *first = loop->commands;

	if (loop->command.child || !loop->command_count)
		return;
	loop->command = (struct ca_job){
		.epoll = loop->epoll,
		.wake = CA_WAKE_COMMAND,
		.owner = first->owner,
		.reason = first->reason,
	};
	if (ca_job_command(&loop->command, loop->watch->command, first->file,
			   ca_trigger_name(first->reason)))
		return;
	tell_trouble(loop, "the command cannot be started");
	next_command(loop);
}

static void finish_command(struct loop *loop)
{
	int status = ca_job_reap(&loop->command);

	tell(loop, (struct ca_watch_news){
		.event = CA_WATCH_COMMAND,
		.pid = loop->command.owner.pid,
		.file = loop->commands[0].file,
		.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
	});
	next_command(loop);
}

/* ---- the end ------------------------------------------------------------------------------------ */

/* Once: what is under way may be finished. Twice: it is undone. */
static void hear_signal(struct loop *loop, int64_t now)
{
	struct signalfd_siginfo info;

	while (read(loop->signals, &info, sizeof(info)) > 0) {
		loop->stop_by = loop->stopping ? now : now + GRACE_MS;
		loop->stopping = true;
	}
}

static bool is_done(struct loop *loop, int64_t now)
{
	bool busy = loop->capture.child || loop->command.child || loop->command_count;

	if (loop->watch->pid && loop->look_due && !loop->count && !busy)
		return true;
	return loop->stopping && (!busy || now >= loop->stop_by);
}

static void end_children(struct loop *loop)
{
	if (loop->capture.child) {
		ca_job_kill(&loop->capture);
		ca_shelf_undo(&loop->shelf, loop->capture.owner.pid, loop->capture.when);
		tell_failed(loop, "it was stopped before it was done, and is undone");
	}
	if (loop->command.child)
		ca_job_kill(&loop->command);
}

/* ---- the loop -------------------------------------------------------------------------------------- */

static void sooner(int64_t *next, int64_t due)
{
	if (due != CA_NEVER_MS && due < *next)
		*next = due;
}

static int until_next(struct loop *loop, int64_t now)
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

static void hear(struct loop *loop, enum ca_wake wake, int i)
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
			finish_capture(loop);
		break;
	case CA_WAKE_COMMAND:
		if (loop->command.child)
			finish_command(loop);
		break;
	}
}

static void run(struct loop *loop)
{
	struct epoll_event events[EVENTS];
	int64_t now;

	while (now = ca_watch_now(), !is_done(loop, now)) {
		if (is_due(loop->room_due, now))
			look_at_room(loop, now);
		if (!loop->stopping) {
			look_at_all(loop, now);
			begin_capture(loop, now);
		}
		begin_command(loop);

		int count = epoll_wait(loop->epoll, events, EVENTS, until_next(loop, ca_watch_now()));

		for (int i = 0; i < count; i++)
			hear(loop, (enum ca_wake)(events[i].data.u64 >> 32), (int)(uint32_t)events[i].data.u64);
	}
	end_children(loop);
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

static void open_loop(struct loop *loop, const sigset_t *signals)
{
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->signals = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
	ca_watch_wait(loop->epoll, loop->signals, EPOLLIN, CA_WAKE_SIGNAL, 0);
	ca_groups_init(&loop->groups, loop->watch, "", loop->epoll);
}

static void close_loop(struct loop *loop)
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
	struct loop *loop = ca_alloc(sizeof(*loop));
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
		sigaction(SIGPIPE, &ignored, &pipe_before); /* tell() is told so */
		open_loop(loop, &signals);
		tell(loop, (struct ca_watch_news){ .event = CA_WATCH_STARTED });
		run(loop);
		tell(loop, (struct ca_watch_news){ .event = CA_WATCH_STOPPED });
		close_loop(loop);
		sigaction(SIGPIPE, &pipe_before, NULL);
		sigprocmask(SIG_SETMASK, &before, NULL);
	}
	ca_shelf_close(&loop->shelf);
	free(loop);
	return err;
}
