/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS_MAX = 256 };

static unsigned usable_cpus(void)
{
	cpu_set_t set;
	long cpus = 0;

	CPU_ZERO(&set);
	/* Fails on machines with more CPUs than the set has bits. */
	if (!sched_getaffinity(0, sizeof(set), &set))
		cpus = CPU_COUNT(&set);
	else
		cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (cpus < 1)
		return 1;
	return cpus > THREADS_MAX ? THREADS_MAX : (unsigned)cpus;
}

void ca_context_init(struct ca_context *ctx)
{
	*ctx = (struct ca_context){ .threads = usable_cpus() };
	ctx->warnings.lock = ca_alloc(sizeof(pthread_mutex_t));
	pthread_mutex_init(ctx->warnings.lock, NULL);
}

void ca_context_fini(struct ca_context *ctx)
{
	for (size_t i = 0; i < ctx->warnings.count; i++)
		free(ctx->warnings.items[i].text);
	free(ctx->warnings.items);
	pthread_mutex_destroy(ctx->warnings.lock);
	free(ctx->warnings.lock);
	ca_arena_fini(&ctx->arena);
	*ctx = (struct ca_context){ 0 };
}

void ca_progress(struct ca_context *ctx, const char *step, uint64_t done, uint64_t total)
{
	if (ctx->progress)
		ctx->progress(ctx->progress_arg, step, done, total);
}
