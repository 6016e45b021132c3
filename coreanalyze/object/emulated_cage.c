/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the child may still do once it is to run the target's code. */
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "emulated.h"

/* Address space beyond what the image takes already. */
#define MEMORY_LIMIT (2ull << 30)

static bool limit(int resource, uint64_t most)
{
	struct rlimit value = {most, most};

	return setrlimit(resource, &value) == 0;
}

static bool limit_memory(void)
{
	char text[64] = "";
	FILE *statm = fopen("/proc/self/statm", "r");
	bool read = statm && fgets(text, sizeof(text), statm);

	if (statm)
		fclose(statm);
	return read && limit(RLIMIT_AS, strtoull(text, NULL, 10) * CA_EMULATED_PAGE + MEMORY_LIMIT);
}

/* Nothing but what memory, the pipe and the end need. */
static bool forbid_system_calls(int pipe)
{
	static const int allowed[] = {
		SCMP_SYS(munmap), SCMP_SYS(mprotect), SCMP_SYS(madvise), SCMP_SYS(mremap),
		SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
		SCMP_SYS(clock_gettime), SCMP_SYS(sched_yield), SCMP_SYS(sigaltstack), SCMP_SYS(exit), SCMP_SYS(exit_group),
	};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	bool good = filter;

	for (size_t i = 0; good && i < CA_COUNT(allowed); i++)
		good = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0) == 0;
	good = good &&
	       seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				SCMP_A3_32(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS)) == 0 &&
	       seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(recvfrom), 1,
				SCMP_A0_32(SCMP_CMP_EQ, (uint32_t)pipe)) == 0 &&
	       seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1,
				SCMP_A0_32(SCMP_CMP_EQ, (uint32_t)pipe)) == 0 &&
	       seccomp_load(filter) == 0;
	seccomp_release(filter);
	return good;
}

bool ca_processor_lock_in(int pipe)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0 &&
	       limit_memory() && limit(RLIMIT_CORE, 0) && limit(RLIMIT_FSIZE, 0) &&
	       limit(RLIMIT_NPROC, 0) && (pipe < 4 || close_range(3, (unsigned)pipe - 1, 0) == 0) &&
	       close_range((unsigned)pipe + 1, ~0u, 0) == 0 && forbid_system_calls(pipe);
}
