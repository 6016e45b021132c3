/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base.h"
#include "format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CHUNK_BYTES = 64 * 1024, ALIGNMENT = 16, HUGE_BYTES = 4 << 20 };

struct ca_arena_chunk {
	struct ca_arena_chunk *next;
	size_t used, size;
	_Alignas(ALIGNMENT) unsigned char bytes[];
};

/* _exit(): what atexit() handlers would do may need memory too. */
void ca_out_of_memory(void)
{
	static const char text[] = "coreanalyze: out of memory\n";
	ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)written;
	_exit(CA_INTERNAL);
}

/* The allocator maps so large a block on its own: huge pages save most of its page faults. */
static void *advise_huge(void *memory, size_t bytes)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t start = ((uintptr_t)memory + page - 1) & ~(page - 1);

	if (bytes >= HUGE_BYTES)
		madvise((void *)start, bytes - (start - (uintptr_t)memory), MADV_HUGEPAGE);
	return memory;
}

void *ca_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes ? bytes : 1);

	if (!memory)
		ca_out_of_memory();
	return advise_huge(memory, bytes);
}

void *ca_realloc(void *old, size_t bytes)
{
	void *memory = realloc(old, bytes ? bytes : 1);

	if (!memory)
		ca_out_of_memory();
	return advise_huge(memory, bytes);
}

char *ca_strdup(const char *text)
{
	size_t bytes = strlen(text) + 1;

	return memcpy(ca_alloc(bytes), text, bytes);
}

void *ca_grow(void *array, size_t *capacity, size_t needed, size_t element_bytes)
{
	if (needed <= *capacity)
		return array;
	size_t want = *capacity < 8 ? 8 : *capacity;

	while (want < needed) {
		if (__builtin_mul_overflow(want, 2, &want))
			ca_out_of_memory();
	}
	size_t bytes;

	if (__builtin_mul_overflow(want, element_bytes, &bytes))
		ca_out_of_memory();
	array = ca_realloc(array, bytes);
	*capacity = want;
	return array;
}

static struct ca_arena_chunk *chunk_make(size_t size)
{
	size_t bytes;

	if (__builtin_add_overflow(size, sizeof(struct ca_arena_chunk), &bytes))
		ca_out_of_memory();
	struct ca_arena_chunk *chunk = ca_alloc(bytes);

	chunk->size = size;
	return chunk;
}

void *ca_arena_alloc(struct ca_arena *arena, size_t bytes)
{
	size_t rounded;

	if (__builtin_add_overflow(bytes, ALIGNMENT - 1, &rounded))
		ca_out_of_memory();
	rounded &= ~(size_t)(ALIGNMENT - 1);
	struct ca_arena_chunk *head = arena->chunks;

	if (rounded > CHUNK_BYTES / 4) {
		/* A chunk of its own, behind the head, whose room stays usable. */
		struct ca_arena_chunk *own = chunk_make(rounded);
		struct ca_arena_chunk **link = head ? &head->next : &arena->chunks;

		own->used = rounded;
		own->next = *link;
		*link = own;
		return own->bytes;
	}
	if (!head || head->size - head->used < rounded) {
		head = chunk_make(CHUNK_BYTES);
		head->next = arena->chunks;
		arena->chunks = head;
	}
	void *memory = head->bytes + head->used;

	head->used += rounded;
	return memory;
}

static char *copy_text(struct ca_arena *arena, const char *text, size_t length)
{
	char *copy = ca_arena_alloc(arena, length + 1);

	return memcpy(copy, text, length);
}

char *ca_arena_strndup(struct ca_arena *arena, const char *text, size_t length)
{
	return copy_text(arena, text, strnlen(text, length));
}

char *ca_arena_strdup(struct ca_arena *arena, const char *text)
{
	return copy_text(arena, text, strlen(text));
}

char *ca_arena_printf(struct ca_arena *arena, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	char *text = ca_format_args(format, args);

	va_end(args);
	char *copy = ca_arena_strdup(arena, text);

	free(text);
	return copy;
}

void ca_arena_fini(struct ca_arena *arena)
{
	struct ca_arena_chunk *next;

	for (struct ca_arena_chunk *chunk = arena->chunks; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	arena->chunks = NULL;
}

void ca_arena_empty(struct ca_arena *arena)
{
	struct ca_arena_chunk *head = arena->chunks;

	if (!head || head->size != CHUNK_BYTES) {
		ca_arena_fini(arena);
		return;
	}
	ca_arena_fini(&(struct ca_arena){head->next});
	memset(head->bytes, 0, head->used);
	head->used = 0;
	head->next = NULL;
}

char *ca_format_args(const char *format, va_list args)
{
	char *text;

	if (vasprintf(&text, format, args) < 0)
		ca_out_of_memory();
	return text;
}
