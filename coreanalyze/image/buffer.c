/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An image over the caller's own bytes. */
#include "private.h"

#include <stdlib.h>

struct ca_image *ca_image_from_buffers(struct ca_context *ctx, const struct ca_segment *segments,
				       size_t count)
{
	struct ca_image *image = ca_image_make(ctx, "");

	ca_image_set_segments(image, segments, count);
	image->mappings = ca_alloc(image->segment_count * sizeof(*image->mappings));
	for (size_t i = 0; i < image->segment_count; i++) {
		const struct ca_segment *segment = &image->segments[i];

		image->mappings[image->mapping_count++] = (struct ca_mapping){
			.start = segment->start,
			.end = segment->end,
			.flags = segment->flags & (CA_SEG_READ | CA_SEG_WRITE | CA_SEG_EXEC),
			.path = "",
			.dumped = segment->end - segment->start,
		};
	}
	return image;
}
