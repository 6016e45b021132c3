/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How an object is looked up in the source: its own name, or how many things are in it. */
#include "kind.h"

enum { SHOWN_NAME = 256 };

static const char *str_at(struct ca_reader *reader, ca_addr address, struct ca_arena *arena)
{
	struct ca_object str;

	if (!ca_object_read(reader, address, &str) || !(str.type->flags & CA_TPFLAGS_UNICODE_SUBCLASS))
		return NULL;
	return ca_str_text(reader, &str, arena, SHOWN_NAME);
}

static const char *str_field(struct ca_reader *reader, const struct ca_object *object,
			     int32_t offset, struct ca_arena *arena)
{
	uint64_t address = ca_has(offset) ? ca_word(object, offset) : 0;

	return address ? str_at(reader, address, arena) : NULL;
}

static const char *module_name(struct ca_reader *reader, const struct ca_object *object,
			       struct ca_arena *arena)
{
	ca_addr dict = ca_word(object, reader->layout->module.md_dict);
	ca_addr current = dict ? ca_dict_get(reader, dict, "__name__") : 0;
	const char *name = current ? str_at(reader, current, arena) : NULL;

	/* A module may have been renamed since it was made. */
	return name ? name : str_field(reader, object, reader->layout->module.md_name, arena);
}

static const char *function_name(struct ca_reader *reader, const struct ca_object *object,
				 struct ca_arena *arena)
{
	const struct ca_layout *layout = reader->layout;
	const char *module = str_field(reader, object, layout->function.func_module, arena);
	const char *name = str_field(reader, object, layout->function.func_qualname, arena);

	if (!name || !module)
		return name;
	return ca_arena_printf(arena, "%s.%s", module, name);
}

const char *ca_object_name(struct ca_reader *reader, const struct ca_object *object,
			   struct ca_arena *arena)
{
	const struct ca_type *type;

	if (object->type->is_meta) {
		type = ca_type_at(reader, object->address);
		return type ? ca_type_name(reader, type, arena) : NULL;
	}
	if (ca_type_is(object->type, "module"))
		return module_name(reader, object, arena);
	if (strcmp(ca_type_name(reader, object->type, arena), "builtins.function") == 0)
		return function_name(reader, object, arena);
	return NULL;
}

bool ca_object_length(struct ca_reader *reader, const struct ca_object *object, uint64_t *length)
{
	const struct ca_layout *layout = reader->layout;
	uint64_t flags = object->type->flags;
	int32_t at = layout->var.ob_size;

	if (flags & CA_TPFLAGS_DICT_SUBCLASS)
		at = layout->dict.ma_used;
	else if (ca_type_is(object->type, "set") || ca_type_is(object->type, "frozenset"))
		at = layout->set.used;
	else if (!(flags & (CA_TPFLAGS_LIST_SUBCLASS | CA_TPFLAGS_TUPLE_SUBCLASS)) &&
		 !ca_type_is(object->type, "collections.deque"))
		return false;
	*length = ca_word(object, at);
	return true;
}
