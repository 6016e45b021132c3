/* SPDX-License-Identifier: GPL-3.0-or-later */
/* C types whose tp_traverse follows pointers of its own. */
#include "kind.h"

static uint64_t word_at(const struct ca_reader *reader, ca_addr at)
{
	uint64_t word = 0;

	ca_image_u64(reader->image, at, &word);
	return word;
}

/* A reference that is not ours to keep: the one who has it is visited too. */
static void visit_other(struct ca_visitor *v, ca_addr target, enum ca_held held, const char *name)
{
	if (target)
		v->refs(v, &(struct ca_refs){.data = (const uint8_t *)&target, .count = 1, .stride = 8,
					     .held = held, .via = name ? CA_VIA_INSIDE : CA_VIA_UNKNOWN,
					     .name = name});
}

/*
 * Modules/_functoolsmodule.c: results hang on links, which both the list and the
 * cache's dict hold. Links are not the collector's, so the wrapper visits what
 * they have.
 */
void ca_lru_traverse(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v)
{
	enum { MOST_LINKS = 1 << 26 };
	const struct ca_layout *layout = reader->layout;
	ca_addr link = ca_word(object, layout->lru.root_next);
	struct ca_loop loop = {0};

	for (int i = 0; i < MOST_LINKS && link && link != object->address; i++) {
		const uint8_t *at = ca_loop_closed(&loop, link)
					    ? NULL
					    : ca_image_at(reader->image, link, (uint64_t)layout->lru_link.size);

		if (!at)
			return;
		visit_other(v, link, CA_HELD_HIDDEN, "root");
		visit_other(v, ca_load_u64(at + layout->lru_link.key), CA_HELD_VISITED, "root");
		visit_other(v, ca_load_u64(at + layout->lru_link.result), CA_HELD_VISITED, "root");
		if (ca_has(layout->lru.elem_type))
			visit_other(v, ca_load_u64(at + layout->object.ob_type), CA_HELD_VISITED, NULL);
		link = ca_load_u64(at + layout->lru_link.next);
	}
}

/* 3.13+: a module's interface of C begins with a type that it holds (datetime, socket). */
void ca_capsule_traverse(struct ca_reader *reader, const struct ca_object *object,
			 struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;

	if (ca_word(object, layout->capsule.traverse_func))
		visit_other(v, word_at(reader, ca_word(object, layout->capsule.pointer)), CA_HELD_GC,
			    "pointer");
}

/* Modules/_sqlite/connection.c: the module's exceptions are borrowed. */
void ca_sqlite_traverse(struct ca_reader *reader, const struct ca_object *object,
			struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	struct ca_object target;

	for (int32_t at = layout->object.size; at + 8 <= (int32_t)object->type->kind_end; at += 8) {
		ca_addr word = ca_word(object, at);
		uint64_t flags = 0;

		if (word && ca_object_read(reader, word, &target) && target.type->is_meta)
			flags = ca_load_u64(target.at + layout->type.tp_flags);
		if (!(flags & CA_TPFLAGS_BASE_EXC_SUBCLASS))
			ca_visit_own(object, at, 1, CA_HELD_GC, NULL, v);
	}
}

/* Up to 3.10: nodes {key, data, count, previous, next} in a list. */
void ca_sqlite_cache_traverse(struct ca_reader *reader, const struct ca_object *object,
			      struct ca_visitor *v)
{
	enum { FIRST = 24, NODE_NEXT = 32, MOST_NODES = 1 << 20 };
	uint64_t head = (uint64_t)reader->layout->object.size;
	ca_addr node = ca_word(object, (int32_t)head + FIRST);
	struct ca_loop loop = {0};

	for (int i = 0; i < MOST_NODES && node && !ca_loop_closed(&loop, node); i++) {
		visit_other(v, node, object->type->gc ? CA_HELD_GC : CA_HELD_HIDDEN, "first");
		node = word_at(reader, node + head + NODE_NEXT);
	}
}
