/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ranges of edges, made by several workers, become one. They are handed out in
 * order, so few wait for one before them, and the allocator has their memory for
 * the next.
 */
#include <stdlib.h>

#include "private.h"

void ca_span_reserve(struct ca_span *span, size_t more)
{
	span->to = ca_grow(span->to, &span->to_room, span->count + more, sizeof(*span->to));
	span->flags = ca_grow(span->flags, &span->flags_room, span->count + more, 1);
}

static void append(struct ca_span *all, struct ca_span *span)
{
	if (span->count) {
		ca_span_reserve(all, span->count);
		memcpy(all->to + all->count, span->to, span->count * sizeof(*span->to));
		memcpy(all->flags + all->count, span->flags, span->count);
		all->count += span->count;
	}
	free(span->to);
	free(span->flags);
}

void ca_span_join(struct ca_builder *builder, size_t index, struct ca_span *span)
{
	pthread_mutex_lock(&builder->lock);
	builder->spans[index] = *span;
	builder->spans[index].done = true;
	while (builder->joined < builder->span_count && builder->spans[builder->joined].done)
		append(&builder->edges, &builder->spans[builder->joined++]);
	pthread_mutex_unlock(&builder->lock);
	*span = (struct ca_span){0};
}
