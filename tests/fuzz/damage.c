/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Damages a core's memory, seed by seed, and asks everything of what is left.
 *
 *   damage [--seeds FIRST-LAST] [--seconds N] [--threads N] [-v] CORE
 *
 * The core is opened once. Its segments are copied, each in front of a page
 * that nobody may read, so that a read beyond a segment's end is a fault. Each
 * seed then damages a few words (harm.c), runs what the commands run, checks
 * what must hold whatever the memory says, and undoes the damage. A crash, a
 * sanitizer's report and a run of over LIMIT_SECONDS of processor time (a busy
 * machine is no hang) name their seed.
 *
 * The last line is "N seeds, N answers, N refusals, slowest S ms (seed N)".
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "../../coreanalyze/analysis/analysis.h"
#include "harm.h"

enum { LIMIT_SECONDS = 60, PAGE = 4096, ADDRESSES_ASKED = 400 };

static volatile uint64_t current_seed;
static volatile sig_atomic_t armed;

static void name_seed(void)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "\ndamage: seed %llu\n", (unsigned long long)current_seed);

	if (armed && write(STDERR_FILENO, text, (size_t)n) < 0)
		_exit(2);
}

static void on_signal(int number)
{
	static const char hang[] = "\ndamage: HANGS\n";

	if (number == SIGPROF && write(STDERR_FILENO, hang, sizeof(hang) - 1) < 0)
		_exit(2);
	name_seed();
	signal(number, SIG_DFL);
	/* An alarm becomes an abort: the core shows where it was. */
	raise(number == SIGPROF ? SIGABRT : number);
}

/* Of the sanitizers' runtime, where there is one. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

/* Its death does not call back. */
const char *__ubsan_default_options(void)
{
	return "print_stacktrace=1:abort_on_error=1";
}

const char *__asan_default_options(void)
{
	/* A length from the target must not make us allocate gigabytes. */
	return "hard_rss_limit_mb=3000:max_allocation_size_mb=2000:allocator_may_return_null=0";
}

static void catch_deaths(void)
{
	static const int sudden[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };

	signal(SIGPROF, on_signal);
	signal(SIGABRT, on_signal);
	if (__sanitizer_set_death_callback) {
		__sanitizer_set_death_callback(name_seed);
		return;
	}
	for (size_t i = 0; i < CA_COUNT(sudden); i++)
		signal(sudden[i], on_signal);
}

static void limit_time(unsigned seconds)
{
	struct itimerval timer = { .it_value = { .tv_sec = (time_t)seconds } };

	armed = seconds > 0;
	setitimer(ITIMER_PROF, &timer, NULL);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the image ------------------------------------------------------------ */

/* Its end lies at a page that faults. */
static uint8_t *guarded_copy(const uint8_t *data, uint64_t bytes)
{
	uint64_t pages = (bytes + PAGE - 1) / PAGE * PAGE;
	uint8_t *at = mmap(NULL, pages + PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED || mprotect(at + pages, PAGE, PROT_NONE)) {
		perror("damage: mmap");
		exit(2);
	}
	at += pages - bytes;
	for (uint64_t i = 0; i < bytes; i += PAGE) {
		uint64_t n = bytes - i < PAGE ? bytes - i : PAGE;

		/* Pages of zeros stay untouched, as they are in a sparse core. */
		if (data[i] || memcmp(data + i, data + i + 1, n - 1))
			memcpy(at + i, data + i, n);
	}
	return at;
}

static struct ca_image *open_guarded(struct ca_context *ctx, const char *path)
{
	struct ca_image *image;
	struct ca_error *err = ca_image_open_core(ctx, path, NULL, &image);

	if (err) {
		fprintf(stderr, "damage: %s: %s: %s\n", path, err->what, err->why);
		exit(2);
	}
	for (size_t i = 0; i < image->segment_count; i++) {
		struct ca_segment *segment = &image->segments[i];

		segment->data = guarded_copy(segment->data, segment->end - segment->start);
	}
	return image;
}

/* ---- what is asked --------------------------------------------------------- */

struct answer {
	struct ca_context ctx;
	struct ca_runtime *rt;
	struct ca_objects *objects;
};

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "\ndamage: does not hold: %s\n", what);
	abort();
}

static bool open_answer(struct answer *answer, const struct ca_image *image, unsigned threads)
{
	struct ca_error *err;

	memset(answer, 0, sizeof(*answer));
	ca_context_init(&answer->ctx);
	answer->ctx.threads = threads;
	err = ca_runtime_open(&answer->ctx, image, &answer->rt);
	if (!err)
		err = ca_objects_open(&answer->ctx, answer->rt, &answer->objects);
	if (err) {
		must(err->status == CA_TARGET && *err->what && *err->why, "an error says what and why");
		ca_error_free(err);
	}
	return !err;
}

static void close_answer(struct answer *answer)
{
	if (answer->objects)
		ca_objects_close(answer->objects);
	if (answer->rt)
		ca_runtime_close(answer->rt);
	ca_context_fini(&answer->ctx);
}

/* Bytes that `object` prints: none that steers a terminal. */
static void check_text(const char *text)
{
	for (const uint8_t *c = (const uint8_t *)text; *c; c++)
		must(*c >= 0x20 && *c != 0x7f, "texts are escaped");
}

static void ask_object(struct answer *answer, struct ca_reader *reader, ca_addr address,
		       const struct harm *harm)
{
	struct ca_objects *objects = answer->objects;
	struct ca_arena scratch = { 0 };
	struct ca_object object;
	ca_node node = ca_objects_find(objects, address);

	must(node <= objects->count, "a node is one");
	must(!node || ca_node_bytes(objects, node) + ca_node_owned(objects, node) < harm->mapped,
	     "no object is larger than the process");
	if (node && ca_object_read(reader, address, &object)) {
		const char *value = ca_object_value(reader, &object, &scratch);

		must(ca_objects_address(objects, node) == address, "a node's address finds it");
		check_text(value ? value : "");
		check_text(objects->types[ca_node_type(objects, node)].name);
		ca_object_refcount(&answer->rt->layout, object.at);
		ca_object_is_immortal(&answer->rt->layout, object.at);
	}
	ca_arena_fini(&scratch);
}

static void ask_objects(struct answer *answer, struct harm *harm)
{
	struct ca_reader *reader = ca_alloc(sizeof(*reader));
	uint32_t count = answer->objects->count, step = count / ADDRESSES_ASKED + 1;
	ca_node nodes = 0;
	struct ca_cursor cursor;

	ca_reader_init(reader, &answer->objects->types_registry);
	for (ca_cursor_init(&cursor, answer->objects); cursor.node; ca_cursor_next(&cursor)) {
		must(cursor.node == ++nodes, "the walk counts nodes");
		if (cursor.node % step == harm->seed % step)
			ask_object(answer, reader, cursor.address, harm);
	}
	must(nodes == count, "the walk sees all nodes");
	/* What the damage touched, and where it points now. */
	for (size_t i = 0; i < harm->count; i++) {
		ask_object(answer, reader, harm->done[i].address & ~15ull, harm);
		ask_object(answer, reader, (harm->done[i].address & ~15ull) - 16, harm);
		ask_object(answer, reader, harm->done[i].value, harm);
	}
	free(reader);
}

static void check_edges(const struct ca_graph *graph)
{
	uint64_t out = 0, in = 0;

	must(graph->node_count == graph->object_count + graph->root_count + 1, "nodes are numbered");
	for (ca_node node = 0; node < graph->node_count; node++) {
		struct ca_edges to = ca_graph_out(graph, node), from = ca_graph_in(graph, node);

		out += to.count;
		in += from.count;
		for (uint64_t i = 0; i < to.count; i++)
			must(to.nodes[i] && to.nodes[i] < graph->node_count, "an edge leads to a node");
	}
	must(out == graph->edge_count && in == out, "both directions have all edges");
}

/* What each node dominates adds up to everything. */
static void check_dominators(struct ca_context *ctx, const struct ca_graph *graph)
{
	struct ca_dominators dominators;

	ca_dominators_build(ctx, graph, &dominators);
	must(dominators.reached == graph->node_count, "node 0 leads to every node");
	must(dominators.order[0] == 0, "node 0 comes first");
	ca_dominators_fini(&dominators);
}

static void ask_graph(struct answer *answer)
{
	struct ca_graph *graph;
	struct ca_verify verify;
	struct ca_gc_facts facts;
	struct ca_cycles cycles;
	struct ca_error *err = ca_graph_build(&answer->ctx, answer->objects, &graph);

	if (err) {
		must(err->status == CA_TARGET, "a graph that cannot be is the core's fault");
		ca_error_free(err);
		return;
	}
	check_edges(graph);
	check_dominators(&answer->ctx, graph);
	must(graph->audit.explained <= graph->audit.checked &&
		     graph->audit.explained_without_static <= graph->audit.explained,
	     "no more is explained than is checked");
	ca_verify_build(graph, &verify);
	ca_verify_fini(&verify);
	ca_gc_facts_build(answer->objects, &facts);
	ca_cycles_build(&answer->ctx, graph, &facts, false, NULL, &cycles);
	must(cycles.objects <= answer->objects->count, "cycles are made of objects");
	ca_cycles_fini(&cycles);
	ca_gc_facts_fini(&facts);
	ca_graph_free(graph);
}

static void ask(struct answer *answer, const struct answer *whole, struct harm *harm)
{
	const struct ca_objects *objects = answer->objects;
	const struct ca_trust *trust = &objects->trust;
	struct ca_type_totals totals;
	struct ca_diff diff;

	must(trust->objects + trust->owned + trust->freelist + trust->unexplained == trust->blocks,
	     "the parts of trust add up to its blocks");
	ca_type_totals_build(objects, &totals);
	must(totals.sum.count == objects->count, "types add up to all objects");
	must(totals.sum.gc_tracked <= objects->count, "no more are tracked than there are");
	ca_type_totals_fini(&totals);
	ca_diff_build(whole->objects, objects, NULL, &diff);
	must(diff.before.objects == whole->objects->count && diff.after.objects == objects->count,
	     "diff counts what is there");
	ca_diff_fini(&diff);
	ask_objects(answer, harm);
	ask_graph(answer);
}

/* ---- seeds ------------------------------------------------------------------ */

struct options {
	const char *core;
	uint64_t first, last;
	double seconds; /* 0: as long as it takes */
	unsigned threads;
	bool verbose;
};

struct tally {
	uint64_t seeds, answers, refusals, slowest_seed;
	double slowest;
};

static void run_seed(const struct options *options, struct harm *harm, const struct answer *whole,
		     uint64_t seed, struct tally *tally)
{
	struct answer answer;
	double began = now(), took;

	current_seed = seed;
	harm_do(harm, seed);
	if (options->verbose)
		harm_print(harm, stderr);
	limit_time(LIMIT_SECONDS);
	if (open_answer(&answer, whole->rt->image, seed % 16 ? options->threads : 3)) {
		ask(&answer, whole, harm);
		tally->answers++;
	} else {
		tally->refusals++;
	}
	close_answer(&answer);
	limit_time(0);
	harm_undo(harm);
	took = now() - began;
	if (took > tally->slowest) {
		tally->slowest = took;
		tally->slowest_seed = seed;
	}
	tally->seeds++;
}

static void run_seeds(const struct options *options)
{
	struct ca_context ctx;
	struct tally tally = { 0 };
	struct answer whole;
	double began = now();

	ca_context_init(&ctx);

	struct ca_image *image = open_guarded(&ctx, options->core);

	if (!open_answer(&whole, image, options->threads)) {
		fprintf(stderr, "damage: %s: no answer before any damage\n", options->core);
		exit(2);
	}

	struct harm *harm = harm_make(whole.objects);

	ask(&whole, &whole, harm);
	for (uint64_t seed = options->first; seed <= options->last; seed++) {
		if (options->seconds > 0 && now() - began > options->seconds)
			break;
		run_seed(options, harm, &whole, seed, &tally);
	}
	harm_free(harm);
	close_answer(&whole);
	ca_image_close(image);
	ca_context_fini(&ctx);
	printf("%llu seeds, %llu answers, %llu refusals, slowest %.0f ms (seed %llu)\n",
	       (unsigned long long)tally.seeds, (unsigned long long)tally.answers,
	       (unsigned long long)tally.refusals, tally.slowest * 1e3,
	       (unsigned long long)tally.slowest_seed);
}

static bool parse_seeds(const char *text, struct options *options)
{
	char *end;

	options->first = strtoull(text, &end, 10);
	options->last = *end == '-' ? strtoull(end + 1, &end, 10) : options->first;
	return end != text && !*end && options->first <= options->last;
}

int main(int argc, char **argv)
{
	struct options options = { .first = 1, .last = 500, .threads = 1 };
	bool sound = true;

	for (int i = 1; i < argc; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "--seeds"))
			sound &= parse_seeds(next, &options), i++;
		else if (!strcmp(argv[i], "--seconds"))
			options.seconds = atof(next), i++;
		else if (!strcmp(argv[i], "--threads"))
			options.threads = (unsigned)atoi(next), i++;
		else if (!strcmp(argv[i], "-v"))
			options.verbose = true;
		else if (!options.core && *argv[i] != '-')
			options.core = argv[i];
		else
			sound = false;
	}
	if (!sound || !options.core || !options.threads) {
		fprintf(stderr, "usage: damage [--seeds FIRST-LAST] [--seconds N] [--threads N] [-v] CORE\n");
		return 2;
	}
	catch_deaths();
	run_seeds(&options);
	return 0;
}
