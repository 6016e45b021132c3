/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The collector's lists, summed up. */
#include <stdlib.h>

#include "analysis.h"

struct job {
	const struct ca_objects *objects;
	struct ca_gc_sums *interps;
	uint64_t listed;
};

static void add_node(void *arg, size_t interp, ca_node node, enum ca_gc_place place)
{
	struct job *job = arg;
	struct ca_gc_sums *sums = &job->interps[interp];
	struct ca_gc_sum *sum = place == CA_GC_FROZEN ? &sums->frozen
						      : &sums->generations[place - CA_GC_GENERATION];

	sum->objects++;
	sum->bytes += ca_node_bytes(job->objects, node);
	sum->owned += ca_node_owned(job->objects, node);
	job->listed += ca_node_tracked(job->objects, node);
}

void ca_gc_report_build(struct ca_objects *objects, struct ca_gc_report *report)
{
	struct job job = {.objects = objects};
	uint64_t tracked = 0;

	job.interps = ca_alloc((objects->rt->interp_count + 1) * sizeof(*job.interps));
	report->places = ca_objects_places(objects, add_node, &job);
	for (ca_node node = 1; node <= objects->count; node++)
		tracked += ca_node_tracked(objects, node);
	report->interps = job.interps;
	report->unlisted = tracked - job.listed;
}

void ca_gc_report_fini(struct ca_gc_report *report)
{
	free(report->interps);
	free(report->places);
	*report = (struct ca_gc_report){0};
}
