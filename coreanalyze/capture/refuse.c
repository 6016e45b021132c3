/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What speaks against a fork. A process that a copy of it would hurt, or that would
 * hurt itself by running a call of ours, is refused before anything is touched.
 */
#include "fork.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ADVICE "without --fork it is copied while it stands still, which needs none of this"

enum {
	HEADROOM_PERCENT = 110, /* of what is resident */
	FLOOR_PART = 20,	/* of a limit */
};

/* "key: 123 kB" in text; absent where it has none. */
static uint64_t number_of(const char *text, const char *key, uint64_t absent)
{
	char line[64];

	snprintf(line, sizeof(line), "\n%s:", key);
	const char *at = text ? strstr(text, line) : NULL;

	return at ? strtoull(at + strlen(line), NULL, 10) : absent;
}

static char *read_meminfo(void)
{
	size_t size;

	return ca_proc_read(AT_FDCWD, "/proc/meminfo", &size);
}

static struct ca_error *refuse(const char *why)
{
	return ca_error_make(CA_TARGET, "cannot fork this process", ADVICE, "%s", why);
}

/* ---- memory --------------------------------------------------------------------- */

struct headroom {
	uint64_t resident, needed;
	struct ca_error *err;
};

static struct ca_error *refuse_memory(const struct headroom *of, uint64_t room, const char *where)
{
	char needs[32], resident[32], left[32];

	ca_format_size(needs, sizeof(needs), of->needed);
	ca_format_size(resident, sizeof(resident), of->resident);
	ca_format_size(left, sizeof(left), room);
	return ca_error_make(CA_TARGET, "cannot fork this process", ADVICE,
			     "if it writes all over its memory while the copy lives, that grows by "
			     "%s (%llu bytes, 1.1 times the %s that are resident); %s leaves %s "
			     "(%llu bytes)",
			     needs, (unsigned long long)of->needed, resident, where, left,
			     (unsigned long long)room);
}

static bool weigh_group(void *arg, const struct ca_memory_group *group)
{
	struct headroom *of = arg;
	uint64_t limit = group->limit < group->high ? group->limit : group->high;
	uint64_t used = ca_memory_group_used(group), room = limit > used ? limit - used : 0;
	char where[1024];

	if (limit == UINT64_MAX || room >= of->needed)
		return true;
	snprintf(where, sizeof(where), "its cgroup %.900s", group->folder);
	of->err = refuse_memory(of, room, where);
	return false;
}

static struct ca_error *check_memory(const struct ca_view *view, const char *status)
{
	struct headroom of = { .resident = number_of(status, "VmRSS", 0) * 1024 };
	char *meminfo = read_meminfo();
	uint64_t machine = number_of(meminfo, "MemAvailable", 0) * 1024;

	free(meminfo);
	of.needed = of.resident / 100 * HEADROOM_PERCENT;
	if (machine < of.needed)
		return refuse_memory(&of, machine, "the machine");
	ca_memory_groups("", view->pid, weigh_group, &of);
	return of.err;
}

static bool is_group_short(void *arg, const struct ca_memory_group *group)
{
	uint64_t limit = group->limit, used = ca_memory_group_used(group);

	if (limit != UINT64_MAX && (used > limit || limit - used < limit / FLOOR_PART))
		*(bool *)arg = true;
	return !*(bool *)arg;
}

bool ca_fork_is_short(int32_t pid)
{
	char *meminfo = read_meminfo();
	/* Its first line is MemTotal. */
	const char *digits = meminfo ? meminfo + strcspn(meminfo, "0123456789") : "0";
	uint64_t total = strtoull(digits, NULL, 10);
	bool is_short = number_of(meminfo, "MemAvailable", total) < total / FLOOR_PART;

	free(meminfo);
	ca_memory_groups("", pid, is_group_short, &is_short);
	return is_short;
}

static struct ca_error *check_overcommit(void)
{
	size_t size;
	char *text = ca_proc_read(AT_FDCWD, "/proc/sys/vm/overcommit_memory", &size);
	bool strict = text && *text == '2';

	free(text);
	return strict ? refuse("vm.overcommit_memory is 2: a copy counts as if all of it were written")
		      : NULL;
}

/* ---- what it is ------------------------------------------------------------------ */

/* Of a thread, by its status. */
static const char *thread_obstacle(const char *status)
{
	const char *features = strstr(status, "\nx86_Thread_features:");
	const char *end = features ? strchr(features + 1, '\n') : NULL;
	const char *shadow = features ? strstr(features, "shstk") : NULL;

	if (number_of(status, "Seccomp", 0))
		return "a thread of it has a seccomp filter, which may kill it for a call of ours";
	if (shadow && (!end || shadow < end))
		return "a thread of it has a shadow stack, which our return through it would break";
	return NULL;
}

static struct ca_error *check_threads(const struct ca_view *view)
{
	int fd = openat(view->proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	const char *obstacle = NULL;
	const struct dirent *entry;

	while (folder && !obstacle && (entry = readdir(folder))) {
		char name[300];
		size_t size;

		snprintf(name, sizeof(name), "task/%s/status", entry->d_name);
		char *status = *entry->d_name == '.' ? NULL : ca_proc_read(view->proc, name, &size);

		if (status)
			obstacle = thread_obstacle(status);
		free(status);
	}
	if (folder)
		closedir(folder);
	return obstacle ? refuse(obstacle) : NULL;
}

static struct ca_error *check_status(const char *status)
{
	const char *state = strstr(status, "\nState:\t");

	if (state && (state[8] == 'T' || state[8] == 't'))
		return refuse("it is stopped (SIGSTOP), and a call of ours would let it go on");
	if (number_of(status, "VmPin", 0))
		return refuse("it has pinned pages (io_uring, RDMA), which a fork copies at once");
	if (number_of(status, "VmLck", 0))
		return refuse("it has locked its memory (mlock), and would wait for each page that it "
			      "writes while the copy lives");
	return NULL;
}

static struct ca_error *check_mappings(const struct ca_vmas *vmas)
{
	static const struct {
		uint32_t trait;
		const char *why;
	} traits[] = {
		{ CA_VMA_USERFAULT, "it uses a userfaultfd, which may wait for whoever serves that" },
		{ CA_VMA_DEVICE, "it has memory of a device mapped, whose driver a fork concerns" },
		{ CA_VMA_SHADOW_STACK, "it has a shadow stack, which our return through it would break" },
	};

	for (size_t i = 0; i < vmas->count; i++) {
		const struct ca_vma *vma = &vmas->items[i];

		if (vma->traits & CA_VMA_HUGETLB && !vma->shared)
			return refuse("it has private huge pages (hugetlb), whose pool may have none "
				      "left when it writes to one");
		/* Of the kernel's own, as the vDSO is. */
		if (!strncmp(vma->path, "[v", 2))
			continue;
		for (size_t k = 0; k < CA_COUNT(traits); k++)
			if (vma->traits & traits[k].trait)
				return refuse(traits[k].why);
	}
	return NULL;
}

static struct ca_error *check_namespace(const struct ca_view *view)
{
	char own[64] = "", children[64] = "";

	/* A new one cannot be read until it has a process. */
	if (readlinkat(view->proc, "ns/pid", own, sizeof(own) - 1) > 0 &&
	    (readlinkat(view->proc, "ns/pid_for_children", children, sizeof(children) - 1) <= 0 ||
	     strcmp(own, children)))
		return refuse("its next child is the first process of a new PID namespace, which ends "
			      "with it");
	return NULL;
}

/* ---- the whole ------------------------------------------------------------------- */

struct ca_error *ca_fork_check(const struct ca_view *view, const struct ca_vmas *vmas)
{
	size_t size;
	char *status = ca_proc_read(view->proc, "status", &size);

	if (!status)
		return ca_process_refuse("", "it ended");
	struct ca_error *err = check_status(status);

	if (!err)
		err = check_threads(view);
	if (!err)
		err = check_mappings(vmas);
	if (!err)
		err = check_namespace(view);
	if (!err)
		err = check_overcommit();
	if (!err)
		err = check_memory(view, status);
	free(status);
	return err;
}
