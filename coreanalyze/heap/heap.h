/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * heap: which blocks obmalloc has handed out.
 *
 *   arena (256 KiB; 1 MiB from 3.10)      pool (4 KiB; 16 KiB from 3.10)
 *   |align|pool|pool|pool| ... |uncarved| |header 48|block|block| ... |never used|
 *                              ^ pool_address                         ^ nextoffset
 *
 * A block is allocated when it lies below nextoffset and is not on the pool's
 * chain of free blocks. CPython Objects/obmalloc.c.
 */
#ifndef CA_HEAP_H
#define CA_HEAP_H

#include "../runtime/runtime.h"

enum { CA_BLOCK_ALIGN = 16, CA_MAX_POOL_BLOCKS = 1024 };

struct ca_arena_range {
	ca_addr start;        /* first pool */
	ca_addr end;          /* after the last pool that was ever carved */
	uint32_t index;       /* in its root's arenas[]: what its pools record */
};

struct ca_heap {
	const struct ca_runtime *rt;
	struct ca_arena_range *arenas; /* sorted by start, disjoint */
	size_t arena_count;
	uint64_t arena_bytes;          /* in all arenas, carved or not */
	uint64_t pool_bytes;
	bool debug;                    /* PYTHONMALLOC=debug: blocks are padded */
	uint64_t raw_allocated_blocks; /* requests that went to malloc, in 3.12+; else 0 */
};

/*
 * Finds the arenas of all interpreters. From 3.12 the interpreter has the root;
 * before, it is a static variable found by the shape of what it points at.
 * No arenas at all (PYTHONMALLOC=malloc) is a warning, not an error.
 */
void ca_heap_open(struct ca_context *ctx, const struct ca_runtime *rt, struct ca_heap **out);
void ca_heap_close(struct ca_heap *heap);

/*
 * A pool in use, its free blocks known. With the debug hooks a block is
 *
 *   | size 8 | api id 1 | 0xfd x 7 | what was asked for | 0xfd x 8 |
 *
 * (Objects/obmalloc.c: _PyMem_DebugRawAlloc), else all of it is the caller's.
 */
struct ca_pool {
	ca_addr address;
	const uint8_t *data;   /* the whole pool's bytes */
	uint32_t block_bytes;
	uint32_t lead, room;   /* what a caller of the allocator got: room bytes, lead bytes into the block */
	uint32_t blocks;       /* carved so far: block i is at address + CA_POOL_HEADER + i * block_bytes */
	uint32_t allocated;    /* ref.count */
	bool damaged;          /* ref.count or the free chain does not add up */
	uint64_t free[CA_MAX_POOL_BLOCKS / 64]; /* bit i: block i is free */
};
enum { CA_POOL_HEADER = 48 };

/* Reads the pool at address; false when it is free, uncarved, or is none. Thread-safe. */
bool ca_pool_read(const struct ca_heap *heap, const struct ca_arena_range *arena, ca_addr address,
		  struct ca_pool *pool);

/* How many blocks the arena's pools in use have carved: no fewer than ca_pool_read() will give. */
uint32_t ca_arena_blocks(const struct ca_heap *heap, const struct ca_arena_range *arena);

/* The arena that holds addr, or NULL. */
const struct ca_arena_range *ca_heap_arena(const struct ca_heap *heap, ca_addr addr);

#endif
