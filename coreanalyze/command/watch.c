/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Options of `watch`, what it does to a process, and a line for each event. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../capture/capture.h"
#include "../watch/watch.h"
#include "command.h"

enum { KEY_PID = 4000, KEY_PIDFILE, KEY_NAME, KEY_CGROUP, KEY_RSS, KEY_PERCENT, KEY_GROWTH, KEY_PRESSURE,
       KEY_EVERY, KEY_KEEP, KEY_MAX_DISK, KEY_COMPRESS, KEY_FORK, KEY_SAVE, KEY_THEN };
enum { DEFAULT_KEEP = 10, DEFAULT_PERCENT = 90 };
/* Linux include/uapi/linux/ioprio.h: ourselves, last of those who are served at all. */
enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_LAST = 2 << 13 | 7 };
#define DEFAULT_MAX_DISK (UINT64_C(10) << 30)

struct own {
	struct ca_watch watch;
	regex_t name;
	unsigned sources;
	bool compress, fork, save;
	const struct ca_request *request;
};

static const struct argp_option options[] = {
	{"pid", KEY_PID, "N", 0, "watch this process, and those of the same program that it forks", 1},
	{"pidfile", KEY_PIDFILE, "FILE", 0, "the same, for the process whose number is in FILE, also when that changes", 1},
	{"name", KEY_NAME, "REGEX", 0, "watch each process whose command line fits", 1},
	{"cgroup", KEY_CGROUP, "PATH", 0, "watch all processes of this group and those below: as in /proc/PID/cgroup, or its folder", 1},
	{"rss", KEY_RSS, "SIZE", 0, "capture one that takes SIZE (800M, 1.5GiB), and again at each twentieth more", 2},
	{"percent-of-limit", KEY_PERCENT, "N", 0, "capture the largest one when a memory limit above it (cgroup; without any, the machine's memory) "
	 "is used so far, and again at each 5 % more (90 where nothing else is asked)", 2},
	{"growth", KEY_GROWTH, "SIZE/MINUTES", 0, "capture one that grows by SIZE within MINUTES", 2},
	{"pressure", KEY_PRESSURE, "SOME:N%", 0, "capture the largest one when some (FULL: all) of its group wait for memory N % of two seconds; once a minute", 2},
	{"every", KEY_EVERY, "DURATION", 0, "capture each one every 30s, 10m, 2h", 2},
	{"output", 'o', "DIR", 0, "where the files go; it is made when it is not there", 3},
	{"keep", KEY_KEEP, "N", 0, "files of each process: its first and its newest (10)", 3},
	{"max-disk", KEY_MAX_DISK, "SIZE", 0, "of all files together (10G): the oldest go", 3},
	{"compress", KEY_COMPRESS, NULL, 0, "files as zstd does", 3},
	{"save", KEY_SAVE, NULL, 0, "keep snapshots, which are smaller, and drop the cores; with --redact without values", 3},
	{"fork", KEY_FORK, NULL, 0, "let a process go at once, and copy a fork of it, where nothing speaks against that; else as without", 3},
	{"then", KEY_THEN, "COMMAND", 0, "run by sh after each capture, one at a time: COREANALYZE_FILE, _PID and _REASON tell it of what", 3},
	{0},
};

/* ---- options -------------------------------------------------------------------- */

static uint64_t size_of(struct argp_state *state, const char *option, const char *arg)
{
	uint64_t bytes;

	if (!ca_parse_size(arg, &bytes) || !bytes)
		ca_bad_usage(state, "--%s: '%s' is no size (16M, 1.5GiB)", option, arg);
	return bytes;
}

static uint64_t number_of(struct argp_state *state, const char *option, const char *arg, uint64_t most)
{
	char *end;
	unsigned long long number = strtoull(arg, &end, 10);

	if (*arg < '0' || *arg > '9' || *end || !number || number > most)
		ca_bad_usage(state, "--%s: '%s' is no number from 1 to %llu", option, arg,
			     (unsigned long long)most);
	return number;
}

/* "30", "30s", "1.5m", "2h", "1d", as milliseconds; 0: it is none. */
static uint64_t parse_duration(const char *arg)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = {{"", 1e3}, {"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}};
	char *end;
	double number = strtod(arg, &end);

	if (*arg < '0' || *arg > '9' || !isfinite(number))
		return 0;
	for (size_t i = 0; i < CA_COUNT(units); i++)
		if (strcmp(end, units[i].unit) == 0 && number * units[i].ms < 1e15)
			return (uint64_t)(number * units[i].ms);
	return 0;
}

static void parse_growth(struct argp_state *state, struct ca_watch *watch, char *arg)
{
	char *slash = strrchr(arg, '/'), *end = NULL;
	double minutes = slash ? strtod(slash + 1, &end) : 0;

	if (!slash || end == slash + 1 || *end || !(minutes > 0) || minutes > 1e6)
		ca_bad_usage(state, "--growth takes SIZE/MINUTES, as in 64M/10, not '%s'", arg);
	*slash = '\0';
	watch->growth = size_of(state, "growth", arg);
	watch->growth_ms = (uint64_t)(minutes * 60e3);
}

static void parse_pressure(struct argp_state *state, struct ca_watch *watch, const char *arg)
{
	bool full = strncasecmp(arg, "full:", 5) == 0;
	char *end = NULL;
	unsigned long percent = 0;

	if (full || strncasecmp(arg, "some:", 5) == 0)
		percent = strtoul(arg + 5, &end, 10);
	if (!percent || percent > 100 || arg[5] < '0' || arg[5] > '9' || (*end && strcmp(end, "%") != 0))
		ca_bad_usage(state, "--pressure takes SOME:N%% or FULL:N%%, as in some:20%%, not '%s'", arg);
	watch->pressure = (unsigned)percent;
	watch->pressure_full = full;
}

static void parse_name(struct argp_state *state, struct own *own, const char *arg)
{
	if (own->watch.name)
		ca_bad_usage(state, "--name: more than once");
	if (regcomp(&own->name, arg, REG_EXTENDED | REG_NOSUB) != 0)
		ca_bad_usage(state, "--name: '%s' is no extended regular expression", arg);
	own->watch.name = &own->name;
}

static void check(struct argp_state *state, struct own *own)
{
	struct ca_watch *watch = &own->watch;

	if (own->sources != 1)
		ca_bad_usage(state, "watch takes one of --pid, --pidfile, --name, --cgroup");
	if (!watch->directory)
		ca_bad_usage(state, "watch takes -o DIR: where the files go");
	if (!watch->rss && !watch->percent && !watch->growth && !watch->pressure && !watch->every_ms)
		watch->percent = DEFAULT_PERCENT;
	if (!watch->keep)
		watch->keep = DEFAULT_KEEP;
	if (!watch->max_disk)
		watch->max_disk = DEFAULT_MAX_DISK;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct own *own = ca_parsed_request(state)->own;
	struct ca_watch *watch = &own->watch;

	own->sources += key == KEY_PID || key == KEY_PIDFILE || key == KEY_NAME || key == KEY_CGROUP;
	switch (key) {
	case KEY_PID:
		watch->pid = (int32_t)number_of(state, "pid", arg, INT32_MAX);
		return 0;
	case KEY_PIDFILE:
		watch->pid_file = arg;
		return 0;
	case KEY_NAME:
		parse_name(state, own, arg);
		return 0;
	case KEY_CGROUP:
		watch->cgroup = arg;
		return 0;
	case KEY_RSS:
		watch->rss = size_of(state, "rss", arg);
		return 0;
	case KEY_PERCENT:
		watch->percent = (unsigned)number_of(state, "percent-of-limit", arg, 100);
		return 0;
	case KEY_GROWTH:
		parse_growth(state, watch, arg);
		return 0;
	case KEY_PRESSURE:
		parse_pressure(state, watch, arg);
		return 0;
	case KEY_EVERY:
		watch->every_ms = parse_duration(arg);
		if (!watch->every_ms)
			ca_bad_usage(state, "--every: '%s' is no duration (30s, 10m, 2h)", arg);
		return 0;
	case KEY_KEEP:
		watch->keep = (unsigned)number_of(state, "keep", arg, 1000000);
		return 0;
	case KEY_MAX_DISK:
		watch->max_disk = size_of(state, "max-disk", arg);
		return 0;
	case KEY_COMPRESS:
		own->compress = true;
		return 0;
	case KEY_FORK:
		own->fork = true;
		return 0;
	case KEY_SAVE:
		own->save = true;
		return 0;
	case KEY_THEN:
		watch->command = arg;
		return 0;
	case 'o':
		watch->directory = arg;
		return 0;
	case ARGP_KEY_END:
		check(state, own);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* ---- what is done to a process: in the child ---------------------------------------- */

static const char *explain(struct ca_arena *arena, const struct ca_error *err)
{
	return ca_arena_printf(arena, "%s: %s%s%s", err->what, err->why, *err->advice ? ": " : "",
			       err->advice);
}

static void note(struct ca_watch_result *result, const char *text)
{
	snprintf(result->text, sizeof(result->text), "%s", text);
}

/* What is refused, or fails, by a fork is done by a copy, and is told so. */
static struct ca_error *write_core(const struct own *own, const struct ca_view *view, const char *file,
				   struct ca_watch_result *result)
{
	struct ca_capture_options how = {.file = file, .compress = own->compress && !own->save, .fork = own->fork};
	struct ca_captured done = {0};
	struct ca_error *err = ca_capture(view, &how, &done);

	if (err && own->fork) {
		note(result, explain(&view->ctx->arena, err));
		ca_error_free(err);
		how.fork = false;
		err = ca_capture(view, &how, &done);
	}
	result->pause_ns = done.taken.pause_ns;
	return err;
}

static struct ca_error *capture_core(const struct own *own, int32_t pid, const char *file,
				     struct ca_watch_result *result)
{
	struct ca_context ctx;
	struct ca_view view = {0};
	struct ca_error *err;

	ca_context_init(&ctx);
	err = ca_view_open(&ctx, pid, &view);
	if (!err)
		err = write_core(own, &view, file, result);
	ca_view_close(&view);
	ca_context_fini(&ctx);
	return err;
}

/* Whoever serves requests comes first; on a machine that is never idle it ends all the same. */
static void step_back(void)
{
	enum { BEHIND = 10 };

	if (nice(BEHIND) < 0)
		errno = 0; /* at our usual priority, then */
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_LAST);
}

/* An analysis takes up to two thirds of its core, as was measured. */
static struct ca_error *weigh_analysis(const char *core)
{
	char needed[32], there[32];
	struct stat st = {0};
	uint64_t room = ca_memory_room("");

	if (stat(core, &st) || (uint64_t)st.st_size <= room)
		return NULL;
	ca_format_size(needed, sizeof(needed), (uint64_t)st.st_size);
	ca_format_size(there, sizeof(there), room);
	return ca_error_make(CA_TARGET, "no snapshot", "",
			     "its analysis may take %s (%llu bytes) of memory, and %s (%llu bytes) may be used",
			     needed, (unsigned long long)st.st_size, there, (unsigned long long)room);
}

static struct ca_error *save_snapshot(const struct own *own, const char *core, const char *file)
{
	struct ca_save_options how = {.compress = own->compress, .redact = own->request->redact};
	struct ca_session *session = ca_session_make();
	struct ca_error *err = weigh_analysis(core);
	uint64_t bytes;

	session->ctx.threads = 1;
	if (!err)
		err = ca_session_open(session, core, &own->request->files);
	if (!err)
		err = ca_session_save(session, file, &how, &bytes);
	ca_session_close(session);
	return err;
}

static void name_it(struct ca_watch_result *result, const char *kind, bool compressed)
{
	snprintf(result->suffix, sizeof(result->suffix), "%s%s", kind, compressed ? ".zst" : "");
}

/* Where there can be no snapshot the core is kept: it is what matters. */
static bool make_snapshot(const struct own *own, const char *file, struct ca_watch_result *result)
{
	struct ca_arena arena = {0};
	const char *core = ca_arena_printf(&arena, "%s.core", file);
	struct ca_error *err;
	bool kept;

	step_back();
	name_it(result, "core", false);
	if (rename(file, core)) {
		ca_arena_fini(&arena);
		return true;
	}
	err = save_snapshot(own, core, file);
	if (err)
		note(result, ca_arena_printf(&arena, "%s: %s; the core is kept", err->what, err->why));
	else
		name_it(result, "snapshot", own->compress);
	kept = err ? rename(core, file) == 0 : unlink(core) == 0;
	ca_error_free(err);
	ca_arena_fini(&arena);
	return kept;
}

static void capture(void *arg, const struct ca_watch_order *order, struct ca_watch_result *result)
{
	const struct own *own = arg;
	struct ca_error *err = capture_core(own, order->pid, order->part, result);

	if (err) {
		struct ca_arena arena = {0};

		note(result, explain(&arena, err));
		ca_arena_fini(&arena);
		ca_error_free(err);
		return;
	}
	name_it(result, "core", own->compress);
	result->done = !own->save || make_snapshot(own, order->part, result);
}

/* ---- a line for each event ------------------------------------------------------------- */

static const char *const names[] = {
	[CA_WATCH_STARTED] = "started", [CA_WATCH_FOUND] = "found", [CA_WATCH_ENDED] = "ended",
	[CA_WATCH_CAPTURED] = "captured", [CA_WATCH_FAILED] = "failed", [CA_WATCH_DROPPED] = "dropped",
	[CA_WATCH_COMMAND] = "command", [CA_WATCH_TROUBLE] = "trouble", [CA_WATCH_STOPPED] = "stopped",
};

static const char *escaped(struct ca_arena *arena, const char *text)
{
	return text ? ca_escape_arena(arena, text, strlen(text)) : NULL;
}

static const char *size(struct ca_arena *arena, uint64_t bytes)
{
	char text[32];

	ca_format_size(text, sizeof(text), bytes);
	return ca_arena_strdup(arena, text);
}

static const char *say_memory(struct ca_arena *arena, const struct ca_watch_news *news)
{
	const char *rss = size(arena, news->rss);

	if (!news->limit)
		return ca_arena_printf(arena, "%s resident", rss);
	return ca_arena_printf(arena, "%s resident, %.0f %% of a limit of %s used", rss,
			       100.0 * (double)news->used / (double)news->limit, size(arena, news->limit));
}

static const char *say(struct ca_arena *arena, const struct ca_watch_news *news)
{
	const char *file = escaped(arena, news->file), *text = escaped(arena, news->text);

	switch (news->event) {
	case CA_WATCH_STARTED:
		return "watching";
	case CA_WATCH_FOUND:
		return ca_arena_printf(arena, "watched: %s", say_memory(arena, news));
	case CA_WATCH_ENDED:
		if (!news->oom_kills)
			return ca_arena_printf(arena, "ended, %s resident at last", size(arena, news->rss));
		return ca_arena_printf(arena, "ended, %s resident at last; the kernel has killed %llu in its group for memory",
				       size(arena, news->rss), (unsigned long long)news->oom_kills);
	case CA_WATCH_CAPTURED:
		return ca_arena_printf(arena, "captured (%s) as %s, %s; it stood still for %.3f s; %s%s%s",
				       news->reason, file, size(arena, news->bytes),
				       (double)news->pause_ns / 1e9, say_memory(arena, news),
				       text ? "; " : "", text ? text : "");
	case CA_WATCH_FAILED:
		return ca_arena_printf(arena, "not captured (%s): %s", news->reason, text);
	case CA_WATCH_DROPPED:
		return ca_arena_printf(arena, "dropped %s: %s", file, text);
	case CA_WATCH_COMMAND:
		return ca_arena_printf(arena, "the command for %s ended with status %d", file, news->status);
	case CA_WATCH_TROUBLE:
		return text;
	case CA_WATCH_STOPPED:
		return "stopped";
	}
	return "";
}

static void put_number(struct ca_writer *w, const char *key, bool there, uint64_t number)
{
	if (there)
		ca_put_uint(w, key, number);
	else
		ca_put_null(w, key);
}

static bool tell(void *arg, const struct ca_watch_news *news)
{
	const struct own *own = arg;
	struct ca_writer *w = ca_open_writer(own->request);
	bool captured = news->event == CA_WATCH_CAPTURED;
	struct ca_arena arena = {0};
	struct ca_error *err;

	ca_object_begin(w, NULL);
	ca_put_string(w, "schema", "coreanalyze.watch/1");
	ca_put_string(w, "time", ca_date(&arena, news->when));
	ca_put_string(w, "event", names[news->event]);
	put_number(w, "pid", news->pid, (uint64_t)news->pid);
	ca_put_string(w, "reason", news->reason);
	ca_put_string(w, "file", escaped(&arena, news->file));
	put_number(w, "disk_bytes", captured || news->event == CA_WATCH_DROPPED, news->bytes);
	if (captured)
		ca_put_real(w, "pause_seconds", (double)news->pause_ns / 1e9);
	else
		ca_put_null(w, "pause_seconds");
	put_number(w, "rss", news->rss, news->rss);
	put_number(w, "used", news->limit, news->used);
	put_number(w, "limit", news->limit, news->limit);
	put_number(w, "oom_kills", news->event == CA_WATCH_ENDED, news->oom_kills);
	put_number(w, "status", news->event == CA_WATCH_COMMAND, (uint64_t)news->status);
	ca_put_string(w, "text", escaped(&arena, news->text));
	ca_object_end(w);
	if (news->pid)
		ca_line(w, "%s process %d: %s", ca_date(&arena, news->when), news->pid, say(&arena, news));
	else
		ca_line(w, "%s %s", ca_date(&arena, news->when), say(&arena, news));
	err = ca_writer_close(w);
	ca_error_free(err);
	ca_arena_fini(&arena);
	return !err;
}

/* ---- the command ---------------------------------------------------------------------------- */

static struct ca_error *run_watch(struct ca_request *request, enum ca_status *status)
{
	struct own *own = request->own;
	struct ca_error *err;

	(void)status;
	own->request = request;
	own->watch.capture = capture;
	own->watch.tell = tell;
	own->watch.arg = own;
	err = ca_watch_run(&own->watch);
	if (own->watch.name)
		regfree(&own->name);
	return err;
}

const struct ca_command ca_command_watch = {
	.name = "watch",
	.args = "-o DIR",
	.most_args = 0,
	.alone = true,
	.summary = "captures workers before they are killed for memory",
	.help = "Waits until a process takes too much memory, captures it, which lives on, and waits on; restarts and "
		"new workers are followed. A line tells each event, with --json as JSON. SIGTERM ends it: a capture "
		"under way is finished within 5 s, or undone. `coreanalyze report DIR` tells what grew.\n\n"
		"Example: coreanalyze watch --name 'gunicorn: worker' --percent-of-limit 90 -o /var/lib/captures",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct own),
	.run = run_watch,
};
