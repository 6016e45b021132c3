/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The oracle: what does the interpreter's own code say of our edges? */
#include <stdlib.h>

#include "open.h"

/* Words of a reference list, as they come. */
struct words {
	ca_addr *items;
	size_t count, capacity;
};

static void add_word(struct words *words, ca_addr word)
{
	words->items = ca_grow(words->items, &words->capacity, words->count + 1, sizeof(*words->items));
	words->items[words->count++] = word;
}

static int word_order(const void *a, const void *b)
{
	const ca_addr *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* ---- which objects -------------------------------------------------------- */

/* The sampled objects of a type. */
struct sample {
	ca_addr function; /* tp_traverse; 0: has none */
	bool is_meta;
	uint32_t seen;
	uint32_t step;    /* every so many-th is taken */
	struct words addresses;
};

/* gc.get_referents() passes static types by: they are not the collector's (tp_is_gc). */
static bool has_head(const struct ca_objects *objects, ca_addr address, const struct sample *sample)
{
	uint64_t flags;

	return !sample->is_meta ||
	       (ca_image_u64(objects->image, address + (uint64_t)objects->rt->layout.type.tp_flags,
			     &flags) &&
		flags & CA_TPFLAGS_HEAPTYPE);
}

static struct sample *choose(const struct ca_objects *objects, unsigned samples)
{
	struct sample *chosen = ca_alloc((objects->type_count + 1) * sizeof(*chosen));
	int32_t at = objects->rt->layout.type.tp_traverse;
	struct ca_cursor cursor;

	for (uint32_t node = 1; node <= objects->count; node++)
		chosen[objects->type[node]].seen++;
	for (uint32_t i = 0; i < objects->type_count; i++) {
		const struct ca_type *type = objects->types[i].type;

		if (type->gc)
			ca_image_u64(objects->image, type->address + (uint64_t)at, &chosen[i].function);
		chosen[i].step = samples && chosen[i].seen > samples ? chosen[i].seen / samples : 1;
		chosen[i].is_meta = type->is_meta;
		chosen[i].seen = 0;
	}
	for (ca_cursor_init(&cursor, objects); cursor.node; ca_cursor_next(&cursor)) {
		struct sample *sample = &chosen[objects->type[cursor.node]];

		if (sample->function && has_head(objects, cursor.address, sample) && sample->seen++ % sample->step == 0 &&
		    (!samples || sample->addresses.count < samples))
			add_word(&sample->addresses, cursor.address);
	}
	return chosen;
}

/* ---- comparing ------------------------------------------------------------ */

struct comparison {
	struct ca_visitor visitor; /* first: callbacks get the comparison back from it */
	const struct ca_objects *objects;
	struct ca_reader *reader;
	const ca_addr *addresses;
	struct ca_deep_row *row;
	struct words ours, theirs;
};

static void add_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct comparison *c = (struct comparison *)v;
	bool guess = refs->held == CA_HELD_GUESS;

	if (!guess && refs->held != CA_HELD_GC && refs->held != CA_HELD_VISITED)
		return;
	for (uint64_t i = 0; i < refs->count; i++) {
		ca_addr word = ca_load_u64(refs->data + i * refs->stride);

		if (word && (!guess || ca_objects_find(c->objects, word)))
			add_word(&c->ours, word);
	}
}

static void add_buffer(struct ca_visitor *v, ca_addr start, uint64_t bytes, enum ca_buffer how)
{
	(void)v;
	(void)start;
	(void)bytes;
	(void)how;
}

/* Counts what only one of two sorted lists has. */
static void count_differences(const struct words *ours, const struct words *theirs, uint64_t *more,
			      uint64_t *missing)
{
	size_t i = 0, k = 0;

	*more = *missing = 0;
	while (i < ours->count || k < theirs->count) {
		if (k == theirs->count || (i < ours->count && ours->items[i] < theirs->items[k])) {
			++*more;
			i++;
		} else if (i == ours->count || theirs->items[k] < ours->items[i]) {
			++*missing;
			k++;
		} else {
			i++;
			k++;
		}
	}
}

static void compare(void *arg, size_t index, enum ca_emulated how, const ca_addr *refs, size_t count)
{
	struct comparison *c = arg;
	struct ca_object object;
	uint64_t more, missing;

	if (!ca_object_read(c->reader, c->addresses[index], &object))
		return;
	c->row->objects++;
	if (how != CA_EMULATED_WELL) {
		c->row->not_emulated++;
		c->row->why = how;
		return;
	}
	c->ours.count = c->theirs.count = 0;
	ca_object_traverse(c->reader, &object, &c->visitor);
	for (size_t i = 0; i < count; i++)
		add_word(&c->theirs, refs[i]);
	if (c->ours.count)
		qsort(c->ours.items, c->ours.count, sizeof(ca_addr), word_order);
	if (count)
		qsort(c->theirs.items, count, sizeof(ca_addr), word_order);
	count_differences(&c->ours, &c->theirs, &more, &missing);
	c->row->more += more;
	c->row->missing += missing;
	if (!more && !missing)
		c->row->equal++;
	else if (!c->row->different)
		c->row->different = object.address;
}

static void add_to_sum(struct ca_deep_row *sum, const struct ca_deep_row *row)
{
	sum->objects += row->objects;
	sum->equal += row->equal;
	sum->not_emulated += row->not_emulated;
	sum->missing += row->missing;
	sum->more += row->more;
}

void ca_deep_build(struct ca_objects *objects, unsigned samples, struct ca_deep *deep)
{
	struct sample *chosen = choose(objects, samples);
	struct ca_emulator *emulator = ca_emulator_make(objects->rt);
	struct comparison c = {.visitor = {add_refs, add_buffer}, .objects = objects};

	*deep = (struct ca_deep){0};
	deep->rows = ca_alloc((objects->type_count + 1) * sizeof(*deep->rows));
	c.reader = ca_alloc(sizeof(*c.reader));
	ca_reader_init(c.reader, &objects->types_registry);
	for (uint32_t i = 0; i < objects->type_count; i++) {
		ca_progress(objects->ctx, "running tp_traverse", i, objects->type_count);
		if (!chosen[i].addresses.count)
			continue;
		c.addresses = chosen[i].addresses.items;
		c.row = &deep->rows[deep->count++];
		c.row->type = &objects->types[i];
		ca_emulator_traverse(emulator, chosen[i].function, c.addresses,
				     chosen[i].addresses.count, compare, &c);
		add_to_sum(&deep->sum, c.row);
		free(chosen[i].addresses.items);
	}
	ca_emulator_close(emulator);
	free(c.reader);
	free(c.ours.items);
	free(c.theirs.items);
	free(chosen);
}

void ca_deep_fini(struct ca_deep *deep)
{
	free(deep->rows);
}
