/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A snapshot's file mapped back: whatever is in it, nothing leads out of bounds. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "private.h"

struct ca_snapshot {
	struct ca_context *ctx;
	struct ca_image *image;
	const uint8_t *file;
	uint64_t file_bytes;
	struct ca_section sections[CA_SECTIONS]; /* by id; offset 0: not there */
	uint64_t damage; /* of chunks, that was warned of */
};

static struct ca_error *refuse(const char *advice, const char *why)
{
	return ca_error_make(CA_TARGET, "cannot read this snapshot", advice, "%s", why);
}

static struct ca_error *damaged(void)
{
	return refuse("copy it again, or save it anew", "it is damaged");
}

/* ---- the file ------------------------------------------------------------------ */

static struct ca_error *check_version(const struct ca_snapshot *snapshot)
{
	struct ca_file_head head;
	char why[80];

	if (snapshot->file_bytes < sizeof(head) + sizeof(struct ca_file_tail))
		return refuse("copy it again", "the file is cut short");
	memcpy(&head, snapshot->file, sizeof(head));
	if (head.version == CA_STORE_VERSION)
		return NULL;
	snprintf(why, sizeof(why), "it is of format version %u, and this reads version %d", head.version,
		 CA_STORE_VERSION);
	return refuse("save it anew, or read it with the coreanalyze that wrote it", why);
}

static bool take_section(struct ca_snapshot *snapshot, const struct ca_section *section, uint64_t end)
{
	if (!section->id || section->id >= CA_SECTIONS) /* not of this version's */
		return true;
	if (section->offset % CA_SECTION_ALIGN || section->offset > end ||
	    section->bytes > end - section->offset || !section->offset || !section->item_bytes ||
	    section->bytes % section->item_bytes || snapshot->sections[section->id].offset)
		return false;
	snapshot->sections[section->id] = *section;
	return true;
}

static struct ca_error *read_table(struct ca_snapshot *snapshot)
{
	struct ca_file_tail tail;
	uint64_t end = snapshot->file_bytes - sizeof(tail), bytes;
	const uint8_t *table;

	memcpy(&tail, snapshot->file + end, sizeof(tail));
	if (memcmp(tail.magic, CA_SNAPSHOT_MAGIC, sizeof(tail.magic)))
		return refuse("copy it again", "the file is cut short, or its end is damaged");
	bytes = tail.sections * sizeof(struct ca_section);
	if (tail.offset > end || bytes != end - tail.offset)
		return damaged();
	table = snapshot->file + tail.offset;
	if (ca_checksum(snapshot->ctx, table, bytes) != tail.checksum)
		return damaged();
	for (uint32_t i = 0; i < tail.sections; i++) {
		struct ca_section section;

		memcpy(&section, table + i * sizeof(section), sizeof(section));
		if (!take_section(snapshot, &section, tail.offset))
			return damaged();
	}
	return NULL;
}

static bool is_sound(const struct ca_snapshot *snapshot, enum ca_section_id id)
{
	const struct ca_section *section = &snapshot->sections[id];

	return section->offset && ca_checksum(snapshot->ctx, snapshot->file + section->offset, section->bytes) ==
					  section->checksum;
}

/* The items of a section that is sound, or NULL. */
static const void *items_of(const struct ca_snapshot *snapshot, enum ca_section_id id, size_t item_bytes,
			    uint64_t *count)
{
	const struct ca_section *section = &snapshot->sections[id];

	if (section->item_bytes != item_bytes || !is_sound(snapshot, id))
		return NULL;
	*count = section->bytes / item_bytes;
	return snapshot->file + section->offset;
}

/* ---- facts ---------------------------------------------------------------------- */

static bool open_facts(const struct ca_snapshot *snapshot, enum ca_section_id id, struct ca_facts *facts)
{
	const struct ca_section *section = &snapshot->sections[id];

	if (!is_sound(snapshot, id))
		return false;
	*facts = (struct ca_facts){
		.arena = &snapshot->ctx->arena,
		.at = snapshot->file + section->offset,
		.end = snapshot->file + section->offset + section->bytes,
	};
	return true;
}

static bool close_facts(const struct ca_snapshot *snapshot, struct ca_facts *facts)
{
	ca_facts_of_warnings(facts, snapshot->ctx, NULL, NULL);
	return !facts->damaged && facts->at == facts->end;
}

/* ---- the image ------------------------------------------------------------------- */

static struct ca_error *map_memory(struct ca_snapshot *snapshot)
{
	enum { MOST_CHUNK = 1 << 28 }; /* of 4 TiB */
	const struct ca_section *section = &snapshot->sections[CA_SECTION_MEMORY];
	struct ca_image *image = snapshot->image;
	struct ca_packed packed = {.data = snapshot->file + section->offset, .data_bytes = section->bytes};
	uint64_t chunks = 0;
	const uint8_t *at;

	packed.at = items_of(snapshot, CA_SECTION_MEMORY_INDEX, sizeof(*packed.at), &chunks);
	packed.chunk_bytes = ca_chunk_bytes(image);
	packed.chunks = ca_chunk_count(image, packed.chunk_bytes);
	if (!section->offset || !packed.at || chunks != packed.chunks + 1 || !packed.chunks ||
	    packed.chunk_bytes > MOST_CHUNK)
		return damaged();
	at = ca_packed_map(image, &packed);
	if (!at)
		return refuse("is there a limit on the address space (ulimit -v)?", strerror(errno));
	for (size_t i = 0; i < image->segment_count; i++) {
		struct ca_segment *segment = &image->segments[i];

		segment->data = at;
		at += ((segment->end - segment->start - 1) / packed.chunk_bytes + 1) * packed.chunk_bytes;
	}
	return NULL;
}

static struct ca_error *open_image(struct ca_snapshot *snapshot)
{
	struct ca_saved *saved = ca_arena_alloc(&snapshot->ctx->arena, sizeof(*saved));
	struct ca_image *image = snapshot->image;
	struct ca_facts facts;
	bool sound;

	if (!open_facts(snapshot, CA_SECTION_IMAGE, &facts))
		return damaged();
	ca_facts_of_image(&facts, image, saved);
	ca_image_restore(image);
	image->saved = saved;
	sound = close_facts(snapshot, &facts) && saved->from && saved->by && image->arch;
	return sound ? map_memory(snapshot) : damaged();
}

struct ca_error *ca_snapshot_open(struct ca_context *ctx, struct ca_image *image, struct ca_snapshot **out)
{
	struct ca_snapshot *snapshot;
	struct ca_error *err;
	uint64_t bytes;
	const uint8_t *file = ca_image_snapshot(image, &bytes);

	*out = NULL;
	if (!file)
		return NULL;
	snapshot = ca_alloc(sizeof(*snapshot));
	*snapshot = (struct ca_snapshot){.ctx = ctx, .image = image, .file = file, .file_bytes = bytes};
	err = check_version(snapshot);
	if (!err)
		err = read_table(snapshot);
	if (!err)
		err = open_image(snapshot);
	if (err)
		free(snapshot);
	else
		*out = snapshot;
	return err;
}

void ca_snapshot_close(struct ca_snapshot *snapshot)
{
	free(snapshot);
}

void ca_snapshot_look(struct ca_snapshot *snapshot)
{
	uint64_t now = ca_packed_damage(snapshot->image);

	for (; snapshot->damage < now; snapshot->damage++) {
		ca_warn(snapshot->ctx, "damaged-snapshot", 0, "values and names from there are missing or wrong",
			"a part of the snapshot's memory is damaged");
		ca_warn_weigh(snapshot->ctx, "damaged-snapshot", ca_chunk_bytes(snapshot->image));
	}
}

/* ---- the runtime ------------------------------------------------------------------- */

struct ca_error *ca_snapshot_runtime(struct ca_snapshot *snapshot, struct ca_runtime **out)
{
	struct ca_runtime *rt;
	struct ca_facts facts;

	if (!open_facts(snapshot, CA_SECTION_RUNTIME, &facts))
		return damaged();
	rt = ca_alloc(sizeof(*rt));
	rt->ctx = snapshot->ctx;
	rt->image = snapshot->image;
	ca_facts_of_runtime(&facts, rt);
	if (!close_facts(snapshot, &facts)) {
		ca_runtime_close(rt);
		return damaged();
	}
	*out = rt;
	return NULL;
}

/* ---- numbers that lead somewhere ----------------------------------------------------- */

enum { GRAIN = 1 << 18 };

struct check {
	const void *items;
	uint64_t limit;
	bool bad;
};

static void check_below(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct check *check = arg;
	const uint32_t *items = check->items;
	uint32_t most = 0;

	(void)worker;
	for (size_t i = begin; i < end; i++)
		most = items[i] > most ? items[i] : most;
	if (most >= check->limit)
		__atomic_store_n(&check->bad, true, __ATOMIC_RELAXED);
}

static void check_order(void *arg, unsigned worker, size_t begin, size_t end)
{
	struct check *check = arg;
	const uint64_t *items = check->items;
	bool bad = false;

	(void)worker;
	for (size_t i = begin; i < end; i++)
		bad |= items[i] > items[i + 1];
	if (bad)
		__atomic_store_n(&check->bad, true, __ATOMIC_RELAXED);
}

/* `count` numbers of 4 bytes, each below the limit. */
static const uint32_t *numbers(const struct ca_snapshot *snapshot, enum ca_section_id id, uint64_t count,
			       uint64_t limit)
{
	uint64_t there;
	struct check check = {items_of(snapshot, id, sizeof(uint32_t), &there), limit, false};

	if (!check.items || there != count)
		return NULL;
	ca_parallel(snapshot->ctx, count, GRAIN, check_below, &check);
	return check.bad ? NULL : check.items;
}

/* `count` places, from 0 to `last`, none before the one before it. */
static const uint64_t *places(const struct ca_snapshot *snapshot, enum ca_section_id id, uint64_t count,
			      uint64_t last)
{
	uint64_t there;
	const uint64_t *items = items_of(snapshot, id, sizeof(*items), &there);
	struct check check = {items, 0, false};

	if (!items || there != count || items[0] || items[count - 1] != last)
		return NULL;
	ca_parallel(snapshot->ctx, count - 1, GRAIN, check_order, &check);
	return check.bad ? NULL : items;
}

/* ---- the objects -------------------------------------------------------------------- */

static bool take_molds(const struct ca_snapshot *snapshot, struct ca_objects_saved *saved)
{
	uint64_t count;

	saved->bits = items_of(snapshot, CA_SECTION_BITS, 8, &saved->words);
	saved->molds = items_of(snapshot, CA_SECTION_MOLDS, sizeof(*saved->molds), &count);
	if (!saved->bits || !saved->molds || count > UINT32_MAX)
		return false;
	saved->mold_count = (uint32_t)count;
	for (uint32_t i = 0; i < saved->mold_count; i++)
		if (saved->molds[i].type >= saved->type_count)
			return false;
	saved->mold = numbers(snapshot, CA_SECTION_MOLD, saved->count + 1ull,
			      saved->mold_count ? saved->mold_count : 1);
	return saved->mold && (saved->mold_count || !saved->count);
}

struct ca_error *ca_snapshot_objects(struct ca_snapshot *snapshot, const struct ca_runtime *rt,
				  struct ca_objects **out)
{
	struct ca_objects_saved saved = {0};
	struct ca_objects *objects = NULL;
	struct ca_facts facts;
	bool sound = false;

	if (!open_facts(snapshot, CA_SECTION_OBJECTS, &facts))
		return damaged();
	ca_facts_of_objects(&facts, &saved);
	if (!facts.damaged && take_molds(snapshot, &saved))
		objects = ca_objects_restore(snapshot->ctx, rt, &saved);
	else
		free(saved.arenas);
	if (objects) {
		ca_facts_of_learnt(&facts, objects);
		sound = close_facts(snapshot, &facts);
	}
	free(saved.regions);
	free(saved.types);
	if (!sound) {
		if (objects)
			ca_objects_close(objects);
		return damaged();
	}
	*out = objects;
	return NULL;
}

/* ---- the graph ------------------------------------------------------------------------ */

static bool take_audit(const struct ca_snapshot *snapshot, struct ca_graph *graph)
{
	uint64_t count;
	const struct ca_mismatch *items = items_of(snapshot, CA_SECTION_MISMATCHES, sizeof(*items), &count);
	struct ca_audit *audit = &graph->audit;

	if (!items)
		return false;
	audit->items = ca_alloc((count + 1) * sizeof(*items));
	memcpy(audit->items, items, count * sizeof(*items));
	audit->count = count;
	for (uint64_t i = 0; i < count; i++)
		if (!items[i].node || items[i].node > graph->object_count)
			return false;
	return true;
}

static bool take_arrays(const struct ca_snapshot *snapshot, struct ca_graph *graph)
{
	uint64_t nodes = graph->node_count + 1ull, flags = 0;

	graph->first = (uint64_t *)places(snapshot, CA_SECTION_FIRST, nodes, graph->edge_count);
	graph->to = (ca_node *)numbers(snapshot, CA_SECTION_TO, graph->edge_count, graph->node_count);
	graph->flags = (uint8_t *)items_of(snapshot, CA_SECTION_FLAGS, 1, &flags);
	return graph->first && graph->to && graph->flags && flags == graph->edge_count;
}

struct ca_error *ca_snapshot_graph(struct ca_snapshot *snapshot, struct ca_objects *objects, struct ca_graph **out)
{
	struct ca_graph *graph;
	struct ca_facts facts;

	if (!open_facts(snapshot, CA_SECTION_GRAPH, &facts))
		return damaged();
	graph = ca_graph_restore(objects);
	ca_facts_of_graph(&facts, graph);
	if (!facts.damaged && graph->object_count == objects->count && take_arrays(snapshot, graph) &&
	    take_audit(snapshot, graph) && close_facts(snapshot, &facts)) {
		*out = graph;
		return NULL;
	}
	ca_graph_free(graph);
	return damaged();
}
