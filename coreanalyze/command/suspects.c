/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "command.h"

struct finding {
	struct ca_ways ways;
	struct ca_retained retained;
	struct ca_naming naming;
	struct ca_suspect suspects[CA_MOST_SUSPECTS];
	size_t count;
};

/* " in a builtins.dict of 12,000", or what there is instead. */
static const char *whereabouts(const struct finding *f, const struct ca_suspect *suspect)
{
	const struct ca_graph *graph = f->naming.graph;
	const char *place;
	struct ca_object object;
	uint64_t length;

	if (ca_node_is_root(graph, suspect->place))
		return ca_graph_root(graph, suspect->place)->kind == CA_ROOT_LEAKED
			       ? " to which nothing refers"
			       : ", garbage that waits for the collector";
	place = graph->objects->types[ca_node_type(graph->objects, suspect->place)].name;
	if (suspect->spread)
		return ca_arena_printf(f->naming.arena, " below one %s", place);
	if (ca_object_read(f->naming.reader, ca_objects_address(graph->objects, suspect->place), &object) &&
	    ca_object_length(f->naming.reader, &object, &length))
		return ca_arena_printf(f->naming.arena, " in a %s of %s", place, ca_grouped(length).text);
	return ca_arena_printf(f->naming.arena, " in a %s", place);
}

/* "12,000 x app.Session in a builtins.dict of 12,000: 5.3 MiB, 41.2 % of the heap" */
static const char *explain(const struct finding *f, const struct ca_suspect *suspect)
{
	char retained[32];

	ca_format_size(retained, sizeof(retained), suspect->retained_bytes);
	return ca_arena_printf(f->naming.arena, "%s x %s%s: %s, %.1f %% of the heap",
			       ca_grouped(suspect->count).text, suspect->type, whereabouts(f, suspect),
			       retained, suspect->share * 100);
}

static void put_place(struct ca_writer *w, const struct finding *f, const struct ca_suspect *suspect)
{
	const struct ca_objects *objects = f->naming.graph->objects;

	if (ca_node_is_root(f->naming.graph, suspect->place)) {
		ca_put_null(w, "address");
		ca_put_null(w, "type");
		ca_line(w, "%s", suspect->owner);
		return;
	}

	ca_addr address = ca_objects_address(objects, suspect->place);

	ca_put_addr(w, "address", address);
	ca_put_string(w, "type", objects->types[ca_node_type(objects, suspect->place)].name);
	ca_line(w, "%s  (0x%llx)", suspect->owner, (unsigned long long)address);
}

static void put_suspect(struct ca_writer *w, const struct finding *f,
			const struct ca_suspect *suspect)
{
	const char *why = explain(f, suspect);

	ca_object_begin(w, NULL);
	ca_put_string(w, "owner", suspect->owner);
	put_place(w, f, suspect);
	ca_put_uint(w, "retained_bytes", suspect->retained_bytes);
	ca_put_real(w, "share", suspect->share);
	ca_object_begin(w, "accumulates");
	ca_put_string(w, "type", suspect->type);
	ca_put_uint(w, "count", suspect->count);
	ca_put_uint(w, "bytes", suspect->bytes);
	ca_object_end(w);
	ca_put_string(w, "why", why);
	ca_object_end(w);
	ca_line(w, "  %s", why);
}

void ca_put_suspects(struct ca_writer *w, const struct ca_request *request,
		     struct ca_session *session)
{
	struct ca_arena arena = {0};
	struct finding f = {0};

	ca_retained_build_with_ways(&session->ctx, session->graph, &f.retained, &f.ways);
	f.naming = (struct ca_naming){session->graph, &f.ways, ca_alloc(sizeof(struct ca_reader)),
				      request->redact, &arena};
	ca_reader_init(f.naming.reader, &session->objects->types_registry);
	f.count = ca_suspects_find(&f.naming, &f.retained, f.suspects);
	f.count = ca_shown(request, f.count, CA_MOST_SUSPECTS);
	ca_list_begin(w, "suspects");
	for (size_t i = 0; i < f.count; i++)
		put_suspect(w, &f, &f.suspects[i]);
	ca_list_end(w);
	if (!f.count)
		ca_line(w, "nothing stands out");
	free(f.naming.reader);
	ca_arena_fini(&arena);
	ca_retained_fini(&f.retained);
	ca_ways_fini(&f.ways);
}

static struct ca_error *show_suspects(struct ca_request *request, struct ca_session *session)
{
	struct ca_error *err = ca_session_graph(session);
	struct ca_writer *w;

	if (err)
		return err;
	w = ca_open_writer(request);
	ca_begin_document(w, request, session);
	ca_put_suspects(w, request, session);
	return ca_end_document(w, session, NULL);
}

static struct ca_error *run_suspects(struct ca_request *request, enum ca_status *status)
{
	(void)status;
	return ca_show_objects(request, show_suspects);
}

const struct ca_command ca_command_suspects = {
	.name = "suspects",
	.args = "TARGET",
	.least_args = 1,
	.most_args = 1,
	.summary = "where a leak most likely is",
	.help = "Where a leak most likely is: at most five places at which many objects of one type hang, "
		"or much of the heap; none when nothing stands out. Modules, classes and the interpreter's "
		"own tables are not suspects for being large.\n\n"
		"Example: coreanalyze suspects core.1234",
	.run = run_suspects,
};
