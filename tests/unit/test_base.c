/* SPDX-License-Identifier: GPL-3.0-or-later */
/* base: errors, memory, map, text, warnings, parallel work. */
#include "../../coreanalyze/base/base.h"

#include <CUnit/Basic.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- errors, memory ----------------------------------------------------------- */

static void test_error__keeps_its_three_texts(void)
{
	struct ca_error *err = ca_error_make(CA_TARGET, "what", "advice", "why %d", 42);

	CU_ASSERT_EQUAL(err->status, CA_TARGET);
	CU_ASSERT_STRING_EQUAL(err->what, "what");
	CU_ASSERT_STRING_EQUAL(err->why, "why 42");
	CU_ASSERT_STRING_EQUAL(err->advice, "advice");
	ca_error_free(err);
	ca_error_free(NULL);
}

static void test_memory__allocates_zeros(void)
{
	uint8_t *bytes = ca_alloc(1000);

	for (int i = 0; i < 1000; i++)
		CU_ASSERT_EQUAL_FATAL(bytes[i], 0);
	free(bytes);
	free(ca_alloc(0));
}

static void test_memory__grows_by_doubling(void)
{
	size_t capacity = 0, moves = 0;
	uint32_t *items = NULL;

	for (uint32_t i = 0; i < 100000; i++) {
		size_t before = capacity;

		items = ca_grow(items, &capacity, i + 1, sizeof(*items));
		moves += capacity != before;
		items[i] = i;
	}
	CU_ASSERT(moves < 20);
	for (uint32_t i = 0; i < 100000; i++)
		CU_ASSERT_EQUAL_FATAL(items[i], i);
	free(items);
}

/* Runs it in a child; returns its exit status, its stderr in text. */
static int status_of(void (*run)(void), char *text, size_t size)
{
	int ends[2], status;

	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	pid_t child = fork();

	if (!child) {
		dup2(ends[1], STDERR_FILENO);
		run();
		_exit(0);
	}
	close(ends[1]);
	ssize_t count = read(ends[0], text, size - 1);

	text[count > 0 ? count : 0] = '\0';
	close(ends[0]);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void grow_too_far(void)
{
	size_t capacity = 0;

	ca_grow(NULL, &capacity, SIZE_MAX / 4, 16);
}

static void test_memory__ends_the_program_when_there_is_none(void)
{
	char text[100];

	CU_ASSERT_EQUAL(status_of(grow_too_far, text, sizeof(text)), CA_INTERNAL);
	CU_ASSERT_STRING_EQUAL(text, "coreanalyze: out of memory\n");
}

static void test_arena__gives_aligned_zeros(void)
{
	struct ca_arena arena = { 0 };

	for (size_t size = 0; size < 40000; size = size * 2 + 1) {
		uint8_t *bytes = ca_arena_alloc(&arena, size);

		CU_ASSERT_EQUAL((uintptr_t)bytes % 16, 0);
		for (size_t i = 0; i < size; i++)
			CU_ASSERT_EQUAL_FATAL(bytes[i], 0);
		memset(bytes, 0xff, size);
	}
	ca_arena_fini(&arena);
	CU_ASSERT_PTR_NULL(arena.chunks);
}

static void test_arena__gives_zeros_again_when_emptied(void)
{
	static const size_t sizes[] = { 1, 100, 70000, 10, 30000, 30000, 30000 };
	struct ca_arena arena = { 0 };

	for (int round = 0; round < 3; round++) {
		for (size_t s = 0; s < CA_COUNT(sizes); s++) {
			uint8_t *bytes = ca_arena_alloc(&arena, sizes[s]);

			for (size_t i = 0; i < sizes[s]; i++)
				CU_ASSERT_EQUAL_FATAL(bytes[i], 0);
			memset(bytes, 0xff, sizes[s]);
		}
		ca_arena_empty(&arena);
	}
	ca_arena_fini(&arena);
	CU_ASSERT_PTR_NULL(arena.chunks);
	ca_arena_empty(&arena);
	CU_ASSERT_PTR_NULL(arena.chunks);
}

static void test_arena__keeps_texts(void)
{
	struct ca_arena arena = { 0 };
	char *whole = ca_arena_strdup(&arena, "whole");
	char *part = ca_arena_strndup(&arena, "partly", 4);
	char *shorter = ca_arena_strndup(&arena, "ab", 100);
	char *made = ca_arena_printf(&arena, "%s-%0*d", "long", 9999, 7);

	CU_ASSERT_STRING_EQUAL(whole, "whole");
	CU_ASSERT_STRING_EQUAL(part, "part");
	CU_ASSERT_STRING_EQUAL(shorter, "ab");
	CU_ASSERT_EQUAL(strlen(made), 5 + 9999);
	ca_arena_fini(&arena);
}

/* ---- map ------------------------------------------------------------------------ */

static void test_map__finds_nothing_when_empty(void)
{
	struct ca_map map = { 0 };

	CU_ASSERT_PTR_NULL(ca_map_find(&map, 0));
	CU_ASSERT_PTR_NULL(ca_map_find(&map, 7));
	ca_map_fini(&map);
}

static void test_map__takes_key_zero(void)
{
	struct ca_map map = { 0 };
	bool fresh = false;

	*ca_map_add(&map, 0, &fresh) = 5;
	CU_ASSERT_TRUE(fresh);
	CU_ASSERT_EQUAL(*ca_map_add(&map, 0, &fresh), 5);
	CU_ASSERT_FALSE(fresh);
	CU_ASSERT_EQUAL(map.count, 1);
	CU_ASSERT_EQUAL(*ca_map_find(&map, 0), 5);
	ca_map_fini(&map);
}

static void expect_kept(uint64_t stride)
{
	struct ca_map map = { 0 };
	const uint64_t count = 100000;

	for (uint64_t i = 0; i < count; i++)
		*ca_map_add(&map, i * stride, NULL) = ~i;
	CU_ASSERT_EQUAL(map.count, count);
	for (uint64_t i = 0; i < count; i++) {
		const uint64_t *value = ca_map_find(&map, i * stride);

		CU_ASSERT_FATAL(value && *value == ~i);
		CU_ASSERT_PTR_NULL_FATAL(ca_map_find(&map, i * stride + 1));
	}
	ca_map_fini(&map);
}

static void test_map__keeps_addresses(void)
{
	expect_kept(16);
	expect_kept(4096);
	expect_kept((uint64_t)1 << 40);
}

/* ---- text ------------------------------------------------------------------------ */

static void expect_escaped(const char *bytes, size_t length, const char *expected)
{
	struct ca_arena arena = { 0 };
	char *text = ca_escape_arena(&arena, bytes, length);

	CU_ASSERT_STRING_EQUAL(text, expected);
	ca_arena_fini(&arena);
}

static void test_text__escapes_what_steers_a_terminal(void)
{
	expect_escaped("plain \xc3\xa4 \xe2\x82\xac", 12, "plain \xc3\xa4 \xe2\x82\xac");
	expect_escaped("a\nb\tc\r", 6, "a\\nb\\tc\\r");
	expect_escaped("\x1b[31m\0\x7f", 7, "\\x1b[31m\\x00\\x7f");
	expect_escaped("\xc2\x9b", 2, "\\u009b");
	expect_escaped("\xe2\x80\xae", 3, "\\u202e");
	expect_escaped("\xf3\xa0\x80\x81", 4, "\\U000e0001");
}

static void test_text__escapes_what_is_not_utf8(void)
{
	expect_escaped("\xff", 1, "\\xff");
	expect_escaped("\xc0\x80", 2, "\\xc0\\x80");
	expect_escaped("\xe2\x82", 2, "\\xe2\\x82");
	expect_escaped("\xed\xa0\x80", 3, "\\ud800");
	expect_escaped("\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80");
	expect_escaped("", 0, "");
}

static void test_text__never_splits_a_character(void)
{
	char out[8];

	CU_ASSERT_EQUAL(ca_escape(out, 4, "ab\xe2\x82\xac", 5), 2);
	CU_ASSERT_STRING_EQUAL(out, "ab");
	CU_ASSERT_EQUAL(ca_escape(out, 5, "ab\n", 3), 3);
	CU_ASSERT_STRING_EQUAL(out, "ab\\n");
	CU_ASSERT_EQUAL(ca_escape(out, 4, "ab\n", 3), 2);
	CU_ASSERT_STRING_EQUAL(out, "ab");
	CU_ASSERT_EQUAL(ca_escape(out, 1, "ab", 2), 0);
	CU_ASSERT_STRING_EQUAL(out, "");
	CU_ASSERT_EQUAL(ca_escape(NULL, 0, "ab", 2), 0);
}

static void test_text__formats_sizes(void)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },		   { 1023, "1023 B" },
		{ 1024, "1.0 KiB" },	   { 1536, "1.5 KiB" },
		{ 1048575, "1.0 MiB" },	   { 1u << 20, "1.0 MiB" },
		{ 3435973837, "3.2 GiB" }, { UINT64_MAX, "16.0 EiB" },
	};

	for (size_t i = 0; i < CA_COUNT(cases); i++) {
		char text[32];

		ca_format_size(text, sizeof(text), cases[i].bytes);
		CU_ASSERT_STRING_EQUAL(text, cases[i].text);
	}
}

static void test_text__parses_sizes(void)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{ "0", 0 },		{ "100000", 100000 },	  { "16K", 16384 },
		{ "16k", 16384 },	{ "1.5GiB", 1610612736 }, { "2 MB", 2097152 },
		{ "7B", 7 },		{ "0.5K", 512 },	  { "1e", (uint64_t)1 << 60 },
		{ "15EiB", (uint64_t)15 << 60 }, { "18446744073709551615", UINT64_MAX },
	};
	static const char *const wrong[] = {
		"", "-1", "+1", "K", "1X", "1KK", "1.", ".5", "16E", "18446744073709551616", "1 2", "1iB",
		"0x10", " 1",
	};

	for (size_t i = 0; i < CA_COUNT(cases); i++) {
		uint64_t bytes = 1;

		CU_ASSERT_TRUE(ca_parse_size(cases[i].text, &bytes));
		CU_ASSERT_EQUAL(bytes, cases[i].bytes);
	}
	for (size_t i = 0; i < CA_COUNT(wrong); i++) {
		uint64_t bytes;

		CU_ASSERT_FALSE(ca_parse_size(wrong[i], &bytes));
	}
}

/* ---- warnings, parallel work ------------------------------------------------------ */

static void test_warning__keeps_the_first_and_counts_the_rest(void)
{
	struct ca_context ctx;

	ca_context_init(&ctx);
	ca_warn(&ctx, "one", 0x20, "effect", "first %d", 1);
	ca_warn(&ctx, "two", 0, "", "other");
	ca_warn(&ctx, "one", 0x10, "effect", "second");
	ca_warn(&ctx, "one", 0, "effect", "nowhere");
	ca_warn(&ctx, "one", 0x30, "other effect", "third");
	CU_ASSERT_EQUAL_FATAL(ctx.warnings.count, 3);
	CU_ASSERT_STRING_EQUAL(ctx.warnings.items[0].text, "first 1");
	CU_ASSERT_STRING_EQUAL(ctx.warnings.items[0].effect, "effect");
	CU_ASSERT_EQUAL(ctx.warnings.items[0].first, 0x10);
	CU_ASSERT_EQUAL(ctx.warnings.items[0].count, 3);
	CU_ASSERT_STRING_EQUAL(ctx.warnings.items[1].effect, "");
	CU_ASSERT_STRING_EQUAL(ctx.warnings.items[2].text, "third");
	CU_ASSERT_EQUAL(ctx.warnings.items[2].count, 1);
	ca_context_fini(&ctx);
}

static void test_warning__sums_bytes(void)
{
	struct ca_context ctx;

	ca_context_init(&ctx);
	ca_warn(&ctx, "named", 0, "names are missing", "no file");
	ca_warn_weigh(&ctx, "nowhere", 5);
	CU_ASSERT_FALSE(ctx.warnings.lost);
	CU_ASSERT_EQUAL_FATAL(ctx.warnings.count, 1);
	CU_ASSERT_EQUAL(ctx.warnings.items[0].bytes, 0);
	ca_warn_bytes(&ctx, "pool", 0x10, 4096, "its objects are missing", "first");
	ca_warn_bytes(&ctx, "pool", 0x20, 16384, "its objects are missing", "second");
	ca_warn_weigh(&ctx, "pool", 3);
	CU_ASSERT_TRUE(ctx.warnings.lost);
	CU_ASSERT_EQUAL_FATAL(ctx.warnings.count, 2);
	CU_ASSERT_EQUAL(ctx.warnings.items[1].bytes, 4096 + 16384 + 3);
	CU_ASSERT_EQUAL(ctx.warnings.items[1].count, 2);
	ca_context_fini(&ctx);
}

struct visits {
	struct ca_context *ctx;
	atomic_uchar *seen;
	atomic_size_t ranges;
	unsigned workers;
	atomic_bool wrong;
};

static void visit(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct visits *visits = arg;

	if (worker >= visits->workers || end - begin > 10)
		visits->wrong = true;
	for (size_t i = begin; i < end; i++)
		visits->seen[i]++;
	visits->ranges++;
	ca_warn(visits->ctx, "visited", begin, "", "from a thread");
}

static void expect_each_visited_once(unsigned threads, size_t items)
{
	struct ca_context ctx;

	ca_context_init(&ctx);
	ctx.threads = threads;
	struct visits visits = { .ctx = &ctx, .seen = ca_alloc(items), .workers = threads };

	ca_parallel(&ctx, items, 10, visit, &visits);
	for (size_t i = 0; i < items; i++)
		CU_ASSERT_EQUAL_FATAL(visits.seen[i], 1);
	CU_ASSERT_EQUAL(visits.ranges, (items + 9) / 10);
	CU_ASSERT_FALSE(visits.wrong);
	CU_ASSERT_EQUAL(items ? ctx.warnings.items[0].count : 0, visits.ranges);
	free((void *)visits.seen);
	ca_context_fini(&ctx);
}

static void test_parallel__does_each_item_once(void)
{
	expect_each_visited_once(1, 10003);
	expect_each_visited_once(4, 10003);
	expect_each_visited_once(8, 15);
	expect_each_visited_once(4, 0);
}

static void check_order(void *arg, unsigned worker, size_t begin, size_t end)
{
	size_t *next = arg;

	CU_ASSERT_EQUAL(worker, 0);
	CU_ASSERT_EQUAL(begin, *next);
	*next = end;
}

static void test_parallel__goes_upwards_with_one_thread(void)
{
	struct ca_context ctx;
	size_t next = 0;

	ca_context_init(&ctx);
	CU_ASSERT(ctx.threads >= 1);
	ctx.threads = 1;
	ca_parallel(&ctx, 95, 10, check_order, &next);
	CU_ASSERT_EQUAL(next, 95);
	ca_context_fini(&ctx);
}

CU_TestInfo ca_tests_base[] = {
	{ "error keeps its three texts", test_error__keeps_its_three_texts },
	{ "memory allocates zeros", test_memory__allocates_zeros },
	{ "memory grows by doubling", test_memory__grows_by_doubling },
	{ "memory ends the program when there is none",
	  test_memory__ends_the_program_when_there_is_none },
	{ "arena gives aligned zeros", test_arena__gives_aligned_zeros },
	{ "arena gives zeros again when emptied", test_arena__gives_zeros_again_when_emptied },
	{ "arena keeps texts", test_arena__keeps_texts },
	{ "map finds nothing when empty", test_map__finds_nothing_when_empty },
	{ "map takes key zero", test_map__takes_key_zero },
	{ "map keeps addresses", test_map__keeps_addresses },
	{ "text escapes what steers a terminal", test_text__escapes_what_steers_a_terminal },
	{ "text escapes what is not UTF-8", test_text__escapes_what_is_not_utf8 },
	{ "text never splits a character", test_text__never_splits_a_character },
	{ "text formats sizes", test_text__formats_sizes },
	{ "text parses sizes", test_text__parses_sizes },
	{ "warning keeps the first and counts the rest",
	  test_warning__keeps_the_first_and_counts_the_rest },
	{ "warning sums bytes", test_warning__sums_bytes },
	{ "parallel does each item once", test_parallel__does_each_item_once },
	{ "parallel goes upwards with one thread", test_parallel__goes_upwards_with_one_thread },
	CU_TEST_INFO_NULL,
};
