/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The child's side: the emulated processor and its memory. */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "emulated.h"

enum {
	PAGE = CA_EMULATED_PAGE,
	WINDOW = 64 << 20,     /* of the image's segments, mapped when first touched */
	STACK_BYTES = 256 << 10,
	MAX_WINDOWS = 4096,
	MAX_BLOCKS = 1 << 22,  /* basic blocks that a call may run */
	MAX_STRIKES = 8,       /* calls of a batch that ran into it */
};

/*
 * Where our own things lie in the target's address space: above user space, below
 * the kernel's half, where no process has anything.
 */
#define GUEST_STACK 0x0000900000000000ull
#define GUEST_CODE 0x0000900100000000ull
#define GUEST_REFS 0x0000900200000000ull
#define GUEST_REFS_END (GUEST_REFS + CA_EMULATED_REFS * 8ull)

/*
 * int visit(PyObject *object, void *arg) { *(*(PyObject ***)arg)++ = object; return 0; }
 *   mov rax, [rsi]; mov [rax], rdi; add qword ptr [rsi], 8; xor eax, eax; ret
 */
static const uint8_t visit_code[] = {0x48, 0x8b, 0x06, 0x48, 0x89, 0x38, 0x48,
				     0x83, 0x06, 0x08, 0x31, 0xc0, 0xc3};
enum { STOP_AT = 64, CURSOR_AT = 128 }; /* in the page of code */

/* ---- memory ----------------------------------------------------------------- */

static const struct ca_segment *segment_at(const struct ca_image *image, ca_addr addr)
{
	size_t low = 0, high = image->segment_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (image->segments[middle].end <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low < image->segment_count && image->segments[low].start <= addr
		       ? &image->segments[low]
		       : NULL;
}

/* Our copy-on-write bytes of the image, made writable for the target's code. */
static bool map_run(struct ca_processor *cpu, ca_addr start, uint64_t bytes, const uint8_t *data)
{
	uintptr_t from = (uintptr_t)data & ~(uintptr_t)(PAGE - 1);
	uintptr_t to = ((uintptr_t)data + bytes + PAGE - 1) & ~(uintptr_t)(PAGE - 1);

	return mprotect((void *)from, to - from, PROT_READ | PROT_WRITE) == 0 &&
	       uc_mem_map_ptr(cpu->uc, start, bytes, UC_PROT_ALL, (void *)(uintptr_t)data) == UC_ERR_OK;
}

/* A page that several segments make up, or one has only a part of: a copy, zeros between. */
static bool map_page(struct ca_processor *cpu, ca_addr page)
{
	const struct ca_image *image = cpu->rt->image;
	uint8_t *copy = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool any = false;

	if (copy == MAP_FAILED)
		return false;
	for (ca_addr at = page; at < page + PAGE;) {
		uint64_t run, left = page + PAGE - at;
		const uint8_t *bytes = ca_image_run(image, at, &run);

		if (bytes) {
			memcpy(copy + (at - page), bytes, run < left ? run : left);
			any = true;
		}
		at += bytes ? (run < left ? run : left) : 1;
	}
	if (any && uc_mem_map_ptr(cpu->uc, page, PAGE, UC_PROT_ALL, copy) == UC_ERR_OK)
		return true;
	munmap(copy, PAGE);
	return false;
}

/* Maps what lies around addr: the whole pages of its segment, at most a window of them. */
bool ca_processor_map(struct ca_processor *cpu, ca_addr addr)
{
	const struct ca_segment *segment = segment_at(cpu->rt->image, addr);
	ca_addr page = addr & ~(ca_addr)(PAGE - 1);

	if (cpu->windows++ >= MAX_WINDOWS)
		return false;
	if (!segment)
		return map_page(cpu, page);

	ca_addr start = addr & ~(ca_addr)(WINDOW - 1), end = start + WINDOW;
	ca_addr first = (segment->start + PAGE - 1) & ~(ca_addr)(PAGE - 1);
	ca_addr last = segment->end & ~(ca_addr)(PAGE - 1);

	if (start < first)
		start = first;
	if (end > last)
		end = last;
	if (page < start || page + PAGE > end)
		return map_page(cpu, page);
	return map_run(cpu, start, end - start, segment->data + (start - segment->start));
}

static bool on_unmapped(uc_engine *uc, uc_mem_type type, uint64_t addr, int size, int64_t value,
			void *arg)
{
	struct ca_processor *cpu = arg;
	uint64_t last = addr + (size > 0 ? (uint64_t)size - 1 : 0);
	ca_addr page = last & ~(ca_addr)(PAGE - 1);
	const uint64_t near_null = 1 << 16;

	(void)uc;
	(void)type;
	(void)value;
	/* An access over a page's end may miss on its second page alone. */
	if (last >= addr && (ca_processor_map(cpu, addr) || (page > addr && ca_processor_map(cpu, page))))
		return true;
	cpu->no_bytes = addr >= near_null && ca_image_mapping(cpu->rt->image, addr);
	return false;
}

static void on_block(uc_engine *uc, uint64_t addr, uint32_t size, void *arg)
{
	struct ca_processor *cpu = arg;

	(void)addr;
	(void)size;
	if (++cpu->blocks == MAX_BLOCKS)
		uc_emu_stop(uc);
}

static void on_system_call(uc_engine *uc, void *arg)
{
	((struct ca_processor *)arg)->wanders = true;
	uc_emu_stop(uc);
}

static bool start_processor(struct ca_processor *cpu)
{
	const struct ca_image *image = cpu->rt->image;
	uint64_t fs = image->lwp_count ? image->lwps[0].fs_base : 0;
	uc_hook unmapped, block, system_call;

	if (!fs && cpu->rt->thread_count)
		fs = cpu->rt->threads[0].thread_id; /* glibc: pthread_t is the thread's own pointer */
	cpu->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cpu->code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cpu->stack == MAP_FAILED || cpu->code == MAP_FAILED)
		return false;
	memcpy(cpu->code, visit_code, sizeof(visit_code));
	cpu->code[STOP_AT] = 0xf4; /* hlt */
	return uc_open(UC_ARCH_X86, UC_MODE_64, &cpu->uc) == UC_ERR_OK &&
	       uc_ctl_set_cpu_model(cpu->uc, UC_CPU_X86_HASWELL) == UC_ERR_OK &&
	       uc_mem_map_ptr(cpu->uc, GUEST_STACK, STACK_BYTES, UC_PROT_READ | UC_PROT_WRITE,
			      cpu->stack) == UC_ERR_OK &&
	       uc_mem_map_ptr(cpu->uc, GUEST_CODE, PAGE, UC_PROT_ALL, cpu->code) == UC_ERR_OK &&
	       uc_mem_map_ptr(cpu->uc, GUEST_REFS, GUEST_REFS_END - GUEST_REFS,
			      UC_PROT_READ | UC_PROT_WRITE, cpu->batch->refs) == UC_ERR_OK &&
	       uc_hook_add(cpu->uc, &unmapped, UC_HOOK_MEM_UNMAPPED, (void *)on_unmapped, cpu, 1,
			   0) == UC_ERR_OK &&
	       uc_hook_add(cpu->uc, &block, UC_HOOK_BLOCK, (void *)on_block, cpu, 1, 0) == UC_ERR_OK &&
	       uc_hook_add(cpu->uc, &system_call, UC_HOOK_INSN, (void *)on_system_call, cpu, 1, 0,
			   UC_X86_INS_SYSCALL) == UC_ERR_OK &&
	       uc_reg_write(cpu->uc, UC_X86_REG_FS_BASE, &fs) == UC_ERR_OK;
}

/* ---- calls ------------------------------------------------------------------ */

/* Calls function(object, visit, &cursor); the references go to refs[*end] and on. */
static enum ca_emulated call(struct ca_processor *cpu, ca_addr function, ca_addr object, uint32_t *end)
{
	uint64_t first = GUEST_REFS + *end * 8ull, cursor = first;
	uint64_t sp = GUEST_STACK + STACK_BYTES - 64 - 8; /* as a call leaves it: 8 off 16 */
	uint64_t stop = GUEST_CODE + STOP_AT, visit = GUEST_CODE, arg = GUEST_CODE + CURSOR_AT;
	uint64_t ip = 0, result = 1;

	memcpy(cpu->code + CURSOR_AT, &cursor, sizeof(cursor));
	memcpy(cpu->stack + (sp - GUEST_STACK), &stop, sizeof(stop));
	cpu->blocks = 0;
	cpu->no_bytes = cpu->wanders = false;
	uc_reg_write(cpu->uc, UC_X86_REG_RSP, &sp);
	uc_reg_write(cpu->uc, UC_X86_REG_RDI, &object);
	uc_reg_write(cpu->uc, UC_X86_REG_RSI, &visit);
	uc_reg_write(cpu->uc, UC_X86_REG_RDX, &arg);

	uc_err err = uc_emu_start(cpu->uc, function, stop, 0, 0);

	uc_reg_read(cpu->uc, UC_X86_REG_RIP, &ip);
	uc_reg_read(cpu->uc, UC_X86_REG_RAX, &result);
	memcpy(&cursor, cpu->code + CURSOR_AT, sizeof(cursor));
	if (cpu->blocks >= MAX_BLOCKS)
		return CA_EMULATED_LIMIT;
	if (err != UC_ERR_OK)
		return cpu->no_bytes			? CA_EMULATED_NO_BYTES
		       : cursor == GUEST_REFS_END ? CA_EMULATED_LIMIT
						  : CA_EMULATED_FAILED;
	if (cpu->wanders || ip != stop || (uint32_t)result || cursor % 8 || cursor < first ||
	    cursor > GUEST_REFS_END)
		return CA_EMULATED_FAILED;
	*end = (uint32_t)((cursor - GUEST_REFS) / 8);
	return CA_EMULATED_WELL;
}

static void serve_batch(struct ca_processor *cpu)
{
	struct ca_emulated_batch *batch = cpu->batch;
	uint32_t count = batch->count, end = 0, strikes = 0;

	for (uint32_t i = 0; i < count && i < CA_EMULATED_BATCH; i++) {
		enum ca_emulated how = CA_EMULATED_LIMIT;

		if (strikes < MAX_STRIKES)
			how = call(cpu, batch->function, batch->objects[i], &end);
		/* Out of room, but not by its own doing: the next batch begins with it. */
		if (how == CA_EMULATED_LIMIT && cpu->blocks < MAX_BLOCKS && end && strikes < MAX_STRIKES)
			return;
		strikes += how == CA_EMULATED_LIMIT;
		batch->results[i].how = how;
		batch->results[i].refs_end = end;
		__atomic_store_n(&batch->done, i + 1, __ATOMIC_RELEASE);
	}
}

/* ---- its life --------------------------------------------------------------- */

_Noreturn void ca_emulated_serve(const struct ca_runtime *rt, struct ca_emulated_batch *batch,
				 int pipe)
{
	static const int defaults[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGSEGV, SIGBUS, SIGABRT};
	struct ca_processor cpu = {.rt = rt, .batch = batch};
	char byte;

	for (size_t i = 0; i < CA_COUNT(defaults); i++)
		signal(defaults[i], i < 4 ? SIG_IGN : SIG_DFL);
	if (!start_processor(&cpu))
		_exit(1);
	ca_processor_answer_libc(&cpu);
	if (!ca_processor_lock_in(pipe))
		_exit(1);
	while (recv(pipe, &byte, 1, 0) == 1) {
		serve_batch(&cpu);
		if (send(pipe, &byte, 1, MSG_NOSIGNAL) != 1)
			break;
	}
	_exit(0);
}
