/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A process's memory, written word by word by a test, for any layout. It ends
 * (and begins) at a page that faults: nothing beyond it may be read.
 */
#ifndef WORLD_H
#define WORLD_H

#include "../../coreanalyze/object/object.h"

#define WORLD_START 0x7f1200000000ull

struct world {
	struct ca_context ctx;
	const struct ca_layout *layout;
	struct ca_interp interp;
	struct ca_module module; /* the program, where it has static data */
	struct ca_runtime rt;
	struct ca_image *image;
	struct ca_types types;
	struct ca_reader *reader;
	uint8_t *memory;
	uint64_t bytes;
	ca_addr end; /* after the memory */
};

/* Of whole pages, zeroed, but for `type` at WORLD_START. */
void world_open(struct world *world, const struct ca_layout *layout, uint64_t bytes);
void world_close(struct world *world);
void world_put(struct world *world, ca_addr addr, uint64_t value);
void world_put32(struct world *world, ca_addr addr, uint32_t value);
void world_text(struct world *world, ca_addr addr, const char *text);
/* A static type, of 1024 bytes with its name behind it. */
enum { WORLD_TYPE_BYTES = 1024 };
void world_type(struct world *world, ca_addr addr, const char *name, uint64_t flags,
		uint64_t basicsize, uint64_t itemsize, ca_addr base);
bool world_warned(const struct world *world, const char *kind);
/* The bytes of the first warning of a kind; 0: there is none. */
uint64_t world_warned_bytes(const struct world *world, const char *kind);

#endif
