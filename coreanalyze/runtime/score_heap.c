/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What proves where an interpreter keeps its arenas, its static types and its free lists. */
#include "keys.h"
#include "settle.h"

enum { ARENAS_PROBED = 64, TYPES_PROBED = 4, MOST_FREE = 1 << 12 };

static ca_addr main_interp(const struct ca_runtime *rt)
{
	ca_addr interps[CA_SCORED_INTERPS];
	size_t count = ca_scored_interps(rt, interps);

	return count ? interps[count - 1] : 0;
}

/* 0: unused; below 0: no arena of this index. */
static int probe_arena(const struct ca_runtime *rt, ca_addr entry, uint32_t index)
{
	const struct ca_layout *layout = &rt->layout;
	uint64_t pool = (uint64_t)layout->c.pool_bytes, pools = (uint64_t)layout->c.arena_bytes / pool;
	ca_addr address = ca_word_at(rt->image, entry, layout->arena.address);
	ca_addr carved = ca_word_at(rt->image, entry, layout->arena.pool_address);
	ca_addr first = (address + pool - 1) & ~(pool - 1);
	uint32_t total, recorded;

	if (!ca_image_u32(rt->image, entry + (uint64_t)layout->arena.ntotalpools, &total))
		return -1;
	if (!address)
		return 0;
	if ((total != pools && total != pools - 1) || carved < first || carved & (pool - 1) ||
	    carved - address > (uint64_t)layout->c.arena_bytes)
		return -1;
	return carved > first &&
	       ca_image_u32(rt->image, first + (uint64_t)layout->pool.arenaindex, &recorded) &&
	       recorded == index;
}

int64_t ca_score_obmalloc(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr state = main_interp(rt);
	uint32_t count;
	int64_t arenas = 0;

	if (!ca_has(layout->interp.obmalloc))
		return 0;
	state = layout->c.obmalloc_is_pointer ? ca_word_at(rt->image, state, layout->interp.obmalloc)
					      : state + (uint64_t)layout->interp.obmalloc;

	ca_addr array = ca_word_at(rt->image, state, layout->obmalloc.arenas);

	if (!array) /* another allocator */
		return 0;
	if (!ca_image_u32(rt->image, state + (uint64_t)layout->obmalloc.maxarenas, &count) || !count)
		return -1;
	for (uint32_t i = 0; i < count && i < ARENAS_PROBED; i++) {
		int arena = probe_arena(rt, array + i * (uint64_t)layout->arena.size, i);

		if (arena < 0)
			return -1;
		arenas += arena;
	}
	return arenas ? arenas : -1;
}

/* The first few entries of a table of states have static types, each of which says which one it has. */
static int64_t score_states(const struct ca_runtime *rt, int32_t table, unsigned least)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr states = main_interp(rt) + (uint64_t)table;
	int64_t score = 0;

	if (!ca_has(table))
		return 0;
	for (unsigned i = 0; i < TYPES_PROBED; i++) {
		ca_addr type = ca_word_at(rt->image, states + i * (uint64_t)layout->static_type_state.size,
					  layout->static_type_state.type);

		if (!type)
			break;
		if (!ca_is_type(rt, type) || ca_word_at(rt->image, type, layout->type.tp_subclasses) != i + 1 ||
		    !(ca_word_at(rt->image, type, layout->type.tp_flags) & (uint64_t)layout->c.flag_static_builtin))
			return -1;
		score++;
	}
	return score >= least ? score : -1;
}

int64_t ca_score_static_types(const struct ca_runtime *rt)
{
	return score_states(rt, rt->layout.interp.types_builtins, TYPES_PROBED);
}

int64_t ca_score_extension_types(const struct ca_runtime *rt)
{
	return score_states(rt, rt->layout.interp.types_extensions, 0);
}

/* As many links as it says, or -1. */
static int64_t chain_length(const struct ca_runtime *rt, ca_addr first, int32_t link, uint64_t count)
{
	uint64_t length = 0;

	for (ca_addr at = first; at; length++) {
		if (length == count || at & 7 || !ca_image_u64(rt->image, at + (uint64_t)link, &at))
			return -1;
	}
	return length == count ? (int64_t)length : -1;
}

/* 3.14+: each list is as long as it says; where more are, none was missed. */
int64_t ca_score_freelists(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr lists = main_interp(rt) + (uint64_t)layout->interp.freelists;
	int64_t sum = 0;

	if (!ca_has(layout->interp.freelists) || !ca_has(layout->freelists.size))
		return 0;
	for (int32_t at = 0; at < layout->freelists.size; at += layout->freelist.size) {
		ca_addr head = ca_word_at(rt->image, lists + (uint64_t)at, layout->freelist.freelist);
		uint64_t count = ca_word_at(rt->image, lists + (uint64_t)at, layout->freelist.size_field);
		int64_t length = count < MOST_FREE ? chain_length(rt, head, 0, count) : -1;

		if (length < 0)
			return -1;
		sum += length;
	}
	return sum;
}

/* Dead floats, linked through their types; the count stands before the list. */
int64_t ca_score_floats(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr at = main_interp(rt) + (uint64_t)layout->interp.float_freelist;
	ca_addr first = ca_word_at(rt->image, at, 0);
	uint32_t count;

	if (!ca_has(layout->interp.float_freelist) || ca_has(layout->freelists.size))
		return 0;
	if (!ca_image_u32(rt->image, at - 8, &count) || count > MOST_FREE)
		return -1;
	for (ca_addr dead = first; dead; dead = ca_word_at(rt->image, dead, layout->object.ob_type))
		if (dead & 7 || !count-- || ca_word_at(rt->image, dead, layout->object.ob_refcnt))
			return -1;
	return count ? -1 : first != 0;
}

/* Tables that no dict has, as many as are counted. */
int64_t ca_score_keys(const struct ca_runtime *rt)
{
	enum { MOST = 80 }; /* PyDict_MAXFREELIST */
	const struct ca_layout *layout = &rt->layout;
	ca_addr interp = main_interp(rt), array = interp + (uint64_t)layout->interp.keys_freelist;
	int32_t gap = layout->interp.keys_numfree - layout->interp.keys_freelist;
	uint32_t count;

	if (!ca_has(layout->interp.keys_freelist))
		return 0;
	if (gap < MOST * 8 || gap > MOST * 8 + 4 ||
	    !ca_image_u32(rt->image, interp + (uint64_t)layout->interp.keys_numfree, &count) ||
	    count > MOST)
		return -1;
	for (uint32_t i = 0; i < count; i++) {
		ca_addr table = ca_word_at(rt->image, array, (int32_t)(i * 8));
		struct ca_keys keys;

		/* One that was too small for its dict still counts it. */
		if (!table || table & 7 || !ca_keys_parse(rt->image, layout, table, &keys) || keys.refcnt < 0 ||
		    keys.refcnt > 1)
			return -1;
	}
	return count;
}
