/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * emulate: the references that an object's own tp_traverse visits, found by
 * running that function on the image in an emulated processor.
 *
 *   we                                    a child of ours, locked in
 *   function, objects  -- shared -->      unicorn: tp_traverse(object, visit, arg)
 *   references         <- memory ---      visit() appends to the shared array
 *
 * The code is the target's, so it is run where it can do no harm: the child has
 * no descriptor but its pipe, no system call but those that memory needs, a limit
 * on memory, and each call one on its length. What it writes stays its own. When
 * it dies, the calls that killed it have no answer and another child takes over.
 */
#ifndef CA_OBJECT_EMULATE_H
#define CA_OBJECT_EMULATE_H

#include "../runtime/runtime.h"

struct ca_emulator;

/* What a call came to. */
enum ca_emulated {
	CA_EMULATED_WELL,
	CA_EMULATED_NO_BYTES, /* code or data that nobody has bytes for: a file is missing */
	CA_EMULATED_LIMIT,    /* too long, or too many references */
	CA_EMULATED_FAILED,   /* an instruction that the emulator lacks, or an error returned */
	CA_EMULATED_DIED,     /* took the child with it */
};
/* In words: "code of a missing file". */
const char *ca_emulated_name(enum ca_emulated how);

/*
 * One for an image; not thread-safe. The child is started at the first call.
 * The runtime must outlive it.
 */
struct ca_emulator *ca_emulator_make(const struct ca_runtime *rt);
void ca_emulator_close(struct ca_emulator *emulator); /* NULL is allowed */

/*
 * Calls function, a tp_traverse, on each object. take() gets what each visits, in order and
 * with multiplicity: words of the target's own making, which need not be objects. They are
 * valid during the call. count: of references; 0 unless CA_EMULATED_WELL.
 */
typedef void ca_emulator_take(void *arg, size_t index, enum ca_emulated how, const ca_addr *refs,
			      size_t count);
void ca_emulator_traverse(struct ca_emulator *emulator, ca_addr function, const ca_addr *objects,
			  size_t count, ca_emulator_take *take, void *arg);

#endif
