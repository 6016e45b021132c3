/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "locate.h"

static const struct debug_field {
	size_t field, size; /* offsetof in struct ca_layout: it, and its structure's size */
	int16_t at[3];      /* in 3.13, 3.14, 3.15 */
} debug_fields[] = {
#define DEBUG(structure, field, at13, at14, at15) \
	{offsetof(struct ca_layout, structure.field), offsetof(struct ca_layout, structure.size), \
	 {at13, at14, at15}},
#include "debug_offsets.def"
#undef DEBUG
};

static int32_t *offset_in(struct ca_layout *layout, size_t field)
{
	return (int32_t *)((char *)layout + field);
}

/*
 * These words are the target's, and objects are read by them without a further
 * look: a field must lie within its structure as the table knows it. A size may
 * differ by what a vendor's patch adds.
 */
static bool is_credible(struct ca_layout *layout, const struct debug_field *field, uint64_t given)
{
	int64_t size = *offset_in(layout, field->size);

	if (given > INT32_MAX / 2 || size <= 0)
		return false;
	if (field->field == field->size)
		return (int64_t)given >= size / 2 && (int64_t)given <= size * 2;
	return (int64_t)given + 8 <= ((size + 7) & ~7ll);
}

bool ca_debug_offsets_at(const struct ca_image *image, ca_addr addr, uint32_t *hexversion,
			 bool *free_threaded)
{
	const uint8_t *at = ca_image_at(image, addr, 24);
	uint64_t version, threaded;

	if (!at || memcmp(at, "xdebugpy", 8) != 0)
		return false;
	memcpy(&version, at + 8, 8);
	memcpy(&threaded, at + 16, 8);
	*hexversion = (uint32_t)version;
	*free_threaded = threaded != 0;
	return true;
}

void ca_apply_debug_offsets(struct ca_runtime *rt)
{
	if (rt->minor < 13 || rt->minor > 15)
		return;
	for (size_t i = 0; i < CA_COUNT(debug_fields); i++) {
		const struct debug_field *field = &debug_fields[i];
		int at = field->at[rt->minor - 13];
		uint64_t given;

		if (at >= 0 && ca_image_u64(rt->image, rt->address + at, &given) &&
		    is_credible(&rt->layout, field, given))
			*offset_in(&rt->layout, field->field) = (int32_t)given;
	}
}
