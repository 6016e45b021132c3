/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

/* Rows that text shows when nobody says how many. */
enum { TEXT_ROWS = 30 };

static const struct ca_column columns[] = {
	{"type", "TYPE", CA_CELL_TEXT},
	{"count", "COUNT", CA_CELL_COUNT},
	{"bytes", "BYTES", CA_CELL_SIZE},
	{"owned", "OWNED", CA_CELL_SIZE},
	{"gc_tracked", "TRACKED", CA_CELL_COUNT},
	{"type_objects", NULL, CA_CELL_COUNT},
	{"bytes_exact", NULL, CA_CELL_BOOL},
	{NULL, "SHARE", CA_CELL_PERCENT},
};

static uint64_t weight(const struct ca_type_total *row)
{
	return row->bytes + row->owned;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct ca_type_total *)a)->name, ((const struct ca_type_total *)b)->name);
}

/* Descending by one figure, then by name: the order is the same in every run. */
#define ORDER(key, figure)                                                                         \
	static int by_##key(const void *a, const void *b)                                          \
	{                                                                                          \
		const struct ca_type_total *x = a, *y = b;                                         \
		uint64_t of_x = figure(x), of_y = figure(y);                                       \
                                                                                                   \
		return of_x == of_y ? by_name(a, b) : of_x < of_y ? 1 : -1;                        \
	}
#define COUNT_OF(row) ((row)->count)
#define BYTES_OF(row) ((row)->bytes)
#define OWNED_OF(row) ((row)->owned)
#define TRACKED_OF(row) ((row)->gc_tracked)
ORDER(weight, weight)
ORDER(count, COUNT_OF)
ORDER(bytes, BYTES_OF)
ORDER(owned, OWNED_OF)
ORDER(tracked, TRACKED_OF)

static const struct {
	const char *key;
	int (*order)(const void *, const void *);
} orders[] = {
	{"count", by_count}, {"bytes", by_bytes}, {"owned", by_owned},
	{"gc_tracked", by_tracked}, {"type", by_name},
};

struct ca_error *ca_sorted_types(const struct ca_request *request,
				 const struct ca_objects *objects, struct ca_type_totals *totals)
{
	int (*order)(const void *, const void *) = request->sort ? NULL : by_weight;

	for (size_t i = 0; request->sort && i < CA_COUNT(orders); i++)
		if (strcmp(request->sort, orders[i].key) == 0)
			order = orders[i].order;
	if (!order)
		return ca_bad_sort(request, "count, bytes, owned, gc_tracked, type");
	ca_type_totals_build(objects, totals);
	qsort(totals->rows, totals->count, sizeof(*totals->rows), order);
	return NULL;
}

static void put_totals(struct ca_writer *w, const struct ca_type_total *sum)
{
	char bytes[32], owned[32];

	ca_object_begin(w, "totals");
	ca_put_uint(w, "objects", sum->count);
	ca_put_uint(w, "bytes", sum->bytes);
	ca_put_uint(w, "owned", sum->owned);
	ca_put_uint(w, "gc_tracked", sum->gc_tracked);
	ca_object_end(w);
	ca_format_size(bytes, sizeof(bytes), sum->bytes);
	ca_format_size(owned, sizeof(owned), sum->owned);
	ca_line(w, "%s objects, %s, and %s that getsizeof leaves out; the collector tracks %s",
		ca_grouped(sum->count).text, bytes, owned, ca_grouped(sum->gc_tracked).text);
}

void ca_put_types(struct ca_writer *w, const struct ca_request *request,
		  const struct ca_type_totals *totals, size_t fallback)
{
	size_t shown = ca_shown(request, totals->count, fallback);
	uint64_t whole = weight(&totals->sum);

	put_totals(w, &totals->sum);
	ca_table_begin(w, "types", columns, CA_COUNT(columns));
	for (size_t i = 0; i < shown; i++) {
		const struct ca_type_total *row = &totals->rows[i];

		ca_cell_text(w, row->name);
		ca_cell_uint(w, row->count);
		ca_cell_uint(w, row->bytes);
		ca_cell_uint(w, row->owned);
		ca_cell_uint(w, row->gc_tracked);
		ca_cell_uint(w, row->type_objects);
		ca_cell_bool(w, row->bytes_exact);
		ca_cell_real(w, whole ? (double)weight(row) / (double)whole : 0);
		ca_row_end(w);
	}
	ca_table_end(w, totals->count - shown);
}

/* ---- the command -------------------------------------------------------------- */

enum { KEY_MATCH = 300 };

struct own {
	const char *match; /* NULL: all */
	regex_t regex;
};

static const struct argp_option options[] = {
	{"match", KEY_MATCH, "REGEX", 0, "only types whose name has a match of REGEX", 1},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct own *own = ca_parsed_request(state)->own;
	char why[128];
	int failed;

	if (key != KEY_MATCH)
		return ARGP_ERR_UNKNOWN;
	if (own->match)
		regfree(&own->regex);
	own->match = NULL;
	failed = regcomp(&own->regex, arg, REG_EXTENDED | REG_NOSUB);
	if (failed) {
		regerror(failed, &own->regex, why, sizeof(why));
		ca_bad_usage(state, "--match: '%s' is no regular expression: %s", arg, why);
	}
	own->match = arg;
	return 0;
}

/* The totals stay those of all types. */
static void keep_matches(const struct own *own, struct ca_type_totals *totals)
{
	size_t kept = 0;

	for (size_t i = 0; own->match && i < totals->count; i++)
		if (regexec(&own->regex, totals->rows[i].name, 0, NULL, 0) == 0)
			totals->rows[kept++] = totals->rows[i];
	if (own->match)
		totals->count = kept;
}

static struct ca_error *show_types(struct ca_request *request, struct ca_session *session)
{
	struct ca_type_totals totals;
	struct ca_error *err = ca_sorted_types(request, session->objects, &totals);

	if (err)
		return err;
	keep_matches(request->own, &totals);

	struct ca_writer *w = ca_open_writer(request);

	ca_begin_document(w, request, session);
	ca_put_types(w, request, &totals, request->form == CA_FORM_TEXT ? TEXT_ROWS : 0);
	ca_put_trust(w, session->objects);
	ca_type_totals_fini(&totals);
	return ca_end_document(w, session, NULL);
}

static struct ca_error *run_types(struct ca_request *request, enum ca_status *status)
{
	struct own *own = request->own;
	struct ca_error *err = ca_show_objects(request, show_types);

	(void)status;
	if (own->match)
		regfree(&own->regex);
	return err;
}

const struct ca_command ca_command_types = {
	.name = "types",
	.args = "TARGET",
	.least_args = 1,
	.most_args = 1,
	.summary = "how many objects of which type, how big",
	.help = "How many objects of which type are alive, and how big they are.\n\n"
		"BYTES is what sys.getsizeof gives, OWNED what it leaves out.\n"
		"Sort keys: count, bytes, owned, gc_tracked, type.\n\n"
		"Example: coreanalyze types core.1234 --sort count --limit 10",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct own),
	.run = run_types,
};
