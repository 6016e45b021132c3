/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to emulate.c and emulated.c: what the two processes share. */
#ifndef CA_OBJECT_EMULATED_H
#define CA_OBJECT_EMULATED_H

#include "emulate.h"

enum { CA_EMULATED_BATCH = 4096 };
/* References of one batch; 64 MiB, of which only what is used is ever touched. */
enum { CA_EMULATED_REFS = 8 << 20 };

/*
 * A batch. The child writes results in order and then raises `done`; it may stop
 * before `count` when the references fill up. Nothing that it wrote is believed
 * without a check.
 */
struct ca_emulated_batch {
	ca_addr function;
	uint32_t count;
	uint32_t done;     /* atomic */
	ca_addr objects[CA_EMULATED_BATCH];
	struct {
		uint32_t how;      /* enum ca_emulated */
		uint32_t refs_end; /* of refs, after this object's */
	} results[CA_EMULATED_BATCH];
	_Alignas(4096) ca_addr refs[CA_EMULATED_REFS];
};

/* The child's life: serves batches, a byte each way, until the pipe closes. */
_Noreturn void ca_emulated_serve(const struct ca_runtime *rt, struct ca_emulated_batch *batch,
				 int pipe);

#endif
