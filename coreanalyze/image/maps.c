/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a process has mapped, and which pages of it there are. */
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	ELF_NEIGHBOURS = 8, /* an ELF file has about five mappings, next to each other */
	ENTRIES = 64 * 1024, /* of the pagemap at a time */
};

/* All of an open file from its start. */
static char *read_whole(int fd, size_t *size)
{
	size_t capacity = 0;
	char *text = NULL;
	ssize_t got = 0;

	*size = 0;
	do {
		*size += (size_t)got;
		text = ca_grow(text, &capacity, *size + 64 * 1024 + 1, 1);
		got = pread(fd, text + *size, 64 * 1024, (off_t)*size);
	} while (got > 0 || (got < 0 && errno == EINTR && !(got = 0)));
	if (!got) {
		text[*size] = '\0';
		return text;
	}
	int kept = errno;

	free(text);
	errno = kept;
	return NULL;
}

char *ca_proc_read(int proc, const char *name, size_t *size)
{
	int fd = openat(proc, name, O_RDONLY | O_CLOEXEC);

	*size = 0;
	if (fd < 0)
		return NULL;
	char *text = read_whole(fd, size);
	int kept = errno;

	close(fd);
	errno = kept;
	return text;
}

/* ---- maps ------------------------------------------------------------------ */

/* The kernel writes a newline in a path as \012, and nothing else so. */
static void unescape(char *path)
{
	char *to = path;

	for (const char *from = path; *from; to++) {
		bool newline = !strncmp(from, "\\012", 4);

		*to = newline ? '\n' : *from;
		from += newline ? 4 : 1;
	}
	*to = '\0';
}

static bool parse_line(char *line, struct ca_vma *vma)
{
	static const char suffix[] = " (deleted)";
	char flags[5];
	int path = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %n", &vma->start, &vma->end,
		   flags, &vma->offset, &path) < 4 || !path)
		return false;
	unescape(line + path);
	size_t length = strlen(line + path), tail = sizeof(suffix) - 1;

	vma->path = line + path;
	vma->deleted = length > tail && !strcmp(vma->path + length - tail, suffix);
	vma->flags = (flags[0] == 'r' ? CA_SEG_READ : 0) | (flags[1] == 'w' ? CA_SEG_WRITE : 0) |
		     (flags[2] == 'x' ? CA_SEG_EXEC : 0);
	vma->shared = flags[3] != 'p';
	return vma->start < vma->end;
}

static void mark_elf_files(struct ca_vmas *vmas)
{
	for (size_t i = 0; i < vmas->count; i++) {
		const struct ca_vma *code = &vmas->items[i];

		if (!(code->flags & CA_SEG_EXEC) || *code->path != '/')
			continue;
		size_t first = i > ELF_NEIGHBOURS ? i - ELF_NEIGHBOURS : 0;

		for (size_t k = first; k < vmas->count && k <= i + ELF_NEIGHBOURS; k++) {
			if (!strcmp(vmas->items[k].path, code->path))
				vmas->items[k].is_elf = true;
		}
	}
}

static bool parse_maps(struct ca_vmas *vmas)
{
	char *save = NULL;

	if (!vmas->text)
		return false;
	for (char *line = strtok_r(vmas->text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		struct ca_vma vma = { 0 };

		if (!parse_line(line, &vma))
			continue;
		vmas->items = ca_grow(vmas->items, &vmas->capacity, vmas->count + 1, sizeof(vma));
		vmas->items[vmas->count++] = vma;
	}
	mark_elf_files(vmas);
	return true;
}

bool ca_vmas_read(int proc, struct ca_vmas *vmas)
{
	size_t size;

	ca_vmas_fini(vmas);
	vmas->text = ca_proc_read(proc, "maps", &size);
	return parse_maps(vmas);
}

bool ca_vmas_read_from(int maps, struct ca_vmas *vmas)
{
	size_t size;

	ca_vmas_fini(vmas);
	vmas->text = read_whole(maps, &size);
	return parse_maps(vmas);
}

void ca_vmas_fini(struct ca_vmas *vmas)
{
	free(vmas->items);
	free(vmas->text);
	*vmas = (struct ca_vmas){ 0 };
}

bool ca_vma_is_anonymous(const struct ca_vma *vma)
{
	return *vma->path != '/';
}

#define SPARSE_BYTES (UINT64_C(4) << 30)
#define SPARSE_MAX (UINT64_C(1) << 40) /* its pagemap takes seconds to read */

/* ---- pages ----------------------------------------------------------------- */

/* Linux Documentation/admin-guide/mm/pagemap.rst */
#define PAGE_PRESENT (UINT64_C(1) << 63)
#define PAGE_SWAPPED (UINT64_C(1) << 62)
#define PAGE_OF_FILE (UINT64_C(1) << 61)
#define PAGE_GUARD (UINT64_C(1) << 58) /* under a thread's stack: cannot be read, shows as swapped */
#define PAGE_EXCLUSIVE (UINT64_C(1) << 56)

/* The kernel's own pages ("[vvar]", "[vdso]") are not the process's. */
static bool is_wanted(const struct ca_vma *vma)
{
	if (vma->whole)
		return true;
	if (vma->shared || !vma->flags || !strncmp(vma->path, "[v", 2))
		return false;
	return vma->flags & CA_SEG_WRITE || *vma->path == '/' || !*vma->path;
}

/*
 * Whether what is not there is left alone: of private memory it is zeros, and reading
 * would make it be there; of the others it would be taken from a pool, or waited for.
 */
static bool keeps_holes(const struct ca_vma *vma)
{
	return (ca_vma_is_anonymous(vma) && vma->flags & CA_SEG_WRITE && !vma->shared) ||
	       vma->traits & (CA_VMA_HUGETLB | CA_VMA_USERFAULT);
}

/*
 * What the process wrote, that is, what no file has. Of an ELF file also its
 * first page, where the build-id is, and all of it when it has no name any more.
 */
static bool is_page_wanted(const struct ca_vma *vma, uint64_t entry, bool first)
{
	if (vma->whole && !keeps_holes(vma))
		return !(entry & PAGE_GUARD);
	if (vma->is_elf && (vma->deleted || (first && !vma->offset)))
		return true;
	if (entry & PAGE_GUARD || !(entry & (PAGE_PRESENT | PAGE_SWAPPED)))
		return false;
	return vma->whole || vma->flags & CA_SEG_WRITE || !(entry & PAGE_OF_FILE);
}

static void add_page(struct ca_plan *plan, ca_addr start, bool common)
{
	struct ca_run *last = plan->count ? &plan->runs[plan->count - 1] : NULL;

	plan->bytes += CA_PAGE;
	if (last && last->end == start && last->common == common) {
		last->end += CA_PAGE;
		return;
	}
	plan->runs = ca_grow(plan->runs, &plan->capacity, plan->count + 1, sizeof(*plan->runs));
	plan->runs[plan->count++] = (struct ca_run){ start, start + CA_PAGE, common };
}

static bool add_range(struct ca_plan *plan, int pagemap, const struct ca_vma *vma,
		      struct ca_run range, uint64_t *entries)
{
	for (ca_addr at = range.start; at < range.end;) {
		uint64_t left = (range.end - at) / CA_PAGE;
		size_t count = left < ENTRIES ? left : ENTRIES;
		ssize_t got = pread(pagemap, entries, count * sizeof(*entries),
				    (off_t)(at / CA_PAGE * sizeof(*entries)));

		if (got < (ssize_t)sizeof(*entries))
			return false;
		count = (size_t)got / sizeof(*entries);
		for (size_t i = 0; i < count; i++, at += CA_PAGE) {
			if (is_page_wanted(vma, entries[i], at == vma->start))
				add_page(plan, at, !(entries[i] & PAGE_EXCLUSIVE));
		}
	}
	return true;
}

/* Linux 6.7 include/uapi/linux/fs.h, which not every system's headers have yet. */
struct scanned_range {
	uint64_t start, end, categories;
};
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t inverted, mask, any_of, returned;
};
#define SCAN_PAGEMAP _IOWR('f', 16, struct scan)
#define SCAN_PRESENT (1 << 3)
#define SCAN_SWAPPED (1 << 4)

/*
 * A sanitizer's shadow is terabytes, of which a few pages are there: the kernel
 * passes over the rest by whole page tables. *known: whether it can.
 */
static bool add_sparse(struct ca_plan *plan, int pagemap, const struct ca_vma *vma,
		       uint64_t *entries, bool *known)
{
	struct scanned_range ranges[512];
	struct scan scan = {
		.size = sizeof(scan),
		.start = vma->start,
		.end = vma->end,
		.vec = (uintptr_t)ranges,
		.vec_len = CA_COUNT(ranges),
		.any_of = SCAN_PRESENT | SCAN_SWAPPED,
		.returned = SCAN_PRESENT | SCAN_SWAPPED,
	};

	*known = false;
	while (scan.start < vma->end) {
		int count = ioctl(pagemap, SCAN_PAGEMAP, &scan);

		if (count < 0 || scan.walk_end <= scan.start)
			return false;
		*known = true;
		for (int i = 0; i < count; i++) {
			if (!add_range(plan, pagemap, vma,
				       (struct ca_run){ ranges[i].start, ranges[i].end, false },
				       entries))
				return false;
		}
		scan.start = scan.walk_end;
	}
	return true;
}

static bool add_vma(struct ca_plan *plan, int pagemap, const struct ca_vma *vma, uint64_t *entries)
{
	uint64_t bytes = vma->end - vma->start;
	bool known;

	if (bytes > SPARSE_BYTES) {
		bool done = add_sparse(plan, pagemap, vma, entries, &known);

		if (done || known)
			return done;
	}
	if (bytes > SPARSE_MAX || plan->looked_at > SPARSE_MAX) {
		errno = ERANGE;
		return false;
	}
	plan->looked_at += bytes;
	return add_range(plan, pagemap, vma, (struct ca_run){ vma->start, vma->end, false },
			 entries);
}

bool ca_plan_make(int proc, const struct ca_vmas *vmas, struct ca_plan *plan)
{
	int pagemap = openat(proc, "pagemap", O_RDONLY | O_CLOEXEC);
	bool done = pagemap >= 0;

	ca_plan_fini(plan);
	if (!done)
		return false;
	uint64_t *entries = ca_alloc(ENTRIES * sizeof(*entries));

	for (size_t i = 0; done && i < vmas->count; i++) {
		if (is_wanted(&vmas->items[i]))
			done = add_vma(plan, pagemap, &vmas->items[i], entries);
	}
	int kept = errno;

	free(entries);
	close(pagemap);
	errno = kept;
	return done;
}

bool ca_guard_between(int proc, ca_addr start, ca_addr end)
{
	size_t count = (size_t)(ca_page_ceil(end) - ca_page_floor(start)) / CA_PAGE;
	int pagemap = openat(proc, "pagemap", O_RDONLY | O_CLOEXEC);
	bool found = false;

	if (pagemap < 0)
		return false;
	uint64_t *entries = ca_alloc(count * sizeof(*entries));
	ssize_t got = pread(pagemap, entries, count * sizeof(*entries),
			    (off_t)(start / CA_PAGE * sizeof(*entries)));

	for (ssize_t i = 0; i < got / (ssize_t)sizeof(*entries); i++)
		found |= (entries[i] & PAGE_GUARD) != 0;
	free(entries);
	close(pagemap);
	return found;
}

void ca_plan_all(const struct ca_vmas *vmas, struct ca_plan *plan)
{
	ca_plan_fini(plan);
	plan->runs = ca_alloc((vmas->count + 1) * sizeof(*plan->runs));
	for (size_t i = 0; i < vmas->count; i++) {
		const struct ca_vma *vma = &vmas->items[i];
		bool code = vma->is_elf && vma->flags & CA_SEG_EXEC && !vma->deleted;

		if (!is_wanted(vma) || (code && vma->offset))
			continue;
		plan->runs[plan->count++] =
			(struct ca_run){ vma->start, code ? vma->start + CA_PAGE : vma->end, false };
		plan->bytes += vma->end - vma->start;
	}
}

void ca_plan_fini(struct ca_plan *plan)
{
	free(plan->runs);
	*plan = (struct ca_plan){ 0 };
}
