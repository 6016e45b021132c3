/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "session.h"

struct ca_session *ca_session_make(void)
{
	struct ca_session *session = ca_alloc(sizeof(*session));

	ca_context_init(&session->ctx);
	return session;
}

/* Texts stay the context's. */
static struct ca_error *note_warnings(struct ca_session *session, enum ca_stage stage, struct ca_error *err)
{
	const struct ca_warnings *now = &session->ctx.warnings;
	struct ca_warnings *told = &session->told[stage];

	if (err)
		return err;
	told->items = ca_alloc((now->count + 1) * sizeof(*told->items));
	told->count = now->count;
	if (now->count)
		memcpy(told->items, now->items, now->count * sizeof(*told->items));
	return NULL;
}

struct ca_error *ca_session_open(struct ca_session *session, const char *target,
				 const struct ca_image_options *options)
{
	struct ca_error *err = ca_image_open(&session->ctx, target, options, &session->image);

	if (!err)
		err = ca_snapshot_open(&session->ctx, session->image, &session->snapshot);
	return note_warnings(session, CA_STAGE_IMAGE, err);
}

/* An answer that fails on a damaged core must not sound as if it were whole. */
static struct ca_error *blame_damage(const struct ca_session *session, struct ca_error *err)
{
	static const char *const kinds[] = {"damaged-compression", "truncated", "missing-memory"};
	const struct ca_warnings *warnings = &session->ctx.warnings;

	for (size_t i = 0; err && i < warnings->count; i++) {
		for (size_t k = 0; k < CA_COUNT(kinds); k++) {
			if (strcmp(warnings->items[i].kind, kinds[k]) != 0)
				continue;

			struct ca_error *more = ca_error_make(err->status, err->what, err->advice, "%s; %s",
							      err->why, warnings->items[i].text);

			ca_error_free(err);
			return more;
		}
	}
	return err;
}

struct ca_error *ca_session_runtime(struct ca_session *session)
{
	struct ca_error *err;

	if (session->rt)
		return NULL;
	err = session->snapshot ? ca_snapshot_runtime(session->snapshot, &session->rt)
			     : ca_runtime_open(&session->ctx, session->image, &session->rt);
	return note_warnings(session, CA_STAGE_RUNTIME, blame_damage(session, err));
}

struct ca_error *ca_session_objects(struct ca_session *session)
{
	struct ca_error *err = ca_session_runtime(session);

	if (err || session->objects)
		return err;
	err = session->snapshot ? ca_snapshot_objects(session->snapshot, session->rt, &session->objects)
			     : ca_objects_open(&session->ctx, session->rt, &session->objects);
	return note_warnings(session, CA_STAGE_OBJECTS, blame_damage(session, err));
}

struct ca_error *ca_session_graph(struct ca_session *session)
{
	struct ca_error *err = ca_session_objects(session);

	if (err || session->graph)
		return err;
	if (!session->snapshot)
		ca_objects_learn(session->objects);
	err = session->snapshot ? ca_snapshot_graph(session->snapshot, session->objects, &session->graph)
			     : ca_graph_build(&session->ctx, session->objects, &session->graph);
	return note_warnings(session, CA_STAGE_GRAPH, blame_damage(session, err));
}

void ca_session_look(struct ca_session *session)
{
	if (session->snapshot)
		ca_snapshot_look(session->snapshot);
}

struct ca_error *ca_session_save(struct ca_session *session, const char *file,
				 const struct ca_save_options *options, uint64_t *bytes)
{
	struct ca_error *err = ca_session_graph(session);
	struct ca_saving saving;

	if (err)
		return err;
	saving = (struct ca_saving){
		.ctx = &session->ctx,
		.image = session->image,
		.rt = session->rt,
		.objects = session->objects,
		.graph = session->graph,
	};
	memcpy(saving.warnings, session->told, sizeof(saving.warnings));
	return ca_snapshot_write(&saving, file, options, bytes);
}

struct ca_error *ca_session_cycles(struct ca_session *session, bool all_edges,
				   const struct ca_cycle_filter *filter, struct ca_cycle_facts *facts)
{
	struct ca_error *err = ca_session_graph(session);

	if (err)
		return err;
	ca_gc_facts_build(session->objects, &facts->gc);
	ca_cycles_build(&session->ctx, session->graph, &facts->gc, all_edges, filter, &facts->cycles);
	if (facts->cycles.garbage.overcounted)
		ca_warn(&session->ctx, "overcounted", 0, "what is called garbage may be alive",
			"%llu objects of the garbage have more references than they count",
			(unsigned long long)facts->cycles.garbage.overcounted);
	return NULL;
}

void ca_session_close(struct ca_session *session)
{
	if (!session || session->kept)
		return;
	ca_graph_free(session->graph);
	if (session->objects)
		ca_objects_close(session->objects);
	if (session->rt)
		ca_runtime_close(session->rt);
	ca_snapshot_close(session->snapshot);
	for (size_t i = 0; i < CA_STAGES; i++)
		free(session->told[i].items);
	if (session->image)
		ca_image_close(session->image);
	ca_context_fini(&session->ctx);
	free(session);
}
