/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What waits for the collector, and what will wait for ever. */
#include <stdlib.h>

#include "cycles.h"

/* 0: all */
static size_t most_rows(const struct ca_cycles_view *view)
{
	enum { TEXT_ROWS = 20 };

	return ca_shown(view->request, SIZE_MAX, ca_writer_form(view->w) == CA_FORM_TEXT ? TEXT_ROWS : 0);
}

/* Objects under the root of what nothing refers to. */
static struct ca_edges leaked_of(const struct ca_graph *graph)
{
	for (uint32_t i = 0; i < graph->root_count; i++)
		if (graph->roots[i].kind == CA_ROOT_LEAKED)
			return ca_graph_out(graph, graph->object_count + 1 + i);
	return (struct ca_edges){0};
}

uint64_t ca_leaked_count(const struct ca_graph *graph)
{
	return leaked_of(graph).count;
}

/* What waits, in a cycle or hanging on one. */
static void put_garbage(const struct ca_cycles_view *view)
{
	const struct ca_garbage *garbage = &view->found.cycles.garbage;
	ca_node *nodes = ca_alloc((garbage->objects + 1) * sizeof(*nodes));
	ca_node end = view->objects->count + 1;
	size_t count = 0;

	for (ca_node node = ca_next_bit(garbage->found, 0, end); node < end;
	     node = ca_next_bit(garbage->found, node + 1, end))
		nodes[count++] = node;
	ca_put_type_counts(view->w, "unreachable_types", "WAITS FOR THE COLLECTOR", view->objects, nodes,
			   count, most_rows(view));
	free(nodes);
}

static void put_leaked(const struct ca_cycles_view *view)
{
	struct ca_edges leaked = leaked_of(view->graph);

	ca_put_type_counts(view->w, "leaked_types", "REFERRED TO BY NOTHING", view->objects, leaked.nodes,
			   leaked.count, most_rows(view));
}

static const struct ca_column weak_columns[] = {
	{"type", "STILL GIVEN BY WEAK REFERENCES", CA_CELL_TEXT},
	{"count", "COUNT", CA_CELL_COUNT},
	{"references", "REFERENCES", CA_CELL_COUNT},
	{"callbacks", "CALLBACKS", CA_CELL_COUNT},
	{"address", "FOR EXAMPLE", CA_CELL_ADDR},
};

/* A registry that is to forget its objects does not, while they wait in a cycle. */
static void put_weakly_held(const struct ca_cycles_view *view)
{
	struct ca_weak weak;
	size_t count;
	struct ca_weakref *refs = ca_objects_weakrefs(view->objects, &count);
	bool text = ca_writer_form(view->w) == CA_FORM_TEXT;

	ca_weak_build(view->objects, refs, count, &view->found.cycles.garbage, &weak);

	size_t most = most_rows(view), shown = most && most < weak.count ? most : weak.count;

	ca_put_uint(view->w, "weakref_callbacks", weak.callbacks);
	if (weak.count || !text) {
		ca_table_begin(view->w, "weakly_held", weak_columns, CA_COUNT(weak_columns));
		for (size_t i = 0; i < shown; i++) {
			ca_cell_text(view->w, weak.rows[i].name);
			ca_cell_uint(view->w, weak.rows[i].objects);
			ca_cell_uint(view->w, weak.rows[i].references);
			ca_cell_uint(view->w, weak.rows[i].callbacks);
			ca_cell_addr(view->w, ca_objects_address(view->objects, weak.rows[i].node));
			ca_row_end(view->w);
		}
		ca_table_end(view->w, weak.count - shown);
	}
	ca_weak_fini(&weak);
	free(refs);
}

void ca_put_waiting(struct ca_cycles_view *view)
{
	put_garbage(view);
	put_weakly_held(view);
	put_leaked(view);
}

void ca_say_waiting(const struct ca_cycles_view *view, uint64_t leaked)
{
	const struct ca_garbage *garbage = &view->found.cycles.garbage;

	if (garbage->objects)
		ca_line(view->w, "%s tracked objects wait for the collector: gc.collect() would free %s%s",
			ca_grouped(garbage->objects).text,
			ca_grouped(garbage->objects - garbage->kept_objects).text,
			garbage->kept_objects ? "; legacy finalizers keep the rest" : "");
	if (garbage->finalizers)
		ca_line(view->w, "%s of them would run a finalizer first, which may bring them back",
			ca_grouped(garbage->finalizers).text);
	if (leaked)
		ca_line(view->w, "%s objects are in no cycle, nothing that was found refers to them, and yet "
				 "they are counted: C code holds them, or has leaked them",
			ca_grouped(leaked).text);
}
