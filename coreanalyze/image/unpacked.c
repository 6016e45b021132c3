/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How large a compressed file is when unpacked, where its format tells. gzip
 * does so modulo 4 GiB only, and bzip2 not at all. Formats: RFC 8878 3.1.1 (zstd),
 * lz4's doc/lz4_Frame_format.md, xz's doc/xz-file-format.txt 2.1.2 and 4.
 */
#include "private.h"

static uint64_t little_endian(const uint8_t *bytes, size_t count)
{
	uint64_t value = 0;

	while (count--)
		value = value << 8 | bytes[count];
	return value;
}

static uint64_t field(struct ca_bytes packed, uint64_t offset, size_t count)
{
	const uint8_t *at = ca_bytes_at(packed, offset, count);

	return at ? little_endian(at, count) : 0;
}

/* Magic, descriptor, window (unless a single segment), dictionary, content size. */
uint64_t ca_unpacked_zstd(struct ca_bytes packed)
{
	static const uint8_t dictionary_bytes[] = { 0, 1, 2, 4 }, size_bytes[] = { 0, 2, 4, 8 };
	uint64_t descriptor = field(packed, 4, 1);
	bool single = descriptor & 0x20;
	size_t count = size_bytes[descriptor >> 6];
	uint64_t offset = 5 + !single + dictionary_bytes[descriptor & 3];

	if (!count)
		return single ? field(packed, offset, 1) : 0;
	return field(packed, offset, count) + (count == 2 ? 256 : 0);
}

/* Magic, flags (0x08: the content's size follows), block size, content size. */
uint64_t ca_unpacked_lz4(struct ca_bytes packed)
{
	return field(packed, 4, 1) & 0x08 ? field(packed, 6, 8) : 0;
}

/* Seven bits a byte, the lowest first; false at the end or over 63 bits. */
static bool read_varint(struct ca_bytes bytes, uint64_t *offset, uint64_t *value)
{
	*value = 0;
	for (unsigned shift = 0; shift < 63; shift += 7) {
		const uint8_t *at = ca_bytes_at(bytes, (*offset)++, 1);

		if (!at)
			return false;
		*value |= (uint64_t)(*at & 0x7f) << shift;
		if (!(*at & 0x80))
			return true;
	}
	return false;
}

/*
 * The index at the end of the (last) stream: 0, number of records, for each the
 * size of a block, packed and not; after it CRC32, its own size, flags, "YZ".
 */
uint64_t ca_unpacked_xz(struct ca_bytes packed)
{
	enum { FOOTER = 12 };
	uint64_t end = packed.size & ~(uint64_t)3, records, ignored, size, sum = 0;

	/* Zeros, in fours, may follow. */
	while (end >= FOOTER && !field(packed, end - 4, 4))
		end -= 4;
	if (end < FOOTER || field(packed, end - 2, 2) != ('Y' | 'Z' << 8))
		return 0;
	uint64_t index_bytes = (field(packed, end - 8, 4) + 1) * 4;

	if (index_bytes > end - FOOTER)
		return 0;
	struct ca_bytes index = { packed.data + end - FOOTER - index_bytes, index_bytes };
	uint64_t offset = 1;

	if (*index.data || !read_varint(index, &offset, &records))
		return 0;
	for (uint64_t i = 0; i < records; i++) {
		if (!read_varint(index, &offset, &ignored) || !read_varint(index, &offset, &size) ||
		    __builtin_add_overflow(sum, size, &sum))
			return 0;
	}
	return sum;
}
