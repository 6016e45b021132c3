/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who keeps objects alive: the ways to them, folded, as text, JSON or dot. */
#include <stdlib.h>
#include <string.h>

#include "owners.h"

enum { KEY_TYPE = 2000, KEY_WHERE, KEY_ALL_PATHS, KEY_NOT_THROUGH, KEY_DOT };

static const struct argp_option options[] = {
	{"type", KEY_TYPE, "TYPE", 0, "all objects of this type, as `types` names it", 1},
	{"where", KEY_WHERE, "CONDITION", 0,
	 "of these, the ones that fit: 'bytes > 1M and refcount = 1' (bytes, owned, refcount, length, "
	 "retained_bytes, retained_objects)", 1},
	{"all-paths", KEY_ALL_PATHS, "N", 0, "up to N ways to each address, beyond the shortest", 1},
	{"not-through", KEY_NOT_THROUGH, "TYPE|ADDR", 0,
	 "what else holds them: ways through these do not count; may be repeated", 1},
	{"dot", KEY_DOT, NULL, 0, "the ways as a graph for Graphviz's dot", 1},
	{0},
};

static void parse_avoided(struct ca_owners_options *own, const char *arg, struct argp_state *state)
{
	if (own->avoid_count == CA_COUNT(own->avoid))
		ca_bad_usage(state, "--not-through: more than %zu of them", CA_COUNT(own->avoid));
	own->avoid[own->avoid_count++] = arg;
}

static void check(const struct ca_request *request, const struct argp_state *state)
{
	const struct ca_owners_options *own = request->own;
	ca_addr address;

	if (!own->type && request->arg_count < 2)
		ca_bad_usage(state, "owners takes an address, or --type");
	if (own->type && request->arg_count > 1)
		ca_bad_usage(state, "owners takes addresses or --type, not both");
	if (own->where.count && !own->type)
		ca_bad_usage(state, "--where goes with --type");
	for (size_t i = 1; i < request->arg_count; i++)
		if (!ca_parse_address(request->args[i], &address))
			ca_bad_usage(state, "'%s' is no address", request->args[i]);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct ca_owners_options *own = ca_parsed_request(state)->own;

	switch (key) {
	case KEY_TYPE:
		own->type = arg;
		return 0;
	case KEY_WHERE:
		if (!ca_where_parse(arg, &own->where))
			ca_bad_usage(state, "--where: '%s' is no condition: give FIELD < NUMBER (also >, <=, >=, =, "
					    "!=), joined by `and`; fields are bytes, owned, refcount, length, "
					    "retained_bytes, retained_objects", arg);
		return 0;
	case KEY_ALL_PATHS:
		own->paths = strtoull(arg, NULL, 10);
		if (!own->paths || own->paths > 100000 || arg[strspn(arg, "0123456789")])
			ca_bad_usage(state, "--all-paths: '%s' is no number from 1 to 100000", arg);
		return 0;
	case KEY_NOT_THROUGH:
		parse_avoided(own, arg, state);
		return 0;
	case KEY_DOT:
		own->dot = true;
		return 0;
	case ARGP_KEY_END:
		check(ca_parsed_request(state), state);
		return ARGP_ERR_UNKNOWN;
	}
	return ARGP_ERR_UNKNOWN;
}

/* ---- what is asked for --------------------------------------------------------- */

static void add_target(struct ca_owners_view *v, ca_node node)
{
	v->targets = ca_grow(v->targets, &v->target_capacity, v->target_count + 1, sizeof(*v->targets));
	v->targets[v->target_count++] = node;
}

static struct ca_error *find_addresses(struct ca_owners_view *v)
{
	for (size_t i = 1; i < v->request->arg_count; i++) {
		ca_addr address = 0;
		ca_node node;

		ca_parse_address(v->request->args[i], &address);
		node = ca_objects_find(v->objects, address);
		if (!node)
			return ca_error_make(CA_USAGE, "ADDR", "give an address that a table printed",
					     "no object starts at 0x%llx", (unsigned long long)address);
		add_target(v, node);
	}
	return NULL;
}

static bool *rows_called(const struct ca_objects *objects, const char *name, bool *any)
{
	bool *called = ca_alloc(objects->type_count + 1ull);

	*any = false;
	for (uint32_t i = 0; i < objects->type_count; i++) {
		called[i] = strcmp(objects->types[i].name, name) == 0;
		*any |= called[i];
	}
	return called;
}

static struct ca_error *no_such_type(const char *name)
{
	char escaped[256];

	ca_escape(escaped, sizeof(escaped), name, strlen(name));
	return ca_error_make(CA_USAGE, "--not-through", "`coreanalyze types` lists them",
			     "there is no type '%s' in this process", escaped);
}

/* A type that the process does not have has no objects: that is an answer. */
static void find_type(struct ca_owners_view *v, struct ca_session *session)
{
	const struct ca_owners_options *own = v->own;
	bool retained = ca_where_needs(&own->where, CA_FIELD_RETAINED_BYTES) ||
			ca_where_needs(&own->where, CA_FIELD_RETAINED_OBJECTS);
	struct ca_where_facts facts = {v->objects, v->naming.reader, retained ? &v->retained : NULL};
	bool any, *called = rows_called(v->objects, own->type, &any);

	if (any && retained)
		ca_retained_build(&session->ctx, v->graph, &v->retained);
	for (ca_node node = 1; any && node <= v->objects->count; node++)
		if (called[ca_node_type(v->objects, node)] && ca_where_holds(&own->where, &facts, node))
			add_target(v, node);
	free(called);
}

/* A bit for each node that no way may lead through. */
static struct ca_error *find_avoided(struct ca_owners_view *v)
{
	for (size_t i = 0; i < v->own->avoid_count; i++) {
		const char *arg = v->own->avoid[i];
		ca_addr address;
		bool any, *called;

		if (!v->avoid)
			v->avoid = ca_alloc((v->graph->node_count / 64 + 1) * sizeof(*v->avoid));
		if (ca_parse_address(arg, &address)) {
			ca_node node = ca_objects_find(v->objects, address);

			if (!node)
				return ca_error_make(CA_USAGE, "--not-through", "give an address that a table printed",
						     "no object starts at 0x%llx", (unsigned long long)address);
			v->avoid[node / 64] |= 1ull << node % 64;
			continue;
		}
		called = rows_called(v->objects, arg, &any);
		for (ca_node node = 1; any && node <= v->objects->count; node++)
			if (called[ca_node_type(v->objects, node)])
				v->avoid[node / 64] |= 1ull << node % 64;
		free(called);
		if (!any)
			return no_such_type(arg);
	}
	return NULL;
}

/* ---- the command ----------------------------------------------------------------- */

static struct ca_error *show_owners(struct ca_request *request, struct ca_session *session)
{
	struct ca_owners_view v = {.request = request, .own = request->own, .objects = session->objects};
	struct ca_error *err = ca_session_graph(session);

	if (err)
		return err;
	v.session = session;
	v.graph = session->graph;
	v.naming = (struct ca_naming){v.graph, &v.ways, ca_alloc(sizeof(struct ca_reader)),
				      request->redact, &v.arena};
	ca_reader_init(v.naming.reader, &session->objects->types_registry);
	if (v.own->type)
		find_type(&v, session);
	else
		err = find_addresses(&v);
	if (!err)
		err = find_avoided(&v);
	if (!err) {
		ca_ways_build(v.graph, v.avoid, &v.ways);
		err = ca_owners_show(&v);
	}
	ca_ways_fini(&v.ways);
	ca_retained_fini(&v.retained);
	free(v.naming.reader);
	free(v.targets);
	free(v.avoid);
	ca_arena_fini(&v.arena);
	return err;
}

static struct ca_error *run_owners(struct ca_request *request, enum ca_status *status)
{
	(void)status;
	return ca_show_objects(request, show_owners);
}

const struct ca_command ca_command_owners = {
	.name = "owners",
	.args = "TARGET ADDR...",
	.least_args = 1,
	.most_args = SIZE_MAX,
	.summary = "who keeps objects alive",
	.help = "Who keeps objects alive: the shortest ways of strong references from what a person can "
		"name (a module's global, a class's attribute, a frame's local) to the objects at these "
		"addresses or to all of a type. Where many objects share one shape of way, it is shown once.\n\n"
		"Example: coreanalyze owners core.1234 --type sessions.Session",
	.options = options,
	.parse = parse,
	.own_bytes = sizeof(struct ca_owners_options),
	.run = run_owners,
};
