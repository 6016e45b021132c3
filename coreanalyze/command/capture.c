/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../capture/capture.h"
#include "command.h"

enum { KEY_COMPRESS = 300, KEY_FULL, KEY_FORK, KEY_REAP, KEY_KERNEL, KEY_MAX_DISK };

struct own {
	char target[32]; /* "pid:1234": what documents and errors call it */
	const char *file; /* NULL: core.PID */
	bool compress, full, fork, reap;
	const char *from_kernel[3]; /* %P, %I, %e as the kernel gives them; NULL: not by it */
	uint64_t max_disk;
};

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "where to write it (core.PID)", 1},
	{"compress", KEY_COMPRESS, NULL, 0, "as zstd does", 1},
	{"full", KEY_FULL, NULL, 0, "what gcore would write too: shared memory, whatever coredump_filter says", 1},
	{"fork", KEY_FORK, NULL, 0, "let it go at once: copy a fork of it", 1},
	{"reap", KEY_REAP, NULL, 0, "only clear what a killed --fork has left of itself", 1},
	{"from-kernel", KEY_KERNEL, "%P %I %e", 0,
	 "in core_pattern: the core comes on stdin, -o names a folder", 2},
	{"max-disk", KEY_MAX_DISK, "SIZE", 0, "that all files of that folder may take together", 2},
	{0},
};

/* All three are taken as they are: a process may call itself "--full". */
static void take_from_kernel(struct own *own, char *pid, struct argp_state *state)
{
	if (state->argc - state->next < 2)
		ca_bad_usage(state, "--from-kernel takes %%P %%I %%e");
	own->from_kernel[0] = pid;
	own->from_kernel[1] = state->argv[state->next++];
	own->from_kernel[2] = state->argv[state->next++];
}

static void check_usage(const struct own *own, const struct argp_state *state)
{
	size_t args = ca_parsed_request(state)->arg_count;

	if (!*own->from_kernel && !args)
		ca_bad_usage(state, "capture takes PID");
	if (!*own->from_kernel && own->max_disk)
		ca_bad_usage(state, "--max-disk goes with --from-kernel");
	if (*own->from_kernel && (args || own->fork || own->full || own->reap || !own->file))
		ca_bad_usage(state, "--from-kernel takes %%P %%I %%e, -o, --compress and --max-disk");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct own *own = ca_parsed_request(state)->own;

	if (key == 'o')
		own->file = arg;
	else if (key == KEY_COMPRESS)
		own->compress = true;
	else if (key == KEY_FULL)
		own->full = true;
	else if (key == KEY_FORK)
		own->fork = true;
	else if (key == KEY_REAP)
		own->reap = true;
	else if (key == KEY_KERNEL)
		take_from_kernel(own, arg, state);
	else if (key == KEY_MAX_DISK && (!ca_parse_size(arg, &own->max_disk) || !own->max_disk))
		ca_bad_usage(state, "--max-disk takes a size as 10G, not '%s'", arg);
	else if (key == KEY_MAX_DISK)
		return 0;
	else if (key == ARGP_KEY_END)
		check_usage(own, state);
	else
		return ARGP_ERR_UNKNOWN;
	return 0;
}

static void put_flag(struct ca_writer *w, const char *key, int value)
{
	if (value < 0)
		ca_put_null(w, key);
	else
		ca_put_bool(w, key, value != 0);
}

static void put_number(struct ca_writer *w, const char *key, int64_t value, int64_t absent)
{
	if (value == absent)
		ca_put_null(w, key);
	else
		ca_put_int(w, key, value);
}

static void say_state(struct ca_writer *w, const struct ca_taken *taken)
{
	if (taken->collecting == 1)
		ca_line(w, "a collection was under way: the collector's own lists are in other use meanwhile");
	if (taken->broken_lists > 0)
		ca_line(w, "%d of the collector's lists were being changed", taken->broken_lists);
	if (taken->gil == 0)
		ca_line(w, "no thread held the interpreter lock: nothing was in mid-update");
	else if (taken->gil_lwp)
		ca_line(w, "thread %d held the interpreter lock%s", taken->gil_lwp,
			taken->gil_in_call == 1 ? ", in a system call" : "");
}

void ca_put_taken(struct ca_writer *w, const struct ca_taken *taken)
{
	char when[32] = "";
	struct tm tm;
	time_t at = (time_t)taken->at;

	if (gmtime_r(&at, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
	ca_put_string(w, "method", taken->method);
	ca_put_int(w, "taken_at", taken->at);
	put_number(w, "host_pid", taken->pid, 0);
	put_number(w, "host_lwp", taken->lwp, 0);
	ca_put_uint(w, "attempts", taken->attempts);
	ca_put_uint(w, "lost_pages", taken->lost_pages);
	put_flag(w, "collecting", taken->collecting);
	put_number(w, "broken_lists", taken->broken_lists, -1);
	put_flag(w, "gil_held", taken->gil);
	put_number(w, "gil_holder", taken->gil_lwp, 0);
	put_flag(w, "gil_holder_in_call", taken->gil_in_call);
	ca_line(w, "taken %s, method %s", when, taken->method);
	if (taken->attempts > 1)
		ca_line(w, "it was stopped %u times, to catch it at rest", taken->attempts);
	say_state(w, taken);
}

static struct ca_error *tell(struct ca_request *request, struct ca_session *session, const char *file,
			     const struct ca_captured *done)
{
	struct ca_writer *w = ca_open_writer(request);
	const char *shown = ca_escape_arena(&session->ctx.arena, file, strlen(file));
	char size[32], disk[32];

	ca_format_size(size, sizeof(size), done->bytes);
	ca_format_size(disk, sizeof(disk), done->disk_bytes);
	ca_begin_document(w, request, session);
	ca_put_string(w, "file", shown);
	ca_put_uint(w, "bytes", done->bytes);
	ca_put_uint(w, "disk_bytes", done->disk_bytes);
	ca_put_uint(w, "threads", done->threads);
	ca_line(w, "%s: %s, %s on disk; process %d stood still for %.3f s", shown, size, disk,
		session->image->pid, (double)done->taken.pause_ns / 1e9);
	ca_put_real(w, "pause_seconds", (double)done->taken.pause_ns / 1e9);
	ca_put_taken(w, &done->taken);
	return ca_end_document(w, session, NULL);
}

static struct ca_error *reap(struct ca_request *request, struct ca_session *session,
			     const struct ca_view *view)
{
	unsigned reaped, left;
	struct ca_error *err = ca_capture_reap(view, &reaped, &left);

	if (err)
		return err;
	struct ca_writer *w = ca_open_writer(request);

	ca_begin_document(w, request, session);
	ca_put_uint(w, "reaped", reaped);
	ca_put_uint(w, "left", left);
	ca_line(w, "process %d: %u zombies of ours are gone, %u could not be cleared", view->pid, reaped,
		left);
	return ca_end_document(w, session, NULL);
}

static struct ca_error *capture(struct ca_request *request, struct ca_session *session,
				struct ca_view *view, int32_t pid)
{
	const struct own *own = request->own;
	struct ca_captured done;
	char file[32];
	struct ca_error *err = ca_view_open(&session->ctx, pid, view);

	if (err)
		return err;
	session->image = view->image;
	session->rt = view->rt;
	if (own->reap)
		return reap(request, session, view);
	snprintf(file, sizeof(file), "core.%d", pid);
	const char *name = own->file ? own->file : file;

	struct ca_capture_options how = {.file = name, .compress = own->compress, .full = own->full, .fork = own->fork};

	err = ca_capture(view, &how, &done);
	return err ? err : tell(request, session, name, &done);
}

/* Should memory run short meanwhile, in a container of the process's perhaps, it is us who go. */
static void go_first(void)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "we");

	if (f) {
		fputs("1000", f);
		fclose(f);
	}
}

static bool parse_pid(const char *text, int32_t *pid)
{
	char *end;
	const char *digits = strncmp(text, "pid:", 4) ? text : text + 4;
	long value = strtol(digits, &end, 10);

	*pid = (int32_t)value;
	return *digits >= '0' && *digits <= '9' && !*end && value > 0 && value <= INT32_MAX;
}

static struct ca_error *keep_kernels(struct ca_request *request)
{
	const struct own *own = request->own;
	struct ca_session *session;
	struct ca_from_kernel done;
	struct ca_error *err = ca_capture_from_kernel(STDIN_FILENO,
						      &(struct ca_kernel_options){
							      .folder = own->file,
							      .pid = own->from_kernel[0],
							      .lwp = own->from_kernel[1],
							      .name = own->from_kernel[2],
							      .most_bytes = own->max_disk,
							      .compress = own->compress,
						      },
						      &done);

	if (err)
		return err;
	session = ca_session_make();

	struct ca_writer *w = ca_open_writer(request);

	ca_object_begin(w, NULL);
	ca_put_string(w, "schema", "coreanalyze.capture/1");
	ca_put_string(w, "file", done.file);
	ca_put_uint(w, "bytes", done.bytes);
	ca_put_uint(w, "disk_bytes", done.disk_bytes);
	ca_put_string(w, "method", "kernel");
	ca_put_bool(w, "cut", done.is_cut);
	ca_put_bool(w, "raw", done.is_raw);
	ca_line(w, "%s%s%s", done.file, done.is_cut ? ", cut short" : "",
		done.is_raw ? ", no core of x86-64: kept as it came" : "");
	err = ca_end_document(w, session, NULL);
	ca_session_close(session);
	return err;
}

static struct ca_error *run_capture(struct ca_request *request, enum ca_status *status)
{
	struct own *own = request->own;
	struct ca_session *session;
	struct ca_view view = {0};
	int32_t pid;

	(void)status;
	if (*own->from_kernel)
		return keep_kernels(request);
	if (!parse_pid(request->args[0], &pid))
		return ca_error_make(CA_USAGE, "no such target", "a process is named as 1234 or pid:1234",
				     "it is no process number");
	go_first();
	snprintf(own->target, sizeof(own->target), "pid:%d", pid);
	request->args[0] = own->target;
	session = ca_session_make();
	if (request->threads)
		session->ctx.threads = request->threads;

	struct ca_error *err = capture(request, session, &view, pid);

	/* They are the view's. */
	session->image = NULL;
	session->rt = NULL;
	ca_view_close(&view);
	ca_session_close(session);
	return err;
}

const struct ca_command ca_command_capture = {
	.name = "capture",
	.args = "PID",
	.most_args = 1,
	.alone = true,
	.summary = "a core of a process that lives on",
	.help = "Writes an ELF core of a process, which lives on: it stands still while its private memory "
		"is copied, not while the file is written. gdb reads the core like one of gcore's.\n\n"
		"With --fork it stands still for a fork() only, and the child is copied. A thread of the process "
		"makes the call; what would hurt it is refused. What it writes meanwhile costs it memory.\n\n"
		"Example: coreanalyze capture 1234 -o before.1234 --compress",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct own),
	.run = run_capture,
};
