/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Section headers of a file that is about to be given to libbfd. libbfd (2.40)
 * bears damage too, but writes about it to stderr from within
 * bfd_check_format(), past any error handler.
 */
#include "private.h"

struct sections {
	struct ca_bytes file;
	uint64_t offset, count;
	struct ca_bytes names;
};

static Elf64_Shdr section_at(const struct sections *sections, uint64_t i)
{
	Elf64_Shdr section;

	memcpy(&section, sections->file.data + sections->offset + i * sizeof(section),
	       sizeof(section));
	return section;
}

static struct ca_bytes contents(const struct sections *sections, const Elf64_Shdr *section)
{
	const uint8_t *data = ca_bytes_at(sections->file, section->sh_offset, section->sh_size);

	return (struct ca_bytes){ data, data ? section->sh_size : 0 };
}

static bool is_power_of_two(uint64_t value)
{
	return !(value & (value - 1));
}

static bool links_to_strings(const struct sections *sections, const Elf64_Shdr *section)
{
	Elf64_Shdr strings = section_at(sections, section->sh_link);

	return strings.sh_type == SHT_STRTAB || strings.sh_type == SHT_NOBITS;
}

static bool is_sound(const struct sections *sections, const Elf64_Shdr *section)
{
	struct ca_bytes bytes = contents(sections, section);

	if (section->sh_type == SHT_NULL)
		return bytes.data != NULL;
	if ((section->sh_type != SHT_NOBITS && !bytes.data) ||
	    section->sh_name >= sections->names.size || section->sh_link >= sections->count ||
	    section->sh_flags & SHF_GROUP || !is_power_of_two(section->sh_addralign))
		return false;
	switch (section->sh_type) {
	case SHT_STRTAB:
		return bytes.size && !bytes.data[bytes.size - 1];
	case SHT_SYMTAB:
	case SHT_DYNSYM:
		return section->sh_entsize == sizeof(Elf64_Sym) &&
		       section->sh_size / sizeof(Elf64_Sym) >= section->sh_info &&
		       links_to_strings(sections, section);
	case SHT_DYNAMIC:
		return section->sh_entsize == sizeof(Elf64_Dyn) &&
		       links_to_strings(sections, section);
	case SHT_RELA:
		return section->sh_entsize == sizeof(Elf64_Rela) &&
		       section->sh_info < sections->count;
	case SHT_REL:
	case SHT_GROUP: /* of object files, not in what is mapped */
		return false;
	}
	return true;
}

static bool find_names(struct sections *sections, uint64_t index)
{
	if (index >= sections->count)
		return false;
	Elf64_Shdr section = section_at(sections, index);

	sections->names = contents(sections, &section);
	return section.sh_type == SHT_STRTAB && sections->names.size;
}

static bool segments_are_sound(const struct ca_file *file)
{
	for (size_t i = 0; i < file->elf.phnum; i++) {
		const Elf64_Phdr *phdr = &file->elf.phdrs[i];

		if (!is_power_of_two(phdr->p_align))
			return false;
	}
	return true;
}

/*
 * `objcopy --only-keep-debug` leaves the code's section header, without bytes:
 * such a file has symbols, and nothing to fill gaps with.
 */
static bool lacks_code(const Elf64_Shdr *section)
{
	return section->sh_type == SHT_NOBITS && section->sh_flags & SHF_EXECINSTR &&
	       section->sh_size;
}

bool ca_sections_read(struct ca_file *file)
{
	Elf64_Ehdr header;

	memcpy(&header, file->bytes.data, sizeof(header)); /* ca_elf_read() saw it */
	struct sections sections = { file->bytes, header.e_shoff, header.e_shnum, { 0 } };

	if (!segments_are_sound(file))
		return false;
	if (!header.e_shoff && !header.e_shnum)
		return true;
	if (header.e_shentsize != sizeof(Elf64_Shdr) ||
	    !ca_bytes_at(file->bytes, sections.offset, sections.count * sizeof(Elf64_Shdr)) ||
	    !find_names(&sections, header.e_shstrndx))
		return false;
	for (uint64_t i = 0; i < sections.count; i++) {
		Elf64_Shdr section = section_at(&sections, i);

		if (!is_sound(&sections, &section))
			return false;
		file->debug_only |= lacks_code(&section);
	}
	return true;
}
