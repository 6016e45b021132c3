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

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- where it goes ---------------------------------------------------------- */

struct sink {
	struct ca_spool file;
	struct archive *packer; /* NULL: as it is */
	uint64_t at;
	bool failed; /* errno says why */
};

static void pack(struct sink *sink, const uint8_t *bytes, uint64_t size)
{
	while (size && !sink->failed) {
		la_ssize_t taken = archive_write_data(sink->packer, bytes, size);

		if (taken <= 0) {
			sink->failed = true;
			errno = archive_errno(sink->packer);
			return;
		}
		bytes += taken;
		size -= (uint64_t)taken;
	}
}

static void put(struct sink *sink, const void *bytes, uint64_t size)
{
	if (sink->failed || !size)
		return;
	if (sink->packer)
		pack(sink, bytes, size);
	else
		sink->failed = !ca_spool_write(&sink->file, bytes, size, sink->at);
	sink->at += size;
}

/* Zeros up to a place: a hole, unless it is packed. */
static void skip_to(struct sink *sink, uint64_t at)
{
	static const uint8_t zeros[64 * CA_PAGE];

	while (sink->packer && sink->at < at && !sink->failed) {
		uint64_t left = at - sink->at;

		put(sink, zeros, left < sizeof(zeros) ? left : sizeof(zeros));
	}
	sink->at = at;
}

static bool open_packer(struct sink *sink)
{
	sink->packer = archive_write_new();
	if (!sink->packer || archive_write_set_format_raw(sink->packer) != ARCHIVE_OK ||
	    archive_write_add_filter_zstd(sink->packer) != ARCHIVE_OK ||
	    archive_write_open_fd(sink->packer, sink->file.fd) != ARCHIVE_OK)
		return false;
	struct archive_entry *entry = archive_entry_new();

	archive_entry_set_filetype(entry, AE_IFREG);
	bool good = archive_write_header(sink->packer, entry) == ARCHIVE_OK;

	archive_entry_free(entry);
	return good;
}

static bool close_packer(struct sink *sink)
{
	if (archive_write_close(sink->packer) != ARCHIVE_OK && !sink->failed) {
		sink->failed = true;
		errno = archive_errno(sink->packer);
	}
	int kept = errno;

	archive_write_free(sink->packer);
	errno = kept;
	return !sink->failed;
}

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

static void put_header(struct sink *sink, const struct ca_pieces *pieces)
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
	put(sink, &header, sizeof(header));
}

static uint32_t elf_flags(uint32_t flags)
{
	return (flags & CA_SEG_READ ? PF_R : 0) | (flags & CA_SEG_WRITE ? PF_W : 0) |
	       (flags & CA_SEG_EXEC ? PF_X : 0);
}

static void put_program_headers(struct sink *sink, const struct ca_pieces *pieces,
				const struct ca_notes *notes)
{
	Elf64_Phdr note = { .p_type = PT_NOTE,
			    .p_offset = headers_bytes(pieces),
			    .p_filesz = notes->count,
			    .p_align = 4 };

	put(sink, &note, sizeof(note));
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

		put(sink, &phdr, sizeof(phdr));
	}
}

static void put_head(struct sink *sink, const struct ca_pieces *pieces, const struct ca_notes *notes)
{
	Elf64_Shdr section = { .sh_info = (Elf64_Word)(pieces->count + 1) };

	put_header(sink, pieces);
	put_program_headers(sink, pieces, notes);
	if (has_many(pieces))
		put(sink, &section, sizeof(section));
	put(sink, notes->bytes, notes->count);
}

/* Runs lie behind each other in memory, in the file where their pieces are. */
static void put_memory(struct sink *sink, const struct ca_pieces *pieces,
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

			skip_to(sink, piece->offset + (start - piece->start));
			put(sink, from, end - start);
			from += end - start;
			if (this.end > piece->end)
				break;
			run++;
		}
	}
	skip_to(sink, pieces->file_bytes);
}

bool ca_core_write_head(int fd, const struct ca_pieces *pieces, const struct ca_notes *notes)
{
	struct sink sink = { .file = { .fd = fd } };

	put_head(&sink, pieces, notes);
	return !sink.failed && !ftruncate(fd, (off_t)pieces->file_bytes);
}

bool ca_core_write(int fd, bool compress, const struct ca_pieces *pieces,
		   const struct ca_notes *notes, const struct ca_store *store,
		   const struct ca_plan *plan)
{
	struct sink sink = { .file = { .fd = fd } };

	sink.failed = compress && !open_packer(&sink);
	put_head(&sink, pieces, notes);
	put_memory(&sink, pieces, plan, store->memory);
	if (sink.packer)
		return close_packer(&sink);
	return !sink.failed && !ftruncate(fd, (off_t)pieces->file_bytes);
}

bool ca_core_pack(int from, int to, uint64_t bytes)
{
	enum { STEP = 1024 * 1024 };
	struct sink sink = { .file = { .fd = to } };
	uint8_t *buffer = ca_alloc(STEP);

	sink.failed = !open_packer(&sink);
	while (sink.at < bytes && !sink.failed) {
		ssize_t got = pread(from, buffer, STEP, (off_t)sink.at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			sink.failed = true;
		else
			put(&sink, buffer, (uint64_t)got);
	}
	free(buffer);
	return sink.packer ? close_packer(&sink) : false;
}
