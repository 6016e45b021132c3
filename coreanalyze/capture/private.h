/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Private to capture.
 *
 *   view.c     a look at the process as it runs   settled.c  is its heap in mid-update?
 *   capture.c  the whole                          stopped.c  the steps around the stop
 *   copy.c     copying while it stands still      fork.c     or a child of its own (inject.h)
 *   store.c    where pages go meanwhile           pieces.c   what of its memory the core has
 *   notes.c    what the core says beside          write.c    the core
 *   sink.c     its bytes, maybe packed            kernel.c   one that the kernel pipes to us
 *   smaps.c    what is special about mappings     choice.c   which of them are wanted
 *   output.c   its file
 */
#ifndef CA_CAPTURE_PRIVATE_H
#define CA_CAPTURE_PRIVATE_H

#include "../image/live.h"
#include "capture.h"

#include <elf.h>

/* ---- smaps.c ---------------------------------------------------------------- */

/* Fills in the traits of what is mapped; false: errno. */
bool ca_smaps_read(int proc, struct ca_vmas *vmas);

/* ---- settled.c -------------------------------------------------------------- */

/* Where the words are that tell whether a heap is in mid-update. */
struct ca_settled {
	ca_addr *collecting; /* an int for each interpreter */
	ca_addr *heads;	     /* of the collector's lists */
	ca_addr gils[CA_GILS_MAX];
	size_t collecting_count, head_count, gil_count;
	int32_t thread_id; /* a thread state's offset of it */
};
void ca_settled_init(struct ca_settled *settled, const struct ca_view *view);
/* Fills in what taken says of it; mem: the stopped process's. False: in mid-update. */
bool ca_settled_look(const struct ca_settled *settled, int mem, const struct ca_lwp *lwps,
		     size_t lwp_count, struct ca_taken *taken);
void ca_settled_fini(struct ca_settled *settled);

/* ---- choice.c --------------------------------------------------------------- */

/*
 * Which mappings the core has whole, beside what the process has written: what an
 * analysis needs, or (full) what gcore and the kernel would write. False: errno.
 */
bool ca_choose(int proc, struct ca_vmas *vmas, bool full);

/* ---- pieces.c --------------------------------------------------------------- */

/* A PT_LOAD: bytes of it are in the file, or none. */
struct ca_piece {
	ca_addr start, end;
	uint32_t flags;
	bool dumped;
	uint64_t offset; /* in the core */
};
struct ca_pieces {
	struct ca_piece *items;
	size_t count, capacity;
	uint64_t file_bytes; /* the core's size */
};
void ca_pieces_make(struct ca_pieces *pieces, const struct ca_vmas *vmas, const struct ca_plan *plan);
/* Gives each its place, the first one at `at`. */
void ca_pieces_place(struct ca_pieces *pieces, uint64_t at);
void ca_pieces_fini(struct ca_pieces *pieces);

/* ---- notes.c ---------------------------------------------------------------- */

struct ca_notes {
	uint8_t *bytes;
	size_t count, capacity;
	size_t taken_at; /* where our own note's text is: it is filled in last */
};
struct ca_noted {
	int32_t pid;
	int proc;
	const struct ca_lwp *lwps;
	size_t lwp_count;
	const struct ca_vmas *vmas;
	const char *chroot;
	const void *auxv;
	size_t auxv_bytes;
};
void ca_notes_make(struct ca_notes *notes, const struct ca_noted *noted);
void ca_notes_set_taken(struct ca_notes *notes, const struct ca_taken *taken);
void ca_notes_fini(struct ca_notes *notes);

/* ---- store.c ---------------------------------------------------------------- */

/*
 * Where copied pages go: to memory, one behind the other, or straight to their
 * places in the core.
 */
struct ca_store {
	struct ca_context *ctx;
	uint8_t *memory; /* NULL: they go to the core's file */
	uint64_t room;	 /* bytes of memory */
	int fd;
	atomic_bool ended; /* the process's memory is gone */
	atomic_int error;  /* errno of a write that failed */
	atomic_uint_fast64_t lost_pages;
	/* Asked before each chunk; false ends it. NULL: nobody asks. */
	bool (*go_on)(void *arg);
	void *arg;
	atomic_bool stopped;
};
/*
 * Chooses memory for `bytes`, where there is room, and touches it; else the file,
 * where that may go. The error has both figures.
 */
struct ca_error *ca_store_open(struct ca_store *store, struct ca_context *ctx, uint64_t bytes,
			       int fd, bool to_file);
/* Copies all of plan, of the process pid (0: only through mem). False: see ended, error. */
bool ca_store_fill(struct ca_store *store, int32_t pid, int mem, const struct ca_plan *plan,
		   const struct ca_pieces *pieces);
/*
 * Reads a run, but for pages that nobody can read (a device's, a broken disk's): they
 * are zeros, and counted.
 */
void ca_read_pages(struct ca_store *store, int32_t pid, int mem, uint8_t *to, struct ca_run run);
void ca_store_close(struct ca_store *store);

/* ---- sink.c ----------------------------------------------------------------- */

struct ca_sink {
	struct ca_spool file;
	struct archive *packer; /* NULL: as it is */
	uint64_t at;		/* how far the core has come, unpacked */
	int error;		/* errno of what failed first, after which nothing is written; or 0 */
};
/* fd begins empty. compress: as zstd. */
void ca_sink_open(struct ca_sink *sink, int fd, bool compress);
void ca_sink_put(struct ca_sink *sink, const void *bytes, uint64_t size);
/* Zeros up to a place: a hole, unless it is packed. */
void ca_sink_skip(struct ca_sink *sink, uint64_t at);
/* False: errno. */
bool ca_sink_close(struct ca_sink *sink);

/* ---- write.c ---------------------------------------------------------------- */

/* How many bytes precede the first piece. */
uint64_t ca_core_head_bytes(const struct ca_pieces *pieces, const struct ca_notes *notes);
/* Headers and notes alone, into a file whose pieces are there. False: errno. */
bool ca_core_write_head(int fd, const struct ca_pieces *pieces, const struct ca_notes *notes);
/* The whole, from memory. compress: as zstd, else with holes where pages are zero. */
bool ca_core_write(int fd, bool compress, const struct ca_pieces *pieces,
		   const struct ca_notes *notes, const struct ca_store *store,
		   const struct ca_plan *plan);

/* What a core's file has, packed into another. */
bool ca_core_pack(int from, int to, uint64_t bytes);

/* ---- output.c --------------------------------------------------------------- */

/* A file that has its name only when it is whole. */
struct ca_output {
	int fd;
	const char *path;
	char *temporary; /* its name meanwhile; NULL: none */
};
struct ca_error *ca_output_open(struct ca_output *output, const char *path);
/* False: errno. */
bool ca_output_commit(struct ca_output *output);
/* Also after commit. */
void ca_output_close(struct ca_output *output);
/* A file without a name in the same folder. */
struct ca_error *ca_output_spool(const struct ca_output *output, struct ca_spool *spool);
struct ca_error *ca_output_refuse(const struct ca_output *output, int why);

/* ---- the capture under way --------------------------------------------------- */

struct ca_capturing {
	const struct ca_view *view;
	const struct ca_capture_options *options;
	struct ca_output output;
	struct ca_spool spool; /* in the place of output, for a core that is packed later; -1 */
	struct ca_settled settled;
	const char *chroot;
	const void *auxv;
	size_t auxv_bytes;
	struct ca_vmas vmas;
	struct ca_plan plan;
	uint64_t allowed; /* bytes of it that the store has room for */
	bool grown;	  /* it was more */
	struct ca_lwp *lwps;
	size_t lwp_count;
	struct ca_pieces pieces;
	struct ca_notes notes;
	struct ca_store store;
	struct ca_taken taken;
	struct ca_forking *forking; /* fork.c */
};

/* ---- stopped.c -------------------------------------------------------------- */

/*
 * Stops the process, calls act while it stands still, lets it go; again, when its
 * heap was in mid-update and act was not called. Fills in lwps and taken. The
 * calling thread must end soon, whatever happens.
 */
typedef struct ca_error *ca_stopped_act(struct ca_capturing *c);
struct ca_error *ca_stopped(struct ca_capturing *c, ca_stopped_act *act);
uint64_t ca_now_ns(void);

/* ---- copy.c ----------------------------------------------------------------- */

/* Reads what is mapped and which pages there are. */
struct ca_error *ca_capturing_survey(struct ca_capturing *c);
/* Makes pieces and notes of what the stopped process is, and gives them their places. */
void ca_capturing_describe(struct ca_capturing *c);
/* Room for what is copied; to_file: not in memory. */
struct ca_error *ca_capturing_open_store(struct ca_capturing *c, uint64_t bytes, bool to_file);
/* The two methods, in a thread of their own: the kernel ties what is stopped to it. */
struct ca_error *ca_copy_taken(struct ca_capturing *c);
struct ca_error *ca_fork_taken(struct ca_capturing *c);

#endif
