/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * report: one way to say an answer, several forms. A command describes its
 * document once; the form (JSON or text) is behind the writer.
 *
 * A document is a tree of named values. JSON prints the tree as it is. Text
 * prints what was marked for people: titles, tables (libsmartcols) and lines;
 * plain values outside of a table are for JSON only.
 *
 * Strings are expected already escaped (ca_escape) when they come from a
 * target; the writer adds what its own form needs. Where output fails (a full
 * disk, a closed pipe) the writer remembers, and ca_writer_close() says so.
 */
#ifndef CA_REPORT_H
#define CA_REPORT_H

#include <stdio.h>

#include "../base/base.h"

enum ca_form { CA_FORM_TEXT, CA_FORM_JSON };

struct ca_writer_options {
	enum ca_form form;
	bool color;     /* text: may use terminal colours */
	unsigned width; /* text: terminal columns; 0: do not cut or fold */
};

struct ca_writer;

struct ca_writer *ca_writer_open(FILE *out, const struct ca_writer_options *options);
/* Flushes and frees. An error when anything could not be written. */
struct ca_error *ca_writer_close(struct ca_writer *w);
enum ca_form ca_writer_form(const struct ca_writer *w);

/* Values. key is NULL inside a list. */
void ca_object_begin(struct ca_writer *w, const char *key);
void ca_object_end(struct ca_writer *w);
void ca_list_begin(struct ca_writer *w, const char *key);
void ca_list_end(struct ca_writer *w);
void ca_put_string(struct ca_writer *w, const char *key, const char *value); /* NULL: null */
void ca_put_int(struct ca_writer *w, const char *key, int64_t value);
void ca_put_uint(struct ca_writer *w, const char *key, uint64_t value);
void ca_put_real(struct ca_writer *w, const char *key, double value);
void ca_put_bool(struct ca_writer *w, const char *key, bool value);
void ca_put_addr(struct ca_writer *w, const char *key, ca_addr value); /* "0x7f..." */
void ca_put_null(struct ca_writer *w, const char *key);

/* Lines for people; JSON ignores them. A title stands apart from what precedes it. */
void ca_title(struct ca_writer *w, const char *format, ...) CA_PRINTF(2, 3);
void ca_line(struct ca_writer *w, const char *format, ...) CA_PRINTF(2, 3);

/*
 * A table: a list of objects in JSON, aligned columns in text. Cells are put
 * in the order of the columns, one ca_row_end() a row.
 */
enum ca_cell {
	CA_CELL_TEXT,   /* left aligned; the first such column may be cut to fit */
	CA_CELL_COUNT,  /* right aligned, grouped by thousands */
	CA_CELL_DELTA,  /* as COUNT, signed: +1,234 */
	CA_CELL_SIZE,   /* bytes; text shows 1.5 MiB */
	CA_CELL_SIZE_DELTA, /* signed bytes; text shows +1.5 MiB and all digits in JSON */
	CA_CELL_ADDR,
	CA_CELL_BOOL,
	CA_CELL_PERCENT, /* double; text shows 12.3 % */
};
struct ca_column {
	const char *key;    /* JSON key; NULL: text only */
	const char *header; /* text header; NULL: JSON only */
	enum ca_cell cell;
};
void ca_table_begin(struct ca_writer *w, const char *key, const struct ca_column *columns,
		    size_t count);
void ca_cell_text(struct ca_writer *w, const char *value); /* NULL: null, shown as "-" */
void ca_cell_int(struct ca_writer *w, int64_t value);
void ca_cell_uint(struct ca_writer *w, uint64_t value);
void ca_cell_addr(struct ca_writer *w, ca_addr value);
void ca_cell_bool(struct ca_writer *w, bool value);
void ca_cell_real(struct ca_writer *w, double value);
void ca_row_end(struct ca_writer *w);
/* omitted: rows that --limit left out; text says "... and N more". */
void ca_table_end(struct ca_writer *w, uint64_t omitted);

#endif
