/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Short safe values: what a person needs to recognise an object. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kind.h"

/* Characters or bytes shown, digits of an int shown, arguments of an exception shown. */
enum { SHOWN_TEXT = 64, SHOWN_DIGITS = 34, SHOWN_ARGS = 3 };

struct text {
	uint8_t *bytes; /* UTF-8, surrogates encoded like any other character */
	size_t length;
	bool cut;
};

static size_t put_utf8(uint8_t *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
		out[2] = (uint8_t)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | (c >> 18 & 7));
	out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
	out[3] = (uint8_t)(0x80 | (c & 63));
	return 4;
}

/*
 * Where a str's characters are and how wide each is; false when it has none that can be read. So
 * many of them as `limit` are going to be.
 */
static bool find_characters(struct ca_reader *reader, const struct ca_object *str, uint64_t limit,
			    const uint8_t **data, unsigned *kind, uint64_t *length)
{
	const struct ca_layout *layout = reader->layout;
	uint32_t state = ca_load_u32(str->at + layout->ascii.state);
	bool compact = state >> 5 & 1, ascii = state >> 6 & 1;
	ca_addr at = str->address + (ascii ? layout->ascii.size : layout->compact.size);
	uint64_t run;

	*kind = state >> 2 & 7;
	*length = ca_word(str, layout->ascii.length);
	if (!compact)
		at = ca_word(str, layout->unicode.data);
	if ((*kind != 1 && *kind != 2 && *kind != 4) || *length >> 40)
		return false;
	*data = ca_image_run(reader->image, at, &run);
	if (*length == 0 || !*data || run < *length * *kind)
		return *length == 0;
	ca_image_part(reader->image, at, (*length < limit ? *length : limit) * *kind, &run);
	return true;
}

static struct text read_text(struct ca_reader *reader, const struct ca_object *str,
			     struct ca_arena *arena, uint64_t limit)
{
	struct text text = {0};
	const uint8_t *data;
	unsigned kind;
	uint64_t length;

	if (!find_characters(reader, str, limit, &data, &kind, &length))
		return text;
	text.cut = length > limit;
	if (text.cut)
		length = limit;
	text.bytes = ca_arena_alloc(arena, length * 4 + 1);
	for (uint64_t i = 0; i < length; i++) {
		uint32_t c = 0;

		memcpy(&c, data + i * kind, kind);
		text.length += put_utf8(text.bytes + text.length, c);
	}
	return text;
}

const char *ca_str_text(struct ca_reader *reader, const struct ca_object *str,
			struct ca_arena *arena, uint64_t limit)
{
	struct text text = read_text(reader, str, arena, limit);
	char *escaped = ca_escape_arena(arena, text.bytes ? text.bytes : (uint8_t *)"", text.length);

	return text.cut ? ca_arena_printf(arena, "%s...", escaped) : escaped;
}

/* As Python's repr() quotes; controls and the like as ca_escape() writes them. */
static const char *quote(struct ca_arena *arena, const char *prefix, const struct text *text)
{
	bool single = text->length && memchr(text->bytes, '\'', text->length);
	char mark = single && !memchr(text->bytes, '"', text->length) ? '"' : '\'';
	char *out = ca_arena_alloc(arena, text->length * 6 + 16);
	size_t n = 0;

	for (size_t i = 0; i < text->length; i++) {
		size_t start = i;

		if (text->bytes[i] == mark || text->bytes[i] == '\\') {
			out[n++] = '\\';
			out[n++] = (char)text->bytes[i];
			continue;
		}
		while (i + 1 < text->length && text->bytes[i + 1] != mark && text->bytes[i + 1] != '\\')
			i++;
		ca_escape(out + n, text->length * 6 + 16 - n, text->bytes + start, i + 1 - start);
		n += strlen(out + n);
	}
	out[n] = '\0';
	return ca_arena_printf(arena, "%s%c%s%c%s", prefix, mark, out, mark, text->cut ? "..." : "");
}

static const char *str_value(struct ca_reader *reader, const struct ca_object *str,
			     struct ca_arena *arena)
{
	struct text text = read_text(reader, str, arena, SHOWN_TEXT);

	return quote(arena, "", &text);
}

static const char *bytes_value(struct ca_reader *reader, const struct ca_object *object,
			       struct ca_arena *arena)
{
	uint64_t length = (uint64_t)ca_ob_size(reader, object);
	static const char special[] = "\\\n\r\t", letters[] = "\\nrt";
	char *out, *at;

	if (length > ca_room(object, reader->layout->bytes.ob_sval))
		return NULL;

	const uint8_t *data = object->at + reader->layout->bytes.ob_sval;
	uint64_t shown = length < SHOWN_TEXT ? length : SHOWN_TEXT;
	bool single = memchr(data, '\'', shown) && !memchr(data, '"', shown);

	at = out = ca_arena_alloc(arena, SHOWN_TEXT * 4 + 16);
	at += sprintf(at, "b%c", single ? '"' : '\'');
	for (uint64_t i = 0; i < shown; i++) {
		const char *mark = data[i] ? strchr(special, data[i]) : NULL;

		if (mark)
			at += sprintf(at, "\\%c", letters[mark - special]);
		else if (data[i] == '\'' && !single)
			at += sprintf(at, "\\'");
		else if (data[i] >= 0x20 && data[i] < 0x7f)
			*at++ = (char)data[i];
		else
			at += sprintf(at, "\\x%02x", data[i]);
	}
	sprintf(at, "%c%s", single ? '"' : '\'', length > shown ? "..." : "");
	return out;
}

static const char *int_value(struct ca_reader *reader, const struct ca_object *object,
			     struct ca_arena *arena)
{
	const struct ca_layout *layout = reader->layout;
	bool tagged = ca_has(layout->pylong.lv_tag);
	uint64_t tag = tagged ? ca_word(object, layout->pylong.lv_tag) : 0;
	int64_t size = ca_ob_size(reader, object);
	uint64_t digits = tagged ? tag >> 3 : ca_magnitude(size);
	bool negative = tagged ? (tag & 3) == 2 : size < 0;
	uint32_t number[SHOWN_DIGITS], chunks[SHOWN_DIGITS + 4];
	size_t chunk_count = 0;

	if (digits > ca_room(object, layout->pylong.ob_digit) / 4)
		return NULL;
	if (digits > SHOWN_DIGITS)
		return ca_arena_printf(arena, "<%sint of about %llu bits>", negative ? "negative " : "",
				       (unsigned long long)digits * 30);
	memcpy(number, object->at + layout->pylong.ob_digit, digits * 4);
	while (digits) { /* base 2^30 to base 10^9, lowest chunk first */
		uint64_t rest = 0;

		for (uint64_t i = digits; i-- > 0;) {
			rest = rest << 30 | (number[i] & ((1u << 30) - 1));
			number[i] = (uint32_t)(rest / 1000000000);
			rest %= 1000000000;
		}
		chunks[chunk_count++] = (uint32_t)rest;
		while (digits && !number[digits - 1])
			digits--;
	}

	char *out = ca_arena_alloc(arena, chunk_count * 9 + 4), *at = out;

	if (!chunk_count)
		return "0";
	at += sprintf(at, "%s%u", negative ? "-" : "", chunks[chunk_count - 1]);
	for (size_t i = chunk_count - 1; i-- > 0;)
		at += sprintf(at, "%09u", chunks[i]);
	return out;
}

/* repr(float): the fewest digits that read back as the same number. */
static const char *float_value(struct ca_reader *reader, const struct ca_object *object,
			       struct ca_arena *arena)
{
	char digits[40], plain[400];
	uint64_t bits = ca_word(object, reader->layout->pyfloat.ob_fval);
	double value;
	int precision = 0;

	memcpy(&value, &bits, sizeof(value));
	if (isnan(value))
		return "nan";
	if (isinf(value))
		return value > 0 ? "inf" : "-inf";
	do {
		snprintf(digits, sizeof(digits), "%.*e", precision, value);
	} while (strtod(digits, NULL) != value && ++precision < 17);

	int exponent = atoi(strchr(digits, 'e') + 1);

	if (exponent < -4 || exponent >= 16)
		return ca_arena_strdup(arena, digits);
	snprintf(plain, sizeof(plain), "%.*f", precision > exponent ? precision - exponent : 0, value);
	return ca_arena_printf(arena, "%s%s", plain, strchr(plain, '.') ? "" : ".0");
}

/* The str that a field of the object points at, escaped, or NULL. */
static const char *str_field(struct ca_reader *reader, const struct ca_object *object,
			     int32_t offset, struct ca_arena *arena)
{
	struct ca_object str;

	if (!ca_has(offset) || (uint64_t)offset + 8 > object->readable ||
	    !ca_object_read(reader, ca_word(object, offset), &str) ||
	    !(str.type->flags & CA_TPFLAGS_UNICODE_SUBCLASS))
		return NULL;
	return ca_str_text(reader, &str, arena, SHOWN_TEXT);
}

static const char *function_value(struct ca_reader *reader, const struct ca_object *object,
				  struct ca_arena *arena)
{
	const char *name = str_field(reader, object, reader->layout->function.func_qualname, arena);

	return ca_arena_printf(arena, "<function %s>", name ? name : "?");
}

/* Its name is the first field, in every release. */
static const char *contextvar_value(struct ca_reader *reader, const struct ca_object *object,
				    struct ca_arena *arena)
{
	const char *name = str_field(reader, object, (int32_t)reader->layout->object.size, arena);

	return ca_arena_printf(arena, "<ContextVar name='%s'>", name ? name : "?");
}

static const char *module_value(struct ca_reader *reader, const struct ca_object *object,
				struct ca_arena *arena)
{
	ca_addr dict = ca_word(object, reader->layout->module.md_dict);
	ca_addr current = dict ? ca_dict_get(reader, dict, "__name__") : 0;
	const char *name = str_field(reader, object, reader->layout->module.md_name, arena);
	struct ca_object str;

	/* A module may have been renamed since it was made. */
	if (current && ca_object_read(reader, current, &str) &&
	    str.type->flags & CA_TPFLAGS_UNICODE_SUBCLASS)
		name = ca_str_text(reader, &str, arena, SHOWN_TEXT);
	return ca_arena_printf(arena, "<module '%s'>", name ? name : "?");
}

static const char *code_value(struct ca_reader *reader, const struct ca_object *object,
			      struct ca_arena *arena)
{
	const struct ca_layout *layout = reader->layout;
	const char *name = str_field(reader, object, layout->code.co_name, arena);
	const char *file = str_field(reader, object, layout->code.co_filename, arena);

	return ca_arena_printf(arena, "<code %s, file \"%s\", line %u>", name ? name : "?",
			       file ? file : "?",
			       (uint32_t)ca_word(object, layout->code.co_firstlineno));
}

/* Values that need no other object's: what an exception's arguments may show. */
static const char *scalar_value(struct ca_reader *reader, const struct ca_object *object,
				struct ca_arena *arena)
{
	uint64_t flags = object->type->flags;
	struct ca_shape shape;

	if (!ca_object_shape(reader, object, &shape))
		return NULL;

	const char *name = ca_type_name(reader, object->type, arena);

	if (strcmp(name, "builtins.bool") == 0 && flags & CA_TPFLAGS_LONG_SUBCLASS)
		return strcmp(int_value(reader, object, arena), "0") == 0 ? "False" : "True";
	if (flags & CA_TPFLAGS_UNICODE_SUBCLASS)
		return str_value(reader, object, arena);
	if (flags & CA_TPFLAGS_BYTES_SUBCLASS)
		return bytes_value(reader, object, arena);
	if (flags & CA_TPFLAGS_LONG_SUBCLASS)
		return int_value(reader, object, arena);
	if (strcmp(name, "builtins.float") == 0)
		return float_value(reader, object, arena);
	if (strcmp(name, "builtins.NoneType") == 0)
		return "None";
	if (strcmp(name, "builtins.ellipsis") == 0)
		return "Ellipsis";
	return NULL;
}

static const char *exception_value(struct ca_reader *reader, const struct ca_object *object,
				   struct ca_arena *arena)
{
	const struct ca_layout *layout = reader->layout;
	const char *out = strrchr(ca_type_name(reader, object->type, arena), '.');
	struct ca_object args, arg;

	out = ca_arena_printf(arena, "%s(", out ? out + 1 : ca_type_name(reader, object->type, arena));
	if (ca_object_read(reader, ca_word(object, layout->exception.args), &args) &&
	    args.type->flags & CA_TPFLAGS_TUPLE_SUBCLASS) {
		uint64_t count = (uint64_t)ca_ob_size(reader, &args);
		uint64_t room = ca_room(&args, layout->tuple.ob_item) / 8;

		if (count > room)
			count = room;
		for (uint64_t i = 0; i < count && i < SHOWN_ARGS; i++) {
			const char *value = NULL;

			if (ca_object_read(reader, ca_load_u64(args.at + layout->tuple.ob_item + i * 8), &arg))
				value = scalar_value(reader, &arg, arena);
			out = ca_arena_printf(arena, "%s%s%s", out, i ? ", " : "", value ? value : "...");
		}
		if (count > SHOWN_ARGS)
			out = ca_arena_printf(arena, "%s, ...", out);
	}
	return ca_arena_printf(arena, "%s)", out);
}

bool ca_object_is_named(struct ca_reader *reader, const struct ca_object *object)
{
	static const char *const names[] = {"builtins.function", "builtins.module", "builtins.code"};
	struct ca_arena scratch = {0};
	const char *name = ca_type_name(reader, object->type, &scratch);
	bool named = object->type->is_meta;

	for (size_t i = 0; i < CA_COUNT(names); i++)
		named |= strcmp(names[i], name) == 0;
	ca_arena_fini(&scratch);
	return named;
}

const char *ca_object_value(struct ca_reader *reader, const struct ca_object *object,
			    struct ca_arena *arena)
{
	const char *value = scalar_value(reader, object, arena);

	if (value)
		return value;
	if (object->type->is_meta) {
		const struct ca_type *type = ca_type_at(reader, object->address);

		return type ? ca_arena_printf(arena, "<class '%s'>", ca_type_name(reader, type, arena))
			    : NULL;
	}
	if (object->type->flags & CA_TPFLAGS_BASE_EXC_SUBCLASS)
		return exception_value(reader, object, arena);

	static const struct {
		const char *type;
		const char *(*value)(struct ca_reader *, const struct ca_object *, struct ca_arena *);
	} by_name[] = {
		{"builtins.function", function_value},
		{"builtins.module", module_value},
		{"builtins.code", code_value},
		{"builtins.ContextVar", contextvar_value},
		{"_contextvars.ContextVar", contextvar_value},
	};
	const char *name = ca_type_name(reader, object->type, arena);

	for (size_t i = 0; i < CA_COUNT(by_name); i++)
		if (strcmp(by_name[i].type, name) == 0)
			return by_name[i].value(reader, object, arena);
	return NULL;
}
