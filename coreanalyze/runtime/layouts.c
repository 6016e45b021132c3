/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tables of layouts/ as C data, and the proof that none lacks a field. */
#include "layout.h"

/*
 * A field that layout.def does not have does not compile; one that is set
 * twice neither (-Woverride-init); so as many as there are means all of them.
 */
enum {
	fields_in_layout = 0
#define STRUCT(structure, types) + 1
#define FIELD(structure, field, members) + 1
#define END(structure)
#define CONST(name, what) + 1
#include "layout.def"
};

#define VARIANT(name, minor, first, last, vendor, ...) enum { fields_in_##name = 0
#define SET(structure, field, value) + 1
#define END_VARIANT(name)                                                                          \
	};                                                                                         \
	_Static_assert((int)fields_in_##name == (int)fields_in_layout,                             \
		       #name " is older than layout.def: run tools/layouts.py make");
#include "layouts/tables.def"
#undef VARIANT
#undef SET
#undef END_VARIANT

const struct ca_layout_table ca_layout_tables[] = {
#define VARIANT(variant, minor_, first, last, vendor_, ...)                                        \
	{ .name = #variant, .minor = minor_, .first_micro = first, .last_micro = last,             \
	  .vendor = vendor_, .releases = (const char *const[]){ __VA_ARGS__, NULL }, .layout = {
#define SET(structure, field, value) .structure.field = value,
#define END_VARIANT(name) } },
#include "layouts/tables.def"
#undef VARIANT
#undef SET
#undef END_VARIANT
};
const size_t ca_layout_table_count = sizeof(ca_layout_tables) / sizeof(ca_layout_tables[0]);

const struct ca_layout_field ca_layout_fields[] = {
#define STRUCT(structure, types) { #structure, "size", offsetof(struct ca_layout, structure.size) },
#define FIELD(structure, field, members)                                                           \
	{ #structure, #field, offsetof(struct ca_layout, structure.field) },
#define END(structure)
#define CONST(name, what)
#include "layout.def"
};
const size_t ca_layout_field_count = sizeof(ca_layout_fields) / sizeof(ca_layout_fields[0]);
