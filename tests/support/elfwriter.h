/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writes small ELF files byte by byte, right ones and wrong ones, so that a
 * test shows its input. The result lies in memory; as_path() names it as a file.
 */
#ifndef ELFWRITER_H
#define ELFWRITER_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

struct elf_buffer {
	uint8_t *bytes;
	size_t size, capacity;
};
void elf_append(struct elf_buffer *buffer, const void *bytes, size_t count);
void elf_append_u64(struct elf_buffer *buffer, uint64_t value);
/* Zeros up to a multiple of align. */
void elf_pad(struct elf_buffer *buffer, size_t align);
void elf_free(struct elf_buffer *buffer);

struct elf_load {
	uint64_t vaddr, memsz;
	const void *bytes; /* the caller's, until elf_core_finish() */
	size_t filesz;
	uint32_t flags; /* PF_* */
};

/* A core: PT_LOADs in the order of their adding, and one PT_NOTE before them. */
struct elf_core {
	struct elf_load *loads;
	size_t load_count, load_capacity;
	struct elf_buffer notes;
};
void elf_core_load(struct elf_core *core, uint64_t vaddr, const void *bytes, size_t filesz,
		   uint64_t memsz, uint32_t flags);
void elf_core_note(struct elf_core *core, const char *owner, uint32_t type, const void *desc,
		   size_t size);

struct elf_thread {
	int32_t lwp;
	uint16_t signal;
	uint64_t ip, sp, fs_base;
};
void elf_core_thread(struct elf_core *core, const struct elf_thread *thread);
void elf_core_process(struct elf_core *core, int32_t pid, const char *psargs);

struct elf_mapped {
	uint64_t start, end, offset;
	const char *path;
};
void elf_core_files(struct elf_core *core, const struct elf_mapped *files, size_t count,
		    uint64_t page_size);
/* The file; frees what the core held. Data is aligned to align in the file. */
struct elf_buffer elf_core_finish(struct elf_core *core, size_t align);

/*
 * A shared library of three PT_LOADs with a build-id, dynamic symbols (also by
 * hash and GNU hash), section headers and a .symtab:
 *
 *   vaddr 0x0000 r--  headers, notes, tables     file 0x0000
 *   vaddr 0x1000 r-x  .text, all 0xcc            file 0x1000
 *   vaddr 0x3000 rw-  .dynamic, .PyRuntime       file 0x2000, 0x1000 bytes
 *   vaddr 0x4000 rw-  .bss up to 0x4800
 *
 * Dynamic: _PyRuntime 0x3100, in_text 0x1010. Static: hidden 0x3400,
 * old@@V1 0x1020.
 */
enum {
	ELF_LIBRARY_TEXT = 0x1000,
	ELF_LIBRARY_DATA = 0x3000,
	ELF_LIBRARY_DATA_OFFSET = 0x2000,
	ELF_LIBRARY_BSS = 0x4000,
	ELF_LIBRARY_END = 0x4800,
	ELF_LIBRARY_BUILD_ID_BYTES = 20,
};
/* build_id: of that many bytes, or NULL for none. */
struct elf_buffer elf_library(const uint8_t *build_id);

/* A file of these bytes, in memory; *fd is to be closed. path has room for 64. */
void elf_as_path(const struct elf_buffer *file, char *path, int *fd);

#endif
