/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A program that is not Python and has it inside, as a web server has.
 *
 *   host LIBPYTHON... -- SCRIPT [ARGS...]
 *
 * Runs the script in each library: in the first as a part of itself, in each other
 * one in a namespace of its own. `copy` is the library's number there, from 1. Then
 * it waits for the end of its input.
 *
 *   HOST_ROUNDS=N   the first was started and finalized N times before
 *   HOST_END=1      the first is finalized again before it waits, and says "ended"
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char code[] =
	"copy = %d\n"
	"import sys\n"
	"sys.argv = open('/proc/self/cmdline').read().split('\\0')[:-1]\n"
	"del sys.argv[:sys.argv.index('--') + 1]\n"
	"sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
	"exec(compile(open(sys.argv[0]).read(), sys.argv[0], 'exec'))\n";

static void fail(const char *what)
{
	fprintf(stderr, "host: %s\n", what);
	exit(2);
}

static void *function(void *library, const char *name)
{
	void *at = library ? dlsym(library, name) : NULL;

	if (!at)
		fail(dlerror());
	return at;
}

static void start(void *library)
{
	((void (*)(void))function(library, "Py_Initialize"))();
}

static void finalize(void *library)
{
	((int (*)(void))function(library, "Py_FinalizeEx"))();
}

static void run(void *library, int copy)
{
	char text[sizeof(code) + 16];

	snprintf(text, sizeof(text), code, copy);
	if (((int (*)(const char *))function(library, "PyRun_SimpleString"))(text))
		fail("the script failed");
}

int main(int argc, char **argv)
{
	const char *rounds = getenv("HOST_ROUNDS");
	void *first = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
	char byte;

	for (int n = rounds ? atoi(rounds) : 0; n > 0; n--) {
		start(first);
		finalize(first);
	}
	start(first);
	run(first, 1);
	for (int i = 2; i < argc && strcmp(argv[i], "--"); i++) {
		void *other = dlmopen(LM_ID_NEWLM, argv[i], RTLD_NOW);

		start(other);
		run(other, i);
	}
	if (getenv("HOST_END")) {
		finalize(first);
		puts("ended");
		fflush(stdout);
	}
	while (read(0, &byte, 1) > 0)
		;
	return 0;
}
