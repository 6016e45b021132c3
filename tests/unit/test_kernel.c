/* SPDX-License-Identifier: GPL-3.0-or-later */
/* capture: cores that come by a pipe, right ones and made ones. */
#include "../../coreanalyze/capture/capture.h"
#include "../support/elfwriter.h"

#include <CUnit/Basic.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, DATA_PAGES = 8, CODE_PAGES = 4 };
#define DATA UINT64_C(0x10000000)
#define CODE UINT64_C(0x20000000)
#define CONST UINT64_C(0x30000000)

static char folder[64];
static uint8_t data[DATA_PAGES * PAGE], code[CODE_PAGES * PAGE];

static void make_folder(void)
{
	snprintf(folder, sizeof(folder), "/tmp/ca-kernel-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / PAGE);
	memset(data + 2 * PAGE, 0, PAGE); /* a hole */
	for (size_t i = 0; i < sizeof(code); i++)
		code[i] = (uint8_t)(i * 13 + 1);
}

/* Removes it; how many files it had. */
static size_t empty_folder(void)
{
	DIR *dir = opendir(folder);
	size_t count = 0;
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_type == DT_DIR)
			continue;
		unlinkat(dirfd(dir), entry->d_name, 0);
		count++;
	}
	if (dir)
		closedir(dir);
	rmdir(folder);
	return count;
}

static struct elf_buffer make_core(void)
{
	struct elf_core core = { 0 };

	elf_core_thread(&core, &(struct elf_thread){ .lwp = 5, .sp = DATA, .ip = CODE });
	elf_core_process(&core, 5, "python");
	elf_core_load(&core, DATA, data, sizeof(data), sizeof(data), PF_R | PF_W);
	elf_core_load(&core, CODE, code, sizeof(code), sizeof(code), PF_R | PF_X);
	elf_core_load(&core, CONST, code, PAGE, 3 * PAGE, PF_R);
	return elf_core_finish(&core, PAGE);
}

static int as_stream(const uint8_t *bytes, size_t size)
{
	int fd = memfd_create("stream", MFD_CLOEXEC);

	CU_ASSERT_EQUAL_FATAL(write(fd, bytes, size), (ssize_t)size);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static struct ca_error *keep(const uint8_t *bytes, size_t size, const char *name, uint64_t most,
			     struct ca_from_kernel *out)
{
	int fd = as_stream(bytes, size);
	struct ca_error *err = ca_capture_from_kernel(
		fd,
		&(struct ca_kernel_options){
			.folder = folder, .pid = "77", .lwp = "78", .name = name, .most_bytes = most },
		out);

	close(fd);
	return err;
}

static void check_image(const char *file)
{
	char path[300];
	struct ca_context ctx;
	struct ca_image *image = NULL;

	ca_context_init(&ctx);
	snprintf(path, sizeof(path), "%s/%s", folder, file);
	CU_ASSERT_PTR_NULL_FATAL(ca_image_open(&ctx, path, NULL, &image));
	const uint8_t *at = ca_image_at(image, DATA, sizeof(data));

	CU_ASSERT_TRUE(at && !memcmp(at, data, sizeof(data)));
	at = ca_image_at(image, CODE, PAGE);
	CU_ASSERT_TRUE(at && !memcmp(at, code, PAGE));
	CU_ASSERT_PTR_NULL(ca_image_at(image, CODE + PAGE, 1));
	at = ca_image_at(image, CONST, PAGE);
	CU_ASSERT_TRUE(at && !memcmp(at, code, PAGE));
	CU_ASSERT_EQUAL(image->lwp_count, 1);
	CU_ASSERT_EQUAL(image->lwps[0].lwp, 5);
	CU_ASSERT_STRING_EQUAL(image->taken.method, "kernel");
	CU_ASSERT_EQUAL(image->taken.pid, 77);
	CU_ASSERT_EQUAL(image->taken.lwp, 78);
	ca_image_close(image);
	ca_context_fini(&ctx);
}

static void test_kernel__keeps_what_matters(void)
{
	struct elf_buffer core;
	struct ca_from_kernel out;
	struct stat st;
	char path[300];

	make_folder();
	core = make_core();
	CU_ASSERT_PTR_NULL(keep(core.bytes, core.size, "python", 0, &out));
	CU_ASSERT_STRING_EQUAL(out.file, "core.python.77");
	CU_ASSERT_FALSE(out.is_cut || out.is_raw);
	check_image(out.file);
	snprintf(path, sizeof(path), "%s/%s", folder, out.file);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	elf_free(&core);
	CU_ASSERT_EQUAL(empty_folder(), 1);
}

static void test_kernel__names_are_harmless(void)
{
	static const char *const names[][2] = {
		{ "../../etc/passwd", "core._._.._etc_passwd.77" },
		{ "a b\n\x1b[31m", "core.a_b___31m.77" },
		{ "", "core.unnamed.77" },
		{ "--full", "core.--full.77" },
		{ "\xff\xfe", "core.__.77" },
	};
	struct elf_buffer core;
	struct ca_from_kernel out;

	make_folder();
	core = make_core();
	for (size_t i = 0; i < CA_COUNT(names); i++) {
		CU_ASSERT_PTR_NULL(keep(core.bytes, core.size, names[i][0], 0, &out));
		CU_ASSERT_STRING_EQUAL(out.file, names[i][1]);
		CU_ASSERT_EQUAL(strspn(out.file, "abcdefghijklmnopqrstuvwxyz"
						 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"),
				strlen(out.file));
	}
	elf_free(&core);
	CU_ASSERT_EQUAL(empty_folder(), CA_COUNT(names));
}

/* Whoever may write to the folder has laid links there. */
static void test_kernel__follows_no_link(void)
{
	struct elf_buffer core;
	struct ca_from_kernel out;
	char link[300], victim[] = "/tmp/ca-victim-XXXXXX";
	struct stat st;
	int fd = mkstemp(victim);

	make_folder();
	core = make_core();
	snprintf(link, sizeof(link), "%s/core.python.77", folder);
	CU_ASSERT_EQUAL(symlink(victim, link), 0);
	snprintf(link, sizeof(link), "%s/core.python.77.1", folder);
	CU_ASSERT_EQUAL(symlink("/nowhere", link), 0);
	CU_ASSERT_PTR_NULL(keep(core.bytes, core.size, "python", 0, &out));
	CU_ASSERT_STRING_EQUAL(out.file, "core.python.77.2");
	CU_ASSERT_EQUAL(fstat(fd, &st), 0);
	CU_ASSERT_EQUAL(st.st_size, 0);
	close(fd);
	unlink(victim);
	elf_free(&core);
	CU_ASSERT_EQUAL(empty_folder(), 3);
}

static void test_kernel__bounded_disk(void)
{
	enum { BIG = 24 << 20, MOST = 8 << 20 };
	struct elf_core core = { 0 };
	uint8_t *big = malloc(BIG);
	struct ca_from_kernel out;

	memset(big, 1, BIG);
	make_folder();
	elf_core_thread(&core, &(struct elf_thread){ .lwp = 5 });
	elf_core_load(&core, DATA, big, BIG, BIG, PF_R | PF_W);
	struct elf_buffer made = elf_core_finish(&core, PAGE);

	CU_ASSERT_PTR_NULL(keep(made.bytes, made.size, "python", MOST, &out));
	CU_ASSERT_TRUE(out.is_cut);
	CU_ASSERT_TRUE(out.disk_bytes <= MOST);
	struct ca_error *err = keep(made.bytes, made.size, "python", MOST, &out);

	CU_ASSERT_PTR_NOT_NULL(err);
	ca_error_free(err);
	elf_free(&made);
	free(big);
	CU_ASSERT_EQUAL(empty_folder(), 1);
}

/* More segments than the header has a number for: the stream tells it at its end. */
static void test_kernel__many_segments(void)
{
	enum { MANY = 70000 };
	struct elf_buffer made = { 0 };
	Elf64_Ehdr header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
					   EV_CURRENT },
			      .e_type = ET_CORE,
			      .e_machine = EM_X86_64,
			      .e_phoff = sizeof(header),
			      .e_phentsize = sizeof(Elf64_Phdr),
			      .e_phnum = PN_XNUM };
	uint64_t at = sizeof(header) + MANY * sizeof(Elf64_Phdr);
	uint64_t memory = (at + PAGE) & ~(uint64_t)(PAGE - 1);
	struct ca_from_kernel out;

	make_folder();
	elf_append(&made, &header, sizeof(header));
	for (unsigned i = 0; i < MANY; i++) {
		Elf64_Phdr phdr = { .p_type = i ? PT_LOAD : PT_NOTE,
				    .p_offset = i ? memory : at,
				    .p_vaddr = DATA + 2ull * PAGE * i,
				    .p_memsz = i ? PAGE : 0,
				    .p_filesz = i == MANY - 1 ? PAGE : 0,
				    .p_flags = PF_R | PF_W };

		elf_append(&made, &phdr, sizeof(phdr));
	}
	elf_pad(&made, PAGE);
	elf_append(&made, data, PAGE);
	CU_ASSERT_PTR_NULL(keep(made.bytes, made.size, "python", 0, &out));
	CU_ASSERT_FALSE(out.is_raw || out.is_cut);

	char path[300];
	struct ca_context ctx;
	struct ca_image *image = NULL;

	ca_context_init(&ctx);
	snprintf(path, sizeof(path), "%s/%s", folder, out.file);
	CU_ASSERT_PTR_NULL_FATAL(ca_image_open(&ctx, path, NULL, &image));
	const uint8_t *there = ca_image_at(image, DATA + 2ull * PAGE * (MANY - 1), PAGE);

	CU_ASSERT_TRUE(there && !memcmp(there, data, PAGE));
	ca_image_close(image);
	ca_context_fini(&ctx);
	elf_free(&made);
	CU_ASSERT_EQUAL(empty_folder(), 1);
}

/* Whatever comes: it ends, and takes no more disk than came. */
static void test_kernel__made_streams(void)
{
	struct elf_buffer core;
	size_t files = 0;

	make_folder();
	core = make_core();
	srand(20261127);
	for (unsigned seed = 0; seed < 600; seed++) {
		uint8_t *bytes = malloc(core.size);
		size_t size = core.size;
		struct ca_from_kernel out;

		memcpy(bytes, core.bytes, core.size);
		for (int n = 0; n <= rand() % 6; n++) {
			size_t at = (size_t)rand() % 400;
			uint64_t word = rand() % 3 ? (uint64_t)rand() << (rand() % 33) : UINT64_MAX - (uint64_t)(rand() % 4096);

			memcpy(bytes + at, &word, 1u << (rand() % 4));
		}
		if (rand() % 3 == 0)
			size = (size_t)rand() % core.size;
		struct ca_error *err = keep(bytes, size, "python", 0, &out);

		files += !err;
		if (!err)
			CU_ASSERT_TRUE(out.disk_bytes <= core.size + 4 * PAGE);
		if (err)
			CU_ASSERT_EQUAL(size, 0);
		ca_error_free(err);
		free(bytes);
		if (files == 500) {
			CU_ASSERT_EQUAL(empty_folder(), files);
			make_folder();
			files = 0;
		}
	}
	elf_free(&core);
	CU_ASSERT_EQUAL(empty_folder(), files);
}

extern CU_TestInfo ca_tests_kernel[];
CU_TestInfo ca_tests_kernel[] = {
	{ "keeps what matters", test_kernel__keeps_what_matters },
	{ "names are harmless", test_kernel__names_are_harmless },
	{ "follows no link", test_kernel__follows_no_link },
	{ "bounded disk", test_kernel__bounded_disk },
	{ "many segments", test_kernel__many_segments },
	{ "made streams", test_kernel__made_streams },
	CU_TEST_INFO_NULL,
};
