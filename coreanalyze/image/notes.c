/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The notes of a core. Layouts: Linux include/uapi/linux/elfcore.h
 * (elf_prstatus), include/linux/elfcore.h (elf_prpsinfo) and fs/binfmt_elf.c
 * (fill_files_note) for x86-64.
 */
#include "private.h"

#include <stdlib.h>

enum {
	LWPS_MAX = 4 * 1024 * 1024, /* PID_MAX_LIMIT */
	PRSTATUS_BYTES = 336,
	PRSTATUS_CURSIG = 12,
	PRSTATUS_PID = 32,
	PRSTATUS_REGS = 112, /* struct user_regs_struct, words */
	REG_RIP = 16,
	REG_RSP = 19,
	REG_FS_BASE = 21,
	PRPSINFO_PID = 24,
	PRPSINFO_PSARGS = 56,
	PRPSINFO_PSARGS_BYTES = 80,
	FILE_HEADER_BYTES = 16, /* count, page size */
	FILE_ENTRY_BYTES = 24,	/* start, end, offset in pages */
};

static void damaged(struct ca_image *image, const char *text)
{
	ca_warn(image->ctx, "damaged-notes", 0,
		"threads, file names or arguments of the process may be missing", "%s", text);
}

static uint64_t reg(const uint8_t *prstatus, int number)
{
	return ca_load_u64(prstatus + PRSTATUS_REGS + number * 8);
}

static void read_prstatus(struct ca_image *image, struct ca_bytes desc)
{
	if (desc.size < PRSTATUS_BYTES) {
		damaged(image, "a thread's note (NT_PRSTATUS) is too short");
		return;
	}
	if (image->lwp_count >= LWPS_MAX)
		return;
	size_t *capacity = &image->priv->lwp_capacity;

	image->lwps = ca_grow(image->lwps, capacity, image->lwp_count + 1, sizeof(*image->lwps));
	image->lwps[image->lwp_count++] = (struct ca_lwp){
		.lwp = (int32_t)ca_load_u32(desc.data + PRSTATUS_PID),
		.ip = reg(desc.data, REG_RIP),
		.sp = reg(desc.data, REG_RSP),
		.fs_base = reg(desc.data, REG_FS_BASE),
		.signal = desc.data[PRSTATUS_CURSIG] | desc.data[PRSTATUS_CURSIG + 1] << 8,
	};
}

static void read_prpsinfo(struct ca_image *image, struct ca_bytes desc)
{
	const uint8_t *psargs = ca_bytes_at(desc, PRPSINFO_PSARGS, PRPSINFO_PSARGS_BYTES);

	if (!psargs) {
		damaged(image, "the process's note (NT_PRPSINFO) is too short");
		return;
	}
	if (!image->pid)
		image->pid = (int32_t)ca_load_u32(desc.data + PRPSINFO_PID);
	if (!image->priv->psargs)
		image->priv->psargs = ca_arena_strndup(&image->ctx->arena, (const char *)psargs,
						       PRPSINFO_PSARGS_BYTES);
}

void ca_auxv_read(struct ca_image *image, struct ca_bytes desc)
{
	struct ca_start *start = &image->priv->at_start;
	struct ca_start told = { .auxv = { desc.data, 0 } };

	for (uint64_t offset = 0; ca_bytes_at(desc, offset, 16); offset += 16) {
		uint64_t type = ca_load_u64(desc.data + offset);
		uint64_t value = ca_load_u64(desc.data + offset + 8);

		told.auxv.size = offset + 16;
		switch (type) {
		case AT_NULL:
			*start = told;
			return;
		case AT_PHDR:
			told.phdr = value;
			break;
		case AT_ENTRY:
			told.entry = value;
			break;
		case AT_BASE:
			told.base = value;
			break;
		case AT_EXECFN:
			told.execfn = value;
			break;
		case AT_RANDOM:
			told.random = value;
			break;
		case AT_SYSINFO_EHDR:
			told.vdso = value;
			break;
		}
	}
	*start = told;
}

static bool add_range(struct ca_image *image, const uint8_t *entry, uint64_t page, const char *path)
{
	struct ca_image_private *priv = image->priv;
	struct ca_file_range range = {
		.start = ca_load_u64(entry),
		.end = ca_load_u64(entry + 8),
		.path = path,
	};

	if (range.start >= range.end ||
	    __builtin_mul_overflow(ca_load_u64(entry + 16), page, &range.offset) ||
	    range.offset > INT64_MAX)
		return false;
	priv->ranges = ca_grow(priv->ranges, &priv->range_capacity, priv->range_count + 1,
			       sizeof(*priv->ranges));
	priv->ranges[priv->range_count++] = range;
	return true;
}

/* count, page size; count entries; count paths, each with its NUL. */
static void read_files(struct ca_image *image, struct ca_bytes desc)
{
	if (!ca_bytes_at(desc, 0, FILE_HEADER_BYTES)) {
		damaged(image, "the note of mapped files (NT_FILE) is too short");
		return;
	}
	uint64_t count = ca_load_u64(desc.data), page = ca_load_u64(desc.data + 8);

	/* The paths are behind the entries: without them those say nothing. */
	if (count > (desc.size - FILE_HEADER_BYTES) / FILE_ENTRY_BYTES) {
		damaged(image, "the note of mapped files (NT_FILE) is cut short");
		return;
	}
	uint64_t path = FILE_HEADER_BYTES + count * FILE_ENTRY_BYTES;

	for (uint64_t i = 0; i < count; i++) {
		const char *text = (const char *)desc.data + path;
		const char *end = memchr(text, '\0', desc.size - path);

		if (!end || !add_range(image, desc.data + FILE_HEADER_BYTES + i * FILE_ENTRY_BYTES,
				       page, text)) {
			damaged(image, "an entry of mapped files (NT_FILE) makes no sense");
			if (!end)
				return;
		}
		path += (uint64_t)(end - text) + 1;
	}
}

static const struct {
	uint32_t type;
	void (*read)(struct ca_image *image, struct ca_bytes desc);
} readers[] = {
	{ NT_PRSTATUS, read_prstatus },
	{ NT_PRPSINFO, read_prpsinfo },
	{ NT_AUXV, ca_auxv_read },
	{ NT_FILE, read_files },
};

static void read_segment(struct ca_image *image, struct ca_bytes bytes, const Elf64_Phdr *phdr)
{
	struct ca_note note;
	uint64_t offset = 0;

	while (ca_note_next(bytes, phdr->p_align, &offset, &note)) {
		for (size_t i = 0; i < CA_COUNT(readers); i++) {
			if (ca_note_is(&note, "CORE", readers[i].type))
				readers[i].read(image, note.desc);
		}
		if (ca_note_is(&note, CA_TAKEN_OWNER, CA_TAKEN_NOTE))
			ca_taken_read(image, note.desc);
	}
	/* Fewer bytes than a header may be padding. */
	if (bytes.size < phdr->p_filesz || bytes.size - offset >= sizeof(Elf64_Nhdr))
		damaged(image, "the notes are cut short");
}

void ca_notes_read(struct ca_image *image)
{
	unsigned segments = 0;

	for (uint64_t i = 0; i < image->priv->phnum; i++) {
		Elf64_Phdr phdr = ca_core_phdr(image, i);

		if (phdr.p_type != PT_NOTE || !phdr.p_filesz)
			continue;
		if (++segments > CA_NOTE_SEGMENTS_MAX) {
			damaged(image, "there are too many note segments");
			return;
		}
		read_segment(image, ca_core_bytes(image, &phdr), &phdr);
	}
	if (!segments)
		damaged(image, "the core has no notes");
}
