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

#include "../watch/watch.h"
#include "series.h"

enum { KEY_PID = 5000 };

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

static int by_process_and_date(const void *a, const void *b)
{
	const struct ca_series_file *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return x->when == y->when ? strcmp(x->name, y->name) : x->when < y->when ? -1 : 1;
}

static struct ca_error *list_files(const char *directory, struct ca_series_files *files)
{
	DIR *folder = opendir(directory);
	const struct dirent *entry;

	if (!folder)
		return ca_error_make(CA_TARGET, "cannot be read", "", "%s", strerror(errno));
	while ((entry = readdir(folder))) {
		struct ca_series_file file = {0};
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

static void free_files(struct ca_series_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		free(files->items[i].path);
	free(files->items);
}

/* How many files of the process that begins at i there are. */
size_t ca_series_files_of(const struct ca_series_files *files, size_t i)
{
	size_t end = i;

	while (end < files->count && files->items[end].pid == files->items[i].pid)
		end++;
	return end - i;
}

/* The process whose files grew most; the wanted one, where there is one. */
static size_t choose(const struct ca_series_files *files, int32_t wanted)
{
	size_t chosen = files->count;
	int64_t most = INT64_MIN;

	for (size_t i = 0; i < files->count; i += ca_series_files_of(files, i)) {
		size_t last = i + ca_series_files_of(files, i) - 1;
		int64_t grown = (int64_t)(files->items[last].bytes - files->items[i].bytes);

		if (wanted ? files->items[i].pid != wanted : grown <= most)
			continue;
		chosen = i;
		most = grown;
	}
	return chosen;
}

/* ---- one of them, opened --------------------------------------------------------------- */

static void close_view(struct ca_series_view *view)
{
	if (view->naming.reader) {
		ca_ways_fini(&view->ways);
		free(view->naming.reader);
		ca_arena_fini(&view->arena);
	}
	ca_session_close(view->session);
	*view = (struct ca_series_view){0};
}

static struct ca_error *refuse_incomplete(const struct ca_session *session)
{
	if (session->image->complete)
		return NULL;
	return ca_error_make(CA_TARGET, "incomplete", "", "a part of its memory is missing");
}

static struct ca_error *open_view(const struct ca_request *request, const struct ca_series_file *file,
				  struct ca_series_view *view)
{
	struct ca_request one = *request;
	struct ca_error *err;

	*view = (struct ca_series_view){0};
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

static void remove_file(struct ca_series_report *report, size_t i)
{
	struct ca_series_file removed = report->items[i];

	report->count--;
	memmove(report->items + i, report->items + i + 1, (report->count - i) * sizeof(*report->items));
	report->items[report->count] = removed; /* it is still freed with the others */
}

static void warn_unusable(struct ca_context *ctx, const char *name, const struct ca_error *err)
{
	ca_warn(ctx, ca_arena_printf(&ctx->arena, "unusable-file:%s", name), 0,
		"the series is told by the others", "%s is left out: %s: %s", name, err->what, err->why);
}

static struct ca_error *refuse_all(const struct ca_series_report *report, const struct ca_error *newest)
{
	return ca_error_make(CA_TARGET, "nothing to report", newest->advice,
			     "no file of process %d can be used; the newest, %s: %s: %s",
			     report->items[0].pid, report->items[report->count - 1].name, newest->what,
			     newest->why);
}

/* The newest that can be used: those after it are taken out. */
static struct ca_error *open_last(struct ca_series_report *report)
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
static bool open_earlier(struct ca_series_report *report, size_t i, struct ca_series_view *view)
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

static void add(struct ca_series_report *report, size_t i, const struct ca_series_view *view)
{
	struct ca_type_totals totals;

	ca_type_totals_build(view->session->objects, &totals);
	report->items[i].size = ca_heap_size(view->session->objects, &totals);
	ca_type_totals_fini(&totals);
	ca_series_add(&report->series, i, &view->naming);
}

static void look_inside(struct ca_series_report *report)
{
	if (!report->owners.count || report->owners.rows[0].grown <= 0)
		return;
	ca_series_look_inside(&report->series, 0, &report->first.naming, report->owners.rows[0].name);
	ca_series_look_inside(&report->series, report->count - 1, &report->last.naming,
			      report->owners.rows[0].name);
}

static void build(struct ca_series_report *report)
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
		struct ca_series_view view;

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

static struct ca_error *report_process(struct ca_series_report *report)
{
	struct ca_error *err = open_last(report);

	if (err)
		return err;
	build(report);
	err = ca_show_series(report);
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
	struct ca_series_files files = {0};
	struct ca_error *err = list_files(request->args[0], &files);
	size_t chosen = err ? 0 : choose(&files, *pid);

	if (!err && chosen == files.count)
		err = ca_error_make(CA_USAGE, "--pid", "", "no file there is of process %d", *pid);
	if (!err) {
		struct ca_series_report report = {
			.request = request,
			.files = &files,
			.items = files.items + chosen,
			.count = ca_series_files_of(&files, chosen),
		};

		err = report_process(&report);
	}
	free_files(&files);
	return err;
}
