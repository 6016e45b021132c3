/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * blocked KIND SECONDS: waits in a system call for so long, and says how that
 * ended: what it returned, the errno, and how often it was begun anew after an
 * EINTR. "ready" comes before.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int pair[2], child, seconds;
static uint32_t *word;

/* Another process: a thread of ours would be one that the call could be put into. */
static void do_later(void (*what)(void))
{
	child = fork();
	if (child)
		return;
	struct timespec time = { seconds, 0 };

	nanosleep(&time, NULL);
	what();
	_exit(0);
}

static void send_byte(void)
{
	if (write(pair[1], "x", 1) != 1)
		abort();
}

static void wake(void)
{
	*word = 1;
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static int listener;
static struct sockaddr_storage address;
static socklen_t address_size;

static void connect_to_it(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&address, address_size))
		abort();
}

static void nothing(void)
{
}

static long wait_in(const char *kind)
{
	struct timespec time = { seconds, 0 };
	struct pollfd one = { .fd = pair[0], .events = POLLIN };
	struct epoll_event event;
	fd_set set;
	char byte;

	FD_ZERO(&set);
	FD_SET(pair[0], &set);
	if (!strcmp(kind, "nanosleep"))
		return nanosleep(&time, NULL);
	if (!strcmp(kind, "clock_nanosleep")) {
		struct timespec end;

		clock_gettime(CLOCK_MONOTONIC, &end);
		end.tv_sec += seconds;
		return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
	}
	if (!strcmp(kind, "futex")) {
		do_later(wake);
		return syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
	}
	if (!strcmp(kind, "futex_timed"))
		return syscall(SYS_futex, word, FUTEX_WAIT, 0, &time, NULL, 0);
	if (!strcmp(kind, "read")) {
		do_later(send_byte);
		return read(pair[0], &byte, 1);
	}
	if (!strcmp(kind, "recv")) {
		do_later(send_byte);
		return recv(pair[0], &byte, 1, 0);
	}
	if (!strcmp(kind, "poll"))
		return poll(&one, 1, seconds * 1000);
	if (!strcmp(kind, "select"))
		return select(pair[0] + 1, &set, NULL, NULL, &(struct timeval){ seconds, 0 });
	if (!strcmp(kind, "pselect"))
		return pselect(pair[0] + 1, &set, NULL, NULL, &time, &(sigset_t){ 0 });
	if (!strcmp(kind, "sem_timedwait")) {
		struct timespec end;
		sem_t sem;

		clock_gettime(CLOCK_REALTIME, &end);
		end.tv_sec += seconds;
		sem_init(&sem, 0, 0);
		return sem_timedwait(&sem, &end);
	}
	if (!strcmp(kind, "waitpid")) {
		do_later(nothing);
		return waitpid(child, NULL, 0) == child ? 0 : -1;
	}
	if (!strcmp(kind, "flock")) {
		char path[] = "/tmp/blocked-XXXXXX";
		int fd = mkstemp(path);
		int again = open(path, O_RDWR);

		unlink(path);
		flock(fd, LOCK_EX);
		child = fork();
		if (!child) {
			close(again);
			nanosleep(&time, NULL);
			_exit(0); /* the last one who holds it */
		}
		close(fd);
		return flock(again, LOCK_EX);
	}
	if (!strcmp(kind, "accept")) {
		struct sockaddr_un { unsigned short family; char name[8]; } any = { AF_UNIX, "" };
		socklen_t size = sizeof(any);

		listener = socket(AF_UNIX, SOCK_STREAM, 0);
		if (bind(listener, (struct sockaddr *)&any, sizeof(any.family)) ||
		    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&any, &size))
			abort();
		memcpy(&address, &any, sizeof(any));
		address_size = size;
		do_later(connect_to_it);
		return accept(listener, NULL, NULL) >= 0 ? 0 : -1;
	}
	if (!strcmp(kind, "epoll_wait")) {
		int fd = epoll_create1(0);

		epoll_ctl(fd, EPOLL_CTL_ADD, pair[0], &(struct epoll_event){ .events = EPOLLIN });
		return epoll_wait(fd, &event, 1, seconds * 1000);
	}
	if (!strcmp(kind, "recv_timed")) {
		setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ seconds, 0 },
			   sizeof(struct timeval));
		return recv(pair[0], &byte, 1, 0);
	}
	if (!strcmp(kind, "sigtimedwait")) {
		sigset_t signals;

		sigemptyset(&signals);
		sigaddset(&signals, SIGUSR1);
		sigprocmask(SIG_BLOCK, &signals, NULL);
		return sigtimedwait(&signals, NULL, &time);
	}
	abort();
}

int main(int argc, char **argv)
{
	if (argc != 3 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 2;
	seconds = atoi(argv[2]);
	word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	puts("ready");
	fflush(stdout);
	long result;
	int again = -1;

	do {
		result = wait_in(argv[1]);
	} while (++again < 10 && result < 0 && errno == EINTR);
	printf("%ld %d %d\n", result, result < 0 ? errno : 0, again);
	return 0;
}
