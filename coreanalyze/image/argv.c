/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The arguments of the process. Linux lays the initial stack out as
 *
 *   argc | argv[0] ... NULL | environment ... NULL | auxv | ... strings
 *
 * (fs/binfmt_elf.c, create_elf_tables), and NT_AUXV is a copy of the auxv: it
 * is found below the strings, and from there the way leads back to argv.
 */
#include "private.h"

#include <stdlib.h>

enum {
	STACK_SEARCH_MAX = 64 * 1024 * 1024, /* arguments may fill a quarter of the stack */
	STRING_MAX = 32 * CA_PAGE,	     /* MAX_ARG_STRLEN */
	STRINGS_MAX = 16 * 1024 * 1024,	     /* of all together */
};

/* A loader that was run as a program puts the real program's values here. */
static bool loader_changes(uint64_t type)
{
	return type == AT_PHDR || type == AT_PHENT || type == AT_PHNUM || type == AT_BASE ||
	       type == AT_ENTRY || type == AT_EXECFN;
}

static bool is_auxv(const uint8_t *there, struct ca_bytes auxv)
{
	for (uint64_t offset = 0; offset < auxv.size; offset += 16) {
		uint64_t type = ca_load_u64(auxv.data + offset);

		if (ca_load_u64(there + offset) != type)
			return false;
		if (memcmp(there + offset + 8, auxv.data + offset + 8, 8) && !loader_changes(type))
			return false;
	}
	return true;
}

/* Where the auxv lies, below an address in the area of strings; 0 when not found. */
static ca_addr find_auxv(const struct ca_image *image, ca_addr strings, ca_addr *floor)
{
	struct ca_bytes auxv = image->priv->at_start.auxv;
	const struct ca_mapping *stack = ca_image_mapping(image, strings);

	if (!stack || auxv.size < 32 || strings < auxv.size)
		return 0;
	*floor = stack->start;
	if (strings - *floor > STACK_SEARCH_MAX)
		*floor = strings - STACK_SEARCH_MAX;
	for (ca_addr at = (strings - auxv.size) & ~(ca_addr)7; at > *floor; at -= 8) {
		const void *there = ca_image_at(image, at, auxv.size);

		if (there && is_auxv(there, auxv))
			return at;
	}
	return 0;
}

/*
 * Going down from the auxv: past the environment to argv's NULL, then on over
 * pointers to strings. argc itself ends them but may be gone (glibc 2.31
 * sysdeps/x86_64/dl-machine.h pops it). Returns argv's address and *argc, or 0.
 */
static ca_addr find_argv(const struct ca_image *image, ca_addr auxv, ca_addr floor, uint64_t *argc)
{
	ca_addr end = ca_image_mapping(image, auxv)->end, at = auxv - 8;
	uint64_t word;

	if (!ca_image_u64(image, at, &word) || word)
		return 0;
	do {
		at -= 8;
		if (at <= floor || !ca_image_u64(image, at, &word))
			return 0;
	} while (word);
	for (*argc = 0; at - 8 >= floor && ca_image_u64(image, at - 8, &word); at -= 8) {
		if (word <= auxv || word >= end)
			break;
		++*argc;
	}
	return *argc ? at : 0;
}

/* A copy of one argument, or NULL; *budget counts down over all of them. */
static const char *copy_string(struct ca_image *image, ca_addr at, uint64_t *budget)
{
	uint64_t run;
	const char *text = ca_image_run(image, at, &run);

	if (!text)
		return NULL;
	if (run > STRING_MAX)
		run = STRING_MAX;
	size_t length = strnlen(text, run);

	if (length == run || length + 1 > *budget)
		return NULL;
	*budget -= length + 1;
	return ca_arena_strndup(&image->ctx->arena, text, length);
}

static bool read_stack(struct ca_image *image)
{
	const struct ca_start *start = &image->priv->at_start;
	ca_addr floor, auxv = find_auxv(image, start->random ? start->random : start->execfn, &floor);
	uint64_t argc = 0, budget = STRINGS_MAX;
	ca_addr argv_at = auxv ? find_argv(image, auxv, floor, &argc) : 0;

	if (!argv_at)
		return false;
	const char **argv = ca_arena_alloc(&image->ctx->arena, (argc + 1) * sizeof(*argv));

	for (uint64_t i = 0; i < argc; i++) {
		ca_addr at;

		if (!ca_image_u64(image, argv_at + i * 8, &at))
			return false;
		argv[i] = copy_string(image, at, &budget);
		if (!argv[i])
			return false;
	}
	image->command_line = argv;
	return true;
}

static void split_psargs(struct ca_image *image)
{
	struct ca_arena *arena = &image->ctx->arena;
	char *text = ca_arena_strdup(arena, image->priv->psargs), *rest = NULL;
	const char **argv = ca_arena_alloc(arena, (strlen(text) / 2 + 2) * sizeof(*argv));
	size_t argc = 0;

	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	image->command_line = argv;
}

void ca_command_line_find(struct ca_image *image)
{
	if (!read_stack(image) && image->priv->psargs)
		split_psargs(image);
}
