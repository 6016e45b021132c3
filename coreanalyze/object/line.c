/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From an instruction to its line (Objects/lnotab_notes.txt, Objects/locations.md
 * of CPython). Each reader of a table keeps the last line before it begins to
 * lie outside of the table.
 */
#include "kind.h"

struct table {
	const uint8_t *bytes;
	uint64_t length, at;
	int64_t line;
};

/* Up to 3.9: {bytes of code, lines}; what is before the next pair is the line's. */
static void read_lnotab(struct table *t, int64_t offset)
{
	int64_t code = 0;

	for (; t->at + 2 <= t->length; t->at += 2) {
		code += t->bytes[t->at];
		if (code > offset)
			return;
		t->line += (int8_t)t->bytes[t->at + 1];
	}
}

/* 3.10: {bytes of code, lines before it}; -128 has no line. */
static void read_ranges(struct table *t, int64_t offset)
{
	int64_t code = 0;

	for (; t->at + 2 <= t->length; t->at += 2) {
		int8_t lines = (int8_t)t->bytes[t->at + 1];

		code += t->bytes[t->at];
		if (lines != -128)
			t->line += lines;
		if (code > offset)
			return;
	}
}

static uint64_t read_varint(struct table *t)
{
	uint64_t value = 0;

	for (unsigned shift = 0; t->at < t->length && shift < 60; shift += 6) {
		uint8_t byte = t->bytes[t->at++];

		value |= (uint64_t)(byte & 63) << shift;
		if (!(byte & 64))
			break;
	}
	return value;
}

static int64_t read_signed(struct table *t)
{
	uint64_t value = read_varint(t);

	return value & 1 ? -(int64_t)(value >> 1) : (int64_t)(value >> 1);
}

/* 3.11+: {1, kind of 4 bits, units of code - 1 of 3 bits}, then what the kind says. */
static void read_entries(struct table *t, int64_t offset)
{
	enum { UNIT = 2, ONE_LINE = 10, NO_COLUMNS = 13, LONG = 14, NONE = 15 };
	int64_t code = 0;

	while (t->at < t->length && code <= offset) {
		uint8_t first = t->bytes[t->at++], kind = first >> 3 & 15;

		code += ((first & 7) + 1) * UNIT;
		if (kind < ONE_LINE) {
			t->at += 1;
		} else if (kind < NO_COLUMNS) {
			t->line += kind - ONE_LINE;
			t->at += 2;
		} else if (kind != NONE) {
			t->line += read_signed(t);
			for (int i = 0; kind == LONG && i < 3; i++)
				read_varint(t);
		}
	}
}

static bool is_code(struct ca_reader *reader, ca_addr address, struct ca_object *code)
{
	return ca_object_read(reader, address, code) && ca_type_is(code->type, "code");
}

static int line_of(struct ca_reader *reader, const struct ca_object *code, int64_t offset)
{
	static void (*const read[])(struct table *, int64_t) = {read_lnotab, read_ranges, read_entries};
	const struct ca_layout *layout = reader->layout;
	int first = (int)ca_load_u32(code->at + layout->code.co_firstlineno);
	ca_addr bytes = ca_word(code, layout->code.co_lnotab);
	struct table table = {.line = first};
	uint64_t run;

	if (offset < 0 || !bytes || !ca_image_u64(reader->image, bytes + (uint64_t)layout->var.ob_size,
						  &table.length))
		return first;
	table.bytes = ca_image_part(reader->image, bytes + (uint64_t)layout->bytes.ob_sval, table.length,
				    &run);
	if (!table.bytes)
		return first;
	table.length = run;
	read[layout->c.line_table](&table, offset);
	return table.line > 0 && table.line <= INT32_MAX ? (int)table.line : first;
}

int ca_code_line(struct ca_reader *reader, ca_addr code, uint64_t offset)
{
	struct ca_object object;

	return is_code(reader, code, &object) ? line_of(reader, &object, (int64_t)offset) : 0;
}

/* A str that a field leads to, escaped. */
static const char *text_of(struct ca_reader *reader, const struct ca_object *code, int32_t field,
			   struct ca_arena *arena)
{
	enum { SHOWN = 400 };
	struct ca_object str;

	if (!ca_has(field) || !ca_object_read(reader, ca_word(code, field), &str) ||
	    !(str.type->flags & CA_TPFLAGS_UNICODE_SUBCLASS))
		return "?";
	return ca_str_text(reader, &str, arena, SHOWN);
}

/* "<module>", "f.<locals>.<lambda>" */
static bool is_anonymous(const char *name)
{
	size_t length = strlen(name);

	return length && name[length - 1] == '>';
}

const char *ca_code_place(struct ca_reader *reader, ca_addr code, int line,
			  struct ca_arena *arena)
{
	const struct ca_layout *layout = reader->layout;
	struct ca_object object;

	if (!is_code(reader, code, &object))
		return NULL;

	const char *name = text_of(reader, &object,
				   ca_has(layout->code.co_qualname) ? layout->code.co_qualname
								    : layout->code.co_name,
				   arena);

	return ca_arena_printf(arena, "%s%s at %s:%d", name, is_anonymous(name) ? "" : "()",
			       text_of(reader, &object, layout->code.co_filename, arena),
			       line);
}
