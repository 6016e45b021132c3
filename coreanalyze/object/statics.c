/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Names of static types when the binary that has them is not at hand. A type is
 * told by what is in the process's own memory: its sizes, its flags and the names
 * of its attributes, which together are a fingerprint; where several types share
 * one, by the docstring; where that too is shared, by the name or the place that it
 * has in the interpreter's own modules. Where all of that leaves a choice, the type has no name.
 *
 *   fingerprint = sum of FNV-1a of each key + sizes and flags, each times a constant
 */
#include "kind.h"

#define BASICSIZE_FACTOR 0x9e3779b97f4a7c15u
#define ITEMSIZE_FACTOR 0xc2b2ae3d27d4eb4fu
#define FLAGS_FACTOR 0x165667b19e3779f9u
/* Those that a type has from its definition: collected, may be a base, which built-in it derives from. */
#define FLAGS_KEPT (1u << 14 | 1u << 10 | 0xff000000u)

static const struct known_type {
	uint16_t minors;
	uint32_t doc;
	uint64_t fingerprint;
	const char *name;
} known[] = {
#define STATIC_TYPE(minors, fingerprint, doc, name) {minors, doc, fingerprint, name},
#include "static_types.def"
#undef STATIC_TYPE
};

enum { MAX_KEY = 256, MAX_DOC = 1 << 16, MAX_KEYS = 4096 };

const uint8_t *ca_ascii_text(const struct ca_reader *reader, ca_addr str, uint64_t most,
			     uint64_t *length)
{
	enum { COMPACT = 1 << 5, ASCII = 1 << 6 };
	const struct ca_layout *layout = reader->layout;
	uint32_t state;

	if (!ca_image_u64(reader->image, str + (uint64_t)layout->ascii.length, length) ||
	    !ca_image_u32(reader->image, str + (uint64_t)layout->ascii.state, &state) ||
	    !(state & COMPACT) || !(state & ASCII) || !*length || *length > most)
		return NULL;
	return ca_image_at(reader->image, str + (uint64_t)layout->ascii.size, *length);
}

static uint64_t hash(const uint8_t *text, uint64_t length)
{
	uint64_t value = 0xcbf29ce484222325u;

	for (uint64_t i = 0; i < length; i++)
		value = (value ^ text[i]) * 0x100000001b3u;
	return value;
}

static bool is_text(const uint8_t *text, uint64_t length, const char *wanted)
{
	return length == strlen(wanted) && memcmp(text, wanted, length) == 0;
}

/* One that a program may add to a type of C's. */
static bool is_added(const uint8_t *text, uint64_t length)
{
	return is_text(text, length, "__abstractmethods__") || is_text(text, length, "__slotnames__");
}

/* The table of a dict whose entries are readable. */
static const uint8_t *read_entries(const struct ca_reader *reader, ca_addr dict, struct ca_keys *keys)
{
	uint64_t table;

	if (!dict || !ca_image_u64(reader->image, dict + (uint64_t)reader->layout->dict.ma_keys, &table) ||
	    !ca_keys_parse(reader->image, reader->layout, table, keys) || !keys->nentries ||
	    keys->nentries > MAX_KEYS)
		return NULL;
	return ca_image_at(reader->image, keys->entries, keys->nentries * keys->entry_bytes);
}

static bool take_fingerprint(const struct ca_reader *reader, ca_addr type, const uint8_t *bytes,
			     uint64_t *fingerprint, uint32_t *doc)
{
	const struct ca_layout *layout = reader->layout;
	struct ca_keys keys;
	const uint8_t *entries = read_entries(reader, ca_type_dict(reader, type), &keys);

	if (!entries)
		return false;
	*doc = 0;
	*fingerprint = ca_load_u64(bytes + layout->type.tp_basicsize) * BASICSIZE_FACTOR +
		       ca_load_u64(bytes + layout->type.tp_itemsize) * ITEMSIZE_FACTOR +
		       (ca_load_u64(bytes + layout->type.tp_flags) & FLAGS_KEPT) * FLAGS_FACTOR;
	for (uint64_t i = 0; i < keys.nentries; i++) {
		const uint8_t *entry = entries + i * keys.entry_bytes + keys.key_at, *text;
		uint64_t length;

		if (!ca_load_u64(entry + 8)) /* deleted */
			continue;
		text = ca_ascii_text(reader, ca_load_u64(entry), MAX_KEY, &length);
		if (!text)
			return false;
		if (is_added(text, length))
			continue;
		*fingerprint += hash(text, length);
		if (is_text(text, length, "__doc__")) {
			text = ca_ascii_text(reader, ca_load_u64(entry + 8), MAX_DOC, &length);
			*doc = text ? (uint32_t)hash(text, length) : 0;
		}
	}
	return true;
}

static ca_addr interp_dict(const struct ca_reader *reader, int32_t offset)
{
	const struct ca_runtime *rt = reader->rt;
	uint64_t dict = 0;

	if (rt->interp_count && ca_has(offset))
		ca_image_u64(reader->image, rt->interps[rt->interp_count - 1].address + (uint64_t)offset, &dict);
	return dict;
}

/* The first name that a namespace has for the type, if it is this one. */
static bool is_named_in(const struct ca_reader *reader, ca_addr dict, ca_addr type, const char *name)
{
	struct ca_keys keys;
	const uint8_t *entries = read_entries(reader, dict, &keys);

	for (uint64_t i = 0; entries && i < keys.nentries; i++) {
		const uint8_t *entry = entries + i * keys.entry_bytes + keys.key_at, *text;
		uint64_t length;

		if (ca_load_u64(entry + 8) != type)
			continue;
		text = ca_ascii_text(reader, ca_load_u64(entry), MAX_KEY, &length);
		return text && is_text(text, length, name);
	}
	return false;
}

/* Types that are the types of what built-in types have. */
static const struct {
	const char *name, *owner, *attribute;
} places[] = {
	{"wrapper_descriptor", "object", "__init__"},
	{"method_descriptor", "object", "__reduce__"},
	{"classmethod_descriptor", "dict", "fromkeys"},
};

static bool is_type_of_place(const struct ca_reader *reader, ca_addr type, const char *name)
{
	ca_addr builtins = interp_dict(reader, reader->layout->interp.builtins);

	for (size_t i = 0; i < CA_COUNT(places); i++) {
		uint64_t there;
		ca_addr owner, value;

		if (strcmp(name, places[i].name) != 0)
			continue;
		owner = ca_dict_get(reader, builtins, places[i].owner);
		value = owner ? ca_dict_get(reader, ca_type_dict(reader, owner), places[i].attribute) : 0;
		return value &&
		       ca_image_u64(reader->image, value + (uint64_t)reader->layout->object.ob_type, &there) &&
		       there == type;
	}
	return false;
}

/*
 * Do the interpreter's own modules call it so? Lib/_collections_abc.py has the
 * types of iterators under their names, but for that of an ASCII str.
 */
static bool is_named_by_modules(const struct ca_reader *reader, ca_addr type, const char *name)
{
	ca_addr modules = interp_dict(reader, reader->layout->interp.modules);
	ca_addr abc = modules ? ca_dict_get(reader, modules, "_collections_abc") : 0;
	uint64_t dict = 0;

	if (is_named_in(reader, interp_dict(reader, reader->layout->interp.builtins), type, name))
		return true;
	if (!abc || strcmp(name, "str_iterator") == 0)
		return false;
	ca_image_u64(reader->image, abc + (uint64_t)reader->layout->module.md_dict, &dict);
	return is_named_in(reader, dict, type, name);
}

/* In the interpreter itself or in an extension of its own. */
static bool is_at_home(const struct ca_reader *reader, ca_addr type)
{
	const struct ca_module *module = ca_image_module(reader->image, type);

	return module && (module == reader->rt->module || strstr(module->path, "/lib-dynload/"));
}

struct choice {
	const char *all, *by_doc, *by_place;
	bool several, several_by_doc;
};

static void consider(const struct ca_reader *reader, ca_addr type, const struct known_type *row,
		     uint32_t doc, struct choice *choice)
{
	choice->several |= choice->all && strcmp(choice->all, row->name) != 0;
	choice->all = row->name;
	if (row->doc == doc) {
		choice->several_by_doc |= choice->by_doc && strcmp(choice->by_doc, row->name) != 0;
		choice->by_doc = row->name;
	}
	if (is_named_by_modules(reader, type, row->name) || is_type_of_place(reader, type, row->name))
		choice->by_place = row->name;
}

const char *ca_static_type_name(const struct ca_reader *reader, ca_addr type, const uint8_t *bytes)
{
	struct choice choice = {0};
	uint64_t fingerprint;
	uint32_t doc;

	if (!is_at_home(reader, type) || !take_fingerprint(reader, type, bytes, &fingerprint, &doc))
		return NULL;
	for (size_t i = 0; i < CA_COUNT(known); i++)
		if (known[i].fingerprint == fingerprint && known[i].minors >> reader->rt->minor & 1)
			consider(reader, type, &known[i], doc, &choice);
	if (!choice.several)
		return choice.all;
	return choice.by_doc && !choice.several_by_doc ? choice.by_doc : choice.by_place;
}
