/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "keys.h"

enum { DICT_KEYS_GENERAL = 0, DICT_KEYS_SPLIT = 2 };

/* No table has more slots: at 16 bytes an entry it would not fit an address space. */
enum { MAX_LOG2_SIZE = 40 };

/* CPython Objects/dictobject.c: USABLE_FRACTION */
static uint64_t usable_fraction(uint64_t size)
{
	return (size << 1) / 3;
}

/* 3.8-3.10: dk_size slots, as many bytes an index as the size needs, always 24 bytes an entry. */
static bool parse_sized(const struct ca_layout *layout, const uint8_t *at, struct ca_keys *keys)
{
	uint64_t size = ca_load_u64(at + layout->keys.dk_size);

	if (size < 1 || size > 1ull << MAX_LOG2_SIZE || (size & (size - 1)))
		return false;

	uint64_t width = size <= 0xff ? 1 : size <= 0xffff ? 2 : size <= 0xffffffff ? 4 : 8;

	keys->entry_bytes = 24;
	keys->key_at = 8;
	keys->entries = keys->address + layout->keys.dk_indices + size * width;
	keys->bytes = layout->keys.dk_indices + size * width + usable_fraction(size) * 24;
	keys->shared_size = usable_fraction(size);
	keys->split = false; /* told by the dict that has values */
	return keys->nentries <= usable_fraction(size);
}

/* 3.11+: logarithms, and unicode-only tables without hashes. */
static bool parse_log2(const struct ca_layout *layout, const uint8_t *at, struct ca_keys *keys)
{
	unsigned log2_size = at[layout->keys.dk_log2_size];
	unsigned log2_index = at[layout->keys.dk_log2_index_bytes];
	unsigned kind = at[layout->keys.dk_kind];

	if (log2_size > MAX_LOG2_SIZE || log2_index > MAX_LOG2_SIZE + 3 || kind > DICT_KEYS_SPLIT ||
	    log2_index < log2_size)
		return false;

	uint64_t usable = usable_fraction(1ull << log2_size);
	uint64_t free_entries = ca_load_u64(at + layout->keys.dk_usable);

	keys->entry_bytes = kind == DICT_KEYS_GENERAL ? 24 : 16;
	keys->key_at = kind == DICT_KEYS_GENERAL ? 8 : 0;
	keys->entries = keys->address + layout->keys.dk_indices + (1ull << log2_index);
	keys->bytes = layout->keys.dk_indices + (1ull << log2_index) + usable * keys->entry_bytes;
	keys->shared_size = keys->nentries + free_entries;
	keys->split = kind == DICT_KEYS_SPLIT;
	/* The empty table Py_EMPTY_KEYS has one slot and no room. */
	return keys->nentries <= usable && free_entries <= usable;
}

bool ca_keys_parse(const struct ca_image *image, const struct ca_layout *layout, ca_addr address,
		   struct ca_keys *keys)
{
	const uint8_t *at = ca_image_at(image, address, layout->keys.dk_indices);

	if (!at)
		return false;
	keys->address = address;
	keys->refcnt = (int64_t)ca_load_u64(at + layout->keys.dk_refcnt);
	keys->nentries = ca_load_u64(at + layout->keys.dk_nentries);
	return layout->keys.dk_size >= 0 ? parse_sized(layout, at, keys)
					 : parse_log2(layout, at, keys);
}
