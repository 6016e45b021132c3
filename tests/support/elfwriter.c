/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "elfwriter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void *checked(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

/* ---- bytes ---------------------------------------------------------------- */

void elf_append(struct elf_buffer *buffer, const void *bytes, size_t count)
{
	if (buffer->size + count > buffer->capacity) {
		buffer->capacity = (buffer->size + count) * 2;
		buffer->bytes = checked(realloc(buffer->bytes, buffer->capacity));
	}
	if (count && bytes)
		memcpy(buffer->bytes + buffer->size, bytes, count);
	else if (count)
		memset(buffer->bytes + buffer->size, 0, count);
	buffer->size += count;
}

void elf_append_u64(struct elf_buffer *buffer, uint64_t value)
{
	elf_append(buffer, &value, sizeof(value));
}

static void pad_to(struct elf_buffer *buffer, size_t size)
{
	if (size > buffer->size)
		elf_append(buffer, NULL, size - buffer->size);
}

void elf_pad(struct elf_buffer *buffer, size_t align)
{
	pad_to(buffer, (buffer->size + align - 1) / align * align);
}

void elf_free(struct elf_buffer *buffer)
{
	free(buffer->bytes);
	*buffer = (struct elf_buffer){ 0 };
}

static Elf64_Ehdr header_of(uint16_t type)
{
	return (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = type,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_shentsize = sizeof(Elf64_Shdr),
	};
}

static void append_note(struct elf_buffer *to, const char *owner, uint32_t type, const void *desc,
			size_t size)
{
	Elf64_Nhdr header = {
		.n_namesz = (uint32_t)strlen(owner) + 1,
		.n_descsz = (uint32_t)size,
		.n_type = type,
	};

	elf_append(to, &header, sizeof(header));
	elf_append(to, owner, header.n_namesz);
	elf_pad(to, 4);
	elf_append(to, desc, size);
	elf_pad(to, 4);
}

/* ---- cores ------------------------------------------------------------------ */

void elf_core_load(struct elf_core *core, uint64_t vaddr, const void *bytes, size_t filesz,
		   uint64_t memsz, uint32_t flags)
{
	if (core->load_count == core->load_capacity) {
		core->load_capacity = core->load_capacity * 2 + 16;
		core->loads = checked(
			realloc(core->loads, core->load_capacity * sizeof(*core->loads)));
	}
	core->loads[core->load_count++] =
		(struct elf_load){ vaddr, memsz, bytes, filesz, flags };
}

void elf_core_note(struct elf_core *core, const char *owner, uint32_t type, const void *desc,
		   size_t size)
{
	append_note(&core->notes, owner, type, desc, size);
}

void elf_core_thread(struct elf_core *core, const struct elf_thread *thread)
{
	uint8_t status[336] = { 0 }; /* struct elf_prstatus */

	memcpy(status + 12, &thread->signal, 2);
	memcpy(status + 32, &thread->lwp, 4);
	memcpy(status + 112 + 16 * 8, &thread->ip, 8);
	memcpy(status + 112 + 19 * 8, &thread->sp, 8);
	memcpy(status + 112 + 21 * 8, &thread->fs_base, 8);
	elf_core_note(core, "CORE", NT_PRSTATUS, status, sizeof(status));
}

void elf_core_process(struct elf_core *core, int32_t pid, const char *psargs)
{
	uint8_t info[136] = { 0 }; /* struct elf_prpsinfo */

	memcpy(info + 24, &pid, 4);
	memcpy(info + 56, psargs, strnlen(psargs, 80));
	elf_core_note(core, "CORE", NT_PRPSINFO, info, sizeof(info));
}

void elf_core_files(struct elf_core *core, const struct elf_mapped *files, size_t count,
		    uint64_t page_size)
{
	struct elf_buffer desc = { 0 };

	elf_append_u64(&desc, count);
	elf_append_u64(&desc, page_size);
	for (size_t i = 0; i < count; i++) {
		elf_append_u64(&desc, files[i].start);
		elf_append_u64(&desc, files[i].end);
		elf_append_u64(&desc, files[i].offset / page_size);
	}
	for (size_t i = 0; i < count; i++)
		elf_append(&desc, files[i].path, strlen(files[i].path) + 1);
	elf_core_note(core, "CORE", NT_FILE, desc.bytes, desc.size);
	elf_free(&desc);
}

/* Headers, then (for many) section header 0, notes, data. */
struct elf_buffer elf_core_finish(struct elf_core *core, size_t align)
{
	struct elf_buffer out = { 0 };
	size_t count = core->load_count + 1;
	Elf64_Ehdr header = header_of(ET_CORE);
	size_t at = sizeof(header) + count * sizeof(Elf64_Phdr);
	Elf64_Shdr extended = { .sh_info = (uint32_t)count };

	header.e_phnum = count < PN_XNUM ? (uint16_t)count : PN_XNUM;
	if (count >= PN_XNUM) {
		header.e_shoff = at;
		header.e_shnum = 1;
		at += sizeof(extended);
	}
	elf_append(&out, &header, sizeof(header));
	elf_append(&out, &(Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = at,
					.p_filesz = core->notes.size, .p_align = 4 },
		   sizeof(Elf64_Phdr));
	at += core->notes.size;
	for (size_t i = 0; i < core->load_count; i++) {
		const struct elf_load *load = &core->loads[i];

		at = (at + align - 1) / align * align;
		elf_append(&out, &(Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = load->flags,
						.p_offset = at, .p_vaddr = load->vaddr,
						.p_filesz = load->filesz, .p_memsz = load->memsz,
						.p_align = align },
			   sizeof(Elf64_Phdr));
		at += load->filesz;
	}
	if (count >= PN_XNUM)
		elf_append(&out, &extended, sizeof(extended));
	elf_append(&out, core->notes.bytes, core->notes.size);
	for (size_t i = 0; i < core->load_count; i++) {
		elf_pad(&out, align);
		elf_append(&out, core->loads[i].bytes, core->loads[i].filesz);
	}
	elf_free(&core->notes);
	free(core->loads);
	*core = (struct elf_core){ 0 };
	return out;
}

/* ---- a library ---------------------------------------------------------------- */

enum {
	AT_NOTE = 0x200, /* places in the first page */
	AT_DYNSYM = 0x300,
	AT_DYNSTR = 0x400,
	AT_HASH = 0x500,
	AT_GNU_HASH = 0x600,
	AT_SYMTAB = 0x3000, /* beyond what is mapped */
	AT_STRTAB = 0x3100,
	AT_SHSTRTAB = 0x3200,
	AT_SECTIONS = 0x3400,
	RUNTIME_BYTES = 0x200,
};

enum { S_NULL, S_DYNSYM, S_DYNSTR, S_TEXT, S_RUNTIME, S_DYNAMIC, S_SYMTAB, S_STRTAB, S_SHSTRTAB,
       SECTIONS };

/* "" _PyRuntime in_text */
static const char dynstr[] = "\0_PyRuntime\0in_text";
static const char strtab[] = "\0hidden\0old@@V1";
static const char shstrtab[] = "\0.dynsym\0.dynstr\0.text\0.PyRuntime\0.dynamic\0.symtab\0.strtab\0"
			       ".shstrtab";

static uint32_t name_in(const char *table, size_t size, const char *name)
{
	for (size_t i = 0; i < size; i += strlen(table + i) + 1) {
		if (!strcmp(table + i, name))
			return (uint32_t)i;
	}
	abort();
}

static Elf64_Sym symbol(uint32_t name, int binding, uint16_t section, uint64_t value)
{
	return (Elf64_Sym){
		.st_name = name,
		.st_info = (unsigned char)ELF64_ST_INFO(binding, STT_OBJECT),
		.st_shndx = section,
		.st_value = value,
		.st_size = 16,
	};
}

static void write_segments(struct elf_buffer *out, const uint8_t *build_id)
{
	Elf64_Phdr phdrs[] = {
		{ PT_LOAD, PF_R, 0, 0, 0, 0x800, 0x800, 0x1000 },
		{ PT_LOAD, PF_R | PF_X, 0x1000, ELF_LIBRARY_TEXT, 0, 0x1000, 0x1000, 0x1000 },
		{ PT_LOAD, PF_R | PF_W, ELF_LIBRARY_DATA_OFFSET, ELF_LIBRARY_DATA, 0, 0x1000,
		  ELF_LIBRARY_END - ELF_LIBRARY_DATA, 0x1000 },
		{ PT_DYNAMIC, PF_R | PF_W, ELF_LIBRARY_DATA_OFFSET, ELF_LIBRARY_DATA, 0, 0x60, 0x60,
		  8 },
		{ PT_NOTE, PF_R, AT_NOTE, AT_NOTE, 0, 16 + ELF_LIBRARY_BUILD_ID_BYTES,
		  16 + ELF_LIBRARY_BUILD_ID_BYTES, 4 },
	};
	Elf64_Ehdr header = header_of(ET_DYN);

	header.e_phnum = 5;
	header.e_shoff = AT_SECTIONS;
	header.e_shnum = SECTIONS;
	header.e_shstrndx = S_SHSTRTAB;
	if (!build_id)
		header.e_phnum--;
	elf_append(out, &header, sizeof(header));
	elf_append(out, phdrs, sizeof(phdrs));
	pad_to(out, AT_NOTE);
	if (build_id)
		append_note(out, "GNU", NT_GNU_BUILD_ID, build_id, ELF_LIBRARY_BUILD_ID_BYTES);
}

static void write_dynamic_tables(struct elf_buffer *out)
{
	Elf64_Sym symbols[] = {
		{ 0 },
		symbol(name_in(dynstr, sizeof(dynstr), "_PyRuntime"), STB_GLOBAL, S_RUNTIME, 0x3100),
		symbol(name_in(dynstr, sizeof(dynstr), "in_text"), STB_GLOBAL, S_TEXT, 0x1010),
	};
	/* One bucket each. GNU hashes are h * 33 + c; the last of a chain is odd. */
	uint32_t hash[] = { 1, 3, 1, 0, 2, 0 };
	uint32_t gnu_hash[9] = { 1, 1, 1, 0, ~0u, ~0u, 1 };

	pad_to(out, AT_DYNSYM);
	elf_append(out, symbols, sizeof(symbols));
	pad_to(out, AT_DYNSTR);
	elf_append(out, dynstr, sizeof(dynstr));
	pad_to(out, AT_HASH);
	elf_append(out, hash, sizeof(hash));
	for (int i = 1; i <= 2; i++) {
		uint32_t value = 5381;

		for (const char *c = dynstr + symbols[i].st_name; *c; c++)
			value = value * 33 + (uint8_t)*c;
		gnu_hash[6 + i] = i == 2 ? value | 1 : value & ~1u;
	}
	pad_to(out, AT_GNU_HASH);
	elf_append(out, gnu_hash, sizeof(gnu_hash));
}

static void write_contents(struct elf_buffer *out)
{
	Elf64_Dyn dynamic[] = {
		{ DT_STRTAB, { AT_DYNSTR } },
		{ DT_SYMTAB, { AT_DYNSYM } },
		{ DT_HASH, { AT_HASH } },
		{ DT_GNU_HASH, { AT_GNU_HASH } },
		{ DT_STRSZ, { sizeof(dynstr) } },
		{ DT_NULL, { 0 } },
	};

	pad_to(out, ELF_LIBRARY_TEXT);
	elf_append(out, NULL, 0x1000);
	memset(out->bytes + ELF_LIBRARY_TEXT, 0xcc, 0x1000);
	elf_append(out, dynamic, sizeof(dynamic));
	pad_to(out, AT_SYMTAB);
}

static Elf64_Shdr section(const char *name, uint32_t type, uint64_t address, uint64_t offset,
			  uint64_t size)
{
	return (Elf64_Shdr){
		.sh_name = name_in(shstrtab, sizeof(shstrtab), name),
		.sh_type = type,
		.sh_flags = address ? SHF_ALLOC : 0,
		.sh_addr = address,
		.sh_offset = offset,
		.sh_size = size,
		.sh_addralign = 1,
	};
}

static void write_sections(struct elf_buffer *out)
{
	Elf64_Sym symbols[] = {
		{ 0 },
		symbol(name_in(strtab, sizeof(strtab), "hidden"), STB_LOCAL, S_RUNTIME, 0x3400),
		symbol(name_in(strtab, sizeof(strtab), "old@@V1"), STB_GLOBAL, S_TEXT, 0x1020),
	};
	Elf64_Shdr sections[SECTIONS] = {
		[S_DYNSYM] = section(".dynsym", SHT_DYNSYM, AT_DYNSYM, AT_DYNSYM, 3 * 24),
		[S_DYNSTR] = section(".dynstr", SHT_STRTAB, AT_DYNSTR, AT_DYNSTR, sizeof(dynstr)),
		[S_TEXT] = section(".text", SHT_PROGBITS, ELF_LIBRARY_TEXT, 0x1000, 0x1000),
		[S_RUNTIME] = section(".PyRuntime", SHT_PROGBITS, 0x3100, 0x2100, RUNTIME_BYTES),
		[S_DYNAMIC] = section(".dynamic", SHT_DYNAMIC, 0x3000, 0x2000, 0x60),
		[S_SYMTAB] = section(".symtab", SHT_SYMTAB, 0, AT_SYMTAB, sizeof(symbols)),
		[S_STRTAB] = section(".strtab", SHT_STRTAB, 0, AT_STRTAB, sizeof(strtab)),
		[S_SHSTRTAB] = section(".shstrtab", SHT_STRTAB, 0, AT_SHSTRTAB, sizeof(shstrtab)),
	};

	sections[S_TEXT].sh_flags |= SHF_EXECINSTR;
	sections[S_RUNTIME].sh_flags |= SHF_WRITE;
	sections[S_DYNSYM].sh_link = S_DYNSTR;
	sections[S_DYNSYM].sh_info = 1;
	sections[S_DYNAMIC].sh_link = S_DYNSTR;
	sections[S_DYNAMIC].sh_entsize = sizeof(Elf64_Dyn);
	sections[S_SYMTAB].sh_link = S_STRTAB;
	sections[S_SYMTAB].sh_info = 2;
	sections[S_DYNSYM].sh_entsize = sections[S_SYMTAB].sh_entsize = sizeof(Elf64_Sym);
	elf_append(out, symbols, sizeof(symbols));
	pad_to(out, AT_STRTAB);
	elf_append(out, strtab, sizeof(strtab));
	pad_to(out, AT_SHSTRTAB);
	elf_append(out, shstrtab, sizeof(shstrtab));
	pad_to(out, AT_SECTIONS);
	elf_append(out, sections, sizeof(sections));
}

struct elf_buffer elf_library(const uint8_t *build_id)
{
	struct elf_buffer out = { 0 };

	write_segments(&out, build_id);
	write_dynamic_tables(&out);
	write_contents(&out);
	write_sections(&out);
	return out;
}

/* ---- as a file ---------------------------------------------------------------- */

void elf_as_path(const struct elf_buffer *file, char *path, int *fd)
{
	*fd = memfd_create("elf", MFD_CLOEXEC);
	if (*fd < 0 || write(*fd, file->bytes, file->size) != (ssize_t)file->size)
		abort();
	snprintf(path, 64, "/proc/self/fd/%d", *fd);
}
