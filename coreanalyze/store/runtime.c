/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The facts of a runtime. A layout's fields have names, so that a later version finds those that it still has. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

static const struct ca_layout_field *find_field(const struct ca_layout_field *fields, size_t count,
						size_t *next, const char *structure, const char *name)
{
	for (size_t i = 0; structure && name && i < count; i++) {
		const struct ca_layout_field *field = &fields[(*next + i) % count];

		if (strcmp(field->field, name) == 0 && strcmp(field->structure, structure) == 0) {
			*next = (*next + i + 1) % count;
			return field;
		}
	}
	return NULL;
}

/* Each with its name, in the table's order. is_offset: an int32_t, else an int64_t. */
static void table_facts(struct ca_facts *facts, struct ca_layout *layout,
			const struct ca_layout_field *fields, size_t field_count, bool is_offset)
{
	size_t count = ca_fact_count(facts, field_count, 3 * 8), next = 0;

	for (size_t i = 0; i < count && !facts->damaged; i++) {
		const struct ca_layout_field *field = &fields[facts->saving ? i : 0];
		const char *structure = field->structure, *name = field->field;
		int64_t value = 0;

		if (facts->saving && is_offset)
			value = *(int32_t *)((char *)layout + field->offset);
		else if (facts->saving)
			value = *(int64_t *)((char *)layout + field->offset);
		ca_fact_text(facts, &structure);
		ca_fact_text(facts, &name);
		ca_fact_i64(facts, &value);
		if (facts->saving)
			continue;
		field = find_field(fields, field_count, &next, structure, name);
		if (field && is_offset)
			*(int32_t *)((char *)layout + field->offset) = (int32_t)value;
		else if (field)
			*(int64_t *)((char *)layout + field->offset) = value;
	}
}

static void layout_facts(struct ca_facts *facts, struct ca_layout *layout)
{
	for (size_t i = 0; !facts->saving && i < ca_layout_field_count; i++)
		*(int32_t *)((char *)layout + ca_layout_fields[i].offset) = -1;
	table_facts(facts, layout, ca_layout_fields, ca_layout_field_count, true);
	table_facts(facts, layout, ca_layout_constants, ca_layout_constant_count, false);
}

static void interp_facts(struct ca_facts *facts, struct ca_interp *interp)
{
	ca_fact_u64(facts, &interp->address);
	ca_fact_i64(facts, &interp->id);
	ca_fact_u64(facts, &interp->gc);
	ca_fact_u64(facts, &interp->obmalloc);
}

static void thread_facts(struct ca_facts *facts, struct ca_thread *thread)
{
	ca_fact_u64(facts, &thread->address);
	ca_fact_u32(facts, &thread->interp);
	ca_fact_u64(facts, &thread->thread_id);
	ca_fact_u64(facts, &thread->native_id);
	ca_fact_u64(facts, &thread->frame);
}

static void found_facts(struct ca_facts *facts, struct ca_found_field *found)
{
	ca_fact_shown(facts, &found->structure);
	ca_fact_shown(facts, &found->field);
	ca_fact_i32(facts, &found->table_offset);
	ca_fact_i32(facts, &found->offset);
}

/* As an index in the image's modules. */
static void module_facts(struct ca_facts *facts, const struct ca_image *image, const struct ca_module **module)
{
	uint64_t index = facts->saving && *module ? (uint64_t)(*module - image->modules) : UINT64_MAX;

	ca_fact_u64(facts, &index);
	if (!facts->saving)
		*module = index < image->module_count ? &image->modules[index] : NULL;
}

static void release_facts(struct ca_facts *facts, struct ca_runtime *rt)
{
	struct ca_layout_table *table = facts->saving ? NULL : ca_arena_alloc(facts->arena, sizeof(*table));
	const char *version = rt->version, *name = facts->saving ? rt->table->name : NULL;

	ca_fact_shown(facts, &version);
	ca_fact_u32(facts, &rt->hexversion);
	ca_fact_u32(facts, &rt->minor);
	ca_fact_u32(facts, &rt->micro);
	ca_fact_bool(facts, &rt->proved);
	ca_fact_shown(facts, &name);
	module_facts(facts, rt->image, &rt->module);
	if (facts->saving)
		return;
	snprintf(rt->version, sizeof(rt->version), "%s", version);
	table->name = name;
	rt->table = table;
	rt->tables = ca_layout_tables;
	rt->table_count = ca_layout_table_count;
}

void ca_facts_of_runtime(struct ca_facts *facts, struct ca_runtime *rt)
{
	release_facts(facts, rt);
	layout_facts(facts, &rt->layout);
	ca_fact_u64(facts, &rt->address);
	ca_fact_u64(facts, &rt->type_type);
	ca_fact_raw(facts, rt->hash_secret, sizeof(rt->hash_secret));
	ca_fact_bool(facts, &rt->collecting);
	rt->interps = ca_fact_array(facts, rt->interps, &rt->interp_count, sizeof(*rt->interps), 4 * 8);
	for (size_t i = 0; i < rt->interp_count; i++)
		interp_facts(facts, &rt->interps[i]);
	rt->threads = ca_fact_array(facts, rt->threads, &rt->thread_count, sizeof(*rt->threads), 5 * 8);
	for (size_t i = 0; i < rt->thread_count; i++) {
		thread_facts(facts, &rt->threads[i]);
		facts->damaged |= rt->threads[i].interp >= rt->interp_count;
	}
	rt->found = ca_fact_array(facts, rt->found, &rt->found_count, sizeof(*rt->found), 4 * 8);
	for (size_t i = 0; i < rt->found_count; i++)
		found_facts(facts, &rt->found[i]);
	rt->copies = ca_fact_array(facts, rt->copies, &rt->copy_count, sizeof(struct ca_module *), 8);
	for (size_t i = 0; i < rt->copy_count; i++) {
		module_facts(facts, rt->image, &rt->copies[i]);
		facts->damaged |= !rt->copies[i];
	}
	facts->damaged |= !rt->interp_count;
}
