/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The interpreter lock. Include/internal/pycore_gil.h, 3.8 to 3.15 alike:
 *
 *   unsigned long interval;         microseconds, sys.setswitchinterval()
 *   PyThreadState *last_holder;
 *   int locked;
 *   unsigned long switch_number;
 *   pthread_cond_t, pthread_mutex_t, ...
 *
 * It is in the runtime or in an interpreter, where nothing else looks so.
 */
#include "runtime.h"

enum {
	BEFORE = 8, /* bytes of it before last_holder, and of what is looked at in all */
	SHAPE_BYTES = 120,
	SWITCHES = 16, /* from last_holder on */
	MUTEX = 24 + 48,
	MUTEX_KIND = MUTEX + 16,
};
#define INTERVAL_MAX UINT64_C(10000000000)
#define SWITCHES_MAX (UINT64_C(1) << 40) /* no pointer is so small */

static bool is_thread(const struct ca_runtime *rt, ca_addr address)
{
	for (size_t i = 0; i < rt->thread_count; i++)
		if (rt->threads[i].address == address)
			return true;
	return false;
}

/* The links of the lists of threads stand between numbers as well. */
static bool is_link(const struct ca_runtime *rt, ca_addr at)
{
	for (size_t i = 0; i < rt->thread_count; i++)
		if (at - rt->threads[i].address < (uint64_t)rt->layout.thread.size)
			return true;
	for (size_t i = 0; i < rt->interp_count; i++)
		if (at == rt->interps[i].address + (uint64_t)rt->layout.interp.threads_head)
			return true;
	return false;
}

static bool is_gil(const struct ca_runtime *rt, ca_addr at)
{
	uint8_t bytes[SHAPE_BYTES];
	const uint8_t *holder = bytes + BEFORE;

	if (is_link(rt, at) || !ca_image_read(rt->image, at - BEFORE, bytes, sizeof(bytes)))
		return false;
	return ca_load_u64(bytes) && ca_load_u64(bytes) <= INTERVAL_MAX &&
	       ca_load_u64(holder + CA_GIL_LOCKED) <= 1 &&
	       ca_load_u64(holder + SWITCHES) < SWITCHES_MAX &&
	       ca_load_u32(holder + MUTEX) <= 2 && !ca_load_u32(holder + MUTEX_KIND);
}

/* A main interpreter that lies in the runtime is met twice. */
static void add(ca_addr gil, ca_addr *gils, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		if (gils[i] == gil)
			return;
	if (*count < CA_GILS_MAX)
		gils[(*count)++] = gil;
}

static void search(const struct ca_runtime *rt, ca_addr start, int32_t bytes, ca_addr *gils,
		   size_t *count)
{
	ca_addr end = start + (uint64_t)(ca_has(bytes) ? bytes : 0), word;

	for (ca_addr at = start + BEFORE; at < end; at += 8)
		if (ca_image_u64(rt->image, at, &word) && is_thread(rt, word) && is_gil(rt, at))
			add(at, gils, count);
}

size_t ca_gils_find(const struct ca_runtime *rt, ca_addr gils[CA_GILS_MAX])
{
	size_t count = 0;

	search(rt, rt->address, rt->layout.runtime.size, gils, &count);
	for (size_t i = 0; i < rt->interp_count; i++)
		search(rt, rt->interps[i].address, rt->layout.interp.size, gils, &count);
	return count;
}
