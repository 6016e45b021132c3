/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "command.h"

enum { KEY_COMPRESS = 300 };

struct own {
	const char *file; /* NULL: snapshot.PID */
	bool compress;
};

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "where to write it (snapshot.PID)", 1},
	{"compress", KEY_COMPRESS, NULL, 0, "the whole as zstd does: a third of the size, no longer opened at once", 1},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct own *own = ca_parsed_request(state)->own;

	if (key == 'o')
		own->file = arg;
	else if (key == KEY_COMPRESS)
		own->compress = true;
	else
		return ARGP_ERR_UNKNOWN;
	return 0;
}

static struct ca_error *tell(struct ca_request *request, struct ca_session *session, const char *file,
			     uint64_t bytes)
{
	struct ca_writer *w = ca_open_writer(request);
	const char *shown = ca_escape_arena(&session->ctx.arena, file, strlen(file));
	const struct own *own = request->own;
	uint64_t core = session->image->core_bytes;
	char size[32], core_size[32];

	ca_format_size(size, sizeof(size), bytes);
	ca_format_size(core_size, sizeof(core_size), core);
	ca_begin_document(w, request, session);
	ca_put_string(w, "file", shown);
	ca_put_uint(w, "bytes", bytes);
	ca_put_uint(w, "core_bytes", core);
	ca_put_bool(w, "compressed", own->compress);
	ca_put_bool(w, "redacted", request->redact);
	ca_line(w, "%s: %s, for a core of %s%s", shown, size, core_size,
		request->redact ? "; without values" : "");
	return ca_end_document(w, session, NULL);
}

static struct ca_error *save(struct ca_request *request, struct ca_session *session)
{
	const struct own *own = request->own;
	const struct ca_save_options how = {.compress = own->compress, .redact = request->redact};
	const char *name = own->file;
	struct ca_error *err;
	uint64_t bytes = 0;
	char file[64];

	snprintf(file, sizeof(file), "snapshot.%d", session->image->pid);
	if (!name)
		name = file;
	err = ca_session_save(session, name, &how, &bytes);
	return err ? err : tell(request, session, name, bytes);
}

static struct ca_error *run_save(struct ca_request *request, enum ca_status *status)
{
	(void)status;
	return ca_show_graph(request, save);
}

const struct ca_command ca_command_save = {
	.name = "save",
	.args = "TARGET",
	.least_args = 1,
	.most_args = 1,
	.alone = true,
	.summary = "a snapshot of the analysis, smaller than the core and opened at once",
	.help = "Writes a snapshot: what was found, and of memory what labels, values and the collector's "
		"state are read from. Every command takes it in the core's place and gives the same "
		"answer, except verify --deep, which runs code from the core. With --redact values are "
		"not in the file: what is left is what --redact shows.\n\n"
		"Example: coreanalyze save core.1234 -o snapshot.1234 --redact",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct own),
	.run = run_save,
};
