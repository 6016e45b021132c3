/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct job {
	size_t items, grain, ranges;
	atomic_size_t next_range;
	void (*work)(void *arg, unsigned worker, size_t begin, size_t end);
	void *arg;
};

struct worker {
	struct job *job;
	unsigned number;
	pthread_t thread;
};

static void *run(void *arg)
{
	const struct worker *worker = arg;
	struct job *job = worker->job;

	for (;;) {
		size_t range = atomic_fetch_add(&job->next_range, 1);

		if (range >= job->ranges)
			return NULL;
		size_t begin = range * job->grain;
		size_t left = job->items - begin;

		job->work(job->arg, worker->number, begin,
			  begin + (left < job->grain ? left : job->grain));
	}
}

void ca_parallel(struct ca_context *ctx, size_t items, size_t grain,
		 void (*work)(void *arg, unsigned worker, size_t begin, size_t end), void *arg)
{
	if (!items)
		return;
	if (!grain)
		grain = 1;
	struct job job = {
		.items = items,
		.grain = grain,
		.ranges = (items - 1) / grain + 1,
		.work = work,
		.arg = arg,
	};
	unsigned wanted = ctx->threads;

	if (wanted > job.ranges)
		wanted = (unsigned)job.ranges;
	struct worker *workers = ca_alloc((wanted ? wanted : 1) * sizeof(*workers));
	unsigned started = 1;

	/* This thread is worker 0; whoever cannot be started is not missed. */
	for (; started < wanted; started++) {
		workers[started] = (struct worker){ .job = &job, .number = started };
		if (pthread_create(&workers[started].thread, NULL, run, &workers[started]))
			break;
	}
	workers[0] = (struct worker){ .job = &job };
	run(&workers[0]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	free(workers);
}
