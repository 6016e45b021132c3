/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A living process as an image: see live.h. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- may it be read? ----------------------------------------------------------- */

/* The number behind "key:" in a status file; absent where there is none. */
static int64_t status_number(const char *status, const char *key, int64_t absent)
{
	char line[64];

	snprintf(line, sizeof(line), "\n%s:", key);
	const char *at = strstr(status, line);

	return at ? strtoll(at + strlen(line), NULL, 10) : absent;
}

static const char *user_name(struct ca_arena *arena, uid_t uid)
{
	const struct passwd *user = getpwuid(uid);

	return user ? ca_arena_strdup(arena, user->pw_name)
		    : ca_arena_printf(arena, "%u", (unsigned)uid);
}

static bool have_privilege(unsigned capability)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return !syscall(SYS_capget, &header, sets) &&
	       sets[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability);
}

/* Another user's process may be stopped with the one; its memory is a file of its user: with the other. */
static const char *advise_privileges(void)
{
	bool may_stop = have_privilege(CAP_SYS_PTRACE);
	bool may_open = have_privilege(CAP_DAC_READ_SEARCH) || have_privilege(CAP_DAC_OVERRIDE);

	if (may_stop && may_open)
		return "run as its user: our privileges do not reach into its user namespace";
	if (may_stop)
		return "run as its user or as root: we lack CAP_DAC_READ_SEARCH";
	if (may_open)
		return "run as its user or as root: we lack CAP_SYS_PTRACE";
	return "run as its user or as root: we lack CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";
}

static struct ca_error *refuse_user(struct ca_arena *arena, uid_t owner)
{
	return ca_process_refuse(advise_privileges(), "it belongs to the user %s, and we are %s",
				 user_name(arena, owner), user_name(arena, geteuid()));
}

static struct ca_error *check_status(int32_t pid, const char *status)
{
	int64_t group = status_number(status, "Tgid", pid);
	int64_t tracer = status_number(status, "TracerPid", 0);
	const char *state = strstr(status, "\nState:\t");

	if (group != pid)
		return ca_process_refuse("", "it is a thread; its process is pid:%lld",
					 (long long)group);
	if (pid == getpid())
		return ca_process_refuse("", "it is this very process");
	if (state && (state[8] == 'Z' || state[8] == 'X'))
		return ca_process_refuse("", "it has ended and has no memory any more (a zombie)");
	if (status_number(status, "VmSize", -1) < 0)
		return ca_process_refuse("", "it has no memory of its own (a kernel thread, or one "
					     "that is ending)");
	if (tracer)
		return ca_process_refuse("let that go first",
					 "it is traced by process %lld, a debugger or the like",
					 (long long)tracer);
	return NULL;
}

static struct ca_error *check(struct ca_arena *arena, int32_t pid, int proc)
{
	size_t size;
	char *status = ca_proc_read(proc, "status", &size);

	if (!status)
		return ca_process_refuse("", "it ended");
	struct ca_error *err = check_status(pid, status);

	free(status);
	if (err)
		return err;
	int mem = openat(proc, "mem", O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (mem >= 0) {
		close(mem);
		return NULL;
	}
	if ((errno == EACCES || errno == EPERM) && !fstat(proc, &st) && st.st_uid != geteuid())
		return refuse_user(arena, st.st_uid);
	return ca_process_refuse("has it changed its user since it started, is kernel.yama.ptrace_scope "
				 "set, or a container's or a security module's rule? root "
				 "(CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH) may",
				 "its memory may not be read: %s", strerror(errno));
}

static struct ca_error *open_folder(int32_t pid, int *proc)
{
	char folder[32];

	snprintf(folder, sizeof(folder), "/proc/%d", pid);
	*proc = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*proc < 0)
		return ca_process_refuse("is it in another PID namespace?",
					 "there is no process %d here", pid);
	return NULL;
}

struct ca_error *ca_process_enter(struct ca_arena *arena, int32_t pid, int *proc)
{
	struct ca_error *err = open_folder(pid, proc);

	return err ? err : check(arena, pid, *proc);
}

/* ---- what is there -------------------------------------------------------------- */

static void add_load(struct ca_image *image, ca_addr start, ca_addr end, ca_addr lost,
		     const uint8_t *data, uint32_t flags)
{
	struct ca_image_private *priv = image->priv;

	priv->loads = ca_grow(priv->loads, &priv->load_capacity, priv->load_count + 1,
			      sizeof(*priv->loads));
	priv->loads[priv->load_count++] = (struct ca_load){
		.start = start,
		.end = lost,
		.promised = lost - start,
		.bytes = { data, end - start },
		.flags = flags,
	};
}

/* [start, end) but for the pages that could not be read. */
static void add_copied(struct ca_capture *c, ca_addr start, ca_addr end, uint32_t flags)
{
	const uint8_t *data = ca_copy_at(&c->copy, start, end);
	ca_addr at = start;

	for (size_t i = 0; i < c->copy.lost_count; i++) {
		struct ca_run lost = c->copy.lost[i];

		if (lost.start >= end)
			break;
		if (lost.start < at)
			continue;
		add_load(c->image, at, lost.start, lost.end, data + (at - start), flags);
		at = lost.end;
	}
	if (at < end)
		add_load(c->image, at, end, end, data + (at - start), flags);
}

/* Untouched anonymous memory is zeros; an untouched page of a file is the file's. */
static void add_vma(struct ca_capture *c, const struct ca_vma *vma, size_t *run)
{
	const struct ca_plan *plan = &c->plan;
	bool whole = ca_vma_is_anonymous(vma) && vma->flags & CA_SEG_WRITE && !vma->shared;

	while (*run < plan->count && plan->runs[*run].end <= vma->start)
		++*run;
	if (whole && ca_copy_at(&c->copy, vma->start, vma->end)) {
		add_copied(c, vma->start, vma->end, vma->flags);
		return;
	}
	for (size_t i = *run; i < plan->count && plan->runs[i].start < vma->end; i++) {
		ca_addr start = plan->runs[i].start, end = plan->runs[i].end;

		add_copied(c, start > vma->start ? start : vma->start,
			   end < vma->end ? end : vma->end, vma->flags);
	}
}

/* As the process sees it; "" for anonymous memory. */
static const char *path_of(const struct ca_capture *c, const struct ca_vma *vma)
{
	size_t above = strlen(c->chroot);
	const char *path = vma->path;

	if (*path != '/')
		return "";
	if (!strncmp(path, c->chroot, above) && path[above] == '/')
		path += above;
	return ca_arena_strdup(&c->image->ctx->arena, path);
}

static void add_mapping(const struct ca_capture *c, const struct ca_vma *vma)
{
	struct ca_image *image = c->image;

	image->mappings[image->mapping_count++] = (struct ca_mapping){
		.start = vma->start,
		.end = vma->end,
		.flags = vma->flags,
		.offset = vma->offset,
		.path = path_of(c, vma),
		.dumped = ca_image_known(image, vma->start, vma->end),
	};
}

static void build(struct ca_capture *c)
{
	struct ca_image *image = c->image;
	size_t run = 0;

	for (size_t i = 0; i < c->vmas.count; i++)
		add_vma(c, &c->vmas.items[i], &run);
	ca_loads_apply(image);
	image->mappings = ca_alloc((c->vmas.count + 1) * sizeof(*image->mappings));
	for (size_t i = 0; i < c->vmas.count; i++)
		add_mapping(c, &c->vmas.items[i]);
	if (c->copy.lost_count)
		ca_warn_bytes(image->ctx, "unreadable-memory", c->copy.lost[0].start,
			      c->copy.lost_count * CA_PAGE,
			      "objects there are not seen", "%zu pages of the process could not be read",
			c->copy.lost_count);
}

/* ---- files ---------------------------------------------------------------------- */

static bool in_our_namespace(int proc)
{
	struct stat ours, its;

	return !stat("/proc/self/ns/mnt", &ours) && !fstatat(proc, "ns/mnt", &its, 0) &&
	       ours.st_dev == its.st_dev && ours.st_ino == its.st_ino;
}

/*
 * The kernel tells paths from the root of the process's mount namespace: below
 * that it may be in a chroot, which is then the start of each path.
 */
const char *ca_process_chroot(struct ca_arena *arena, int proc)
{
	char root[4096];

	if (in_our_namespace(proc))
		return "";
	ssize_t length = readlinkat(proc, "root", root, sizeof(root));

	if (length <= 1 || length == sizeof(root))
		return "";
	return ca_arena_strndup(arena, root, (size_t)length);
}

/* In a container its files are looked up where it sees them. */
static void find_root(struct ca_capture *c, struct ca_image_options *options)
{
	struct ca_arena *arena = &c->image->ctx->arena;

	if (options->sysroot || in_our_namespace(c->proc))
		return;
	options->sysroot = ca_arena_printf(arena, "/proc/%d/root", c->pid);
	c->chroot = ca_process_chroot(arena, c->proc);
}

static void describe(struct ca_capture *c)
{
	struct ca_image_options options = *c->options;
	struct ca_image *image = c->image;

	find_root(c, &options);
	image->live = true;
	image->pid = c->pid;
	image->core_bytes = c->plan.bytes;
	build(c);
	ca_modules_find(image, &options);
	ca_modules_open_files(image, &options);
	ca_mappings_fill(image);
	ca_mappings_settle(image);
	ca_command_line_find(image);
}

/* ---- the whole ------------------------------------------------------------------- */

static struct ca_error *open_process(struct ca_capture *c)
{
	bool stands = c->options->has_mem && !c->options->goes_on;
	struct ca_error *err = stands ? open_folder(c->pid, &c->proc)
				      : ca_process_enter(&c->image->ctx->arena, c->pid, &c->proc);

	if (!err)
		err = c->options->has_mem ? ca_standing_run(c) : ca_capture_run(c);
	if (!err && !ca_copy_keep(&c->copy, c->image))
		err = ca_process_refuse("", "its copy cannot be mapped: %s", strerror(errno));
	if (!err)
		describe(c);
	return err;
}

bool ca_image_is_pid(const char *target)
{
	return !strncmp(target, "pid:", 4);
}

static bool parse_pid(const char *target, int32_t *pid)
{
	const char *digits = target + 4;
	char *end;
	long value = strtol(digits, &end, 10);

	*pid = (int32_t)value;
	return *digits >= '0' && *digits <= '9' && !*end && value > 0 && value <= INT32_MAX;
}

struct ca_error *ca_image_open_process(struct ca_context *ctx, const char *target,
				       const struct ca_image_options *options, struct ca_image **out)
{
	struct ca_capture c = {
		.options = options,
		.proc = -1,
		.chroot = "",
		.copy = { .spool = { .fd = -1 }, .lazy_mem = -1, .store = -1 },
	};

	if (!parse_pid(target, &c.pid))
		return ca_error_make(CA_USAGE, "no such target", "a process is named as pid:1234",
				     "'%s' is no process number", target + 4);
	c.image = ca_image_make(ctx, target);
	struct ca_error *err = open_process(&c);

	ca_vmas_fini(&c.vmas);
	ca_plan_fini(&c.plan);
	ca_copy_fini(&c.copy);
	if (c.proc >= 0)
		close(c.proc);
	if (err)
		ca_image_close(c.image);
	else
		*out = c.image;
	return err;
}
