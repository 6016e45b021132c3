/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A file that appears under its name when it is whole, readable by its owner alone. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct ca_error *ca_output_refuse(const struct ca_output *output, int why)
{
	char shown[1024];
	const char *advice = why == ENOSPC || why == EDQUOT
				     ? "nothing is left behind; name a file on a larger disk with -o"
				     : "name another file with -o";

	ca_escape(shown, sizeof(shown), output->path, strlen(output->path));
	return ca_error_make(CA_TARGET, "cannot write the core", advice, "%s: %s", shown,
			     strerror(why));
}

static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = ca_strdup(slash ? path : ".");

	if (slash)
		folder[slash == path ? 1 : slash - path] = '\0';
	return folder;
}

static int open_unnamed(const char *path)
{
	char *folder = folder_of(path);
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int kept = errno;

	free(folder);
	errno = kept;
	return fd;
}

static char *temporary_name(const char *path)
{
	char *name = ca_alloc(strlen(path) + sizeof(".XXXXXX"));

	strcat(strcpy(name, path), ".XXXXXX");
	return name;
}

struct ca_error *ca_output_open(struct ca_output *output, const char *path)
{
	*output = (struct ca_output){ .fd = open_unnamed(path), .path = path };
	if (output->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		output->temporary = temporary_name(path);
		output->fd = mkostemp(output->temporary, O_CLOEXEC); /* 0600 */
	}
	return output->fd < 0 ? ca_output_refuse(output, errno) : NULL;
}

/* A file without a name is given one that nobody has. */
static bool name_it(struct ca_output *output)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", output->fd);
	if (!linkat(AT_FDCWD, self, AT_FDCWD, output->path, AT_SYMLINK_FOLLOW))
		return true;
	if (errno != EEXIST)
		return false;
	for (unsigned i = 0; i < 100; i++) {
		output->temporary = temporary_name(output->path);
		snprintf(output->temporary + strlen(output->path), sizeof(".XXXXXX"), ".%06x",
			 (unsigned)(ca_now_ns() & 0xffffff));
		if (!linkat(AT_FDCWD, self, AT_FDCWD, output->temporary, AT_SYMLINK_FOLLOW))
			return true;
		free(output->temporary);
		output->temporary = NULL;
		if (errno != EEXIST)
			break;
	}
	return false;
}

bool ca_output_commit(struct ca_output *output)
{
	if (fsync(output->fd) || (!output->temporary && !name_it(output)))
		return false;
	if (output->temporary && rename(output->temporary, output->path))
		return false;
	free(output->temporary);
	output->temporary = NULL;
	return true;
}

void ca_output_close(struct ca_output *output)
{
	if (output->temporary)
		unlink(output->temporary);
	free(output->temporary);
	output->temporary = NULL;
	if (output->fd >= 0)
		close(output->fd);
	output->fd = -1;
}

struct ca_error *ca_output_spool(const struct ca_output *output, struct ca_spool *spool)
{
	char *folder = folder_of(output->path);
	struct ca_error *err = ca_spool_open(&(struct ca_image_options){ .tmp_dir = folder }, spool);

	spool->folder = "";
	free(folder);
	return err;
}
