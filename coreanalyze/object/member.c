/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The names under which types of C give their words to Python. */
#include <ctype.h>

#include "kind.h"

/* struct PyMemberDef: {name, type, offset, flags, doc}; types T_OBJECT and T_OBJECT_EX. */
enum { MEMBER_BYTES = 40, MEMBER_TYPE = 8, MEMBER_OFFSET = 16, OBJECT = 6, OBJECT_EX = 16 };

static const char *read_name(const struct ca_reader *reader, ca_addr at, struct ca_arena *arena)
{
	enum { LONGEST = 64 };
	uint64_t readable;
	const char *text = ca_image_part(reader->image, at, LONGEST + 1, &readable);
	size_t length = 0;

	if (!text)
		return NULL;
	while (length < readable && length < LONGEST &&
	       (isalnum((unsigned char)text[length]) || text[length] == '_'))
		length++;
	if (!length || length == readable || text[length])
		return NULL;
	return ca_arena_printf(arena, "%.*s", (int)length, text);
}

static const char *find(const struct ca_reader *reader, ca_addr members, uint64_t offset,
			struct ca_arena *arena)
{
	enum { MOST = 256 };

	for (unsigned i = 0; i < MOST; i++, members += MEMBER_BYTES) {
		const uint8_t *member = ca_image_at(reader->image, members, MEMBER_BYTES);
		uint32_t type = member ? ca_load_u32(member + MEMBER_TYPE) : 0;

		if (!member || !ca_load_u64(member))
			return NULL;
		if (ca_load_u64(member + MEMBER_OFFSET) == offset && (type == OBJECT || type == OBJECT_EX))
			return read_name(reader, ca_load_u64(member), arena);
	}
	return NULL;
}

const char *ca_member_name(struct ca_reader *reader, const struct ca_type *type, uint64_t offset,
			   struct ca_arena *arena)
{
	enum { MOST_BASES = 64 };
	const struct ca_layout *layout = reader->layout;
	uint64_t at = type->address;

	for (int i = 0; i < MOST_BASES && at; i++) {
		uint64_t members = 0;
		const char *name;

		ca_image_u64(reader->image, at + (uint64_t)layout->type.tp_members, &members);
		name = members ? find(reader, members, offset, arena) : NULL;
		if (name)
			return name;
		if (!ca_image_u64(reader->image, at + (uint64_t)layout->type.tp_base, &at))
			break;
	}
	return NULL;
}
