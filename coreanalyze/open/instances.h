/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Instances of types, for those who run tp_traverse on them: private to open. */
#ifndef CA_OPEN_INSTANCES_H
#define CA_OPEN_INSTANCES_H

#include "open.h"

/* Addresses, as they come. */
struct ca_words {
	ca_addr *items;
	size_t count, capacity;
};
void ca_words_add(struct ca_words *words, ca_addr word);
void ca_words_sort(struct ca_words *words);

/* Some instances of a type that has a tp_traverse. */
struct ca_instances {
	ca_addr function;  /* tp_traverse; 0: not wanted */
	bool is_meta;      /* static types among them are left out: they are not the collector's */
	uint32_t seen;
	uint32_t step;     /* every so many-th is taken */
	uint32_t most;     /* 0: all */
	struct ca_words addresses;
};

/*
 * Up to `most` instances (0: all) of each type for which wanted() says so, spread evenly, in one
 * walk. [objects->type_count], freed by ca_instances_free().
 */
struct ca_instances *ca_instances_choose(const struct ca_objects *objects, uint32_t most,
					 bool (*wanted)(const struct ca_type *type));
void ca_instances_free(struct ca_instances *instances, uint32_t type_count);

#endif
