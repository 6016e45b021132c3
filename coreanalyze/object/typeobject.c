/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Types as objects. */
#include "kind.h"

bool ca_type_shape(struct ca_reader *reader, const struct ca_object *object, struct ca_shape *shape)
{
	const struct ca_layout *layout = reader->layout;

	shape->slack = UINT32_MAX;
	if (!object->pre) {
		shape->extent = shape->shallow = layout->type.size;
		return true;
	}
	shape->shallow = layout->heaptype.size;
	return object->type->basicsize >= (uint32_t)layout->heaptype.size &&
	       ca_var_extent(object, (uint64_t)ca_ob_size(reader, object), &shape->extent);
}

/*
 * Objects/structseq.c gives static types a table of members of their own, which
 * ends with one without name (struct PyMemberDef: 40 bytes, the name first).
 */
static void visit_members(struct ca_reader *reader, const struct ca_object *object,
			  struct ca_visitor *v)
{
	enum { MEMBER_BYTES = 40, MAX_MEMBERS = 4096 };
	ca_addr members = ca_word(object, reader->layout->type.tp_members);
	uint64_t count = 0, name;

	if (!members || ca_image_module(reader->image, members))
		return;
	while (count < MAX_MEMBERS &&
	       ca_image_u64(reader->image, members + count * MEMBER_BYTES, &name) && name)
		count++;
	v->buffer(v, members, (count + 1) * MEMBER_BYTES, CA_BUFFER_OWNED);
}

/*
 * A static type's base is what the source says, which nobody counts, or object,
 * which PyType_Ready() puts in where the source says nothing.
 */
static bool counts_base(const struct ca_reader *reader, const struct ca_object *object)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t above = 0;

	if (object->pre)
		return true;
	ca_image_u64(reader->image,
		     ca_word(object, layout->type.tp_base) + (uint64_t)layout->type.tp_base, &above);
	return layout->c.static_type_base && !above;
}

/* What hangs on a type's own words. Static ones are not the collector's. */
static void visit_fields(const struct ca_reader *reader, const struct ca_object *object,
			 struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	const struct {
		int32_t at;
		bool visited;
		const char *name;
	} fields[] = {
		{layout->type.tp_base, true, "__base__"},
		{layout->type.tp_bases, true, "__bases__"},
		{layout->type.tp_mro, true, "__mro__"},
		{layout->type.tp_cache, true, "tp_cache"},
		{layout->type.tp_subclasses, false, "__subclasses__"},
		{layout->heaptype.ht_name, false, "__name__"},
		{layout->heaptype.ht_qualname, false, "__qualname__"},
		{layout->heaptype.ht_slots, false, "__slots__"},
		{layout->heaptype.ht_module, true, "__module__"},
	};
	bool heap = object->pre;

	for (size_t i = 0; i < CA_COUNT(fields); i++) {
		enum ca_held held = heap && fields[i].visited ? CA_HELD_GC : CA_HELD_HIDDEN;

		if (fields[i].at == layout->type.tp_base && !counts_base(reader, object))
			held = CA_HELD_WEAK;
		if (heap || fields[i].at < layout->type.size)
			ca_visit_own(object, fields[i].at, 1, held, fields[i].name, v);
	}
}

static void visit_namespace(const struct ca_object *object, ca_addr dict, const char *name,
			    struct ca_visitor *v)
{
	if (dict)
		v->refs(v, &(struct ca_refs){.data = (const uint8_t *)&dict, .count = 1, .stride = 8,
					     .held = object->pre ? CA_HELD_GC : CA_HELD_HIDDEN,
					     .via = CA_VIA_ATTR, .name = name});
}

/* 3.12+: a static type has a namespace in each interpreter. */
static void visit_namespaces(struct ca_reader *reader, const struct ca_object *object,
			     struct ca_visitor *v)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr dict = ca_word(object, layout->type.tp_dict);

	visit_namespace(object, dict, "__dict__", v);
	if (dict || object->pre)
		return;
	for (size_t i = 0; i < reader->rt->interp_count; i++) {
		ca_addr state = ca_static_type_state(reader, &reader->rt->interps[i], object->at,
						     object->address);
		uint64_t word;

		if (!state)
			continue;
		if (ca_image_u64(reader->image, state + (uint64_t)layout->static_type_state.tp_dict, &word))
			visit_namespace(object, word, "__dict__", v);
		if (ca_image_u64(reader->image,
				 state + (uint64_t)layout->static_type_state.tp_subclasses, &word))
			visit_namespace(object, word, "__subclasses__", v);
	}
}

/* keys_are: what the table of its instances' attributes is to it. */
void ca_visit_type(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v,
		   enum ca_buffer keys_are)
{
	const struct ca_layout *layout = reader->layout;
	struct ca_keys keys;

	visit_fields(reader, object, v);
	visit_namespaces(reader, object, v);
	if (!object->pre) {
		visit_members(reader, object, v);
		return;
	}

	ca_addr table = ca_word(object, layout->heaptype.ht_cached_keys);

	if (table && ca_keys_parse(reader->image, layout, table, &keys)) {
		v->buffer(v, table, keys.bytes, keys_are);
		ca_visit_keys(reader, v, &keys, CA_HELD_HIDDEN);
	}
	if (ca_has(layout->heaptype._ht_tpname))
		ca_visit_text(reader, v, ca_word(object, layout->heaptype._ht_tpname),
			      CA_BUFFER_OWNED);
	ca_visit_text(reader, v, ca_word(object, layout->type.tp_doc), CA_BUFFER_OWNED);
}

void ca_type_traverse(struct ca_reader *reader, const struct ca_object *object,
		      struct ca_visitor *v)
{
	ca_visit_type(reader, object, v, CA_BUFFER_COUNTED);
}
