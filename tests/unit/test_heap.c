/* SPDX-License-Identifier: GPL-3.0-or-later */
/* heap: arenas and pools as obmalloc writes them, and as it never would. */
#include <CUnit/Basic.h>

#include <stdlib.h>

#include "../../coreanalyze/heap/heap.h"
#include "world.h"

/* Pages of the table, then two arenas, each at a multiple of its size. */
enum { TABLE_BYTES = 1 << 16 };

struct fixture {
	struct world world;
	ca_addr state, table, data, arenas[2];
	uint64_t arena_bytes, pool_bytes;
};

#define EACH_TABLE(table)                                                                         \
	for (const struct ca_layout_table *table = ca_layout_tables;                               \
	     table < ca_layout_tables + ca_layout_table_count; table++)

static void put_arena(struct fixture *f, unsigned index, ca_addr address, ca_addr carved,
		      uint32_t free_pools, uint32_t pools)
{
	const struct ca_layout *layout = f->world.layout;
	ca_addr entry = f->table + index * (uint64_t)layout->arena.size;

	world_put(&f->world, entry + layout->arena.address, address);
	world_put(&f->world, entry + layout->arena.pool_address, carved);
	world_put32(&f->world, entry + layout->arena.nfreepools, free_pools);
	world_put32(&f->world, entry + layout->arena.ntotalpools, pools);
}

static void put_pool(struct fixture *f, ca_addr pool, uint32_t arena, uint32_t count, uint32_t szidx,
		     uint32_t next, ca_addr free_block)
{
	const struct ca_layout *layout = f->world.layout;

	world_put32(&f->world, pool + layout->pool.count, count);
	world_put(&f->world, pool + layout->pool.freeblock, free_block);
	world_put32(&f->world, pool + layout->pool.arenaindex, arena);
	world_put32(&f->world, pool + layout->pool.szidx, szidx);
	world_put32(&f->world, pool + layout->pool.nextoffset, next);
}

/*
 * Two arenas with two carved pools each. The root is the interpreter's state,
 * or a word of the module's static data.
 */
static void open_fixture(struct fixture *f, const struct ca_layout_table *table)
{
	const struct ca_layout *layout = &table->layout;
	uint32_t pools = (uint32_t)(layout->c.arena_bytes / layout->c.pool_bytes);

	memset(f, 0, sizeof(*f));
	f->arena_bytes = (uint64_t)layout->c.arena_bytes;
	f->pool_bytes = (uint64_t)layout->c.pool_bytes;
	world_open(&f->world, layout, 3 * f->arena_bytes);
	f->state = WORLD_START + 0x1000;
	f->data = WORLD_START + 0x2000;
	f->table = WORLD_START + 0x4000;
	for (unsigned i = 0; i < 2; i++) {
		f->arenas[i] = WORLD_START + (i + 1) * f->arena_bytes;
		put_arena(f, i, f->arenas[i], f->arenas[i] + 2 * f->pool_bytes, pools - 2, pools);
		for (unsigned p = 0; p < 2; p++)
			put_pool(f, f->arenas[i] + p * f->pool_bytes, i, 3, 1,
				 CA_POOL_HEADER + 3 * 32, 0);
	}
	f->world.module.data_start = f->data;
	f->world.module.data_end = f->data + 64;
	f->world.module.start = f->data;
	f->world.module.end = f->data + 0x1000;
	world_put(&f->world, f->data + 24, f->table);
	f->world.interp.obmalloc = f->state;
	if (layout->obmalloc.size > 0) {
		world_put(&f->world, f->state + layout->obmalloc.arenas, f->table);
		world_put32(&f->world, f->state + layout->obmalloc.maxarenas, 16);
	}
}

static struct ca_heap *open_heap(struct fixture *f)
{
	struct ca_heap *heap;

	ca_heap_open(&f->world.ctx, &f->world.rt, &heap);
	return heap;
}

/* Whose chain and count disagree. */
static unsigned damaged_pools;

/* Allocated blocks of all pools; whatever memory says, no pool has more than fit. */
static uint64_t count_blocks(const struct ca_heap *heap)
{
	uint64_t count = 0;

	damaged_pools = 0;
	for (size_t i = 0; i < heap->arena_count; i++) {
		const struct ca_arena_range *arena = &heap->arenas[i];
		uint32_t carved = ca_arena_blocks(heap, arena), seen = 0;
		struct ca_pool pool;

		CU_ASSERT(arena->start < arena->end || arena->start == arena->end);
		for (ca_addr at = arena->start; at < arena->end; at += heap->pool_bytes) {
			enum ca_pool_state state = ca_pool_read(heap, arena, at, &pool);

			ca_pool_warn(heap, at, state);
			if (state != CA_POOL_READ)
				continue;
			damaged_pools += pool.damaged;
			CU_ASSERT(pool.blocks <= CA_MAX_POOL_BLOCKS);
			CU_ASSERT(CA_POOL_HEADER + (uint64_t)pool.blocks * pool.block_bytes <=
				  heap->pool_bytes);
			CU_ASSERT(pool.lead + pool.room <= pool.block_bytes || !pool.room);
			seen += pool.blocks;
			for (uint32_t b = 0; b < pool.blocks; b++)
				count += !(pool.free[b / 64] >> (b % 64) & 1);
		}
		CU_ASSERT(seen <= carved);
	}
	return count;
}

static uint64_t blocks_of(struct fixture *f)
{
	struct ca_heap *heap = open_heap(f);
	uint64_t count = count_blocks(heap);

	ca_heap_close(heap);
	return count;
}

/* There is no malloc in this world, which is said; nothing else is. */
static bool has_only_arenas(const struct fixture *f, const struct ca_heap *heap)
{
	return heap->allocator == CA_OBMALLOC && !heap->extent_count &&
	       f->world.ctx.warnings.count == 1 && world_warned(&f->world, "unknown-malloc");
}

/* ---- sound ones --------------------------------------------------------------------- */

static void test_heap__finds_arenas_and_blocks(void)
{
	EACH_TABLE(table) {
		struct fixture f;

		open_fixture(&f, table);

		struct ca_heap *heap = open_heap(&f);

		CU_ASSERT_EQUAL(heap->arena_count, 2);
		CU_ASSERT_EQUAL(heap->arena_bytes, 2 * f.arena_bytes);
		CU_ASSERT_EQUAL(count_blocks(heap), 12);
		CU_ASSERT(has_only_arenas(&f, heap));
		CU_ASSERT_PTR_NULL(ca_heap_arena(heap, f.arenas[0] - 1));
		CU_ASSERT_PTR_EQUAL(ca_heap_arena(heap, f.arenas[0]), &heap->arenas[0]);
		CU_ASSERT_PTR_NULL(ca_heap_arena(heap, f.arenas[0] + 2 * f.pool_bytes));
		CU_ASSERT_PTR_NULL(ca_heap_arena(heap, UINT64_MAX));
		ca_heap_close(heap);
		world_close(&f.world);
	}
}

static void test_heap__leaves_free_blocks_out(void)
{
	EACH_TABLE(table) {
		struct fixture f;

		open_fixture(&f, table);
		/* Of three blocks the first and the last are free. */
		ca_addr pool = f.arenas[0], first = pool + CA_POOL_HEADER, last = first + 64;

		put_pool(&f, pool, 0, 1, 1, CA_POOL_HEADER + 96, last);
		world_put(&f.world, last, first);
		struct ca_heap *heap = open_heap(&f);

		CU_ASSERT_EQUAL(count_blocks(heap), 10);
		CU_ASSERT(has_only_arenas(&f, heap));
		ca_heap_close(heap);
		world_close(&f.world);
	}
}

/* ---- chains of free blocks that lie --------------------------------------------------- */

static void test_pool__chain_that_lies(void)
{
	EACH_TABLE(table) {
		struct fixture f;

		open_fixture(&f, table);

		ca_addr pool = f.arenas[0], block = pool + CA_POOL_HEADER;
		const ca_addr links[] = {
			block, block + 1, block + 8, block + 96, pool, pool - 32, pool + f.pool_bytes,
			f.world.end - 8, f.world.end, UINT64_MAX, 1, (ca_addr)INT64_MIN,
		};

		for (size_t i = 0; i < CA_COUNT(links); i++) {
			put_pool(&f, pool, 0, 2, 1, CA_POOL_HEADER + 96, block);
			world_put(&f.world, block, links[i]);
			CU_ASSERT(blocks_of(&f) >= 9);
			CU_ASSERT_EQUAL(damaged_pools, 1);
			put_pool(&f, pool, 0, 2, 1, CA_POOL_HEADER + 96, links[i]);
			CU_ASSERT(blocks_of(&f) >= 9);
		}
		world_close(&f.world);
	}
}

static void test_pool__left_out_of_the_core(void)
{
	EACH_TABLE(table) {
		struct fixture f;

		open_fixture(&f, table);

		ca_addr pool = f.arenas[0] + f.pool_bytes;

		put_pool(&f, pool, 0, 0, 1, CA_POOL_HEADER + 96, 0);
		CU_ASSERT_EQUAL(blocks_of(&f), 9);
		CU_ASSERT_FALSE(world_warned(&f.world, "blank-pool"));
		put_pool(&f, pool, 0, 0, 0, 0, 0);
		CU_ASSERT_EQUAL(blocks_of(&f), 9);
		CU_ASSERT_EQUAL(world_warned_bytes(&f.world, "blank-pool"), f.pool_bytes);
		world_close(&f.world);
	}
}

static void test_pool__header_that_lies(void)
{
	static const uint32_t values[] = { 0, 1, 31, 32, 47, 48, 49, 255, 4095, 4097, 16384, 16385,
					   INT32_MAX, (uint32_t)INT32_MIN, UINT32_MAX, UINT32_MAX - 15 };

	EACH_TABLE(table) {
		struct fixture f;

		open_fixture(&f, table);
		/* At the end of the memory: what is believed too long is read beyond it. */
		ca_addr pool = f.world.end - f.pool_bytes;
		uint32_t pools = (uint32_t)(f.arena_bytes / f.pool_bytes);

		put_arena(&f, 1, f.arenas[1], f.world.end, 0, pools);
		for (ca_addr at = f.arenas[1]; at < f.world.end; at += f.pool_bytes)
			put_pool(&f, at, 1, 0, 0, 0, 0);
		for (size_t i = 0; i < CA_COUNT(values); i++) {
			uint32_t v = values[i];
			uint32_t whole = (uint32_t)f.pool_bytes;

			put_pool(&f, pool, 1, v, 0, whole, 0);
			blocks_of(&f);
			put_pool(&f, pool, 1, 1, v, whole, 0);
			blocks_of(&f);
			put_pool(&f, pool, 1, 1, 31, v, pool + whole - 16);
			blocks_of(&f);
			put_pool(&f, pool, v, 1, 1, whole, 0);
			blocks_of(&f);
		}
		CU_ASSERT(world_warned(&f.world, "pool"));
		world_close(&f.world);
	}
}

/* ---- tables of arenas that lie ----------------------------------------------------------- */

static void test_arenas__that_overlap(void)
{
	EACH_TABLE(table) {
		struct fixture f;
		uint32_t pools;

		open_fixture(&f, table);
		pools = (uint32_t)(f.arena_bytes / f.pool_bytes);
		/* The second in the middle of the first, whose pools say that they are its own. */
		put_arena(&f, 1, f.arenas[0] + f.pool_bytes, f.arenas[0] + 2 * f.pool_bytes, pools - 1, pools);

		struct ca_heap *heap = open_heap(&f);

		CU_ASSERT(heap->arena_count <= 2);
		for (size_t i = 1; i < heap->arena_count; i++)
			CU_ASSERT(heap->arenas[i].start >= heap->arenas[i - 1].end);
		CU_ASSERT(count_blocks(heap) <= 12);
		ca_heap_close(heap);
		world_close(&f.world);
	}
}

/* Also where the table is told by its shape, the others are found. */
static void test_arenas__one_that_is_damaged(void)
{
	EACH_TABLE(table) {
		uint32_t pools = (uint32_t)(table->layout.c.arena_bytes / table->layout.c.pool_bytes);
		/* As many pools as no arena has; more in use than were carved. */
		const uint32_t wrong[][2] = {{0, 7}, {pools - 2, pools}};

		for (size_t i = 0; i < CA_COUNT(wrong); i++) {
			struct fixture f;

			open_fixture(&f, table);
			put_arena(&f, 0, f.arenas[0], f.arenas[0] + f.pool_bytes, wrong[i][0], wrong[i][1]);
			CU_ASSERT_EQUAL(blocks_of(&f), 6);
			CU_ASSERT_EQUAL(world_warned_bytes(&f.world, "arena"), f.arena_bytes);
			world_close(&f.world);
		}
	}
}

static void test_arenas__that_lie(void)
{
	EACH_TABLE(table) {
		struct fixture f;

		open_fixture(&f, table);

		uint32_t pools = (uint32_t)(f.arena_bytes / f.pool_bytes);
		const ca_addr places[] = {
			0, 1, f.arenas[0] + 1, f.world.end - f.pool_bytes, f.world.end, UINT64_MAX,
			UINT64_MAX - f.pool_bytes, UINT64_MAX - f.arena_bytes + 1, 1ull << 47, WORLD_START,
		};

		for (size_t a = 0; a < CA_COUNT(places); a++) {
			for (size_t c = 0; c < CA_COUNT(places); c++) {
				put_arena(&f, 1, places[a], places[c], pools, pools);
				CU_ASSERT(blocks_of(&f) <= 12 + 3 * f.arena_bytes / 16);
				put_arena(&f, 1, places[a], places[a] + f.arena_bytes, UINT32_MAX, pools);
				blocks_of(&f);
				put_arena(&f, 1, places[a], places[a] + f.pool_bytes, 0, (uint32_t)a);
				blocks_of(&f);
			}
		}
		world_close(&f.world);
	}
}

static void test_arenas__table_that_is_not_all_there(void)
{
	EACH_TABLE(table) {
		struct fixture f;
		const struct ca_layout *layout = &table->layout;

		if (layout->obmalloc.size <= 0)
			continue;
		open_fixture(&f, table);

		static const uint32_t counts[] = { 0, 1, 2, 1 << 20, INT32_MAX, UINT32_MAX };
		const ca_addr places[] = { 0, 1, f.table, f.world.end - 8, f.world.end, UINT64_MAX };

		for (size_t c = 0; c < CA_COUNT(counts); c++) {
			for (size_t p = 0; p < CA_COUNT(places); p++) {
				world_put(&f.world, f.state + layout->obmalloc.arenas, places[p]);
				world_put32(&f.world, f.state + layout->obmalloc.maxarenas, counts[c]);
				CU_ASSERT(blocks_of(&f) <= 12);
			}
		}
		f.world.interp.obmalloc = f.world.end - 4;
		CU_ASSERT_EQUAL(blocks_of(&f), 0);
		CU_ASSERT(world_warned(&f.world, "obmalloc-state"));
		CU_ASSERT(world_warned(&f.world, "no-arenas"));
		world_close(&f.world);
	}
}

CU_TestInfo ca_tests_heap[] = {
	{ "heap finds arenas and blocks", test_heap__finds_arenas_and_blocks },
	{ "heap leaves free blocks out", test_heap__leaves_free_blocks_out },
	{ "pool: chain that lies", test_pool__chain_that_lies },
	{ "pool: left out of the core", test_pool__left_out_of_the_core },
	{ "pool: header that lies", test_pool__header_that_lies },
	{ "arenas that overlap", test_arenas__that_overlap },
	{ "arenas: one that is damaged", test_arenas__one_that_is_damaged },
	{ "arenas that lie", test_arenas__that_lie },
	{ "arenas: table that is not all there", test_arenas__table_that_is_not_all_there },
	CU_TEST_INFO_NULL,
};
