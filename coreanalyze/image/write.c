/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An ELF core of a living process, in the order of the kernel's:
 *
 *   ELF header | program headers | notes | pad | memory, whole pages
 *
 * Formats: System V ABI; Linux fs/binfmt_elf.c (fill_note_info, fill_files_note).
 * More than 65,534 segments are told by section header 0 (PN_XNUM).
 */
#include "private.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/procfs.h>
#include <sys/user.h>
#include <unistd.h>

/* ---- where it goes ---------------------------------------------------------- */

struct sink {
	struct ca_spool spool;  /* a plain file */
	struct archive *packer; /* or a packed one */
	uint64_t at;
	bool failed;            /* errno says why */
};

static void put(struct sink *sink, const void *bytes, uint64_t size)
{
	const uint8_t *from = bytes;

	if (sink->failed || !size)
		return;
	if (!sink->packer)
		sink->failed = !ca_spool_write(&sink->spool, from, size, sink->at);
	for (uint64_t done = 0; sink->packer && done < size && !sink->failed;) {
		la_ssize_t taken = archive_write_data(sink->packer, from + done, size - done);

		sink->failed = taken <= 0;
		errno = sink->failed ? archive_errno(sink->packer) : 0;
		done += sink->failed ? 0 : (uint64_t)taken;
	}
	sink->at += size;
}

static void pad(struct sink *sink, uint64_t align)
{
	static const uint8_t zeros[CA_PAGE];

	put(sink, zeros, (align - sink->at % align) % align);
}

static bool open_sink(struct sink *sink, int fd, bool compress)
{
	*sink = (struct sink){ .spool = { .fd = fd, .folder = "" } };
	if (!compress)
		return true;
	sink->packer = archive_write_new();


	if (!sink->packer || archive_write_set_format_raw(sink->packer) != ARCHIVE_OK ||
	    archive_write_add_filter_zstd(sink->packer) != ARCHIVE_OK ||
	    archive_write_open_fd(sink->packer, fd) != ARCHIVE_OK)
		return false;

	struct archive_entry *entry = archive_entry_new();

	archive_entry_set_filetype(entry, AE_IFREG);

	bool good = archive_write_header(sink->packer, entry) == ARCHIVE_OK;

	archive_entry_free(entry);
	return good;
}

static bool close_sink(struct sink *sink)
{
	if (sink->packer) {
		if (archive_write_close(sink->packer) != ARCHIVE_OK && !sink->failed) {
			sink->failed = true;
			errno = archive_errno(sink->packer);
		}
		archive_write_free(sink->packer);
	} else if (!sink->failed) {
		sink->failed = ftruncate(sink->spool.fd, (off_t)sink->at) != 0;
	}
	return !sink->failed;
}

/* ---- what goes there -------------------------------------------------------- */

struct load {
	ca_addr start, end;
	const uint8_t *data; /* NULL: no bytes of it */
	uint32_t flags;
};

struct loads {
	struct load *items;
	size_t count, capacity;
};

static void add_load(struct loads *loads, struct load load)
{
	if (load.start >= load.end)
		return;
	loads->items = ca_grow(loads->items, &loads->capacity, loads->count + 1, sizeof(load));
	loads->items[loads->count++] = load;
}

static bool is_elf_header(const struct ca_image *image, ca_addr addr)
{
	const struct ca_module *module = ca_image_module(image, addr);

	return module && module->start == addr;
}

/* What a file has unchanged is left to it, but for its header, which has the build-id. */
static bool belongs(const struct ca_image *image, const struct ca_mapping *mapping, ca_addr addr)
{
	return mapping->flags & CA_SEG_WRITE || is_elf_header(image, addr);
}

/* The first known bytes at or after addr: a run of a segment, or the rest of nothing. */
static const struct ca_segment *next_segment(const struct ca_image *image, size_t *hint, ca_addr addr)
{
	while (*hint < image->segment_count && image->segments[*hint].end <= addr)
		++*hint;
	return *hint < image->segment_count ? &image->segments[*hint] : NULL;
}

static void add_mapping(const struct ca_image *image, const struct ca_mapping *mapping, size_t *hint,
			struct loads *loads)
{
	ca_addr at = mapping->start;

	while (at < mapping->end) {
		const struct ca_segment *segment = next_segment(image, hint, at);
		bool here = segment && segment->start <= at;
		ca_addr end = here ? segment->end : segment ? segment->start : mapping->end;
		const uint8_t *data = here ? segment->data + (at - segment->start) : NULL;

		if (end > mapping->end)
			end = mapping->end;
		if (data && segment->flags & CA_SEG_FILE && !belongs(image, mapping, at))
			data = NULL;
		else if (data && segment->flags & CA_SEG_FILE && !(mapping->flags & CA_SEG_WRITE) &&
			 end > at + CA_PAGE)
			end = at + CA_PAGE;
		add_load(loads, (struct load){ at, end, data, mapping->flags });
		at = end;
	}
}

static void collect_loads(const struct ca_image *image, struct loads *loads)
{
	size_t hint = 0;

	for (size_t i = 0; i < image->mapping_count; i++)
		add_mapping(image, &image->mappings[i], &hint, loads);
}

/* ---- notes ------------------------------------------------------------------- */

struct notes {
	uint8_t *bytes;
	size_t count, capacity;
};

static void *extend(struct notes *notes, size_t bytes)
{
	size_t at = notes->count;

	notes->count += bytes;
	notes->bytes = ca_grow(notes->bytes, &notes->capacity, notes->count, 1);
	memset(notes->bytes + at, 0, bytes);
	return notes->bytes + at;
}

static void add_note(struct notes *notes, const char *owner, uint32_t type, const void *desc,
		     size_t bytes)
{
	size_t name = strlen(owner) + 1;
	Elf64_Nhdr header = { (Elf64_Word)name, (Elf64_Word)bytes, type };

	memcpy(extend(notes, sizeof(header)), &header, sizeof(header));
	memcpy(extend(notes, (name + 3) & ~(size_t)3), owner, name);
	if (bytes)
		memcpy(extend(notes, (bytes + 3) & ~(size_t)3), desc, bytes);
}

static void add_status(struct notes *notes, const struct ca_lwp *lwp)
{
	struct elf_prstatus status = { 0 };

	status.pr_info.si_signo = lwp->signal;
	status.pr_cursig = (short)lwp->signal;
	status.pr_pid = lwp->lwp;
	status.pr_fpvalid = lwp->fp_registers != NULL;
	if (lwp->registers)
		memcpy(&status.pr_reg, lwp->registers, sizeof(status.pr_reg));
	add_note(notes, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

static void add_other_registers(struct notes *notes, const struct ca_lwp *lwp)
{
	if (lwp->fp_registers)
		add_note(notes, "CORE", NT_PRFPREG, lwp->fp_registers, sizeof(struct user_fpregs_struct));
	if (lwp->xstate_bytes)
		add_note(notes, "LINUX", NT_X86_XSTATE, lwp->xstate, lwp->xstate_bytes);
}

static void add_process(struct notes *notes, const struct ca_image *image)
{
	struct elf_prpsinfo info = { .pr_sname = 'R', .pr_pid = image->pid };
	const char *slash = strrchr(image->exe, '/');
	size_t room = sizeof(info.pr_psargs) - 1, at = 0;

	snprintf(info.pr_fname, sizeof(info.pr_fname), "%.15s", slash ? slash + 1 : image->exe);
	for (size_t i = 0; image->command_line && image->command_line[i] && at < room; i++)
		at += (size_t)snprintf(info.pr_psargs + at, room - at, "%s%s", i ? " " : "",
				       image->command_line[i]);
	add_note(notes, "CORE", NT_PRPSINFO, &info, sizeof(info));
}

static void add_files(struct notes *notes, const struct ca_image *image)
{
	struct notes desc = { 0 };
	uint64_t header[2] = { 0, CA_PAGE };

	extend(&desc, sizeof(header));
	for (size_t i = 0; i < image->mapping_count; i++) {
		const struct ca_mapping *mapping = &image->mappings[i];
		uint64_t entry[3] = { mapping->start, mapping->end, mapping->offset / CA_PAGE };

		if (*mapping->path != '/')
			continue;
		header[0]++;
		memcpy(extend(&desc, sizeof(entry)), entry, sizeof(entry));
	}
	for (size_t i = 0; i < image->mapping_count; i++) {
		const char *path = image->mappings[i].path;

		if (*path == '/')
			memcpy(extend(&desc, strlen(path) + 1), path, strlen(path) + 1);
	}
	memcpy(desc.bytes, header, sizeof(header));
	add_note(notes, "CORE", NT_FILE, desc.bytes, desc.count);
	free(desc.bytes);
}

/* How it was made: text lines KEY=VALUE. */
static void add_own(struct notes *notes, const struct ca_image *image)
{
	char text[128];
	int length = snprintf(text, sizeof(text), "method=copy\npause_ns=%llu\ntaken=%lld\n",
			      (unsigned long long)image->pause_ns, (long long)image->taken);

	add_note(notes, CA_NOTE_OWNER, CA_NOTE_CAPTURE, text, (size_t)length);
}

static void collect_notes(const struct ca_image *image, struct notes *notes)
{
	struct ca_bytes auxv = image->priv->at_start.auxv;

	for (size_t i = 0; i < image->lwp_count; i++) {
		add_status(notes, &image->lwps[i]);
		if (i == 0) {
			add_process(notes, image);
			add_note(notes, "CORE", NT_AUXV, auxv.data, auxv.size);
			add_files(notes, image);
		}
		add_other_registers(notes, &image->lwps[i]);
	}
	add_own(notes, image);
}

/* ---- the whole ---------------------------------------------------------------- */

static uint32_t elf_flags(uint32_t flags)
{
	return (flags & CA_SEG_READ ? PF_R : 0) | (flags & CA_SEG_WRITE ? PF_W : 0) |
	       (flags & CA_SEG_EXEC ? PF_X : 0);
}

static void put_header(struct sink *sink, uint64_t phnum, bool many)
{
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

static void put_loads(struct sink *sink, const struct loads *loads, uint64_t offset)
{
	for (size_t i = 0; i < loads->count; i++) {
		const struct load *load = &loads->items[i];
		Elf64_Phdr phdr = {
			.p_type = PT_LOAD,
			.p_flags = elf_flags(load->flags),
			.p_offset = offset,
			.p_vaddr = load->start,
			.p_filesz = load->data ? load->end - load->start : 0,
			.p_memsz = load->end - load->start,
			.p_align = CA_PAGE,
		};

		put(sink, &phdr, sizeof(phdr));
		offset += (phdr.p_filesz + CA_PAGE - 1) & ~(uint64_t)(CA_PAGE - 1);
	}
}

static void put_core(struct sink *sink, const struct loads *loads, const struct notes *notes)
{
	uint64_t phnum = loads->count + 1;
	bool many = phnum >= PN_XNUM;
	uint64_t at = sizeof(Elf64_Ehdr) + phnum * sizeof(Elf64_Phdr) + (many ? sizeof(Elf64_Shdr) : 0);
	Elf64_Phdr note = { .p_type = PT_NOTE, .p_offset = at, .p_filesz = notes->count, .p_align = 4 };
	Elf64_Shdr section = { .sh_info = (Elf64_Word)phnum };

	put_header(sink, phnum, many);
	put(sink, &note, sizeof(note));
	put_loads(sink, loads, ca_page_ceil(at + notes->count));
	if (many)
		put(sink, &section, sizeof(section));
	put(sink, notes->bytes, notes->count);
	pad(sink, CA_PAGE);
	for (size_t i = 0; i < loads->count; i++) {
		if (!loads->items[i].data)
			continue;
		put(sink, loads->items[i].data, loads->items[i].end - loads->items[i].start);
		pad(sink, CA_PAGE);
	}
}

bool ca_image_write_core(const struct ca_image *image, int fd, bool compress, uint64_t *bytes)
{
	struct loads loads = { 0 };
	struct notes notes = { 0 };
	struct sink sink;
	bool good = open_sink(&sink, fd, compress);

	if (good) {
		collect_loads(image, &loads);
		collect_notes(image, &notes);
		put_core(&sink, &loads, &notes);
		*bytes = sink.at;
	}
	good = close_sink(&sink) && good;
	free(loads.items);
	free(notes.bytes);
	return good;
}
