/* SPDX-License-Identifier: GPL-3.0-or-later */
/* image: living processes, what they cost us, and how much we may take. */
#include "../../coreanalyze/image/live.h"
#include "child.h"

#include <CUnit/Basic.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a process ------------------------------------------------------------------ */

enum { PAGE = 4096, PAGES = 64, BULK = 8 << 20 };

/* A program of its own, as small under a sanitizer as it can be: we have grown by what ran before. */
int ca_test_child(void)
{
	uint8_t *shown = mmap(NULL, PAGES * PAGE + BULK, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (shown == MAP_FAILED)
		return 1;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < PAGES; i += 2)
		shown[i * PAGE] = (uint8_t)(i + 1);
	memset(shown + PAGES * PAGE, 1, BULK);
	if (write(STDOUT_FILENO, &shown, sizeof(shown)) != sizeof(shown))
		return 1;
	for (;;)
		pause();
}

/* A child with every other page of PAGES at `shown` touched, until it is killed. */
static pid_t start_child(ca_addr *shown)
{
	int ready[2];

	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	pid_t child = fork();

	if (!child) {
		dup2(ready[1], STDOUT_FILENO);
		close(ready[0]);
		close(ready[1]);
		execl("/proc/self/exe", "unit", CA_TEST_CHILD, (char *)NULL);
		_exit(1);
	}
	close(ready[1]);
	CU_ASSERT_EQUAL_FATAL(read(ready[0], shown, sizeof(*shown)), sizeof(*shown));
	close(ready[0]);
	return child;
}

static void end_child(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static struct ca_image *open_child(struct ca_context *ctx, pid_t child)
{
	struct ca_image *image = NULL;
	char target[32];

	snprintf(target, sizeof(target), "pid:%d", child);
	struct ca_error *err = ca_image_open(ctx, target, NULL, &image);

	if (err)
		fprintf(stderr, "%s: %s\n", err->what, err->why);
	ca_error_free(err);
	return image;
}

static void test_process__has_its_memory(void)
{
	ca_addr at;
	pid_t child = start_child(&at);
	struct ca_context ctx;

	ca_context_init(&ctx);
	struct ca_image *image = open_child(&ctx, child);

	CU_ASSERT_PTR_NOT_NULL_FATAL(image);
	const uint8_t *copy = ca_image_at(image, at, PAGES * PAGE);

	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	for (int i = 0; i < PAGES; i++)
		CU_ASSERT_EQUAL(copy[i * PAGE], i % 2 ? 0 : i + 1);
	CU_ASSERT_EQUAL(image->pid, child);
	CU_ASSERT_EQUAL(image->lwp_count, 1);
	CU_ASSERT_EQUAL(image->lwps[0].lwp, child);
	CU_ASSERT_TRUE(image->complete);
	CU_ASSERT_TRUE(image->taken.pause_ns > 0);
	CU_ASSERT_PTR_NOT_NULL(ca_image_mapping(image, image->lwps[0].sp));
	CU_ASSERT_PTR_NOT_NULL(ca_image_module(image, image->lwps[0].ip));
	ca_image_close(image);
	ca_context_fini(&ctx);
	end_child(child);
}

/* ---- leaks ----------------------------------------------------------------------- */

static size_t count_files(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t count = 0;

	while (folder && readdir(folder))
		count++;
	if (folder)
		closedir(folder);
	return count;
}

static size_t count_mapped_kib(void)
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CU_ASSERT_EQUAL(fscanf(f, "%zu", &pages), 1);
	fclose(f);
	return pages * 4;
}

static void test_process__leaks_nothing(void)
{
	ca_addr shown;
	pid_t child = start_child(&shown);
	size_t files = 0, mapped = 0;

	for (int i = 0; i < 200; i++) {
		struct ca_context ctx;

		ca_context_init(&ctx);
		struct ca_image *image = open_child(&ctx, child);

		CU_ASSERT_PTR_NOT_NULL(image);
		ca_image_close(image);
		ca_context_fini(&ctx);
		if (i == 20) {
			files = count_files();
			mapped = count_mapped_kib();
		}
	}
	CU_ASSERT_EQUAL(count_files(), files);
	CU_ASSERT_TRUE(count_mapped_kib() < mapped + (1 << 20)); /* 180 copies leaked would be more */
	end_child(child);
}

/* ---- limits ---------------------------------------------------------------------- */

struct host {
	char root[64];
};

static void put(const struct host *host, const char *path, const char *text)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", host->root, path);
	for (char *slash = full + strlen(host->root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(full, 0700);
		*slash = '/';
	}
	FILE *f = fopen(full, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
}

static void make_host(struct host *host, const char *groups, const char *mounts)
{
	strcpy(host->root, "/tmp/test-process-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(host->root));
	put(host, "proc/meminfo", "MemTotal:  9000 kB\nMemFree: 100 kB\nMemAvailable:    1000 kB\n");
	put(host, "proc/self/cgroup", groups);
	put(host, "proc/self/mountinfo", mounts);
}

static void remove_host(const struct host *host)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", host->root);
	CU_ASSERT_EQUAL(system(command), 0);
}

static const char v2_mount[] = "29 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

static void test_limits__without_groups(void)
{
	struct host host;

	make_host(&host, "", "");
	CU_ASSERT_EQUAL(ca_memory_room(host.root), 1000 * 1024);
	remove_host(&host);
}

static void test_limits__of_version_2_up_the_tree(void)
{
	struct host host;

	make_host(&host, "0::/a/b/c\n", v2_mount);
	put(&host, "sys/fs/cgroup/a/b/c/memory.max", "max\n");
	put(&host, "sys/fs/cgroup/a/b/c/memory.current", "5000\n");
	CU_ASSERT_EQUAL(ca_memory_room(host.root), 1000 * 1024);
	put(&host, "sys/fs/cgroup/a/b/memory.max", "900000\n");
	put(&host, "sys/fs/cgroup/a/b/memory.current", "100000\n");
	CU_ASSERT_EQUAL(ca_memory_room(host.root), 800000);
	/* What is only cached does not count. */
	put(&host, "sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 40000\n");
	CU_ASSERT_EQUAL(ca_memory_room(host.root), 840000);
	put(&host, "sys/fs/cgroup/a/memory.max", "700000\n");
	put(&host, "sys/fs/cgroup/a/memory.current", "100000\n");
	CU_ASSERT_EQUAL(ca_memory_room(host.root), 600000);
	put(&host, "sys/fs/cgroup/a/memory.high", "90000\n");
	CU_ASSERT_EQUAL(ca_memory_room(host.root), 0);
	remove_host(&host);
}

static void test_limits__of_version_1(void)
{
	struct host host;

	make_host(&host, "9:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/docker/abc\n",
		  "28 1 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
		  "31 1 0:28 /docker/abc /sys/fs/cgroup/memory ro,relatime master:15 - cgroup cgroup "
		  "rw,memory\n");
	put(&host, "sys/fs/cgroup/memory/memory.limit_in_bytes", "500000\n");
	put(&host, "sys/fs/cgroup/memory/memory.usage_in_bytes", "200000\n");
	put(&host, "sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 50000\n");
	CU_ASSERT_EQUAL(ca_memory_room(host.root), 350000);
	put(&host, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	CU_ASSERT_EQUAL(ca_memory_room(host.root), 1000 * 1024);
	remove_host(&host);
}

/* As a container without a cgroup namespace sees it: a path that is not there. */
static void test_limits__where_the_group_is_not_seen(void)
{
	struct host host;

	make_host(&host, "0::/../elsewhere\n", v2_mount);
	put(&host, "sys/fs/cgroup/memory.max", "300000\n");
	put(&host, "sys/fs/cgroup/memory.current", "100000\n");
	CU_ASSERT_EQUAL(ca_memory_room(host.root), 200000);
	remove_host(&host);
}

struct seen {
	size_t count;
	char folders[8][256];
	struct ca_memory_group groups[8];
};

static bool see(void *arg, const struct ca_memory_group *group)
{
	struct seen *seen = arg;

	snprintf(seen->folders[seen->count], sizeof(seen->folders[0]), "%s", group->folder);
	seen->groups[seen->count++] = *group;
	return true;
}

static void expect_group(const struct host *host, const struct seen *seen, size_t i,
			 const char *folder, uint64_t limit, uint64_t used)
{
	CU_ASSERT_TRUE_FATAL(i < seen->count);
	CU_ASSERT_STRING_EQUAL(seen->folders[i] + strlen(host->root), folder);
	CU_ASSERT_EQUAL(seen->groups[i].limit, limit);
	CU_ASSERT_EQUAL(ca_memory_group_used(&seen->groups[i]), used);
}

/* Of another process, on a machine that has both versions, from the nearest up. */
static void test_groups__of_another_process(void)
{
	struct host host;
	struct seen seen = { 0 };

	make_host(&host, "0::/ours\n",
		  "29 1 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		  "31 1 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
	put(&host, "proc/1234/cgroup", "4:memory:/pod/worker\n0::/its\n");
	put(&host, "sys/fs/cgroup/unified/its/cgroup.procs", "");
	put(&host, "sys/fs/cgroup/memory/pod/worker/memory.limit_in_bytes", "9223372036854771712\n");
	put(&host, "sys/fs/cgroup/memory/pod/worker/memory.usage_in_bytes", "700\n");
	put(&host, "sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "1000\n");
	put(&host, "sys/fs/cgroup/memory/pod/memory.usage_in_bytes", "900\n");
	put(&host, "sys/fs/cgroup/memory/pod/memory.stat", "total_inactive_file 150\n");
	ca_memory_groups(host.root, 1234, see, &seen);
	CU_ASSERT_EQUAL(seen.count, 2);
	expect_group(&host, &seen, 0, "/sys/fs/cgroup/memory/pod/worker", UINT64_MAX, 700);
	expect_group(&host, &seen, 1, "/sys/fs/cgroup/memory/pod", 1000, 750);
	remove_host(&host);
}

/* In another container, whose group only that sees: by its own root. */
static void test_groups__of_another_container(void)
{
	struct host host;
	struct seen seen = { 0 };

	make_host(&host, "0::/\n", "29 1 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n");
	put(&host, "sys/fs/cgroup/memory.max", "5\n");
	put(&host, "sys/fs/cgroup/memory.current", "4\n");
	put(&host, "proc/1234/cgroup", "0::/../worker\n");
	put(&host, "proc/1234/mountinfo", "77 1 0:26 /../worker /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n");
	put(&host, "proc/1234/root/sys/fs/cgroup/memory.max", "2000\n");
	put(&host, "proc/1234/root/sys/fs/cgroup/memory.current", "1500\n");
	ca_memory_groups(host.root, 1234, see, &seen);
	CU_ASSERT_EQUAL(seen.count, 1);
	expect_group(&host, &seen, 0, "/proc/1234/root/sys/fs/cgroup", 2000, 1500);
	remove_host(&host);
}

extern CU_TestInfo ca_tests_process[];
CU_TestInfo ca_tests_process[] = {
	{ "process has its memory", test_process__has_its_memory },
	{ "process leaks nothing", test_process__leaks_nothing },
	{ "limits without groups", test_limits__without_groups },
	{ "limits of version 2 up the tree", test_limits__of_version_2_up_the_tree },
	{ "limits of version 1", test_limits__of_version_1 },
	{ "limits where the group is not seen", test_limits__where_the_group_is_not_seen },
	{ "groups of another process", test_groups__of_another_process },
	{ "groups of another container", test_groups__of_another_container },
	CU_TEST_INFO_NULL,
};
