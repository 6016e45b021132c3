/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One process under watch, and what of it says that it is time. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { OFTEN_MS = 100, SELDOM_MS = 2000 };

/* A gigabyte in four seconds: page faults alone take an eighth of that time. */
#define FASTEST_PER_MS (UINT64_C(256) << 10)

int64_t ca_watch_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t ca_watch_date(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t ca_watch_patience(uint64_t distance)
{
	uint64_t ms = distance / FASTEST_PER_MS;

	return ms < OFTEN_MS ? OFTEN_MS : ms > SELDOM_MS ? SELDOM_MS : (int64_t)ms;
}

const char *ca_trigger_name(enum ca_trigger trigger)
{
	static const char *const names[] = {
		[CA_BY_NONE] = NULL,
		[CA_BY_EVERY] = "every",
		[CA_BY_GROWTH] = "growth",
		[CA_BY_PRESSURE] = "pressure",
		[CA_BY_RSS] = "rss",
		[CA_BY_PERCENT] = "percent-of-limit",
	};

	return names[trigger];
}

/* ---- its life ------------------------------------------------------------------- */

bool ca_subject_open(struct ca_subject *subject, const struct ca_proc_row *row,
		     const struct ca_watch *watch, int64_t now)
{
	char path[32];
	struct ca_proc_row again;

	*subject = (struct ca_subject){
		.pid = row->pid,
		.started = row->started,
		.started_date = ca_watch_date() - ca_proc_age(row),
		.due = now,
		.every_due = watch->every_ms ? now + (int64_t)watch->every_ms : CA_NEVER_MS,
	};
	snprintf(path, sizeof(path), "/proc/%d/statm", row->pid);
	subject->statm = open(path, O_RDONLY | O_CLOEXEC);
	subject->pidfd = (int)syscall(SYS_pidfd_open, row->pid, 0);
	/* Another one may have its number by now. */
	if ((subject->pidfd >= 0 || errno == ENOSYS) && subject->statm >= 0 && ca_proc_row(row->pid, &again) &&
	    again.started == row->started)
		return true;
	ca_subject_close(subject, -1);
	return false;
}

void ca_subject_close(struct ca_subject *subject, int epoll)
{
	ca_watch_close(epoll, subject->pidfd);
	if (subject->statm >= 0)
		close(subject->statm);
	*subject = (struct ca_subject){ .pidfd = -1, .statm = -1 };
}

/* ---- triggers ---------------------------------------------------------------------- */

void ca_subject_want(struct ca_subject *subject, enum ca_trigger trigger)
{
	if (trigger > subject->wanted)
		subject->wanted = trigger;
}

uint64_t ca_threshold_distance(uint64_t threshold, uint64_t step, uint64_t value, uint64_t *last)
{
	uint64_t next = *last ? *last + step : threshold;

	if (*last && value + step < threshold) {
		*last = 0;
		next = threshold;
	}
	if (value < next)
		return next - value;
	*last = value;
	return 0;
}

static uint64_t look_at_rss(struct ca_subject *subject, const struct ca_watch *watch)
{
	uint64_t distance = UINT64_MAX;

	if (watch->rss)
		distance = ca_threshold_distance(watch->rss, watch->rss / CA_STEP_PART, subject->rss,
						 &subject->rss_last);
	if (!distance)
		ca_subject_want(subject, CA_BY_RSS);
	return distance;
}

static void add_sample(struct ca_subject *subject, const struct ca_watch *watch, int64_t now)
{
	if (subject->sample_count && now - subject->sampled < (int64_t)watch->growth_ms / (CA_SAMPLES - 1))
		return;
	if (subject->sample_count == CA_SAMPLES) {
		subject->sample_count--;
		memmove(subject->samples, subject->samples + 1,
			subject->sample_count * sizeof(*subject->samples));
	}
	subject->samples[subject->sample_count++] = subject->rss;
	subject->sampled = now;
}

/* From where it was when the window began, or when it was last captured for this. */
static uint64_t look_at_growth(struct ca_subject *subject, const struct ca_watch *watch, int64_t now)
{
	if (!watch->growth)
		return UINT64_MAX;
	add_sample(subject, watch, now);
	if (subject->rss >= subject->samples[0] + watch->growth) {
		ca_subject_want(subject, CA_BY_GROWTH);
		subject->sample_count = 0;
		add_sample(subject, watch, now);
	}
	return subject->samples[0] + watch->growth > subject->rss
		       ? subject->samples[0] + watch->growth - subject->rss
		       : 0;
}

bool ca_subject_look(struct ca_subject *subject, const struct ca_watch *watch, int64_t now)
{
	uint64_t left, more;

	if (!ca_proc_resident(subject->statm, &subject->rss))
		return false;
	left = look_at_rss(subject, watch);
	more = look_at_growth(subject, watch, now);
	subject->due = now + ca_watch_patience(left < more ? left : more);
	if (subject->every_due != CA_NEVER_MS && now >= subject->every_due) {
		ca_subject_want(subject, CA_BY_EVERY);
		subject->every_due = now + (int64_t)watch->every_ms;
	}
	if (subject->every_due != CA_NEVER_MS && subject->every_due < subject->due)
		subject->due = subject->every_due;
	return true;
}
