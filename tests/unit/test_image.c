/* SPDX-License-Identifier: GPL-3.0-or-later */
/* image: cores from the elfwriter, right and damaged ones. */
#include "../../coreanalyze/image/image.h"
#include "../support/elfwriter.h"

#include <CUnit/Basic.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- opening ------------------------------------------------------------------ */

struct opened {
	struct ca_context ctx;
	struct ca_image *image; /* NULL: err says why */
	struct ca_error *err;
};

static void open_path(struct opened *opened, const char *path,
		      const struct ca_image_options *options)
{
	ca_context_init(&opened->ctx);
	opened->image = NULL;
	opened->err = ca_image_open_core(&opened->ctx, path, options, &opened->image);
}

/* Takes the buffer. */
static void open_bytes(struct opened *opened, struct elf_buffer file,
		       const struct ca_image_options *options)
{
	char path[64];
	int fd;

	elf_as_path(&file, path, &fd);
	open_path(opened, path, options);
	close(fd);
	elf_free(&file);
}

static void close_opened(struct opened *opened)
{
	if (opened->image)
		ca_image_close(opened->image);
	ca_error_free(opened->err);
	ca_context_fini(&opened->ctx);
}

static bool warned(const struct opened *opened, const char *kind)
{
	for (size_t i = 0; i < opened->ctx.warnings.count; i++) {
		if (!strcmp(opened->ctx.warnings.items[i].kind, kind))
			return true;
	}
	return false;
}

/* ---- a process to dump ---------------------------------------------------------- */

enum {
	HEAP = 0x10000000,
	PAGE = 0x1000,
};
static const ca_addr library_base = 0x7f0000000000, stack_base = 0x7ffd00000000;
static const uint8_t library_id[ELF_LIBRARY_BUILD_ID_BYTES] = "a build-id of twenty";

struct scene {
	char folder[64];
	char library[96]; /* its path */
	uint8_t heap[PAGE], bss[PAGE], stack[2 * PAGE];
	struct elf_buffer file; /* the library */
	struct elf_core core;
};

static void write_file(const char *path, const struct elf_buffer *bytes)
{
	FILE *out = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	CU_ASSERT_EQUAL(fwrite(bytes->bytes, 1, bytes->size, out), bytes->size);
	fclose(out);
}

static void put_u64(uint8_t *bytes, size_t *at, uint64_t value)
{
	memcpy(bytes + *at, &value, sizeof(value));
	*at += sizeof(value);
}

/* argc, argv, environment, auxv, strings; returns the auxv's place, 13 words. */
static size_t write_stack(uint8_t *stack)
{
	static const char strings[] = "prog\0an argument\0\0HOME=/";
	ca_addr text = stack_base + PAGE + 0x200;
	size_t at = PAGE + 0x40;

	put_u64(stack, &at, 3);
	put_u64(stack, &at, text);
	put_u64(stack, &at, text + 5);
	put_u64(stack, &at, text + 17);
	put_u64(stack, &at, 0);
	put_u64(stack, &at, text + 18);
	put_u64(stack, &at, 0);
	size_t auxv = at;
	uint64_t values[] = { AT_PAGESZ, 0x1000, AT_PHDR, library_base + 0x40, AT_BASE, 1,
			      AT_RANDOM, text + 0x100, AT_EXECFN, text, AT_NULL, 0 };

	for (size_t i = 0; i < CA_COUNT(values); i++)
		put_u64(stack, &at, values[i]);
	memcpy(stack + PAGE + 0x200, strings, sizeof(strings));
	return auxv;
}

static void add_library(struct scene *scene, ca_addr base)
{
	struct elf_core *core = &scene->core;
	const uint8_t *bytes = scene->file.bytes;

	elf_core_load(core, base, bytes, PAGE, PAGE, PF_R);
	elf_core_load(core, base + ELF_LIBRARY_TEXT, NULL, 0, PAGE, PF_R | PF_X);
	elf_core_load(core, base + ELF_LIBRARY_DATA, bytes + ELF_LIBRARY_DATA_OFFSET, PAGE, PAGE,
		      PF_R | PF_W);
	elf_core_load(core, base + ELF_LIBRARY_BSS, scene->bss, PAGE, PAGE, PF_R | PF_W);
}

static void add_notes(struct scene *scene, const char *path, const uint8_t *auxv)
{
	struct elf_core *core = &scene->core;
	struct elf_mapped files[] = {
		{ library_base, library_base + PAGE, 0, path },
		{ library_base + ELF_LIBRARY_TEXT, library_base + ELF_LIBRARY_TEXT + PAGE,
		  ELF_LIBRARY_TEXT, path },
		{ library_base + ELF_LIBRARY_DATA, library_base + ELF_LIBRARY_DATA + PAGE,
		  ELF_LIBRARY_DATA_OFFSET, path },
		{ 0x7e0000000000, 0x7e0000004000, 0, "/usr/lib/locale/locale-archive" },
	};

	elf_core_thread(core, &(struct elf_thread){ 77, 6, 0x1234, stack_base + 0x800, 0x99 });
	elf_core_process(core, 77, "prog of psargs");
	elf_core_note(core, "CORE", NT_AUXV, auxv, 12 * 8);
	elf_core_files(core, files, CA_COUNT(files), PAGE);
	elf_core_thread(core, &(struct elf_thread){ 78, 0, 0x5678, 0, 0x98 });
}

/* path: as the core records it; NULL for the library's own. */
static void make_scene(struct scene *scene, const uint8_t *build_id, const char *path)
{
	memset(scene, 0, sizeof(*scene));
	strcpy(scene->folder, "/tmp/test-image-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(scene->folder));
	snprintf(scene->library, sizeof(scene->library), "%s/library.so", scene->folder);
	scene->file = elf_library(build_id);
	write_file(scene->library, &scene->file);
	memset(scene->heap, 'h', PAGE);
	size_t auxv = write_stack(scene->stack);

	add_library(scene, library_base);
	elf_core_load(&scene->core, HEAP, scene->heap, PAGE, PAGE, PF_R | PF_W);
	elf_core_load(&scene->core, stack_base, scene->stack, 2 * PAGE, 2 * PAGE, PF_R | PF_W);
	elf_core_load(&scene->core, 0x7e0000000000, NULL, 0, 0x4000, PF_R);
	add_notes(scene, path ? path : scene->library, scene->stack + auxv);
}

static void remove_scene(struct scene *scene)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", scene->folder);
	CU_ASSERT_EQUAL(system(command), 0);
	elf_free(&scene->file);
}

static void open_scene(struct opened *opened, struct scene *scene,
		       const struct ca_image_options *options)
{
	open_bytes(opened, elf_core_finish(&scene->core, PAGE), options);
	CU_ASSERT_PTR_NULL_FATAL(opened->err);
}

/* ---- what is no core ------------------------------------------------------------- */

static void expect_refused(const char *path, const char *why, const char *advice)
{
	struct opened opened;

	open_path(&opened, path, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(opened.err);
	CU_ASSERT_EQUAL(opened.err->status, CA_TARGET);
	CU_ASSERT_PTR_NOT_NULL(strstr(opened.err->why, why));
	CU_ASSERT_PTR_NOT_NULL(strstr(opened.err->advice, advice));
	close_opened(&opened);
}

static void test_core__refuses_what_is_no_regular_file(void)
{
	char folder[] = "/tmp/test-image-XXXXXX", path[64];

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/x", folder);
	expect_refused(path, "No such file", "");
	expect_refused(folder, "a directory", "x86-64 ELF cores of CPython 3.8 to 3.15");
	CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
	expect_refused(path, "a FIFO", "x86-64");
	unlink(path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	expect_refused(path, "empty", "disk full");
	expect_refused("/dev/null", "a character device", "x86-64");
	unlink(path);
	rmdir(folder);
}

static void expect_bytes_refused(const void *bytes, size_t size, const char *why,
				 const char *advice)
{
	struct elf_buffer file = { 0 };
	char path[64];
	int fd;

	elf_append(&file, bytes, size);
	elf_as_path(&file, path, &fd);
	expect_refused(path, why, advice);
	close(fd);
	elf_free(&file);
}

static void test_core__names_what_it_is_instead(void)
{
	Elf64_Ehdr header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB },
		.e_type = ET_CORE,
		.e_machine = EM_AARCH64,
	};

	expect_bytes_refused("#!/bin/sh\n", 10, "not an ELF file", "x86-64");
	expect_bytes_refused("\x28\xb5\x2f\xfd....", 8, "zstd", "");
	expect_bytes_refused(&header, sizeof(header), "64-bit process on aarch64", "x86-64");
	header.e_machine = 0x1500;
	header.e_ident[EI_DATA] = ELFDATA2MSB;
	expect_bytes_refused(&header, sizeof(header), "64-bit process on ppc64", "x86-64");
	header.e_ident[EI_DATA] = ELFDATA2LSB;
	header.e_ident[EI_CLASS] = ELFCLASS32;
	header.e_machine = EM_386;
	expect_bytes_refused(&header, sizeof(header), "32-bit process on i386", "x86-64");
	header.e_machine = 0x7777;
	expect_bytes_refused(&header, sizeof(header), "ELF machine 30583", "x86-64");
	header.e_machine = EM_X86_64;
	expect_bytes_refused(&header, sizeof(header), "x32", "x86-64");
	header.e_ident[EI_CLASS] = ELFCLASS64;
	header.e_type = ET_DYN;
	expect_bytes_refused(&header, sizeof(header), "an executable or shared library", "--exe");
	header.e_type = ET_CORE;
	expect_bytes_refused(&header, sizeof(header), "damaged", "x86-64");
}

static void test_core__says_how_much_of_a_cut_one_is_there(void)
{
	struct elf_core core = { 0 };

	for (int i = 0; i < 9; i++)
		elf_core_load(&core, HEAP, NULL, 0x10, 0x10, PF_R);
	struct elf_buffer file = elf_core_finish(&core, 16);

	expect_bytes_refused(file.bytes, 20, "within its ELF header", "20 of at least 64 bytes");
	expect_bytes_refused(file.bytes, 100, "within its program headers", "100 of at least 624");
	expect_bytes_refused(file.bytes, 624, "before any memory", "624 of at least 768");
	elf_free(&file);
}

/* ---- segments ------------------------------------------------------------------- */

static void test_core__takes_segments_in_any_order(void)
{
	struct elf_core core = { 0 };
	struct opened opened;

	elf_core_load(&core, 0x30000, "cccc", 4, 4, PF_R | PF_W);
	elf_core_load(&core, 0x10000, "aaaa", 4, 4, PF_R);
	elf_core_load(&core, 0x20000, "bbbb", 4, 0x100, PF_R | PF_X);
	elf_core_load(&core, 0x40000, NULL, 0, 0, PF_R);
	elf_core_load(&core, 0x50000, NULL, 0, 0x1000, 0);
	open_bytes(&opened, elf_core_finish(&core, 1), NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(opened.image);
	const struct ca_image *image = opened.image;

	CU_ASSERT_EQUAL_FATAL(image->segment_count, 3);
	CU_ASSERT_EQUAL(image->segments[0].start, 0x10000);
	CU_ASSERT_EQUAL(image->segments[0].flags, CA_SEG_READ);
	CU_ASSERT_EQUAL(image->segments[1].end, 0x20004);
	CU_ASSERT_EQUAL(image->segments[1].flags, CA_SEG_READ | CA_SEG_EXEC);
	CU_ASSERT_EQUAL(image->segments[2].flags, CA_SEG_READ | CA_SEG_WRITE);
	CU_ASSERT_NSTRING_EQUAL(image->segments[2].data, "cccc", 4);
	CU_ASSERT_EQUAL_FATAL(image->mapping_count, 4);
	CU_ASSERT_EQUAL(image->mappings[1].end, 0x20100);
	CU_ASSERT_EQUAL(image->mappings[1].dumped, 4);
	CU_ASSERT_EQUAL(image->mappings[3].dumped, 0);
	CU_ASSERT_TRUE(warned(&opened, "damaged-notes"));
	close_opened(&opened);
}

static void test_core__lets_the_first_of_overlapping_segments_win(void)
{
	struct elf_core core = { 0 };
	struct opened opened;
	char bytes[9] = { 0 };

	elf_core_load(&core, 0x1002, "FIRST", 2, 2, PF_R);
	elf_core_load(&core, 0x1000, "second", 6, 6, PF_R);
	elf_core_load(&core, 0x1001, "thirdxyz", 7, 7, PF_R);
	open_bytes(&opened, elf_core_finish(&core, 1), NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(opened.image);
	CU_ASSERT_TRUE(ca_image_read(opened.image, 0x1000, bytes, 8));
	CU_ASSERT_STRING_EQUAL(bytes, "seFIndxy");
	CU_ASSERT_FALSE(ca_image_read(opened.image, 0x1000, bytes, 9));
	close_opened(&opened);
}

static void test_core__merges_what_is_contiguous(void)
{
	struct elf_core core = { 0 };
	struct opened opened;

	elf_core_load(&core, 0x1000, "aaaaaaaa", 8, 8, PF_R);
	elf_core_load(&core, 0x1008, "bbbbbbbb", 8, 8, PF_R);
	elf_core_load(&core, 0x1010, "cccccccc", 8, 8, PF_R | PF_W);
	open_bytes(&opened, elf_core_finish(&core, 1), NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(opened.image);
	CU_ASSERT_EQUAL(opened.image->segment_count, 2);
	CU_ASSERT_PTR_NOT_NULL(ca_image_at(opened.image, 0x1004, 8));
	CU_ASSERT_PTR_NULL(ca_image_at(opened.image, 0x100c, 8));
	close_opened(&opened);
}

static void test_core__takes_more_than_65534_segments(void)
{
	enum { COUNT = 70000 };
	struct elf_core core = { 0 };
	struct opened opened;

	for (uint64_t i = COUNT; i > 0; i--)
		elf_core_load(&core, i * PAGE, &i, 0, PAGE, PF_R);
	elf_core_load(&core, HEAP * 16ull, "heap", 4, 4, PF_R | PF_W);
	open_bytes(&opened, elf_core_finish(&core, 1), NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(opened.image);
	CU_ASSERT_EQUAL(opened.image->mapping_count, COUNT + 1);
	CU_ASSERT_PTR_NOT_NULL(ca_image_at(opened.image, HEAP * 16ull, 4));
	close_opened(&opened);
}

static void test_core__leaves_out_what_wraps_around(void)
{
	struct elf_core core = { 0 };
	struct opened opened;

	elf_core_load(&core, 0x1000, "aaaa", 4, 4, PF_R);
	elf_core_load(&core, UINT64_MAX - 1, "bbbb", 4, 4, PF_R);
	elf_core_load(&core, UINT64_MAX - 4, "cccc", 4, 4, PF_R);
	elf_core_load(&core, 0x3000, NULL, 0, UINT64_MAX, PF_R);
	open_bytes(&opened, elf_core_finish(&core, 1), NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(opened.image);
	CU_ASSERT_EQUAL(opened.image->segment_count, 2);
	CU_ASSERT_PTR_NOT_NULL(ca_image_at(opened.image, UINT64_MAX - 4, 4));
	CU_ASSERT_PTR_NULL(ca_image_at(opened.image, UINT64_MAX - 4, UINT64_MAX));
	CU_ASSERT_TRUE(warned(&opened, "damaged-core"));
	close_opened(&opened);
}

/* ---- reading -------------------------------------------------------------------- */

static const struct ca_segment read_from[] = {
	{ 0x2000, 0x2004, (const uint8_t *)"wxyz", CA_SEG_READ },
	{ 0x1000, 0x1008, (const uint8_t *)"01234567", CA_SEG_READ },
	{ 0x1008, 0x1010, (const uint8_t *)"89ab\0def", CA_SEG_READ },
};

static void test_image__reads_within_and_across_segments(void)
{
	struct ca_context ctx;
	uint64_t length, word;
	uint32_t half;
	char bytes[17] = { 0 };

	ca_context_init(&ctx);
	struct ca_image *image = ca_image_from_buffers(&ctx, read_from, CA_COUNT(read_from));

	CU_ASSERT_PTR_NOT_NULL(ca_image_at(image, 0x1000, 8));
	CU_ASSERT_PTR_NULL(ca_image_at(image, 0x1000, 9));
	CU_ASSERT_PTR_NULL(ca_image_at(image, 0x1000, 0));
	CU_ASSERT_PTR_NULL(ca_image_at(image, 0xfff, 1));
	CU_ASSERT_PTR_NULL(ca_image_at(image, 0x2004, 1));
	CU_ASSERT_PTR_NULL(ca_image_at(image, 0x1001, UINT64_MAX));
	CU_ASSERT_PTR_NOT_NULL(ca_image_run(image, 0x1003, &length));
	CU_ASSERT_EQUAL(length, 5);
	CU_ASSERT_PTR_NULL(ca_image_run(image, 0x1010, &length));
	CU_ASSERT_TRUE(ca_image_read(image, 0x1000, bytes, 12));
	CU_ASSERT_STRING_EQUAL(bytes, "0123456789ab");
	CU_ASSERT_FALSE(ca_image_read(image, 0x1000, bytes, 17));
	CU_ASSERT_TRUE(ca_image_u64(image, 0x1004, &word));
	CU_ASSERT_EQUAL(word, 0x6261393837363534);
	CU_ASSERT_FALSE(ca_image_u64(image, 0x1ffc, &word));
	CU_ASSERT_TRUE(ca_image_u32(image, 0x2000, &half));
	CU_ASSERT_EQUAL(half, 0x7a797877);
	CU_ASSERT_EQUAL(ca_image_known(image, 0, UINT64_MAX), 20);
	CU_ASSERT_EQUAL(ca_image_known(image, 0x100e, 0x2002), 4);
	ca_image_close(image);
	ca_context_fini(&ctx);
}

static void test_image__reads_strings(void)
{
	struct ca_context ctx;
	char text[16];

	ca_context_init(&ctx);
	struct ca_image *image = ca_image_from_buffers(&ctx, read_from, CA_COUNT(read_from));

	CU_ASSERT_TRUE(ca_image_string(image, 0x1006, text, sizeof(text)));
	CU_ASSERT_STRING_EQUAL(text, "6789ab");
	CU_ASSERT_TRUE(ca_image_string(image, 0x1006, text, 7));
	CU_ASSERT_FALSE(ca_image_string(image, 0x1006, text, 6));
	CU_ASSERT_FALSE(ca_image_string(image, 0x2000, text, sizeof(text)));
	CU_ASSERT_FALSE(ca_image_string(image, 0x9000, text, sizeof(text)));
	ca_image_close(image);
	ca_context_fini(&ctx);
}

/* Another image may lie where a closed one was. */
static void test_image__does_not_mix_images_up(void)
{
	struct ca_context ctx;

	ca_context_init(&ctx);
	for (int i = 0; i < 4; i++) {
		struct ca_image *image = ca_image_from_buffers(&ctx, read_from, 3u - (i & 1));

		CU_ASSERT_PTR_NOT_NULL(ca_image_at(image, 0x2000, 4));
		CU_ASSERT_EQUAL(ca_image_at(image, 0x1008, 1) != NULL, !(i & 1));
		ca_image_close(image);
	}
	ca_context_fini(&ctx);
}

/* ---- notes ---------------------------------------------------------------------- */

static void test_notes__tell_process_and_threads(void)
{
	struct scene scene;
	struct opened opened;

	make_scene(&scene, library_id, NULL);
	open_scene(&opened, &scene, NULL);
	const struct ca_image *image = opened.image;

	CU_ASSERT_EQUAL(image->pid, 77);
	CU_ASSERT_STRING_EQUAL(image->arch, "x86_64");
	CU_ASSERT_STRING_EQUAL(image->exe, scene.library);
	CU_ASSERT_EQUAL_FATAL(image->lwp_count, 2);
	CU_ASSERT_EQUAL(image->lwps[0].lwp, 77);
	CU_ASSERT_EQUAL(image->lwps[0].signal, 6);
	CU_ASSERT_EQUAL(image->lwps[0].ip, 0x1234);
	CU_ASSERT_EQUAL(image->lwps[0].sp, stack_base + 0x800);
	CU_ASSERT_EQUAL(image->lwps[1].fs_base, 0x98);
	CU_ASSERT_TRUE(image->complete);
	CU_ASSERT_EQUAL(opened.ctx.warnings.count, 0);
	close_opened(&opened);
	remove_scene(&scene);
}

static void expect_arguments(const struct ca_image *image, const char *const *expected)
{
	size_t i = 0;

	for (; expected[i]; i++) {
		CU_ASSERT_PTR_NOT_NULL_FATAL(image->command_line[i]);
		CU_ASSERT_STRING_EQUAL(image->command_line[i], expected[i]);
	}
	CU_ASSERT_PTR_NULL(image->command_line[i]);
}

static void test_argv__is_read_from_the_stack(void)
{
	static const char *const expected[] = { "prog", "an argument", "", NULL };
	struct scene scene;
	struct opened opened;

	make_scene(&scene, library_id, NULL);
	open_scene(&opened, &scene, NULL);
	expect_arguments(opened.image, expected);
	close_opened(&opened);
	remove_scene(&scene);
}

/* "ld.so prog" changes the auxv on the stack, and glibc 2.31 drops argc. */
static void test_argv__is_found_when_a_loader_was_run(void)
{
	static const char *const expected[] = { "prog", "an argument", "", NULL };
	struct scene scene;
	struct opened opened;

	make_scene(&scene, library_id, NULL);
	memset(scene.stack + PAGE + 0x40, 0x1c, 8);
	memset(scene.stack + PAGE + 0x40 + 7 * 8 + 3 * 8, 0x55, 8); /* AT_PHDR's value */
	open_scene(&opened, &scene, NULL);
	expect_arguments(opened.image, expected);
	close_opened(&opened);
	remove_scene(&scene);
}

static void test_argv__falls_back_to_psargs(void)
{
	static const char *const expected[] = { "prog", "of", "psargs", NULL };
	struct scene scene;
	struct opened opened;

	make_scene(&scene, library_id, NULL);
	memset(scene.stack, 0, sizeof(scene.stack));
	open_scene(&opened, &scene, NULL);
	expect_arguments(opened.image, expected);
	close_opened(&opened);
	remove_scene(&scene);
}

static void test_notes__survive_damage(void)
{
	static const uint64_t absurd[] = { UINT64_MAX / 24, 1, 0, 0 };
	static const uint64_t bad_entry[] = { 2, 1, 0x2000, 0x1000, 0, 0x1000, 0x2000, ~0ull,
					      0x0061006100610061 };
	struct elf_core core = { 0 };
	struct opened opened;

	elf_core_load(&core, 0x1000, "aaaa", 4, 4, PF_R);
	elf_core_note(&core, "CORE", NT_PRSTATUS, "short", 5);
	elf_core_note(&core, "CORE", NT_PRPSINFO, "short", 5);
	elf_core_note(&core, "CORE", NT_AUXV, "short", 5);
	elf_core_note(&core, "CORE", NT_FILE, "short", 5);
	elf_core_note(&core, "CORE", NT_FILE, absurd, sizeof(absurd));
	elf_core_note(&core, "CORE", NT_FILE, bad_entry, sizeof(bad_entry));
	elf_append(&core.notes, "\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0CORE", 16);
	open_bytes(&opened, elf_core_finish(&core, 1), NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(opened.image);
	CU_ASSERT_EQUAL(opened.image->lwp_count, 0);
	CU_ASSERT_PTR_NULL(opened.image->command_line[0]);
	CU_ASSERT_TRUE(warned(&opened, "damaged-notes"));
	close_opened(&opened);
}

/* ---- modules -------------------------------------------------------------------- */

static const struct ca_module *only_module(const struct opened *opened)
{
	CU_ASSERT_EQUAL_FATAL(opened->image->module_count, 1);
	return &opened->image->modules[0];
}

static void test_modules__are_measured(void)
{
	struct scene scene;
	struct opened opened;

	make_scene(&scene, library_id, NULL);
	open_scene(&opened, &scene, NULL);
	const struct ca_module *module = only_module(&opened);

	CU_ASSERT_EQUAL(module->state, CA_MODULE_USED);
	CU_ASSERT_STRING_EQUAL(module->path, scene.library);
	CU_ASSERT_STRING_EQUAL(module->file, scene.library);
	CU_ASSERT_EQUAL(module->start, library_base);
	CU_ASSERT_EQUAL(module->bias, library_base);
	CU_ASSERT_EQUAL(module->end, library_base + ELF_LIBRARY_BSS + PAGE);
	CU_ASSERT_EQUAL(module->data_start, library_base + ELF_LIBRARY_DATA);
	CU_ASSERT_EQUAL(module->data_end, library_base + ELF_LIBRARY_END);
	CU_ASSERT_EQUAL(module->build_id_size, ELF_LIBRARY_BUILD_ID_BYTES);
	CU_ASSERT_EQUAL(memcmp(module->build_id, library_id, sizeof(library_id)), 0);
	CU_ASSERT_PTR_EQUAL(ca_image_module(opened.image, library_base + 0x3456), module);
	CU_ASSERT_PTR_NULL(ca_image_module(opened.image, HEAP));
	const struct ca_mapping *mapping =
		ca_image_mapping(opened.image, library_base + ELF_LIBRARY_DATA + 5);

	CU_ASSERT_PTR_NOT_NULL_FATAL(mapping);
	CU_ASSERT_EQUAL(mapping->offset, ELF_LIBRARY_DATA_OFFSET);
	CU_ASSERT_STRING_EQUAL(mapping->path, scene.library);
	CU_ASSERT_PTR_NULL(ca_image_mapping(opened.image, HEAP - 1));
	close_opened(&opened);
	remove_scene(&scene);
}

static void test_modules__fill_gaps_but_nothing_else(void)
{
	struct scene scene;
	struct opened opened;
	uint64_t word;

	make_scene(&scene, library_id, NULL);
	/* What the process wrote wins over what the file says. */
	memset(scene.file.bytes + ELF_LIBRARY_DATA_OFFSET + 0x800, 0x77, 8);
	open_scene(&opened, &scene, NULL);
	CU_ASSERT_TRUE(ca_image_u64(opened.image, library_base + ELF_LIBRARY_TEXT, &word));
	CU_ASSERT_EQUAL(word, 0xcccccccccccccccc);
	CU_ASSERT_TRUE(ca_image_u64(opened.image, library_base + ELF_LIBRARY_DATA + 0x800, &word));
	CU_ASSERT_EQUAL(word, 0x7777777777777777);
	CU_ASSERT_FALSE(ca_image_u64(opened.image, library_base + 0x2000, &word));
	CU_ASSERT_FALSE(ca_image_u64(opened.image, 0x7e0000000000, &word));
	uint32_t flags = 0;

	for (size_t i = 0; i < opened.image->segment_count; i++) {
		if (opened.image->segments[i].start == library_base + ELF_LIBRARY_TEXT)
			flags = opened.image->segments[i].flags;
	}
	CU_ASSERT_EQUAL(flags, CA_SEG_READ | CA_SEG_EXEC | CA_SEG_FILE);
	close_opened(&opened);
	remove_scene(&scene);
}

static void expect_symbols(const struct ca_module *module, bool by_file)
{
	ca_addr start = 0;
	uint64_t bytes = 0;

	CU_ASSERT_EQUAL(ca_module_symbol(module, "_PyRuntime"), module->bias + 0x3100);
	CU_ASSERT_EQUAL(ca_module_symbol(module, "in_text"), module->bias + 0x1010);
	CU_ASSERT_EQUAL(ca_module_symbol(module, "absent"), 0);
	CU_ASSERT_EQUAL(ca_module_symbol(module, ""), 0);
	CU_ASSERT_EQUAL(ca_module_symbol(module, "hidden"), by_file ? module->bias + 0x3400 : 0);
	CU_ASSERT_EQUAL(ca_module_symbol(module, "old"), by_file ? module->bias + 0x1020 : 0);
	CU_ASSERT_EQUAL(ca_module_section(module, ".PyRuntime", &start, &bytes), by_file);
	CU_ASSERT_EQUAL(start, by_file ? module->bias + 0x3100 : 0);
	CU_ASSERT_EQUAL(bytes, by_file ? 0x200 : 0);
	CU_ASSERT_FALSE(ca_module_section(module, ".absent", &start, &bytes));
}

static void test_symbols__come_from_the_file(void)
{
	struct scene scene;
	struct opened opened;

	make_scene(&scene, library_id, NULL);
	open_scene(&opened, &scene, NULL);
	expect_symbols(only_module(&opened), true);
	close_opened(&opened);
	remove_scene(&scene);
}

static void test_symbols__come_from_memory_without_a_file(void)
{
	/* The tags of DT_GNU_HASH and DT_HASH, made unknown. */
	static const size_t spoilt[] = { 0x30, 0x20 };

	for (size_t i = 0; i < CA_COUNT(spoilt); i++) {
		struct scene scene;
		struct opened opened;

		make_scene(&scene, library_id, "/nowhere/library.so");
		memset(scene.file.bytes + ELF_LIBRARY_DATA_OFFSET + spoilt[i], 0x11, 4);
		open_scene(&opened, &scene, NULL);
		CU_ASSERT_EQUAL(only_module(&opened)->state, CA_MODULE_MISSING);
		CU_ASSERT_TRUE(warned(&opened, "missing-file"));
		CU_ASSERT_TRUE(opened.image->complete);
		expect_symbols(only_module(&opened), false);
		close_opened(&opened);
		remove_scene(&scene);
	}
}

static void expect_state(struct scene *scene, const struct ca_image_options *options,
			 enum ca_module_state state, const char *kind)
{
	struct opened opened;

	open_scene(&opened, scene, options);
	const struct ca_module *module = only_module(&opened);

	CU_ASSERT_EQUAL(module->state, state);
	CU_ASSERT_EQUAL(module->file != NULL, state == CA_MODULE_USED);
	CU_ASSERT_EQUAL(module->why != NULL, state != CA_MODULE_USED);
	CU_ASSERT_EQUAL(warned(&opened, "missing-file"), kind && !strcmp(kind, "missing-file"));
	CU_ASSERT_EQUAL(warned(&opened, "wrong-file"), kind && !strcmp(kind, "wrong-file"));
	CU_ASSERT_EQUAL(warned(&opened, "unproved-file"), kind && !strcmp(kind, "unproved-file"));
	close_opened(&opened);
	remove_scene(scene);
}

static void test_sources__refuse_another_build(void)
{
	static const uint8_t other_id[ELF_LIBRARY_BUILD_ID_BYTES] = "another one";
	struct scene scene;

	make_scene(&scene, library_id, NULL);
	struct elf_buffer other = elf_library(other_id);

	write_file(scene.library, &other);
	elf_free(&other);
	expect_state(&scene, NULL, CA_MODULE_MISMATCH, "wrong-file");
}

static void test_sources__refuse_what_nothing_proves(void)
{
	struct scene scene;

	make_scene(&scene, NULL, NULL);
	expect_state(&scene, NULL, CA_MODULE_UNPROVED, "unproved-file");
}

static void test_sources__do_not_wait_for_a_fifo(void)
{
	struct scene scene;

	make_scene(&scene, library_id, NULL);
	unlink(scene.library);
	CU_ASSERT_EQUAL(mkfifo(scene.library, 0600), 0);
	expect_state(&scene, NULL, CA_MODULE_MISSING, "missing-file");
}

static void test_sources__know_deleted_files(void)
{
	struct scene scene, probe;
	char path[128];

	/* The first scene's folder is what the second's core names. */
	make_scene(&probe, library_id, NULL);
	snprintf(path, sizeof(path), "%s (deleted)", probe.library);
	make_scene(&scene, library_id, path);
	expect_state(&scene, NULL, CA_MODULE_USED, NULL);
	elf_free(&probe.core.notes);
	free(probe.core.loads);
	remove_scene(&probe);
}

static void test_sources__look_inside_the_sysroot(void)
{
	struct scene scene;
	char path[128], target[160];

	make_scene(&scene, library_id, "/opt/library.so");
	snprintf(path, sizeof(path), "%s/opt", scene.folder);
	CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
	snprintf(target, sizeof(target), "%s/library.so", path);
	CU_ASSERT_EQUAL(rename(scene.library, target), 0);
	expect_state(&scene, &(struct ca_image_options){ .sysroot = scene.folder }, CA_MODULE_USED,
		     NULL);
}

/* An absolute link is one inside the root, and nothing leads out of it. */
static void test_sources__stay_inside_the_sysroot(void)
{
	static const char *const recorded[] = { "/../library.so", "/opt/library.so" };

	for (size_t i = 0; i < CA_COUNT(recorded); i++) {
		struct scene scene;
		char root[128], opt[192], link[256];

		make_scene(&scene, library_id, recorded[i]);
		snprintf(root, sizeof(root), "%s/root", scene.folder);
		snprintf(opt, sizeof(opt), "%s/opt", root);
		snprintf(link, sizeof(link), "%s/library.so", opt);
		CU_ASSERT_EQUAL(mkdir(root, 0700) | mkdir(opt, 0700), 0);
		CU_ASSERT_EQUAL(symlink(scene.library, link), 0);
		expect_state(&scene, &(struct ca_image_options){ .sysroot = root },
			     CA_MODULE_MISSING, "missing-file");
	}
}

static void test_sources__look_in_the_debug_folder(void)
{
#define BY_BUILD_ID ".build-id/61/206275696c642d6964206f66207477656e7479"
	static const char *const places[] = { "library.so", BY_BUILD_ID, BY_BUILD_ID ".debug" };

	for (size_t i = 0; i < CA_COUNT(places); i++) {
		struct scene scene;
		char path[256];

		make_scene(&scene, library_id, "/nowhere/library.so");
		snprintf(path, sizeof(path), "%s/.build-id", scene.folder);
		CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
		strcat(path, "/61");
		CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
		snprintf(path, sizeof(path), "%s/%s", scene.folder, places[i]);
		CU_ASSERT_EQUAL(rename(scene.library, path), 0);
		expect_state(&scene, &(struct ca_image_options){ .debug_dir = scene.folder },
			     CA_MODULE_USED, NULL);
	}
}

/* As `objcopy --only-keep-debug` makes them: symbols, but no bytes of code. */
static void test_sources__take_only_symbols_from_debug_files(void)
{
	struct scene scene;
	struct opened opened;
	uint32_t word;

	make_scene(&scene, library_id, "/nowhere/library.so");
	Elf64_Ehdr *header = (Elf64_Ehdr *)scene.file.bytes;

	((Elf64_Shdr *)(scene.file.bytes + header->e_shoff))[3].sh_type = SHT_NOBITS;
	write_file(scene.library, &scene.file);
	open_scene(&opened, &scene, &(struct ca_image_options){ .debug_dir = scene.folder });
	const struct ca_module *module = only_module(&opened);

	CU_ASSERT_EQUAL(module->state, CA_MODULE_MISSING);
	CU_ASSERT_FALSE(ca_image_u32(opened.image, library_base + ELF_LIBRARY_TEXT, &word));
	CU_ASSERT_EQUAL(ca_module_symbol(module, "hidden"), library_base + 0x3400);
	close_opened(&opened);
	remove_scene(&scene);
}

static void test_sources__take_the_named_program(void)
{
	static const uint8_t other_id[ELF_LIBRARY_BUILD_ID_BYTES] = "another one";
	struct scene scene;

	make_scene(&scene, library_id, "/nowhere/program");
	expect_state(&scene, &(struct ca_image_options){ .exe = scene.library }, CA_MODULE_USED,
		     NULL);
	make_scene(&scene, NULL, "/nowhere/program");
	expect_state(&scene, &(struct ca_image_options){ .exe = scene.library }, CA_MODULE_USED,
		     NULL);
	make_scene(&scene, library_id, "/nowhere/program");
	struct elf_buffer other = elf_library(other_id);

	write_file(scene.library, &other);
	elf_free(&other);
	expect_state(&scene, &(struct ca_image_options){ .exe = scene.library },
		     CA_MODULE_MISMATCH, "wrong-file");
}

static void test_modules__may_be_mapped_twice(void)
{
	struct scene scene;
	struct opened opened;
	ca_addr second = library_base + 0x100000;

	make_scene(&scene, library_id, NULL);
	add_library(&scene, second);
	elf_core_files(&scene.core,
		       (struct elf_mapped[]){
			       { second, second + PAGE, 0, scene.library },
			       { second + 0x1000, second + 0x2000, 0x1000, scene.library },
			       { second + 0x3000, second + 0x4000, 0x2000, scene.library },
		       },
		       3, 1);
	open_scene(&opened, &scene, NULL);
	CU_ASSERT_EQUAL_FATAL(opened.image->module_count, 2);
	for (int i = 0; i < 2; i++)
		expect_symbols(&opened.image->modules[i], true);
	CU_ASSERT_EQUAL(opened.image->modules[1].bias, second);
	close_opened(&opened);
	remove_scene(&scene);
}

/* The kernel leaves NT_FILE out when it is long; headers and link maps remain. */
static void test_recover__names_files_by_the_link_maps(void)
{
	struct scene scene;
	struct opened opened;
	size_t at = 0x100;
	ca_addr heap = HEAP;

	make_scene(&scene, library_id, NULL);
	elf_free(&scene.core.notes);
	/* struct r_debug, struct link_map, its name */
	put_u64(scene.heap, &at, 1);
	put_u64(scene.heap, &at, heap + 0x200);
	at = 0x200;
	put_u64(scene.heap, &at, library_base);
	put_u64(scene.heap, &at, heap + 0x300);
	put_u64(scene.heap, &at, 0);
	put_u64(scene.heap, &at, heap + 0x200); /* in a circle */
	strcpy((char *)scene.heap + 0x300, scene.library);
	/* DT_STRSZ becomes DT_DEBUG. */
	at = ELF_LIBRARY_DATA_OFFSET + 0x40;
	put_u64(scene.file.bytes, &at, DT_DEBUG);
	put_u64(scene.file.bytes, &at, heap + 0x100);
	open_scene(&opened, &scene, NULL);
	const struct ca_module *module = only_module(&opened);

	CU_ASSERT_STRING_EQUAL(module->path, scene.library);
	CU_ASSERT_EQUAL(module->state, CA_MODULE_USED);
	expect_symbols(module, true);
	CU_ASSERT_PTR_NOT_NULL(ca_image_at(opened.image, library_base + ELF_LIBRARY_TEXT, PAGE));
	close_opened(&opened);
	remove_scene(&scene);
}

static void test_recover__does_without_names(void)
{
	struct scene scene;
	struct opened opened;

	make_scene(&scene, library_id, NULL);
	elf_free(&scene.core.notes);
	open_scene(&opened, &scene, &(struct ca_image_options){ .exe = scene.library });
	CU_ASSERT_EQUAL(only_module(&opened)->state, CA_MODULE_USED);
	expect_symbols(only_module(&opened), true);
	close_opened(&opened);
	remove_scene(&scene);
}

/* ---- what is missing ------------------------------------------------------------- */

static void test_core__goes_on_when_cut_short(void)
{
	struct scene scene;
	struct opened opened;
	uint64_t word;

	make_scene(&scene, library_id, NULL);
	struct elf_buffer file = elf_core_finish(&scene.core, PAGE);
	size_t whole = file.size;

	/* Left: headers, and the library's first page. */
	file.size = whole - 5 * PAGE - 100;
	open_bytes(&opened, file, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(opened.image);
	CU_ASSERT_FALSE(opened.image->complete);
	CU_ASSERT_TRUE(warned(&opened, "truncated"));
	CU_ASSERT_EQUAL(opened.ctx.warnings.items[0].bytes, 5 * PAGE + 100);
	CU_ASSERT_EQUAL(opened.image->pid, 77);
	CU_ASSERT_STRING_EQUAL(opened.image->arch, "x86_64");
	CU_ASSERT_FALSE(ca_image_u64(opened.image, HEAP, &word));
	/* The file fills what was never dumped, not what was lost. */
	CU_ASSERT_TRUE(ca_image_u64(opened.image, library_base + ELF_LIBRARY_TEXT, &word));
	CU_ASSERT_FALSE(ca_image_u64(opened.image, library_base + ELF_LIBRARY_DATA, &word));
	CU_ASSERT_FALSE(ca_image_u64(opened.image, library_base + PAGE - 8, &word));
	close_opened(&opened);
	remove_scene(&scene);
}

static void test_mappings__know_what_is_missing(void)
{
	struct scene scene;
	struct opened opened;

	/* Never touched, or left out on purpose: ordinary. */
	make_scene(&scene, library_id, NULL);
	elf_core_load(&scene.core, 0x20000000, NULL, 0, PAGE, PF_R | PF_W);
	open_scene(&opened, &scene, NULL);
	CU_ASSERT_TRUE(opened.image->complete);
	close_opened(&opened);
	remove_scene(&scene);

	make_scene(&scene, library_id, NULL);
	elf_core_load(&scene.core, 0x20000000, scene.heap, PAGE, 3 * PAGE, PF_R | PF_W);
	open_scene(&opened, &scene, NULL);
	CU_ASSERT_FALSE(opened.image->complete);
	CU_ASSERT_TRUE(warned(&opened, "missing-memory"));
	CU_ASSERT_EQUAL(opened.ctx.warnings.items[0].first, 0x20000000);
	CU_ASSERT_EQUAL(opened.ctx.warnings.items[0].bytes, 2 * PAGE);
	close_opened(&opened);
	remove_scene(&scene);
}

static void test_mappings__notice_that_no_memory_was_dumped(void)
{
	struct elf_core core = { 0 };
	struct opened opened;

	elf_core_load(&core, 0x1000, "aaaa", 4, 4, PF_R);
	elf_core_load(&core, HEAP, NULL, 0, PAGE, PF_R | PF_W);
	elf_core_process(&core, 1, "prog");
	open_bytes(&opened, elf_core_finish(&core, 1), NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(opened.image);
	CU_ASSERT_FALSE(opened.image->complete);
	CU_ASSERT_TRUE(warned(&opened, "missing-memory"));
	close_opened(&opened);
}

/* ---- damage ---------------------------------------------------------------------- */

static uint64_t random_state = 1;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Whatever comes of it, it must neither crash nor hang. */
static void open_and_use(const struct elf_buffer *file, const struct ca_image_options *options)
{
	struct opened opened;
	char path[64], text[64];
	int fd;

	elf_as_path(file, path, &fd);
	open_path(&opened, path, options);
	close(fd);
	CU_ASSERT(!opened.image == !!opened.err);
	for (size_t i = 0; opened.image && i < opened.image->module_count; i++) {
		const struct ca_module *module = &opened.image->modules[i];
		ca_addr start;
		uint64_t bytes;

		ca_module_symbol(module, "_PyRuntime");
		ca_module_symbol(module, "hidden");
		ca_module_section(module, ".PyRuntime", &start, &bytes);
		ca_image_string(opened.image, module->start, text, sizeof(text));
		ca_image_known(opened.image, module->start, module->end);
	}
	close_opened(&opened);
}

static void mutate(struct elf_buffer *file, size_t limit)
{
	static const uint64_t values[] = { 0,	       1,	    0x7f,      0xff,
					   0xffff,     0xffffffff,  1u << 31,  UINT64_MAX,
					   INT64_MAX,  0x100000000, 0x1000,    24 };
	size_t at = next_random() % limit, width = 1u << next_random() % 4;
	uint64_t value = next_random() % 2 ? next_random()
					   : values[next_random() % CA_COUNT(values)];

	if (next_random() % 2)
		at &= ~(width - 1);
	if (at + width <= file->size)
		memcpy(file->bytes + at, &value, width);
}

static void test_core__survives_mutations(void)
{
	enum { ROUNDS = 4000 };
	struct scene scene;

	make_scene(&scene, library_id, NULL);
	struct elf_buffer good = elf_core_finish(&scene.core, PAGE), bad = { 0 };

	for (int round = 0; round < ROUNDS; round++) {
		bad.size = 0;
		elf_append(&bad, good.bytes, good.size);
		/* Headers and notes; or anything, the library's first page included. */
		size_t limit = round % 2 ? good.size : 0x900;

		for (uint64_t i = 0; i < 1 + next_random() % 4; i++)
			mutate(&bad, limit);
		open_and_use(&bad, round % 4 ? NULL
					     : &(struct ca_image_options){ .exe = scene.library });
	}
	elf_free(&good);
	elf_free(&bad);
	remove_scene(&scene);
}

static void test_core__survives_every_truncation(void)
{
	struct scene scene;

	make_scene(&scene, library_id, NULL);
	struct elf_buffer file = elf_core_finish(&scene.core, PAGE);

	/* Every length up to the second page, then coarser. */
	for (size_t cut = 1; cut < file.size; cut += cut < PAGE + 64 ? 1 : 97) {
		struct elf_buffer part = { file.bytes, file.size - cut, 0 };

		open_and_use(&part, NULL);
		part.size = cut;
		open_and_use(&part, NULL);
	}
	elf_free(&file);
	remove_scene(&scene);
}

static void test_sources__survive_damaged_files(void)
{
	enum { ROUNDS = 1500 };
	struct scene scene;

	make_scene(&scene, library_id, NULL);
	struct elf_buffer core = elf_core_finish(&scene.core, PAGE), bad = { 0 };

	for (int round = 0; round < ROUNDS; round++) {
		bad.size = 0;
		elf_append(&bad, scene.file.bytes, scene.file.size);
		for (int i = 0; i < 3; i++)
			mutate(&bad, round % 2 ? bad.size : 0x200);
		for (int i = 0; i < 2; i++) /* section headers, symbols */
			mutate(&(struct elf_buffer){ bad.bytes + 0x3000, bad.size - 0x3000, 0 },
			       bad.size - 0x3000);
		write_file(scene.library, &bad);
		open_and_use(&core, NULL);
	}
	elf_free(&core);
	elf_free(&bad);
	remove_scene(&scene);
}

CU_TestInfo ca_tests_image[] = {
	{ "core refuses what is no regular file", test_core__refuses_what_is_no_regular_file },
	{ "core names what it is instead", test_core__names_what_it_is_instead },
	{ "core says how much of a cut one is there",
	  test_core__says_how_much_of_a_cut_one_is_there },
	{ "core takes segments in any order", test_core__takes_segments_in_any_order },
	{ "core lets the first of overlapping segments win",
	  test_core__lets_the_first_of_overlapping_segments_win },
	{ "core merges what is contiguous", test_core__merges_what_is_contiguous },
	{ "core takes more than 65534 segments", test_core__takes_more_than_65534_segments },
	{ "core leaves out what wraps around", test_core__leaves_out_what_wraps_around },
	{ "image reads within and across segments", test_image__reads_within_and_across_segments },
	{ "image reads strings", test_image__reads_strings },
	{ "image does not mix images up", test_image__does_not_mix_images_up },
	{ "notes tell process and threads", test_notes__tell_process_and_threads },
	{ "argv is read from the stack", test_argv__is_read_from_the_stack },
	{ "argv is found when a loader was run", test_argv__is_found_when_a_loader_was_run },
	{ "argv falls back to psargs", test_argv__falls_back_to_psargs },
	{ "notes survive damage", test_notes__survive_damage },
	{ "modules are measured", test_modules__are_measured },
	{ "modules fill gaps but nothing else", test_modules__fill_gaps_but_nothing_else },
	{ "symbols come from the file", test_symbols__come_from_the_file },
	{ "symbols come from memory without a file", test_symbols__come_from_memory_without_a_file },
	{ "sources refuse another build", test_sources__refuse_another_build },
	{ "sources refuse what nothing proves", test_sources__refuse_what_nothing_proves },
	{ "sources do not wait for a FIFO", test_sources__do_not_wait_for_a_fifo },
	{ "sources know deleted files", test_sources__know_deleted_files },
	{ "sources look inside the sysroot", test_sources__look_inside_the_sysroot },
	{ "sources stay inside the sysroot", test_sources__stay_inside_the_sysroot },
	{ "sources look in the debug folder", test_sources__look_in_the_debug_folder },
	{ "sources take only symbols from debug files",
	  test_sources__take_only_symbols_from_debug_files },
	{ "sources take the named program", test_sources__take_the_named_program },
	{ "modules may be mapped twice", test_modules__may_be_mapped_twice },
	{ "recover names files by the link maps", test_recover__names_files_by_the_link_maps },
	{ "recover does without names", test_recover__does_without_names },
	{ "core goes on when cut short", test_core__goes_on_when_cut_short },
	{ "mappings know what is missing", test_mappings__know_what_is_missing },
	{ "mappings notice that no memory was dumped",
	  test_mappings__notice_that_no_memory_was_dumped },
	{ "core survives mutations", test_core__survives_mutations },
	{ "core survives every truncation", test_core__survives_every_truncation },
	{ "sources survive damaged files", test_sources__survive_damaged_files },
	CU_TEST_INFO_NULL,
};
