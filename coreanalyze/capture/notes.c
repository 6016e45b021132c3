/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a core says beside the memory. Layouts: Linux include/uapi/linux/elfcore.h,
 * include/linux/elfcore.h, fs/binfmt_elf.c (fill_note_info, fill_files_note).
 */
#include "private.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/procfs.h>
#include <sys/user.h>

static void *extend(struct ca_notes *notes, size_t bytes)
{
	size_t at = notes->count;

	notes->count += bytes;
	notes->bytes = ca_grow(notes->bytes, &notes->capacity, notes->count, 1);
	memset(notes->bytes + at, 0, bytes);
	return notes->bytes + at;
}

static void add(struct ca_notes *notes, const char *owner, uint32_t type, const void *desc,
		size_t bytes)
{
	size_t name = strlen(owner) + 1;
	Elf64_Nhdr header = { (Elf64_Word)name, (Elf64_Word)bytes, type };

	memcpy(extend(notes, sizeof(header)), &header, sizeof(header));
	memcpy(extend(notes, (name + 3) & ~(size_t)3), owner, name);
	if (bytes)
		memcpy(extend(notes, (bytes + 3) & ~(size_t)3), desc, bytes);
}

/* ---- threads ------------------------------------------------------------------ */

static void add_status(struct ca_notes *notes, const struct ca_lwp *lwp)
{
	struct elf_prstatus status = { 0 };

	status.pr_info.si_signo = lwp->signal;
	status.pr_cursig = (short)lwp->signal;
	status.pr_pid = lwp->lwp;
	status.pr_fpvalid = lwp->fp_registers != NULL;
	if (lwp->registers)
		memcpy(&status.pr_reg, lwp->registers, sizeof(status.pr_reg));
	add(notes, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

static void add_other_registers(struct ca_notes *notes, const struct ca_lwp *lwp)
{
	if (lwp->fp_registers)
		add(notes, "CORE", NT_PRFPREG, lwp->fp_registers, sizeof(struct user_fpregs_struct));
	if (lwp->xstate_bytes)
		add(notes, "LINUX", NT_X86_XSTATE, lwp->xstate, lwp->xstate_bytes);
}

/* ---- the process -------------------------------------------------------------- */

/* proc(5): "pid (name) state ppid pgrp session ...", where the name may hold anything. */
static void read_stat(int proc, struct elf_prpsinfo *info)
{
	size_t size;
	char *text = ca_proc_read(proc, "stat", &size);
	char *name = text ? strchr(text, '(') : NULL, *end = text ? strrchr(text, ')') : NULL;
	long nice = 0;

	if (name && end && name < end) {
		snprintf(info->pr_fname, sizeof(info->pr_fname), "%.*s", (int)(end - name - 1),
			 name + 1);
		sscanf(end + 1, " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %ld",
		       &info->pr_sname, &info->pr_ppid, &info->pr_pgrp, &info->pr_sid, &nice);
		info->pr_nice = (char)nice;
	}
	free(text);
}

static void read_user(int proc, struct elf_prpsinfo *info)
{
	size_t size;
	char *text = ca_proc_read(proc, "status", &size);
	const char *uid = text ? strstr(text, "\nUid:") : NULL;
	const char *gid = text ? strstr(text, "\nGid:") : NULL;

	if (uid)
		info->pr_uid = (unsigned)strtoul(uid + 5, NULL, 10);
	if (gid)
		info->pr_gid = (unsigned)strtoul(gid + 5, NULL, 10);
	free(text);
}

static void read_arguments(int proc, struct elf_prpsinfo *info)
{
	size_t size, room = sizeof(info->pr_psargs) - 1;
	char *text = ca_proc_read(proc, "cmdline", &size);

	if (size > room)
		size = room;
	for (size_t i = 0; text && i + 1 < size; i++)
		info->pr_psargs[i] = text[i] ? text[i] : ' ';
	if (text && size && text[size - 1])
		info->pr_psargs[size - 1] = text[size - 1];
	free(text);
}

static void add_process(struct ca_notes *notes, const struct ca_noted *noted)
{
	struct elf_prpsinfo info = { .pr_sname = 'R', .pr_pid = noted->pid };

	read_stat(noted->proc, &info);
	read_user(noted->proc, &info);
	read_arguments(noted->proc, &info);
	info.pr_sname = 'R'; /* not the stop of ours */
	add(notes, "CORE", NT_PRPSINFO, &info, sizeof(info));
}

/* As the process sees it. */
static const char *path_of(const struct ca_noted *noted, const struct ca_vma *vma)
{
	size_t above = strlen(noted->chroot);
	const char *path = vma->path;

	if (!strncmp(path, noted->chroot, above) && path[above] == '/')
		path += above;
	return path;
}

/* count, page size; {start, end, offset in pages} each; the paths. */
static void add_files(struct ca_notes *notes, const struct ca_noted *noted)
{
	const struct ca_vmas *vmas = noted->vmas;
	uint64_t header[2] = { 0, CA_PAGE };
	struct ca_notes desc = { 0 };

	extend(&desc, sizeof(header));
	for (size_t i = 0; i < vmas->count; i++) {
		const struct ca_vma *vma = &vmas->items[i];
		uint64_t entry[3] = { vma->start, vma->end, vma->offset / CA_PAGE };

		if (*vma->path != '/')
			continue;
		header[0]++;
		memcpy(extend(&desc, sizeof(entry)), entry, sizeof(entry));
	}
	for (size_t i = 0; i < vmas->count; i++) {
		const char *path = path_of(noted, &vmas->items[i]);

		if (*vmas->items[i].path == '/')
			memcpy(extend(&desc, strlen(path) + 1), path, strlen(path) + 1);
	}
	memcpy(desc.bytes, header, sizeof(header));
	add(notes, "CORE", NT_FILE, desc.bytes, desc.count);
	free(desc.bytes);
}

/* ---- the whole ---------------------------------------------------------------- */

void ca_notes_make(struct ca_notes *notes, const struct ca_noted *noted)
{
	static const char taken[CA_TAKEN_BYTES];

	notes->count = 0;
	for (size_t i = 0; i < noted->lwp_count; i++) {
		add_status(notes, &noted->lwps[i]);
		if (i == 0) {
			add_process(notes, noted);
			add(notes, "CORE", NT_AUXV, noted->auxv, noted->auxv_bytes);
			add_files(notes, noted);
		}
		add_other_registers(notes, &noted->lwps[i]);
	}
	add(notes, CA_TAKEN_OWNER, CA_TAKEN_NOTE, taken, sizeof(taken));
	notes->taken_at = notes->count - sizeof(taken);
}

void ca_notes_set_taken(struct ca_notes *notes, const struct ca_taken *taken)
{
	ca_taken_format(taken, (char *)notes->bytes + notes->taken_at);
}

void ca_notes_fini(struct ca_notes *notes)
{
	free(notes->bytes);
	*notes = (struct ca_notes){ 0 };
}
