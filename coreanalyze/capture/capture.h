/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * capture: an ELF core of a process that lives on. First, do no harm: what can
 * be done before the process stands still is done before, what may hurt it is
 * refused with figures before anything is touched, and however we end, it goes
 * on.
 *
 *   struct ca_view view;
 *   struct ca_captured done;
 *   struct ca_error *err = ca_view_open(&ctx, pid, &view);
 *
 *   if (!err)
 *           err = ca_capture(&view, &(struct ca_capture_options){ .file = "core.1234" }, &done);
 *   ca_view_close(&view);
 */
#ifndef CA_CAPTURE_H
#define CA_CAPTURE_H

#include "../image/image.h"
#include "../runtime/runtime.h"

/*
 * A process as it runs, for its files, its arguments and where CPython keeps its
 * state in it. Zeroed, it may be closed; it is to be closed after an error too.
 */
struct ca_view {
	struct ca_context *ctx;
	int32_t pid;
	int proc, mem;         /* its folder in /proc, and that one's file mem */
	struct ca_image *image; /* read in place, page by page: words that change may be torn */
	struct ca_runtime *rt; /* NULL: it runs no CPython that we know */
	struct ca_context own; /* that they were opened with: what it warns of is about torn words */
};
/*
 * Errors (CA_TARGET): there is no such process; it may not be read, and why; it
 * is a zombie, a kernel thread, traced by another.
 */
struct ca_error *ca_view_open(struct ca_context *ctx, int32_t pid, struct ca_view *view);
void ca_view_close(struct ca_view *view);

struct ca_capture_options {
	const char *file; /* where the core goes; it appears there when it is whole, 0600 */
	bool compress;    /* as zstd does */
	bool fork;        /* what is copied is a fork that the process is made to make: see below */
	bool full;        /* all that gcore would write: by coredump_filter, core(5) */
};

/* What was written. */
struct ca_captured {
	uint64_t bytes;      /* of the core, unpacked, with its holes */
	uint64_t disk_bytes; /* that its file takes */
	size_t threads;
	struct ca_taken taken; /* as the core tells it (image.h) */
};

/*
 * Stops the process, copies its memory, lets it go, and then writes the core; the
 * memory for the copy is had and touched before. Where free memory and the
 * cgroups that we are in have no room for the copy it is written to the file
 * while the process stands still. If the heap is caught in mid-update (a
 * collection under way, a list with a broken link) it is let go and stopped again
 * a few milliseconds later, five times; the core says how it was caught.
 *
 * Errors (CA_TARGET): it ended; it does not stop; neither memory nor disk has
 * room, with figures; the file cannot be written: then nothing is left behind.
 */
struct ca_error *ca_capture(const struct ca_view *view, const struct ca_capture_options *options,
			    struct ca_captured *out);

/*
 * With options.fork the process stands still for a fork() only; its child never
 * runs, is read at leisure, killed, and waited for without a trace. It costs the
 * process a copy of each page that it writes meanwhile. Errors (CA_TARGET) beside
 * those above: whatever speaks against it, with figures, before anything is touched
 * (a memory limit without 1.1 times of what is resident, seccomp, a shadow stack,
 * strict overcommit, huge pages, userfaultfd, devices, no thread that can run our
 * call ...); memory ran short meanwhile, and the child was killed.
 *
 * If we are killed, the process goes on as it was; a zombie may be left, which this
 * lets it wait for. *left: those that could not be.
 */
struct ca_error *ca_capture_reap(const struct ca_view *view, unsigned *reaped, unsigned *left);

/* A core that the kernel pipes to us (core(5), /proc/sys/kernel/core_pattern). */
struct ca_kernel_options {
	const char *folder;
	const char *pid, *lwp, *name; /* %P, %I, %e: the last is whatever the process likes */
	uint64_t most_bytes; /* of disk that all files of folder may take; 0: what the disk has */
	bool compress;
};
struct ca_from_kernel {
	char file[160];      /* its name in folder */
	uint64_t bytes;      /* of the core, unpacked, with its holes */
	uint64_t disk_bytes;
	bool is_cut;         /* there was no more room, or the stream ended early */
	bool is_raw;         /* it is no core of x86-64 as the kernel writes them: kept as it is */
};
/*
 * Reads a core from a stream once, from its start to its end, and writes what an
 * analysis needs of it. It runs as root on what anybody may make: it only copies
 * bytes, by the core's program headers, and looks into none. The file's name has
 * only letters, digits, '.', '_' and '-'; it is new, and readable by its owner alone.
 * A core that has no room is cut short, which the analysis bears.
 *
 * Errors (CA_TARGET): folder is none; there is no room at all; nothing was read.
 */
struct ca_error *ca_capture_from_kernel(int stream, const struct ca_kernel_options *options,
					struct ca_from_kernel *out);

#endif
