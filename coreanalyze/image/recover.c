/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which files were mapped, when no NT_FILE tells: gdb writes its notes last, so
 * a core of gcore that is cut short has none, and the kernel leaves NT_FILE out
 * when it would exceed 4 MiB (Linux fs/binfmt_elf.c, fill_files_note). Every
 * ELF file's first page is in the core; its headers give the ranges, the
 * loader's list of link maps (glibc elf/link.h, struct r_debug and struct
 * link_map) or else DT_SONAME the name.
 */
#include "private.h"

#include <stdlib.h>

enum {
	LINK_MAPS_MAX = CA_MODULES_MAX,
	NAME_BYTES = 4096,
	R_DEBUG_MAP = 8,    /* struct r_debug: int r_version; struct link_map *r_map */
	LINK_MAP_NAME = 8,  /* struct link_map: l_addr; l_name; l_ld; l_next */
	LINK_MAP_NEXT = 24,
};

/* A load bias -> the address of the name in the target. */
static struct ca_map read_link_maps(const struct ca_image *image, ca_addr r_debug)
{
	struct ca_map names = { 0 };
	ca_addr at, bias, name;

	if (!ca_image_u64(image, r_debug + R_DEBUG_MAP, &at))
		return names;
	for (unsigned i = 0; at && i < LINK_MAPS_MAX; i++) {
		if (!ca_image_u64(image, at, &bias) ||
		    !ca_image_u64(image, at + LINK_MAP_NAME, &name))
			break;
		*ca_map_add(&names, bias, NULL) = name;
		if (!ca_image_u64(image, at + LINK_MAP_NEXT, &at))
			break;
	}
	return names;
}

static bool probe(const struct ca_image *image, const struct ca_load *load,
		  struct ca_module *module)
{
	struct ca_elf_source source = { .image = image, .start = load->start };
	struct ca_elf *elf = &module->priv->elf;

	if (load->bytes.size < sizeof(Elf64_Ehdr) || memcmp(load->bytes.data, ELFMAG, SELFMAG) ||
	    ca_elf_read(elf, &source) || !ca_elf_bias(elf, load->start, &module->bias))
		return false;
	module->start = load->start;
	module->end = module->bias + elf->highest;
	return true;
}

static bool read_name(const struct ca_image *image, const struct ca_module *module,
		      const struct ca_map *names, char *name, size_t bytes)
{
	const uint64_t *at = ca_map_find(names, module->bias);

	if (at && ca_image_string(image, *at, name, bytes)) {
		/* The program's own name is empty there. */
		return *name || (ca_image_string(image, image->priv->at_start.execfn, name, bytes) &&
				 *name);
	}
	return ca_dynamic_soname(module, name, bytes) && *name;
}

/* NULL when it is no file: the kernel maps code of its own. */
static const char *name_of(const struct ca_image *image, const struct ca_module *module,
			   const struct ca_map *names)
{
	struct ca_arena *arena = &image->ctx->arena;
	char name[NAME_BYTES];

	if (!read_name(image, module, names, name, sizeof(name)))
		return ca_arena_printf(arena, "(ELF file at 0x%llx)",
				       (unsigned long long)module->start);
	return strcmp(name, "linux-vdso.so.1") ? ca_arena_strdup(arena, name) : NULL;
}

static void add_ranges(struct ca_image *image, const struct ca_module *module, const char *name)
{
	struct ca_image_private *priv = image->priv;
	const struct ca_elf *elf = &module->priv->elf;

	for (size_t i = 0; i < elf->phnum; i++) {
		const Elf64_Phdr *phdr = &elf->phdrs[i];
		uint64_t size = ca_page_ceil(phdr->p_vaddr + phdr->p_filesz) -
				ca_page_floor(phdr->p_vaddr);
		ca_addr start = module->bias + ca_page_floor(phdr->p_vaddr);

		if (phdr->p_type != PT_LOAD || !phdr->p_filesz || start + size < start)
			continue;
		priv->ranges = ca_grow(priv->ranges, &priv->range_capacity, priv->range_count + 1,
				       sizeof(*priv->ranges));
		priv->ranges[priv->range_count++] = (struct ca_file_range){
			.start = start,
			.end = start + size,
			.offset = ca_page_floor(phdr->p_offset),
			.path = name,
		};
	}
}

static void recover(struct ca_image *image, struct ca_module module)
{
	const struct ca_image_private *priv = image->priv;
	struct ca_map names = { 0 };
	uint64_t r_debug = 0;
	unsigned found = 0;

	for (size_t i = 0; i < priv->load_count && !r_debug; i++) {
		if (probe(image, &priv->loads[i], &module))
			ca_dynamic_tag(&module, DT_DEBUG, &r_debug);
	}
	if (r_debug)
		names = read_link_maps(image, r_debug);
	for (size_t i = 0; i < priv->load_count && found < CA_MODULES_MAX; i++) {
		if (!probe(image, &priv->loads[i], &module))
			continue;
		const char *name = name_of(image, &module, &names);
		found++;
		if (name)
			add_ranges(image, &module, name);
	}
	ca_map_fini(&names);
}

void ca_ranges_recover(struct ca_image *image)
{
	if (image->priv->range_count)
		return;
	struct ca_module_private *scratch = ca_alloc(sizeof(*scratch));

	scratch->image = image;
	recover(image, (struct ca_module){ .priv = scratch });
	free(scratch);
}
