/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The children: one that captures, and one that runs the command for a file. They
 * are in process groups of their own, so that a Ctrl-C is for us to answer, and end
 * with us. Where memory is short it is them that the kernel is to kill, not those
 * that are watched.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void become_child(pid_t parent, int end)
{
	sigset_t none;
	int fd;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* Nothing that the parent waits for is held open in here. */
	close_range(STDERR_FILENO + 1, (unsigned)end - 1, 0);
	close_range((unsigned)end + 1, ~0U, 0);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "1000", 4) != 4)
			fd = -1; /* it stays as it is */
		close(fd);
	}
}

/* What the child's end of the pipe is; the job has the other. -1: errno. */
static bool start(struct ca_job *job, int *end)
{
	pid_t parent = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return false;
	fflush(NULL);
	job->child = fork();
	if (job->child < 0) {
		int why = errno;

		close(ends[0]);
		close(ends[1]);
		job->child = 0;
		errno = why;
		return false;
	}
	if (job->child == 0) {
		become_child(parent, ends[1]);
		*end = ends[1];
		return true;
	}
	setpgid(job->child, job->child);
	close(ends[1]);
	job->pipe = ends[0];
	ca_watch_wait(job->epoll, job->pipe, EPOLLIN, job->wake, 0);
	*end = -1;
	return true;
}

/* ---- capture ----------------------------------------------------------------------- */

bool ca_job_capture(struct ca_job *job, const struct ca_watch *watch)
{
	struct ca_watch_result result = { 0 };
	char part[128], path[4096];
	int end;

	ca_shelf_name(job->owner.pid, job->when, "part", part, sizeof(part));
	snprintf(path, sizeof(path), "%s/%s", watch->directory, part);
	if (!start(job, &end))
		return false;
	if (end < 0)
		return true;

	struct ca_watch_order order = { job->owner.pid, path };

	watch->capture(watch->arg, &order, &result);
	/* In one piece: it is less than PIPE_BUF. */
	_exit(write(end, &result, sizeof(result)) == sizeof(result) ? 0 : 1);
}

_Static_assert(sizeof(struct ca_watch_result) <= 4096, "goes through a pipe in one piece");

static void tell_end(struct ca_watch_result *result, int status)
{
	*result = (struct ca_watch_result){ 0 };
	if (WIFSIGNALED(status))
		snprintf(result->text, sizeof(result->text), "the capture was ended by signal %d%s",
			 WTERMSIG(status), WTERMSIG(status) == SIGKILL
						   ? ": by the kernel, where memory is short" : "");
	else
		snprintf(result->text, sizeof(result->text), "the capture ended with status %d",
			 WEXITSTATUS(status));
}

void ca_job_finish(struct ca_job *job, struct ca_watch_result *result)
{
	ssize_t got;

	do
		got = read(job->pipe, result, sizeof(*result));
	while (got < 0 && errno == EINTR);

	int status = ca_job_reap(job);

	if (got != sizeof(*result))
		tell_end(result, status);
	result->text[sizeof(result->text) - 1] = '\0';
	result->suffix[sizeof(result->suffix) - 1] = '\0';
}

/* ---- command -------------------------------------------------------------------------- */

/* The shell's end counts, whatever it leaves running. */
static bool wait_for_end(struct ca_job *job)
{
	ca_watch_close(job->epoll, job->pipe);
	job->pipe = (int)syscall(SYS_pidfd_open, job->child, 0);
	if (job->pipe < 0) {
		ca_job_kill(job);
		return false;
	}
	ca_watch_wait(job->epoll, job->pipe, EPOLLIN, job->wake, 0);
	return true;
}

bool ca_job_command(struct ca_job *job, const char *command, const char *file, const char *reason)
{
	char pid[16];
	int end;

	if (!start(job, &end))
		return false;
	if (end < 0)
		return wait_for_end(job);
	/* Our output is lines of a form of their own. */
	dup2(STDERR_FILENO, STDOUT_FILENO);
	snprintf(pid, sizeof(pid), "%d", job->owner.pid);
	setenv("COREANALYZE_FILE", file, 1);
	setenv("COREANALYZE_PID", pid, 1);
	setenv("COREANALYZE_REASON", reason, 1);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

/* ---- the end of both -------------------------------------------------------------------- */

int ca_job_reap(struct ca_job *job)
{
	int status = 0;

	while (waitpid(job->child, &status, 0) < 0 && errno == EINTR)
		;
	ca_watch_close(job->epoll, job->pipe);
	job->child = 0;
	job->pipe = -1;
	return status;
}

void ca_job_kill(struct ca_job *job)
{
	kill(-job->child, SIGKILL);
	ca_job_reap(job);
}
