/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an object refers to, and what refers to it. */
#include <stdlib.h>
#include <string.h>

#include "command.h"

enum { REFERRERS = 100, TEXT_ROWS = 20 };

struct listing {
	struct ca_writer *w;
	const struct ca_graph *graph;
	struct ca_edges edges; /* of the source, outgoing */
	uint64_t shown;        /* so many at most */
	ca_node target;        /* of referrers: whose they are */
	ca_node source;
	bool told;             /* a root's edges have labels of their own */
	struct ca_arena *scratch;
};

static const struct ca_column referent_columns[] = {
	{"address", "REFERS TO", CA_CELL_ADDR},
	{"type", "TYPE", CA_CELL_TEXT},
	{"via", "BY", CA_CELL_TEXT},
	{"gc", "GC", CA_CELL_BOOL},
	{"guess", NULL, CA_CELL_BOOL},
};

static const struct ca_column referrer_columns[] = {
	{"address", "REFERRED TO BY", CA_CELL_ADDR},
	{"type", "TYPE", CA_CELL_TEXT},
	{"via", "BY", CA_CELL_TEXT},
	{"root", NULL, CA_CELL_TEXT},
};

static const char *type_name(const struct ca_graph *graph, ca_node node)
{
	return graph->objects->types[ca_node_type(graph->objects, node)].name;
}

static void put_referent(void *arg, uint64_t index, const char *label)
{
	struct listing *list = arg;
	ca_node node;

	if (index >= list->shown)
		return;
	node = list->edges.nodes[index];
	ca_cell_addr(list->w, ca_objects_address(list->graph->objects, node));
	ca_cell_text(list->w, type_name(list->graph, node));
	ca_cell_text(list->w, label);
	ca_cell_bool(list->w, list->edges.flags[index] & CA_EDGE_GC);
	ca_cell_bool(list->w, list->edges.flags[index] & CA_EDGE_GUESS);
	ca_row_end(list->w);
	ca_arena_empty(list->scratch);
}

static void put_referents(struct listing *list, const struct ca_request *request,
			  struct ca_reader *reader, ca_node node)
{
	list->edges = ca_graph_out(list->graph, node);
	list->shown = ca_shown(request, list->edges.count, request->form == CA_FORM_TEXT ? TEXT_ROWS : 0);
	if (request->form == CA_FORM_JSON)
		list->shown = list->edges.count;
	ca_table_begin(list->w, "referents", referent_columns, CA_COUNT(referent_columns));
	ca_edge_each(list->graph, reader, node, 0, request->redact, list->scratch, put_referent, list);
	ca_table_end(list->w, list->edges.count - list->shown);
}

/* ---- referrers -------------------------------------------------------------- */

static void put_root(struct listing *list, const struct ca_root *root, const char *way)
{
	if (root->address)
		ca_cell_addr(list->w, root->address);
	else
		ca_cell_text(list->w, NULL);
	ca_cell_text(list->w, NULL);
	ca_cell_text(list->w, *way ? way : root->name);
	ca_cell_text(list->w, ca_root_kind_name(root->kind));
	ca_row_end(list->w);
	list->shown--;
}

static void put_way(void *arg, uint64_t index, const char *label)
{
	struct listing *list = arg;

	(void)index;
	if (list->shown)
		put_root(list, ca_graph_root(list->graph, list->source), label);
	list->told = true;
	ca_arena_empty(list->scratch);
}

static void put_referrer(void *arg, uint64_t index, const char *label)
{
	struct listing *list = arg;

	(void)index;
	if (!list->shown)
		return;
	list->shown--;
	ca_cell_addr(list->w, ca_objects_address(list->graph->objects, list->source));
	ca_cell_text(list->w, type_name(list->graph, list->source));
	ca_cell_text(list->w, label);
	ca_cell_text(list->w, NULL);
	ca_row_end(list->w);
	ca_arena_empty(list->scratch);
}

/* Roots come first: they tell most. A source that refers to it more than once is one run. */
static void put_sources(struct listing *list, const struct ca_request *request,
			struct ca_reader *reader, struct ca_edges in)
{
	const struct ca_graph *graph = list->graph;
	uint64_t objects = in.count;

	while (objects && ca_node_is_root(graph, in.nodes[objects - 1]))
		objects--;
	for (uint64_t i = objects; i < in.count && list->shown; i++) {
		list->source = in.nodes[i];
		list->told = i > objects && in.nodes[i] == in.nodes[i - 1];
		if (!list->told)
			ca_edge_each(graph, reader, list->source, list->target, request->redact,
				     list->scratch, put_way, list);
		if (!list->told)
			put_root(list, ca_graph_root(graph, list->source), "");
	}
	for (uint64_t i = 0; i < objects && list->shown; i++) {
		if (i && in.nodes[i] == in.nodes[i - 1])
			continue;
		list->source = in.nodes[i];
		ca_edge_each(graph, reader, list->source, list->target, request->redact, list->scratch,
			     put_referrer, list);
	}
}

static void put_referrers(struct listing *list, const struct ca_request *request,
			  struct ca_reader *reader, ca_node node)
{
	struct ca_edges in = ca_graph_in(list->graph, node);
	uint64_t shown = ca_shown(request, in.count,
				  request->form == CA_FORM_TEXT ? TEXT_ROWS : REFERRERS);

	list->target = node;
	list->shown = shown;
	ca_put_uint(list->w, "referrers_total", in.count);
	ca_table_begin(list->w, "referrers", referrer_columns, CA_COUNT(referrer_columns));
	put_sources(list, request, reader, in);
	ca_table_end(list->w, in.count - shown);
}

void ca_put_references(struct ca_writer *w, const struct ca_request *request,
		       const struct ca_graph *graph, struct ca_reader *reader, ca_node node,
		       struct ca_arena *scratch)
{
	struct listing list = {.w = w, .graph = graph, .scratch = scratch};

	put_referents(&list, request, reader, node);
	put_referrers(&list, request, reader, node);
}
