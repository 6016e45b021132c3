/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The layout tables: complete, in order, and right where it is known otherwise. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <CUnit/Basic.h>

#include "../../coreanalyze/runtime/layout.h"

#define EACH_TABLE(table)                                                                          \
	for (const struct ca_layout_table *table = ca_layout_tables;                               \
	     table < ca_layout_tables + ca_layout_table_count; table++)

static int32_t value_of(const struct ca_layout *layout, const struct ca_layout_field *field)
{
	int32_t value;

	memcpy(&value, (const char *)layout + field->offset, sizeof(value));
	return value;
}

/* A field's value by name; the test fails when there is no such field. */
static int32_t value_named(const struct ca_layout *layout, const char *structure, const char *field)
{
	for (size_t i = 0; i < ca_layout_field_count; i++) {
		const struct ca_layout_field *f = &ca_layout_fields[i];
		if (!strcmp(f->structure, structure) && !strcmp(f->field, field))
			return value_of(layout, f);
	}
	CU_FAIL("no such field");
	return -2;
}

static const struct ca_layout *layout_named(const char *name)
{
	EACH_TABLE(table)
		if (!strcmp(table->name, name))
			return &table->layout;
	return NULL;
}

/* Says which table and field it was, since the loops hide it. */
static void expect(bool right, const struct ca_layout_table *table, const char *structure,
		   const char *field)
{
	if (!right)
		fprintf(stderr, "\n%s: %s.%s", table->name, structure, field);
	CU_ASSERT(right);
}

static void test_layout__the_descriptors_name_every_offset(void)
{
	const size_t bytes = ca_layout_field_count * sizeof(int32_t);

	/* The constants begin at the next multiple of 8. */
	CU_ASSERT_EQUAL((bytes + 7) / 8 * 8, offsetof(struct ca_layout, c));
	for (size_t i = 0; i < ca_layout_field_count; i++)
		CU_ASSERT_EQUAL(ca_layout_fields[i].offset, i * sizeof(int32_t));
}

static void test_layout__offsets_lie_inside_their_structure(void)
{
	EACH_TABLE(table) {
		int32_t size = -1;
		for (size_t i = 0; i < ca_layout_field_count; i++) {
			const struct ca_layout_field *f = &ca_layout_fields[i];
			const int32_t value = value_of(&table->layout, f);
			if (!strcmp(f->field, "size")) {
				size = value;
				expect(size == -1 || size > 0, table, f->structure, f->field);
			} else {
				/* At the end: an array of no fixed length. */
				expect(value >= -1 && value <= size, table, f->structure, f->field);
			}
		}
	}
}

static void test_layout__two_fields_do_not_share_an_offset(void)
{
	EACH_TABLE(table)
		for (size_t i = 0; i < ca_layout_field_count; i++) {
			const struct ca_layout_field *f = &ca_layout_fields[i];
			if (!strcmp(f->field, "size") || value_of(&table->layout, f) < 0)
				continue;
			for (const struct ca_layout_field *g = f - 1; strcmp(g->field, "size"); g--)
				expect(value_of(&table->layout, f) != value_of(&table->layout, g),
				       table, f->structure, f->field);
		}
}

static void test_layout__upstream_tables_cover_each_micro_once(void)
{
	const struct ca_layout_table *last = NULL;

	EACH_TABLE(table) {
		CU_ASSERT(table->first_micro <= table->last_micro);
		CU_ASSERT(!last || table->minor >= last->minor);
		if (table->vendor)
			continue;
		const bool same = last && last->minor == table->minor;
		CU_ASSERT_EQUAL(table->first_micro, same ? last->last_micro + 1 : 0);
		CU_ASSERT(same || table->minor == (last ? last->minor + 1 : 8));
		last = table;
	}
}

static void test_layout__releases_lie_in_their_tables_range(void)
{
	EACH_TABLE(table) {
		CU_ASSERT_PTR_NOT_NULL(table->releases[0]);
		for (const char *const *r = table->releases; *r; r++) {
			unsigned minor, micro;
			CU_ASSERT_EQUAL(sscanf(*r, "3.%u.%u", &minor, &micro), 2);
			CU_ASSERT_EQUAL(minor, table->minor);
			CU_ASSERT(micro >= table->first_micro && micro <= table->last_micro);
		}
	}
}

static void test_layout__tables_of_one_minor_differ(void)
{
	EACH_TABLE(a)
		for (const struct ca_layout_table *b = ca_layout_tables; b < a; b++)
			CU_ASSERT(strcmp(a->name, b->name) && memcmp(&a->layout, &b->layout,
								     sizeof(a->layout)));
}

/* What each decoder takes for granted. */
static void test_layout__no_release_lacks_what_all_have(void)
{
	static const char *const always[][2] = {
		{ "runtime", "interpreters_head" }, { "interp", "next" }, { "interp", "sysdict" },
		{ "interp", "threads_head" }, { "gc", "generations" }, { "gc", "permanent_generation" },
		{ "thread", "next" }, { "thread", "interp" }, { "thread", "thread_id" },
		{ "object", "ob_refcnt" }, { "object", "ob_type" }, { "var", "ob_size" },
		{ "type", "tp_name" }, { "type", "tp_flags" }, { "type", "tp_basicsize" },
		{ "type", "tp_base" }, { "type", "tp_dict" }, { "heaptype", "ht_cached_keys" },
		{ "dict", "ma_keys" }, { "dict", "ma_values" }, { "keys", "dk_nentries" },
		{ "keys", "dk_indices" }, { "list", "ob_item" }, { "tuple", "ob_item" },
		{ "set", "table" }, { "bytes", "ob_sval" }, { "ascii", "state" },
		{ "unicode", "data" }, { "pylong", "ob_digit" }, { "cell", "ob_ref" },
		{ "function", "func_code" }, { "code", "co_consts" }, { "code", "co_name" },
		{ "module", "md_dict" }, { "weakref", "wr_object" }, { "arena", "address" },
		{ "pool", "szidx" }, { "deque", "leftblock" }, { "odict", "od_first" },
	};

	EACH_TABLE(table)
		for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
			expect(value_named(&table->layout, always[i][0], always[i][1]) >= 0, table,
			       always[i][0], always[i][1]);
}

static void test_layout__each_release_has_one_of_several_ways(void)
{
	EACH_TABLE(table) {
		const struct ca_layout *l = &table->layout;
		CU_ASSERT_EQUAL((l->thread.frame >= 0) + (l->thread.current_frame >= 0) +
				(l->cframe.current_frame >= 0), 1);
		CU_ASSERT((l->keys.dk_size >= 0) != (l->keys.dk_log2_size >= 0));
		CU_ASSERT((l->code.co_code >= 0) != (l->code.co_code_adaptive >= 0));
		CU_ASSERT_EQUAL(l->code.co_code_adaptive >= 0, l->c.code_unit_item);
		CU_ASSERT_EQUAL(l->iframe.size >= 0, l->frame.f_frame >= 0);
		CU_ASSERT_EQUAL(l->runtime.gc >= 0, l->interp.gc < 0);
		CU_ASSERT_EQUAL(l->obmalloc.size >= 0, l->interp.obmalloc >= 0);
		CU_ASSERT_EQUAL(l->static_type_state.size >= 0, l->interp.types_builtins >= 0);
		CU_ASSERT_EQUAL(l->object.ob_flags >= 0, l->c.immortal == 2);
		CU_ASSERT_EQUAL(l->values.valid >= 0, l->c.flag_inline_values != 0);
		CU_ASSERT_EQUAL(l->code.co_opcache >= 0, l->c.opcache_entry != 0);
		CU_ASSERT_EQUAL(l->iframe.stackpointer >= 0, l->c.stackref_tags != 0);
	}
}

static bool is_power_of_two(int64_t n)
{
	return n > 0 && !(n & (n - 1));
}

static void test_layout__constants_are_possible(void)
{
	EACH_TABLE(table) {
		const struct ca_layout *l = &table->layout;
		CU_ASSERT(is_power_of_two(l->c.arena_bytes) && is_power_of_two(l->c.pool_bytes));
		CU_ASSERT(l->c.arena_bytes > l->c.pool_bytes && l->c.pool_bytes > l->pool.size);
		CU_ASSERT(l->c.managed_dict <= 0 && l->c.managed_dict % 8 == 0);
		CU_ASSERT(l->c.managed_values <= 0 && l->c.managed_values % 8 == 0);
		CU_ASSERT(l->c.managed_weakref <= 0 && l->c.managed_weakref % 8 == 0);
		CU_ASSERT_EQUAL(l->c.managed_dict != 0, l->c.flag_managed_dict != 0);
		CU_ASSERT_EQUAL(l->c.managed_weakref != 0, l->c.flag_managed_weakref != 0);
	}
}

/* Offsets that moved, as seen in a debugger, or in derived tables as upstream's changes say. */
static void test_layout__fields_that_moved_are_where_they_are_known_to_be(void)
{
	static const struct {
		const char *table, *structure, *field;
		int32_t offset;
	} known[] = {
		{ "cp38_14", "runtime", "gc", 344 },
		{ "cp38_14", "thread", "frame", 24 },
		{ "cp39_14", "interp", "gc", 616 },
		{ "cp310_0", "interp", "cached_interned", 9752 },
		{ "cp310_2", "interp", "cached_interned", -1 },
		{ "cp311_2", "cframe", "current_frame", 8 },
		{ "cp312_1", "cframe", "current_frame", 0 },
		{ "cp313_0", "gc", "generations", 24 },
		{ "cp313_5_debian", "gc", "generations", 20 },
		{ "cp313_13", "thread", "size", 312 },
		{ "cp314_0", "interp", "obmalloc", 10872 },
		{ "cp314_3", "interp", "cached_interned", 224592 },
		{ "cp314_4", "interp", "obmalloc", 10880 },
		{ "cp314_4", "interp", "sysdict", 7648 },
		{ "cp314_4", "gc", "generation0", -1 },
		{ "cp314_5", "gc", "generation0", 256 },
		{ "cp314_5", "interp", "obmalloc", 10904 },
		{ "cp315_0", "gc", "generations", 8 },
		{ "cp315_0", "bytearray", "ob_bytes_object", 56 },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		const struct ca_layout *layout = layout_named(known[i].table);
		CU_ASSERT_PTR_NOT_NULL_FATAL(layout);
		CU_ASSERT_EQUAL(value_named(layout, known[i].structure, known[i].field),
				known[i].offset);
	}
}

CU_TestInfo ca_tests_layout[] = {
	{ "the descriptors name every offset", test_layout__the_descriptors_name_every_offset },
	{ "offsets lie inside their structure", test_layout__offsets_lie_inside_their_structure },
	{ "two fields do not share an offset", test_layout__two_fields_do_not_share_an_offset },
	{ "upstream tables cover each micro once",
	  test_layout__upstream_tables_cover_each_micro_once },
	{ "releases lie in their table's range", test_layout__releases_lie_in_their_tables_range },
	{ "tables of one minor differ", test_layout__tables_of_one_minor_differ },
	{ "no release lacks what all have", test_layout__no_release_lacks_what_all_have },
	{ "each release has one of several ways",
	  test_layout__each_release_has_one_of_several_ways },
	{ "constants are possible", test_layout__constants_are_possible },
	{ "fields that moved are where they are known to be",
	  test_layout__fields_that_moved_are_where_they_are_known_to_be },
	CU_TEST_INFO_NULL,
};
