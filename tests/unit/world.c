/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "world.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

void world_put(struct world *world, ca_addr addr, uint64_t value)
{
	memcpy(world->memory + (addr - WORLD_START), &value, sizeof(value));
}

void world_put32(struct world *world, ca_addr addr, uint32_t value)
{
	memcpy(world->memory + (addr - WORLD_START), &value, sizeof(value));
}

void world_text(struct world *world, ca_addr addr, const char *text)
{
	memcpy(world->memory + (addr - WORLD_START), text, strlen(text) + 1);
}

void world_type(struct world *world, ca_addr addr, const char *name, uint64_t flags,
		uint64_t basicsize, uint64_t itemsize, ca_addr base)
{
	const struct ca_layout *layout = world->layout;
	ca_addr text = addr + WORLD_TYPE_BYTES - 64;

	world_text(world, text, name);
	world_put(world, addr + layout->object.ob_refcnt, 1);
	world_put(world, addr + layout->object.ob_type, WORLD_START);
	world_put(world, addr + layout->type.tp_name, text);
	world_put(world, addr + layout->type.tp_flags, flags | CA_TPFLAGS_READY);
	world_put(world, addr + layout->type.tp_basicsize, basicsize);
	world_put(world, addr + layout->type.tp_itemsize, itemsize);
	world_put(world, addr + layout->type.tp_base, base);
}

void world_open(struct world *world, const struct ca_layout *layout, uint64_t bytes)
{
	uint8_t *whole = mmap(NULL, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (whole == MAP_FAILED || mprotect(whole + PAGE, bytes, PROT_READ | PROT_WRITE))
		abort();
	memset(world, 0, sizeof(*world));
	world->memory = whole + PAGE;
	world->bytes = bytes;
	world->end = WORLD_START + bytes;
	world->layout = layout;
	ca_context_init(&world->ctx);
	world->ctx.threads = 1;

	struct ca_segment segment = { WORLD_START, world->end, world->memory,
				      CA_SEG_READ | CA_SEG_WRITE };

	world->image = ca_image_from_buffers(&world->ctx, &segment, 1);
	world_type(world, WORLD_START, "type", CA_TPFLAGS_TYPE_SUBCLASS | CA_TPFLAGS_HAVE_GC,
		   (uint64_t)layout->heaptype.size, 40, 0);
	world->rt = (struct ca_runtime){
		.ctx = &world->ctx,
		.image = world->image,
		.layout = *layout,
		.module = &world->module,
		.type_type = WORLD_START,
		.interps = &world->interp,
		.interp_count = 1,
	};
	ca_types_init(&world->types, &world->rt);
	world->reader = ca_alloc(sizeof(*world->reader));
	ca_reader_init(world->reader, &world->types);
}

void world_close(struct world *world)
{
	free(world->reader);
	ca_types_fini(&world->types);
	ca_image_close(world->image);
	ca_context_fini(&world->ctx);
	munmap(world->memory - PAGE, world->bytes + 2 * PAGE);
}

static const struct ca_warning *find_warning(const struct world *world, const char *kind)
{
	for (size_t i = 0; i < world->ctx.warnings.count; i++)
		if (!strcmp(world->ctx.warnings.items[i].kind, kind))
			return &world->ctx.warnings.items[i];
	return NULL;
}

bool world_warned(const struct world *world, const char *kind)
{
	return find_warning(world, kind);
}

uint64_t world_warned_bytes(const struct world *world, const char *kind)
{
	const struct ca_warning *warning = find_warning(world, kind);

	return warning ? warning->bytes : 0;
}
