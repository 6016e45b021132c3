/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * capture: what speaks against a fork, told by a made folder like /proc/PID. The
 * states that a process can be put into here are in live/test_states.py.
 */
#include "../../coreanalyze/capture/fork.h"

#include <CUnit/Basic.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATUS "Name:\tpython3\nState:\tS (sleeping)\nVmLck:\t0 kB\nVmPin:\t0 kB\nVmRSS:\t4 kB\nSeccomp:\t0\n"
#define THREAD "Name:\tpython3\nSeccomp:\t0\nSeccomp_filters:\t0\nx86_Thread_features:\t\n"
#define MAPS                                                                   \
	"1000-2000 rw-p 00000000 00:00 0 \n"                                  \
	"2000-3000 rw-s 00000000 00:05 7                  /dev/device\n"      \
	"3000-4000 r--p 00000000 00:00 0                  [vvar]\n"

/* ---- a made process --------------------------------------------------------------- */

struct made {
	char folder[64];
	struct ca_view view;
};

static void put(const struct made *made, const char *name, const char *text)
{
	int fd = openat(made->view.proc, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CU_ASSERT_EQUAL_FATAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* smaps: each mapping's flags; NULL: nothing special. */
static void put_smaps(const struct made *made, const char *const flags[3])
{
	static const char *const usual[3] = { "rd wr mr mw me ac", "rd wr sh mr mw me", "rd mr pf io de" };
	char text[1024], *save = NULL, maps[] = MAPS;
	size_t used = 0, i = 0;

	for (char *line = strtok_r(maps, "\n", &save); line; line = strtok_r(NULL, "\n", &save), i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "%s\nRss:   4 kB\nAnonymous:  4 kB\nVmFlags: %s \n", line,
					 flags && flags[i] ? flags[i] : usual[i]);
	put(made, "smaps", text);
}

static void make(struct made *made)
{
	*made = (struct made){ .view = { .pid = getpid(), .mem = -1 } };
	snprintf(made->folder, sizeof(made->folder), "/tmp/ca-refuse-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(made->folder));
	made->view.proc = open(made->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mkdirat(made->view.proc, "task", 0700);
	mkdirat(made->view.proc, "task/1", 0700);
	mkdirat(made->view.proc, "task/2", 0700);
	mkdirat(made->view.proc, "ns", 0700);
	symlinkat("pid:[1]", made->view.proc, "ns/pid");
	symlinkat("pid:[1]", made->view.proc, "ns/pid_for_children");
	put(made, "status", STATUS);
	put(made, "task/1/status", THREAD);
	put(made, "task/2/status", THREAD);
	put(made, "maps", MAPS);
	put_smaps(made, NULL);
}

static void unmake(struct made *made)
{
	char command[100];

	close(made->view.proc);
	snprintf(command, sizeof(command), "rm -r %s", made->folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

/* why: a word of the reason; NULL: there is none. */
static void expect(const struct made *made, const char *why)
{
	struct ca_vmas vmas = { 0 };

	CU_ASSERT_TRUE_FATAL(ca_vmas_read(made->view.proc, &vmas));
	CU_ASSERT_TRUE(ca_smaps_read(made->view.proc, &vmas));
	struct ca_error *err = ca_fork_check(&made->view, &vmas);

	CU_ASSERT_EQUAL(err != NULL, why != NULL);
	if (err && (!why || !strstr(err->why, why))) {
		fprintf(stderr, "%s: %s\n", why ? why : "nothing", err->why);
		CU_FAIL("another reason");
	}
	ca_error_free(err);
	ca_vmas_fini(&vmas);
}

static void expect_status(const char *name, const char *text, const char *why)
{
	struct made made;

	make(&made);
	put(&made, name, text);
	expect(&made, why);
	unmake(&made);
}

static void expect_flags(size_t mapping, const char *words, const char *why)
{
	const char *flags[3] = { NULL };
	struct made made;

	make(&made);
	flags[mapping] = words;
	put_smaps(&made, flags);
	expect(&made, why);
	unmake(&made);
}

/* ---- what it is --------------------------------------------------------------------- */

static void test_refuse__nothing_against_it(void)
{
	struct made made;

	make(&made);
	expect(&made, NULL);
	unmake(&made);
}

static void test_refuse__shadow_stack(void)
{
	expect_status("task/2/status",
		      "Name:\tp\nSeccomp:\t0\nx86_Thread_features:\tshstk wrss \n"
		      "x86_Thread_features_locked:\t\n", "shadow stack");
	/* What may not be changed any more says nothing of what is. */
	expect_status("task/2/status",
		      "Name:\tp\nSeccomp:\t0\nx86_Thread_features:\t\n"
		      "x86_Thread_features_locked:\tshstk wrss \n", NULL);
	expect_flags(0, "rd wr mr mw me ac ss", "shadow stack");
}

static void test_refuse__seccomp_of_any_thread(void)
{
	expect_status("task/1/status", "Name:\tp\nSeccomp:\t2\nSeccomp_filters:\t1\n", "seccomp");
	expect_status("task/2/status", "Name:\tp\nSeccomp:\t1\n", "seccomp");
}

static void test_refuse__pages_that_stay(void)
{
	expect_status("status", "Name:\tp\nState:\tR (running)\nVmLck:\t0 kB\nVmPin:\t8 kB\n", "pinned");
	expect_status("status", "Name:\tp\nState:\tR (running)\nVmLck:\t8 kB\nVmPin:\t0 kB\n", "locked");
}

static void test_refuse__stopped(void)
{
	expect_status("status", "Name:\tp\nState:\tT (stopped)\n", "SIGSTOP");
	expect_status("status", "Name:\tp\nState:\tt (tracing stop)\n", "SIGSTOP");
}

static void test_refuse__mappings(void)
{
	expect_flags(1, "rd wr sh mr mw me ms io dd", "device");
	expect_flags(1, "rd wr sh mr mw me ms pf", "device");
	expect_flags(0, "rd wr mr mw me um", "userfaultfd");
	expect_flags(0, "rd wr mr mw me uw", "userfaultfd");
	expect_flags(0, "rd wr mr mw me ui", "userfaultfd");
	expect_flags(0, "rd wr mr mw me de ht", "hugetlb");
	/* Of a pool that the child shares, without a copy. */
	expect_flags(1, "rd wr sh mr mw me ms de ht", NULL);
	/* What it lacks is copied beside. */
	expect_flags(0, "rd wr mr mw me dc wf", NULL);
	/* The pages of an io_uring, of a packet socket. */
	expect_flags(1, "rd wr sh mr mw ms de mm", NULL);
}

static void test_refuse__new_namespace(void)
{
	struct made made;

	make(&made);
	unlinkat(made.view.proc, "ns/pid_for_children", 0);
	symlinkat("pid:[2]", made.view.proc, "ns/pid_for_children");
	expect(&made, "PID namespace");
	unlinkat(made.view.proc, "ns/pid_for_children", 0);
	expect(&made, "PID namespace");
	unmake(&made);
}

static void test_refuse__more_than_there_is(void)
{
	expect_status("status", "Name:\tp\nState:\tR (running)\nVmRSS:\t99999999999 kB\n", "1.1 times");
}

/* ---- where its threads are ----------------------------------------------------------- */

enum { CODE_64 = 0x33, CODE_32 = 0x23, PAGE = 4096 };
#define GUARD UINT64_C(0xff000)
#define STACK UINT64_C(0x100000)
#define OTHER UINT64_C(0x200000)
#define MAIN UINT64_C(0x300000)

/* Of no thread of ours: what ptrace() would tell is that there is nothing. */
static void expect_obstacle(const struct user_regs_struct *regs, struct ca_lwp lwp, bool is_main,
			    const char *why)
{
	static struct ca_vma items[] = {
		{ .start = GUARD, .end = STACK, .path = "" },
		{ .start = STACK, .end = STACK + 16 * PAGE, .flags = CA_SEG_READ | CA_SEG_WRITE, .path = "" },
		{ .start = OTHER, .end = OTHER + 16 * PAGE, .flags = CA_SEG_READ | CA_SEG_WRITE, .path = "" },
		{ .start = MAIN, .end = MAIN + 16 * PAGE, .flags = CA_SEG_READ | CA_SEG_WRITE,
		  .path = "[stack]" },
	};
	struct ca_vmas vmas = { .items = items, .count = CA_COUNT(items) };
	struct ca_view view = { .pid = is_main ? lwp.lwp : lwp.lwp + 1, .proc = -1, .mem = -1 };

	lwp.registers = regs;
	const char *found = ca_inject_obstacle(&lwp, &view, &vmas);

	CU_ASSERT_EQUAL(found != NULL, why != NULL);
	CU_ASSERT_TRUE(!found || (why && strstr(found, why)));
}

static void test_refuse__place(void)
{
	struct user_regs_struct regs = { .cs = CODE_64 }, old = { .cs = CODE_32 };
	const struct ca_lwp usual = { .sp = STACK + 8 * PAGE, .fs_base = STACK + 15 * PAGE };
	struct ca_lwp lwp = usual;

	expect_obstacle(&regs, usual, false, NULL);
	expect_obstacle(&regs, usual, true, NULL); /* of a fork() by a thread */
	expect_obstacle(&old, usual, false, "32-bit");
	expect_obstacle(NULL, usual, false, "32-bit");
	lwp.signal = 10;
	expect_obstacle(&regs, lwp, false, "signal");
	lwp = (struct ca_lwp){ .sp = MAIN + 8 * PAGE, .fs_base = OTHER };
	expect_obstacle(&regs, lwp, true, NULL);
	/* Too near to its end; on another thread's, or nobody's. */
	lwp = (struct ca_lwp){ .sp = STACK + 4 * PAGE - 8, .fs_base = usual.fs_base };
	expect_obstacle(&regs, lwp, false, "16 KiB");
	lwp = (struct ca_lwp){ .sp = usual.sp, .fs_base = OTHER };
	expect_obstacle(&regs, lwp, false, "another stack");
	lwp = (struct ca_lwp){ .sp = 0x1000, .fs_base = usual.fs_base };
	expect_obstacle(&regs, lwp, false, "another stack");
	/* By chance below the main thread's descriptor. */
	lwp = (struct ca_lwp){ .sp = OTHER + 8 * PAGE, .fs_base = OTHER + 15 * PAGE };
	expect_obstacle(&regs, lwp, false, NULL);
	expect_obstacle(&regs, lwp, true, "another stack");
}

/* ---- what its processor holds ---------------------------------------------------------- */

enum { STATE_BYTES = 16 * 1024, FEATURES_AT = 464, HEADER = 512, LEAST = 576 };
#define X87_SSE UINT64_C(3)
#define AMX (UINT64_C(3) << 17)

static bool fits(uint64_t permitted, uint64_t used, size_t bytes, struct ca_frame *frame)
{
	static const struct ca_gadgets gadgets = { 1, 2, 3 };
	struct user_regs_struct regs = { .rsp = STACK + 15 * PAGE, .cs = CODE_64 };
	uint8_t *state = calloc(1, STATE_BYTES);

	memcpy(state + FEATURES_AT, &permitted, sizeof(permitted));
	memcpy(state + HEADER, &used, sizeof(used));
	bool done = ca_frame_make(frame, &regs, 0, state, bytes, &gadgets);

	free(state);
	return done;
}

/* AMX that is permitted is left out of the frame; used, it does not fit one. */
static void test_refuse__state(void)
{
	struct ca_frame plain, frame;

	CU_ASSERT_TRUE(fits(X87_SSE, X87_SSE, LEAST, &plain));
	CU_ASSERT_TRUE(plain.start < plain.sp && plain.start + plain.size < STACK + 15 * PAGE - 128);
	CU_ASSERT_TRUE(fits(X87_SSE | AMX, X87_SSE, STATE_BYTES, &frame));
	CU_ASSERT_EQUAL(frame.size, plain.size);
	CU_ASSERT_EQUAL(memcmp(frame.bytes, plain.bytes, plain.size), 0);
	CU_ASSERT_FALSE(fits(X87_SSE | AMX, X87_SSE | UINT64_C(1) << 18, STATE_BYTES, &frame));
	/* Too short, and of parts that this processor has not. */
	CU_ASSERT_FALSE(fits(X87_SSE, X87_SSE, LEAST - 1, &frame));
	CU_ASSERT_FALSE(fits(X87_SSE | UINT64_C(1) << 60, X87_SSE, STATE_BYTES, &frame));
}

extern CU_TestInfo ca_tests_refuse[];
CU_TestInfo ca_tests_refuse[] = {
	{ "nothing against it", test_refuse__nothing_against_it },
	{ "shadow stack", test_refuse__shadow_stack },
	{ "seccomp of any thread", test_refuse__seccomp_of_any_thread },
	{ "pages that stay", test_refuse__pages_that_stay },
	{ "stopped", test_refuse__stopped },
	{ "mappings", test_refuse__mappings },
	{ "new namespace", test_refuse__new_namespace },
	{ "more than there is", test_refuse__more_than_there_is },
	{ "place", test_refuse__place },
	{ "state", test_refuse__state },
	CU_TEST_INFO_NULL,
};
