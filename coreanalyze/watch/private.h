/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to watch: how its files share the work. */
#ifndef CA_WATCH_PRIVATE_H
#define CA_WATCH_PRIVATE_H

#include "watch.h"

enum {
	CA_SUBJECTS_MAX = 256, /* processes that are watched at a time; each has two descriptors */
	CA_GROUPS_MAX = 64,    /* memory groups that they are in */
	CA_DEPTH_MAX = 8,      /* of them, up from one process */
	CA_NEVER_MS = -1,
};

/* What an epoll event is about. */
enum ca_wake { CA_WAKE_SIGNAL, CA_WAKE_SUBJECT, CA_WAKE_GROUP, CA_WAKE_EVENTS, CA_WAKE_PRESSURE,
	       CA_WAKE_CAPTURE, CA_WAKE_COMMAND };
/* Adds a descriptor, or changes what is waited for. */
void ca_watch_wait(int epoll, int fd, uint32_t events, enum ca_wake wake, int i);
/* Closes one that was added; closing alone would not take it out while a child has it too. -1 is allowed. */
void ca_watch_close(int epoll, int fd);

int64_t ca_watch_now(void); /* monotonic, milliseconds */
int64_t ca_watch_date(void); /* since 1970, milliseconds */

/*
 * How long it may take until something passes `distance` more bytes: memory is
 * hardly ever filled faster than this. Milliseconds, in bounds.
 */
int64_t ca_watch_patience(uint64_t distance);

/*
 * How far a value is from where it triggers: 0 is there, and *last remembers it. Above
 * its threshold it triggers again with each step more, so that the last minutes are
 * a series; *last is 0 as long as it is below.
 */
enum { CA_STEP_PART = 20 }; /* of the threshold or the limit */
uint64_t ca_threshold_distance(uint64_t threshold, uint64_t step, uint64_t value, uint64_t *last);

/* ---- proc.c: what /proc tells ---------------------------------------------- */

struct ca_proc_row {
	int32_t pid, parent;
	uint64_t started; /* clock ticks since the boot */
};
/* False when it is gone. */
bool ca_proc_row(int32_t pid, struct ca_proc_row *row);
/* All of them that we see; free() releases. */
struct ca_proc_row *ca_proc_rows(size_t *count);
/* The newest number that was given to a process; changes when there is a new one. */
uint64_t ca_proc_newest(void);
/* How long it has been there, in milliseconds. */
int64_t ca_proc_age(const struct ca_proc_row *row);
/* Its arguments, blanks between them. */
bool ca_proc_command_line(int32_t pid, char *text, size_t bytes);
bool ca_proc_same_program(int32_t a, int32_t b);
/* Bytes resident, by an open statm; while it ends, what it had at last. False when it is gone. */
bool ca_proc_resident(int statm, uint64_t *bytes);
/* Bytes of memory of its own, in memory or swapped out: what a capture holds. */
uint64_t ca_proc_private(int32_t pid);

/* ---- source.c: which processes --------------------------------------------- */

struct ca_source {
	const struct ca_watch *watch;
	uint64_t newest;    /* ca_proc_newest() when all were looked at */
	int64_t looked;     /* and when that was; 0: never */
};
typedef void ca_source_take(void *arg, const struct ca_proc_row *row);
/*
 * Calls back for each process that is to be watched, known ones too. soon: do not
 * spare the look. True: there are forks that may yet start another program: look
 * again soon.
 */
bool ca_source_look(struct ca_source *source, bool soon, ca_source_take *take, void *arg);

/* ---- group.c: memory groups ------------------------------------------------- */

struct ca_group {
	struct ca_memory_group figures; /* folder is ours; NULL: this place is free */
	unsigned members;
	uint64_t last;      /* how much was used when it triggered; 0: it is below */
	int64_t due;        /* when to look at it; CA_NEVER_MS */
	int threshold;      /* eventfd of version 1, or -1 */
	int usage;          /* the open file that it belongs to, or -1 */
	int events;         /* inotify's number for memory.events of version 2, or -1 */
};
struct ca_pressure {
	char *path;         /* NULL: this place is free */
	unsigned members;
	int fd;             /* with a trigger; -1: it cannot be had, and is read instead */
	int64_t due;        /* when it is read; with a trigger: before then it is not heard */
};
struct ca_groups {
	const struct ca_watch *watch;
	const char *root;   /* "" but for tests, as for ca_memory_groups() */
	int epoll, inotify;
	struct ca_group items[CA_GROUPS_MAX];
	struct ca_pressure pressures[CA_GROUPS_MAX];
	int unarmed;        /* errno of the first pressure that has no trigger, or 0 */
};
struct ca_membership {
	int groups[CA_DEPTH_MAX]; /* those with a limit, from the nearest up; without any: the machine */
	unsigned count;
	int pressure;             /* -1: none */
	struct ca_memory_group own; /* as it was when it joined; folder is ours; NULL: not seen */
};
void ca_groups_init(struct ca_groups *groups, const struct ca_watch *watch, const char *root,
		    int epoll);
void ca_groups_fini(struct ca_groups *groups);
void ca_groups_join(struct ca_groups *groups, int32_t pid, struct ca_membership *membership);
void ca_groups_leave(struct ca_groups *groups, struct ca_membership *membership);
/* How many the kernel has killed in the nearest group since it joined. */
uint64_t ca_membership_kills(const struct ca_membership *membership);
/* The group with the least left below its limit, read anew, or NULL. */
const struct ca_group *ca_membership_tightest(struct ca_groups *groups,
					      const struct ca_membership *membership);
/* True when it has triggered. heard: the kernel says that there is something to see. */
bool ca_group_look(struct ca_groups *groups, int i, int64_t now, bool heard);
bool ca_pressure_look(struct ca_groups *groups, int i, int64_t now, bool heard);
/* What inotify has to say: the groups that it is about are due. */
void ca_groups_hear(struct ca_groups *groups, int64_t now);

/* ---- subject.c: one process ------------------------------------------------- */

enum ca_trigger { CA_BY_NONE, CA_BY_EVERY, CA_BY_GROWTH, CA_BY_PRESSURE, CA_BY_RSS, CA_BY_PERCENT };
const char *ca_trigger_name(enum ca_trigger trigger); /* NULL of none */

enum { CA_SAMPLES = 64 };
struct ca_subject {
	int32_t pid;         /* 0: this place is free */
	int pidfd, statm;
	uint64_t started;    /* clock ticks since the boot, */
	int64_t started_date; /* and milliseconds since 1970 */
	uint64_t rss;
	struct ca_membership membership;
	enum ca_trigger wanted; /* it is to be captured */
	unsigned failures;   /* of this wish */
	int64_t rest_until;  /* and not before */
	int64_t due, every_due;
	uint64_t rss_last;   /* where that triggered; 0: it is below */
	uint64_t samples[CA_SAMPLES]; /* over growth_ms, [0] the oldest */
	unsigned sample_count;
	int64_t sampled;     /* when the last one was taken */
};
/* False when it is gone already. */
bool ca_subject_open(struct ca_subject *subject, const struct ca_proc_row *row,
		     const struct ca_watch *watch, int64_t now);
void ca_subject_close(struct ca_subject *subject, int epoll);
/* Looks at it, and wants it when a trigger says so; false when it is gone. */
bool ca_subject_look(struct ca_subject *subject, const struct ca_watch *watch, int64_t now);
void ca_subject_want(struct ca_subject *subject, enum ca_trigger trigger);

/* ---- shelf.c: the files ------------------------------------------------------- */

/* Whose file it is. */
struct ca_owner {
	int32_t pid;
	int64_t started_date; /* milliseconds since 1970: an earlier process may have had its number */
};
struct ca_kept {
	char *name;
	int32_t pid;
	int64_t when;   /* milliseconds since 1970 */
	uint64_t bytes; /* on disk */
};
struct ca_shelf {
	const struct ca_watch *watch;
	int folder;
	struct ca_kept *items; /* the oldest first */
	size_t count, capacity;
	uint64_t bytes;
};
/* Why a file was dropped. */
typedef void ca_shelf_dropped(void *arg, const struct ca_kept *kept, const char *why);
/* Takes the directory for itself alone, and clears what an earlier one left half-done. */
struct ca_error *ca_shelf_open(struct ca_shelf *shelf, const struct ca_watch *watch);
void ca_shelf_close(struct ca_shelf *shelf);
/* "20261127T201103.123Z-1234.core"; "part": until it is whole. */
void ca_shelf_name(int32_t pid, int64_t when, const char *suffix, char *name, size_t bytes);
/* Drops old files until so many bytes fit in; false: they cannot. *room: what there is. */
bool ca_shelf_make_room(struct ca_shelf *shelf, uint64_t bytes, ca_shelf_dropped *dropped, void *arg,
			uint64_t *room);
/*
 * The part is whole: gives it its name, drops what is too much and what else its
 * maker left. False: errno. *kept: until another is.
 */
bool ca_shelf_add(struct ca_shelf *shelf, const struct ca_owner *owner, int64_t when,
		  const char *suffix, ca_shelf_dropped *dropped, void *arg, const struct ca_kept **kept);
/* The part is to be forgotten. */
void ca_shelf_undo(struct ca_shelf *shelf, int32_t pid, int64_t when);

/* ---- job.c: the children -------------------------------------------------------- */

struct ca_job {
	int epoll;
	enum ca_wake wake; /* when its pipe has something: what it has to say, or its end */
	pid_t child;       /* 0: none */
	int pipe;
	struct ca_owner owner;
	enum ca_trigger reason;
	int64_t when;      /* date of the capture, */
	uint64_t rss, used, limit; /* and what was taken then (watch.h) */
};
/* Begins the capture of job's owner, as of job's date. False: errno. */
bool ca_job_capture(struct ca_job *job, const struct ca_watch *watch);
/* When it wakes us: what came of it. */
void ca_job_finish(struct ca_job *job, struct ca_watch_result *result);
bool ca_job_command(struct ca_job *job, const char *command, const char *file, const char *reason);
/* Waits for its end: the wait status. */
int ca_job_reap(struct ca_job *job);
void ca_job_kill(struct ca_job *job);

#endif
