/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The report over a directory: one process's files, from the first to the last. Two
 * of them are open all the time, and one more at a time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "../watch/watch.h"
#include "command.h"

enum { KEY_PID = 5000 };
enum { TEXT_ROWS = 10 };

const struct argp_option ca_series_options[] = {
	{"pid", KEY_PID, "N", 0, "of a directory: the process to report, not the one whose files grew most", 1},
	{0},
};

error_t ca_series_parse(int key, char *arg, struct argp_state *state)
{
	int32_t *pid = ca_parsed_request(state)->own;
	char *end;
	long number;

	if (key != KEY_PID)
		return ARGP_ERR_UNKNOWN;
	number = strtol(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || number < 1 || number > INT32_MAX)
		ca_bad_usage(state, "--pid: '%s' is no process number", arg);
	*pid = (int32_t)number;
	return 0;
}

/* ---- the files -------------------------------------------------------------------- */

struct file {
	char *path;
	const char *name;   /* its last part */
	int32_t pid;
	int64_t when;       /* milliseconds since 1970 */
	uint64_t bytes;
	struct ca_heap_size size; /* when it is used */
};
struct files {
	struct file *items; /* by process, then by date */
	size_t count, capacity;
};

static int by_process_and_date(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return x->when == y->when ? strcmp(x->name, y->name) : x->when < y->when ? -1 : 1;
}

static struct ca_error *list_files(const char *directory, struct files *files)
{
	DIR *folder = opendir(directory);
	const struct dirent *entry;

	if (!folder)
		return ca_error_make(CA_TARGET, "cannot be read", "", "%s", strerror(errno));
	while ((entry = readdir(folder))) {
		struct file file = {0};
		struct stat st;

		if (!ca_watch_name(entry->d_name, &file.pid, &file.when) ||
		    fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
			continue;
		file.path = ca_alloc(strlen(directory) + strlen(entry->d_name) + 2);
		sprintf(file.path, "%s/%s", directory, entry->d_name);
		file.name = file.path + strlen(directory) + 1;
		file.bytes = (uint64_t)st.st_size;
		files->items = ca_grow(files->items, &files->capacity, files->count + 1, sizeof(file));
		files->items[files->count++] = file;
	}
	closedir(folder);
	if (!files->count)
		return ca_error_make(CA_TARGET, "nothing to report", "name a core, or the -o DIR of a watch",
				     "no file there is named as `coreanalyze watch` names them");
	qsort(files->items, files->count, sizeof(*files->items), by_process_and_date);
	return NULL;
}

static void free_files(struct files *files)
{
	for (size_t i = 0; i < files->count; i++)
		free(files->items[i].path);
	free(files->items);
}

/* How many files of the process that begins at i there are. */
static size_t count_of(const struct files *files, size_t i)
{
	size_t end = i;

	while (end < files->count && files->items[end].pid == files->items[i].pid)
		end++;
	return end - i;
}

/* The process whose files grew most; the wanted one, where there is one. */
static size_t choose(const struct files *files, int32_t wanted)
{
	size_t chosen = files->count;
	int64_t most = INT64_MIN;

	for (size_t i = 0; i < files->count; i += count_of(files, i)) {
		size_t last = i + count_of(files, i) - 1;
		int64_t grown = (int64_t)(files->items[last].bytes - files->items[i].bytes);

		if (wanted ? files->items[i].pid != wanted : grown <= most)
			continue;
		chosen = i;
		most = grown;
	}
	return chosen;
}

/* ---- one of them, opened --------------------------------------------------------------- */

struct view {
	struct ca_session *session;
	struct ca_ways ways;
	struct ca_naming naming;
	struct ca_arena arena;
};

static void close_view(struct view *view)
{
	if (view->naming.reader) {
		ca_ways_fini(&view->ways);
		free(view->naming.reader);
		ca_arena_fini(&view->arena);
	}
	ca_session_close(view->session);
	*view = (struct view){0};
}

static struct ca_error *refuse_incomplete(const struct ca_session *session)
{
	if (session->image->complete)
		return NULL;
	return ca_error_make(CA_TARGET, "incomplete", "", "a part of its memory is missing");
}

static struct ca_error *open_view(const struct ca_request *request, const struct file *file,
				  struct view *view)
{
	struct ca_request one = *request;
	struct ca_error *err;

	*view = (struct view){0};
	one.args = (char *[]){file->path};
	one.arg_count = 1;
	err = ca_open_target(&one, 0, &view->session);
	if (!err)
		err = refuse_incomplete(view->session);
	if (!err)
		err = ca_session_graph(view->session);
	if (err) {
		close_view(view);
		return err;
	}
	ca_ways_build(view->session->graph, NULL, &view->ways);
	view->naming = (struct ca_naming){view->session->graph, &view->ways,
					  ca_alloc(sizeof(struct ca_reader)), request->redact, &view->arena};
	ca_reader_init(view->naming.reader, &view->session->objects->types_registry);
	return NULL;
}

/* ---- the series ---------------------------------------------------------------------------- */

struct report {
	const struct ca_request *request;
	const struct files *files;
	struct file *items;       /* those of the process, in the order of their dates */
	size_t count;
	struct view first, last;
	struct ca_context *ctx;   /* of the last: warnings go there */
	struct ca_series series;
	struct ca_series_table types, owners, inside;
	size_t others;            /* files of another process that had the same number */
};

static void remove_file(struct report *report, size_t i)
{
	struct file removed = report->items[i];

	report->count--;
	memmove(report->items + i, report->items + i + 1, (report->count - i) * sizeof(*report->items));
	report->items[report->count] = removed; /* it is still freed with the others */
}

static void warn_unusable(struct ca_context *ctx, const char *name, const struct ca_error *err)
{
	ca_warn(ctx, ca_arena_printf(&ctx->arena, "unusable-file:%s", name), 0,
		"the series is told by the others", "%s is left out: %s: %s", name, err->what, err->why);
}

static struct ca_error *refuse_all(const struct report *report, const struct ca_error *newest)
{
	return ca_error_make(CA_TARGET, "nothing to report", newest->advice, "no file of process %d can be used; the newest, %s: %s: %s",
			     report->items[0].pid, report->items[report->count - 1].name, newest->what,
			     newest->why);
}

/* The newest that can be used: those after it are taken out. */
static struct ca_error *open_last(struct report *report)
{
	size_t count = report->count, broken = 0;
	struct ca_error **errors = ca_alloc(count * sizeof(*errors)), *err = NULL;

	while (broken < count) {
		errors[broken] = open_view(report->request, &report->items[count - 1 - broken], &report->last);
		if (!errors[broken])
			break;
		broken++;
	}
	if (broken == count)
		err = refuse_all(report, errors[0]);
	else
		report->ctx = &report->last.session->ctx;
	for (size_t i = 0; i < broken; i++) {
		if (!err)
			warn_unusable(report->ctx, report->items[count - 1 - i].name, errors[i]);
		ca_error_free(errors[i]);
	}
	report->count -= broken;
	free(errors);
	return err;
}

/* The same process at an earlier moment, opened; false: it is taken out. */
static bool open_earlier(struct report *report, size_t i, struct view *view)
{
	struct ca_error *err = open_view(report->request, &report->items[i], view);

	if (err) {
		warn_unusable(report->ctx, report->items[i].name, err);
		ca_error_free(err);
		remove_file(report, i);
		return false;
	}
	if (!ca_same_process(view->session->objects, report->last.session->objects)) {
		report->others++;
		close_view(view);
		remove_file(report, i);
		return false;
	}
	return true;
}

static void add(struct report *report, size_t i, const struct view *view)
{
	struct ca_type_totals totals;

	ca_type_totals_build(view->session->objects, &totals);
	report->items[i].size = ca_heap_size(view->session->objects, &totals);
	ca_type_totals_fini(&totals);
	ca_series_add(&report->series, i, &view->naming);
}

static void look_inside(struct report *report)
{
	if (!report->owners.count || report->owners.rows[0].grown <= 0)
		return;
	ca_series_look_inside(&report->series, 0, &report->first.naming, report->owners.rows[0].name);
	ca_series_look_inside(&report->series, report->count - 1, &report->last.naming,
			      report->owners.rows[0].name);
}

static void build(struct report *report)
{
	while (report->count > 1 && !open_earlier(report, 0, &report->first))
		;
	ca_series_init(&report->series, report->count);
	if (report->count > 1)
		ca_series_find_holders(&report->series, &report->first.naming, false);
	ca_series_find_holders(&report->series, &report->last.naming, true);
	if (report->count > 1)
		add(report, 0, &report->first);
	for (size_t i = 1; i + 1 < report->count;) {
		struct view view;

		if (!open_earlier(report, i, &view))
			continue;
		add(report, i++, &view);
		close_view(&view);
	}
	add(report, report->count - 1, &report->last);
	report->series.moments = report->count;
	ca_series_table(&report->series, &report->series.types, &report->types);
	ca_series_table(&report->series, &report->series.owners, &report->owners);
	look_inside(report);
	ca_series_table(&report->series, &report->series.inside, &report->inside);
}

/* ---- the document ------------------------------------------------------------------------------ */

static double minutes(const struct report *report)
{
	return (double)(report->items[report->count - 1].when - report->items[0].when) / 60e3;
}

static double per_minute(const struct report *report, int64_t grown)
{
	return minutes(report) > 0 ? (double)grown / minutes(report) : 0;
}

static void put_processes(struct ca_writer *w, const struct report *report)
{
	const struct files *files = report->files;

	ca_list_begin(w, "processes");
	for (size_t i = 0; i < files->count;) {
		size_t count = count_of(files, i);

		ca_object_begin(w, NULL);
		ca_put_int(w, "pid", files->items[i].pid);
		ca_put_uint(w, "files", count);
		ca_object_end(w);
		i += count;
	}
	ca_list_end(w);
}

static void say_others(struct ca_writer *w, const struct report *report)
{
	int32_t pid = report->items[0].pid;
	size_t processes = 0;

	for (size_t i = 0; i < report->files->count; i += count_of(report->files, i))
		processes += report->files->items[i].pid != pid;
	if (processes)
		ca_line(w, "%zu other %s there; this one's files grew most (--pid N reports another)", processes,
			processes == 1 ? "process has files" : "processes have files");
	if (report->others)
		ca_line(w, "%zu files are of an earlier process that had this number: left out", report->others);
}

static const struct ca_column file_columns[] = {
	{"file", "FILE", CA_CELL_TEXT},
	{"time", NULL, CA_CELL_TEXT},
	{"seconds", NULL, CA_CELL_PERCENT},
	{"objects", "OBJECTS", CA_CELL_COUNT},
	{"bytes", "BYTES", CA_CELL_SIZE},
	{"owned", "OWNED", CA_CELL_SIZE},
	{"arena_bytes", "ARENAS", CA_CELL_SIZE},
	{"mapped_bytes", "WRITABLE", CA_CELL_SIZE},
};

static void put_files(struct ca_writer *w, const struct report *report, struct ca_arena *arena)
{
	ca_table_begin(w, "files", file_columns, CA_COUNT(file_columns));
	for (size_t i = 0; i < report->count; i++) {
		const struct file *file = &report->items[i];

		ca_cell_text(w, ca_escape_arena(arena, file->name, strlen(file->name)));
		ca_cell_text(w, ca_date(arena, file->when));
		ca_cell_real(w, (double)(file->when - report->items[0].when) / 1e3);
		ca_cell_uint(w, file->size.objects);
		ca_cell_uint(w, file->size.bytes);
		ca_cell_uint(w, file->size.owned);
		ca_cell_uint(w, file->size.arena_bytes);
		ca_cell_uint(w, file->size.mapped_bytes);
		ca_row_end(w);
	}
	ca_table_end(w, 0);
}

static void put_numbers(struct ca_writer *w, const char *key, const uint64_t *numbers, size_t count)
{
	ca_list_begin(w, key);
	for (size_t i = 0; i < count; i++)
		ca_put_uint(w, NULL, numbers[i]);
	ca_list_end(w);
}

static int64_t count_delta(const struct report *report, const struct ca_series_row *row)
{
	return (int64_t)(row->counts[report->count - 1] - row->counts[0]);
}

/* JSON: every one, at every moment. */
static void put_json_rows(struct ca_writer *w, const struct report *report, const char *key,
			  const char *what, const struct ca_series_table *table)
{
	ca_list_begin(w, key);
	for (size_t i = 0; i < ca_shown(report->request, table->count, 0); i++) {
		const struct ca_series_row *row = &table->rows[i];

		ca_object_begin(w, NULL);
		ca_put_string(w, what, row->name);
		ca_put_int(w, "count_delta", count_delta(report, row));
		ca_put_int(w, "bytes_delta", row->grown);
		ca_put_real(w, "bytes_per_minute", per_minute(report, row->grown));
		ca_put_uint(w, "rose", row->rose);
		put_numbers(w, "counts", row->counts, report->count);
		put_numbers(w, "bytes", row->bytes, report->count);
		ca_object_end(w);
	}
	ca_list_end(w);
}

/* Text: those that grew. */
static void put_text_rows(struct ca_writer *w, const struct report *report, const char *key,
			  const char *header, const struct ca_series_table *table)
{
	const struct ca_column columns[] = {
		{NULL, header, CA_CELL_TEXT},	     {NULL, "FIRST", CA_CELL_COUNT},
		{NULL, "LAST", CA_CELL_COUNT},	     {NULL, "COUNT", CA_CELL_DELTA},
		{NULL, "BYTES", CA_CELL_SIZE_DELTA}, {NULL, "A MINUTE", CA_CELL_SIZE_DELTA},
		{NULL, "ROSE", CA_CELL_TEXT},
	};
	size_t grown = 0, shown;
	char rose[64];

	while (grown < table->count && table->rows[grown].grown > 0)
		grown++;
	shown = ca_shown(report->request, grown, TEXT_ROWS);
	ca_table_begin(w, key, columns, CA_COUNT(columns));
	for (size_t i = 0; i < shown; i++) {
		const struct ca_series_row *row = &table->rows[i];

		snprintf(rose, sizeof(rose), "%llu of %zu", (unsigned long long)row->rose, report->count - 1);
		ca_cell_text(w, row->name);
		ca_cell_uint(w, row->counts[0]);
		ca_cell_uint(w, row->counts[report->count - 1]);
		ca_cell_int(w, count_delta(report, row));
		ca_cell_int(w, row->grown);
		ca_cell_int(w, (int64_t)per_minute(report, row->grown));
		ca_cell_text(w, rose);
		ca_row_end(w);
	}
	ca_table_end(w, grown - shown);
}

static void put_rows(struct ca_writer *w, const struct report *report, const char *key, const char *what,
		     const char *header, const struct ca_series_table *table)
{
	if (report->request->form == CA_FORM_JSON)
		put_json_rows(w, report, key, what, table);
	else
		put_text_rows(w, report, key, header, table);
}

/* The program's own type that takes part in it, where there is one; else the largest. */
static const struct ca_series_row *what_accumulates(const struct report *report)
{
	const struct ca_series_table *inside = &report->inside;
	int64_t least = report->owners.rows[0].grown / 10;

	for (size_t i = 0; i < inside->count && inside->rows[i].grown >= least; i++)
		if (strncmp(inside->rows[i].name, "builtins.", 9) != 0)
			return &inside->rows[i];
	return &inside->rows[0];
}

static void put_suspect(struct ca_writer *w, const struct report *report, struct ca_arena *arena)
{
	const struct ca_series_row *owner = report->owners.rows, *type;
	char bytes[32], pace[32];
	const char *why;

	ca_title(w, "What grew most");
	if (!report->inside.count) {
		ca_put_null(w, "suspect");
		ca_line(w, report->count > 1 ? "no owner grew" : "there is one file only: nothing to compare");
		return;
	}
	type = what_accumulates(report);
	ca_format_size(bytes, sizeof(bytes), (uint64_t)owner->grown);
	ca_format_size(pace, sizeof(pace), (uint64_t)per_minute(report, owner->grown));
	why = ca_arena_printf(arena, "%s %s there; +%s in %.1f minutes, %s a minute; it rose %llu of %zu times",
			      ca_signed(count_delta(report, type)).text, type->name, bytes,
			      minutes(report), pace, (unsigned long long)owner->rose, report->count - 1);
	ca_object_begin(w, "suspect");
	ca_put_string(w, "owner", owner->name);
	ca_put_int(w, "bytes_delta", owner->grown);
	ca_put_real(w, "bytes_per_minute", per_minute(report, owner->grown));
	ca_put_uint(w, "rose", owner->rose);
	ca_object_begin(w, "accumulates");
	ca_put_string(w, "type", type->name);
	ca_put_int(w, "count_delta", count_delta(report, type));
	ca_put_int(w, "bytes_delta", type->grown);
	ca_object_end(w);
	ca_put_string(w, "why", why);
	ca_object_end(w);
	ca_line(w, "%s", owner->name);
	ca_line(w, "  %s", why);
}

static struct ca_error *show(const struct report *report)
{
	const struct ca_request *request = report->request;
	struct ca_session *session = report->last.session;
	struct ca_writer *w = ca_open_writer(request);
	struct ca_arena arena = {0};

	ca_begin_document(w, request, session);
	ca_title(w, "CPython %s, process %d: %zu %s, %.1f minutes", session->rt->version, session->image->pid,
		 report->count, report->count == 1 ? "file" : "files", minutes(report));
	ca_put_real(w, "minutes", minutes(report));
	put_processes(w, report);
	say_others(w, report);
	put_files(w, report, &arena);
	put_suspect(w, report, &arena);
	ca_title(w, "By type");
	put_rows(w, report, "types", "type", "TYPE", &report->types);
	ca_title(w, "By owner");
	put_rows(w, report, "owners", "owner", "OWNER", &report->owners);
	ca_title(w, "Prime suspects of the last file");
	ca_put_suspects(w, request, session);
	ca_put_trust(w, session->objects);
	ca_arena_fini(&arena);
	return ca_end_document(w, session, NULL);
}

static struct ca_error *report_process(struct report *report)
{
	struct ca_error *err = open_last(report);

	if (err)
		return err;
	build(report);
	err = show(report);
	free(report->types.rows);
	free(report->owners.rows);
	free(report->inside.rows);
	ca_series_fini(&report->series);
	close_view(&report->first);
	close_view(&report->last);
	return err;
}

struct ca_error *ca_run_series(struct ca_request *request)
{
	const int32_t *pid = request->own;
	struct files files = {0};
	struct ca_error *err = list_files(request->args[0], &files);
	size_t chosen = err ? 0 : choose(&files, *pid);

	if (!err && chosen == files.count)
		err = ca_error_make(CA_USAGE, "--pid", "", "no file there is of process %d", *pid);
	if (!err) {
		struct report report = {
			.request = request,
			.files = &files,
			.items = files.items + chosen,
			.count = count_of(&files, chosen),
		};

		err = report_process(&report);
	}
	free_files(&files);
	return err;
}
