/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What proves the lists of threads, and what a thread is known by. */
#include <stdlib.h>

#include "settle.h"

enum { AROUND = 64, SAMPLE = 256 };

/*
 * PyThreadState begins prev, next, interp (Include/cpython/pystate.h) in all
 * releases: the links must agree in both directions.
 */
static bool is_thread(const struct ca_runtime *rt, ca_addr addr, ca_addr interp)
{
	const struct ca_layout *layout = &rt->layout;

	return addr && !(addr & 7) && ca_word_at(rt->image, addr, layout->thread.interp) == interp;
}

bool ca_scored_threads(const struct ca_runtime *rt, ca_addr interp, ca_addr *out, size_t *count)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr at = ca_word_at(rt->image, interp, layout->interp.threads_head), before = 0;

	for (*count = 0; at && *count < CA_SCORED_THREADS; ++*count) {
		if (!is_thread(rt, at, interp) ||
		    ca_word_at(rt->image, at + (uint64_t)layout->thread.next, 8) != interp ||
		    ca_word_at(rt->image, at + (uint64_t)layout->thread.next - 8, 0) != before)
			return false;
		out[*count] = before = at;
		at = ca_word_at(rt->image, at, layout->thread.next);
	}
	return true;
}

static bool is_among(const ca_addr *list, size_t count, ca_addr wanted)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == wanted)
			return true;
	return false;
}

/* No thread to which the interpreter points beside the head is missing in the list. */
static int64_t score_list(const struct ca_runtime *rt, ca_addr interp, ca_addr *threads)
{
	int32_t head = rt->layout.interp.threads_head;
	size_t count;

	if (!ca_scored_threads(rt, interp, threads, &count))
		return -1;
	for (int32_t at = head - AROUND; count < CA_SCORED_THREADS && at <= head + AROUND; at += 8) {
		ca_addr other = ca_word_at(rt->image, interp, at);

		if (is_thread(rt, other, interp) && !is_among(threads, count, other))
			return -1;
	}
	return (int64_t)count;
}

int64_t ca_score_threads(const struct ca_runtime *rt)
{
	ca_addr interps[CA_SCORED_INTERPS], *threads = ca_alloc(CA_SCORED_THREADS * sizeof(*threads));
	size_t count = ca_scored_interps(rt, interps);
	int64_t sum = 0;

	for (size_t i = 0; i < count && sum >= 0; i++) {
		int64_t score = score_list(rt, interps[i], threads);

		sum = score < 0 ? -1 : sum + score;
	}
	free(threads);
	return sum;
}

/* How many threads of all interpreters pass a test, and how many were asked. */
static size_t count_threads(const struct ca_runtime *rt,
			    int (*test)(const struct ca_runtime *rt, ca_addr thread), size_t *asked)
{
	ca_addr interps[CA_SCORED_INTERPS], *threads = ca_alloc(CA_SCORED_THREADS * sizeof(*threads));
	size_t interp_count = ca_scored_interps(rt, interps), passed = 0;

	*asked = 0;
	for (size_t i = 0; i < interp_count; i++) {
		size_t count;

		ca_scored_threads(rt, interps[i], threads, &count);
		for (size_t t = 0; t < count && *asked < SAMPLE; t++) {
			int result = test(rt, threads[t]);

			*asked += result != 0;
			passed += result > 0;
		}
	}
	free(threads);
	return passed;
}

/* Most must pass: those of before a fork, or just made, need not. */
static int64_t score_most(size_t passed, size_t asked)
{
	if (!asked)
		return 0;
	return passed * 2 >= asked ? (int64_t)passed : -1;
}

/* pthread_self() is the thread's base of %fs on x86-64. */
static int test_id(const struct ca_runtime *rt, ca_addr thread)
{
	ca_addr id = ca_word_at(rt->image, thread, rt->layout.thread.thread_id);

	for (size_t i = 0; i < rt->image->lwp_count; i++)
		if (id && rt->image->lwps[i].fs_base == id)
			return 1;
	return -1;
}

static bool has_bases(const struct ca_image *image)
{
	for (size_t i = 0; i < image->lwp_count; i++)
		if (image->lwps[i].fs_base)
			return true;
	return false;
}

/* One is enough: where C has forked, the others' threads are gone, and no word is an id by chance. */
int64_t ca_score_thread_ids(const struct ca_runtime *rt)
{
	size_t asked, passed;

	if (!has_bases(rt->image))
		return 0;
	passed = count_threads(rt, test_id, &asked);
	return passed ? (int64_t)passed : -1;
}

static int test_native(const struct ca_runtime *rt, ca_addr thread)
{
	ca_addr id = ca_word_at(rt->image, thread, rt->layout.thread.native_thread_id);

	for (size_t i = 0; i < rt->image->lwp_count; i++)
		if (rt->image->lwps[i].lwp > 0 && id == (uint64_t)rt->image->lwps[i].lwp)
			return 1;
	return -1;
}

int64_t ca_score_native_ids(const struct ca_runtime *rt)
{
	size_t asked, passed;

	if (!ca_has(rt->layout.thread.native_thread_id) || !rt->image->lwp_count)
		return 0;
	passed = count_threads(rt, test_native, &asked);
	/* In another pid namespace than the core's writer the numbers are others. */
	return passed ? score_most(passed, asked) : 0;
}

static bool has_sizes(const struct ca_runtime *rt, ca_addr type, int32_t basicsize, uint64_t itemsize)
{
	return type &&
	       ca_word_at(rt->image, type, rt->layout.type.tp_basicsize) == (uint64_t)basicsize &&
	       ca_word_at(rt->image, type, rt->layout.type.tp_itemsize) == itemsize;
}

static bool is_code(const struct ca_runtime *rt, ca_addr code)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr type = ca_plausible_type(rt, code & ~(uint64_t)layout->c.stackref_tags);

	return has_sizes(rt, type, layout->code.co_code_adaptive, 2);
}

/* 0: none; below 0: no frame. 3.11+: _PyInterpreterFrame; one of C's own has no code of Python. */
static int test_frame(const struct ca_runtime *rt, ca_addr thread)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr frame;

	if (!ca_has(layout->iframe.code)) {
		frame = ca_word_at(rt->image, thread, layout->thread.frame);
		return !frame ? 0
		       : has_sizes(rt, ca_plausible_type(rt, frame), layout->frame.size, 8) ? 1
											     : -1;
	}
	if (ca_has(layout->thread.current_frame)) {
		frame = ca_word_at(rt->image, thread, layout->thread.current_frame);
	} else {
		ca_addr cframe = ca_word_at(rt->image, thread, layout->thread.cframe);

		frame = ca_word_at(rt->image, cframe, layout->cframe.current_frame);
		if (!cframe)
			return -1;
	}
	if (!frame)
		return 0;
	if (is_code(rt, ca_word_at(rt->image, frame, layout->iframe.code)))
		return 1;
	frame = ca_word_at(rt->image, frame, layout->iframe.previous);
	return frame && is_code(rt, ca_word_at(rt->image, frame, layout->iframe.code)) ? 1 : -1;
}

int64_t ca_score_frames(const struct ca_runtime *rt)
{
	size_t asked, passed = count_threads(rt, test_frame, &asked);

	return score_most(passed, asked);
}

/* Outside generators a thread's exceptions are its own. */
static int test_exceptions(const struct ca_runtime *rt, ca_addr thread)
{
	const struct ca_layout *layout = &rt->layout;
	ca_addr info = ca_word_at(rt->image, thread, layout->thread.exc_info);

	return info == thread + (uint64_t)layout->thread.exc_state ? 1 : -1;
}

int64_t ca_score_exceptions(const struct ca_runtime *rt)
{
	size_t asked, passed;

	if (!ca_has(rt->layout.thread.exc_info) || !ca_has(rt->layout.thread.exc_state))
		return 0;
	passed = count_threads(rt, test_exceptions, &asked);
	/* All may be inside generators. */
	return passed ? (int64_t)passed : 0;
}
