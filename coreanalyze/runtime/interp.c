/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "keys.h"
#include "locate.h"

enum { MAX_INTERPS = 1 << 16, MAX_THREADS = 1 << 20 };

/* A pointer at base + offset; 0 when the release has no such field or it is unreadable. */
static ca_addr pointer_at(const struct ca_image *image, ca_addr base, int32_t offset)
{
	uint64_t value = 0;

	if (!ca_has(offset) || !ca_image_u64(image, base + offset, &value))
		return 0;
	return value;
}

static bool is_ascii(const struct ca_image *image, const struct ca_layout *layout, ca_addr str,
		     const char *text)
{
	uint64_t length, wanted = strlen(text);

	if (!ca_image_u64(image, str + layout->ascii.length, &length) || length != wanted)
		return false;

	const char *data = ca_image_at(image, str + layout->ascii.size, wanted);

	return data && memcmp(data, text, wanted) == 0;
}

/* A small non-negative int's value: at most two 30-bit digits (Include/longintrepr.h). */
static bool read_int(const struct ca_image *image, const struct ca_layout *layout, ca_addr object,
		     uint32_t *value)
{
	uint64_t tag;
	uint32_t digit[2] = {0, 0};
	bool tagged = ca_has(layout->pylong.lv_tag);

	if (!ca_image_u64(image, object + (tagged ? layout->pylong.lv_tag : layout->var.ob_size), &tag))
		return false;

	uint64_t digits = tagged ? tag >> 3 : tag;

	if (digits < 1 || digits > 2 ||
	    !ca_image_read(image, object + layout->pylong.ob_digit, digit, digits * 4))
		return false;
	*value = digit[0] | digit[1] << 30;
	return true;
}

ca_addr ca_read_key(const struct ca_image *image, const struct ca_layout *layout, ca_addr dict,
		    const char *name)
{
	ca_addr table = dict ? pointer_at(image, dict, layout->dict.ma_keys) : 0;
	struct ca_keys keys;

	if (!table || !ca_keys_parse(image, layout, table, &keys) || keys.nentries > 1 << 16)
		return 0;
	for (uint64_t i = 0; i < keys.nentries; i++) {
		ca_addr at = keys.entries + i * keys.entry_bytes + keys.key_at;
		uint64_t key, value;

		if (!ca_image_u64(image, at, &key) || !ca_image_u64(image, at + 8, &value))
			return 0;
		if (key && value && is_ascii(image, layout, key, name))
			return value;
	}
	return 0;
}

bool ca_read_hexversion(const struct ca_image *image, const struct ca_layout *layout,
			ca_addr interp, uint32_t *hexversion)
{
	ca_addr value = ca_read_key(image, layout, pointer_at(image, interp, layout->interp.sysdict),
				    "hexversion");

	return value && read_int(image, layout, value, hexversion);
}

static ca_addr innermost_frame(const struct ca_runtime *rt, ca_addr thread)
{
	const struct ca_layout *layout = &rt->layout;

	if (ca_has(layout->thread.current_frame))
		return pointer_at(rt->image, thread, layout->thread.current_frame);
	if (ca_has(layout->thread.frame))
		return pointer_at(rt->image, thread, layout->thread.frame);

	ca_addr cframe = pointer_at(rt->image, thread, layout->thread.cframe);

	return cframe ? pointer_at(rt->image, cframe, layout->cframe.current_frame) : 0;
}

static void read_threads(struct ca_runtime *rt, uint32_t interp, size_t *capacity)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr at = pointer_at(rt->image, rt->interps[interp].address, layout->interp.threads_head);
	struct ca_loop loop = {0};

	for (; at; at = pointer_at(rt->image, at, layout->thread.next)) {
		if (rt->thread_count == MAX_THREADS || ca_loop_closed(&loop, at) ||
		    pointer_at(rt->image, at, layout->thread.interp) != rt->interps[interp].address) {
			ca_warn_bytes(rt->ctx, "thread-list", at, 0, "threads after it are missing, with their frames",
				      "the interpreter's list of threads is damaged: %zu were read, and the kernel "
				      "knows %zu of this process",
				      rt->thread_count, rt->image->lwp_count);
			return;
		}
		rt->threads = ca_grow(rt->threads, capacity, rt->thread_count + 1, sizeof(*rt->threads));
		rt->threads[rt->thread_count++] = (struct ca_thread){
			.address = at,
			.interp = interp,
			.thread_id = pointer_at(rt->image, at, layout->thread.thread_id),
			.native_id = pointer_at(rt->image, at, layout->thread.native_thread_id),
			.frame = innermost_frame(rt, at),
		};
	}
}

/* 3.12 embeds struct _obmalloc_state in the interpreter, 3.13 points at it. */
static ca_addr obmalloc_state(const struct ca_runtime *rt, ca_addr interp)
{
	const struct ca_layout *layout = &rt->layout;

	if (!ca_has(layout->interp.obmalloc))
		return 0;
	return layout->c.obmalloc_is_pointer
		       ? pointer_at(rt->image, interp, layout->interp.obmalloc)
		       : interp + layout->interp.obmalloc;
}

bool ca_read_interps(struct ca_runtime *rt)
{
	const struct ca_layout *layout = &rt->layout;
	size_t capacity = 0, thread_capacity = 0;
	ca_addr at = pointer_at(rt->image, rt->address, layout->runtime.interpreters_head);
	struct ca_loop loop = {0};

	for (; at; at = pointer_at(rt->image, at, layout->interp.next)) {
		bool owned = !ca_has(layout->interp.runtime) ||
			     pointer_at(rt->image, at, layout->interp.runtime) == rt->address;

		if (!owned || rt->interp_count == MAX_INTERPS || ca_loop_closed(&loop, at)) {
			if (rt->interp_count)
				ca_warn_bytes(rt->ctx, "interpreter-list", at, 0,
					      "interpreters after it are missing, with their objects",
					      "the runtime's list of interpreters is damaged: %zu were read",
					      rt->interp_count);
			break;
		}
		rt->interps = ca_grow(rt->interps, &capacity, rt->interp_count + 1, sizeof(*rt->interps));
		rt->interps[rt->interp_count] = (struct ca_interp){
			.address = at,
			.id = (int64_t)pointer_at(rt->image, at, layout->interp.id),
			.gc = ca_has(layout->interp.gc) ? at + layout->interp.gc
							: rt->address + layout->runtime.gc,
			.obmalloc = obmalloc_state(rt, at),
		};
		read_threads(rt, rt->interp_count++, &thread_capacity);
	}
	return rt->interp_count > 0;
}

/* The LWP whose fs_base is the pthread; not every image has the registers. */
int32_t ca_thread_lwp(const struct ca_runtime *rt, const struct ca_thread *thread)
{
	for (size_t i = 0; thread->thread_id && i < rt->image->lwp_count; i++)
		if (rt->image->lwps[i].fs_base == thread->thread_id)
			return rt->image->lwps[i].lwp;
	return (int32_t)thread->native_id;
}

ca_addr ca_runtime_generation(const struct ca_runtime *rt, const struct ca_interp *interp,
			      unsigned generation)
{
	const struct ca_layout *layout = &rt->layout;

	if (generation == CA_GENERATIONS - 1)
		return interp->gc + layout->gc.permanent_generation;
	return interp->gc + layout->gc.generations + generation * layout->gc_generation.size;
}
