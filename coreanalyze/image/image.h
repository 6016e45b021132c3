/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * image: bytes at an address. A core becomes an immutable, sorted table of
 * segments over mapped files; nothing is copied. Of a living process all private
 * memory is copied, while it stands still, and the table lies over the copy.
 *
 *   address space   ....[ core bytes ][ file bytes ]......[ core bytes ]....
 *   table               ^ segment 0   ^ segment 1         ^ segment 2
 *
 * A segment is a run of addresses whose bytes are all known and contiguous in
 * our memory. Neighbours of equal flags that are contiguous in both are merged
 * when the table is built. Where two PT_LOADs overlap, the first in the program
 * headers wins; bytes of the core always win over bytes of a mapped ELF file.
 * Memory that the process had but nobody has bytes for is in no segment: ask
 * ca_image_known() how much of a mapping is there.
 */
#ifndef CA_IMAGE_H
#define CA_IMAGE_H

#include "../base/base.h"

struct ca_segment {
	ca_addr start, end;  /* [start, end) */
	const uint8_t *data; /* end - start bytes, read-only */
	uint32_t flags;      /* CA_SEG_* */
};
enum { CA_SEG_READ = 1, CA_SEG_WRITE = 2, CA_SEG_EXEC = 4, CA_SEG_FILE = 8 /* from an ELF file, not the core */ };

/* One memory mapping of the process as the program headers and NT_FILE tell it. */
struct ca_mapping {
	ca_addr start, end;
	uint32_t flags;       /* CA_SEG_READ, _WRITE, _EXEC; 0 where unknown */
	uint64_t offset;      /* into path, bytes */
	const char *path;     /* "" for anonymous memory; as the process saw it; not escaped */
	uint64_t dumped;      /* bytes the core has of it */
};

/* What became of a module's file. */
enum ca_module_state {
	CA_MODULE_USED,     /* found, build-id agrees: its bytes fill the core's gaps */
	CA_MODULE_MISSING,  /* no such file, or not a regular file, or unreadable */
	CA_MODULE_MISMATCH, /* another build: not used */
	CA_MODULE_UNPROVED, /* the core lacks the build-id: not used, unless named by --exe */
};

/* An ELF file mapped in the process. */
struct ca_module {
	const char *path;         /* as recorded in the core; not escaped */
	const char *file;         /* the file used for it, or NULL */
	enum ca_module_state state;
	const char *why;          /* why the file is not used, or NULL */
	ca_addr start, end;       /* lowest and highest mapped address */
	ca_addr bias;             /* target address = ELF vaddr + bias */
	ca_addr data_start, data_end; /* its writable PT_LOAD (.data and .bss), or 0, 0 */
	uint8_t build_id[64];
	size_t build_id_size;     /* 0: unknown */
	struct ca_module_private *priv;
};

/* A thread at the moment of the dump (NT_PRSTATUS). */
struct ca_lwp {
	int32_t lwp;
	uint64_t ip, sp, fs_base;
	int32_t signal;           /* pr_cursig; 0: none */
	/* Of a living process: all registers, as ptrace gives them; else NULL. */
	const void *registers;    /* struct user_regs_struct */
	const void *fp_registers; /* struct user_fpregs_struct */
	const void *xstate;       /* NT_X86_XSTATE */
	size_t xstate_bytes;      /* 0: none */
};

/* How a living process was copied, or a core of ours taken: by that core's own note. */
struct ca_taken {
	char method[16];     /* "copy", "stream", "fork", "kernel" (capture.h); "": not told */
	int64_t at;          /* seconds since 1970 */
	int32_t pid, lwp;    /* the process and who crashed, outside of its namespaces; 0: not told */
	uint64_t pause_ns;   /* how long the process stood still for it */
	unsigned attempts;   /* stops it took: the last one counts */
	uint64_t lost_pages; /* that could not be read: they are zeros */
	/* What it was caught at. -1: unknown. */
	int collecting;      /* 1: a collection was under way in an interpreter */
	int broken_lists;    /* of the collector, where the link next to the head is broken */
	int gil;             /* 0: nobody holds a GIL, 1: somebody does */
	int32_t gil_lwp;     /* who; 0: unknown */
	int gil_in_call;     /* 1: the holder is in a system call */
};

/* What a snapshot was made of: it has those bytes of memory that its analysis needs, the others are 0. */
struct ca_saved {
	const char *from;         /* the target's path then; not escaped */
	const char *by;           /* version of coreanalyze; not escaped */
	int64_t at;               /* seconds since 1970 */
	bool redacted;            /* values are not in it */
};

enum ca_elf_class { CA_ELF32 = 1, CA_ELF64 = 2 };

struct ca_image {
	struct ca_context *ctx;
	const char *path;          /* of the core, or "pid:1234" */
	struct ca_segment *segments; /* sorted by start, disjoint */
	size_t segment_count;
	struct ca_mapping *mappings; /* sorted by start */
	size_t mapping_count;
	struct ca_module *modules;   /* sorted by start */
	size_t module_count;
	struct ca_lwp *lwps;         /* the one that died first, where the core says so */
	size_t lwp_count;
	int32_t pid;               /* 0: unknown */
	const char *exe;           /* executable's path: NT_FILE, else AT_EXECFN; "" unknown */
	const char **command_line; /* argv from the initial stack (else NT_PRPSINFO), NULL-ended */
	const char *arch;          /* libbfd's printable name, "i386:x86-64" -> "x86_64" */
	bool complete;             /* nothing is missing of what the dump meant to hold */
	uint64_t core_bytes;       /* size of the core file, unpacked; of a process, what was copied */
	bool live;                 /* of a process, not of a core */
	struct ca_taken taken;
	const struct ca_saved *saved; /* NULL: it is no snapshot's */
	struct ca_image_private *priv;
};

struct ca_image_options {
	const char *exe;       /* the main executable's file, or NULL */
	const char *sysroot;   /* recorded paths are looked up inside, or NULL */
	const char *debug_dir; /* files by build-id (.build-id/ab/cdef) or by base name, or NULL */
	bool has_mem, has_maps; /* pid:1234 stands still, and is read through these descriptors */
	int mem_fd, maps_fd;   /* of its /proc/PID/mem and maps */
	bool goes_on;          /* or it does not stand, and only little of it is looked at */
	const char *tmp_dir;   /* for what does not fit in memory; NULL: $TMPDIR, else /var/tmp */
};

/*
 * Opens a target by its form: "pid:1234" is a process that lives, all else the
 * path of a core. options may be NULL. The image and all that hangs on it live
 * until ca_image_close().
 */
struct ca_error *ca_image_open(struct ca_context *ctx, const char *target,
			       const struct ca_image_options *options, struct ca_image **out);
/*
 * Opens an ELF core. path must name a regular file; it is opened without
 * blocking (a FIFO is refused, not waited for). One that is compressed (zstd,
 * lz4, xz, gzip, bzip2) is unpacked to an unlinked file in tmp_dir first.
 * Errors (status CA_TARGET): no such file, a directory, empty, not ELF, not a
 * core, cut before any memory, 32-bit or another architecture (named). Mapped
 * ELF files that cannot be used are warnings.
 */
struct ca_error *ca_image_open_core(struct ca_context *ctx, const char *path,
				    const struct ca_image_options *options, struct ca_image **out);
/*
 * An image over the caller's segments, for tests; data must outlive it.
 * Sorts and merges as the core's do.
 */
struct ca_image *ca_image_from_buffers(struct ca_context *ctx, const struct ca_segment *segments,
				       size_t count);
void ca_image_close(struct ca_image *image);
/*
 * Of a process that is read in place: it goes on, and what was not read until
 * now reads as zeros. Nothing to other images.
 */
void ca_image_let_go(struct ca_image *image);
/* Reads what is left of it now: for a child that may not read files. */
void ca_image_fetch(const struct ca_image *image);

/*
 * The note of our own that our cores have, under this owner's name: struct
 * ca_taken as lines of KEY=VALUE. buffer: CA_TAKEN_BYTES, padded with NULs.
 */
#define CA_TAKEN_OWNER "coreanalyze"
enum { CA_TAKEN_NOTE = 1, CA_TAKEN_BYTES = 512 };
void ca_taken_format(const struct ca_taken *taken, char *buffer);

/*
 * A pointer to len bytes at addr, or NULL when any of them is unknown or they
 * do not lie in one segment. len 0 is NULL. Thread-safe, no allocation. The
 * pointer may have any alignment (gcore does not align what it writes): load
 * words with ca_load_u64() and ca_load_u32(), structures with memcpy().
 */
const void *ca_image_at(const struct ca_image *image, ca_addr addr, uint64_t len);
/* The longest run at addr: a pointer and its length, or NULL. */
const void *ca_image_run(const struct ca_image *image, ca_addr addr, uint64_t *len);
/* The run at addr, but at most `most` bytes of it: what the caller is going to read. */
const void *ca_image_part(const struct ca_image *image, ca_addr addr, uint64_t most, uint64_t *len);
/* Copies len bytes, also across segments; false (buffer undefined) if any is unknown. */
bool ca_image_read(const struct ca_image *image, ca_addr addr, void *buffer, uint64_t len);
bool ca_image_u64(const struct ca_image *image, ca_addr addr, uint64_t *value);
bool ca_image_u32(const struct ca_image *image, ca_addr addr, uint32_t *value);
/* How many bytes of [start, end) are known. */
uint64_t ca_image_known(const struct ca_image *image, ca_addr start, ca_addr end);
/* A NUL-ended string of at most max bytes, copied; false when unreadable or longer. */
bool ca_image_string(const struct ca_image *image, ca_addr addr, char *buffer, size_t max);
/* Bytes in mappings that the process could write to. */
uint64_t ca_image_writable(const struct ca_image *image);
/* The mapping or module that holds addr, or NULL. */
const struct ca_mapping *ca_image_mapping(const struct ca_image *image, ca_addr addr);
const struct ca_module *ca_image_module(const struct ca_image *image, ca_addr addr);

/* ---- snapshots (keep.c, packed.c) ------------------------------------------- */

/* How the file of a snapshot begins. */
#define CA_SNAPSHOT_MAGIC "\x89" "CASNAP\n"
enum { CA_SNAPSHOT_MAGIC_BYTES = 8 };
/*
 * ca_image_open_core() opens a snapshot's file too, and leaves the image empty: who knows the
 * format fills it. The file's bytes, mapped until the image is closed; NULL: it is no snapshot.
 */
const uint8_t *ca_image_snapshot(const struct ca_image *image, uint64_t *bytes);

/* Which words of the image were read: what a snapshot keeps. */
struct ca_keep;
/*
 * From now on, and by any number of threads, ca_image_at(), _part(), _read(), _string(), _u64()
 * and _u32() are noted. ca_image_run() is not: its caller says what of it is read.
 */
struct ca_keep *ca_keep_begin(struct ca_image *image);
void ca_keep_bytes(struct ca_keep *keep, ca_addr addr, uint64_t bytes);
/* The same, where they are in our memory; what lies in no segment is passed over. */
void ca_keep_data(struct ca_keep *keep, const void *data, uint64_t bytes);
/* These bytes are zeros all the same, though others of their words are read. */
void ca_keep_blank(struct ca_keep *keep, ca_addr addr, uint32_t bytes);
/* Copies [offset, offset + bytes) of a segment: zeros for what was not read. False: all are zeros. */
bool ca_keep_copy(struct ca_keep *keep, size_t segment, uint64_t offset, uint64_t bytes,
		  uint8_t *to);
void ca_keep_end(struct ca_image *image);

/*
 * Memory that is unpacked by the chunk when it is first touched. Chunk i is zstd's frame in
 * data[at[i]] to data[at[i + 1]], or nothing: zeros. What is damaged reads as zeros; ca_packed_damage()
 * tells how many chunks were. data and at must outlive the image.
 */
struct ca_packed {
	const uint8_t *data;
	uint64_t data_bytes;
	const uint64_t *at; /* [chunks + 1] */
	uint64_t chunks;
	uint64_t chunk_bytes; /* a power of 2, at least a page */
};
/* Returns where chunk 0 begins, or NULL with errno. It is the image's. */
const uint8_t *ca_packed_map(struct ca_image *image, const struct ca_packed *packed);
uint64_t ca_packed_damage(const struct ca_image *image);
/* Gives each of image->modules what is private: after they were set from outside. */
void ca_image_restore(struct ca_image *image);

/*
 * A symbol's address in the target by name (without its version), .dynsym then
 * .symtab; 0 when absent. Thread-safe; the first call on a module reads its table.
 */
ca_addr ca_module_symbol(const struct ca_module *module, const char *name);
/*
 * Calls back for each symbol that the module imports: its name and what the
 * loader has put in the module's slot for it (System V ABI: R_X86_64_JUMP_SLOT,
 * R_X86_64_GLOB_DAT), which may be the loader's own resolver as yet.
 */
typedef void ca_import_take(void *arg, const char *name, ca_addr value);
void ca_module_imports(const struct ca_module *module, ca_import_take *take, void *arg);
/* A section's target address range by name (".PyRuntime"); false when absent. */
bool ca_module_section(const struct ca_module *module, const char *name, ca_addr *start,
		       uint64_t *bytes);

/* ---- memory cgroups (limits.c) ---------------------------------------- */

struct ca_memory_group {
	const char *folder;    /* of its files */
	unsigned version;      /* 2 or 1; 0: the whole machine, and folder is the root */
	uint64_t limit;        /* bytes; UINT64_MAX: none */
	uint64_t high;         /* from here on it is slowed down; UINT64_MAX: nowhere */
	uint64_t usage;        /* bytes, */
	uint64_t cached;       /* and how many of them the kernel would give back first: of files, not in use */
	uint64_t kills;        /* processes in it that it has killed for memory */
};
/*
 * The groups that a process is in, from the nearest up; pid 0: our own. Calls back
 * until take returns false; what it is given lives as long as the call. Those
 * that cannot be seen are left out. root: "" but for tests, which have a /proc
 * and a /sys of their own.
 */
typedef bool ca_memory_group_take(void *arg, const struct ca_memory_group *group);
void ca_memory_groups(const char *root, int32_t pid, ca_memory_group_take *take, void *arg);
/* Reads the figures of folder and version anew; false when it is there no more. */
bool ca_memory_group_read(struct ca_memory_group *group);
/* The folder of its group of version 2, whether memory is counted there or not; false: none is seen. */
bool ca_memory_group_folder(const char *root, int32_t pid, char *folder, size_t bytes);
/* What counts against its limit in the end: usage without what is cached. */
uint64_t ca_memory_group_used(const struct ca_memory_group *group);
/* Bytes of memory that we may still take, by MemAvailable and the groups we are in. */
uint64_t ca_memory_room(const char *root);

#endif
