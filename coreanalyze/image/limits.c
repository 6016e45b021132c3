/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How much more memory a process may take: what the machine has to give, and what
 * the memory cgroups that it is in leave, each of them up to the root. Linux
 * Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
 */
#include "image.h"

#include <stdio.h>
#include <stdlib.h>

enum { LINE_BYTES = 8192 };

/* Version 1 tells that there is no limit by this one, rounded down to a page. */
#define NO_LIMIT (UINT64_C(0x7fffffffffffffff) / 65536 * 65536)

/* In the order of their versions, the newer one first. */
static const struct hierarchy {
	const char *fs, *controller; /* controller "": the one hierarchy of version 2 */
	const char *limit, *high, *usage, *cached, *events;
} hierarchies[] = {
	{ "cgroup2", "", "memory.max", "memory.high", "memory.current", "inactive_file",
	  "memory.events" },
	{ "cgroup", "memory", "memory.limit_in_bytes", "", "memory.usage_in_bytes",
	  "total_inactive_file", "memory.oom_control" },
};

/* "key value" or "key: value" in a file; a file of one number has key NULL. */
static bool read_value(const char *path, const char *key, uint64_t *value)
{
	char line[LINE_BYTES];
	FILE *f = fopen(path, "re");
	bool found = false;
	size_t length = key ? strlen(key) : 0;

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *at = line + length, *end;

		if (key && (strncmp(line, key, length) || (*at != ':' && *at != ' ')))
			continue;
		if (*at == ':')
			at++;
		uint64_t number = strtoull(at, &end, 10);

		found = end != at; /* not "max" */
		if (found)
			*value = number;
	}
	if (f)
		fclose(f);
	return found;
}

static bool read_machine(struct ca_memory_group *group)
{
	char path[2 * LINE_BYTES];
	uint64_t total, available;

	snprintf(path, sizeof(path), "%s/proc/meminfo", group->folder);
	if (!read_value(path, "MemTotal", &total) || !read_value(path, "MemAvailable", &available))
		return false;
	group->limit = total * 1024;
	group->high = UINT64_MAX;
	group->usage = total > available ? (total - available) * 1024 : 0;
	group->cached = group->kills = 0;
	return true;
}

bool ca_memory_group_read(struct ca_memory_group *group)
{
	if (!group->version)
		return read_machine(group);

	const struct hierarchy *h = &hierarchies[group->version == 1];
	char path[3 * LINE_BYTES];

	group->limit = group->high = UINT64_MAX;
	group->cached = group->kills = 0;
	snprintf(path, sizeof(path), "%s/%s", group->folder, h->limit);
	read_value(path, NULL, &group->limit);
	if (group->limit >= NO_LIMIT)
		group->limit = UINT64_MAX;
	snprintf(path, sizeof(path), "%s/%s", group->folder, h->high);
	if (*h->high)
		read_value(path, NULL, &group->high);
	snprintf(path, sizeof(path), "%s/memory.stat", group->folder);
	read_value(path, h->cached, &group->cached);
	snprintf(path, sizeof(path), "%s/%s", group->folder, h->events);
	read_value(path, "oom_kill", &group->kills);
	snprintf(path, sizeof(path), "%s/%s", group->folder, h->usage);
	return read_value(path, NULL, &group->usage);
}

uint64_t ca_memory_group_used(const struct ca_memory_group *group)
{
	return group->usage > group->cached ? group->usage - group->cached : 0;
}

/* From a group up to the folder where the hierarchy is mounted. */
static bool climb(unsigned version, const char *mount, const char *path,
		  ca_memory_group_take *take, void *arg)
{
	char folder[2 * LINE_BYTES];
	size_t base = (size_t)snprintf(folder, sizeof(folder), "%s", mount);

	snprintf(folder + base, sizeof(folder) - base, "%s", path);
	for (;;) {
		struct ca_memory_group group = { .folder = folder, .version = version };
		char *slash = strrchr(folder + base, '/');

		if (ca_memory_group_read(&group) && !take(arg, &group))
			return false;
		if (!slash)
			return true;
		*slash = '\0';
	}
}

/* Whether a list "a,b,c" has word in it. */
static bool lists(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (; list; list = strchr(list, ',')) {
		list += *list == ',';
		if (!strncmp(list, word, length) && (list[length] == ',' || !list[length]))
			return true;
	}
	return false;
}

/* The process's group of a hierarchy, as its cgroup file has it: "4:memory:/path". */
static bool find_group(const char *proc, const struct hierarchy *h, char *group)
{
	char path[2 * LINE_BYTES], line[LINE_BYTES], *rest;
	bool found = false;

	snprintf(path, sizeof(path), "%s/cgroup", proc);
	FILE *f = fopen(path, "re");

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;

		if (!at)
			continue;
		*at++ = '\0';
		rest = strchr(at, '\n');
		if (rest)
			*rest = '\0';
		found = *h->controller ? lists(names + 1, h->controller) : !names[1];
		if (found)
			strcpy(group, at);
	}
	if (f)
		fclose(f);
	return found;
}

/*
 * "36 35 98:0 /root /mount options ... - type source options": where the
 * hierarchy is mounted, and which group of it is on top there.
 */
static bool is_mount_of(const struct hierarchy *h, char *line, char **top, char **mount)
{
	char *save = NULL, *field = strtok_r(line, " \n", &save), *type = NULL, *options = NULL;

	for (int i = 0; field; i++, field = strtok_r(NULL, " \n", &save)) {
		if (i == 3)
			*top = field;
		else if (i == 4)
			*mount = field;
		else if (i > 4 && !strcmp(field, "-")) {
			type = strtok_r(NULL, " \n", &save);
			strtok_r(NULL, " \n", &save);
			options = strtok_r(NULL, " \n", &save);
			break;
		}
	}
	return options && !strcmp(type, h->fs) && (!*h->controller || lists(options, h->controller));
}

/* Whether a path is at or below top; what follows it is in *below. */
static bool is_below(const char *path, const char *top, const char **below)
{
	size_t length = strcmp(top, "/") ? strlen(top) : 0;

	*below = path + length;
	return !strncmp(path, top, length) && (!**below || **below == '/') &&
	       strncmp(*below, "/..", 3) != 0;
}

/* How a process sees the cgroup file systems: its mountinfo, and its root. */
struct view {
	char proc[LINE_BYTES / 2], root[LINE_BYTES / 2];
};

/*
 * The folder of a group in a view; false when it is not to be seen there. A
 * group of our own that we do not see is below what we see: `ours`.
 */
static bool find_folder(const struct hierarchy *h, const struct view *view, const char *group,
			bool ours, char *mount, const char **below)
{
	char path[2 * LINE_BYTES], line[LINE_BYTES];
	bool found = false;

	snprintf(path, sizeof(path), "%s/mountinfo", view->proc);
	FILE *f = fopen(path, "re");

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *top = NULL, *point = NULL;

		if (!is_mount_of(h, line, &top, &point))
			continue;
		found = is_below(group, top, below);
		if (!found && ours) {
			*below = "";
			found = true;
		}
		snprintf(mount, 2 * LINE_BYTES, "%s%s", view->root, point);
	}
	if (f)
		fclose(f);
	return found;
}

/* A process's group of a hierarchy: where that is mounted, and the path below. */
struct place {
	char mount[2 * LINE_BYTES], group[LINE_BYTES];
	const char *below;
};

static bool find_place(const char *root, int32_t pid, const struct hierarchy *h, struct place *place)
{
	struct view our, its;

	snprintf(our.proc, sizeof(our.proc), "%s/proc/self", root);
	snprintf(our.root, sizeof(our.root), "%s", root);
	if (!pid)
		return find_group(our.proc, h, place->group) &&
		       find_folder(h, &our, place->group, true, place->mount, &place->below);
	snprintf(its.proc, sizeof(its.proc), "%s/proc/%d", root, pid);
	snprintf(its.root, sizeof(its.root), "%s/proc/%d/root", root, pid);
	/* In another container it sees its group where we do not. */
	return find_group(its.proc, h, place->group) &&
	       (find_folder(h, &our, place->group, false, place->mount, &place->below) ||
		find_folder(h, &its, place->group, false, place->mount, &place->below));
}

void ca_memory_groups(const char *root, int32_t pid, ca_memory_group_take *take, void *arg)
{
	struct place place;

	for (size_t i = 0; i < CA_COUNT(hierarchies); i++)
		if (find_place(root, pid, &hierarchies[i], &place) &&
		    !climb(2 - (unsigned)i, place.mount, place.below, take, arg))
			return;
}

bool ca_memory_group_folder(const char *root, int32_t pid, char *folder, size_t bytes)
{
	struct place place;

	return find_place(root, pid, &hierarchies[0], &place) &&
	       (size_t)snprintf(folder, bytes, "%s%s", place.mount, place.below) < bytes;
}

static bool take_room(void *arg, const struct ca_memory_group *group)
{
	uint64_t limit = group->limit < group->high ? group->limit : group->high;
	uint64_t used = ca_memory_group_used(group), *room = arg;
	uint64_t left = limit > used ? limit - used : 0;

	if (limit != UINT64_MAX && left < *room)
		*room = left;
	return true;
}

uint64_t ca_memory_room(const char *root)
{
	char path[LINE_BYTES];
	uint64_t room, kib;

	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	room = read_value(path, "MemAvailable", &kib) ? kib * 1024 : 0;
	ca_memory_groups(root, 0, take_room, &room);
	return room;
}
