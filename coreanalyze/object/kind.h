/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * object, inside: the table of kinds.
 *
 * To teach a kind: functions in the file of its family, a row in kinds.c. The
 * shape says how large the object itself is; the traversal yields what hangs on
 * it. Both get an object whose first basicsize bytes are readable.
 */
#ifndef CA_OBJECT_KIND_H
#define CA_OBJECT_KIND_H

#include "object.h"

struct ca_kind {
	const char *name;     /* tp_name that marks it, or NULL: told by tp_flags or the default */
	const char *old_name; /* another tp_name in older releases, or NULL */
	uint32_t flag;        /* tp_flags bit that marks it, or 0 */
	bool (*shape)(struct ca_reader *reader, const struct ca_object *object, struct ca_shape *shape);
	void (*traverse)(struct ca_reader *reader, const struct ca_object *object,
			 struct ca_visitor *visitor);
	uint32_t truncated; /* the last bytes of basicsize that an instance may lack */
	/*
	 * NULL: any. Where a structure differs between releases of one minor, or is none
	 * of CPython's: a type of another size is not taken for it.
	 */
	bool (*fits)(const struct ca_layout *layout, uint64_t basicsize);
	bool whole;         /* the traversal tells of all words up to the kind's basicsize */
};

extern const struct ca_kind ca_kind_plain;
/* The kind that a type begins itself (not by inheritance), or NULL. name may be NULL: unreadable. */
const struct ca_kind *ca_kind_of(uint64_t flags, bool is_heap, const char *name);

/* The characters of an ASCII str, 1 to `most`, or NULL. */
const uint8_t *ca_ascii_text(const struct ca_reader *reader, ca_addr str, uint64_t most,
			     uint64_t *length);
/*
 * The tp_name of a static type of CPython's whose binary is not at hand, told by
 * what memory has of it; NULL: not known, or shared by several (statics.c).
 */
const char *ca_static_type_name(const struct ca_reader *reader, ca_addr type, const uint8_t *bytes);

/* A type of a C extension has its module's name before a dot (stdlib_modules.c). */
bool ca_is_stdlib_type(const char *tp_name);

#define CA_KIND_TRAVERSE(kind)                                                                   \
	void ca_##kind##_traverse(struct ca_reader *, const struct ca_object *, struct ca_visitor *)
#define CA_KIND_FUNCTIONS(kind)                                                                   \
	bool ca_##kind##_shape(struct ca_reader *, const struct ca_object *, struct ca_shape *);  \
	CA_KIND_TRAVERSE(kind)

/* plain.c */
CA_KIND_FUNCTIONS(plain);
CA_KIND_FUNCTIONS(datetime);
bool ca_encoding_map_shape(struct ca_reader *, const struct ca_object *, struct ca_shape *);
/* Bytes of an object's inline values, 0 where its type has none (plain.c). */
uint64_t ca_inline_bytes(const struct ca_reader *reader, const struct ca_object *object);
/* module.c */
CA_KIND_TRAVERSE(module);
/* scalar.c */
CA_KIND_FUNCTIONS(long);
CA_KIND_FUNCTIONS(str);
CA_KIND_FUNCTIONS(bytes);
CA_KIND_FUNCTIONS(bytearray);
CA_KIND_FUNCTIONS(leaf);
/* container.c */
CA_KIND_FUNCTIONS(list);
CA_KIND_FUNCTIONS(tuple);
CA_KIND_FUNCTIONS(set);
CA_KIND_FUNCTIONS(deque);
/* dict.c */
CA_KIND_FUNCTIONS(dict);
CA_KIND_FUNCTIONS(odict);
/* Up to 3.10: the function that looks any key up; 0: nobody needed it (dict.c). */
ca_addr ca_find_lookdict(const struct ca_runtime *rt);
/* code.c */
CA_KIND_FUNCTIONS(code);
bool ca_frame_shape(struct ca_reader *, const struct ca_object *, struct ca_shape *);
CA_KIND_FUNCTIONS(gen);
/* parts.c: of a type whose bases are walked from the type itself up */
struct ca_part_maker;
struct ca_part_maker *ca_parts_begin(const struct ca_layout *layout, uint32_t basicsize);
/* What a base adds: words [from, to). name: its tp_name, NULL unreadable. */
struct ca_part_base {
	const char *name;
	uint32_t from, to;
	bool gc;              /* its tp_traverse is its own */
	bool python;          /* made by a class statement */
	bool items;           /* the base above it has items of its own number */
	const uint8_t *slots; /* names of its slots, which are the first words */
	uint32_t slot_count;
};
void ca_parts_add(struct ca_part_maker *maker, const struct ca_part_base *base);
/* Leaves out what lies below `from`. */
void ca_parts_end(struct ca_part_maker *maker, uint32_t from, struct ca_type *type,
		  int64_t weaklistoffset);
/* Does the tp_traverse of a type of C that is made at run time visit the type? */
bool ca_visits_type(const struct ca_layout *layout, const char *tp_name, bool is_tuple);
/* What tp_traverse of some types passes by in some releases (layout.c.traverse_gaps). */
enum ca_gap {
	CA_GAP_IO = 1,           /* buffers of BytesIO and StringIO, both halves of BufferedRWPair */
	CA_GAP_PICKLE_MEMO = 2,  /* the memo of Pickler and Unpickler */
	CA_GAP_BEFORE_39 = 4,    /* _json.Scanner's memo, the type of a struct sequence */
	CA_GAP_BEFORE_310 = 8,   /* the name of operator.methodcaller, the type of _curses_panel */
	CA_GAP_TYPEVAR = 16,     /* the names of type variables */
};
/* frame.c */
CA_KIND_TRAVERSE(frame);
/* An interpreter's frame inside of an object; held: CA_HELD_GC when the object's tp_traverse sees to it. */
void ca_visit_iframe(struct ca_reader *reader, ca_addr frame, enum ca_held held,
		     struct ca_visitor *v);
void ca_visit_iframe_code(struct ca_reader *reader, ca_addr frame, struct ca_visitor *v);
/* typeobject.c */
CA_KIND_FUNCTIONS(type);
void ca_visit_type(struct ca_reader *reader, const struct ca_object *object, struct ca_visitor *v,
		   enum ca_buffer keys);
/* A static type's state in an interpreter (3.12+), or 0. bytes: the type's. */
ca_addr ca_static_type_state(const struct ca_reader *reader, const struct ca_interp *interp,
			     const uint8_t *bytes, ca_addr type);
/* ctypes.c */
CA_KIND_FUNCTIONS(ctype);
CA_KIND_TRAVERSE(stgdict);
CA_KIND_TRAVERSE(cdata);
CA_KIND_FUNCTIONS(pointer_type);
/* stdlib.c */
CA_KIND_TRAVERSE(bytesio);
CA_KIND_TRAVERSE(stringio);
CA_KIND_TRAVERSE(fileio);
CA_KIND_TRAVERSE(buffered);
CA_KIND_TRAVERSE(array);
CA_KIND_TRAVERSE(struct);
CA_KIND_TRAVERSE(decimal);
CA_KIND_TRAVERSE(pickler);
CA_KIND_TRAVERSE(unpickler);
CA_KIND_FUNCTIONS(pdata);
CA_KIND_TRAVERSE(element);
CA_KIND_TRAVERSE(xmlparser);
CA_KIND_TRAVERSE(combinations);
CA_KIND_TRAVERSE(permutations);
CA_KIND_TRAVERSE(product);
CA_KIND_TRAVERSE(simplequeue);
CA_KIND_TRAVERSE(zoneinfo);
CA_KIND_TRAVERSE(st);
CA_KIND_TRAVERSE(tee);
bool ca_pickler_fits(const struct ca_layout *layout, uint64_t basicsize);
bool ca_unpickler_fits(const struct ca_layout *layout, uint64_t basicsize);
/* numpy.c */
CA_KIND_FUNCTIONS(ndarray);
CA_KIND_TRAVERSE(dtype);
bool ca_ndarray_fits(const struct ca_layout *layout, uint64_t basicsize);
/* hamt.c */
CA_KIND_TRAVERSE(hamt);
/* functools.c, sqlite.c */
CA_KIND_TRAVERSE(lru);
CA_KIND_TRAVERSE(capsule);
CA_KIND_TRAVERSE(sqlite);
CA_KIND_TRAVERSE(sqlite_cache);

/* Helpers of the kinds. */

/* The word at offset, 0 where the release has no such field or the object does not reach it. */
static inline uint64_t ca_word(const struct ca_object *object, int32_t offset)
{
	if (offset < 0 || (uint64_t)offset + 8 > object->readable)
		return 0;
	return ca_load_u64(object->at + offset);
}
static inline void ca_visit_word(struct ca_visitor *v, const uint8_t *at)
{
	ca_visit_pointers(v, at, 1, CA_HELD_GC);
}
/* Words of the object's own, known for what they are; none where the release has no such field. */
static inline void ca_visit_own(const struct ca_object *object, int32_t offset, uint64_t count,
				enum ca_held held, const char *name, struct ca_visitor *v)
{
	if (offset >= 0 && (uint64_t)offset + count * 8 <= object->readable)
		v->refs(v, &(struct ca_refs){.data = object->at + offset, .count = count,
					     .stride = 8, .held = held, .name = name,
					     .via = name ? CA_VIA_ATTR : CA_VIA_UNKNOWN});
}
/* A pointer array in the target: its readable part is visited. */
void ca_visit_array(struct ca_reader *reader, struct ca_visitor *v, ca_addr array, uint64_t count,
		    enum ca_held held);
/* Words from offset `from` to `to` of the object, where readable. */
void ca_visit_words(const struct ca_object *object, struct ca_visitor *v, uint64_t from, uint64_t to,
		    enum ca_held held);
static inline uint8_t ca_byte(const struct ca_object *object, int32_t offset)
{
	return offset >= 0 && (uint64_t)offset < object->readable ? object->at[offset] : 0;
}
/* Words of any memory: guesses. */
void ca_visit_guesses(struct ca_reader *reader, struct ca_visitor *v, ca_addr start,
		      uint64_t bytes);
/* A buffer of count * item bytes; none where start is 0 or no address space holds so much. */
#define CA_MOST_BYTES (1ull << 47)
void ca_visit_buffer(struct ca_visitor *v, ca_addr start, uint64_t count, uint64_t item,
		     enum ca_buffer how);
/* A buffer that ends with a NUL. */
void ca_visit_text(struct ca_reader *reader, struct ca_visitor *v, ca_addr start,
		   enum ca_buffer how);
/* ob_size, as it is. */
static inline int64_t ca_ob_size(const struct ca_reader *reader, const struct ca_object *object)
{
	return (int64_t)ca_word(object, reader->layout->var.ob_size);
}
/* |value|, the smallest included. */
static inline uint64_t ca_magnitude(int64_t value)
{
	return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}
/* Bytes of the object from offset on. */
static inline uint64_t ca_room(const struct ca_object *object, int32_t offset)
{
	return (uint64_t)offset < object->readable ? object->readable - (uint64_t)offset : 0;
}
/* basicsize + count * itemsize; false when it overflows what any object has. */
bool ca_var_extent(const struct ca_object *object, uint64_t count, uint64_t *extent);
uint64_t ca_values_prefix(const struct ca_reader *reader, ca_addr values);
/* The keys of a table, and the values that lie beside them. */
void ca_visit_keys(struct ca_reader *reader, struct ca_visitor *v, const struct ca_keys *keys,
		   enum ca_held held);
void ca_visit_entries(struct ca_reader *reader, struct ca_visitor *v, const struct ca_keys *keys);
/* Values that lie apart from the keys of a shared table. */
void ca_visit_split(struct ca_reader *reader, struct ca_visitor *v, const struct ca_keys *keys,
		    ca_addr values, uint64_t count, enum ca_held held, enum ca_via via);

#endif
