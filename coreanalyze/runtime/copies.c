/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A process may have more than one runtime: a library of Python's that was mapped
 * beside the interpreter and never started, or several that live (dlmopen(), a
 * host program with two versions). One is read.
 */
#include <stdlib.h>
#include <string.h>

#include "settle.h"

enum { LEAST_DATA = 128 << 10 }; /* bytes; 3.8 to 3.15 have 250 KiB to 2 MiB */

ca_addr ca_runtime_symbol(const struct ca_module *module)
{
	/* Symbols of others need not be read. */
	if (module->data_end - module->data_start < LEAST_DATA)
		return 0;
	return ca_module_symbol(module, "_PyRuntime");
}

bool ca_runtime_reads(const struct ca_runtime *rt, const struct ca_module *module)
{
	for (size_t i = 0; i < rt->copy_count; i++)
		if (rt->copies[i] == module)
			return false;
	return true;
}

/* ---- how much another one has ---------------------------------------------- */

static uint64_t count_list(const struct ca_image *image, ca_addr head)
{
	struct ca_loop loop = {0};
	uint64_t count = 0, next;
	ca_addr at = head;

	while (ca_image_u64(image, at, &next) && (next & ~3ull) && (next & ~3ull) != head) {
		at = next & ~3ull;
		if (ca_loop_closed(&loop, at))
			break;
		count++;
	}
	return count;
}

uint64_t ca_count_tracked(const struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr interps[CA_SCORED_INTERPS];
	size_t interp_count = ca_scored_interps(rt, interps);
	uint64_t count = 0;

	for (size_t i = 0; i < interp_count; i++) {
		struct ca_interp interp = {.gc = interps[i] + (uint64_t)layout->interp.gc};

		if (!ca_has(layout->interp.gc)) {
			/* 3.8 has one collector for all. */
			interp.gc = rt->address + (uint64_t)layout->runtime.gc;
			interp_count = 1;
		}
		for (unsigned g = 0; g < CA_GENERATIONS; g++)
			count += count_list(rt->image, ca_runtime_generation(rt, &interp, g));
	}
	return count;
}

/* ---- who is not read --------------------------------------------------------- */

static bool is_named_so(const struct ca_module *module)
{
	const char *slash = strrchr(module->path, '/');

	return module->state != CA_MODULE_USED &&
	       strncmp(slash ? slash + 1 : module->path, "libpython3.", 11) == 0;
}

void ca_warn_other(const struct ca_runtime *rt, const char *what)
{
	ca_warn(rt->ctx, "other-runtime", 0, "its objects are in no figure",
		"another Python lives in this process: %s", what);
}

static void warn_of(const struct ca_runtime *rt, const struct ca_runtime *other)
{
	char path[256];

	ca_escape(path, sizeof(path), other->module->path, strlen(other->module->path));
	ca_warn(rt->ctx, "other-runtime", other->address, "they are in no figure",
		"another Python lives in this process: CPython %s of %s, whose collector tracks %llu objects",
		other->version, path, (unsigned long long)ca_count_tracked(other));
}

void ca_find_copies(struct ca_runtime *rt, const struct ca_runtime *living, size_t count)
{
	const struct ca_image *image = rt->image;

	rt->copies = ca_alloc((image->module_count + 1) * sizeof(*rt->copies));
	for (size_t i = 0; i < image->module_count; i++) {
		const struct ca_module *module = &image->modules[i];

		if (module != rt->module && (ca_runtime_symbol(module) || is_named_so(module)))
			rt->copies[rt->copy_count++] = module;
	}
	for (size_t i = 0; i < count; i++)
		if (living[i].address != rt->address)
			warn_of(rt, &living[i]);
}
