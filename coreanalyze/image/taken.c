/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Our own note in a core: how it was taken. It is as foreign as the rest of the file. */
#include "private.h"

#include <stdio.h>
#include <stdlib.h>

void ca_taken_format(const struct ca_taken *taken, char *buffer)
{
	memset(buffer, 0, CA_TAKEN_BYTES);
	snprintf(buffer, CA_TAKEN_BYTES,
		 "method=%s\npause_ns=%llu\ntaken=%lld\nattempts=%u\nlost_pages=%llu\n"
		 "collecting=%d\nbroken_lists=%d\ngil=%d\ngil_lwp=%d\ngil_in_call=%d\n"
		 "pid=%d\nlwp=%d\n",
		 taken->method, (unsigned long long)taken->pause_ns, (long long)taken->at,
		 taken->attempts, (unsigned long long)taken->lost_pages, taken->collecting,
		 taken->broken_lists, taken->gil, taken->gil_lwp, taken->gil_in_call, taken->pid,
		 taken->lwp);
}

/* What stands behind "KEY=" at the start of a line, or NULL. */
static const char *find(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (!strncmp(text, key, length) && text[length] == '=')
			return text + length + 1;
	}
	return NULL;
}

static int64_t number(const char *text, const char *key, int64_t absent)
{
	const char *at = find(text, key);

	return at ? strtoll(at, NULL, 10) : absent;
}

/* Small words of letters alone. */
static void read_method(const char *text, char *method, size_t bytes)
{
	const char *at = find(text, "method");
	size_t length = at ? strspn(at, "abcdefghijklmnopqrstuvwxyz") : 0;

	if (length && length < bytes)
		snprintf(method, bytes, "%.*s", (int)length, at);
}

static int flag(const char *text, const char *key, int most)
{
	int64_t value = number(text, key, -1);

	return value < 0 || value > most ? -1 : (int)value;
}

void ca_taken_read(struct ca_image *image, struct ca_bytes desc)
{
	struct ca_taken *taken = &image->taken;
	char text[CA_TAKEN_BYTES + 1] = "";

	memcpy(text, desc.data, desc.size < CA_TAKEN_BYTES ? desc.size : CA_TAKEN_BYTES);
	read_method(text, taken->method, sizeof(taken->method));
	taken->pause_ns = (uint64_t)number(text, "pause_ns", 0);
	taken->at = number(text, "taken", 0);
	taken->attempts = (unsigned)number(text, "attempts", 0);
	taken->lost_pages = (uint64_t)number(text, "lost_pages", 0);
	taken->collecting = flag(text, "collecting", 1);
	taken->broken_lists = flag(text, "broken_lists", INT32_MAX);
	taken->gil = flag(text, "gil", 1);
	taken->gil_lwp = (int32_t)number(text, "gil_lwp", 0);
	taken->gil_in_call = flag(text, "gil_in_call", 1);
	taken->pid = (int32_t)number(text, "pid", 0);
	taken->lwp = (int32_t)number(text, "lwp", 0);
	if (taken->lost_pages)
		ca_warn_bytes(image->ctx, "unreadable-memory", 0, taken->lost_pages * CA_PAGE,
			      "objects there are not seen",
			"%llu pages of the process could not be read when the core was taken",
			(unsigned long long)taken->lost_pages);
}
