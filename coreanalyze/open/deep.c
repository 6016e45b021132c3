/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The oracle: what does the interpreter's own code say of our edges? */
#include <stdlib.h>

#include "instances.h"

/* ---- comparing ------------------------------------------------------------ */

struct comparison {
	struct ca_visitor visitor; /* first: callbacks get the comparison back from it */
	const struct ca_objects *objects;
	struct ca_reader *reader;
	const ca_addr *addresses;
	struct ca_deep_row *row;
	struct ca_words ours, theirs;
};

static void add_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct comparison *c = (struct comparison *)v;
	if (refs->held != CA_HELD_GC && refs->held != CA_HELD_VISITED && refs->held != CA_HELD_GUESS)
		return;
	for (uint64_t i = 0; i < refs->count; i++) {
		ca_addr word = ca_load_u64(refs->data + i * refs->stride);

		if (word && ca_objects_find(c->objects, word))
			ca_words_add(&c->ours, word);
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
static void count_differences(const struct ca_words *ours, const struct ca_words *theirs, uint64_t *more,
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
	if (ca_object_type_held(c->reader, &object) == CA_HELD_GC)
		ca_words_add(&c->ours, object.type->address);
	for (size_t i = 0; i < count; i++)
		ca_words_add(&c->theirs, refs[i]);
	ca_words_sort(&c->ours);
	ca_words_sort(&c->theirs);
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

static bool any_type(const struct ca_type *type)
{
	(void)type;
	return true;
}

void ca_deep_build(struct ca_objects *objects, unsigned samples, struct ca_deep *deep)
{
	struct ca_instances *chosen = ca_instances_choose(objects, samples, any_type);
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
	}
	ca_emulator_close(emulator);
	free(c.reader);
	free(c.ours.items);
	free(c.theirs.items);
	ca_instances_free(chosen, objects->type_count);
}

void ca_deep_fini(struct ca_deep *deep)
{
	free(deep->rows);
}
