/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

enum { TEXT_ROWS = 30 };
enum { KEY_FAIL_ABOVE = 2000, KEY_FAIL_ABOVE_TYPE };

struct type_guard {
	const char *type;
	uint64_t count;
};

struct own {
	bool guarded;
	uint64_t fail_above; /* bytes */
	struct type_guard guards[64];
	size_t guard_count;
};

static const struct argp_option options[] = {
	{"fail-above", KEY_FAIL_ABOVE, "SIZE", 0,
	 "exit with 1 when the objects grew by more than SIZE (16M, 1.5GiB)", 1},
	{"fail-above-type", KEY_FAIL_ABOVE_TYPE, "TYPE:COUNT", 0,
	 "exit with 1 when there are over COUNT more objects of TYPE; may be repeated", 1},
	{0},
};

static void add_guard(struct own *own, char *arg, struct argp_state *state)
{
	char *colon = strrchr(arg, ':'), *end = NULL;
	struct type_guard *guard = &own->guards[own->guard_count];

	if (own->guard_count == CA_COUNT(own->guards))
		ca_bad_usage(state, "--fail-above-type: more than %zu of them", CA_COUNT(own->guards));
	errno = 0;
	if (colon)
		guard->count = strtoull(colon + 1, &end, 10);
	if (!colon || colon == arg || !isdigit((unsigned char)colon[1]) || *end || errno)
		ca_bad_usage(state, "--fail-above-type takes TYPE:COUNT, as in app.Session:1000, not '%s'", arg);
	*colon = '\0';
	guard->type = arg;
	own->guard_count++;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct own *own = ca_parsed_request(state)->own;

	switch (key) {
	case KEY_FAIL_ABOVE:
		if (!ca_parse_size(arg, &own->fail_above))
			ca_bad_usage(state, "--fail-above: '%s' is no size (16M, 1.5GiB)", arg);
		own->guarded = true;
		return 0;
	case KEY_FAIL_ABOVE_TYPE:
		add_guard(own, arg, state);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* ---- order ---------------------------------------------------------------- */

static int64_t count_delta(const struct ca_diff_row *row)
{
	return (int64_t)(row->after.count - row->before.count);
}

static int64_t bytes_delta(const struct ca_diff_row *row)
{
	return (int64_t)(row->after.bytes - row->before.bytes);
}

static int64_t grown(const struct ca_diff_row *row)
{
	return bytes_delta(row) + (int64_t)(row->after.owned - row->before.owned);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct ca_diff_row *)a)->name, ((const struct ca_diff_row *)b)->name);
}

static int descending(int64_t x, int64_t y, const void *a, const void *b)
{
	return x == y ? by_name(a, b) : x < y ? 1 : -1;
}

static int by_growth(const void *a, const void *b)
{
	return descending(grown(a), grown(b), a, b);
}

static int by_bytes(const void *a, const void *b)
{
	return descending(bytes_delta(a), bytes_delta(b), a, b);
}

static int by_count(const void *a, const void *b)
{
	return descending(count_delta(a), count_delta(b), a, b);
}

static int by_new(const void *a, const void *b)
{
	return descending((int64_t)((const struct ca_diff_row *)a)->fresh,
			  (int64_t)((const struct ca_diff_row *)b)->fresh, a, b);
}

static const struct {
	const char *key;
	int (*order)(const void *, const void *);
} orders[] = {
	{"bytes_delta", by_bytes}, {"count_delta", by_count}, {"new", by_new}, {"type", by_name},
};

static struct ca_error *choose_order(const struct ca_request *request,
				     int (**order)(const void *, const void *))
{
	*order = request->sort ? NULL : by_growth;
	for (size_t i = 0; request->sort && i < CA_COUNT(orders); i++)
		if (strcmp(request->sort, orders[i].key) == 0)
			*order = orders[i].order;
	return *order ? NULL : ca_bad_sort(request, "bytes_delta, count_delta, new, type");
}

/* ---- document ------------------------------------------------------------- */

static const struct ca_column columns[] = {
	{"type", "TYPE", CA_CELL_TEXT},
	{"count_before", "BEFORE", CA_CELL_COUNT},
	{"count_after", "AFTER", CA_CELL_COUNT},
	{"count_delta", "COUNT", CA_CELL_DELTA},
	{"bytes_before", NULL, CA_CELL_SIZE},
	{"bytes_after", NULL, CA_CELL_SIZE},
	{"bytes_delta", "BYTES", CA_CELL_SIZE_DELTA},
	{"owned_delta", "OWNED", CA_CELL_SIZE_DELTA},
	{"new", "NEW", CA_CELL_COUNT},
	{"freed", "FREED", CA_CELL_COUNT},
};

static void put_size(struct ca_writer *w, const char *key, const struct ca_heap_size *size)
{
	ca_object_begin(w, key);
	ca_put_int(w, "objects", (int64_t)size->objects);
	ca_put_int(w, "bytes", (int64_t)size->bytes);
	ca_put_int(w, "owned", (int64_t)size->owned);
	ca_put_int(w, "arena_bytes", (int64_t)size->arena_bytes);
	ca_put_int(w, "mapped_bytes", (int64_t)size->mapped_bytes);
	ca_object_end(w);
}

static void put_total(struct ca_writer *w, const char *what, const char *before, const char *after,
		      const char *change)
{
	ca_line(w, "%-8s %18s %18s %18s", what, before, after, change);
}

static void put_change(struct ca_writer *w, const char *what, uint64_t before, uint64_t after)
{
	put_total(w, what, ca_grouped(before).text, ca_grouped(after).text,
		  ca_signed((int64_t)(after - before)).text);
}

static void put_totals(struct ca_writer *w, const struct ca_diff *diff)
{
	const struct ca_heap_size *b = &diff->before, *a = &diff->after;
	/* Wraps to the negative difference: put_size() prints it signed. */
	struct ca_heap_size delta = {
		a->objects - b->objects,           a->bytes - b->bytes,
		a->owned - b->owned,               a->arena_bytes - b->arena_bytes,
		a->mapped_bytes - b->mapped_bytes,
	};

	ca_object_begin(w, "totals");
	put_size(w, "before", b);
	put_size(w, "after", a);
	put_size(w, "delta", &delta);
	ca_object_end(w);
	put_total(w, "", "BEFORE", "AFTER", "CHANGE");
	put_change(w, "objects", b->objects, a->objects);
	put_change(w, "bytes", b->bytes, a->bytes);
	put_change(w, "owned", b->owned, a->owned);
	put_change(w, "arenas", b->arena_bytes, a->arena_bytes);
	put_change(w, "writable", b->mapped_bytes, a->mapped_bytes);
	ca_line(w, diff->same_process
			   ? "The same process at two moments: NEW and FREED tell objects apart by address."
			   : "Two processes: objects are counted, not told apart.");
}

/* Nothing of it came, went or grew. */
static bool unchanged(const struct ca_diff_row *row)
{
	return !count_delta(row) && !grown(row) && !bytes_delta(row) && !row->fresh && !row->freed;
}

static void put_row(struct ca_writer *w, const struct ca_diff_row *row, bool same_process)
{
	ca_cell_text(w, row->name);
	ca_cell_uint(w, row->before.count);
	ca_cell_uint(w, row->after.count);
	ca_cell_int(w, count_delta(row));
	ca_cell_uint(w, row->before.bytes);
	ca_cell_uint(w, row->after.bytes);
	ca_cell_int(w, bytes_delta(row));
	ca_cell_int(w, grown(row) - bytes_delta(row));
	if (same_process) {
		ca_cell_uint(w, row->fresh);
		ca_cell_uint(w, row->freed);
	} else {
		ca_cell_text(w, NULL);
		ca_cell_text(w, NULL);
	}
	ca_row_end(w);
}

/* JSON has all types; people see those that changed, and how many did not. */
static void put_rows(struct ca_writer *w, const struct ca_request *request,
		     const struct ca_diff *diff)
{
	bool text = request->form == CA_FORM_TEXT;
	size_t limit = ca_shown(request, diff->count, text ? TEXT_ROWS : 0);
	size_t shown = 0, same = 0;

	ca_table_begin(w, "types", columns, CA_COUNT(columns));
	for (size_t i = 0; i < diff->count; i++) {
		if (text && unchanged(&diff->rows[i]))
			same++;
		else if (shown < limit && ++shown)
			put_row(w, &diff->rows[i], diff->same_process);
	}
	ca_table_end(w, diff->count - same - shown);
	if (same)
		ca_line(w, "%s types did not change", ca_grouped(same).text);
}

/* ---- guards --------------------------------------------------------------- */

static const struct ca_diff_row *row_of(const struct ca_diff *diff, const char *type)
{
	for (size_t i = 0; i < diff->count; i++)
		if (strcmp(diff->rows[i].name, type) == 0)
			return &diff->rows[i];
	return NULL;
}

static bool check_guards(struct ca_writer *w, const struct own *own, const struct ca_diff *diff)
{
	int64_t growth = (int64_t)(diff->after.bytes + diff->after.owned - diff->before.bytes -
				   diff->before.owned);
	bool tripped = own->guarded && growth > 0 && (uint64_t)growth > own->fail_above;

	if (tripped)
		ca_line(w, "guard: the objects grew by %s bytes, more than %s",
			ca_grouped((uint64_t)growth).text, ca_grouped(own->fail_above).text);
	for (size_t i = 0; i < own->guard_count; i++) {
		const struct type_guard *guard = &own->guards[i];
		const struct ca_diff_row *row = row_of(diff, guard->type);

		if (!row || count_delta(row) <= 0 || (uint64_t)count_delta(row) <= guard->count)
			continue;
		ca_line(w, "guard: %s more objects of %s, more than %s",
			ca_grouped((uint64_t)count_delta(row)).text, row->name,
			ca_grouped(guard->count).text);
		tripped = true;
	}
	return tripped;
}

static struct ca_error *show_diff(struct ca_request *request, struct ca_session *before,
				  struct ca_session *after, enum ca_status *status)
{
	int (*order)(const void *, const void *);
	struct ca_error *err = choose_order(request, &order);
	struct ca_diff diff;

	if (err)
		return err;
	ca_diff_build(before->objects, after->objects, &diff);
	qsort(diff.rows, diff.count, sizeof(*diff.rows), order);

	struct ca_writer *w = ca_open_writer(request);

	ca_begin_document(w, request, after);
	ca_put_target(w, "before", request, before);
	ca_put_bool(w, "same_process", diff.same_process);
	put_totals(w, &diff);
	put_rows(w, request, &diff);

	bool tripped = check_guards(w, request->own, &diff);

	ca_put_bool(w, "guard_tripped", tripped);
	if (tripped)
		*status = CA_GUARD;
	ca_diff_fini(&diff);
	return ca_end_document(w, before, after);
}

static struct ca_error *run_diff(struct ca_request *request, enum ca_status *status)
{
	struct ca_session *before = NULL, *after = NULL;
	struct ca_error *err = ca_open_target(request, 0, &before);

	if (!err)
		err = ca_session_objects(before);
	if (!err) {
		request->blamed = 1;
		err = ca_open_target(request, 1, &after);
	}
	if (!err)
		err = ca_session_objects(after);
	if (!err)
		err = show_diff(request, before, after, status);
	ca_session_close(before);
	ca_session_close(after);
	return err;
}

const struct ca_command ca_command_diff = {
	.name = "diff",
	.args = "BEFORE AFTER",
	.least_args = 2,
	.most_args = 2,
	.targets = 2,
	.summary = "what grew between two cores",
	.help = "What grew between two cores, of one process or of two.\n\n"
		"NEW and FREED tell objects apart by address and type, so they are lower bounds: "
		"an address may be used again by the same type.\n"
		"Sort keys: bytes_delta, count_delta, new, type.\n\n"
		"Example: coreanalyze diff core.1 core.2 --fail-above-type app.Session:1000",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct own),
	.run = run_diff,
};
