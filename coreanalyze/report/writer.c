/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct ca_form_ops *const forms[] = {
	[CA_FORM_TEXT] = &ca_text_ops,
	[CA_FORM_JSON] = &ca_json_ops,
};

struct ca_writer *ca_writer_open(FILE *out, const struct ca_writer_options *options)
{
	struct ca_writer *const w = ca_alloc(sizeof(*w));
	w->ops = forms[options->form];
	w->out = out;
	w->options = *options;
	return w;
}

struct ca_error *ca_writer_close(struct ca_writer *w)
{
	assert(w->depth == 0);
	errno = 0;
	if (fflush(w->out) != 0 || ferror(w->out))
		ca_writer_fail(w, errno);

	const int error = w->error;
	free(w);
	if (!error)
		return NULL;
	return ca_error_make(CA_INTERNAL, "output", "what was written is incomplete", "%s",
			     strerror(error));
}

enum ca_form ca_writer_form(const struct ca_writer *w)
{
	return w->options.form;
}

void ca_writer_fail(struct ca_writer *w, int error)
{
	if (!w->error)
		w->error = error ? error : EIO;
}

char *ca_writer_escape(const char *text)
{
	enum { LONGEST = 10 }; /* \UNNNNNNNN */
	const size_t length = strlen(text);
	char *const out = ca_alloc(length * LONGEST + 1);
	ca_escape(out, length * LONGEST + 1, text, length);
	return out;
}

/* A later call would overwrite errno, so it is looked at after each. */
static void note_failure(struct ca_writer *w)
{
	if (ferror(w->out))
		ca_writer_fail(w, errno);
}

/* ---- nesting ---------------------------------------------------------- */

static struct ca_scope *scope(struct ca_writer *w)
{
	return w->depth ? &w->scopes[w->depth - 1] : NULL;
}

/* A named value belongs in an object, a nameless one in a list or on top. */
static void check_place(struct ca_writer *w, const char *key)
{
	const struct ca_scope *const s = scope(w);
	assert(s ? s->kind == (key ? CA_SCOPE_OBJECT : CA_SCOPE_LIST) : !key && !w->finished);
}

static void complete(struct ca_writer *w)
{
	if (w->depth) {
		scope(w)->filled = true;
	} else {
		w->finished = true;
		if (w->ops->finish)
			w->ops->finish(w);
	}
	note_failure(w);
}

static void begin(struct ca_writer *w, const char *key, enum ca_scope_kind kind)
{
	assert(w->depth < CA_SCOPES_MAX);
	if (w->ops->begin)
		w->ops->begin(w, key, kind);
	w->scopes[w->depth++] = (struct ca_scope){ .kind = kind };
	note_failure(w);
}

static void end(struct ca_writer *w, enum ca_scope_kind kind)
{
	assert(w->depth && scope(w)->kind == kind);
	w->depth--;
	if (w->ops->end)
		w->ops->end(w, kind);
	complete(w);
}

void ca_object_begin(struct ca_writer *w, const char *key)
{
	check_place(w, key);
	begin(w, key, CA_SCOPE_OBJECT);
}

void ca_object_end(struct ca_writer *w)
{
	end(w, CA_SCOPE_OBJECT);
}

void ca_list_begin(struct ca_writer *w, const char *key)
{
	check_place(w, key);
	begin(w, key, CA_SCOPE_LIST);
}

void ca_list_end(struct ca_writer *w)
{
	end(w, CA_SCOPE_LIST);
}

/* ---- values ----------------------------------------------------------- */

static struct ca_value text_value(const char *text)
{
	return (struct ca_value){ .kind = text ? CA_VALUE_TEXT : CA_VALUE_NULL, .text = text };
}

static void put(struct ca_writer *w, const char *key, const struct ca_value *value)
{
	check_place(w, key);
	if (w->ops->put)
		w->ops->put(w, key, value);
	complete(w);
}

void ca_put_string(struct ca_writer *w, const char *key, const char *value)
{
	const struct ca_value v = text_value(value);
	put(w, key, &v);
}

void ca_put_int(struct ca_writer *w, const char *key, int64_t value)
{
	put(w, key, &(struct ca_value){ .kind = CA_VALUE_INT, .integer = value });
}

void ca_put_uint(struct ca_writer *w, const char *key, uint64_t value)
{
	put(w, key, &(struct ca_value){ .kind = CA_VALUE_UINT, .natural = value });
}

void ca_put_real(struct ca_writer *w, const char *key, double value)
{
	put(w, key, &(struct ca_value){ .kind = CA_VALUE_REAL, .real = value });
}

void ca_put_bool(struct ca_writer *w, const char *key, bool value)
{
	put(w, key, &(struct ca_value){ .kind = CA_VALUE_BOOL, .flag = value });
}

void ca_put_addr(struct ca_writer *w, const char *key, ca_addr value)
{
	put(w, key, &(struct ca_value){ .kind = CA_VALUE_ADDR, .addr = value });
}

void ca_put_null(struct ca_writer *w, const char *key)
{
	put(w, key, &(struct ca_value){ .kind = CA_VALUE_NULL });
}

/* ---- lines for people ------------------------------------------------- */

/* Between a table's rows there is no place for a line. */
static void check_line(struct ca_writer *w)
{
	assert(!w->columns);
}

void ca_title(struct ca_writer *w, const char *format, ...)
{
	check_line(w);
	va_list args;
	va_start(args, format);
	if (w->ops->title)
		w->ops->title(w, format, args);
	va_end(args);
	note_failure(w);
}

void ca_line(struct ca_writer *w, const char *format, ...)
{
	check_line(w);
	va_list args;
	va_start(args, format);
	if (w->ops->line)
		w->ops->line(w, format, args);
	va_end(args);
	note_failure(w);
}

/* ---- tables ----------------------------------------------------------- */

/* The kinds of value that a column shows; null fits all. */
static bool fits(enum ca_cell cell, enum ca_value_kind kind)
{
	enum { NUMBER = 1u << CA_VALUE_INT | 1u << CA_VALUE_UINT };
	static const unsigned allowed[] = {
		[CA_CELL_TEXT] = 1u << CA_VALUE_TEXT | NUMBER | 1u << CA_VALUE_ADDR,
		[CA_CELL_COUNT] = NUMBER,
		[CA_CELL_DELTA] = NUMBER,
		[CA_CELL_SIZE] = NUMBER,
		[CA_CELL_SIZE_DELTA] = NUMBER,
		[CA_CELL_ADDR] = 1u << CA_VALUE_ADDR,
		[CA_CELL_BOOL] = 1u << CA_VALUE_BOOL,
		[CA_CELL_PERCENT] = 1u << CA_VALUE_REAL,
	};
	return kind == CA_VALUE_NULL || (allowed[cell] & 1u << kind);
}

void ca_table_begin(struct ca_writer *w, const char *key, const struct ca_column *columns,
		    size_t count)
{
	assert(count > 0);
	check_place(w, key);
	w->columns = columns;
	w->column_count = count;
	begin(w, key, CA_SCOPE_TABLE);
}

static void put_cell(struct ca_writer *w, const struct ca_value *value)
{
	assert(w->columns && w->column < w->column_count);
	const struct ca_column *const column = &w->columns[w->column];
	assert(fits(column->cell, value->kind));
	if (w->column++ == 0)
		begin(w, NULL, CA_SCOPE_ROW);
	if (w->ops->cell)
		w->ops->cell(w, column, value);
	note_failure(w);
}

void ca_cell_text(struct ca_writer *w, const char *value)
{
	const struct ca_value v = text_value(value);
	put_cell(w, &v);
}

void ca_cell_int(struct ca_writer *w, int64_t value)
{
	put_cell(w, &(struct ca_value){ .kind = CA_VALUE_INT, .integer = value });
}

void ca_cell_uint(struct ca_writer *w, uint64_t value)
{
	put_cell(w, &(struct ca_value){ .kind = CA_VALUE_UINT, .natural = value });
}

void ca_cell_addr(struct ca_writer *w, ca_addr value)
{
	put_cell(w, &(struct ca_value){ .kind = CA_VALUE_ADDR, .addr = value });
}

void ca_cell_bool(struct ca_writer *w, bool value)
{
	put_cell(w, &(struct ca_value){ .kind = CA_VALUE_BOOL, .flag = value });
}

void ca_cell_real(struct ca_writer *w, double value)
{
	put_cell(w, &(struct ca_value){ .kind = CA_VALUE_REAL, .real = value });
}

void ca_row_end(struct ca_writer *w)
{
	assert(w->columns && w->column == w->column_count);
	w->column = 0;
	end(w, CA_SCOPE_ROW);
}

void ca_table_end(struct ca_writer *w, uint64_t omitted)
{
	w->omitted = omitted;
	end(w, CA_SCOPE_TABLE);
	w->columns = NULL;
}
