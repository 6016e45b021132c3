/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reference cycles, their finalizers, and the garbage that waits. */
#include <stdlib.h>
#include <string.h>

#include "cycles.h"

enum { TEXT_ROWS = 20, JSON_ROWS = 100, ROW_TYPES = 100 };
enum { KEY_FINALIZERS = 400, KEY_UNREACHABLE, KEY_ALL_EDGES, KEY_TYPE, KEY_MIN_BYTES };

static const struct argp_option options[] = {
	{"finalizers", KEY_FINALIZERS, NULL, 0,
	 "only cycles in which something has __del__, and who; what weakref.finalize() is to call", 1},
	{"unreachable", KEY_UNREACHABLE, NULL, 0, "only garbage that waits for the collector", 1},
	{"type", KEY_TYPE, "NAME", 0, "only cycles with a member of this type", 1},
	{"min-bytes", KEY_MIN_BYTES, "SIZE", 0, "only cycles of at least SIZE (16K, 1.5M)", 1},
	{"all-edges", KEY_ALL_EDGES, NULL, 0,
	 "follow references to types, globals and modules too", 1},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct ca_cycles_options *own = ca_parsed_request(state)->own;

	switch (key) {
	case KEY_FINALIZERS:
		own->filter.finalizers = true;
		return 0;
	case KEY_UNREACHABLE:
		own->filter.unreachable = true;
		return 0;
	case KEY_ALL_EDGES:
		own->all_edges = true;
		return 0;
	case KEY_TYPE:
		own->filter.type = arg;
		return 0;
	case KEY_MIN_BYTES:
		if (!ca_parse_size(arg, &own->filter.min_bytes))
			ca_bad_usage(state, "--min-bytes: '%s' is no size", arg);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* ---- cycles and their shapes --------------------------------------------------------- */

static void put_types(const struct ca_cycles_view *view, const struct ca_cycle *cycle)
{
	ca_put_type_counts(view->w, "types", "TYPE", view->objects,
			   view->found.cycles.members + cycle->first, cycle->objects, ROW_TYPES);
}

/* ---- who keeps it alive: the way by which a cycle is entered --------------------------- */

/* Ways to the cycles that are shown, as far as they are held by anything. */
static void find_ways(struct ca_cycles_view *view, size_t shown)
{
	const struct ca_cycles *cycles = &view->found.cycles;
	uint64_t *wanted = ca_alloc((view->graph->node_count / 64 + 1ull) * sizeof(*wanted));
	size_t count = 0;

	for (size_t i = 0; i < shown; i++) {
		if (cycles->items[i].unreachable)
			continue;
		ca_set_bit(wanted, cycles->members[cycles->items[i].first]);
		count++;
	}
	if (count)
		ca_ways_build_to(view->graph, wanted, count, &view->ways);
	free(wanted);
}

static void put_owner(struct ca_cycles_view *view, const struct ca_cycle *cycle)
{
	const uint32_t *number = view->found.cycles.components.number;
	struct ca_naming naming = {view->graph, &view->ways, view->reader, view->request->redact,
				   &view->scratch};
	ca_node node = view->found.cycles.members[cycle->first];

	if (cycle->unreachable || !view->ways.parent || view->ways.parent[node] == UINT32_MAX) {
		ca_put_null(view->w, "owner");
		return;
	}
	while (number[view->ways.parent[node]] == number[node])
		node = view->ways.parent[node];
	ca_put_string(view->w, "owner", ca_way_name(&naming, node));
}

static void put_cycle(struct ca_cycles_view *view, const struct ca_cycle *cycle)
{
	ca_object_begin(view->w, NULL);
	ca_put_uint(view->w, "objects", cycle->objects);
	ca_put_uint(view->w, "bytes", cycle->bytes);
	ca_put_uint(view->w, "owned", cycle->owned);
	ca_put_bool(view->w, "unreachable", cycle->unreachable);
	ca_put_bool(view->w, "kept", cycle->kept);
	ca_put_uint(view->w, "shape", cycle->shape);
	put_types(view, cycle);
	ca_put_cycle_finalizers(view, cycle);
	ca_put_loop(view, cycle);
	put_owner(view, cycle);
	ca_object_end(view->w);
	ca_arena_fini(&view->scratch);
}

static void put_cycles(struct ca_cycles_view *view)
{
	const struct ca_cycles *cycles = &view->found.cycles;
	size_t shown = ca_shown(view->request, cycles->count, JSON_ROWS);

	find_ways(view, shown);
	ca_put_uint(view->w, "cycles_total", cycles->count);
	ca_list_begin(view->w, "cycles");
	for (size_t i = 0; i < shown; i++)
		put_cycle(view, &cycles->items[i]);
	ca_list_end(view->w);
	ca_ways_fini(&view->ways);
}

static const struct ca_column shape_columns[] = {
	{"count", "CYCLES", CA_CELL_COUNT},
	{"objects", "OBJECTS", CA_CELL_COUNT},
	{"bytes", "BYTES", CA_CELL_SIZE},
	{"owned", "OWNED", CA_CELL_SIZE},
	{"finalizers", "__del__", CA_CELL_COUNT},
	{"unreachable", "GARBAGE", CA_CELL_COUNT},
	{"address", "FOR EXAMPLE", CA_CELL_ADDR},
	{"path", "THROUGH", CA_CELL_TEXT},
};

static void put_shape(struct ca_cycles_view *view, const struct ca_cycle_shape *shape)
{
	struct ca_writer *w = view->w;
	struct ca_loop_step *steps;
	size_t count;
	const char *path = ca_loop_path(view, &view->found.cycles.items[shape->example], &steps, &count);

	ca_cell_uint(w, shape->count);
	ca_cell_uint(w, shape->objects);
	ca_cell_uint(w, shape->bytes);
	ca_cell_uint(w, shape->owned);
	ca_cell_uint(w, shape->finalizers);
	ca_cell_uint(w, shape->unreachable);
	ca_cell_addr(w, ca_objects_address(view->objects, steps[0].node));
	ca_cell_text(w, path);
	ca_row_end(w);
	free(steps);
	ca_arena_fini(&view->scratch);
}

static void put_shapes(struct ca_cycles_view *view)
{
	const struct ca_cycles *cycles = &view->found.cycles;
	bool text = ca_writer_form(view->w) == CA_FORM_TEXT;
	size_t shown = ca_shown(view->request, cycles->shape_count, text ? TEXT_ROWS : JSON_ROWS);

	ca_put_uint(view->w, "shapes_total", cycles->shape_count);
	if (text && !cycles->shape_count)
		return;
	ca_table_begin(view->w, "shapes", shape_columns, CA_COUNT(shape_columns));
	for (size_t i = 0; i < shown; i++)
		put_shape(view, &cycles->shapes[i]);
	ca_table_end(view->w, cycles->shape_count - shown);
}


/* ---- the document --------------------------------------------------------------------- */

static void put_totals(const struct ca_cycles_view *view, uint64_t leaked)
{
	const struct ca_cycles *cycles = &view->found.cycles;
	char bytes[32], program[32];

	ca_object_begin(view->w, "totals");
	ca_put_uint(view->w, "cycles", cycles->all);
	ca_put_uint(view->w, "objects", cycles->objects);
	ca_put_uint(view->w, "bytes", cycles->bytes);
	ca_put_uint(view->w, "owned", cycles->owned);
	ca_put_uint(view->w, "with_finalizers", cycles->with_finalizers);
	ca_put_uint(view->w, "unreachable_objects", cycles->garbage.objects);
	ca_put_uint(view->w, "kept_objects", cycles->garbage.kept_objects);
	ca_put_uint(view->w, "pending_finalizers", cycles->garbage.finalizers);
	ca_put_uint(view->w, "leaked_objects", leaked);
	ca_object_end(view->w);
	ca_object_begin(view->w, "program");
	ca_put_uint(view->w, "objects", cycles->program_objects);
	ca_put_uint(view->w, "bytes", cycles->program_bytes);
	ca_object_end(view->w);
	ca_format_size(bytes, sizeof(bytes), cycles->bytes + cycles->owned);
	ca_format_size(program, sizeof(program), cycles->program_bytes);
	ca_line(view->w, "%s cycles of %s objects, %s; %s have finalizers in them",
		ca_grouped(cycles->all).text, ca_grouped(cycles->objects).text, bytes,
		ca_grouped(cycles->with_finalizers).text);
	if (!view->own->all_edges)
		ca_line(view->w, "the program itself: %s more objects, %s, are in cycles through types, globals "
				 "and modules alone",
			ca_grouped(cycles->program_objects).text, program);
}

static void emit(struct ca_cycles_view *view)
{
	uint64_t leaked = ca_leaked_count(view->graph);

	view->w = ca_open_writer(view->request);
	ca_begin_document(view->w, view->request, view->session);
	put_totals(view, leaked);
	ca_say_waiting(view, leaked);
	put_shapes(view);
	if (view->own->filter.unreachable)
		ca_put_waiting(view);
	if (view->own->filter.finalizers)
		ca_put_registrations(view);
	if (ca_writer_form(view->w) == CA_FORM_JSON)
		put_cycles(view);
	else if (view->own->filter.finalizers)
		ca_list_finalizers(view);
}

static struct ca_error *show_cycles(struct ca_request *request, struct ca_session *session)
{
	struct ca_cycles_view view = {.request = request, .own = request->own, .session = session};
	struct ca_error *err = ca_session_cycles(session, view.own->all_edges, &view.own->filter, &view.found);

	if (err)
		return err;
	view.objects = session->objects;
	view.graph = session->graph;
	view.reader = ca_alloc(sizeof(*view.reader));
	view.finalizing = ca_alloc((view.objects->type_count + 1ull) * sizeof(*view.finalizing));
	ca_reader_init(view.reader, &session->objects->types_registry);
	emit(&view);
	ca_cycle_facts_fini(&view.found);
	ca_arena_fini(&view.names);
	free(view.finalizing);
	free(view.reader);
	return ca_end_document(view.w, session, NULL);
}

/* ---- the report's line ------------------------------------------------------------------ */

void ca_put_cycles_line(struct ca_writer *w, struct ca_session *session)
{
	struct ca_cycle_facts facts;
	struct ca_error *err = ca_session_cycles(session, false, NULL, &facts);
	const struct ca_cycles *cycles = &facts.cycles;
	char bytes[32];

	if (err) {
		ca_line(w, "cycles: not known: %s", err->why);
		ca_put_null(w, "cycles");
		ca_error_free(err);
		return;
	}
	ca_object_begin(w, "cycles");
	ca_put_uint(w, "cycles", cycles->all);
	ca_put_uint(w, "objects", cycles->objects);
	ca_put_uint(w, "bytes", cycles->bytes);
	ca_put_uint(w, "with_finalizers", cycles->with_finalizers);
	ca_put_uint(w, "unreachable_objects", cycles->garbage.objects);
	ca_object_end(w);
	ca_format_size(bytes, sizeof(bytes), cycles->bytes + cycles->owned);
	ca_line(w, "cycles: %s of %s objects, %s; %s with finalizers; %s objects wait for the collector",
		ca_grouped(cycles->all).text, ca_grouped(cycles->objects).text, bytes,
		ca_grouped(cycles->with_finalizers).text, ca_grouped(cycles->garbage.objects).text);
	ca_cycle_facts_fini(&facts);
}

static struct ca_error *run_cycles(struct ca_request *request, enum ca_status *status)
{
	(void)status;
	return ca_show_objects(request, show_cycles);
}

const struct ca_command ca_command_cycles = {
	.name = "cycles",
	.args = "TARGET",
	.least_args = 1,
	.most_args = 1,
	.summary = "reference cycles, and what the collector would find",
	.help = "Reference cycles: how many of which shape, what closes them, which members have __del__, and "
		"the garbage that waits for the collector, found as the collector finds it.\n\n"
		"References to an object's own type, to globals and to modules are left out: they tie every "
		"program into one cycle.\n\n"
		"Example: coreanalyze cycles core.1234 --finalizers",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct ca_cycles_options),
	.run = run_cycles,
};
