/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pthread.h>
#include <stdlib.h>

#include "kind.h"

enum { MAX_BASES = 256, MAX_BASICSIZE = 1 << 24, MAX_ITEMSIZE = 1 << 20, MAX_TP_NAME = 256 };

void ca_types_init(struct ca_types *types, const struct ca_runtime *rt)
{
	ca_types_restore(types, rt, ca_find_lookdict(rt));
}

void ca_types_restore(struct ca_types *types, const struct ca_runtime *rt, ca_addr lookdict)
{
	bool fresh;

	*types = (struct ca_types){.rt = rt, .lookdict = lookdict};
	types->lock = ca_alloc(sizeof(pthread_mutex_t));
	pthread_mutex_init(types->lock, NULL);
	ca_map_add(&types->metatypes, rt->type_type, &fresh);
}

static void free_learnt(struct ca_learnt *learnt)
{
	if (!learnt)
		return;
	free(learnt->offsets);
	free(learnt->refs);
	ca_map_fini(&learnt->lists);
	free(learnt);
}

void ca_types_fini(struct ca_types *types)
{
	for (size_t i = 0; i < types->count; i++) {
		free_learnt(types->items[i]->learnt);
		free(types->items[i]->parts);
		free(types->items[i]);
	}
	free(types->items);
	ca_map_fini(&types->by_address);
	ca_map_fini(&types->metatypes);
	pthread_mutex_destroy(types->lock);
	free(types->lock);
}

void ca_reader_init(struct ca_reader *reader, struct ca_types *types)
{
	memset(reader, 0, sizeof(*reader));
	reader->rt = types->rt;
	reader->layout = &types->rt->layout;
	reader->image = types->rt->image;
	reader->types = types;
}

static const uint8_t *type_bytes(const struct ca_reader *reader, ca_addr type)
{
	return type & 7 ? NULL : ca_image_at(reader->image, type, reader->layout->type.size);
}

/* Does it derive from `type`? Called with the lock held. */
static bool is_metatype(const struct ca_reader *reader, ca_addr meta)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr at = meta;
	bool fresh;

	for (int depth = 0; at && depth < MAX_BASES; depth++) {
		if (ca_map_find(&reader->types->metatypes, at)) {
			ca_map_add(&reader->types->metatypes, meta, &fresh);
			return true;
		}

		const uint8_t *bytes = type_bytes(reader, at);

		if (!bytes || !(ca_load_u64(bytes + layout->type.tp_flags) & CA_TPFLAGS_TYPE_SUBCLASS))
			return false;
		at = ca_load_u64(bytes + layout->type.tp_base);
	}
	return false;
}

static bool ascii_equals(const struct ca_reader *reader, ca_addr str, const char *text,
			 uint64_t length)
{
	const struct ca_layout *layout = reader->layout;
	const uint8_t *at = ca_image_at(reader->image, str, layout->ascii.size + length);

	return at && ca_load_u64(at + layout->ascii.length) == length &&
	       memcmp(at + layout->ascii.size, text, length) == 0;
}

/*
 * Up to 3.10 a type that C made from a spec has its tp_name in the binary:
 * "module.name", of which the last part is ht_name.
 */
static bool recover_spec_name(const struct ca_reader *reader, ca_addr type, char text[MAX_TP_NAME])
{
	ca_addr module = ca_dict_get(reader, ca_type_dict(reader, type), "__module__");
	const uint8_t *parts[2];
	uint64_t lengths[2], name;

	if (!module || !ca_image_u64(reader->image, type + (uint64_t)reader->layout->heaptype.ht_name, &name))
		return false;
	parts[0] = ca_ascii_text(reader, module, MAX_TP_NAME / 2, &lengths[0]);
	parts[1] = ca_ascii_text(reader, name, MAX_TP_NAME / 2 - 2, &lengths[1]);
	if (!parts[0] || !parts[1])
		return false;
	memcpy(text, parts[0], lengths[0]);
	text[lengths[0]] = '.';
	memcpy(text + lengths[0] + 1, parts[1], lengths[1]);
	text[lengths[0] + 1 + lengths[1]] = '\0';
	return true;
}

/* A type's tp_name, also when the binary that has it is not at hand. */
static bool read_tp_name(const struct ca_reader *reader, ca_addr type, const uint8_t *bytes,
			 char text[MAX_TP_NAME])
{
	ca_addr at = ca_load_u64(bytes + reader->layout->type.tp_name);
	const char *name;

	if (ca_image_string(reader->image, at, text, MAX_TP_NAME))
		return true;
	if (!ca_image_module(reader->image, at))
		return false;
	if (ca_load_u64(bytes + reader->layout->type.tp_flags) & CA_TPFLAGS_HEAPTYPE)
		return recover_spec_name(reader, type, text);
	name = ca_static_type_name(reader, type, bytes);
	if (!name || strlen(name) >= MAX_TP_NAME)
		return false;
	strcpy(text, name);
	return true;
}

/*
 * Objects/typeobject.c: type_new() takes tp_name from ht_name as it is, so
 * type("collections.deque", (), {}) has the dot in both. Of a spec's name
 * PyType_FromSpec() puts what is behind the last dot in ht_name.
 */
static bool is_python_class(const struct ca_reader *reader, ca_addr type, const char *tp_name)
{
	uint64_t name;

	return !ca_image_u64(reader->image, type + reader->layout->heaptype.ht_name, &name) ||
	       ascii_equals(reader, name, tp_name, strlen(tp_name));
}

/*
 * A type of a module has the module's name before a dot. Of the core's own,
 * these point at what modules have.
 */
static bool is_opaque(const char *tp_name)
{
	static const char *const of_core[] = {"type", "module", "PyCapsule"};

	for (size_t i = 0; i < CA_COUNT(of_core); i++)
		if (strcmp(tp_name, of_core[i]) == 0)
			return true;
	return strchr(tp_name, '.');
}

/* A static type without a module's name, in a file that is no part of CPython's (Cython makes such). */
static bool is_foreign(const struct ca_reader *reader, ca_addr address, bool heap, const char *tp_name)
{
	const struct ca_module *home = heap || strchr(tp_name, '.')
					       ? NULL
					       : ca_image_module(reader->image, address);

	return home && home != reader->rt->module && !strstr(home->path, "/lib-dynload/");
}

/*
 * Walks up the bases for the kind: the first base that begins one by its name,
 * else the topmost one that has a kind's flag.
 */
static void find_kind(const struct ca_reader *reader, struct ca_type *type)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr at = type->address;

	type->kind = &ca_kind_plain;
	type->kind_end = layout->object.size;
	for (int depth = 0; at && depth < MAX_BASES; depth++) {
		const uint8_t *bytes = type_bytes(reader, at);

		if (!bytes)
			return;

		uint64_t flags = ca_load_u64(bytes + layout->type.tp_flags);
		char text[MAX_TP_NAME];
		bool named = read_tp_name(reader, at, bytes, text);
		bool heap = flags & CA_TPFLAGS_HEAPTYPE;

		if (named && heap)
			named = !is_python_class(reader, at, text);

		type->opaque |= named && is_opaque(text);
		type->untaught |= named && (!ca_is_stdlib_type(text) || is_foreign(reader, at, heap, text));

		const struct ca_kind *kind = ca_kind_of(flags, heap, named ? text : NULL);

		uint64_t basicsize = ca_load_u64(bytes + layout->type.tp_basicsize);

		if (kind && (!kind->fits || kind->fits(layout, basicsize))) {
			type->kind = kind;
			type->kind_owner = at;
			type->kind_end = (uint32_t)basicsize;
			type->untaught = false;
			if (kind->name) { /* tells of all memory but a module's state's */
				type->opaque = strcmp(kind->name, "module") == 0;
				return;
			}
		}
		at = ca_load_u64(bytes + layout->type.tp_base);
	}
}

/* Its name and its code are in the same binary, which is not at hand. */
static bool points_home(const struct ca_reader *reader, ca_addr address, const uint8_t *bytes)
{
	const struct ca_module *home = ca_image_module(reader->image, address);

	return ca_image_module(reader->image, ca_load_u64(bytes + reader->layout->type.tp_name)) == home &&
	       ca_image_module(reader->image, ca_load_u64(bytes + reader->layout->type.tp_dealloc)) == home;
}

/*
 * A static type that nobody passed to PyType_Ready lacks the flag, and yet has
 * instances (3.8, 3.9: functools.KeyWrapper). It is told by its place in a module
 * and its readable name.
 */
static bool is_ready(const struct ca_reader *reader, ca_addr address, const uint8_t *bytes)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t flags = ca_load_u64(bytes + layout->type.tp_flags);
	char name[MAX_TP_NAME];

	if (flags & CA_TPFLAGS_READY)
		return true;
	if (flags & CA_TPFLAGS_HEAPTYPE || !ca_image_module(reader->image, address) ||
	    ca_load_u64(bytes + layout->object.ob_type) != reader->rt->type_type)
		return false;
	if (!ca_image_string(reader->image, ca_load_u64(bytes + layout->type.tp_name), name, sizeof(name)))
		return points_home(reader, address, bytes);
	return *name > ' ';
}

static bool is_class(const struct ca_reader *reader, ca_addr type)
{
	const uint8_t *bytes = type_bytes(reader, type);
	char text[MAX_TP_NAME];

	return bytes && ca_image_string(reader->image, ca_load_u64(bytes + reader->layout->type.tp_name), text,
					sizeof(text)) &&
	       is_python_class(reader, type, text);
}

/* The names of a class's __slots__: a tuple's items. They lie in the order of the slots. */
static void find_slots(const struct ca_reader *reader, ca_addr type, struct ca_part_base *base)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t slots, count, run;

	if (!ca_image_u64(reader->image, type + (uint64_t)layout->heaptype.ht_slots, &slots) || !slots ||
	    !ca_image_u64(reader->image, slots + (uint64_t)layout->var.ob_size, &count) ||
	    count > UINT32_MAX)
		return;
	base->slots = ca_image_part(reader->image, slots + (uint64_t)layout->tuple.ob_item, count * 8, &run);
	if (base->slots)
		base->slot_count = (uint32_t)(run / 8);
}

/* Objects/structseq.c: a struct sequence's type tells how many fields there are. */
static uint32_t count_fields(const struct ca_reader *reader, const struct ca_type *type)
{
	enum { MOST_FIELDS = 4096 };
	ca_addr dict, number;
	uint32_t fields;

	if (type->flags & CA_TPFLAGS_HEAPTYPE && is_class(reader, type->address))
		return 0;
	dict = ca_type_dict(reader, type->address);
	number = dict ? ca_dict_get(reader, dict, "n_fields") : 0;
	if (!number || !ca_image_u32(reader->image, number + (uint64_t)reader->layout->pylong.ob_digit, &fields))
		return 0;
	return fields <= MOST_FIELDS ? fields : 0;
}

/*
 * A type that C makes at run time of one that is compiled in may have no tp_traverse but that
 * one's, which knows of no such types (ssl.SSLError has BaseException's).
 */
static bool traverse_is_borrowed(const struct ca_reader *reader, const uint8_t *bytes)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t traverse = ca_load_u64(bytes + layout->type.tp_traverse);

	for (int depth = 0; traverse && depth < MAX_BASES; depth++) {
		bytes = type_bytes(reader, ca_load_u64(bytes + layout->type.tp_base));
		if (!bytes)
			return false;
		if (!(ca_load_u64(bytes + layout->type.tp_flags) & CA_TPFLAGS_HEAPTYPE))
			return ca_load_u64(bytes + layout->type.tp_traverse) == traverse;
	}
	return false;
}

/* What the type's instances have in words of their own, base by base. */
static void find_parts(const struct ca_reader *reader, struct ca_type *type, int64_t weaklistoffset)
{
	const struct ca_layout *layout = reader->layout;
	struct ca_part_maker *maker = ca_parts_begin(layout, type->basicsize);
	ca_addr at = type->address;
	bool told = false, told_gc = false, gc = false, classes_visit = false;

	type->visited = type->gc && type->flags & CA_TPFLAGS_HEAPTYPE;
	for (int depth = 0; at && depth < MAX_BASES; depth++) {
		const uint8_t *bytes = type_bytes(reader, at);
		ca_addr up = bytes ? ca_load_u64(bytes + layout->type.tp_base) : 0;
		const uint8_t *above = up ? type_bytes(reader, up) : NULL;
		struct ca_part_base base = {.from = (uint32_t)layout->object.size};
		char text[MAX_TP_NAME];

		if (!bytes)
			break;
		if (ca_image_string(reader->image, ca_load_u64(bytes + layout->type.tp_name), text,
				    sizeof(text)))
			base.name = text;
		base.to = (uint32_t)ca_load_u64(bytes + layout->type.tp_basicsize);
		if (above)
			base.from = (uint32_t)ca_load_u64(above + layout->type.tp_basicsize);
		base.python = ca_load_u64(bytes + layout->type.tp_flags) & CA_TPFLAGS_HEAPTYPE &&
			      base.name && is_python_class(reader, at, text);
		base.items = above && ca_load_u64(above + layout->type.tp_itemsize) && !type->is_meta;
		/* What Python's classes have leaves it to a base from 3.9 on. */
		classes_visit |= base.python && layout->c.traverse_gaps & CA_GAP_BEFORE_39;
		if (!base.python && !told_gc) {
			gc = type->gc && ca_load_u64(bytes + layout->type.tp_traverse);
			told_gc = true;
		}
		base.gc = base.python || gc;
		if (base.python)
			find_slots(reader, at, &base);
		else if (base.name && !told && ca_load_u64(bytes + layout->type.tp_flags) & CA_TPFLAGS_HEAPTYPE) {
			type->visited &= ca_visits_type(layout, text,
							type->flags & CA_TPFLAGS_TUPLE_SUBCLASS) &&
					 (classes_visit || !traverse_is_borrowed(reader, bytes));
			told = true;
		}
		ca_parts_add(maker, &base);
		at = up;
	}
	ca_parts_end(maker, type->kind->whole ? type->kind_end : (uint32_t)layout->object.size, type,
		     weaklistoffset);
}

static struct ca_type *make_type(const struct ca_reader *reader, ca_addr address,
				 const uint8_t *bytes)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t basicsize = ca_load_u64(bytes + layout->type.tp_basicsize);
	uint64_t itemsize = ca_load_u64(bytes + layout->type.tp_itemsize);
	uint64_t flags = ca_load_u64(bytes + layout->type.tp_flags);

	if (basicsize < (uint64_t)layout->object.size || basicsize > MAX_BASICSIZE ||
	    itemsize > MAX_ITEMSIZE)
		return NULL;

	struct ca_type *type = ca_alloc(sizeof(*type));
	uint64_t managed = layout->c.flag_managed_dict | layout->c.flag_managed_weakref;

	type->address = address;
	type->flags = flags;
	type->basicsize = (uint32_t)basicsize;
	type->itemsize = (uint32_t)itemsize;
	type->least = flags & CA_TPFLAGS_UNICODE_SUBCLASS  ? (uint32_t)layout->ascii.size
		      : flags & CA_TPFLAGS_TYPE_SUBCLASS ? (uint32_t)layout->type.size
							 : (uint32_t)basicsize;
	type->dictoffset = (int64_t)ca_load_u64(bytes + layout->type.tp_dictoffset);
	type->gc = flags & CA_TPFLAGS_HAVE_GC;
	type->is_meta = flags & CA_TPFLAGS_TYPE_SUBCLASS;
	type->managed_dict = type->gc && flags & layout->c.flag_managed_dict;
	type->pre = (type->gc ? 16 : 0) + (flags & managed ? 16 : 0);
	type->inline_values = flags & layout->c.flag_inline_values;
	find_kind(reader, type);
	type->least -= type->kind->truncated;
	if (type->flags & CA_TPFLAGS_TUPLE_SUBCLASS)
		type->real_items = count_fields(reader, type);
	find_parts(reader, type, (int64_t)ca_load_u64(bytes + layout->type.tp_weaklistoffset));
	return type;
}

static const struct ca_type *registered(struct ca_types *types, ca_addr address)
{
	const uint64_t *index = ca_map_find(&types->by_address, address);

	return index ? types->items[*index] : NULL;
}

static const struct ca_type *add_type(struct ca_reader *reader, ca_addr address,
				      const uint8_t *bytes)
{
	struct ca_types *types = reader->types;

	if (!is_metatype(reader, ca_load_u64(bytes + reader->layout->object.ob_type)))
		return NULL;

	struct ca_type *type = make_type(reader, address, bytes);
	bool fresh;

	if (!type)
		return NULL;
	if (types->count == CA_MAX_TYPES) {
		free(type);
		return NULL;
	}
	types->items = ca_grow(types->items, &types->capacity, types->count + 1, sizeof(*types->items));
	type->index = (uint32_t)types->count;
	types->items[types->count] = type;
	*ca_map_add(&types->by_address, address, &fresh) = types->count++;
	return type;
}

const struct ca_type *ca_type_resolve(struct ca_reader *reader, ca_addr address)
{
	const uint8_t *bytes = address ? type_bytes(reader, address) : NULL;
	const struct ca_type *type = NULL;
	size_t slot = ca_type_slot(address);

	if (bytes && is_ready(reader, address, bytes)) {
		pthread_mutex_lock(reader->types->lock);
		type = registered(reader->types, address);
		if (!type)
			type = add_type(reader, address, bytes);
		pthread_mutex_unlock(reader->types->lock);
	}
	if (address) {
		reader->cache[slot].address = address;
		reader->cache[slot].type = type;
	}
	return type;
}

/* ---- namespaces -------------------------------------------------------- */

/* 3.12+: static builtin types keep index + 1 in tp_subclasses, their state in the interpreter. */
ca_addr ca_static_type_state(const struct ca_reader *reader, const struct ca_interp *interp,
			     const uint8_t *bytes, ca_addr type)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t index = ca_load_u64(bytes + layout->type.tp_subclasses), owner;
	int32_t tables[2] = {layout->interp.types_builtins, layout->interp.types_extensions};

	if (!(ca_load_u64(bytes + layout->type.tp_flags) & layout->c.flag_static_builtin) || !index ||
	    index > 4096)
		return 0;
	for (size_t i = 0; i < CA_COUNT(tables); i++) {
		ca_addr state = interp->address + tables[i] + (index - 1) * layout->static_type_state.size;

		if (ca_has(tables[i]) &&
		    ca_image_u64(reader->image, state + layout->static_type_state.type, &owner) &&
		    owner == type)
			return state;
	}
	return 0;
}

ca_addr ca_type_dict(const struct ca_reader *reader, ca_addr type)
{
	const struct ca_layout *layout = reader->layout;
	const uint8_t *bytes = type_bytes(reader, type);

	if (!bytes)
		return 0;

	const struct ca_runtime *rt = reader->rt;
	ca_addr dict = ca_load_u64(bytes + layout->type.tp_dict);
	ca_addr state = dict ? 0
			     : ca_static_type_state(reader, &rt->interps[rt->interp_count - 1], bytes,
						    type);

	if (state)
		ca_image_u64(reader->image, state + layout->static_type_state.tp_dict, &dict);
	return dict;
}

ca_addr ca_dict_get(const struct ca_reader *reader, ca_addr dict, const char *key)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t table, length = strlen(key);
	struct ca_keys keys;

	if (!ca_image_u64(reader->image, dict + layout->dict.ma_keys, &table) ||
	    !ca_keys_parse(reader->image, layout, table, &keys))
		return 0;

	for (uint64_t i = 0; i < keys.nentries; i++) {
		const uint8_t *entry = ca_image_at(reader->image,
						   keys.entries + i * keys.entry_bytes + keys.key_at, 16);

		if (!entry)
			break;
		if (ca_load_u64(entry) && ascii_equals(reader, ca_load_u64(entry), key, length))
			return ca_load_u64(entry + 8);
	}
	return 0;
}

/* ---- names ------------------------------------------------------------- */

static bool is_str(struct ca_reader *reader, ca_addr address, struct ca_object *object)
{
	return address && ca_object_read(reader, address, object) &&
	       object->type->flags & CA_TPFLAGS_UNICODE_SUBCLASS;
}

/* A static type's name: "mod.Name", or "Name" of a builtin. */
static const char *static_name(const struct ca_reader *reader, const struct ca_type *type,
			       struct ca_arena *arena)
{
	const uint8_t *bytes = type_bytes(reader, type->address);
	char text[MAX_TP_NAME];

	if (!bytes || !read_tp_name(reader, type->address, bytes, text)) {
		const struct ca_module *module = ca_image_module(reader->image, type->address);

		if (!module)
			return ca_arena_printf(arena, CA_UNNAMED "0x%llx>",
					       (unsigned long long)type->address);

		const char *slash = strrchr(module->path, '/');

		return ca_arena_printf(arena, CA_UNNAMED "%s+0x%llx>",
				       ca_escape_arena(arena, slash ? slash + 1 : module->path,
						       strlen(slash ? slash + 1 : module->path)),
				       (unsigned long long)(type->address - module->start));
	}

	const char *escaped = ca_escape_arena(arena, text, strlen(text));

	return strrchr(text, '.') ? escaped : ca_arena_printf(arena, "builtins.%s", escaped);
}

const char *ca_type_name(struct ca_reader *reader, const struct ca_type *type,
			 struct ca_arena *arena)
{
	const struct ca_layout *layout = reader->layout;
	struct ca_object str;
	uint64_t qualname = 0;

	if (!(type->flags & CA_TPFLAGS_HEAPTYPE))
		return static_name(reader, type, arena);
	ca_image_u64(reader->image, type->address + layout->heaptype.ht_qualname, &qualname);
	if (!is_str(reader, qualname, &str))
		return ca_arena_printf(arena, "<type at 0x%llx>", (unsigned long long)type->address);

	const char *name = ca_str_text(reader, &str, arena, CA_WHOLE_TEXT);
	ca_addr module = ca_dict_get(reader, ca_type_dict(reader, type->address), "__module__");

	if (!is_str(reader, module, &str))
		return name;
	return ca_arena_printf(arena, "%s.%s", ca_str_text(reader, &str, arena, CA_WHOLE_TEXT), name);
}

/*
 * A static type that nobody has made ready: sys.getsizeof() does that first, and
 * then finds what is now in tp_methods (struct PyMethodDef: 32 bytes, the name
 * first) or object's.
 */
static bool has_objects_sizeof(const struct ca_reader *reader, const uint8_t *bytes)
{
	enum { METHOD_BYTES = 32, MAX_METHODS = 1024 };
	ca_addr method = ca_load_u64(bytes + reader->layout->type.tp_methods);
	char text[MAX_TP_NAME];
	uint64_t name = 0;

	for (int i = 0; method && i < MAX_METHODS; i++, method += METHOD_BYTES) {
		if (!ca_image_u64(reader->image, method, &name) || !name)
			break;
		if (ca_image_string(reader->image, name, text, sizeof(text)) &&
		    strcmp(text, "__sizeof__") == 0)
			return false;
	}
	return !name && !ca_load_u64(bytes + reader->layout->type.tp_base);
}

/*
 * __sizeof__ is looked up along the MRO as sys.getsizeof does. We know
 * object's, and those of the kinds' own types.
 */
bool ca_type_bytes_exact(struct ca_reader *reader, const struct ca_type *type)
{
	const struct ca_layout *layout = reader->layout;
	const uint8_t *bytes = type_bytes(reader, type->address);
	uint64_t mro, count;

	if (!bytes)
		return false;
	if (!(type->flags & CA_TPFLAGS_READY))
		return has_objects_sizeof(reader, bytes);
	mro = ca_load_u64(bytes + layout->type.tp_mro);
	if (!ca_image_u64(reader->image, mro + layout->var.ob_size, &count) || count > 4096)
		return false;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t base;

		if (!ca_image_u64(reader->image, mro + layout->tuple.ob_item + i * 8, &base))
			return false;

		ca_addr dict = ca_type_dict(reader, base);

		if (!dict)
			return false;
		if (base == type->kind_owner)
			return true;
		if (ca_dict_get(reader, dict, "__sizeof__"))
			return i + 1 == count; /* object's own, always the last */
	}
	return false;
}
