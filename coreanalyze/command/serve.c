/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>

#include "serve.h"

enum { KEY_MEM_FD = 3000, KEY_MAPS_FD, KEY_COMMANDS };

static const struct argp_option options[] = {
	{"mem-fd", KEY_MEM_FD, "N", 0,
	 "read the process through this descriptor of its /proc/PID/mem; it stands still already", 1},
	{"maps-fd", KEY_MAPS_FD, "N", 0, "the same of its /proc/PID/maps", 1},
	{"commands", KEY_COMMANDS, NULL, 0, "only show which commands there are, with their options", 1},
	{0},
};

static int parse_descriptor(struct argp_state *state, const char *option, const char *arg)
{
	char *end;
	long fd = strtol(arg, &end, 10);

	if (*arg < '0' || *arg > '9' || *end || fd > 1 << 20 || fcntl((int)fd, F_GETFD) < 0)
		ca_bad_usage(state, "--%s: '%s' is no open descriptor", option, arg);
	return (int)fd;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct ca_request *request = ca_parsed_request(state);

	switch (key) {
	case KEY_MEM_FD:
		request->files.mem_fd = parse_descriptor(state, "mem-fd", arg);
		request->files.has_mem = true;
		return 0;
	case KEY_MAPS_FD:
		request->files.maps_fd = parse_descriptor(state, "maps-fd", arg);
		request->files.has_maps = true;
		return 0;
	case KEY_COMMANDS:
		ca_commands_print();
		exit(CA_OK);
	case ARGP_KEY_END:
		if (request->files.has_mem != request->files.has_maps)
			ca_bad_usage(state, "--mem-fd and --maps-fd belong together");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* Ctrl-C in a debugger's terminal is meant for the debugger. */
static struct ca_error *run_serve(struct ca_request *request, enum ca_status *status)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL); /* gdb blocks some, and what it starts inherits that */
	signal(SIGINT, SIG_IGN);
	return ca_front_run(request, status);
}

const struct ca_command ca_command_serve = {
	.name = "serve",
	.args = "TARGET",
	.least_args = 1,
	.most_args = 1,
	.alone = true,
	.summary = "many questions to one opened target, as lines of JSON",
	.help = "Answers questions from stdin, a line each, by a line each on stdout.\n\n"
		"A question is {\"id\": 1, \"command\": \"types\", \"args\": [\"--limit\", \"5\"]}; args are those "
		"of the command line, without TARGET. The answer has the id, \"ok\", and \"document\" or "
		"\"error\". \"form\": \"text\", with \"width\" and \"color\", makes the document a string, as "
		"the command line prints it. {\"cancel\": 1} stops a question.\n"
		"Beside the commands there are: open NAME TARGET (a further target, for diff: `diff NAME` "
		"compares TARGET with it, `diff A B` two of them, `.` is TARGET), close NAME, "
		"keep NAME (TARGET as it is now), refresh [TARGET] (it has changed), targets, commands.\n\n"
		"Example: coreanalyze serve core.1234",
	.options = options,
	.parse = parse,
	.run = run_serve,
};
