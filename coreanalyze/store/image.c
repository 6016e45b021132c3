/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The facts of an image: all but its bytes. */
#include <stdlib.h>
#include <string.h>

#include "private.h"

static void saved_facts(struct ca_facts *facts, struct ca_saved *saved)
{
	ca_fact_text(facts, &saved->from);
	ca_fact_text(facts, &saved->by);
	ca_fact_i64(facts, &saved->at);
	ca_fact_bool(facts, &saved->redacted);
}

/* NULL-ended. */
static void command_line_facts(struct ca_facts *facts, struct ca_image *image, bool redacted)
{
	size_t count = 0;

	while (facts->saving && image->command_line[count] && (!redacted || !count))
		count++;
	count = ca_fact_count(facts, count, 8);
	if (!facts->saving)
		image->command_line = ca_arena_alloc(facts->arena, (count + 1) * sizeof(*image->command_line));
	for (size_t i = 0; i < count; i++)
		ca_fact_text(facts, &image->command_line[i]);
}

static void taken_facts(struct ca_facts *facts, struct ca_taken *taken)
{
	ca_fact_raw(facts, taken->method, sizeof(taken->method));
	taken->method[sizeof(taken->method) - 1] = '\0';
	ca_fact_i32(facts, &taken->pid);
	ca_fact_i32(facts, &taken->lwp);
	ca_fact_i64(facts, &taken->at);
	ca_fact_u64(facts, &taken->pause_ns);
	ca_fact_u32(facts, &taken->attempts);
	ca_fact_u64(facts, &taken->lost_pages);
	ca_fact_i32(facts, &taken->collecting);
	ca_fact_i32(facts, &taken->broken_lists);
	ca_fact_i32(facts, &taken->gil);
	ca_fact_i32(facts, &taken->gil_lwp);
	ca_fact_i32(facts, &taken->gil_in_call);
}

static void process_facts(struct ca_facts *facts, struct ca_image *image, bool redacted)
{
	ca_fact_i32(facts, &image->pid);
	ca_fact_text(facts, &image->exe);
	command_line_facts(facts, image, redacted);
	ca_fact_text(facts, &image->arch);
	ca_fact_bool(facts, &image->complete);
	ca_fact_u64(facts, &image->core_bytes);
	ca_fact_bool(facts, &image->live);
	taken_facts(facts, &image->taken);
	if (!image->exe)
		image->exe = "";
}

static void mapping_facts(struct ca_facts *facts, struct ca_mapping *mapping)
{
	ca_fact_u64(facts, &mapping->start);
	ca_fact_u64(facts, &mapping->end);
	ca_fact_u32(facts, &mapping->flags);
	ca_fact_u64(facts, &mapping->offset);
	ca_fact_text(facts, &mapping->path);
	ca_fact_u64(facts, &mapping->dumped);
	if (!mapping->path)
		mapping->path = "";
}

static void module_facts(struct ca_facts *facts, struct ca_module *module)
{
	uint64_t id_bytes = module->build_id_size;

	ca_fact_text(facts, &module->path);
	ca_fact_text(facts, &module->file);
	module->state = ca_fact_enum(facts, module->state, CA_MODULE_UNPROVED + 1);
	ca_fact_text(facts, &module->why);
	ca_fact_u64(facts, &module->start);
	ca_fact_u64(facts, &module->end);
	ca_fact_u64(facts, &module->bias);
	ca_fact_u64(facts, &module->data_start);
	ca_fact_u64(facts, &module->data_end);
	ca_fact_raw(facts, module->build_id, sizeof(module->build_id));
	ca_fact_u64(facts, &id_bytes);
	module->build_id_size = id_bytes < sizeof(module->build_id) ? id_bytes : sizeof(module->build_id);
	if (!module->path)
		module->path = "";
}

static void lwp_facts(struct ca_facts *facts, struct ca_lwp *lwp)
{
	ca_fact_i32(facts, &lwp->lwp);
	ca_fact_u64(facts, &lwp->ip);
	ca_fact_u64(facts, &lwp->sp);
	ca_fact_u64(facts, &lwp->fs_base);
	ca_fact_i32(facts, &lwp->signal);
}

static void segment_facts(struct ca_facts *facts, struct ca_segment *segment)
{
	ca_fact_u64(facts, &segment->start);
	ca_fact_u64(facts, &segment->end);
	ca_fact_u32(facts, &segment->flags);
}

/* Tables that are searched by address are sorted and disjoint. */
static void prove_order(struct ca_facts *facts, ca_addr *last, ca_addr start, ca_addr end)
{
	facts->damaged |= start < *last || end < start;
	*last = end;
}

void ca_facts_of_image(struct ca_facts *facts, struct ca_image *image, struct ca_saved *saved)
{
	ca_addr last = 0;

	saved_facts(facts, saved);
	process_facts(facts, image, saved->redacted);
	image->mappings = ca_fact_array(facts, image->mappings, &image->mapping_count,
					sizeof(*image->mappings), 6 * 8);
	for (size_t i = 0; i < image->mapping_count; i++) {
		mapping_facts(facts, &image->mappings[i]);
		prove_order(facts, &last, image->mappings[i].start, image->mappings[i].end);
	}
	image->modules = ca_fact_array(facts, image->modules, &image->module_count,
				       sizeof(*image->modules), 10 * 8);
	last = 0;
	for (size_t i = 0; i < image->module_count; i++) {
		module_facts(facts, &image->modules[i]);
		prove_order(facts, &last, image->modules[i].start, image->modules[i].end);
	}
	image->lwps = ca_fact_array(facts, image->lwps, &image->lwp_count, sizeof(*image->lwps), 5 * 8);
	for (size_t i = 0; i < image->lwp_count; i++)
		lwp_facts(facts, &image->lwps[i]);
	last = 0;
	image->segments = ca_fact_array(facts, image->segments, &image->segment_count,
					sizeof(*image->segments), 3 * 8);
	for (size_t i = 0; i < image->segment_count; i++) {
		segment_facts(facts, &image->segments[i]);
		prove_order(facts, &last, image->segments[i].start, image->segments[i].end);
		facts->damaged |= image->segments[i].start == image->segments[i].end;
	}
}
