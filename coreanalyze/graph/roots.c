/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What certainly holds references and is no object: the runtime's structures. */
#include "private.h"

void ca_root_begin(struct ca_builder *builder, enum ca_root_kind kind, const char *name,
		   ca_addr address)
{
	struct ca_rooting *roots = &builder->roots;

	roots->items = ca_grow(roots->items, &roots->capacity, roots->count + 1, sizeof(*roots->items));
	roots->first = ca_grow(roots->first, &roots->first_capacity, roots->count + 1,
			       sizeof(*roots->first));
	roots->items[roots->count] = (struct ca_root){kind, name, address};
	roots->first[roots->count++] = roots->edge_count;
}

void ca_root_add(struct ca_builder *builder, ca_node node)
{
	struct ca_rooting *roots = &builder->roots;

	if (!node)
		return;
	roots->to = ca_grow(roots->to, &roots->edge_capacity, roots->edge_count + 1, sizeof(*roots->to));
	roots->to[roots->edge_count++] = node;
}

const char *ca_root_kind_name(enum ca_root_kind kind)
{
	static const char *const names[] = {
		[CA_ROOT_INTERPRETER] = "interpreter", [CA_ROOT_RUNTIME] = "runtime",
		[CA_ROOT_INTERNED] = "interned", [CA_ROOT_THREAD] = "thread",
		[CA_ROOT_FRAME] = "frame", [CA_ROOT_STATIC] = "static",
		[CA_ROOT_C] = "c", [CA_ROOT_UNREACHABLE] = "unreachable",
		[CA_ROOT_LEAKED] = "leaked",
	};

	return names[kind];
}

/* ---- fields of structures -------------------------------------------------- */

struct field {
	int32_t offset;
	const char *name;
};

static void add_fields(struct ca_builder *builder, enum ca_root_kind kind, ca_addr base,
		       const struct field *fields, size_t count, const char *of)
{
	const struct ca_objects *objects = builder->objects;

	for (size_t i = 0; i < count; i++) {
		ca_addr at = base + (uint64_t)fields[i].offset;
		uint64_t value;
		ca_node node;

		if (!ca_has(fields[i].offset) || !ca_image_u64(objects->image, at, &value))
			continue;
		node = ca_objects_find(objects, value);
		if (!node)
			continue;
		ca_root_begin(builder, kind,
			      ca_arena_printf(&builder->ctx->arena, "%s%s", fields[i].name, of), at);
		ca_root_add(builder, node);
	}
}

static void add_interpreter(struct ca_builder *builder, const struct ca_interp *interp)
{
	const struct ca_layout *layout = &builder->objects->rt->layout;
	const struct field fields[] = {
		{layout->interp.modules, "modules"},
		{layout->interp.modules_by_index, "modules_by_index"},
		{layout->interp.sysdict, "sysdict"},
		{layout->interp.builtins, "builtins"},
		{layout->interp.importlib, "importlib"},
		{layout->interp.codec_search_path, "codec_search_path"},
		{layout->interp.codec_search_cache, "codec_search_cache"},
		{layout->interp.codec_error_registry, "codec_error_registry"},
		{layout->interp.dict, "dict"},
	};
	const struct field lists[] = {
		{layout->gc.garbage, "gc.garbage"},
		{layout->gc.callbacks, "gc.callbacks"},
	};
	bool alone = builder->objects->rt->interp_count == 1;
	const char *of = alone ? "" : ca_arena_printf(&builder->ctx->arena, ", interpreter %lld",
						      (long long)interp->id);

	add_fields(builder, CA_ROOT_INTERPRETER, interp->address, fields, CA_COUNT(fields), of);
	add_fields(builder, CA_ROOT_INTERPRETER, interp->gc, lists, CA_COUNT(lists), of);
}

/* Up to 3.10 the exception being handled is three fields, then one. */
static void add_thread(struct ca_builder *builder, const struct ca_thread *thread, const char *of)
{
	const struct ca_layout *layout = &builder->objects->rt->layout;
	const struct field fields[] = {
		{layout->thread.dict, "dict"},
		{layout->thread.context, "context"},
		{layout->thread.current_exception, "current_exception"},
		{layout->thread.curexc_type, "curexc_type"},
		{layout->thread.curexc_value, "curexc_value"},
		{layout->thread.curexc_traceback, "curexc_traceback"},
		{layout->thread.async_exc, "async_exc"},
		{layout->thread.async_gen_firstiter, "async_gen_firstiter"},
		{layout->thread.async_gen_finalizer, "async_gen_finalizer"},
		{layout->thread.c_profileobj, "c_profileobj"},
		{layout->thread.c_traceobj, "c_traceobj"},
	};

	add_fields(builder, CA_ROOT_THREAD, thread->address, fields, CA_COUNT(fields), of);
}

/* ---- objects that nobody allocated ---------------------------------------- */

/* Their counts begin with one that is nobody's. */
static void add_statics(struct ca_builder *builder, bool types)
{
	const struct ca_objects *objects = builder->objects;
	struct ca_cursor cursor;

	ca_root_begin(builder, CA_ROOT_RUNTIME, types ? "static types" : "static objects", 0);
	for (size_t i = 0; i < objects->image->module_count; i++) {
		const struct ca_module *module = &objects->image->modules[i];

		ca_node first = ca_objects_next(objects, module->data_start);

		if (!first || module->data_start == module->data_end)
			continue;
		ca_cursor_seek(&cursor, objects, first);
		for (; cursor.node && cursor.address < module->data_end; ca_cursor_next(&cursor))
			if (objects->types[ca_node_type(objects, cursor.node)].type->is_meta == types)
				ca_root_add(builder, cursor.node);
	}
}

static void add_interned(struct ca_builder *builder)
{
	for (size_t i = 0; i < builder->interned_count; i++) {
		ca_root_begin(builder, CA_ROOT_INTERNED, "interned strings", 0);
		ca_root_add(builder, builder->interned[i]);
	}
}

void ca_graph_find_roots(struct ca_builder *builder)
{
	const struct ca_runtime *rt = builder->objects->rt;

	for (size_t i = 0; i < rt->interp_count; i++)
		add_interpreter(builder, &rt->interps[i]);
	add_statics(builder, true);
	add_statics(builder, false);
	add_interned(builder);
	for (size_t i = 0; i < rt->thread_count; i++)
		add_thread(builder, &rt->threads[i],
			   ca_arena_printf(&builder->ctx->arena, ", thread %llu",
					   (unsigned long long)(rt->threads[i].native_id
									? rt->threads[i].native_id
									: rt->threads[i].thread_id)));
}
