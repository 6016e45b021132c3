/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The memory groups that the watched processes are in: one that many of them share
 * is looked at once. Linux Documentation/admin-guide/cgroup-v2.rst (memory.events),
 * cgroup-v1/memory.rst (9. Memory thresholds), accounting/psi.rst.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

enum {
	PATH_BYTES = 20 << 10,
	PRESSURE_WINDOW_US = 2000 * 1000, /* what a process without privileges may ask for */
	PRESSURE_READ_MS = 2000,
	PRESSURE_REST_MS = 60 * 1000,
};

void ca_watch_wait(int epoll, int fd, uint32_t events, enum ca_wake wake, int i)
{
	struct epoll_event event = { .events = events, .data.u64 = (uint64_t)wake << 32 | (uint32_t)i };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) && errno == EEXIST)
		epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

void ca_watch_close(int epoll, int fd)
{
	if (fd < 0)
		return;
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
}

void ca_groups_init(struct ca_groups *groups, const struct ca_watch *watch, const char *root,
		    int epoll)
{
	*groups = (struct ca_groups){ .watch = watch, .root = root, .epoll = epoll };
	groups->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (groups->inotify >= 0)
		ca_watch_wait(epoll, groups->inotify, EPOLLIN, CA_WAKE_EVENTS, 0);
}

/* ---- a threshold ------------------------------------------------------------------- */

static uint64_t threshold_of(const struct ca_group *group, unsigned percent)
{
	return group->figures.limit / 100 * percent;
}

/* Version 1 tells when usage passes a threshold: a line "EVENTFD FILE BYTES" asks for it. */
static void ask_for_thresholds(struct ca_groups *groups, struct ca_group *group, int i)
{
	char path[PATH_BYTES];
	int control;

	snprintf(path, sizeof(path), "%s/memory.usage_in_bytes", group->figures.folder);
	group->usage = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/cgroup.event_control", group->figures.folder);
	control = open(path, O_WRONLY | O_CLOEXEC);
	group->threshold = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned percent = groups->watch->percent; control >= 0 && percent < 100;
	     percent += 100 / CA_STEP_PART)
		dprintf(control, "%d %d %llu", group->threshold, group->usage,
			(unsigned long long)threshold_of(group, percent));
	if (control >= 0)
		close(control);
	if (group->threshold >= 0)
		ca_watch_wait(groups->epoll, group->threshold, EPOLLIN | EPOLLONESHOT, CA_WAKE_GROUP, i);
}

/* Version 2 tells when the group comes up against its limit. */
static void ask_for_events(const struct ca_groups *groups, struct ca_group *group)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/memory.events", group->figures.folder);
	group->events = inotify_add_watch(groups->inotify, path, IN_MODIFY);
}

void ca_groups_hear(struct ca_groups *groups, int64_t now)
{
	char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t got;

	while ((got = read(groups->inotify, buffer, sizeof(buffer))) > 0) {
		for (const char *at = buffer; at < buffer + got;) {
			const struct inotify_event *event = (const void *)at;

			for (size_t i = 0; i < CA_GROUPS_MAX; i++)
				if (groups->items[i].members && groups->items[i].events == event->wd)
					groups->items[i].due = now;
			at += sizeof(*event) + event->len;
		}
	}
}

bool ca_group_look(struct ca_groups *groups, int i, int64_t now, bool heard)
{
	struct ca_group *group = &groups->items[i];
	uint64_t limit, distance, counter;

	group->due = CA_NEVER_MS;
	if (!groups->watch->percent || !ca_memory_group_read(&group->figures))
		return false;
	limit = group->figures.limit;
	if (limit == UINT64_MAX) {
		group->due = now + ca_watch_patience(UINT64_MAX); /* it may get one again */
		return false;
	}
	distance = ca_threshold_distance(threshold_of(group, groups->watch->percent),
					 limit / CA_STEP_PART, ca_memory_group_used(&group->figures),
					 &group->last);
	group->due = now + ca_watch_patience(distance);
	/* Usage that goes up and down across it tells so each time: heard again after the next look. */
	if (group->threshold >= 0 && !heard) {
		while (read(group->threshold, &counter, sizeof(counter)) > 0)
			;
		ca_watch_wait(groups->epoll, group->threshold, EPOLLIN | EPOLLONESHOT, CA_WAKE_GROUP, i);
	}
	return !distance;
}

/* ---- pressure --------------------------------------------------------------------------- */

static bool set_trigger(const struct ca_groups *groups, struct ca_pressure *pressure)
{
	const struct ca_watch *watch = groups->watch;
	char line[64];
	int length = snprintf(line, sizeof(line), "%s %u %u", watch->pressure_full ? "full" : "some",
			      PRESSURE_WINDOW_US / 100 * watch->pressure, PRESSURE_WINDOW_US);

	pressure->fd = open(pressure->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (pressure->fd >= 0 && write(pressure->fd, line, (size_t)length + 1) > 0)
		return true;

	int why = errno;

	if (pressure->fd >= 0)
		close(pressure->fd);
	pressure->fd = -1;
	errno = why;
	return false;
}

/* "some avg10=1.23 avg60=...": percent of the last ten seconds. */
static double read_average(const struct ca_pressure *pressure, bool full)
{
	FILE *f = fopen(pressure->path, "re");
	char line[256];
	double average = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, full ? "full avg10=%lf" : "some avg10=%lf", &average) == 1)
			break;
	if (f)
		fclose(f);
	return average;
}

bool ca_pressure_look(struct ca_groups *groups, int i, int64_t now, bool heard)
{
	struct ca_pressure *pressure = &groups->pressures[i];
	const struct ca_watch *watch = groups->watch;

	if (pressure->fd >= 0 ? !heard || now < pressure->due
			      : read_average(pressure, watch->pressure_full) < watch->pressure) {
		if (pressure->fd < 0)
			pressure->due = now + PRESSURE_READ_MS;
		return false;
	}
	pressure->due = now + PRESSURE_REST_MS;
	return true;
}

static int join_pressure(struct ca_groups *groups, int32_t pid, int64_t now)
{
	char path[PATH_BYTES];
	int place = -1;

	if (!ca_memory_group_folder(groups->root, pid, path, sizeof(path) - sizeof("/memory.pressure")))
		*path = '\0';
	strcat(path, "/memory.pressure");
	if (access(path, R_OK))
		strcpy(path, "/proc/pressure/memory");
	for (int i = CA_GROUPS_MAX; i-- > 0;) {
		if (!groups->pressures[i].path)
			place = i;
		else if (!strcmp(groups->pressures[i].path, path)) {
			groups->pressures[i].members++;
			return i;
		}
	}
	if (place < 0)
		return -1;
	struct ca_pressure *pressure = &groups->pressures[place];

	*pressure = (struct ca_pressure){ .path = ca_strdup(path), .members = 1, .due = now };
	if (set_trigger(groups, pressure))
		ca_watch_wait(groups->epoll, pressure->fd, EPOLLPRI, CA_WAKE_PRESSURE, place);
	else if (!groups->unarmed)
		groups->unarmed = errno;
	return place;
}

static void leave_pressure(const struct ca_groups *groups, struct ca_pressure *pressure)
{
	if (--pressure->members)
		return;
	ca_watch_close(groups->epoll, pressure->fd);
	free(pressure->path);
	*pressure = (struct ca_pressure){ .fd = -1 };
}

/* ---- who is in them ------------------------------------------------------------------------ */

static int join_group(struct ca_groups *groups, const struct ca_memory_group *figures)
{
	int place = -1;

	for (int i = CA_GROUPS_MAX; i-- > 0;) {
		struct ca_group *group = &groups->items[i];

		if (!group->members)
			place = i;
		else if (!strcmp(group->figures.folder, figures->folder)) {
			group->members++;
			return i;
		}
	}
	if (place < 0)
		return -1;
	struct ca_group *group = &groups->items[place];

	*group = (struct ca_group){ .figures = *figures, .members = 1, .threshold = -1, .usage = -1,
				    .events = -1, .due = groups->watch->percent ? 0 : CA_NEVER_MS };
	group->figures.folder = ca_strdup(figures->folder);
	if (groups->watch->percent && figures->version == 1)
		ask_for_thresholds(groups, group, place);
	if (groups->watch->percent && figures->version == 2)
		ask_for_events(groups, group);
	return place;
}

static void leave_group(struct ca_groups *groups, struct ca_group *group)
{
	if (--group->members)
		return;
	if (group->events >= 0)
		inotify_rm_watch(groups->inotify, group->events);
	ca_watch_close(groups->epoll, group->threshold);
	if (group->usage >= 0)
		close(group->usage);
	free((char *)group->figures.folder);
	*group = (struct ca_group){ .threshold = -1, .usage = -1, .events = -1 };
}

struct joining {
	struct ca_groups *groups;
	struct ca_membership *membership;
};

static void add_group(struct joining *joining, const struct ca_memory_group *figures)
{
	int i = join_group(joining->groups, figures);

	if (i >= 0)
		joining->membership->groups[joining->membership->count++] = i;
}

static bool take_group(void *arg, const struct ca_memory_group *figures)
{
	struct joining *joining = arg;
	struct ca_membership *membership = joining->membership;

	if (!membership->own.folder) {
		membership->own = *figures;
		membership->own.folder = ca_strdup(figures->folder);
	}
	if (figures->limit != UINT64_MAX)
		add_group(joining, figures);
	return membership->count < CA_DEPTH_MAX;
}

void ca_groups_join(struct ca_groups *groups, int32_t pid, struct ca_membership *membership)
{
	struct joining joining = { groups, membership };
	struct ca_memory_group machine = { .folder = groups->root };

	*membership = (struct ca_membership){ .pressure = -1 };
	ca_memory_groups(groups->root, pid, take_group, &joining);
	if (!membership->count && ca_memory_group_read(&machine))
		add_group(&joining, &machine);
	if (groups->watch->pressure)
		membership->pressure = join_pressure(groups, pid, ca_watch_now());
}

void ca_groups_leave(struct ca_groups *groups, struct ca_membership *membership)
{
	for (unsigned i = 0; i < membership->count; i++)
		leave_group(groups, &groups->items[membership->groups[i]]);
	if (membership->pressure >= 0)
		leave_pressure(groups, &groups->pressures[membership->pressure]);
	free((char *)membership->own.folder);
	*membership = (struct ca_membership){ .pressure = -1 };
}

uint64_t ca_membership_kills(const struct ca_membership *membership)
{
	struct ca_memory_group now = membership->own;

	if (!now.folder || !ca_memory_group_read(&now) || now.kills < membership->own.kills)
		return 0;
	return now.kills - membership->own.kills;
}

const struct ca_group *ca_membership_tightest(struct ca_groups *groups,
					      const struct ca_membership *membership)
{
	struct ca_group *tightest = NULL;
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < membership->count; i++) {
		struct ca_group *group = &groups->items[membership->groups[i]];

		if (!ca_memory_group_read(&group->figures) || group->figures.limit == UINT64_MAX)
			continue;
		uint64_t used = ca_memory_group_used(&group->figures);
		uint64_t left = group->figures.limit > used ? group->figures.limit - used : 0;

		if (left < least || !tightest) {
			tightest = group;
			least = left;
		}
	}
	return tightest;
}

void ca_groups_fini(struct ca_groups *groups)
{
	ca_watch_close(groups->epoll, groups->inotify);
}
