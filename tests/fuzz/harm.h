/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Damage to a process's memory: a few words, chosen by a seed among those that
 * the reading depends on, replaced by values that such words have or never have.
 */
#ifndef HARM_H
#define HARM_H

#include <stdio.h>

#include "../../coreanalyze/open/open.h"

enum { HARM_MAX = 32 };

struct harm_word {
	ca_addr address;
	uint64_t old, value;
	const char *place; /* what kind of place it is */
};

struct harm {
	const struct ca_objects *objects; /* of the sound image */
	const struct ca_image *image;     /* its writable segments' bytes are ours to change */
	uint64_t seed, state;
	struct harm_word done[HARM_MAX];
	size_t count;
	ca_node *by_type;                 /* nodes in order of their types */
	uint32_t *type_start;             /* [type_count + 1], into by_type */
	ca_addr *arena_words;             /* words that hold an arena's address */
	size_t arena_word_count, arena_word_capacity;
	uint64_t memory;                  /* bytes of all writable segments */
	uint64_t mapped;                  /* bytes of all mappings */
};

struct harm *harm_make(const struct ca_objects *objects);
void harm_free(struct harm *harm);
void harm_do(struct harm *harm, uint64_t seed);
void harm_undo(struct harm *harm);
void harm_print(const struct harm *harm, FILE *out);

#endif
