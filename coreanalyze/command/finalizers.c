/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Members of cycles that have a finalizer: where it is defined, whether it has run. */
#include <stdlib.h>

#include "cycles.h"

enum { ROW_FINALIZERS = 100, TEXT_FINALIZERS = 50 };

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

static const struct ca_finalizing *finalizing_of(struct ca_cycles_view *view, ca_node node)
{
	uint32_t type = ca_node_type(view->objects, node);
	struct ca_finalizing *finalizing = &view->finalizing[type];

	if (finalizing->kind == CA_FINALIZER_NONE)
		ca_type_finalizing(view->reader, view->objects->types[type].type, &view->names, finalizing);
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

static void put_finalizer(struct ca_cycles_view *view, ca_node node)
{
	const struct ca_finalizing *finalizing = finalizing_of(view, node);
	struct ca_writer *w = view->w;

	ca_cell_text(w, ca_view_type(view, node));
	ca_cell_addr(w, ca_objects_address(view->objects, node));
	ca_cell_text(w, finalizer_word(finalizing->kind));
	ca_cell_bool(w, view->found.gc.bits[node] & CA_GC_FINALIZED);
	ca_cell_text(w, finalizing->owner);
	ca_cell_text(w, finalizing->file);
	if (finalizing->line)
		ca_cell_uint(w, finalizing->line);
	else
		ca_cell_text(w, NULL);
	ca_row_end(w);
}

/* Puts up to `most` rows of a cycle's members, returns how many. */
static size_t put_members(struct ca_cycles_view *view, const struct ca_cycle *cycle, size_t most)
{
	size_t shown = 0;

	for (uint32_t m = 0; m < cycle->objects && shown < most; m++) {
		ca_node node = view->found.cycles.members[cycle->first + m];

		if (!(view->found.gc.bits[node] & CA_GC_FINALIZER))
			continue;
		put_finalizer(view, node);
		shown++;
	}
	return shown;
}

void ca_put_cycle_finalizers(struct ca_cycles_view *view, const struct ca_cycle *cycle)
{
	size_t most = ca_shown(view->request, cycle->finalizers, ROW_FINALIZERS), shown;

	ca_put_uint(view->w, "finalizers_total", cycle->finalizers);
	ca_put_uint(view->w, "finalizers_pending", cycle->pending);
	ca_table_begin(view->w, "finalizers", finalizer_columns, CA_COUNT(finalizer_columns));
	shown = put_members(view, cycle, most);
	ca_table_end(view->w, cycle->finalizers - shown);
}

void ca_list_finalizers(struct ca_cycles_view *view)
{
	const struct ca_cycles *cycles = &view->found.cycles;
	uint64_t total = 0, shown = 0;

	for (size_t i = 0; i < cycles->count; i++)
		total += cycles->items[i].finalizers;

	size_t most = ca_shown(view->request, total, TEXT_FINALIZERS);

	if (!total)
		return;
	ca_table_begin(view->w, "members", finalizer_columns, CA_COUNT(finalizer_columns));
	for (size_t i = 0; i < cycles->count && shown < most; i++)
		shown += put_members(view, &cycles->items[i], most - shown);
	ca_table_end(view->w, total - shown);
}
