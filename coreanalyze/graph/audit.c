/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * References found against references counted. What words may fill is filled in
 * order of preference; what nothing fills, C holds or has leaked.
 */
#include <stdlib.h>

#include "private.h"

/* ---- strong references found to each object ------------------------------ */

static void count_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct ca_builder *builder = arg;
	const struct ca_graph *graph = builder->graph;

	(void)worker;
	for (uint64_t i = 0; i < graph->edge_count; i++)
		if (graph->to[i] - begin < end - begin && graph->flags[i] & CA_EDGE_STRONG)
			builder->found[graph->to[i]]++;
}

static void count_found(struct ca_builder *builder)
{
	size_t nodes = builder->objects->count + 1ull;
	const struct ca_rooting *roots = &builder->roots;

	builder->found = ca_alloc(nodes * sizeof(*builder->found));
	ca_parallel(builder->ctx, nodes, (nodes + builder->ctx->threads - 1) / builder->ctx->threads,
		    count_range, builder);
	for (size_t i = 0; i < roots->edge_count; i++)
		builder->found[roots->to[i]]++;
}

/* ---- against the counts --------------------------------------------------- */

/* What one range of nodes has. */
struct part {
	struct ca_mismatch *items;
	size_t count, capacity;
	uint64_t checked;
};

struct comparison {
	struct ca_builder *builder;
	struct part *parts;
};

static uint32_t clamp(uint64_t number)
{
	return number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

static void compare_object(struct ca_builder *builder, struct part *part, ca_node node,
			   const uint8_t *head)
{
	const struct ca_layout *layout = &builder->objects->rt->layout;
	uint64_t counted, found = builder->found[node];

	if (!head || ca_object_is_immortal(layout, head))
		return;
	counted = ca_object_refcount(layout, head);
	/* Immortal in all but name: what is compiled in refers to it without being counted. */
	if (layout->c.static_refcount && counted > (uint64_t)layout->c.static_refcount / 2)
		return;
	part->checked++;
	if (counted == found)
		return;
	part->items = ca_grow(part->items, &part->capacity, part->count + 1, sizeof(*part->items));
	part->items[part->count++] = (struct ca_mismatch){
		.node = node,
		.excess = counted > found ? clamp(counted - found) : 0,
		.deficit = counted < found ? clamp(found - counted) : 0,
	};
}

static void compare_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct comparison *comparison = arg;
	struct ca_builder *builder = comparison->builder;
	struct part *part = &comparison->parts[begin / CA_SPAN_NODES];
	struct ca_cursor cursor;

	(void)worker;
	ca_cursor_seek(&cursor, builder->objects, (ca_node)begin + 1);
	for (size_t i = begin; i < end; i++, ca_cursor_next(&cursor))
		compare_object(builder, part, cursor.node,
			       ca_image_at(builder->objects->image, cursor.address, 16));
}

static void compare_all(struct ca_builder *builder)
{
	struct ca_audit *audit = &builder->graph->audit;
	struct comparison comparison = {builder,
					ca_alloc(builder->span_count * sizeof(*comparison.parts))};

	ca_parallel(builder->ctx, builder->objects->count, CA_SPAN_NODES, compare_range, &comparison);
	for (size_t i = 0; i < builder->span_count; i++)
		audit->count += comparison.parts[i].count;
	audit->items = ca_alloc((audit->count + 1) * sizeof(*audit->items));
	audit->count = 0;
	for (size_t i = 0; i < builder->span_count; i++) {
		struct part *part = &comparison.parts[i];

		if (part->count)
			memcpy(audit->items + audit->count, part->items, part->count * sizeof(*part->items));
		audit->count += part->count;
		audit->checked += part->checked;
		free(part->items);
	}
	free(comparison.parts);
}

/* ---- what fills an excess ------------------------------------------------- */

static struct ca_mismatch *mismatch_of(struct ca_audit *audit, ca_node node)
{
	size_t low = 0, high = audit->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (audit->items[middle].node < node)
			low = middle + 1;
		else
			high = middle;
	}
	return low < audit->count && audit->items[low].node == node ? &audit->items[low] : NULL;
}

bool ca_graph_take_missing(struct ca_builder *builder, ca_node node, bool of_static)
{
	struct ca_mismatch *mismatch = node ? mismatch_of(&builder->graph->audit, node) : NULL;

	if (!mismatch || !mismatch->excess)
		return false;
	mismatch->excess--;
	mismatch->statics += of_static;
	builder->found[node]++;
	return true;
}

void ca_graph_note_stack(struct ca_builder *builder, ca_node node, int32_t lwp)
{
	struct ca_mismatch *mismatch = node ? mismatch_of(&builder->graph->audit, node) : NULL;

	if (mismatch && mismatch->excess && !mismatch->lwp)
		mismatch->lwp = lwp;
}

static void give_to_c(struct ca_builder *builder)
{
	const struct ca_audit *audit = &builder->graph->audit;

	ca_root_begin(builder, CA_ROOT_C, "C code", 0);
	for (size_t i = 0; i < audit->count; i++)
		if (audit->items[i].excess && builder->found[audit->items[i].node])
			ca_root_add(builder, audit->items[i].node);
}

/* Keeps what does not fit, and what statics made fit. */
static void sum_up(struct ca_audit *audit)
{
	size_t kept = 0;

	audit->explained = audit->explained_without_static = audit->checked;
	for (size_t i = 0; i < audit->count; i++) {
		const struct ca_mismatch *item = &audit->items[i];

		audit->explained -= item->excess || item->deficit;
		audit->explained_without_static -= item->excess || item->deficit || item->statics;
		if (item->excess || item->deficit || item->statics)
			audit->items[kept++] = *item;
	}
	audit->count = kept;
}

void ca_graph_audit(struct ca_builder *builder)
{
	count_found(builder);
	compare_all(builder);
	ca_graph_fill(builder);
	give_to_c(builder);
	sum_up(&builder->graph->audit);
}
