/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whose types are CPython's own, and whose an extension's. */
#include <stdlib.h>

#include "kind.h"

/*
 * What stands before the first dot of a tp_name in CPython and its standard library, 3.8 to 3.15
 * (from all types of all its modules). Sorted.
 */
static const char *const modules[] = {
	"_abc", "_ast", "_asyncio", "_bisect", "_blake2", "_bz2", "_codecs", "_collections",
	"_contextvars", "_crypt", "_csv", "_ctypes", "_curses", "_curses_panel", "_datetime",
	"_dbm", "_decimal", "_elementtree", "_functools", "_gdbm", "_hashlib", "_heapq", "_hmac",
	"_interpchannels", "_interpqueues", "_interpreters", "_io", "_json", "_locale", "_lsprof",
	"_lzma", "_md5", "_multibytecodec", "_multiprocessing", "_opcode", "_operator",
	"_osx_support", "_pickle", "_posixshmem", "_posixsubprocess", "_queue", "_random",
	"_remote_debugging", "_sha1", "_sha2", "_sha256", "_sha3", "_sha512", "_signal",
	"_socket", "_sqlite3", "_sre", "_ssl", "_stat", "_statistics", "_struct", "_symtable",
	"_thread", "_tkinter", "_tokenize", "_tracemalloc", "_typing", "_uuid", "_weakref",
	"_xxinterpchannels", "_xxsubinterpreters", "_zoneinfo", "_zstd", "array", "ast",
	"asyncio", "atexit", "audioop", "binascii", "builtins", "bz2", "cmath", "collections",
	"compression", "concurrent", "contextvars", "csv", "ctypes", "curses", "datetime", "dbm",
	"decimal", "errno", "faulthandler", "fcntl", "functools", "gc", "grp", "hashlib",
	"interpreters", "io", "itertools", "json", "lzma", "marshal", "math", "mmap",
	"monitoring", "nis", "operator", "os", "ossaudiodev", "parser", "pickle", "posix", "pwd",
	"pyexpat", "queue", "random", "re", "readline", "resource", "select", "signal", "socket",
	"spwd", "sqlite3", "ssl", "string", "struct", "symtable", "sys", "syslog", "termios",
	"threading", "time", "types", "typing", "unicodedata", "weakref", "xml", "xxlimited",
	"zipimport", "zlib", "zoneinfo",
};

static int order(const void *key, const void *item)
{
	return strcmp(key, *(const char *const *)item);
}

bool ca_is_stdlib_type(const char *tp_name)
{
	enum { LONGEST = 32 };
	const char *dot = strchr(tp_name, '.');
	char module[LONGEST];

	if (!dot)
		return true;
	if (dot - tp_name >= LONGEST)
		return false;
	memcpy(module, tp_name, (size_t)(dot - tp_name));
	module[dot - tp_name] = 0;
	return bsearch(module, modules, CA_COUNT(modules), sizeof(*modules), order);
}
