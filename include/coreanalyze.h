/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * coreanalyze: what is in the Python heap of a core file.
 *
 *	struct ca_target *target;
 *	struct ca_failure failure;
 *
 *	if (ca_target_open("core.1234", NULL, &target, &failure) != 0) {
 *		fprintf(stderr, "%s: %s: %s\n", failure.what, failure.why, failure.advice);
 *		return failure.status;
 *	}
 *	for (size_t i = 0; i < ca_target_type_count(target); i++) {
 *		struct ca_type_info type;
 *
 *		ca_target_type(target, i, &type);
 *		printf("%s %llu\n", type.name, (unsigned long long)type.count);
 *	}
 *	ca_target_close(target);
 *
 * No code runs in the target and nothing of it is changed. A target belongs to
 * one thread at a time. Names and values are escaped: fit for a terminal.
 *
 * A snapshot's memory is unpacked when it is touched: from the first one on that is
 * opened the library handles SIGSEGV, and passes on what is not its own. Who sets another
 * handler while a snapshot is open passes on to the one before.
 */
#ifndef COREANALYZE_H
#define COREANALYZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CA_API __attribute__((visibility("default")))

/* An opened core, snapshot or process. */
struct ca_target;

struct ca_target_options {
	const char *exe;       /* the main executable's file, or NULL */
	const char *sysroot;   /* where the paths that the process saw are looked up, or NULL */
	const char *debug_dir; /* files by build-id or base name, or NULL */
	unsigned threads;      /* workers; 0: as many as CPUs may be used */
	const char *tmp_dir;   /* where compressed cores are unpacked; NULL: $TMPDIR, else /var/tmp */
};

/* Why something could not be done. The texts are static in size: nothing to free. */
struct ca_failure {
	int status; /* 2 usage, 3 the target cannot be analysed, 4 internal: as the command exits */
	char what[128], why[512], advice[512];
};

/*
 * Opens a core, or a snapshot of one, or by "pid:1234" a process, which stands still while its memory
 * is copied, and finds every object in it. options may be NULL. Returns 0 and a
 * target to be closed, or the status, with *failure filled (failure may be NULL).
 */
CA_API int ca_target_open(const char *path, const struct ca_target_options *options,
			  struct ca_target **target, struct ca_failure *failure);
CA_API void ca_target_close(struct ca_target *target);

/* "3.12.1" */
CA_API const char *ca_target_python(const struct ca_target *target);
CA_API int ca_target_pid(const struct ca_target *target);

/* What the target lacks and what that does to the figures; NULL after the last. */
CA_API const char *ca_target_warning(const struct ca_target *target, size_t index);

/* Objects of all types that share a name. Sizes in bytes. */
struct ca_type_info {
	const char *name;     /* "module.qualname"; owned by the target */
	uint64_t count;
	uint64_t bytes;       /* sum of sys.getsizeof */
	uint64_t owned;       /* in allocations that getsizeof leaves out */
	uint64_t gc_tracked;  /* in the collector's lists */
	uint32_t type_objects;
	bool bytes_exact;     /* false: basicsize and items only */
};

CA_API size_t ca_target_type_count(const struct ca_target *target);
/* Sorted by name. False when index is out of range. */
CA_API bool ca_target_type(const struct ca_target *target, size_t index, struct ca_type_info *info);

struct ca_object_info {
	uint64_t address;
	const char *type;     /* owned by the target */
	uint64_t bytes, owned;
	uint64_t refcount;    /* as recorded; of an immortal object it says nothing */
	bool immortal;
	bool gc_tracked;
	const char *value;    /* short and escaped, or NULL; owned by the target */
};

/* The object whose id() is address; false when none starts there. */
CA_API bool ca_target_object(struct ca_target *target, uint64_t address,
			     struct ca_object_info *info);
/* The next object after address in order of address (0: the first); 0 at the end. */
CA_API uint64_t ca_target_next(const struct ca_target *target, uint64_t address);

/* The main interpreter's collector, as its gc module would give it. */
struct ca_collector_info {
	bool enabled, collecting; /* collecting: in the middle of a collection */
	uint32_t debug;           /* gc.get_debug() */
	uint64_t frozen;          /* gc.get_freeze_count() */
	struct {
		int32_t threshold, count;
		uint64_t objects, bytes;
		int64_t collections, collected, uncollectable;
	} generations[3];
};

/* False where the target does not have it. */
CA_API bool ca_target_collector(struct ca_target *target, struct ca_collector_info *info);

/* Reference cycles, without references to an object's own type, to globals and into modules. */
struct ca_cycles_info {
	uint64_t cycles, objects, bytes;
	uint64_t with_finalizers;     /* cycles with a member that has __del__ */
	uint64_t unreachable_objects; /* that a full gc.collect() would have found */
};

/* As ca_target_open(): 0, or the status, with *failure filled. */
CA_API int ca_target_cycles(struct ca_target *target, struct ca_cycles_info *info,
			    struct ca_failure *failure);

/*
 * Who keeps objects alive. The first of these calls follows all references of the
 * process, which takes longer than to open it, and 60 bytes an object; the others
 * use what it has made. Each returns 0, or the status, with *failure filled.
 */

struct ca_owner_info {
	const char *name;    /* the shortest way to it: "app.registry.SESSIONS['active']"; owned by the target */
	uint64_t holder;     /* the object before it on that way; 0: none */
	uint64_t dominator;  /* the nearest object without which it would be freed; 0: none */
	uint64_t retained_bytes, retained_objects; /* what would be freed with it, itself included */
};

/* Status 2 where no object starts at address. */
CA_API int ca_target_owner(struct ca_target *target, uint64_t address, struct ca_owner_info *info,
			   struct ca_failure *failure);

/*
 * The objects that retain most bytes, these first: under 0 those that are inside no other object
 * (modules and their dicts are none in this), else those right under that one. *count: in, how
 * many addresses there is room for; out, how many there are.
 */
CA_API int ca_target_biggest(struct ca_target *target, uint64_t under, uint64_t *addresses,
			     size_t *count, struct ca_failure *failure);

#define CA_TARGET_SUSPECTS 5

/* A place where a leak may be: many objects of one type hang there, or much of the heap. */
struct ca_suspect_info {
	const char *name;        /* the place's, as above */
	uint64_t address;        /* 0: what hangs there is garbage or has leaked */
	uint64_t retained_bytes;
	double share;            /* of all bytes, 0 to 1 */
	const char *type;        /* of most of what hangs there; owned by the target */
	uint64_t count, bytes;   /* so many of them, with all that they retain */
};

/* The most retained bytes first; *count is 0 where nothing stands out. */
CA_API int ca_target_suspects(struct ca_target *target,
			      struct ca_suspect_info suspects[CA_TARGET_SUSPECTS], size_t *count,
			      struct ca_failure *failure);

#ifdef __cplusplus
}
#endif

#endif
