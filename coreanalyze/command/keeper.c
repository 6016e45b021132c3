/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The keeper and its runners: see serve.h. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "serve.h"

/* ---- bytes ------------------------------------------------------------------ */

static bool send_all(int pipe, const void *bytes, size_t size)
{
	const char *at = bytes;

	while (size) {
		ssize_t sent = send(pipe, at, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		at += sent;
		size -= (size_t)sent;
	}
	return true;
}

static bool receive_all(int pipe, void *bytes, size_t size)
{
	char *at = bytes;

	while (size) {
		ssize_t got = read(pipe, at, size);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		size -= (size_t)got;
	}
	return true;
}

static bool say(int pipe, enum ca_word word, int number)
{
	struct ca_message message = {word, number};

	return send_all(pipe, &message, sizeof(message));
}

/* ---- the runner -------------------------------------------------------------- */

/* Ends with the process that was its parent when it was asked. */
static void die_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(CA_INTERNAL);
}

static void answer(const struct ca_keeper *keeper, struct ca_targets *targets, const char *line,
		   size_t length, bool *good)
{
	struct ca_question question;
	FILE *out = fdopen(dup(keeper->answers), "w");

	*good = false;
	if (!out || ca_question_parse(line, length, &question))
		_exit(CA_INTERNAL);
	rewind(out);
	*good = ca_question_answer(targets, &question, out);
	fclose(out);
	json_decref(question.json);
}

/* The keeper is told first, so that there are never two. */
static bool take_over(int keeper_pipe, pid_t parent, pid_t front)
{
	const struct timespec moment = {.tv_nsec = 20000};
	char byte = 1;

	prctl(PR_SET_PDEATHSIG, 0);
	if (!send_all(keeper_pipe, &byte, 1))
		return false;
	while (read(keeper_pipe, &byte, 1) > 0)
		; /* until the keeper ends */
	close(keeper_pipe);
	while (getppid() == parent)
		nanosleep(&moment, NULL);
	die_with(front);
	return true;
}

/* Returns as the new keeper, or ends. */
static void run(const struct ca_keeper *keeper, struct ca_targets *targets, const char *line,
		size_t length, int keeper_pipe, pid_t parent, pid_t front)
{
	bool good;
	char byte;

	die_with(parent);
	answer(keeper, targets, line, length, &good);
	say(keeper->pipe, CA_WORD_ANSWERED, good);
	if (!good || !receive_all(keeper->pipe, &byte, 1) || !take_over(keeper_pipe, parent, front))
		_exit(0);
	say(keeper->pipe, CA_WORD_DONE, 0);
}

/* ---- the keeper --------------------------------------------------------------- */

/* Where memory for a second process is short, the question is answered all the same. */
static void answer_without_runner(const struct ca_keeper *keeper, struct ca_targets *targets,
				  const char *line, size_t length)
{
	bool good;
	char byte;

	answer(keeper, targets, line, length, &good);
	say(keeper->pipe, CA_WORD_ANSWERED, good);
	if (good)
		receive_all(keeper->pipe, &byte, 1);
	say(keeper->pipe, CA_WORD_DONE, 0);
}

static void wait_for(const struct ca_keeper *keeper, pid_t runner, int runner_pipe)
{
	int status = 0;
	char byte;

	if (receive_all(runner_pipe, &byte, 1))
		_exit(0); /* it has taken over */
	close(runner_pipe);
	while (waitpid(runner, &status, 0) < 0 && errno == EINTR)
		;
	say(keeper->pipe, status ? CA_WORD_DIED : CA_WORD_DONE, status);
}

/* True in the runner that has become the keeper. */
static bool ask_runner(const struct ca_keeper *keeper, struct ca_targets *targets,
		       const char *line, size_t length, pid_t front)
{
	pid_t self = getpid(), runner;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		_exit(CA_INTERNAL);
	fflush(NULL);
	runner = fork();
	if (runner == 0) {
		close(ends[0]);
		run(keeper, targets, line, length, ends[1], self, front);
		return true;
	}
	close(ends[1]);
	if (runner > 0) {
		say(keeper->pipe, CA_WORD_RUNNING, runner);
		wait_for(keeper, runner, ends[0]);
	} else {
		close(ends[0]);
		answer_without_runner(keeper, targets, line, length);
	}
	return false;
}

static _Noreturn void keep(const struct ca_request *request, const struct ca_keeper *keeper,
			   pid_t front)
{
	struct ca_targets *targets = ca_targets_make(request);
	struct ca_session *session;
	struct ca_error *err;
	size_t length;

	die_with(front);
	err = ca_targets_find(targets, ".", 0, &session);
	if (err) {
		ca_print_error(request, err);
		say(keeper->pipe, CA_WORD_REFUSED, (int)err->status);
		_exit(0);
	}
	say(keeper->pipe, CA_WORD_READY, 0);
	while (receive_all(keeper->pipe, &length, sizeof(length))) {
		char *line = ca_alloc(length + 1);

		if (!receive_all(keeper->pipe, line, length))
			break;
		ask_runner(keeper, targets, line, length, front);
		free(line);
	}
	_exit(0);
}

/* ---- the front's side ---------------------------------------------------------- */

struct ca_error *ca_keeper_start(const struct ca_request *request, struct ca_keeper *keeper)
{
	pid_t front = getpid(), child = -1;
	int ends[2] = {-1, -1};

	/* A keeper that has ended leaves its successor to us. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	keeper->answers = memfd_create("answer", MFD_CLOEXEC);
	if (keeper->answers >= 0 && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		child = fork();
	if (child < 0)
		return ca_error_make(CA_INTERNAL, "cannot start", "", "%s", strerror(errno));
	if (child == 0) {
		close(ends[0]);
		keeper->pipe = ends[1];
		keep(request, keeper, front);
	}
	close(ends[1]);
	keeper->pipe = ends[0];
	return NULL;
}

void ca_keeper_close(struct ca_keeper *keeper)
{
	close(keeper->pipe);
	close(keeper->answers);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
}

bool ca_keeper_ask(const struct ca_keeper *keeper, const char *line, size_t length)
{
	return ftruncate(keeper->answers, 0) == 0 &&
	       send_all(keeper->pipe, &length, sizeof(length)) &&
	       send_all(keeper->pipe, line, length);
}

bool ca_keeper_accept(const struct ca_keeper *keeper)
{
	char byte = 1;

	return send_all(keeper->pipe, &byte, 1);
}

bool ca_keeper_hear(const struct ca_keeper *keeper, struct ca_message *message)
{
	return receive_all(keeper->pipe, message, sizeof(*message));
}
