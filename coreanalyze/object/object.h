/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * object: from an address to its type, size, references and value.
 *
 *   allocation -> | pre-header | object ... extent | slack |
 *                              ^ address, what id() gives
 *
 * Kinds of object are a table (kinds.c): how a kind is recognised by its type,
 * the shape of its instances, and one traversal that yields references and
 * owned buffers alike. Sizes, reachability and paths all run that traversal.
 * A type that the table does not know is traversed by its words: each that is
 * exactly the start of an object is taken for a reference.
 */
#ifndef CA_OBJECT_H
#define CA_OBJECT_H

#include <string.h>

#include "../runtime/keys.h"
#include "../runtime/runtime.h"

/* tp_flags that are the same in all releases (Include/object.h). */
enum {
	CA_TPFLAGS_HEAPTYPE = 1u << 9,
	CA_TPFLAGS_READY = 1u << 12,
	CA_TPFLAGS_HAVE_GC = 1u << 14,
	CA_TPFLAGS_LONG_SUBCLASS = 1u << 24,
	CA_TPFLAGS_LIST_SUBCLASS = 1u << 25,
	CA_TPFLAGS_TUPLE_SUBCLASS = 1u << 26,
	CA_TPFLAGS_BYTES_SUBCLASS = 1u << 27,
	CA_TPFLAGS_UNICODE_SUBCLASS = 1u << 28,
	CA_TPFLAGS_DICT_SUBCLASS = 1u << 29,
	CA_TPFLAGS_BASE_EXC_SUBCLASS = 1u << 30,
	CA_TPFLAGS_TYPE_SUBCLASS = 1u << 31,
};

/*
 * What an untaught type's own tp_traverse visits of its instances (open/learn.c).
 * Either words at the same offsets in all of them, or a list for each. The
 * reference to the type itself is not among them.
 */
struct ca_learnt {
	uint16_t *offsets;
	uint32_t offset_count;
	struct ca_map lists;  /* an instance's address -> first reference << 32 | their number */
	ca_addr *refs;
	bool constant;        /* offsets tell it, not lists */
	bool visits_type;
};

/* Words that lie side by side in every instance of a type, and what they are. */
struct ca_part {
	uint32_t at, count;   /* first word's offset in bytes; words */
	uint8_t held, via;    /* enum ca_held, enum ca_via */
	const char *name;
	const uint8_t *names; /* pointers to the names, one a word, or NULL */
};

/* A type as its instances need it. Immutable once made, but for what was learnt of it. */
struct ca_type {
	ca_addr address;
	uint64_t flags;
	uint32_t basicsize, itemsize;
	int64_t dictoffset;
	const struct ca_kind *kind;
	ca_addr kind_owner;      /* the type in the base chain that is of the kind itself */
	uint32_t kind_end;       /* that type's basicsize: what a subclass adds starts here */
	uint32_t least;          /* no instance has fewer readable bytes: a compact str is below basicsize */
	bool inline_values;      /* values of attributes lie behind basicsize (3.13+) */
	uint8_t pre;             /* bytes before an instance: collector's head, managed pointers */
	bool gc;                 /* instances have a collector's head */
	bool is_meta;            /* instances are types: static ones have no head (tp_is_gc) */
	bool managed_dict;
	bool opaque;             /* of a module of C: instances may own memory that no kind tells of */
	bool untaught;           /* of a C extension, or derived from one, and of no kind of ours */
	uint32_t real_items;     /* of a struct sequence: fields, named or not */
	bool visited;            /* tp_traverse of its instances visits the type itself */
	struct ca_part *parts;   /* what its instances refer to from words of their own (parts.c) */
	uint32_t part_count;
	struct ca_learnt *learnt; /* of a type of no kind of ours; NULL: nothing */
	uint32_t index;          /* in the registry, in order of discovery */
};

/* Does tp_traverse of its instances visit the type itself? */
static inline bool ca_type_is_visited(const struct ca_type *type)
{
	return type->learnt ? type->learnt->visits_type : type->visited;
}

/* More are no program's: what is beyond is no type to us. */
enum { CA_MAX_TYPES = (1 << 24) - 1 };

/* All types met so far. Thread-safe; validated once each. */
struct ca_types {
	const struct ca_runtime *rt;
	struct ca_type **items;
	size_t count, capacity;
	struct ca_map by_address; /* address -> index */
	struct ca_map metatypes;  /* address -> 1: derives from type */
	ca_addr lookdict;         /* up to 3.10: dk_lookup of tables whose keys are not all str */
	void *lock;
};

void ca_types_init(struct ca_types *types, const struct ca_runtime *rt);
/* The same, where lookdict is known. */
void ca_types_restore(struct ca_types *types, const struct ca_runtime *rt, ca_addr lookdict);
void ca_types_fini(struct ca_types *types);

/* What one worker reads with: a type lookup costs a compare when it was asked before. */
enum { CA_TYPE_CACHE = 1024 };
struct ca_reader {
	const struct ca_runtime *rt;
	const struct ca_layout *layout;
	const struct ca_image *image;
	struct ca_types *types;
	struct {
		ca_addr address;
		const struct ca_type *type;
	} cache[CA_TYPE_CACHE];
};
void ca_reader_init(struct ca_reader *reader, struct ca_types *types);

/* The slow half of ca_type_at(). */
const struct ca_type *ca_type_resolve(struct ca_reader *reader, ca_addr address);

static inline size_t ca_type_slot(ca_addr address)
{
	return (address >> 4 ^ address >> 14) % CA_TYPE_CACHE;
}

/* The type at address if this reader met it lately, else NULL. */
static inline const struct ca_type *ca_type_cached(const struct ca_reader *reader, ca_addr address)
{
	size_t slot = ca_type_slot(address);

	return reader->cache[slot].address == address ? reader->cache[slot].type : NULL;
}

/* The type at address, or NULL when none is there: its metatype derives from `type`, it is ready. */
static inline const struct ca_type *ca_type_at(struct ca_reader *reader, ca_addr address)
{
	size_t slot = ca_type_slot(address);

	if (reader->cache[slot].address == address)
		return reader->cache[slot].type;
	return ca_type_resolve(reader, address);
}

/* How the name of a static type begins that memory alone does not tell. */
#define CA_UNNAMED "<static type at "
/* "module.qualname", escaped, as the contract names types. In the arena. */
const char *ca_type_name(struct ca_reader *reader, const struct ca_type *type,
			 struct ca_arena *arena);
/* True when our size is what sys.getsizeof gives: no __sizeof__ that we do not know. */
bool ca_type_bytes_exact(struct ca_reader *reader, const struct ca_type *type);
/* Its namespace (tp_dict, or the main interpreter's for static builtin types of 3.12+); 0 none. */
ca_addr ca_type_dict(const struct ca_reader *reader, ca_addr type);
/* A str-keyed dict's value; 0 when absent. */
ca_addr ca_dict_get(const struct ca_reader *reader, ca_addr dict, const char *key);

/* ---- finalizers (finalizer.c) ------------------------------------------- */

enum ca_finalizer {
	CA_FINALIZER_NONE,
	CA_FINALIZER_PYTHON, /* __del__ in a class, own or inherited */
	CA_FINALIZER_C,      /* tp_finalize: of files, generators, tasks */
	CA_FINALIZER_LEGACY, /* tp_del: the collector keeps its cycles for ever, in gc.garbage */
};
/* What a type's instances run before they go. */
struct ca_finalizing {
	enum ca_finalizer kind;
	/* Of the class in the order of bases that has the __del__; NULL unless Python's. Escaped. */
	const char *owner, *file;
	uint32_t line;
};
void ca_type_finalizing(struct ca_reader *reader, const struct ca_type *type,
			struct ca_arena *arena, struct ca_finalizing *finalizing);

/* An object whose head is readable. */
struct ca_object {
	ca_addr address;
	const uint8_t *at;          /* its bytes; type->pre bytes before are readable too */
	uint64_t readable;          /* bytes from at on that lie in one run */
	const struct ca_type *type;
	uint8_t pre;                /* bytes before it; 0 for a static type */
};

/* Reads an object's head. False when it is unreadable or has no type. */
bool ca_object_read(struct ca_reader *reader, ca_addr address, struct ca_object *object);

/*
 * A str's characters, escaped, at most `limit` of them (more is marked "...");
 * for other objects undefined. In the arena; never NULL.
 */
#define CA_WHOLE_TEXT UINT64_MAX
const char *ca_str_text(struct ca_reader *reader, const struct ca_object *str,
			struct ca_arena *arena, uint64_t limit);

/* The size of an object's own allocation, from its address on. */
struct ca_shape {
	uint64_t extent;  /* bytes that it occupies */
	uint64_t shallow; /* what __sizeof__ counts of them */
	uint64_t slack;   /* a larger block than extent is plausible by so many bytes */
};
/* False when the bytes contradict the type: no such object. */
bool ca_object_shape(struct ca_reader *reader, const struct ca_object *object,
		     struct ca_shape *shape);

enum ca_buffer {
	CA_BUFFER_COUNTED, /* owned, and __sizeof__ counts it */
	CA_BUFFER_OWNED,   /* owned, and __sizeof__ leaves it out */
	CA_BUFFER_SHARED,  /* known, but of nobody alone (a keys table of many dicts) */
};

/* How an object holds what it refers to. */
enum ca_held {
	CA_HELD_GUESS,    /* words that may be no pointers at all */
	CA_HELD_GC,       /* strong, and tp_traverse visits it: one of gc.get_referents() */
	CA_HELD_HIDDEN,   /* strong, but tp_traverse passes it by */
	CA_HELD_VISITED,  /* tp_traverse visits it, but no count stands for it (borrowed, deferred) */
	CA_HELD_UNSURE,   /* like GUESS, but tp_traverse passes it by: a running frame's stack */
	CA_HELD_WEAK,     /* neither: a weak reference, a pointer that owns nothing */
};

/* How Python would write the way to what is held. */
enum ca_via {
	CA_VIA_UNKNOWN,
	CA_VIA_ATTR,      /* name: ".__closure__" is ATTR "__closure__" */
	CA_VIA_INDEX,     /* [first], [first + 1] ... */
	CA_VIA_VALUE,     /* names: ['key'] */
	CA_VIA_KEY,       /* a key of a dict: "key 'x'" */
	CA_VIA_MEMBER,    /* of a set */
	CA_VIA_NAMED,     /* names: .attribute */
	CA_VIA_LOCAL,     /* names: local 'x' */
	CA_VIA_STACK,     /* a frame's evaluation stack */
	CA_VIA_INSIDE,    /* name: a field of C's, as CPython's source calls it */
	CA_VIA_ELEMENT,   /* element: [first], or .flat[first], and then its steps */
};

/* From an array's element inwards: ['key'], [index], .flat[index]. */
struct ca_step {
	enum { CA_STEP_FIELD, CA_STEP_INDEX, CA_STEP_FLAT } kind;
	ca_addr key;
	uint64_t index;
};

struct ca_element {
	uint32_t dimensions; /* of the array */
	uint32_t step_count;
	const struct ca_step *steps;
};

/*
 * References of one sort: `count` pointers, `stride` bytes apart, at `data` in
 * our memory. NULL pointers among them are to be skipped. Where `names` is
 * set, the i-th is named by the object that the pointer at names + i *
 * names_stride leads to.
 */
struct ca_refs {
	const uint8_t *data;
	uint64_t count, stride;
	enum ca_held held;
	enum ca_via via;
	const char *name;
	uint64_t first;
	const uint8_t *names;
	uint64_t names_stride;
	const struct ca_element *element;
};

/* What a traversal tells. buffer: an allocation of the object's own. */
struct ca_visitor {
	void (*refs)(struct ca_visitor *v, const struct ca_refs *refs);
	void (*buffer)(struct ca_visitor *v, ca_addr start, uint64_t bytes, enum ca_buffer how);
};
/* Pointers that lie side by side. */
static inline void ca_visit_pointers(struct ca_visitor *v, const uint8_t *data, uint64_t count,
				     enum ca_held held)
{
	v->refs(v, &(struct ca_refs){.data = data, .count = count, .stride = 8, .held = held});
}
/* Everything but the reference to its type, which every object has. */
void ca_object_traverse(struct ca_reader *reader, const struct ca_object *object,
			struct ca_visitor *visitor);

/* True when the type or a base of it is of the kind that kinds.c calls so: "module". */
bool ca_type_is(const struct ca_type *type, const char *kind);

/*
 * The line of the instruction `offset` bytes into the code, its first line where
 * no table tells (and for an offset below 0); 0 when there is no code object.
 */
int ca_code_line(struct ca_reader *reader, ca_addr code, uint64_t offset);
/* "f() at app.py:12", "<module> at app.py:12": escaped, in the arena; NULL: no code object. */
const char *ca_code_place(struct ca_reader *reader, ca_addr code, int line,
			  struct ca_arena *arena);

/*
 * The reference to the object's own type: GC or HIDDEN where the type is made
 * at run time; WEAK where it is static, which nobody counts.
 */
enum ca_held ca_object_type_held(struct ca_reader *reader, const struct ca_object *object);

/* ---- frames (frame.c) ---------------------------------------------------- */

/*
 * A frame of either sort: from 3.11 on the interpreter's own, which is no
 * object; before, a PyFrameObject. Threads lead to the innermost one.
 */
struct ca_frame {
	ca_addr address;
	ca_addr previous; /* the one that called it; 0 none */
	ca_addr code;     /* 0: no Python function's (the interpreter's own in between) */
	int line;         /* where it is; 0 unknown */
	/*
	 * Whose its references are. 3.11+: the running thread's alone, so that who
	 * walks the thread's frames calls ca_iframe_traverse(); else an object's
	 * (a generator's, a frame object's), which is traversed as one. Up to 3.10:
	 * the C stack has a reference to the frame object itself.
	 */
	bool of_thread;
};
/* False when it is unreadable. */
bool ca_frame_read(struct ca_reader *reader, ca_addr address, struct ca_frame *frame);
/* 3.11+: what an interpreter's frame refers to, where it is of_thread; else nothing. */
void ca_iframe_traverse(struct ca_reader *reader, ca_addr frame, struct ca_visitor *visitor);

/* Reference count as the object records it (what sys.getrefcount gives, but for its own). */
uint64_t ca_object_refcount(const struct ca_layout *layout, const uint8_t *at);
/* The release has immortal objects, and this is one: its count says nothing. */
bool ca_object_is_immortal(const struct ca_layout *layout, const uint8_t *at);
/* True when the first words are no live object's: count zero, or a free list's link (3.14+). */
bool ca_object_is_corpse(const struct ca_layout *layout, const uint8_t *at);
/* The collector has it in a list: untracked objects have no next. */
static inline bool ca_object_tracked(const struct ca_object *object)
{
	uint64_t next;

	if (!object->type->gc || !object->pre)
		return false;
	memcpy(&next, object->at - 16, sizeof(next));
	return next != 0;
}

/*
 * The finalizer of what the collector tracks, at these bytes, has run once already
 * (pycore_gc.h: _PyGC_PREV_MASK_FINALIZED, which an object keeps in a collection too).
 * The word before is read.
 */
static inline bool ca_object_finalized(const uint8_t *at)
{
	return ca_load_u64(at - 8) & 1;
}
/* What a weak reference points at (0: gone), and its callback (0: none). */
bool ca_weakref_read(struct ca_reader *reader, ca_addr weakref, ca_addr *object, ca_addr *callback);

/*
 * The collector's links are those of an object: in a list, the next one points
 * back; in none, both are clear. A block's stale contents are told by this.
 * During a collection, when the way back is in other use, the next one is looked at.
 */
bool ca_object_links_hold(struct ca_reader *reader, const struct ca_object *object);

/*
 * The name by which a module, a class or a function is looked up in the source
 * ("app.Session.close"), escaped; NULL for what has none of its own. In the arena.
 */
const char *ca_object_name(struct ca_reader *reader, const struct ca_object *object,
			   struct ca_arena *arena);
/*
 * What Python calls the word at an offset of a type's instances, where the type or a base
 * declares it as a member ("tb_frame" of a traceback); else NULL. In the arena.
 */
const char *ca_member_name(struct ca_reader *reader, const struct ca_type *type, uint64_t offset,
			   struct ca_arena *arena);
/* len() of a dict, list, tuple, set or deque; false for other objects. */
bool ca_object_length(struct ca_reader *reader, const struct ca_object *object, uint64_t *length);

/* Its value is a name: it is a type, a module, a function or a code object. */
bool ca_object_is_named(struct ca_reader *reader, const struct ca_object *object);
/* A short, safe, escaped value ("'abc'", "42", "<function f>"), or NULL. In the arena. */
const char *ca_object_value(struct ca_reader *reader, const struct ca_object *object,
			    struct ca_arena *arena);

#endif
