/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which ELF files the process had mapped, and where. */
#include "private.h"

#include <stdlib.h>

enum {
	MAPPINGS_MAX = 4096, /* of one module */
	PROBES_MAX = 4096,   /* files opened only to see whether they are ELF files */
};

static bool read_file_headers(const struct ca_image_options *options, const char *path,
			      struct ca_elf *elf)
{
	struct ca_module probe = { .path = path };
	struct ca_file *file = NULL;
	bool ended = false;
	const char *why;

	for (unsigned number = 0; !file && !ended; number++)
		file = ca_candidate_open(options, &probe, number, &ended, &why);
	if (!file)
		return false;
	*elf = file->elf;
	/* Whether that file is the one that was mapped is not proved by this. */
	elf->build_id_size = 0;
	ca_file_close(file);
	return true;
}

/* The headers as the core has them, or else as a file of that name has them. */
static bool read_headers(const struct ca_image *image, const struct ca_image_options *options,
			 const struct ca_mapping *mapping, unsigned *probes, struct ca_elf *elf)
{
	struct ca_elf_source in_core = { .image = image, .start = mapping->start };
	uint32_t magic;

	if (ca_image_u32(image, mapping->start, &magic))
		return !ca_elf_read(elf, &in_core);
	return ++*probes <= PROBES_MAX && read_file_headers(options, mapping->path, elf);
}

/* Its .data and .bss: all writable PT_LOADs from the first to the last. */
static void find_data(struct ca_module *module)
{
	const struct ca_elf *elf = &module->priv->elf;
	ca_addr start = UINT64_MAX, end = 0;

	for (size_t i = 0; i < elf->phnum; i++) {
		const Elf64_Phdr *phdr = &elf->phdrs[i];
		ca_addr at = phdr->p_vaddr + module->bias, stop = at + phdr->p_memsz;

		if (phdr->p_type != PT_LOAD || !(phdr->p_flags & PF_W) || at >= stop)
			continue;
		start = at < start ? at : start;
		end = stop > end ? stop : end;
	}
	if (end > module->end)
		end = module->end;
	if (start < end && start >= module->start) {
		module->data_start = start;
		module->data_end = end;
	}
}

/*
 * From mappings[i] as far as it is mapped, within what the headers claim and up
 * to another file.
 */
static ca_addr find_end(struct ca_image *image, const struct ca_module *module, size_t i,
			bool *lacks_bytes)
{
	ca_addr claimed = module->bias + module->priv->elf.highest;
	ca_addr end = image->mappings[i].end;
	size_t stop = image->mapping_count - i > MAPPINGS_MAX ? i + MAPPINGS_MAX
							       : image->mapping_count;

	for (; i < stop && image->mappings[i].start < claimed; i++) {
		const struct ca_mapping *mapping = &image->mappings[i];

		if (!strcmp(mapping->path, module->path)) {
			end = mapping->end;
			*lacks_bytes |= mapping->dumped < mapping->end - mapping->start;
		} else if (*mapping->path) {
			break;
		} else if (mapping->start == end) {
			/* .bss beyond the file's last page */
			end = mapping->end < claimed ? mapping->end : claimed;
		}
	}
	return end;
}

static void add_module(struct ca_image *image, size_t i, const struct ca_elf *elf, ca_addr bias)
{
	const struct ca_mapping *mapping = &image->mappings[i];
	struct ca_module module = {
		.path = mapping->path,
		.state = CA_MODULE_MISSING,
		.start = mapping->start,
		.bias = bias,
		.build_id_size = elf->build_id_size,
		.priv = ca_alloc(sizeof(*module.priv)),
	};

	module.priv->image = image;
	module.priv->elf = *elf;
	memcpy(module.build_id, elf->build_id, elf->build_id_size);
	module.end = find_end(image, &module, i, &module.priv->lacks_bytes);
	find_data(&module);
	image->modules = ca_grow(image->modules, &image->priv->module_capacity,
				 image->module_count + 1, sizeof(module));
	image->modules[image->module_count++] = module;
}

/* A small library has its first page mapped more than once. */
static bool in_last_module(const struct ca_image *image, const struct ca_mapping *mapping)
{
	if (!image->module_count)
		return false;
	const struct ca_module *last = &image->modules[image->module_count - 1];

	return mapping->start < last->end && !strcmp(last->path, mapping->path);
}

void ca_modules_find(struct ca_image *image, const struct ca_image_options *options)
{
	struct ca_elf elf;
	ca_addr bias;
	unsigned probes = 0;

	for (size_t i = 0; i < image->mapping_count; i++) {
		const struct ca_mapping *mapping = &image->mappings[i];

		if (!*mapping->path || mapping->offset || in_last_module(image, mapping))
			continue;
		if (!read_headers(image, options, mapping, &probes, &elf) ||
		    !ca_elf_bias(&elf, mapping->start, &bias))
			continue;
		if (image->module_count == CA_MODULES_MAX) {
			ca_warn(image->ctx, "damaged-core", mapping->start, "the rest is left out",
				"the core names more than %d ELF files", CA_MODULES_MAX);
			break;
		}
		add_module(image, i, &elf, bias);
	}
	/* Found in the order of their addresses; disjoint from here on. */
	for (size_t i = 1; i < image->module_count; i++) {
		if (image->modules[i - 1].end > image->modules[i].start)
			image->modules[i - 1].end = image->modules[i].start;
	}
}

/* ---- the program itself --------------------------------------------------- */

static bool is_program(const struct ca_module *module)
{
	uint64_t flags;

	return module->priv->elf.type == ET_EXEC ||
	       (ca_dynamic_tag(module, DT_FLAGS_1, &flags) && flags & DF_1_PIE);
}

struct ca_module *ca_modules_main(const struct ca_image *image)
{
	const struct ca_start *start = &image->priv->at_start;
	const struct ca_module *named = ca_image_module(image, start->phdr ? start->phdr
									   : start->entry);

	/* Run by its loader ("ld.so prog"): the start values are the loader's. */
	if (!named || (!start->base && !named->priv->elf.has_interp && !is_program(named))) {
		for (size_t i = 0; i < image->module_count; i++) {
			if (is_program(&image->modules[i]))
				return &image->modules[i];
		}
	}
	return (struct ca_module *)named;
}
