/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ways from one object to another, as Python would write them. Nothing of them
 * is kept: the source is traversed again, in the order in which its edges were
 * made.
 */
#include <stdlib.h>

#include "private.h"

/* Where a traversal has an edge: in which of the visitor's calls, and at which reference. */
struct place {
	uint32_t call;
	uint64_t i;
};
#define TYPE_CALL UINT32_MAX /* the reference to the type, after all calls */

/*
 * What is known of a large object: who asks for one edge often asks for another. To
 * whom asks for many they are sorted.
 */
enum { LARGE = 256, OFTEN = 16 };
struct known {
	struct place *places; /* of each edge */
	uint64_t *by_target;  /* edges, sorted by what they lead to; NULL: not asked often */
	unsigned asked;
};
struct ca_label_cache {
	struct ca_map sources; /* node -> index in items */
	struct known *items;
	size_t count, capacity;
};

/* Follows a source's edges as build did. First member: callbacks get it back from the visitor. */
struct teller {
	struct ca_visitor visitor;
	const struct ca_graph *graph;
	struct ca_reader *reader;
	const struct ca_object *object; /* NULL: a root's frame */
	ca_addr frame;
	struct ca_arena *arena;
	bool redact;
	struct ca_edges edges;
	uint64_t index;  /* of the next edge */
	uint64_t wanted; /* index of the only one to be told, or UINT64_MAX */
	ca_node only;    /* the target of those to be told, or 0 */
	struct place *places;   /* of each edge, where only some are told */
	const uint64_t *chosen; /* these: [chosen_count], ascending */
	uint64_t chosen_count, told;
	uint32_t call;
	void (*call_back)(void *arg, uint64_t index, const char *label);
	void *arg;
};

/* ---- names ----------------------------------------------------------------- */

static const struct ca_type *type_of(const struct ca_graph *graph, ca_node node)
{
	return graph->objects->types[ca_node_type(graph->objects, node)].type;
}

bool ca_code_has_names(const struct ca_graph *graph, ca_node code, ca_addr tuple)
{
	const struct ca_objects *objects = graph->objects;
	const struct ca_layout *layout = &objects->rt->layout;
	const int32_t fields[] = {layout->code.co_names, layout->code.co_varnames, layout->code.co_freevars,
				  layout->code.co_cellvars, layout->code.co_localsplusnames};
	ca_addr at = ca_objects_address(objects, code);
	uint64_t word;

	for (size_t i = 0; i < CA_COUNT(fields); i++)
		if (ca_has(fields[i]) && ca_image_u64(objects->image, at + (uint64_t)fields[i], &word) &&
		    word == tuple)
			return true;
	return false;
}

static bool is_object(const struct ca_graph *graph, ca_node node)
{
	return node && !ca_node_is_root(graph, node);
}

static bool is_name_tuple(const struct ca_graph *graph, ca_node tuple)
{
	struct ca_edges in = ca_graph_in(graph, tuple);
	ca_addr address = ca_objects_address(graph->objects, tuple);

	for (uint64_t i = 0; i < in.count; i++)
		if (is_object(graph, in.nodes[i]) && ca_type_is(type_of(graph, in.nodes[i]), "code") &&
		    ca_code_has_names(graph, in.nodes[i], address))
			return true;
	return false;
}

/* What a code object names, and what a class's instances have, are names. */
static bool is_attribute_name(const struct ca_graph *graph, ca_addr address)
{
	ca_node node = ca_objects_find(graph->objects, address);
	struct ca_edges in;

	if (!node)
		return false;
	in = ca_graph_in(graph, node);
	for (uint64_t i = 0; i < in.count; i++) {
		const struct ca_type *type;

		if (!is_object(graph, in.nodes[i]))
			continue;
		type = type_of(graph, in.nodes[i]);
		if (type->is_meta ||
		    (type->flags & CA_TPFLAGS_TUPLE_SUBCLASS && is_name_tuple(graph, in.nodes[i])))
			return true;
	}
	return false;
}

static bool read_str(struct teller *t, ca_addr address, struct ca_object *str)
{
	return ca_object_read(t->reader, address, str) && str->type->flags & CA_TPFLAGS_UNICODE_SUBCLASS;
}

static const char *redacted(struct teller *t, const struct ca_object *object)
{
	if (object->type->flags & CA_TPFLAGS_UNICODE_SUBCLASS)
		return ca_arena_printf(t->arena, "[str #%llu]",
				       (unsigned long long)ca_load_u64(
					       object->at + t->reader->layout->ascii.length));
	return ca_arena_printf(t->arena, "[%s]", ca_type_name(t->reader, object->type, t->arena));
}

/* A key as repr() writes it, or what may be told of it. */
static const char *key_text(struct teller *t, ca_addr address)
{
	struct ca_object key;
	const char *value;

	if (!ca_object_read(t->reader, address, &key))
		return "?";
	if (t->redact && !(key.type->flags & CA_TPFLAGS_UNICODE_SUBCLASS &&
			   is_attribute_name(t->graph, address)))
		return redacted(t, &key);
	value = ca_object_value(t->reader, &key, t->arena);
	return value ? value
		     : ca_arena_printf(t->arena, "<%s at 0x%llx>",
				       ca_type_name(t->reader, key.type, t->arena),
				       (unsigned long long)address);
}

/* An attribute's or a variable's name, bare. */
static const char *name_text(struct teller *t, ca_addr address)
{
	enum { SHOWN = 200 };
	struct ca_object str;

	return read_str(t, address, &str) ? ca_str_text(t->reader, &str, t->arena, SHOWN) : "?";
}

static const char *element_text(struct teller *t, const struct ca_element *element, uint64_t index)
{
	const char *text = element->dimensions ? ca_arena_printf(t->arena, "%s[%llu]",
								 element->dimensions == 1 ? "" : ".flat",
								 (unsigned long long)index)
					       : "[()]";

	for (uint32_t i = 0; i < element->step_count; i++) {
		const struct ca_step *step = &element->steps[i];

		if (step->kind == CA_STEP_FIELD)
			text = ca_arena_printf(t->arena, "%s[%s]", text, key_text(t, step->key));
		else
			text = ca_arena_printf(t->arena, "%s%s[%llu]", text,
					       step->kind == CA_STEP_FLAT ? ".flat" : "",
					       (unsigned long long)step->index);
	}
	return text;
}

/* The frame that is in an object, or is one. */
static const char *place_of(struct teller *t)
{
	const struct ca_layout *layout = t->reader->layout;
	const char *place = NULL;
	ca_addr frame = t->object ? t->object->address : t->frame;
	int32_t to = -1;

	if (!t->object)
		;
	else if (ca_type_is(t->object->type, "frame"))
		to = layout->frame.f_frame;
	else if (ca_has(layout->gen.gi_iframe))
		frame += (uint64_t)layout->gen.gi_iframe;
	else
		to = layout->gen.gi_frame;
	if (!ca_has(to) || ca_image_u64(t->reader->image, frame + (uint64_t)to, &frame))
		place = ca_frame_place(t->reader, frame, t->arena);
	return place ? place : "a frame";
}

/* ---- labels ----------------------------------------------------------------- */

static const char *label_of(struct teller *t, const struct ca_refs *refs, uint64_t i)
{
	ca_addr name = refs->names ? ca_load_u64(refs->names + i * refs->names_stride) : 0;
	const char *field = refs->name ? refs->name : "?";

	switch (refs->via) {
	case CA_VIA_ATTR:
		return ca_arena_printf(t->arena, ".%s", field);
	case CA_VIA_INDEX:
		return ca_arena_printf(t->arena, "[%llu]", (unsigned long long)(refs->first + i));
	case CA_VIA_VALUE:
		return ca_arena_printf(t->arena, "[%s]", key_text(t, name));
	case CA_VIA_KEY:
		return ca_arena_printf(t->arena, "key %s", key_text(t, name));
	case CA_VIA_MEMBER:
		return "member";
	case CA_VIA_NAMED:
		return ca_arena_printf(t->arena, ".%s", name_text(t, name));
	case CA_VIA_LOCAL:
		return ca_arena_printf(t->arena, CA_LABEL_LOCAL "%s' in %s", name_text(t, name), place_of(t));
	case CA_VIA_STACK:
		return ca_arena_printf(t->arena, CA_LABEL_STACK "%s", place_of(t));
	case CA_VIA_INSIDE:
		return ca_arena_printf(t->arena, "(%s)", field);
	case CA_VIA_ELEMENT:
		return element_text(t, refs->element, refs->first + i);
	case CA_VIA_UNKNOWN:
		break;
	}

	const uint8_t *at = refs->data + i * refs->stride;
	struct ca_shape shape;

	if (!t->object || !ca_object_shape(t->reader, t->object, &shape) || at < t->object->at ||
	    at >= t->object->at + shape.extent)
		return "(memory of its own)";

	const char *member = ca_member_name(t->reader, t->object->type, (uint64_t)(at - t->object->at), t->arena);

	return member ? ca_arena_printf(t->arena, ".%s", member)
		      : ca_arena_printf(t->arena, "(+%llu)", (unsigned long long)(at - t->object->at));
}

/* A root's edges are strong. */
static bool are_edges(const struct teller *t, const struct ca_refs *refs)
{
	return ca_refs_are_edges(refs) &&
	       (t->object || refs->held == CA_HELD_GC || refs->held == CA_HELD_HIDDEN);
}

/* Calls for each of the references that is an edge. */
static void each_edge(struct teller *t, const struct ca_refs *refs,
		      void (*call)(struct teller *, const struct ca_refs *, uint64_t))
{
	enum { BATCH = 64 };
	uint64_t tags = refs->held == CA_HELD_GUESS ? (uint64_t)t->reader->layout->c.stackref_tags : 0;
	ca_node nodes[BATCH];

	for (uint64_t i = 0; are_edges(t, refs) && i < refs->count; i += BATCH) {
		size_t count = refs->count - i < BATCH ? refs->count - i : BATCH;

		ca_objects_find_all(t->graph->objects, refs->data + i * refs->stride, refs->stride,
				    count, tags, nodes);
		for (size_t n = 0; n < count; n++)
			if (nodes[n] && t->index < t->edges.count)
				call(t, refs, i + n);
	}
}

static void no_buffer(struct ca_visitor *v, ca_addr start, uint64_t bytes, enum ca_buffer how)
{
	(void)v;
	(void)start;
	(void)bytes;
	(void)how;
}

/* Of roots only a frame has names for what it holds. */
static void traverse(struct teller *t, ca_node from,
		     void (*refs)(struct ca_visitor *, const struct ca_refs *))
{
	t->visitor = (struct ca_visitor){refs, no_buffer};
	t->index = t->call = 0;
	if (t->object) {
		ca_object_traverse(t->reader, t->object, &t->visitor);
	} else if (ca_graph_root(t->graph, from)->kind == CA_ROOT_FRAME &&
		   ca_has(t->reader->layout->iframe.previous)) {
		t->frame = ca_graph_root(t->graph, from)->address;
		ca_iframe_traverse(t->reader, t->frame, &t->visitor);
	}
}

/* ---- all edges of a source --------------------------------------------------- */

static void tell_edge(struct teller *t, const struct ca_refs *refs, uint64_t i)
{
	t->call_back(t->arg, t->index, label_of(t, refs, i));
	t->index++;
}

static void tell_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	each_edge((struct teller *)v, refs, tell_edge);
}

static void tell_all(struct teller *t, ca_node from)
{
	traverse(t, from, tell_refs);
	if (t->object && t->index < t->edges.count)
		t->call_back(t->arg, t->index, ".__class__");
}

/* ---- some of them -------------------------------------------------------------- */

static void place_edge(struct teller *t, const struct ca_refs *refs, uint64_t i)
{
	(void)refs;
	t->places[t->index++] = (struct place){t->call, i};
}

static void place_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct teller *t = (struct teller *)v;

	each_edge(t, refs, place_edge);
	t->call++;
}

static struct place *find_places(struct teller *t, ca_node from)
{
	t->places = ca_alloc((t->edges.count + 1) * sizeof(*t->places));
	traverse(t, from, place_refs);
	while (t->index < t->edges.count) /* the last one, where an object holds its type */
		t->places[t->index++] = (struct place){TYPE_CALL, 0};
	return t->places;
}

static void tell_placed(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct teller *t = (struct teller *)v;

	for (; t->told < t->chosen_count; t->told++) {
		uint64_t index = t->chosen[t->told];

		if (t->places[index].call != t->call)
			break;
		t->call_back(t->arg, index, label_of(t, refs, t->places[index].i));
	}
	t->call++;
}

static void tell_chosen(struct teller *t, ca_node from)
{
	traverse(t, from, tell_placed);
	for (; t->object && t->told < t->chosen_count; t->told++)
		t->call_back(t->arg, t->chosen[t->told], ".__class__");
}

static int by_target(const void *a, const void *b, void *edges)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	const ca_node *to = ((const struct ca_edges *)edges)->nodes;

	return to[x] != to[y] ? (to[x] < to[y] ? -1 : 1) : x < y ? -1 : 1;
}

static uint64_t *sort_by_target(struct ca_edges edges)
{
	uint64_t *order = ca_alloc(edges.count * sizeof(*order));

	for (uint64_t i = 0; i < edges.count; i++)
		order[i] = i;
	qsort_r(order, edges.count, sizeof(*order), by_target, &edges);
	return order;
}

/* The first edge, in that order, that leads to the node or beyond. */
static uint64_t first_to(const struct teller *t, const uint64_t *order, uint64_t node)
{
	uint64_t low = 0, high = t->edges.count;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (t->edges.nodes[order[middle]] < node)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void tell_sorted(struct teller *t, ca_node from, const uint64_t *order)
{
	uint64_t first = first_to(t, order, t->only);

	t->chosen = order + first;
	t->chosen_count = first_to(t, order, t->only + 1ull) - first;
	tell_chosen(t, from);
}

static void tell_some(struct teller *t, ca_node from)
{
	uint64_t *chosen = NULL;
	size_t capacity = 0;

	for (uint64_t i = 0; t->only && i < t->edges.count; i++) {
		if (t->edges.nodes[i] != t->only)
			continue;
		chosen = ca_grow(chosen, &capacity, t->chosen_count + 1, sizeof(*chosen));
		chosen[t->chosen_count++] = i;
	}
	t->chosen = chosen;
	if (!t->only) {
		t->chosen = &t->wanted;
		t->chosen_count = t->wanted < t->edges.count;
	}
	tell_chosen(t, from);
	free(chosen);
}

static struct known *know(struct teller *t, ca_node from)
{
	struct ca_label_cache *cache = t->graph->labels;
	bool fresh;
	uint64_t *index = ca_map_add(&cache->sources, from, &fresh);

	if (fresh) {
		*index = cache->count;
		cache->items = ca_grow(cache->items, &cache->capacity, cache->count + 1,
				       sizeof(*cache->items));
		cache->items[cache->count++] = (struct known){.places = find_places(t, from)};
	}
	return &cache->items[*index];
}

static void tell_some_of_many(struct teller *t, ca_node from)
{
	struct known *known = know(t, from);

	t->places = known->places;
	if (++known->asked == OFTEN)
		known->by_target = sort_by_target(t->edges);
	if (t->only && known->by_target)
		tell_sorted(t, from, known->by_target);
	else
		tell_some(t, from);
}

static void tell(struct teller *t, ca_node from)
{
	bool all = !t->only && t->wanted == UINT64_MAX;
	struct ca_object object;

	t->edges = ca_graph_out(t->graph, from);
	if (!t->graph->objects || !from)
		return;
	if (!ca_node_is_root(t->graph, from)) {
		if (!ca_object_read(t->reader, ca_objects_address(t->graph->objects, from), &object))
			return;
		t->object = &object;
	}
	if (all) {
		tell_all(t, from);
	} else if (t->edges.count > LARGE) {
		tell_some_of_many(t, from);
	} else {
		find_places(t, from);
		tell_some(t, from);
		free(t->places);
	}
}

struct ca_label_cache *ca_label_cache_make(void)
{
	return ca_alloc(sizeof(struct ca_label_cache));
}

void ca_label_cache_free(struct ca_label_cache *cache)
{
	if (!cache)
		return;
	for (size_t i = 0; i < cache->count; i++) {
		free(cache->items[i].places);
		free(cache->items[i].by_target);
	}
	free(cache->items);
	ca_map_fini(&cache->sources);
	free(cache);
}

void ca_edge_each(const struct ca_graph *graph, struct ca_reader *reader, ca_node from, ca_node only,
		  bool redact, struct ca_arena *arena,
		  void (*call)(void *arg, uint64_t index, const char *label), void *arg)
{
	struct teller t = {.graph = graph, .reader = reader, .redact = redact, .arena = arena,
			   .only = only, .wanted = UINT64_MAX, .call_back = call, .arg = arg};

	tell(&t, from);
}

static void keep_label(void *arg, uint64_t index, const char *label)
{
	(void)index;
	*(const char **)arg = label;
}

const char *ca_edge_label(const struct ca_graph *graph, struct ca_reader *reader, ca_node from,
			  uint64_t index, bool redact, struct ca_arena *arena)
{
	const char *label = "";
	struct teller t = {.graph = graph, .reader = reader, .redact = redact, .arena = arena,
			   .wanted = index, .call_back = keep_label, .arg = &label};

	tell(&t, from);
	return label;
}
