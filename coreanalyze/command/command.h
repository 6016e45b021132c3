/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * command: one file a subcommand, which turns options into an analysis and an
 * analysis into a document.
 *
 * To add a command: a file with its run function and its struct ca_command, a
 * line in the table of commands.c, its keys in the tests.
 */
#ifndef CA_COMMAND_H
#define CA_COMMAND_H

#include <argp.h>
#include <setjmp.h>

#include "../report/report.h"
#include "../session.h"

enum ca_when { CA_AUTO, CA_ALWAYS, CA_NEVER };

/* What was asked: the options that every command takes, and the arguments. */
struct ca_request {
	const struct ca_command *command;
	bool unnamed;        /* the command line names no command: it is the report */
	enum ca_form form;
	struct ca_image_options files;
	int64_t limit;       /* rows; 0: all; -1: the command's own default */
	const char *sort;    /* NULL: the command's own order */
	bool redact;
	enum ca_when color, progress;
	unsigned threads;    /* 0: as many as there are CPUs */
	unsigned verbose;
	char **args;         /* the arguments that are no options */
	size_t arg_count;
	size_t blamed;       /* the index of the argument that an error is about */
	void *own;           /* command->own_bytes, zeroed: its own options */
	struct ca_asked *asked; /* by `serve`; NULL: by the command line */
};

/* What differs for a question that `serve` was asked (serve.h). */
struct ca_asked {
	FILE *out;                  /* in place of stdout */
	unsigned width;             /* of text; 0: not cut */
	struct ca_targets *targets; /* what is open */
	char misuse[1024];          /* what is wrong with the arguments, */
	jmp_buf escape;             /* and where that leads */
};

struct ca_command {
	const char *name;
	const char *args;    /* "TARGET" */
	size_t least_args, most_args;
	size_t targets;      /* how many of these are targets; 0 means 1 */
	bool alone;          /* cannot be asked through `serve` */
	const char *summary; /* one line */
	const char *help;    /* what it shows, with an example */
	const struct argp_option *options; /* its own, or NULL */
	error_t (*parse)(int key, char *arg, struct argp_state *state);
	size_t own_bytes;
	/* Writes the document to stdout. *status is CA_OK already. */
	struct ca_error *(*run)(struct ca_request *request, enum ca_status *status);
};

extern const struct argp_option ca_common_options[];
extern const struct ca_command *const ca_commands[];
extern const size_t ca_command_count;
const struct ca_command *ca_command_find(const char *name);
extern const struct ca_command ca_command_report;

/*
 * The whole command line: argv[0] is the program. Prints, and returns the exit
 * status.
 */
int ca_command_main(int argc, char **argv);

/*
 * Says on stderr what is wrong with the command line, and ends with CA_USAGE: as
 * argp_error(), but what comes from the caller's words is escaped. Under `serve`
 * it is that question which ends. It does not return.
 */
_Noreturn void ca_bad_usage(const struct argp_state *state, const char *format, ...) CA_PRINTF(2, 3);
/*
 * Parses argv (argv[0]: anything) into a request whose command is chosen. Misuse
 * ends the process; of a request that was asked it returns false, with misuse set.
 */
bool ca_request_parse(struct ca_request *request, int argc, char **argv);
void ca_request_fini(struct ca_request *request);
/* "coreanalyze: TARGET: what: why: advice" on stderr. */
void ca_print_error(const struct ca_request *request, const struct ca_error *err);
/* The request whose options are being parsed (for struct ca_command's parse). */
struct ca_request *ca_parsed_request(const struct argp_state *state);

/* ---- shared by the commands (document.c) ------------------------------- */

/*
 * Opens request's argument `index` as a session with the request's options. The
 * session is to be closed after an error too. What has no values is asked for none.
 */
struct ca_error *ca_open_target(struct ca_request *request, size_t index, struct ca_session **out);
/* Opens the first argument with all its objects, shows it, closes it. */
struct ca_error *ca_show_objects(struct ca_request *request,
				 struct ca_error *(*show)(struct ca_request *, struct ca_session *));
/* The same, with the graph of their references. */
struct ca_error *ca_show_graph(struct ca_request *request,
			       struct ca_error *(*show)(struct ca_request *, struct ca_session *));
/* A writer on stdout, or where `serve` collects the answer, as the request wants it. */
struct ca_writer *ca_open_writer(const struct ca_request *request);
/* "schema", "target": how each document begins. */
void ca_begin_document(struct ca_writer *w, const struct ca_request *request,
		       const struct ca_session *session);
/* The value of "target", under another key where a document has two. */
void ca_put_target(struct ca_writer *w, const char *key, const struct ca_request *request,
		   const struct ca_session *session);
/* "warnings" of one or two sessions (NULL: none), and the end of the document. */
struct ca_error *ca_end_document(struct ca_writer *w, struct ca_session *session,
				 struct ca_session *other);
/* The trust line. */
void ca_put_trust(struct ca_writer *w, const struct ca_objects *objects);
/* How many of `count` rows to show: the request's limit, else fallback (0: all). */
size_t ca_shown(const struct ca_request *request, size_t count, size_t fallback);
/* 0x7f12... or decimal, spaces around it; false when it is no address. */
bool ca_parse_address(const char *text, ca_addr *address);
struct ca_error *ca_bad_address(const char *text);
/* "2026-01-31T12:00:00.000Z", of milliseconds since 1970; in the arena. */
const char *ca_date(struct ca_arena *arena, int64_t when);
/* An error for a --sort key that a command does not have. */
struct ca_error *ca_bad_sort(const struct ca_request *request, const char *keys);

/* references.c: "referents" and "referrers" of an object */
void ca_put_references(struct ca_writer *w, const struct ca_request *request,
		       const struct ca_graph *graph, struct ca_reader *reader, ca_node node,
		       struct ca_arena *scratch);
/*
 * typecounts.c: a table of a list of objects by type, with bytes and owned bytes together;
 * at most `most` rows (0: all). In text an empty one is left out.
 */
void ca_put_type_counts(struct ca_writer *w, const char *key, const char *title,
			const struct ca_objects *objects, const ca_node *nodes, size_t count, size_t most);
/* ---- conditions on objects (where.c) ------------------------------------- */

enum ca_field {
	CA_FIELD_BYTES,
	CA_FIELD_OWNED,
	CA_FIELD_REFCOUNT,
	CA_FIELD_LENGTH,
	CA_FIELD_RETAINED_BYTES,
	CA_FIELD_RETAINED_OBJECTS,
};
enum ca_sign {
	CA_SIGN_AT_MOST,
	CA_SIGN_AT_LEAST,
	CA_SIGN_NOT,
	CA_SIGN_EQUAL,
	CA_SIGN_BELOW,
	CA_SIGN_ABOVE,
};
struct ca_condition {
	enum ca_field field;
	enum ca_sign sign;
	uint64_t number;
};
/* All of them hold. */
struct ca_where {
	struct ca_condition conditions[16];
	size_t count;
};
/* "bytes > 1M and refcount = 1"; false when it is none. Adds to what `where` has. */
bool ca_where_parse(const char *text, struct ca_where *where);
bool ca_where_needs(const struct ca_where *where, enum ca_field field);
struct ca_where_facts {
	const struct ca_objects *objects;
	struct ca_reader *reader;
	const struct ca_retained *retained; /* NULL where no condition needs it */
};
bool ca_where_holds(const struct ca_where *where, const struct ca_where_facts *facts, ca_node node);

/* suspects.c: "suspects", as the command and the report show them; the session has its graph */
void ca_put_suspects(struct ca_writer *w, const struct ca_request *request,
		     struct ca_session *session);

/* types.c: the table of types, as types and the report show it */
struct ca_error *ca_sorted_types(const struct ca_request *request,
				 const struct ca_objects *objects, struct ca_type_totals *totals);
void ca_put_types(struct ca_writer *w, const struct ca_request *request,
		  const struct ca_type_totals *totals, size_t fallback);

/* capture.c: how a process was copied or a core taken, as capture and info tell it */
void ca_put_taken(struct ca_writer *w, const struct ca_taken *taken);
/* series.c: the report over the files that a watch kept in a directory */
struct ca_error *ca_run_series(struct ca_request *request);
extern const struct argp_option ca_series_options[]; /* own: the pid, an int32_t */
error_t ca_series_parse(int key, char *arg, struct argp_state *state);

/* cycles.c, gc.c */
/* One line each for the report: "collector" and "cycles". */
void ca_put_collector_line(struct ca_writer *w, struct ca_session *session);
void ca_put_cycles_line(struct ca_writer *w, struct ca_session *session);

#endif
