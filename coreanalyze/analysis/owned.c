/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All objects by who they are put down to. */
#include <stdlib.h>

#include "analysis.h"

/* The row of a holder, made when it is new. */
static struct ca_owner_row *row_of(struct ca_owners *owners, struct ca_map *index, ca_node holder)
{
	bool fresh;
	uint64_t *at = ca_map_add(index, holder, &fresh);

	if (fresh) {
		owners->rows = ca_grow(owners->rows, &owners->capacity, owners->count + 1,
				       sizeof(*owners->rows));
		*at = owners->count;
		owners->rows[owners->count++] = (struct ca_owner_row){.holder = holder};
	}
	return &owners->rows[*at];
}

static const char *holder_name(const struct ca_naming *naming, ca_node holder)
{
	const struct ca_type *type = ca_graph_type(naming->graph, holder);
	const char *name = ca_way_name(naming, holder);

	if (type && ca_type_is(type, "module"))
		return ca_arena_printf(naming->arena, "module %s", name);
	return name;
}

static void add_retained(struct ca_owners *owners, struct ca_map *index,
			 const struct ca_holders *holders, const struct ca_retained *retained,
			 ca_node node)
{
	ca_node above = retained->tree.parent[node];
	struct ca_owner_row *row;

	if (above == UINT32_MAX || (above && holders->holder[above] == holders->holder[node]))
		return;
	row = row_of(owners, index, holders->holder[node]);
	row->sums.retained_bytes += retained->bytes[node];
	row->sums.retained_objects += retained->objects[node];
}

void ca_owners_build(const struct ca_naming *naming, const struct ca_holders *holders,
		     const struct ca_retained *retained, struct ca_owners *owners)
{
	const struct ca_graph *graph = naming->graph;
	struct ca_map index = {0};

	*owners = (struct ca_owners){0};
	for (ca_node node = 1; node <= graph->object_count; node++) {
		struct ca_owner_row *row = row_of(owners, &index, holders->holder[node]);

		row->sums.count++;
		row->sums.bytes += ca_node_bytes(graph->objects, node);
		row->sums.owned += ca_node_owned(graph->objects, node);
		if (retained)
			add_retained(owners, &index, holders, retained, node);
	}
	for (size_t i = 0; i < owners->count; i++)
		owners->rows[i].sums.name = holder_name(naming, owners->rows[i].holder);
	ca_map_fini(&index);
}

void ca_owners_fini(struct ca_owners *owners)
{
	free(owners->rows);
	*owners = (struct ca_owners){0};
}
