/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way around a cycle, as Python would write it. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cycles.h"

/* What follows the last dot: a class's own name. */
static const char *short_name(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot ? dot + 1 : name;
}

/* "Session" of an instance and of its class, "run" of a function. */
static const char *first_name(struct ca_cycles_view *view, ca_node node)
{
	struct ca_object object;
	const char *name = NULL;

	if (ca_object_read(view->reader, ca_objects_address(view->objects, node), &object))
		name = ca_object_name(view->reader, &object, &view->scratch);
	return short_name(name ? name : ca_view_type(view, node));
}

static const char *via(struct ca_cycles_view *view, const struct ca_loop_step *step)
{
	return ca_edge_label(view->graph, view->reader, step->node, step->edge, view->request->redact,
			     &view->scratch);
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), of_end = strlen(end);

	return length >= of_end && strcmp(text + length - of_end, end) == 0;
}

/* ".__dict__" and "['x']" are ".x" to Python, where x is a name. */
static const char *after_dict(struct ca_cycles_view *view, const char *label)
{
	size_t length = strlen(label);

	if (length < 5 || strncmp(label, "['", 2) != 0 || !ends_with(label, "']") ||
	    isdigit((unsigned char)label[2]))
		return NULL;
	for (size_t i = 2; i < length - 2; i++)
		if (!isalnum((unsigned char)label[i]) && label[i] != '_')
			return NULL;
	return ca_arena_printf(&view->scratch, ".%.*s", (int)(length - 4), label + 2);
}

/* How Python gets at the frame of what has it inside. */
static const char *frame_of(const char *type)
{
	static const char *const frames[][2] = {
		{"builtins.generator", ".gi_frame"},
		{"builtins.coroutine", ".cr_frame"},
		{"builtins.async_generator", ".ag_frame"},
	};

	for (size_t i = 0; i < CA_COUNT(frames); i++)
		if (strcmp(frames[i][0], type) == 0)
			return frames[i][1];
	return "";
}

/* The field of all three has the name that it has in a generator. */
static const char *as_frame(struct ca_cycles_view *view, const char *label, ca_node node)
{
	const char *frame = frame_of(ca_view_type(view, node));

	return strcmp(label, ".gi_frame") == 0 && *frame ? frame : label;
}

static const char local_word[] = CA_LABEL_LOCAL;

/* "local 'x' in f() at app.py:12" is .f_locals['x'] of the frame. */
static const char *as_local(struct ca_cycles_view *view, const char *path, const char *label, ca_node node)
{
	const char *name = label + strlen(local_word);

	return ca_arena_printf(&view->scratch, "%s%s.f_locals['%.*s']", path,
			       frame_of(ca_view_type(view, node)), (int)strcspn(name, "'"), name);
}

/* of_local: the last step's label was one of a local variable. */
static const char *append_step(struct ca_cycles_view *view, const char *path, const char *label,
			       ca_node node, bool of_local)
{
	static const char dict[] = ".__dict__";
	const char *name = ends_with(path, dict) ? after_dict(view, label) : NULL;

	if (name)
		return ca_arena_printf(&view->scratch, "%.*s%s", (int)(strlen(path) - strlen(dict)), path, name);
	if (of_local && strcmp(label, ".cell_contents") == 0)
		return path; /* f_locals has what is in the cell */
	if (strncmp(label, local_word, strlen(local_word)) == 0)
		return as_local(view, path, label, node);
	if (strchr(".[(", *label))
		return ca_arena_printf(&view->scratch, "%s%s", path, as_frame(view, label, node));
	return ca_arena_printf(&view->scratch, "%s(%s)", path, label);
}

const char *ca_loop_path(struct ca_cycles_view *view, const struct ca_cycle *cycle,
			 struct ca_loop_step **steps, size_t *count)
{
	enum { MOST_STEPS = 32 };
	const char *path;
	bool of_local = false;

	*count = ca_cycle_loop(view->graph, &view->found.cycles, cycle, steps);
	path = first_name(view, (*steps)[0].node);
	for (size_t i = 0; i < *count && i < MOST_STEPS; i++) {
		const char *label = via(view, &(*steps)[i]);

		path = append_step(view, path, label, (*steps)[i].node, of_local);
		of_local = strncmp(label, local_word, strlen(local_word)) == 0;
	}
	return *count <= MOST_STEPS ? path : ca_arena_printf(&view->scratch, "%s...", path);
}

void ca_put_loop(struct ca_cycles_view *view, const struct ca_cycle *cycle)
{
	enum { MOST_EDGES = 1000 };
	struct ca_writer *w = view->w;
	struct ca_loop_step *steps;
	size_t count;
	const char *path = ca_loop_path(view, cycle, &steps, &count);

	ca_put_string(w, "path", path);
	ca_put_uint(w, "edges_total", count);
	ca_list_begin(w, "edges");
	for (size_t i = 0; i < count && i < MOST_EDGES; i++) {
		ca_object_begin(w, NULL);
		ca_put_addr(w, "address", ca_objects_address(view->objects, steps[i].node));
		ca_put_string(w, "type", ca_view_type(view, steps[i].node));
		ca_put_string(w, "via", via(view, &steps[i]));
		ca_object_end(w);
	}
	ca_list_end(w);
	free(steps);
}
