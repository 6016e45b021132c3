/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What untaught types refer to, from their own tp_traverse. */
#include <stdlib.h>

#include "instances.h"

enum {
	SAMPLES = 1024, /* a type with no more is learnt from all of them */
	MAX_OFFSET = UINT16_MAX,
};

/* One type being learnt. */
struct lesson {
	const struct ca_objects *objects;
	const struct ca_type *type;
	const ca_addr *addresses;
	enum ca_emulated how;    /* the first that was not emulated, else CA_EMULATED_WELL */
	bool visits_type;
	struct ca_words refs;    /* of all instances, one after the other */
	struct ca_words ends;    /* where each one's end, in refs */
};

/* tp_traverse of an instance visits its type once, or not: that is told apart. */
static void take_refs(void *arg, size_t index, enum ca_emulated how, const ca_addr *refs,
		      size_t count)
{
	struct lesson *lesson = arg;
	bool type_seen = false;

	(void)index;
	if (how != CA_EMULATED_WELL && lesson->how == CA_EMULATED_WELL)
		lesson->how = how;
	for (size_t i = 0; i < count; i++) {
		if (refs[i] == lesson->type->address && !type_seen)
			type_seen = true;
		else
			ca_words_add(&lesson->refs, refs[i]);
	}
	lesson->visits_type |= type_seen;
	ca_words_add(&lesson->ends, lesson->refs.count);
}

static void start_lesson(struct lesson *lesson, const struct ca_words *addresses)
{
	lesson->addresses = addresses->items;
	lesson->refs.count = lesson->ends.count = 0;
	lesson->how = CA_EMULATED_WELL;
}

/* ---- the same words in all instances ---------------------------------------- */

static size_t first_ref(const struct lesson *lesson, size_t instance)
{
	return instance ? lesson->ends.items[instance - 1] : 0;
}

static bool visited(const struct lesson *lesson, size_t instance, ca_addr word)
{
	for (size_t i = first_ref(lesson, instance); i < lesson->ends.items[instance]; i++)
		if (lesson->refs.items[i] == word)
			return true;
	return false;
}

static const uint8_t *bytes_of(const struct lesson *lesson, size_t instance)
{
	return ca_image_at(lesson->objects->image, lesson->addresses[instance],
			   lesson->type->basicsize);
}

/* Leaves the offsets whose word is visited in every instance that has one there. */
static void drop_offsets(const struct lesson *lesson, struct ca_learnt *learnt)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < learnt->offset_count; i++) {
		bool good = true, any = false;

		for (size_t k = 0; good && k < lesson->ends.count; k++) {
			const uint8_t *at = bytes_of(lesson, k);
			ca_addr word = at ? ca_load_u64(at + learnt->offsets[i]) : 0;

			any |= word != 0;
			good = !word || visited(lesson, k, word);
		}
		if (good && any)
			learnt->offsets[kept++] = learnt->offsets[i];
	}
	learnt->offset_count = kept;
}

/* Do the words at the offsets give what was visited, with multiplicity? */
static bool offsets_tell(const struct lesson *lesson, const struct ca_learnt *learnt, size_t instance)
{
	const uint8_t *at = bytes_of(lesson, instance);
	size_t first = first_ref(lesson, instance);
	struct ca_words told = {0}, refs = {0};
	bool same;

	for (uint32_t i = 0; at && i < learnt->offset_count; i++) {
		ca_addr word = ca_load_u64(at + learnt->offsets[i]);

		if (word)
			ca_words_add(&told, word);
	}
	for (size_t i = first; i < lesson->ends.items[instance]; i++)
		ca_words_add(&refs, lesson->refs.items[i]);
	ca_words_sort(&told);
	ca_words_sort(&refs);
	same = told.count == refs.count &&
	       (!told.count || memcmp(told.items, refs.items, told.count * sizeof(ca_addr)) == 0);
	free(told.items);
	free(refs.items);
	return same;
}

static bool learn_offsets(const struct lesson *lesson, struct ca_learnt *learnt)
{
	uint32_t first = (uint32_t)lesson->objects->rt->layout.object.size;
	uint32_t size = lesson->type->basicsize;

	if (size > MAX_OFFSET)
		return false;
	learnt->offsets = ca_alloc((size / 8 + 1) * sizeof(*learnt->offsets));
	for (uint32_t at = first; at + 8 <= size; at += 8)
		learnt->offsets[learnt->offset_count++] = (uint16_t)at;
	drop_offsets(lesson, learnt);
	for (size_t i = 0; i < lesson->ends.count; i++)
		if (!offsets_tell(lesson, learnt, i))
			return false;
	return true;
}

/* ---- each instance for itself ------------------------------------------------ */

static void keep_lists(struct lesson *lesson, struct ca_learnt *learnt)
{
	bool fresh;

	learnt->offset_count = 0;
	for (size_t i = 0; i < lesson->ends.count; i++) {
		uint64_t first = first_ref(lesson, i), count = lesson->ends.items[i] - first;

		if (count)
			*ca_map_add(&learnt->lists, lesson->addresses[i], &fresh) = first << 32 | count;
	}
	learnt->refs = lesson->refs.items;
	lesson->refs = (struct ca_words){0};
}

/* ---- all types ---------------------------------------------------------------- */

static bool is_untaught(const struct ca_type *type)
{
	return type->untaught && !type->learnt;
}

static void warn_unlearnt(const struct ca_objects *objects, const struct lesson *lesson,
			  const char *name, size_t count)
{
	ca_warn(objects->ctx, "untaught-types", lesson->type->address,
		"their references are told by words that look like one: some may be missing or too many",
		"the references of %s, a type of a C extension with %zu objects, could not be learnt: %s",
		name, count, ca_emulated_name(lesson->how));
}

static struct ca_learnt *learn(struct ca_emulator *emulator, struct lesson *lesson,
			       const struct ca_instances *sample, const struct ca_instances *all)
{
	struct ca_learnt *learnt = ca_alloc(sizeof(*learnt));

	start_lesson(lesson, &sample->addresses);
	ca_emulator_traverse(emulator, sample->function, sample->addresses.items,
			     sample->addresses.count, take_refs, lesson);
	if (lesson->how == CA_EMULATED_WELL) {
		learnt->constant = learn_offsets(lesson, learnt);
		if (!learnt->constant) {
			start_lesson(lesson, &all->addresses);
			ca_emulator_traverse(emulator, all->function, all->addresses.items,
					     all->addresses.count, take_refs, lesson);
			keep_lists(lesson, learnt);
		}
	}
	learnt->visits_type = lesson->visits_type;
	if (lesson->how == CA_EMULATED_WELL && lesson->refs.count < UINT32_MAX)
		return learnt;
	free(learnt->offsets);
	free(learnt->refs);
	ca_map_fini(&learnt->lists);
	free(learnt);
	return NULL;
}

static bool any_untaught(const struct ca_objects *objects)
{
	for (uint32_t i = 0; i < objects->type_count; i++)
		if (is_untaught(objects->types[i].type))
			return true;
	return false;
}

void ca_objects_learn(struct ca_objects *objects)
{
	if (!any_untaught(objects))
		return;

	struct ca_instances *sample = ca_instances_choose(objects, SAMPLES, is_untaught);
	struct ca_instances *all = ca_instances_choose(objects, 0, is_untaught);
	struct ca_emulator *emulator = ca_emulator_make(objects->rt);

	for (uint32_t i = 0; i < objects->type_count; i++) {
		struct ca_type_row *row = &objects->types[i];
		struct lesson lesson = {.objects = objects, .type = row->type};

		ca_progress(objects->ctx, "learning types", i, objects->type_count);
		if (!sample[i].addresses.count)
			continue;
		struct ca_type *type = objects->types_registry.items[row->type->index];

		type->learnt = learn(emulator, &lesson, &sample[i], &all[i]);
		if (!type->learnt)
			warn_unlearnt(objects, &lesson, row->name, all[i].addresses.count);
		free(lesson.refs.items);
		free(lesson.ends.items);
	}
	ca_emulator_close(emulator);
	ca_instances_free(sample, objects->type_count);
	ca_instances_free(all, objects->type_count);
}
