/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Symbols and sections of modules, by name. */
#include "private.h"

#include <pthread.h>
#include <stdlib.h>

struct symbol {
	const char *name;
	uint64_t value; /* ELF address */
};

/* Hash of the name -> index + 1 of the symbol; on a collision at hash + 1. */
struct ca_symbol_table {
	struct symbol *items;
	size_t count, capacity;
	struct ca_map by_hash;
	struct ca_arena names;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* FNV-1a, 64 bits. */
static uint64_t hash(const char *name, size_t length)
{
	uint64_t value = 0xcbf29ce484222325u;

	for (size_t i = 0; i < length; i++)
		value = (value ^ (uint8_t)name[i]) * 0x100000001b3u;
	return value;
}

static bool is_named(const struct symbol *symbol, const char *name, size_t length)
{
	return !strncmp(symbol->name, name, length) && !symbol->name[length];
}

/* The first of a name stays: .dynsym is read before .symtab. */
static void add_symbol(void *arg, const char *name, size_t length, uint64_t value)
{
	struct ca_symbol_table *table = arg;

	for (uint64_t key = hash(name, length);; key++) {
		bool fresh;
		uint64_t *index = ca_map_add(&table->by_hash, key, &fresh);

		if (!fresh && is_named(&table->items[*index - 1], name, length))
			return;
		if (!fresh)
			continue;
		table->items = ca_grow(table->items, &table->capacity, table->count + 1,
				       sizeof(*table->items));
		table->items[table->count++] = (struct symbol){
			ca_arena_strndup(&table->names, name, length), value
		};
		*index = table->count;
		return;
	}
}

static bool find_symbol(const struct ca_symbol_table *table, const char *name, uint64_t *value)
{
	size_t length = strlen(name);

	for (uint64_t key = hash(name, length);; key++) {
		const uint64_t *index = ca_map_find(&table->by_hash, key);

		if (!index)
			return false;
		if (!is_named(&table->items[*index - 1], name, length))
			continue;
		*value = table->items[*index - 1].value;
		return true;
	}
}

static struct ca_symbol_table *read_table(const struct ca_module *module)
{
	struct ca_symbol_table *table = ca_alloc(sizeof(*table));

	if (module->priv->file)
		ca_bfd_symbols(module->priv->file, add_symbol, table);
	if (module->priv->symbols)
		ca_bfd_symbols(module->priv->symbols, add_symbol, table);
	return table;
}

void ca_symbols_free(struct ca_symbol_table *table)
{
	if (!table)
		return;
	ca_map_fini(&table->by_hash);
	ca_arena_fini(&table->names);
	free(table->items);
	free(table);
}

ca_addr ca_module_symbol(const struct ca_module *module, const char *name)
{
	uint64_t value = 0;

	pthread_mutex_lock(&lock);
	if (!module->priv->table)
		module->priv->table = read_table(module);
	bool found = find_symbol(module->priv->table, name, &value);

	pthread_mutex_unlock(&lock);
	if (found)
		return value + module->bias;
	return module->priv->file ? 0 : ca_dynamic_symbol(module, name);
}

bool ca_module_section(const struct ca_module *module, const char *name, ca_addr *start,
		       uint64_t *bytes)
{
	const struct ca_file *file = module->priv->file ? module->priv->file
							: module->priv->symbols;
	uint64_t address;

	if (!file || !ca_bfd_section(file, name, &address, bytes))
		return false;
	*start = address + module->bias;
	return true;
}
