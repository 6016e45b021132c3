/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A process that lives, for image itself and for capture/. All its threads are
 * stopped, its private memory is copied, they go on; what is made of the copy is an image
 * like that of a core.
 *
 *   process.c   from a number to an image     maps.c    what is mapped
 *   capture.c   the steps around the stop     stop.c    the threads
 *   copy.c      pages from there to here      lazy.c    its pages, when they are touched
 *   standing.c  one that a debugger holds     limits.c  how much we may take (image.h)
 */
#ifndef CA_IMAGE_LIVE_H
#define CA_IMAGE_LIVE_H

#include "image.h"

#include <stdatomic.h>
#include <sys/types.h>

enum { CA_PAGE = 4096 /* x86-64 */ };

static inline uint64_t ca_page_floor(uint64_t value)
{
	return value & ~(uint64_t)(CA_PAGE - 1);
}

/* Saturates at the last page. */
static inline uint64_t ca_page_ceil(uint64_t value)
{
	return value > UINT64_MAX - CA_PAGE ? ca_page_floor(UINT64_MAX)
					    : ca_page_floor(value + CA_PAGE - 1);
}

/* ---- spool.c ------------------------------------------------------------- */

struct ca_spool {
	int fd;             /* has no name any more; readable by us alone */
	const char *folder;
	uint64_t written;   /* bytes, without the holes */
};
struct ca_error *ca_spool_open(const struct ca_image_options *options, struct ca_spool *spool);
void ca_spool_close(struct ca_spool *spool);
/* How many bytes it may still take: some of the disk is left to others. */
uint64_t ca_spool_room(const struct ca_spool *spool);
/* The error for a lack of room; than: "" or "more than ". */
struct ca_error *ca_spool_full(const struct ca_spool *spool, const char *what, const char *than,
			       uint64_t needed);
/* Pages of zeros stay holes. False: see errno. */
bool ca_spool_write(struct ca_spool *spool, const uint8_t *bytes, uint64_t size, uint64_t offset);

/* ---- maps.c -------------------------------------------------------------- */

/* What smaps tells more, where somebody asks for it (capture/). */
enum ca_vma_trait {
	CA_VMA_DONT_DUMP = 1,     /* MADV_DONTDUMP */
	CA_VMA_DEVICE = 2,        /* memory of a device */
	CA_VMA_HUGETLB = 4,
	CA_VMA_USERFAULT = 8,     /* a userfaultfd is told of its faults */
	CA_VMA_NOT_FORKED = 16,   /* MADV_DONTFORK, MADV_WIPEONFORK */
	CA_VMA_SHADOW_STACK = 32,
	CA_VMA_LOCKED = 64,
	CA_VMA_CHANGED = 128,     /* it has pages of its own, which no file has */
};
struct ca_vma {
	ca_addr start, end;
	uint32_t flags;       /* CA_SEG_READ, _WRITE, _EXEC */
	uint32_t traits;      /* enum ca_vma_trait */
	bool shared;
	bool is_elf;          /* of a file that has code mapped too */
	bool deleted;         /* that file has no name any more */
	bool whole;           /* all its pages are wanted, whatever is in them: the caller says so */
	uint64_t offset;
	const char *path;     /* as the kernel tells it: "", "[heap]", "/usr/bin/python3" */
};
struct ca_vmas {
	struct ca_vma *items;
	size_t count, capacity;
	char *text;           /* what the paths point into */
};
/* Reads maps of the folder /proc/PID; false with errno set. */
bool ca_vmas_read(int proc, struct ca_vmas *vmas);
bool ca_vmas_read_from(int maps, struct ca_vmas *vmas); /* an open file */
void ca_vmas_fini(struct ca_vmas *vmas);
/* Untouched pages of it are zeros. */
bool ca_vma_is_anonymous(const struct ca_vma *vma);

/* A whole file of /proc, ended by a NUL; NULL with errno set. free() releases. */
char *ca_proc_read(int proc, const char *name, size_t *size);

/* Runs of pages of the process that are to be copied. */
struct ca_run {
	ca_addr start, end;
	bool common;          /* another process has these pages too, as after a fork */
};
struct ca_plan {
	struct ca_run *runs; /* sorted */
	size_t count, capacity;
	uint64_t bytes;
	uint64_t looked_at;  /* bytes of address space, page by page */
};
/* By the process's pagemap; false with errno set. */
bool ca_plan_make(int proc, const struct ca_vmas *vmas, struct ca_plan *plan);
/* Whether pages there are guards, which nobody can touch, without being mapped so. */
bool ca_guard_between(int proc, ca_addr start, ca_addr end);
/* Without a pagemap: all that may have been written. */
void ca_plan_all(const struct ca_vmas *vmas, struct ca_plan *plan);
void ca_plan_fini(struct ca_plan *plan);

/* ---- stop.c -------------------------------------------------------------- */

struct ca_stop {
	int32_t pid;
	int proc;             /* its folder in /proc */
	struct ca_stopped *threads;
	size_t count, capacity;
	struct ca_map known;  /* lwp -> its number in threads + 1 */
};
/*
 * Stops every thread. The calling thread must end soon, whatever happens: with
 * it every thread that is still held goes on, also one that could not be
 * stopped in time.
 */
struct ca_error *ca_stop_all(struct ca_stop *stop);
/* The same of one thread alone. */
struct ca_error *ca_stop_one(struct ca_stop *stop, int32_t lwp);
/* Their registers, the main thread first. */
struct ca_error *ca_stop_registers(const struct ca_stop *stop, struct ca_arena *arena,
				   struct ca_lwp **lwps, size_t *count); /* free() releases */
/* Lets all go on; false when some had died meanwhile. */
bool ca_stop_release(struct ca_stop *stop);
void ca_stop_fini(struct ca_stop *stop);

/* ---- copy.c -------------------------------------------------------------- */

/*
 * Where the copy goes: memory, or a file when spool is open. Neighbouring
 * mappings keep their distance in it, so that what was contiguous is so here.
 */
struct ca_copy {
	struct ca_context *ctx;
	int32_t pid;
	struct ca_spool spool;
	int lazy_mem;         /* -1, or where memory is read from when it is touched */
	int store;            /* where that is kept, when it is not in spool */
	struct ca_cluster *clusters;
	size_t count, capacity;
	uint64_t file_bytes;
	struct ca_run *lost;  /* pages that could not be read, sorted */
	size_t lost_count, lost_capacity;
	atomic_bool ended;    /* the process died while it was read */
	atomic_int error;     /* errno of a write that failed, or 0 */
};
/* Chooses by size between memory and disk; the error has both figures. */
struct ca_error *ca_copy_open(struct ca_copy *copy, struct ca_context *ctx, int32_t pid,
			      const struct ca_image_options *options, uint64_t bytes);
/* Makes room for what plan takes of vmas; false: the address space has none. */
bool ca_copy_reserve(struct ca_copy *copy, const struct ca_vmas *vmas, const struct ca_plan *plan);
/* Touches that room, so that the stop need not wait for it. */
void ca_copy_touch(struct ca_copy *copy, const struct ca_plan *plan);
/*
 * Reads what it can of a run's start, of the process pid or, where that is 0 or
 * another process has the pages too, through mem, /proc/PID/mem. As read(): 0 when
 * the process has no memory any more, -1 and errno when a page cannot be read.
 */
ssize_t ca_run_read(int32_t pid, int mem, uint8_t *to, struct ca_run run);
/* Copies the pages; mem: /proc/PID/mem. */
void ca_copy_run(struct ca_copy *copy, int mem, const struct ca_plan *plan);
/* Gives all its memory to the image, read-only; false: errno. */
bool ca_copy_keep(struct ca_copy *copy, struct ca_image *image);
/* Where [start, end) is; NULL when it has no room. After ca_copy_keep(). */
const uint8_t *ca_copy_at(const struct ca_copy *copy, ca_addr start, ca_addr end);
void ca_copy_fini(struct ca_copy *copy);

/* ---- lazy.c -------------------------------------------------------------- */

/*
 * Memory that reads as [start, start + bytes) of mem, each page when it is first
 * touched; store (a file, from offset on) keeps it. NULL: no address space.
 */
uint8_t *ca_lazy_map(int mem, int store, uint64_t offset, ca_addr start, uint64_t bytes);
/*
 * Memory that give() has when it is first touched, a chunk at a time: it writes all bytes of `to` that are not 0
 * at once, in a signal handler. chunk: a power of 2.
 */
typedef void ca_lazy_fill(void *arg, uint64_t offset, uint64_t bytes, uint8_t *to);
uint8_t *ca_lazy_map_by(ca_lazy_fill *give, void *arg, int store, uint64_t bytes, uint64_t chunk);
/* Before such memory is unmapped; nothing to other memory. */
void ca_lazy_unmap(const uint8_t *at);

/* ---- capture.c ----------------------------------------------------------- */

struct ca_capture {
	struct ca_image *image;
	const struct ca_image_options *options;
	int32_t pid;
	int proc;
	const char *chroot;   /* what its paths start with, that it does not see; or "" */
	struct ca_vmas vmas;
	struct ca_plan plan;
	struct ca_copy copy;
};
/* Of one that stands still already: nothing is copied ahead (standing.c). */
struct ca_error *ca_standing_run(struct ca_capture *capture);
/* Stops, copies, lets go. */
struct ca_error *ca_capture_run(struct ca_capture *capture);
/*
 * Opens the folder /proc/PID, if that is a process that may be read. proc is to
 * be closed after an error too, unless it is -1.
 */
struct ca_error *ca_process_enter(struct ca_arena *arena, int32_t pid, int *proc);
/* What the kernel's paths of it start with where it does not see them so; or "". */
const char *ca_process_chroot(struct ca_arena *arena, int proc);
struct ca_error *ca_process_refuse(const char *advice, const char *format, ...) CA_PRINTF(2, 3);

#endif
