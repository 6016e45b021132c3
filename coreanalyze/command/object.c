/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

enum { KEY_BRIEF = 300 };

struct own {
	bool brief;
};

static const struct argp_option options[] = {
	{"brief", KEY_BRIEF, NULL, 0, "only what the objects are: no references", 1},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct own *own = ca_parsed_request(state)->own;

	(void)arg;
	if (key != KEY_BRIEF)
		return ARGP_ERR_UNKNOWN;
	own->brief = true;
	return 0;
}

static bool is_brief(const struct ca_request *request)
{
	return ((const struct own *)request->own)->brief;
}

struct show {
	struct ca_writer *w;
	const struct ca_request *request;
	struct ca_session *session;
	struct ca_reader *reader;
	struct ca_arena scratch; /* for one object */
};

static void put_error(struct show *show, ca_addr address, const char *error)
{
	ca_object_begin(show->w, NULL);
	ca_put_addr(show->w, "address", address);
	ca_put_string(show->w, "error", error);
	ca_object_end(show->w);
	ca_line(show->w, "0x%llx: %s", (unsigned long long)address, error);
}

static void put_object(struct show *show, ca_addr address)
{
	const struct ca_objects *objects = show->session->objects;
	ca_node node = ca_objects_find(objects, address);
	struct ca_object object;

	if (!node || !ca_object_read(show->reader, address, &object)) {
		put_error(show, address, "no object starts here");
		return;
	}

	const char *type = objects->types[ca_node_type(objects, node)].name;
	const char *value = !show->request->redact || ca_object_is_named(show->reader, &object)
				    ? ca_object_value(show->reader, &object, &show->scratch)
				    : NULL;
	uint64_t refcount = ca_object_refcount(&objects->rt->layout, object.at);
	bool immortal = ca_object_is_immortal(&objects->rt->layout, object.at);
	bool tracked = ca_node_tracked(objects, node);

	ca_object_begin(show->w, NULL);
	ca_put_addr(show->w, "address", address);
	ca_put_string(show->w, "type", type);
	ca_put_uint(show->w, "bytes", ca_node_bytes(objects, node));
	ca_put_uint(show->w, "owned", ca_node_owned(objects, node));
	ca_put_uint(show->w, "refcount", refcount);
	ca_put_bool(show->w, "immortal", immortal);
	ca_put_bool(show->w, "gc_tracked", tracked);
	ca_put_string(show->w, "value", value);

	char count[32];

	snprintf(count, sizeof(count), "%llu", (unsigned long long)refcount);
	ca_title(show->w, "0x%llx  %s%s%s", (unsigned long long)address, type, value ? "  " : "",
		 value ? value : "");
	ca_line(show->w, "  %llu bytes, %llu owned, %s%s%s",
		(unsigned long long)ca_node_bytes(objects, node),
		(unsigned long long)ca_node_owned(objects, node),
		immortal ? "immortal" : "reference count ", immortal ? "" : count,
		tracked ? ", tracked by the collector" : ", not tracked by the collector");
	if (!is_brief(show->request))
		ca_put_references(show->w, show->request, show->session->graph, show->reader, node,
				  &show->scratch);
	ca_object_end(show->w);
	ca_arena_empty(&show->scratch);
}

/* Addresses from stdin, one a line. */
static void put_listed(struct show *show)
{
	char *line = NULL;
	size_t capacity = 0;

	while (getline(&line, &capacity, stdin) > 0) {
		ca_addr address;

		line[strcspn(line, "\n")] = '\0';
		if (!*line)
			continue;
		if (ca_parse_address(line, &address)) {
			put_object(show, address);
		} else {
			char escaped[128];

			ca_escape(escaped, sizeof(escaped), line, strlen(line));
			ca_object_begin(show->w, NULL);
			ca_put_string(show->w, "address", escaped);
			ca_put_string(show->w, "error", "this is no address");
			ca_object_end(show->w);
			ca_line(show->w, "%s: this is no address", escaped);
		}
	}
	free(line);
}

static struct ca_error *check_addresses(const struct ca_request *request)
{
	ca_addr address;

	for (size_t i = 1; i < request->arg_count; i++)
		if ((request->asked || strcmp(request->args[i], "-") != 0) &&
		    !ca_parse_address(request->args[i], &address))
			return ca_bad_address(request->args[i]);
	return NULL;
}

static struct ca_error *show_objects(struct ca_request *request, struct ca_session *session)
{
	struct show show = {.request = request, .session = session};

	show.reader = ca_alloc(sizeof(*show.reader));
	ca_reader_init(show.reader, &session->objects->types_registry);
	show.w = ca_open_writer(request);
	ca_begin_document(show.w, request, session);
	ca_list_begin(show.w, "objects");
	for (size_t i = 1; i < request->arg_count; i++) {
		ca_addr address = 0;

		if (strcmp(request->args[i], "-") == 0) {
			put_listed(&show);
			continue;
		}
		ca_parse_address(request->args[i], &address);
		put_object(&show, address);
	}
	ca_list_end(show.w);
	free(show.reader);
	ca_arena_fini(&show.scratch);
	return ca_end_document(show.w, session, NULL);
}

static struct ca_error *run_object(struct ca_request *request, enum ca_status *status)
{
	struct ca_error *err = check_addresses(request);

	(void)status;
	if (err)
		return err;
	return is_brief(request) ? ca_show_objects(request, show_objects)
				 : ca_show_graph(request, show_objects);
}

const struct ca_command ca_command_object = {
	.name = "object",
	.args = "TARGET ADDR...",
	.least_args = 2,
	.most_args = SIZE_MAX,
	.summary = "what the object at an address is, and who holds it",
	.help = "What the objects at these addresses are: type, size, reference count, value, what "
		"they refer to and what refers to them, each with the way as Python would write it.\n"
		"ADDR is what id() gives; - reads addresses from stdin, one a line. GC: one of "
		"gc.get_referents().\n\n"
		"Example: coreanalyze object core.1234 0x7f3a5c0d1e80",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct own),
	.run = run_object,
};
