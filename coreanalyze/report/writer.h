/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to report: what a form does. writer.c checks the nesting, a form only
 * writes. To add one: its ca_form_ops in a file of its
 * own, a value of enum ca_form, a row of the table in writer.c.
 */
#ifndef CA_REPORT_WRITER_H
#define CA_REPORT_WRITER_H

#include "report.h"

struct ca_value {
	enum ca_value_kind {
		CA_VALUE_NULL,
		CA_VALUE_TEXT,
		CA_VALUE_INT,
		CA_VALUE_UINT,
		CA_VALUE_REAL,
		CA_VALUE_BOOL,
		CA_VALUE_ADDR,
	} kind;
	union {
		const char *text; /* a form must not trust it */
		int64_t integer;
		uint64_t natural;
		double real;
		bool flag;
		ca_addr addr;
	};
};

/* What is open. A table holds rows alone, a row cells alone. */
struct ca_scope {
	enum ca_scope_kind { CA_SCOPE_OBJECT, CA_SCOPE_LIST, CA_SCOPE_TABLE, CA_SCOPE_ROW } kind;
	bool filled; /* something is in it already */
};

enum { CA_SCOPES_MAX = 32 }; /* documents are shallow, whatever the target holds */

struct ca_writer {
	const struct ca_form_ops *ops;
	FILE *out;
	struct ca_writer_options options;
	int error;     /* errno of the first failure, or 0 */
	bool finished; /* the document's one value is complete */
	struct ca_scope scopes[CA_SCOPES_MAX];
	unsigned depth;

	/* The open table. */
	const struct ca_column *columns; /* the caller's */
	size_t column_count, column;     /* column: of the next cell */
	uint64_t omitted;                /* known at its end */

	/* Text only. */
	bool begun; /* something is printed */
	struct libscols_table *table;
	struct libscols_line *row;
	size_t rows, text_column; /* text_column: of `table`, for the next cell */
};

/* A slot that is NULL has nothing to do. */
struct ca_form_ops {
	/* Before the scope is pushed, and after it is popped. */
	void (*begin)(struct ca_writer *w, const char *key, enum ca_scope_kind kind);
	void (*end)(struct ca_writer *w, enum ca_scope_kind kind);
	void (*put)(struct ca_writer *w, const char *key, const struct ca_value *value);
	void (*cell)(struct ca_writer *w, const struct ca_column *column,
		     const struct ca_value *value);
	void (*title)(struct ca_writer *w, const char *format, va_list args) CA_PRINTF(2, 0);
	void (*line)(struct ca_writer *w, const char *format, va_list args) CA_PRINTF(2, 0);
	void (*finish)(struct ca_writer *w); /* the document is complete */
};

extern const struct ca_form_ops ca_json_ops, ca_text_ops;

/*
 * ca_escape() of the whole text, to be freed. Callers escape what comes from a
 * target; this is for what would break the form where one forgot. It changes
 * nothing in a text that is escaped.
 */
char *ca_writer_escape(const char *text);
/* The output failed: error is an errno. The first one is kept. */
void ca_writer_fail(struct ca_writer *w, int error);

#endif
