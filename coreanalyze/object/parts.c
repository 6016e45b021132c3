/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The words of instances that are pointers to objects.
 *
 * A word of a C type that is exactly an object's start is nearly always a
 * PyObject * that the type owns, and visits when the collector asks. So that is
 * what a type of CPython's is taken for, and the table says where it is
 * otherwise: what is borrowed, what tp_traverse passes by. Of a class of Python
 * all words are slots. Of other extensions nothing is known.
 */
#include <stdlib.h>

#include "kind.h"

#define AT(structure, field) offsetof(struct ca_layout, structure.field)
/* The n-th word behind the head, where that was never another. */
#define WORD(n) (sizeof(struct ca_layout) + (n))
#define LAST (SIZE_MAX - 1)
#define ALL SIZE_MAX

/* What a field is, where that is not what it seems, and how Python calls it. */
static const struct row {
	const char *type; /* tp_name */
	size_t field;     /* of struct ca_layout: where its offset is; or WORD(), LAST, or ALL */
	enum ca_held held;
	const char *name; /* of the attribute, or NULL */
	unsigned gap;     /* 0, or what the release must have: enum ca_gap */
} rows[] = {
	{"function", AT(function, func_code), CA_HELD_GC, "__code__", 0},
	{"function", AT(function, func_globals), CA_HELD_GC, "__globals__", 0},
	{"function", AT(function, func_builtins), CA_HELD_GC, "__builtins__", 0},
	{"function", AT(function, func_name), CA_HELD_GC, "__name__", 0},
	{"function", AT(function, func_qualname), CA_HELD_GC, "__qualname__", 0},
	{"function", AT(function, func_defaults), CA_HELD_GC, "__defaults__", 0},
	{"function", AT(function, func_kwdefaults), CA_HELD_GC, "__kwdefaults__", 0},
	{"function", AT(function, func_closure), CA_HELD_GC, "__closure__", 0},
	{"function", AT(function, func_doc), CA_HELD_GC, "__doc__", 0},
	{"function", AT(function, func_module), CA_HELD_GC, "__module__", 0},
	{"function", AT(function, func_annotations), CA_HELD_GC, "__annotations__", 0},
	{"function", AT(function, func_annotate), CA_HELD_GC, "__annotate__", 0},
	{"function", AT(function, func_typeparams), CA_HELD_GC, "__type_params__", 0},
	{"method", AT(method, im_func), CA_HELD_GC, "__func__", 0},
	{"method", AT(method, im_self), CA_HELD_GC, "__self__", 0},
	{"builtin_function_or_method", AT(cfunction, m_self), CA_HELD_GC, "__self__", 0},
	{"builtin_function_or_method", AT(cfunction, m_module), CA_HELD_GC, "__module__", 0},
	{"cell", AT(cell, ob_ref), CA_HELD_GC, "cell_contents", 0},
	{"module", AT(module, md_dict), CA_HELD_GC, "__dict__", 0},
	{"module", AT(module, md_def), CA_HELD_WEAK, NULL, 0},
	{"module", AT(module, md_name), CA_HELD_HIDDEN, "__name__", 0},
	{"descriptor", AT(descr, d_type), CA_HELD_GC, "__objclass__", 0},
	{"descriptor", AT(descr, d_name), CA_HELD_HIDDEN, "__name__", 0},
	{"descriptor", AT(descr, d_qualname), CA_HELD_HIDDEN, "__qualname__", 0},
	{"_contextvars.ContextVar", AT(contextvar, var_cached), CA_HELD_WEAK, NULL, 0},
	{"memoryview", AT(memoryview, mbuf), CA_HELD_GC, "obj", 0},
	{"memoryview", AT(memoryview, view_obj), CA_HELD_WEAK, NULL, 0},
	{"enumerate", AT(enumerate, one), CA_HELD_WEAK, NULL, 0},
	{"_io.StringIO", AT(stringio, writer_buffer), CA_HELD_HIDDEN, NULL, 0},
	{"_io.StringIO", AT(stringio, accu_large), CA_HELD_HIDDEN, NULL, 0},
	{"_io.StringIO", AT(stringio, accu_small), CA_HELD_HIDDEN, NULL, 0},
	{"_io.StringIO", AT(stringio, readnl), CA_HELD_HIDDEN, NULL, CA_GAP_IO},
	{"_io.BytesIO", AT(bytesio, buf), CA_HELD_HIDDEN, NULL, CA_GAP_IO},
	{"_io.BufferedRWPair", WORD(0), CA_HELD_HIDDEN, NULL, CA_GAP_IO},
	{"_io.BufferedRWPair", WORD(1), CA_HELD_HIDDEN, NULL, CA_GAP_IO},
	{"_json.Scanner", WORD(6), CA_HELD_HIDDEN, NULL, CA_GAP_BEFORE_39},
	{"operator.methodcaller", WORD(0), CA_HELD_HIDDEN, NULL, CA_GAP_BEFORE_310},
	{"_pickle.Unpickler", AT(unpickler, buffer_obj), CA_HELD_HIDDEN, NULL, 0},
	{"_thread._local", AT(local, key), CA_HELD_HIDDEN, NULL, 0},
	{"_thread._local", AT(local, wr_callback), CA_HELD_HIDDEN, NULL, 0},
	{"_thread._localdummy", WORD(0), CA_HELD_WEAK, NULL, 0},
	{"symtable entry", LAST, CA_HELD_WEAK, NULL, 0},
	{"_ctypes.CArgObject", WORD(2), CA_HELD_WEAK, NULL, 0},
	{"_ctypes.CArgObject", WORD(3), CA_HELD_WEAK, NULL, 0},
	{"_ctypes.CArgObject", LAST, CA_HELD_WEAK, NULL, 0},
	{"_ctypes.CThunkObject", ALL, CA_HELD_WEAK, NULL, 0},
	{"_ctypes.CThunkObject", WORD(8), CA_HELD_GC, "converters", 0},
	{"_ctypes.CThunkObject", WORD(9), CA_HELD_GC, "callable", 0},
	{"_ctypes.CThunkObject", WORD(10), CA_HELD_GC, "restype", 0},
	{"fieldnameiterator", WORD(1), CA_HELD_WEAK, NULL, 0},
	{"formatteriterator", WORD(1), CA_HELD_WEAK, NULL, 0},
	{"_sre.SRE_Scanner", WORD(5), CA_HELD_HIDDEN, "string", 0},
	{"_ssl._SSLSocket", ALL, CA_HELD_HIDDEN, NULL, 0},
	{"pyexpat.xmlparser", ALL, CA_HELD_HIDDEN, NULL, 0},
	{"zlib.Compress", ALL, CA_HELD_HIDDEN, NULL, 0},
	{"zlib.Decompress", ALL, CA_HELD_HIDDEN, NULL, 0},
	{"zlib._ZlibDecompressor", ALL, CA_HELD_HIDDEN, NULL, 0},
	{"_hmac.HMAC", ALL, CA_HELD_HIDDEN, NULL, 0},
	{"compression.zstd.ZstdDict", ALL, CA_HELD_HIDDEN, NULL, 0},
	{"xml.etree.ElementTree.XMLParser", AT(xmlparser, elementtree_module), CA_HELD_HIDDEN, NULL, 0},
	{"functools.partial", AT(partial, placeholder), CA_HELD_WEAK, NULL, 0},
	{"functools._lru_cache_wrapper", AT(lru, root_prev), CA_HELD_WEAK, NULL, 0},
	{"functools._lru_cache_wrapper", AT(lru, root_next), CA_HELD_WEAK, NULL, 0},
	{"functools._lru_list_elem", AT(lru_link, prev), CA_HELD_WEAK, NULL, 0},
	{"functools._lru_list_elem", AT(lru_link, next), CA_HELD_WEAK, NULL, 0},
	{"itertools.groupby", AT(groupby, currgrouper), CA_HELD_WEAK, NULL, 0},
	{"_ctypes.CField", AT(cfield, name), CA_HELD_HIDDEN, "name", 0},
	{"ctypes.CField", AT(cfield, name), CA_HELD_HIDDEN, "name", 0},
	{"keys", ALL, CA_HELD_WEAK, NULL, 0},
	{"keys", WORD(0), CA_HELD_GC, NULL, 0},
	{"values", ALL, CA_HELD_WEAK, NULL, 0},
	{"values", WORD(0), CA_HELD_GC, NULL, 0},
	{"items", ALL, CA_HELD_WEAK, NULL, 0},
	{"items", WORD(0), CA_HELD_GC, NULL, 0},
	{"zoneinfo.ZoneInfo", WORD(10), CA_HELD_HIDDEN, NULL, 0},
	{"zoneinfo.ZoneInfo", WORD(11), CA_HELD_HIDDEN, NULL, 0},
	{"zoneinfo.ZoneInfo", WORD(12), CA_HELD_HIDDEN, NULL, 0},
	{"zoneinfo.ZoneInfo", WORD(14), CA_HELD_HIDDEN, NULL, 0},
	{"zoneinfo.ZoneInfo", WORD(15), CA_HELD_HIDDEN, NULL, 0},
	{"zoneinfo.ZoneInfo", WORD(16), CA_HELD_HIDDEN, NULL, 0},
	{"_ctypes._CData", AT(cdata, b_value), CA_HELD_WEAK, NULL, 0},
	{"sqlite3.Cache", WORD(2), CA_HELD_WEAK, NULL, 0},
	{"sqlite3.Cache", WORD(3), CA_HELD_WEAK, NULL, 0},
	{"sqlite3.Cache", WORD(4), CA_HELD_WEAK, NULL, 0},
	{"sqlite3.Node", WORD(3), CA_HELD_WEAK, NULL, 0},
	{"sqlite3.Node", WORD(4), CA_HELD_WEAK, NULL, 0},
	{"typing.TypeVar", WORD(0), CA_HELD_HIDDEN, "__name__", CA_GAP_TYPEVAR},
	{"typing.TypeVarTuple", WORD(0), CA_HELD_HIDDEN, "__name__", CA_GAP_TYPEVAR},
	{"typing.ParamSpec", WORD(0), CA_HELD_HIDDEN, "__name__", CA_GAP_TYPEVAR},
	{"typing.TypeAliasType", WORD(0), CA_HELD_HIDDEN, "__name__", CA_GAP_TYPEVAR},
	{"weakref", AT(weakref, wr_object), CA_HELD_WEAK, NULL, 0},
	{"weakref", AT(weakref, wr_callback), CA_HELD_GC, "__callback__", 0},
	{"weakref", AT(weakref, wr_prev), CA_HELD_WEAK, NULL, 0},
	{"weakref", AT(weakref, wr_next), CA_HELD_WEAK, NULL, 0},
	{"BaseException", AT(exception, args), CA_HELD_GC, "args", 0},
	{"BaseException", AT(exception, notes), CA_HELD_GC, "__notes__", 0},
	{"BaseException", AT(exception, traceback), CA_HELD_GC, "__traceback__", 0},
	{"BaseException", AT(exception, context), CA_HELD_GC, "__context__", 0},
	{"BaseException", AT(exception, cause), CA_HELD_GC, "__cause__", 0},
};

/* tp_names of one structure. */
static const struct {
	const char *name, *as;
} aliases[] = {
	{"weakref.ReferenceType", "weakref"},   {"weakref.ProxyType", "weakref"},
	{"weakref.CallableProxyType", "weakref"}, {"weakproxy", "weakref"},
	{"weakcallableproxy", "weakref"},	{"sqlite3Node", "sqlite3.Node"},
	{"CArgObject", "_ctypes.CArgObject"},
	{"builtin_method", "builtin_function_or_method"},
	{"wrapper_descriptor", "descriptor"},   {"getset_descriptor", "descriptor"},
	{"member_descriptor", "descriptor"},    {"method_descriptor", "descriptor"},
	{"classmethod_descriptor", "descriptor"}, {"ContextVar", "_contextvars.ContextVar"},
};

/* What is beyond so many bytes of an instance is no structure that we know. */
enum { MOST_BYTES = 4096, MOST_WORDS = MOST_BYTES / 8 };

struct ca_part_maker {
	const struct ca_layout *layout;
	uint32_t words;
	unsigned base;                   /* the one that is told of, from 1 */
	struct {
		struct ca_part part; /* count 0: no reference */
		unsigned base;       /* who said so: a type knows better than those above it */
	} word[];
};

struct ca_part_maker *ca_parts_begin(const struct ca_layout *layout, uint32_t basicsize)
{
	uint32_t words = (basicsize < MOST_BYTES ? basicsize : MOST_BYTES) / 8;
	struct ca_part_maker *maker = ca_alloc(sizeof(*maker) + words * sizeof(maker->word[0]));

	maker->layout = layout;
	maker->words = words;
	return maker;
}

static void set_word(struct ca_part_maker *maker, int64_t offset, enum ca_held held, enum ca_via via,
		     const char *name)
{
	uint64_t at = (uint64_t)offset / 8;

	if (offset < maker->layout->object.size || offset % 8 || at >= maker->words ||
	    (maker->word[at].base && maker->word[at].base != maker->base))
		return;
	maker->word[at].base = maker->base;
	maker->word[at].part = (struct ca_part){.at = (uint32_t)offset, .count = 1, .held = (uint8_t)held,
						.via = (uint8_t)via, .name = name};
}

static const char *alias_of(const char *name)
{
	for (size_t i = 0; i < CA_COUNT(aliases); i++)
		if (strcmp(aliases[i].name, name) == 0)
			return aliases[i].as;
	return name;
}

static int32_t offset_of(const struct ca_layout *layout, const struct ca_part_base *base,
			 const struct row *row)
{
	int32_t offset;

	if (row->field == LAST)
		return (int32_t)base->to - 8;
	if (row->field >= sizeof(*layout))
		return layout->object.size + (int32_t)(row->field - sizeof(*layout)) * 8;
	memcpy(&offset, (const char *)layout + row->field, sizeof(offset));
	return offset;
}

/* A base of damaged size may claim gigabytes. */
static uint32_t end_of(const struct ca_part_maker *maker, const struct ca_part_base *base)
{
	return base->to < maker->words * 8 ? base->to : maker->words * 8;
}

static void apply_row(struct ca_part_maker *maker, const struct ca_part_base *base,
		      const struct row *row)
{
	enum ca_via via = row->name ? CA_VIA_ATTR : CA_VIA_UNKNOWN;

	if (row->field != ALL) {
		int32_t offset = offset_of(maker->layout, base, row);

		if (ca_has(offset))
			set_word(maker, offset, row->held, via, row->name);
		return;
	}
	for (uint32_t at = base->from; at + 8 <= end_of(maker, base); at += 8)
		set_word(maker, at, row->held, via, row->name);
}

static void apply_rows(struct ca_part_maker *maker, const struct ca_part_base *base)
{
	const char *name = alias_of(base->name);

	for (size_t i = 0; i < CA_COUNT(rows); i++) {
		const struct row *row = &rows[i];
		bool here = !row->gap || maker->layout->c.traverse_gaps & row->gap;

		if (here && strcmp(row->type, name) == 0)
			apply_row(maker, base, row);
	}
}

/* Numbers and buffers of C's come first in some: so many bytes, where what looks like an object is none. */
static uint32_t state_bytes(const char *name)
{
	enum { Z_STREAM_BYTES = 112 };
	static const struct {
		const char *prefix; /* of tp_name */
		uint32_t bytes;
	} states[] = {
		{"decimal.Decimal", UINT32_MAX}, {"_random.Random", UINT32_MAX},
		{"_hashlib.HASH", UINT32_MAX},   {"_hashlib.HMAC", UINT32_MAX},
		{"_md5.", UINT32_MAX},		 {"_sha1.", UINT32_MAX},
		{"_sha2.", UINT32_MAX},		 {"_sha256.", UINT32_MAX},
		{"_sha512.", UINT32_MAX},	 {"_sha3.", UINT32_MAX},
		{"_blake2.", UINT32_MAX},	 {"zlib.Compress", Z_STREAM_BYTES},
		{"zlib.Decompress", Z_STREAM_BYTES}, {"zlib._ZlibDecompressor", Z_STREAM_BYTES},
	};

	for (size_t i = 0; name && i < CA_COUNT(states); i++)
		if (strncmp(states[i].prefix, name, strlen(states[i].prefix)) == 0)
			return states[i].bytes;
	return 0;
}

void ca_parts_add(struct ca_part_maker *maker, const struct ca_part_base *base)
{
	bool known = base->python || !base->name || ca_is_stdlib_type(base->name);
	enum ca_held held = !known ? CA_HELD_GUESS : base->gc ? CA_HELD_GC : CA_HELD_HIDDEN;
	uint32_t state = base->python ? 0 : state_bytes(base->name);
	struct ca_part_base rest = *base;
	uint32_t slot = 0;

	maker->base++;
	if (base->items || base->to < base->from || base->to - base->from < state)
		return;
	rest.from += state;
	for (uint32_t at = (rest.from + 7) & ~7u; at + 8 <= end_of(maker, base); at += 8, slot++) {
		set_word(maker, at, held, CA_VIA_UNKNOWN, NULL);
		if (slot < base->slot_count) {
			maker->word[at / 8].part.via = CA_VIA_NAMED;
			maker->word[at / 8].part.names = base->slots + slot * 8;
		}
	}
	if (base->name && !base->python)
		apply_rows(maker, &rest);
}

static bool continues(const struct ca_part *part, const struct ca_part *word)
{
	return word->at == part->at + part->count * 8 && word->held == part->held &&
	       word->via == part->via && word->name == part->name &&
	       (!word->names ? !part->names : part->names && word->names == part->names + part->count * 8);
}

static void collect(const struct ca_part_maker *maker, uint32_t from, struct ca_type *type)
{
	size_t capacity = 0;

	for (uint32_t i = (from + 7) / 8; i < maker->words; i++) {
		const struct ca_part *word = &maker->word[i].part;

		if (!word->count)
			continue;
		if (type->part_count && continues(&type->parts[type->part_count - 1], word)) {
			type->parts[type->part_count - 1].count++;
			continue;
		}
		type->parts = ca_grow(type->parts, &capacity, type->part_count + 1, sizeof(*type->parts));
		type->parts[type->part_count++] = *word;
	}
}

void ca_parts_end(struct ca_part_maker *maker, uint32_t from, struct ca_type *type,
		  int64_t weaklistoffset)
{
	maker->base = 0;
	for (uint32_t i = 0; i < maker->words; i++)
		maker->word[i].base = 0;
	if (type->dictoffset > 0)
		set_word(maker, type->dictoffset, type->gc ? CA_HELD_GC : CA_HELD_HIDDEN, CA_VIA_ATTR,
			 "__dict__");
	if (weaklistoffset > 0)
		set_word(maker, weaklistoffset, CA_HELD_WEAK, CA_VIA_UNKNOWN, NULL);
	collect(maker, from, type);
	free(maker);
}

/* Types of C that are made at run time and yet not visited by their instances' tp_traverse. */
static const char *const not_visited[] = {
	"_multibytecodec.MultibyteIncrementalEncoder", "_multibytecodec.MultibyteIncrementalDecoder",
	"_multibytecodec.MultibyteStreamReader", "_multibytecodec.MultibyteStreamWriter",
	"MultibyteIncrementalEncoder", "MultibyteIncrementalDecoder", "MultibyteStreamReader",
	"MultibyteStreamWriter", "typing.ParamSpecArgs", "typing.ParamSpecKwargs",
};

bool ca_visits_type(const struct ca_layout *layout, const char *tp_name, bool is_tuple)
{
	for (size_t i = 0; i < CA_COUNT(not_visited); i++)
		if (strcmp(not_visited[i], tp_name) == 0)
			return false;
	return !is_tuple || !(layout->c.traverse_gaps & CA_GAP_BEFORE_39);
}
