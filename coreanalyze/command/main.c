/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From the command line to a request, from a result to an exit status. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

enum { KEY_EXE = 1000, KEY_SYSROOT, KEY_DEBUG_DIR, KEY_JSON, KEY_LIMIT, KEY_SORT, KEY_REDACT,
       KEY_COLOR, KEY_PROGRESS, KEY_THREADS, KEY_TMPDIR };

const struct argp_option ca_common_options[] = {
	{"exe", KEY_EXE, "FILE", 0, "the main executable, where it is not at its recorded path", 10},
	{"sysroot", KEY_SYSROOT, "DIR", 0, "look recorded paths up inside DIR", 10},
	{"debug-dir", KEY_DEBUG_DIR, "DIR", 0, "look mapped files up by build-id or name in DIR", 10},
	{"tmpdir", KEY_TMPDIR, "DIR", 0,
	 "unpack compressed cores, and copy processes that do not fit in memory, in DIR "
	 "(default: $TMPDIR, else /var/tmp)", 10},
	{"json", KEY_JSON, NULL, 0, "one JSON document on stdout", 11},
	{"limit", KEY_LIMIT, "N", 0, "show N rows (0: all)", 11},
	{"sort", KEY_SORT, "KEY", 0, "sort rows by KEY", 11},
	{"redact", KEY_REDACT, NULL, 0, "leave out values: keep names of types, modules, functions, files", 11},
	{"color", KEY_COLOR, "WHEN", 0, "auto, always or never", 11},
	{"progress", KEY_PROGRESS, "WHEN", 0, "auto, always or never", 11},
	{"threads", KEY_THREADS, "N", 0, "use N threads", 11},
	{"verbose", 'v', NULL, 0, "say more on stderr", 11},
	{0},
};

void ca_bad_usage(const struct argp_state *state, const char *format, ...)
{
	char text[512], escaped[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ca_escape(escaped, sizeof(escaped), text, strlen(text));

	struct ca_asked *asked = ca_parsed_request(state)->asked;

	if (asked) {
		snprintf(asked->misuse, sizeof(asked->misuse), "%s", escaped);
		longjmp(asked->escape, 1);
	}
	argp_error(state, "%s", escaped);
	exit(CA_USAGE);
}

static bool parse_when(const char *arg, enum ca_when *when)
{
	static const char *const names[] = {"auto", "always", "never"};

	for (size_t i = 0; i < CA_COUNT(names); i++) {
		if (strcmp(arg, names[i]) == 0) {
			*when = (enum ca_when)i;
			return true;
		}
	}
	return false;
}

static uint64_t parse_number(struct argp_state *state, const char *option, const char *arg,
			     uint64_t most)
{
	char *end;
	unsigned long long value = strtoull(arg, &end, 10);

	if (!*arg || *end || *arg == '-' || value > most)
		ca_bad_usage(state, "--%s: '%s' is no number from 0 to %llu", option, arg,
			   (unsigned long long)most);
	return value;
}

static void add_argument(struct ca_request *request, char *arg)
{
	request->args = ca_realloc(request->args, (request->arg_count + 1) * sizeof(*request->args));
	request->args[request->arg_count++] = arg;
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
	struct ca_request *request = state->input;

	switch (key) {
	case KEY_EXE:
		request->files.exe = arg;
		return 0;
	case KEY_SYSROOT:
		request->files.sysroot = arg;
		return 0;
	case KEY_DEBUG_DIR:
		request->files.debug_dir = arg;
		return 0;
	case KEY_TMPDIR:
		request->files.tmp_dir = arg;
		return 0;
	case KEY_JSON:
		request->form = CA_FORM_JSON;
		return 0;
	case KEY_LIMIT:
		request->limit = (int64_t)parse_number(state, "limit", arg, INT64_MAX);
		return 0;
	case KEY_SORT:
		request->sort = arg;
		return 0;
	case KEY_REDACT:
		request->redact = true;
		return 0;
	case KEY_COLOR:
		if (!parse_when(arg, &request->color))
			ca_bad_usage(state, "--color takes auto, always or never, not '%s'", arg);
		return 0;
	case KEY_PROGRESS:
		if (!parse_when(arg, &request->progress))
			ca_bad_usage(state, "--progress takes auto, always or never, not '%s'", arg);
		return 0;
	case KEY_THREADS:
		request->threads = (unsigned)parse_number(state, "threads", arg, 1024);
		return 0;
	case 'v':
		request->verbose++;
		return 0;
	case ARGP_KEY_ARG:
		if (request->arg_count == 1 && request->unnamed)
			ca_bad_usage(state, "there is no command '%s'", request->args[0]);
		if (request->arg_count == request->command->most_args && !request->asked)
			ca_bad_usage(state, "too many arguments: '%s'", arg);
		add_argument(request, arg);
		return 0;
	case ARGP_KEY_END:
		if (request->arg_count < request->command->least_args && !request->asked)
			ca_bad_usage(state, "%s takes %s", request->command->name, request->command->args);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp common_argp = {ca_common_options, parse_common, NULL, NULL, NULL, NULL, NULL};

struct ca_request *ca_parsed_request(const struct argp_state *state)
{
	return state->input;
}

static error_t parse_own(int key, char *arg, struct argp_state *state)
{
	struct ca_request *request = state->input;

	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = request;
		return 0;
	}
	if (key == ARGP_KEY_ERROR && request->asked && state->next > 0) /* said nowhere else */
		ca_bad_usage(state, "'%s' is no option of %s, or is without its value",
			     state->argv[state->next - 1], request->command->name);
	return request->command->parse ? request->command->parse(key, arg, state) : ARGP_ERR_UNKNOWN;
}

/* Errors of the command line exit with CA_USAGE, --help with 0, in argp itself. */
static void parse(struct ca_request *request, int argc, char **argv)
{
	unsigned quiet = request->asked ? ARGP_NO_EXIT | ARGP_NO_ERRS | ARGP_NO_HELP : 0;
	const struct argp_child children[] = {{&common_argp, 0, NULL, 0}, {0}};
	const struct argp argp = {request->command->options, parse_own, request->command->args,
				  request->command->help, children, NULL, NULL};
	char name[64];

	snprintf(name, sizeof(name), "coreanalyze%s%s", request->command == &ca_command_report ? "" : " ",
		 request->command == &ca_command_report ? "" : request->command->name);
	argv[0] = name;
	argp_err_exit_status = CA_USAGE;
	argp_parse(&argp, argc, argv, quiet, NULL, request);
}

bool ca_request_parse(struct ca_request *request, int argc, char **argv)
{
	request->own = ca_alloc(request->command->own_bytes + 1);
	if (request->asked && setjmp(request->asked->escape))
		return false;
	parse(request, argc, argv);
	return true;
}

void ca_request_fini(struct ca_request *request)
{
	free(request->own);
	free(request->args);
}

static void usage(FILE *out)
{
	fprintf(out, "Usage: coreanalyze COMMAND TARGET [ARGS...]\n"
		     "   or: coreanalyze TARGET\n\n"
		     "What is in the Python heap of a core file, from the memory image alone.\n"
		     "TARGET is an ELF core: from gcore, or from the kernel; .zst, .lz4, .xz, .gz and .bz2 too;\n"
		     "or pid:1234, a process, which stands still while its memory is copied.\n\nCommands:\n");
	for (size_t i = 0; i < ca_command_count; i++)
		fprintf(out, "  %-8s %-22s %s\n", ca_commands[i]->name, ca_commands[i]->args,
			ca_commands[i]->summary);
	fprintf(out, "\nExample: coreanalyze types core.1234 --limit 10\n"
		     "`coreanalyze COMMAND --help` tells its options.\n");
}

void ca_print_error(const struct ca_request *request, const struct ca_error *err)
{
	char target[512] = "";

	if (request->blamed < request->arg_count)
		ca_escape(target, sizeof(target), request->args[request->blamed],
			  strlen(request->args[request->blamed]));
	fprintf(stderr, "coreanalyze: %s%s%s: %s%s%s\n", target, *target ? ": " : "", err->what, err->why,
		*err->advice ? ": " : "", err->advice);
}

int ca_command_main(int argc, char **argv)
{
	struct ca_request request = {.limit = -1};
	enum ca_status status = CA_OK;
	struct ca_error *err;

	if (argc < 2) {
		usage(stderr);
		return CA_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0) {
		usage(stdout);
		return fflush(stdout) ? CA_INTERNAL : CA_OK;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("coreanalyze " CA_VERSION);
		return fflush(stdout) ? CA_INTERNAL : CA_OK;
	}
	request.command = ca_command_find(argv[1]);
	if (!request.command && argc > 2 && argv[1][0] != '-' && argv[2][0] != '-') {
		char word[64];

		ca_escape(word, sizeof(word), argv[1], strlen(argv[1]));
		fprintf(stderr, "coreanalyze: %s: no such command: `coreanalyze --help` lists them\n", word);
		return CA_USAGE;
	}
	if (request.command) {
		argc--;
		argv++;
	} else {
		request.command = &ca_command_report;
		request.unnamed = true;
	}
	ca_request_parse(&request, argc, argv);
	err = request.command->run(&request, &status);
	if (err) {
		status = err->status;
		ca_print_error(&request, err);
		ca_error_free(err);
	}
	ca_request_fini(&request);
	return status;
}
