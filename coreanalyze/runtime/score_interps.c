/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What proves the list of interpreters and the dicts that they have. */
#include "settle.h"

enum { AROUND = 64 }; /* bytes around the head where the other words of the list are */

ca_addr ca_word_at(const struct ca_image *image, ca_addr base, int32_t offset)
{
	uint64_t value = 0;

	if (!ca_has(offset) || !base || !ca_image_u64(image, base + (uint64_t)offset, &value))
		return 0;
	return value;
}

bool ca_is_type(const struct ca_runtime *rt, ca_addr addr)
{
	int32_t ob_type = rt->layout.object.ob_type;
	ca_addr meta = addr & 7 ? 0 : ca_word_at(rt->image, addr, ob_type);
	ca_addr top = meta & 7 ? 0 : ca_word_at(rt->image, meta, ob_type);

	/* A metaclass of Python's is one step further from `type`. */
	return top && (top == meta || ca_word_at(rt->image, top, ob_type) == top);
}

ca_addr ca_plausible_type(const struct ca_runtime *rt, ca_addr object)
{
	ca_addr type = object & 7 ? 0 : ca_word_at(rt->image, object, rt->layout.object.ob_type);

	return type && ca_is_type(rt, type) ? type : 0;
}

static bool is_interp(const struct ca_runtime *rt, ca_addr addr)
{
	const struct ca_layout *layout = &rt->layout;
	uint32_t hex;

	if (!addr || addr & 7)
		return false;
	if (ca_has(layout->interp.runtime))
		return ca_word_at(rt->image, addr, layout->interp.runtime) == rt->address;
	return ca_read_hexversion(rt->image, layout, addr, &hex);
}

size_t ca_scored_interps(const struct ca_runtime *rt, ca_addr *out)
{
	ca_addr at = ca_word_at(rt->image, rt->address, rt->layout.runtime.interpreters_head);
	size_t count = 0;

	for (; is_interp(rt, at) && count < CA_SCORED_INTERPS; count++) {
		out[count] = at;
		at = ca_word_at(rt->image, at, rt->layout.interp.next);
		if (!at)
			return count + 1;
	}
	return count == CA_SCORED_INTERPS ? count : 0;
}

static bool is_among(const ca_addr *list, size_t count, ca_addr wanted)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == wanted)
			return true;
	return false;
}

/*
 * The list begins with the newest and ends with the main one, to which the
 * runtime points beside the head: an interpreter that stands there and is not in
 * the list contradicts.
 */
int64_t ca_score_interps(const struct ca_runtime *rt)
{
	ca_addr interps[CA_SCORED_INTERPS];
	size_t count = ca_scored_interps(rt, interps);
	int32_t head = rt->layout.runtime.interpreters_head;
	uint32_t hex;

	if (!count || !ca_read_hexversion(rt->image, &rt->layout, interps[count - 1], &hex) ||
	    hex >> 24 != 3)
		return -1;
	for (int32_t at = head - AROUND; at <= head + AROUND; at += 8) {
		ca_addr other = ca_word_at(rt->image, rt->address, at);

		if (other != rt->address && is_interp(rt, other) && !is_among(interps, count, other) &&
		    count < CA_SCORED_INTERPS)
			return -1;
	}
	return 1;
}

/* The main one has 0, each that was made later a higher number: as low as can be. */
int64_t ca_score_ids(const struct ca_runtime *rt)
{
	enum { MOST = 1 << 30 };
	ca_addr interps[CA_SCORED_INTERPS];
	size_t count = ca_scored_interps(rt, interps);
	uint64_t above = MOST, newest = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t id;

		if (!ca_image_u64(rt->image, interps[i] + (uint64_t)rt->layout.interp.id, &id) ||
		    id >= above || (!id && i + 1 < count))
			return -1;
		above = id;
		newest = i ? newest : id;
	}
	return above == 0 || count == CA_SCORED_INTERPS ? (int64_t)(MOST - newest) : -1;
}

static ca_addr main_dict(const struct ca_runtime *rt, int32_t offset)
{
	ca_addr interps[CA_SCORED_INTERPS];
	size_t count = ca_scored_interps(rt, interps);

	return count ? ca_word_at(rt->image, interps[count - 1], offset) : 0;
}

/* The dict of a module that a dict of modules has; 0: none. */
static ca_addr module_dict(const struct ca_runtime *rt, ca_addr modules, const char *name)
{
	return ca_word_at(rt->image, ca_read_key(rt->image, &rt->layout, modules, name),
			  rt->layout.module.md_dict);
}

/* sys.modules["sys"].__dict__ is itself; a copy of it, as for reloads, is not. */
int64_t ca_score_sysdict(const struct ca_runtime *rt)
{
	ca_addr sys = main_dict(rt, rt->layout.interp.sysdict);
	ca_addr modules = ca_read_key(rt->image, &rt->layout, sys, "modules");

	if (!ca_read_key(rt->image, &rt->layout, sys, "hexversion"))
		return -1;
	return modules && module_dict(rt, modules, "sys") == sys ? 2 : 1;
}

int64_t ca_score_modules(const struct ca_runtime *rt)
{
	ca_addr modules = main_dict(rt, rt->layout.interp.modules);
	ca_addr sys = main_dict(rt, rt->layout.interp.sysdict);

	if (!ca_has(rt->layout.interp.modules) || !modules || !ca_word_at(rt->image, modules, rt->layout.dict.ma_used))
		return 0;
	return module_dict(rt, modules, "sys") == sys ? 1 : -1;
}

int64_t ca_score_builtins(const struct ca_runtime *rt)
{
	ca_addr dict = main_dict(rt, rt->layout.interp.builtins);
	ca_addr modules = main_dict(rt, rt->layout.interp.modules);

	if (!ca_has(rt->layout.interp.builtins) || !dict)
		return 0;
	if (!ca_read_key(rt->image, &rt->layout, dict, "__build_class__"))
		return -1;
	return module_dict(rt, modules, "builtins") == dict ? 2 : 1;
}

int64_t ca_score_importlib(const struct ca_runtime *rt)
{
	ca_addr module = main_dict(rt, rt->layout.interp.importlib);

	if (!ca_has(rt->layout.interp.importlib) || !module)
		return 0;
	return ca_read_key(rt->image, &rt->layout,
			   ca_word_at(rt->image, module, rt->layout.module.md_dict),
			   "BuiltinImporter")
		       ? 1
		       : -1;
}
