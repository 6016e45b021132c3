/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reference cycles, their finalizers, and the garbage that waits. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

enum { TEXT_ROWS = 20, JSON_ROWS = 100, ROW_FINALIZERS = 100, ROW_TYPES = 100, TEXT_FINALIZERS = 50 };
enum { KEY_FINALIZERS = 400, KEY_UNREACHABLE, KEY_ALL_EDGES, KEY_TYPE, KEY_MIN_BYTES };

struct own {
	struct ca_cycle_filter filter;
	bool all_edges;
};

static const struct argp_option options[] = {
	{"finalizers", KEY_FINALIZERS, NULL, 0, "only cycles in which something has __del__, and who", 1},
	{"unreachable", KEY_UNREACHABLE, NULL, 0, "only garbage that waits for the collector", 1},
	{"type", KEY_TYPE, "NAME", 0, "only cycles with a member of this type", 1},
	{"min-bytes", KEY_MIN_BYTES, "SIZE", 0, "only cycles of at least SIZE (16K, 1.5M)", 1},
	{"all-edges", KEY_ALL_EDGES, NULL, 0,
	 "follow references to types, globals and modules too", 1},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct own *own = ca_parsed_request(state)->own;

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

struct show {
	struct ca_writer *w;
	const struct ca_request *request;
	const struct own *own;
	struct ca_session *session;
	const struct ca_objects *objects;
	const struct ca_graph *graph;
	struct ca_cycle_facts found;
	struct ca_reader *reader;
	struct ca_arena scratch;         /* of one row */
	struct ca_finalizing *finalizing; /* [type_count], found at first use */
	struct ca_arena names;           /* of finalizing */
	uint64_t leaked;
};

static const char *type_name(const struct show *show, ca_node node)
{
	return show->objects->types[ca_node_type(show->objects, node)].name;
}

/* ---- one way around --------------------------------------------------------- */

/* What Python writes before the first dot: the class's own name. */
static const char *short_name(const char *type)
{
	const char *dot = strrchr(type, '.');

	return dot ? dot + 1 : type;
}

static const char *via(struct show *show, const struct ca_loop_step *step)
{
	return ca_edge_label(show->graph, show->reader, step->node, step->edge, show->request->redact,
			     &show->scratch);
}

/* ".__dict__" and "['x']" are ".x" to Python, where x is a name. */
static const char *after_dict(struct show *show, const char *label)
{
	size_t length = strlen(label);

	if (length < 5 || strncmp(label, "['", 2) != 0 || strcmp(label + length - 2, "']") != 0)
		return NULL;
	for (size_t i = 2; i < length - 2; i++)
		if (!isalnum((unsigned char)label[i]) && label[i] != '_')
			return NULL;
	return ca_arena_printf(&show->scratch, ".%.*s", (int)(length - 4), label + 2);
}

static const char *append_step(struct show *show, const char *path, const struct ca_loop_step *step)
{
	static const char dict[] = ".__dict__";
	const char *label = via(show, step), *name = NULL;
	size_t length = strlen(path);

	if (length > strlen(dict) && strcmp(path + length - strlen(dict), dict) == 0)
		name = after_dict(show, label);
	if (name)
		return ca_arena_printf(&show->scratch, "%.*s%s", (int)(length - strlen(dict)), path, name);
	return ca_arena_printf(&show->scratch, "%s%s", path, label);
}

/* "Parent.children[0].parent": from the first member back to it. */
static const char *path_of(struct show *show, const struct ca_cycle *cycle,
			   struct ca_loop_step **steps, size_t *count)
{
	enum { MOST_STEPS = 32 };
	const char *path;

	*count = ca_cycle_loop(show->graph, &show->found.cycles, cycle, steps);
	path = short_name(type_name(show, (*steps)[0].node));
	for (size_t i = 0; i < *count && i < MOST_STEPS; i++)
		path = append_step(show, path, &(*steps)[i]);
	return *count <= MOST_STEPS ? path : ca_arena_printf(&show->scratch, "%s...", path);
}

static void put_way(struct show *show, const struct ca_cycle *cycle)
{
	struct ca_loop_step *steps;
	size_t count;
	const char *path = path_of(show, cycle, &steps, &count);

	ca_put_string(show->w, "path", path);
	ca_list_begin(show->w, "edges");
	for (size_t i = 0; i < count; i++) {
		ca_object_begin(show->w, NULL);
		ca_put_addr(show->w, "address", ca_objects_address(show->objects, steps[i].node));
		ca_put_string(show->w, "type", type_name(show, steps[i].node));
		ca_put_string(show->w, "via", via(show, &steps[i]));
		ca_object_end(show->w);
	}
	ca_list_end(show->w);
	free(steps);
}

/* ---- what is in a cycle -------------------------------------------------------- */

struct counted {
	const char *name;
	uint64_t count;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct counted *)a)->name, ((const struct counted *)b)->name);
}

static int by_count(const void *a, const void *b)
{
	const struct counted *x = a, *y = b;

	return x->count != y->count ? (x->count < y->count ? 1 : -1) : by_name(a, b);
}

/* Rows of names, equal ones merged, most frequent first; returns how many are left. */
static size_t merge_counts(struct counted *rows, size_t count)
{
	size_t kept = 0;

	if (count)
		qsort(rows, count, sizeof(*rows), by_name);
	for (size_t i = 0; i < count; i++) {
		if (kept && strcmp(rows[kept - 1].name, rows[i].name) == 0)
			rows[kept - 1].count += rows[i].count;
		else
			rows[kept++] = rows[i];
	}
	if (kept)
		qsort(rows, kept, sizeof(*rows), by_count);
	return kept;
}

/* Types of nodes; rows have room for as many as there are nodes or types. */
static size_t count_types(const struct show *show, const ca_node *nodes, size_t count,
			  struct counted **out)
{
	struct ca_map by_type = {0};
	size_t kept = 0;
	bool fresh;

	for (size_t i = 0; i < count; i++)
		++*ca_map_add(&by_type, ca_node_type(show->objects, nodes[i]), &fresh);
	*out = ca_alloc((by_type.count + 1) * sizeof(**out));
	if (by_type.has_zero)
		(*out)[kept++] = (struct counted){show->objects->types[0].name, by_type.zero_value};
	for (size_t i = 0; i < by_type.capacity; i++)
		if (by_type.slots[i].key)
			(*out)[kept++] = (struct counted){show->objects->types[by_type.slots[i].key].name,
							  by_type.slots[i].value};
	ca_map_fini(&by_type);
	return merge_counts(*out, kept);
}

static const struct ca_column type_columns[] = {
	{"type", "TYPE", CA_CELL_TEXT},
	{"count", "COUNT", CA_CELL_COUNT},
};

static void put_type_rows(const struct show *show, const char *key, const struct counted *rows,
			  size_t count, size_t shown)
{
	ca_table_begin(show->w, key, type_columns, CA_COUNT(type_columns));
	for (size_t i = 0; i < shown; i++) {
		ca_cell_text(show->w, rows[i].name);
		ca_cell_uint(show->w, rows[i].count);
		ca_row_end(show->w);
	}
	ca_table_end(show->w, count - shown);
}

static void put_types(const struct show *show, const struct ca_cycle *cycle)
{
	struct counted *rows;
	size_t count = count_types(show, show->found.cycles.members + cycle->first, cycle->objects, &rows);

	put_type_rows(show, "types", rows, count, count < ROW_TYPES ? count : ROW_TYPES);
	free(rows);
}

/* ---- finalizers ----------------------------------------------------------------- */

static const char *finalizer_word(enum ca_finalizer kind)
{
	switch (kind) {
	case CA_FINALIZER_PYTHON:
		return "python";
	case CA_FINALIZER_C:
		return "c";
	case CA_FINALIZER_LEGACY:
		return "legacy";
	case CA_FINALIZER_NONE:
		break;
	}
	return "none";
}

static const struct ca_finalizing *finalizing_of(struct show *show, ca_node node)
{
	uint32_t type = ca_node_type(show->objects, node);
	struct ca_finalizing *finalizing = &show->finalizing[type];

	if (finalizing->kind == CA_FINALIZER_NONE)
		ca_type_finalizing(show->reader, show->objects->types[type].type, &show->names, finalizing);
	return finalizing;
}

static const struct ca_column finalizer_columns[] = {
	{"type", "HAS __del__", CA_CELL_TEXT},
	{"address", "ADDRESS", CA_CELL_ADDR},
	{"kind", "KIND", CA_CELL_TEXT},
	{"ran", "HAS RUN", CA_CELL_BOOL},
	{"defined_by", "DEFINED BY", CA_CELL_TEXT},
	{"file", "FILE", CA_CELL_TEXT},
	{"line", "LINE", CA_CELL_COUNT},
};

static void put_finalizer(struct show *show, ca_node node)
{
	const struct ca_finalizing *finalizing = finalizing_of(show, node);
	struct ca_writer *w = show->w;

	ca_cell_text(w, type_name(show, node));
	ca_cell_addr(w, ca_objects_address(show->objects, node));
	ca_cell_text(w, finalizer_word(finalizing->kind));
	ca_cell_bool(w, show->found.gc.bits[node] & CA_GC_FINALIZED);
	ca_cell_text(w, finalizing->owner);
	ca_cell_text(w, finalizing->file);
	if (finalizing->line)
		ca_cell_uint(w, finalizing->line);
	else
		ca_cell_text(w, NULL);
	ca_row_end(w);
}

/* Puts up to `most` rows of a cycle's members, returns how many. */
static size_t put_members(struct show *show, const struct ca_cycle *cycle, size_t most)
{
	size_t shown = 0;

	for (uint32_t m = 0; m < cycle->objects && shown < most; m++) {
		ca_node node = show->found.cycles.members[cycle->first + m];

		if (!(show->found.gc.bits[node] & CA_GC_FINALIZER))
			continue;
		put_finalizer(show, node);
		shown++;
	}
	return shown;
}

/* JSON: those of one cycle. */
static void put_finalizers(struct show *show, const struct ca_cycle *cycle)
{
	size_t most = ca_shown(show->request, cycle->finalizers, ROW_FINALIZERS), shown;

	ca_put_uint(show->w, "finalizers_total", cycle->finalizers);
	ca_put_uint(show->w, "finalizers_pending", cycle->pending);
	ca_table_begin(show->w, "finalizers", finalizer_columns, CA_COUNT(finalizer_columns));
	shown = put_members(show, cycle, most);
	ca_table_end(show->w, cycle->finalizers - shown);
}

/* Text: those of all cycles in one table. */
static void list_finalizers(struct show *show)
{
	const struct ca_cycles *cycles = &show->found.cycles;
	uint64_t total = 0, shown = 0;

	for (size_t i = 0; i < cycles->count; i++)
		total += cycles->items[i].finalizers;

	size_t most = ca_shown(show->request, total, TEXT_FINALIZERS);

	if (!total)
		return;
	ca_table_begin(show->w, "members", finalizer_columns, CA_COUNT(finalizer_columns));
	for (size_t i = 0; i < cycles->count && shown < most; i++)
		shown += put_members(show, &cycles->items[i], most - shown);
	ca_table_end(show->w, total - shown);
}

/* ---- cycles and their shapes --------------------------------------------------------- */

static void put_cycle(struct show *show, const struct ca_cycle *cycle)
{
	ca_object_begin(show->w, NULL);
	ca_put_uint(show->w, "objects", cycle->objects);
	ca_put_uint(show->w, "bytes", cycle->bytes);
	ca_put_uint(show->w, "owned", cycle->owned);
	ca_put_bool(show->w, "unreachable", cycle->unreachable);
	ca_put_bool(show->w, "kept", cycle->kept);
	ca_put_uint(show->w, "shape", cycle->shape);
	put_types(show, cycle);
	put_finalizers(show, cycle);
	put_way(show, cycle);
	ca_put_null(show->w, "owner");
	ca_object_end(show->w);
	ca_arena_fini(&show->scratch);
}

static void put_cycles(struct show *show)
{
	const struct ca_cycles *cycles = &show->found.cycles;
	size_t shown = ca_shown(show->request, cycles->count, JSON_ROWS);

	ca_put_uint(show->w, "cycles_total", cycles->count);
	ca_list_begin(show->w, "cycles");
	for (size_t i = 0; i < shown; i++)
		put_cycle(show, &cycles->items[i]);
	ca_list_end(show->w);
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

static void put_shape(struct show *show, const struct ca_cycle_shape *shape)
{
	struct ca_writer *w = show->w;
	struct ca_loop_step *steps;
	size_t count;
	const char *path = path_of(show, &show->found.cycles.items[shape->example], &steps, &count);

	ca_cell_uint(w, shape->count);
	ca_cell_uint(w, shape->objects);
	ca_cell_uint(w, shape->bytes);
	ca_cell_uint(w, shape->owned);
	ca_cell_uint(w, shape->finalizers);
	ca_cell_uint(w, shape->unreachable);
	ca_cell_addr(w, ca_objects_address(show->objects, steps[0].node));
	ca_cell_text(w, path);
	ca_row_end(w);
	free(steps);
	ca_arena_fini(&show->scratch);
}

static void put_shapes(struct show *show)
{
	const struct ca_cycles *cycles = &show->found.cycles;
	bool text = ca_writer_form(show->w) == CA_FORM_TEXT;
	size_t shown = ca_shown(show->request, cycles->shape_count, text ? TEXT_ROWS : JSON_ROWS);

	ca_put_uint(show->w, "shapes_total", cycles->shape_count);
	if (text && !cycles->shape_count)
		return;
	ca_table_begin(show->w, "shapes", shape_columns, CA_COUNT(shape_columns));
	for (size_t i = 0; i < shown; i++)
		put_shape(show, &cycles->shapes[i]);
	ca_table_end(show->w, cycles->shape_count - shown);
}

/* ---- garbage ----------------------------------------------------------------------- */

/* Objects under the root of what nothing refers to. */
static uint64_t count_leaked(const struct ca_graph *graph)
{
	uint64_t leaked = 0;

	for (uint32_t i = 0; i < graph->root_count; i++)
		if (graph->roots[i].kind == CA_ROOT_LEAKED)
			leaked += ca_graph_out(graph, graph->object_count + 1 + i).count;
	return leaked;
}

/* What waits, by type, in a cycle or hanging on one. */
static void put_garbage_types(const struct show *show)
{
	const struct ca_garbage *garbage = &show->found.cycles.garbage;
	ca_node *nodes = ca_alloc((garbage->objects + 1) * sizeof(*nodes));
	struct counted *rows;
	size_t count = 0;

	for (ca_node node = 1; node <= show->objects->count; node++)
		if (ca_bit(garbage->found, node))
			nodes[count++] = node;

	size_t kinds = count_types(show, nodes, count, &rows);

	if (kinds || ca_writer_form(show->w) == CA_FORM_JSON)
		put_type_rows(show, "unreachable_types", rows, kinds,
			      ca_shown(show->request, kinds,
				       ca_writer_form(show->w) == CA_FORM_JSON ? 0 : TEXT_ROWS));
	free(rows);
	free(nodes);
}

static const struct ca_column weak_columns[] = {
	{"type", "STILL GIVEN BY WEAK REFERENCES", CA_CELL_TEXT},
	{"count", "COUNT", CA_CELL_COUNT},
	{"references", "REFERENCES", CA_CELL_COUNT},
	{"callbacks", "CALLBACKS", CA_CELL_COUNT},
	{"address", "FOR EXAMPLE", CA_CELL_ADDR},
};

/* A registry that is to forget its objects does not, while they wait in a cycle. */
static void put_weakly_held(const struct show *show)
{
	struct ca_weak weak;
	size_t count;
	struct ca_weakref *refs = ca_objects_weakrefs(show->session->objects, &count);
	bool text = ca_writer_form(show->w) == CA_FORM_TEXT;

	ca_weak_build(show->objects, refs, count, &show->found.cycles.garbage, &weak);

	size_t shown = ca_shown(show->request, weak.count, text ? TEXT_ROWS : 0);

	ca_put_uint(show->w, "weakref_callbacks", weak.callbacks);
	if (weak.count || !text) {
		ca_table_begin(show->w, "weakly_held", weak_columns, CA_COUNT(weak_columns));
		for (size_t i = 0; i < shown; i++) {
			ca_cell_text(show->w, weak.rows[i].name);
			ca_cell_uint(show->w, weak.rows[i].objects);
			ca_cell_uint(show->w, weak.rows[i].references);
			ca_cell_uint(show->w, weak.rows[i].callbacks);
			ca_cell_addr(show->w, ca_objects_address(show->objects, weak.rows[i].node));
			ca_row_end(show->w);
		}
		ca_table_end(show->w, weak.count - shown);
	}
	ca_weak_fini(&weak);
	free(refs);
}

static void put_waiting(const struct show *show)
{
	put_garbage_types(show);
	put_weakly_held(show);
}

static void say_garbage(const struct show *show)
{
	const struct ca_garbage *garbage = &show->found.cycles.garbage;

	if (garbage->objects)
		ca_line(show->w, "%s tracked objects wait for the collector: gc.collect() would free %s%s",
			ca_grouped(garbage->objects).text,
			ca_grouped(garbage->objects - garbage->kept_objects).text,
			garbage->kept_objects ? "; legacy finalizers keep the rest" : "");
	if (garbage->finalizers)
		ca_line(show->w, "%s of them would run a finalizer first, which may bring them back",
			ca_grouped(garbage->finalizers).text);
	if (show->leaked)
		ca_line(show->w, "%s objects are referred to by nothing, in no cycle, and yet counted: "
				 "leaked references of C code",
			ca_grouped(show->leaked).text);
}

/* ---- the document --------------------------------------------------------------------- */

static void put_totals(const struct show *show)
{
	const struct ca_cycles *cycles = &show->found.cycles;
	char bytes[32], program[32];

	ca_object_begin(show->w, "totals");
	ca_put_uint(show->w, "cycles", cycles->all);
	ca_put_uint(show->w, "objects", cycles->objects);
	ca_put_uint(show->w, "bytes", cycles->bytes);
	ca_put_uint(show->w, "owned", cycles->owned);
	ca_put_uint(show->w, "with_finalizers", cycles->with_finalizers);
	ca_put_uint(show->w, "unreachable_objects", cycles->garbage.objects);
	ca_put_uint(show->w, "kept_objects", cycles->garbage.kept_objects);
	ca_put_uint(show->w, "pending_finalizers", cycles->garbage.finalizers);
	ca_put_uint(show->w, "leaked_objects", show->leaked);
	ca_object_end(show->w);
	ca_object_begin(show->w, "program");
	ca_put_uint(show->w, "objects", cycles->program_objects);
	ca_put_uint(show->w, "bytes", cycles->program_bytes);
	ca_object_end(show->w);
	ca_format_size(bytes, sizeof(bytes), cycles->bytes + cycles->owned);
	ca_format_size(program, sizeof(program), cycles->program_bytes);
	ca_line(show->w, "%s cycles of %s objects, %s; %s have finalizers in them",
		ca_grouped(cycles->all).text, ca_grouped(cycles->objects).text, bytes,
		ca_grouped(cycles->with_finalizers).text);
	if (!show->own->all_edges)
		ca_line(show->w, "the program itself: %s more objects, %s, are in cycles through types, globals "
				 "and modules alone",
			ca_grouped(cycles->program_objects).text, program);
}

static void emit(struct show *show)
{
	show->w = ca_open_writer(show->request);
	ca_begin_document(show->w, show->request, show->session);
	put_totals(show);
	say_garbage(show);
	put_shapes(show);
	if (show->own->filter.unreachable)
		put_waiting(show);
	if (ca_writer_form(show->w) == CA_FORM_JSON)
		put_cycles(show);
	else if (show->own->filter.finalizers)
		list_finalizers(show);
}

static struct ca_error *show_cycles(struct ca_request *request, struct ca_session *session)
{
	struct show show = {.request = request, .own = request->own, .session = session};
	struct ca_error *err = ca_session_cycles(session, show.own->all_edges, &show.own->filter, &show.found);

	if (err)
		return err;
	show.objects = session->objects;
	show.graph = session->graph;
	show.leaked = count_leaked(show.graph);
	show.reader = ca_alloc(sizeof(*show.reader));
	show.finalizing = ca_alloc((show.objects->type_count + 1ull) * sizeof(*show.finalizing));
	ca_reader_init(show.reader, &session->objects->types_registry);
	emit(&show);
	ca_cycle_facts_fini(&show.found);
	ca_arena_fini(&show.names);
	free(show.finalizing);
	free(show.reader);
	return ca_end_document(show.w, session, NULL);
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
	.own_bytes = sizeof(struct own),
	.run = run_cycles,
};
