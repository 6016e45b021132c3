/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CUnit/CUnit.h>
#include <jansson.h>

#include "../../coreanalyze/report/report.h"

/* ---- helpers ---------------------------------------------------------- */

typedef void document(struct ca_writer *w);

/* What a document looks like; the caller frees it. */
static char *written(document *emit, struct ca_writer_options options)
{
	char *text = NULL;
	size_t size;
	FILE *const out = open_memstream(&text, &size);
	struct ca_writer *const w = ca_writer_open(out, &options);
	emit(w);
	CU_ASSERT_PTR_NULL(ca_writer_close(w));
	fclose(out);
	return text;
}

static void check_text(document *emit, struct ca_writer_options options, const char *expected)
{
	char *const text = written(emit, options);
	CU_ASSERT_STRING_EQUAL(text, expected);
	if (strcmp(text, expected) != 0)
		fprintf(stderr, "--- expected\n%s--- got\n%s", expected, text);
	free(text);
}

static json_t *written_json(document *emit)
{
	char *const text = written(emit, (struct ca_writer_options){ .form = CA_FORM_JSON });
	json_error_t error;
	json_t *const root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	free(text);
	return root;
}

/* ---- documents -------------------------------------------------------- */

static void emit_values(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_title(w, "Values of %s", "all kinds");
	ca_put_string(w, "schema", "coreanalyze.test/1");
	ca_put_string(w, "nothing", NULL);
	ca_put_null(w, "null");
	ca_put_int(w, "int", INT64_MIN);
	ca_put_uint(w, "uint", INT64_MAX);
	ca_put_real(w, "real", 0.1);
	ca_put_real(w, "third", 1.0 / 3);
	ca_put_real(w, "infinite", INFINITY);
	ca_put_bool(w, "yes", true);
	ca_put_bool(w, "no", false);
	ca_put_addr(w, "address", 0x7fffdeadbeef);
	ca_object_begin(w, "empty");
	ca_object_end(w);
	ca_list_begin(w, "list");
	ca_put_string(w, NULL, "first");
	ca_list_begin(w, NULL);
	ca_list_end(w);
	ca_object_begin(w, NULL);
	ca_put_int(w, "last", -1);
	ca_object_end(w);
	ca_list_end(w);
	ca_line(w, "%d lines", 2);
	ca_line(w, "the second\033[2J");
	ca_object_end(w);
}

static void emit_hostile(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_put_string(w, "quotes \"\\\n", "\"\\/\b\f\n\r\t\x01\x1f\x7f");
	ca_put_string(w, "unicode", "\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x90\x8d");
	ca_list_begin(w, "invalid");
	ca_put_string(w, NULL, "a\xffz");
	ca_put_string(w, NULL, "\xc3");
	ca_put_string(w, NULL, "\xc0\x80");
	ca_put_string(w, NULL, "\xed\xa0\x80");
	ca_put_string(w, NULL, "\xf4\x90\x80\x80");
	ca_put_string(w, NULL, "\x80\x80\x80\xfe");
	ca_list_end(w);
	ca_object_end(w);
}

static const struct ca_column type_columns[] = {
	{ "type", "TYPE", CA_CELL_TEXT },   { "count", "COUNT", CA_CELL_COUNT },
	{ "bytes", "SIZE", CA_CELL_SIZE },  { "gc_tracked", NULL, CA_CELL_COUNT },
	{ NULL, "SHARE", CA_CELL_PERCENT },
};

static void put_type(struct ca_writer *w, const char *type, uint64_t count, uint64_t bytes,
		     double share)
{
	ca_cell_text(w, type);
	ca_cell_uint(w, count);
	ca_cell_uint(w, bytes);
	ca_cell_uint(w, count / 2);
	ca_cell_real(w, share);
	ca_row_end(w);
}

static void emit_types(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_title(w, "Types");
	ca_table_begin(w, "types", type_columns, CA_COUNT(type_columns));
	put_type(w, "builtins.dict", 1234567, 1572864, 0.9876);
	put_type(w, "__main__.Caf\xc3\xa9", 12, 96, 0.0012);
	put_type(w, "__main__.ANameThatIsRatherLong", 1, 1024, 0);
	ca_table_end(w, 0);
	ca_title(w, "End");
	ca_object_end(w);
}

static void emit_deltas(struct ca_writer *w)
{
	static const struct ca_column columns[] = {
		{ "type", "TYPE", CA_CELL_TEXT },
		{ "count_delta", "COUNT", CA_CELL_DELTA },
		{ "bytes_delta", "SIZE", CA_CELL_SIZE_DELTA },
		{ "address", "ADDRESS", CA_CELL_ADDR },
		{ "unreachable", "GARBAGE", CA_CELL_BOOL },
	};
	static const int64_t deltas[] = { 100663296, -1000, 0, 999 };
	static const ca_addr addresses[] = { 0, 0x7f0000001000, 0xfe0000002000, 0x100000000 };
	ca_object_begin(w, NULL);
	ca_table_begin(w, "types", columns, CA_COUNT(columns));
	for (size_t i = 0; i < CA_COUNT(deltas); i++) {
		ca_cell_text(w, i ? "t" : NULL);
		ca_cell_int(w, deltas[i]);
		ca_cell_int(w, deltas[i]);
		if (i)
			ca_cell_addr(w, addresses[i]);
		else
			ca_cell_text(w, NULL);
		ca_cell_bool(w, i % 2);
		ca_row_end(w);
	}
	ca_table_end(w, 1234567);
	ca_object_end(w);
}

static void emit_extremes(struct ca_writer *w)
{
	static const struct ca_column columns[] = {
		{ "delta", "DELTA", CA_CELL_SIZE_DELTA },
		{ "size", "SIZE", CA_CELL_SIZE },
		{ "count", "COUNT", CA_CELL_COUNT },
		{ "plain", "PLAIN", CA_CELL_TEXT },
	};
	ca_object_begin(w, NULL);
	ca_table_begin(w, "rows", columns, CA_COUNT(columns));
	ca_cell_int(w, INT64_MIN);
	ca_cell_uint(w, UINT64_MAX);
	ca_cell_uint(w, UINT64_MAX);
	ca_cell_int(w, INT64_MIN);
	ca_row_end(w);
	ca_table_end(w, 0);
	ca_object_end(w);
}

static void emit_empty(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_table_begin(w, "types", type_columns, CA_COUNT(type_columns));
	ca_table_end(w, 0);
	ca_object_end(w);
}

static void emit_escaped(struct ca_writer *w)
{
	static const struct ca_column columns[] = {
		{ "a", "A", CA_CELL_TEXT },
		{ "b", "B", CA_CELL_TEXT },
	};
	static const char *const strings[] = { "\\x1b[1m", "\033\n\t", "\xe4\xb8\xad\xe6\x96\x87",
					       "a\xff", "\xed\xa0\x80" };
	ca_object_begin(w, NULL);
	ca_table_begin(w, "rows", columns, CA_COUNT(columns));
	for (size_t i = 0; i < CA_COUNT(strings); i++) {
		ca_cell_text(w, strings[i]);
		ca_cell_int(w, 1000 + (int64_t)i);
		ca_row_end(w);
	}
	ca_table_end(w, 0);
	ca_object_end(w);
}

/* ---- JSON ------------------------------------------------------------- */

static void test_json__values_read_back(void)
{
	json_t *const root = written_json(emit_values);
	json_t *const expected = json_pack(
		"{s:s, s:n, s:n, s:I, s:I, s:f, s:f, s:n, s:b, s:b, s:s, s:{}, s:[s, [], {s:i}]}",
		"schema", "coreanalyze.test/1", "nothing", "null", "int", (json_int_t)INT64_MIN,
		"uint", (json_int_t)INT64_MAX, "real", 0.1, "third", 1.0 / 3, "infinite", "yes", 1,
		"no", 0, "address", "0x7fffdeadbeef", "empty", "list", "first", "last", -1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(expected);
	CU_ASSERT_TRUE(json_equal(root, expected));
	json_decref(expected);
	json_decref(root);
}

static void test_json__keys_in_order_on_one_line(void)
{
	check_text(
		emit_values, (struct ca_writer_options){ .form = CA_FORM_JSON },
		"{\"schema\": \"coreanalyze.test/1\", \"nothing\": null, \"null\": null, "
		"\"int\": -9223372036854775808, \"uint\": 9223372036854775807, \"real\": 0.1, "
		"\"third\": 0.3333333333333333, \"infinite\": null, \"yes\": true, \"no\": false, "
		"\"address\": \"0x7fffdeadbeef\", \"empty\": {}, "
		"\"list\": [\"first\", [], {\"last\": -1}]}\n");
}

static void test_json__hostile_strings(void)
{
	json_t *const root = written_json(emit_hostile);
	const char *const quoted = json_string_value(json_object_get(root, "quotes \"\\\n"));
	CU_ASSERT_STRING_EQUAL(quoted, "\"\\/\b\f\n\r\t\x01\x1f\x7f");
	const char *const unicode = json_string_value(json_object_get(root, "unicode"));
	CU_ASSERT_STRING_EQUAL(unicode, "\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x90\x8d");

	const json_t *const invalid = json_object_get(root, "invalid");
	CU_ASSERT_EQUAL(json_array_size(invalid), 6);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_array_get(invalid, 0)), "a\\xffz");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_array_get(invalid, 1)), "\\xc3");
	json_decref(root);
}

static void test_json__table_is_a_list_of_objects(void)
{
	json_t *const root = written_json(emit_types);
	json_t *const expected = json_pack(
		"{s:[{s:s, s:i, s:i, s:i}, {s:s, s:i, s:i, s:i}, {s:s, s:i, s:i, s:i}]}", "types",
		"type", "builtins.dict", "count", 1234567, "bytes", 1572864, "gc_tracked", 617283,
		"type", "__main__.Caf\xc3\xa9", "count", 12, "bytes", 96, "gc_tracked", 6, "type",
		"__main__.ANameThatIsRatherLong", "count", 1, "bytes", 1024, "gc_tracked", 0);
	CU_ASSERT_TRUE(json_equal(root, expected));
	json_decref(expected);
	json_decref(root);
	check_text(emit_empty, (struct ca_writer_options){ .form = CA_FORM_JSON },
		   "{\"types\": []}\n");
}

static void test_json__null_cells(void)
{
	json_t *const root = written_json(emit_deltas);
	const json_t *const rows = json_object_get(root, "types");
	CU_ASSERT_EQUAL(json_array_size(rows), 4);
	const json_t *const first = json_array_get(rows, 0);
	CU_ASSERT_TRUE(json_is_null(json_object_get(first, "type")));
	CU_ASSERT_TRUE(json_is_null(json_object_get(first, "address")));
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(first, "bytes_delta")), 100663296);
	json_decref(root);
}

static void emit_beyond_int64(struct ca_writer *w)
{
	ca_list_begin(w, NULL);
	ca_put_uint(w, NULL, UINT64_MAX);
	ca_list_end(w);
}

/* libjansson could not hold it, JSON can. */
static void test_json__beyond_int64(void)
{
	check_text(emit_beyond_int64, (struct ca_writer_options){ .form = CA_FORM_JSON },
		   "[18446744073709551615]\n");
}

/* ---- text ------------------------------------------------------------- */

static void test_text__lines_and_titles(void)
{
	check_text(emit_values, (struct ca_writer_options){ .form = CA_FORM_TEXT },
		   "Values of all kinds\n"
		   "2 lines\n"
		   "the second\\x1b[2J\n");
}

static void test_text__table(void)
{
	check_text(emit_types, (struct ca_writer_options){ .form = CA_FORM_TEXT },
		   "Types\n"
		   "TYPE                                COUNT     SIZE   SHARE\n"
		   "builtins.dict                   1,234,567  1.5 MiB  98.8 %\n"
		   "__main__.Caf\xc3\xa9                          12     96 B   0.1 %\n"
		   "__main__.ANameThatIsRatherLong          1  1.0 KiB   0.0 %\n"
		   "\n"
		   "End\n");
}

static void test_text__first_text_column_is_cut(void)
{
	check_text(emit_types, (struct ca_writer_options){ .form = CA_FORM_TEXT, .width = 44 },
		   "Types\n"
		   "TYPE                  COUNT     SIZE   SHARE\n"
		   "builtins.dict     1,234,567  1.5 MiB  98.8 %\n"
		   "__main__.Caf\xc3\xa9            12     96 B   0.1 %\n"
		   "__main__.ANameTh          1  1.0 KiB   0.0 %\n"
		   "\n"
		   "End\n");
}

static void emit_long_lines(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_line(w, "twenty columns of it, and more that follows them");
	ca_line(w, "  <- .caf\xc3\xa9 of a list (0x7f0000001000)");
	ca_line(w, "aWordThatIsLongerThanTheLine and more");
	ca_line(w, "exactly twenty colum");
	ca_line(w, " ");
	ca_object_end(w);
}

static void test_text__long_lines_are_folded(void)
{
	check_text(emit_long_lines, (struct ca_writer_options){ .form = CA_FORM_TEXT, .width = 20 },
		   "twenty columns of\n"
		   "  it, and more that\n"
		   "  follows them\n"
		   "  <- .caf\xc3\xa9 of a list\n"
		   "    (0x7f0000001000)\n"
		   "aWordThatIsLongerThanTheLine\n"
		   "  and more\n"
		   "exactly twenty colum\n"
		   " \n");
	check_text(emit_long_lines, (struct ca_writer_options){ .form = CA_FORM_TEXT, .width = 2 },
		   "twenty columns of it, and more that follows them\n"
		   "  <- .caf\xc3\xa9 of a list (0x7f0000001000)\n"
		   "aWordThatIsLongerThanTheLine and more\n"
		   "exactly twenty colum\n"
		   " \n");
}

static void test_text__color(void)
{
	check_text(emit_empty, (struct ca_writer_options){ .form = CA_FORM_TEXT, .color = true },
		   "\033[1mTYPE  COUNT  SIZE  SHARE\033[0m\n"
		   "(none)\n");
	check_text(emit_types, (struct ca_writer_options){ .form = CA_FORM_TEXT, .color = true },
		   "\033[1mTypes\033[0m\n"
		   "\033[1mTYPE                          \033[0m  \033[1m    COUNT\033[0m  "
		   "\033[1m   SIZE\033[0m  \033[1m SHARE\033[0m\n"
		   "builtins.dict                   1,234,567  1.5 MiB  98.8 %\n"
		   "__main__.Caf\xc3\xa9                          12     96 B   0.1 %\n"
		   "__main__.ANameThatIsRatherLong          1  1.0 KiB   0.0 %\n"
		   "\n"
		   "\033[1mEnd\033[0m\n");
}

static void test_text__deltas_and_omitted(void)
{
	check_text(emit_deltas, (struct ca_writer_options){ .form = CA_FORM_TEXT },
		   "TYPE         COUNT          SIZE         ADDRESS  GARBAGE\n"
		   "-     +100,663,296  +100,663,296               -  no\n"
		   "t           -1,000        -1,000  0x7f0000001000  yes\n"
		   "t                0             0  0xfe0000002000  no\n"
		   "t             +999          +999     0x100000000  yes\n"
		   "... and 1,234,567 more (--limit 0 shows all)\n");
	check_text(emit_extremes, (struct ca_writer_options){ .form = CA_FORM_TEXT },
		   "                     DELTA      SIZE                       COUNT  PLAIN\n"
		   "-9,223,372,036,854,775,808  16.0 EiB  18,446,744,073,709,551,615  "
		   "-9223372036854775808\n");
}

static void test_text__empty_table(void)
{
	check_text(emit_empty, (struct ca_writer_options){ .form = CA_FORM_TEXT },
		   "TYPE  COUNT  SIZE  SHARE\n"
		   "(none)\n");
}

/* Escapes stay as they are, other bytes neither hang nor misalign. */
static void test_text__escapes_and_wide_characters(void)
{
	check_text(emit_escaped, (struct ca_writer_options){ .form = CA_FORM_TEXT },
		   "A         B\n"
		   "\\x1b[1m   1000\n"
		   "\\x1b\\n\\t  1001\n"
		   "\xe4\xb8\xad\xe6\x96\x87      1002\n"
		   "a\\xff     1003\n"
		   "\\ud800    1004\n");
}

/* ---- trouble ---------------------------------------------------------- */

static void check_full(document *emit, enum ca_form form)
{
	FILE *const out = fopen("/dev/full", "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	struct ca_writer *const w =
		ca_writer_open(out, &(struct ca_writer_options){ .form = form });
	emit(w);
	struct ca_error *const err = ca_writer_close(w);
	fclose(out);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_EQUAL(err->status, CA_INTERNAL);
	CU_ASSERT_STRING_EQUAL(err->what, "output");
	CU_ASSERT_STRING_EQUAL(err->why, strerror(ENOSPC));
	ca_error_free(err);
}

static void emit_much(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_table_begin(w, "types", type_columns, CA_COUNT(type_columns));
	for (unsigned i = 0; i < 10000; i++)
		put_type(w, "builtins.dict", i, i, 0);
	ca_table_end(w, 0);
	ca_object_end(w);
}

static void test_close__full_disk(void)
{
	check_full(emit_types, CA_FORM_JSON);
	check_full(emit_types, CA_FORM_TEXT);
	check_full(emit_much, CA_FORM_JSON);
	check_full(emit_much, CA_FORM_TEXT);
}

static void test_close__closed_pipe(void)
{
	int ends[2];
	CU_ASSERT_FATAL(pipe(ends) == 0);
	close(ends[0]);
	void (*const before)(int) = signal(SIGPIPE, SIG_IGN);
	FILE *const out = fdopen(ends[1], "w");
	struct ca_writer *const w =
		ca_writer_open(out, &(struct ca_writer_options){ .form = CA_FORM_JSON });
	emit_much(w);
	struct ca_error *const err = ca_writer_close(w);
	fclose(out);
	signal(SIGPIPE, before);
	CU_ASSERT_PTR_NOT_NULL_FATAL(err);
	CU_ASSERT_STRING_EQUAL(err->why, strerror(EPIPE));
	ca_error_free(err);
}

static void named_in_list(struct ca_writer *w)
{
	ca_list_begin(w, NULL);
	ca_put_int(w, "key", 1);
}

static void nameless_in_object(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_put_int(w, NULL, 1);
}

static void wrong_end(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_list_end(w);
}

static void end_without_begin(struct ca_writer *w)
{
	ca_object_end(w);
}

static void two_documents(struct ca_writer *w)
{
	emit_empty(w);
	emit_empty(w);
}

static void left_open(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_writer_close(w);
}

static void short_row(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_table_begin(w, "types", type_columns, CA_COUNT(type_columns));
	ca_cell_text(w, "builtins.dict");
	ca_row_end(w);
}

static void long_row(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_table_begin(w, "types", type_columns, 1);
	ca_cell_text(w, "builtins.dict");
	ca_cell_uint(w, 1);
}

static void cell_of_another_kind(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_table_begin(w, "types", type_columns, CA_COUNT(type_columns));
	ca_cell_text(w, "builtins.dict");
	ca_cell_bool(w, true);
}

static void value_in_table(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_table_begin(w, "types", type_columns, CA_COUNT(type_columns));
	ca_put_int(w, "key", 1);
}

static void line_in_table(struct ca_writer *w)
{
	ca_object_begin(w, NULL);
	ca_table_begin(w, "types", type_columns, CA_COUNT(type_columns));
	ca_line(w, "line");
}

static void check_aborts(document *emit, enum ca_form form)
{
	const pid_t child = fork();
	if (child == 0) {
		FILE *const out = freopen("/dev/null", "w", stderr);
		emit(ca_writer_open(out, &(struct ca_writer_options){ .form = form }));
		_exit(0);
	}
	int status = 0;
	CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
	CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_nesting__misuse_is_an_assert(void)
{
	static document *const misuses[] = {
		named_in_list,        nameless_in_object, wrong_end,     end_without_begin,
		two_documents,        left_open,          short_row,     long_row,
		cell_of_another_kind, value_in_table,     line_in_table,
	};
	for (size_t i = 0; i < CA_COUNT(misuses); i++) {
		check_aborts(misuses[i], CA_FORM_JSON);
		check_aborts(misuses[i], CA_FORM_TEXT);
	}
}

CU_TestInfo ca_tests_report[] = {
	{ "json__values_read_back", test_json__values_read_back },
	{ "json__keys_in_order_on_one_line", test_json__keys_in_order_on_one_line },
	{ "json__hostile_strings", test_json__hostile_strings },
	{ "json__table_is_a_list_of_objects", test_json__table_is_a_list_of_objects },
	{ "json__null_cells", test_json__null_cells },
	{ "json__beyond_int64", test_json__beyond_int64 },
	{ "text__lines_and_titles", test_text__lines_and_titles },
	{ "text__table", test_text__table },
	{ "text__first_text_column_is_cut", test_text__first_text_column_is_cut },
	{ "text__long_lines_are_folded", test_text__long_lines_are_folded },
	{ "text__color", test_text__color },
	{ "text__deltas_and_omitted", test_text__deltas_and_omitted },
	{ "text__empty_table", test_text__empty_table },
	{ "text__escapes_and_wide_characters", test_text__escapes_and_wide_characters },
	{ "close__full_disk", test_close__full_disk },
	{ "close__closed_pipe", test_close__closed_pipe },
	{ "nesting__misuse_is_an_assert", test_nesting__misuse_is_an_assert },
	CU_TEST_INFO_NULL,
};
