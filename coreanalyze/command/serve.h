/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to command: `serve`, many questions to one opened target.
 *
 *   front  ------ a question ----->  keeper  -- fork -->  runner
 *   stdin, stdout                    what is open         the answer, and what it made
 *
 * The front reads lines, queues them and writes answers; it opens nothing. The
 * keeper has the open targets. For each question it forks a runner. A runner
 * whose answer the front accepts takes the keeper's place, with the stages that
 * it made. One that is cancelled, misused or that dies is forgotten: the keeper
 * is as it was. So a question can be stopped at any moment, whatever it does.
 *
 *   serve.c    the command, its options      front.c    lines in and out
 *   keeper.c   the keeper and its runners    asked.c    from a line to an answer
 *   targets.c  what is open
 */
#ifndef CA_COMMAND_SERVE_H
#define CA_COMMAND_SERVE_H

#include <jansson.h>
#include <sys/types.h>

#include "command.h"

/* ---- targets.c ------------------------------------------------------------- */

struct ca_targets;

/* request: of `serve` itself; it must outlive them. */
struct ca_targets *ca_targets_make(const struct ca_request *request);
/*
 * The open target of a name: "." or serve's own argument is the target itself,
 * which is opened when it is not. Others were opened by name.
 */
struct ca_error *ca_targets_find(struct ca_targets *targets, const char *name, unsigned threads,
				 struct ca_session **out);
/* Opens a further target under a name, in place of one that had it. */
struct ca_error *ca_targets_open(struct ca_targets *targets, const char *name, const char *target);
bool ca_targets_close(struct ca_targets *targets, const char *name);
/* Gives the target as it is now, with all its objects, a name. */
struct ca_error *ca_targets_keep(struct ca_targets *targets, const char *name);
/* The target has changed: the next question opens it anew, or another one in its place. */
void ca_targets_refresh(struct ca_targets *targets, const char *target);
/* Calls back for each name. */
void ca_targets_each(const struct ca_targets *targets,
		     void (*each)(void *arg, const char *name, const struct ca_session *session),
		     void *arg);

/* ---- asked.c --------------------------------------------------------------- */

/* A line that was read; json is to be released by json_decref(). */
struct ca_question {
	json_t *json, *id; /* id: borrowed, or NULL */
	bool cancel;       /* id is the one to be stopped */
};
/* NULL, or why it is no question (what could be read of it is in *question then). */
const char *ca_question_parse(const char *line, size_t length, struct ca_question *question);
/*
 * Writes the answer, a line, to out. False when what was asked could not be
 * done: what was made on the way is then to be forgotten.
 */
bool ca_question_answer(struct ca_targets *targets, const struct ca_question *question, FILE *out);
/* The table of commands, as a document on stdout. */
void ca_commands_print(void);
/* An answer that is an error, as a line that free() releases. */
char *ca_error_line(const json_t *id, const struct ca_error *err);

/* ---- keeper.c -------------------------------------------------------------- */

enum ca_word {
	CA_WORD_READY,    /* the target is open */
	CA_WORD_REFUSED,  /* it cannot be: number is the exit status */
	CA_WORD_RUNNING,  /* number is the runner's process */
	CA_WORD_ANSWERED, /* number: whether it is to take the keeper's place */
	CA_WORD_DIED,     /* the runner, by itself or by us; number: its wait status */
	CA_WORD_DONE,     /* the keeper is ready again */
};
struct ca_message {
	enum ca_word word;
	int number;
};

struct ca_keeper {
	int pipe;    /* a socket: questions, messages */
	int answers; /* a file in memory that holds the present answer */
};
/* Starts one, whose parent is this process. */
struct ca_error *ca_keeper_start(const struct ca_request *request, struct ca_keeper *keeper);
void ca_keeper_close(struct ca_keeper *keeper);
/* False when it is gone. */
bool ca_keeper_ask(const struct ca_keeper *keeper, const char *line, size_t length);
bool ca_keeper_accept(const struct ca_keeper *keeper);
bool ca_keeper_hear(const struct ca_keeper *keeper, struct ca_message *message);

/* ---- front.c --------------------------------------------------------------- */

struct ca_error *ca_front_run(const struct ca_request *request, enum ca_status *status);

#endif
