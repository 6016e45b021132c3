/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An ELF core of a living process, in the order of the kernel's:
 *
 *   ELF header | program headers | notes | pad | memory, whole pages
 *
 * Formats: System V ABI; Linux fs/binfmt_elf.c. More than 65,534 segments are
 * told by section header 0 (PN_XNUM).
 */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- what goes there -------------------------------------------------------- */

static bool has_many(const struct ca_pieces *pieces)
{
	return pieces->count + 1 >= PN_XNUM;
}

/* Of what precedes the notes. */
static uint64_t headers_bytes(const struct ca_pieces *pieces)
{
	return sizeof(Elf64_Ehdr) + (pieces->count + 1) * sizeof(Elf64_Phdr) +
	       (has_many(pieces) ? sizeof(Elf64_Shdr) : 0);
}

uint64_t ca_core_head_bytes(const struct ca_pieces *pieces, const struct ca_notes *notes)
{
	return ca_page_ceil(headers_bytes(pieces) + notes->count);
}

static void put_header(struct ca_sink *sink, const struct ca_pieces *pieces)
{
	uint64_t phnum = pieces->count + 1;
	bool many = has_many(pieces);
	Elf64_Ehdr header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(header),
		.e_ehsize = sizeof(header),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = many ? PN_XNUM : (Elf64_Half)phnum,
	};

	if (many) {
		header.e_shoff = sizeof(header) + phnum * sizeof(Elf64_Phdr);
		header.e_shentsize = sizeof(Elf64_Shdr);
		header.e_shnum = 1;
	}
	ca_sink_put(sink, &header, sizeof(header));
}

static uint32_t elf_flags(uint32_t flags)
{
	return (flags & CA_SEG_READ ? PF_R : 0) | (flags & CA_SEG_WRITE ? PF_W : 0) |
	       (flags & CA_SEG_EXEC ? PF_X : 0);
}

static void put_program_headers(struct ca_sink *sink, const struct ca_pieces *pieces,
				const struct ca_notes *notes)
{
	Elf64_Phdr note = { .p_type = PT_NOTE,
			    .p_offset = headers_bytes(pieces),
			    .p_filesz = notes->count,
			    .p_align = 4 };

	ca_sink_put(sink, &note, sizeof(note));
	for (size_t i = 0; i < pieces->count; i++) {
		const struct ca_piece *piece = &pieces->items[i];
		Elf64_Phdr phdr = {
			.p_type = PT_LOAD,
			.p_flags = elf_flags(piece->flags),
			.p_offset = piece->offset,
			.p_vaddr = piece->start,
			.p_filesz = piece->dumped ? piece->end - piece->start : 0,
			.p_memsz = piece->end - piece->start,
			.p_align = CA_PAGE,
		};

		ca_sink_put(sink, &phdr, sizeof(phdr));
	}
}

static void put_head(struct ca_sink *sink, const struct ca_pieces *pieces, const struct ca_notes *notes)
{
	Elf64_Shdr section = { .sh_info = (Elf64_Word)(pieces->count + 1) };

	put_header(sink, pieces);
	put_program_headers(sink, pieces, notes);
	if (has_many(pieces))
		ca_sink_put(sink, &section, sizeof(section));
	ca_sink_put(sink, notes->bytes, notes->count);
}

/* Runs lie behind each other in memory, in the file where their pieces are. */
static void put_memory(struct ca_sink *sink, const struct ca_pieces *pieces,
		       const struct ca_plan *plan, const uint8_t *from)
{
	size_t run = 0;

	for (size_t i = 0; i < pieces->count; i++) {
		const struct ca_piece *piece = &pieces->items[i];

		if (!piece->dumped)
			continue;
		while (run < plan->count && plan->runs[run].start < piece->end) {
			struct ca_run this = plan->runs[run];
			ca_addr start = this.start > piece->start ? this.start : piece->start;
			ca_addr end = this.end < piece->end ? this.end : piece->end;

			ca_sink_skip(sink, piece->offset + (start - piece->start));
			ca_sink_put(sink, from, end - start);
			from += end - start;
			if (this.end > piece->end)
				break;
			run++;
		}
	}
	ca_sink_skip(sink, pieces->file_bytes);
}

bool ca_core_write_head(int fd, const struct ca_pieces *pieces, const struct ca_notes *notes)
{
	struct ca_sink sink;

	ca_sink_open(&sink, fd, false);
	put_head(&sink, pieces, notes);
	sink.at = pieces->file_bytes;
	return ca_sink_close(&sink);
}

bool ca_core_write(int fd, bool compress, const struct ca_pieces *pieces,
		   const struct ca_notes *notes, const struct ca_store *store,
		   const struct ca_plan *plan)
{
	struct ca_sink sink;

	ca_sink_open(&sink, fd, compress);
	put_head(&sink, pieces, notes);
	put_memory(&sink, pieces, plan, store->memory);
	return ca_sink_close(&sink);
}

bool ca_core_pack(int from, int to, uint64_t bytes)
{
	enum { STEP = 1024 * 1024 };
	uint8_t *buffer = ca_alloc(STEP);
	struct ca_sink sink;

	ca_sink_open(&sink, to, true);
	while (sink.at < bytes && !sink.error) {
		ssize_t got = pread(from, buffer, STEP, (off_t)sink.at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			sink.error = got ? errno : EIO;
		else
			ca_sink_put(&sink, buffer, (uint64_t)got);
	}
	free(buffer);
	return ca_sink_close(&sink);
}
