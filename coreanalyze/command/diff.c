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

/* ---- owners ----------------------------------------------------------------- */

enum { TEXT_OWNERS = 10 };

static const struct ca_column owner_columns[] = {
	{"owner", "OWNER", CA_CELL_TEXT},
	{"address", NULL, CA_CELL_ADDR},
	{"type", "TYPE", CA_CELL_TEXT},
	{"count_before", NULL, CA_CELL_COUNT},
	{"count_after", NULL, CA_CELL_COUNT},
	{"count_delta", "COUNT", CA_CELL_DELTA},
	{"bytes_before", NULL, CA_CELL_SIZE},
	{"bytes_after", NULL, CA_CELL_SIZE},
	{"bytes_delta", "BYTES", CA_CELL_SIZE_DELTA},
	{"owned_delta", "OWNED", CA_CELL_SIZE_DELTA},
	{"new", "NEW", CA_CELL_COUNT},
	{"length_before", "LENGTH", CA_CELL_COUNT},
	{"length_after", "NOW", CA_CELL_COUNT},
};

/* One side's graph and what names need. */
struct side {
	struct ca_ways ways;
	struct ca_naming naming;
	struct ca_arena arena;
};

static void open_side(struct side *side, const struct ca_request *request, struct ca_session *session)
{
	*side = (struct side){0};
	ca_ways_build(session->graph, NULL, &side->ways);
	side->naming = (struct ca_naming){session->graph, &side->ways, ca_alloc(sizeof(struct ca_reader)),
					  request->redact, &side->arena};
	ca_reader_init(side->naming.reader, &session->objects->types_registry);
}

static void close_side(struct side *side)
{
	ca_ways_fini(&side->ways);
	free(side->naming.reader);
	ca_arena_fini(&side->arena);
}

static int64_t owner_grown(const struct ca_growth_row *row)
{
	return (int64_t)(row->bytes_after + row->owned_after - row->bytes_before - row->owned_before);
}

static int by_owner_growth(const void *a, const void *b)
{
	const struct ca_growth_row *x = a, *y = b;
	int64_t of_x = owner_grown(x), of_y = owner_grown(y);

	return of_x == of_y ? strcmp(x->owner, y->owner) : of_x < of_y ? 1 : -1;
}

static void put_length(struct ca_writer *w, const struct side *side, ca_node node)
{
	const struct ca_objects *objects = side->naming.graph->objects;
	struct ca_object object;
	uint64_t length;

	if (node && ca_object_read(side->naming.reader, ca_objects_address(objects, node), &object) &&
	    ca_object_length(side->naming.reader, &object, &length))
		ca_cell_uint(w, length);
	else
		ca_cell_text(w, NULL);
}

static void put_owner(struct ca_writer *w, const struct ca_growth_row *row, const struct side *before,
		      const struct side *after, bool same_process)
{
	const struct side *side = row->after ? after : before;
	const struct ca_objects *objects = side->naming.graph->objects;
	ca_node node = row->after ? row->after : row->before;

	ca_cell_text(w, row->owner);
	if (node) {
		ca_cell_addr(w, ca_objects_address(objects, node));
		ca_cell_text(w, objects->types[ca_node_type(objects, node)].name);
	} else {
		ca_cell_text(w, NULL);
		ca_cell_text(w, NULL);
	}
	ca_cell_uint(w, row->count_before);
	ca_cell_uint(w, row->count_after);
	ca_cell_int(w, (int64_t)(row->count_after - row->count_before));
	ca_cell_uint(w, row->bytes_before);
	ca_cell_uint(w, row->bytes_after);
	ca_cell_int(w, (int64_t)(row->bytes_after - row->bytes_before));
	ca_cell_int(w, (int64_t)(row->owned_after - row->owned_before));
	if (same_process)
		ca_cell_uint(w, row->fresh);
	else
		ca_cell_text(w, NULL);
	put_length(w, before, row->before);
	put_length(w, after, row->after);
	ca_row_end(w);
}

/* JSON has all owners; people see those that grew. */
static void put_growth(struct ca_writer *w, const struct ca_request *request,
		       const struct ca_growth *growth, const struct side *before,
		       const struct side *after, bool same_process)
{
	bool text = request->form == CA_FORM_TEXT;
	size_t limit = ca_shown(request, growth->count, text ? TEXT_OWNERS : 0), shown = 0, grown = 0;

	ca_table_begin(w, "owners", owner_columns, CA_COUNT(owner_columns));
	for (size_t i = 0; i < growth->count; i++) {
		const struct ca_growth_row *row = &growth->rows[i];

		if (text && owner_grown(row) <= 0 && !row->fresh)
			continue;
		grown++;
		if (shown < limit && ++shown)
			put_owner(w, row, before, after, same_process);
	}
	ca_table_end(w, grown - shown);
}

static void put_owners(struct ca_writer *w, const struct ca_request *request, struct ca_session *before,
		       struct ca_session *after, const struct ca_diff *diff)
{
	struct ca_growth growth;
	struct side a, b;

	open_side(&a, request, before);
	open_side(&b, request, after);
	ca_growth_build(&a.naming, &b.naming, diff->same_process, diff->fresh, &growth);
	if (growth.count)
		qsort(growth.rows, growth.count, sizeof(*growth.rows), by_owner_growth);
	ca_title(w, "Who holds them");
	put_growth(w, request, &growth, &a, &b, diff->same_process);
	ca_growth_fini(&growth);
	close_side(&a);
	close_side(&b);
}

/* ---- the command ------------------------------------------------------------ */

/* What of three cores' last one may be called new: it was in the second already. */
static struct ca_error *find_lasting(struct ca_session *before, struct ca_session *between,
				     struct ca_session *after, uint64_t **lasting)
{
	struct ca_diff diff;
	bool same;

	ca_diff_build(before->objects, between->objects, NULL, &diff);
	same = diff.same_process;
	ca_diff_fini(&diff);
	ca_diff_build(between->objects, after->objects, NULL, &diff);
	same &= diff.same_process;
	ca_diff_fini(&diff);
	if (!same)
		return ca_error_make(CA_USAGE, "three cores", "compare two of them",
				     "they are not of one process, so no object can be followed through them");
	*lasting = ca_diff_common(between->objects, after->objects);
	return NULL;
}

static struct ca_error *show_diff(struct ca_request *request, struct ca_session *before,
				  struct ca_session *between, struct ca_session *after,
				  enum ca_status *status)
{
	int (*order)(const void *, const void *);
	struct ca_error *err = choose_order(request, &order);
	uint64_t *lasting = NULL;
	struct ca_diff diff;

	if (!err && between)
		err = find_lasting(before, between, after, &lasting);
	if (!err)
		err = ca_session_graph(before);
	if (!err)
		err = ca_session_graph(after);
	if (err) {
		free(lasting);
		return err;
	}
	ca_diff_build(before->objects, after->objects, lasting, &diff);
	qsort(diff.rows, diff.count, sizeof(*diff.rows), order);

	struct ca_writer *w = ca_open_writer(request);

	ca_begin_document(w, request, after);
	ca_put_target(w, "before", request, before);
	if (between)
		ca_put_target(w, "between", request, between);
	ca_put_bool(w, "same_process", diff.same_process);
	put_totals(w, &diff);
	if (between)
		ca_line(w, "NEW: what came after the first core and was there in the second, and still is.");
	put_rows(w, request, &diff);
	put_owners(w, request, before, after, &diff);

	bool tripped = check_guards(w, request->own, &diff);

	ca_put_bool(w, "guard_tripped", tripped);
	if (tripped)
		*status = CA_GUARD;
	ca_diff_fini(&diff);
	free(lasting);
	return ca_end_document(w, before, after);
}

static struct ca_error *open_objects(struct ca_request *request, size_t index,
				     struct ca_session **session)
{
	struct ca_error *err;

	request->blamed = index;
	err = ca_open_target(request, index, session);
	return err ? err : ca_session_objects(*session);
}

static struct ca_error *run_diff(struct ca_request *request, enum ca_status *status)
{
	struct ca_session *sessions[3] = {NULL, NULL, NULL};
	size_t count = request->arg_count;
	struct ca_error *err = NULL;

	for (size_t i = 0; i < count && !err; i++)
		err = open_objects(request, i, &sessions[i]);
	if (!err)
		err = show_diff(request, sessions[0], count == 3 ? sessions[1] : NULL, sessions[count - 1],
				status);
	for (size_t i = 0; i < count; i++)
		ca_session_close(sessions[i]);
	return err;
}

const struct ca_command ca_command_diff = {
	.name = "diff",
	.args = "BEFORE AFTER [FINAL]",
	.least_args = 2,
	.most_args = 3,
	.targets = 2,
	.summary = "what grew between two cores, and who holds it",
	.help = "What grew between two cores, of one process or of two, by type and by owner.\n\n"
		"NEW and FREED tell objects apart by address and type, so they are lower bounds: "
		"an address may be used again by the same type. With FINAL, the first core is compared with "
		"that, and NEW is what came between the first two and is still there.\n"
		"Sort keys: bytes_delta, count_delta, new, type.\n\n"
		"Example: coreanalyze diff core.1 core.2 --fail-above-type app.Session:1000",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct own),
	.run = run_diff,
};
