/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The installed interface (include/coreanalyze.h) over a session. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coreanalyze.h"
#include "session.h"

struct ca_target {
	struct ca_session *session;
	struct ca_type_totals totals;
	struct ca_reader *reader;
	bool has_owners;          /* find_owners() has been here */
	struct ca_retained retained;
	struct ca_ways ways;
	struct ca_naming naming;
};

static int fail(struct ca_error *err, struct ca_failure *failure)
{
	int status = (int)err->status;

	if (failure) {
		failure->status = status;
		snprintf(failure->what, sizeof(failure->what), "%s", err->what);
		snprintf(failure->why, sizeof(failure->why), "%s", err->why);
		snprintf(failure->advice, sizeof(failure->advice), "%s", err->advice);
	}
	ca_error_free(err);
	return status;
}

int ca_target_open(const char *path, const struct ca_target_options *options,
		   struct ca_target **out, struct ca_failure *failure)
{
	struct ca_image_options files = {0};
	struct ca_session *session;
	struct ca_error *err;

	if (options)
		files = (struct ca_image_options){
			.exe = options->exe,
			.sysroot = options->sysroot,
			.debug_dir = options->debug_dir,
			.tmp_dir = options->tmp_dir,
		};
	session = ca_session_make();
	if (options && options->threads)
		session->ctx.threads = options->threads;
	err = ca_session_open(session, path, &files);
	if (!err)
		err = ca_session_objects(session);
	if (err) {
		ca_session_close(session);
		return fail(err, failure);
	}

	struct ca_target *target = ca_alloc(sizeof(*target));

	target->session = session;
	target->reader = ca_alloc(sizeof(*target->reader));
	ca_reader_init(target->reader, &session->objects->types_registry);
	ca_type_totals_build(session->objects, &target->totals);
	*out = target;
	return 0;
}

void ca_target_close(struct ca_target *target)
{
	if (!target)
		return;
	ca_type_totals_fini(&target->totals);
	ca_retained_fini(&target->retained);
	ca_ways_fini(&target->ways);
	free(target->reader);
	ca_session_close(target->session);
	free(target);
}

const char *ca_target_python(const struct ca_target *target)
{
	return target->session->rt->version;
}

int ca_target_pid(const struct ca_target *target)
{
	return target->session->image->pid;
}

const char *ca_target_warning(const struct ca_target *target, size_t index)
{
	const struct ca_warnings *warnings = &target->session->ctx.warnings;

	return index < warnings->count ? warnings->items[index].text : NULL;
}

size_t ca_target_type_count(const struct ca_target *target)
{
	return target->totals.count;
}

bool ca_target_type(const struct ca_target *target, size_t index, struct ca_type_info *info)
{
	if (index >= target->totals.count)
		return false;

	const struct ca_type_total *row = &target->totals.rows[index];

	*info = (struct ca_type_info){
		.name = row->name,
		.count = row->count,
		.bytes = row->bytes,
		.owned = row->owned,
		.gc_tracked = row->gc_tracked,
		.type_objects = row->type_objects,
		.bytes_exact = row->bytes_exact,
	};
	return true;
}

bool ca_target_object(struct ca_target *target, uint64_t address, struct ca_object_info *info)
{
	const struct ca_objects *objects = target->session->objects;
	ca_node node = ca_objects_find(objects, address);
	const struct ca_saved *saved = target->session->image->saved;
	struct ca_object object;
	bool shown;

	if (!node || !ca_object_read(target->reader, address, &object))
		return false;
	shown = !saved || !saved->redacted || ca_object_is_named(target->reader, &object);
	*info = (struct ca_object_info){
		.address = address,
		.type = objects->types[ca_node_type(objects, node)].name,
		.bytes = ca_node_bytes(objects, node),
		.owned = ca_node_owned(objects, node),
		.refcount = ca_object_refcount(&objects->rt->layout, object.at),
		.immortal = ca_object_is_immortal(&objects->rt->layout, object.at),
		.gc_tracked = ca_node_tracked(objects, node),
		.value = shown ? ca_object_value(target->reader, &object, &target->session->ctx.arena) : NULL,
	};
	return true;
}

uint64_t ca_target_next(const struct ca_target *target, uint64_t address)
{
	const struct ca_objects *objects = target->session->objects;
	ca_node node = address ? ca_objects_find(objects, address) : 0;

	if ((address && !node) || node == objects->count)
		return 0;
	return ca_objects_address(objects, node + 1);
}

bool ca_target_collector(struct ca_target *target, struct ca_collector_info *info)
{
	const struct ca_runtime *rt = target->session->rt;
	size_t main = rt->interp_count - 1;
	struct ca_gc_report report;
	struct ca_gc gc;

	if (!ca_gc_read(rt, &rt->interps[main], &gc))
		return false;
	ca_gc_report_build(target->session->objects, &report);
	while (main && rt->interps[main - 1].gc == rt->interps[main].gc)
		main--;

	const struct ca_gc_sums *sums = &report.interps[main];

	*info = (struct ca_collector_info){.enabled = gc.enabled, .collecting = gc.collecting,
					   .debug = gc.debug, .frozen = sums->frozen.objects};
	for (unsigned i = 0; i < CA_GC_GENERATIONS; i++) {
		info->generations[i].threshold = gc.generations[i].threshold;
		info->generations[i].count = gc.generations[i].count;
		info->generations[i].objects = sums->generations[i].objects;
		info->generations[i].bytes = sums->generations[i].bytes;
		info->generations[i].collections = gc.generations[i].collections;
		info->generations[i].collected = gc.generations[i].collected;
		info->generations[i].uncollectable = gc.generations[i].uncollectable;
	}
	ca_gc_report_fini(&report);
	return true;
}

int ca_target_cycles(struct ca_target *target, struct ca_cycles_info *info,
		     struct ca_failure *failure)
{
	struct ca_cycle_facts facts;
	struct ca_error *err = ca_session_cycles(target->session, false, NULL, &facts);

	if (err)
		return fail(err, failure);
	*info = (struct ca_cycles_info){
		.cycles = facts.cycles.all,
		.objects = facts.cycles.objects,
		.bytes = facts.cycles.bytes,
		.with_finalizers = facts.cycles.with_finalizers,
		.unreachable_objects = facts.cycles.garbage.objects,
	};
	ca_cycle_facts_fini(&facts);
	return 0;
}

/* ---- owners ------------------------------------------------------------------ */

static struct ca_error *find_owners(struct ca_target *target)
{
	struct ca_session *session = target->session;
	struct ca_error *err = ca_session_graph(session);

	if (err || target->has_owners)
		return err;
	ca_retained_build_with_ways(&session->ctx, session->graph, &target->retained, &target->ways);
	target->naming = (struct ca_naming){session->graph, &target->ways, target->reader, false,
					    &session->ctx.arena};
	target->has_owners = true;
	return NULL;
}

/* And the object that starts at the address. */
static struct ca_error *find_owned(struct ca_target *target, uint64_t address, ca_node *node)
{
	*node = ca_objects_find(target->session->objects, address);
	if (!*node)
		return ca_error_make(CA_USAGE, "no object", "give an object's address, as id() does",
				     "none starts at 0x%llx", (unsigned long long)address);
	return find_owners(target);
}

static uint64_t address_of(const struct ca_target *target, ca_node node)
{
	const struct ca_graph *graph = target->session->graph;

	return node == UINT32_MAX || !node || ca_node_is_root(graph, node)
		       ? 0
		       : ca_objects_address(graph->objects, node);
}

int ca_target_owner(struct ca_target *target, uint64_t address, struct ca_owner_info *info,
		    struct ca_failure *failure)
{
	ca_node node;
	struct ca_error *err = find_owned(target, address, &node);

	if (err)
		return fail(err, failure);
	*info = (struct ca_owner_info){
		.name = ca_way_name(&target->naming, node),
		.holder = address_of(target, target->ways.parent[node]),
		.dominator = address_of(target, target->retained.tree.parent[node]),
		.retained_bytes = target->retained.bytes[node],
		.retained_objects = target->retained.objects[node],
	};
	return 0;
}

int ca_target_biggest(struct ca_target *target, uint64_t under, uint64_t *addresses, size_t *count,
		      struct ca_failure *failure)
{
	ca_node node = 0;
	struct ca_error *err = under ? find_owned(target, under, &node) : find_owners(target);
	struct ca_biggest biggest;

	if (err)
		return fail(err, failure);
	ca_biggest_build(target->session->graph, &target->retained, under ? NULL : &target->ways, node,
			 *count, &biggest);
	for (size_t i = 0; i < biggest.count; i++)
		addresses[i] = address_of(target, biggest.nodes[i]);
	*count = biggest.count;
	ca_biggest_fini(&biggest);
	return 0;
}

_Static_assert(CA_TARGET_SUSPECTS == CA_MOST_SUSPECTS, "there is room for all suspects");

int ca_target_suspects(struct ca_target *target, struct ca_suspect_info suspects[CA_TARGET_SUSPECTS],
		       size_t *count, struct ca_failure *failure)
{
	struct ca_error *err = find_owners(target);
	struct ca_suspect found[CA_MOST_SUSPECTS];

	if (err)
		return fail(err, failure);
	*count = ca_suspects_find(&target->naming, &target->retained, found);
	for (size_t i = 0; i < *count; i++)
		suspects[i] = (struct ca_suspect_info){
			.name = found[i].owner,
			.address = address_of(target, found[i].place),
			.retained_bytes = found[i].retained_bytes,
			.share = found[i].share,
			.type = found[i].type,
			.count = found[i].count,
			.bytes = found[i].bytes,
		};
	return 0;
}
