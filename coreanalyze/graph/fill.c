/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Words that may be references: frames first, then threads' and interpreters'
 * structures, then modules' static data. Each counts where a reference to the
 * object that it leads to is missing.
 */
#include "private.h"

struct words {
	struct ca_builder *builder;
	enum ca_root_kind kind;
	const char *name;
	ca_addr base; /* a word's root is named `name`+offset from here */
};

static void take(struct words *words, ca_addr at, ca_node node)
{
	struct ca_builder *builder = words->builder;
	const char *name = NULL;

	if (!ca_graph_take_missing(builder, node, words->kind == CA_ROOT_STATIC))
		return;
	if (words->kind == CA_ROOT_STATIC)
		name = ca_signal_root(builder, at);
	if (!name)
		name = ca_arena_printf(&builder->ctx->arena, "%s+0x%llx", words->name,
				       (unsigned long long)(at - words->base));
	ca_root_begin(builder, words->kind, name, at);
	ca_root_add(builder, node);
}

/* Every readable word of [start, end). */
static void take_words(struct words *words, ca_addr start, ca_addr end)
{
	enum { BATCH = 64 };
	const struct ca_objects *objects = words->builder->objects;
	uint64_t tags = words->kind == CA_ROOT_STATIC ? 0 : (uint64_t)objects->rt->layout.c.stackref_tags;
	ca_node nodes[BATCH];
	ca_addr at = (start + 7) & ~7ull;

	while (at < end) {
		uint64_t length;
		const uint8_t *data = ca_image_run(objects->image, at, &length);

		if (!data || length < 8) {
			ca_addr next = (at + 4096) & ~4095ull;

			if (next < at)
				return;
			at = next;
			continue;
		}
		if (length > end - at)
			length = end - at;

		size_t count = length / 8 < BATCH ? length / 8 : BATCH;

		if (!count)
			return;
		ca_objects_find_all(objects, data, 8, count, tags, nodes);
		for (size_t i = 0; i < count; i++)
			if (nodes[i])
				take(words, at + i * 8, nodes[i]);
		at += count * 8;
	}
}

static void take_module(struct ca_builder *builder, const struct ca_module *module)
{
	const char *slash = strrchr(module->path, '/'), *name = slash ? slash + 1 : module->path;
	struct words words = {.builder = builder, .kind = CA_ROOT_STATIC,
			      .base = module->start,
			      .name = ca_escape_arena(&builder->ctx->arena, name, strlen(name))};

	take_words(&words, module->data_start, module->data_end);
}

/* Words of a stack fill nothing, for many are stale: they tell where to look. */
static void note_stack(struct ca_builder *builder, const struct ca_lwp *lwp)
{
	enum { MOST_BYTES = 8 << 20 };
	const struct ca_objects *objects = builder->objects;
	uint64_t length;
	ca_addr sp = lwp->sp & ~7ull;
	const uint8_t *words = ca_image_run(objects->image, sp, &length);

	if (!words)
		return;
	/* Above the stacks of all threads but the first is what fs points at. */
	if (lwp->fs_base > sp && lwp->fs_base - sp < length)
		length = lwp->fs_base - sp;
	if (length > MOST_BYTES)
		length = MOST_BYTES;
	for (uint64_t i = 0; i + 8 <= length; i += 8)
		ca_graph_note_stack(builder, ca_objects_find(objects, ca_load_u64(words + i)), lwp->lwp);
}

void ca_graph_fill(struct ca_builder *builder)
{
	const struct ca_runtime *rt = builder->objects->rt;

	for (size_t i = 0; i < rt->thread_count; i++)
		ca_graph_fill_frames(builder, &rt->threads[i]);
	for (size_t i = 0; i < rt->thread_count; i++) {
		struct words words = {.builder = builder, .kind = CA_ROOT_THREAD,
				      .name = "thread state", .base = rt->threads[i].address};

		take_words(&words, words.base, words.base + (uint64_t)rt->layout.thread.size);
	}
	for (size_t i = 0; i < rt->interp_count; i++) {
		struct words words = {.builder = builder, .kind = CA_ROOT_INTERPRETER,
				      .name = "interpreter state", .base = rt->interps[i].address};

		take_words(&words, words.base, words.base + (uint64_t)rt->layout.interp.size);
	}
	for (size_t i = 0; i < rt->image->module_count; i++)
		if (ca_runtime_reads(rt, &rt->image->modules[i]))
			take_module(builder, &rt->image->modules[i]);
	for (size_t i = 0; i < rt->image->lwp_count; i++)
		note_stack(builder, &rt->image->lwps[i]);
}
