/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The facts of a runtime. Its layout is a table that we have: what a file may change of that is bounded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

static int32_t *field_of(struct ca_layout *layout, const struct ca_layout_field *field)
{
	return (int32_t *)((char *)layout + field->offset);
}

static const struct ca_layout_field *find_field(const char *structure, const char *name)
{
	for (size_t i = 0; structure && name && i < ca_layout_field_count; i++)
		if (strcmp(ca_layout_fields[i].field, name) == 0 &&
		    strcmp(ca_layout_fields[i].structure, structure) == 0)
			return &ca_layout_fields[i];
	return NULL;
}

/* No offset leads farther than out of a structure twice as large as the table's. */
static bool is_credible(const struct ca_layout_table *table, const struct ca_layout_field *field,
			int64_t value)
{
	struct ca_layout layout = table->layout;
	const struct ca_layout_field *size = find_field(field->structure, "size");
	int64_t bytes = *field_of(&layout, size);

	if (field == size)
		return value >= bytes / 2 && value <= bytes * 2 && bytes > 0;
	return value == -1 ? bytes > 0 : value >= 0 && value + 8 <= bytes * 2;
}

/* Where the layout is another than its table: what the process itself told, and what was searched. */
static void layout_facts(struct ca_facts *facts, const struct ca_layout_table *table, struct ca_layout *layout)
{
	struct ca_layout base = table->layout;
	size_t count = 0;

	for (size_t i = 0; facts->saving && i < ca_layout_field_count; i++)
		count += *field_of(layout, &ca_layout_fields[i]) != *field_of(&base, &ca_layout_fields[i]);
	count = ca_fact_count(facts, count, 3 * 8);
	if (!facts->saving)
		*layout = base;
	for (size_t i = 0, told = 0; told < count && !facts->damaged; i++) {
		const struct ca_layout_field *field = &ca_layout_fields[facts->saving ? i : 0];
		const char *structure = field->structure, *name = field->field;
		int64_t value = *field_of(layout, field);

		if (facts->saving && value == *field_of(&base, field))
			continue;
		ca_fact_text(facts, &structure);
		ca_fact_text(facts, &name);
		ca_fact_i64(facts, &value);
		told++;
		if (facts->saving)
			continue;
		field = find_field(structure, name);
		if (field && is_credible(table, field, value))
			*field_of(layout, field) = (int32_t)value;
		else
			facts->damaged = true;
	}
}

static const struct ca_layout_table *find_table(const char *name)
{
	for (size_t i = 0; i < ca_layout_table_count; i++)
		if (strcmp(ca_layout_tables[i].name, name) == 0)
			return &ca_layout_tables[i];
	return NULL;
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
	rt->table = find_table(name);
	rt->tables = ca_layout_tables;
	rt->table_count = ca_layout_table_count;
}

void ca_facts_of_runtime(struct ca_facts *facts, struct ca_runtime *rt)
{
	release_facts(facts, rt);
	if (rt->table)
		layout_facts(facts, rt->table, &rt->layout);
	facts->damaged |= !rt->table;
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
