/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the collector thinks, and what should be thought of it. */
#include <stdlib.h>
#include <string.h>

#include "command.h"

enum { MAX_GARBAGE = 1 << 24, MAX_CALLBACKS = 1000, BIG_FREEZE = 1 << 20 };

struct show {
	struct ca_writer *w;
	const struct ca_request *request;
	struct ca_session *session;
	struct ca_gc_report report;
	struct ca_gc gc;               /* of the interpreter that is shown */
	const struct ca_gc_sums *sums;
	uint64_t garbage;              /* in gc.garbage */
	uint64_t waiting;              /* garbage that a full collection would find; known where asked for */
};

static const struct ca_column generation_columns[] = {
	{"generation", "GEN", CA_CELL_COUNT},
	{"threshold", "THRESHOLD", CA_CELL_COUNT},
	{"count", "COUNT", CA_CELL_COUNT},
	{"objects", "OBJECTS", CA_CELL_COUNT},
	{"bytes", "BYTES", CA_CELL_SIZE},
	{"owned", "OWNED", CA_CELL_SIZE},
	{"collections", "RUNS", CA_CELL_COUNT},
	{"collected", "COLLECTED", CA_CELL_COUNT},
	{"uncollectable", "UNCOLL", CA_CELL_COUNT},
};

static void put_generations(const struct show *show)
{
	struct ca_writer *w = show->w;

	ca_table_begin(w, "generations", generation_columns, CA_COUNT(generation_columns));
	for (unsigned i = 0; i < CA_GC_GENERATIONS; i++) {
		const struct ca_gc_generation *generation = &show->gc.generations[i];
		const struct ca_gc_sum *sum = &show->sums->generations[i];

		ca_cell_uint(w, i);
		ca_cell_int(w, generation->threshold);
		ca_cell_int(w, generation->count);
		ca_cell_uint(w, sum->objects);
		ca_cell_uint(w, sum->bytes);
		ca_cell_uint(w, sum->owned);
		ca_cell_int(w, generation->collections);
		ca_cell_int(w, generation->collected);
		ca_cell_int(w, generation->uncollectable);
		ca_row_end(w);
	}
	ca_table_end(w, 0);
}

static void put_frozen(const struct show *show)
{
	const struct ca_gc_sum *frozen = &show->sums->frozen;
	char bytes[32];

	ca_put_uint(show->w, "frozen", frozen->objects);
	ca_put_uint(show->w, "frozen_bytes", frozen->bytes + frozen->owned);
	ca_format_size(bytes, sizeof(bytes), frozen->bytes + frozen->owned);
	if (frozen->objects)
		ca_line(show->w, "frozen: %s objects, %s: no collection looks at them",
			ca_grouped(frozen->objects).text, bytes);
}

/* ---- gc.garbage ----------------------------------------------------------- */

static void put_garbage(struct show *show)
{
	struct ca_objects *objects = show->session->objects;
	size_t count;
	ca_node *nodes = ca_objects_referents(objects, show->gc.garbage, MAX_GARBAGE, &count);

	show->garbage = count;
	ca_put_type_counts(show->w, "garbage", "IN gc.garbage", objects, nodes, count,
			   ca_shown(show->request, SIZE_MAX, show->request->form == CA_FORM_TEXT ? 10 : 0));
	free(nodes);
}

/* ---- gc.callbacks, gc.get_debug() -------------------------------------------- */

static void put_callbacks(const struct show *show)
{
	struct ca_objects *objects = show->session->objects;
	struct ca_reader *reader = ca_alloc(sizeof(*reader));
	struct ca_arena scratch = {0};
	size_t count;
	ca_node *nodes = ca_objects_referents(objects, show->gc.callbacks, MAX_CALLBACKS, &count);

	ca_reader_init(reader, &objects->types_registry);
	ca_list_begin(show->w, "callbacks");
	for (size_t i = 0; i < count; i++) {
		struct ca_object object;
		const char *type = objects->types[ca_node_type(objects, nodes[i])].name, *value = NULL;

		if (strcmp(type, "builtins.function") == 0 &&
		    ca_object_read(reader, ca_objects_address(objects, nodes[i]), &object))
			value = ca_object_value(reader, &object, &scratch);
		ca_put_string(show->w, NULL, value ? value : type);
		ca_line(show->w, "callback: %s", value ? value : type);
	}
	ca_list_end(show->w);
	ca_arena_fini(&scratch);
	free(reader);
	free(nodes);
}

static void put_debug(const struct show *show)
{
	static const char *const names[] = {"DEBUG_STATS", "DEBUG_COLLECTABLE", "DEBUG_UNCOLLECTABLE",
					    NULL, NULL, "DEBUG_SAVEALL"};

	ca_put_uint(show->w, "debug", show->gc.debug);
	ca_list_begin(show->w, "debug_flags");
	for (unsigned bit = 0; bit < CA_COUNT(names); bit++) {
		if (!names[bit] || !(show->gc.debug >> bit & 1))
			continue;
		ca_put_string(show->w, NULL, names[bit]);
		ca_line(show->w, "debug flag: gc.%s", names[bit]);
	}
	ca_list_end(show->w);
}

/* ---- advice: what waits is looked for where nobody collects -------------------- */

static bool never_collects(const struct ca_gc *gc)
{
	return !gc->enabled || gc->generations[0].threshold == 0;
}

static struct ca_error *count_waiting(struct show *show)
{
	struct ca_cycle_facts facts;
	struct ca_error *err = ca_session_cycles(show->session, false, NULL, &facts);

	if (err)
		return err;
	show->waiting = facts.cycles.garbage.objects;
	ca_cycle_facts_fini(&facts);
	return NULL;
}

static void advise(const struct show *show, const char *kind, const char *format, ...)
	CA_PRINTF(3, 4);

static void advise(const struct show *show, const char *kind, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ca_object_begin(show->w, NULL);
	ca_put_string(show->w, "kind", kind);
	ca_put_string(show->w, "text", text);
	ca_object_end(show->w);
	ca_line(show->w, "advice: %s", text);
}

static void advise_of_waiting(const struct show *show)
{
	const struct ca_gc_generation *oldest = &show->gc.generations[CA_GC_GENERATIONS - 1];
	int64_t total = show->gc.long_lived_total, pending = show->gc.long_lived_pending;

	/* CPython Modules/gcmodule.c: gc_collect_generations() */
	if (show->gc.enabled && oldest->threshold > 0 && oldest->count > oldest->threshold &&
	    pending >= 0 && pending < total / 4)
		advise(show, "quarter-rule",
		       "the oldest generation is due (count %d, threshold %d), but is not collected before %s "
		       "more objects survive: a quarter of the %s of the last full collection",
		       oldest->count, oldest->threshold, ca_grouped((uint64_t)(total / 4 - pending)).text,
		       ca_grouped((uint64_t)total).text);
}

static void put_advice(const struct show *show)
{
	const struct ca_gc_sum *frozen = &show->sums->frozen;
	char bytes[32];

	ca_format_size(bytes, sizeof(bytes), frozen->bytes + frozen->owned);
	ca_list_begin(show->w, "advice");
	if (!show->gc.enabled && show->waiting)
		advise(show, "disabled",
		       "the collector is disabled: %s objects of the process are garbage that only gc.collect() frees",
		       ca_grouped(show->waiting).text);
	else if (show->gc.enabled && show->gc.generations[0].threshold == 0 && show->waiting)
		advise(show, "threshold-zero",
		       "the first threshold is 0, so no collection starts by itself: %s objects of the process are garbage",
		       ca_grouped(show->waiting).text);
	advise_of_waiting(show);
	if (frozen->bytes + frozen->owned >= BIG_FREEZE)
		advise(show, "frozen", "gc.freeze() holds %s: cycles among these %s objects are never found",
		       bytes, ca_grouped(frozen->objects).text);
	if (show->gc.debug & CA_GC_DEBUG_SAVEALL)
		advise(show, "saveall",
		       "gc.DEBUG_SAVEALL is on: every cycle found is kept in gc.garbage, now %s objects",
		       ca_grouped(show->garbage).text);
	else if (show->garbage)
		advise(show, "garbage", "gc.garbage keeps %s objects alive, and what they refer to",
		       ca_grouped(show->garbage).text);
	ca_list_end(show->w);
}

/* ---- the document ----------------------------------------------------------- */

static void put_interp(struct show *show)
{
	ca_put_bool(show->w, "enabled", show->gc.enabled);
	ca_put_bool(show->w, "collecting", show->gc.collecting);
	ca_put_bool(show->w, "incremental", show->gc.incremental);
	ca_line(show->w, "the collector is %s%s%s", show->gc.enabled ? "enabled" : "disabled",
		show->gc.collecting ? ", in the middle of a collection" : "",
		show->gc.incremental ? ", incremental: one young generation and an old one in two spaces"
				     : "");
	put_generations(show);
	put_frozen(show);
	put_garbage(show);
	put_callbacks(show);
	put_debug(show);
	put_advice(show);
}

static bool choose(struct show *show, size_t interp)
{
	show->sums = &show->report.interps[interp];
	return ca_gc_read(show->session->rt, &show->session->rt->interps[interp], &show->gc);
}

/* All but the main one, which is the document itself. */
static void put_others(struct show *show)
{
	const struct ca_runtime *rt = show->session->rt;

	ca_list_begin(show->w, "interpreters");
	for (size_t i = 0; i + 1 < rt->interp_count; i++) {
		if (rt->interps[i].gc == rt->interps[i + 1].gc || !choose(show, i))
			continue;
		ca_object_begin(show->w, NULL);
		ca_put_int(show->w, "id", rt->interps[i].id);
		ca_title(show->w, "Interpreter %lld", (long long)rt->interps[i].id);
		put_interp(show);
		ca_object_end(show->w);
	}
	ca_list_end(show->w);
}

static struct ca_error *show_gc(struct ca_request *request, struct ca_session *session)
{
	struct show show = {.request = request, .session = session};
	size_t main = session->rt->interp_count - 1;

	/* 3.8: all interpreters have one, which the first was found to have. */
	while (main && session->rt->interps[main - 1].gc == session->rt->interps[main].gc)
		main--;
	ca_gc_report_build(session->objects, &show.report);
	if (!choose(&show, main)) {
		ca_gc_report_fini(&show.report);
		return ca_error_make(CA_TARGET, "no collector", "",
				     "the collector's state is not in this core");
	}
	if (never_collects(&show.gc)) {
		struct ca_error *err = count_waiting(&show);

		if (err) {
			ca_gc_report_fini(&show.report);
			return err;
		}
	}
	show.w = ca_open_writer(request);
	ca_begin_document(show.w, request, session);
	put_interp(&show);
	if (never_collects(&show.gc))
		ca_put_uint(show.w, "unreachable_objects", show.waiting);
	ca_put_uint(show.w, "unlisted", show.report.unlisted);
	if (show.report.unlisted)
		ca_line(show.w, "%s tracked objects are in no generation: %s",
			ca_grouped(show.report.unlisted).text,
			show.gc.collecting ? "the collection under way has them"
					   : "an interpreter that was finalized before has left them, unless a "
					     "warning says that a list is damaged");
	put_others(&show);
	ca_gc_report_fini(&show.report);
	return ca_end_document(show.w, session, NULL);
}

void ca_put_collector_line(struct ca_writer *w, struct ca_session *session)
{
	const struct ca_runtime *rt = session->rt;
	struct ca_gc gc;

	if (!ca_gc_read(rt, &rt->interps[rt->interp_count - 1], &gc))
		return;
	ca_object_begin(w, "collector");
	ca_put_bool(w, "enabled", gc.enabled);
	ca_put_bool(w, "collecting", gc.collecting);
	ca_put_uint(w, "debug", gc.debug);
	ca_object_end(w);
	ca_line(w, "collector: %s%s%s; %s young and %s full collections have run",
		gc.enabled ? "enabled" : "disabled", gc.collecting ? ", in the middle of a collection" : "",
		gc.debug & CA_GC_DEBUG_SAVEALL ? ", with DEBUG_SAVEALL on" : "",
		ca_grouped((uint64_t)gc.generations[0].collections).text,
		ca_grouped((uint64_t)gc.generations[CA_GC_GENERATIONS - 1].collections).text);
}

static struct ca_error *run_gc(struct ca_request *request, enum ca_status *status)
{
	(void)status;
	return ca_show_objects(request, show_gc);
}

const struct ca_command ca_command_gc = {
	.name = "gc",
	.args = "TARGET",
	.least_args = 1,
	.most_args = 1,
	.summary = "what the collector thinks",
	.help = "What the collector thinks: whether it runs, its generations and their figures as the gc "
		"module gives them, what gc.freeze() put aside, gc.garbage, callbacks, debug flags; and "
		"advice where a figure asks for it.\n\n"
		"Example: coreanalyze gc core.1234",
	.run = run_gc,
};
