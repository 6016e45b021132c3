/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Modules have a structure of C besides their dict, as large as their definition
 * says. Its words that are exactly an object's start are references; of those the
 * module's m_traverse visits what could be in a cycle, with few exceptions.
 */
#include "kind.h"

enum { MAX_STATE = 1 << 24, MAX_NAME = 64 };

/* Include/moduleobject.h: struct PyModuleDef, a part of the stable ABI; m_size is before these two. */
enum { M_TRAVERSE_BEHIND_SIZE = 24, STATE_TRAVERSE_BEHIND_SIZE = 8 };

struct state {
	struct ca_reader *reader;
	struct ca_visitor *v;
	ca_addr start;
	uint64_t bytes;
	bool traversed; /* there is a m_traverse */
	char name[MAX_NAME];
};

static bool is_named(const struct state *state, const char *name)
{
	return strcmp(state->name, name) == 0;
}

static uint64_t word_at(const struct state *state, ca_addr at)
{
	uint64_t word = 0;

	ca_image_u64(state->reader->image, at, &word);
	return word;
}

static void visit(struct state *state, ca_addr target, enum ca_held held, const char *field)
{
	if (target)
		state->v->refs(state->v, &(struct ca_refs){.data = (const uint8_t *)&target,
							   .count = 1,
							   .stride = 8,
							   .held = held,
							   .via = CA_VIA_INSIDE,
							   .name = field});
}

/* ---- the words of the structure --------------------------------------------- */

/* Their m_traverse visits what is in no cycle, too: str, int, None. */
static bool visits_leaves(const struct state *state)
{
	static const char *const names[] = {
		"_ctypes", "_functools", "_hmac",    "_posixsubprocess", "_zoneinfo",
		"posix",   "pyexpat",	 "readline", "select",
	};

	for (size_t i = 0; i < CA_COUNT(names); i++)
		if (is_named(state, names[i]))
			return true;
	return false;
}

/* And what it passes by although it might be. */
static bool is_passed_by(const struct state *state, uint64_t at)
{
	static const struct {
		const char *module;
		uint64_t at;
		unsigned gap; /* 0, or what the release must have: enum ca_gap */
	} words[] = {
		{"_random", 8, 0}, /* int.__abs__ */
		{"_curses_panel", 8, CA_GAP_BEFORE_310},
	};

	for (size_t i = 0; i < CA_COUNT(words); i++)
		if (words[i].at == at && is_named(state, words[i].module) &&
		    (!words[i].gap || state->reader->layout->c.traverse_gaps & words[i].gap))
			return true;
	return false;
}

static void visit_words(struct state *state)
{
	bool leaves = visits_leaves(state);
	struct ca_object object;

	for (uint64_t at = 0; at + 8 <= state->bytes; at += 8) {
		ca_addr word = word_at(state, state->start + at);
		bool visited = state->traversed && !is_passed_by(state, at);

		if (!word || !ca_object_read(state->reader, word, &object))
			continue;
		visited &= leaves || object.type->gc;
		visit(state, word, visited ? CA_HELD_GUESS : CA_HELD_HIDDEN, "md_state");
	}
}

/* ---- what hangs on some ------------------------------------------------------- */

/*
 * Modules/_decimal/_decimal.c, 3.13+: struct DecCondMap {name, fqname, flag, ex}, ended by one
 * without a name. The first of the conditions is borrowed from the signals.
 */
static void visit_conditions(struct state *state, ca_addr table, const char *field, unsigned from)
{
	enum { ENTRY_BYTES = 32, ENTRY_EX = 24, MOST = 32 };
	unsigned count = 0;

	while (table && count < MOST && word_at(state, table + count * ENTRY_BYTES))
		count++;
	for (unsigned i = from; i < count; i++)
		visit(state, word_at(state, table + i * ENTRY_BYTES + ENTRY_EX), CA_HELD_GC, field);
	if (table)
		state->v->buffer(state->v, table, (count + 1) * (uint64_t)ENTRY_BYTES, CA_BUFFER_OWNED);
}

static void visit_decimal(struct state *state)
{
	enum { SIGNAL_MAP = 176, COND_MAP = 184, STATE_BYTES = 240 };

	if (state->bytes != STATE_BYTES)
		return;
	visit_conditions(state, word_at(state, state->start + SIGNAL_MAP), "signal_map", 0);
	visit_conditions(state, word_at(state, state->start + COND_MAP), "cond_map", 1);
}

/* Modules/_zoneinfo.c, 3.12+: the zones used last, struct StrongCacheNode {next, prev, key, zone}. */
static void visit_zones(struct state *state)
{
	enum { CACHE = 48, STATE_BYTES = 88, NODE_BYTES = 32, NODE_KEY = 16, NODE_ZONE = 24, MOST = 64 };
	ca_addr node = state->bytes == STATE_BYTES ? word_at(state, state->start + CACHE) : 0;

	for (unsigned i = 0; node && i < MOST; i++, node = word_at(state, node)) {
		state->v->buffer(state->v, node, NODE_BYTES, CA_BUFFER_OWNED);
		visit(state, word_at(state, node + NODE_KEY), CA_HELD_GC, "ZONEINFO_STRONG_CACHE");
		visit(state, word_at(state, node + NODE_ZONE), CA_HELD_GC, "ZONEINFO_STRONG_CACHE");
	}
}

/*
 * Modules/atexitmodule.c, up to 3.9: {callbacks, how many, room}, each {func, args, kwargs}. The
 * interpreter is said to have them, as in later releases (graph/roots.c).
 */
static void visit_atexit(struct state *state)
{
	enum { STATE_BYTES = 16, CALLBACK_WORDS = 3, MOST = 1 << 16 };
	ca_addr callbacks = state->bytes == STATE_BYTES ? word_at(state, state->start) : 0;
	uint64_t counts = word_at(state, state->start + 8), count = (uint32_t)counts;

	if (!callbacks || count > counts >> 32 || counts >> 32 > MOST)
		return;
	state->v->buffer(state->v, callbacks, (counts >> 32) * 8, CA_BUFFER_OWNED);
	for (uint64_t i = 0; i < count; i++) {
		ca_addr callback = word_at(state, callbacks + i * 8);

		if (!callback)
			continue;
		state->v->buffer(state->v, callback, CALLBACK_WORDS * 8, CA_BUFFER_OWNED);
		for (unsigned k = 0; k < CALLBACK_WORDS; k++)
			visit(state, word_at(state, callback + k * 8), CA_HELD_VISITED, "atexit_callbacks");
	}
}

/* Some visit their type, which nobody counts. */
static void visit_type(struct state *state, const struct ca_object *module)
{
	bool old = state->reader->layout->c.traverse_gaps & CA_GAP_BEFORE_39;

	if (is_named(state, "_hmac") || (is_named(state, "_curses_panel") && !old))
		visit(state, module->type->address, CA_HELD_VISITED, "ob_type");
}

/* ---- modules ------------------------------------------------------------------ */

static void read_name(struct state *state, const struct ca_object *module)
{
	uint64_t length;
	const uint8_t *text = ca_ascii_text(state->reader,
					    ca_word(module, state->reader->layout->module.md_name),
					    MAX_NAME - 1, &length);

	if (text)
		memcpy(state->name, text, length);
}

static void read_state(struct state *state, const struct ca_object *module)
{
	const struct ca_layout *layout = state->reader->layout;
	int32_t size = layout->module.md_state_size;
	ca_addr m_size = ca_word(module, layout->module.md_def) + (uint64_t)layout->moduledef.m_size;

	state->start = ca_word(module, layout->module.md_state);
	if (ca_has(size)) {
		state->bytes = ca_word(module, size);
		state->traversed = ca_word(module, size + STATE_TRAVERSE_BEHIND_SIZE);
	} else {
		state->bytes = word_at(state, m_size);
		state->traversed = word_at(state, m_size + M_TRAVERSE_BEHIND_SIZE);
	}
}

void ca_module_traverse(struct ca_reader *reader, const struct ca_object *object,
			struct ca_visitor *v)
{
	struct state state = {.reader = reader, .v = v};

	ca_plain_traverse(reader, object, v);
	read_state(&state, object);
	if (!state.start || state.bytes > MAX_STATE)
		return;
	read_name(&state, object);
	v->buffer(v, state.start, state.bytes, CA_BUFFER_OWNED);
	visit_words(&state);
	if (is_named(&state, "_decimal"))
		visit_decimal(&state);
	else if (is_named(&state, "_zoneinfo"))
		visit_zones(&state);
	else if (is_named(&state, "atexit"))
		visit_atexit(&state);
	visit_type(&state, object);
}
