/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which PT_LOADs the core has: each mapping, cut where its bytes begin and end. */
#include "private.h"

#include <stdlib.h>

#define SPARSE_BYTES (UINT64_C(4) << 30) /* a larger mapping may be hardly used: a sanitizer's */
#define GAP_BYTES UINT64_C(1048576)	 /* a hole as large as this is left out of it then */

static void add(struct ca_pieces *pieces, const struct ca_vma *vma, ca_addr start, ca_addr end,
		bool dumped)
{
	if (start >= end)
		return;
	pieces->items = ca_grow(pieces->items, &pieces->capacity, pieces->count + 1,
				sizeof(*pieces->items));
	pieces->items[pieces->count++] = (struct ca_piece){ start, end, vma->flags, dumped, 0 };
}

/* What was never touched of it is zeros, which take no room in a file. */
static bool is_zero_filled(const struct ca_vma *vma)
{
	return ca_vma_is_anonymous(vma) && vma->flags & CA_SEG_WRITE && !vma->shared &&
	       vma->end - vma->start <= SPARSE_BYTES;
}

/* The runs of the plan, with what is between them where that is less than gap. */
static void add_runs(struct ca_pieces *pieces, const struct ca_vma *vma, const struct ca_plan *plan,
		     size_t run, uint64_t gap)
{
	ca_addr at = vma->start, start = 0, end = 0;

	for (; run < plan->count && plan->runs[run].start < vma->end; run++) {
		struct ca_run this = plan->runs[run];

		if (this.start < vma->start)
			this.start = vma->start;
		if (this.end > vma->end)
			this.end = vma->end;
		if (end && this.start - end <= gap) {
			end = this.end;
			continue;
		}
		add(pieces, vma, start, end, true);
		if (end)
			at = end;
		add(pieces, vma, at, this.start, false);
		start = this.start;
		end = this.end;
	}
	add(pieces, vma, start, end, true);
	add(pieces, vma, end ? end : at, vma->end, false);
}

void ca_pieces_make(struct ca_pieces *pieces, const struct ca_vmas *vmas, const struct ca_plan *plan)
{
	size_t run = 0;

	pieces->count = 0;
	for (size_t i = 0; i < vmas->count; i++) {
		const struct ca_vma *vma = &vmas->items[i];

		while (run < plan->count && plan->runs[run].end <= vma->start)
			run++;
		if (is_zero_filled(vma))
			add(pieces, vma, vma->start, vma->end, true);
		else
			add_runs(pieces, vma, plan, run,
				 ca_vma_is_anonymous(vma) && !vma->shared ? GAP_BYTES : 0);
	}
}

void ca_pieces_place(struct ca_pieces *pieces, uint64_t at)
{
	for (size_t i = 0; i < pieces->count; i++) {
		struct ca_piece *piece = &pieces->items[i];

		piece->offset = at;
		if (piece->dumped)
			at += piece->end - piece->start;
	}
	pieces->file_bytes = at;
}

void ca_pieces_fini(struct ca_pieces *pieces)
{
	free(pieces->items);
	*pieces = (struct ca_pieces){ 0 };
}
