/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where a leak most likely is: the places below which much of the heap hangs.
 *
 * A place is where many objects of one type are held: each of them goes to its
 * dominator, or where that is no object of the program's (several things hold
 * it, one way or another) to what holds it on its way. What retains much and
 * branches nowhere, a chain or one huge buffer, is a place of its own.
 */
#include <stdlib.h>

#include "analysis.h"

enum { LEAST_CHILDREN = 100, LEAST_BYTES = 128 << 10, LEAST_PERCENT = 4, CHAIN_PERCENT = 15 };

struct search {
	const struct ca_naming *naming;
	const struct ca_graph *graph;
	const struct ca_ways *ways;
	const struct ca_retained *retained;
	uint32_t *children; /* [node_count]: objects that the node is the place of */
	struct ca_map index; /* node and type row -> group */
	struct group *groups;
	size_t count, capacity;
};

/* Objects of one type at one place. */
struct group {
	ca_node place;
	uint32_t type;      /* index of a type object */
	uint64_t count, bytes, retained, largest;
};

static bool is_object(const struct search *s, ca_node node)
{
	return node && !ca_node_is_root(s->graph, node);
}

static ca_node place_of(const struct search *s, ca_node node)
{
	ca_node above = s->retained->tree.parent[node];

	if (above == UINT32_MAX || ca_ways_is_space(s->ways, node))
		return 0;
	if (is_object(s, above) && !ca_ways_is_space(s->ways, above))
		return above;
	above = s->ways->parent[node];
	return above != UINT32_MAX && is_object(s, above) && !ca_ways_is_space(s->ways, above) ? above : 0;
}

static void count_children(struct search *s)
{
	for (ca_node node = 1; node <= s->graph->object_count; node++)
		s->children[place_of(s, node)]++;
}

static void add_to_group(struct search *s, ca_node place, ca_node node)
{
	const struct ca_objects *objects = s->graph->objects;
	uint32_t type = ca_node_type(objects, node);
	bool fresh;
	uint64_t *at = ca_map_add(&s->index, (uint64_t)place << 32 | type, &fresh);

	if (fresh) {
		s->groups = ca_grow(s->groups, &s->capacity, s->count + 1, sizeof(*s->groups));
		*at = s->count;
		s->groups[s->count++] = (struct group){.place = place, .type = type};
	}

	struct group *group = &s->groups[*at];

	group->count++;
	group->bytes += ca_node_bytes(objects, node) + ca_node_owned(objects, node);
	group->retained += s->retained->bytes[node];
	if (s->retained->bytes[node] > group->largest)
		group->largest = s->retained->bytes[node];
}

static void find_groups(struct search *s)
{
	count_children(s);
	for (ca_node node = 1; node <= s->graph->object_count; node++) {
		ca_node place = place_of(s, node);

		if (place && s->children[place] >= LEAST_CHILDREN)
			add_to_group(s, place, node);
	}
}

/* ---- what is no suspect ------------------------------------------------------------- */

/* The program's text and the import system's tables are large by nature. */
static bool is_code_type(const struct ca_objects *objects, uint32_t type)
{
	static const char *const names[] = {
		"builtins.code", "builtins.getset_descriptor", "builtins.member_descriptor",
		"builtins.method_descriptor", "builtins.wrapper_descriptor", "builtins.type",
		"builtins.builtin_function_or_method", "builtins.module", "abc.ABCMeta",
	};

	for (size_t i = 0; i < CA_COUNT(names); i++)
		if (strcmp(objects->types[type].name, names[i]) == 0)
			return true;
	return false;
}

/* The namespace of a class, or a class itself: methods and descriptors are in there. */
static bool is_class_body(const struct search *s, ca_node place)
{
	return ca_node_is_class(s->graph, place) ||
	       (ca_node_is_class(s->graph, s->ways->parent[place]) &&
		ca_way_is_namespace(s->naming, place));
}

static bool is_machinery(const struct search *s, ca_node place)
{
	static const char *const names[] = {
		"sys.", "builtins.", "_frozen_importlib", "importlib.", "interpreter.", "zipimport.",
		"_imp.", "linecache.cache", "encodings.", "static ", "interned ",
	};
	const char *name;
	ca_node at = place;

	while (s->ways->parent[at] && !ca_node_is_root(s->graph, at))
		at = s->ways->parent[at];
	if (ca_node_is_root(s->graph, at)) {
		enum ca_root_kind kind = ca_graph_root(s->graph, at)->kind;

		if (kind == CA_ROOT_RUNTIME || kind == CA_ROOT_INTERNED)
			return true;
	}
	name = ca_way_name(s->naming, place);
	if (strncmp(name, "interpreter.gc.", strlen("interpreter.gc.")) == 0)
		return false;
	for (size_t i = 0; i < CA_COUNT(names); i++)
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* ---- places -------------------------------------------------------------------------- */

static uint64_t part_of_heap(const struct search *s, unsigned percent)
{
	uint64_t part = s->retained->bytes[0] / 100 * percent;

	return part > LEAST_BYTES ? part : LEAST_BYTES;
}

static int by_retained(const void *a, const void *b)
{
	const struct ca_suspect *x = a, *y = b;

	if (x->retained_bytes != y->retained_bytes)
		return x->retained_bytes < y->retained_bytes ? 1 : -1;
	return (x->place > y->place) - (x->place < y->place);
}

struct list {
	struct ca_suspect *items;
	size_t count, capacity;
};

static bool is_builtin(const struct ca_objects *objects, uint32_t type)
{
	return strncmp(objects->types[type].name, "builtins.", strlen("builtins.")) == 0;
}

/* Of the types at one place the one with most bytes; a class of the program's rather than its keys. */
static bool is_better(const struct ca_objects *objects, const struct group *a, const struct group *b)
{
	if (is_builtin(objects, a->type) != is_builtin(objects, b->type))
		return is_builtin(objects, b->type) ? a->count >= b->count / 2 : b->count < a->count / 2;
	return a->retained > b->retained;
}

static int by_place(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return (x->type > y->type) - (x->type < y->type);
}

static void add_place(struct search *s, struct list *list, const struct group *groups, size_t count)
{
	const struct ca_objects *objects = s->graph->objects;
	const struct group *best = NULL;
	uint64_t held = 0, spread = 0, whole = s->retained->bytes[groups->place];

	for (size_t i = 0; i < count; i++) {
		if (groups[i].count < LEAST_CHILDREN || is_code_type(objects, groups[i].type))
			continue;
		held += groups[i].retained;
		/* Where one has nearly all, the place is further inside. */
		spread += groups[i].retained - groups[i].largest;
		if (!best || is_better(objects, &groups[i], best))
			best = &groups[i];
	}
	if (!best || spread < part_of_heap(s, LEAST_PERCENT) || is_class_body(s, groups->place) ||
	    is_machinery(s, groups->place))
		return;
	list->items = ca_grow(list->items, &list->capacity, list->count + 1, sizeof(*list->items));
	list->items[list->count++] = (struct ca_suspect){
		.place = groups->place,
		.retained_bytes = held > whole ? held : whole,
		.type = objects->types[best->type].name,
		.count = best->count,
		.bytes = best->retained,
	};
}

static void find_places(struct search *s, struct list *list)
{
	if (s->count)
		qsort(s->groups, s->count, sizeof(*s->groups), by_place);
	for (size_t i = 0, end; i < s->count; i = end) {
		for (end = i + 1; end < s->count && s->groups[end].place == s->groups[i].place; end++)
			;
		add_place(s, list, s->groups + i, end - i);
	}
}

/* ---- chains and single large objects --------------------------------------------------- */

static bool is_inside(const struct search *s, ca_node node, ca_node place)
{
	while (node && node != place)
		node = s->retained->tree.parent[node];
	return node == place;
}

/* What most of an object's dominated bytes are. */
static void find_contents(const struct search *s, ca_node top, struct ca_suspect *suspect)
{
	const struct ca_dominators *tree = &s->retained->tree;
	const struct ca_objects *objects = s->graph->objects;
	uint64_t *inside = ca_alloc((s->graph->node_count / 64 + 1) * sizeof(*inside));
	struct group *by_type = ca_alloc((objects->type_count + 1) * sizeof(*by_type));
	struct group *best = NULL;

	for (uint32_t i = 1; i < tree->reached; i++) {
		ca_node node = tree->order[i], parent = tree->parent[node];
		struct group *group;

		if (node != top && !(inside[parent / 64] >> parent % 64 & 1))
			continue;
		inside[node / 64] |= 1ull << node % 64;
		if (ca_node_is_root(s->graph, node))
			continue;
		group = &by_type[ca_node_type(objects, node)];
		group->type = ca_node_type(objects, node);
		group->count++;
		group->retained = group->bytes += ca_node_bytes(objects, node) + ca_node_owned(objects, node);
		if (!best || is_better(objects, group, best))
			best = group;
	}
	suspect->type = objects->types[best->type].name;
	suspect->count = best->count;
	suspect->bytes = best->bytes;
	free(inside);
	free(by_type);
}

static void try_top(struct search *s, struct list *list, size_t places, ca_node node)
{
	uint64_t covered = 0;

	if (s->retained->bytes[node] < part_of_heap(s, CHAIN_PERCENT) ||
	    ca_node_is_class(s->graph, node) || is_machinery(s, node))
		return;
	for (size_t i = 0; i < places; i++)
		if (is_inside(s, list->items[i].place, node))
			covered += list->items[i].retained_bytes;
	if (covered >= s->retained->bytes[node] / 2)
		return;
	list->items = ca_grow(list->items, &list->capacity, list->count + 1, sizeof(*list->items));
	list->items[list->count] = (struct ca_suspect){
		.place = node, .retained_bytes = s->retained->bytes[node], .spread = true};
	find_contents(s, node, &list->items[list->count++]);
}

static void find_chains(struct search *s, struct list *list)
{
	size_t places = list->count;

	for (ca_node node = 1; node <= s->graph->object_count; node++)
		if (ca_retained_is_top(s->graph, s->retained, s->ways, node))
			try_top(s, list, places, node);
}

/* Garbage that waits, and objects that nothing refers to, are nobody's. */
static void find_unheld(struct search *s, struct list *list)
{
	for (uint32_t i = 0; i < s->graph->root_count; i++) {
		ca_node root = s->graph->object_count + 1 + i;
		enum ca_root_kind kind = s->graph->roots[i].kind;

		if ((kind != CA_ROOT_UNREACHABLE && kind != CA_ROOT_LEAKED) ||
		    s->retained->tree.parent[root] == UINT32_MAX ||
		    s->retained->bytes[root] < part_of_heap(s, LEAST_PERCENT))
			continue;
		list->items = ca_grow(list->items, &list->capacity, list->count + 1, sizeof(*list->items));
		list->items[list->count] = (struct ca_suspect){
			.place = root, .retained_bytes = s->retained->bytes[root], .spread = true};
		find_contents(s, root, &list->items[list->count++]);
	}
}

/* One that is inside another one, and most of it, is the same suspect told twice. */
static void drop_nested(const struct search *s, struct list *list)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		bool nested = false;

		for (size_t k = 0; k < kept && !nested; k++)
			nested = is_inside(s, list->items[i].place, list->items[k].place) ||
				 is_inside(s, list->items[k].place, list->items[i].place);
		if (!nested)
			list->items[kept++] = list->items[i];
	}
	list->count = kept;
}

size_t ca_suspects_find(const struct ca_naming *naming, const struct ca_retained *retained,
			struct ca_suspect suspects[CA_MOST_SUSPECTS])
{
	struct search s = {.naming = naming, .graph = naming->graph, .ways = naming->ways,
			   .retained = retained};
	struct list list = {0};
	size_t count;

	s.children = ca_alloc(s.graph->node_count * sizeof(*s.children));
	find_groups(&s);
	find_places(&s, &list);
	find_chains(&s, &list);
	find_unheld(&s, &list);
	if (list.count)
		qsort(list.items, list.count, sizeof(*list.items), by_retained);
	drop_nested(&s, &list);
	count = list.count < CA_MOST_SUSPECTS ? list.count : CA_MOST_SUSPECTS;
	for (size_t i = 0; i < count; i++) {
		suspects[i] = list.items[i];
		suspects[i].owner = ca_way_name(naming, suspects[i].place);
		suspects[i].share = retained->bytes[0] ? (double)suspects[i].retained_bytes /
								 (double)retained->bytes[0]
						       : 0;
	}
	free(list.items);
	free(s.children);
	free(s.groups);
	ca_map_fini(&s.index);
	return count;
}
