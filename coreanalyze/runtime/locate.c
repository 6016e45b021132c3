/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settle.h"

#define SUPPORTED "CPython 3.8 to 3.15, default builds for x86-64"

/* Where a runtime may be: the symbol's address in one module. */
struct candidate {
	const struct ca_module *module;
	ca_addr address;
	bool by_shape; /* and no symbol: the fields that led there have not moved */
};

static struct ca_error *unsupported(const char *version, const char *why)
{
	return ca_error_make(CA_TARGET, "unsupported Python", "supported are " SUPPORTED,
			     "this process runs CPython %s, %s", version, why);
}

static void format_version(char *out, size_t bytes, uint32_t hex)
{
	static const char *const levels[16] = {[0xa] = "a", [0xb] = "b", [0xc] = "rc"};
	unsigned level = hex >> 4 & 15, serial = hex & 15;
	int n = snprintf(out, bytes, "%u.%u.%u", hex >> 24, hex >> 16 & 255, hex >> 8 & 255);

	if (levels[level])
		snprintf(out + n, bytes - n, "%s%u", levels[level], serial);
}

static bool table_covers(const struct ca_layout_table *table, unsigned minor, unsigned micro)
{
	return table->minor == minor && table->first_micro <= micro && micro <= table->last_micro;
}

/* Was the table proven on this very release (and not derived from another's)? */
static bool table_names(const struct ca_layout_table *table, const char *version)
{
	size_t length = strlen(version);

	for (const char *const *r = table->releases; *r; r++) {
		const char *suffix = *r + length;

		if (strncmp(*r, version, length) == 0 &&
		    (*suffix == '\0' || (*suffix == ':' && strcmp(suffix, ":derived") != 0)))
			return true;
	}
	return false;
}

/* How far a table's range is from a release: 0 inside. */
static unsigned distance(const struct ca_layout_table *table, unsigned micro)
{
	if (micro < table->first_micro)
		return table->first_micro - micro;
	return micro > table->last_micro ? micro - table->last_micro : 0;
}

/*
 * Does this table's collector layout hold for the interpreter? generation0
 * points at generations[0]; it tells a vendor's patched build from upstream's.
 */
static bool generations_hold(const struct ca_image *image, const struct ca_layout *layout,
			     ca_addr interp)
{
	ca_addr gc = interp + layout->interp.gc;
	uint64_t first;

	if (!ca_has(layout->gc.generation0) || !ca_has(layout->interp.gc))
		return true;
	return ca_image_u64(image, gc + layout->gc.generation0, &first) &&
	       first == gc + layout->gc.generations;
}

/* The best table for a release: nearest range, then the one that memory bears out. */
static const struct ca_layout_table *choose_table(const struct ca_runtime *rt, unsigned minor,
						  unsigned micro, ca_addr interp)
{
	const struct ca_layout_table *best = NULL;
	unsigned best_score = 0;

	for (size_t i = 0; i < rt->table_count; i++) {
		const struct ca_layout_table *table = &rt->tables[i];

		if (table->minor != minor)
			continue;

		unsigned near = 255 - distance(table, micro);
		unsigned score = near << 1 | generations_hold(rt->image, &table->layout, interp);

		if (!best || score > best_score) {
			best = table;
			best_score = score;
		}
	}
	return best;
}

static void adopt(struct ca_runtime *rt, const struct candidate *where,
		  const struct ca_layout_table *table, uint32_t hexversion)
{
	rt->module = where->module;
	rt->address = where->address;
	rt->table = table;
	rt->layout = table->layout;
	rt->hexversion = hexversion;
	rt->minor = hexversion >> 16 & 255;
	rt->micro = hexversion >> 8 & 255;
	format_version(rt->version, sizeof(rt->version), hexversion);
	rt->proved = table_covers(table, rt->minor, rt->micro) && table_names(table, rt->version);
}

/* 3.13+: the runtime begins with a cookie and its version. */
static struct ca_error *try_cookie(struct ca_runtime *rt, const struct candidate *where, bool *found)
{
	uint32_t hex;
	bool free_threaded;
	char version[24];

	if (!ca_debug_offsets_at(rt->image, where->address, &hex, &free_threaded))
		return NULL;
	format_version(version, sizeof(version), hex);
	if (free_threaded)
		return unsupported(version, "a free-threaded build");

	const struct ca_layout_table *table = NULL;
	uint64_t head_offset, interp = 0;

	if (ca_image_u64(rt->image, where->address + 40, &head_offset) && head_offset < 1 << 24 &&
	    ca_image_u64(rt->image, where->address + head_offset, &interp) && interp)
		table = choose_table(rt, hex >> 16 & 255, hex >> 8 & 255, interp);
	if (!interp)
		return NULL; /* a copy that never ran */
	if (hex >> 24 != 3 || !table)
		return unsupported(version, "which no layout table covers");
	adopt(rt, where, table, hex);
	ca_apply_debug_offsets(rt);
	*found = true;
	return NULL;
}

/* The release that a table's layout leads to; with `search` its fields may have moved. */
static bool try_table(struct ca_runtime *rt, const struct ca_layout_table *table, bool search,
		      ca_addr *interp, uint32_t *hexversion)
{
	ca_addr interps[CA_SCORED_INTERPS];
	size_t count;

	rt->layout = table->layout;
	rt->proved = !search;
	if (search ? !ca_settle_group(rt, &ca_group_interps) : ca_score_interps(rt) <= 0)
		return false;
	count = ca_scored_interps(rt, interps);
	*interp = interps[count - 1];
	return ca_read_hexversion(rt->image, &rt->layout, *interp, hexversion) &&
	       *hexversion >> 24 == 3 && (*hexversion >> 16 & 255) == table->minor;
}

/*
 * Up to 3.12 nothing in .data says the version: a table is right when
 * sys.hexversion, read through it, names the table's own minor version.
 */
static struct ca_error *try_tables(struct ca_runtime *rt, const struct candidate *where, bool *found)
{
	size_t tries = where->by_shape ? rt->table_count : 2 * rt->table_count;

	rt->address = where->address;
	for (size_t i = 0; i < tries; i++) {
		bool search = i >= rt->table_count;
		const struct ca_layout_table *table = &rt->tables[i % rt->table_count];
		ca_addr interp;
		uint32_t hex;
		bool fits = table->minor <= 12 && try_table(rt, table, search, &interp, &hex);

		rt->found_count = 0; /* is settled again once the table is chosen */
		if (!fits)
			continue;
		adopt(rt, where, choose_table(rt, table->minor, hex >> 8 & 255, interp), hex);
		*found = true;
		return NULL;
	}
	return NULL;
}

/* Without a recorded `type`, the type of the type of the sys dict is it. */
static bool find_type_type(struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	uint64_t dict, dict_type, meta;

	for (size_t i = 0; i < rt->interp_count; i++) {
		if (ca_image_u64(rt->image, rt->interps[i].address + layout->interp.sysdict, &dict) &&
		    ca_image_u64(rt->image, dict + layout->object.ob_type, &dict_type) &&
		    ca_image_u64(rt->image, dict_type + layout->object.ob_type, &rt->type_type) &&
		    ca_image_u64(rt->image, rt->type_type + layout->object.ob_type, &meta) &&
		    meta == rt->type_type)
			return true;
	}
	return false;
}

/* Its beginning and its end: what is not made yet, or gone already, contradicts nothing. */
static const struct stage {
	const char *kind, *text, *effect, *remedy;
} starting = {"starting", "the interpreter is still starting", "what is there counts, what it has not made yet does not",
	      "try again when it has started"},
  ending = {"finalizing", "the interpreter is ending", "what is there counts, what it has freed already does not", ""};

static const struct stage *stage_of(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr thread = ca_word_at(rt->image, rt->address, layout->runtime.finalizing);
	ca_addr interp = ca_word_at(rt->image, thread, layout->thread.interp);
	uint32_t initialized;

	if (thread && (rt->proved || ca_word_at(rt->image, interp, layout->interp.runtime) == rt->address))
		return &ending;
	if (!rt->proved ||
	    !ca_image_u32(rt->image, rt->address + (uint64_t)layout->runtime.initialized, &initialized))
		return NULL;
	return initialized ? NULL : &starting;
}

static struct ca_error *not_proved(const struct ca_runtime *rt, const char *what)
{
	const struct stage *stage = stage_of(rt);
	const char *remedy = stage        ? stage->remedy
			     : rt->proved ? "is the core complete, and were the executable's files found "
					    "(--exe, --sysroot)?"
					  : "this release has no layout of its own: a newer coreanalyze may";

	return ca_error_make(CA_TARGET, "the interpreter's state could not be read", remedy,
			     "CPython %s with the layout of table %s: %s%s%s", rt->version, rt->table->name,
			     what, stage ? "; " : "", stage ? stage->text : "");
}

/* A release that no table covers has what its neighbours agree on, or what was found. */
static void warn_inferred(struct ca_runtime *rt)
{
	if (!table_covers(rt->table, rt->minor, rt->micro))
		ca_warn(rt->ctx, "layout-inferred", 0,
			"counts are right; sizes that this release changed, if any, are those of the other; "
			"most roots in the interpreter's state have no name",
			"no layout is known for CPython %s: that of 3.%u.%u to 3.%u.%u is used, and what "
			"could be checked in memory was",
			rt->version, rt->table->minor, rt->table->first_micro, rt->table->minor,
			rt->table->last_micro);
}

static bool is_collecting(const struct ca_runtime *rt)
{
	uint32_t collecting;

	for (size_t i = 0; i < rt->interp_count; i++)
		if (ca_image_u32(rt->image, rt->interps[i].gc + rt->layout.gc.collecting, &collecting) &&
		    collecting)
			return true;
	return false;
}

static void warn_contradicted(const struct ca_runtime *rt, const struct ca_group *group)
{
	const char *kind = group->score == ca_score_collector ? "collector-lists" : "layout-contradicted";
	const char *text = "damaged, or not where this release has it";

	if (group->lost)
		ca_warn_bytes(rt->ctx, kind, rt->address, 0, group->effect, "%s: %s", text, group->what);
	else
		ca_warn(rt->ctx, kind, rt->address, group->effect, "%s: %s", text, group->what);
}

/* Of a release with a table of its own, graph/ looks at what it finds there. */
static void settle_roots(struct ca_runtime *rt)
{
	for (const struct ca_group *group = ca_root_groups; !rt->proved && group->what; group++) {
		if (ca_settle_group(rt, group))
			continue;
		ca_settle_without(rt, group);
		ca_warn(rt->ctx, "layout-not-found", rt->address, group->effect,
			"not found in this release: %s", group->what);
	}
}

static struct ca_error *settle(struct ca_runtime *rt)
{
	const struct stage *stage = stage_of(rt);
	size_t known = rt->found_count;

	if (stage)
		ca_warn(rt->ctx, stage->kind, 0, stage->effect, "%s", stage->text);
	if (!ca_settle_group(rt, &ca_group_interps))
		return not_proved(rt, "no interpreter points back at the runtime");
	for (const struct ca_group *group = ca_groups; group->what; group++) {
		if (group->score == ca_score_collector)
			ca_settle_generation0(rt);
		if (ca_settle_group(rt, group))
			continue;
		if (!rt->proved) {
			char what[128];

			snprintf(what, sizeof(what), "%s was not found", group->what);
			return not_proved(rt, what);
		}
		if (!stage || group->score != ca_score_modules)
			warn_contradicted(rt, group);
	}
	settle_roots(rt);
	warn_inferred(rt);
	rt->covered = rt->proved || (table_covers(rt->table, rt->minor, rt->micro) && rt->found_count == known);
	return NULL;
}

static struct ca_error *prove(struct ca_runtime *rt)
{
	struct ca_error *err = settle(rt);

	if (err)
		return err;
	if (!ca_read_interps(rt))
		return not_proved(rt, "no interpreter points back at the runtime");
	if (!find_type_type(rt))
		return not_proved(rt, "the type of `type` is not itself");
	return NULL;
}

/* The file's name is all that says the release then: "libpython3.7m.so.1.0". */
static struct ca_error *no_interpreter(const struct ca_module *module)
{
	const char *slash = strrchr(module->path, '/');
	char name[256];

	slash = slash ? slash + 1 : module->path;
	ca_escape(name, sizeof(name), slash, strlen(slash));
	return ca_error_make(CA_TARGET, "no running Python interpreter", "supported are " SUPPORTED,
			     "_PyRuntime is there, in %s, but holds no interpreter that a known layout "
			     "fits (not started yet, finalized, or an unknown release)",
			     name);
}

static struct ca_error *no_python(const struct ca_image *image, const struct ca_module *candidate)
{
	if (candidate)
		return no_interpreter(candidate);

	size_t missing = 0;

	for (size_t i = 0; i < image->module_count; i++)
		missing += image->modules[i].state != CA_MODULE_USED;
	if (missing)
		return ca_error_make(CA_TARGET, "no Python runtime found",
				     image->complete
					     ? "name the executable by --exe or its root by --sysroot"
					     : "the core is incomplete: copy it again, or name the executable "
					       "by --exe or its root by --sysroot",
				     "no mapped file defines _PyRuntime, but %zu of %zu files could not be used",
				     missing, image->module_count);
	return ca_error_make(CA_TARGET, "not a Python process", "supported are " SUPPORTED,
			     "none of the %zu mapped ELF files defines _PyRuntime",
			     image->module_count);
}

struct ca_error *ca_runtime_open(struct ca_context *ctx, const struct ca_image *image,
				 struct ca_runtime **out)
{
	return ca_runtime_open_with(ctx, image, ca_layout_tables, ca_layout_table_count, out);
}

/* What was searched: its place in the module. */
static void note_address(struct ca_runtime *rt)
{
	rt->found = ca_grow(rt->found, &rt->found_capacity, rt->found_count + 1, sizeof(*rt->found));
	rt->found[rt->found_count++] = (struct ca_found_field){
		"_PyRuntime", "address", -1, (int32_t)(rt->address - rt->module->start)};
}

/* ---- which of them -------------------------------------------------------- */

/* Runtimes that live: one, but where several copies of the library are mapped. */
struct living {
	struct ca_runtime *items;
	size_t count, capacity;
	struct ca_error *err; /* why one that lives cannot be read */
};

static void try_candidate(const struct ca_runtime *blank, const struct candidate *where,
			  struct living *living)
{
	struct ca_runtime rt = *blank;
	bool found = false;
	struct ca_error *err = try_cookie(&rt, where, &found);

	if (!err && !found)
		err = try_tables(&rt, where, &found);
	free(rt.found); /* is settled again once it is chosen */
	rt.found = NULL;
	rt.found_count = rt.found_capacity = 0;
	if (err && living->err)
		ca_error_free(err);
	else if (err)
		living->err = err;
	if (!found)
		return;
	living->items = ca_grow(living->items, &living->capacity, living->count + 1, sizeof(rt));
	living->items[living->count++] = rt;
}

static const struct ca_module *seek_by_symbol(const struct ca_runtime *blank, struct living *living)
{
	const struct ca_module *named = NULL;

	for (size_t i = 0; i < blank->image->module_count; i++) {
		struct candidate where = {&blank->image->modules[i], 0, false};

		where.address = ca_runtime_symbol(where.module);
		if (!where.address)
			continue;
		named = where.module;
		try_candidate(blank, &where, living);
	}
	return named;
}

/* No file names it, or what is named is not it. */
static void seek_by_shape(const struct ca_runtime *blank, struct living *living)
{
	enum { MOST_PLACES = 4096 };

	for (size_t i = 0; i < blank->image->module_count; i++) {
		struct candidate where = {&blank->image->modules[i], 0, true};
		size_t before = living->count;
		ca_addr from = 0;

		for (int n = 0; n < MOST_PLACES && living->count == before; n++) {
			where.address = ca_find_runtime(blank, where.module, &from);
			if (!where.address)
				break;
			try_candidate(blank, &where, living);
		}
	}
}

/* Into *rt, the one with the most objects; the others are warned of. */
static struct ca_error *choose_runtime(struct ca_runtime *rt, struct living *living)
{
	const struct ca_module *named = seek_by_symbol(rt, living);
	bool by_shape = !living->count && !living->err;
	size_t best = 0;

	if (by_shape)
		seek_by_shape(rt, living);
	if (!living->count)
		return living->err ? living->err : no_python(rt->image, named);
	for (size_t i = 0; living->count > 1 && i < living->count; i++)
		if (ca_count_tracked(&living->items[i]) > ca_count_tracked(&living->items[best]))
			best = i;
	*rt = living->items[best];
	ca_find_copies(rt, living->items, living->count);
	if (living->err)
		ca_warn_other(rt, living->err->why);
	ca_error_free(living->err);
	if (by_shape)
		note_address(rt);
	return NULL;
}

struct ca_error *ca_runtime_open_with(struct ca_context *ctx, const struct ca_image *image,
				      const struct ca_layout_table *tables, size_t table_count,
				      struct ca_runtime **out)
{
	struct ca_runtime *rt = ca_alloc(sizeof(*rt));
	struct living living = {0};
	struct ca_error *err;

	*rt = (struct ca_runtime){.ctx = ctx, .image = image, .tables = tables, .table_count = table_count};
	err = choose_runtime(rt, &living);
	free(living.items);
	if (!err)
		err = prove(rt);
	if (err) {
		ca_runtime_close(rt);
		return err;
	}
	rt->collecting = is_collecting(rt);
	if (rt->collecting)
		ca_warn(ctx, "collecting", 0,
			"what it has freed by half counts as it is, among the objects that it looks at",
			"the core was taken in the middle of a collection");

	ca_addr secret = ca_module_symbol(rt->module, "_Py_HashSecret");

	if (secret)
		ca_image_read(image, secret, rt->hash_secret, sizeof(rt->hash_secret));
	*out = rt;
	return NULL;
}

void ca_runtime_close(struct ca_runtime *rt)
{
	free(rt->interps);
	free(rt->threads);
	free(rt->found);
	free(rt->copies);
	free(rt);
}
