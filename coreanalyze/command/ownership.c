/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How the ways to objects are shown. */
#include <stdlib.h>
#include <string.h>

#include "owners.h"

enum { TEXT_PATHS = 10, JSON_PATHS = 100, MOST_WEAK = 100 };
/* Of a longer way, so many steps at its either end are shown. */
enum { SHOWN_STEPS = 24 };

/* What holds the one before it. */
struct step {
	ca_node node;
	uint32_t nodes;  /* more than one: many alike */
	const char *via;
	bool many;
	bool detour;     /* its place on the way is another than its name says */
};

struct path {
	ca_node target;
	uint64_t count;
	struct step *steps; /* from the target's holder up; roots last */
	size_t step_count, capacity;
};

static const char *type_of(const struct ca_owners_view *v, ca_node node)
{
	return v->objects->types[ca_node_type(v->objects, node)].name;
}

static void add_step(struct path *path, struct step step)
{
	path->steps = ca_grow(path->steps, &path->capacity, path->step_count + 1, sizeof(*path->steps));
	path->steps[path->step_count++] = step;
}

static struct path path_of_group(const struct ca_paths *paths, uint32_t group)
{
	struct path path = {.target = paths->groups[group].node, .count = paths->groups[group].targets};

	while (group) {
		uint32_t parent = paths->groups[group].parent;
		const struct ca_path_group *holder = &paths->groups[parent];

		if (parent)
			add_step(&path, (struct step){holder->node, holder->nodes, paths->groups[group].via,
						      holder->many, false});
		group = parent;
	}
	return path;
}

/* Its label where an edge leads to the node. */
static const char *label_between(const struct ca_owners_view *v, ca_node from, ca_node to)
{
	struct ca_edges out = ca_graph_out(v->graph, from);

	for (uint64_t i = 0; i < out.count; i++)
		if (out.nodes[i] == to)
			return ca_edge_label(v->graph, v->naming.reader, from, i, v->request->redact,
					     v->naming.arena);
	return "";
}

static void add_way(const struct ca_owners_view *v, struct path *path, ca_node node, ca_node end,
		    bool detour)
{
	for (; node != end && v->ways.parent[node]; node = v->ways.parent[node])
		add_step(path, (struct step){v->ways.parent[node], 1, ca_way_label(&v->naming, node), false,
					     detour});
}

static struct path path_of_detour(const struct ca_owners_view *v, ca_node target,
				  const struct ca_detour *detour)
{
	struct path path = {.target = target, .count = 1};

	add_way(v, &path, target, detour->node, true);
	add_step(&path, (struct step){detour->referrer, 1,
				      label_between(v, detour->referrer, detour->node), false, false});
	add_way(v, &path, detour->referrer, 0, false);
	return path;
}

/* ---- the root, as a person calls it ------------------------------------------------ */

/* The step next to the roots and modules: the first thing that the program made. */
static size_t topmost(const struct ca_owners_view *v, const struct path *path)
{
	size_t top = path->step_count;

	while (top > 0 && (ca_node_is_root(v->graph, path->steps[top - 1].node) ||
			   ca_ways_is_space(&v->ways, path->steps[top - 1].node)))
		top--;
	return top;
}

static ca_node node_at(const struct path *path, size_t place)
{
	return place ? path->steps[place - 1].node : path->target;
}

static const char *kind_of_global(const struct ca_owners_view *v, const struct path *path, size_t top,
				  size_t *named)
{
	ca_node node = node_at(path, top);
	const char *via = top ? path->steps[top - 1].via : "";

	if (ca_node_is_class(v->graph, node) && top >= 2 && ca_way_is_namespace(&v->naming, node_at(path, top - 1))) {
		*named = top - 2;
		return "class attribute";
	}
	if (strcmp(type_of(v, node), "builtins.function") == 0) {
		if (strncmp(via, ".__closure__", 12) == 0)
			return "closure";
		if (strncmp(via, ".__defaults__", 13) == 0 || strncmp(via, ".__kwdefaults__", 15) == 0)
			return "function default";
	}
	return "module global";
}

static void find_root(const struct ca_owners_view *v, const struct path *path, const char **kind,
		      const char **name)
{
	size_t top = topmost(v, path), named = top;
	ca_node above = top < path->step_count ? path->steps[top].node : 0;

	if (v->ways.parent[path->target] == UINT32_MAX) {
		*kind = *name = NULL;
		return;
	}
	if (ca_ways_is_space(&v->ways, node_at(path, top))) {
		*kind = "module";
	} else if (ca_ways_is_space(&v->ways, above)) {
		*kind = kind_of_global(v, path, top, &named);
	} else if (named && strcmp(type_of(v, node_at(path, named)), "builtins.frame") == 0) {
		*kind = ca_root_kind_name(CA_ROOT_FRAME);
		named--;
	} else {
		*kind = ca_root_kind_name(ca_graph_root(v->graph, above)->kind);
	}
	*name = ca_way_name(&v->naming, node_at(path, named));
}

/* The last on the way from the root that is one thing and no group of many. */
static const char *owner_of(const struct ca_owners_view *v, const struct path *path)
{
	size_t at = path->step_count;

	while (at > 0 && !path->steps[at - 1].many)
		at--;
	if (at == path->step_count)
		return ca_way_name(&v->naming, path->target);
	/* Names are of the ways' own; a detour's begins above it. */
	while (at < path->step_count - 1 && path->steps[at].detour)
		at++;
	return ca_way_name(&v->naming, path->steps[at].node);
}

/* ---- one path -------------------------------------------------------------------- */

static const char *name_of(const struct ca_owners_view *v, const struct step *step)
{
	return step->many || step->detour ? NULL : ca_way_name(&v->naming, step->node);
}

static void put_step(const struct ca_owners_view *v, struct ca_writer *w, const struct step *step)
{
	ca_object_begin(w, NULL);
	ca_put_addr(w, "address", ca_objects_address(v->objects, step->node));
	ca_put_string(w, "type", type_of(v, step->node));
	ca_put_string(w, "via", step->via);
	ca_put_string(w, "name", name_of(v, step));
	ca_put_uint(w, "count", step->nodes);
	ca_object_end(w);
}

static bool is_left_out(const struct path *path, size_t i)
{
	return i >= SHOWN_STEPS && i + SHOWN_STEPS < path->step_count;
}

static bool read_length(const struct ca_owners_view *v, ca_node node, uint64_t *length)
{
	struct ca_object object;

	return ca_object_read(v->naming.reader, ca_objects_address(v->objects, node), &object) &&
	       ca_object_length(v->naming.reader, &object, length);
}

static bool is_module(const struct ca_owners_view *v, ca_node node)
{
	return ca_type_is(ca_graph_type(v->graph, node), "module");
}

static void say_step(const struct ca_owners_view *v, struct ca_writer *w, const struct step *step,
		     int depth)
{
	const char *name = name_of(v, step);
	char length_text[48] = "";
	uint64_t length;

	if (ca_ways_is_space(&v->ways, step->node)) {
		if (is_module(v, step->node))
			ca_line(w, "%*s<- module %s", depth * 2, "", name);
		return;
	}
	if (step->many) {
		ca_line(w, "%*s<- %s%s%s x %s", depth * 2, "", step->via, *step->via ? " of " : "",
			ca_grouped(step->nodes).text, type_of(v, step->node));
		return;
	}
	if (read_length(v, step->node, &length))
		snprintf(length_text, sizeof(length_text), ", %s long", ca_grouped(length).text);
	ca_line(w, "%*s<- %s%s%s%s%s%s (0x%llx)", depth * 2, "", step->via, *step->via ? " of " : "",
		type_of(v, step->node),
		name ? " " : "", name ? name : "", length_text,
		(unsigned long long)ca_objects_address(v->objects, step->node));
}

static void say_path(const struct ca_owners_view *v, struct ca_writer *w, const struct path *path,
		     const char *kind, const char *name, const char *owner)
{
	int depth = 1;

	if (path->count > 1)
		ca_title(w, "%s x %s, held by %s", ca_grouped(path->count).text, type_of(v, path->target),
			 owner);
	else
		ca_title(w, "0x%llx  %s, held by %s",
			 (unsigned long long)ca_objects_address(v->objects, path->target),
			 type_of(v, path->target), owner);
	for (size_t i = 0; i < path->step_count; i++) {
		const struct step *step = &path->steps[i];

		if (is_left_out(path, i)) {
			if (!is_left_out(path, i - 1))
				ca_line(w, "%*s... %s steps more", depth++ * 2, "",
					ca_grouped(path->step_count - 2 * SHOWN_STEPS).text);
			continue;
		}
		if (ca_node_is_root(v->graph, step->node))
			continue;
		say_step(v, w, step, depth);
		depth += !ca_ways_is_space(&v->ways, step->node);
	}
	if (kind)
		ca_line(w, "%*s<- %s %s", depth * 2, "", kind, name);
}

static void put_path(const struct ca_owners_view *v, struct ca_writer *w, const struct path *path)
{
	const char *kind, *name, *owner = owner_of(v, path);
	uint64_t omitted = 0;

	find_root(v, path, &kind, &name);
	ca_object_begin(w, NULL);
	ca_put_addr(w, "address", ca_objects_address(v->objects, path->target));
	ca_put_string(w, "type", type_of(v, path->target));
	ca_put_uint(w, "count", path->count);
	ca_put_string(w, "owner", owner);
	ca_object_begin(w, "root");
	ca_put_string(w, "kind", kind);
	ca_put_string(w, "name", name);
	ca_object_end(w);
	ca_list_begin(w, "steps");
	for (size_t i = 0; i < path->step_count; i++) {
		omitted += is_left_out(path, i);
		if (!is_left_out(path, i) && !ca_node_is_root(v->graph, path->steps[i].node))
			put_step(v, w, &path->steps[i]);
	}
	ca_list_end(w);
	ca_put_uint(w, "steps_omitted", omitted);
	ca_object_end(w);
	say_path(v, w, path, kind, name, owner);
}

/* ---- all of them ------------------------------------------------------------------ */

struct list {
	struct path *items;
	size_t count, capacity;
};

static void add_path(struct list *list, struct path path)
{
	list->items = ca_grow(list->items, &list->capacity, list->count + 1, sizeof(*list->items));
	list->items[list->count++] = path;
}

static int by_count(const void *a, const void *b)
{
	const struct path *x = a, *y = b;

	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return (x->target > y->target) - (x->target < y->target);
}

static void add_detours(const struct ca_owners_view *v, struct list *list, ca_node target)
{
	struct ca_detours detours;
	size_t most = (size_t)v->own->paths - 1;

	ca_detours_find(v->graph, &v->ways, target, &detours);
	for (size_t i = 0; i < detours.count && i < most; i++)
		add_path(list, path_of_detour(v, target, &detours.items[i]));
	ca_detours_fini(&detours);
}

static struct list list_paths(const struct ca_owners_view *v, const struct ca_paths *paths)
{
	struct list list = {0};

	for (uint32_t i = 1; i < paths->count; i++)
		if (paths->groups[i].targets)
			add_path(&list, path_of_group(paths, i));
	if (list.count)
		qsort(list.items, list.count, sizeof(*list.items), by_count);
	for (size_t i = 0, shortest = list.count; v->own->paths > 1 && i < shortest; i++)
		add_detours(v, &list, list.items[i].target);
	return list;
}

static bool is_target(const struct ca_owners_view *v, ca_node node)
{
	size_t low = 0, high = v->target_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (v->targets[middle] < node)
			low = middle + 1;
		else
			high = middle;
	}
	return low < v->target_count && v->targets[low] == node;
}

/* Shown apart: they keep nothing alive. */
static void put_weak(const struct ca_owners_view *v, struct ca_writer *w)
{
	size_t count, found = 0;
	struct ca_weakref *weak = ca_objects_weakrefs(v->objects, &count);

	ca_list_begin(w, "weak");
	for (size_t i = 0; i < count; i++) {
		if (!is_target(v, weak[i].to) || ++found > MOST_WEAK)
			continue;
		ca_object_begin(w, NULL);
		ca_put_addr(w, "address", ca_objects_address(v->objects, weak[i].node));
		ca_put_string(w, "type", type_of(v, weak[i].node));
		ca_put_addr(w, "to", ca_objects_address(v->objects, weak[i].to));
		ca_object_end(w);
	}
	ca_list_end(w);
	ca_put_uint(w, "weak_total", found);
	if (found)
		ca_title(w, "%s weak %s, which %s nothing alive", ca_grouped(found).text,
			 found == 1 ? "reference" : "references", found == 1 ? "keeps" : "keep");
	free(weak);
}

static void say_unheld(const struct ca_owners_view *v, struct ca_writer *w, uint64_t unheld)
{
	ca_put_uint(w, "unheld", unheld);
	if (unheld && v->avoid)
		ca_line(w, "%s of %s are held through nothing else", ca_grouped(unheld).text,
			ca_grouped(v->target_count).text);
	if (!v->target_count)
		ca_line(w, "no object fits");
}

static struct ca_error *show_document(const struct ca_owners_view *v, const struct list *list,
				      uint64_t unheld)
{
	bool text = v->request->form == CA_FORM_TEXT;
	size_t shown = ca_shown(v->request, list->count, text ? TEXT_PATHS : JSON_PATHS);
	struct ca_writer *w = ca_open_writer(v->request);

	if (v->own->paths > shown && v->request->limit < 0)
		shown = v->own->paths < list->count ? (size_t)v->own->paths : list->count;
	ca_begin_document(w, v->request, v->session);
	ca_put_uint(w, "objects", v->target_count);
	say_unheld(v, w, unheld);
	ca_put_uint(w, "paths_total", list->count);
	ca_list_begin(w, "paths");
	for (size_t i = 0; i < shown; i++)
		put_path(v, w, &list->items[i]);
	ca_list_end(w);
	if (shown < list->count)
		ca_title(w, "... and %s more (--limit 0 shows all)", ca_grouped(list->count - shown).text);
	put_weak(v, w);
	return ca_end_document(w, v->session, NULL);
}

/* ---- dot ------------------------------------------------------------------------- */

/* Quotes and backslashes; the rest is escaped already. */
static void print_quoted(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putc('\\', out);
		putc(*text, out);
	}
}

static void print_node(FILE *out, const struct ca_owners_view *v, ca_node node, uint64_t count, const char *name)
{
	fprintf(out, "\t\"0x%llx\" [label=\"", (unsigned long long)ca_objects_address(v->objects, node));
	if (count > 1)
		fprintf(out, "%s x ", ca_grouped(count).text);
	print_quoted(out, type_of(v, node));
	if (name) {
		fprintf(out, "\\n");
		print_quoted(out, name);
	}
	fprintf(out, "\"];\n");
}

static void print_path(FILE *out, const struct ca_owners_view *v, const struct path *path)
{
	ca_node held = path->target;
	const char *kind, *name;

	find_root(v, path, &kind, &name);
	print_node(out, v, held, path->count, NULL);
	for (size_t i = 0; i < path->step_count; i++) {
		const struct step *step = &path->steps[i];

		if (ca_node_is_root(v->graph, step->node) || is_left_out(path, i))
			continue;
		print_node(out, v, step->node, step->nodes, name_of(v, step));
		fprintf(out, "\t\"0x%llx\" -> \"0x%llx\" [label=\"",
		       (unsigned long long)ca_objects_address(v->objects, step->node),
		       (unsigned long long)ca_objects_address(v->objects, held));
		print_quoted(out, step->via);
		fprintf(out, "\"];\n");
		held = step->node;
	}
}

static struct ca_error *show_dot(const struct ca_owners_view *v, const struct list *list)
{
	size_t shown = ca_shown(v->request, list->count, JSON_PATHS);
	FILE *out = v->request->asked ? v->request->asked->out : stdout;

	if (v->request->form == CA_FORM_JSON)
		return ca_error_make(CA_USAGE, "--dot", "", "it is no JSON");
	fprintf(out, "strict digraph owners {\n\tnode [shape=box];\n");
	for (size_t i = 0; i < shown; i++)
		print_path(out, v, &list->items[i]);
	fprintf(out, "}\n");
	if (fflush(out) || ferror(out))
		return ca_error_make(CA_INTERNAL, "output", "", "it could not be written");
	return NULL;
}

static int by_node(const void *a, const void *b)
{
	ca_node x = *(const ca_node *)a, y = *(const ca_node *)b;

	return (x > y) - (x < y);
}

struct ca_error *ca_owners_show(struct ca_owners_view *v)
{
	struct ca_paths paths;
	struct ca_error *err;
	struct list list;

	if (v->target_count)
		qsort(v->targets, v->target_count, sizeof(*v->targets), by_node);
	ca_paths_build(&v->naming, v->targets, v->target_count, &paths);
	list = list_paths(v, &paths);
	err = v->own->dot ? show_dot(v, &list) : show_document(v, &list, paths.unheld);
	for (size_t i = 0; i < list.count; i++)
		free(list.items[i].steps);
	free(list.items);
	ca_paths_fini(&paths);
	return err;
}
