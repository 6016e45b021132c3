/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of signal handlers, struct { int tripped; PyObject *func; } of each
 * signal (Modules/signalmodule.c: Handlers; from 3.12 _PyRuntime's), has no
 * symbol, and tells itself: no function of signal 0, one of each other, and
 * nearly all of them are the same, SIG_DFL.
 */
#include <signal.h>

#include "private.h"

enum { SIGNALS = 65, ENTRY_BYTES = 16, FUNC = 8, LEAST_DEFAULT = 32 };

static ca_addr function_of(const struct ca_image *image, ca_addr table, int signal)
{
	uint64_t function;

	if (!ca_image_u64(image, table + (uint64_t)signal * ENTRY_BYTES + FUNC, &function))
		return 0;
	return function;
}

static bool is_table(const struct ca_objects *objects, ca_addr table)
{
	ca_addr last = function_of(objects->image, table, SIGNALS - 1);
	int defaults = 0;

	for (int signal = 1; signal < SIGNALS; signal++) {
		ca_addr function = function_of(objects->image, table, signal);
		uint32_t tripped;

		if (!ca_objects_find(objects, function) ||
		    !ca_image_u32(objects->image, table + (uint64_t)signal * ENTRY_BYTES, &tripped) ||
		    tripped > 1)
			return false;
		defaults += function == last;
	}
	return defaults >= LEAST_DEFAULT;
}

const char *ca_signal_root(struct ca_builder *builder, ca_addr at)
{
	const struct ca_objects *objects = builder->objects;
	struct ca_arena *arena = &builder->ctx->arena;
	ca_addr table = at - FUNC;
	const char *name;
	int signal = 0;

	while (signal < SIGNALS && ca_objects_find(objects, function_of(objects->image, table, 0))) {
		table -= ENTRY_BYTES;
		signal++;
	}
	if (!signal || signal == SIGNALS || function_of(objects->image, table, 0) ||
	    !is_table(objects, table))
		return NULL;
	name = sigabbrev_np(signal);
	return name ? ca_arena_printf(arena, "signal handler SIG%s", name)
		    : ca_arena_printf(arena, "signal handler %d", signal);
}
