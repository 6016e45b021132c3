/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * runtime: where CPython's runtime is in an image, which release it is, and
 * what its interpreters and threads are. Versions of CPython are known here and
 * nowhere above: ask ca_has() whether a field exists.
 *
 * A layout is a candidate until the image proves it: the interpreter points
 * back at the runtime, sys.hexversion read through it names a release that the
 * table covers, each generation's list is linked both ways, `type` is its own
 * type.
 */
#ifndef CA_RUNTIME_H
#define CA_RUNTIME_H

#include "../image/image.h"
#include "layout.h"

/* True when this release has the field (see layout.def). */
static inline bool ca_has(int32_t offset)
{
	return offset >= 0;
}

struct ca_interp {
	ca_addr address;
	int64_t id;
	ca_addr gc;        /* its struct _gc_runtime_state */
	ca_addr obmalloc;  /* its struct _obmalloc_state; 0 where the release has static roots */
};

struct ca_thread {
	ca_addr address;
	uint32_t interp;      /* index of its interpreter */
	uint64_t thread_id;   /* pthread_t */
	uint64_t native_id;   /* LWP as the process itself knows it; 0 unknown */
	ca_addr frame;        /* the innermost frame: a PyFrameObject, or from 3.11 a _PyInterpreterFrame; 0 none */
};

/* A field that the table did not give rightly and memory did. */
struct ca_found_field {
	const char *structure, *field;
	int32_t table_offset, offset;
};

struct ca_runtime {
	struct ca_context *ctx;
	const struct ca_image *image;
	const struct ca_layout_table *tables; /* those that are known */
	size_t table_count;
	const struct ca_layout_table *table; /* where the layout began */
	struct ca_layout layout;             /* settled: the table's, corrected by the image */
	uint32_t hexversion;                 /* PY_VERSION_HEX */
	unsigned minor, micro;
	char version[24];                    /* "3.12.1", "3.15.0rc2" */
	bool proved;                         /* the table names this very release */
	bool covered;                        /* or was made for it, and no field is elsewhere */
	const struct ca_module *module;      /* the ELF file that holds _PyRuntime */
	ca_addr address;                     /* &_PyRuntime */
	ca_addr type_type;                   /* &PyType_Type */
	uint8_t hash_secret[16];             /* of str hashes: differs from process to process */
	struct ca_interp *interps;           /* main one last, as CPython links them */
	size_t interp_count;
	struct ca_thread *threads;
	size_t thread_count;
	struct ca_found_field *found;        /* what was corrected, for `info` */
	size_t found_count, found_capacity;
	const struct ca_module **copies;     /* mapped files with a runtime of their own, dead or not this one */
	size_t copy_count;
	bool collecting;                     /* a collection was under way in an interpreter */
};

/*
 * Finds and proves the runtime. The image must outlive it.
 * Errors (CA_TARGET): no CPython in this process; a release or build that is
 * not supported, named; a layout that could not be proved.
 */
struct ca_error *ca_runtime_open(struct ca_context *ctx, const struct ca_image *image,
				 struct ca_runtime **out);
void ca_runtime_close(struct ca_runtime *rt);

/*
 * Whether a module's data is this runtime's to read: not where it is another copy
 * of the runtime, whose static objects are none of this one's.
 */
bool ca_runtime_reads(const struct ca_runtime *rt, const struct ca_module *module);

/*
 * A thread's LWP as the image has it, which from outside of the process's PID
 * namespace is not the one that it knows itself by; 0 unknown.
 */
int32_t ca_thread_lwp(const struct ca_runtime *rt, const struct ca_thread *thread);

/* The three collected generations, then the frozen (permanent) one. */
enum { CA_GENERATIONS = 4 };
/* Address of a generation's list head (a PyGC_Head). */
ca_addr ca_runtime_generation(const struct ca_runtime *rt, const struct ca_interp *interp,
			      unsigned generation);

/* ---- the collector (gc.c) ------------------------------------------------ */

/* gc.set_debug() flags (Include/internal/pycore_gc.h). */
enum { CA_GC_DEBUG_SAVEALL = 1 << 5 };
/* Its heads are ca_runtime_generation()'s 0 to 2; as the gc module numbers them. */
enum { CA_GC_GENERATIONS = 3 };

struct ca_gc_generation {
	int32_t threshold, count; /* gc.get_threshold(), gc.get_count() */
	int64_t collections, collected, uncollectable; /* gc.get_stats() */
};

struct ca_gc {
	bool enabled, collecting;
	bool incremental;        /* 3.14.0 to 3.14.4: one young, two spaces of one old generation */
	uint32_t debug;
	struct ca_gc_generation generations[CA_GC_GENERATIONS];
	/*
	 * Who survived the last full collection, and who came to the oldest
	 * generation since: an automatic full one waits until the second is a
	 * quarter of the first. -1: this release does not count.
	 */
	int64_t long_lived_total, long_lived_pending;
	ca_addr garbage, callbacks; /* lists; 0 unknown */
};

/* False where its structure is unreadable. */
bool ca_gc_read(const struct ca_runtime *rt, const struct ca_interp *interp, struct ca_gc *gc);
/* ---- the interpreter lock (gil.c) ----------------------------------------- */

/* struct _gil_runtime_state, from its last_holder on: the same in all releases. */
enum { CA_GIL_HOLDER = 0 /* PyThreadState *, stays when it is let go */, CA_GIL_LOCKED = 8 /* int */ };
enum { CA_GILS_MAX = 16 };
/*
 * Where the interpreters' locks are: one, or from 3.12 on more. No release's
 * table has them: they are told by their shape. Returns how many; 0: unknown.
 */
size_t ca_gils_find(const struct ca_runtime *rt, ca_addr gils[CA_GILS_MAX]);

/* The generation, as gc.get_objects() numbers them, of what is in a list of ca_runtime_generation(). */
static inline unsigned ca_gc_generation_of(const struct ca_gc *gc, unsigned list)
{
	return gc->incremental && list == 1 ? 2 : list;
}

#endif
