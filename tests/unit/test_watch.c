/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a watch goes by: thresholds, files' names, what is kept, groups of version 2. */
#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../coreanalyze/watch/private.h"

/* ---- thresholds ------------------------------------------------------------------ */

static void test_threshold__again_with_each_step(void)
{
	uint64_t last = 0;

	CU_ASSERT_EQUAL(ca_threshold_distance(100, 5, 40, &last), 60);
	CU_ASSERT_EQUAL(ca_threshold_distance(100, 5, 99, &last), 1);
	CU_ASSERT_EQUAL(ca_threshold_distance(100, 5, 101, &last), 0);
	CU_ASSERT_EQUAL(ca_threshold_distance(100, 5, 101, &last), 5);
	CU_ASSERT_EQUAL(ca_threshold_distance(100, 5, 120, &last), 0);
	CU_ASSERT_EQUAL(ca_threshold_distance(100, 5, 118, &last), 7);
	/* Just below it is no new beginning; well below it is. */
	CU_ASSERT_EQUAL(ca_threshold_distance(100, 5, 96, &last), 29);
	CU_ASSERT_EQUAL(ca_threshold_distance(100, 5, 94, &last), 6);
	CU_ASSERT_EQUAL(ca_threshold_distance(100, 5, 100, &last), 0);
}

static void test_patience__in_bounds(void)
{
	CU_ASSERT_EQUAL(ca_watch_patience(0), 100);
	CU_ASSERT_EQUAL(ca_watch_patience(UINT64_C(256) << 20), 1024);
	CU_ASSERT_EQUAL(ca_watch_patience(UINT64_MAX), 2000);
}

/* ---- names ------------------------------------------------------------------------- */

static void test_name__there_and_back(void)
{
	char name[128];
	int32_t pid = 0;
	int64_t when = 0;

	ca_shelf_name(1234, 1795810263007, "core", name, sizeof(name));
	CU_ASSERT_STRING_EQUAL(name, "20261127T201103.007Z-1234.core");
	CU_ASSERT_TRUE(ca_watch_name(name, &pid, &when));
	CU_ASSERT_EQUAL(pid, 1234);
	CU_ASSERT_EQUAL(when, 1795810263007);
}

static void test_name__none_of_ours(void)
{
	static const char *const names[] = {
		"", ".", "core", "core.1234", "20261127T201103", "20261127T201103.007Z-1234.",
		"20261127T201103.007Z-1234.part", "20261127T201103.007Z-1234.core.part",
		"20261127T201103.007Z-0.core", "20261127T201103.007Z--1.core", "20261127T201103.007Z-1234.cores",
		"20261327T201103.007Z-1234.core", "20261127T201103Z-1234.core", "x20261127T201103.007Z-1234.core",
		"20261127T201103.007Z-1234.core ", "20261127T201103.007Z-99999999999999999999.core",
	};
	int32_t pid;
	int64_t when;

	for (size_t i = 0; i < CA_COUNT(names); i++)
		CU_ASSERT_FALSE(ca_watch_name(names[i], &pid, &when));
}

/* ---- what is kept ------------------------------------------------------------------- */

struct place {
	char folder[64];
	struct ca_watch watch;
	struct ca_shelf shelf;
	char dropped[1024];
};

static void put(const struct place *place, const char *name, size_t blocks)
{
	char path[256], page[4096];

	memset(page, 'x', sizeof(page));
	snprintf(path, sizeof(path), "%s/%s", place->folder, name);
	FILE *f = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (size_t i = 0; i < blocks; i++)
		fwrite(page, sizeof(page), 1, f);
	fclose(f);
}

static void put_file(const struct place *place, int32_t pid, int64_t when, const char *suffix)
{
	char name[128];

	ca_shelf_name(pid, when, suffix, name, sizeof(name));
	put(place, name, 4); /* 16 KiB */
}

static bool is_there(const struct place *place, const char *name)
{
	return faccessat(place->shelf.folder, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void make_place(struct place *place, unsigned keep, uint64_t max_disk)
{
	*place = (struct place){ .watch = { .keep = keep, .max_disk = max_disk } };
	strcpy(place->folder, "/var/tmp/test-watch-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(place->folder));
	place->watch.directory = place->folder;
}

static void open_place(struct place *place)
{
	CU_ASSERT_PTR_NULL_FATAL(ca_shelf_open(&place->shelf, &place->watch));
}

static void remove_place(struct place *place)
{
	char command[128];

	ca_shelf_close(&place->shelf);
	snprintf(command, sizeof(command), "rm -r %s", place->folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void note_dropped(void *arg, const struct ca_kept *kept, const char *why)
{
	struct place *place = arg;
	size_t length = strlen(place->dropped);

	snprintf(place->dropped + length, sizeof(place->dropped) - length, "%d@%lld ", kept->pid,
		 (long long)kept->when);
	CU_ASSERT_TRUE(*why != '\0');
}

static void add_file(struct place *place, int32_t pid, int64_t started, int64_t when)
{
	const struct ca_owner owner = { pid, started };
	const struct ca_kept *kept = NULL;

	put_file(place, pid, when, "part");
	CU_ASSERT_TRUE(ca_shelf_add(&place->shelf, &owner, when, "core", note_dropped, place, &kept));
	CU_ASSERT_EQUAL(kept->when, when);
	CU_ASSERT_EQUAL(kept->bytes, 16384);
}

static void test_shelf__takes_in_what_is_there(void)
{
	struct place place;
	char part[128], core[128];

	make_place(&place, 10, 1 << 20);
	put_file(&place, 1, 1000, "core");
	put_file(&place, 1, 2000, "core.zst");
	put_file(&place, 1, 3000, "part");
	put_file(&place, 1, 3000, "part.ab12cd");
	put(&place, "notes.txt", 1);
	ca_shelf_name(2, 4000, "core", core, sizeof(core));
	open_place(&place);
	CU_ASSERT_EQUAL(symlinkat("notes.txt", place.shelf.folder, core), 0);
	CU_ASSERT_EQUAL(place.shelf.count, 2);
	CU_ASSERT_EQUAL(place.shelf.bytes, 2 * 16384);
	ca_shelf_name(1, 3000, "part", part, sizeof(part));
	CU_ASSERT_FALSE(is_there(&place, part));
	strcat(part, ".ab12cd");
	CU_ASSERT_FALSE(is_there(&place, part));
	CU_ASSERT_TRUE(is_there(&place, "notes.txt"));
	ca_shelf_close(&place.shelf);
	open_place(&place);
	CU_ASSERT_EQUAL(place.shelf.count, 2); /* a link is no file of ours */
	CU_ASSERT_TRUE(is_there(&place, core));
	remove_place(&place);
}

/* Its first and its newest, whatever others and an earlier process of its number have. */
static void test_shelf__keeps_so_many(void)
{
	struct place place;

	make_place(&place, 3, 1 << 20);
	put_file(&place, 7, 1000, "core");
	open_place(&place);
	for (int64_t when = 11000; when <= 15000; when += 1000)
		add_file(&place, 7, 10000, when);
	add_file(&place, 8, 10000, 12500);
	CU_ASSERT_STRING_EQUAL(place.dropped, "7@12000 7@13000 ");
	CU_ASSERT_EQUAL(place.shelf.count, 5);
	remove_place(&place);

	make_place(&place, 1, 1 << 20);
	open_place(&place);
	add_file(&place, 7, 0, 1000);
	add_file(&place, 7, 0, 2000);
	CU_ASSERT_STRING_EQUAL(place.dropped, "7@1000 ");
	remove_place(&place);
}

static void test_shelf__max_disk(void)
{
	struct place place;
	uint64_t room;

	make_place(&place, 10, 3 * 16384);
	open_place(&place);
	add_file(&place, 7, 0, 1000);
	add_file(&place, 7, 0, 2000);
	add_file(&place, 8, 0, 3000);
	CU_ASSERT_STRING_EQUAL(place.dropped, "");
	/* The oldest that is not its process's first; then the oldest. */
	add_file(&place, 8, 0, 4000);
	CU_ASSERT_STRING_EQUAL(place.dropped, "7@2000 ");
	CU_ASSERT_TRUE(ca_shelf_make_room(&place.shelf, 2 * 16384, note_dropped, &place, &room));
	CU_ASSERT_STRING_EQUAL(place.dropped, "7@2000 8@4000 7@1000 ");
	CU_ASSERT_EQUAL(place.shelf.bytes, 16384);
	/* Nothing is dropped for what does not fit in anyway. */
	CU_ASSERT_FALSE(ca_shelf_make_room(&place.shelf, 3 * 16384 + 1, note_dropped, &place, &room));
	CU_ASSERT_EQUAL(room, 3 * 16384);
	CU_ASSERT_EQUAL(place.shelf.count, 1);
	remove_place(&place);
}

/* ---- groups of version 2 ---------------------------------------------------------------- */

struct host {
	struct place place;
	int epoll;
	struct ca_groups groups;
	struct ca_membership membership;
};

static void put_text(const struct host *host, const char *path, const char *text)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", host->place.folder, path);
	for (char *slash = full + strlen(host->place.folder) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(full, 0700);
		*slash = '/';
	}
	FILE *f = fopen(full, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
}

/* A process in /app/worker, of which /app has a limit of 1000 bytes. */
static void make_host(struct host *host)
{
	make_place(&host->place, 1, 1);
	host->place.watch.percent = 90;
	put_text(host, "proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 60 kB\n");
	put_text(host, "proc/self/mountinfo", "29 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	put_text(host, "proc/1234/cgroup", "0::/app/worker\n");
	put_text(host, "sys/fs/cgroup/app/worker/memory.max", "max\n");
	put_text(host, "sys/fs/cgroup/app/worker/memory.current", "500\n");
	put_text(host, "sys/fs/cgroup/app/worker/memory.events", "low 0\noom 1\noom_kill 2\n");
	put_text(host, "sys/fs/cgroup/app/memory.max", "1000\n");
	put_text(host, "sys/fs/cgroup/app/memory.current", "600\n");
	put_text(host, "sys/fs/cgroup/app/memory.events", "oom_kill 2\n");
	host->epoll = epoll_create1(EPOLL_CLOEXEC);
	ca_groups_init(&host->groups, &host->place.watch, host->place.folder, host->epoll);
	ca_groups_join(&host->groups, 1234, &host->membership);
}

static void remove_host(struct host *host)
{
	ca_groups_leave(&host->groups, &host->membership);
	for (size_t i = 0; i < CA_GROUPS_MAX; i++)
		CU_ASSERT_EQUAL(host->groups.items[i].members, 0);
	ca_groups_fini(&host->groups);
	close(host->epoll);
	host->place.shelf.folder = -1;
	remove_place(&host->place);
}

static void test_group__nearest_limit_up_the_tree(void)
{
	struct host host;
	const struct ca_group *tightest;

	make_host(&host);
	CU_ASSERT_EQUAL_FATAL(host.membership.count, 1);
	tightest = ca_membership_tightest(&host.groups, &host.membership);
	CU_ASSERT_PTR_NOT_NULL_FATAL(tightest);
	CU_ASSERT_EQUAL(tightest->figures.limit, 1000);
	CU_ASSERT_EQUAL(tightest->figures.usage, 600);
	/* Kills are those of its own group, since it joined. */
	CU_ASSERT_EQUAL(ca_membership_kills(&host.membership), 0);
	put_text(&host, "sys/fs/cgroup/app/worker/memory.events", "low 0\noom 2\noom_kill 5\n");
	CU_ASSERT_EQUAL(ca_membership_kills(&host.membership), 3);
	remove_host(&host);
}

static void test_group__the_kernel_tells_of_events(void)
{
	struct host host;
	struct epoll_event event;
	int i;

	make_host(&host);
	i = host.membership.groups[0];
	CU_ASSERT_FALSE(ca_group_look(&host.groups, i, 5000, false));
	CU_ASSERT_TRUE(host.groups.items[i].due > 5000);
	CU_ASSERT_EQUAL(epoll_wait(host.epoll, &event, 1, 0), 0);
	put_text(&host, "sys/fs/cgroup/app/memory.current", "950\n");
	put_text(&host, "sys/fs/cgroup/app/memory.stat", "inactive_file 10\n");
	put_text(&host, "sys/fs/cgroup/app/memory.events", "max 1\noom_kill 2\n");
	CU_ASSERT_EQUAL_FATAL(epoll_wait(host.epoll, &event, 1, 1000), 1);
	CU_ASSERT_EQUAL(event.data.u64 >> 32, CA_WAKE_EVENTS);
	ca_groups_hear(&host.groups, 5100);
	CU_ASSERT_EQUAL(host.groups.items[i].due, 5100);
	CU_ASSERT_TRUE(ca_group_look(&host.groups, i, 5100, false));
	CU_ASSERT_FALSE(ca_group_look(&host.groups, i, 5200, false));
	/* What is cached does not count: 995 - 60 is no step more than 940. */
	put_text(&host, "sys/fs/cgroup/app/memory.current", "995\n");
	put_text(&host, "sys/fs/cgroup/app/memory.stat", "inactive_file 60\n");
	CU_ASSERT_FALSE(ca_group_look(&host.groups, i, 5300, false));
	put_text(&host, "sys/fs/cgroup/app/memory.stat", "inactive_file 0\n");
	CU_ASSERT_TRUE(ca_group_look(&host.groups, i, 5400, false));
	/* A limit may be raised, or go. */
	put_text(&host, "sys/fs/cgroup/app/memory.max", "max\n");
	CU_ASSERT_FALSE(ca_group_look(&host.groups, i, 5500, false));
	remove_host(&host);
}

static void test_group__without_a_limit_the_machine(void)
{
	struct host host;
	struct ca_membership other;
	const struct ca_group *machine;

	make_host(&host);
	put_text(&host, "proc/5678/cgroup", "0::/\n");
	ca_groups_join(&host.groups, 5678, &other);
	machine = ca_membership_tightest(&host.groups, &other);
	CU_ASSERT_PTR_NOT_NULL_FATAL(machine);
	CU_ASSERT_EQUAL(machine->figures.limit, 100 * 1024);
	CU_ASSERT_EQUAL(machine->figures.usage, 40 * 1024);
	CU_ASSERT_EQUAL(ca_membership_kills(&other), 0);
	ca_groups_leave(&host.groups, &other);
	remove_host(&host);
}

/* Workers of one server share a group: it is looked at once. */
static void test_group__is_shared(void)
{
	struct host host;
	struct ca_membership other;

	make_host(&host);
	put_text(&host, "proc/5678/cgroup", "0::/app/worker\n");
	ca_groups_join(&host.groups, 5678, &other);
	CU_ASSERT_EQUAL(other.groups[0], host.membership.groups[0]);
	CU_ASSERT_EQUAL(host.groups.items[other.groups[0]].members, 2);
	ca_groups_leave(&host.groups, &other);
	CU_ASSERT_EQUAL(host.groups.items[host.membership.groups[0]].members, 1);
	remove_host(&host);
}

extern CU_TestInfo ca_tests_watch[];
CU_TestInfo ca_tests_watch[] = {
	{ "threshold again with each step", test_threshold__again_with_each_step },
	{ "patience in bounds", test_patience__in_bounds },
	{ "name there and back", test_name__there_and_back },
	{ "name none of ours", test_name__none_of_ours },
	{ "shelf takes in what is there", test_shelf__takes_in_what_is_there },
	{ "shelf keeps so many", test_shelf__keeps_so_many },
	{ "shelf max disk", test_shelf__max_disk },
	{ "group nearest limit up the tree", test_group__nearest_limit_up_the_tree },
	{ "group the kernel tells of events", test_group__the_kernel_tells_of_events },
	{ "group without a limit the machine", test_group__without_a_limit_the_machine },
	{ "group is shared", test_group__is_shared },
	CU_TEST_INFO_NULL,
};
