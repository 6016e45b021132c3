/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening the ELF files that a core names: whoever wrote the core chose the names. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OPEN_FLAGS = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };

/* For kernels without openat2() (before 5.6): what leaves the root is refused. */
static int open_resolved(const char *root, const char *path, int flags)
{
	char *joined, *real_root = realpath(root, NULL), *real = NULL;
	int fd = -1;

	if (real_root && asprintf(&joined, "%s/%s", real_root, path) >= 0) {
		real = realpath(joined, NULL);
		free(joined);
	}
	if (real) {
		size_t length = strlen(real_root);
		bool inside = !strncmp(real, real_root, length) &&
			      (real[length] == '/' || !strcmp(real_root, "/"));

		errno = EXDEV;
		if (inside)
			fd = open(real, flags | O_NOFOLLOW);
	}
	int kept = errno;

	free(real_root);
	free(real);
	errno = kept;
	return fd;
}

static int open_within(const char *root, const char *path, int flags)
{
	if (!root)
		return open(path, flags);
	int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (folder < 0)
		return -1;
	struct open_how how = { .flags = (uint64_t)flags, .resolve = RESOLVE_IN_ROOT };
	int fd = (int)syscall(SYS_openat2, folder, path, &how, sizeof(how));
	int kept = errno;

	close(folder);
	errno = kept;
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		return open_resolved(root, path, flags);
	return fd;
}

/* O_PATH first: opening a device may already do something to it. */
static int open_regular(const char *root, const char *path, const char **why, uint64_t *size)
{
	int named = open_within(root, path, O_PATH | O_CLOEXEC);
	struct stat st;

	*why = "it cannot be opened";
	if (named < 0) {
		*why = errno == ENOENT || errno == ENOTDIR ? "there is no such file"
							   : "it cannot be opened";
		return -1;
	}
	bool regular = !fstat(named, &st) && S_ISREG(st.st_mode);

	close(named);
	if (!regular) {
		*why = "it is not a regular file";
		return -1;
	}
	int fd = open_within(root, path, OPEN_FLAGS);

	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0)) {
		*why = "it is not a regular file, or empty";
		close(fd);
		return -1;
	}
	*size = fd < 0 ? 0 : (uint64_t)st.st_size;
	return fd;
}

static char *join(const char *root, const char *path)
{
	size_t bytes = (root ? strlen(root) : 0) + strlen(path) + 1;
	char *joined = ca_alloc(bytes);

	snprintf(joined, bytes, "%s%s", root ? root : "", path);
	return joined;
}

struct ca_file *ca_file_open(const char *root, const char *path, const char **why)
{
	uint64_t size;
	int fd = open_regular(root, path, why, &size);

	if (fd < 0)
		return NULL;
	void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);

	close(fd);
	if (bytes == MAP_FAILED) {
		*why = "it cannot be mapped";
		return NULL;
	}
	struct ca_file *file = ca_alloc(sizeof(*file));

	file->path = join(root, path);
	file->bytes = (struct ca_bytes){ bytes, size };
	*why = ca_elf_read(&file->elf, &(struct ca_elf_source){ .file = file->bytes });
	if (!*why && !ca_sections_read(file))
		*why = "its section headers are damaged";
	if (!*why)
		return file;
	ca_file_close(file);
	return NULL;
}

void ca_file_close(struct ca_file *file)
{
	if (!file)
		return;
	munmap((void *)file->bytes.data, file->bytes.size);
	free(file->path);
	free(file);
}
