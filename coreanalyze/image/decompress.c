/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A compressed core is unpacked into a temporary file, in which runs of zeros
 * are holes. From there on it is a core like any other.
 */
#include "private.h"

#include <archive.h>
#include <errno.h>
#include <unistd.h>

enum {
	BLOCK_BYTES = 1024 * 1024,
	ROOM_STEP = 64 * 1024 * 1024, /* how far to write without a look at the room on the disk */
	HEADERS_MAX = 8 * 1024 * 1024, /* program headers lie in front: at most 65,534 of 56 bytes */
};

static const struct format {
	const char *magic;
	size_t length;
	const char *name;
	int (*support)(struct archive *archive);
	uint64_t (*unpacked)(struct ca_bytes packed); /* the size, 0: not told */
} formats[] = {
	{ "\x28\xb5\x2f\xfd", 4, "zstd", archive_read_support_filter_zstd, ca_unpacked_zstd },
	{ "\x04\x22\x4d\x18", 4, "lz4", archive_read_support_filter_lz4, ca_unpacked_lz4 },
	{ "\xfd" "7zXZ", 5, "xz", archive_read_support_filter_xz, ca_unpacked_xz },
	{ "\x1f\x8b", 2, "gzip", archive_read_support_filter_gzip, NULL },
	{ "BZh", 3, "bzip2", archive_read_support_filter_bzip2, NULL },
};

struct unpacking {
	struct ca_image *image;
	const struct format *format;
	struct archive *archive;
	struct ca_spool spool;
	uint64_t size;		/* unpacked so far */
	uint64_t end;		/* no core has bytes beyond */
	uint64_t next_look;	/* at the room on the disk, when so much is written */
	const char *damage;	/* what stopped it early, or NULL */
};

static const struct format *find_format(struct ca_bytes packed)
{
	for (size_t i = 0; i < CA_COUNT(formats); i++) {
		const uint8_t *start = ca_bytes_at(packed, 0, formats[i].length);

		if (start && !memcmp(start, formats[i].magic, formats[i].length))
			return &formats[i];
	}
	return NULL;
}

static struct ca_error *refuse(const struct unpacking *u, const char *why)
{
	return ca_error_make(CA_TARGET, "cannot unpack this core",
			     "copy it again, or unpack it by hand; what is in it must be an x86-64 ELF core",
			     "it is compressed (%s), %s", u->format->name, why);
}

/* ---- bounds ---------------------------------------------------------------- */

/* Where the file ends by its headers; UINT64_MAX where they do not tell. */
static uint64_t promised_end(int fd)
{
	Elf64_Ehdr header;
	Elf64_Phdr phdr;
	uint64_t end, part;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header) || header.e_phnum == PN_XNUM ||
	    header.e_phentsize != sizeof(phdr) || header.e_phoff > HEADERS_MAX)
		return UINT64_MAX;
	if (__builtin_add_overflow(header.e_shoff,
				   (uint64_t)header.e_shnum * header.e_shentsize, &end))
		return UINT64_MAX;
	for (unsigned i = 0; i < header.e_phnum; i++) {
		off_t at = (off_t)(header.e_phoff + i * sizeof(phdr));

		if (pread(fd, &phdr, sizeof(phdr), at) != sizeof(phdr) ||
		    __builtin_add_overflow(phdr.p_offset, phdr.p_filesz, &part))
			return UINT64_MAX;
		if (phdr.p_filesz && part > end)
			end = part;
	}
	return end;
}

/* What is no ELF file, or goes on behind its end, is not worth the disk. */
static struct ca_error *look_at_headers(struct unpacking *u)
{
	char magic[CA_SNAPSHOT_MAGIC_BYTES];

	if (u->end || u->size < HEADERS_MAX)
		return NULL;
	if (pread(u->spool.fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	    !memcmp(magic, CA_SNAPSHOT_MAGIC, sizeof(magic)))
		u->end = UINT64_MAX;
	else if (memcmp(magic, ELFMAG, SELFMAG))
		return refuse(u, "and what is packed in it is no ELF file");
	u->end = promised_end(u->spool.fd) | 1;
	return NULL;
}

/* ---- unpacking ------------------------------------------------------------- */

static struct ca_error *write_block(struct unpacking *u, const void *bytes, uint64_t size)
{
	static const char what[] = "cannot unpack this core";

	if (u->spool.written >= u->next_look) {
		uint64_t room = ca_spool_room(&u->spool);

		if (!room)
			return ca_spool_full(&u->spool, what, "more than ", u->spool.written);
		u->next_look = u->spool.written + (room < ROOM_STEP ? room : ROOM_STEP) / 2;
	}
	if (!ca_spool_write(&u->spool, bytes, size, u->size)) {
		if (errno == ENOSPC || errno == EDQUOT)
			return ca_spool_full(&u->spool, what, "more than ", u->spool.written);
		return ca_error_make(CA_TARGET, what, "name another folder with --tmpdir", "%s: %s",
				     u->spool.folder, strerror(errno));
	}
	u->size += size;
	return look_at_headers(u);
}

static struct ca_error *unpack_blocks(struct unpacking *u)
{
	const void *bytes;
	size_t size;
	la_int64_t offset;

	while (!u->end || u->size < u->end) {
		int got = archive_read_data_block(u->archive, &bytes, &size, &offset);

		if (got == ARCHIVE_EOF)
			return NULL;
		if (got < ARCHIVE_WARN) {
			u->damage = archive_error_string(u->archive);
			return NULL;
		}
		struct ca_error *err = size ? write_block(u, bytes, size) : NULL;

		if (err)
			return err;
		ca_progress(u->image->ctx, "unpacking",
			    (uint64_t)archive_filter_bytes(u->archive, -1), u->image->core_bytes);
	}
	return NULL;
}

static struct ca_error *unpack(struct unpacking *u)
{
	struct ca_bytes packed = u->image->priv->core;
	struct archive_entry *entry;
	struct archive *a = u->archive;

	/* Without the library for it, libarchive would run a program of that name. */
	if (u->format->support(a) != ARCHIVE_OK)
		return refuse(u, "which this libarchive cannot read");
	archive_read_support_format_raw(a);
	if (archive_read_open_memory2(a, packed.data, packed.size, BLOCK_BYTES) < ARCHIVE_WARN ||
	    archive_read_next_header(a, &entry) != ARCHIVE_OK)
		return refuse(u, "and cut short or damaged at its start");
	if (archive_filter_code(a, 0) == ARCHIVE_FILTER_NONE) /* it would come out as it is */
		return refuse(u, "and damaged at its start");
	struct ca_error *err = unpack_blocks(u);

	if (!err && !u->size)
		err = refuse(u, "and cut short or damaged before anything of the core");
	if (!err && ftruncate(u->spool.fd, (off_t)u->size))
		err = refuse(u, strerror(errno));
	return err;
}

static void warn_damage(const struct unpacking *u)
{
	if (!u->damage)
		return;
	u->image->complete = false;
	ca_warn_bytes(u->image->ctx, "damaged-compression", 0, 0, "what follows there is not seen",
		      "the %s stream is cut short or damaged: %llu bytes of the core came out of it (%s)",
		u->format->name, (unsigned long long)u->size, u->damage);
}

static struct ca_error *unpack_to_disk(struct unpacking *u)
{
	struct ca_bytes packed = u->image->priv->core;
	uint64_t told = u->format->unpacked ? u->format->unpacked(packed) : 0;

	if (told > ca_spool_room(&u->spool))
		return ca_spool_full(&u->spool, "cannot unpack this core", "", told);
	u->archive = archive_read_new();
	if (!u->archive)
		return ca_error_make(CA_INTERNAL, "cannot unpack this core", "", "out of memory");
	struct ca_error *err = unpack(u);

	if (!err)
		warn_damage(u);
	archive_read_free(u->archive);
	return err;
}

struct ca_error *ca_decompress(struct ca_image *image, const struct ca_image_options *options)
{
	struct unpacking u = { .image = image, .format = find_format(image->priv->core) };

	if (!u.format)
		return NULL;
	struct ca_error *err = ca_spool_open(options, &u.spool);

	if (!err)
		err = unpack_to_disk(&u);
	if (!err)
		err = ca_core_map(image, u.spool.fd);
	ca_spool_close(&u.spool);
	return err;
}
