/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * store: the snapshot of an analysis, as a file that is mapped back.
 *
 * What was found is there as arrays, which are used where they lie. What commands decode when
 * they are asked (labels, values, the collector's lists) they decode from a snapshot by the same
 * code as from a core: its memory has the same segments, in which every word is that such a
 * question reads, and the others are zero. Which words these are is not known here: all questions are
 * asked once, and what the image was read for is kept (keep.c). So a new decoder needs nothing
 * here, and no second source of truth can disagree. The price, about a tenth of the core when packed, is
 * what a store of labels and values would take too.
 *
 *   header    magic 8 | version 4 | 0 4
 *   sections  each at a multiple of 64, zeros between
 *   table     for each section: id 4 | bytes of an item 4 | offset 8 | bytes 8 | checksum 8
 *   trailer   checksum of the table 8 | its offset 8 | sections 4 | version 4 | magic 8
 *
 * Numbers are little-endian. Sections:
 *
 *   facts (facts.h)   image: process, mappings, modules, threads, segments; runtime: layout, interpreters,
 *                     threads; objects: regions, types, what was learnt; graph: roots, the audit's sums;
 *                     each with the warnings that this stage added
 *   memory            frames of zstd, one for each chunk that is not all zeros, with zstd's own checksum
 *   memory index      u64 [chunks + 1]: where a chunk's frame begins in memory, and the last one's end. A segment
 *                     begins with a chunk of its own; they follow each other in order of address
 *   bits              u64: struct ca_space's, an object starts here
 *   mold, molds       u32 [objects + 1]; struct ca_mold
 *   first, to, flags, mismatches    as in struct ca_graph and struct ca_audit; the reverse is made when it is
 *                     asked for, as from a core
 *
 * Checksum: of each 1 MiB a hash, of these hashes one (sections.c). Facts are proved when they are read,
 * arrays when their stage is asked for, and then also that no number in them leads out of
 * bounds; frames when they are unpacked.
 *
 * Compressed, the whole file is one zstd stream, which is unpacked to a temporary file like that of a core.
 * Redacted, memory has no values: of a str that is no name of a type, module, function, file or
 * attribute its length, of a number nothing, no hashes; of argv the program.
 *
 * A file of another version is refused. The version goes up when a section changes, or what is in one.
 */
#ifndef CA_STORE_H
#define CA_STORE_H

#include "../graph/graph.h"

enum { CA_STORE_VERSION = 2 };

enum ca_stage { CA_STAGE_IMAGE, CA_STAGE_RUNTIME, CA_STAGE_OBJECTS, CA_STAGE_GRAPH, CA_STAGES };

/* ---- writing (write.c) ------------------------------------------------------- */

struct ca_save_options {
	bool compress; /* the whole with zstd */
	bool redact;   /* without values */
};

struct ca_saving {
	struct ca_context *ctx;
	struct ca_image *image;
	const struct ca_runtime *rt;
	struct ca_objects *objects;
	const struct ca_graph *graph;
	/* What each stage had warned of when it was done, with those before it. */
	struct ca_warnings warnings[CA_STAGES];
};

/*
 * Writes a snapshot under a temporary name beside `file`, readable by its owner alone, and renames it when it
 * is whole and on disk; else nothing is left behind. *bytes: what it takes. Errors: CA_TARGET.
 */
struct ca_error *ca_snapshot_write(const struct ca_saving *saving, const char *file,
				const struct ca_save_options *options, uint64_t *bytes);

/* ---- reading (read.c) -------------------------------------------------------- */

struct ca_snapshot;

/*
 * Fills an image that ca_image_open() left empty because it is a snapshot's; NULL in *out: it is none. The
 * image must outlive the store. Errors: CA_TARGET, another version, cut short, damaged.
 */
struct ca_error *ca_snapshot_open(struct ca_context *ctx, struct ca_image *image, struct ca_snapshot **out);
void ca_snapshot_close(struct ca_snapshot *store); /* NULL is allowed */
/* The stages, in order. Each is its caller's to close, before the store. */
struct ca_error *ca_snapshot_runtime(struct ca_snapshot *store, struct ca_runtime **rt);
struct ca_error *ca_snapshot_objects(struct ca_snapshot *store, const struct ca_runtime *rt,
				  struct ca_objects **objects);
struct ca_error *ca_snapshot_graph(struct ca_snapshot *store, struct ca_objects *objects,
				struct ca_graph **graph);
/* Warns of chunks of memory that turned out to be damaged so far. */
void ca_snapshot_look(struct ca_snapshot *store);

#endif
