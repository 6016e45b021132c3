/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The dicts of interned strings. CPython takes the references that they hold
 * back from the strings' counts (Objects/unicodeobject.c), so they keep nothing
 * alive. Where the interpreter's state does not lead to the dict, a static
 * variable of the runtime's module does, and the dict is told by what it holds:
 * str objects that say that they are interned, each under itself.
 */
#include "private.h"

enum { INTERNED_MASK = 3, LEAST_STRINGS = 100, SAMPLE = 64 };

static bool is_interned_str(struct ca_reader *reader, ca_addr addr)
{
	struct ca_object str;

	return ca_object_read(reader, addr, &str) && str.type->flags & CA_TPFLAGS_UNICODE_SUBCLASS &&
	       ca_load_u32(str.at + reader->layout->ascii.state) & INTERNED_MASK;
}

static bool holds_interned(struct ca_reader *reader, ca_addr dict)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t table, key, value;
	struct ca_object object;
	struct ca_keys keys;
	unsigned seen = 0;

	if (!ca_object_read(reader, dict, &object) || !(object.type->flags & CA_TPFLAGS_DICT_SUBCLASS) ||
	    !ca_image_u64(reader->image, dict + (uint64_t)layout->dict.ma_keys, &table) ||
	    !ca_keys_parse(reader->image, layout, table, &keys) || keys.nentries < LEAST_STRINGS)
		return false;
	for (uint64_t i = 0; i < keys.nentries && seen < SAMPLE; i++) {
		ca_addr at = keys.entries + i * keys.entry_bytes + keys.key_at;

		if (!ca_image_u64(reader->image, at, &key) || !ca_image_u64(reader->image, at + 8, &value))
			return false;
		if (!value)
			continue; /* was deleted */
		if (key != value || !is_interned_str(reader, key))
			return false;
		seen++;
	}
	return seen == SAMPLE;
}

static void add(struct ca_builder *builder, ca_addr dict)
{
	ca_node node = ca_objects_find(builder->objects, dict);

	for (size_t i = 0; i < builder->interned_count; i++)
		if (builder->interned[i] == node)
			return;
	if (!node || !holds_interned(&builder->readers[0], dict))
		return;
	builder->interned = ca_realloc(builder->interned,
				       (builder->interned_count + 1) * sizeof(*builder->interned));
	builder->interned[builder->interned_count++] = node;
}

static void search_statics(struct ca_builder *builder)
{
	const struct ca_runtime *rt = builder->objects->rt;
	ca_addr at = (rt->module->data_start + 7) & ~7ull;
	uint64_t word;

	for (; at < rt->module->data_end && !builder->interned_count; at += 8)
		if (ca_image_u64(rt->image, at, &word) && word)
			add(builder, word);
}

void ca_graph_find_interned(struct ca_builder *builder)
{
	const struct ca_runtime *rt = builder->objects->rt;
	int32_t field = rt->layout.interp.cached_interned;
	uint64_t dict;

	for (size_t i = 0; ca_has(field) && i < rt->interp_count; i++)
		if (ca_image_u64(rt->image, rt->interps[i].address + (uint64_t)field, &dict))
			add(builder, dict);
	if (!builder->interned_count)
		search_statics(builder);
}
