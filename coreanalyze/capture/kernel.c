/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A core from the kernel's pipe. The kernel writes, in this order (Linux
 * fs/coredump.c, fs/binfmt_elf.c): ELF header, program headers, notes, memory by
 * address; and where there are more than 65,534 segments their number, at the end.
 *
 *   kept   headers (with what became of the rest), notes and one of our own, memory
 *          that could be written, the first page of code, where the build-id is
 */
#include "private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	BUFFER = 256 * 1024,
	SEGMENTS_MAX = 1024 * 1024,
	NAME_MAX_BYTES = 64,
	NAMES_MAX = 1000, /* of the same program and process number */
	LOOK_BYTES = 1024 * 1024, /* how often the disk is asked */
	LEAST_ROOM = 2 * LOOK_BYTES,
};

struct reading {
	int stream, folder;
	const struct ca_kernel_options *options;
	struct ca_from_kernel *out;
	struct ca_sink sink;
	uint8_t *buffer;
	uint64_t at;	/* how far the stream was read */
	uint64_t room;	/* bytes of disk that the file may take */
	uint64_t looked; /* when that was asked last: bytes read */
	bool ended;
	Elf64_Ehdr header;
	Elf64_Phdr *phdrs;
	uint64_t phnum;
};

/* ---- the stream ------------------------------------------------------------------- */

/* As many as there are up to size. */
static size_t read_some(struct reading *r, void *to, size_t size)
{
	size_t done = 0;

	while (done < size && !r->ended) {
		ssize_t got = read(r->stream, (uint8_t *)to + done, size - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			r->ended = true;
		else
			done += (size_t)got;
	}
	r->at += done;
	return done;
}

/* What the file takes now, against what it may. */
static bool has_room(struct reading *r)
{
	struct stat st;

	if (r->at - r->looked < LOOK_BYTES)
		return true;
	r->looked = r->at;
	if (fstat(r->sink.file.fd, &st) || (uint64_t)st.st_blocks * 512 + LOOK_BYTES > r->room ||
	    ca_spool_room(&r->sink.file) < LOOK_BYTES)
		r->out->is_cut = true;
	return !r->out->is_cut;
}

/* Copies size bytes of the stream, or (keep false) passes over them. */
static void take(struct reading *r, uint64_t size, bool keep)
{
	while (size && !r->ended && !r->sink.error && !r->out->is_cut) {
		size_t got = read_some(r, r->buffer, size < BUFFER ? size : BUFFER);

		if (keep && has_room(r))
			ca_sink_put(&r->sink, r->buffer, got);
		size -= got;
	}
}

/* ---- headers ---------------------------------------------------------------------- */

static bool is_kernels(const Elf64_Ehdr *header)
{
	return !memcmp(header->e_ident, ELFMAG, SELFMAG) &&
	       header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_ident[EI_DATA] == ELFDATA2LSB &&
	       header->e_type == ET_CORE && header->e_machine == EM_X86_64 &&
	       header->e_phentsize == sizeof(Elf64_Phdr) && header->e_phoff == sizeof(*header) &&
	       header->e_phnum;
}

/*
 * Too many to be told in the header: the notes lie behind the program headers, and
 * the first of those tells where.
 */
static uint64_t count_segments(const Elf64_Ehdr *header, const Elf64_Phdr *first)
{
	if (header->e_phnum != PN_XNUM)
		return header->e_phnum;
	if (first->p_type != PT_NOTE || first->p_offset < sizeof(*header))
		return 0;
	return (first->p_offset - sizeof(*header)) / sizeof(*first);
}

/* What is in the file must be told in the order in which it comes. */
static bool is_ordered(const struct reading *r, uint64_t end)
{
	for (uint64_t i = 0; i < r->phnum; i++) {
		const Elf64_Phdr *phdr = &r->phdrs[i];

		if (!phdr->p_filesz)
			continue;
		if (phdr->p_offset < end || __builtin_add_overflow(phdr->p_offset, phdr->p_filesz, &end) ||
		    end > INT64_MAX)
			return false;
	}
	return true;
}

/* How many of its bytes are kept. */
static uint64_t wanted(const Elf64_Phdr *phdr)
{
	if (phdr->p_type == PT_LOAD && phdr->p_flags & PF_X && !(phdr->p_flags & PF_W) &&
	    phdr->p_filesz > CA_PAGE)
		return CA_PAGE;
	return phdr->p_type == PT_LOAD || phdr->p_type == PT_NOTE ? phdr->p_filesz : 0;
}

/* Reads all headers; *bytes: of the stream, that were read. False: these are not the kernel's. */
static bool read_headers(struct reading *r, size_t *bytes)
{
	Elf64_Phdr first;

	*bytes = read_some(r, &r->header, sizeof(r->header));
	if (*bytes < sizeof(r->header) || !is_kernels(&r->header))
		return false;
	size_t got = read_some(r, &first, sizeof(first));

	*bytes += got;
	r->phnum = got == sizeof(first) ? count_segments(&r->header, &first) : 0;
	r->phdrs = ca_alloc((r->phnum && r->phnum <= SEGMENTS_MAX ? r->phnum : 1) * sizeof(first));
	memcpy(r->phdrs, &first, got);
	if (!r->phnum || r->phnum > SEGMENTS_MAX)
		return false;
	*bytes += read_some(r, r->phdrs + 1, (r->phnum - 1) * sizeof(first));
	return !r->ended && is_ordered(r, *bytes);
}

/* ---- the core --------------------------------------------------------------------- */

/* Our own note, behind those of the first note segment. */
static void make_note(const struct reading *r, struct ca_notes *note)
{
	struct ca_taken taken = { .method = "kernel", .at = time(NULL), .collecting = -1,
				  .broken_lists = -1, .gil = -1, .gil_in_call = -1 };

	taken.pid = (int32_t)strtol(r->options->pid, NULL, 10);
	taken.lwp = (int32_t)strtol(r->options->lwp, NULL, 10);
	ca_notes_make(note, &(struct ca_noted){ .lwp_count = 0 });
	ca_notes_set_taken(note, &taken);
}

/* The place of each segment in what is written. */
static void put_headers(struct reading *r, uint64_t note_bytes)
{
	uint64_t table = sizeof(r->header) + r->phnum * sizeof(Elf64_Phdr);
	bool many = r->header.e_phnum == PN_XNUM, noted = false;
	Elf64_Shdr section = { .sh_info = (Elf64_Word)r->phnum };
	uint64_t at = table + (many ? sizeof(section) : 0);

	r->header.e_shoff = many ? table : 0;
	r->header.e_shnum = many;
	r->header.e_shentsize = many ? sizeof(section) : 0;
	r->header.e_shstrndx = 0;
	ca_sink_put(&r->sink, &r->header, sizeof(r->header));
	for (uint64_t i = 0; i < r->phnum; i++) {
		Elf64_Phdr phdr = r->phdrs[i];

		phdr.p_filesz = wanted(&phdr);
		if (phdr.p_type == PT_LOAD)
			at = ca_page_ceil(at);
		phdr.p_offset = at;
		if (phdr.p_type == PT_NOTE && !noted) {
			phdr.p_filesz = ((phdr.p_filesz + 3) & ~UINT64_C(3)) + note_bytes;
			noted = true;
		}
		at += phdr.p_filesz;
		ca_sink_put(&r->sink, &phdr, sizeof(phdr));
	}
	if (many)
		ca_sink_put(&r->sink, &section, sizeof(section));
}

static void take_segment(struct reading *r, const Elf64_Phdr *phdr, const struct ca_notes *note,
			 bool *noted)
{
	uint64_t keep = wanted(phdr);

	if (phdr->p_filesz)
		take(r, phdr->p_offset - r->at, false);
	if (phdr->p_type == PT_LOAD)
		ca_sink_skip(&r->sink, ca_page_ceil(r->sink.at));
	take(r, keep, true);
	take(r, phdr->p_filesz - keep, false);
	if (phdr->p_type != PT_NOTE || *noted || r->ended)
		return;
	ca_sink_skip(&r->sink, (r->sink.at + 3) & ~UINT64_C(3));
	ca_sink_put(&r->sink, note->bytes, note->count);
	*noted = true;
}

static void take_core(struct reading *r)
{
	struct ca_notes note = { 0 };
	bool noted = false;

	make_note(r, &note);
	put_headers(r, note.count);
	for (uint64_t i = 0; i < r->phnum && !r->ended && !r->out->is_cut; i++)
		take_segment(r, &r->phdrs[i], &note, &noted);
	r->out->is_cut |= r->ended;
	ca_notes_fini(&note);
}

/* Of another machine, or no core: nothing is known of it. */
static void take_raw(struct reading *r, size_t bytes)
{
	size_t head = bytes < sizeof(r->header) ? bytes : sizeof(r->header);

	r->out->is_raw = true;
	ca_sink_put(&r->sink, &r->header, head);
	ca_sink_put(&r->sink, r->phdrs, bytes - head);
	take(r, UINT64_MAX, true);
}

/* ---- the file --------------------------------------------------------------------- */

/* Only [A-Za-z0-9._-], no dot in front. */
static void reduce(const char *from, char *to, size_t bytes)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t i = 0;

	for (; from[i] && i + 1 < bytes; i++)
		to[i] = strchr(allowed, from[i]) && (i || from[i] != '.') ? from[i] : '_';
	to[i] = '\0';
}

/* What its regular files take of the disk. */
static uint64_t used_in(int folder)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	uint64_t used = 0;
	const struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir)))
		if (!fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
			used += (uint64_t)st.st_blocks * 512;
	if (dir)
		closedir(dir);
	return used;
}

static struct ca_error *refuse(const char *why, const char *advice)
{
	return ca_error_make(CA_TARGET, "cannot keep this core", advice, "%s", why);
}

/* A name that nobody has: a number behind it tells those of the same one apart. */
static int create(const struct reading *r)
{
	char name[NAME_MAX_BYTES], pid[16];
	int fd = -1;

	reduce(*r->options->name ? r->options->name : "unnamed", name, sizeof(name));
	reduce(*r->options->pid ? r->options->pid : "0", pid, sizeof(pid));
	for (unsigned i = 0; fd < 0 && i < NAMES_MAX; i++) {
		snprintf(r->out->file, sizeof(r->out->file), i ? "core.%s.%s.%u" : "core.%s.%s", name,
			 pid, i);
		fd = openat(r->folder, r->out->file,
			    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 && errno != EEXIST)
			return -1;
	}
	return fd;
}

static struct ca_error *open_file(struct reading *r)
{
	uint64_t used = 0, most = r->options->most_bytes;
	int fd = create(r);

	if (fd < 0)
		return refuse(strerror(errno), "is there room in its folder, and may we write there?");
	ca_sink_open(&r->sink, fd, r->options->compress);
	r->room = ca_spool_room(&r->sink.file);
	if (most)
		used = used_in(r->folder);
	if (most && (used >= most || most - used < r->room))
		r->room = used < most ? most - used : 0;
	if (r->room >= LEAST_ROOM)
		return NULL;
	return refuse("its folder has no room left", "remove old cores, or give more by --max-disk");
}

static struct ca_error *read_all(struct reading *r)
{
	struct stat st = { 0 };
	size_t bytes;
	struct ca_error *err = open_file(r);

	if (err)
		return err;
	if (read_headers(r, &bytes))
		take_core(r);
	else
		take_raw(r, bytes);
	r->out->bytes = r->sink.at;
	if (!r->at)
		return refuse("nothing came from the kernel", "this is for core_pattern; see --help");
	ca_sink_close(&r->sink);
	/* What there is of it counts, even when the disk has become full. */
	if (r->sink.error != ENOSPC && r->sink.error != EDQUOT && r->sink.error)
		return refuse(strerror(r->sink.error), "");
	r->out->is_cut |= r->sink.error != 0;
	fstat(r->sink.file.fd, &st);
	r->out->disk_bytes = (uint64_t)st.st_blocks * 512;
	return NULL;
}

struct ca_error *ca_capture_from_kernel(int stream, const struct ca_kernel_options *options,
					struct ca_from_kernel *out)
{
	struct reading r = { .stream = stream, .options = options, .out = out,
			     .sink = { .file = { .fd = -1 } } };

	*out = (struct ca_from_kernel){ 0 };
	r.folder = open(options->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r.folder < 0)
		return refuse(strerror(errno), "name a folder for it with -o");
	r.buffer = ca_alloc(BUFFER);
	struct ca_error *err = read_all(&r);

	if (err && r.sink.file.fd >= 0)
		unlinkat(r.folder, out->file, 0);
	if (r.sink.file.fd >= 0)
		close(r.sink.file.fd);
	close(r.folder);
	free(r.buffer);
	free(r.phdrs);
	return err;
}
