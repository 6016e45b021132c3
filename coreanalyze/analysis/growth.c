/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "analysis.h"

struct side {
	const struct ca_naming *naming;
	struct ca_holders holders;
	struct ca_owners owners;
};

/* A bit for each node of `to` that is at the place of a holder of `from`, and of its type. */
static uint64_t *same_holders(const struct side *from, const struct side *to)
{
	const struct ca_objects *a = from->naming->graph->objects, *b = to->naming->graph->objects;
	uint64_t *bits = ca_alloc((to->naming->graph->node_count / 64 + 1) * sizeof(*bits));

	for (ca_node node = 1; node <= from->naming->graph->object_count; node++) {
		ca_node same;

		if (from->holders.holder[node] != node)
			continue;
		same = ca_objects_find(b, ca_objects_address(a, node));
		if (same && strcmp(a->types[ca_node_type(a, node)].name,
				   b->types[ca_node_type(b, same)].name) == 0)
			ca_set_bit(bits, same);
	}
	return bits;
}

static void rebuild(struct side *side, const uint64_t *also)
{
	ca_holders_fini(&side->holders);
	ca_holders_build(side->naming, CA_LEAST_OWNER, also, &side->holders);
}

static size_t digits(const char *text)
{
	return strspn(text, "0123456789");
}

/* Of ":12" and ", thread 4711" so many bytes; 0: neither begins here. */
static size_t passing(const char *at)
{
	static const char thread[] = ", thread ";
	size_t skip = *at == ':' ? 1 : strncmp(at, thread, strlen(thread)) == 0 ? strlen(thread) : 0;
	size_t number = skip ? digits(at + skip) : 0;

	if (!number || (at[skip + number] && !strchr(", ", at[skip + number])))
		return 0;
	return skip + number;
}

/*
 * A frame is the same one at another line, and in another process's thread:
 * "x in f() at app.py:12, thread 4711" compares as "x in f() at app.py". What is
 * quoted is a key.
 */
const char *ca_owner_key(const char *name, struct ca_arena *arena)
{
	char *out = ca_arena_strdup(arena, name), quote = '\0';
	size_t length = 0;

	for (const char *at = name; *at;) {
		size_t skip = quote ? 0 : passing(at);

		if (skip) {
			at += skip;
			continue;
		}
		if (*at == '\\' && at[1])
			out[length++] = *at++;
		else if (quote ? *at == quote : *at == '\'' || *at == '"')
			quote = quote ? '\0' : *at;
		out[length++] = *at++;
	}
	out[length] = '\0';
	return out;
}

/* ---- what is a holder on one side is one on the other ------------------------ */

/* FNV-1a, for sets of names: two that share one cost a row more, no figure. */
static uint64_t hash_of(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
	return hash;
}

static uint64_t hash_of_type(const struct side *side, ca_node node)
{
	const struct ca_objects *objects = side->naming->graph->objects;

	return hash_of(0xcbf29ce484222325u, objects->types[ca_node_type(objects, node)].name);
}

/* Of a name and its type. In scratch: nobody shows it. */
static uint64_t hash_of_owner(const struct side *side, ca_node node, struct ca_arena *scratch)
{
	struct ca_naming naming = *side->naming;
	uint64_t hash;

	naming.arena = scratch;
	hash = hash_of(hash_of_type(side, node), ca_owner_key(ca_way_name(&naming, node), scratch));
	ca_arena_empty(scratch);
	return hash;
}

/*
 * The same between two processes, where nothing but names compares. A name costs: it is
 * asked for where a holder of the other side has that type.
 */
static uint64_t *holders_of_same_name(const struct side *from, const struct side *to)
{
	const struct ca_graph *graph = to->naming->graph;
	uint64_t *bits = ca_alloc((graph->node_count / 64 + 1) * sizeof(*bits));
	struct ca_arena scratch = {0};
	struct ca_map types = {0}, owners = {0};

	for (ca_node node = 1; node <= from->naming->graph->object_count; node++) {
		if (from->holders.holder[node] != node)
			continue;
		ca_map_add(&types, hash_of_type(from, node), NULL);
		ca_map_add(&owners, hash_of_owner(from, node, &scratch), NULL);
	}
	for (ca_node node = 1; node <= graph->object_count; node++)
		if (to->holders.named[node] == node && to->holders.holder[node] != node &&
		    ca_map_find(&types, hash_of_type(to, node)) &&
		    ca_map_find(&owners, hash_of_owner(to, node, &scratch)))
			ca_set_bit(bits, node);
	ca_map_fini(&types);
	ca_map_fini(&owners);
	ca_arena_fini(&scratch);
	return bits;
}

static void align(struct side *before, struct side *after, bool same_process)
{
	uint64_t *(*same)(const struct side *, const struct side *) = same_process ? same_holders
										   : holders_of_same_name;
	uint64_t *of_after = same(after, before), *of_before = same(before, after);

	rebuild(before, of_after);
	rebuild(after, of_before);
	free(of_after);
	free(of_before);
}

struct part {
	const struct ca_owner_row *row;
	const char *name; /* to compare by */
	bool later;
};

static int by_name(const void *a, const void *b)
{
	const struct part *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	if (order)
		return order;
	if (x->later != y->later)
		return x->later ? 1 : -1;
	return (x->row->holder > y->row->holder) - (x->row->holder < y->row->holder);
}

static ca_node object_of(const struct side *side, ca_node holder)
{
	return holder <= side->naming->graph->object_count ? holder : 0;
}

static void add_part(struct ca_growth_row *row, const struct part *part, const struct side *before,
		     const struct side *after)
{
	const struct ca_retained_row *sums = &part->row->sums;

	row->owner = sums->name;
	if (part->later) {
		row->after = object_of(after, part->row->holder);
		row->count_after += sums->count;
		row->bytes_after += sums->bytes;
		row->owned_after += sums->owned;
	} else {
		row->before = object_of(before, part->row->holder);
		row->count_before += sums->count;
		row->bytes_before += sums->bytes;
		row->owned_before += sums->owned;
	}
}

static size_t list_parts(const struct side *side, bool later, struct part *parts)
{
	for (size_t i = 0; i < side->owners.count; i++) {
		const struct ca_owner_row *row = &side->owners.rows[i];

		parts[i] = (struct part){row, ca_owner_key(row->sums.name, side->naming->arena), later};
	}
	return side->owners.count;
}

static void merge(const struct side *before, const struct side *after, struct ca_growth *growth,
		  uint32_t *row_of_holder)
{
	size_t count = before->owners.count + after->owners.count, n = 0;
	struct part *parts = ca_alloc((count + 1) * sizeof(*parts));

	n += list_parts(before, false, parts);
	n += list_parts(after, true, parts + n);
	if (n)
		qsort(parts, n, sizeof(*parts), by_name);
	growth->rows = ca_alloc((count + 1) * sizeof(*growth->rows));
	for (size_t i = 0; i < n; i++) {
		if (!i || strcmp(parts[i].name, parts[i - 1].name) != 0)
			growth->count++;
		add_part(&growth->rows[growth->count - 1], &parts[i], before, after);
		if (parts[i].later)
			row_of_holder[parts[i].row->holder] = (uint32_t)growth->count - 1;
	}
	free(parts);
}

static void count_fresh(const struct side *after, const uint64_t *fresh,
			const uint32_t *row_of_holder, struct ca_growth *growth)
{
	const struct ca_graph *graph = after->naming->graph;

	for (ca_node node = 1; fresh && node <= graph->object_count; node++)
		if (ca_bit(fresh, node))
			growth->rows[row_of_holder[after->holders.holder[node]]].fresh++;
}

static void finish(struct side *side)
{
	ca_owners_fini(&side->owners);
	ca_holders_fini(&side->holders);
}

void ca_growth_build(const struct ca_naming *before, const struct ca_naming *after,
		     bool same_process, const uint64_t *fresh, struct ca_growth *growth)
{
	struct side a = {.naming = before}, b = {.naming = after};
	uint32_t *row_of_holder = ca_alloc(after->graph->node_count * sizeof(*row_of_holder));

	*growth = (struct ca_growth){0};
	ca_holders_build(before, CA_LEAST_OWNER, NULL, &a.holders);
	ca_holders_build(after, CA_LEAST_OWNER, NULL, &b.holders);
	align(&a, &b, same_process);
	ca_owners_build(before, &a.holders, NULL, &a.owners);
	ca_owners_build(after, &b.holders, NULL, &b.owners);
	merge(&a, &b, growth, row_of_holder);
	count_fresh(&b, fresh, row_of_holder, growth);
	free(row_of_holder);
	finish(&a);
	finish(&b);
}

void ca_growth_fini(struct ca_growth *growth)
{
	free(growth->rows);
	*growth = (struct ca_growth){0};
}
