/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The files that are kept. Their names tell when and of whom they are, so what an
 * earlier watch has left is counted too. The first file of a process stays as long
 * as others can go: what grew is told by comparing with it.
 */
#include "private.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum {
	NAME_BYTES = 128,
	LOCK_TRIES = 20,
	FLOOR_PART = 32,                /* of the disk's size is left to others, */
	FLOOR_MAX = 1024 * 1024 * 1024, /* but no more than this */
};

#define PART "part"

/* ---- names --------------------------------------------------------------------- */

void ca_shelf_name(int32_t pid, int64_t when, const char *suffix, char *name, size_t bytes)
{
	time_t seconds = (time_t)(when / 1000);
	char date[32];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%Y%m%dT%H%M%S", &tm);
	snprintf(name, bytes, "%s.%03dZ-%d.%s", date, (int)(when % 1000), pid, suffix);
}

/* What a name tells, and where its suffix begins; NULL: it is none of ours. */
static const char *read_name(const char *name, int32_t *pid, int64_t *when)
{
	struct tm tm = { 0 };
	const char *rest = strptime(name, "%Y%m%dT%H%M%S", &tm);
	unsigned ms;
	int end = 0;

	if (!rest || sscanf(rest, ".%3uZ-%d.%n", &ms, pid, &end) != 2 || !end || *pid <= 0)
		return NULL;
	*when = (int64_t)timegm(&tm) * 1000 + ms;
	return rest + end;
}

static bool is_part(const char *suffix)
{
	return !strncmp(suffix, PART, strlen(PART));
}

bool ca_watch_name(const char *name, int32_t *pid, int64_t *when)
{
	static const char *const suffixes[] = { "core", "core.zst", "snapshot", "snapshot.zst" };
	const char *suffix = read_name(name, pid, when);

	for (size_t i = 0; suffix && i < CA_COUNT(suffixes); i++)
		if (!strcmp(suffix, suffixes[i]))
			return true;
	return false;
}

/* ---- what is there ---------------------------------------------------------------- */

static int by_date(const void *a, const void *b)
{
	const struct ca_kept *x = a, *y = b;

	return x->when == y->when ? strcmp(x->name, y->name) : x->when < y->when ? -1 : 1;
}

static void add(struct ca_shelf *shelf, const char *name, int32_t pid, int64_t when)
{
	struct stat st;

	if (fstatat(shelf->folder, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
		return;
	shelf->items = ca_grow(shelf->items, &shelf->capacity, shelf->count + 1, sizeof(*shelf->items));
	shelf->items[shelf->count++] = (struct ca_kept){ ca_strdup(name), pid, when,
							 (uint64_t)st.st_blocks * 512 };
	shelf->bytes += (uint64_t)st.st_blocks * 512;
	qsort(shelf->items, shelf->count, sizeof(*shelf->items), by_date);
}

static bool read_folder(struct ca_shelf *shelf)
{
	DIR *folder = opendir(shelf->watch->directory);
	const struct dirent *entry;
	int32_t pid;
	int64_t when;

	if (!folder)
		return false;
	while ((entry = readdir(folder))) {
		const char *suffix = read_name(entry->d_name, &pid, &when);

		if (suffix && is_part(suffix))
			unlinkat(shelf->folder, entry->d_name, 0);
		else if (ca_watch_name(entry->d_name, &pid, &when))
			add(shelf, entry->d_name, pid, when);
	}
	closedir(folder);
	return true;
}

static struct ca_error *refuse(const struct ca_watch *watch, const char *advice, const char *why)
{
	return ca_error_make(CA_TARGET, "cannot keep files", advice, "%s: %s", watch->directory, why);
}

/* A child of a watch that was killed has it for a moment more. */
static bool take_for_us(int folder)
{
	static const struct timespec moment = { .tv_nsec = 50 * 1000 * 1000 };

	for (unsigned tries = 0; flock(folder, LOCK_EX | LOCK_NB); tries++) {
		if (errno != EWOULDBLOCK || tries == LOCK_TRIES)
			return false;
		nanosleep(&moment, NULL);
	}
	return true;
}

struct ca_error *ca_shelf_open(struct ca_shelf *shelf, const struct ca_watch *watch)
{
	*shelf = (struct ca_shelf){ .watch = watch };
	if (mkdir(watch->directory, 0700) && errno != EEXIST)
		return refuse(watch, "name another directory with -o", strerror(errno));
	shelf->folder = open(watch->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (shelf->folder < 0 || faccessat(shelf->folder, ".", W_OK | X_OK, AT_EACCESS))
		return refuse(watch, "name another directory with -o", strerror(errno));
	if (!take_for_us(shelf->folder))
		return refuse(watch, "name another directory with -o",
			      errno == EWOULDBLOCK ? "another watch keeps its files there" : strerror(errno));
	return read_folder(shelf) ? NULL : refuse(watch, "", strerror(errno));
}

void ca_shelf_close(struct ca_shelf *shelf)
{
	for (size_t i = 0; i < shelf->count; i++)
		free(shelf->items[i].name);
	free(shelf->items);
	if (shelf->folder >= 0)
		close(shelf->folder);
	*shelf = (struct ca_shelf){ .folder = -1 };
}

/* ---- dropping ------------------------------------------------------------------------ */

static void drop(struct ca_shelf *shelf, size_t i, const char *why, ca_shelf_dropped *dropped, void *arg)
{
	struct ca_kept kept = shelf->items[i];

	/* One that cannot be deleted is not counted any more, so that this ends. */
	unlinkat(shelf->folder, kept.name, 0);
	shelf->bytes -= kept.bytes;
	shelf->count--;
	memmove(shelf->items + i, shelf->items + i + 1, (shelf->count - i) * sizeof(*shelf->items));
	dropped(arg, &kept, why);
	free(kept.name);
}

static bool is_first_of_its(const struct ca_shelf *shelf, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (shelf->items[j].pid == shelf->items[i].pid)
			return false;
	return true;
}

/* The oldest that is not the first of its process, else the oldest; never the one at `except`. */
static size_t least_missed(const struct ca_shelf *shelf, size_t except)
{
	for (size_t i = 0; i < shelf->count; i++)
		if (i != except && !is_first_of_its(shelf, i))
			return i;
	return except == 0 && shelf->count > 1 ? 1 : 0;
}

static uint64_t disk_room(const struct ca_shelf *shelf)
{
	struct statvfs fs;

	if (fstatvfs(shelf->folder, &fs))
		return 0;
	uint64_t floor = fs.f_blocks / FLOOR_PART * fs.f_frsize, room = fs.f_bavail * fs.f_frsize;

	if (floor > FLOOR_MAX)
		floor = FLOOR_MAX;
	return room > floor ? room - floor : 0;
}

static uint64_t room_now(const struct ca_shelf *shelf)
{
	uint64_t most = shelf->watch->max_disk, disk = disk_room(shelf);
	uint64_t room = most > shelf->bytes ? most - shelf->bytes : 0;

	return room < disk ? room : disk;
}

/* Nothing is dropped in vain: only when enough can be. */
bool ca_shelf_make_room(struct ca_shelf *shelf, uint64_t bytes, ca_shelf_dropped *dropped, void *arg,
			uint64_t *room)
{
	uint64_t most = shelf->watch->max_disk, disk = disk_room(shelf) + shelf->bytes;

	*room = most < disk ? most : disk;
	if (bytes > *room)
		return false;
	while (shelf->count && room_now(shelf) < bytes)
		drop(shelf, least_missed(shelf, SIZE_MAX), "to make room", dropped, arg);
	return true;
}

/* ---- adding --------------------------------------------------------------------------- */

static size_t find(const struct ca_shelf *shelf, const char *name)
{
	size_t i = 0;

	while (i < shelf->count && strcmp(shelf->items[i].name, name))
		i++;
	return i;
}

/* Since it started: an earlier process may have had its number. */
static bool is_of(const struct ca_kept *kept, const struct ca_owner *owner)
{
	return kept->pid == owner->pid && kept->when >= owner->started_date;
}

/* Which of its files goes first; SIZE_MAX: they are not too many. */
static size_t too_many(const struct ca_shelf *shelf, const struct ca_owner *owner)
{
	size_t places[2] = { 0 }, count = 0;

	for (size_t i = 0; i < shelf->count; i++)
		if (is_of(&shelf->items[i], owner) && ++count <= 2)
			places[count - 1] = i;
	return count > shelf->watch->keep ? places[shelf->watch->keep > 1] : SIZE_MAX;
}

bool ca_shelf_add(struct ca_shelf *shelf, const struct ca_owner *owner, int64_t when,
		  const char *suffix, ca_shelf_dropped *dropped, void *arg, const struct ca_kept **kept)
{
	char name[NAME_BYTES], part[NAME_BYTES];

	ca_shelf_name(owner->pid, when, suffix, name, sizeof(name));
	ca_shelf_name(owner->pid, when, PART, part, sizeof(part));
	if (renameat(shelf->folder, part, shelf->folder, name))
		return false;
	fsync(shelf->folder);
	add(shelf, name, owner->pid, when);
	for (size_t i; (i = too_many(shelf, owner)) != SIZE_MAX;)
		drop(shelf, i, "more than --keep", dropped, arg);
	while (shelf->count > 1 && shelf->bytes > shelf->watch->max_disk)
		drop(shelf, least_missed(shelf, find(shelf, name)), "more than --max-disk", dropped, arg);
	ca_shelf_undo(shelf, owner->pid, when);
	*kept = &shelf->items[find(shelf, name)];
	return true;
}

void ca_shelf_undo(struct ca_shelf *shelf, int32_t pid, int64_t when)
{
	char part[NAME_BYTES];
	DIR *folder = opendir(shelf->watch->directory);
	const struct dirent *entry;

	ca_shelf_name(pid, when, PART, part, sizeof(part));
	while (folder && (entry = readdir(folder)))
		if (!strncmp(entry->d_name, part, strlen(part)))
			unlinkat(shelf->folder, entry->d_name, 0);
	if (folder)
		closedir(folder);
}
