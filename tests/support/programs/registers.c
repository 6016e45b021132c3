/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * registers KIND: threads that would notice it if somebody changed their registers.
 * A line on stdin is answered by "ok" and how often they have looked, or by what is
 * wrong.
 *
 *   compute   one computes with all of them loaded, one sleeps, one waits in a call
 *             without a time-out, as does the one that answers
 *   sleep, epoll, read
 *             one alone, which is in such a call but for the moment of an answer
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { LONGS = 4, VECTORS = 16, WIDE_LONGS = 8, WIDE_VECTORS = 32, MASKS = 7, X87 = 6 };

struct set {
	uint64_t vectors[VECTORS][LONGS];
	uint64_t wide[WIDE_VECTORS][WIDE_LONGS]; /* AVX-512 */
	uint64_t masks[MASKS];
	double x87[X87];
	uint64_t general[4];
	uint32_t mxcsr;
	uint16_t control;
};

static const char *_Atomic wrong;
static atomic_ulong rounds;

static void fill(struct set *set, uint64_t seed)
{
	for (size_t i = 0; i < offsetof(struct set, x87) / sizeof(seed); i++)
		((uint64_t *)set)[i] = seed = seed * 6364136223846793005u + 1442695040888963407u;
	for (int i = 0; i < X87; i++)
		set->x87[i] = (double)(seed >> 20) / (i + 3);
	for (int i = 0; i < 4; i++)
		set->general[i] = seed ^ (uint64_t)i << 40;
	set->mxcsr = 0x1f80 | 0x6000; /* rounds towards zero */
	set->control = 0x0e7f;
}

/* Loads all, spins, stores all: nothing of the compiler's is in between. */
static void __attribute__((noinline)) spin(const struct set *in, struct set *out, uint64_t times)
{
	uint32_t mxcsr_before;
	uint16_t control_before;

	asm volatile("stmxcsr %0\nfnstcw %1" : "=m"(mxcsr_before), "=m"(control_before));
	asm volatile(
		"ldmxcsr %c[mxcsr](%[in])\n fninit\n fldcw %c[control](%[in])\n"
		"fldl %c[x87](%[in])\n fldl %c[x87]+8(%[in])\n fldl %c[x87]+16(%[in])\n"
		"fldl %c[x87]+24(%[in])\n fldl %c[x87]+32(%[in])\n fldl %c[x87]+40(%[in])\n"
		"mov %c[general](%[in]), %%r12\n mov %c[general]+8(%[in]), %%r13\n"
		"mov %c[general]+16(%[in]), %%r14\n mov %c[general]+24(%[in]), %%r15\n"
#define V(n) "vmovdqu " #n "*32(%[in]), %%ymm" #n "\n"
		V(0) V(1) V(2) V(3) V(4) V(5) V(6) V(7) V(8) V(9) V(10) V(11) V(12) V(13) V(14) V(15)
#undef V
		"1: dec %[times]\n jnz 1b\n"
#define V(n) "vmovdqu %%ymm" #n ", " #n "*32(%[out])\n"
		V(0) V(1) V(2) V(3) V(4) V(5) V(6) V(7) V(8) V(9) V(10) V(11) V(12) V(13) V(14) V(15)
#undef V
		"mov %%r12, %c[general](%[out])\n mov %%r13, %c[general]+8(%[out])\n"
		"mov %%r14, %c[general]+16(%[out])\n mov %%r15, %c[general]+24(%[out])\n"
		"stmxcsr %c[mxcsr](%[out])\n fnstcw %c[control](%[out])\n"
		"fstpl %c[x87]+40(%[out])\n fstpl %c[x87]+32(%[out])\n fstpl %c[x87]+24(%[out])\n"
		"fstpl %c[x87]+16(%[out])\n fstpl %c[x87]+8(%[out])\n fstpl %c[x87](%[out])\n"
		: [times] "+r"(times)
		: [in] "r"(in), [out] "r"(out), [mxcsr] "i"(offsetof(struct set, mxcsr)),
		  [control] "i"(offsetof(struct set, control)), [x87] "i"(offsetof(struct set, x87)),
		  [general] "i"(offsetof(struct set, general))
		: "memory", "cc", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
		  "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
		  "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
	asm volatile("vzeroupper\n ldmxcsr %0\n fldcw %1" : : "m"(mxcsr_before), "m"(control_before));
}

/* The same of what AVX-512 has beyond. */
static void __attribute__((noinline, target("avx512f,avx512bw")))
spin_wide(const struct set *in, struct set *out, uint64_t times)
{
	asm volatile(
#define V(n) "vmovdqu64 %c[wide]+" #n "*64(%[in]), %%zmm" #n "\n"
#define EACH V(0) V(1) V(2) V(3) V(4) V(5) V(6) V(7) V(8) V(9) V(10) V(11) V(12) V(13) V(14) V(15) \
	V(16) V(17) V(18) V(19) V(20) V(21) V(22) V(23) V(24) V(25) V(26) V(27) V(28) V(29) V(30) V(31)
#define K(n) "kmovq %c[masks]+" #n "*8-8(%[in]), %%k" #n "\n"
		EACH K(1) K(2) K(3) K(4) K(5) K(6) K(7)
#undef V
#undef K
		"1: dec %[times]\n jnz 1b\n"
#define V(n) "vmovdqu64 %%zmm" #n ", %c[wide]+" #n "*64(%[out])\n"
#define K(n) "kmovq %%k" #n ", %c[masks]+" #n "*8-8(%[out])\n"
		EACH K(1) K(2) K(3) K(4) K(5) K(6) K(7)
#undef V
#undef K
		: [times] "+r"(times)
		: [in] "r"(in), [out] "r"(out), [wide] "i"(offsetof(struct set, wide)),
		  [masks] "i"(offsetof(struct set, masks))
		: "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
		  "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18",
		  "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28",
		  "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7");
	asm volatile("vzeroupper");
}

static void *compute(void *arg)
{
	int has_wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
	struct set in = { 0 }, out;

	(void)arg;
	for (uint64_t seed = 1;; seed++) {
		fill(&in, seed);
		memset(&out, 0, sizeof(out));
		spin(&in, &out, 3000000);
		/* Exception flags may come: by denormals of the pattern. */
		out.mxcsr &= ~0x3fu;
		if (memcmp(in.vectors, out.vectors, sizeof(in.vectors)))
			wrong = "vector registers";
		else if (memcmp(in.x87, out.x87, sizeof(in.x87)))
			wrong = "x87 registers";
		else if (memcmp(in.general, out.general, sizeof(in.general)))
			wrong = "general registers";
		else if (in.mxcsr != out.mxcsr || in.control != out.control)
			wrong = "control words";
		if (has_wide) {
			spin_wide(&in, &out, 3000000);
			if (memcmp(in.wide, out.wide, sizeof(in.wide)))
				wrong = "AVX-512 registers";
			else if (memcmp(in.masks, out.masks, sizeof(in.masks)))
				wrong = "AVX-512 masks";
		}
		rounds++;
	}
	return NULL;
}

static void sleep_once(void)
{
	struct timespec wanted = { .tv_nsec = 20 * 1000 * 1000 }, left = { 0 }, a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	int rc = nanosleep(&wanted, &left);

	clock_gettime(CLOCK_MONOTONIC, &b);
	int64_t took = (b.tv_sec - a.tv_sec) * 1000000000 + (b.tv_nsec - a.tv_nsec);

	/* Killed in the very call it may end early, and says so. */
	if (!rc && took < wanted.tv_nsec)
		wrong = "a sleep that was short";
	if (rc && errno != EINTR)
		wrong = "a sleep that failed";
	rounds++;
}

static void *sleeping(void *arg)
{
	(void)arg;
	for (;;)
		sleep_once();
	return NULL;
}

static void *waiting(void *arg)
{
	int pipes[2];
	char byte;

	(void)arg;
	if (pipe(pipes))
		abort();
	if (read(pipes[0], &byte, 1) != 1)
		wrong = "a read that ended";
	return NULL;
}

/* Ends with its input. */
static void answer(void)
{
	char line[256];
	ssize_t got = read(0, line, sizeof(line));

	if (got <= 0) {
		if (got < 0)
			puts("a read that failed");
		exit(0);
	}
	printf("%s %lu\n", wrong ? wrong : "ok", rounds);
	fflush(stdout);
}

static void wait_in_sleeps(void)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };

	while (!poll(&input, 1, 0))
		sleep_once();
}

static void wait_in_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	static int fd = -1;

	if (fd < 0) {
		fd = epoll_create1(0);
		epoll_ctl(fd, EPOLL_CTL_ADD, 0, &event);
	}
	for (;;) {
		int got = epoll_wait(fd, &event, 1, -1);

		rounds++;
		if (got == 1)
			return;
		/* No stop leaves that to go on: signal(7). */
		if (got != -1 || errno != EINTR)
			wrong = "an epoll_wait that ended";
	}
}

static void start_threads(void)
{
	void *(*const bodies[])(void *) = { compute, sleeping, waiting };

	if (!__builtin_cpu_supports("avx")) {
		puts("no avx");
		exit(0);
	}
	for (int i = 0; i < 3; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, bodies[i], NULL);
	}
}

int main(int argc, char **argv)
{
	const char *kind = argc == 2 ? argv[1] : "";

	if (!strcmp(kind, "compute"))
		start_threads();
	puts("ready");
	fflush(stdout);
	for (;;) {
		if (!strcmp(kind, "sleep"))
			wait_in_sleeps();
		else if (!strcmp(kind, "epoll"))
			wait_in_epoll();
		answer();
	}
}
