/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What all documents share: how they open their target, begin and end. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "serve.h"

/* ---- progress: one line on stderr once a step takes over a second -------- */

struct progress {
	bool shown;
	struct timespec began, last;
};

static double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static void show_progress(void *arg, const char *step, uint64_t done, uint64_t total)
{
	struct progress *p = arg;

	if (!step) {
		if (p->shown)
			fprintf(stderr, "\r\033[K");
		p->shown = false;
		return;
	}
	if (seconds_since(&p->began) < 1 || seconds_since(&p->last) < 0.1)
		return;
	clock_gettime(CLOCK_MONOTONIC, &p->last);
	p->shown = true;
	if (total)
		fprintf(stderr, "\r\033[K%s: %llu %%", step, (unsigned long long)(done * 100 / total));
	else
		fprintf(stderr, "\r\033[K%s", step);
}

static void watch_progress(const struct ca_request *request, struct ca_context *ctx)
{
	if (request->progress == CA_NEVER || (request->progress == CA_AUTO && !isatty(STDERR_FILENO)))
		return;

	struct progress *p = ca_arena_alloc(&ctx->arena, sizeof(*p));

	clock_gettime(CLOCK_MONOTONIC, &p->began);
	ctx->progress = show_progress;
	ctx->progress_arg = p;
}

/* ---- targets and writers -------------------------------------------------- */

static struct ca_error *open_target(const struct ca_request *request, size_t index,
				    struct ca_session **out)
{
	if (request->asked)
		return ca_targets_find(request->asked->targets, request->args[index], request->threads,
				       out);

	struct ca_session *session = ca_session_make();

	if (request->threads)
		session->ctx.threads = request->threads;
	session->ctx.verbose = request->verbose;
	watch_progress(request, &session->ctx);
	*out = session;
	return ca_session_open(session, request->args[index], &request->files);
}

struct ca_error *ca_open_target(struct ca_request *request, size_t index, struct ca_session **out)
{
	struct ca_error *err = open_target(request, index, out);

	if (!err && (*out)->image->saved)
		request->redact |= (*out)->image->saved->redacted;
	return err;
}

static struct ca_error *show_stage(struct ca_request *request,
				   struct ca_error *(*stage)(struct ca_session *),
				   struct ca_error *(*show)(struct ca_request *, struct ca_session *))
{
	struct ca_session *session = NULL;
	struct ca_error *err = ca_open_target(request, 0, &session);

	if (!err)
		err = stage(session);
	if (!err)
		err = show(request, session);
	ca_session_close(session);
	return err;
}

struct ca_error *ca_show_objects(struct ca_request *request,
				 struct ca_error *(*show)(struct ca_request *, struct ca_session *))
{
	return show_stage(request, ca_session_objects, show);
}

struct ca_error *ca_show_graph(struct ca_request *request,
			       struct ca_error *(*show)(struct ca_request *, struct ca_session *))
{
	return show_stage(request, ca_session_graph, show);
}

static unsigned terminal_width(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

struct ca_writer *ca_open_writer(const struct ca_request *request)
{
	const struct ca_asked *asked = request->asked;

	if (asked)
		return ca_writer_open(asked->out, &(struct ca_writer_options){
			.form = request->form,
			.color = request->color == CA_ALWAYS,
			.width = asked->width,
		});

	const char *no_color = getenv("NO_COLOR");
	bool terminal = isatty(STDOUT_FILENO);
	struct ca_writer_options options = {
		.form = request->form,
		.color = request->color == CA_ALWAYS ||
			 (request->color == CA_AUTO && terminal && !(no_color && *no_color)),
		.width = terminal ? terminal_width() : 0,
	};

	return ca_writer_open(stdout, &options);
}

/* ---- target --------------------------------------------------------------- */

static void put_escaped(struct ca_writer *w, struct ca_arena *arena, const char *key,
			const char *text)
{
	ca_put_string(w, key, text ? ca_escape_arena(arena, text, strlen(text)) : NULL);
}

void ca_put_target(struct ca_writer *w, const char *key, const struct ca_request *request,
		   const struct ca_session *session)
{
	const struct ca_image *image = session->image;
	struct ca_arena scratch = {0};

	ca_object_begin(w, key);
	put_escaped(w, &scratch, "path", image->path);
	if (image->pid)
		ca_put_int(w, "pid", image->pid);
	else
		ca_put_null(w, "pid");
	put_escaped(w, &scratch, "exe", *image->exe ? image->exe : NULL);
	ca_list_begin(w, "command_line");
	for (size_t i = 0; image->command_line && image->command_line[i]; i++)
		if (i == 0 || !request->redact)
			put_escaped(w, &scratch, NULL, image->command_line[i]);
	ca_list_end(w);
	ca_put_string(w, "python", session->rt ? session->rt->version : NULL);
	ca_put_string(w, "build", session->rt ? "default" : NULL);
	ca_put_string(w, "arch", image->arch);
	ca_put_bool(w, "complete", image->complete);
	ca_object_end(w);
	ca_arena_fini(&scratch);
}

void ca_begin_document(struct ca_writer *w, const struct ca_request *request,
		       const struct ca_session *session)
{
	char schema[64];

	if (session->ctx.progress)
		session->ctx.progress(session->ctx.progress_arg, NULL, 0, 0);
	snprintf(schema, sizeof(schema), "coreanalyze.%s/1", request->command->name);
	ca_object_begin(w, NULL);
	ca_put_string(w, "schema", schema);
	ca_put_target(w, "target", request, session);
}

static void tell_warning(struct ca_writer *w, const struct ca_warning *warning)
{
	char more[48] = "", most[64] = "";

	if (warning->count > 1)
		snprintf(more, sizeof(more), " (and %s more)", ca_grouped(warning->count - 1).text);
	if (warning->bytes)
		snprintf(most, sizeof(most), ": at most %s bytes", ca_grouped(warning->bytes).text);
	ca_line(w, "warning: %s%s: %s%s", warning->text, more, warning->effect, most);
}

static void put_warnings(struct ca_writer *w, const struct ca_session *session)
{
	for (size_t i = 0; session && i < session->ctx.warnings.count; i++) {
		const struct ca_warning *warning = &session->ctx.warnings.items[i];

		ca_object_begin(w, NULL);
		ca_put_string(w, "kind", warning->kind);
		ca_put_string(w, "text", warning->text);
		ca_put_string(w, "effect", warning->effect);
		ca_put_uint(w, "count", warning->count);
		if (warning->first)
			ca_put_addr(w, "address", warning->first);
		else
			ca_put_null(w, "address");
		ca_put_uint(w, "bytes", warning->bytes);
		ca_object_end(w);
		tell_warning(w, warning);
	}
}

static void tell_graph(const struct ca_graph *graph)
{
	const struct ca_reverse *reverse = graph->reverse;
	size_t node = sizeof(*graph->first), edge = sizeof(*graph->to) + sizeof(*graph->flags);

	if (reverse->first) {
		node += sizeof(*reverse->first);
		edge += sizeof(*reverse->from);
	}
	fprintf(stderr, "coreanalyze: graph of %u nodes, at %zu bytes each, and %llu edges, at %zu bytes each\n",
		graph->node_count, node, (unsigned long long)graph->edge_count, edge);
}

/* -v: what the answer cost. Bitmaps have four bits for each 16 bytes of arenas. */
static void tell_cost(const struct ca_session *session)
{
	const struct ca_objects *objects = session ? session->objects : NULL;
	const struct ca_graph *graph = session ? session->graph : NULL;
	struct rusage usage;

	if (!session || !session->ctx.verbose || getrusage(RUSAGE_SELF, &usage))
		return;
	if (objects)
		fprintf(stderr, "coreanalyze: %u objects of %u molds, at %zu bytes each, %zu arenas, %u threads\n",
			objects->count, objects->mold_count,
			sizeof(*objects->mold), objects->heap->arena_count, session->ctx.threads);
	if (graph)
		tell_graph(graph);
	fprintf(stderr, "coreanalyze: %ld.%02ld s of processor time, %ld KiB resident with the mapped core\n",
		(long)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec),
		(long)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 10000 % 100, usage.ru_maxrss);
}

struct ca_error *ca_end_document(struct ca_writer *w, struct ca_session *session,
				 struct ca_session *other)
{
	ca_session_look(session);
	if (other)
		ca_session_look(other);
	ca_list_begin(w, "warnings");
	put_warnings(w, session);
	put_warnings(w, other);
	ca_list_end(w);
	ca_object_end(w);
	tell_cost(session);
	tell_cost(other);
	return ca_writer_close(w);
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

void ca_put_trust(struct ca_writer *w, const struct ca_objects *objects)
{
	const struct ca_trust *t = &objects->trust;

	ca_object_begin(w, "trust");
	ca_put_uint(w, "blocks", t->blocks);
	ca_put_uint(w, "objects", t->objects);
	ca_put_uint(w, "owned", t->owned);
	ca_put_uint(w, "freelist", t->freelist);
	ca_put_uint(w, "unexplained", t->unexplained);
	ca_put_uint(w, "pool_blocks", t->counted);
	ca_put_string(w, "allocator", ca_allocator_name(objects->heap->allocator));
	if (ca_has(objects->rt->layout.obmalloc.raw_allocated_blocks) &&
	    objects->heap->allocator != CA_MIMALLOC)
		ca_put_uint(w, "allocated_blocks", t->counted + objects->heap->raw_allocated_blocks);
	else
		ca_put_null(w, "allocated_blocks");
	ca_object_end(w);
	if (!t->blocks) {
		ca_line(w, "trust: no allocator's blocks were found: objects were found by the "
			   "collector's lists and by references alone");
		return;
	}
	bool usual = objects->heap->allocator == CA_OBMALLOC;

	ca_line(w, "trust: %.2f %% of %s allocated blocks%s%s explained",
		percent(t->blocks - t->unexplained, t->blocks), ca_grouped(t->blocks).text,
		usual ? "" : " of ", usual ? "" : ca_allocator_name(objects->heap->allocator));
	ca_line(w, "  %s objects, %s buffers of objects, %s on free lists, %s unexplained",
		ca_grouped(t->objects).text, ca_grouped(t->owned).text, ca_grouped(t->freelist).text,
		ca_grouped(t->unexplained).text);
}

size_t ca_shown(const struct ca_request *request, size_t count, size_t fallback)
{
	uint64_t limit = request->limit >= 0 ? (uint64_t)request->limit : fallback;

	return limit && limit < count ? (size_t)limit : count;
}

struct ca_error *ca_bad_sort(const struct ca_request *request, const char *keys)
{
	char key[64];

	ca_escape(key, sizeof(key), request->sort, strlen(request->sort));
	return ca_error_make(CA_USAGE, "--sort", keys, "%s does not sort by '%s', but by",
			     request->command->name, key);
}

bool ca_parse_address(const char *text, ca_addr *address)
{
	char *end;

	while (isspace((unsigned char)*text))
		text++;
	errno = 0;
	*address = strtoull(text, &end, strncmp(text, "0x", 2) == 0 ? 16 : 10);
	while (isspace((unsigned char)*end))
		end++;
	return isdigit((unsigned char)*text) && !*end && !errno;
}

struct ca_error *ca_bad_address(const char *text)
{
	char escaped[128];

	ca_escape(escaped, sizeof(escaped), text, strlen(text));
	return ca_error_make(CA_USAGE, "ADDR", "give it as 0x7f12..., as id() and the tables print it",
			     "'%s' is no address", escaped);
}

const char *ca_date(struct ca_arena *arena, int64_t when)
{
	time_t seconds = (time_t)(when / 1000);
	char text[32];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	return ca_arena_printf(arena, "%s.%03dZ", text, (int)(when % 1000));
}
