/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to capture: a copy of a process by a fork of its own.
 *
 *   refuse.c  what speaks against it     fork.c  how it is made and read
 *   reap.c    how it goes
 */
#ifndef CA_CAPTURE_FORK_H
#define CA_CAPTURE_FORK_H

#include "inject.h"

/* ---- refuse.c --------------------------------------------------------------- */

/* Refuses, with figures, what would hurt. vmas: with traits. Touches nothing. */
struct ca_error *ca_fork_check(const struct ca_view *view, const struct ca_vmas *vmas);
/* Whether a twentieth of the memory of a limit of its is all that is left. */
bool ca_fork_is_short(int32_t pid);

/* ---- reap.c ----------------------------------------------------------------- */

/*
 * Lets a thread of the process wait for a child that has ended, by the child's
 * number as the process sees it. False: no thread of it can; pause_ns: how long one
 * stood still for it.
 */
bool ca_fork_reap(const struct ca_view *view, const struct ca_gadgets *gadgets, int mem,
		  int32_t child, uint64_t *pause_ns);

#endif
