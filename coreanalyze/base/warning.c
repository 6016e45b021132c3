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

void ca_warn(struct ca_context *ctx, const char *kind, ca_addr where, const char *effect,
	     const char *format, ...)
{
	struct ca_warnings *warnings = &ctx->warnings;
	va_list args;

	pthread_mutex_lock(warnings->lock);
	struct ca_warning *known = find(warnings, kind);

	if (known) {
		known->count++;
	} else {
		warnings->items = ca_grow(warnings->items, &warnings->capacity,
					  warnings->count + 1, sizeof(*warnings->items));
		va_start(args, format);
		warnings->items[warnings->count++] = (struct ca_warning){
			.kind = kind,
			.text = ca_format_args(format, args),
			.effect = effect ? effect : "",
			.first = where,
			.count = 1,
		};
		va_end(args);
	}
	pthread_mutex_unlock(warnings->lock);
}
