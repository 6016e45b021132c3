/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kind.h"

/*
 * A split dict's values: an array of pointers, before 3.13 without a header.
 * Those that lie in an instance are the instance's.
 */
static void visit_split_values(struct ca_reader *reader, struct ca_visitor *v, ca_addr values,
			       const struct ca_keys *keys)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t counted = keys->shared_size * 8;
	const uint8_t *at = ca_has(layout->values.capacity)
				    ? ca_image_at(reader->image, values, (uint64_t)layout->values.values)
				    : NULL;
	bool embedded = at && at[layout->values.embedded];

	ca_visit_split(reader, v, keys,
		       values + (uint64_t)(ca_has(layout->values.values) ? layout->values.values : 0),
		       embedded && at[layout->values.capacity] < keys->shared_size
			       ? at[layout->values.capacity]
			       : keys->shared_size,
		       embedded && !layout->c.dict_visits_inline ? CA_HELD_WEAK : CA_HELD_GC, CA_VIA_VALUE);
	if (!ca_has(layout->values.values)) {
		v->buffer(v, values, counted, CA_BUFFER_COUNTED); /* up to 3.10 */
	} else if (!ca_has(layout->values.capacity)) {
		uint64_t order = ca_values_prefix(reader, values);

		v->buffer(v, values - order, counted, CA_BUFFER_COUNTED); /* 3.11, 3.12 */
		v->buffer(v, 0, order, CA_BUFFER_OWNED);
	} else {
		uint64_t extra = layout->values.values + ((keys->shared_size + 7) & ~7ull);

		v->buffer(v, embedded ? 0 : values, counted, CA_BUFFER_COUNTED);
		if (!embedded)
			v->buffer(v, 0, extra, CA_BUFFER_OWNED);
	}
}

/*
 * Up to 3.10 a table is for keys of any sort when its function is lookdict, a
 * static one without a symbol. Tables that have a key which is no str have it.
 */
static bool has_other_keys(const struct ca_runtime *rt, ca_addr table)
{
	const struct ca_layout *layout = &rt->layout;
	uint64_t key, type, flags;
	struct ca_keys keys;

	return ca_keys_parse(rt->image, layout, table, &keys) && keys.nentries &&
	       ca_image_u64(rt->image, keys.entries + keys.key_at, &key) && key &&
	       ca_image_u64(rt->image, key + (uint64_t)layout->object.ob_type, &type) &&
	       ca_image_u64(rt->image, type + (uint64_t)layout->type.tp_flags, &flags) &&
	       flags & CA_TPFLAGS_READY && !(flags & CA_TPFLAGS_UNICODE_SUBCLASS);
}

static bool is_dict(const struct ca_runtime *rt, ca_addr object)
{
	uint64_t type, flags;

	return ca_image_u64(rt->image, object + (uint64_t)rt->layout.object.ob_type, &type) &&
	       ca_image_u64(rt->image, type + (uint64_t)rt->layout.type.tp_flags, &flags) &&
	       flags & CA_TPFLAGS_DICT_SUBCLASS;
}

ca_addr ca_find_lookdict(const struct ca_runtime *rt)
{
	enum { MOST_STEPS = 1 << 20 };
	const struct ca_layout *layout = &rt->layout;
	unsigned steps = 0;

	if (!ca_has(layout->keys.dk_lookup))
		return 0;
	for (unsigned g = 0; g < CA_GENERATIONS; g++) {
		ca_addr head = ca_runtime_generation(rt, &rt->interps[rt->interp_count - 1], g), at = head;
		uint64_t table, lookup;

		while (ca_image_u64(rt->image, at, &at) && at && at != head && steps++ < MOST_STEPS)
			if (is_dict(rt, at + 16) &&
			    ca_image_u64(rt->image, at + 16 + (uint64_t)layout->dict.ma_keys, &table) &&
			    has_other_keys(rt, table) &&
			    ca_image_u64(rt->image, table + (uint64_t)layout->keys.dk_lookup, &lookup))
				return lookup;
	}
	return 0;
}

static bool keys_are_visited(const struct ca_reader *reader, const struct ca_keys *keys)
{
	enum { GENERAL_ENTRY = 24 };
	uint64_t lookup;

	if (!ca_has(reader->layout->keys.dk_lookup))
		return keys->entry_bytes == GENERAL_ENTRY;
	return ca_image_u64(reader->image, keys->address + (uint64_t)reader->layout->keys.dk_lookup,
			    &lookup) &&
	       lookup == reader->types->lookdict;
}

/*
 * tp_traverse passes the keys of a table by that had only str keys so far. The
 * keys of a shared table are their class's.
 */
void ca_dict_traverse(struct ca_reader *reader, const struct ca_object *object,
		      struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr table = ca_word(object, layout->dict.ma_keys);
	ca_addr values = ca_word(object, layout->dict.ma_values);
	struct ca_keys keys;

	if (!ca_keys_parse(reader->image, layout, table, &keys))
		return;
	v->buffer(v, table, keys.bytes, keys.refcnt == 1 ? CA_BUFFER_COUNTED : CA_BUFFER_SHARED);
	if (values) {
		visit_split_values(reader, v, values, &keys);
		return;
	}
	ca_visit_keys(reader, v, &keys, keys_are_visited(reader, &keys) ? CA_HELD_GC : CA_HELD_HIDDEN);
	ca_visit_entries(reader, v, &keys);
}

/* Objects/odictobject.c: a list of nodes beside the dict, and a table that finds them. */
enum { ODICT_NODE_BYTES = 32, ODICT_NODE_NEXT = 16 };

void ca_odict_traverse(struct ca_reader *reader, const struct ca_object *object,
		       struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t used = ca_word(object, layout->dict.ma_used);
	ca_addr node = ca_word(object, layout->odict.od_first);
	ca_addr fast = ca_word(object, layout->odict.od_fast_nodes);
	struct ca_loop loop = {0};

	ca_dict_traverse(reader, object, v);
	if (fast)
		v->buffer(v, fast, ca_word(object, layout->odict.od_fast_nodes_size) * 8,
			  CA_BUFFER_COUNTED);
	for (uint64_t i = 0; i < used && node && !ca_loop_closed(&loop, node); i++) {
		const uint8_t *at = ca_image_at(reader->image, node, ODICT_NODE_BYTES);

		if (!at)
			return;
		v->buffer(v, node, ODICT_NODE_BYTES, CA_BUFFER_COUNTED);
		ca_visit_pointers(v, at, 1, CA_HELD_GC);
		node = ca_load_u64(at + ODICT_NODE_NEXT);
	}
	ca_visit_own(object, layout->odict.od_inst_dict, 1, CA_HELD_GC, "__dict__", v);
}
