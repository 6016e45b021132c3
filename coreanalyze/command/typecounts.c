/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Objects of a list by type, for the documents that show such lists. */
#include <stdlib.h>
#include <string.h>

#include "command.h"

struct counted {
	const char *name;
	uint64_t count, bytes;
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

/* Types that share a name share a row; most frequent first. Returns how many are left. */
static size_t merge(struct counted *rows, size_t count)
{
	size_t kept = 0;

	if (count)
		qsort(rows, count, sizeof(*rows), by_name);
	for (size_t i = 0; i < count; i++) {
		if (kept && strcmp(rows[kept - 1].name, rows[i].name) == 0) {
			rows[kept - 1].count += rows[i].count;
			rows[kept - 1].bytes += rows[i].bytes;
		} else {
			rows[kept++] = rows[i];
		}
	}
	if (kept)
		qsort(rows, kept, sizeof(*rows), by_count);
	return kept;
}

static size_t count_types(const struct ca_objects *objects, const ca_node *nodes, size_t count,
			  struct counted **rows)
{
	struct ca_map known = {0};
	size_t kept = 0, capacity = 0;

	*rows = NULL;
	for (size_t i = 0; i < count; i++) {
		bool fresh;
		uint32_t type = ca_node_type(objects, nodes[i]);
		uint64_t *row = ca_map_add(&known, type, &fresh);

		if (fresh) {
			*row = kept;
			*rows = ca_grow(*rows, &capacity, kept + 1, sizeof(**rows));
			(*rows)[kept++] = (struct counted){.name = objects->types[type].name};
		}
		(*rows)[*row].count++;
		(*rows)[*row].bytes += ca_node_bytes(objects, nodes[i]) + ca_node_owned(objects, nodes[i]);
	}
	ca_map_fini(&known);
	return merge(*rows, kept);
}

void ca_put_type_counts(struct ca_writer *w, const char *key, const char *title,
			const struct ca_objects *objects, const ca_node *nodes, size_t count, size_t most)
{
	const struct ca_column columns[] = {
		{"type", title, CA_CELL_TEXT},
		{"count", "COUNT", CA_CELL_COUNT},
		{"bytes", "BYTES", CA_CELL_SIZE},
	};
	struct counted *rows;
	size_t kinds = count_types(objects, nodes, count, &rows);
	size_t shown = most && most < kinds ? most : kinds;

	if (kinds || ca_writer_form(w) == CA_FORM_JSON) {
		ca_table_begin(w, key, columns, CA_COUNT(columns));
		for (size_t i = 0; i < shown; i++) {
			ca_cell_text(w, rows[i].name);
			ca_cell_uint(w, rows[i].count);
			ca_cell_uint(w, rows[i].bytes);
			ca_row_end(w);
		}
		ca_table_end(w, kinds - shown);
	}
	free(rows);
}
