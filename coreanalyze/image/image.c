/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of segments, and reading through it. */
#include "private.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct ca_image *ca_image_make(struct ca_context *ctx, const char *path)
{
	static atomic_uint_fast64_t serials;
	struct ca_image *image = ca_alloc(sizeof(*image));

	*image = (struct ca_image){
		.ctx = ctx,
		.path = ca_arena_strdup(&ctx->arena, path),
		.exe = "",
		.arch = "x86_64",
		.complete = true,
		.taken = { .collecting = -1, .broken_lists = -1, .gil = -1, .gil_in_call = -1 },
		.priv = ca_alloc(sizeof(*image->priv)),
	};
	image->command_line = ca_arena_alloc(&ctx->arena, sizeof(*image->command_line));
	image->priv->serial = atomic_fetch_add(&serials, 1) + 1;
	return image;
}

void ca_image_close(struct ca_image *image)
{
	if (!image)
		return;
	struct ca_image_private *priv = image->priv;

	for (size_t i = 0; i < image->module_count; i++) {
		ca_symbols_free(image->modules[i].priv->table);
		free(image->modules[i].priv);
	}
	for (size_t i = 0; i < priv->file_count; i++)
		ca_file_close(priv->files[i]);
	if (priv->core.data)
		munmap((void *)priv->core.data, priv->core.size);
	for (size_t i = 0; i < priv->copy_count; i++) {
		ca_lazy_unmap(priv->copies[i].data);
		munmap((void *)priv->copies[i].data, priv->copies[i].size);
	}
	ca_packed_unmap(priv->packed);
	free(priv->copies);
	free(priv->files);
	free(priv->loads);
	free(priv->ranges);
	free(priv);
	free(image->segments);
	free(image->mappings);
	free(image->modules);
	free(image->lwps);
	free(image);
}

void ca_image_keep_file(struct ca_image *image, struct ca_file *file)
{
	struct ca_image_private *priv = image->priv;

	priv->files = ca_grow(priv->files, &priv->file_capacity, priv->file_count + 1,
			      sizeof(struct ca_file *));
	priv->files[priv->file_count++] = file;
}

struct ca_error *ca_image_open(struct ca_context *ctx, const char *target,
			       const struct ca_image_options *options, struct ca_image **out)
{
	static const struct ca_image_options none;

	if (!options)
		options = &none;
	return ca_image_is_pid(target) ? ca_image_open_process(ctx, target, options, out)
				       : ca_image_open_core(ctx, target, options, out);
}

/* ---- building ---------------------------------------------------------- */

static bool continues(const struct ca_segment *last, const struct ca_segment *next)
{
	return last->end == next->start && last->flags == next->flags &&
	       last->data + (last->end - last->start) == next->data;
}

void ca_image_set_segments(struct ca_image *image, const struct ca_segment *pieces, size_t count)
{
	struct ca_range *ranges = ca_alloc(count * sizeof(*ranges)), *cut;

	for (size_t i = 0; i < count; i++)
		ranges[i] = (struct ca_range){ pieces[i].start, pieces[i].end, i };
	size_t cut_count = ca_ranges_cut(ranges, count, &cut);
	struct ca_segment *table = ca_alloc(cut_count * sizeof(*table));
	size_t filled = 0;

	for (size_t i = 0; i < cut_count; i++) {
		struct ca_segment piece = pieces[cut[i].index];

		if (!piece.data)
			continue;
		piece.data += cut[i].start - piece.start;
		piece.start = cut[i].start;
		piece.end = cut[i].end;
		if (filled && continues(&table[filled - 1], &piece))
			table[filled - 1].end = piece.end;
		else
			table[filled++] = piece;
	}
	free(ranges);
	free(cut);
	free(image->segments);
	image->segments = table;
	image->segment_count = filled;
}

/* ---- reading ----------------------------------------------------------- */

enum { CACHE_SLOTS = 256, CACHE_SHIFT = 18 }; /* an arena of obmalloc: 256 KiB to 1 MiB */

/*
 * The segment where an address of each such piece was last found, per thread. A
 * wrong guess costs the binary search; another image starts it anew.
 */
static _Thread_local struct {
	uint64_t serial;
	uint32_t segment[CACHE_SLOTS];
} cache;

static bool holds(const struct ca_segment *segment, ca_addr addr)
{
	return addr >= segment->start && addr < segment->end;
}

/* The first segment that ends above addr, or segment_count. */
static size_t first_above(const struct ca_image *image, ca_addr addr)
{
	size_t low = 0, high = image->segment_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (image->segments[middle].end > addr)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static const struct ca_segment *segment_at(const struct ca_image *image, ca_addr addr)
{
	size_t slot = (addr >> CACHE_SHIFT) % CACHE_SLOTS;

	if (cache.serial != image->priv->serial) {
		memset(&cache, 0, sizeof(cache));
		cache.serial = image->priv->serial;
	}
	size_t guess = cache.segment[slot];

	if (guess < image->segment_count && holds(&image->segments[guess], addr))
		return &image->segments[guess];
	size_t found = first_above(image, addr);

	if (found == image->segment_count || !holds(&image->segments[found], addr))
		return NULL;
	cache.segment[slot] = (uint32_t)found;
	return &image->segments[found];
}

const void *ca_image_at(const struct ca_image *image, ca_addr addr, uint64_t len)
{
	const struct ca_segment *segment = segment_at(image, addr);

	if (!segment || !len || len > segment->end - addr)
		return NULL;
	if (image->priv->keep)
		ca_keep_note(image->priv->keep, segment, addr, len);
	return segment->data + (addr - segment->start);
}

const void *ca_image_part(const struct ca_image *image, ca_addr addr, uint64_t most, uint64_t *len)
{
	const struct ca_segment *segment = segment_at(image, addr);

	if (!segment)
		return NULL;
	*len = segment->end - addr < most ? segment->end - addr : most;
	if (image->priv->keep)
		ca_keep_note(image->priv->keep, segment, addr, *len);
	return segment->data + (addr - segment->start);
}

const void *ca_image_run(const struct ca_image *image, ca_addr addr, uint64_t *len)
{
	const struct ca_segment *segment = segment_at(image, addr);

	if (!segment)
		return NULL;
	*len = segment->end - addr;
	return segment->data + (addr - segment->start);
}

bool ca_image_read(const struct ca_image *image, ca_addr addr, void *buffer, uint64_t len)
{
	uint8_t *out = buffer;

	while (len) {
		uint64_t run;
		const void *bytes = ca_image_part(image, addr, len, &run);

		if (!bytes)
			return false;
		memcpy(out, bytes, run);
		out += run;
		addr += run;
		len -= run;
	}
	return true;
}

bool ca_image_u64(const struct ca_image *image, ca_addr addr, uint64_t *value)
{
	const struct ca_segment *segment = segment_at(image, addr);

	if (!segment || segment->end - addr < sizeof(*value))
		return ca_image_read(image, addr, value, sizeof(*value));
	if (image->priv->keep)
		ca_keep_note(image->priv->keep, segment, addr, sizeof(*value));
	memcpy(value, segment->data + (addr - segment->start), sizeof(*value));
	return true;
}

bool ca_image_u32(const struct ca_image *image, ca_addr addr, uint32_t *value)
{
	return ca_image_read(image, addr, value, sizeof(*value));
}

uint64_t ca_image_known(const struct ca_image *image, ca_addr start, ca_addr end)
{
	uint64_t known = 0;

	for (size_t i = first_above(image, start); i < image->segment_count; i++) {
		const struct ca_segment *segment = &image->segments[i];

		if (segment->start >= end)
			break;
		known += (segment->end < end ? segment->end : end) -
			 (segment->start > start ? segment->start : start);
	}
	return known;
}

bool ca_image_string(const struct ca_image *image, ca_addr addr, char *buffer, size_t max)
{
	while (max) {
		uint64_t run;
		const char *bytes = ca_image_run(image, addr, &run);

		if (!bytes)
			return false;
		if (run > max)
			run = max;
		const char *end = memchr(bytes, '\0', run);

		if (end)
			run = (uint64_t)(end - bytes) + 1;
		ca_image_part(image, addr, run, &run);
		memcpy(buffer, bytes, run);
		if (end)
			return true;
		buffer += run;
		addr += run;
		max -= run;
	}
	return false;
}

const struct ca_mapping *ca_image_mapping(const struct ca_image *image, ca_addr addr)
{
	size_t low = 0, high = image->mapping_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (image->mappings[middle].end > addr)
			high = middle;
		else
			low = middle + 1;
	}
	if (low == image->mapping_count || image->mappings[low].start > addr)
		return NULL;
	return &image->mappings[low];
}

const struct ca_module *ca_image_module(const struct ca_image *image, ca_addr addr)
{
	size_t low = 0, high = image->module_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (image->modules[middle].end > addr)
			high = middle;
		else
			low = middle + 1;
	}
	if (low == image->module_count || image->modules[low].start > addr)
		return NULL;
	return &image->modules[low];
}
