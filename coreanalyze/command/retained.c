/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "command.h"

enum { TEXT_ROWS = 30, JSON_ROWS = 100 };
enum { KEY_BY = 2000, KEY_UNDER, KEY_TOP, KEY_ALL };

enum by { BY_OBJECT, BY_TYPE, BY_OWNER };

struct own {
	enum by by;
	ca_addr under;
	enum { TOP_DEFAULT, TOP_ONLY, TOP_ALL } top;
};

static const struct argp_option options[] = {
	{"by", KEY_BY, "type|owner", 0, "by type, or by who the objects are put down to", 1},
	{"under", KEY_UNDER, "ADDR", 0, "only what this object retains itself, one step down", 1},
	{"top", KEY_TOP, NULL, 0, "only objects that are inside no other one (text's default)", 1},
	{"all", KEY_ALL, NULL, 0, "every object (JSON's default)", 1},
	{0},
};

static void check(const struct ca_request *request, const struct argp_state *state)
{
	const struct own *own = request->own;
	ca_addr address;

	if (own->by != BY_OBJECT && (own->under || own->top))
		ca_bad_usage(state, "--by goes with none of --under, --top, --all");
	if (request->arg_count > 1 && (own->by != BY_OBJECT || own->under || own->top))
		ca_bad_usage(state, "addresses go with none of --by, --under, --top, --all");
	for (size_t i = 1; i < request->arg_count; i++)
		if (!ca_parse_address(request->args[i], &address))
			ca_bad_usage(state, "'%s' is no address", request->args[i]);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct own *own = ca_parsed_request(state)->own;

	switch (key) {
	case KEY_BY:
		if (strcmp(arg, "type") == 0)
			own->by = BY_TYPE;
		else if (strcmp(arg, "owner") == 0)
			own->by = BY_OWNER;
		else
			ca_bad_usage(state, "--by takes type or owner, not '%s'", arg);
		return 0;
	case KEY_UNDER:
		if (!ca_parse_address(arg, &own->under) || !own->under)
			ca_bad_usage(state, "--under: '%s' is no address", arg);
		return 0;
	case KEY_TOP:
		own->top = TOP_ONLY;
		return 0;
	case KEY_ALL:
		own->top = TOP_ALL;
		return 0;
	case ARGP_KEY_END:
		check(ca_parsed_request(state), state);
		return ARGP_ERR_UNKNOWN;
	}
	return ARGP_ERR_UNKNOWN;
}

struct show {
	struct ca_writer *w;
	const struct ca_request *request;
	const struct own *own;
	const struct ca_objects *objects;
	const struct ca_graph *graph;
	struct ca_retained retained;
	struct ca_ways ways;
	struct ca_naming naming;
	struct ca_arena arena;
	struct ca_type_totals totals;
};

static size_t fallback(const struct show *show)
{
	return show->request->form == CA_FORM_TEXT ? TEXT_ROWS : JSON_ROWS;
}

/* ---- objects ----------------------------------------------------------------- */

static const struct ca_column object_columns[] = {
	{"address", "ADDRESS", CA_CELL_ADDR},
	{"name", "NAME", CA_CELL_TEXT},
	{"type", "TYPE", CA_CELL_TEXT},
	{"bytes", "BYTES", CA_CELL_SIZE},
	{"owned", NULL, CA_CELL_SIZE},
	{"retained_bytes", "RETAINED", CA_CELL_SIZE},
	{"retained_objects", "OBJECTS", CA_CELL_COUNT},
	{"share", "SHARE", CA_CELL_PERCENT},
	{"dominator", NULL, CA_CELL_ADDR},
};

static double share(const struct show *show, uint64_t bytes)
{
	return show->retained.bytes[0] ? (double)bytes / (double)show->retained.bytes[0] : 0;
}

static void put_object(struct show *show, ca_node node)
{
	const struct ca_objects *objects = show->objects;
	ca_node dominator = show->retained.tree.parent[node];
	struct ca_writer *w = show->w;

	ca_cell_addr(w, ca_objects_address(objects, node));
	ca_cell_text(w, ca_way_name(&show->naming, node));
	ca_cell_text(w, objects->types[ca_node_type(objects, node)].name);
	ca_cell_uint(w, ca_node_bytes(objects, node));
	ca_cell_uint(w, ca_node_owned(objects, node));
	ca_cell_uint(w, show->retained.bytes[node]);
	ca_cell_uint(w, show->retained.objects[node]);
	ca_cell_real(w, share(show, show->retained.bytes[node]));
	if (dominator && !ca_node_is_root(show->graph, dominator))
		ca_cell_addr(w, ca_objects_address(objects, dominator));
	else
		ca_cell_text(w, NULL);
	ca_row_end(w);
}

static bool top_alone(const struct show *show, ca_node under)
{
	return !under && (show->own->top == TOP_ONLY ||
			  (show->own->top == TOP_DEFAULT && show->request->form == CA_FORM_TEXT));
}

static void put_objects(struct show *show, ca_node under)
{
	struct ca_biggest biggest;

	ca_biggest_build(show->graph, &show->retained, top_alone(show, under) ? &show->ways : NULL, under,
			 ca_shown(show->request, show->graph->object_count, fallback(show)), &biggest);
	ca_put_uint(show->w, "objects_total", biggest.all);
	ca_table_begin(show->w, "objects", object_columns, CA_COUNT(object_columns));
	for (size_t i = 0; i < biggest.count; i++) {
		put_object(show, biggest.nodes[i]);
		ca_arena_fini(&show->arena);
	}
	ca_table_end(show->w, biggest.all - biggest.count);
	ca_biggest_fini(&biggest);
}

/* Those that were named, as they were named. */
static void put_asked(struct show *show)
{
	const struct ca_request *request = show->request;

	ca_put_uint(show->w, "objects_total", request->arg_count - 1);
	ca_table_begin(show->w, "objects", object_columns, CA_COUNT(object_columns));
	for (size_t i = 1; i < request->arg_count; i++) {
		ca_addr address = 0;

		ca_parse_address(request->args[i], &address);
		put_object(show, ca_objects_find(show->objects, address));
		ca_arena_fini(&show->arena);
	}
	ca_table_end(show->w, 0);
}

/* ---- groups ------------------------------------------------------------------ */

static int by_group(const void *a, const void *b)
{
	const struct ca_retained_row *x = a, *y = b;

	if (x->retained_bytes != y->retained_bytes)
		return x->retained_bytes < y->retained_bytes ? 1 : -1;
	return strcmp(x->name, y->name);
}

static void put_groups(struct show *show, const char *key, const char *header,
		       struct ca_retained_row *rows, size_t count)
{
	const struct ca_column columns[] = {
		{key, header, CA_CELL_TEXT},
		{"count", "COUNT", CA_CELL_COUNT},
		{"bytes", "BYTES", CA_CELL_SIZE},
		{"owned", "OWNED", CA_CELL_SIZE},
		{"retained_bytes", "RETAINED", CA_CELL_SIZE},
		{"retained_objects", "OBJECTS", CA_CELL_COUNT},
		{"share", "SHARE", CA_CELL_PERCENT},
	};
	size_t shown = ca_shown(show->request, count, fallback(show));

	qsort(rows, count, sizeof(*rows), by_group);
	ca_put_uint(show->w, "objects_total", count);
	ca_table_begin(show->w, "objects", columns, CA_COUNT(columns));
	for (size_t i = 0; i < shown; i++) {
		ca_cell_text(show->w, rows[i].name);
		ca_cell_uint(show->w, rows[i].count);
		ca_cell_uint(show->w, rows[i].bytes);
		ca_cell_uint(show->w, rows[i].owned);
		ca_cell_uint(show->w, rows[i].retained_bytes);
		ca_cell_uint(show->w, rows[i].retained_objects);
		ca_cell_real(show->w, share(show, rows[i].retained_bytes));
		ca_row_end(show->w);
	}
	ca_table_end(show->w, count - shown);
}

static void put_types(struct show *show)
{
	struct ca_retained_row *rows =
		ca_retained_by_type(show->graph, &show->retained, &show->totals);

	put_groups(show, "type", "TYPE", rows, show->totals.count);
	free(rows);
}

static int by_row_name(const void *a, const void *b)
{
	return strcmp(((const struct ca_retained_row *)a)->name, ((const struct ca_retained_row *)b)->name);
}

/* Holders that are called alike are one row. */
static size_t merge_names(struct ca_retained_row *rows, size_t count)
{
	size_t kept = 0;

	qsort(rows, count, sizeof(*rows), by_row_name);
	for (size_t i = 0; i < count; i++) {
		struct ca_retained_row *last = kept ? &rows[kept - 1] : NULL;

		if (!last || strcmp(last->name, rows[i].name) != 0) {
			rows[kept++] = rows[i];
			continue;
		}
		last->count += rows[i].count;
		last->bytes += rows[i].bytes;
		last->owned += rows[i].owned;
		last->retained_bytes += rows[i].retained_bytes;
		last->retained_objects += rows[i].retained_objects;
	}
	return kept;
}

static void put_owners(struct show *show)
{
	struct ca_holders holders;
	struct ca_owners owners;
	struct ca_retained_row *rows;

	ca_holders_build(&show->naming, CA_LEAST_OWNER, NULL, &holders);
	ca_owners_build(&show->naming, &holders, &show->retained, &owners);
	rows = ca_alloc((owners.count + 1) * sizeof(*rows));
	for (size_t i = 0; i < owners.count; i++)
		rows[i] = owners.rows[i].sums;
	put_groups(show, "owner", "OWNER", rows, merge_names(rows, owners.count));
	free(rows);
	ca_owners_fini(&owners);
	ca_holders_fini(&holders);
}

/* ---- document ------------------------------------------------------------------ */

static void put_totals(struct show *show)
{
	char bytes[32];

	ca_object_begin(show->w, "totals");
	ca_put_uint(show->w, "objects", show->totals.sum.count);
	ca_put_uint(show->w, "bytes", show->totals.sum.bytes);
	ca_put_uint(show->w, "owned", show->totals.sum.owned);
	ca_put_uint(show->w, "retained_bytes", show->retained.bytes[0]);
	ca_put_uint(show->w, "retained_objects", show->retained.objects[0]);
	ca_object_end(show->w);
	ca_format_size(bytes, sizeof(bytes), show->retained.bytes[0]);
	ca_line(show->w, "%s objects, %s", ca_grouped(show->retained.objects[0]).text, bytes);
}

static struct ca_error *no_object(const char *option, ca_addr address)
{
	return ca_error_make(CA_USAGE, option, "give an address that a table printed",
			     "no object starts at 0x%llx", (unsigned long long)address);
}

static struct ca_error *find_under(const struct show *show, ca_node *under)
{
	*under = show->own->under ? ca_objects_find(show->objects, show->own->under) : 0;
	return show->own->under && !*under ? no_object("--under", show->own->under) : NULL;
}

static struct ca_error *check_asked(const struct show *show)
{
	for (size_t i = 1; i < show->request->arg_count; i++) {
		ca_addr address = 0;

		ca_parse_address(show->request->args[i], &address);
		if (!ca_objects_find(show->objects, address))
			return no_object("ADDR", address);
	}
	return NULL;
}

static void put_rows(struct show *show, ca_node under)
{
	switch (show->own->by) {
	case BY_OBJECT:
		if (show->request->arg_count > 1)
			put_asked(show);
		else
			put_objects(show, under);
		break;
	case BY_TYPE:
		put_types(show);
		break;
	case BY_OWNER:
		put_owners(show);
		break;
	}
}

static struct ca_error *show_retained(struct ca_request *request, struct ca_session *session)
{
	struct show show = {.request = request, .own = request->own, .objects = session->objects};
	struct ca_error *err = ca_session_graph(session);
	ca_node under = 0;

	if (!err)
		err = find_under(&show, &under);
	if (!err)
		err = check_asked(&show);
	if (err)
		return err;
	show.graph = session->graph;
	ca_retained_build_with_ways(&session->ctx, show.graph, &show.retained, &show.ways);
	ca_type_totals_build(show.objects, &show.totals);
	show.naming = (struct ca_naming){show.graph, &show.ways, ca_alloc(sizeof(struct ca_reader)),
					 request->redact, &show.arena};
	ca_reader_init(show.naming.reader, &session->objects->types_registry);
	show.w = ca_open_writer(request);
	ca_begin_document(show.w, request, session);
	put_totals(&show);
	put_rows(&show, under);
	ca_retained_fini(&show.retained);
	ca_ways_fini(&show.ways);
	ca_type_totals_fini(&show.totals);
	free(show.naming.reader);
	ca_arena_fini(&show.arena);
	return ca_end_document(show.w, session, NULL);
}

static struct ca_error *run_retained(struct ca_request *request, enum ca_status *status)
{
	(void)status;
	return ca_show_objects(request, show_retained);
}

const struct ca_command ca_command_retained = {
	.name = "retained",
	.args = "TARGET [ADDR...]",
	.least_args = 1,
	.most_args = SIZE_MAX,
	.summary = "what would be freed with an object",
	.help = "What would be freed with an object: itself, and all that is reachable through it alone.\n\n"
		"Objects that are inside another one are left out; --under ADDR shows what is inside, "
		"one step down. With ADDR only these objects are shown, inside or not. Modules and their dicts are not objects here: what they define is.\n\n"
		"Example: coreanalyze retained core.1234 --limit 10",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct own),
	.run = run_retained,
};
