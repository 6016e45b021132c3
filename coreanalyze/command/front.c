/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lines in and out, and the questions that wait: see serve.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serve.h"

enum { LINE_MAX_BYTES = 1 << 20, WAITING_MAX = 1024, EARLY_DEATHS_MAX = 3 };

struct waiting {
	char *line;
	size_t length;
	json_t *id;
};

struct front {
	const struct ca_request *request;
	struct ca_keeper keeper;
	struct waiting queue[WAITING_MAX]; /* the first one is at the keeper when busy */
	size_t queued;
	bool busy, ready, ended; /* ended: no more lines come */
	bool answered, cancelled, retried;
	pid_t runner;
	char *buffer;            /* LINE_MAX_BYTES */
	size_t filled;
	bool overlong;           /* the rest of this line is passed over */
	unsigned deaths;         /* of keepers, before the target was open */
	int error;               /* of stdout */
};

/* ---- out --------------------------------------------------------------------- */

static void write_out(struct front *front, const void *bytes, size_t size)
{
	const char *at = bytes;

	while (size && !front->error) {
		ssize_t wrote = write(STDOUT_FILENO, at, size);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			front->error = errno;
		else
			at += wrote, size -= (size_t)wrote;
	}
}

static void refuse(struct front *front, const json_t *id, enum ca_status status, const char *what,
		   const char *why)
{
	struct ca_error *err = ca_error_make(status, what, "", "%s", why);
	char *line = ca_error_line(id, err);

	write_out(front, line, strlen(line));
	write_out(front, "\n", 1);
	free(line);
	ca_error_free(err);
}

/* What the runner left in the file. */
static void pass_on(struct front *front)
{
	char bytes[64 * 1024];
	off_t at = 0;
	ssize_t got;

	while ((got = pread(front->keeper.answers, bytes, sizeof(bytes), at)) > 0) {
		write_out(front, bytes, (size_t)got);
		at += got;
	}
}

/* ---- the queue ----------------------------------------------------------------- */

static void drop(struct front *front, size_t i)
{
	free(front->queue[i].line);
	json_decref(front->queue[i].id);
	front->queued--;
	memmove(front->queue + i, front->queue + i + 1, (front->queued - i) * sizeof(front->queue[0]));
}

static void cancel(struct front *front, const json_t *id)
{
	for (size_t i = 0; i < front->queued; i++) {
		if (!json_equal(front->queue[i].id, id))
			continue;
		if (i == 0 && front->answered)
			return; /* too late: the runner becomes the keeper */
		if (i == 0 && front->busy) {
			front->cancelled = true;
			if (front->runner > 0)
				kill(front->runner, SIGKILL);
			return;
		}
		refuse(front, id, CA_USAGE, "cancelled", "it was not begun");
		drop(front, i);
		return;
	}
}

static void ask_next(struct front *front)
{
	if (front->busy || !front->ready || !front->queued)
		return;
	front->busy = true;
	front->answered = front->cancelled = false;
	front->runner = 0;
	ca_keeper_ask(&front->keeper, front->queue[0].line, front->queue[0].length);
}

/* ---- in ------------------------------------------------------------------------ */

static void take_line(struct front *front, const char *line, size_t length)
{
	struct ca_question question;
	const char *wrong;

	if (!length)
		return;
	wrong = ca_question_parse(line, length, &question);
	if (!wrong && !question.cancel && front->queued == WAITING_MAX)
		wrong = "too many questions wait";
	if (wrong) {
		refuse(front, question.id, CA_USAGE, "serve", wrong);
	} else if (question.cancel) {
		cancel(front, question.id);
	} else {
		struct waiting *waiting = &front->queue[front->queued++];

		waiting->line = memcpy(ca_alloc(length), line, length);
		waiting->length = length;
		waiting->id = question.id ? json_incref(question.id) : json_null();
	}
	json_decref(question.json);
}

static void take_lines(struct front *front)
{
	char *start = front->buffer, *end = front->buffer + front->filled, *newline;

	while ((newline = memchr(start, '\n', (size_t)(end - start)))) {
		if (!front->overlong)
			take_line(front, start, (size_t)(newline - start));
		front->overlong = false;
		start = newline + 1;
	}
	front->filled = (size_t)(end - start);
	memmove(front->buffer, start, front->filled);
	if (front->filled < LINE_MAX_BYTES)
		return;
	if (!front->overlong)
		refuse(front, NULL, CA_USAGE, "serve", "the line is longer than 1 MiB");
	front->overlong = true;
	front->filled = 0;
}

static void read_lines(struct front *front)
{
	ssize_t got = read(STDIN_FILENO, front->buffer + front->filled, LINE_MAX_BYTES - front->filled);

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		if (front->filled && !front->overlong)
			take_line(front, front->buffer, front->filled);
		front->ended = true;
		return;
	}
	front->filled += (size_t)got;
	take_lines(front);
}

/* ---- the keeper ------------------------------------------------------------------ */

static void finish(struct front *front)
{
	front->busy = front->answered = front->retried = false;
	front->runner = 0;
	if (front->queued)
		drop(front, 0);
}

static void tell_death(struct front *front, int status)
{
	char why[128];

	if (!front->queued || front->answered)
		return;
	if (front->cancelled)
		snprintf(why, sizeof(why), "it was stopped before it was answered");
	else
		snprintf(why, sizeof(why), "the analysis ended by %s %d; other questions can be asked",
			 WIFSIGNALED(status) ? "signal" : "exit status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	refuse(front, front->queue[0].id, front->cancelled ? CA_USAGE : CA_INTERNAL,
	       front->cancelled ? "cancelled" : "internal error", why);
}

static void take_answer(struct front *front, bool good)
{
	if (front->cancelled)
		return; /* it is killed */
	pass_on(front);
	front->answered = true;
	if (good)
		ca_keeper_accept(&front->keeper);
}

/* The keeper itself is gone: whoever waits is told, and another one starts. */
static struct ca_error *start_anew(struct front *front)
{
	if (!front->ready && ++front->deaths > EARLY_DEATHS_MAX)
		return ca_error_make(CA_INTERNAL, "cannot go on", "", "the analysis of the target ended early");
	if (front->busy && !front->runner && !front->answered && !front->cancelled && !front->retried) {
		front->busy = false; /* it was not begun: the next one is asked */
		front->retried = true;
	} else if (front->busy) {
		tell_death(front, SIGKILL);
		finish(front);
	}
	ca_keeper_close(&front->keeper);
	front->ready = false;
	return ca_keeper_start(front->request, &front->keeper);
}

static struct ca_error *hear(struct front *front, enum ca_status *status)
{
	struct ca_message message;

	if (!ca_keeper_hear(&front->keeper, &message))
		return start_anew(front);
	switch (message.word) {
	case CA_WORD_READY:
		front->ready = true;
		front->deaths = 0;
		break;
	case CA_WORD_REFUSED:
		*status = (enum ca_status)message.number;
		break;
	case CA_WORD_RUNNING:
		front->runner = message.number;
		if (front->cancelled)
			kill(front->runner, SIGKILL);
		break;
	case CA_WORD_ANSWERED:
		take_answer(front, message.number);
		break;
	case CA_WORD_DIED:
		tell_death(front, message.number);
		finish(front);
		break;
	case CA_WORD_DONE:
		finish(front);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			; /* the keeper before this one */
		break;
	}
	return NULL;
}

static struct ca_error *loop(struct front *front, enum ca_status *status)
{
	struct ca_error *err = NULL;

	while (!err && *status == CA_OK && !front->error &&
	       !(front->ended && front->ready && !front->queued)) {
		struct pollfd files[] = {
			{.fd = front->keeper.pipe, .events = POLLIN},
			{.fd = front->ended ? -1 : STDIN_FILENO, .events = POLLIN},
		};

		if (poll(files, 2, -1) < 0)
			continue;
		if (files[0].revents)
			err = hear(front, status);
		if (files[1].revents && !err)
			read_lines(front);
		ask_next(front);
	}
	return err;
}

struct ca_error *ca_front_run(const struct ca_request *request, enum ca_status *status)
{
	struct front *front = ca_alloc(sizeof(*front));
	struct ca_error *err = ca_keeper_start(request, &front->keeper);

	front->request = request;
	front->buffer = ca_alloc(LINE_MAX_BYTES);
	if (!err) {
		err = loop(front, status);
		ca_keeper_close(&front->keeper);
	}
	if (front->error && !err)
		err = ca_error_make(CA_INTERNAL, "output", "", "%s", strerror(front->error));
	while (front->queued)
		drop(front, 0);
	free(front->buffer);
	free(front);
	return err;
}
