/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to emulate.c and the emulated*.c: what the two processes share, and the
 * child's processor.
 */
#ifndef CA_OBJECT_EMULATED_H
#define CA_OBJECT_EMULATED_H

#include <unicorn/unicorn.h>

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

enum { CA_EMULATED_PAGE = 4096 };

struct ca_processor {
	const struct ca_runtime *rt;
	struct ca_emulated_batch *batch;
	uc_engine *uc;
	uint8_t *stack, *code;
	unsigned windows;
	uint64_t blocks;
	bool no_bytes; /* the call touched memory that nobody has bytes for */
	bool wanders;  /* it asked the system for something */
	struct ca_map routines; /* address -> index in routines[], + 1 */
};

/* Maps what the image has around addr; false when nobody has bytes for it (emulated.c). */
bool ca_processor_map(struct ca_processor *cpu, ca_addr addr);
/* libc's routines that use AVX are answered by us (emulated_libc.c). */
void ca_processor_answer_libc(struct ca_processor *cpu);
/* From here on the process can do nothing but compute and use the pipe (emulated_cage.c). */
bool ca_processor_lock_in(int pipe);

#endif
