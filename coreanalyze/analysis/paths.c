/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The ways to a set of objects, folded: what one container holds many of is one
 * step, and so is what leads on from these by the same attributes to the same
 * types, and a chain of links. A fold is a tree of groups, each of one node or of many alike.
 */
#include <stdlib.h>

#include "analysis.h"

/* So many of one parent are shown one by one; edges of larger nodes are not named in a group. */
enum { FEW = 4, WIDE = 64 };

struct folding {
	const struct ca_naming *naming;
	const struct ca_graph *graph;
	const struct ca_ways *ways;
	uint32_t *below;    /* [node_count]: targets in the subtree of ways */
	uint32_t *kids;     /* [node_count]: children with targets in theirs */
	uint32_t *group;    /* [node_count]: of nodes with targets below */
	struct ca_map index; /* (group, type, label) -> group */
	struct ca_paths *paths;
};

static uint32_t add_group(struct folding *f, uint32_t parent, ca_node node, const char *via,
			  bool many)
{
	struct ca_paths *paths = f->paths;

	paths->groups = ca_grow(paths->groups, &paths->capacity, paths->count + 1,
				sizeof(*paths->groups));
	paths->groups[paths->count] = (struct ca_path_group){parent, node, 0, 0, via, many};
	return (uint32_t)paths->count++;
}

static uint64_t hash_text(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3;
	return hash;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	a = (a ^ b) * 0x9e3779b97f4a7c15;
	return a ^ a >> 29;
}

/* Of an attribute, its name; of an element, that it is one. */
static const char *label_in_group(const struct folding *f, ca_node node)
{
	ca_node parent = f->ways->parent[node];
	struct ca_edges out = ca_graph_out(f->graph, parent);
	const char *label = out.count > WIDE ? "[*]" : ca_way_label(f->naming, node);

	return *label == '[' ? "[*]" : label;
}

static uint32_t fold_into_group(struct folding *f, ca_node node, uint32_t parent)
{
	const struct ca_objects *objects = f->graph->objects;
	const char *via = label_in_group(f, node);
	const char *type = objects ? objects->types[ca_node_type(objects, node)].name : "";
	bool fresh;
	uint64_t *at = ca_map_add(&f->index, mix(mix(parent, hash_text(type)), hash_text(via)), &fresh);

	if (fresh)
		*at = add_group(f, parent, node, via, true);
	return (uint32_t)*at;
}

static bool stands_alone(const struct folding *f, ca_node node)
{
	ca_node parent = f->ways->parent[node];

	return ca_ways_is_space(f->ways, parent) || ca_node_is_root(f->graph, parent) ||
	       (!f->paths->groups[f->group[parent]].many && f->kids[parent] <= FEW);
}

static uint32_t group_of(struct folding *f, ca_node node)
{
	uint32_t parent = f->group[f->ways->parent[node]];
	ca_node link = ca_ways_link(f->graph, f->ways, node);

	if (link) {
		f->paths->groups[f->group[link]].many = true;
		return f->group[link];
	}
	if (stands_alone(f, node))
		return add_group(f, parent, node, ca_way_label(f->naming, node), false);
	return fold_into_group(f, node, parent);
}

static void fold(struct folding *f)
{
	add_group(f, 0, 0, "", false);
	for (uint32_t i = 1; i < f->ways->reached; i++) {
		ca_node node = f->ways->order[i];

		if (!f->below[node])
			continue;
		f->group[node] = group_of(f, node);
		f->paths->groups[f->group[node]].nodes++;
	}
}

static void count_below(struct folding *f)
{
	for (uint32_t i = f->ways->reached; i-- > 1;) {
		ca_node node = f->ways->order[i], parent = f->ways->parent[node];

		f->below[parent] += f->below[node];
		f->kids[parent] += f->below[node] != 0;
	}
}

/* A group that got no second node is that node, with its own name. */
static void unfold_single(struct folding *f)
{
	struct ca_paths *paths = f->paths;

	for (size_t i = 1; i < paths->count; i++) {
		if (!paths->groups[i].many || paths->groups[i].nodes > 1)
			continue;
		paths->groups[i].many = false;
		paths->groups[i].via = ca_way_label(f->naming, paths->groups[i].node);
	}
}

void ca_paths_build(const struct ca_naming *naming, const ca_node *targets, size_t count,
		    struct ca_paths *paths)
{
	const struct ca_graph *graph = naming->graph;
	struct folding f = {.naming = naming, .graph = graph, .ways = naming->ways, .paths = paths};

	*paths = (struct ca_paths){0};
	f.below = ca_alloc(graph->node_count * sizeof(*f.below));
	f.kids = ca_alloc(graph->node_count * sizeof(*f.kids));
	f.group = ca_alloc(graph->node_count * sizeof(*f.group));
	for (size_t i = 0; i < count; i++)
		f.below[targets[i]] = 1;
	count_below(&f);
	fold(&f);
	for (size_t i = 0; i < count; i++) {
		if (naming->ways->parent[targets[i]] == UINT32_MAX)
			paths->unheld++;
		else if (!paths->groups[f.group[targets[i]]].targets++)
			paths->groups[f.group[targets[i]]].node = targets[i];
	}
	unfold_single(&f);
	free(f.below);
	free(f.kids);
	free(f.group);
	ca_map_fini(&f.index);
}

void ca_paths_fini(struct ca_paths *paths)
{
	free(paths->groups);
	*paths = (struct ca_paths){0};
}
