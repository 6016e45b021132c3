/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base.h"
#include "format.h"

#include <pthread.h>
#include <string.h>

/* effect: NULL is any. */
static struct ca_warning *find(struct ca_warnings *warnings, const char *kind, const char *effect)
{
	for (size_t i = 0; i < warnings->count; i++) {
		struct ca_warning *warning = &warnings->items[i];

		if (!strcmp(warning->kind, kind) && (!effect || !strcmp(warning->effect, effect)))
			return warning;
	}
	return NULL;
}

/* Its text is still to be given. */
static struct ca_warning *add(struct ca_warnings *warnings, const char *kind, const char *effect)
{
	warnings->items = ca_grow(warnings->items, &warnings->capacity, warnings->count + 1,
				  sizeof(*warnings->items));
	warnings->items[warnings->count] = (struct ca_warning){ .kind = kind, .effect = effect };
	return &warnings->items[warnings->count++];
}

/* What a damaged core tells may be any number. */
static uint64_t sum(uint64_t a, uint64_t b)
{
	return b < INT64_MAX && a < INT64_MAX - b ? a + b : INT64_MAX;
}

/* 0: none. */
static ca_addr lowest(ca_addr a, ca_addr b)
{
	return a && (!b || a < b) ? a : b;
}

static void warn(struct ca_warnings *warnings, const char *kind, ca_addr where, uint64_t bytes,
		 const char *effect, const char *format, va_list args)
{
	struct ca_warning *warning = find(warnings, kind, effect);

	if (!warning) {
		warning = add(warnings, kind, effect);
		warning->text = ca_format_args(format, args);
	}
	warning->first = lowest(warning->first, where);
	warning->count++;
	warning->bytes = sum(warning->bytes, bytes);
}

void ca_warn(struct ca_context *ctx, const char *kind, ca_addr where, const char *effect,
	     const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(ctx->warnings.lock);
	va_start(args, format);
	warn(&ctx->warnings, kind, where, 0, effect, format, args);
	va_end(args);
	pthread_mutex_unlock(ctx->warnings.lock);
}

void ca_warn_bytes(struct ca_context *ctx, const char *kind, ca_addr where, uint64_t bytes,
		   const char *effect, const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(ctx->warnings.lock);
	va_start(args, format);
	warn(&ctx->warnings, kind, where, bytes, effect, format, args);
	va_end(args);
	ctx->warnings.lost = true;
	pthread_mutex_unlock(ctx->warnings.lock);
}

void ca_warn_weigh(struct ca_context *ctx, const char *kind, uint64_t bytes)
{
	pthread_mutex_lock(ctx->warnings.lock);
	struct ca_warning *warning = find(&ctx->warnings, kind, NULL);

	if (warning)
		warning->bytes = sum(warning->bytes, bytes);
	pthread_mutex_unlock(ctx->warnings.lock);
}

void ca_warn_again(struct ca_context *ctx, const struct ca_warning *told)
{
	struct ca_warnings *warnings = &ctx->warnings;

	pthread_mutex_lock(warnings->lock);
	struct ca_warning *warning = find(warnings, told->kind, told->effect);

	if (!warning) {
		warning = add(warnings, told->kind, told->effect);
		warning->text = ca_strdup(told->text);
	}
	warning->first = lowest(warning->first, told->first);
	warning->count += told->count;
	warning->bytes = sum(warning->bytes, told->bytes);
	pthread_mutex_unlock(warnings->lock);
}
