/* SPDX-License-Identifier: GPL-3.0-or-later */
/* open: molds met by workers, merged to one order that tells nothing of the workers. */
#include <CUnit/Basic.h>

#include <stdlib.h>

#include "../../coreanalyze/open/molds.h"

enum { TABLES = 3, TYPES = 5, OBJECTS = 20000 };

/* Sizes of more than 32 bits among them. */
static struct ca_mold mold_of(unsigned i)
{
	return (struct ca_mold){
		.type = i % TYPES,
		.flags = i / 7 % 2,
		.bytes = i % 11 ? i % 3001 : (uint64_t)i << 33,
		.owned = i % 13 ? 0 : (uint64_t)i * i << 20,
	};
}

struct fixture {
	struct ca_molds tables[TABLES];
	struct ca_objects objects;
	uint32_t mold[OBJECTS]; /* as the tables number them, then as they are settled */
};

/* Object i goes to the table (i / chunk) % TABLES. */
static void open_fixture(struct fixture *f, unsigned chunk)
{
	static const uint32_t types[TYPES] = {3, 1, 4, 0, 2};
	const struct ca_molds *tables[TABLES];

	memset(&f->objects, 0, sizeof(f->objects));
	for (unsigned t = 0; t < TABLES; t++) {
		ca_molds_init(&f->tables[t]);
		tables[t] = &f->tables[t];
	}
	for (unsigned i = 0; i < OBJECTS; i++) {
		struct ca_mold mold = mold_of(i);

		f->mold[i] = ca_molds_add(&f->tables[i / chunk % TABLES], &mold);
	}

	uint32_t **renumber = ca_molds_settle(tables, TABLES, &f->objects, types);

	for (unsigned i = 0; i < OBJECTS; i++)
		f->mold[i] = renumber[i / chunk % TABLES][f->mold[i]];
	for (unsigned t = 0; t < TABLES; t++)
		free(renumber[t]);
	free(renumber);
}

static void close_fixture(struct fixture *f)
{
	for (unsigned t = 0; t < TABLES; t++)
		ca_molds_fini(&f->tables[t]);
	free(f->objects.molds);
}

static void test_molds__say_what_went_in(void)
{
	static const uint32_t types[TYPES] = {3, 1, 4, 0, 2};
	struct fixture *f = calloc(1, sizeof(*f));
	uint64_t count = 0;

	open_fixture(f, 1);
	for (unsigned i = 0; i < OBJECTS; i++) {
		const struct ca_mold in = mold_of(i), *out = &f->objects.molds[f->mold[i]];

		CU_ASSERT(f->mold[i] < f->objects.mold_count);
		CU_ASSERT(out->type == types[in.type] && out->flags == in.flags);
		CU_ASSERT(out->bytes == in.bytes && out->owned == in.owned);
	}
	for (uint32_t i = 0; i < f->objects.mold_count; i++)
		count += f->objects.molds[i].count;
	CU_ASSERT_EQUAL(count, OBJECTS);
	close_fixture(f);
	free(f);
}

static void test_molds__order_does_not_depend_on_workers(void)
{
	struct fixture *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));

	open_fixture(a, 1);
	open_fixture(b, 999);
	CU_ASSERT_EQUAL(a->objects.mold_count, b->objects.mold_count);
	CU_ASSERT(!memcmp(a->objects.molds, b->objects.molds,
			  a->objects.mold_count * sizeof(*a->objects.molds)));
	CU_ASSERT(!memcmp(a->mold, b->mold, sizeof(a->mold)));
	close_fixture(a);
	close_fixture(b);
	free(a);
	free(b);
}

CU_TestInfo ca_tests_molds[] = {
	{ "molds: say what went in", test_molds__say_what_went_in },
	{ "molds: order does not depend on workers", test_molds__order_does_not_depend_on_workers },
	CU_TEST_INFO_NULL,
};
