/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * base: what every layer stands on. It knows no target and no Python.
 *
 * Memory has three lifetimes: the context's arena (the whole session), large
 * arrays owned by the structure that holds them, and a scratch arena per
 * question. Running out of memory ends the program with one line and status
 * CA_INTERNAL; no caller checks an allocation.
 *
 * Trouble has three kinds that never mix. Cannot go on: a struct ca_error *.
 * The target is damaged or partial: ca_warn(), counted per kind. This address
 * is unreadable: NULL or false, without text and without allocation.
 */
#ifndef CA_BASE_H
#define CA_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CA_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define CA_COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef uint64_t ca_addr; /* an address in the target, never a pointer of ours */
typedef uint32_t ca_node; /* an object's number, in address order; 0 is no object */

/* A word of the target, at any alignment: gcore's cores keep no alignment. */
static inline uint64_t ca_load_u64(const void *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

static inline uint32_t ca_load_u32(const void *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

/*
 * Has a chain of the target come back on itself? Asked at each link; zeroed at
 * the start. Brent's method: no memory, known after at most three rounds.
 */
struct ca_loop {
	ca_addr mark;
	uint64_t steps;
};
static inline bool ca_loop_closed(struct ca_loop *loop, ca_addr at)
{
	bool closed = loop->steps && at == loop->mark;

	if (!(loop->steps & (loop->steps - 1))) /* 0, 1, 2, 4, 8 ... */
		loop->mark = at;
	loop->steps++;
	return closed;
}

/* ---- errors (error.c) ------------------------------------------------- */

/* The exit statuses of the command line. */
enum ca_status {
	CA_OK = 0,
	CA_GUARD = 1,    /* a guard tripped */
	CA_USAGE = 2,    /* the question is malformed */
	CA_TARGET = 3,   /* the target cannot be analysed */
	CA_INTERNAL = 4, /* our own fault, or no memory */
};

/*
 * Why something could not be done. NULL is success. The three texts print as
 * "what: why: advice"; advice may be empty. Owned by the receiver, who passes
 * it on or frees it.
 */
struct ca_error {
	enum ca_status status;
	char *what, *why, *advice;
};

struct ca_error *ca_error_make(enum ca_status status, const char *what, const char *advice,
			       const char *why_format, ...) CA_PRINTF(4, 5);
void ca_error_free(struct ca_error *err); /* NULL is allowed */

/* ---- memory (memory.c) ------------------------------------------------ */

void *ca_alloc(size_t bytes);                           /* zeroed; free() releases */
void *ca_realloc(void *old, size_t bytes);              /* new bytes not zeroed */
char *ca_strdup(const char *text);
/*
 * Makes room for `needed` elements in a growing array: returns it, maybe
 * moved, and updates *capacity (elements). Doubles, so appending is cheap.
 */
void *ca_grow(void *array, size_t *capacity, size_t needed, size_t element_bytes);

/* A bump allocator: everything in it goes at once. */
struct ca_arena {
	struct ca_arena_chunk *chunks;
};
void *ca_arena_alloc(struct ca_arena *arena, size_t bytes); /* zeroed, 16-aligned */
char *ca_arena_strdup(struct ca_arena *arena, const char *text);
char *ca_arena_strndup(struct ca_arena *arena, const char *text, size_t length);
char *ca_arena_printf(struct ca_arena *arena, const char *format, ...) CA_PRINTF(2, 3);
void ca_arena_fini(struct ca_arena *arena);
/* The same for who goes on using it: keeps some of the memory. */
void ca_arena_empty(struct ca_arena *arena);

/* ---- map (map.c): 64-bit key -> 64-bit value, open addressing ---------- */

/*
 * Zero-initialised is empty. Key 0 is allowed. No removal. A slot whose key is
 * 0 is free; key 0 itself lives beside the slots.
 */
struct ca_map_slot {
	uint64_t key, value;
};
struct ca_map {
	struct ca_map_slot *slots;
	size_t count, capacity; /* count: keys, key 0 included; capacity: slots */
	bool has_zero;
	uint64_t zero_value;
};
/* Where the key's value is, or NULL. Valid until the next add. */
uint64_t *ca_map_find(const struct ca_map *map, uint64_t key);
/* As find, but adds the key with value 0; *fresh says whether it did. */
uint64_t *ca_map_add(struct ca_map *map, uint64_t key, bool *fresh);
void ca_map_fini(struct ca_map *map);

/* ---- text (text.c) ---------------------------------------------------- */

/*
 * Makes foreign bytes fit for a terminal, JSON or HTML: UTF-8 out, with control
 * characters, lone surrogates, bidirectional overrides and invalid bytes
 * written as \n, \xNN, \uNNNN. Never splits a character; ends with NUL.
 * Returns the number of input bytes that were taken (fewer than length when
 * out was full).
 */
size_t ca_escape(char *out, size_t out_bytes, const void *bytes, size_t length);
/* A copy of ca_escape()'s whole result in the arena. */
char *ca_escape_arena(struct ca_arena *arena, const void *bytes, size_t length);
/* "1,234,567" and "+1,234", "-1,234", "0": all digits, grouped; the text lives as long as the value. */
struct ca_digits {
	char text[32];
};
struct ca_digits ca_grouped(uint64_t number);
struct ca_digits ca_signed(int64_t delta);
/* "512 B", "1.5 KiB", "3.2 GiB": binary units, for text output only. */
void ca_format_size(char *out, size_t out_bytes, uint64_t bytes);
/* "16K", "1.5GiB", "100000" -> bytes; false when it is no size. */
bool ca_parse_size(const char *text, uint64_t *bytes);

/* ---- warnings (warning.c) --------------------------------------------- */

/*
 * The target is damaged or partial. A kind is a short stable word
 * ("missing-file"), effect what it does to the figures. Those that have both in
 * common are one: the text of the first is kept, with the lowest address (0: none),
 * they are counted, and their bytes are summed. Thread-safe.
 */
struct ca_warning {
	const char *kind;
	char *text;
	const char *effect;
	ca_addr first;
	uint64_t count;
	uint64_t bytes; /* memory that it is about: the totals are off by no more, see ca_warn_bytes() */
};
struct ca_warnings {
	struct ca_warning *items;
	size_t count, capacity;
	bool lost; /* ca_warn_bytes() was called */
	void *lock;
};

/* ---- context ---------------------------------------------------------- */

/*
 * What one session shares. Made by ca_context_init(), ended by
 * ca_context_fini(), which frees everything allocated in its arena.
 */
struct ca_context {
	struct ca_arena arena; /* not thread-safe */
	struct ca_warnings warnings;
	unsigned threads;      /* workers to use; at least 1 */
	unsigned verbose;
	/* Called with a step's name and done/total; NULL: nobody watches. */
	void (*progress)(void *arg, const char *step, uint64_t done, uint64_t total);
	void *progress_arg;
};
void ca_context_init(struct ca_context *ctx); /* threads: the CPUs we may use */
void ca_context_fini(struct ca_context *ctx);
void ca_warn(struct ca_context *ctx, const char *kind, ca_addr where, const char *effect,
	     const char *format, ...) CA_PRINTF(5, 6);
/*
 * As ca_warn(), where objects may be missing: at most so many bytes of them lie in what
 * this is about, 0 where all that it is about is at hand. What such objects own elsewhere, and
 * what is at hand but not reached, is weighed once for all warnings (open/missing.c).
 */
void ca_warn_bytes(struct ca_context *ctx, const char *kind, ca_addr where, uint64_t bytes,
		   const char *effect, const char *format, ...) CA_PRINTF(6, 7);
/* Adds to the bytes of the first of a kind, once more is known; nothing where none was warned of. */
void ca_warn_weigh(struct ca_context *ctx, const char *kind, uint64_t bytes);
/* Adds what was warned of elsewhere: text is copied, kind and effect must last. */
void ca_warn_again(struct ca_context *ctx, const struct ca_warning *warning);
void ca_progress(struct ca_context *ctx, const char *step, uint64_t done, uint64_t total);

/* ---- parallel (parallel.c) -------------------------------------------- */

/*
 * Calls work(arg, worker, begin, end) for ranges of [0, items) of at most
 * `grain` items from ctx->threads workers (numbered from 0) and returns when
 * all is done. Ranges are handed out in ascending order; a result that must not
 * depend on the number of threads must not depend on who got which range.
 */
void ca_parallel(struct ca_context *ctx, size_t items, size_t grain,
		 void (*work)(void *arg, unsigned worker, size_t begin, size_t end), void *arg);

#endif
