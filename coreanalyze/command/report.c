/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The bare report: one page of what matters first. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"

enum { REPORT_TYPES = 10 };

static void put_process(struct ca_writer *w, const struct ca_session *session)
{
	const struct ca_image *image = session->image;
	struct ca_arena scratch = {0};
	const char *exe = ca_escape_arena(&scratch, image->exe, strlen(image->exe));
	char size[32];

	ca_format_size(size, sizeof(size), image->core_bytes);
	ca_title(w, "CPython %s, process %d (%s)", session->rt->version, image->pid, exe);
	ca_line(w, "core: %s, %zu %s, %zu %s%s", size, image->lwp_count,
		image->lwp_count == 1 ? "thread" : "threads", session->rt->interp_count,
		session->rt->interp_count == 1 ? "interpreter" : "interpreters",
		image->complete ? "" : ", incomplete");
	ca_arena_fini(&scratch);
}

static void put_memory(struct ca_writer *w, const struct ca_session *session)
{
	const struct ca_heap *heap = session->objects->heap;
	uint64_t writable = ca_image_writable(session->image);
	char arenas[32], mapped[32];

	ca_object_begin(w, "memory");
	ca_put_uint(w, "arenas", heap->arena_count);
	ca_put_uint(w, "arena_bytes", heap->arena_bytes);
	ca_put_uint(w, "mapped_bytes", writable);
	ca_object_end(w);
	ca_format_size(arenas, sizeof(arenas), heap->arena_bytes);
	ca_format_size(mapped, sizeof(mapped), writable);
	ca_line(w, "memory: %s in %zu arenas of obmalloc, of %s in writable mappings", arenas,
		heap->arena_count, mapped);
}

/* The rest of the report does not depend on references. */
static void put_suspects(struct ca_writer *w, const struct ca_request *request,
			 struct ca_session *session)
{
	struct ca_error *err = ca_session_graph(session);

	ca_title(w, "Prime suspects");
	if (!err) {
		ca_put_suspects(w, request, session);
		return;
	}
	ca_line(w, "%s: %s", err->what, err->why);
	ca_put_null(w, "suspects");
	ca_error_free(err);
}

static struct ca_error *show_report(struct ca_request *request, struct ca_session *session)
{
	struct ca_type_totals totals;
	struct ca_error *err = ca_sorted_types(request, session->objects, &totals);

	if (err)
		return err;

	struct ca_writer *w = ca_open_writer(request);

	ca_begin_document(w, request, session);
	put_process(w, session);
	put_memory(w, session);
	ca_put_collector_line(w, session);
	ca_put_cycles_line(w, session);
	ca_title(w, "The biggest types");
	ca_put_types(w, request, &totals, REPORT_TYPES);
	put_suspects(w, request, session);
	ca_put_trust(w, session->objects);
	ca_type_totals_fini(&totals);
	return ca_end_document(w, session, NULL);
}

static struct ca_error *run_report(struct ca_request *request, enum ca_status *status)
{
	struct stat st;

	(void)status;
	if (!request->asked && stat(request->args[0], &st) == 0 && S_ISDIR(st.st_mode))
		return ca_run_series(request);
	return ca_show_objects(request, show_report);
}

const struct ca_command ca_command_report = {
	.name = "report",
	.args = "TARGET|DIR",
	.least_args = 1,
	.most_args = 1,
	.summary = "one page: the process and its biggest types",
	.help = "One page: what the process was, its biggest types, where a leak most likely is, and how "
		"far the figures can be trusted. `coreanalyze TARGET` is the same.\n"
		"Of a directory in which `coreanalyze watch` kept its files: what grew in the process, by type and by "
		"owner, how fast, and where the leak most likely is.\n\n"
		"Example: coreanalyze core.1234",
	.options = ca_series_options,
	.parse = ca_series_parse,
	.own_bytes = sizeof(int32_t),
	.run = run_report,
};
