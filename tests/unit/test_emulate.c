/* SPDX-License-Identifier: GPL-3.0-or-later */
/* object: functions of the target under emulation, and the harm that they cannot do. */
#include <CUnit/Basic.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "../../coreanalyze/object/emulate.h"

/* int f(PyObject *self = rdi, visitproc visit = rsi, void *arg = rdx), which lies anywhere. */
__asm__(".pushsection .rodata\n"
	".balign 16\n"
	"code_begin:\n"
	"code_two:\n" /* self[2], self[3] */
	"	push %r12\n push %r13\n push %rbx\n"
	"	mov %rdi, %r12\n mov %rsi, %r13\n mov %rdx, %rbx\n"
	"	mov 16(%r12), %rdi\n mov %rbx, %rsi\n call *%r13\n"
	"	mov 24(%r12), %rdi\n mov %rbx, %rsi\n call *%r13\n"
	"	xor %eax, %eax\n pop %rbx\n pop %r13\n pop %r12\n ret\n"
	"code_across:\n" /* the word 4 bytes before the end of the data's first page */
	"	mov 4092(%rdi), %rdi\n mov %rsi, %rax\n mov %rdx, %rsi\n jmp *%rax\n"
	"code_write:\n" /* self[4] += 1; self[4] */
	"	incq 32(%rdi)\n mov 32(%rdi), %rdi\n mov %rsi, %rax\n mov %rdx, %rsi\n jmp *%rax\n"
	"code_thread:\n" /* the thread's own pointer */
	"	mov %fs:0, %rdi\n mov %rsi, %rax\n mov %rdx, %rsi\n jmp *%rax\n"
	"code_shuffle:\n" /* SSSE3, as compilers emit it */
	"	pshufb %xmm0, %xmm0\n xor %eax, %eax\n ret\n"
	"code_endless: jmp code_endless\n"
	"code_flood:\n"
	"	push %r12\n push %r13\n push %rbx\n"
	"	mov %rdi, %r12\n mov %rsi, %r13\n mov %rdx, %rbx\n"
	"1:	mov %r12, %rdi\n mov %rbx, %rsi\n call *%r13\n jmp 1b\n"
	"code_deep: call code_deep\n"
	"code_error: mov $1, %eax\n ret\n"
	"code_invalid: ud2\n"
	"code_null: mov 16, %rax\n ret\n"
	"code_exit: mov $231, %eax\n syscall\n xor %eax, %eax\n ret\n"
	"code_cursor: movq $-8, (%rdx)\n xor %eax, %eax\n ret\n"
	"code_privileged: hlt\n"
	"code_port: outb %al, $0x80\n xor %eax, %eax\n ret\n"
	"code_end:\n"
	".popsection\n");
extern const uint8_t code_begin[], code_end[];
#define CODE(name) extern const uint8_t code_##name[]
CODE(two);
CODE(across);
CODE(write);
CODE(thread);
CODE(shuffle);
CODE(endless);
CODE(flood);
CODE(deep);
CODE(error);
CODE(invalid);
CODE(null);
CODE(exit);
CODE(cursor);
CODE(privileged);
CODE(port);

enum { PAGE = 4096 };
#define CODE_START 0x400000ull
#define DATA_START 0x7f1200000000ull

struct fixture {
	struct ca_context ctx;
	struct ca_image *image;
	struct ca_runtime rt;
	struct ca_emulator *emulator;
	uint8_t *code, *data, *tail;
	/* what the last calls gave */
	size_t calls, refs;
	enum ca_emulated how;
	ca_addr first, last;
};

/* The data's second page is a segment of its own, at another alignment, as gcore writes them. */
static void open_fixture(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	ca_context_init(&f->ctx);
	f->code = ca_alloc(PAGE);
	f->data = ca_alloc(PAGE);
	f->tail = ca_alloc(PAGE + 8);
	memcpy(f->code, code_begin, (size_t)(code_end - code_begin));

	struct ca_segment segments[] = {
		{ CODE_START, CODE_START + PAGE, f->code, CA_SEG_READ | CA_SEG_EXEC },
		{ DATA_START, DATA_START + PAGE, f->data, CA_SEG_READ | CA_SEG_WRITE },
		{ DATA_START + PAGE, DATA_START + PAGE + 100, f->tail + 4, CA_SEG_READ },
	};

	f->image = ca_image_from_buffers(&f->ctx, segments, CA_COUNT(segments));
	f->rt = (struct ca_runtime){ .ctx = &f->ctx, .image = f->image };
	f->emulator = ca_emulator_make(&f->rt);
}

static void close_fixture(struct fixture *f)
{
	ca_emulator_close(f->emulator);
	ca_image_close(f->image);
	ca_context_fini(&f->ctx);
	free(f->code);
	free(f->data);
	free(f->tail);
	CU_ASSERT(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD); /* no child is left */
}

static void take(void *arg, size_t index, enum ca_emulated how, const ca_addr *refs, size_t count)
{
	struct fixture *f = arg;

	CU_ASSERT_EQUAL(index, f->calls);
	f->calls++;
	f->how = how;
	f->refs = count;
	f->first = count ? refs[0] : 0;
	f->last = count ? refs[count - 1] : 0;
}

static enum ca_emulated run(struct fixture *f, const uint8_t *code, ca_addr object)
{
	f->calls = 0;
	ca_emulator_traverse(f->emulator, CODE_START + (ca_addr)(code - code_begin), &object, 1, take, f);
	CU_ASSERT_EQUAL(f->calls, 1);
	return f->how;
}

static void put(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

static void test_references(void)
{
	struct fixture f;

	open_fixture(&f);
	put(f.data + 64 + 16, 0x1111);
	put(f.data + 64 + 24, 0x2222);
	CU_ASSERT_EQUAL(run(&f, code_two, DATA_START + 64), CA_EMULATED_WELL);
	CU_ASSERT_EQUAL(f.refs, 2);
	CU_ASSERT_EQUAL(f.first, 0x1111);
	CU_ASSERT_EQUAL(f.last, 0x2222);
	close_fixture(&f);
}

static void test_a_word_across_segments(void)
{
	struct fixture f;
	const uint64_t word = 0x1234567890abcdef;

	open_fixture(&f);
	memcpy(f.data + PAGE - 4, &word, 4);
	memcpy(f.tail + 4, (const uint8_t *)&word + 4, 4);
	CU_ASSERT_EQUAL(run(&f, code_across, DATA_START), CA_EMULATED_WELL);
	CU_ASSERT_EQUAL(f.first, word);
	close_fixture(&f);
}

static void test_many_objects(void)
{
	enum { OBJECTS = 3 * 4096 + 5 };
	struct fixture f;
	ca_addr *objects = ca_alloc(OBJECTS * sizeof(*objects));

	open_fixture(&f);
	for (size_t i = 0; i < OBJECTS; i++)
		objects[i] = DATA_START + i % 256 * 8;
	put(f.data + (OBJECTS - 1) % 256 * 8 + 24, 0x77);
	ca_emulator_traverse(f.emulator, CODE_START, objects, OBJECTS, take, &f);
	CU_ASSERT_EQUAL(f.calls, OBJECTS);
	CU_ASSERT_EQUAL(f.how, CA_EMULATED_WELL);
	CU_ASSERT_EQUAL(f.last, 0x77);
	close_fixture(&f);
	free(objects);
}

/* The target's code may write; the image stays as it is. */
static void test_writes_stay_in_the_child(void)
{
	struct fixture f;

	open_fixture(&f);
	put(f.data + 32, 41);
	CU_ASSERT_EQUAL(run(&f, code_write, DATA_START), CA_EMULATED_WELL);
	CU_ASSERT_EQUAL(f.first, 42);
	CU_ASSERT_EQUAL(ca_load_u64(f.data + 32), 41);
	close_fixture(&f);
}

static void test_thread_pointer(void)
{
	struct fixture f;
	struct ca_thread thread = { .thread_id = DATA_START + 128 };

	open_fixture(&f);
	f.rt.threads = &thread;
	f.rt.thread_count = 1;
	put(f.data + 128, 0x99);
	CU_ASSERT_EQUAL(run(&f, code_thread, DATA_START), CA_EMULATED_WELL);
	CU_ASSERT_EQUAL(f.first, 0x99);
	CU_ASSERT_EQUAL(run(&f, code_shuffle, DATA_START), CA_EMULATED_WELL);
	close_fixture(&f);
}

/* Whatever the code does: an answer, no references, and the next call is as good as ever. */
static void check_refused(struct fixture *f, const uint8_t *code, enum ca_emulated how)
{
	CU_ASSERT_EQUAL(run(f, code, DATA_START), how);
	CU_ASSERT_EQUAL(f->refs, 0);
	CU_ASSERT_EQUAL(run(f, code_two, DATA_START), CA_EMULATED_WELL);
	CU_ASSERT_EQUAL(f->refs, 2);
}

static void test_hostile_code(void)
{
	struct fixture f;

	open_fixture(&f);
	check_refused(&f, code_error, CA_EMULATED_FAILED);
	check_refused(&f, code_invalid, CA_EMULATED_FAILED);
	check_refused(&f, code_null, CA_EMULATED_FAILED);
	check_refused(&f, code_exit, CA_EMULATED_FAILED);
	check_refused(&f, code_cursor, CA_EMULATED_FAILED);
	check_refused(&f, code_privileged, CA_EMULATED_FAILED);
	check_refused(&f, code_deep, CA_EMULATED_FAILED);
	check_refused(&f, code_endless, CA_EMULATED_LIMIT);
	check_refused(&f, code_flood, CA_EMULATED_LIMIT);
	run(&f, code_port, DATA_START);
	CU_ASSERT_EQUAL(run(&f, code_two, DATA_START), CA_EMULATED_WELL);
	/* Addresses where nothing is. */
	CU_ASSERT_EQUAL(run(&f, code_two, 0x123456789000), CA_EMULATED_FAILED);
	CU_ASSERT_EQUAL(run(&f, code_two, UINT64_MAX - 3), CA_EMULATED_FAILED);
	CU_ASSERT_EQUAL(run(&f, code_begin + 0x10000000, DATA_START), CA_EMULATED_FAILED);
	close_fixture(&f);
}

/* One function that never ends costs a few calls' time, not all of them. */
static void test_endless_on_many_objects(void)
{
	enum { OBJECTS = 1000 };
	struct fixture f;
	ca_addr objects[OBJECTS];

	open_fixture(&f);
	for (size_t i = 0; i < OBJECTS; i++)
		objects[i] = DATA_START;
	ca_emulator_traverse(f.emulator, CODE_START + (ca_addr)(code_endless - code_begin), objects,
			     OBJECTS, take, &f);
	CU_ASSERT_EQUAL(f.calls, OBJECTS);
	CU_ASSERT_EQUAL(f.how, CA_EMULATED_LIMIT);
	close_fixture(&f);
}

CU_TestInfo ca_tests_emulate[] = {
	{ "references", test_references },
	{ "a_word_across_segments", test_a_word_across_segments },
	{ "many_objects", test_many_objects },
	{ "writes_stay_in_the_child", test_writes_stay_in_the_child },
	{ "thread_pointer", test_thread_pointer },
	{ "hostile_code", test_hostile_code },
	{ "endless_on_many_objects", test_endless_on_many_objects },
	CU_TEST_INFO_NULL,
};
