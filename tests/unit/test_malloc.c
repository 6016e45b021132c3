/* SPDX-License-Identifier: GPL-3.0-or-later */
/* heap: glibc's chunks and mimalloc's pages as these write them, and as they never would. */
#include <CUnit/Basic.h>

#include "../../coreanalyze/heap/heap.h"
#include "world.h"

/*
 * A module's data with main_arena, then brk's heap. A thread's arena is at the
 * next multiple of 64 MiB: the world begins at one.
 */
enum { DATA = 0x2000, MAIN = DATA + 0x100, HEAP = 0x10000, TOP = 0x18000, END = 0x20000 };
enum { THREAD = 64 << 20, THREAD_END = THREAD + 0x4000, WORLD_BYTES = THREAD + 0x10000 };
enum { BINS = 127, OLD_BINS = 112, NEW_BINS = 24 /* glibc 2.43 */ };

struct fixture {
	struct world world;
	struct ca_mapping mappings[2];
	struct ca_image image; /* as it was */
};

static ca_addr at(uint64_t offset)
{
	return WORLD_START + offset;
}

/* struct malloc_state */
static void put_arena(struct fixture *f, ca_addr state, unsigned bins_offset, ca_addr top,
		      ca_addr next, uint64_t system_mem)
{
	ca_addr bins = state + bins_offset, rest = bins + BINS * 16 + 16;

	world_put(&f->world, bins - 16, top);
	for (unsigned i = 0; i < BINS; i++) {
		world_put(&f->world, bins + i * 16, bins + i * 16 - 16);
		world_put(&f->world, bins + i * 16 + 8, bins + i * 16 - 16);
	}
	world_put(&f->world, rest, next);
	world_put(&f->world, rest + 16, 1);
	world_put(&f->world, rest + 24, system_mem);
	world_put(&f->world, rest + 32, system_mem);
}

static void put_head(struct fixture *f, ca_addr chunk, uint64_t size, unsigned flags)
{
	world_put(&f->world, chunk + 8, size | flags);
}

/* Three chunks, of which the second is free, and the top. */
static void put_chunks(struct fixture *f, ca_addr first, ca_addr top, ca_addr end)
{
	put_head(f, first, 0x30, 1);
	put_head(f, first + 0x30, 0x400, 1);
	world_put(&f->world, first + 0x430, 0x400);
	put_head(f, first + 0x430, top - first - 0x430, 0);
	put_head(f, top, end - top, 1);
}

static void open_fixture(struct fixture *f, unsigned bins_offset)
{
	const struct ca_layout_table *table = &ca_layout_tables[ca_layout_table_count - 1];
	ca_addr arena = at(THREAD) + 48;

	memset(f, 0, sizeof(*f));
	world_open(&f->world, &table->layout, WORLD_BYTES);
	f->world.module.data_start = at(DATA);
	f->world.module.data_end = at(DATA + 0x2000);
	f->image = *f->world.image;
	f->world.image->modules = &f->world.module;
	f->world.image->module_count = 1;
	f->mappings[0] = (struct ca_mapping){.start = at(HEAP), .end = at(END), .path = ""};
	f->mappings[1] = (struct ca_mapping){.start = at(THREAD), .end = at(THREAD_END), .path = ""};
	f->world.image->mappings = f->mappings;
	f->world.image->mapping_count = 2;
	put_arena(f, at(MAIN), bins_offset, at(TOP), arena, END - HEAP);
	put_chunks(f, at(HEAP), at(TOP), at(END));
	world_put(&f->world, at(THREAD), arena);
	world_put(&f->world, at(THREAD) + 16, THREAD_END - THREAD);
	put_arena(f, arena, bins_offset, at(THREAD_END) - 0x1000, at(MAIN), THREAD_END - THREAD);
	put_chunks(f, (arena + bins_offset + BINS * 16 + 16 + 40 + 15) & ~15ull,
		   at(THREAD_END) - 0x1000, at(THREAD_END));
}

static void close_fixture(struct fixture *f)
{
	*f->world.image = f->image;
	world_close(&f->world);
}

/* Allocated blocks of all extents, each of which must be readable or left out. */
static uint64_t blocks_of(struct fixture *f, enum ca_allocator allocator)
{
	struct ca_heap *heap;
	uint64_t count = 0;

	ca_heap_open(&f->world.ctx, &f->world.rt, &heap);
	CU_ASSERT_EQUAL(heap->allocator, allocator);
	for (size_t i = 0; i < heap->extent_count; i++) {
		const struct ca_extent *extent = &heap->extents[i];

		for (uint64_t w = 0; w < ca_extent_words(extent); w++) {
			for (uint64_t bits = ca_extent_word(extent, w); bits; bits &= bits - 1) {
				struct ca_block block;

				count += ca_block_read(heap, extent, extent->start + 16 *
						       (w * 64 + (unsigned)__builtin_ctzll(bits)), &block);
			}
		}
	}
	ca_heap_close(heap);
	return count;
}

static const unsigned offsets[] = {OLD_BINS, NEW_BINS, 104};

static void test_malloc__finds_all_arenas(void)
{
	for (size_t i = 0; i < CA_COUNT(offsets); i++) {
		struct fixture f;

		open_fixture(&f, offsets[i]);
		CU_ASSERT_EQUAL(blocks_of(&f, CA_MALLOC), 4);
		CU_ASSERT_EQUAL(f.world.ctx.warnings.count, 0);
		close_fixture(&f);
	}
}

static void test_malloc__damaged_chunk_costs_its_heap(void)
{
	static const uint64_t sizes[] = {0, 1, 0x10, 0x38, 1 << 20, UINT64_MAX, UINT64_MAX - 15};

	for (size_t i = 0; i < CA_COUNT(sizes); i++) {
		struct fixture f;

		open_fixture(&f, OLD_BINS);
		world_put(&f.world, at(HEAP) + 0x38, sizes[i]);
		/* One before it, and two of the other heap. */
		CU_ASSERT(blocks_of(&f, CA_MALLOC) <= 3);
		CU_ASSERT(blocks_of(&f, CA_MALLOC) >= 2);
		CU_ASSERT(world_warned(&f.world, "malloc-heap"));
		close_fixture(&f);
	}
}

static void test_malloc__what_waits_in_a_thread_is_free(void)
{
	for (unsigned mangled = 0; mangled < 2; mangled++) {
		struct fixture f;
		ca_addr tcache = at(HEAP), first = tcache + 0x290, second = first + 0x30;

		open_fixture(&f, OLD_BINS);
		memset(f.world.memory + HEAP, 0, 0x1000);
		put_head(&f, tcache, 0x290, 1);
		put_head(&f, first, 0x30, 1);
		put_head(&f, second, 0x30, 1);
		put_head(&f, second + 0x30, at(TOP) - second - 0x30, 1);
		CU_ASSERT_EQUAL(blocks_of(&f, CA_MALLOC), 6);
		world_put(&f.world, tcache + 16, 2ull << 16); /* of 0x30 bytes: two */
		world_put(&f.world, tcache + 16 + 128 + 8, first + 16);
		world_put(&f.world, first + 16, (second + 16) ^ (mangled ? (first + 16) >> 12 : 0));
		world_put(&f.world, second + 16, mangled ? (second + 16) >> 12 : 0);
		CU_ASSERT_EQUAL(blocks_of(&f, CA_MALLOC), 4);
		/* A chain that comes back, or leaves the heap, is none. */
		world_put(&f.world, second + 16, (first + 16) ^ (mangled ? (second + 16) >> 12 : 0));
		CU_ASSERT_EQUAL(blocks_of(&f, CA_MALLOC), 6);
		world_put(&f.world, second + 16, UINT64_MAX - 7);
		CU_ASSERT_EQUAL(blocks_of(&f, CA_MALLOC), 6);
		/* A fast bin's loop ends. */
		world_put(&f.world, tcache + 16, 0);
		world_put(&f.world, tcache + 16 + 128 + 8, 0);
		world_put(&f.world, at(MAIN) + OLD_BINS - 16 - 9 * 8, first);
		world_put(&f.world, first + 16, second ^ (mangled ? (first + 16) >> 12 : 0));
		world_put(&f.world, second + 16, first ^ (mangled ? (second + 16) >> 12 : 0));
		CU_ASSERT_EQUAL(blocks_of(&f, CA_MALLOC), 4);
		close_fixture(&f);
	}
}

static void test_malloc__mapped_chunks(void)
{
	/* The second size is 2.43's. */
	for (unsigned i = 0; i < 2; i++) {
		struct fixture f;

		open_fixture(&f, OLD_BINS);
		put_head(&f, at(0x40000), 0x30000 - (i ? 16 : 0), 2);
		CU_ASSERT_EQUAL(blocks_of(&f, CA_MALLOC), 5);
		put_head(&f, at(0x40000), WORLD_BYTES, 2); /* beyond the end */
		CU_ASSERT_EQUAL(blocks_of(&f, CA_MALLOC), 4);
		close_fixture(&f);
	}
}

/* Each word of main_arena's, of the thread's heap and arena, in turn. */
static void test_malloc__arenas_that_lie(void)
{
	static const uint64_t values[] = {0, 1, WORLD_START, WORLD_START + HEAP, UINT64_MAX};
	const uint64_t words[] = {MAIN + OLD_BINS - 16, MAIN + OLD_BINS + BINS * 16 + 16,
				  MAIN + OLD_BINS + BINS * 16 + 40, THREAD, THREAD + 8, THREAD + 16,
				  THREAD + 48 + OLD_BINS - 16, THREAD + 48 + OLD_BINS + BINS * 16 + 16};

	for (size_t w = 0; w < CA_COUNT(words); w++) {
		for (size_t v = 0; v < CA_COUNT(values); v++) {
			struct ca_heap *heap;
			struct fixture f;

			open_fixture(&f, OLD_BINS);
			world_put(&f.world, at(words[w]), values[v]);
			ca_heap_open(&f.world.ctx, &f.world.rt, &heap);
			CU_ASSERT(heap->extent_count <= 4);
			ca_heap_close(heap);
			close_fixture(&f);
		}
	}
}

/* ---- mimalloc ------------------------------------------------------------------ */

enum { SEGMENT = 32 << 20, SLICE = 64 << 10 };

/* 2.1's form: a page of blocks of 32 bytes, three of which were ever used. */
static void put_segment(struct fixture *f, uint32_t used)
{
	ca_addr segment = at(SEGMENT), page = segment + 264 + 80;

	world_put(&f->world, segment + 32, 4 * SLICE);
	world_put(&f->world, segment + 224, 4);
	world_put(&f->world, segment + 232, 1);
	world_put(&f->world, segment + 248, 3);
	world_put32(&f->world, segment + 264, 1);
	world_put32(&f->world, page, 2);
	world_put32(&f->world, page + 8, 3 << 16); /* capacity */
	world_put32(&f->world, page + 24, used);
	world_put32(&f->world, page + 28, 32);
}

static void test_mimalloc__lists_of_free_blocks(void)
{
	ca_addr page = at(SEGMENT) + 264 + 80, first = at(SEGMENT) + SLICE + 96;
	struct fixture f;

	open_fixture(&f, OLD_BINS);
	put_segment(&f, 3);
	CU_ASSERT_EQUAL(blocks_of(&f, CA_MIMALLOC), 7);
	put_segment(&f, 1);
	world_put(&f.world, page + 16, first + 64);
	world_put(&f.world, page + 32, first);
	CU_ASSERT_EQUAL(blocks_of(&f, CA_MIMALLOC), 5);
	CU_ASSERT_EQUAL(f.world.ctx.warnings.count, 0);
	close_fixture(&f);
}

static void test_mimalloc__pages_that_lie(void)
{
	static const uint64_t values[] = {0, 1, 16, WORLD_START + SEGMENT, UINT64_MAX};
	static const uint16_t words[] = {32, 224, 232, 240, 248, 264, 344, 352, 354, 360, 368, 372, 376};

	for (size_t w = 0; w < CA_COUNT(words); w++) {
		for (size_t v = 0; v < CA_COUNT(values); v++) {
			struct ca_heap *heap;
			struct fixture f;

			open_fixture(&f, OLD_BINS);
			put_segment(&f, 3);
			world_put(&f.world, at(SEGMENT) + words[w], values[v]);
			ca_heap_open(&f.world.ctx, &f.world.rt, &heap);
			CU_ASSERT(heap->extent_count <= 4);
			ca_heap_close(heap);
			close_fixture(&f);
		}
	}
}

CU_TestInfo ca_tests_malloc[] = {
	{ "malloc: finds all arenas", test_malloc__finds_all_arenas },
	{ "malloc: a damaged chunk costs its heap", test_malloc__damaged_chunk_costs_its_heap },
	{ "malloc: what waits in a thread is free", test_malloc__what_waits_in_a_thread_is_free },
	{ "malloc: mapped chunks", test_malloc__mapped_chunks },
	{ "malloc: arenas that lie", test_malloc__arenas_that_lie },
	{ "mimalloc: lists of free blocks", test_mimalloc__lists_of_free_blocks },
	{ "mimalloc: pages that lie", test_mimalloc__pages_that_lie },
	CU_TEST_INFO_NULL,
};
