/* SPDX-License-Identifier: GPL-3.0-or-later */
/* open: bitmaps over the address space, numbers from bits, bits from numbers. */
#include <CUnit/Basic.h>

#include <stdlib.h>

#include "../../coreanalyze/open/open.h"
#include "../../coreanalyze/open/space.h"

enum { PAGE = 4096, MIB = 1 << 20 };
static const uint8_t bytes[8 * MIB];

struct fixture {
	struct ca_context ctx;
	struct ca_image *image;
	struct ca_heap heap;
	struct ca_space *space;
	struct ca_objects objects;
};

static void open_fixture(struct fixture *f, const struct ca_segment *segments, size_t count,
			 struct ca_arena_range *arenas, size_t arena_count)
{
	memset(f, 0, sizeof(*f));
	ca_context_init(&f->ctx);
	f->image = ca_image_from_buffers(&f->ctx, segments, count);
	f->heap = (struct ca_heap){ .arenas = arenas, .arena_count = arena_count, .pool_bytes = PAGE };
	f->space = ca_space_build(f->image, &f->heap);
}

static void close_fixture(struct fixture *f)
{
	ca_space_free(f->space);
	ca_image_close(f->image);
	ca_context_fini(&f->ctx);
}

static struct ca_segment segment(ca_addr start, uint64_t length)
{
	/* Contiguous addresses, but not contiguous bytes: no two of them merge. */
	return (struct ca_segment){ start, start + length, bytes + (start / PAGE % 2 ? 64 : 0),
				    CA_SEG_READ | CA_SEG_WRITE };
}

static void set(struct fixture *f, ca_addr addr)
{
	struct ca_region *region = ca_space_region(f->space, addr);
	uint64_t word, mask;

	CU_ASSERT_PTR_NOT_NULL_FATAL(region);
	CU_ASSERT(ca_region_bit(region, addr, &word, &mask));
	CU_ASSERT_FATAL(word < region->words);
	region->objects[word] |= mask;
}

/* All numbers there and back, in order of address. */
static void check_numbers(struct fixture *f, const ca_addr *sorted, size_t count)
{
	uint64_t last = ca_space_rank(f->space);
	struct ca_cursor cursor;
	size_t n = 0;

	CU_ASSERT_EQUAL(last, count);
	f->objects = (struct ca_objects){ .space = f->space, .count = (uint32_t)last };
	for (size_t i = 0; i < count; i++) {
		CU_ASSERT_EQUAL(ca_objects_find(&f->objects, sorted[i]), i + 1);
		CU_ASSERT_EQUAL(ca_objects_address(&f->objects, (ca_node)i + 1), sorted[i]);
		CU_ASSERT_EQUAL(ca_objects_find(&f->objects, sorted[i] + 1), 0);
		CU_ASSERT_EQUAL(ca_objects_find(&f->objects, sorted[i] + 8), 0);
	}
	for (ca_cursor_init(&cursor, &f->objects); cursor.node; ca_cursor_next(&cursor), n++)
		CU_ASSERT(n < count && cursor.node == n + 1 && cursor.address == sorted[n]);
	CU_ASSERT_EQUAL(n, count);
	CU_ASSERT_EQUAL(ca_objects_address(&f->objects, 0), 0);
	CU_ASSERT_EQUAL(ca_objects_find(&f->objects, 0), 0);
	CU_ASSERT_EQUAL(ca_objects_find(&f->objects, UINT64_MAX), 0);
}

static void test_space__numbers_go_there_and_back(void)
{
	const struct ca_segment segments[] = {
		segment(0x555500000000, PAGE), segment(0x555500003000, 3 * PAGE),
		segment(0x7f0000000000, 2 * MIB), segment(0x7ffffffff000, PAGE),
	};
	const ca_addr objects[] = {
		0x555500000000, 0x555500000010, 0x555500000ff0, 0x555500003000, 0x555500005ff0,
		0x7f0000000000, 0x7f00000003f0, 0x7f0000000400, 0x7f0000001ff0, 0x7f0000002000,
		0x7f00000fffff - 15, 0x7f0000100000, 0x7f00001ffff0, 0x7ffffffff000, 0x7ffffffffff0,
	};
	struct fixture f;

	open_fixture(&f, segments, CA_COUNT(segments), NULL, 0);
	for (size_t i = 0; i < CA_COUNT(objects); i++)
		set(&f, objects[i]);
	check_numbers(&f, objects, CA_COUNT(objects));
	close_fixture(&f);
}

static void test_space__without_any_memory(void)
{
	struct fixture f;

	open_fixture(&f, NULL, 0, NULL, 0);
	CU_ASSERT_PTR_NULL(ca_space_region(f.space, 0));
	CU_ASSERT_EQUAL(ca_space_where(f.space, 0x7f0000000000), CA_NOWHERE);
	CU_ASSERT_EQUAL(ca_space_rank(f.space), 0);
	f.objects = (struct ca_objects){ .space = f.space };

	struct ca_cursor cursor;

	ca_cursor_init(&cursor, &f.objects);
	CU_ASSERT_EQUAL(cursor.node, 0);
	CU_ASSERT_EQUAL(ca_objects_find(&f.objects, 0x7f0000000000), 0);
	close_fixture(&f);
}

static void test_space__memory_without_objects(void)
{
	const struct ca_segment one = segment(0x7f0000000000, PAGE);
	struct fixture f;

	open_fixture(&f, &one, 1, NULL, 0);
	check_numbers(&f, NULL, 0);
	close_fixture(&f);
}

/* Regions are rounded to whole words of bits: neighbours must not get into each other's. */
static void test_space__neighbours_share_no_word(void)
{
	const struct ca_segment segments[] = {
		{ 0x7f0000000008, 0x7f0000000208, bytes, CA_SEG_WRITE },
		{ 0x7f0000000208, 0x7f0000000210, bytes + 8, CA_SEG_WRITE },
		{ 0x7f0000000300, 0x7f0000000310, bytes, CA_SEG_WRITE },
		{ 0x7f0000000410, 0x7f0000001000, bytes, CA_SEG_WRITE },
		{ 0x7f0000001000, 0x7f0000002000, bytes + 8, CA_SEG_WRITE },
	};
	const ca_addr objects[] = { 0x7f0000000010, 0x7f0000000300, 0x7f0000000410, 0x7f0000000ff0,
				    0x7f0000001000, 0x7f0000001ff0 };
	struct fixture f;

	open_fixture(&f, segments, CA_COUNT(segments), NULL, 0);
	for (size_t i = 1; i < f.space->region_count; i++)
		CU_ASSERT(f.space->regions[i].start >= f.space->regions[i - 1].end);
	for (size_t i = 0; i < CA_COUNT(objects); i++)
		set(&f, objects[i]);
	check_numbers(&f, objects, CA_COUNT(objects));
	close_fixture(&f);
}

static void test_space__says_where_an_address_is(void)
{
	const struct ca_segment segments[] = {
		segment(0x7f0000000000, 4 * MIB), segment(0x7f0001000000, PAGE),
	};
	/* One fills a window, one touches two, one is not carved, one is in no memory. */
	struct ca_arena_range arenas[] = {
		{ 0x7f0000000000, 0x7f0000100000, 0 }, { 0x7f00001f0000, 0x7f0000210000, 1 },
		{ 0x7f0000300000, 0x7f0000300000, 2 }, { 0x7f0010000000, 0x7f0010010000, 3 },
	};
	static const struct {
		ca_addr address;
		enum ca_where where;
	} cases[] = {
		{ 0x7f0000000000, CA_IN_ARENA }, { 0x7f00000ffff0, CA_IN_ARENA },
		{ 0x7f0000100000, CA_OUTSIDE }, { 0x7f00001efff0, CA_OUTSIDE },
		{ 0x7f00001f0000, CA_IN_ARENA }, { 0x7f00001ffff0, CA_IN_ARENA },
		{ 0x7f0000200000, CA_IN_ARENA }, { 0x7f000020fff0, CA_IN_ARENA },
		{ 0x7f0000210000, CA_OUTSIDE }, { 0x7f0000300000, CA_OUTSIDE },
		{ 0x7f00003ffff0, CA_OUTSIDE }, { 0x7f0000400000, CA_NOWHERE },
		{ 0x7effffffffff, CA_NOWHERE }, { 0x7f0001000000, CA_OUTSIDE },
		{ 0x7f0001001000, CA_NOWHERE }, { 0, CA_NOWHERE }, { UINT64_MAX, CA_NOWHERE },
		{ 1ull << 47, CA_NOWHERE }, { 0xffff800000000000, CA_NOWHERE },
	};
	struct fixture f;

	open_fixture(&f, segments, CA_COUNT(segments), arenas, CA_COUNT(arenas));
	for (size_t i = 0; i < CA_COUNT(cases); i++)
		CU_ASSERT_EQUAL(ca_space_where(f.space, cases[i].address), cases[i].where);
	close_fixture(&f);
}

/* A segment may lie where no process has memory: nothing is found there, nothing breaks. */
static void test_space__beyond_user_addresses(void)
{
	const struct ca_segment segments[] = {
		segment(0, PAGE), segment(0x7ffffffff000, 2 * PAGE), segment(0xffffffff80000000, PAGE),
		{ UINT64_MAX - PAGE + 1, UINT64_MAX, bytes, CA_SEG_WRITE },
	};
	struct ca_arena_range arenas[] = {
		{ 0xffffffff80000000, 0xffffffff80001000, 0 },
		{ UINT64_MAX - 2 * PAGE + 1, UINT64_MAX - PAGE + 1, 1 },
	};
	struct fixture f;

	open_fixture(&f, segments, CA_COUNT(segments), arenas, CA_COUNT(arenas));
	for (size_t i = 0; i < CA_COUNT(segments); i++) {
		for (uint64_t n = 0; n < segments[i].end - segments[i].start; n += 1000) {
			ca_addr at = segments[i].start + n;
			struct ca_region *region = ca_space_region(f.space, at);
			uint64_t word, mask;

			ca_space_where(f.space, at);
			if (region && ca_region_bit(region, at & ~15ull, &word, &mask))
				CU_ASSERT(word < region->words);
		}
	}
	ca_space_rank(f.space);
	close_fixture(&f);
}

CU_TestInfo ca_tests_space[] = {
	{ "space: numbers go there and back", test_space__numbers_go_there_and_back },
	{ "space without any memory", test_space__without_any_memory },
	{ "space: memory without objects", test_space__memory_without_objects },
	{ "space: neighbours share no word", test_space__neighbours_share_no_word },
	{ "space says where an address is", test_space__says_where_an_address_is },
	{ "space: beyond user addresses", test_space__beyond_user_addresses },
	CU_TEST_INFO_NULL,
};
