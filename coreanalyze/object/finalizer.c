/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What runs when an object goes: __del__, C's finalizers, callbacks of weak references. */
#include "kind.h"

enum { MAX_MRO = 4096 };

static uint64_t word_at(const struct ca_reader *reader, ca_addr base, int32_t offset)
{
	uint64_t word = 0;

	if (ca_has(offset))
		ca_image_u64(reader->image, base + (uint64_t)offset, &word);
	return word;
}

static const char *text_of(struct ca_reader *reader, ca_addr address, struct ca_arena *arena)
{
	struct ca_object str;

	if (!address || !ca_object_read(reader, address, &str) ||
	    !(str.type->flags & CA_TPFLAGS_UNICODE_SUBCLASS))
		return NULL;
	return ca_str_text(reader, &str, arena, CA_WHOLE_TEXT);
}

/* What a C type's own tp_finalize is called by: no Python code. */
static bool is_wrapper(const char *type)
{
	return strcmp(type, "builtins.wrapper_descriptor") == 0 ||
	       strcmp(type, "builtins.method_descriptor") == 0 || *type == '<';
}

static void read_site(struct ca_reader *reader, ca_addr function, struct ca_arena *arena,
		      struct ca_finalizing *to)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr code = word_at(reader, function, layout->function.func_code);

	to->file = text_of(reader, word_at(reader, code, layout->code.co_filename), arena);
	ca_image_u32(reader->image, code + (uint64_t)layout->code.co_firstlineno, &to->line);
}

/* The first class in the order of bases that has a __del__; 0 none. */
static ca_addr find_del(struct ca_reader *reader, ca_addr type, ca_addr *owner)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr mro = word_at(reader, type, layout->type.tp_mro);
	uint64_t count = mro ? word_at(reader, mro, layout->var.ob_size) : 0;

	for (uint64_t i = 0; i < count && i < MAX_MRO; i++) {
		*owner = word_at(reader, mro + i * 8, layout->tuple.ob_item);

		ca_addr dict = ca_type_dict(reader, *owner);
		ca_addr del = dict ? ca_dict_get(reader, dict, "__del__") : 0;

		if (del)
			return del;
	}
	return 0;
}

void ca_type_finalizing(struct ca_reader *reader, const struct ca_type *type,
			struct ca_arena *arena, struct ca_finalizing *to)
{
	const struct ca_layout *layout = reader->layout;
	ca_addr owner = 0, del;

	*to = (struct ca_finalizing){0};
	if (word_at(reader, type->address, layout->type.tp_del))
		to->kind = CA_FINALIZER_LEGACY;
	else if (word_at(reader, type->address, layout->type.tp_finalize))
		to->kind = CA_FINALIZER_C;
	else
		return;
	del = find_del(reader, type->address, &owner);

	const struct ca_type *of = del ? ca_type_at(reader, owner) : NULL;
	struct ca_object object;

	if (!of || !(of->flags & CA_TPFLAGS_HEAPTYPE) || !ca_object_read(reader, del, &object))
		return;

	const char *name = ca_type_name(reader, object.type, arena);

	if (is_wrapper(name))
		return;
	if (to->kind == CA_FINALIZER_C)
		to->kind = CA_FINALIZER_PYTHON;
	to->owner = ca_type_name(reader, of, arena);
	if (strcmp(name, "builtins.function") == 0)
		read_site(reader, del, arena, to);
}

bool ca_weakref_read(struct ca_reader *reader, ca_addr weakref, ca_addr *object, ca_addr *callback)
{
	const struct ca_layout *layout = reader->layout;

	return ca_image_u64(reader->image, weakref + (uint64_t)layout->weakref.wr_object, object) &&
	       ca_image_u64(reader->image, weakref + (uint64_t)layout->weakref.wr_callback, callback);
}
