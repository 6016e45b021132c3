/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to image: how its files share the work of opening a core. */
#ifndef CA_IMAGE_PRIVATE_H
#define CA_IMAGE_PRIVATE_H

#include "live.h"

#include <elf.h>

enum {
	CA_BUILD_ID_MAX = 64,
	CA_ELF_SEGMENTS_MAX = 128, /* of a mapped ELF file; they have about a dozen */
	CA_MODULES_MAX = 16384,
	CA_NOTE_SEGMENTS_MAX = 64, /* of a core, which has one */
};

struct ca_bytes {
	const uint8_t *data;
	uint64_t size;
};

/* The count bytes at offset, or NULL when they are not all there. */
static inline const uint8_t *ca_bytes_at(struct ca_bytes bytes, uint64_t offset, uint64_t count)
{
	if (offset > bytes.size || count > bytes.size - offset)
		return NULL;
	return bytes.data + offset;
}

/* ---- ranges (ranges.c) ------------------------------------------------ */

struct ca_range {
	ca_addr start, end;
	size_t index; /* the range of the input; on overlap the lowest wins */
};
/*
 * Cuts overlaps away: sorted, disjoint pieces in *out (free() releases), their
 * number returned. Empty ranges of the input are passed over; its order changes.
 */
size_t ca_ranges_cut(struct ca_range *ranges, size_t count, struct ca_range **out);

/* ---- ELF headers (elf.c) ---------------------------------------------- */

/* What the headers of a mapped ELF file say. */
struct ca_elf {
	uint16_t type;
	bool has_interp;
	ca_addr lowest, highest; /* of the PT_LOADs, in ELF addresses, whole pages */
	size_t phnum;
	Elf64_Phdr phdrs[CA_ELF_SEGMENTS_MAX];
	size_t build_id_size;
	uint8_t build_id[CA_BUILD_ID_MAX];
};

/* Where an ELF file is read from: its own bytes, or an image that maps it. */
struct ca_elf_source {
	struct ca_bytes file;
	const struct ca_image *image; /* NULL: file is used */
	ca_addr start;                /* where the file's offset 0 is mapped */
};
/*
 * Reads and checks the headers, and the build-id as far as it can be reached.
 * Returns NULL, or why this is no x86-64 executable or library.
 */
const char *ca_elf_read(struct ca_elf *elf, const struct ca_elf_source *source);
/* The load bias when offset 0 is mapped at start; false when that does not fit. */
bool ca_elf_bias(const struct ca_elf *elf, ca_addr start, ca_addr *bias);

struct ca_note {
	uint32_t type;
	struct ca_bytes name, desc; /* name without its NUL */
};
/* The note at *offset, which moves on; false at the end or a damaged note. */
bool ca_note_next(struct ca_bytes bytes, uint64_t align, uint64_t *offset, struct ca_note *note);
bool ca_note_is(const struct ca_note *note, const char *owner, uint32_t type);

/* ---- files (files.c) -------------------------------------------------- */

struct ca_file {
	char *path;
	struct ca_bytes bytes; /* mapped; whole pages are readable */
	struct ca_elf elf;
	bool debug_only;       /* symbols without the code: fills no gaps */
};
/*
 * Maps an ELF file. root: NULL, or a folder that the path cannot leave. On
 * failure NULL, and *why says so. A file that is only named, not opened, is
 * never blocked on.
 */
struct ca_file *ca_file_open(const char *root, const char *path, const char **why);
void ca_file_close(struct ca_file *file); /* NULL is allowed */
/* Checks all section headers, before libbfd sees them (sections.c). */
bool ca_sections_read(struct ca_file *file);

/* ---- compressed files (decompress.c, unpacked.c) ------------------------ */

/* Unpacks the core when it is compressed, and maps what came out instead. */
struct ca_error *ca_decompress(struct ca_image *image, const struct ca_image_options *options);
/* The size of what is packed; 0 where that is not told. */
uint64_t ca_unpacked_zstd(struct ca_bytes packed);
uint64_t ca_unpacked_lz4(struct ca_bytes packed);
uint64_t ca_unpacked_xz(struct ca_bytes packed);

/* ---- the open image --------------------------------------------------- */

/* What the process looked like at its start (NT_AUXV); 0 where not told. */
struct ca_start {
	struct ca_bytes auxv;
	ca_addr phdr, entry, base, execfn, random, vdso;
};

/* A PT_LOAD of the core. */
struct ca_load {
	ca_addr start, end; /* of the memory */
	uint64_t promised;  /* bytes that the headers say are in the file */
	struct ca_bytes bytes; /* those that are */
	uint32_t flags;
};

/* A mapping as NT_FILE tells it. */
struct ca_file_range {
	ca_addr start, end;
	uint64_t offset;
	const char *path;
};

struct ca_image_private {
	uint64_t serial; /* tells images apart in per-thread caches */
	struct ca_bytes core;
	uint64_t promised; /* how long the file is by its program headers */
	bool overruns;     /* a program header describes bytes beyond the file */
	uint64_t phoff, phnum;
	struct ca_load *loads;
	size_t load_count, load_capacity;
	struct ca_file_range *ranges;
	size_t range_count, range_capacity;
	size_t lwp_capacity;
	const char *psargs;
	struct ca_start at_start;

	struct ca_bytes *copies; /* of a process's memory: mappings of ours */
	size_t copy_count;
	struct ca_keep *keep;    /* NULL: nobody asks what is read */
	struct ca_packed_memory *packed; /* of a snapshot */

	struct ca_file **files; /* in use */
	size_t file_count, file_capacity;
	size_t module_capacity;
};

struct ca_module_private {
	struct ca_image *image;
	struct ca_elf elf;
	const struct ca_file *file;    /* whose bytes are used, or NULL */
	const struct ca_file *symbols; /* a debug-only file, or NULL */
	struct ca_symbol_table *table; /* made on first demand */
	bool lacks_bytes;              /* pages of it are not in the core */
};

struct ca_image *ca_image_make(struct ca_context *ctx, const char *path);
/* Builds the table from pieces, the first of which win; data NULL: nobody's bytes. */
void ca_image_set_segments(struct ca_image *image, const struct ca_segment *pieces, size_t count);
/* Keeps a file until the image is closed. */
void ca_image_keep_file(struct ca_image *image, struct ca_file *file);

/* Maps a core; replaces the one that was mapped (core.c). */
struct ca_error *ca_core_map(struct ca_image *image, int fd);
/* The core's bytes are a snapshot's. */
bool ca_core_is_snapshot(struct ca_bytes core);
/* A program header of the core, whose table check_header() proved to be there. */
Elf64_Phdr ca_core_phdr(const struct ca_image *image, uint64_t i);
/* What the file has of the bytes that a program header promises. */
struct ca_bytes ca_core_bytes(const struct ca_image *image, const Elf64_Phdr *phdr);

/* Builds the table of segments from the loads alone (core.c). */
void ca_loads_apply(struct ca_image *image);
/* Takes in an auxv, which must outlive the image (notes.c). */
void ca_auxv_read(struct ca_image *image, struct ca_bytes desc);
/* Whether a target's form is that of a process (process.c). */
bool ca_image_is_pid(const char *target);
struct ca_error *ca_image_open_process(struct ca_context *ctx, const char *target,
				       const struct ca_image_options *options,
				       struct ca_image **out);

/* Takes in our own note (taken.c). */
void ca_taken_read(struct ca_image *image, struct ca_bytes desc);
/* Reads the notes of the core: threads, auxv, file ranges, names (notes.c). */
void ca_notes_read(struct ca_image *image);
/* Without an NT_FILE: makes the file ranges from the ELF headers in memory (recover.c). */
void ca_ranges_recover(struct ca_image *image);
/* Joins PT_LOADs and NT_FILE (mappings.c). */
void ca_mappings_build(struct ca_image *image);
/* Fills the core's gaps from the files in use (mappings.c). */
void ca_mappings_fill(struct ca_image *image);
/* Notes whether bytes of writable memory are missing (mappings.c). */
void ca_mappings_settle(struct ca_image *image);
/* Finds the ELF files that are mapped, and the files on disk for them (modules.c, sources.c). */
void ca_modules_find(struct ca_image *image, const struct ca_image_options *options);
void ca_modules_open_files(struct ca_image *image, const struct ca_image_options *options);
/* The module of the program itself, or NULL. */
struct ca_module *ca_modules_main(const struct ca_image *image);
/*
 * A file that may be the one recorded as path: number 0, 1, ... of the
 * candidates; *ended when there are no more.
 */
struct ca_file *ca_candidate_open(const struct ca_image_options *options,
				  const struct ca_module *module, unsigned number, bool *ended,
				  const char **why);
/* argv, from the stack or else from NT_PRPSINFO (argv.c). */
void ca_command_line_find(struct ca_image *image);

/* Notes what is read (keep.c). */
void ca_keep_note(struct ca_keep *keep, const struct ca_segment *segment, ca_addr addr,
		  uint64_t bytes);
void ca_packed_unmap(struct ca_packed_memory *packed); /* NULL is allowed */

/* Asks libbfd about a checked core: architecture, pid, command (bfd.c). */
void ca_bfd_core(struct ca_image *image);
/* Calls back for each defined symbol, .dynsym's before .symtab's. */
void ca_bfd_symbols(const struct ca_file *file,
		    void (*add)(void *arg, const char *name, size_t length, uint64_t value),
		    void *arg);
bool ca_bfd_section(const struct ca_file *file, const char *name, uint64_t *address,
		    uint64_t *bytes);

/* A symbol through the module's PT_DYNAMIC, from the image's own bytes (dynamic.c). */
ca_addr ca_dynamic_symbol(const struct ca_module *module, const char *name);
/* The value of a dynamic tag; false when absent. */
bool ca_dynamic_tag(const struct ca_module *module, int64_t tag, uint64_t *value);
/* DT_SONAME's text; false when absent or unreadable. */
bool ca_dynamic_soname(const struct ca_module *module, char *name, size_t bytes);

void ca_symbols_free(struct ca_symbol_table *table);

#endif
