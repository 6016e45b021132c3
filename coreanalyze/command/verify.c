/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

enum { KEY_MIN_EXPLAINED = 300, KEY_DEEP, TEXT_ROWS = 15, OBJECTS = 100, TEXT_OBJECTS = 10, DEEP_SAMPLES = 100 };

struct own {
	bool deep;
	unsigned samples; /* of each type; 0: all */
	bool guarded;
	double least; /* percent */
};

static const struct argp_option options[] = {
	{"min-explained", KEY_MIN_EXPLAINED, "PERCENT", 0,
	 "exit with 1 when fewer of the reference counts are explained", 1},
	{"deep", KEY_DEEP, "SAMPLES", OPTION_ARG_OPTIONAL,
	 "run each type's own tp_traverse, emulated, on so many of its objects (100; 0: all)", 1},
	{0},
};

static error_t parse_deep(struct own *own, const char *arg, struct argp_state *state)
{
	char *end = NULL;
	unsigned long samples = arg ? strtoul(arg, &end, 10) : DEEP_SAMPLES;

	if (arg && (*arg < '0' || *arg > '9' || *end || samples > UINT32_MAX))
		ca_bad_usage(state, "--deep: '%s' is no number of objects", arg);
	own->deep = true;
	own->samples = (unsigned)samples;
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct own *own = ca_parsed_request(state)->own;
	char *end;

	if (key == KEY_DEEP)
		return parse_deep(own, arg, state);
	if (key != KEY_MIN_EXPLAINED)
		return ARGP_ERR_UNKNOWN;
	errno = 0;
	own->least = strtod(arg, &end);
	if (end == arg || *end || errno || !(own->least >= 0 && own->least <= 100))
		ca_bad_usage(state, "--min-explained: '%s' is no percentage from 0 to 100", arg);
	own->guarded = true;
	return 0;
}

/* Of nothing, all is explained. */
static double ratio(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 1;
}

/* Rounded down: 99.9999 is not 100. */
static double percent(uint64_t part, uint64_t whole)
{
	return floor(ratio(part, whole) * 1e5) / 1e3;
}

static void put_mismatches(struct ca_writer *w, const struct ca_request *request, const char *key,
			   const char *title, const struct ca_mismatch_row *rows, size_t count)
{
	static const struct ca_column columns[] = {
		{"type", "TYPE", CA_CELL_TEXT},
		{"objects", "OBJECTS", CA_CELL_COUNT},
		{"references", "REFERENCES", CA_CELL_COUNT},
	};
	size_t shown = ca_shown(request, count, request->form == CA_FORM_TEXT ? TEXT_ROWS : 0);

	if (!count && request->form == CA_FORM_TEXT)
		return;
	ca_title(w, "%s", title);
	ca_table_begin(w, key, columns, CA_COUNT(columns));
	for (size_t i = 0; i < shown; i++) {
		ca_cell_text(w, rows[i].name);
		ca_cell_uint(w, rows[i].objects);
		ca_cell_uint(w, rows[i].references);
		ca_row_end(w);
	}
	ca_table_end(w, count - shown);
}

static void put_refcounts(struct ca_writer *w, const struct ca_request *request,
			  const struct ca_graph *graph)
{
	const struct ca_audit *audit = &graph->audit;
	struct ca_verify verify;

	ca_object_begin(w, "refcounts");
	ca_put_uint(w, "checked", audit->checked);
	ca_put_uint(w, "explained", audit->explained);
	ca_put_real(w, "ratio", ratio(audit->explained, audit->checked));
	ca_put_real(w, "ratio_without_static", ratio(audit->explained_without_static, audit->checked));
	ca_line(w, "%.3f %% of %s reference counts explained (%.3f %% without words of static data)",
		percent(audit->explained, audit->checked), ca_grouped(audit->checked).text,
		percent(audit->explained_without_static, audit->checked));
	ca_verify_build(graph, &verify);
	put_mismatches(w, request, "excess_by_type",
		       "Excess: counted, but held by nothing found (C holds them, or leaked them)",
		       verify.excess, verify.excess_count);
	put_mismatches(w, request, "deficit_by_type", "Deficit: found, but not counted", verify.deficit,
		       verify.deficit_count);
	ca_verify_fini(&verify);
	ca_object_end(w);
}

static int by_excess(const void *a, const void *b)
{
	const struct ca_mismatch *x = *(const struct ca_mismatch *const *)a;
	const struct ca_mismatch *y = *(const struct ca_mismatch *const *)b;

	return x->excess != y->excess ? (x->excess < y->excess ? 1 : -1) : x->node < y->node ? -1 : 1;
}

static int by_deficit(const void *a, const void *b)
{
	const struct ca_mismatch *x = *(const struct ca_mismatch *const *)a;
	const struct ca_mismatch *y = *(const struct ca_mismatch *const *)b;

	return x->deficit != y->deficit ? (x->deficit < y->deficit ? 1 : -1)
					: x->node < y->node ? -1 : 1;
}

static void put_stack(struct ca_writer *w, int32_t lwp)
{
	char text[32];

	snprintf(text, sizeof(text), "thread %d", lwp);
	ca_cell_text(w, lwp ? text : NULL);
}

/* The objects that have most references too many, or too few. */
static void put_objects(struct ca_writer *w, const struct ca_request *request,
			const struct ca_graph *graph, bool excess)
{
	static const struct ca_column columns[] = {
		{"address", "ADDRESS", CA_CELL_ADDR},
		{"type", "TYPE", CA_CELL_TEXT},
		{"references", "REFERENCES", CA_CELL_COUNT},
		{"stack", "ON THE C STACK OF", CA_CELL_TEXT}, /* of an excess */
	};
	const struct ca_objects *objects = graph->objects;
	const struct ca_mismatch **order = ca_alloc((graph->audit.count + 1) * sizeof(*order));
	size_t count = 0, shown;

	for (size_t i = 0; i < graph->audit.count; i++)
		if (excess ? graph->audit.items[i].excess : graph->audit.items[i].deficit)
			order[count++] = &graph->audit.items[i];
	qsort(order, count, sizeof(*order), excess ? by_excess : by_deficit);
	shown = ca_shown(request, count, request->form == CA_FORM_TEXT ? TEXT_OBJECTS : OBJECTS);
	ca_put_uint(w, excess ? "excess_total" : "deficit_total", count);
	if (!count && request->form == CA_FORM_TEXT) {
		free(order);
		return;
	}
	ca_title(w, excess ? "Objects with an excess" : "Objects with a deficit");
	ca_table_begin(w, excess ? "excess" : "deficit", columns, CA_COUNT(columns) - !excess);
	for (size_t i = 0; i < shown; i++) {
		ca_cell_addr(w, ca_objects_address(objects, order[i]->node));
		ca_cell_text(w, objects->types[ca_node_type(objects, order[i]->node)].name);
		ca_cell_uint(w, excess ? order[i]->excess : order[i]->deficit);
		if (excess)
			put_stack(w, order[i]->lwp);
		ca_row_end(w);
	}
	ca_table_end(w, count - shown);
	free(order);
}

static void put_guard(struct ca_writer *w, const struct own *own, const struct ca_graph *graph,
		      enum ca_status *status)
{
	double explained = 100 * ratio(graph->audit.explained, graph->audit.checked);
	bool tripped = own->guarded && explained < own->least;

	ca_put_bool(w, "guard_tripped", tripped);
	if (!tripped)
		return;
	ca_line(w, "guard: %.3f %% explained, less than %g %%",
		percent(graph->audit.explained, graph->audit.checked), own->least);
	*status = CA_GUARD;
}

static void put_deep_row(struct ca_writer *w, const struct ca_deep_row *row)
{
	ca_cell_text(w, row->type->name);
	ca_cell_uint(w, row->objects);
	ca_cell_uint(w, row->equal);
	ca_cell_uint(w, row->missing);
	ca_cell_uint(w, row->more);
	ca_cell_uint(w, row->not_emulated);
	ca_cell_text(w, row->not_emulated ? ca_emulated_name(row->why) : NULL);
	if (row->different)
		ca_cell_addr(w, row->different);
	else
		ca_cell_text(w, NULL);
	ca_row_end(w);
}

/* Only the types that are not equal throughout make a row of text. */
static void put_deep(struct ca_writer *w, const struct ca_request *request,
		     struct ca_objects *objects, const struct own *own)
{
	static const struct ca_column columns[] = {
		{"type", "TYPE", CA_CELL_TEXT},		  {"objects", "OBJECTS", CA_CELL_COUNT},
		{"equal", "EQUAL", CA_CELL_COUNT},	  {"missing", "MISSING", CA_CELL_COUNT},
		{"more", "MORE", CA_CELL_COUNT},	  {"not_emulated", "NOT RUN", CA_CELL_COUNT},
		{"why", "WHY", CA_CELL_TEXT},		  {"different", "FIRST", CA_CELL_ADDR},
	};
	struct ca_deep deep;
	uint64_t run;

	ca_deep_build(objects, own->samples, &deep);
	run = deep.sum.objects - deep.sum.not_emulated;
	ca_object_begin(w, "deep");
	ca_put_uint(w, "objects", deep.sum.objects);
	ca_put_uint(w, "equal", deep.sum.equal);
	ca_put_uint(w, "not_emulated", deep.sum.not_emulated);
	ca_title(w, "Emulation");
	ca_line(w, "%.3f %% of %s objects refer to what their type's own tp_traverse visits",
		percent(deep.sum.equal, run), ca_grouped(run).text);
	ca_table_begin(w, "types", columns, CA_COUNT(columns));
	for (size_t i = 0; i < deep.count; i++)
		if (request->form != CA_FORM_TEXT || deep.rows[i].equal != deep.rows[i].objects)
			put_deep_row(w, &deep.rows[i]);
	ca_table_end(w, 0);
	ca_object_end(w);
	ca_deep_fini(&deep);
}

static struct ca_error *show_verify(struct ca_request *request, struct ca_session *session,
				    enum ca_status *status)
{
	const struct ca_graph *graph = session->graph;
	struct ca_writer *w = ca_open_writer(request);
	uint64_t edges = graph->edge_count - graph->first[1] -
			 (graph->first[graph->node_count] - graph->first[graph->object_count + 1]);

	ca_begin_document(w, request, session);
	ca_put_uint(w, "objects", graph->object_count);
	ca_put_uint(w, "edges", edges);
	ca_line(w, "%s objects, %s references between them, %s roots", ca_grouped(graph->object_count).text,
		ca_grouped(edges).text, ca_grouped(graph->root_count).text);
	put_refcounts(w, request, graph);
	put_objects(w, request, graph, true);
	put_objects(w, request, graph, false);
	if (((const struct own *)request->own)->deep)
		put_deep(w, request, session->objects, request->own);
	ca_put_trust(w, session->objects);
	put_guard(w, request->own, graph, status);
	return ca_end_document(w, session, NULL);
}

static struct ca_error *run_verify(struct ca_request *request, enum ca_status *status)
{
	struct ca_session *session = NULL;
	struct ca_error *err = ca_open_target(request, 0, &session);

	if (!err && session->image->saved && ((const struct own *)request->own)->deep)
		err = ca_error_make(CA_TARGET, "--deep", "ask the core", "a snapshot has no code to run");
	if (!err)
		err = ca_session_graph(session);
	if (!err)
		err = show_verify(request, session, status);
	ca_session_close(session);
	return err;
}

const struct ca_command ca_command_verify = {
	.name = "verify",
	.args = "TARGET",
	.least_args = 1,
	.most_args = 1,
	.summary = "how far this reading can be trusted",
	.help = "Compares the references that were found to each object with the reference count "
		"that CPython keeps of it.\n\n"
		"Excess: the count is higher than what was found: C code holds the object, or has "
		"leaked it; an address on a thread's C stack tells of a call in mid-run. Words of modules' static "
		"data count only where a reference is missing.\n"
		"--deep runs each type's own tp_traverse in an emulator, locked in a process of its own, "
		"and compares what it visits with the references that were read.\n\n"
		"Example: coreanalyze verify core.1234",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct own),
	.run = run_verify,
};
