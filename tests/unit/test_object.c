/* SPDX-License-Identifier: GPL-3.0-or-later */
/* object: instances that lie, for every layout; what is right is proved on real processes. */
#include <CUnit/Basic.h>

#include <stdlib.h>

#include "world.h"

enum { BYTES = 1 << 16, PAGE = 4096 };

static const ca_addr type_at = WORLD_START + 0x1000, other_at = WORLD_START + 0x2000,
		     data_at = WORLD_START + 0x8000;

#define EACH_TABLE(table)                                                                         \
	for (const struct ca_layout_table *table = ca_layout_tables;                               \
	     table < ca_layout_tables + ca_layout_table_count; table++)

/* ---- asking ---------------------------------------------------------------------- */

struct tally {
	struct ca_visitor visitor;
	uint64_t refs, buffers, bytes, calls, sum;
};

/* Reads what it is given, as a worker does. */
static void tally_refs(struct ca_visitor *v, const struct ca_refs *refs)
{
	struct tally *tally = (struct tally *)v;

	tally->calls++;
	for (uint64_t i = 0; i < refs->count; i++)
		tally->sum += ca_load_u64(refs->data + i * refs->stride);
	tally->refs += refs->count;
}

static void tally_buffer(struct ca_visitor *v, ca_addr start, uint64_t bytes, enum ca_buffer how)
{
	struct tally *tally = (struct tally *)v;

	(void)start;
	(void)how;
	tally->calls++;
	tally->buffers++;
	tally->bytes += bytes;
}

/* Everything that can be asked of an address. False when nothing is there. */
static bool ask(struct world *world, ca_addr address, struct tally *tally)
{
	struct ca_arena scratch = { 0 };
	struct ca_object object;
	struct ca_shape shape;

	*tally = (struct tally){ .visitor = { tally_refs, tally_buffer } };
	if (!ca_object_read(world->reader, address, &object))
		return false;

	bool shaped = ca_object_shape(world->reader, &object, &shape);

	if (shaped) {
		CU_ASSERT(shape.extent <= object.readable);
		ca_object_traverse(world->reader, &object, &tally->visitor);
	}
	ca_object_value(world->reader, &object, &scratch);
	ca_type_name(world->reader, object.type, &scratch);
	ca_type_bytes_exact(world->reader, object.type);
	ca_object_refcount(world->layout, object.at);
	ca_object_is_immortal(world->layout, object.at);
	ca_object_is_corpse(world->layout, object.at);
	if (object.type->gc && object.pre) {
		ca_object_tracked(&object);
		ca_object_links_hold(world->reader, &object);
	}
	ca_arena_fini(&scratch);
	return shaped;
}

static void fill(struct world *world, ca_addr from, ca_addr to, uint64_t value)
{
	for (ca_addr at = from; at + 8 <= to; at += 8)
		world_put(world, at, value);
}

/* ---- instances that are too small for their kind --------------------------------- */

static const char *const names[] = {
	"plain", "float", "complex", "bytearray", "set", "frozenset", "frozendict", "memoryview",
	"collections.OrderedDict", "collections.deque", "datetime.time", "datetime.datetime", "code",
	"frame", "module", "function", "EncodingMap", "generator", "coroutine", "async_generator",
	"bool", "NoneType", "ellipsis", "_io.BytesIO", "_io.StringIO", "_io.FileIO",
	"_io.BufferedReader", "array.array", "_struct.Struct", "decimal.Decimal", "_pickle.Pickler",
	"_pickle.Unpickler", "_pickle.Pdata", "xml.etree.ElementTree.Element", "pyexpat.xmlparser",
	"itertools.combinations", "itertools.combinations_with_replacement", "itertools.permutations",
	"itertools.product", "_queue.SimpleQueue", "zoneinfo.ZoneInfo", "parser.st", "StgDict",
	"_ctypes.CType_Type", "_ctypes._CData", "numpy.ndarray", "numpy.dtype",
};

static const uint64_t kinds_by_flag[] = {
	0,
	CA_TPFLAGS_LONG_SUBCLASS,
	CA_TPFLAGS_LIST_SUBCLASS,
	CA_TPFLAGS_TUPLE_SUBCLASS,
	CA_TPFLAGS_BYTES_SUBCLASS,
	CA_TPFLAGS_UNICODE_SUBCLASS,
	CA_TPFLAGS_DICT_SUBCLASS,
	CA_TPFLAGS_BASE_EXC_SUBCLASS,
	CA_TPFLAGS_TYPE_SUBCLASS,
};

/* What the words of an instance may be: none of them is what it should be. */
static const uint64_t words[] = {
	0, 1, UINT64_MAX, INT64_MAX, (uint64_t)INT64_MIN, 1ull << 40, data_at, WORLD_START, type_at,
	UINT64_MAX - 7, 0x6565656565656565, 0x60,
};

/* One type, its instance at the very end of the memory, of words that lie. */
static void try_type(struct world *world, const char *name, uint64_t flags, uint64_t basicsize,
		     uint64_t itemsize)
{
	const struct ca_layout *layout = world->layout;
	struct tally tally;

	world_type(world, type_at, name, flags, basicsize, itemsize, 0);
	for (size_t w = 0; w < CA_COUNT(words); w++) {
		for (uint64_t room = basicsize & ~7ull; room <= basicsize + 16; room += 8) {
			ca_addr at = (world->end - room) & ~15ull;

			fill(world, world->end - 1024, world->end, words[w]);
			world_put(world, at + layout->object.ob_type, type_at);
			ask(world, at, &tally);
		}
	}
}

static void open_with(struct world *world, const struct ca_layout_table *table)
{
	world_open(world, &table->layout, BYTES);
	fill(world, data_at, data_at + 0x4000, data_at);
}

/* A type is read once: each try has a registry of its own. */
static void forget(struct world *world)
{
	ca_types_fini(&world->types);
	ca_types_init(&world->types, &world->rt);
	ca_reader_init(world->reader, &world->types);
}

static void test_object__that_is_too_small_for_its_name(void)
{
	EACH_TABLE(table) {
		struct world world;

		open_with(&world, table);
		for (size_t n = 0; n < CA_COUNT(names); n++) {
			for (uint64_t basicsize = 16; basicsize < 256; basicsize += 40) {
				forget(&world);
				try_type(&world, names[n], n % 2 ? CA_TPFLAGS_HAVE_GC : 0, basicsize, 0);
			}
		}
		world_close(&world);
	}
}

static void test_object__that_is_too_small_for_its_flags(void)
{
	EACH_TABLE(table) {
		const struct ca_layout *layout = &table->layout;
		const uint64_t managed = (uint64_t)(layout->c.flag_managed_dict |
						    layout->c.flag_inline_values);
		const uint64_t extra[] = { 0, CA_TPFLAGS_HAVE_GC, managed, managed | CA_TPFLAGS_HAVE_GC,
					   CA_TPFLAGS_HEAPTYPE };
		struct world world;

		open_with(&world, table);
		for (size_t k = 0; k < CA_COUNT(kinds_by_flag); k++) {
			for (size_t e = 0; e < CA_COUNT(extra); e++) {
				for (uint64_t basicsize = 16; basicsize < 128; basicsize += 12) {
					forget(&world);
					try_type(&world, "x.y", kinds_by_flag[k] | extra[e], basicsize,
						 e % 2 ? 8 : 1);
				}
			}
		}
		world_close(&world);
	}
}

/* ---- chains without an end -------------------------------------------------------- */

static void test_object__deque_of_blocks_in_a_ring(void)
{
	EACH_TABLE(table) {
		const struct ca_layout *layout = &table->layout;
		struct world world;
		struct tally tally;

		if (layout->deque.size <= 0)
			continue;
		open_with(&world, table);
		world_type(&world, type_at, "collections.deque", CA_TPFLAGS_HAVE_GC,
			   (uint64_t)layout->deque.size, 0, 0);
		world_put(&world, other_at + layout->object.ob_refcnt, 1);
		world_put(&world, other_at + layout->object.ob_type, type_at);
		world_put(&world, other_at + layout->var.ob_size, INT64_MAX);
		world_put(&world, other_at + layout->deque.leftblock, data_at);
		/* A block is {left, 64 items, right}: this one is its own neighbour. */
		fill(&world, data_at, data_at + 66 * 8, data_at);
		CU_ASSERT(ask(&world, other_at, &tally));
		CU_ASSERT(tally.calls < 1000);
		/* A ring that does not come back to where it began. */
		for (int i = 0; i < 5; i++)
			world_put(&world, data_at + i * 528 + 520, data_at + (i == 4 ? 2 : i + 1) * 528);
		CU_ASSERT(ask(&world, other_at, &tally));
		CU_ASSERT(tally.calls < 1000);
		world_close(&world);
	}
}

static void test_object__ordered_dict_of_nodes_in_a_ring(void)
{
	EACH_TABLE(table) {
		const struct ca_layout *layout = &table->layout;
		struct world world;
		struct tally tally;

		open_with(&world, table);
		world_type(&world, type_at, "collections.OrderedDict",
			   CA_TPFLAGS_HAVE_GC | CA_TPFLAGS_DICT_SUBCLASS, (uint64_t)layout->odict.size, 0,
			   0);
		world_put(&world, other_at + layout->object.ob_refcnt, 1);
		world_put(&world, other_at + layout->object.ob_type, type_at);
		world_put(&world, other_at + layout->dict.ma_used, INT64_MAX);
		world_put(&world, other_at + layout->odict.od_first, data_at);
		CU_ASSERT(ask(&world, other_at, &tally));
		CU_ASSERT(tally.calls < 1000);
		world_close(&world);
	}
}

static void test_object__bases_in_a_ring(void)
{
	EACH_TABLE(table) {
		const struct ca_layout *layout = &table->layout;
		struct world world;
		struct tally tally;

		open_with(&world, table);
		world_type(&world, type_at, "a", 0, 32, 0, other_at);
		world_type(&world, other_at, "b", 0, 32, 0, type_at);
		world_put(&world, data_at + layout->object.ob_type, type_at);
		CU_ASSERT(ask(&world, data_at, &tally));
		/* A metatype whose bases are a ring derives from nothing. */
		world_type(&world, other_at, "m", CA_TPFLAGS_TYPE_SUBCLASS, 1000, 0, other_at);
		world_type(&world, type_at, "a", 0, 32, 0, 0);
		world_put(&world, type_at + layout->object.ob_type, other_at);
		forget(&world);
		CU_ASSERT(!ask(&world, data_at, &tally));
		world_close(&world);
	}
}

/* Its words are those that the type itself has room for. */
static void test_object__base_of_damaged_size(void)
{
	static const uint64_t sizes[] = { 33, 1 << 30, UINT32_MAX - 7, UINT32_MAX, UINT64_MAX };

	EACH_TABLE(table) {
		for (size_t i = 0; i < CA_COUNT(sizes); i++) {
			struct world world;
			struct tally tally;

			open_with(&world, table);
			world_type(&world, type_at, "a", 0, 32, 0, other_at);
			world_type(&world, other_at, "b", 0, sizes[i], 0, 0);
			world_put(&world, data_at + table->layout.object.ob_type, type_at);
			CU_ASSERT(ask(&world, data_at, &tally));
			CU_ASSERT(tally.refs <= 2);
			world_close(&world);
		}
	}
}

static void test_object__method_resolution_order_that_lies(void)
{
	static const uint64_t counts[] = { 0, 1, 4096, 4097, INT64_MAX, UINT64_MAX };

	EACH_TABLE(table) {
		const struct ca_layout *layout = &table->layout;
		struct world world;
		struct tally tally;

		open_with(&world, table);
		for (size_t i = 0; i < CA_COUNT(counts); i++) {
			forget(&world);
			world_type(&world, type_at, "a", 0, 32, 0, 0);
			world_put(&world, type_at + layout->type.tp_mro, data_at);
			world_put(&world, type_at + layout->type.tp_dict, data_at);
			world_put(&world, data_at + layout->var.ob_size, counts[i]);
			world_put(&world, other_at + layout->object.ob_type, type_at);
			CU_ASSERT(ask(&world, other_at, &tally));
		}
		world_close(&world);
	}
}

/* ---- tables of keys ---------------------------------------------------------------- */

static void test_object__dict_with_a_table_that_lies(void)
{
	EACH_TABLE(table) {
		const struct ca_layout *layout = &table->layout;
		struct world world;
		struct tally tally;

		open_with(&world, table);
		world_type(&world, type_at, "dict", CA_TPFLAGS_DICT_SUBCLASS, (uint64_t)layout->dict.size,
			   0, 0);
		for (size_t w = 0; w < CA_COUNT(words); w++) {
			for (ca_addr keys = world.end - 64; keys < world.end + 16; keys += 8) {
				fill(&world, world.end - 256, world.end, words[w]);
				world_put(&world, other_at + layout->object.ob_type, type_at);
				world_put(&world, other_at + layout->dict.ma_keys, keys);
				world_put(&world, other_at + layout->dict.ma_values, world.end - 8 * w);
				ask(&world, other_at, &tally);
				CU_ASSERT(tally.refs < BYTES / 8 * 4);
			}
		}
		world_close(&world);
	}
}

/* ---- numpy's arrays ---------------------------------------------------------------- */

/* ndarraytypes.h: PyArrayObject_fields, PyArray_Descr of 1.x, _PyArray_LegacyDescr of 2.x. */
enum { ARRAY_BYTES = 96, ARRAY_DATA = 16, ARRAY_ND = 24, ARRAY_DIMENSIONS = 32, ARRAY_STRIDES = 40,
       ARRAY_DESCR = 56, ARRAY_FLAGS = 64, OWNS_DATA = 4, OBJECT_KIND = 'O', OBJECT_NUM = 17 };
static const struct {
	uint32_t bytes, flags, elsize, subarray, fields;
} descrs[] = { { 96, 27, 32, 40, 48 }, { 120, 32, 40, 88, 96 } };

static const ca_addr array_at = WORLD_START + 0x4000, descr_at = WORLD_START + 0x5000,
		     pair_at = WORLD_START + 0x5800, lists_at = WORLD_START + 0x6000;

/* An array of one dimension, and its dtype: of objects. */
static void write_array(struct world *world, size_t of, uint64_t count, uint64_t stride)
{
	const struct ca_layout *layout = world->layout;

	world_type(world, type_at, "numpy.ndarray", 0, ARRAY_BYTES, 0, 0);
	world_type(world, other_at, "numpy.dtype", 0, descrs[of].bytes, 0, 0);
	world_put(world, array_at + layout->object.ob_type, type_at);
	world_put(world, array_at + ARRAY_DATA, data_at);
	world_put32(world, array_at + ARRAY_ND, 1);
	world_put(world, array_at + ARRAY_DIMENSIONS, lists_at);
	world_put(world, array_at + ARRAY_STRIDES, lists_at + 8);
	world_put(world, array_at + ARRAY_DESCR, descr_at);
	world_put32(world, array_at + ARRAY_FLAGS, OWNS_DATA);
	world_put(world, lists_at, count);
	world_put(world, lists_at + 8, stride);
	fill(world, descr_at + 16, descr_at + descrs[of].bytes, 0);
	world_put(world, descr_at + layout->object.ob_type, other_at);
	world_put32(world, descr_at + 24, OBJECT_KIND);
	world_put32(world, descr_at + 28, OBJECT_NUM);
	world_put32(world, descr_at + descrs[of].elsize, 8);
	world->memory[descr_at + descrs[of].flags - WORLD_START] = 1;
}

static void test_object__array_of_elements_that_are_not_there(void)
{
	static const struct {
		uint64_t count, stride;
		uint64_t refs; /* beside base and dtype, and what holds the memory */
	} cases[] = {
		{ 5, 8, 5 },	     { 5, 24, 5 },	  { 0, 8, 0 },
		{ 1, 1ull << 60, 1 }, { 5, 0, 0 },	  { 5, 4, 0 },
		{ 5, UINT64_MAX - 7, 0 }, { 1ull << 40, 8, 0 }, { UINT64_MAX, 8, 0 },
		{ 1ull << 61, 8, 0 }, { BYTES / 8, 8, 0 },
	};

	EACH_TABLE(table) {
		for (size_t i = 0; i < CA_COUNT(cases) * CA_COUNT(descrs); i++) {
			struct world world;
			struct tally tally;

			open_with(&world, table);
			write_array(&world, i % CA_COUNT(descrs), cases[i / 2].count, cases[i / 2].stride);
			CU_ASSERT(ask(&world, array_at, &tally));
			CU_ASSERT_EQUAL(tally.refs, cases[i / 2].refs + 3);
			world_put32(&world, array_at + ARRAY_ND, 65);
			CU_ASSERT(ask(&world, array_at, &tally));
			CU_ASSERT_EQUAL(tally.refs, 3);
			world_close(&world);
		}
	}
}

static void test_object__array_of_a_dtype_in_itself(void)
{
	EACH_TABLE(table) {
		for (size_t of = 0; of < CA_COUNT(descrs); of++) {
			struct world world;
			struct tally tally;

			open_with(&world, table);
			write_array(&world, of, 5, 8);
			world.memory[descr_at + 24 - WORLD_START] = 'V';
			world_put32(&world, descr_at + 28, 20);
			world_put(&world, descr_at + descrs[of].subarray, pair_at);
			world_put(&world, pair_at, descr_at);
			CU_ASSERT(ask(&world, array_at, &tally));
			CU_ASSERT_EQUAL(tally.refs, 3);
			CU_ASSERT(world_warned(&world, "numpy-fields"));
			/* Its fields are no dict. */
			world_put(&world, descr_at + descrs[of].subarray, 0);
			world_put(&world, descr_at + descrs[of].fields, array_at);
			CU_ASSERT(ask(&world, array_at, &tally));
			CU_ASSERT_EQUAL(tally.refs, 3);
			world_close(&world);
		}
	}
}

static void test_object__array_of_another_size(void)
{
	EACH_TABLE(table) {
		struct world world;
		struct ca_object object;

		for (uint64_t size = 64; size <= 128; size += 8) {
			open_with(&world, table);
			write_array(&world, 0, 5, 8);
			world_type(&world, type_at, "numpy.ndarray", 0, size, 0, 0);
			CU_ASSERT(ca_object_read(world.reader, array_at, &object));
			CU_ASSERT_EQUAL(ca_type_is(object.type, "numpy.ndarray"),
					size == 80 || size == 88 || size == 96);
			world_close(&world);
		}
	}
}

/* ---- who is a kind, and who only has its name --------------------------------------- */

/* A str of ASCII characters. */
static void write_name(struct world *world, ca_addr at, const char *text)
{
	const struct ca_layout *layout = world->layout;

	world_put(world, at + layout->ascii.length, strlen(text));
	world_put32(world, at + layout->ascii.state, 1 << 2 | 1 << 5 | 1 << 6);
	world_text(world, at + (ca_addr)layout->ascii.size, text);
}

static void test_object__class_of_python_code_is_no_deque(void)
{
	EACH_TABLE(table) {
		const struct ca_layout *layout = &table->layout;
		static const struct {
			const char *ht_name;
			bool deque;
		} cases[] = { { "collections.deque", false }, { "deque", true } };

		for (size_t i = 0; i < CA_COUNT(cases) && layout->deque.size > 0; i++) {
			struct world world;
			struct ca_object object;

			open_with(&world, table);
			world_type(&world, type_at, "collections.deque",
				   CA_TPFLAGS_HEAPTYPE | CA_TPFLAGS_HAVE_GC, (uint64_t)layout->deque.size, 0,
				   0);
			write_name(&world, data_at, cases[i].ht_name);
			world_put(&world, type_at + layout->heaptype.ht_name, data_at);
			world_put(&world, other_at + layout->object.ob_type, type_at);
			CU_ASSERT(ca_object_read(world.reader, other_at, &object));
			CU_ASSERT_EQUAL(object.type->kind_owner == type_at, cases[i].deque);
			world_close(&world);
		}
	}
}

CU_TestInfo ca_tests_object[] = {
	{ "object that is too small for its name", test_object__that_is_too_small_for_its_name },
	{ "object that is too small for its flags", test_object__that_is_too_small_for_its_flags },
	{ "object: deque of blocks in a ring", test_object__deque_of_blocks_in_a_ring },
	{ "object: OrderedDict of nodes in a ring", test_object__ordered_dict_of_nodes_in_a_ring },
	{ "object: bases in a ring", test_object__bases_in_a_ring },
	{ "object: base of damaged size", test_object__base_of_damaged_size },
	{ "object: method resolution order that lies", test_object__method_resolution_order_that_lies },
	{ "object: dict with a table that lies", test_object__dict_with_a_table_that_lies },
	{ "object: class of Python code is no deque", test_object__class_of_python_code_is_no_deque },
	{ "object: array of elements that are not there", test_object__array_of_elements_that_are_not_there },
	{ "object: array of a dtype in itself", test_object__array_of_a_dtype_in_itself },
	{ "object: array of another size", test_object__array_of_another_size },
	CU_TEST_INFO_NULL,
};
