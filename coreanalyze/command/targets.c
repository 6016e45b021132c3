/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The targets that `serve` has open, and their names. */
#include <stdlib.h>
#include <string.h>

#include "serve.h"

enum { TARGETS_MAX = 256, NAME_MAX_BYTES = 64 };

struct named {
	char *name;
	struct ca_session *session; /* two names may share one */
};

struct ca_targets {
	const struct ca_request *request;
	char *target;           /* serve's argument, or what took its place */
	struct ca_session *own; /* of serve's argument; NULL: to be opened */
	struct named *named;
	size_t count, capacity;
};

struct ca_targets *ca_targets_make(const struct ca_request *request)
{
	struct ca_targets *targets = ca_alloc(sizeof(*targets));

	targets->request = request;
	targets->target = ca_strdup(request->args[0]);
	return targets;
}

static struct named *find(const struct ca_targets *targets, const char *name)
{
	for (size_t i = 0; i < targets->count; i++)
		if (strcmp(targets->named[i].name, name) == 0)
			return &targets->named[i];
	return NULL;
}

static bool is_in_use(const struct ca_targets *targets, const struct ca_session *session)
{
	bool used = targets->own == session;

	for (size_t i = 0; i < targets->count; i++)
		used |= targets->named[i].session == session;
	return used;
}

static void close_unused(const struct ca_targets *targets, struct ca_session *session)
{
	if (!session || is_in_use(targets, session))
		return;
	session->kept = false;
	ca_session_close(session);
}

static struct ca_error *open_one(const struct ca_targets *targets, const char *target,
				 struct ca_session **out)
{
	struct ca_session *session = ca_session_make();
	struct ca_error *err;

	if (targets->request->threads)
		session->ctx.threads = targets->request->threads;
	err = ca_session_open(session, target, &targets->request->files);
	if (!err)
		err = ca_session_runtime(session);
	if (err) {
		ca_session_close(session);
		return err;
	}
	session->kept = true;
	*out = session;
	return NULL;
}

struct ca_error *ca_targets_find(struct ca_targets *targets, const char *name, unsigned threads,
				 struct ca_session **out)
{
	bool own = strcmp(name, ".") == 0 || strcmp(name, targets->target) == 0;
	const struct named *named = find(targets, name);
	struct ca_error *err = NULL;

	if (own && !targets->own)
		err = open_one(targets, targets->target, &targets->own);
	*out = own ? targets->own : named ? named->session : NULL;
	if (err || !*out)
		return err ? err
			   : ca_error_make(CA_USAGE, "no such target", "`open NAME TARGET` opens it",
					   "nothing is open under this name");
	if (threads)
		(*out)->ctx.threads = threads;
	return NULL;
}

static bool is_name(const char *name)
{
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			return false;
	return *name && strlen(name) <= NAME_MAX_BYTES && strcmp(name, ".") != 0;
}

static struct ca_error *check_name(const struct ca_targets *targets, const char *name)
{
	if (!is_name(name))
		return ca_error_make(CA_USAGE, "NAME", "a word of up to 64 characters", "it is no name");
	if (targets->count == TARGETS_MAX && !find(targets, name))
		return ca_error_make(CA_USAGE, "NAME", "close one", "%u are open already", TARGETS_MAX);
	return NULL;
}

static void give_name(struct ca_targets *targets, const char *name, struct ca_session *session)
{
	struct named *named = find(targets, name);

	if (named) {
		struct ca_session *before = named->session;

		named->session = session;
		close_unused(targets, before);
		return;
	}
	targets->named = ca_grow(targets->named, &targets->capacity, targets->count + 1,
				 sizeof(*targets->named));
	targets->named[targets->count++] = (struct named){ca_strdup(name), session};
}

struct ca_error *ca_targets_open(struct ca_targets *targets, const char *name, const char *target)
{
	struct ca_session *session = NULL;
	struct ca_error *err = check_name(targets, name);

	if (!err)
		err = open_one(targets, target, &session);
	if (!err)
		give_name(targets, name, session);
	return err;
}

bool ca_targets_close(struct ca_targets *targets, const char *name)
{
	struct named *named = find(targets, name);

	if (!named)
		return false;

	struct ca_session *session = named->session;

	free(named->name);
	*named = targets->named[--targets->count];
	close_unused(targets, session);
	return true;
}

struct ca_error *ca_targets_keep(struct ca_targets *targets, const char *name)
{
	struct ca_session *session = NULL;
	struct ca_error *err = check_name(targets, name);

	if (!err)
		err = ca_targets_find(targets, ".", 0, &session);
	if (!err)
		err = ca_session_objects(session);
	if (!err)
		give_name(targets, name, session);
	return err;
}

void ca_targets_refresh(struct ca_targets *targets, const char *target)
{
	struct ca_session *session = targets->own;

	if (target) {
		free(targets->target);
		targets->target = ca_strdup(target);
	}

	targets->own = NULL;
	if (session)
		ca_image_let_go(session->image);
	close_unused(targets, session);
}

void ca_targets_each(const struct ca_targets *targets,
		     void (*each)(void *arg, const char *name, const struct ca_session *session),
		     void *arg)
{
	for (size_t i = 0; i < targets->count; i++)
		each(arg, targets->named[i].name, targets->named[i].session);
}
