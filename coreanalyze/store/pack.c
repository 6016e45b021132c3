/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory, word by word what is kept, packed by the chunk. */
#include <stdlib.h>
#include <zstd.h>

#include "private.h"

enum {
	LEAST_CHUNK = 1 << 15,
	MOST_CHUNKS = 1 << 14, /* each may be a mapping of its own when it is touched */
	LEVEL = 3,
	BATCH = 64,            /* chunks for each worker that wait to be written */
};

uint64_t ca_chunk_count(const struct ca_image *image, uint64_t chunk_bytes)
{
	uint64_t chunks = 0;

	for (size_t i = 0; i < image->segment_count; i++)
		chunks += (image->segments[i].end - image->segments[i].start - 1) / chunk_bytes + 1;
	return chunks;
}

uint64_t ca_chunk_bytes(const struct ca_image *image)
{
	uint64_t bytes = LEAST_CHUNK;

	while (ca_chunk_count(image, bytes) > MOST_CHUNKS + image->segment_count)
		bytes *= 2;
	return bytes;
}

struct frame {
	size_t segment;
	uint64_t offset;
	uint8_t *packed;
	size_t size; /* 0: all zeros */
};

struct packer {
	const struct ca_image *image;
	struct ca_keep *keep;
	uint64_t chunk_bytes;
	ZSTD_CCtx **contexts; /* [threads] */
	uint8_t **buffers;    /* [threads] */
	struct frame *frames;
};

static void pack_range(void *arg, unsigned worker, size_t begin, size_t end)
{
	const struct packer *p = arg;
	size_t bound = ZSTD_compressBound(p->chunk_bytes);
	uint8_t *buffer = p->buffers[worker];

	for (size_t i = begin; i < end; i++) {
		struct frame *frame = &p->frames[i];
		const struct ca_segment *segment = &p->image->segments[frame->segment];
		uint64_t left = segment->end - segment->start - frame->offset;
		uint64_t bytes = left < p->chunk_bytes ? left : p->chunk_bytes;

		memset(buffer + bytes, 0, p->chunk_bytes - bytes);
		frame->size = 0;
		if (!ca_keep_copy(p->keep, frame->segment, frame->offset, bytes, buffer))
			continue;
		frame->size = ZSTD_compress2(p->contexts[worker], frame->packed, bound, buffer,
					     p->chunk_bytes);
		if (ZSTD_isError(frame->size)) /* there is room, and memory: ca_alloc() ends us without */
			frame->size = 0;
	}
}

static void open_packer(struct packer *p, unsigned threads)
{
	p->contexts = ca_alloc(threads * sizeof(ZSTD_CCtx *));
	p->buffers = ca_alloc(threads * sizeof(*p->buffers));
	p->frames = ca_alloc((size_t)threads * BATCH * sizeof(*p->frames));
	for (unsigned i = 0; i < threads; i++) {
		p->contexts[i] = ZSTD_createCCtx();
		ZSTD_CCtx_setParameter(p->contexts[i], ZSTD_c_compressionLevel, LEVEL);
		ZSTD_CCtx_setParameter(p->contexts[i], ZSTD_c_checksumFlag, 1);
		p->buffers[i] = ca_alloc(p->chunk_bytes);
	}
	for (size_t i = 0; i < (size_t)threads * BATCH; i++)
		p->frames[i].packed = ca_alloc(ZSTD_compressBound(p->chunk_bytes));
}

static void close_packer(struct packer *p, unsigned threads)
{
	for (size_t i = 0; i < (size_t)threads * BATCH; i++)
		free(p->frames[i].packed);
	for (unsigned i = 0; i < threads; i++) {
		ZSTD_freeCCtx(p->contexts[i]);
		free(p->buffers[i]);
	}
	free(p->frames);
	free(p->contexts);
	free(p->buffers);
}

/* The next chunks; false when there are no more. */
static size_t next_frames(struct packer *p, size_t *segment, uint64_t *offset, size_t most)
{
	size_t count = 0;

	while (count < most && *segment < p->image->segment_count) {
		const struct ca_segment *at = &p->image->segments[*segment];

		p->frames[count].segment = *segment;
		p->frames[count++].offset = *offset;
		*offset += p->chunk_bytes;
		if (*offset >= at->end - at->start) {
			*offset = 0;
			++*segment;
		}
	}
	return count;
}

void ca_snapshot_pack(struct ca_draft *draft, const struct ca_saving *saving, struct ca_keep *keep)
{
	struct ca_context *ctx = saving->ctx;
	struct packer p = {.image = saving->image, .keep = keep,
			   .chunk_bytes = ca_chunk_bytes(saving->image)};
	uint64_t chunks = ca_chunk_count(saving->image, p.chunk_bytes), done = 0, offset = 0;
	uint64_t *index = ca_alloc((chunks + 1) * sizeof(*index));
	struct ca_section *section = ca_draft_begin(draft, CA_SECTION_MEMORY, 1);
	size_t segment = 0, count;

	open_packer(&p, ctx->threads);
	while ((count = next_frames(&p, &segment, &offset, (size_t)ctx->threads * BATCH))) {
		ca_progress(ctx, "packing", done, chunks);
		ca_parallel(ctx, count, 1, pack_range, &p);
		for (size_t i = 0; i < count; i++) {
			ca_draft_put(draft, p.frames[i].packed, p.frames[i].size);
			index[done + 1] = index[done] + p.frames[i].size;
			done++;
		}
	}
	section->bytes = index[chunks];
	close_packer(&p, ctx->threads);
	ca_draft_section(draft, ctx, CA_SECTION_MEMORY_INDEX, index, chunks + 1, sizeof(*index));
	free(index);
}
