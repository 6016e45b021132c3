/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Titles, lines and tables for people. libsmartcols aligns a table; it needs
 * all rows for that, so a table is printed at its end.
 */
#include "writer.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <libsmartcols/libsmartcols.h>

static const char bold[] = "\033[1m", normal[] = "\033[0m", gap[] = "  ";

/* ---- cells ------------------------------------------------------------ */

enum { CELL_BYTES = 48 }; /* the longest is 2^64 with a sign and its groups */

static void format_number(char out[static CELL_BYTES], enum ca_cell cell, bool negative,
			  uint64_t magnitude)
{
	const bool delta = cell == CA_CELL_DELTA || cell == CA_CELL_SIZE_DELTA;
	const char *const sign = negative ? "-" : delta && magnitude ? "+" : "";
	if (cell == CA_CELL_SIZE)
		ca_format_size(stpcpy(out, sign), CELL_BYTES - 1, magnitude);
	else if (cell == CA_CELL_TEXT)
		snprintf(out, CELL_BYTES, "%s%" PRIu64, sign, magnitude);
	else
		snprintf(out, CELL_BYTES, "%s%s", sign, ca_grouped(magnitude).text);
}

/* What a cell shows that is no text. */
static const char *format_cell(char buffer[static CELL_BYTES], enum ca_cell cell,
			       const struct ca_value *value)
{
	switch (value->kind) {
	case CA_VALUE_TEXT:
	case CA_VALUE_NULL:
		return "-";
	case CA_VALUE_BOOL:
		return value->flag ? "yes" : "no";
	case CA_VALUE_INT: {
		const bool negative = value->integer < 0;
		const uint64_t bits = (uint64_t)value->integer;
		format_number(buffer, cell, negative, negative ? 0 - bits : bits);
		break;
	}
	case CA_VALUE_UINT:
		format_number(buffer, cell, false, value->natural);
		break;
	case CA_VALUE_REAL:
		if (!isfinite(value->real))
			return "-";
		snprintf(buffer, CELL_BYTES, "%.1f %%", value->real * 100);
		break;
	case CA_VALUE_ADDR:
		snprintf(buffer, CELL_BYTES, "0x%" PRIx64, value->addr);
		break;
	}
	return buffer;
}

/* ---- tables ----------------------------------------------------------- */

static void add_column(struct ca_writer *w, const struct ca_column *column, bool may_cut)
{
	const bool left = column->cell == CA_CELL_TEXT || column->cell == CA_CELL_BOOL;
	const int flags = (left ? 0 : SCOLS_FL_RIGHT) | (may_cut ? SCOLS_FL_TRUNC : 0);
	struct libscols_column *const added =
		scols_table_new_column(w->table, column->header, 0, flags);
	if (!added)
		ca_writer_fail(w, ENOMEM);
	else if (w->options.color)
		scols_cell_set_color(scols_column_get_header(added), bold);
}

static void begin_table(struct ca_writer *w)
{
	w->rows = 0;
	w->table = scols_new_table();
	if (!w->table) {
		ca_writer_fail(w, ENOMEM);
		return;
	}
	scols_table_set_stream(w->table, w->out);
	scols_table_set_column_separator(w->table, gap);
	scols_table_enable_colors(w->table, w->options.color);
	scols_table_set_termforce(w->table, w->options.width ? SCOLS_TERMFORCE_ALWAYS
							     : SCOLS_TERMFORCE_NEVER);
	scols_table_set_termwidth(w->table, w->options.width);

	bool may_cut = w->options.width > 0;
	for (size_t i = 0; i < w->column_count; i++) {
		const struct ca_column *const column = &w->columns[i];
		if (!column->header)
			continue;
		const bool cut = may_cut && column->cell == CA_CELL_TEXT;
		add_column(w, column, cut);
		may_cut &= !cut;
	}
}

static void begin_row(struct ca_writer *w)
{
	w->rows++;
	w->text_column = 0;
	w->row = w->table ? scols_table_new_line(w->table, NULL) : NULL;
	if (!w->row)
		ca_writer_fail(w, ENOMEM);
}

static void text_cell(struct ca_writer *w, const struct ca_column *column,
		      const struct ca_value *value)
{
	if (!w->row || !column->header)
		return;
	char buffer[CELL_BYTES];
	char *const text = value->kind == CA_VALUE_TEXT ? ca_writer_escape(value->text) : NULL;
	const char *const shown = text ? text : format_cell(buffer, column->cell, value);
	if (scols_line_set_data(w->row, w->text_column++, shown) != 0)
		ca_writer_fail(w, ENOMEM);
	free(text);
}

/*
 * Output is UTF-8 whatever the user's locale: libsmartcols measures by the
 * thread's, so it gets one that fits for the time. It must not encode then, or
 * it would escape the "\x" of our escapes again; but where there is no such
 * locale it must (libsmartcols 2.38 loops over bytes that it cannot decode).
 */
static void print_rows(struct ca_writer *w)
{
	const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	const locale_t before = uselocale(utf8);
	scols_table_enable_noencoding(w->table, utf8 != (locale_t)0);
	const int failed = scols_print_table(w->table);
	uselocale(before);
	if (utf8)
		freelocale(utf8);
	if (failed)
		ca_writer_fail(w, -failed);
}

/* libsmartcols prints nothing at all for a table without rows. */
static void print_header(struct ca_writer *w)
{
	const char *before = "";
	fputs(w->options.color ? bold : "", w->out);
	for (size_t i = 0; i < w->column_count; i++) {
		if (!w->columns[i].header)
			continue;
		fprintf(w->out, "%s%s", before, w->columns[i].header);
		before = gap;
	}
	fprintf(w->out, "%s\n", w->options.color ? normal : "");
}

static void end_table(struct ca_writer *w)
{
	struct libscols_table *const table = w->table;
	if (table && scols_table_get_ncols(table) > 0) {
		w->begun = true;
		if (w->rows)
			print_rows(w);
		else
			print_header(w);
		if (w->omitted)
			fprintf(w->out, "... and %s more (--limit 0 shows all)\n",
				ca_grouped(w->omitted).text);
		else if (!w->rows)
			fputs("(none)\n", w->out);
	}
	scols_unref_table(table);
	w->table = NULL;
}

/* ---- the form --------------------------------------------------------- */

static void text_begin(struct ca_writer *w, const char *key, enum ca_scope_kind kind)
{
	(void)key;
	if (kind == CA_SCOPE_TABLE)
		begin_table(w);
	else if (kind == CA_SCOPE_ROW)
		begin_row(w);
}

static void text_end(struct ca_writer *w, enum ca_scope_kind kind)
{
	if (kind == CA_SCOPE_TABLE)
		end_table(w);
	else if (kind == CA_SCOPE_ROW)
		w->row = NULL;
}

/* How much of a line goes on the next one of the terminal: up to a space, else a whole word. */
static size_t fitting(const char *line, size_t width)
{
	size_t end = 0, columns = 0;

	for (size_t i = strspn(line, " "); line[i]; i++) {
		columns += ((unsigned char)line[i] & 0xc0) != 0x80;
		if (line[i] == ' ')
			end = i;
		if (columns > width && end)
			return end;
	}
	return strlen(line);
}

/* What goes on is indented by two more. */
static void print_folded(struct ca_writer *w, const char *line)
{
	size_t indent = strspn(line, " ");
	bool folds = w->options.width > indent + 2;
	size_t length = folds ? fitting(line, w->options.width - indent) : strlen(line);

	for (;;) {
		fprintf(w->out, "%.*s", (int)length, line);
		line += length;
		line += strspn(line, " ");
		if (!*line)
			break;
		fprintf(w->out, "\n%*s", (int)indent + 2, "");
		length = fitting(line, w->options.width - indent - 2);
	}
}

static void print_line(struct ca_writer *w, bool stress, const char *format, va_list args)
{
	char *line;
	if (vasprintf(&line, format, args) < 0) {
		ca_writer_fail(w, ENOMEM);
		return;
	}
	char *const escaped = ca_writer_escape(line);
	fputs(stress ? bold : "", w->out);
	print_folded(w, escaped);
	fprintf(w->out, "%s\n", stress ? normal : "");
	w->begun = true;
	free(escaped);
	free(line);
}

static void text_line(struct ca_writer *w, const char *format, va_list args)
{
	print_line(w, false, format, args);
}

static void text_title(struct ca_writer *w, const char *format, va_list args)
{
	fputs(w->begun ? "\n" : "", w->out);
	print_line(w, w->options.color, format, args);
}

const struct ca_form_ops ca_text_ops = {
	.begin = text_begin,
	.end = text_end,
	.cell = text_cell,
	.title = text_title,
	.line = text_line,
};
