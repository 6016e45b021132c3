/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs the CUnit suites: all of them, or those that are named as SUITE or
 * SUITE/TEST. A file tests/unit/test_X.c is the suite X; it defines
 * ca_tests_X[], ended by CU_TEST_INFO_NULL. The build writes suites.def from
 * the files' names, so no suite is registered by hand.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>

#include "child.h"

#define SUITE(name) extern CU_TestInfo ca_tests_##name[];
#include "suites.def"
#undef SUITE

static CU_SuiteInfo suites[] = {
#define SUITE(name) { .pName = #name, .pTests = ca_tests_##name },
#include "suites.def"
#undef SUITE
	CU_SUITE_INFO_NULL,
};

static bool is_named(const char *suite, const char *test, char **names)
{
	if (!*names)
		return true;
	const size_t length = strlen(suite);
	for (; *names; names++) {
		const char *const rest = *names + length;
		if (strncmp(*names, suite, length) == 0 &&
		    (*rest == '\0' || (*rest == '/' && strcmp(rest + 1, test) == 0)))
			return true;
	}
	return false;
}

/* Switches off what is not named; returns how many tests are left. */
static unsigned choose_tests(char **names)
{
	unsigned chosen = 0;
	for (CU_pSuite suite = CU_get_registry()->pSuite; suite; suite = suite->pNext) {
		bool used = false;
		for (CU_pTest test = suite->pTest; test; test = test->pNext) {
			test->fActive = is_named(suite->pName, test->pName, names);
			used |= test->fActive;
			chosen += test->fActive;
		}
		suite->fActive = used;
	}
	return chosen;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], CA_TEST_CHILD) == 0)
		return ca_test_child();
	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS) {
		fprintf(stderr, "unit: %s\n", CU_get_error_msg());
		return EXIT_FAILURE;
	}
	if (choose_tests(argv + 1) == 0) {
		fprintf(stderr, "unit: no such test\n");
		return EXIT_FAILURE;
	}
	/* What is switched off is not a failure. */
	CU_set_fail_on_inactive(CU_FALSE);
	CU_basic_set_mode(CU_BRM_NORMAL);
	CU_basic_run_tests();

	const unsigned run = CU_get_number_of_tests_run();
	const unsigned failed = CU_get_number_of_tests_failed();
	CU_cleanup_registry();
	printf("%u passed, %u failed, 0 skipped\n", run - failed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
