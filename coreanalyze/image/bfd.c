/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All that is asked of libbfd, which is not thread-safe: one lock around it. It
 * reads from our mappings, so what it sees is what was checked.
 */
#include "private.h"

#define PACKAGE "coreanalyze" /* bfd.h insists */
#include <bfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- a file in memory ------------------------------------------------------ */

static void *stream_open(bfd *abfd, void *bytes)
{
	(void)abfd;
	return bytes;
}

static file_ptr stream_read(bfd *abfd, void *stream, void *buffer, file_ptr count, file_ptr offset)
{
	const struct ca_bytes *bytes = stream;

	(void)abfd;
	if (count < 0 || offset < 0)
		return -1;
	uint64_t left = (uint64_t)offset < bytes->size ? bytes->size - (uint64_t)offset : 0;

	if ((uint64_t)count > left)
		count = (file_ptr)left;
	if (count)
		memcpy(buffer, bytes->data + offset, (size_t)count);
	return count;
}

static int stream_close(bfd *abfd, void *stream)
{
	(void)abfd;
	(void)stream;
	return 0;
}

static int stream_stat(bfd *abfd, void *stream, struct stat *st)
{
	const struct ca_bytes *bytes = stream;

	(void)abfd;
	*st = (struct stat){ .st_mode = S_IFREG | 0400, .st_size = (off_t)bytes->size };
	return 0;
}

/* What it has to say about a damaged file is said by our own checks. */
static void be_quiet(const char *format, va_list args)
{
	(void)format;
	(void)args;
}

/* With the lock held; bytes must outlive the bfd. */
static bfd *open_bytes(const char *name, const struct ca_bytes *bytes, bfd_format format)
{
	static bool ready;

	if (!ready) {
		bfd_init();
		bfd_set_error_handler(be_quiet);
		ready = true;
	}
	bfd *abfd = bfd_openr_iovec(name, NULL, stream_open, (void *)bytes, stream_read,
				    stream_close, stream_stat);

	if (abfd && !bfd_check_format(abfd, format)) {
		bfd_close_all_done(abfd);
		return NULL;
	}
	return abfd;
}

/* ---- the core -------------------------------------------------------------- */

/* Its names carry the processor family: "i386:x86-64". */
static const char *plain_arch(struct ca_arena *arena, const char *printable)
{
	const char *colon = strrchr(printable, ':');
	char *name = ca_arena_strdup(arena, colon ? colon + 1 : printable);

	for (char *c = name; *c; c++) {
		if (*c == '-')
			*c = '_';
	}
	return name;
}

void ca_bfd_core(struct ca_image *image)
{
	struct ca_arena *arena = &image->ctx->arena;

	/* A core cut short makes it complain on stderr, past the handler above. */
	if (image->priv->overruns)
		return;
	pthread_mutex_lock(&lock);
	bfd *abfd = open_bytes(image->path, &image->priv->core, bfd_core);

	if (abfd) {
		const char *command = bfd_core_file_failing_command(abfd);

		image->arch = plain_arch(arena, bfd_printable_arch_mach(bfd_get_arch(abfd),
									bfd_get_mach(abfd)));
		image->pid = bfd_core_file_pid(abfd);
		image->priv->psargs = command ? ca_arena_strdup(arena, command) : NULL;
		bfd_close_all_done(abfd);
	}
	pthread_mutex_unlock(&lock);
}

/* ---- symbols of a file ------------------------------------------------------ */

struct symbol_reader {
	bfd *abfd;
	void (*add)(void *arg, const char *name, size_t length, uint64_t value);
	void *arg;
};

static void give_symbol(const struct symbol_reader *reader, const asymbol *symbol)
{
	const asection *section = bfd_asymbol_section(symbol);
	const char *name = bfd_asymbol_name(symbol);

	/* Thread-local values are offsets; absolute ones do not move with the file. */
	if (!name || !*name || bfd_is_und_section(section) || bfd_is_com_section(section) ||
	    bfd_is_abs_section(section) ||
	    symbol->flags & (BSF_THREAD_LOCAL | BSF_SECTION_SYM | BSF_FILE | BSF_DEBUGGING))
		return;
	/* "name@VERSION", "name@@VERSION" */
	reader->add(reader->arg, name, strcspn(name, "@"), bfd_asymbol_value(symbol));
}

static void read_table(const struct symbol_reader *reader, long bytes,
		       long (*canonicalize)(const struct symbol_reader *reader, asymbol **symbols))
{
	if (bytes <= 0)
		return;
	asymbol **symbols = ca_alloc((size_t)bytes);
	long count = canonicalize(reader, symbols);

	for (long i = 0; i < count; i++)
		give_symbol(reader, symbols[i]);
	free(symbols);
}

static long dynamic_symbols(const struct symbol_reader *reader, asymbol **symbols)
{
	return bfd_canonicalize_dynamic_symtab(reader->abfd, symbols);
}

static long static_symbols(const struct symbol_reader *reader, asymbol **symbols)
{
	return bfd_canonicalize_symtab(reader->abfd, symbols);
}

void ca_bfd_symbols(const struct ca_file *file,
		    void (*add)(void *arg, const char *name, size_t length, uint64_t value),
		    void *arg)
{
	pthread_mutex_lock(&lock);
	struct symbol_reader reader = { open_bytes(file->path, &file->bytes, bfd_object), add, arg };

	if (reader.abfd) {
		read_table(&reader, bfd_get_dynamic_symtab_upper_bound(reader.abfd),
			   dynamic_symbols);
		read_table(&reader, bfd_get_symtab_upper_bound(reader.abfd), static_symbols);
		bfd_close_all_done(reader.abfd);
	}
	pthread_mutex_unlock(&lock);
}

bool ca_bfd_section(const struct ca_file *file, const char *name, uint64_t *address,
		    uint64_t *bytes)
{
	pthread_mutex_lock(&lock);
	bfd *abfd = open_bytes(file->path, &file->bytes, bfd_object);
	const asection *section = abfd ? bfd_get_section_by_name(abfd, name) : NULL;

	if (section) {
		*address = bfd_section_vma(section);
		*bytes = bfd_section_size(section);
	}
	if (abfd)
		bfd_close_all_done(abfd);
	pthread_mutex_unlock(&lock);
	return section != NULL;
}
