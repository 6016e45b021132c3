/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * watch: processes are looked at from outside, until it is time to capture one:
 * before the kernel kills it for memory, which leaves no core. It knows no Python;
 * what is done to a process then is the caller's, in a child process.
 *
 *   source.c   which processes these are        subject.c  one of them, and its triggers
 *   proc.c     what /proc tells                 group.c    its memory groups: use, kills, pressure
 *   shelf.c    the files that are kept          job.c      the child that captures; the command after it
 *   loop.c     waits for all of it              work.c     what is done when a trigger says so
 *
 * While it waits it sleeps: it looks at a process as often as one could come from
 * where it is to the next trigger, ten times a second at most, and is woken by the
 * kernel when one ends, when a memory group passes a threshold or its limit, and
 * when memory is short (PSI). Its memory does not grow with time.
 */
#ifndef CA_WATCH_H
#define CA_WATCH_H

#include "../image/image.h"

#include <regex.h>

enum ca_watch_event {
	CA_WATCH_STARTED,
	CA_WATCH_FOUND,    /* a process is watched from now on */
	CA_WATCH_ENDED,    /* it ended; oom_kills: how many of its group the kernel killed meanwhile */
	CA_WATCH_CAPTURED, /* file is there */
	CA_WATCH_FAILED,   /* it was not captured; text: why */
	CA_WATCH_DROPPED,  /* a file was deleted; text: why */
	CA_WATCH_COMMAND,  /* the command for file ended; status: as the shell tells it */
	CA_WATCH_TROUBLE,  /* text: what does not work, and what is done instead */
	CA_WATCH_STOPPED,
};

/* What happened. Texts are not escaped, and live as long as the call. */
struct ca_watch_news {
	enum ca_watch_event event;
	int64_t when;            /* milliseconds since 1970 */
	int32_t pid;             /* 0: no one's */
	const char *reason;      /* of a capture: "rss", "percent-of-limit" ...; or NULL */
	const char *file, *text; /* or NULL */
	uint64_t rss;            /* bytes; of FOUND, ENDED (the last known), CAPTURED, FAILED */
	uint64_t used, limit;    /* of its group nearest to its limit; limit 0: there is none */
	uint64_t bytes;          /* of file, on disk */
	uint64_t pause_ns;       /* it stood still */
	uint64_t oom_kills;
	int status;
};

/* What is to be done in the child, and what came of it. */
struct ca_watch_order {
	int32_t pid;
	const char *part;        /* the path of the file to make, which is renamed then; others
	                          * whose names begin so are deleted when the child has ended */
};
struct ca_watch_result {
	bool done;
	char suffix[16];         /* of its name: "core", "core.zst", "snapshot" */
	uint64_t pause_ns;
	char text[1024];         /* not done: why; else "", or what is to be known */
};

struct ca_watch {
	/* who: one of these */
	int32_t pid;             /* and what it has forked of the same program */
	const char *pid_file;    /* the same, of the process whose number is in there, whenever that changes */
	const regex_t *name;     /* whose command line fits */
	const char *cgroup;      /* who is in this group or below: its folder, or its path below a hierarchy */
	/* when; 0: not by that */
	uint64_t rss;            /* bytes, */
	unsigned percent;        /* of a memory limit, */
	uint64_t growth;         /* bytes in growth_ms, */
	uint64_t growth_ms;
	unsigned pressure;       /* percent of the time, */
	bool pressure_full;      /* in which all, not some, wait for memory */
	uint64_t every_ms;
	/* where to */
	const char *directory;
	unsigned keep;           /* files of a process */
	uint64_t max_disk;       /* bytes of all files */
	const char *command;     /* run by sh after each capture; or NULL */
	/* by whom */
	void (*capture)(void *arg, const struct ca_watch_order *order, struct ca_watch_result *result);
	bool (*tell)(void *arg, const struct ca_watch_news *news); /* false: nobody hears it, so stop */
	void *arg;
};

/*
 * Watches until SIGTERM or SIGINT, or until --pid's process and its workers have
 * ended. Errors: the directory cannot be used, or there is no such process.
 */
struct ca_error *ca_watch_run(const struct ca_watch *watch);
/* What the name of a watch's file tells: of whom, and when (milliseconds since 1970). */
bool ca_watch_name(const char *name, int32_t *pid, int64_t *when);

#endif
