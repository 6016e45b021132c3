/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which file on disk stands for each module: the build-id decides. */
#include "private.h"

#include <stdio.h>
#include <stdlib.h>

static const char effect[] = "names of static types in it that memory does not tell, and other constants that it holds, "
			     "are unknown";

/* ---- candidates ----------------------------------------------------------- */

/* What the kernel appends to the path of a file that was unlinked or replaced. */
static const char *without_deleted(struct ca_arena *arena, const char *path)
{
	static const char suffix[] = " (deleted)";
	size_t length = strlen(path), tail = sizeof(suffix) - 1;

	if (length <= tail || strcmp(path + length - tail, suffix))
		return NULL;
	return ca_arena_strndup(arena, path, length - tail);
}

static char *hex(struct ca_arena *arena, const uint8_t *bytes, size_t count)
{
	char *text = ca_arena_alloc(arena, 2 * count + 1);

	for (size_t i = 0; i < count; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
	return text;
}

static const char *by_build_id(struct ca_arena *arena, const struct ca_module *module,
			       const char *folder, const char *suffix)
{
	if (module->build_id_size < 2)
		return NULL;
	const char *id = hex(arena, module->build_id, module->build_id_size);

	return ca_arena_printf(arena, "%s/.build-id/%.2s/%s%s", folder, id, id + 2, suffix);
}

static const char *by_base_name(struct ca_arena *arena, const char *path, const char *folder)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;

	return *base ? ca_arena_printf(arena, "%s/%s", folder, base) : NULL;
}

/* Candidate `number`, or NULL when that one does not apply. */
static const char *candidate(struct ca_arena *arena, const struct ca_image_options *options,
			     const struct ca_module *module, unsigned number, const char **root,
			     bool *ended)
{
	const char *folder = options->debug_dir;
	const char *plain = without_deleted(arena, module->path);

	*root = NULL;
	*ended = false;
	switch (number) {
	case 0:
		*root = options->sysroot;
		return module->path;
	case 1:
		*root = options->sysroot;
		return plain;
	case 2:
		return folder ? by_build_id(arena, module, folder, "") : NULL;
	case 3:
		return folder ? by_build_id(arena, module, folder, ".debug") : NULL;
	case 4:
		return folder ? by_base_name(arena, plain ? plain : module->path, folder) : NULL;
	}
	*ended = true;
	return NULL;
}

struct ca_file *ca_candidate_open(const struct ca_image_options *options,
				  const struct ca_module *module, unsigned number, bool *ended,
				  const char **why)
{
	struct ca_arena scratch = { 0 };
	const char *root;
	const char *path = candidate(&scratch, options, module, number, &root, ended);
	struct ca_file *file = NULL;

	*why = NULL;
	/* A relative path would mean our folder, not the process's. */
	if (path && (number > 1 || *path == '/'))
		file = ca_file_open(root, path, why);
	ca_arena_fini(&scratch);
	return file;
}

/* ---- choosing ------------------------------------------------------------- */

static bool same_build(const struct ca_module *module, const struct ca_file *file)
{
	return module->build_id_size && module->build_id_size == file->elf.build_id_size &&
	       !memcmp(module->build_id, file->elf.build_id, module->build_id_size);
}

static void use(struct ca_module *module, struct ca_file *file)
{
	module->file = file->path;
	module->state = CA_MODULE_USED;
	module->why = NULL;
	module->priv->file = file;
}

static void refuse(const struct ca_image *image, struct ca_module *module,
		   const struct ca_file *file)
{
	struct ca_arena *arena = &image->ctx->arena;

	if (!module->build_id_size) {
		module->state = CA_MODULE_UNPROVED;
		module->why = "the core does not hold its build-id";
		return;
	}
	module->state = CA_MODULE_MISMATCH;
	module->why = ca_arena_printf(
		arena, "%s is another build: its build-id is %s, the core has %s",
		ca_escape_arena(arena, file->path, strlen(file->path)),
		file->elf.build_id_size ? hex(arena, file->elf.build_id, file->elf.build_id_size)
					: "absent",
		hex(arena, module->build_id, module->build_id_size));
}

static void search(struct ca_image *image, const struct ca_image_options *options,
		   struct ca_module *module)
{
	bool ended = false;

	for (unsigned number = 0; !ended && !module->priv->file; number++) {
		const char *why;
		struct ca_file *file =
			ca_candidate_open(options, module, number, &ended, &why);

		if (!file) {
			if (!module->why)
				module->why = why;
			continue;
		}
		if (!same_build(module, file)) {
			refuse(image, module, file);
			ca_file_close(file);
			continue;
		}
		ca_image_keep_file(image, file);
		if (file->debug_only)
			module->priv->symbols = file;
		else
			use(module, file);
	}
}

static void warn(struct ca_image *image, const struct ca_module *module)
{
	static const char *const kinds[] = {
		[CA_MODULE_MISSING] = "missing-file",
		[CA_MODULE_MISMATCH] = "wrong-file",
		[CA_MODULE_UNPROVED] = "unproved-file",
	};

	if (module->state == CA_MODULE_USED || !module->priv->lacks_bytes)
		return;
	ca_warn(image->ctx, kinds[module->state], module->start, effect, "%s: %s",
		ca_escape_arena(&image->ctx->arena, module->path, strlen(module->path)),
		module->why ? module->why : "its path is not known; name the program with --exe");
}

/* ---- --exe ---------------------------------------------------------------- */

static struct ca_file *open_exe(struct ca_image *image, const char *path)
{
	const char *why;
	struct ca_file *file = ca_file_open(NULL, path, &why);

	if (file && file->debug_only) {
		why = "it has symbols only, not the program";
		ca_file_close(file);
		file = NULL;
	}
	if (!file)
		ca_warn(image->ctx, "missing-file", 0, effect, "%s (--exe): %s",
			ca_escape_arena(&image->ctx->arena, path, strlen(path)), why);
	else
		ca_image_keep_file(image, file);
	return file;
}

/* The user's word stands for a build-id that the core lacks, but not against one. */
static void settle_exe(struct ca_image *image, struct ca_module *module, struct ca_file *exe)
{
	const struct ca_elf *elf = module ? &module->priv->elf : NULL;

	if (elf && !module->build_id_size && elf->phnum == exe->elf.phnum &&
	    !memcmp(elf->phdrs, exe->elf.phdrs, elf->phnum * sizeof(*elf->phdrs))) {
		use(module, exe);
		return;
	}
	if (module && module->state != CA_MODULE_USED)
		refuse(image, module, exe);
	ca_warn(image->ctx, "wrong-file", module ? module->start : 0, effect,
		"%s (--exe) is not the program in the core, nor any other file of it",
		ca_escape_arena(&image->ctx->arena, exe->path, strlen(exe->path)));
}

/* ---- the whole ------------------------------------------------------------ */

static void find_exe_path(struct ca_image *image, const struct ca_module *program)
{
	enum { PATH_BYTES = 4096 };
	char path[PATH_BYTES];

	if (program && *program->path == '/')
		image->exe = program->path;
	else if (ca_image_string(image, image->priv->at_start.execfn, path, sizeof(path)))
		image->exe = ca_arena_strdup(&image->ctx->arena, path);
}

void ca_modules_open_files(struct ca_image *image, const struct ca_image_options *options)
{
	struct ca_file *exe = options->exe ? open_exe(image, options->exe) : NULL;
	struct ca_module *program = ca_modules_main(image);
	bool exe_used = false;

	for (size_t i = 0; i < image->module_count; i++) {
		struct ca_module *module = &image->modules[i];

		if (exe && same_build(module, exe)) {
			use(module, exe);
			exe_used = true;
		} else {
			search(image, options, module);
		}
	}
	if (exe && !exe_used)
		settle_exe(image, program, exe);
	for (size_t i = 0; i < image->module_count; i++)
		warn(image, &image->modules[i]);
	find_exe_path(image, program);
}
