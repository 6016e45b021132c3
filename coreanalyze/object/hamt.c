/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The maps that contexts have (Python/hamt.c). A node's array holds pairs: a key
 * and its value, or NULL and a node below.
 */
#include "kind.h"

enum { ARRAY = 32 };

void ca_hamt_traverse(struct ca_reader *reader, const struct ca_object *object,
		      struct ca_visitor *v)
{
	uint64_t words = (uint64_t)ca_ob_size(reader, object), room = ca_room(object, ARRAY) / 8;

	if (words > room)
		words = room;
	for (uint64_t i = 0; i + 1 < words; i += 2) {
		const uint8_t *pair = object->at + ARRAY + i * 8;
		bool below = !ca_load_u64(pair);
		struct ca_refs refs = {.data = pair, .count = 1, .stride = 8, .held = CA_HELD_GC,
				       .via = CA_VIA_KEY, .names = pair};

		if (!below)
			v->refs(v, &refs);
		refs.data += 8;
		refs.via = below ? CA_VIA_UNKNOWN : CA_VIA_VALUE;
		v->refs(v, &refs);
	}
}
