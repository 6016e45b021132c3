/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "private.h"

/*
 * What these have is written here, or made anew when it is read. Who adds to one of them adds it to its facts, with a
 * new version, or sees that it need not be, and puts in its new size.
 */
#define SIZE(structure, bytes)                                                       \
	_Static_assert(sizeof(struct structure) == (bytes), "a snapshot lacks what is new in " #structure)
SIZE(ca_image, 232);
SIZE(ca_taken, 80);
SIZE(ca_mapping, 48);
SIZE(ca_module, 152);
SIZE(ca_lwp, 72);
SIZE(ca_segment, 32);
SIZE(ca_runtime, 2360);
SIZE(ca_interp, 32);
SIZE(ca_thread, 40);
SIZE(ca_found_field, 24);
SIZE(ca_objects, 272);
SIZE(ca_heap, 88);
SIZE(ca_arena_range, 24);
SIZE(ca_trust, 48);
SIZE(ca_mold, 32);
SIZE(ca_type_row, 24);
SIZE(ca_learnt, 72);
SIZE(ca_types, 128);
SIZE(ca_graph, 128);
SIZE(ca_root, 24);
SIZE(ca_mismatch, 20);
SIZE(ca_audit, 40);
#undef SIZE

/* ---- facts ------------------------------------------------------------------- */

static void put_facts(struct ca_draft *draft, const struct ca_saving *saving,
		      enum ca_section_id id, enum ca_stage stage, struct ca_facts *facts)
{
	ca_facts_of_warnings(facts, NULL, stage ? &saving->warnings[stage - 1] : NULL,
			     &saving->warnings[stage]);
	ca_draft_section(draft, saving->ctx, id, facts->bytes, facts->size, 1);
	free(facts->bytes);
}

static void put_image(struct ca_draft *draft, const struct ca_saving *saving, bool redact)
{
	const struct ca_image *image = saving->image;
	struct ca_facts facts = {.saving = true};
	struct ca_saved saved = {.from = image->path, .by = CA_VERSION, .at = (int64_t)time(NULL)};

	if (image->saved)
		saved = *image->saved;
	saved.redacted |= redact;
	ca_facts_of_image(&facts, saving->image, &saved);
	put_facts(draft, saving, CA_SECTION_IMAGE, CA_STAGE_IMAGE, &facts);
}

static void put_runtime(struct ca_draft *draft, const struct ca_saving *saving)
{
	struct ca_facts facts = {.saving = true};

	ca_facts_of_runtime(&facts, (struct ca_runtime *)saving->rt);
	put_facts(draft, saving, CA_SECTION_RUNTIME, CA_STAGE_RUNTIME, &facts);
}

static void put_objects(struct ca_draft *draft, const struct ca_saving *saving)
{
	struct ca_facts facts = {.saving = true};
	struct ca_objects_saved saved;

	ca_objects_save(saving->objects, &saved);
	ca_facts_of_objects(&facts, &saved);
	ca_facts_of_learnt(&facts, saving->objects);
	put_facts(draft, saving, CA_SECTION_OBJECTS, CA_STAGE_OBJECTS, &facts);
	ca_draft_section(draft, saving->ctx, CA_SECTION_BITS, saved.bits, saved.words, 8);
	ca_draft_section(draft, saving->ctx, CA_SECTION_MOLD, saved.mold, saved.count + 1ull, 4);
	ca_draft_section(draft, saving->ctx, CA_SECTION_MOLDS, saved.molds, saved.mold_count,
			  sizeof(*saved.molds));
	free(saved.regions);
	free(saved.types);
}

static void put_graph(struct ca_draft *draft, const struct ca_saving *saving)
{
	const struct ca_graph *graph = saving->graph;
	struct ca_context *ctx = saving->ctx;
	struct ca_facts facts = {.saving = true};
	uint64_t nodes = graph->node_count + 1ull;

	ca_facts_of_graph(&facts, (struct ca_graph *)graph);
	put_facts(draft, saving, CA_SECTION_GRAPH, CA_STAGE_GRAPH, &facts);
	ca_draft_section(draft, ctx, CA_SECTION_FIRST, graph->first, nodes, sizeof(*graph->first));
	ca_draft_section(draft, ctx, CA_SECTION_TO, graph->to, graph->edge_count, sizeof(*graph->to));
	ca_draft_section(draft, ctx, CA_SECTION_FLAGS, graph->flags, graph->edge_count, 1);
	ca_draft_section(draft, ctx, CA_SECTION_MISMATCHES, graph->audit.items, graph->audit.count,
			  sizeof(*graph->audit.items));
}

static bool write_snapshot(const struct ca_saving *saving, int fd, const struct ca_save_options *options)
{
	struct ca_keep *keep = ca_keep_begin(saving->image);
	struct ca_draft draft;

	ca_snapshot_ask(saving, keep, options->redact);
	ca_draft_open(&draft, fd, options->compress);
	put_image(&draft, saving, options->redact);
	put_runtime(&draft, saving);
	put_objects(&draft, saving);
	put_graph(&draft, saving);
	ca_snapshot_pack(&draft, saving, keep);
	ca_keep_end(saving->image);
	return ca_draft_close(&draft);
}

/* ---- the file's name ------------------------------------------------------------ */

static struct ca_error *cannot_write(struct ca_arena *arena, const char *file)
{
	const char *advice = errno == ENOSPC || errno == EDQUOT
				     ? "nothing is left behind; name a file on a larger disk with -o"
				     : "name another file with -o";

	return ca_error_make(CA_TARGET, "cannot write the snapshot", advice, "%s: %s",
			     ca_escape_arena(arena, file, strlen(file)), strerror(errno));
}

struct ca_error *ca_snapshot_write(const struct ca_saving *saving, const char *file,
				const struct ca_save_options *options, uint64_t *bytes)
{
	struct ca_arena *arena = &saving->ctx->arena;
	char *temporary = ca_arena_printf(arena, "%s.XXXXXX", file);
	int fd = mkostemp(temporary, O_CLOEXEC); /* 0600 */
	struct ca_error *err = NULL;
	off_t size;

	if (fd < 0)
		return cannot_write(arena, file);
	if (!write_snapshot(saving, fd, options) || fsync(fd) || (size = lseek(fd, 0, SEEK_END)) < 0 ||
	    rename(temporary, file)) {
		err = cannot_write(arena, file);
		unlink(temporary);
	} else {
		*bytes = (uint64_t)size;
	}
	close(fd);
	return err;
}
