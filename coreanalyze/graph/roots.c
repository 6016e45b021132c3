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

/* ", interpreter 1" where there are several. */
static const char *of_interpreter(struct ca_builder *builder, const struct ca_interp *interp)
{
	if (builder->objects->rt->interp_count == 1)
		return "";
	return ca_arena_printf(&builder->ctx->arena, ", interpreter %lld", (long long)interp->id);
}

/*
 * Of a release without a table of its own only what was proved has a name. The other words
 * of the structure count where a reference is missing (fill.c).
 */
static void add_interpreter(struct ca_builder *builder, const struct ca_interp *interp)
{
	const struct ca_layout *layout = &builder->objects->rt->layout;
	const struct field proved[] = {
		{layout->interp.modules, "modules"},
		{layout->interp.sysdict, "sysdict"},
		{layout->interp.builtins, "builtins"},
		{layout->interp.importlib, "importlib"},
	};
	const struct field fields[] = {
		{layout->interp.modules_by_index, "modules_by_index"},
		{layout->interp.sysdict_copy, "sysdict_copy"},
		{layout->interp.builtins_copy, "builtins_copy"},
		{layout->interp.import_func, "import_func"},
		{layout->interp.lazy_import_func, "lazy_import_func"},
		{layout->interp.lazy_imports_filter, "lazy_imports_filter"},
		{layout->interp.lazy_modules, "lazy_modules"},
		{layout->interp.lazy_pending, "lazy_pending_submodules"},
		{layout->interp.codec_search_path, "codec_search_path"},
		{layout->interp.codec_search_cache, "codec_search_cache"},
		{layout->interp.codec_error_registry, "codec_error_registry"},
		{layout->interp.dict, "dict"},
		{layout->interp.before_forkers, "before_forkers"},
		{layout->interp.after_forkers_parent, "after_forkers_parent"},
		{layout->interp.after_forkers_child, "after_forkers_child"},
		{layout->interp.warnings_filters, "warnings.filters"},
		{layout->interp.warnings_once_registry, "warnings.once_registry"},
		{layout->interp.warnings_default_action, "warnings.default_action"},
		{layout->interp.warnings_context, "warnings.context"},
		{layout->interp.audit_hooks, "audit_hooks"},
		{layout->interp.errnomap, "errnomap"},
		{layout->interp.exception_group, "PyExc_ExceptionGroup"},
	};
	const struct field lists[] = {
		{layout->gc.garbage, "gc.garbage"},
		{layout->gc.callbacks, "gc.callbacks"},
	};
	const char *of = of_interpreter(builder, interp);

	add_fields(builder, CA_ROOT_INTERPRETER, interp->address, proved, CA_COUNT(proved), of);
	if (builder->objects->rt->covered)
		add_fields(builder, CA_ROOT_INTERPRETER, interp->address, fields, CA_COUNT(fields), of);
	add_fields(builder, CA_ROOT_INTERPRETER, interp->gc, lists, CA_COUNT(lists), of);
}

/* `count` words, `stride` bytes apart, that are one root. */
static void add_words(struct ca_builder *builder, ca_addr start, uint64_t count, uint64_t stride,
		      const char *name)
{
	const struct ca_objects *objects = builder->objects;
	bool begun = false;
	uint64_t word;

	for (uint64_t i = 0; i < count; i++) {
		ca_node node;

		if (!ca_image_u64(objects->image, start + i * stride, &word) || !word)
			continue;
		node = ca_objects_find(objects, word);
		if (node && !begun)
			ca_root_begin(builder, CA_ROOT_INTERPRETER, name, start);
		begun |= node != 0;
		ca_root_add(builder, node);
	}
}

/*
 * Tables of the interpreter: what sys.monitoring is to call; the method cache,
 * which has a reference to the name alone (Objects/typeobject.c: struct
 * type_cache_entry, {version, name, value}); the small ints of 3.9 and 3.10.
 */
static void add_tables(struct ca_builder *builder, const struct ca_interp *interp)
{
	enum { CACHE_ENTRIES = 4096, CACHE_BYTES = 24, CACHE_NAME = 8, CALLABLES = 8 * 17, SMALL_INTS = 262 };
	const struct ca_layout *layout = &builder->objects->rt->layout;
	ca_addr at = interp->address;

	if (ca_has(layout->interp.monitoring_callables))
		add_words(builder, at + (uint64_t)layout->interp.monitoring_callables, CALLABLES, 8,
			  "sys.monitoring's callbacks");
	if (ca_has(layout->interp.type_cache))
		add_words(builder, at + (uint64_t)layout->interp.type_cache + CACHE_NAME, CACHE_ENTRIES,
			  CACHE_BYTES, "names in the method cache");
	if (ca_has(layout->interp.small_ints))
		add_words(builder, at + (uint64_t)layout->interp.small_ints, SMALL_INTS, 8, "small ints");
}

/* 3.10, 3.11: strings of C's static names (struct _Py_unicode_ids), one for each that was used. */
static void add_identifiers(struct ca_builder *builder, const struct ca_interp *interp)
{
	enum { MOST = 1 << 16 };
	const struct ca_layout *layout = &builder->objects->rt->layout;
	const struct ca_image *image = builder->objects->image;
	uint64_t array, size;

	if (ca_has(layout->interp.unicode_ids) &&
	    ca_image_u64(image, interp->address + (uint64_t)layout->interp.unicode_ids, &array) &&
	    ca_image_u64(image, interp->address + (uint64_t)layout->interp.unicode_ids_size, &size))
		add_words(builder, array, size < MOST ? size : MOST, 8, "identifiers");
}

/* {callbacks, int: how many of them}: in the interpreter's state, before 3.10 in the module's own. */
static ca_addr atexit_state(const struct ca_builder *builder, const struct ca_interp *interp)
{
	const struct ca_layout *layout = &builder->objects->rt->layout;
	const struct ca_image *image = builder->objects->image;
	uint64_t module, state;

	if (ca_has(layout->interp.atexit_callbacks))
		return interp->address + (uint64_t)layout->interp.atexit_callbacks;
	if (!ca_has(layout->interp.pyexitmodule) || !ca_has(layout->module.md_state) ||
	    !ca_image_u64(image, interp->address + (uint64_t)layout->interp.pyexitmodule, &module) ||
	    !module || !ca_image_u64(image, module + (uint64_t)layout->module.md_state, &state))
		return 0;
	return state;
}

/*
 * atexit's callbacks: up to 3.13 an array of pointers to {function, args,
 * kwargs}, NULL where one was unregistered; then a list.
 */
static void add_atexit(struct ca_builder *builder, const struct ca_interp *interp)
{
	enum { MOST = 1 << 16, FIELDS = 3 };
	const struct ca_objects *objects = builder->objects;
	ca_addr state = atexit_state(builder, interp);
	uint64_t array, callback, function;
	uint32_t count;

	if (!state || !ca_image_u64(objects->image, state, &array) || !array)
		return;
	if (ca_objects_find(objects, array)) {
		add_words(builder, state, 1, 8, "atexit callbacks");
		return;
	}
	if (!ca_image_u32(objects->image, state + 8, &count))
		return;
	for (uint64_t i = 0; i < count && i < MOST; i++)
		if (ca_image_u64(objects->image, array + i * 8, &callback) && callback &&
		    ca_image_u64(objects->image, callback, &function) &&
		    ca_objects_find(objects, function))
			add_words(builder, callback, FIELDS, 8, "atexit callback");
}

/* ---- threads --------------------------------------------------------------- */

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
		{layout->thread.on_delete_data, "on_delete_data"},
		{layout->thread.threading_local_key, "threading_local_key"},
		{layout->thread.threading_local_sentinel, "threading_local_sentinel"},
	};
	const struct field handled[] = {
		{layout->exc_item.exc_type, "exc_info type"},
		{layout->exc_item.exc_value, "exc_info"},
		{layout->exc_item.exc_traceback, "exc_info traceback"},
	};

	if (builder->objects->rt->covered)
		add_fields(builder, CA_ROOT_THREAD, thread->address, fields, CA_COUNT(fields), of);
	if (ca_has(layout->thread.exc_state))
		add_fields(builder, CA_ROOT_THREAD, thread->address + (uint64_t)layout->thread.exc_state,
			   handled, CA_COUNT(handled), of);
}

const char *ca_thread_suffix(struct ca_builder *builder, const struct ca_thread *thread)
{
	const struct ca_runtime *rt = builder->objects->rt;
	uint64_t id = thread->native_id ? (uint64_t)ca_thread_lwp(rt, thread) : thread->thread_id;

	return ca_arena_printf(&builder->ctx->arena, ", thread %llu", (unsigned long long)id);
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

	for (size_t i = 0; i < rt->interp_count; i++) {
		add_interpreter(builder, &rt->interps[i]);
		if (rt->covered)
			add_tables(builder, &rt->interps[i]);
		add_identifiers(builder, &rt->interps[i]);
		add_atexit(builder, &rt->interps[i]);
	}
	add_statics(builder, true);
	add_statics(builder, false);
	add_interned(builder);
	for (size_t i = 0; i < rt->thread_count; i++) {
		add_thread(builder, &rt->threads[i], ca_thread_suffix(builder, &rt->threads[i]));
		ca_graph_add_frames(builder, &rt->threads[i]);
	}
}
