/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening an ELF core: the file, its headers, its PT_LOADs. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUPPORTED "coreanalyze reads x86-64 ELF cores of CPython 3.8 to 3.15"

static struct ca_error *refuse(const char *advice, const char *why)
{
	return ca_error_make(CA_TARGET, "cannot read this as a core", advice, "%s", why);
}

static struct ca_error *refuse_cut(const struct ca_image *image, uint64_t promised,
				   const char *what)
{
	char *advice = ca_arena_printf(&image->ctx->arena,
				       "copy it again; %llu of at least %llu bytes are there",
				       (unsigned long long)image->core_bytes,
				       (unsigned long long)promised);

	return ca_error_make(CA_TARGET, "cannot read this as a core", advice,
			     "the file is cut short, %s", what);
}

/* ---- the file ---------------------------------------------------------- */

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "it is a directory";
	case S_IFIFO:
		return "it is a FIFO";
	case S_IFSOCK:
		return "it is a socket";
	case S_IFCHR:
		return "it is a character device";
	case S_IFBLK:
		return "it is a block device";
	}
	return "it is not a regular file";
}

static void unmap(struct ca_image *image)
{
	struct ca_bytes *core = &image->priv->core;

	if (core->data)
		munmap((void *)core->data, core->size);
	*core = (struct ca_bytes){ 0 };
}

struct ca_error *ca_core_map(struct ca_image *image, int fd)
{
	struct stat st;

	unmap(image);

	if (fstat(fd, &st))
		return refuse("give a regular file; " SUPPORTED, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse("give a regular file; " SUPPORTED, kind_of(st.st_mode));
	if (!st.st_size)
		return refuse("was the disk full, or the limit on core files (ulimit -c) too low, "
			      "when it was written?", "the file is empty");
	void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

	if (bytes == MAP_FAILED)
		return refuse("is it on a file system that can be mapped?", strerror(errno));
	image->priv->core = (struct ca_bytes){ bytes, (uint64_t)st.st_size };
	image->core_bytes = (uint64_t)st.st_size;
	return NULL;
}

static struct ca_error *refuse_unopened(const char *path, int why)
{
	struct stat st;

	if (why == ENOENT || why == ENOTDIR)
		return refuse("is the path right?", strerror(why));
	if (why == EACCES || why == EPERM)
		return refuse("cores are often readable by their owner alone", strerror(why));
	/* Opening a socket, or a device that is not there, fails by itself. */
	if (!stat(path, &st) && !S_ISREG(st.st_mode))
		return refuse("give a regular file; " SUPPORTED, kind_of(st.st_mode));
	return refuse("give a regular file; " SUPPORTED, strerror(why));
}

static struct ca_error *open_file(struct ca_image *image)
{
	/* O_NONBLOCK: a FIFO or a device must not make us wait. */
	int fd = open(image->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return refuse_unopened(image->path, errno);
	struct ca_error *err = ca_core_map(image, fd);

	close(fd);
	return err;
}

/* ---- the header -------------------------------------------------------- */

static const struct {
	uint16_t machine;
	const char *name;
} machines[] = {
	{ EM_386, "i386" },	  { EM_AARCH64, "aarch64" }, { EM_ARM, "arm" },
	{ EM_PPC64, "ppc64" },	  { EM_PPC, "ppc" },	     { EM_S390, "s390" },
	{ EM_RISCV, "riscv" },	  { EM_MIPS, "mips" },	     { EM_SPARCV9, "sparc64" },
	{ EM_IA_64, "ia64" },	  { EM_LOONGARCH, "loongarch" },
};

static struct ca_error *refuse_machine(const Elf64_Ehdr *header)
{
	unsigned bits = header->e_ident[EI_CLASS] == ELFCLASS32 ? 32 : 64;
	uint16_t machine = header->e_machine;

	if (header->e_ident[EI_DATA] == ELFDATA2MSB)
		machine = __builtin_bswap16(machine);
	for (size_t i = 0; i < CA_COUNT(machines); i++) {
		if (machines[i].machine == machine)
			return ca_error_make(CA_TARGET, "cannot read this core", SUPPORTED,
					     "it is of a %u-bit process on %s", bits,
					     machines[i].name);
	}
	if (machine == EM_X86_64)
		return ca_error_make(CA_TARGET, "cannot read this core", SUPPORTED,
				     "it is of a 32-bit process on x86-64 (x32)");
	return ca_error_make(CA_TARGET, "cannot read this core", SUPPORTED,
			     "it is of a %u-bit process on ELF machine %u", bits, machine);
}

static struct ca_error *refuse_type(uint16_t type)
{
	static const char *const names[] = {
		[ET_NONE] = "a file without a type",
		[ET_REL] = "an object file",
		[ET_EXEC] = "an executable",
		[ET_DYN] = "an executable or shared library",
	};

	return ca_error_make(CA_TARGET, "cannot read this as a core",
			     "give the core itself (and such a file with --exe); " SUPPORTED,
			     "it is %s, not a core",
			     type < CA_COUNT(names) ? names[type] : "an ELF file of unknown type");
}

/* More than 65,534 program headers: section header 0 holds their number. */
static bool extended_phnum(const struct ca_image *image, const Elf64_Ehdr *header, uint64_t *phnum)
{
	Elf64_Shdr section;
	const uint8_t *at = ca_bytes_at(image->priv->core, header->e_shoff, sizeof(section));

	if (!header->e_shoff || header->e_shentsize != sizeof(section) || !at)
		return false;
	memcpy(&section, at, sizeof(section));
	*phnum = section.sh_info;
	return true;
}

static struct ca_error *check_program_headers(struct ca_image *image, const Elf64_Ehdr *header)
{
	struct ca_image_private *priv = image->priv;

	priv->phoff = header->e_phoff;
	priv->phnum = header->e_phnum;
	if (header->e_phnum == PN_XNUM && !extended_phnum(image, header, &priv->phnum))
		return refuse_cut(image, header->e_shoff + sizeof(Elf64_Shdr),
				  "before the number of its program headers");
	if (!priv->phnum || header->e_phentsize != sizeof(Elf64_Phdr))
		return refuse(SUPPORTED, "its ELF header is damaged");
	uint64_t bytes = priv->phnum * sizeof(Elf64_Phdr), end;

	if (__builtin_add_overflow(priv->phoff, bytes, &end))
		return refuse(SUPPORTED, "its ELF header is damaged");
	if (!ca_bytes_at(priv->core, priv->phoff, bytes))
		return refuse_cut(image, end, "within its program headers");
	return NULL;
}

bool ca_core_is_snapshot(struct ca_bytes core)
{
	return core.size >= CA_SNAPSHOT_MAGIC_BYTES &&
	       !memcmp(core.data, CA_SNAPSHOT_MAGIC, CA_SNAPSHOT_MAGIC_BYTES);
}

static struct ca_error *check_header(struct ca_image *image)
{
	Elf64_Ehdr header = { 0 };
	struct ca_bytes core = image->priv->core;
	const uint8_t *ident = ca_bytes_at(core, 0, EI_NIDENT);
	uint64_t there = core.size < sizeof(header) ? core.size : sizeof(header);

	memcpy(&header, core.data, there);
	if (there < SELFMAG || memcmp(header.e_ident, ELFMAG, SELFMAG))
		return refuse(SUPPORTED, "it is not an ELF file");
	/* e_type and e_machine are at the same place in both classes. */
	if (!ident || there < offsetof(Elf64_Ehdr, e_version))
		return refuse_cut(image, sizeof(header), "within its ELF header");
	if (header.e_machine != EM_X86_64 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
	    header.e_ident[EI_DATA] != ELFDATA2LSB)
		return refuse_machine(&header);
	if (header.e_type != ET_CORE)
		return refuse_type(header.e_type);
	if (there < sizeof(header))
		return refuse_cut(image, sizeof(header), "within its ELF header");
	return check_program_headers(image, &header);
}

/* ---- the program headers ------------------------------------------------ */

Elf64_Phdr ca_core_phdr(const struct ca_image *image, uint64_t i)
{
	Elf64_Phdr phdr;

	memcpy(&phdr, image->priv->core.data + image->priv->phoff + i * sizeof(phdr), sizeof(phdr));
	return phdr;
}

struct ca_bytes ca_core_bytes(const struct ca_image *image, const Elf64_Phdr *phdr)
{
	struct ca_bytes core = image->priv->core;
	uint64_t left = phdr->p_offset < core.size ? core.size - phdr->p_offset : 0;

	if (!left || !phdr->p_filesz)
		return (struct ca_bytes){ 0 };
	return (struct ca_bytes){ core.data + phdr->p_offset,
				  phdr->p_filesz < left ? phdr->p_filesz : left };
}

static uint32_t segment_flags(uint32_t p_flags)
{
	return (p_flags & PF_R ? CA_SEG_READ : 0) | (p_flags & PF_W ? CA_SEG_WRITE : 0) |
	       (p_flags & PF_X ? CA_SEG_EXEC : 0);
}

static void add_load(struct ca_image *image, const Elf64_Phdr *phdr)
{
	struct ca_image_private *priv = image->priv;
	uint64_t size = phdr->p_memsz > phdr->p_filesz ? phdr->p_memsz : phdr->p_filesz;
	ca_addr end;

	if (__builtin_add_overflow(phdr->p_vaddr, size, &end)) {
		ca_warn_bytes(image->ctx, "damaged-core", phdr->p_vaddr,
			      ca_core_bytes(image, phdr).size,
			      "that memory is left out",
			      "a program header describes memory beyond the address space");
		return;
	}
	if (!size)
		return;
	priv->loads = ca_grow(priv->loads, &priv->load_capacity, priv->load_count + 1,
			      sizeof(*priv->loads));
	priv->loads[priv->load_count++] = (struct ca_load){
		.start = phdr->p_vaddr,
		.end = end,
		.promised = phdr->p_filesz,
		.bytes = ca_core_bytes(image, phdr),
		.flags = segment_flags(phdr->p_flags),
	};
}

void ca_loads_apply(struct ca_image *image)
{
	struct ca_image_private *priv = image->priv;
	struct ca_segment *pieces = ca_alloc(priv->load_count * sizeof(*pieces));

	for (size_t i = 0; i < priv->load_count; i++) {
		const struct ca_load *load = &priv->loads[i];

		pieces[i] = (struct ca_segment){ load->start, load->start + load->bytes.size,
						 load->bytes.data, load->flags };
	}
	ca_image_set_segments(image, pieces, priv->load_count);
	free(pieces);
}

static struct ca_error *read_program_headers(struct ca_image *image)
{
	struct ca_image_private *priv = image->priv;

	for (uint64_t i = 0; i < priv->phnum; i++) {
		Elf64_Phdr phdr = ca_core_phdr(image, i);
		uint64_t end;

		priv->overruns |= ca_core_bytes(image, &phdr).size < phdr.p_filesz;
		if (phdr.p_type != PT_LOAD && phdr.p_type != PT_NOTE)
			continue;
		if (phdr.p_filesz && !__builtin_add_overflow(phdr.p_offset, phdr.p_filesz, &end) &&
		    end > priv->promised)
			priv->promised = end;
		if (phdr.p_type == PT_LOAD)
			add_load(image, &phdr);
	}
	ca_loads_apply(image);
	if (!image->segment_count && priv->promised > priv->core.size)
		return refuse_cut(image, priv->promised, "before any memory of the process");
	if (!image->segment_count)
		return refuse(SUPPORTED, "it holds no memory of the process");
	return NULL;
}

static void warn_truncated(struct ca_image *image)
{
	const struct ca_image_private *priv = image->priv;

	if (priv->promised <= priv->core.size)
		return;
	image->complete = false;
	ca_warn_bytes(image->ctx, "truncated", 0, priv->promised - priv->core.size,
		      "objects in the missing part are not seen",
		      "the core is cut short: %llu of %llu bytes are missing at its end",
		(unsigned long long)(priv->promised - priv->core.size),
		(unsigned long long)priv->promised);
}

/* ---- the whole --------------------------------------------------------- */

static struct ca_error *open_core(struct ca_image *image, const struct ca_image_options *options)
{
	struct ca_error *err = open_file(image);

	if (!err)
		err = ca_decompress(image, options);
	if (err || ca_core_is_snapshot(image->priv->core))
		return err;
	err = check_header(image);
	if (!err)
		err = read_program_headers(image);
	return err;
}

static void describe(struct ca_image *image, const struct ca_image_options *options)
{
	warn_truncated(image);
	ca_bfd_core(image);
	ca_notes_read(image);
	ca_ranges_recover(image);
	ca_mappings_build(image);
	ca_modules_find(image, options);
	ca_modules_open_files(image, options);
	ca_mappings_fill(image);
	ca_mappings_settle(image);
	ca_command_line_find(image);
}

struct ca_error *ca_image_open_core(struct ca_context *ctx, const char *path,
				    const struct ca_image_options *options, struct ca_image **out)
{
	static const struct ca_image_options none;
	struct ca_image *image = ca_image_make(ctx, path);

	if (!options)
		options = &none;
	struct ca_error *err = open_core(image, options);

	if (err) {
		ca_image_close(image);
		return err;
	}
	if (!ca_core_is_snapshot(image->priv->core))
		describe(image, options);
	*out = image;
	return NULL;
}
