/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which processes are to be watched: see watch.h. */
#include "private.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	YOUNG_MS = 100, /* a fork that is to start another program has done so by then */
	UNSPARED_MS = 10 * 1000, /* a program may start another name without a new number */
	COMMAND_LINE_BYTES = 16384,
	CGROUPS_DEEP = 16,
};

struct look {
	const struct ca_watch *watch;
	struct ca_proc_row *rows;
	size_t count;
	ca_source_take *take;
	void *arg;
	bool young; /* somebody is */
};

static const struct ca_proc_row *find_row(const struct look *look, int32_t pid)
{
	for (size_t i = 0; i < look->count; i++)
		if (look->rows[i].pid == pid)
			return &look->rows[i];
	return NULL;
}

/* ---- a process and its workers ------------------------------------------------ */

/* Bounded by depth: what is read one by one may seem to be a circle. */
static bool descends_from(const struct look *look, const struct ca_proc_row *row, int32_t ancestor)
{
	for (unsigned depth = 0; row && depth < 64; depth++) {
		if (row->parent == ancestor)
			return true;
		row = find_row(look, row->parent);
	}
	return false;
}

static void take_grown(struct look *look, const struct ca_proc_row *row)
{
	if (ca_proc_age(row) < YOUNG_MS)
		look->young = true;
	else
		look->take(look->arg, row);
}

static void take_family(struct look *look, int32_t pid)
{
	const struct ca_proc_row *master = find_row(look, pid);

	if (!master)
		return;
	look->take(look->arg, master);
	for (size_t i = 0; i < look->count; i++) {
		const struct ca_proc_row *row = &look->rows[i];

		if (descends_from(look, row, pid) && ca_proc_same_program(row->pid, pid))
			take_grown(look, row);
	}
}

static int32_t number_in(const char *path)
{
	char text[32];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	long number;
	char *end;

	if (fd >= 0)
		close(fd);
	if (got <= 0)
		return 0;
	text[got] = '\0';
	number = strtol(text, &end, 10);
	return end != text && (!*end || isspace((unsigned char)*end)) && number > 0 &&
	       number <= INT32_MAX ? (int32_t)number : 0;
}

/* ---- by name -------------------------------------------------------------------- */

/* Ourselves, and what started us: the expression is in their command lines, too. */
static bool is_ours(const struct look *look, const struct ca_proc_row *row)
{
	const struct ca_proc_row *self = find_row(look, getpid());

	if (row->pid == getpid() || row->parent == getpid())
		return true;
	for (unsigned depth = 0; self && depth < 64; depth++) {
		if (self->parent == row->pid)
			return true;
		self = find_row(look, self->parent);
	}
	return false;
}

static void take_named(struct look *look)
{
	char *text = ca_alloc(COMMAND_LINE_BYTES);

	for (size_t i = 0; i < look->count; i++) {
		const struct ca_proc_row *row = &look->rows[i];

		if (!is_ours(look, row) && ca_proc_command_line(row->pid, text, COMMAND_LINE_BYTES) &&
		    !regexec(look->watch->name, text, 0, NULL, 0))
			take_grown(look, row);
	}
	free(text);
}

/* ---- by cgroup --------------------------------------------------------------------- */

static void take_listed(const struct look *look, int folder)
{
	int fd = openat(folder, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	struct ca_proc_row row;
	int pid;

	while (f && fscanf(f, "%d", &pid) == 1)
		if (pid > 0 && pid != getpid() && ca_proc_row(pid, &row) && row.parent != getpid())
			look->take(look->arg, &row);
	if (f)
		fclose(f);
	else if (fd >= 0)
		close(fd);
}

/* A group has a folder for each one below it; their depth is the kernel's to bound, and ours. */
static void take_group(const struct look *look, int folder, unsigned depth)
{
	DIR *entries = fdopendir(folder);
	const struct dirent *entry;

	if (!entries) {
		close(folder);
		return;
	}
	take_listed(look, folder);
	while (depth < CGROUPS_DEEP && (entry = readdir(entries))) {
		if (entry->d_type != DT_DIR || *entry->d_name == '.')
			continue;
		int below = openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (below >= 0)
			take_group(look, below, depth + 1);
	}
	closedir(entries);
}

/* As a folder, or as /proc/PID/cgroup has it. */
static void take_cgroup(const struct look *look)
{
	static const char *const tops[] = { "", "/sys/fs/cgroup", "/sys/fs/cgroup/memory",
					    "/sys/fs/cgroup/unified" };
	char path[4096];

	for (size_t i = 0; i < CA_COUNT(tops); i++) {
		snprintf(path, sizeof(path), "%s%s%s/cgroup.procs", tops[i],
			 i && *look->watch->cgroup != '/' ? "/" : "", look->watch->cgroup);
		if (access(path, R_OK))
			continue;
		*strrchr(path, '/') = '\0';
		int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (folder >= 0)
			take_group(look, folder, 0);
		return;
	}
}

/* ---- the look ------------------------------------------------------------------------ */

bool ca_source_look(struct ca_source *source, bool soon, ca_source_take *take, void *arg)
{
	const struct ca_watch *watch = source->watch;
	struct look look = { .watch = watch, .take = take, .arg = arg };

	if (watch->cgroup) {
		take_cgroup(&look);
		return false;
	}
	/* Without a new process there is nobody new: asked in one read, not in hundreds. */
	uint64_t newest = ca_proc_newest();
	int64_t now = ca_watch_now();

	if (!soon && newest && newest == source->newest && now - source->looked < UNSPARED_MS)
		return false;
	source->newest = newest;
	source->looked = now;
	look.rows = ca_proc_rows(&look.count);
	if (watch->name)
		take_named(&look);
	else
		take_family(&look, watch->pid_file ? number_in(watch->pid_file) : watch->pid);
	free(look.rows);
	return look.young;
}
