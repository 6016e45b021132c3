/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * places KIND: a thread that answers lines from a place where no call of somebody
 * else may be put in.
 *
 *   rseq        in a restartable sequence, but for the moment of an answer
 *   coroutine   on a small stack that is not the thread's
 *   neighbour   on one that lies below the thread's descriptor
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

static volatile sig_atomic_t asked;

static void answer(void)
{
	char line[256];

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
	fputs(line, stdout);
	fflush(stdout);
}

/* ---- rseq ------------------------------------------------------------------------ */

static void input_came(int number)
{
	(void)number;
	asked = 1;
}

#ifdef RSEQ_SIG
/* Until there is input. An abort, as after each preemption, begins it anew. */
static void stay(struct rseq *area)
{
	asm volatile(
		".pushsection .data.rseq_cs, \"aw\"\n"
		".balign 32\n"
		"3: .long 0, 0\n .quad 1f, 2f - 1f, 4f\n"
		".popsection\n"
		"5: lea 3b(%%rip), %%rax\n"
		"mov %%rax, %[section]\n"
		"1: cmpl $0, %[asked]\n"
		"je 1b\n"
		"2: jmp 6f\n"
		".byte 0x0f, 0xb9, 0x3d\n .long %c[signature]\n"
		"4: jmp 5b\n"
		"6: movq $0, %[section]\n"
		: [section] "=m"(area->rseq_cs)
		: [asked] "m"(asked), [signature] "i"(RSEQ_SIG)
		: "rax", "cc", "memory");
}

static void in_sequences(void)
{
	struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);

	if (!__rseq_size) {
		puts("no restartable sequences");
		exit(0);
	}
	signal(SIGIO, input_came);
	fcntl(0, F_SETOWN, getpid());
	fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_ASYNC);
	puts("ready");
	fflush(stdout);
	for (;;) {
		stay(area);
		asked = 0;
		answer();
	}
}
#else
static void in_sequences(void)
{
	puts("the C library has no restartable sequences");
	exit(0);
}
#endif

/* ---- coroutine ------------------------------------------------------------------- */

static void forever(void)
{
	puts("ready");
	fflush(stdout);
	for (;;)
		answer();
}

enum { BYTES = 64 * 1024 };

static void on_another_stack(void *stack)
{
	static ucontext_t own, other;

	getcontext(&other);
	other.uc_stack.ss_sp = stack;
	other.uc_stack.ss_size = BYTES;
	makecontext(&other, forever, 0);
	swapcontext(&own, &other);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	if (!strcmp(argv[1], "rseq"))
		in_sequences();
	else if (!strcmp(argv[1], "coroutine"))
		on_another_stack(malloc(BYTES));
	else
		on_another_stack(mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	return 0;
}
