/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "private.h"

#define NO_TEXT UINT64_MAX

static const uint8_t *take(struct ca_facts *facts, uint64_t size)
{
	const uint8_t *at = facts->at;

	if (facts->damaged || size > (uint64_t)(facts->end - at)) {
		facts->damaged = true;
		return NULL;
	}
	facts->at += size;
	return at;
}

void ca_fact_raw(struct ca_facts *facts, void *bytes, size_t size)
{
	const uint8_t *from;

	if (facts->saving) {
		facts->bytes = ca_grow(facts->bytes, &facts->capacity, facts->size + size, 1);
		memcpy(facts->bytes + facts->size, bytes, size);
		facts->size += size;
		return;
	}
	from = take(facts, size);
	if (from)
		memcpy(bytes, from, size);
	else
		memset(bytes, 0, size);
}

/* Its length and where its bytes are; NULL: there is none. */
static const char *next_text(struct ca_facts *facts, const char *text, size_t *length)
{
	uint64_t size = !facts->saving ? 0 : text ? strlen(text) : NO_TEXT;

	ca_fact_u64(facts, &size);
	if (size == NO_TEXT)
		return NULL;
	*length = size;
	if (!facts->saving)
		return (const char *)take(facts, size);
	ca_fact_raw(facts, (void *)text, size);
	return text;
}

void ca_fact_text(struct ca_facts *facts, const char **text)
{
	size_t length;
	const char *bytes = next_text(facts, *text, &length);

	if (!facts->saving)
		*text = bytes ? ca_arena_strndup(facts->arena, bytes, length) : NULL;
}

void ca_fact_shown(struct ca_facts *facts, const char **text)
{
	size_t length;
	const char *bytes = next_text(facts, *text, &length);

	if (!facts->saving)
		*text = ca_escape_arena(facts->arena, bytes ? bytes : "", bytes ? length : 0);
}

size_t ca_fact_count(struct ca_facts *facts, size_t count, size_t least)
{
	uint64_t number = count;

	ca_fact_u64(facts, &number);
	if (facts->saving || number <= (uint64_t)(facts->end - facts->at) / least)
		return number;
	facts->damaged = true;
	return 0;
}

void *ca_fact_array(struct ca_facts *facts, void *array, size_t *count, size_t item_bytes, size_t least)
{
	*count = ca_fact_count(facts, facts->saving ? *count : 0, least);
	return facts->saving ? array : ca_alloc((*count + 1) * item_bytes);
}

uint32_t ca_fact_enum(struct ca_facts *facts, uint32_t value, uint32_t end)
{
	ca_fact_u32(facts, &value);
	if (value < end)
		return value;
	facts->damaged = true;
	return 0;
}

/* ---- warnings ---------------------------------------------------------------- */

/* What this stage added to warning i: counts and bytes only grow. */
static struct ca_warning added(const struct ca_warnings *before, const struct ca_warnings *after, size_t i)
{
	struct ca_warning warning = after->items[i];

	if (before && i < before->count) {
		warning.count -= before->items[i].count;
		warning.bytes -= before->items[i].bytes;
	}
	return warning;
}

static bool is_any(const struct ca_warning *warning)
{
	return warning->count || warning->bytes;
}

void ca_facts_of_warnings(struct ca_facts *facts, struct ca_context *ctx,
			  const struct ca_warnings *before, const struct ca_warnings *after)
{
	size_t count = 0;

	for (size_t i = 0; facts->saving && i < after->count; i++) {
		struct ca_warning warning = added(before, after, i);

		count += is_any(&warning);
	}
	count = ca_fact_count(facts, count, 6 * 8);
	for (size_t i = 0, told = 0; told < count; i++) {
		struct ca_warning warning = {0};
		const char *text;

		if (facts->saving) {
			warning = added(before, after, i);
			if (!is_any(&warning))
				continue;
		}
		text = warning.text;
		ca_fact_shown(facts, &warning.kind);
		ca_fact_shown(facts, &text);
		ca_fact_shown(facts, &warning.effect);
		ca_fact_u64(facts, &warning.first);
		ca_fact_u64(facts, &warning.count);
		ca_fact_u64(facts, &warning.bytes);
		warning.text = (char *)text;
		if (!facts->saving && !facts->damaged)
			ca_warn_again(ctx, &warning);
		told++;
	}
}
