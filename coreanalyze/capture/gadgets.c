/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Three pieces of code of the process's own C library. */
#include "inject.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX (UINT64_C(64) << 20)

static const uint8_t call_code[] = { 0x0f, 0x05, 0xc3 };
static const uint8_t restorer_code[] = { 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05 };

static ca_addr find_code(const uint8_t *text, size_t bytes, ca_addr start, const uint8_t *code,
			 size_t code_bytes)
{
	const uint8_t *at = memmem(text, bytes, code, code_bytes);

	return at ? start + (ca_addr)(at - text) : 0;
}

static void search(struct ca_gadgets *gadgets, int mem, const struct ca_mapping *mapping)
{
	uint64_t bytes = mapping->end - mapping->start;
	uint8_t *text = bytes <= TEXT_MAX ? ca_alloc(bytes) : NULL;

	if (text && pread(mem, text, bytes, (off_t)mapping->start) == (ssize_t)bytes) {
		gadgets->call = find_code(text, bytes, mapping->start, call_code, sizeof(call_code));
		gadgets->restorer = find_code(text, bytes, mapping->start, restorer_code,
					      sizeof(restorer_code));
	}
	free(text);
}

bool ca_gadgets_find(struct ca_gadgets *gadgets, const struct ca_view *view)
{
	const struct ca_image *image = view->image;

	*gadgets = (struct ca_gadgets){ 0 };
	for (size_t i = 0; i < image->module_count; i++) {
		const struct ca_mapping *mapping;

		gadgets->exit = ca_module_symbol(&image->modules[i], "_exit");
		mapping = gadgets->exit ? ca_image_mapping(image, gadgets->exit) : NULL;
		if (!mapping || !(mapping->flags & CA_SEG_EXEC))
			continue;
		search(gadgets, view->mem, mapping);
		if (gadgets->call && gadgets->restorer)
			return true;
	}
	return false;
}

bool ca_gadgets_hold(const struct ca_gadgets *gadgets, int mem)
{
	uint8_t bytes[sizeof(restorer_code)];

	return pread(mem, bytes, sizeof(call_code), (off_t)gadgets->call) == sizeof(call_code) &&
	       !memcmp(bytes, call_code, sizeof(call_code)) &&
	       pread(mem, bytes, sizeof(bytes), (off_t)gadgets->restorer) == sizeof(bytes) &&
	       !memcmp(bytes, restorer_code, sizeof(bytes));
}
