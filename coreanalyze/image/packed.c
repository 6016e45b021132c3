/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory of a snapshot: packed in its file, unpacked where it is touched. */
#include "private.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

struct ca_packed_memory {
	struct ca_packed packed;
	uint8_t *at;
	uint64_t bytes;
	atomic_uint_fast64_t damaged;
};

/* The frame's own checksum is looked at by zstd. False: it is damaged. */
static bool unpack(const struct ca_packed *packed, uint64_t chunk, uint8_t *to)
{
	uint64_t from = packed->at[chunk], end = packed->at[chunk + 1];

	if (from > end || end > packed->data_bytes)
		return false;
	if (from == end)
		return true;

	size_t got = ZSTD_decompress(to, packed->chunk_bytes, packed->data + from, end - from);

	return !ZSTD_isError(got) && got == packed->chunk_bytes;
}

static void fill(void *arg, uint64_t offset, uint64_t bytes, uint8_t *to)
{
	struct ca_packed_memory *memory = arg;
	const struct ca_packed *packed = &memory->packed;
	uint64_t chunk = offset / packed->chunk_bytes;
	uint8_t *buffer;

	if (packed->at[chunk] == packed->at[chunk + 1])
		return;
	/* Another thread may read what this one unpacks again: it must not see it half done. */
	buffer = ca_alloc(packed->chunk_bytes);
	if (unpack(packed, chunk, buffer))
		memcpy(to, buffer, bytes);
	else
		atomic_fetch_add(&memory->damaged, 1);
	free(buffer);
}

const uint8_t *ca_packed_map(struct ca_image *image, const struct ca_packed *packed)
{
	struct ca_packed_memory *memory = ca_alloc(sizeof(*memory));
	int store = memfd_create("coreanalyze", MFD_CLOEXEC);

	memory->packed = *packed;
	memory->bytes = packed->chunks * packed->chunk_bytes;
	if (store >= 0 && !ftruncate(store, (off_t)memory->bytes))
		memory->at = ca_lazy_map_by(fill, memory, store, memory->bytes, packed->chunk_bytes);
	if (store >= 0)
		close(store);
	if (!memory->at) {
		free(memory);
		return NULL;
	}
	image->priv->packed = memory;
	return memory->at;
}

void ca_packed_unmap(struct ca_packed_memory *memory)
{
	if (!memory)
		return;
	ca_lazy_unmap(memory->at);
	munmap(memory->at, memory->bytes);
	free(memory);
}

uint64_t ca_packed_damage(const struct ca_image *image)
{
	return image->priv->packed ? atomic_load(&image->priv->packed->damaged) : 0;
}

const uint8_t *ca_image_snapshot(const struct ca_image *image, uint64_t *bytes)
{
	struct ca_bytes core = image->priv->core;

	*bytes = core.size;
	return core.data && ca_core_is_snapshot(core) ? core.data : NULL;
}

void ca_image_restore(struct ca_image *image)
{
	for (size_t i = 0; i < image->module_count; i++) {
		image->modules[i].priv = ca_alloc(sizeof(*image->modules[i].priv));
		image->modules[i].priv->image = image;
	}
}
