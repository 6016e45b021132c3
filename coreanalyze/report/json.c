/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One document on one line, as `serve` needs it, and a newline. It is written
 * as it comes: a table may have millions of rows. libjansson escapes strings
 * and prints reals; the structure around them is ours.
 */
#include "writer.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include <jansson.h>

static bool is_plain(const char *text)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
			return false;
	}
	return true;
}

static void dump(struct ca_writer *w, json_t *value, size_t flags)
{
	if (!value || json_dumpf(value, w->out, JSON_ENCODE_ANY | flags) != 0)
		ca_writer_fail(w, errno);
	json_decref(value);
}

/* libjansson refuses what is not UTF-8; in a document it would break all of it. */
static json_t *any_string(const char *text)
{
	json_t *const string = json_string(text);
	if (string)
		return string;
	char *const escaped = ca_writer_escape(text);
	json_t *const replacement = json_string(escaped);
	free(escaped);
	return replacement;
}

/* Most strings need no escapes: those go without an allocation. */
static void write_string(struct ca_writer *w, const char *text)
{
	if (is_plain(text))
		fprintf(w->out, "\"%s\"", text);
	else
		dump(w, any_string(text), 0);
}

/* The fewest digits that read back as the same number; JSON has no infinities. */
static void write_real(struct ca_writer *w, double value)
{
	if (!isfinite(value)) {
		fputs("null", w->out);
		return;
	}
	unsigned digits = 15;
	for (char text[32]; digits < 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", (int)digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	dump(w, json_real(value), JSON_REAL_PRECISION(digits));
}

static void separate(struct ca_writer *w, const char *key)
{
	if (w->depth && w->scopes[w->depth - 1].filled)
		fputs(", ", w->out);
	if (key) {
		write_string(w, key);
		fputs(": ", w->out);
	}
}

static void json_begin(struct ca_writer *w, const char *key, enum ca_scope_kind kind)
{
	separate(w, key);
	fputc(kind == CA_SCOPE_OBJECT || kind == CA_SCOPE_ROW ? '{' : '[', w->out);
}

static void json_end(struct ca_writer *w, enum ca_scope_kind kind)
{
	fputc(kind == CA_SCOPE_OBJECT || kind == CA_SCOPE_ROW ? '}' : ']', w->out);
}

static void json_put(struct ca_writer *w, const char *key, const struct ca_value *value)
{
	separate(w, key);
	switch (value->kind) {
	case CA_VALUE_NULL:
		fputs("null", w->out);
		break;
	case CA_VALUE_TEXT:
		write_string(w, value->text);
		break;
	case CA_VALUE_INT:
		fprintf(w->out, "%" PRId64, value->integer);
		break;
	case CA_VALUE_UINT:
		fprintf(w->out, "%" PRIu64, value->natural);
		break;
	case CA_VALUE_REAL:
		write_real(w, value->real);
		break;
	case CA_VALUE_BOOL:
		fputs(value->flag ? "true" : "false", w->out);
		break;
	case CA_VALUE_ADDR:
		fprintf(w->out, "\"0x%" PRIx64 "\"", value->addr);
		break;
	}
}

static void json_cell(struct ca_writer *w, const struct ca_column *column,
		      const struct ca_value *value)
{
	if (!column->key)
		return;
	json_put(w, column->key, value);
	w->scopes[w->depth - 1].filled = true;
}

static void json_finish(struct ca_writer *w)
{
	fputc('\n', w->out);
}

const struct ca_form_ops ca_json_ops = {
	.begin = json_begin,
	.end = json_end,
	.put = json_put,
	.cell = json_cell,
	.finish = json_finish,
};
