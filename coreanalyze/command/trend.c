/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How a series is shown: its files, what grew over them by type and by owner, and the prime suspect. */
#include <stdio.h>
#include <string.h>

#include "series.h"

enum { TEXT_ROWS = 10 };

static double minutes(const struct ca_series_report *report)
{
	return (double)(report->items[report->count - 1].when - report->items[0].when) / 60e3;
}

static double per_minute(const struct ca_series_report *report, int64_t grown)
{
	return minutes(report) > 0 ? (double)grown / minutes(report) : 0;
}

static void put_processes(struct ca_writer *w, const struct ca_series_report *report)
{
	const struct ca_series_files *files = report->files;

	ca_list_begin(w, "processes");
	for (size_t i = 0; i < files->count;) {
		size_t count = ca_series_files_of(files, i);

		ca_object_begin(w, NULL);
		ca_put_int(w, "pid", files->items[i].pid);
		ca_put_uint(w, "files", count);
		ca_object_end(w);
		i += count;
	}
	ca_list_end(w);
}

static void say_others(struct ca_writer *w, const struct ca_series_report *report)
{
	int32_t pid = report->items[0].pid;
	size_t processes = 0;

	for (size_t i = 0; i < report->files->count; i += ca_series_files_of(report->files, i))
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

static void put_files(struct ca_writer *w, const struct ca_series_report *report, struct ca_arena *arena)
{
	ca_table_begin(w, "files", file_columns, CA_COUNT(file_columns));
	for (size_t i = 0; i < report->count; i++) {
		const struct ca_series_file *file = &report->items[i];

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

static int64_t count_delta(const struct ca_series_report *report, const struct ca_series_row *row)
{
	return (int64_t)(row->counts[report->count - 1] - row->counts[0]);
}

/* JSON: every one, at every moment. */
static void put_json_rows(struct ca_writer *w, const struct ca_series_report *report, const char *key,
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
static void put_text_rows(struct ca_writer *w, const struct ca_series_report *report, const char *key,
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

static void put_rows(struct ca_writer *w, const struct ca_series_report *report, const char *key,
		     const char *what, const char *header, const struct ca_series_table *table)
{
	if (report->request->form == CA_FORM_JSON)
		put_json_rows(w, report, key, what, table);
	else
		put_text_rows(w, report, key, header, table);
}

/* The program's own type that takes part in it, where there is one; else the largest. */
static const struct ca_series_row *what_accumulates(const struct ca_series_report *report)
{
	const struct ca_series_table *inside = &report->inside;
	int64_t least = report->owners.rows[0].grown / 10;

	for (size_t i = 0; i < inside->count && inside->rows[i].grown >= least; i++)
		if (strncmp(inside->rows[i].name, "builtins.", 9) != 0)
			return &inside->rows[i];
	return &inside->rows[0];
}

static void put_suspect(struct ca_writer *w, const struct ca_series_report *report, struct ca_arena *arena)
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

struct ca_error *ca_show_series(const struct ca_series_report *report)
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
