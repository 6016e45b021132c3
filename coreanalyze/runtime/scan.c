/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * _PyRuntime without a symbol: no file is at hand, and a core of the kernel's has
 * the first page of each only. It is in the writable data of a module, and tells
 * itself by its cookie, or by an interpreter that points back.
 */
#include "settle.h"

/* The offsets by which a table would know an interpreter from the runtime's word that leads to it. */
struct shape {
	int32_t head, runtime; /* 3.9+ */
	int32_t gc, generation0, generations; /* 3.8: the runtime has the collector's lists */
};

static bool same_shape(const struct shape *a, const struct shape *b)
{
	return a->head == b->head && a->runtime == b->runtime && a->gc == b->gc;
}

enum { MAX_SHAPES = 32 };

/* Of the releases that have no cookie. */
static size_t collect_shapes(const struct ca_runtime *rt, struct shape *shapes)
{
	size_t count = 0;

	for (size_t i = 0; i < rt->table_count && count < MAX_SHAPES; i++) {
		const struct ca_layout *layout = &rt->tables[i].layout;
		struct shape shape = {layout->runtime.interpreters_head, layout->interp.runtime,
				      layout->runtime.gc, layout->gc.generation0, layout->gc.generations};
		bool known = rt->tables[i].minor > 12;

		for (size_t s = 0; s < count; s++)
			known |= same_shape(&shapes[s], &shape);
		if (!known)
			shapes[count++] = shape;
	}
	return count;
}

/* Is the word at `at` the head of the interpreters of a runtime that begins before it? */
static bool is_head(const struct ca_image *image, const struct shape *shape, ca_addr at, ca_addr interp)
{
	ca_addr runtime = at - (uint64_t)shape->head, gc = runtime + (uint64_t)shape->gc;

	if (ca_has(shape->runtime))
		return ca_word_at(image, interp, shape->runtime) == runtime;
	return ca_word_at(image, gc, shape->generation0) == gc + (uint64_t)shape->generations;
}

/* Looks from *at on; *at is behind the word that led to it then. */
static ca_addr scan_words(const struct ca_image *image, const struct shape *shapes, size_t count,
			  const uint8_t *words, uint64_t bytes, ca_addr *at)
{
	static const char cookie[8] = "xdebugpy";

	for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
		ca_addr value = ca_load_u64(words + i), here = *at;

		*at += 8;
		if (value == ca_load_u64(cookie))
			return here;
		if (!value || value & 7)
			continue;
		for (size_t s = 0; s < count; s++)
			if (is_head(image, &shapes[s], here, value))
				return here - (uint64_t)shapes[s].head;
	}
	return 0;
}

ca_addr ca_find_runtime(const struct ca_runtime *rt, const struct ca_module *module, ca_addr *from)
{
	struct shape shapes[MAX_SHAPES];
	size_t count = collect_shapes(rt, shapes);

	if (*from < module->data_start)
		*from = module->data_start & ~7ull;
	while (*from < module->data_end) {
		uint64_t length;
		const uint8_t *words = ca_image_run(rt->image, *from, &length);
		ca_addr found;

		if (!words) {
			*from = (*from + 4096) & ~4095ull;
			continue;
		}
		if (length > module->data_end - *from)
			length = module->data_end - *from;
		found = scan_words(rt->image, shapes, count, words, length, from);
		if (found)
			return found;
		*from += length & 7 || length < 8 ? 8 : 0;
	}
	return 0;
}
