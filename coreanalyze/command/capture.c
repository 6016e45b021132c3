/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

enum { KEY_COMPRESS = 300 };

struct own {
	const char *file; /* NULL: core.PID */
	bool compress;
};

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "where to write it (core.PID)", 1},
	{"compress", KEY_COMPRESS, NULL, 0, "as zstd does", 1},
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

static struct ca_error *cannot_write(struct ca_arena *arena, const char *file)
{
	const char *advice = errno == ENOSPC || errno == EDQUOT
				     ? "nothing is left behind; name a file on a larger disk with -o"
				     : "name another file with -o";

	return ca_error_make(CA_TARGET, "cannot write the core", advice, "%s: %s",
			     ca_escape_arena(arena, file, strlen(file)), strerror(errno));
}

/* The file appears under its name when it is whole, readable by its owner alone. */
static struct ca_error *write_file(struct ca_session *session, const char *file, bool compress,
				   uint64_t *bytes)
{
	struct ca_arena *arena = &session->ctx.arena;
	char *temporary = ca_arena_printf(arena, "%s.XXXXXX", file);
	int fd = mkostemp(temporary, O_CLOEXEC); /* 0600 */
	struct ca_error *err = NULL;

	if (fd < 0)
		return cannot_write(arena, file);
	if (!ca_image_write_core(session->image, fd, compress, bytes) || fsync(fd) != 0 ||
	    rename(temporary, file) != 0) {
		err = cannot_write(arena, file);
		unlink(temporary);
	}
	close(fd);
	return err;
}

static struct ca_error *tell(struct ca_request *request, struct ca_session *session, const char *file,
			     uint64_t bytes)
{
	const struct ca_image *image = session->image;
	struct ca_writer *w = ca_open_writer(request);
	const char *shown = ca_escape_arena(&session->ctx.arena, file, strlen(file));
	struct stat st = {0};
	char size[32], disk[32];

	stat(file, &st);
	ca_format_size(size, sizeof(size), bytes);
	ca_format_size(disk, sizeof(disk), (uint64_t)st.st_blocks * 512);
	ca_begin_document(w, request, session);
	ca_put_string(w, "file", shown);
	ca_put_uint(w, "bytes", bytes);
	ca_put_uint(w, "disk_bytes", (uint64_t)st.st_blocks * 512);
	ca_put_string(w, "method", "copy");
	ca_put_real(w, "pause_seconds", (double)image->pause_ns / 1e9);
	ca_put_uint(w, "threads", image->lwp_count);
	if (session->rt)
		ca_put_bool(w, "collecting", session->rt->collecting);
	else
		ca_put_null(w, "collecting");
	ca_line(w, "%s: %s, %s on disk; process %d stood still for %.3f s", shown, size, disk, image->pid,
		(double)image->pause_ns / 1e9);
	if (session->rt && session->rt->collecting)
		ca_line(w, "a collection was under way: the collector's own lists are in other use meanwhile");
	return ca_end_document(w, session, NULL);
}

/* A process without Python is captured all the same. */
static void look_at_runtime(struct ca_session *session)
{
	ca_error_free(ca_session_runtime(session));
}

static struct ca_error *run_capture(struct ca_request *request, enum ca_status *status)
{
	const struct own *own = request->own;
	struct ca_session *session = NULL;
	char target[64], file[64];
	struct ca_error *err;
	uint64_t bytes = 0;

	(void)status;
	snprintf(target, sizeof(target), "%s%.40s", strncmp(request->args[0], "pid:", 4) ? "pid:" : "",
		 request->args[0]);
	request->args[0] = target;
	err = ca_open_target(request, 0, &session);
	if (!err) {
		const char *name = own->file;

		snprintf(file, sizeof(file), "core.%d", session->image->pid);
		if (!name)
			name = file;
		look_at_runtime(session);
		err = write_file(session, name, own->compress, &bytes);
		if (!err)
			err = tell(request, session, name, bytes);
	}
	ca_session_close(session);
	return err;
}

const struct ca_command ca_command_capture = {
	.name = "capture",
	.args = "PID",
	.least_args = 1,
	.most_args = 1,
	.alone = true,
	.summary = "a core of a process that lives on",
	.help = "Writes an ELF core of a process, which lives on: it stands still while its private memory "
		"is copied, not while the file is written. gdb reads the core like one of gcore's.\n\n"
		"Example: coreanalyze capture 1234 -o before.1234 --compress",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct own),
	.run = run_capture,
};
