/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A temporary file without a name: it is gone with us, however we end. */
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statfs.h>
#include <unistd.h>

enum {
	FLOOR_PART = 32,		 /* of the disk's size is left to others, */
	FLOOR_MAX = 1024 * 1024 * 1024, /* but no more than this */
};

static const char *chosen_folder(const struct ca_image_options *options)
{
	const char *told = getenv("TMPDIR");

	if (options->tmp_dir)
		return options->tmp_dir;
	return told && *told == '/' ? told : "/var/tmp";
}

/* For file systems without O_TMPFILE, as NFS. */
static int open_named(const char *folder)
{
	char *path;
	int fd = -1;

	if (asprintf(&path, "%s/coreanalyze-XXXXXX", folder) < 0)
		return -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	int kept = errno;

	free(path);
	errno = kept;
	return fd;
}

struct ca_error *ca_spool_open(const struct ca_image_options *options, struct ca_spool *spool)
{
	spool->folder = chosen_folder(options);
	spool->fd = open(spool->folder, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (spool->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
		spool->fd = open_named(spool->folder);
	if (spool->fd >= 0)
		return NULL;
	return ca_error_make(CA_TARGET, "cannot make a temporary file",
			     "name a folder for it with --tmpdir", "%s: %s", spool->folder,
			     strerror(errno));
}

void ca_spool_close(struct ca_spool *spool)
{
	if (spool->fd >= 0)
		close(spool->fd);
	spool->fd = -1;
}

uint64_t ca_spool_room(const struct ca_spool *spool)
{
	struct statfs fs;

	if (fstatfs(spool->fd, &fs))
		return 0;
	uint64_t unit = (uint64_t)fs.f_bsize, floor = fs.f_blocks / FLOOR_PART * unit;
	uint64_t room = fs.f_bavail * unit;

	if (floor > FLOOR_MAX)
		floor = FLOOR_MAX;
	room = room > floor ? room - floor : 0;
	if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC) {
		/* Such a disk is memory. */
		uint64_t memory = ca_memory_room("") / 4 * 3;

		room = room < memory ? room : memory;
	}
	return room;
}

struct ca_error *ca_spool_full(const struct ca_spool *spool, const char *what, const char *than,
			       uint64_t needed)
{
	char wanted[32], there[32];
	uint64_t room = ca_spool_room(spool);

	ca_format_size(wanted, sizeof(wanted), needed);
	ca_format_size(there, sizeof(there), room);
	return ca_error_make(CA_TARGET, what, "name a folder with more room with --tmpdir",
			     "it takes %s%s (%llu bytes) in %s, which has %s (%llu bytes) to spare",
			     than, wanted, (unsigned long long)needed, spool->folder, there,
			     (unsigned long long)room);
}

/* ---- writing ------------------------------------------------------------- */

static bool write_all(int fd, const uint8_t *bytes, uint64_t size, uint64_t offset)
{
	while (size) {
		ssize_t done = pwrite(fd, bytes, size, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		bytes += done;
		offset += (uint64_t)done;
		size -= (uint64_t)done;
	}
	return true;
}

static bool is_zero(const uint8_t *bytes, uint64_t size)
{
	/* Each byte equals the next one, and the first is 0. */
	return !*bytes && !memcmp(bytes, bytes + 1, size - 1);
}

/* The length of the part of one page at offset. */
static uint64_t part_of_page(uint64_t offset, uint64_t size)
{
	uint64_t rest = CA_PAGE - offset % CA_PAGE;

	return size < rest ? size : rest;
}

bool ca_spool_write(struct ca_spool *spool, const uint8_t *bytes, uint64_t size, uint64_t offset)
{
	uint64_t done = 0, begin = 0;

	/* What is not written stays a hole: one write for all pages up to the next. */
	while (done < size) {
		uint64_t part = part_of_page(offset + done, size - done);
		bool zero = is_zero(bytes + done, part);

		if (zero && !write_all(spool->fd, bytes + begin, done - begin, offset + begin))
			return false;
		if (!zero)
			spool->written += part;
		done += part;
		if (zero)
			begin = done;
	}
	return write_all(spool->fd, bytes + begin, done - begin, offset + begin);
}
