/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What weakref.finalize() is to call, alike ones in one row. */
#include <stdlib.h>
#include <string.h>

#include "cycles.h"

struct row {
	const char *function, *type; /* in the scratch arena; type NULL: the object is not known */
	uint64_t count, bytes, objects;
	bool keeps_object;
	ca_node object;
};

static int compare_texts(const char *x, const char *y)
{
	return !x || !y ? (x != NULL) - (y != NULL) : strcmp(x, y);
}

static int by_what(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int order = compare_texts(x->function, y->function);

	if (!order)
		order = compare_texts(x->type, y->type);
	if (!order)
		order = y->keeps_object - x->keeps_object;
	return order ? order : x->object < y->object ? -1 : x->object > y->object;
}

static int by_bytes(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : by_what(a, b);
}

static bool alike(const struct row *x, const struct row *y)
{
	return compare_texts(x->function, y->function) == 0 && compare_texts(x->type, y->type) == 0 &&
	       x->keeps_object == y->keeps_object;
}

static size_t merge(struct row *rows, size_t count)
{
	size_t kept = 0;

	qsort(rows, count, sizeof(*rows), by_what);
	for (size_t i = 0; i < count; i++) {
		if (!kept || !alike(&rows[kept - 1], &rows[i])) {
			rows[kept++] = rows[i];
			continue;
		}
		rows[kept - 1].count++;
		rows[kept - 1].bytes += rows[i].bytes;
		rows[kept - 1].objects += rows[i].objects;
	}
	qsort(rows, kept, sizeof(*rows), by_bytes);
	return kept;
}

/* "app.cleanup"; "<method ...>"; else its type. */
static const char *function_name(struct ca_cycles_view *view, ca_node node)
{
	struct ca_object object;
	const char *name = NULL;

	if (!node)
		return "?";
	if (ca_object_read(view->reader, ca_objects_address(view->objects, node), &object)) {
		name = ca_object_name(view->reader, &object, &view->scratch);
		if (!name && (!view->request->redact || ca_object_is_named(view->reader, &object)))
			name = ca_object_value(view->reader, &object, &view->scratch);
	}
	return name ? name : ca_view_type(view, node);
}

static struct ca_registration *find(struct ca_cycles_view *view, size_t *count)
{
	size_t ref_count;
	struct ca_weakref *refs = ca_objects_weakrefs(view->objects, &ref_count);
	struct ca_registration *items =
		ca_registrations_find(view->graph, view->reader, refs, ref_count, count);
	struct ca_retained retained;

	free(refs);
	if (*count) {
		ca_retained_build(&view->session->ctx, view->graph, &retained);
		ca_registrations_weigh(view->graph, &retained, items, *count);
		ca_retained_fini(&retained);
	}
	return items;
}

static const struct ca_column columns[] = {
	{"function", "weakref.finalize() CALLS", CA_CELL_TEXT},
	{"type", "AFTER", CA_CELL_TEXT},
	{"count", "COUNT", CA_CELL_COUNT},
	{"retained_bytes", "RETAINS", CA_CELL_SIZE},
	{"retained_objects", "OBJECTS", CA_CELL_COUNT},
	{"keeps_object", "KEEPS IT ALIVE", CA_CELL_BOOL},
	{"address", "FOR EXAMPLE", CA_CELL_ADDR},
};

static void put_row(const struct ca_cycles_view *view, const struct row *row)
{
	struct ca_writer *w = view->w;

	ca_cell_text(w, row->function);
	ca_cell_text(w, row->type);
	ca_cell_uint(w, row->count);
	ca_cell_uint(w, row->bytes);
	ca_cell_uint(w, row->objects);
	ca_cell_bool(w, row->keeps_object);
	ca_cell_addr(w, row->object ? ca_objects_address(view->objects, row->object) : 0);
	ca_row_end(w);
}

void ca_put_registrations(struct ca_cycles_view *view)
{
	enum { TEXT_ROWS = 20 };
	bool text = ca_writer_form(view->w) == CA_FORM_TEXT;
	size_t count;
	struct ca_registration *items = find(view, &count);
	struct row *rows = ca_alloc((count + 1) * sizeof(*rows));

	for (size_t i = 0; i < count; i++)
		rows[i] = (struct row){function_name(view, items[i].function),
				       items[i].object ? ca_view_type(view, items[i].object) : NULL, 1,
				       items[i].bytes, items[i].objects, items[i].keeps_object,
				       items[i].object};
	free(items);
	ca_put_uint(view->w, "registrations_total", count);

	size_t kinds = count ? merge(rows, count) : 0;
	size_t shown = ca_shown(view->request, kinds, text ? TEXT_ROWS : 0);

	if (kinds || !text) {
		ca_table_begin(view->w, "registrations", columns, CA_COUNT(columns));
		for (size_t i = 0; i < shown; i++)
			put_row(view, &rows[i]);
		ca_table_end(view->w, kinds - shown);
	}
	free(rows);
	ca_arena_fini(&view->scratch);
}
