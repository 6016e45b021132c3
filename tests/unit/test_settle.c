/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The search for fields that have moved, with invariants of the tests' own. */
#include <stdlib.h>

#include <CUnit/Basic.h>

#include "../../coreanalyze/runtime/settle.h"

#define AT(field) offsetof(struct ca_layout, field) + 1

/* What memory would say: where the fields are, and how much it says of each. */
static int32_t true_gc, true_id;
static int64_t elsewhere;

static int64_t score_gc(const struct ca_runtime *rt)
{
	return rt->layout.interp.gc == true_gc ? 5 : elsewhere;
}

static int64_t score_both(const struct ca_runtime *rt)
{
	return rt->layout.interp.gc == true_gc && rt->layout.interp.id == true_id ? 1 : -1;
}

/* The more, the further down: the best is not the nearest. */
static int64_t score_lowest(const struct ca_runtime *rt)
{
	return 100000 - rt->layout.interp.gc;
}

static struct ca_runtime make_runtime(bool proved)
{
	struct ca_runtime rt = {.proved = proved};

	rt.layout.interp.gc = 800;
	rt.layout.interp.id = 16;
	elsewhere = -1;
	true_gc = 800;
	true_id = 16;
	return rt;
}

static const struct ca_group one = {"it", score_gc, {AT(interp.gc)}, 8, false, true, false, ""};
static const struct ca_group both = {"both", score_both, {AT(interp.gc), AT(interp.id)}, 8, true, true, false, ""};

static void test_settle__what_holds_stays(void)
{
	struct ca_runtime rt = make_runtime(false);

	CU_ASSERT(ca_settle_group(&rt, &one));
	CU_ASSERT_EQUAL(rt.layout.interp.gc, 800);
	CU_ASSERT_EQUAL(rt.found_count, 0);
}

static void test_settle__a_field_that_moved_is_found_and_told(void)
{
	for (int32_t by = -64; by <= 64; by += 8) {
		struct ca_runtime rt = make_runtime(false);

		true_gc = 800 + by;
		CU_ASSERT(ca_settle_group(&rt, &one));
		CU_ASSERT_EQUAL(rt.layout.interp.gc, true_gc);
		CU_ASSERT_EQUAL(rt.found_count, by != 0);
		if (by) {
			CU_ASSERT_STRING_EQUAL(rt.found[0].structure, "interp");
			CU_ASSERT_STRING_EQUAL(rt.found[0].field, "gc");
			CU_ASSERT_EQUAL(rt.found[0].table_offset, 800);
			CU_ASSERT_EQUAL(rt.found[0].offset, true_gc);
		}
		free(rt.found);
	}
}

static void test_settle__beyond_the_bounds_nothing_is_found(void)
{
	struct ca_runtime rt = make_runtime(false);

	true_gc = 800 + 72;
	CU_ASSERT_FALSE(ca_settle_group(&rt, &one));
	CU_ASSERT_EQUAL(rt.layout.interp.gc, 800);
	CU_ASSERT_EQUAL(rt.found_count, 0);
}

static void test_settle__fields_stay_aligned(void)
{
	struct ca_runtime rt = make_runtime(false);

	true_gc = 804;
	CU_ASSERT_FALSE(ca_settle_group(&rt, &one));
	rt.layout.interp.gc = 804; /* a table of another kind: it must move off there */
	true_gc = 808;
	CU_ASSERT(ca_settle_group(&rt, &one));
	CU_ASSERT_EQUAL(rt.layout.interp.gc, 808);
	free(rt.found);
}

static void test_settle__two_fields_may_have_moved(void)
{
	struct ca_runtime rt = make_runtime(false);

	true_gc = 776;
	true_id = 40;
	CU_ASSERT(ca_settle_group(&rt, &both));
	CU_ASSERT_EQUAL(rt.layout.interp.gc, 776);
	CU_ASSERT_EQUAL(rt.layout.interp.id, 40);
	CU_ASSERT_EQUAL(rt.found_count, 2);
	free(rt.found);
}

static void test_settle__nothing_moves_to_where_nothing_is_said(void)
{
	struct ca_runtime rt = make_runtime(false);
	struct ca_group loose = one;

	elsewhere = 0;
	true_gc = 4000; /* out of reach: all that is within says nothing */
	CU_ASSERT(ca_settle_group(&rt, &one));
	CU_ASSERT_EQUAL(rt.layout.interp.gc, 800);
	loose.evidence = false;
	CU_ASSERT(ca_settle_group(&rt, &loose));
	CU_ASSERT_EQUAL(rt.layout.interp.gc, 800);
}

static void test_settle__the_best_wins_unless_the_release_is_known(void)
{
	static const struct ca_group lowest = {"it", score_lowest, {AT(interp.gc)}, 8, false, true, false, ""};
	struct ca_runtime known = make_runtime(true), unknown = make_runtime(false);

	CU_ASSERT(ca_settle_group(&known, &lowest));
	CU_ASSERT_EQUAL(known.layout.interp.gc, 800);
	CU_ASSERT(ca_settle_group(&unknown, &lowest));
	CU_ASSERT_EQUAL(unknown.layout.interp.gc, 736);
	free(unknown.found);
}

static void test_settle__absent_fields_stay_absent(void)
{
	struct ca_runtime rt = make_runtime(false);

	rt.layout.interp.gc = -1;
	true_gc = 7;
	CU_ASSERT_FALSE(ca_settle_group(&rt, &one));
	CU_ASSERT_EQUAL(rt.layout.interp.gc, -1);
}

CU_TestInfo ca_tests_settle[] = {
	{"what holds stays", test_settle__what_holds_stays},
	{"a field that moved is found and told", test_settle__a_field_that_moved_is_found_and_told},
	{"beyond the bounds nothing is found", test_settle__beyond_the_bounds_nothing_is_found},
	{"fields stay aligned", test_settle__fields_stay_aligned},
	{"two fields may have moved", test_settle__two_fields_may_have_moved},
	{"nothing moves to where nothing is said", test_settle__nothing_moves_to_where_nothing_is_said},
	{"the best wins unless the release is known",
	 test_settle__the_best_wins_unless_the_release_is_known},
	{"absent fields stay absent", test_settle__absent_fields_stay_absent},
	CU_TEST_INFO_NULL,
};
