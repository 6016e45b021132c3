/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * session: an opened target and the stages made of it, each on first demand:
 * image, then objects, then the graph of their references. A snapshot has them already.
 */
#ifndef CA_SESSION_H
#define CA_SESSION_H

#include "analysis/analysis.h"
#include "store/store.h"

struct ca_session {
	struct ca_context ctx;
	struct ca_image *image;
	struct ca_runtime *rt;       /* set by ca_session_runtime() */
	struct ca_objects *objects;  /* set by ca_session_objects() */
	struct ca_graph *graph;      /* set by ca_session_graph() */
	bool kept;                   /* by somebody else, for the next question */
	struct ca_snapshot *snapshot;      /* of a snapshot, else NULL */
	struct ca_warnings told[CA_STAGES]; /* what there was to warn of when a stage was done */
};

/* Without a target yet: set what is to differ in its context first. */
struct ca_session *ca_session_make(void);
/* Opens the image. After an error the session is still to be closed. */
struct ca_error *ca_session_open(struct ca_session *session, const char *target,
				 const struct ca_image_options *options);
struct ca_error *ca_session_runtime(struct ca_session *session);
struct ca_error *ca_session_objects(struct ca_session *session);
struct ca_error *ca_session_graph(struct ca_session *session);
/* Asked anew at each call. filter may be NULL. After an error facts are not to be ended. */
struct ca_error *ca_session_cycles(struct ca_session *session, bool all_edges,
				   const struct ca_cycle_filter *filter, struct ca_cycle_facts *facts);
/* Warns of what was found to be damaged since, before warnings are shown. */
void ca_session_look(struct ca_session *session);
/*
 * Makes what stages are missing, and writes all to a snapshot (store/store.h). *bytes: what the file takes.
 */
struct ca_error *ca_session_save(struct ca_session *session, const char *file,
				 const struct ca_save_options *options, uint64_t *bytes);
void ca_session_close(struct ca_session *session); /* NULL is allowed; nothing to a kept one */

#endif
