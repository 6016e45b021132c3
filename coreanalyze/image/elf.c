/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The headers of ELF files that the process had mapped. Nothing here is trusted. */
#include "private.h"

#include <stdlib.h>
#include <string.h>

enum { NOTES_MAX = 64 * 1024 }; /* of one PT_NOTE of a mapped file */

static bool source_read(const struct ca_elf_source *source, uint64_t offset, void *buffer,
			uint64_t count)
{
	if (source->image) {
		ca_addr addr;

		return !__builtin_add_overflow(source->start, offset, &addr) &&
		       ca_image_read(source->image, addr, buffer, count);
	}
	const uint8_t *bytes = ca_bytes_at(source->file, offset, count);

	if (bytes)
		memcpy(buffer, bytes, count);
	return bytes != NULL;
}

bool ca_note_next(struct ca_bytes bytes, uint64_t align, uint64_t *offset, struct ca_note *note)
{
	Elf64_Nhdr header;
	const uint8_t *at = ca_bytes_at(bytes, *offset, sizeof(header));

	if (!at)
		return false;
	memcpy(&header, at, sizeof(header));
	align = align == 8 ? 8 : 4;
	/* 32-bit sizes: these sums cannot overflow. */
	uint64_t name = *offset + sizeof(header);
	uint64_t desc = (name + header.n_namesz + align - 1) & ~(align - 1);
	uint64_t end = (desc + header.n_descsz + align - 1) & ~(align - 1);

	if (!ca_bytes_at(bytes, name, header.n_namesz) || !ca_bytes_at(bytes, desc, header.n_descsz))
		return false;
	*note = (struct ca_note){
		.type = header.n_type,
		.name = { bytes.data + name, strnlen((const char *)bytes.data + name, header.n_namesz) },
		.desc = { bytes.data + desc, header.n_descsz },
	};
	*offset = end < bytes.size ? end : bytes.size;
	return true;
}

bool ca_note_is(const struct ca_note *note, const char *owner, uint32_t type)
{
	return note->type == type && note->name.size == strlen(owner) &&
	       !memcmp(note->name.data, owner, note->name.size);
}

static void read_build_id(struct ca_elf *elf, const struct ca_elf_source *source,
			  const Elf64_Phdr *phdr)
{
	if (phdr->p_filesz > NOTES_MAX)
		return;
	uint8_t *buffer = ca_alloc(phdr->p_filesz);
	uint64_t offset = 0;
	struct ca_note note;
	struct ca_bytes bytes = { buffer, phdr->p_filesz };

	if (source_read(source, phdr->p_offset, buffer, phdr->p_filesz)) {
		while (ca_note_next(bytes, phdr->p_align, &offset, &note)) {
			if (!ca_note_is(&note, "GNU", NT_GNU_BUILD_ID) || !note.desc.size ||
			    note.desc.size > CA_BUILD_ID_MAX)
				continue;
			elf->build_id_size = note.desc.size;
			memcpy(elf->build_id, note.desc.data, note.desc.size);
			break;
		}
	}
	free(buffer);
}

static const char *check_header(const Elf64_Ehdr *header)
{
	if (memcmp(header->e_ident, ELFMAG, SELFMAG))
		return "it is no ELF file";
	if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
	    header->e_machine != EM_X86_64)
		return "it is for another architecture";
	if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
		return "it is neither a program nor a library";
	if (header->e_phentsize != sizeof(Elf64_Phdr) || !header->e_phnum ||
	    header->e_phnum > CA_ELF_SEGMENTS_MAX)
		return "its program headers are damaged";
	return NULL;
}

/* The addresses that the PT_LOADs span; false when there is none or it is absurd. */
static bool measure(struct ca_elf *elf)
{
	elf->lowest = UINT64_MAX;
	for (size_t i = 0; i < elf->phnum; i++) {
		const Elf64_Phdr *phdr = &elf->phdrs[i];
		uint64_t end;

		if (phdr->p_type == PT_INTERP)
			elf->has_interp = true;
		if (phdr->p_type != PT_LOAD)
			continue;
		if (__builtin_add_overflow(phdr->p_vaddr, phdr->p_memsz, &end) ||
		    phdr->p_filesz > phdr->p_memsz)
			return false;
		if (ca_page_floor(phdr->p_vaddr) < elf->lowest)
			elf->lowest = ca_page_floor(phdr->p_vaddr);
		if (ca_page_ceil(end) > elf->highest)
			elf->highest = ca_page_ceil(end);
	}
	return elf->lowest < elf->highest;
}

const char *ca_elf_read(struct ca_elf *elf, const struct ca_elf_source *source)
{
	Elf64_Ehdr header;

	memset(elf, 0, sizeof(*elf));
	if (!source_read(source, 0, &header, sizeof(header)))
		return "it is no ELF file";
	const char *why = check_header(&header);

	if (why)
		return why;
	elf->type = header.e_type;
	elf->phnum = header.e_phnum;
	if (!source_read(source, header.e_phoff, elf->phdrs, elf->phnum * sizeof(Elf64_Phdr)) ||
	    !measure(elf))
		return "its program headers are damaged";
	for (size_t i = 0; i < elf->phnum && !elf->build_id_size; i++) {
		if (elf->phdrs[i].p_type == PT_NOTE)
			read_build_id(elf, source, &elf->phdrs[i]);
	}
	return NULL;
}

bool ca_elf_bias(const struct ca_elf *elf, ca_addr start, ca_addr *bias)
{
	for (size_t i = 0; i < elf->phnum; i++) {
		const Elf64_Phdr *phdr = &elf->phdrs[i];

		if (phdr->p_type != PT_LOAD || ca_page_floor(phdr->p_offset))
			continue;
		*bias = start - ca_page_floor(phdr->p_vaddr);
		/* A fixed program at another place is a file that somebody reads. */
		return elf->type == ET_DYN || !*bias;
	}
	return false;
}
