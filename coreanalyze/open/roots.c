/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where references begin: the runtime's own structures, frames, modules' static data. */
#include "collect.h"

enum { MAX_FREELIST = 1 << 20, MAX_SLOTS = 1 << 16 };

/* Every readable word of [start, end), as guesses. */
static void visit_words(const struct ca_image *image, struct ca_visitor *v, ca_addr start,
			ca_addr end)
{
	ca_addr at = (start + 7) & ~7ull;
	uint64_t length;

	while (at < end) {
		const uint8_t *words = ca_image_run(image, at, &length);

		if (!words) {
			ca_addr next = (at + 4096) & ~4095ull;

			if (next < at)
				return;
			at = next;
			continue;
		}
		if (length > end - at)
			length = end - at;
		ca_visit_pointers(v, words, length / 8, CA_HELD_GUESS);
		at += (length + 7) & ~7ull;
	}
}

/* How many locals and stack slots a frame of this code has. */
static uint64_t frame_slots(const struct ca_reader *reader, ca_addr code)
{
	const struct ca_layout *layout = reader->layout;
	uint32_t locals, stack;

	code &= ~(uint64_t)layout->c.stackref_tags;
	if (!ca_image_u32(reader->image, code + layout->code.co_nlocalsplus, &locals))
		return 0;
	if (!ca_image_u32(reader->image, code + layout->code.co_stacksize, &stack))
		stack = 0;

	uint64_t slots = (uint64_t)locals + stack;

	return slots < MAX_SLOTS ? slots : MAX_SLOTS;
}

/*
 * 3.11+: frames are no objects; what they hold is reached through them alone.
 * They do not overlap: *room is how many bytes the frames of all threads may
 * still have. A chain that wandered off would else read for hours.
 */
static void claim_frames(struct ca_worker *worker, const struct ca_thread *thread, uint64_t *room)
{
	const struct ca_layout *layout = worker->reader.layout;
	const struct ca_image *image = worker->reader.image;
	ca_addr frame = thread->frame;
	struct ca_loop loop = {0};

	if (!ca_has(layout->iframe.previous)) {
		ca_worker_claim(worker, frame);
		return;
	}
	while (frame) {
		uint64_t code, next, bytes;

		if (ca_loop_closed(&loop, frame) ||
		    !ca_image_u64(image, frame + layout->iframe.previous, &next) ||
		    !ca_image_u64(image, frame + layout->iframe.code, &code))
			break;
		bytes = layout->iframe.localsplus + frame_slots(&worker->reader, code) * 8;
		if (bytes > *room)
			break;
		*room -= bytes;
		visit_words(image, &worker->visitor, frame, frame + bytes);
		frame = next;
	}
	if (frame)
		ca_warn_bytes(worker->reader.rt->ctx, "frames", frame, 0,
			      "objects that only the frames after it hold are missing",
			      "a thread's list of frames is damaged");
}

static void claim_lists(struct ca_worker *worker, const struct ca_interp *interp)
{
	for (unsigned g = 0; g < CA_GENERATIONS; g++) {
		ca_addr head = ca_runtime_generation(worker->reader.rt, interp, g);
		uint64_t next;

		if (ca_image_u64(worker->reader.image, head, &next) && (next & ~3ull) != head &&
		    ca_space_where(worker->collector->space, next & ~3ull) == CA_OUTSIDE)
			ca_worker_claim(worker, (next & ~3ull) + 16);
	}
}

void ca_visit_statics(const struct ca_runtime *rt, struct ca_visitor *v)
{
	const struct ca_image *image = rt->image;
	uint64_t interp_bytes = (uint64_t)rt->layout.interp.size;
	uint64_t thread_bytes = (uint64_t)rt->layout.thread.size;

	for (size_t i = 0; i < image->module_count; i++)
		if (ca_runtime_reads(rt, &image->modules[i]))
			visit_words(image, v, image->modules[i].data_start,
				    image->modules[i].data_end);
	for (size_t i = 0; i < rt->interp_count; i++)
		visit_words(image, v, rt->interps[i].address,
			    rt->interps[i].address + interp_bytes);
	for (size_t i = 0; i < rt->thread_count; i++)
		visit_words(image, v, rt->threads[i].address,
			    rt->threads[i].address + thread_bytes);
}

void ca_claim_roots(struct ca_worker *worker)
{
	const struct ca_runtime *rt = worker->reader.rt;
	uint64_t room = 0;

	for (size_t i = 0; i < rt->image->segment_count; i++)
		room += rt->image->segments[i].end - rt->image->segments[i].start;
	ca_visit_statics(rt, &worker->visitor);
	for (size_t i = 0; i < rt->interp_count; i++)
		claim_lists(worker, &rt->interps[i]);
	for (size_t i = 0; i < rt->thread_count; i++)
		claim_frames(worker, &rt->threads[i], &room);
}

static void mark_corpse(struct ca_space *space, ca_addr addr)
{
	struct ca_region *region = ca_space_region(space, addr);
	uint64_t word, mask;

	if (region && region->corpses && ca_region_bit(region, addr, &word, &mask))
		region->corpses[word] |= mask;
}

/* A chain linked through the word at `link` of each entry. */
static void mark_chain(struct ca_collector *collector, ca_addr first, int32_t link, uint64_t limit)
{
	ca_addr at = first;

	for (uint64_t i = 0; at && i < limit; i++) {
		mark_corpse(collector->space, at);
		if (!ca_image_u64(collector->objects->image, at + link, &at))
			return;
	}
}

/* Tables of dicts' keys, as pointers in an array (3.10 to 3.13). */
static void mark_keys(struct ca_collector *collector, ca_addr interp)
{
	enum { MAX_KEYS = 80 }; /* PyDict_MAXFREELIST */
	const struct ca_layout *layout = &collector->objects->rt->layout;
	const struct ca_image *image = collector->objects->image;
	uint32_t count;
	uint64_t keys;

	if (!ca_has(layout->interp.keys_freelist) ||
	    !ca_image_u32(image, interp + layout->interp.keys_numfree, &count) || count > MAX_KEYS)
		return;
	for (uint32_t i = 0; i < count; i++)
		if (ca_image_u64(image, interp + layout->interp.keys_freelist + i * 8ull, &keys))
			mark_corpse(collector->space, keys);
}

/*
 * 3.8, 3.9: `free_list` of Objects/floatobject.c is a static variable without a
 * symbol. What it leads to is told by its shape: dead floats (a count of zero)
 * in blocks of a float's size, linked through their types.
 */
struct float_seeker {
	struct ca_visitor visitor;
	struct ca_collector *collector;
};

static bool is_dead_float(const struct ca_collector *collector, ca_addr at, uint64_t *next)
{
	const struct ca_runtime *rt = collector->objects->rt;
	uint64_t size = (uint64_t)rt->layout.pyfloat.size, bytes, count;

	if (at % CA_BLOCK_ALIGN)
		return false;
	bytes = ca_heap_block_bytes(collector->space->heap, at);
	return bytes >= size && bytes < size + CA_BLOCK_ALIGN &&
	       ca_image_u64(rt->image, at, &count) && count == 0 &&
	       ca_image_u64(rt->image, at + (uint64_t)rt->layout.object.ob_type, next);
}

static void seek_floats(struct ca_visitor *v, const struct ca_refs *refs)
{
	enum { MAX_FLOATS = 100, LEAST_FLOATS = 2 }; /* PyFloat_MAXFREELIST; one proves nothing */
	struct ca_collector *collector = ((struct float_seeker *)v)->collector;

	for (uint64_t i = 0; i < refs->count; i++) {
		ca_addr first = ca_load_u64(refs->data + i * refs->stride), at = first;
		int length = 0;

		while (length < MAX_FLOATS && at && is_dead_float(collector, at, &at))
			length++;
		if (!at && length >= LEAST_FLOATS)
			mark_chain(collector, first, collector->objects->rt->layout.object.ob_type,
				   MAX_FLOATS);
	}
}

static void mark_static_floats(struct ca_collector *collector)
{
	const struct ca_runtime *rt = collector->objects->rt;
	struct float_seeker seeker = {{seek_floats, NULL}, collector};

	visit_words(rt->image, &seeker.visitor, rt->module->data_start, rt->module->data_end);
}

/*
 * 3.14+ keeps all free lists in one array of {head, count}, linked through the
 * first word (pycore_freelist_state.h); before, objects on a free list have a
 * count of zero, but floats, which are linked through their type.
 */
void ca_mark_freelists(struct ca_collector *collector)
{
	const struct ca_runtime *rt = collector->objects->rt;
	const struct ca_layout *layout = &rt->layout;

	if (!ca_has(layout->interp.float_freelist) && !ca_has(layout->freelists.size))
		mark_static_floats(collector);
	for (size_t i = 0; i < rt->interp_count; i++) {
		ca_addr interp = rt->interps[i].address;
		uint64_t head;

		mark_keys(collector, interp);
		if (ca_has(layout->interp.float_freelist) && !ca_has(layout->freelists.size) &&
		    ca_image_u64(rt->image, interp + layout->interp.float_freelist, &head))
			mark_chain(collector, head, layout->object.ob_type, MAX_FREELIST);
		if (!ca_has(layout->freelists.size))
			continue;
		for (int32_t at = 0; at < layout->freelists.size; at += layout->freelist.size) {
			ca_addr list = interp + layout->interp.freelists + at;

			if (ca_image_u64(rt->image, list, &head))
				mark_chain(collector, head, 0, MAX_FREELIST);
		}
	}
}
