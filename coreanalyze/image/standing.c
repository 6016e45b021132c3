/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A process that a debugger holds, through the debugger's own descriptors: it
 * works where only the debugger may trace, and copies nothing ahead (lazy.c).
 */
#include "private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void read_threads(struct ca_capture *c)
{
	struct ca_image *image = c->image;
	int fd = openat(c->proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *tasks = fd >= 0 ? fdopendir(fd) : NULL;
	size_t capacity = 0;

	for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
		long lwp = strtol(entry->d_name, NULL, 10);

		if (lwp <= 0 || lwp > INT32_MAX)
			continue;
		image->lwps = ca_grow(image->lwps, &capacity, image->lwp_count + 1, sizeof(*image->lwps));
		image->lwps[image->lwp_count++] = (struct ca_lwp){ .lwp = (int32_t)lwp };
	}
	if (tasks)
		closedir(tasks);
}

static void read_auxv(struct ca_capture *c)
{
	size_t size;
	char *auxv = ca_proc_read(c->proc, "auxv", &size);

	if (!auxv)
		return;
	void *kept = ca_arena_alloc(&c->image->ctx->arena, size + 1);

	memcpy(kept, auxv, size);
	free(auxv);
	ca_auxv_read(c->image, (struct ca_bytes){ kept, size });
}

/* After an exec() the descriptor reads nothing: it is that of the program before. */
static struct ca_error *check_memory(const struct ca_capture *c)
{
	const struct ca_plan *plan = &c->plan;
	uint8_t byte;

	for (size_t i = 0; i < plan->count; i++)
		if (pread(c->options->mem_fd, &byte, 1, (off_t)plan->runs[i].start) == 1)
			return NULL;
	return ca_process_refuse("open /proc/PID/mem anew", "through this descriptor no memory can be read");
}

struct ca_error *ca_standing_run(struct ca_capture *c)
{
	struct ca_error *err;

	if (!ca_vmas_read_from(c->options->maps_fd, &c->vmas))
		return ca_process_refuse("", "its maps cannot be read: %s", strerror(errno));
	if (!ca_plan_make(c->proc, &c->vmas, &c->plan))
		ca_plan_all(&c->vmas, &c->plan);
	err = check_memory(c);
	if (!err)
		err = ca_copy_open(&c->copy, c->image->ctx, c->pid, c->options,
				   c->options->goes_on ? 0 : c->plan.bytes);
	if (err)
		return err;
	c->copy.lazy_mem = c->options->mem_fd;
	if (c->copy.spool.fd < 0)
		c->copy.store = memfd_create("pages", MFD_CLOEXEC);
	if (!ca_copy_reserve(&c->copy, &c->vmas, &c->plan))
		return ca_process_refuse("is a limit on address space (ulimit -v) set?",
					 "there is no address space for it");
	read_auxv(c);
	read_threads(c);
	return NULL;
}
