/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where a core is written to from its start to its end: as it is, with holes, or packed. */
#include "private.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <unistd.h>

static void fail(struct ca_sink *sink, int why)
{
	if (!sink->error)
		sink->error = why ? why : EIO;
}

static void pack(struct ca_sink *sink, const uint8_t *bytes, uint64_t size)
{
	while (size && !sink->error) {
		la_ssize_t taken = archive_write_data(sink->packer, bytes, size);

		if (taken <= 0) {
			fail(sink, archive_errno(sink->packer));
			return;
		}
		bytes += taken;
		size -= (uint64_t)taken;
	}
}

void ca_sink_put(struct ca_sink *sink, const void *bytes, uint64_t size)
{
	if (sink->error || !size)
		return;
	if (sink->packer)
		pack(sink, bytes, size);
	else if (!ca_spool_write(&sink->file, bytes, size, sink->at))
		fail(sink, errno);
	sink->at += size;
}

void ca_sink_skip(struct ca_sink *sink, uint64_t at)
{
	static const uint8_t zeros[64 * CA_PAGE];

	while (sink->packer && sink->at < at && !sink->error) {
		uint64_t left = at - sink->at;

		ca_sink_put(sink, zeros, left < sizeof(zeros) ? left : sizeof(zeros));
	}
	sink->at = at;
}

static bool open_packer(struct ca_sink *sink)
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

void ca_sink_open(struct ca_sink *sink, int fd, bool compress)
{
	*sink = (struct ca_sink){ .file = { .fd = fd } };
	if (compress && !open_packer(sink))
		fail(sink, ENOMEM);
}

bool ca_sink_close(struct ca_sink *sink)
{
	if (!sink->packer && !sink->error && ftruncate(sink->file.fd, (off_t)sink->at))
		fail(sink, errno);
	if (sink->packer && archive_write_close(sink->packer) != ARCHIVE_OK)
		fail(sink, archive_errno(sink->packer));
	if (sink->packer)
		archive_write_free(sink->packer);
	sink->packer = NULL;
	errno = sink->error;
	return !sink->error;
}
