/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The call. Its order is what makes us dispensable: at each moment the thread
 * either has its own registers, or those of the call with a frame that leads back.
 */
#include "inject.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	STACK_LEAST = 16 * 1024, /* below the stack pointer, mapped */
	STACK_MOST = 64 * 1024 * 1024, /* where its guard is looked for */
	USER_CS = 0x33,		 /* 64-bit code */
	XSTATE_MAX = 64 * 1024,
	SIGSET_BYTES = 8,
	RSEQ_CS = 8, /* offsetof(struct rseq, rseq_cs) */
	WAIT_NS = 20 * 1000,
};
/* Linux 5.13 and 6.4 include/uapi/linux/ptrace.h, which not every system's headers have yet. */
#define GET_RSEQ_CONFIGURATION ((enum __ptrace_request)0x420f)
#define GET_SYSCALL_USER_DISPATCH ((enum __ptrace_request)0x4211)
#define PATIENCE_NS UINT64_C(60000000000) /* a fork of a terabyte takes long */

/* ---- may it? -------------------------------------------------------------------- */

static const struct ca_vma *find_vma(const struct ca_vmas *vmas, ca_addr address)
{
	for (size_t i = 0; i < vmas->count; i++)
		if (address >= vmas->items[i].start && address < vmas->items[i].end)
			return &vmas->items[i];
	return NULL;
}

/* What no thread may touch lies below it: a mapping, or as the pagemap tells. */
static bool has_guard(const struct ca_view *view, const struct ca_vma *vma,
		      const struct ca_vmas *vmas, ca_addr sp)
{
	const struct ca_vma *below = vma > vmas->items ? vma - 1 : vma;

	return (below->end == vma->start && !below->flags) ||
	       ca_guard_between(view->proc, sp - vma->start < STACK_MOST ? vma->start : sp - STACK_MOST, sp);
}

/*
 * A C library keeps a thread's descriptor on top of its stack, in the same mapping. The
 * main thread's is elsewhere, where other memory may lie below by chance; unless it is
 * of a thread that called fork(), as its guard tells.
 */
static bool has_stack(const struct ca_lwp *lwp, const struct ca_view *view,
		      const struct ca_vmas *vmas)
{
	const struct ca_vma *vma = find_vma(vmas, lwp->sp);

	if (!vma || !(vma->flags & CA_SEG_WRITE) || vma->shared || lwp->sp - vma->start < STACK_LEAST ||
	    ca_guard_between(view->proc, lwp->sp - STACK_LEAST, lwp->sp))
		return false;
	return !strcmp(vma->path, "[stack]") ||
	       (lwp->fs_base > lwp->sp && lwp->fs_base < vma->end &&
		(lwp->lwp != view->pid || has_guard(view, vma, vmas, lwp->sp)));
}

static bool in_sequence(int32_t lwp, int mem)
{
	struct {
		uint64_t address;
		uint32_t size, signature, flags, pad;
	} rseq = { 0 };
	uint64_t section = 0;

	if (ptrace(GET_RSEQ_CONFIGURATION, lwp, (void *)sizeof(rseq), &rseq) <= 0 || !rseq.address)
		return false;
	return pread(mem, &section, sizeof(section), (off_t)(rseq.address + RSEQ_CS)) !=
		       sizeof(section) ||
	       section;
}

static bool is_dispatched(int32_t lwp)
{
	uint64_t config[4] = { 0 };

	return !ptrace(GET_SYSCALL_USER_DISPATCH, lwp, (void *)sizeof(config), config) && config[0];
}

const char *ca_inject_obstacle(const struct ca_lwp *lwp, const struct ca_view *view,
			       const struct ca_vmas *vmas)
{
	const struct user_regs_struct *regs = lwp->registers;

	if (!regs || regs->cs != USER_CS)
		return "it runs 32-bit code";
	if (lwp->signal)
		return "it is about to take a signal";
	if (!has_stack(lwp, view, vmas))
		return "there are less than 16 KiB of stack below it, or it runs on another stack "
		       "than its thread's";
	if (in_sequence(lwp->lwp, view->mem))
		return "it is in a restartable sequence (rseq)";
	if (is_dispatched(lwp->lwp))
		return "its system calls are dispatched in user space (PR_SET_SYSCALL_USER_DISPATCH)";
	return NULL;
}

/* ---- stops ---------------------------------------------------------------------- */

/* The next stop of a thread; false: it ended, or does not stop. */
static bool wait_for(int32_t lwp, int *status)
{
	static const struct timespec pause = { .tv_nsec = WAIT_NS };
	uint64_t began = ca_now_ns();

	for (;;) {
		pid_t got = waitpid(lwp, status, __WALL | WNOHANG);

		if (got == lwp)
			return WIFSTOPPED(*status);
		if ((got < 0 && errno != EINTR) || ca_now_ns() - began > PATIENCE_NS)
			return false;
		nanosleep(&pause, NULL);
	}
}

enum stop { STOP_GONE, STOP_CALL, STOP_CHILD, STOP_TRAP };

/* Lets it go on to the next stop that is of interest. */
static enum stop next_stop(struct ca_injection *injection, int request)
{
	int status;

	for (;;) {
		if (ptrace(request, injection->lwp, NULL, NULL) || !wait_for(injection->lwp, &status))
			return STOP_GONE;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			return STOP_CALL;
		if (status >> 16 == PTRACE_EVENT_CLONE || status >> 16 == PTRACE_EVENT_FORK)
			return STOP_CHILD;
		if (status >> 16 == PTRACE_EVENT_STOP)
			return STOP_TRAP;
		/* All signals are blocked, but for one that cannot be. */
		injection->was_stopped |= WSTOPSIG(status) == SIGSTOP;
	}
}

/* Born traced and stopped; it must end with us from now on. */
static bool adopt(struct ca_injection *injection)
{
	unsigned long child = 0;
	int status;

	if (ptrace(PTRACE_GETEVENTMSG, injection->lwp, NULL, &child) || !child)
		return false;
	injection->child = (int32_t)child;
	if (!wait_for(injection->child, &status))
		return false;
	return !ptrace(PTRACE_SETOPTIONS, injection->child, NULL, PTRACE_O_EXITKILL);
}

/* ---- the thread's state --------------------------------------------------------- */

bool ca_inject_prepare(struct ca_injection *injection)
{
	_Alignas(64) uint8_t xstate[XSTATE_MAX];
	struct iovec regs = { &injection->regs, sizeof(injection->regs) };
	struct iovec state = { xstate, sizeof(xstate) };
	int32_t lwp = injection->lwp;

	return !ptrace(PTRACE_GETREGSET, lwp, NT_PRSTATUS, &regs) &&
	       !ptrace(PTRACE_GETREGSET, lwp, NT_X86_XSTATE, &state) &&
	       !ptrace(PTRACE_GETSIGMASK, lwp, (void *)SIGSET_BYTES, &injection->mask) &&
	       ca_frame_make(&injection->frame, &injection->regs, injection->mask, xstate,
			     state.iov_len, injection->gadgets);
}

static bool set_registers(int32_t lwp, const struct user_regs_struct *regs)
{
	struct iovec io = { (void *)regs, sizeof(*regs) };

	return !ptrace(PTRACE_SETREGSET, lwp, NT_PRSTATUS, &io);
}

static bool set_mask(int32_t lwp, uint64_t mask)
{
	return !ptrace(PTRACE_SETSIGMASK, lwp, (void *)SIGSET_BYTES, &mask);
}

static bool write_all(int mem, const uint8_t *bytes, size_t size, ca_addr at)
{
	return pwrite(mem, bytes, size, (off_t)at) == (ssize_t)size;
}

/* The frame first, then who needs it. */
static bool put_in(struct ca_injection *injection, long number, const uint64_t arguments[6])
{
	const struct ca_frame *frame = &injection->frame;
	struct user_regs_struct regs = injection->regs;

	regs.rip = injection->gadgets->call;
	regs.rsp = frame->sp;
	regs.rax = (uint64_t)number;
	regs.orig_rax = (uint64_t)-1;
	regs.rdi = arguments[0];
	regs.rsi = arguments[1];
	regs.rdx = arguments[2];
	regs.r10 = arguments[3];
	regs.r8 = arguments[4];
	regs.r9 = arguments[5];
	if (pread(injection->mem, injection->before, frame->size, (off_t)frame->start) !=
	    (ssize_t)frame->size)
		return false;
	return write_all(injection->mem, frame->bytes, frame->size, frame->start) &&
	       !ptrace(PTRACE_SETOPTIONS, injection->lwp, NULL,
		       PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK) &&
	       set_registers(injection->lwp, &regs) && set_mask(injection->lwp, UINT64_MAX);
}

/* Who needs it first, then the frame. */
static bool take_out(struct ca_injection *injection)
{
	const struct ca_frame *frame = &injection->frame;

	return set_mask(injection->lwp, injection->mask) &&
	       set_registers(injection->lwp, &injection->regs) &&
	       write_all(injection->mem, injection->before, frame->size, frame->start);
}

/* ---- the call ------------------------------------------------------------------- */

/*
 * Entry, birth, exit. Only at the exit an interrupt is asked for: before, it would
 * make the call fail. The thread runs into it before another instruction of its own.
 */
static bool run(struct ca_injection *injection)
{
	struct user_regs_struct regs;
	struct iovec io = { &regs, sizeof(regs) };
	enum stop stop = next_stop(injection, PTRACE_SYSCALL);

	while (stop == STOP_TRAP) /* of a stop of its whole process */
		stop = next_stop(injection, PTRACE_SYSCALL);
	if (stop != STOP_CALL)
		return false;
	stop = next_stop(injection, PTRACE_SYSCALL);
	if (stop == STOP_CHILD) {
		if (!adopt(injection))
			return false;
		stop = next_stop(injection, PTRACE_SYSCALL);
	}
	if (stop != STOP_CALL || ptrace(PTRACE_GETREGSET, injection->lwp, NT_PRSTATUS, &io))
		return false;
	injection->result = (int64_t)regs.rax;
	return !ptrace(PTRACE_INTERRUPT, injection->lwp, NULL, NULL) &&
	       next_stop(injection, PTRACE_CONT) == STOP_TRAP;
}

bool ca_inject(struct ca_injection *injection, long number, const uint64_t arguments[6])
{
	injection->child = 0;
	if (!put_in(injection, number, arguments)) {
		take_out(injection);
		return false;
	}
	return run(injection) && take_out(injection);
}
