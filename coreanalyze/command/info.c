/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command.h"

static const struct ca_column interp_columns[] = {
	{"id", "INTERPRETER", CA_CELL_COUNT},
	{"address", "ADDRESS", CA_CELL_ADDR},
	{"threads", "THREADS", CA_CELL_COUNT},
};

static const struct ca_column thread_columns[] = {
	{"thread_id", "THREAD", CA_CELL_ADDR},
	{"native_id", "LWP", CA_CELL_COUNT},
	{"interpreter", "INTERPRETER", CA_CELL_COUNT},
	{"address", "STATE", CA_CELL_ADDR},
	{"frame", "FRAME", CA_CELL_ADDR},
};

static const struct ca_column module_columns[] = {
	{"path", "MODULE", CA_CELL_TEXT},
	{"start", "START", CA_CELL_ADDR},
	{"end", NULL, CA_CELL_ADDR},
	{"build_id", NULL, CA_CELL_TEXT},
	{"state", "FILE", CA_CELL_TEXT},
	{"file", NULL, CA_CELL_TEXT},
	{"why", "WHY", CA_CELL_TEXT},
};

static const struct ca_column mapping_columns[] = {
	{"start", NULL, CA_CELL_ADDR},
	{"end", NULL, CA_CELL_ADDR},
	{"flags", NULL, CA_CELL_TEXT},
	{"path", NULL, CA_CELL_TEXT},
	{"offset", NULL, CA_CELL_COUNT},
	{"dumped", NULL, CA_CELL_COUNT},
};

static const struct ca_column missing_columns[] = {
	{"start", "MISSING FROM", CA_CELL_ADDR},
	{"end", "TO", CA_CELL_ADDR},
	{"bytes", "BYTES", CA_CELL_SIZE},
	{"path", "OF", CA_CELL_TEXT},
};

static void cell_escaped(struct ca_writer *w, struct ca_arena *arena, const char *text)
{
	ca_cell_text(w, text && *text ? ca_escape_arena(arena, text, strlen(text)) : NULL);
}

static void put_interpreters(struct ca_writer *w, const struct ca_runtime *rt)
{
	ca_table_begin(w, "interpreters", interp_columns, CA_COUNT(interp_columns));
	for (size_t i = 0; i < rt->interp_count; i++) {
		uint64_t threads = 0;

		for (size_t t = 0; t < rt->thread_count; t++)
			threads += rt->threads[t].interp == i;
		ca_cell_int(w, rt->interps[i].id);
		ca_cell_addr(w, rt->interps[i].address);
		ca_cell_uint(w, threads);
		ca_row_end(w);
	}
	ca_table_end(w, 0);
}

static void put_threads(struct ca_writer *w, const struct ca_session *session)
{
	const struct ca_runtime *rt = session->rt;

	ca_table_begin(w, "threads", thread_columns, CA_COUNT(thread_columns));
	for (size_t i = 0; i < rt->thread_count; i++) {
		const struct ca_thread *thread = &rt->threads[i];
		int32_t lwp = ca_thread_lwp(rt, thread);

		ca_cell_addr(w, thread->thread_id);
		if (lwp)
			ca_cell_int(w, lwp);
		else
			ca_cell_text(w, NULL);
		ca_cell_int(w, rt->interps[thread->interp].id);
		ca_cell_addr(w, thread->address);
		ca_cell_addr(w, thread->frame);
		ca_row_end(w);
	}
	ca_table_end(w, 0);
}

static const char *state_name(enum ca_module_state state)
{
	switch (state) {
	case CA_MODULE_USED:
		return "used";
	case CA_MODULE_MISSING:
		return "missing";
	case CA_MODULE_MISMATCH:
		return "mismatch";
	case CA_MODULE_UNPROVED:
		return "unproved";
	}
	return "unknown";
}

static void put_modules(struct ca_writer *w, const struct ca_image *image)
{
	struct ca_arena scratch = {0};

	ca_table_begin(w, "modules", module_columns, CA_COUNT(module_columns));
	for (size_t i = 0; i < image->module_count; i++) {
		const struct ca_module *m = &image->modules[i];
		char id[2 * sizeof(m->build_id) + 1] = "";

		for (size_t b = 0; b < m->build_id_size && b < sizeof(m->build_id); b++)
			snprintf(id + 2 * b, 3, "%02x", m->build_id[b]);
		cell_escaped(w, &scratch, m->path);
		ca_cell_addr(w, m->start);
		ca_cell_addr(w, m->end);
		ca_cell_text(w, *id ? id : NULL);
		ca_cell_text(w, state_name(m->state));
		cell_escaped(w, &scratch, m->file);
		cell_escaped(w, &scratch, m->why);
		ca_row_end(w);
	}
	ca_table_end(w, 0);
	ca_arena_fini(&scratch);
}

/* For JSON: people have `gdb -c core -ex 'info proc mappings'`. */
static void put_mappings(struct ca_writer *w, const struct ca_image *image)
{
	struct ca_arena scratch = {0};

	if (ca_writer_form(w) != CA_FORM_JSON)
		return;
	ca_table_begin(w, "mappings", mapping_columns, CA_COUNT(mapping_columns));
	for (size_t i = 0; i < image->mapping_count; i++) {
		const struct ca_mapping *m = &image->mappings[i];
		char flags[4] = {m->flags & CA_SEG_READ ? 'r' : '-', m->flags & CA_SEG_WRITE ? 'w' : '-',
				 m->flags & CA_SEG_EXEC ? 'x' : '-', '\0'};

		ca_cell_addr(w, m->start);
		ca_cell_addr(w, m->end);
		ca_cell_text(w, flags);
		cell_escaped(w, &scratch, m->path);
		ca_cell_uint(w, m->offset);
		ca_cell_uint(w, m->dumped);
		ca_row_end(w);
	}
	ca_table_end(w, 0);
	ca_arena_fini(&scratch);
}

static void put_missing(struct ca_writer *w, const struct ca_image *image)
{
	struct ca_arena scratch = {0};

	ca_table_begin(w, "missing", missing_columns, CA_COUNT(missing_columns));
	for (size_t i = 0; i < image->mapping_count; i++) {
		const struct ca_mapping *m = &image->mappings[i];
		uint64_t unknown = m->end - m->start - ca_image_known(image, m->start, m->end);

		if (!(m->flags & CA_SEG_WRITE) || !unknown)
			continue;
		ca_cell_addr(w, m->start);
		ca_cell_addr(w, m->end);
		ca_cell_uint(w, unknown);
		cell_escaped(w, &scratch, m->path);
		ca_row_end(w);
	}
	ca_table_end(w, 0);
	ca_arena_fini(&scratch);
}

static void put_layout(struct ca_writer *w, const struct ca_runtime *rt)
{
	ca_object_begin(w, "layout");
	ca_put_string(w, "release", rt->version);
	ca_put_string(w, "table", rt->table->name);
	ca_put_bool(w, "proved", rt->proved);
	ca_list_begin(w, "searched");
	for (size_t i = 0; i < rt->found_count; i++) {
		const struct ca_found_field *f = &rt->found[i];

		ca_object_begin(w, NULL);
		ca_put_string(w, "structure", f->structure);
		ca_put_string(w, "field", f->field);
		ca_put_int(w, "table_offset", f->table_offset);
		ca_put_int(w, "offset", f->offset);
		ca_object_end(w);
	}
	ca_list_end(w);
	ca_object_end(w);
	ca_line(w, "layout: table %s, %s%s", rt->table->name,
		rt->proved ? "proven on this release" : "of the nearest release, checked on this image",
		rt->found_count ? ", with fields found by search" : "");
}

static void put_taken(struct ca_writer *w, const struct ca_image *image)
{
	const struct ca_taken *taken = &image->taken;

	if (taken->pause_ns) {
		ca_put_real(w, "pause_seconds", (double)taken->pause_ns / 1e9);
		ca_line(w, "the process stood still for %.4f s", (double)taken->pause_ns / 1e9);
	} else {
		ca_put_null(w, "pause_seconds");
	}
	if (!*taken->method) {
		ca_put_null(w, "taken");
		return;
	}
	ca_object_begin(w, "taken");
	ca_put_taken(w, taken);
	ca_object_end(w);
}

/* null where it is no snapshot. */
static void put_saved(struct ca_writer *w, const struct ca_saved *saved)
{
	struct ca_arena scratch = {0};
	char at[64] = "?";
	struct tm tm;
	time_t seconds;

	if (!saved) {
		ca_put_null(w, "snapshot");
		return;
	}
	seconds = (time_t)saved->at;
	if (gmtime_r(&seconds, &tm))
		strftime(at, sizeof(at), "%Y-%m-%d %H:%M:%S UTC", &tm);

	const char *from = ca_escape_arena(&scratch, saved->from, strlen(saved->from));
	const char *by = ca_escape_arena(&scratch, saved->by, strlen(saved->by));

	ca_object_begin(w, "snapshot");
	ca_put_string(w, "from", from);
	ca_put_int(w, "saved", saved->at);
	ca_put_string(w, "version", by);
	ca_put_bool(w, "redacted", saved->redacted);
	ca_object_end(w);
	ca_line(w, "a snapshot of %s, saved %s by coreanalyze %s%s", from, at, by,
		saved->redacted ? ", without values" : "");
	ca_arena_fini(&scratch);
}

static void put_summary(struct ca_writer *w, const struct ca_session *session)
{
	const struct ca_image *image = session->image;
	char size[32], exe[512];

	ca_escape(exe, sizeof(exe), image->exe, strlen(image->exe));
	ca_format_size(size, sizeof(size), image->core_bytes);
	ca_title(w, "CPython %s, %s, process %d (%s)", session->rt->version, image->arch, image->pid, exe);
	ca_line(w, "%s: %s, %zu mappings, %zu threads, %s", image->live ? "copied" : "core", size,
		image->mapping_count, image->lwp_count, image->complete ? "complete" : "incomplete");
	put_taken(w, image);
}

static struct ca_error *run_info(struct ca_request *request, enum ca_status *status)
{
	struct ca_session *session = NULL;
	struct ca_error *err = ca_open_target(request, 0, &session);

	(void)status;
	if (!err)
		err = ca_session_runtime(session);
	if (!err) {
		struct ca_writer *w = ca_open_writer(request);

		ca_begin_document(w, request, session);
		put_summary(w, session);
		put_saved(w, session->image->saved);
		put_layout(w, session->rt);
		put_interpreters(w, session->rt);
		put_threads(w, session);
		put_modules(w, session->image);
		put_mappings(w, session->image);
		put_missing(w, session->image);
		err = ca_end_document(w, session, NULL);
	}
	ca_session_close(session);
	return err;
}

const struct ca_command ca_command_info = {
	.name = "info",
	.args = "TARGET",
	.least_args = 1,
	.most_args = 1,
	.summary = "what is in this core or process",
	.help = "What is in this core or process: the interpreter, its threads, the mapped files and "
		"whether they were found, what is missing, and how long a process stood still.\n\n"
		"Example: coreanalyze info core.1234 --json",
	.run = run_info,
};
