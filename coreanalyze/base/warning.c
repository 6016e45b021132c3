/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base.h"
#include "format.h"

#include <pthread.h>
#include <string.h>

static struct ca_warning *find(struct ca_warnings *warnings, const char *kind)
{
	for (size_t i = 0; i < warnings->count; i++) {
		if (!strcmp(warnings->items[i].kind, kind))
			return &warnings->items[i];
	}
	return NULL;
}

/* Its text is still to be given. */
static struct ca_warning *add(struct ca_warnings *warnings, const char *kind)
{
	warnings->items = ca_grow(warnings->items, &warnings->capacity, warnings->count + 1,
				  sizeof(*warnings->items));
	warnings->items[warnings->count] = (struct ca_warning){ .kind = kind, .effect = "" };
	return &warnings->items[warnings->count++];
}

void ca_warn(struct ca_context *ctx, const char *kind, ca_addr where, const char *effect,
	     const char *format, ...)
{
	struct ca_warnings *warnings = &ctx->warnings;
	va_list args;

	pthread_mutex_lock(warnings->lock);
	struct ca_warning *warning = find(warnings, kind);

	if (!warning) {
		warning = add(warnings, kind);
		va_start(args, format);
		warning->text = ca_format_args(format, args);
		va_end(args);
		warning->effect = effect ? effect : "";
		warning->first = where;
	}
	warning->count++;
	pthread_mutex_unlock(warnings->lock);
}

void ca_warn_again(struct ca_context *ctx, const struct ca_warning *told)
{
	struct ca_warnings *warnings = &ctx->warnings;

	pthread_mutex_lock(warnings->lock);
	struct ca_warning *warning = find(warnings, told->kind);

	if (!warning) {
		warning = add(warnings, told->kind);
		warning->text = ca_strdup(told->text);
		warning->effect = told->effect;
		warning->first = told->first;
	}
	warning->count += told->count;
	pthread_mutex_unlock(warnings->lock);
}
