/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kind.h"

/* A split dict's values: an array of pointers, before 3.13 without a header. */
static void visit_split_values(struct ca_reader *reader, struct ca_visitor *v, ca_addr values,
			       const struct ca_keys *keys)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t counted = keys->shared_size * 8;

	ca_visit_array(reader, v, values + (ca_has(layout->values.values) ? layout->values.values : 0),
		       keys->shared_size);
	if (!ca_has(layout->values.values)) {
		v->buffer(v, values, counted, CA_BUFFER_COUNTED); /* up to 3.10 */
	} else if (!ca_has(layout->values.capacity)) {
		uint64_t order = ca_values_prefix(reader, values);

		v->buffer(v, values - order, counted, CA_BUFFER_COUNTED); /* 3.11, 3.12 */
		v->buffer(v, 0, order, CA_BUFFER_OWNED);
	} else {
		const uint8_t *at = ca_image_at(reader->image, values, layout->values.values);
		bool embedded = at && at[layout->values.embedded];
		uint64_t extra = layout->values.values + ((keys->shared_size + 7) & ~7ull);

		v->buffer(v, embedded ? 0 : values, counted, CA_BUFFER_COUNTED);
		if (!embedded)
			v->buffer(v, 0, extra, CA_BUFFER_OWNED);
	}
}

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
	ca_visit_keys(reader, v, &keys);
	if (values)
		visit_split_values(reader, v, values, &keys);
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
		node = ca_load_u64(at + ODICT_NODE_NEXT);
	}
	ca_visit_words(object, v, layout->odict.od_inst_dict, layout->odict.size);
}
