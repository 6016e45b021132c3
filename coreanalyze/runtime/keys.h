/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A dict's table of keys (PyDictKeysObject), the one shape that both runtime and object must read. */
#ifndef CA_RUNTIME_KEYS_H
#define CA_RUNTIME_KEYS_H

#include "../image/image.h"
#include "layout.h"

/*
 * A parsed table: indices first, then entries in order of insertion.
 *
 *   address -> | header | indices | entry 0 | entry 1 | ... usable | <- address + bytes
 */
struct ca_keys {
	ca_addr address;
	int64_t refcnt;       /* dicts that share it; 1 for a combined table */
	uint64_t bytes;       /* the whole allocation (_PyDict_KeysSize) */
	uint64_t nentries;    /* entries that were ever used, dead ones included */
	uint64_t shared_size; /* value slots that a dict sharing it has */
	ca_addr entries;
	uint32_t entry_bytes; /* 24 {hash, key, value} or 16 {key, value} */
	uint32_t key_at;      /* of the key inside an entry; the value follows it */
	bool split;           /* a shared table of attribute names */
};

/* False when the bytes are unreadable or are no keys table. */
bool ca_keys_parse(const struct ca_image *image, const struct ca_layout *layout, ca_addr address,
		   struct ca_keys *keys);

#endif
