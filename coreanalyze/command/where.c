/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Conditions on objects: "bytes > 1M and refcount = 1". Comparisons of a field with
 * a number, joined by `and`; nothing else.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

static const char *const fields[] = {
	[CA_FIELD_BYTES] = "bytes",       [CA_FIELD_OWNED] = "owned",
	[CA_FIELD_REFCOUNT] = "refcount", [CA_FIELD_LENGTH] = "length",
	[CA_FIELD_RETAINED_BYTES] = "retained_bytes",
	[CA_FIELD_RETAINED_OBJECTS] = "retained_objects",
};
static const char *const signs[] = {
	[CA_SIGN_AT_MOST] = "<=", [CA_SIGN_AT_LEAST] = ">=", [CA_SIGN_NOT] = "!=",
	[CA_SIGN_EQUAL] = "=",    [CA_SIGN_BELOW] = "<",     [CA_SIGN_ABOVE] = ">",
};

static const char *skip_spaces(const char *at)
{
	while (isspace((unsigned char)*at))
		at++;
	return at;
}

/* The word at *at, which is moved behind it. */
static void take_word(const char **at, char *word, size_t bytes)
{
	size_t length = 0;

	while (isalnum((unsigned char)(*at)[length]) || (*at)[length] == '_' || (*at)[length] == '.')
		length++;
	snprintf(word, bytes, "%.*s", (int)length, *at);
	*at = skip_spaces(*at + length);
}

static bool take_field(const char **at, enum ca_field *field)
{
	char word[32];

	take_word(at, word, sizeof(word));
	if (strcmp(word, "retained") == 0)
		strcpy(word, "retained_bytes");
	for (size_t i = 0; i < CA_COUNT(fields); i++) {
		if (strcmp(word, fields[i]) == 0) {
			*field = (enum ca_field)i;
			return true;
		}
	}
	return false;
}

static bool take_sign(const char **at, enum ca_sign *sign)
{
	for (size_t i = 0; i < CA_COUNT(signs); i++) {
		size_t length = strlen(signs[i]);

		if (strncmp(*at, signs[i], length) != 0)
			continue;
		*sign = (enum ca_sign)i;
		*at += length;
		if (*sign == CA_SIGN_EQUAL && **at == '=')
			++*at;
		*at = skip_spaces(*at);
		return true;
	}
	return false;
}

static bool take_condition(const char **at, struct ca_condition *condition)
{
	char word[32];

	if (!take_field(at, &condition->field) || !take_sign(at, &condition->sign))
		return false;
	take_word(at, word, sizeof(word));
	return ca_parse_size(word, &condition->number);
}

bool ca_where_parse(const char *text, struct ca_where *where)
{
	const char *at = skip_spaces(text);
	char word[8];

	do {
		if (where->count == CA_COUNT(where->conditions) ||
		    !take_condition(&at, &where->conditions[where->count]))
			return false;
		where->count++;
		if (!*at)
			return true;
		take_word(&at, word, sizeof(word));
	} while (strcmp(word, "and") == 0);
	return false;
}

bool ca_where_needs(const struct ca_where *where, enum ca_field field)
{
	for (size_t i = 0; i < where->count; i++)
		if (where->conditions[i].field == field)
			return true;
	return false;
}

static bool compare(uint64_t value, enum ca_sign sign, uint64_t number)
{
	switch (sign) {
	case CA_SIGN_AT_MOST:
		return value <= number;
	case CA_SIGN_AT_LEAST:
		return value >= number;
	case CA_SIGN_NOT:
		return value != number;
	case CA_SIGN_EQUAL:
		return value == number;
	case CA_SIGN_BELOW:
		return value < number;
	case CA_SIGN_ABOVE:
		return value > number;
	}
	return false;
}

/* False where the object has no such figure: nothing without a length is shorter than 3. */
static bool read_field(enum ca_field field, const struct ca_where_facts *facts, ca_node node,
		       uint64_t *value)
{
	struct ca_object object;

	switch (field) {
	case CA_FIELD_BYTES:
		*value = ca_node_bytes(facts->objects, node);
		return true;
	case CA_FIELD_OWNED:
		*value = ca_node_owned(facts->objects, node);
		return true;
	case CA_FIELD_RETAINED_BYTES:
		*value = facts->retained->bytes[node];
		return true;
	case CA_FIELD_RETAINED_OBJECTS:
		*value = facts->retained->objects[node];
		return true;
	case CA_FIELD_REFCOUNT:
	case CA_FIELD_LENGTH:
		break;
	}
	if (!ca_object_read(facts->reader, ca_objects_address(facts->objects, node), &object))
		return false;
	if (field == CA_FIELD_LENGTH)
		return ca_object_length(facts->reader, &object, value);
	*value = ca_object_refcount(&facts->objects->rt->layout, object.at);
	return true;
}

bool ca_where_holds(const struct ca_where *where, const struct ca_where_facts *facts, ca_node node)
{
	for (size_t i = 0; i < where->count; i++) {
		const struct ca_condition *condition = &where->conditions[i];
		uint64_t value;

		if (!read_field(condition->field, facts, node, &value) ||
		    !compare(value, condition->sign, condition->number))
			return false;
	}
	return true;
}
