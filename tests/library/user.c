/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A program that uses the installed library: prints what `types` and `object`
 * print, a line a row, with tabs between.
 *
 *   user CORE [ADDRESS...]    the types, then these objects
 *   user --walk CORE          counts by type, of a walk over all objects
 *   user --owners CORE        suspects, what retains most and who holds it
 *   user --threads CORE       the walk, by each of four threads five times
 *   user --refuse FILE        why it cannot be opened
 */
#include <coreanalyze.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int refuse(const char *path)
{
	struct ca_target *target = NULL;
	struct ca_failure failure;
	int status = ca_target_open(path, NULL, &target, &failure);

	if (!status) {
		ca_target_close(target);
		return 0;
	}
	printf("%d\t%s\t%s\t%s\n", failure.status, failure.what, failure.why, failure.advice);
	/* Who does not want to know why need not. */
	return ca_target_open(path, NULL, &target, NULL) == status ? status : 99;
}

static struct ca_target *open_or_exit(const char *path)
{
	struct ca_target_options options = { .threads = 2 };
	struct ca_target *target;
	struct ca_failure failure;

	if (ca_target_open(path, &options, &target, &failure)) {
		fprintf(stderr, "%s: %s: %s\n", failure.what, failure.why, failure.advice);
		exit(failure.status);
	}
	return target;
}

static void print_types(const struct ca_target *target)
{
	struct ca_type_info type;
	const char *warning;

	printf("python\t%s\t%d\n", ca_target_python(target), ca_target_pid(target));
	for (size_t i = 0; (warning = ca_target_warning(target, i)); i++)
		printf("warning\t%s\n", warning);
	for (size_t i = 0; ca_target_type(target, i, &type); i++)
		printf("type\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%u\t%d\n",
		       type.name, type.count, type.bytes, type.owned, type.gc_tracked,
		       (unsigned)type.type_objects, type.bytes_exact);
	if (ca_target_type(target, ca_target_type_count(target), &type) ||
	    ca_target_type(target, SIZE_MAX, &type))
		printf("a type too many\n");
}

static void print_object(struct ca_target *target, uint64_t address)
{
	struct ca_object_info o;

	if (!ca_target_object(target, address, &o)) {
		printf("none\t0x%" PRIx64 "\n", address);
		return;
	}
	printf("object\t0x%" PRIx64 "\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%d\t%d\t%s\n",
	       o.address, o.type, o.bytes, o.owned, o.refcount, o.immortal, o.gc_tracked,
	       o.value ? o.value : "-");
}

static int walk(const char *path)
{
	struct ca_target *target = open_or_exit(path);
	uint64_t objects = 0, bytes = 0, tracked = 0, address = 0, before;

	for (;;) {
		struct ca_object_info o;

		before = address;
		address = ca_target_next(target, address);
		if (!address)
			break;
		if (address <= before || !ca_target_object(target, address, &o))
			return 1;
		objects++;
		bytes += o.bytes + o.owned;
		tracked += o.gc_tracked;
	}
	printf("%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n", objects, bytes, tracked);
	/* No object starts at what is none; nothing comes after it either. */
	if (ca_target_next(target, 1) || ca_target_next(target, UINT64_MAX) ||
	    ca_target_next(target, before))
		return 1;
	ca_target_close(target);
	return 0;
}

static int collector(const char *path)
{
	struct ca_target *target = open_or_exit(path);
	struct ca_collector_info collector;
	struct ca_cycles_info cycles;

	if (!ca_target_collector(target, &collector) || ca_target_cycles(target, &cycles, NULL) != 0)
		return 1;
	printf("%d %d %llu", collector.enabled, collector.collecting, (unsigned long long)collector.frozen);
	for (int i = 0; i < 3; i++)
		printf(" %d %d %llu %lld", (int)collector.generations[i].threshold,
		       (int)collector.generations[i].count,
		       (unsigned long long)collector.generations[i].objects,
		       (long long)collector.generations[i].collections);
	printf(" %llu %llu %llu %llu %llu\n", (unsigned long long)cycles.cycles,
	       (unsigned long long)cycles.objects, (unsigned long long)cycles.bytes,
	       (unsigned long long)cycles.with_finalizers,
	       (unsigned long long)cycles.unreachable_objects);
	ca_target_close(target);
	return 0;
}

/* Each place with what is right under it. */
static void print_owner(struct ca_target *target, const char *kind, uint64_t address)
{
	struct ca_owner_info o;
	struct ca_failure failure;

	if (ca_target_owner(target, address, &o, &failure))
		printf("%s\t%d\t%s\n", kind, failure.status, failure.why);
	else
		printf("%s\t0x%" PRIx64 "\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIx64 "\t%" PRIx64 "\n", kind,
		       address, o.name, o.retained_bytes, o.retained_objects, o.dominator, o.holder);
}

static int owners(const char *path)
{
	struct ca_target *target = open_or_exit(path);
	struct ca_suspect_info suspects[CA_TARGET_SUSPECTS];
	uint64_t top[20], inside[3];
	size_t count, tops = 20;

	if (ca_target_suspects(target, suspects, &count, NULL))
		return 1;
	for (size_t i = 0; i < count; i++)
		printf("suspect\t%s\t0x%" PRIx64 "\t%" PRIu64 "\t%.4f\t%s\t%" PRIu64 "\t%" PRIu64 "\n",
		       suspects[i].name, suspects[i].address, suspects[i].retained_bytes,
		       suspects[i].share, suspects[i].type, suspects[i].count, suspects[i].bytes);
	if (ca_target_biggest(target, 0, top, &tops, NULL))
		return 1;
	for (size_t i = 0; i < tops; i++)
		print_owner(target, "top", top[i]);
	count = 3;
	if (ca_target_biggest(target, top[0], inside, &count, NULL))
		return 1;
	for (size_t i = 0; i < count; i++)
		print_owner(target, "inside", inside[i]);
	print_owner(target, "none", 16);
	if (ca_target_biggest(target, 16, inside, &count, NULL) != 2)
		return 1;
	ca_target_close(target);
	return 0;
}

static void *walk_often(void *path)
{
	int failed = 0;

	for (int i = 0; i < 5; i++)
		failed |= walk(path);
	return failed ? path : NULL;
}

static int walk_in_threads(char *path)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	void *failed;
	int status = 0;

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, walk_often, path))
			return 1;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &failed);
		status |= failed != NULL;
	}
	return status;
}

int main(int argc, char **argv)
{
	ca_target_close(NULL);
	if (argc == 3 && !strcmp(argv[1], "--refuse"))
		return refuse(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--collector"))
		return collector(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--owners"))
		return owners(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--walk"))
		return walk(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--threads"))
		return walk_in_threads(argv[2]);
	if (argc < 2)
		return 2;

	struct ca_target *target = open_or_exit(argv[1]);

	/* Two at a time. */
	struct ca_target *other = open_or_exit(argv[1]);

	print_types(target);
	ca_target_close(other);
	for (int i = 2; i < argc; i++)
		print_object(target, strtoull(argv[i], NULL, 0));
	ca_target_close(target);
	return 0;
}
