/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How much more memory we may take: what the machine has to give, and what the
 * memory cgroups that we are in leave, each of them up to the root. Linux
 * Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
 */
#include "live.h"

#include <stdio.h>
#include <stdlib.h>

enum { LINE_BYTES = 8192 };

static const struct hierarchy {
	const char *fs, *controller; /* controller "": the one hierarchy of version 2 */
	const char *limits[2], *usage, *reclaimable;
} hierarchies[] = {
	{ "cgroup2", "", { "memory.max", "memory.high" }, "memory.current", "inactive_file" },
	{ "cgroup", "memory", { "memory.limit_in_bytes", NULL }, "memory.usage_in_bytes",
	  "total_inactive_file" },
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
		*value = strtoull(at, &end, 10);
		found = end != at; /* not "max" */
	}
	if (f)
		fclose(f);
	return found;
}

static uint64_t room_in(const struct hierarchy *h, const char *folder)
{
	char path[3 * LINE_BYTES];
	uint64_t limit = UINT64_MAX, value, usage, reclaimable = 0;

	for (size_t i = 0; i < CA_COUNT(h->limits) && h->limits[i]; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, h->limits[i]);
		if (read_value(path, NULL, &value) && value < limit)
			limit = value;
	}
	snprintf(path, sizeof(path), "%s/%s", folder, h->usage);
	if (limit == UINT64_MAX || !read_value(path, NULL, &usage))
		return UINT64_MAX;
	snprintf(path, sizeof(path), "%s/memory.stat", folder);
	read_value(path, h->reclaimable, &reclaimable);
	usage -= reclaimable < usage ? reclaimable : usage;
	return limit > usage ? limit - usage : 0;
}

/* From a group up to the folder where the hierarchy is mounted. */
static uint64_t tightest(const struct hierarchy *h, const char *mount, const char *group)
{
	char folder[2 * LINE_BYTES];
	size_t base = (size_t)snprintf(folder, sizeof(folder), "%s", mount);
	uint64_t room = UINT64_MAX;

	snprintf(folder + base, sizeof(folder) - base, "%s", group);
	for (;;) {
		uint64_t here = room_in(h, folder);
		char *slash = strrchr(folder + base, '/');

		if (here < room)
			room = here;
		if (!slash)
			return room;
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

/* Our group of a hierarchy, as /proc/self/cgroup has it: "4:memory:/path". */
static bool find_group(const char *root, const struct hierarchy *h, char *group)
{
	char path[LINE_BYTES], line[LINE_BYTES], *rest;
	bool found = false;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
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

static uint64_t room_by(const char *root, const struct hierarchy *h)
{
	char path[LINE_BYTES], line[LINE_BYTES], group[LINE_BYTES], mount[2 * LINE_BYTES];
	uint64_t room = UINT64_MAX;

	if (!find_group(root, h, group))
		return room;
	snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		char *top = NULL, *point = NULL;

		if (!is_mount_of(h, line, &top, &point))
			continue;
		size_t above = strcmp(top, "/") ? strlen(top) : 0;
		bool inside = !strncmp(group, top, above) &&
			      (!above || !group[above] || group[above] == '/');

		snprintf(mount, sizeof(mount), "%s%s", root, point);
		room = tightest(h, mount, inside ? group + above : "");
		break;
	}
	if (f)
		fclose(f);
	return room;
}

uint64_t ca_memory_room(const char *root)
{
	char path[LINE_BYTES];
	uint64_t room, kib;

	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	room = read_value(path, "MemAvailable", &kib) ? kib * 1024 : 0;
	for (size_t i = 0; i < CA_COUNT(hierarchies); i++) {
		uint64_t left = room_by(root, &hierarchies[i]);

		if (left < room)
			room = left;
	}
	return room;
}
