/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * relayout CORE: what would be answered if the tables were others. Each line of
 * standard input is one case, each line of standard output its answer:
 *
 *   as-is                        all tables
 *   without TABLE...             all but these
 *   only MINOR                   those of one minor version, called by the core's
 *   shift STRUCT FIELD BYTES     the core's own table alone, for another release, a field moved
 *   ... types                    without what takes most of the time: the graph
 *
 * In the last three no table names the release: nothing is taken on trust.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../coreanalyze/graph/graph.h"
#include "../../coreanalyze/runtime/locate.h"

static const char *const no_releases[] = {NULL};

struct tables {
	struct ca_layout_table *items;
	size_t count;
};

static struct tables copy_tables(int minor, const char *name)
{
	struct tables tables = {ca_alloc(ca_layout_table_count * sizeof(*tables.items)), 0};

	for (size_t i = 0; i < ca_layout_table_count; i++)
		if ((minor < 0 || ca_layout_tables[i].minor == minor) &&
		    (!name || strcmp(ca_layout_tables[i].name, name) == 0))
			tables.items[tables.count++] = ca_layout_tables[i];
	return tables;
}

static void distrust(struct tables *tables)
{
	for (size_t i = 0; i < tables->count; i++)
		tables->items[i].releases = no_releases;
}

static void drop(struct tables *tables, const char *name)
{
	for (size_t i = 0; i < tables->count; i++)
		if (strcmp(tables->items[i].name, name) == 0)
			tables->items[i--] = tables->items[--tables->count];
}

/* False: there is no such field in this release, or at all. */
static bool shift(struct tables *tables, const char *structure, const char *field, int by)
{
	bool moved = false;

	for (size_t i = 0; i < tables->count; i++)
		tables->items[i].first_micro = tables->items[i].last_micro = UINT8_MAX;
	for (size_t f = 0; f < ca_layout_field_count; f++) {
		const struct ca_layout_field *known = &ca_layout_fields[f];

		if (strcmp(known->structure, structure) != 0 || strcmp(known->field, field) != 0)
			continue;
		for (size_t i = 0; i < tables->count; i++) {
			int32_t *offset = (int32_t *)((char *)&tables->items[i].layout + known->offset);

			if (ca_has(*offset)) {
				*offset += by;
				moved = true;
			}
		}
	}
	return moved;
}

/* ---- the answer ----------------------------------------------------------- */

struct sum {
	uint64_t count, bytes, owned, tracked;
};

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static uint64_t fnv(uint64_t digest, const char *text)
{
	for (const char *c = text; *c; c++)
		digest = (digest ^ (uint8_t)*c) * 0x100000001b3u;
	return digest;
}

struct digest {
	uint64_t objects, counts, sizes; /* types by their number; by their bytes too */
	uint64_t explained, mismatches, roots; /* counts of references; kinds and names of roots */
};

static void digest_types(const struct ca_objects *objects, struct digest *digest)
{
	struct sum *sums = ca_alloc((objects->type_count + 1) * sizeof(*sums));
	char **lines = ca_alloc((objects->type_count + 1) * sizeof(*lines));

	digest->objects = objects->count;
	for (ca_node node = 1; node <= objects->count; node++) {
		struct sum *sum = &sums[ca_node_type(objects, node)];

		sum->count++;
		sum->bytes += ca_node_bytes(objects, node);
		sum->owned += ca_node_owned(objects, node);
		sum->tracked += ca_node_tracked(objects, node);
	}
	for (uint32_t i = 0; i < objects->type_count; i++) {
		const struct sum *sum = &sums[i];

		lines[i] = ca_alloc(strlen(objects->types[i].name) + 100);
		sprintf(lines[i], "%s %" PRIu64 " %" PRIu64 "\t%" PRIu64 " %" PRIu64, objects->types[i].name,
			sum->count, sum->tracked, sum->bytes, sum->owned);
	}
	qsort(lines, objects->type_count, sizeof(*lines), by_text);
	for (uint32_t i = 0; i < objects->type_count; i++) {
		digest->sizes = fnv(digest->sizes, lines[i]);
		*strchr(lines[i], '\t') = '\0';
		digest->counts = fnv(digest->counts, lines[i]);
		free(lines[i]);
	}
	free(lines);
	free(sums);
}

static struct ca_error *digest_graph(struct ca_context *ctx, struct ca_objects *objects,
				     struct digest *digest)
{
	struct ca_graph *graph;
	struct ca_error *err = ca_graph_build(ctx, objects, &graph);

	if (err)
		return err;
	digest->explained = graph->audit.explained;
	for (size_t i = 0; i < graph->audit.count; i++) {
		const struct ca_mismatch *item = &graph->audit.items[i];
		char line[100];

		sprintf(line, "%u %u %u", item->node, item->excess, item->deficit);
		if (item->excess || item->deficit)
			digest->mismatches = fnv(digest->mismatches, line);
	}
	for (uint32_t i = 0; i < graph->root_count; i++) {
		digest->roots = fnv(digest->roots, ca_root_kind_name(graph->roots[i].kind));
		digest->roots = fnv(digest->roots, graph->roots[i].name);
	}
	ca_graph_free(graph);
	return NULL;
}

static void print_runtime(const struct ca_runtime *rt)
{
	struct ca_gc gc;

	printf("%s", rt->version);
	for (size_t i = 0; i < rt->interp_count; i++) {
		const struct ca_interp *interp = &rt->interps[i];

		printf(" interp %" PRIx64 " %" PRId64, interp->address, interp->id);
		if (!ca_gc_read(rt, interp, &gc))
			continue;
		printf(" gc %d %d %u %" PRIx64 " %" PRIx64, gc.enabled, gc.collecting, gc.debug, gc.garbage,
		       gc.callbacks);
		for (unsigned g = 0; g < CA_GC_GENERATIONS; g++)
			printf(" (%d %d %" PRId64 " %" PRId64 " %" PRId64 ")", gc.generations[g].threshold,
			       gc.generations[g].count, gc.generations[g].collections,
			       gc.generations[g].collected, gc.generations[g].uncollectable);
		printf(" %" PRId64 " %" PRId64, gc.long_lived_total, gc.long_lived_pending);
	}
	for (size_t i = 0; i < rt->thread_count; i++) {
		const struct ca_thread *thread = &rt->threads[i];

		printf(" thread %" PRIx64 " of %u %" PRIx64 " %" PRIu64 " %" PRIx64, thread->address,
		       thread->interp, thread->thread_id, thread->native_id, thread->frame);
	}
}

static void print_searched(const struct ca_runtime *rt)
{
	printf(" |");
	for (size_t i = 0; i < rt->found_count; i++)
		printf(" %s.%s=%d", rt->found[i].structure, rt->found[i].field, rt->found[i].offset);
	printf("\n");
}

static void print_error(struct ca_error *err)
{
	printf("error: %s: %s\n", err->what, err->why);
	ca_error_free(err);
}

/* Of equal layouts the answers are the same: of the first that nothing was taken on trust for, and the last. */
static struct known {
	struct ca_layout layout;
	bool covered, has_graph, is_known;
	struct digest digest;
} first, last;

static bool is_of(const struct known *known, const struct ca_runtime *rt, bool graph)
{
	return known->is_known && known->has_graph >= graph && known->covered == rt->covered &&
	       memcmp(&known->layout, &rt->layout, sizeof(rt->layout)) == 0;
}

static struct ca_error *find_answer(struct ca_context *ctx, struct ca_runtime *rt, bool graph,
				    struct known *to)
{
	struct ca_objects *objects;
	struct ca_error *err = ca_objects_open(ctx, rt, &objects);

	if (err)
		return err;
	*to = (struct known){rt->layout, rt->covered, graph, true, {0}};
	digest_types(objects, &to->digest);
	err = graph ? digest_graph(ctx, objects, &to->digest) : NULL;
	ca_objects_close(objects);
	return err;
}

static void answer(struct ca_context *ctx, const struct ca_image *image, const struct tables *tables,
		   bool graph)
{
	struct known *known = &last;
	struct ca_runtime *rt;
	struct ca_error *err = ca_runtime_open_with(ctx, image, tables->items, tables->count, &rt);

	if (err) {
		print_error(err);
		return;
	}
	if (is_of(&first, rt, graph) || (!first.is_known && !rt->covered))
		known = &first;
	if (!is_of(known, rt, graph) && (err = find_answer(ctx, rt, graph, known))) {
		print_error(err);
		ca_runtime_close(rt);
		return;
	}
	printf("%" PRIu64 " objects %" PRIx64 " sizes %" PRIx64 " explained %" PRIu64 " mismatches %" PRIx64
	       " roots %" PRIx64 " ",
	       known->digest.objects, known->digest.counts, known->digest.sizes, known->digest.explained,
	       known->digest.mismatches, known->digest.roots);
	print_runtime(rt);
	print_searched(rt);
	ca_runtime_close(rt);
}

static const struct ca_layout_table *table_of(struct ca_context *ctx, const struct ca_image *image)
{
	const struct ca_layout_table *table;
	struct ca_runtime *rt;
	struct ca_error *err = ca_runtime_open(ctx, image, &rt);

	if (err) {
		fprintf(stderr, "relayout: %s: %s\n", err->what, err->why);
		exit(3);
	}
	table = rt->table;
	ca_runtime_close(rt);
	return table;
}

static bool change(struct tables *tables, const struct ca_layout_table *own, char *line)
{
	char *verb = strtok(line, " \n"), *word = strtok(NULL, " \n");

	*tables = copy_tables(-1, verb && strcmp(verb, "shift") == 0 ? own->name : NULL);
	if (!verb || strcmp(verb, "as-is") == 0)
		return verb != NULL;
	distrust(tables);
	if (strcmp(verb, "without") == 0) {
		for (; word; word = strtok(NULL, " \n"))
			drop(tables, word);
		return true;
	}
	if (strcmp(verb, "only") == 0 && word) {
		free(tables->items);
		*tables = copy_tables(atoi(word), NULL);
		distrust(tables);
		for (size_t i = 0; i < tables->count; i++)
			tables->items[i].minor = own->minor;
		return true;
	}

	char *field = strtok(NULL, " \n"), *by = strtok(NULL, " \n");

	return word && field && by && shift(tables, word, field, atoi(by));
}

int main(int argc, char **argv)
{
	struct ca_context ctx;
	struct ca_image *image;
	char line[512];

	if (argc != 2) {
		fprintf(stderr, "usage: relayout CORE\n");
		return 2;
	}
	ca_context_init(&ctx);
	ctx.threads = 1;

	struct ca_error *err = ca_image_open(&ctx, argv[1], NULL, &image);

	if (err) {
		fprintf(stderr, "relayout: %s: %s\n", err->what, err->why);
		return 3;
	}

	const struct ca_layout_table *own = table_of(&ctx, image);

	while (fgets(line, sizeof(line), stdin)) {
		struct tables tables;
		bool graph = !strstr(line, " types\n");

		if (change(&tables, own, line))
			answer(&ctx, image, &tables, graph);
		else
			printf("no such case\n");
		free(tables.items);
		fflush(stdout);
	}
	ca_image_close(image);
	ca_context_fini(&ctx);
	return 0;
}
