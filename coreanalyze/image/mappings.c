/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The mappings of the process, and who has the bytes of each. */
#include "private.h"

#include <stdlib.h>

/* ---- PT_LOADs and NT_FILE joined ---------------------------------------- */

struct cut {
	struct ca_range *items;
	size_t count, next;
};

/* Moves on to the piece that ends above here; true when it holds here. */
static bool advance(struct cut *cut, ca_addr here, ca_addr *stop)
{
	while (cut->next < cut->count && cut->items[cut->next].end <= here)
		cut->next++;
	if (cut->next == cut->count)
		return false;
	const struct ca_range *piece = &cut->items[cut->next];
	bool inside = piece->start <= here;
	ca_addr edge = inside ? piece->end : piece->start;

	if (edge < *stop)
		*stop = edge;
	return inside;
}

static void add_mapping(struct ca_image *image, size_t *capacity, ca_addr start, ca_addr end,
			const struct ca_load *load, const struct ca_file_range *range)
{
	image->mappings = ca_grow(image->mappings, capacity, image->mapping_count + 1,
				  sizeof(*image->mappings));
	image->mappings[image->mapping_count++] = (struct ca_mapping){
		.start = start,
		.end = end,
		.flags = load ? load->flags : 0,
		.offset = range ? range->offset + (start - range->start) : 0,
		.path = range ? range->path : "",
		.dumped = ca_image_known(image, start, end),
	};
}

static void join(struct ca_image *image, struct cut *loads, struct cut *ranges)
{
	const struct ca_image_private *priv = image->priv;
	size_t capacity = 0;
	ca_addr here = 0;

	for (;;) {
		ca_addr stop = UINT64_MAX;
		bool in_load = advance(loads, here, &stop);
		bool in_range = advance(ranges, here, &stop);

		if (loads->next == loads->count && ranges->next == ranges->count)
			return;
		if (in_load || in_range)
			add_mapping(image, &capacity, here, stop,
				    in_load ? &priv->loads[loads->items[loads->next].index] : NULL,
				    in_range ? &priv->ranges[ranges->items[ranges->next].index]
					     : NULL);
		here = stop;
	}
}

void ca_mappings_build(struct ca_image *image)
{
	const struct ca_image_private *priv = image->priv;
	struct ca_range *of_loads = ca_alloc(priv->load_count * sizeof(*of_loads));
	struct ca_range *of_files = ca_alloc(priv->range_count * sizeof(*of_files));
	struct cut loads = { 0 }, files = { 0 };

	for (size_t i = 0; i < priv->load_count; i++)
		of_loads[i] = (struct ca_range){ priv->loads[i].start, priv->loads[i].end, i };
	for (size_t i = 0; i < priv->range_count; i++)
		of_files[i] = (struct ca_range){ priv->ranges[i].start, priv->ranges[i].end, i };
	loads.count = ca_ranges_cut(of_loads, priv->load_count, &loads.items);
	files.count = ca_ranges_cut(of_files, priv->range_count, &files.items);
	join(image, &loads, &files);
	free(loads.items);
	free(files.items);
	free(of_loads);
	free(of_files);
}

/* ---- filling from files --------------------------------------------------- */

struct pieces {
	struct ca_segment *items;
	size_t count, capacity;
};

static void add_piece(struct pieces *pieces, struct ca_segment piece)
{
	if (piece.start >= piece.end)
		return;
	pieces->items = ca_grow(pieces->items, &pieces->capacity, pieces->count + 1, sizeof(piece));
	pieces->items[pieces->count++] = piece;
}

/* NT_FILE may know a mapping that no PT_LOAD has: the ELF file tells its rights. */
static uint32_t flags_by_file(const struct ca_module *module, ca_addr addr)
{
	const struct ca_elf *elf = &module->priv->elf;
	uint64_t vaddr = addr - module->bias;

	for (size_t i = 0; i < elf->phnum; i++) {
		const Elf64_Phdr *phdr = &elf->phdrs[i];

		if (phdr->p_type == PT_LOAD && vaddr >= ca_page_floor(phdr->p_vaddr) &&
		    vaddr < ca_page_ceil(phdr->p_vaddr + phdr->p_memsz))
			return (phdr->p_flags & PF_R ? CA_SEG_READ : 0) |
			       (phdr->p_flags & PF_W ? CA_SEG_WRITE : 0) |
			       (phdr->p_flags & PF_X ? CA_SEG_EXEC : 0);
	}
	return CA_SEG_READ;
}

static void add_module(struct pieces *pieces, const struct ca_image *image,
		       const struct ca_module *module)
{
	struct ca_bytes bytes = module->priv->file->bytes;
	/* The rest of the last page reads as zeros, in the process as in our mapping. */
	uint64_t size = ca_page_ceil(bytes.size);
	const struct ca_mapping *end = image->mappings + image->mapping_count;
	const struct ca_mapping *mapping = ca_image_mapping(image, module->start);

	for (; mapping && mapping < end && mapping->start < module->end; mapping++) {
		uint64_t length = mapping->end - mapping->start;

		if (strcmp(mapping->path, module->path) || mapping->offset >= size)
			continue;
		if (length > size - mapping->offset)
			length = size - mapping->offset;
		uint32_t flags = mapping->flags ? mapping->flags
						: flags_by_file(module, mapping->start);

		add_piece(pieces, (struct ca_segment){ mapping->start, mapping->start + length,
						       bytes.data + mapping->offset,
						       flags | CA_SEG_FILE });
	}
}

/*
 * What the core holds; then, with no bytes, what its headers promise but the
 * file lacks: the process may have changed that, so no ELF file speaks for it;
 * then the ELF files.
 */
void ca_mappings_fill(struct ca_image *image)
{
	const struct ca_image_private *priv = image->priv;
	struct pieces pieces = { 0 };

	for (size_t i = 0; i < priv->load_count; i++) {
		const struct ca_load *load = &priv->loads[i];

		add_piece(&pieces, (struct ca_segment){ load->start,
							load->start + load->bytes.size,
							load->bytes.data, load->flags });
	}
	for (size_t i = 0; i < priv->load_count; i++) {
		const struct ca_load *load = &priv->loads[i];

		add_piece(&pieces, (struct ca_segment){ load->start + load->bytes.size,
							load->start + load->promised, NULL, 0 });
	}
	for (size_t i = 0; i < image->module_count; i++) {
		if (image->modules[i].priv->file)
			add_module(&pieces, image, &image->modules[i]);
	}
	ca_image_set_segments(image, pieces.items, pieces.count);
	free(pieces.items);
}

/* ---- what is missing ------------------------------------------------------ */

static bool is_in_module(const struct ca_image *image, const struct ca_mapping *mapping)
{
	const struct ca_module *module = ca_image_module(image, mapping->start);

	return module && !strcmp(module->path, mapping->path);
}

/*
 * Writable memory of which nothing was dumped: the kernel and gdb leave out what
 * was never touched, what was marked MADV_DONTDUMP and what is shared with a
 * file. All that is ordinary, but for a module's own data.
 */
static bool left_out(const struct ca_image *image, const struct ca_mapping *mapping)
{
	if (is_in_module(image, mapping))
		return false;
	/* Of a file that a living process maps privately, only what it changed is copied. */
	return !mapping->dumped || (image->taken.pause_ns && *mapping->path);
}

struct missing {
	uint64_t bytes;
	ca_addr first;
	bool private_dumped; /* any anonymous writable memory is there */
};

static void weigh(const struct ca_image *image, const struct ca_mapping *mapping,
		  struct missing *missing)
{
	if (!*mapping->path && mapping->dumped)
		missing->private_dumped = true;
	if (left_out(image, mapping))
		return;
	uint64_t known = ca_image_known(image, mapping->start, mapping->end);
	uint64_t bytes = mapping->end - mapping->start;

	if (known < bytes && !missing->bytes)
		missing->first = mapping->start;
	missing->bytes += bytes - known;
}

void ca_mappings_settle(struct ca_image *image)
{
	struct missing missing = { 0 };
	bool was_complete = image->complete;

	for (size_t i = 0; i < image->mapping_count; i++) {
		if (image->mappings[i].flags & CA_SEG_WRITE)
			weigh(image, &image->mappings[i], &missing);
	}
	if (missing.bytes || !missing.private_dumped)
		image->complete = false;
	if (was_complete && !missing.private_dumped)
		ca_warn_bytes(image->ctx, "missing-memory", 0, ca_image_writable(image),
			      "hardly any object is seen",
			      "the core holds no private memory of the process (coredump_filter?)");
	else if (was_complete && missing.bytes)
		ca_warn_bytes(image->ctx, "missing-memory", missing.first, missing.bytes,
			      "objects there are not seen",
			"%llu bytes of writable memory are not in the core",
			(unsigned long long)missing.bytes);
}

uint64_t ca_image_writable(const struct ca_image *image)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < image->mapping_count; i++)
		if (image->mappings[i].flags & CA_SEG_WRITE)
			bytes += image->mappings[i].end - image->mappings[i].start;
	return bytes;
}
