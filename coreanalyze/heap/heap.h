/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * heap: which blocks the allocators have handed out.
 *
 *   arena (256 KiB; 1 MiB from 3.10)      pool (4 KiB; 16 KiB from 3.10)
 *   |align|pool|pool|pool| ... |uncarved| |header 48|block|block| ... |never used|
 *                              ^ pool_address                         ^ nextoffset
 *
 * obmalloc has blocks of up to 512 bytes. One is allocated when it lies below
 * nextoffset and is not on the pool's chain of free blocks. CPython
 * Objects/obmalloc.c.
 *
 *   extent   |block |free| block    |block|   ...   allocated: a bit for each 16 bytes
 *
 * All else is malloc's: what is larger, and with PYTHONMALLOC=malloc
 * everything; or mimalloc's (PYTHONMALLOC=mimalloc, 3.13+). A run of their
 * memory is an extent.
 *
 *   obmalloc.c   arenas and pools          malloc.c     glibc's arenas and heaps
 *   mimalloc.c   segments and pages        chunks.c     glibc's chunks, and which are free
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

/* Memory of malloc's or mimalloc's, and which blocks of it are allocated. */
struct ca_extent {
	ca_addr start, end;   /* start: of the first block, where its caller's memory begins */
	uint64_t block_bytes; /* of each block; 0: a chunk of malloc's, which has its size before it */
	uint64_t *allocated;  /* bit i: a block starts at start + 16 * i; NULL: all of it is one block */
	bool of_objects;      /* of the allocator that Python has its objects from */
};

/* Whom Python has its objects from. */
enum ca_allocator { CA_UNKNOWN_ALLOCATOR, CA_OBMALLOC, CA_MALLOC, CA_MIMALLOC };
const char *ca_allocator_name(enum ca_allocator allocator);

struct ca_heap {
	const struct ca_runtime *rt;
	enum ca_allocator allocator;
	struct ca_extent *extents;     /* sorted by start, disjoint */
	size_t extent_count, extent_capacity;
	struct ca_arena_range *arenas; /* sorted by start, disjoint */
	size_t arena_count;
	uint64_t arena_bytes;          /* in all arenas, carved or not */
	uint64_t pool_bytes;
	bool debug;                    /* PYTHONMALLOC=debug: blocks are padded */
	bool partly_known;             /* there is memory of objects that no arena and no extent has */
	uint64_t raw_allocated_blocks; /* requests that went to malloc, in 3.12+; else 0 */
};

/*
 * Finds the arenas of all interpreters. From 3.12 the interpreter has the root;
 * before, it is a static variable found by the shape of what it points at. Then
 * the heaps of mimalloc and of glibc's malloc. A malloc that is none of these is
 * a warning, not an error.
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

/* Only of what is read *pool is valid; unused is what has no allocated block. */
enum ca_pool_state { CA_POOL_READ, CA_POOL_UNUSED, CA_POOL_MISSING, CA_POOL_DAMAGED, CA_POOL_BLANK };
/* Reads the pool at address. Thread-safe. */
enum ca_pool_state ca_pool_read(const struct ca_heap *heap, const struct ca_arena_range *arena,
				ca_addr address, struct ca_pool *pool);
/* Warns of a pool that should have been read; nothing where all is well. */
void ca_pool_warn(const struct ca_heap *heap, ca_addr address, enum ca_pool_state state);

/* How many blocks the arena's pools in use have carved: no fewer than ca_pool_read() will give. */
uint32_t ca_arena_blocks(const struct ca_heap *heap, const struct ca_arena_range *arena);

/* The arena that holds addr, or NULL. */
const struct ca_arena_range *ca_heap_arena(const struct ca_heap *heap, ca_addr addr);

/* ---- extents --------------------------------------------------------------- */

enum { CA_EXTENT_ALIGN = 16 };

/* An allocated block, without the padding of the debug hooks. */
struct ca_block {
	ca_addr address;
	const uint8_t *data;
	uint64_t room;
	uint64_t spare; /* so many bytes of it at most are more than was asked for */
};

/* The extent that holds addr, or NULL. */
const struct ca_extent *ca_heap_extent(const struct ca_heap *heap, ca_addr addr);
/* 64-bit words in its bitmap. */
uint64_t ca_extent_words(const struct ca_extent *extent);
/* A word of it: as if there always were one. */
static inline uint64_t ca_extent_word(const struct ca_extent *extent, uint64_t word)
{
	return extent->allocated ? extent->allocated[word] : !word;
}
/*
 * The allocated block that starts at `at`. False when its bytes are not there,
 * or, where the debug hooks are on, it was not allocated through them.
 */
bool ca_block_read(const struct ca_heap *heap, const struct ca_extent *extent, ca_addr at,
		   struct ca_block *block);
/*
 * The bytes of the block that a caller of the allocator got at addr, whether
 * obmalloc's or an extent's, and for an extent allocated; 0 when no block is there.
 */
uint64_t ca_heap_block_bytes(const struct ca_heap *heap, ca_addr addr);

#endif
