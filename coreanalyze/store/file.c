/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The file, from its first byte to its last. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "private.h"

static void fail(struct ca_draft *draft)
{
	draft->failed = true;
	errno = archive_errno(draft->packer);
}

static void open_packer(struct ca_draft *draft)
{
	struct archive_entry *entry = archive_entry_new();

	draft->packer = archive_write_new();
	if (!draft->packer || !entry) {
		draft->failed = true;
		errno = ENOMEM;
		return;
	}
	archive_entry_set_filetype(entry, AE_IFREG);
	if (archive_write_set_format_raw(draft->packer) != ARCHIVE_OK ||
	    archive_write_add_filter_zstd(draft->packer) != ARCHIVE_OK ||
	    archive_write_open_fd(draft->packer, draft->fd) != ARCHIVE_OK ||
	    archive_write_header(draft->packer, entry) != ARCHIVE_OK)
		fail(draft);
	archive_entry_free(entry);
}

void ca_draft_open(struct ca_draft *draft, int fd, bool compress)
{
	struct ca_file_head head = {.magic = CA_SNAPSHOT_MAGIC, .version = CA_STORE_VERSION};

	*draft = (struct ca_draft){.fd = fd};
	if (compress)
		open_packer(draft);
	ca_draft_put(draft, &head, sizeof(head));
}

static bool write_all(int fd, const uint8_t *bytes, uint64_t size)
{
	while (size) {
		ssize_t done = write(fd, bytes, size);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		bytes += done;
		size -= (uint64_t)done;
	}
	return true;
}

void ca_draft_put(struct ca_draft *draft, const void *bytes, uint64_t size)
{
	const uint8_t *from = bytes;

	draft->at += size;
	if (!draft->packer && !draft->failed)
		draft->failed = !write_all(draft->fd, from, size);
	while (draft->packer && size && !draft->failed) {
		la_ssize_t taken = archive_write_data(draft->packer, from, size);

		if (taken <= 0) {
			fail(draft);
			return;
		}
		from += taken;
		size -= (uint64_t)taken;
	}
}

struct ca_section *ca_draft_begin(struct ca_draft *draft, enum ca_section_id id, uint32_t item_bytes)
{
	static const uint8_t zeros[CA_SECTION_ALIGN];
	struct ca_section *section = &draft->sections[draft->count++];

	ca_draft_put(draft, zeros, -draft->at % CA_SECTION_ALIGN);
	*section = (struct ca_section){.id = id, .item_bytes = item_bytes, .offset = draft->at};
	return section;
}

void ca_draft_section(struct ca_draft *draft, struct ca_context *ctx, enum ca_section_id id,
		       const void *items, uint64_t count, uint32_t item_bytes)
{
	struct ca_section *section = ca_draft_begin(draft, id, item_bytes);

	section->bytes = count * item_bytes;
	section->checksum = ca_checksum(ctx, items, section->bytes);
	ca_draft_put(draft, items, section->bytes);
}

bool ca_draft_close(struct ca_draft *draft)
{
	struct ca_context one = {.threads = 1};
	uint64_t bytes = draft->count * sizeof(*draft->sections);
	struct ca_file_tail tail = {
		.checksum = ca_checksum(&one, draft->sections, bytes),
		.offset = draft->at,
		.sections = draft->count,
		.version = CA_STORE_VERSION,
		.magic = CA_SNAPSHOT_MAGIC,
	};

	ca_draft_put(draft, draft->sections, bytes);
	ca_draft_put(draft, &tail, sizeof(tail));
	if (!draft->packer)
		return !draft->failed;
	int why = errno;

	if (archive_write_close(draft->packer) != ARCHIVE_OK && !draft->failed) {
		fail(draft);
		why = errno;
	}
	archive_write_free(draft->packer);
	errno = why;
	return !draft->failed;
}
