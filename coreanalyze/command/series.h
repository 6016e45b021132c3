/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to the report over a directory: what it reads (series.c), how it is shown (trend.c). */
#ifndef CA_COMMAND_SERIES_H
#define CA_COMMAND_SERIES_H

#include "command.h"

struct ca_series_file {
	char *path;
	const char *name;         /* its last part */
	int32_t pid;
	int64_t when;             /* milliseconds since 1970 */
	uint64_t bytes;           /* of the file */
	struct ca_heap_size size; /* when it is used */
};
struct ca_series_files {
	struct ca_series_file *items; /* by process, then by date */
	size_t count, capacity;
};
/* How many files of the process that begins at i there are. */
size_t ca_series_files_of(const struct ca_series_files *files, size_t i);

/* One of them, opened. */
struct ca_series_view {
	struct ca_session *session;
	struct ca_ways ways;
	struct ca_naming naming;
	struct ca_arena arena;
};

struct ca_series_report {
	const struct ca_request *request;
	const struct ca_series_files *files;
	struct ca_series_file *items; /* those of the process, in the order of their dates */
	size_t count;
	struct ca_series_view first, last;
	struct ca_context *ctx;       /* of the last: warnings go there */
	struct ca_series series;
	struct ca_series_table types, owners, inside;
	size_t others;                /* files of another process that had the same number */
};

struct ca_error *ca_show_series(const struct ca_series_report *report);

#endif
