/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A module's dynamic symbols from the process's own memory, for when its file is
 * not at hand. Formats: System V ABI (DT_HASH), and for DT_GNU_HASH glibc
 * elf/dl-lookup.c. All of it is bounded by what the module has mapped.
 */
#include "private.h"

enum {
	TAGS_MAX = 1024,
	CHAIN_MAX = 1 << 20,
	NAME_MAX_BYTES = 1024,
	RELOCATIONS_MAX = 1 << 20,
};

struct dynamic {
	const struct ca_module *module;
	ca_addr symtab, strtab, hash, gnu_hash;
};

static const struct ca_image *image_of(const struct ca_module *module)
{
	return module->priv->image;
}

bool ca_dynamic_tag(const struct ca_module *module, int64_t tag, uint64_t *value)
{
	const struct ca_elf *elf = &module->priv->elf;

	for (size_t i = 0; i < elf->phnum; i++) {
		const Elf64_Phdr *phdr = &elf->phdrs[i];

		if (phdr->p_type != PT_DYNAMIC)
			continue;
		for (uint64_t j = 0; j < TAGS_MAX && j < phdr->p_memsz / sizeof(Elf64_Dyn); j++) {
			Elf64_Dyn entry;
			ca_addr at = module->bias + phdr->p_vaddr + j * sizeof(entry);

			if (!ca_image_read(image_of(module), at, &entry, sizeof(entry)) ||
			    entry.d_tag == DT_NULL)
				return false;
			if (entry.d_tag == tag) {
				*value = entry.d_un.d_val;
				return true;
			}
		}
	}
	return false;
}

/* glibc adds the bias to these in place, other loaders leave them alone. */
static ca_addr address_tag(const struct ca_module *module, int64_t tag)
{
	uint64_t value;

	if (!ca_dynamic_tag(module, tag, &value) || !value)
		return 0;
	if (value >= module->start && value < module->end)
		return value;
	return value + module->bias;
}

bool ca_dynamic_soname(const struct ca_module *module, char *name, size_t bytes)
{
	ca_addr strtab = address_tag(module, DT_STRTAB);
	uint64_t offset;

	return strtab && ca_dynamic_tag(module, DT_SONAME, &offset) &&
	       ca_image_string(image_of(module), strtab + offset, name, bytes);
}

/* True when symbol `index` is defined and has the name; *value then. */
static bool matches(const struct dynamic *dynamic, uint64_t index, const char *name,
		    uint64_t *value)
{
	const struct ca_image *image = image_of(dynamic->module);
	char there[NAME_MAX_BYTES];
	size_t bytes = strlen(name) + 1;
	Elf64_Sym symbol;

	if (bytes > sizeof(there) ||
	    !ca_image_read(image, dynamic->symtab + index * sizeof(symbol), &symbol,
			   sizeof(symbol)) ||
	    symbol.st_shndx == SHN_UNDEF || symbol.st_shndx == SHN_ABS ||
	    ELF64_ST_TYPE(symbol.st_info) == STT_TLS ||
	    !ca_image_read(image, dynamic->strtab + symbol.st_name, there, bytes) ||
	    memcmp(there, name, bytes))
		return false;
	*value = symbol.st_value;
	return true;
}

static bool find_by_gnu_hash(const struct dynamic *dynamic, const char *name, uint64_t *value)
{
	const struct ca_image *image = image_of(dynamic->module);
	uint32_t header[4], bucket, hash = 5381; /* buckets, first symbol, bloom words, shift */

	for (const char *c = name; *c; c++)
		hash = hash * 33 + (uint8_t)*c;
	if (!ca_image_read(image, dynamic->gnu_hash, header, sizeof(header)) || !header[0])
		return false;
	ca_addr buckets = dynamic->gnu_hash + sizeof(header) + header[2] * (uint64_t)8;
	ca_addr chains = buckets + header[0] * (uint64_t)4;

	if (!ca_image_u32(image, buckets + hash % header[0] * (uint64_t)4, &bucket) ||
	    bucket < header[1])
		return false;
	for (uint64_t i = bucket; i - bucket < CHAIN_MAX; i++) {
		uint32_t link;

		if (!ca_image_u32(image, chains + (i - header[1]) * 4, &link))
			return false;
		if ((link | 1) == (hash | 1) && matches(dynamic, i, name, value))
			return true;
		if (link & 1)
			return false;
	}
	return false;
}

static bool find_by_hash(const struct dynamic *dynamic, const char *name, uint64_t *value)
{
	const struct ca_image *image = image_of(dynamic->module);
	uint32_t header[2], index, hash = 0; /* buckets, chains */

	for (const char *c = name; *c; c++) {
		hash = (hash << 4) + (uint8_t)*c;
		hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fffffff;
	}
	if (!ca_image_read(image, dynamic->hash, header, sizeof(header)) || !header[0])
		return false;
	ca_addr buckets = dynamic->hash + sizeof(header);
	ca_addr chains = buckets + header[0] * (uint64_t)4;

	if (!ca_image_u32(image, buckets + hash % header[0] * (uint64_t)4, &index))
		return false;
	for (unsigned steps = 0; index && steps < CHAIN_MAX; steps++) {
		if (matches(dynamic, index, name, value))
			return true;
		if (!ca_image_u32(image, chains + index * (uint64_t)4, &index))
			return false;
	}
	return false;
}

ca_addr ca_dynamic_symbol(const struct ca_module *module, const char *name)
{
	struct dynamic dynamic = {
		.module = module,
		.symtab = address_tag(module, DT_SYMTAB),
		.strtab = address_tag(module, DT_STRTAB),
		.hash = address_tag(module, DT_HASH),
		.gnu_hash = address_tag(module, DT_GNU_HASH),
	};
	uint64_t value;

	if (!dynamic.symtab || !dynamic.strtab)
		return 0;
	if ((dynamic.gnu_hash && find_by_gnu_hash(&dynamic, name, &value)) ||
	    (dynamic.hash && find_by_hash(&dynamic, name, &value)))
		return value + module->bias;
	return 0;
}

/* One table of relocations: those by which the loader stores a symbol's address as it is. */
static void each_import(const struct dynamic *dynamic, ca_addr table, uint64_t bytes,
			ca_import_take *take, void *arg)
{
	const struct ca_image *image = image_of(dynamic->module);
	Elf64_Rela rela;

	for (uint64_t i = 0; i < bytes / sizeof(rela) && i < RELOCATIONS_MAX; i++) {
		char name[NAME_MAX_BYTES];
		Elf64_Sym symbol;
		uint64_t value;

		if (!ca_image_read(image, table + i * sizeof(rela), &rela, sizeof(rela)))
			return;
		if (ELF64_R_TYPE(rela.r_info) != R_X86_64_JUMP_SLOT &&
		    ELF64_R_TYPE(rela.r_info) != R_X86_64_GLOB_DAT)
			continue;
		if (ca_image_read(image, dynamic->symtab + ELF64_R_SYM(rela.r_info) * sizeof(symbol),
				  &symbol, sizeof(symbol)) &&
		    ca_image_string(image, dynamic->strtab + symbol.st_name, name, sizeof(name)) &&
		    ca_image_u64(image, dynamic->module->bias + rela.r_offset, &value) && value)
			take(arg, name, value);
	}
}

void ca_module_imports(const struct ca_module *module, ca_import_take *take, void *arg)
{
	struct dynamic dynamic = {
		.module = module,
		.symtab = address_tag(module, DT_SYMTAB),
		.strtab = address_tag(module, DT_STRTAB),
	};
	ca_addr plt = address_tag(module, DT_JMPREL), all = address_tag(module, DT_RELA);
	uint64_t plt_bytes, all_bytes;

	if (!dynamic.symtab || !dynamic.strtab)
		return;
	if (plt && ca_dynamic_tag(module, DT_PLTRELSZ, &plt_bytes))
		each_import(&dynamic, plt, plt_bytes, take, arg);
	if (all && ca_dynamic_tag(module, DT_RELASZ, &all_bytes))
		each_import(&dynamic, all, all_bytes, take, arg);
}
