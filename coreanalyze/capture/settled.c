/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Is the heap in mid-update? A process may be stopped between any two
 * instructions. What can be told in microseconds: a collection that is under way,
 * the link next to a list's head that was set on one side only, and who holds the
 * interpreter lock: when nobody does, nobody is in mid-update at all.
 */
#include "private.h"

#include <stdlib.h>
#include <sys/user.h>
#include <unistd.h>

enum { GC_FLAGS = 3 }; /* in the low bits of PyGC_Head's words */

static bool read_u64(int mem, ca_addr at, uint64_t *value)
{
	return pread(mem, value, sizeof(*value), (off_t)at) == (ssize_t)sizeof(*value);
}

static bool read_u32(int mem, ca_addr at, uint32_t *value)
{
	return pread(mem, value, sizeof(*value), (off_t)at) == (ssize_t)sizeof(*value);
}

void ca_settled_init(struct ca_settled *settled, const struct ca_view *view)
{
	const struct ca_runtime *rt = view->rt;

	*settled = (struct ca_settled){ 0 };
	if (!rt)
		return;
	settled->collecting = ca_alloc(rt->interp_count * sizeof(ca_addr));
	settled->heads = ca_alloc(rt->interp_count * CA_GENERATIONS * sizeof(ca_addr));
	for (size_t i = 0; i < rt->interp_count; i++) {
		const struct ca_interp *interp = &rt->interps[i];

		settled->collecting[settled->collecting_count++] =
			interp->gc + (uint64_t)rt->layout.gc.collecting;
		for (unsigned g = 0; g < CA_GENERATIONS; g++)
			settled->heads[settled->head_count++] = ca_runtime_generation(rt, interp, g);
	}
	settled->gil_count = ca_gils_find(rt, settled->gils);
	settled->thread_id = rt->layout.thread.thread_id;
}

void ca_settled_fini(struct ca_settled *settled)
{
	free(settled->collecting);
	free(settled->heads);
	*settled = (struct ca_settled){ 0 };
}

static int count_collecting(const struct ca_settled *settled, int mem)
{
	int found = 0;

	for (size_t i = 0; i < settled->collecting_count; i++) {
		uint32_t value;

		if (!read_u32(mem, settled->collecting[i], &value))
			return -1;
		found |= value != 0;
	}
	return found;
}

/* next and prev of a head, and what they say of it. */
static bool is_linked(int mem, ca_addr head, bool *linked)
{
	uint64_t next, prev, back, forth;

	if (!read_u64(mem, head, &next) || !read_u64(mem, head + 8, &prev))
		return false;
	*linked = read_u64(mem, (next & ~(uint64_t)GC_FLAGS) + 8, &back) &&
		  read_u64(mem, prev & ~(uint64_t)GC_FLAGS, &forth) &&
		  (back & ~(uint64_t)GC_FLAGS) == head && (forth & ~(uint64_t)GC_FLAGS) == head;
	return true;
}

static int count_broken(const struct ca_settled *settled, int mem)
{
	int broken = 0;

	for (size_t i = 0; i < settled->head_count; i++) {
		bool linked;

		if (!is_linked(mem, settled->heads[i], &linked))
			return -1;
		broken += !linked;
	}
	return broken;
}

static void look_at_holder(const struct ca_settled *settled, int mem, ca_addr state,
			   const struct ca_lwp *lwps, size_t lwp_count, struct ca_taken *taken)
{
	uint64_t thread;

	if (!read_u64(mem, state + (uint64_t)settled->thread_id, &thread))
		return;
	for (size_t i = 0; i < lwp_count; i++) {
		const struct user_regs_struct *regs = lwps[i].registers;

		if (lwps[i].fs_base != thread || !regs)
			continue;
		taken->gil_lwp = lwps[i].lwp;
		taken->gil_in_call = (int64_t)regs->orig_rax >= 0;
	}
}

static void look_at_gils(const struct ca_settled *settled, int mem, const struct ca_lwp *lwps,
			 size_t lwp_count, struct ca_taken *taken)
{
	for (size_t i = 0; i < settled->gil_count; i++) {
		uint32_t locked;
		uint64_t holder;

		if (!read_u32(mem, settled->gils[i] + CA_GIL_LOCKED, &locked) ||
		    !read_u64(mem, settled->gils[i] + CA_GIL_HOLDER, &holder))
			return;
		if (taken->gil < 1)
			taken->gil = locked == 1;
		if (locked == 1 && !taken->gil_lwp)
			look_at_holder(settled, mem, holder, lwps, lwp_count, taken);
	}
}

bool ca_settled_look(const struct ca_settled *settled, int mem, const struct ca_lwp *lwps,
		     size_t lwp_count, struct ca_taken *taken)
{
	taken->collecting = taken->broken_lists = taken->gil = taken->gil_in_call = -1;
	taken->gil_lwp = 0;
	if (!settled->head_count)
		return true;
	taken->collecting = count_collecting(settled, mem);
	taken->broken_lists = count_broken(settled, mem);
	look_at_gils(settled, mem, lwps, lwp_count, taken);
	return taken->collecting < 1 && taken->broken_lists < 1;
}
