/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to capture: a system call of ours, run by a thread of the process that
 * stands still. Whatever happens to us at any moment, the thread comes back to
 * what it was doing.
 *
 *   frame.c   how it comes back by itself     gadgets.c  code of its own that it runs
 *   inject.c  the call                        fork.c     what is called
 */
#ifndef CA_CAPTURE_INJECT_H
#define CA_CAPTURE_INJECT_H

#include "private.h"

#include <sys/user.h>

/* ---- gadgets.c -------------------------------------------------------------- */

/* Addresses in code that the process has mapped. */
struct ca_gadgets {
	ca_addr call;	  /* syscall; ret */
	ca_addr restorer; /* mov $15, %rax; syscall: rt_sigreturn() */
	ca_addr exit;	  /* _exit() */
};
/* False where one of them is missing. */
bool ca_gadgets_find(struct ca_gadgets *gadgets, const struct ca_view *view);
/* Whether that is still there: libraries may have been unloaded since. */
bool ca_gadgets_hold(const struct ca_gadgets *gadgets, int mem);

/* ---- frame.c ---------------------------------------------------------------- */

enum { CA_FRAME_STATE_MAX = 8 * 1024, CA_FRAME_MAX = CA_FRAME_STATE_MAX + 1024 };
struct ca_frame {
	ca_addr sp, child_sp; /* the stack pointers for the call and for who is born of it */
	ca_addr start;
	size_t size;
	uint8_t bytes[CA_FRAME_MAX]; /* what is to be at start */
};
/* False where the processor's state has parts that no frame has room for. */
bool ca_frame_make(struct ca_frame *frame, const struct user_regs_struct *regs, uint64_t mask,
		   const uint8_t *xstate, size_t xstate_bytes, const struct ca_gadgets *gadgets);

/* ---- inject.c --------------------------------------------------------------- */

struct ca_injection {
	int32_t lwp;	  /* a thread that we have stopped */
	int mem;	  /* /proc/PID/mem, to be written to */
	const struct ca_gadgets *gadgets;
	struct user_regs_struct regs; /* its own, */
	uint64_t mask;		      /* and its signal mask */
	struct ca_frame frame;
	uint8_t before[CA_FRAME_MAX]; /* what was where the frame is */
	int32_t child;	  /* who was born of the call, stopped; 0: nobody */
	int64_t result;	  /* as the kernel returns it: negative, an errno */
	bool was_stopped; /* a SIGSTOP came meanwhile, which is still to be sent */
};
/*
 * Why no call can be put into a thread that is stopped; NULL: it can. vmas: of its
 * process.
 */
const char *ca_inject_obstacle(const struct ca_lwp *lwp, const struct ca_view *view,
			       const struct ca_vmas *vmas);
/* Makes the frame. False: the thread is gone, or its state is more than a frame holds. */
bool ca_inject_prepare(struct ca_injection *injection);
/*
 * Runs a call in the thread. False: the process is gone, or the thread did not come
 * back in time and does so by itself.
 */
bool ca_inject(struct ca_injection *injection, long number, const uint64_t arguments[6]);

#endif
