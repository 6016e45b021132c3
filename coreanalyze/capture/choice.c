/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which mappings the core has whole. */
#include "private.h"

#include <stdlib.h>

/* core(5), coredump_filter */
enum {
	ANONYMOUS_PRIVATE = 1,
	ANONYMOUS_SHARED = 2,
	FILE_PRIVATE = 4,
	FILE_SHARED = 8,
	ELF_HEADERS = 16, /* the first mapping of such a file, by gdb */
	HUGETLB_PRIVATE = 32,
	HUGETLB_SHARED = 64,
	DEFAULT_FILTER = 0x33,
};

static unsigned read_filter(int proc)
{
	size_t size;
	char *text = ca_proc_read(proc, "coredump_filter", &size);
	unsigned filter = text ? (unsigned)strtoul(text, NULL, 16) : DEFAULT_FILTER;

	free(text);
	return filter;
}

/* A library's own data, which not every machine has; and the vDSO, for whoever unwinds. */
static bool is_needed(const struct ca_vma *vma)
{
	if (!strcmp(vma->path, "[vdso]"))
		return true;
	return !vma->shared && vma->is_elf && vma->flags & CA_SEG_WRITE;
}

/* Shared memory without a name is of a file that has none any more. */
static bool is_of_filter(const struct ca_vma *vma, unsigned filter)
{
	bool file = *vma->path == '/' && !vma->deleted;

	if (vma->traits & (CA_VMA_DEVICE | CA_VMA_DONT_DUMP) || !strncmp(vma->path, "[v", 2))
		return false;
	if (vma->traits & CA_VMA_HUGETLB)
		return filter & (vma->shared ? HUGETLB_SHARED : HUGETLB_PRIVATE);
	if (vma->shared)
		return filter & (file ? FILE_SHARED : ANONYMOUS_SHARED);
	if (!vma->flags)
		return false; /* nobody can have written to it; what it has is of the kernel's making */
	return (file && filter & FILE_PRIVATE) ||
	       (vma->is_elf && !vma->offset && filter & ELF_HEADERS) ||
	       (vma->traits & CA_VMA_CHANGED && filter & ANONYMOUS_PRIVATE);
}

bool ca_choose(int proc, struct ca_vmas *vmas, bool full)
{
	unsigned filter = full ? read_filter(proc) : 0;

	if (full && !ca_smaps_read(proc, vmas))
		return false;
	for (size_t i = 0; i < vmas->count; i++) {
		struct ca_vma *vma = &vmas->items[i];

		vma->whole = is_needed(vma) || (full && is_of_filter(vma, filter));
	}
	return true;
}
