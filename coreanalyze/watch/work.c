/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is done when a trigger says so: see loop.h. */
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>

enum {
	AGAIN_MS = 2000, /* after a capture has failed, */
	TRIES = 3,       /* and so often */
	REST_PART = 10,  /* a process may run for ten times as long as it stood still */
	ROOM_MS = 100,   /* how often the memory left to a capture is looked at */
};

/*
 * What the child needs at least of the memory that we may take: with less, it and
 * whoever shares our limit only wait for pages. It is ended when it has a quarter.
 */
#define LEAST_ROOM (UINT64_C(32) << 20)

/* ---- captures ------------------------------------------------------------------------------ */

static struct ca_subject *most_wanted(struct ca_watch_loop *loop, int64_t now)
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
static void tell_capture(struct ca_watch_loop *loop, struct ca_watch_news news)
{
	const struct ca_job *job = &loop->capture;

	news.pid = job->owner.pid;
	news.reason = ca_trigger_name(job->reason);
	news.rss = job->rss;
	news.used = job->used;
	news.limit = job->limit;
	ca_loop_tell(loop, news);
}

static void tell_failed(struct ca_watch_loop *loop, const char *why)
{
	tell_capture(loop, (struct ca_watch_news){ .event = CA_WATCH_FAILED, .text = why });
}

static void tell_no_room(struct ca_watch_loop *loop, const char *format, uint64_t needed, uint64_t room)
{
	char wanted[32], there[32], why[256];

	ca_format_size(wanted, sizeof(wanted), needed);
	ca_format_size(there, sizeof(there), room);
	snprintf(why, sizeof(why), format, wanted, (unsigned long long)needed, there,
		 (unsigned long long)room);
	tell_failed(loop, why);
}

static void tell_dropped(void *arg, const struct ca_kept *kept, const char *why)
{
	ca_loop_tell(arg, (struct ca_watch_news){
		.event = CA_WATCH_DROPPED,
		.pid = kept->pid,
		.file = kept->name,
		.bytes = kept->bytes,
		.text = why,
	});
}

/* In memory and on the disk. */
static bool make_room(struct ca_watch_loop *loop, const struct ca_subject *subject)
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

void ca_work_look_at_room(struct ca_watch_loop *loop, int64_t now)
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

void ca_work_capture(struct ca_watch_loop *loop, int64_t now)
{
	struct ca_subject *subject = most_wanted(loop, now);

	if (!subject || loop->capture.child)
		return;
	struct ca_watch_news news = ca_loop_news_of(loop, subject, CA_WATCH_CAPTURED);

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

static void queue_command(struct ca_watch_loop *loop, const struct ca_job *job, const char *name)
{
	struct ca_waiting *waiting = &loop->commands[loop->command_count];

	if (!loop->watch->command)
		return;
	if (loop->command_count == CA_COMMANDS_MAX) {
		ca_loop_tell_trouble(loop, "too many files wait for the command: it is not run for the newest");
		return;
	}
	waiting->owner = job->owner;
	waiting->reason = job->reason;
	snprintf(waiting->file, sizeof(waiting->file), "%s/%s", loop->watch->directory, name);
	loop->command_count++;
}

static void keep_file(struct ca_watch_loop *loop, const struct ca_watch_result *result)
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

static struct ca_subject *subject_of(struct ca_watch_loop *loop, const struct ca_job *job)
{
	struct ca_subject *subject = ca_loop_find(loop, job->owner.pid);

	return subject && subject->started_date == job->owner.started_date ? subject : NULL;
}

void ca_work_capture_ended(struct ca_watch_loop *loop)
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

static void next_command(struct ca_watch_loop *loop)
{
	loop->command_count--;
	memmove(loop->commands, loop->commands + 1, loop->command_count * sizeof(*loop->commands));
}

void ca_work_command(struct ca_watch_loop *loop)
{
	const struct ca_waiting *first = loop->commands;

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
	ca_loop_tell_trouble(loop, "the command cannot be started");
	next_command(loop);
}

void ca_work_command_ended(struct ca_watch_loop *loop)
{
	int status = ca_job_reap(&loop->command);

	ca_loop_tell(loop, (struct ca_watch_news){
		.event = CA_WATCH_COMMAND,
		.pid = loop->command.owner.pid,
		.file = loop->commands[0].file,
		.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
	});
	next_command(loop);
}

/* ---- the end ------------------------------------------------------------------------------------ */

void ca_work_stop(struct ca_watch_loop *loop)
{
	if (loop->capture.child) {
		ca_job_kill(&loop->capture);
		ca_shelf_undo(&loop->shelf, loop->capture.owner.pid, loop->capture.when);
		tell_failed(loop, "it was stopped before it was done, and is undone");
	}
	if (loop->command.child)
		ca_job_kill(&loop->command);
}

bool ca_work_is_busy(const struct ca_watch_loop *loop)
{
	return loop->capture.child || loop->command.child || loop->command_count;
}
