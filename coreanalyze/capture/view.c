/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A look at a process that runs: see capture.h. */
#include "private.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { LOOKS = 3 }; /* it may be changing what is looked at */

static struct ca_error *look(struct ca_view *view)
{
	struct ca_image_options options = { .has_mem = true, .goes_on = true };
	char target[32];

	options.mem_fd = view->mem;
	options.maps_fd = openat(view->proc, "maps", O_RDONLY | O_CLOEXEC);
	if (options.maps_fd < 0)
		return ca_process_refuse("", "it ended");
	snprintf(target, sizeof(target), "pid:%d", view->pid);
	ca_context_init(&view->own);
	struct ca_error *err = ca_image_open(&view->own, target, &options, &view->image);

	close(options.maps_fd);
	if (err)
		ca_context_fini(&view->own);
	else
		ca_error_free(ca_runtime_open(&view->own, view->image, &view->rt));
	return err;
}

static void forget(struct ca_view *view)
{
	if (view->rt)
		ca_runtime_close(view->rt);
	ca_image_close(view->image);
	ca_context_fini(&view->own);
	view->rt = NULL;
	view->image = NULL;
}

struct ca_error *ca_view_open(struct ca_context *ctx, int32_t pid, struct ca_view *view)
{
	*view = (struct ca_view){ .ctx = ctx, .pid = pid, .proc = -1, .mem = -1 };
	struct ca_error *err = ca_process_enter(&ctx->arena, pid, &view->proc);

	if (!err)
		view->mem = openat(view->proc, "mem", O_RDONLY | O_CLOEXEC);
	if (!err && view->mem < 0)
		err = ca_process_refuse("", "it ended");
	for (unsigned i = 0; !err && !view->rt && i < LOOKS; i++) {
		if (view->image)
			forget(view);
		err = look(view);
	}
	return err;
}

void ca_view_close(struct ca_view *view)
{
	if (!view->ctx)
		return;
	if (view->image)
		forget(view);
	if (view->mem >= 0)
		close(view->mem);
	if (view->proc >= 0)
		close(view->proc);
	*view = (struct ca_view){ 0 };
}
