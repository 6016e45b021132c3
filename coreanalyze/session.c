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

struct ca_error *ca_session_open(struct ca_session *session, const char *target,
				 const struct ca_image_options *options)
{
	return ca_image_open(&session->ctx, target, options, &session->image);
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
	if (session->rt)
		return NULL;
	return blame_damage(session, ca_runtime_open(&session->ctx, session->image, &session->rt));
}

struct ca_error *ca_session_objects(struct ca_session *session)
{
	struct ca_error *err = ca_session_runtime(session);

	if (err || session->objects)
		return err;
	return blame_damage(session, ca_objects_open(&session->ctx, session->rt, &session->objects));
}

struct ca_error *ca_session_graph(struct ca_session *session)
{
	struct ca_error *err = ca_session_objects(session);

	if (err || session->graph)
		return err;
	ca_objects_learn(session->objects);
	return blame_damage(session, ca_graph_build(&session->ctx, session->objects, &session->graph));
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
	if (session->image)
		ca_image_close(session->image);
	ca_context_fini(&session->ctx);
	free(session);
}
