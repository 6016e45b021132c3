/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The layouts of CPython's structures, one table a group of releases that
 * agree on everything we read. What is in a layout: layout.def. The tables:
 * layouts/, made by tools/layouts.py, never edited.
 *
 *   layout->dict.ma_keys   offset in bytes; -1: the release has no such field
 *   layout->dict.size      bytes; -1: the release has no such structure
 *   layout->c.arena_bytes  a constant, see its CONST line
 *
 * To add a release: dump it (tools/layouts.py dump, trim), give it a line
 * under "variants" in tools/layout-facts.json, run `tools/layouts.py make`.
 */
#ifndef CA_LAYOUT_H
#define CA_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

struct ca_layout {
#define STRUCT(structure, types) struct { int32_t size;
#define FIELD(structure, field, members) int32_t field;
#define END(structure) } structure;
#define CONST(name, what)
#include "layout.def"
	struct {
#define STRUCT(structure, types)
#define FIELD(structure, field, members)
#define END(structure)
#define CONST(name, what) int64_t name;
#include "layout.def"
	} c;
};

struct ca_layout_table {
	const char *name; /* "cp313_5_debian" */
	uint8_t minor;
	uint8_t first_micro, last_micro;
	/*
	 * NULL: upstream's sources. Else who builds with a patch that changes the
	 * layout; the image must tell the two apart.
	 */
	const char *vendor;
	/*
	 * What it was made from, NULL-ended: "3.13.0", "3.13.5:debian", or
	 * "3.14.3:derived" where another release's table was taken and what is
	 * known to differ was changed.
	 */
	const char *const *releases;
	struct ca_layout layout;
};

/* In ascending order of minor; within it upstream's before vendors'. */
extern const struct ca_layout_table ca_layout_tables[];
extern const size_t ca_layout_table_count;

/* Every int32_t of struct ca_layout, sizes too, to go through them by name. */
struct ca_layout_field {
	const char *structure, *field;
	size_t offset; /* in struct ca_layout */
};
extern const struct ca_layout_field ca_layout_fields[];
extern const size_t ca_layout_field_count;

#endif
