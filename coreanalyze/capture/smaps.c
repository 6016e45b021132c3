/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What only smaps tells of mappings. proc(5); Linux fs/proc/task_mmu.c (show_smap_vma_flags). */
#include "private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
	char word[3];
	uint32_t trait;
} flags[] = {
	{ "dd", CA_VMA_DONT_DUMP }, { "io", CA_VMA_DEVICE },    { "pf", CA_VMA_DEVICE },
	{ "ht", CA_VMA_HUGETLB },   { "um", CA_VMA_USERFAULT }, { "uw", CA_VMA_USERFAULT },
	{ "ui", CA_VMA_USERFAULT }, { "dc", CA_VMA_NOT_FORKED }, { "wf", CA_VMA_NOT_FORKED },
	{ "ss", CA_VMA_SHADOW_STACK }, { "lo", CA_VMA_LOCKED },
};

static uint32_t traits_of(const char *line)
{
	uint32_t traits = 0;

	for (size_t i = 0; i < CA_COUNT(flags); i++) {
		const char *at = strstr(line, flags[i].word);

		/* Words of two letters, each with a space before and behind. */
		if (at && at[-1] == ' ' && (!at[2] || at[2] == ' '))
			traits |= flags[i].trait;
	}
	return traits;
}

static void take_line(const char *line, struct ca_vmas *vmas, struct ca_vma **vma, size_t *next)
{
	static const char anonymous[] = "Anonymous:", flag_words[] = "VmFlags:";
	ca_addr start, end;
	uint64_t kib;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
		while (*next < vmas->count && vmas->items[*next].start < start)
			++*next;
		*vma = *next < vmas->count && vmas->items[*next].start == start ? &vmas->items[*next]
										 : NULL;
	} else if (*vma && !strncmp(line, anonymous, sizeof(anonymous) - 1)) {
		if (sscanf(line + sizeof(anonymous) - 1, "%" SCNu64, &kib) == 1 && kib)
			(*vma)->traits |= CA_VMA_CHANGED;
	} else if (*vma && !strncmp(line, flag_words, sizeof(flag_words) - 1)) {
		(*vma)->traits |= traits_of(line + sizeof(flag_words) - 1);
	}
}

bool ca_smaps_read(int proc, struct ca_vmas *vmas)
{
	size_t size, next = 0;
	char *text = ca_proc_read(proc, "smaps", &size), *save = NULL;
	struct ca_vma *vma = NULL;

	if (!text)
		return false;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		take_line(line, vmas, &vma, &next);
	free(text);
	return true;
}
