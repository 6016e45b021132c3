/* SPDX-License-Identifier: GPL-3.0-or-later */
/* store, inside: facts, and the sections of the file. */
#ifndef CA_STORE_PRIVATE_H
#define CA_STORE_PRIVATE_H

#include "store.h"

/* ---- facts (facts.c) ------------------------------------------------------- */

/*
 * Small things, one after the other, without names: a function that goes through a structure
 * writes it, or reads it back, so that the two cannot disagree. Numbers are 8 bytes; a text is its
 * length (all bits set: NULL) and its bytes. Reading beyond the end gives zeros, and damaged.
 */
struct ca_facts {
	bool saving;
	bool damaged;
	struct ca_arena *arena; /* where texts go that are read */
	uint8_t *bytes;         /* written so far; to be freed */
	size_t size, capacity;
	const uint8_t *at, *end; /* what is still to be read */
};
void ca_fact_raw(struct ca_facts *facts, void *bytes, size_t size);
void ca_fact_text(struct ca_facts *facts, const char **text);
/* One that is shown as it is: escaped anew when it is read. */
void ca_fact_shown(struct ca_facts *facts, const char **text);
/*
 * How many of something follow, each of `least` bytes at least; never more than the rest can hold. Returns it.
 */
size_t ca_fact_count(struct ca_facts *facts, size_t count, size_t least);
/* The same for an array: when reading it is made here, zeroed. */
void *ca_fact_array(struct ca_facts *facts, void *array, size_t *count, size_t item_bytes, size_t least);

#define CA_FACT(type, name)                                                        \
	static inline void ca_fact_##name(struct ca_facts *facts, type *value)     \
	{                                                                          \
		uint64_t word = facts->saving ? (uint64_t)*value : 0;              \
                                                                                   \
		ca_fact_raw(facts, &word, sizeof(word));                           \
		if (!facts->saving)                                                \
			*value = (type)word;                                       \
	}
CA_FACT(uint64_t, u64)
CA_FACT(int64_t, i64)
CA_FACT(uint32_t, u32)
CA_FACT(int32_t, i32)
CA_FACT(unsigned char, u8)
#undef CA_FACT
static inline void ca_fact_bool(struct ca_facts *facts, bool *value)
{
	uint8_t byte = *value;

	ca_fact_u8(facts, &byte);
	*value = byte != 0;
}
/* An enum below `end`; what is not becomes 0, and damaged. */
uint32_t ca_fact_enum(struct ca_facts *facts, uint32_t value, uint32_t end);

/* What goes through a stage's structures. */
void ca_facts_of_image(struct ca_facts *facts, struct ca_image *image, struct ca_saved *saved);
void ca_facts_of_runtime(struct ca_facts *facts, struct ca_runtime *rt);
void ca_facts_of_objects(struct ca_facts *facts, struct ca_objects_saved *objects);
/* After these, when the registry of types is there. */
void ca_facts_of_learnt(struct ca_facts *facts, struct ca_objects *objects);
void ca_facts_of_graph(struct ca_facts *facts, struct ca_graph *graph);
/* What `after` has and `before` has not; when reading it is added to ctx's. */
void ca_facts_of_warnings(struct ca_facts *facts, struct ca_context *ctx,
			  const struct ca_warnings *before, const struct ca_warnings *after);

/* ---- sections (sections.c) -------------------------------------------------- */

enum ca_section_id {
	CA_SECTION_IMAGE = 1,
	CA_SECTION_RUNTIME,
	CA_SECTION_OBJECTS,
	CA_SECTION_GRAPH,
	CA_SECTION_MEMORY,
	CA_SECTION_MEMORY_INDEX,
	CA_SECTION_BITS,
	CA_SECTION_MOLD,
	CA_SECTION_MOLDS,
	CA_SECTION_FIRST,
	CA_SECTION_TO,
	CA_SECTION_FLAGS,
	CA_SECTION_MISMATCHES,
	CA_SECTIONS,
};

/* As it is in the file. */
struct ca_section {
	uint32_t id, item_bytes;
	uint64_t offset, bytes, checksum;
};
struct ca_file_head {
	uint8_t magic[CA_SNAPSHOT_MAGIC_BYTES];
	uint32_t version, zero;
};
struct ca_file_tail {
	uint64_t checksum, offset;
	uint32_t sections, version;
	uint8_t magic[CA_SNAPSHOT_MAGIC_BYTES];
};
enum { CA_SECTION_ALIGN = 64 };

uint64_t ca_checksum(struct ca_context *ctx, const void *bytes, uint64_t size);

/* ---- the file, while it is written (file.c) ---------------------------------- */

struct ca_draft {
	int fd;
	struct archive *packer; /* NULL: as it is */
	uint64_t at;
	bool failed;            /* errno says why */
	struct ca_section sections[CA_SECTIONS];
	uint32_t count;
};
/* fd begins empty. */
void ca_draft_open(struct ca_draft *draft, int fd, bool compress);
void ca_draft_put(struct ca_draft *draft, const void *bytes, uint64_t size);
/* From here on a section; its bytes and checksum are still to be set. */
struct ca_section *ca_draft_begin(struct ca_draft *draft, enum ca_section_id id, uint32_t item_bytes);
/* A whole one. */
void ca_draft_section(struct ca_draft *draft, struct ca_context *ctx, enum ca_section_id id,
		       const void *items, uint64_t count, uint32_t item_bytes);
/* The table and the trailer. False: errno. */
bool ca_draft_close(struct ca_draft *draft);

/* ---- memory (keep.c, pack.c) --------------------------------------------------- */

/* Asks of all objects what commands may ask: the image notes what is read. */
void ca_snapshot_ask(const struct ca_saving *saving, struct ca_keep *keep, bool redact);
uint64_t ca_chunk_bytes(const struct ca_image *image);
uint64_t ca_chunk_count(const struct ca_image *image, uint64_t chunk_bytes);
/* Sections MEMORY and MEMORY_INDEX. */
void ca_snapshot_pack(struct ca_draft *draft, const struct ca_saving *saving,
		   struct ca_keep *keep);

#endif
