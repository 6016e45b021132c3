/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What /proc tells of processes (Linux Documentation/filesystems/proc.rst). */
#include "private.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STAT_BYTES = 1024, STATUS_BYTES = 8192 };

/* What a small file has, ended by a NUL; its length, or -1. */
static ssize_t read_file(int32_t pid, const char *name, char *text, size_t bytes)
{
	char path[64];
	ssize_t got;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	got = read(fd, text, bytes - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got;
}

/* "1234 (a name) S 1 ...": the name may hold anything, so count from its end. */
bool ca_proc_row(int32_t pid, struct ca_proc_row *row)
{
	char text[STAT_BYTES], state;
	const char *end;
	long long parent;
	unsigned long long started;

	if (read_file(pid, "stat", text, sizeof(text)) <= 0 || !(end = strrchr(text, ')')))
		return false;
	if (sscanf(end + 1, " %c %lld %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			    "%*s %llu", &state, &parent, &started) != 3)
		return false;
	*row = (struct ca_proc_row){ pid, (int32_t)parent, started };
	return state != 'Z' && state != 'X';
}

struct ca_proc_row *ca_proc_rows(size_t *count)
{
	struct ca_proc_row *rows = NULL, row;
	size_t capacity = 0;
	DIR *folder = opendir("/proc");
	const struct dirent *entry;

	*count = 0;
	while (folder && (entry = readdir(folder))) {
		if (!isdigit((unsigned char)*entry->d_name) || !ca_proc_row(atoi(entry->d_name), &row))
			continue;
		rows = ca_grow(rows, &capacity, *count + 1, sizeof(*rows));
		rows[(*count)++] = row;
	}
	if (folder)
		closedir(folder);
	return rows;
}

int64_t ca_proc_age(const struct ca_proc_row *row)
{
	struct timespec up;

	clock_gettime(CLOCK_BOOTTIME, &up);
	return (int64_t)up.tv_sec * 1000 + up.tv_nsec / 1000000 -
	       (int64_t)(row->started * 1000 / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t ca_proc_newest(void)
{
	unsigned long long newest = 0;
	FILE *f = fopen("/proc/loadavg", "re");

	if (f && fscanf(f, "%*s %*s %*s %*s %llu", &newest) != 1)
		newest = 0;
	if (f)
		fclose(f);
	return newest;
}

bool ca_proc_command_line(int32_t pid, char *text, size_t bytes)
{
	ssize_t got = read_file(pid, "cmdline", text, bytes);

	if (got <= 0)
		return false; /* a kernel thread, or gone */
	while (got > 0 && !text[got - 1])
		got--;
	for (ssize_t i = 0; i < got; i++)
		text[i] = text[i] ? text[i] : ' ';
	return true;
}

bool ca_proc_same_program(int32_t a, int32_t b)
{
	char path[2][32];
	struct stat st[2];

	snprintf(path[0], sizeof(path[0]), "/proc/%d/exe", a);
	snprintf(path[1], sizeof(path[1]), "/proc/%d/exe", b);
	return !stat(path[0], &st[0]) && !stat(path[1], &st[1]) && st[0].st_dev == st[1].st_dev &&
	       st[0].st_ino == st[1].st_ino;
}

bool ca_proc_resident(int statm, uint64_t *bytes)
{
	char text[256];
	unsigned long long pages;
	ssize_t got = pread(statm, text, sizeof(text) - 1, 0);

	if (got <= 0)
		return false;
	text[got] = '\0';
	if (sscanf(text, "%*s %llu", &pages) != 1)
		return false;
	if (pages)
		*bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}

uint64_t ca_proc_private(int32_t pid)
{
	static const char *const keys[] = { "\nRssAnon:", "\nRssShmem:", "\nVmSwap:" };
	char text[STATUS_BYTES];
	uint64_t kib = 0;

	if (read_file(pid, "status", text, sizeof(text)) <= 0)
		return 0;
	for (size_t i = 0; i < CA_COUNT(keys); i++) {
		const char *at = strstr(text, keys[i]);

		if (at)
			kib += strtoull(at + strlen(keys[i]), NULL, 10);
	}
	return kib * 1024;
}
