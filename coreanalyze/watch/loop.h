/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the loop: what it knows (loop.c), and what is done when a trigger says so (work.c). */
#ifndef CA_WATCH_LOOP_H
#define CA_WATCH_LOOP_H

#include "private.h"

enum { CA_COMMANDS_MAX = 64 }; /* files whose command has not run */

/* A file that is there, and for which the command is to be run. */
struct ca_waiting {
	struct ca_owner owner;
	enum ca_trigger reason;
	char file[4096];
};

/* Everything there is while it watches. */
struct ca_watch_loop {
	const struct ca_watch *watch;
	int epoll, signals;
	struct ca_source source;
	struct ca_groups groups;
	struct ca_shelf shelf;
	struct ca_subject subjects[CA_SUBJECTS_MAX];
	size_t count;               /* of subjects */
	bool too_many, untriggered; /* was told already */
	struct ca_job capture, command;
	struct ca_waiting commands[CA_COMMANDS_MAX]; /* the first one runs when command does */
	size_t command_count;
	int64_t look_due, room_due;
	bool look_soon;
	bool stopping;
	int64_t stop_by;
};

void ca_loop_tell(struct ca_watch_loop *loop, struct ca_watch_news news);
void ca_loop_tell_trouble(struct ca_watch_loop *loop, const char *text);
/* Of a process: what it takes, and what its groups leave it. */
struct ca_watch_news ca_loop_news_of(struct ca_watch_loop *loop, const struct ca_subject *subject,
				     enum ca_watch_event event);
/* pid 0: a free place. NULL: there is none. */
struct ca_subject *ca_loop_find(struct ca_watch_loop *loop, int32_t pid);

/* ---- work.c: one capture at a time, and one command ---------------------------- */

/* Captures the process that is most wanted, when it is time. */
void ca_work_capture(struct ca_watch_loop *loop, int64_t now);
/* Runs the command for the next file. */
void ca_work_command(struct ca_watch_loop *loop);
/* Who is watched must not wait for memory because of a capture: it is ended then. */
void ca_work_look_at_room(struct ca_watch_loop *loop, int64_t now);
void ca_work_capture_ended(struct ca_watch_loop *loop);
void ca_work_command_ended(struct ca_watch_loop *loop);
bool ca_work_is_busy(const struct ca_watch_loop *loop);
/* What is under way is undone. */
void ca_work_stop(struct ca_watch_loop *loop);

#endif
