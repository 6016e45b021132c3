/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What an object is called by way of who holds it: the nearest module, class,
 * function or frame above it has a name of its own, what follows is the way down.
 */
#include <ctype.h>
#include <stdlib.h>

#include "analysis.h"

/* A longer way keeps its beginning: what follows is a chain of links. */
enum { MOST_STEPS = 16 };

static bool is_module(const struct ca_graph *graph, ca_node node)
{
	const struct ca_type *type = ca_graph_type(graph, node);

	return type && ca_type_is(type, "module");
}

static const char *type_name(const struct ca_graph *graph, ca_node node)
{
	return graph->objects ? graph->objects->types[ca_node_type(graph->objects, node)].name : "";
}

static const char *own_name(const struct ca_naming *naming, ca_node node)
{
	const struct ca_graph *graph = naming->graph;
	struct ca_object object;

	if (!is_module(graph, node) && !ca_node_is_class(graph, node) &&
	    strcmp(type_name(graph, node), "builtins.function") != 0)
		return NULL;
	if (!ca_object_read(naming->reader, ca_objects_address(graph->objects, node), &object))
		return NULL;
	return ca_object_name(naming->reader, &object, naming->arena);
}

static const char *root_name(const struct ca_naming *naming, ca_node node)
{
	const struct ca_root *root = ca_graph_root(naming->graph, node);

	switch (root->kind) {
	case CA_ROOT_INTERPRETER:
		if (strncmp(root->name, "modules", strlen("modules")) == 0 && !isalnum((unsigned char)root->name[7]) &&
		    root->name[7] != '_')
			return "sys.modules";
		return ca_arena_printf(naming->arena, "interpreter.%s", root->name);
	case CA_ROOT_THREAD:
		return ca_arena_printf(naming->arena, "thread.%s", root->name);
	default:
		return root->name;
	}
}

/* What a name begins with: NULL where it begins further up. */
static const char *first_name(const struct ca_naming *naming, ca_node node)
{
	if (!node)
		return "everything";
	if (ca_node_is_root(naming->graph, node))
		return root_name(naming, node);
	return own_name(naming, node);
}

static bool is_identifier(const char *text, size_t length)
{
	if (!length || isdigit((unsigned char)*text))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && text[i] != '_')
			return false;
	return true;
}

/* ['name'] of a module's, a class's or an instance's dict is .name. */
static const char *as_attribute(const struct ca_naming *naming, const char *label)
{
	size_t length = strlen(label);

	if (length < 5 || strncmp(label, "['", 2) != 0 || strcmp(label + length - 2, "']") != 0 ||
	    !is_identifier(label + 2, length - 4))
		return label;
	return ca_arena_printf(naming->arena, ".%.*s", (int)length - 4, label + 2);
}

bool ca_way_is_namespace(const struct ca_naming *naming, ca_node node)
{
	const struct ca_graph *graph = naming->graph;
	const struct ca_type *type = ca_graph_type(graph, node);
	ca_node parent = naming->ways->parent[node];

	if (!type || !(type->flags & CA_TPFLAGS_DICT_SUBCLASS))
		return false;
	if (ca_ways_is_space(naming->ways, node))
		return is_module(graph, parent);
	if (ca_node_is_class(graph, parent))
		return ca_type_dict(naming->reader, ca_objects_address(graph->objects, parent)) ==
		       ca_objects_address(graph->objects, node);
	return strcmp(ca_way_label(naming, node), ".__dict__") == 0;
}

/* A name so far: what is below a local goes before its place. */
struct name {
	const char *text, *place;
};

static const char *whole(const struct ca_naming *naming, const struct name *name)
{
	return *name->place ? ca_arena_printf(naming->arena, "%s%s", name->text, name->place) : name->text;
}

static const char of_local[] = CA_LABEL_LOCAL, of_stack[] = CA_LABEL_STACK;

/* "local 'x' in f() at app.py:12", "evaluation stack of f() at app.py:12": of a frame that runs, or that something holds. */
static bool is_frame_label(const char *label)
{
	return strncmp(label, of_local, strlen(of_local)) == 0 || strncmp(label, of_stack, strlen(of_stack)) == 0;
}

static struct name frame_name(const struct ca_naming *naming, const struct name *frame, const char *label)
{
	enum { WORD = sizeof(" in ") - 1 };
	bool is_local = *label == *of_local;
	const char *text = label + (is_local ? strlen(of_local) : 0);
	const char *end = is_local ? strchr(text, '\'') : strstr(text, " of ");
	const char *place = end && is_local ? strstr(end, " in ") : end;
	const char *holder = whole(naming, frame);
	int length = end ? (int)(end - text) : (int)strlen(text);
	struct name name = {ca_arena_printf(naming->arena, "%.*s", length, text), NULL};

	if (!place || strncmp(holder, place + WORD, strlen(place + WORD)) == 0)
		name.place = ca_arena_printf(naming->arena, "%.*s%s", WORD, place ? place : " in ", holder);
	else
		name.place = ca_arena_printf(naming->arena, "%s of %s", place, holder);
	return name;
}

/* Where a label is missing, the type must do. */
static const char *extend(const struct ca_naming *naming, const char *name, const char *label,
			  ca_node node)
{
	const char *type;

	if (*label == '.' || *label == '[')
		return ca_arena_printf(naming->arena, "%s%s", name, label);
	if (*label && *label != '(')
		return ca_arena_printf(naming->arena, "%s (%s)", name, label);
	if (ca_node_is_root(naming->graph, naming->ways->parent[node]))
		return name;
	type = strrchr(type_name(naming->graph, node), '.');
	return ca_arena_printf(naming->arena, "%s.<%s>", name,
			       type ? type + 1 : type_name(naming->graph, node));
}

const char *ca_way_label(const struct ca_naming *naming, ca_node node)
{
	const struct ca_ways *ways = naming->ways;
	ca_node parent = ways->parent[node];

	if (!naming->graph->objects || !node || !parent)
		return "";
	return ca_edge_label(naming->graph, naming->reader, parent, ways->edge[node], naming->redact,
			     naming->arena);
}

/* The parts of a way that are shown: steps[count - 1] is where its name begins. */
static size_t steps_of(const struct ca_naming *naming, ca_node node, ca_node steps[MOST_STEPS + 1],
		       const char **name, bool *cut)
{
	const struct ca_ways *ways = naming->ways;
	size_t length = 0, from = 0;
	ca_node at;

	for (at = node; !(*name = first_name(naming, at)); at = ways->parent[at])
		length++;
	*cut = length > MOST_STEPS;
	for (at = node; length - from > MOST_STEPS; at = ways->parent[at])
		from++;
	for (size_t i = 0; i <= length - from; i++, at = ways->parent[at])
		steps[i] = at;
	return length - from + 1;
}

/* A node of a context's map: one looks a variable up in the context. */
static bool is_map_node(const struct ca_naming *naming, ca_node node)
{
	static const char prefix[] = "builtins.hamt";

	return !ca_node_is_root(naming->graph, node) &&
	       strncmp(type_name(naming->graph, node), prefix, strlen(prefix)) == 0;
}

/* "thread.context, thread 4711": what follows goes before the thread. */
static struct name begin(const struct ca_naming *naming, const char *text, ca_node node)
{
	const char *thread = strstr(text, ", thread ");

	if (!thread || !ca_node_is_root(naming->graph, node) ||
	    ca_graph_root(naming->graph, node)->kind != CA_ROOT_THREAD)
		return (struct name){text, ""};
	return (struct name){ca_arena_printf(naming->arena, "%.*s", (int)(thread - text), text), thread};
}

const char *ca_way_name(const struct ca_naming *naming, ca_node node)
{
	ca_node steps[MOST_STEPS + 1];
	const char *first;
	struct name name;
	bool cut, in_namespace = false;
	size_t count;

	if (naming->ways->parent[node] == UINT32_MAX)
		return "nothing";
	count = steps_of(naming, node, steps, &first, &cut);
	name = begin(naming, first, steps[count - 1]);
	for (size_t i = count - 1; i-- > 0;) {
		if (i > 0 && is_map_node(naming, steps[i]))
			continue;

		const char *label = ca_way_label(naming, steps[i]);
		bool opens = ca_way_is_namespace(naming, steps[i]);

		/* A dict is only spelled out where it is what is asked for. */
		if (opens && i == 0)
			name.text = extend(naming, name.text, ".__dict__", steps[i]);
		else if (!opens && is_frame_label(label))
			name = frame_name(naming, &name, label);
		else if (!opens)
			name.text = extend(naming, name.text,
					   in_namespace ? as_attribute(naming, label) : label, steps[i]);
		in_namespace = opens;
	}
	if (cut)
		name.text = ca_arena_printf(naming->arena, "%s...", name.text);
	return whole(naming, &name);
}
