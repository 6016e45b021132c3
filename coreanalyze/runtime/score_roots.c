/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What proves the tables by which an interpreter holds objects outside of its own structure. */
#include "keys.h"
#include "settle.h"

enum { STR_SUBCLASS = 1 << 28, INTERNED_MASK = 3, SAMPLE = 64, LEAST_STRINGS = 100, MOST = 1 << 16 };

static ca_addr main_interp(const struct ca_runtime *rt)
{
	ca_addr interps[CA_SCORED_INTERPS];
	size_t count = ca_scored_interps(rt, interps);

	return count ? interps[count - 1] : 0;
}

static bool is_interned(const struct ca_runtime *rt, ca_addr addr)
{
	ca_addr type = ca_plausible_type(rt, addr);
	uint32_t state;

	return type && ca_word_at(rt->image, type, rt->layout.type.tp_flags) & STR_SUBCLASS &&
	       ca_image_u32(rt->image, addr + (uint64_t)rt->layout.ascii.state, &state) &&
	       state & INTERNED_MASK;
}

/* A dict of strings that say that they are interned, each under itself. */
int64_t ca_score_interned(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr dict = ca_word_at(rt->image, main_interp(rt), layout->interp.cached_interned);
	ca_addr table = ca_word_at(rt->image, dict, layout->dict.ma_keys);
	struct ca_keys keys;
	int64_t seen = 0;

	if (!ca_has(layout->interp.cached_interned) || !dict)
		return 0;
	if (!ca_plausible_type(rt, dict) || !ca_keys_parse(rt->image, layout, table, &keys) ||
	    keys.nentries < LEAST_STRINGS)
		return -1;
	for (uint64_t i = 0; i < keys.nentries && seen < SAMPLE; i++) {
		ca_addr at = keys.entries + i * keys.entry_bytes + keys.key_at;
		ca_addr key = ca_word_at(rt->image, at, 0), value = ca_word_at(rt->image, at, 8);

		if (!value)
			continue; /* was deleted */
		if (key != value || !is_interned(rt, key))
			return -1;
		seen++;
	}
	return seen ? seen : -1;
}

/* Strings, one for each of C's names that was used; the array's length stands before it. */
int64_t ca_score_identifiers(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr interp = main_interp(rt);
	ca_addr array = ca_word_at(rt->image, interp, layout->interp.unicode_ids);
	uint64_t size = ca_word_at(rt->image, interp, layout->interp.unicode_ids_size);
	int64_t used = 0;

	if (!ca_has(layout->interp.unicode_ids) || (!array && !size))
		return 0;
	if (!array || !size || size > MOST || layout->interp.unicode_ids != layout->interp.unicode_ids_size + 8)
		return -1;
	for (uint64_t i = 0; i < size; i++) {
		ca_addr str = ca_word_at(rt->image, array + i * 8, 0);

		if (str && !is_interned(rt, str))
			return -1;
		used += str != 0;
	}
	return used ? used : -1;
}

static bool is_of(const struct ca_runtime *rt, ca_addr object, uint64_t subclass)
{
	return ca_word_at(rt->image, ca_plausible_type(rt, object), rt->layout.type.tp_flags) & subclass;
}

/* A list of tuples {function, args, kwargs}. */
static int64_t score_list(const struct ca_runtime *rt, ca_addr list)
{
	enum { TUPLE_SUBCLASS = 1 << 26, LIST_SUBCLASS = 1 << 25 };
	const struct ca_layout *layout = &rt->layout;

	if (!is_of(rt, list, LIST_SUBCLASS))
		return -1;
	if (!ca_word_at(rt->image, list, layout->var.ob_size))
		return 0;

	ca_addr first = ca_word_at(rt->image, ca_word_at(rt->image, list, layout->list.ob_item), 0);

	return is_of(rt, first, TUPLE_SUBCLASS) ? 1 : -1;
}

/* {array, how many, room}: pointers to {function, args, kwargs}, NULL where one was unregistered. */
static int64_t score_array(const struct ca_runtime *rt, ca_addr state, ca_addr array)
{
	enum { TUPLE_SUBCLASS = 1 << 26 };
	uint32_t count, room;

	if (!ca_image_u32(rt->image, state + 8, &count) || !ca_image_u32(rt->image, state + 12, &room) ||
	    count > room || !room || room > MOST)
		return -1;
	for (uint32_t i = 0; i < count; i++) {
		ca_addr callback = ca_word_at(rt->image, array, (int32_t)i * 8);

		if (!callback)
			continue;
		return ca_plausible_type(rt, ca_word_at(rt->image, callback, 0)) &&
				       is_of(rt, ca_word_at(rt->image, callback, 8), TUPLE_SUBCLASS)
			       ? 1
			       : -1;
	}
	return 0;
}

/* Modules/atexitmodule.c: up to 3.13 an array, then a list. None, where nothing was registered. */
int64_t ca_score_atexit(const struct ca_runtime *rt)
{
	enum { LAST_WITH_ARRAY = 13 };
	const struct ca_layout *layout = &rt->layout;
	ca_addr state = main_interp(rt) + (uint64_t)layout->interp.atexit_callbacks, callbacks;

	if (!ca_has(layout->interp.atexit_callbacks) || !ca_image_u64(rt->image, state, &callbacks) ||
	    !callbacks)
		return 0;
	return rt->minor > LAST_WITH_ARRAY ? score_list(rt, callbacks) : score_array(rt, state, callbacks);
}

/* Up to 3.9: it has the callbacks. */
int64_t ca_score_exitmodule(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr module = ca_word_at(rt->image, main_interp(rt), layout->interp.pyexitmodule);
	ca_addr modules = ca_word_at(rt->image, main_interp(rt), layout->interp.modules);

	if (!ca_has(layout->interp.pyexitmodule) || !module)
		return 0;
	return ca_read_key(rt->image, layout, modules, "atexit") == module ? 1 : -1;
}
