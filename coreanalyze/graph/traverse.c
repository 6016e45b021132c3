/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The objects' edges, each object once, by ranges of nodes. */
#include <stdlib.h>

#include "private.h"

enum { BATCH = 64 };

/* What a worker has while it traverses. */
struct tracer {
	struct ca_visitor visitor; /* first: callbacks get the tracer back from it */
	const struct ca_builder *builder;
	struct ca_span *span;
	uint64_t tags;
	uint8_t guess;             /* flags of a guess of the present object */
	uint8_t drop;              /* flags that its edges do not have */
};

static void append(struct tracer *tracer, ca_node to, uint8_t flags)
{
	struct ca_span *span = tracer->span;

	if (!to) /* a damaged type is no object */
		return;
	if (ca_bit(tracer->builder->program, to))
		flags |= CA_EDGE_PROGRAM;
	span->to[span->count] = to;
	span->flags[span->count++] = flags & (uint8_t)~tracer->drop;
}

static uint8_t flags_of(const struct tracer *tracer, enum ca_held held)
{
	switch (held) {
	case CA_HELD_GUESS:
		return tracer->guess;
	case CA_HELD_GC:
		return CA_EDGE_GC | CA_EDGE_STRONG;
	case CA_HELD_HIDDEN:
		return CA_EDGE_STRONG;
	case CA_HELD_VISITED:
		return CA_EDGE_GC;
	case CA_HELD_UNSURE:
	case CA_HELD_WEAK:
		break;
	}
	return 0;
}

static void visit_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct tracer *tracer = (struct tracer *)v;
	uint8_t flags = ca_refs_are_edges(refs) ? flags_of(tracer, refs->held) : 0;
	uint64_t tags = refs->held == CA_HELD_GUESS ? tracer->tags : 0;
	ca_node nodes[BATCH];

	for (uint64_t i = 0; flags && i < refs->count; i += BATCH) {
		size_t count = refs->count - i < BATCH ? refs->count - i : BATCH;

		ca_objects_find_all(tracer->builder->objects, refs->data + i * refs->stride,
				    refs->stride, count, tags, nodes);
		ca_span_reserve(tracer->span, count);
		for (size_t n = 0; n < count; n++)
			if (nodes[n])
				append(tracer, nodes[n], flags);
	}
}

static void visit_buffer(struct ca_visitor *v, ca_addr start, uint64_t bytes, enum ca_buffer how)
{
	(void)v;
	(void)start;
	(void)bytes;
	(void)how;
}

/* The last edge of an object is the one to its type, where it has one. */
static void visit_type(struct tracer *tracer, struct ca_reader *reader, const struct ca_object *object)
{
	uint8_t flags = flags_of(tracer, ca_object_type_held(reader, object));
	ca_node node = flags ? ca_objects_find(tracer->builder->objects, object->type->address) : 0;

	if (!node)
		return;
	ca_span_reserve(tracer->span, 1);
	append(tracer, node, flags | CA_EDGE_PROGRAM);
}

/* A function's globals and builtins are the program's, whether a module has them or not. */
static void mark_namespaces(struct tracer *tracer, const struct ca_object *object, uint64_t begin)
{
	const struct ca_builder *builder = tracer->builder;
	const struct ca_layout *layout = &builder->objects->rt->layout;
	const int32_t fields[] = {layout->function.func_globals, layout->function.func_builtins};
	struct ca_span *span = tracer->span;

	for (size_t f = 0; f < CA_COUNT(fields); f++) {
		ca_node node = !ca_has(fields[f]) || (uint64_t)fields[f] + 8 > object->readable
				       ? 0
				       : ca_objects_find(builder->objects, ca_load_u64(object->at + fields[f]));

		for (uint64_t i = begin; node && i < span->count; i++)
			if (span->to[i] == node)
				span->flags[i] |= CA_EDGE_PROGRAM;
	}
}

static bool is_interned(const struct ca_builder *builder, ca_node node)
{
	for (size_t i = 0; i < builder->interned_count; i++)
		if (builder->interned[i] == node)
			return true;
	return false;
}

static uint64_t count_of(const struct ca_objects *objects, ca_node node)
{
	const uint8_t *head = ca_image_at(objects->image, ca_objects_address(objects, node), 16);

	return head ? ca_object_refcount(&objects->rt->layout, head) : 0;
}

/*
 * 3.11: objects that are compiled in refer to None and to types without counting
 * them; what they refer to of their own sort has no count to speak of.
 */
static void drop_uncounted(struct tracer *tracer, const struct ca_object *object, uint64_t begin)
{
	const struct ca_objects *objects = tracer->builder->objects;
	uint64_t forever = (uint64_t)objects->rt->layout.c.static_refcount / 2;
	struct ca_span *span = tracer->span;

	if (!forever || ca_object_refcount(&objects->rt->layout, object->at) <= forever)
		return;
	for (uint64_t i = begin; i < span->count; i++)
		if (ca_image_module(objects->image, ca_objects_address(objects, span->to[i])) &&
		    count_of(objects, span->to[i]) <= forever)
			span->flags[i] &= (uint8_t)~CA_EDGE_STRONG;
}

static void trace_object(struct tracer *tracer, struct ca_reader *reader, ca_node node,
			 ca_addr address)
{
	struct ca_object object;
	uint64_t begin = tracer->span->count;

	if (!ca_object_read(reader, address, &object))
		return;
	tracer->guess = CA_EDGE_GUESS | CA_EDGE_STRONG | (object.type->gc ? CA_EDGE_GC : 0);
	tracer->drop = is_interned(tracer->builder, node) ? CA_EDGE_STRONG : 0;
	ca_object_traverse(reader, &object, &tracer->visitor);
	tracer->drop = 0;
	visit_type(tracer, reader, &object);
	drop_uncounted(tracer, &object, begin);
	if (tracer->builder->is_function[ca_node_type(tracer->builder->objects, node)])
		mark_namespaces(tracer, &object, begin);
}

static void trace_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct ca_builder *builder = arg;
	const struct ca_objects *objects = builder->objects;
	struct ca_span span = {0};
	struct tracer tracer = {.visitor = {visit_refs, visit_buffer}, .builder = builder, .span = &span,
				.tags = (uint64_t)objects->rt->layout.c.stackref_tags};
	struct ca_cursor cursor;

	if (!worker)
		ca_progress(builder->ctx, "following references", begin, objects->count);
	ca_span_reserve(&span, CA_SPAN_NODES);
	ca_cursor_seek(&cursor, objects, (ca_node)begin + 1);
	for (size_t i = begin; i < end; i++, ca_cursor_next(&cursor)) {
		uint64_t before = span.count;

		if (__atomic_load_n(&builder->edge_count, __ATOMIC_RELAXED) + before > builder->edge_limit)
			break;
		trace_object(&tracer, &builder->readers[worker], cursor.node, cursor.address);
		builder->graph->first[cursor.node] = span.count - before;
	}
	__atomic_fetch_add(&builder->edge_count, span.count, __ATOMIC_RELAXED);
	ca_span_join(builder, begin / CA_SPAN_NODES, &span);
}

/* Numbers of edges become the places where they begin. */
static void sum_counts(struct ca_graph *graph)
{
	uint64_t at = 0;

	for (ca_node node = 1; node <= graph->object_count; node++) {
		uint64_t count = graph->first[node];

		graph->first[node] = at;
		at += count;
	}
	graph->first[graph->object_count + 1] = at;
}

/* By type: is it of this kind? */
static bool *types_of(const struct ca_objects *objects, const char *kind)
{
	bool *is = ca_alloc(objects->type_count + 1ull);

	for (uint32_t i = 0; i < objects->type_count; i++)
		is[i] = ca_type_is(objects->types[i].type, kind);
	return is;
}

/* Modules and their dicts: what leads into them is the program's structure. */
static void mark_program(struct ca_builder *builder)
{
	const struct ca_objects *objects = builder->objects;
	int32_t md_dict = objects->rt->layout.module.md_dict;
	bool *is_module = types_of(objects, "module");

	builder->program = ca_alloc((objects->count / 64 + 1ull) * sizeof(*builder->program));
	for (ca_node node = 1; node <= objects->count && ca_has(md_dict); node++) {
		uint64_t dict = 0;

		if (!is_module[ca_node_type(objects, node)])
			continue;
		ca_set_bit(builder->program, node);
		ca_image_u64(objects->image, ca_objects_address(objects, node) + (uint64_t)md_dict, &dict);
		dict = ca_objects_find(objects, dict);
		if (dict)
			ca_set_bit(builder->program, (ca_node)dict);
	}
	free(is_module);
}

/* Each reference is a word of the process, or one of an object's to its type. */
static uint64_t most_edges(const struct ca_objects *objects)
{
	const struct ca_image *image = objects->image;
	uint64_t bytes = 0;

	for (size_t i = 0; i < image->segment_count; i++)
		bytes += image->segments[i].end - image->segments[i].start;
	return bytes / 4 + 4ull * objects->count;
}

struct ca_error *ca_graph_traverse(struct ca_builder *builder)
{
	const struct ca_objects *objects = builder->objects;

	mark_program(builder);
	builder->is_function = types_of(objects, "function");
	builder->edge_limit = most_edges(objects);
	builder->span_count = objects->count / CA_SPAN_NODES + 1;
	builder->spans = ca_alloc(builder->span_count * sizeof(*builder->spans));
	ca_parallel(builder->ctx, objects->count, CA_SPAN_NODES, trace_range, builder);
	free(builder->program);
	free(builder->is_function);
	free(builder->spans);
	builder->graph->to = builder->edges.to;
	builder->graph->flags = builder->edges.flags;
	builder->graph->edge_count = builder->edges.count;
	sum_counts(builder->graph);
	if (builder->edge_count <= builder->edge_limit)
		return NULL;
	return ca_error_make(CA_TARGET, "the objects' references cannot be followed", "",
			     "damaged objects say that they have more references than the process had memory");
}
