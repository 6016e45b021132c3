/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base.h"

#include <stdio.h>
#include <string.h>

enum { ESCAPE_MAX = 11 }; /* "\UNNNNNNNN" and a NUL */

/*
 * One character of UTF-8, surrogates included (the target may hold them).
 * Returns its length, or 0 when the bytes are not UTF-8.
 */
static size_t decode(const uint8_t *bytes, size_t length, uint32_t *code)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t size = bytes[0] < 0x80	       ? 1
		      : (bytes[0] >> 5) == 0x6  ? 2
		      : (bytes[0] >> 4) == 0xe  ? 3
		      : (bytes[0] >> 3) == 0x1e ? 4
						: 0;

	if (!size || size > length)
		return 0;
	if (size == 1) {
		*code = bytes[0];
		return 1;
	}
	uint32_t value = bytes[0] & (0x7f >> size);

	for (size_t i = 1; i < size; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (bytes[i] & 0x3f);
	}
	*code = value;
	return value >= smallest[size] && value <= 0x10ffff ? size : 0;
}

/* Characters that would steer a terminal or reorder what is beside them. */
static bool must_escape(uint32_t code)
{
	static const uint32_t ranges[][2] = {
		{ 0x00, 0x1f },	    { 0x7f, 0x9f },	{ 0x61c, 0x61c },
		{ 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f },
		{ 0xd800, 0xdfff }, { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb },
		{ 0xfffe, 0xffff }, { 0xe0000, 0xe0fff },
	};

	for (size_t i = 0; i < CA_COUNT(ranges); i++) {
		if (code >= ranges[i][0] && code <= ranges[i][1])
			return true;
	}
	return false;
}

/* Writes what stands for the input's next character; *taken: its bytes there. */
static size_t escape_one(char out[static ESCAPE_MAX], const uint8_t *bytes, size_t length,
			 size_t *taken)
{
	uint32_t code;
	size_t size = decode(bytes, length, &code);

	*taken = size ? size : 1;
	if (!size)
		return (size_t)snprintf(out, ESCAPE_MAX, "\\x%02x", bytes[0]);
	if (!must_escape(code)) {
		memcpy(out, bytes, size);
		return size;
	}
	const char *named = code ? strchr("\nn\rr\tt", (int)code) : NULL;

	if (named && code < 0x20)
		return (size_t)snprintf(out, ESCAPE_MAX, "\\%c", named[1]);
	const char *format = code < 0x80 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x";

	return (size_t)snprintf(out, ESCAPE_MAX, format, code);
}

size_t ca_escape(char *out, size_t out_bytes, const void *bytes, size_t length)
{
	const uint8_t *in = bytes;
	size_t done = 0, used = 0;

	if (!out_bytes)
		return 0;
	while (done < length) {
		char one[ESCAPE_MAX];
		size_t taken;
		size_t size = escape_one(one, in + done, length - done, &taken);

		if (size >= out_bytes - used)
			break;
		memcpy(out + used, one, size);
		used += size;
		done += taken;
	}
	out[used] = '\0';
	return done;
}

char *ca_escape_arena(struct ca_arena *arena, const void *bytes, size_t length)
{
	const uint8_t *in = bytes;
	size_t total = 1, taken;
	char one[ESCAPE_MAX];

	for (size_t done = 0; done < length; done += taken)
		total += escape_one(one, in + done, length - done, &taken);
	char *out = ca_arena_alloc(arena, total);

	ca_escape(out, total, bytes, length);
	return out;
}

struct ca_digits ca_grouped(uint64_t number)
{
	struct ca_digits out;
	char digits[24];
	int count = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
	char *to = out.text;

	for (int i = 0; i < count; i++) {
		if (i && (count - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return out;
}

struct ca_digits ca_signed(int64_t delta)
{
	struct ca_digits out = ca_grouped(delta < 0 ? 0 - (uint64_t)delta : (uint64_t)delta);

	if (delta) {
		memmove(out.text + 1, out.text, strlen(out.text) + 1);
		out.text[0] = delta < 0 ? '-' : '+';
	}
	return out;
}

void ca_format_size(char *out, size_t out_bytes, uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };

	if (bytes < 1024) {
		snprintf(out, out_bytes, "%u B", (unsigned)bytes);
		return;
	}
	double value = (double)bytes / 1024;
	size_t unit = 0;

	/* 1023.95 would print as 1024.0 of the smaller unit. */
	for (; value >= 1023.95 && unit + 1 < CA_COUNT(units); unit++)
		value /= 1024;
	snprintf(out, out_bytes, "%.1f %s", value, units[unit]);
}

/* The power of two that a unit stands for, or -1. */
static int unit_shift(const char *unit)
{
	static const char letters[] = "kmgtpe";

	if (!*unit || !strcmp(unit, "B") || !strcmp(unit, "b"))
		return 0;
	const char *letter = strchr(letters, *unit | 0x20);

	if (!letter || (strcmp(unit + 1, "") && strcmp(unit + 1, "B") && strcmp(unit + 1, "iB") &&
			strcmp(unit + 1, "b") && strcmp(unit + 1, "ib")))
		return -1;
	return 10 * (int)(letter - letters + 1);
}

bool ca_parse_size(const char *text, uint64_t *bytes)
{
	uint64_t whole = 0, fraction = 0, scale = 1;

	if (*text < '0' || *text > '9')
		return false;
	for (; *text >= '0' && *text <= '9'; text++) {
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*text - '0'), &whole))
			return false;
	}
	if (*text == '.') {
		if (text[1] < '0' || text[1] > '9')
			return false;
		for (text++; *text >= '0' && *text <= '9'; text++) {
			if (scale >= 1000000)
				continue; /* more digits say nothing */
			fraction = fraction * 10 + (uint64_t)(*text - '0');
			scale *= 10;
		}
	}
	while (*text == ' ')
		text++;
	int shift = unit_shift(text);

	if (shift < 0 || whole > UINT64_MAX >> shift)
		return false;
	uint64_t part = (uint64_t)((double)fraction / (double)scale * (double)(1ull << shift));

	return !__builtin_add_overflow(whole << shift, part, bytes);
}
