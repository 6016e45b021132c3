/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A signal frame that was never a signal's. A thread that is made to run a system
 * call of ours returns through it, by rt_sigreturn(), to what it was doing: with
 * all its registers, its floating-point state, its signal mask. We hope to restore
 * it ourselves; the frame is for when we are killed meanwhile.
 *
 * Linux arch/x86/include/asm/sigframe.h (struct rt_sigframe),
 * arch/x86/include/uapi/asm/sigcontext.h, arch/x86/kernel/fpu/signal.c.
 *
 *   low                                                                 high
 *   | &_exit | frame: &restorer, context | state, 64-aligned | red zone | stack
 *   child's sp  sp                                                      old sp
 */
#include "inject.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>

enum {
	BELOW_SP = 256, /* the red zone is 128 */
	CHILD_WORD = 64,
	XSAVE_ALIGN = 64,
	XSAVE_LEAST = 576, /* legacy area and header */
	XSAVE_SW = 464,	   /* the software's bytes: by ptrace they begin with the features */
	XSAVE_HEADER = 512,
	FEATURE_FIRST = 2,
	FEATURE_AMX = 17, /* and 18: no room for them in a frame by default */
	FEATURES = 63,
	MAGIC1 = 0x46505853,
	MAGIC2 = 0x46505845,
	UC_FP_XSTATE = 1,
	UC_SIGCONTEXT_SS = 2,
	UC_STRICT_RESTORE_SS = 4,
	SS_INVALID = 0x5555, /* so that the alternate stack is not touched */
	RESTARTSYS = 512, RESTARTNOINTR = 513, RESTARTNOHAND = 514, RESTART_RESTARTBLOCK = 516,
	NR_RESTART_SYSCALL = 219,
	SYSCALL_BYTES = 2,
};
#define AMX (UINT64_C(3) << FEATURE_AMX)

struct context {
	uint64_t flags, link;
	uint64_t stack_sp;
	uint32_t stack_flags, pad;
	uint64_t stack_size;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
	uint64_t sigmask;
};

struct frame {
	uint64_t restorer;
	struct context context;
};

struct sw_bytes {
	uint32_t magic1, extended_size;
	uint64_t features;
	uint32_t xstate_size, pad[7];
};

/* How far the state goes with these features, in the standard format. 0: unknown. */
static uint32_t state_bytes(uint64_t features)
{
	uint32_t size = XSAVE_LEAST;

	for (unsigned i = FEATURE_FIRST; i < FEATURES; i++) {
		unsigned bytes, offset, c, d;

		if (!(features >> i & 1))
			continue;
		if (!__get_cpuid_count(0xd, i, &bytes, &offset, &c, &d) || !bytes)
			return 0;
		if (offset + bytes > size)
			size = offset + bytes;
	}
	return size;
}

/* A call that the stop has interrupted begins anew, as after a signal without a handler. */
static void restart_call(struct context *context, const struct user_regs_struct *regs)
{
	if ((int64_t)regs->orig_rax < 0)
		return;
	switch (-(int64_t)regs->rax) {
	case RESTARTSYS:
	case RESTARTNOINTR:
	case RESTARTNOHAND:
		context->ax = regs->orig_rax;
		context->ip -= SYSCALL_BYTES;
		break;
	case RESTART_RESTARTBLOCK:
		context->ax = NR_RESTART_SYSCALL;
		context->ip -= SYSCALL_BYTES;
		break;
	}
}

static void fill_context(struct context *context, const struct user_regs_struct *regs)
{
	*context = (struct context){
		.flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
		.stack_flags = SS_INVALID,
		.r8 = regs->r8, .r9 = regs->r9, .r10 = regs->r10, .r11 = regs->r11,
		.r12 = regs->r12, .r13 = regs->r13, .r14 = regs->r14, .r15 = regs->r15,
		.di = regs->rdi, .si = regs->rsi, .bp = regs->rbp, .bx = regs->rbx,
		.dx = regs->rdx, .ax = regs->rax, .cx = regs->rcx, .sp = regs->rsp,
		.ip = regs->rip, .eflags = regs->eflags,
		.cs = (uint16_t)regs->cs, .ss = (uint16_t)regs->ss,
	};
	restart_call(context, regs);
}

bool ca_frame_make(struct ca_frame *out, const struct user_regs_struct *regs, uint64_t mask,
		   const uint8_t *xstate, size_t xstate_bytes, const struct ca_gadgets *gadgets)
{
	uint64_t features, used;
	uint32_t magic2 = MAGIC2;

	if (xstate_bytes < XSAVE_LEAST)
		return false;
	memcpy(&features, xstate + XSAVE_SW, sizeof(features));
	memcpy(&used, xstate + XSAVE_HEADER, sizeof(used));
	features &= ~AMX;
	uint32_t size = state_bytes(features);

	if (used & AMX || !size || size > xstate_bytes || size > CA_FRAME_STATE_MAX)
		return false;
	ca_addr state = (regs->rsp - BELOW_SP - size - sizeof(magic2)) & ~(ca_addr)(XSAVE_ALIGN - 1);

	out->sp = ((state - sizeof(struct frame)) & ~(ca_addr)15) - 8;
	out->child_sp = out->sp - CHILD_WORD;
	out->start = out->child_sp;
	out->size = state + size + sizeof(magic2) - out->start;

	struct frame frame = { .restorer = gadgets->restorer };
	struct sw_bytes sw = { MAGIC1, size + sizeof(magic2), features, size, { 0 } };

	fill_context(&frame.context, regs);
	frame.context.fpstate = state;
	frame.context.sigmask = mask;
	memset(out->bytes, 0, sizeof(out->bytes));
	memcpy(out->bytes, &gadgets->exit, sizeof(gadgets->exit));
	memcpy(out->bytes + CHILD_WORD, &frame, sizeof(frame));
	memcpy(out->bytes + (state - out->start), xstate, size);
	memcpy(out->bytes + (state - out->start) + XSAVE_SW, &sw, sizeof(sw));
	memcpy(out->bytes + (state - out->start) + size, &magic2, sizeof(magic2));
	return true;
}
