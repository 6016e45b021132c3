/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The loader binds libc's mem* and str* to routines for AVX, which the emulator
 * lacks. Where a module's slot for one of these names leads, we answer instead.
 */
#include <stdlib.h>

#include "emulated.h"

/* Guest memory in pieces: pages are mapped when they are first asked for. */
static bool copy_from(struct ca_processor *cpu, ca_addr addr, uint8_t *to, uint64_t bytes)
{
	while (bytes) {
		uint64_t left = CA_EMULATED_PAGE - addr % CA_EMULATED_PAGE, piece = bytes < left ? bytes : left;

		if (uc_mem_read(cpu->uc, addr, to, piece) != UC_ERR_OK &&
		    (!ca_processor_map(cpu, addr) || uc_mem_read(cpu->uc, addr, to, piece) != UC_ERR_OK))
			return false;
		addr += piece;
		to += piece;
		bytes -= piece;
	}
	return true;
}

static bool copy_to(struct ca_processor *cpu, ca_addr addr, const uint8_t *from, uint64_t bytes)
{
	uint8_t unused;

	for (uint64_t piece; bytes; addr += piece, from += piece, bytes -= piece) {
		uint64_t left = CA_EMULATED_PAGE - addr % CA_EMULATED_PAGE;

		piece = bytes < left ? bytes : left;
		if (!copy_from(cpu, addr, &unused, 1) ||
		    uc_mem_write(cpu->uc, addr, from, piece) != UC_ERR_OK)
			return false;
	}
	return true;
}

/* A routine's arguments; false when it touches what is not there. */
typedef bool routine_run(struct ca_processor *cpu, uint64_t a, uint64_t b, uint64_t n, uint64_t *result);

static bool run_memcmp(struct ca_processor *cpu, uint64_t a, uint64_t b, uint64_t n, uint64_t *result)
{
	uint8_t x[256], y[256];
	int order = 0;

	while (n && !order) {
		uint64_t piece = n < sizeof(x) ? n : sizeof(x);

		if (!copy_from(cpu, a, x, piece) || !copy_from(cpu, b, y, piece))
			return false;
		order = memcmp(x, y, piece);
		a += piece;
		b += piece;
		n -= piece;
	}
	*result = (uint64_t)(int64_t)order;
	return true;
}

/* memmove() too: the piece at hand is the whole. */
static bool run_memcpy(struct ca_processor *cpu, uint64_t to, uint64_t from, uint64_t n, uint64_t *result)
{
	enum { MOST = 1 << 24 };
	uint8_t *bytes = n <= MOST ? malloc(n + 1) : NULL;
	bool good = bytes && copy_from(cpu, from, bytes, n) && copy_to(cpu, to, bytes, n);

	free(bytes);
	*result = to;
	return good;
}

static bool run_memset(struct ca_processor *cpu, uint64_t to, uint64_t value, uint64_t n,
		       uint64_t *result)
{
	uint8_t bytes[256];

	*result = to;
	memset(bytes, (int)(uint8_t)value, sizeof(bytes));
	for (uint64_t piece; n; to += piece, n -= piece) {
		piece = n < sizeof(bytes) ? n : sizeof(bytes);
		if (!copy_to(cpu, to, bytes, piece))
			return false;
	}
	return true;
}

static bool run_strlen(struct ca_processor *cpu, uint64_t text, uint64_t b, uint64_t n, uint64_t *result)
{
	enum { MOST = 1 << 24 };
	uint8_t byte = 1;

	(void)b;
	(void)n;
	for (*result = 0; *result < MOST; ++*result) {
		if (!copy_from(cpu, text + *result, &byte, 1))
			return false;
		if (!byte)
			return true;
	}
	return false;
}

static bool run_strcmp(struct ca_processor *cpu, uint64_t a, uint64_t b, uint64_t n, uint64_t *result)
{
	enum { MOST = 1 << 24 };
	uint8_t x, y;

	(void)n;
	for (uint64_t i = 0; i < MOST; i++) {
		if (!copy_from(cpu, a + i, &x, 1) || !copy_from(cpu, b + i, &y, 1))
			return false;
		*result = (uint64_t)(int64_t)(x - y);
		if (x != y || !x)
			return true;
	}
	return false;
}

static const struct {
	const char *name;
	routine_run *run;
} routines[] = {
	{"memcmp", run_memcmp}, {"memcpy", run_memcpy}, {"memmove", run_memcpy},
	{"memset", run_memset}, {"strlen", run_strlen}, {"strcmp", run_strcmp},
};

static void on_routine(uc_engine *uc, uint64_t addr, uint32_t size, void *arg)
{
	struct ca_processor *cpu = arg;
	const uint64_t *index = ca_map_find(&cpu->routines, addr);
	uint64_t a, b, n, sp, back, result = 0;

	(void)size;
	uc_reg_read(uc, UC_X86_REG_RDI, &a);
	uc_reg_read(uc, UC_X86_REG_RSI, &b);
	uc_reg_read(uc, UC_X86_REG_RDX, &n);
	uc_reg_read(uc, UC_X86_REG_RSP, &sp);
	if (!index || !copy_from(cpu, sp, (uint8_t *)&back, sizeof(back)) ||
	    !routines[*index].run(cpu, a, b, n, &result)) {
		cpu->wanders = true;
		uc_emu_stop(uc);
		return;
	}
	sp += 8;
	uc_reg_write(uc, UC_X86_REG_RAX, &result);
	uc_reg_write(uc, UC_X86_REG_RSP, &sp);
	uc_reg_write(uc, UC_X86_REG_RIP, &back);
}

/* Where the loader resolved a name to, some module's slot says. */
static void add_routine(void *arg, const char *name, ca_addr value)
{
	struct ca_processor *cpu = arg;
	uc_hook hook;
	bool fresh;

	for (size_t i = 0; i < CA_COUNT(routines); i++) {
		if (strcmp(routines[i].name, name) != 0)
			continue;

		uint64_t *index = ca_map_add(&cpu->routines, value, &fresh);

		if (fresh)
			uc_hook_add(cpu->uc, &hook, UC_HOOK_CODE, (void *)on_routine, cpu, value, value);
		*index = i;
	}
}

void ca_processor_answer_libc(struct ca_processor *cpu)
{
	const struct ca_image *image = cpu->rt->image;

	for (size_t i = 0; i < image->module_count; i++)
		ca_module_imports(&image->modules[i], add_routine, cpu);
}
