/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * session: an opened target and the stages made of it, each on first demand:
 * image, then objects, then the graph of their references.
 */
#ifndef CA_SESSION_H
#define CA_SESSION_H

#include "analysis/analysis.h"

struct ca_session {
	struct ca_context ctx;
	struct ca_image *image;
	struct ca_runtime *rt;       /* set by ca_session_runtime() */
	struct ca_objects *objects;  /* set by ca_session_objects() */
	struct ca_graph *graph;      /* set by ca_session_graph() */
	bool kept;                   /* by somebody else, for the next question */
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
void ca_session_close(struct ca_session *session); /* NULL is allowed; nothing to a kept one */

#endif
