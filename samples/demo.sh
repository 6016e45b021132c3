#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
#   samples/demo.sh [SAMPLE]        make demo ARGS=SAMPLE
#
# Starts a leaking worker, takes a core before and a core after it has served
# some more requests, and shows what coreanalyze says of them. Leaves nothing
# behind. CA_BIN, BUILD, PYTHON: the command, where it is built, the worker's
# interpreter.
set -u

sample=${1:-sessions}
top=$(cd "$(dirname "$0")/.." && pwd)
command=${CA_BIN:-${BUILD:-$top/build}/coreanalyze}
python=${PYTHON:-python3}

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	strong=$(printf '\033[1;36m') plain=$(printf '\033[0m')
else
	strong= plain=
fi

say() { printf '\n%s\n' "$*"; }
fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

# Shows a command as one would type it, and runs it.
run() {
	printf '%s$ %s%s\n' "$strong" "$*" "$plain"
	"$@"
}

# ---- the worker

worker=
directory=$(mktemp -d "${TMPDIR:-/tmp}/coreanalyze-demo.XXXXXX") || exit 1
clean_up() {
	[ -z "$worker" ] || kill "$worker" 2>/dev/null
	cd / && rm -rf "$directory"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' HUP TERM

# Waits, 10 s at most, until the worker has said a line that begins so.
await() {
	for _ in $(seq 200); do
		grep -q "^$1" output && return
		kill -0 "$worker" 2>/dev/null || break
		sleep 0.05
	done
	cat output >&2
	fail "the worker did not say '$1'"
}

start_worker() {
	mkfifo input
	printf '%s$ %s samples/worker.py %s%s\n' "$strong" "$python" "$sample" "$plain"
	"$python" -B "$top/samples/worker.py" "$sample" <input >output 2>&1 &
	worker=$!
	exec 3>input
	await ready
	cat output
	pid=$(sed -n 's/^ready //p' output)
}

# ---- its cores

explain_refusal() {
	scope=$(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null)
	echo "demo: gdb may not attach to process $pid (ptrace: Operation not permitted)."
	echo "In a container: start it with --cap-add=SYS_PTRACE."
	case $scope in
	[1-9]) echo "Here kernel.yama.ptrace_scope is $scope: run this as root," \
		"or set it to 0 (sysctl -w kernel.yama.ptrace_scope=0)." ;;
	*) echo "Else: run this as root." ;;
	esac
	echo "A core of the kernel's needs no ptrace: ulimit -c unlimited, kill -ABRT PID."
}

take_core() {
	printf '%s$ gcore -o %s %s%s\n' "$strong" "$1" "$pid" "$plain"
	gcore -o "$1" "$pid" >gcore.log 2>&1 </dev/null
	if [ -s "$1.$pid" ]; then
		grep '^Saved corefile' gcore.log
		echo
	elif grep -q 'Operation not permitted' gcore.log; then
		explain_refusal >&2
		exit 1
	else
		cat gcore.log >&2
		fail "gcore made no core"
	fi
}

# ---- the demo

[ -x "$command" ] || fail "$command is not there: run make"
[ -r "$top/samples/$sample.py" ] || fail "there is no sample '$sample'"
command -v gcore >/dev/null || fail "gcore is missing (Debian: apt-get install gdb)"
PATH=$(cd "$(dirname "$command")" && pwd):$PATH
cd "$directory" || exit 1
export PATH DEBUGINFOD_URLS=

say "A worker that leaks:"
start_worker

say "A core of it, and one page about that:"
take_core before
run coreanalyze "before.$pid" || exit

say "It serves more requests. Another core, and what is in that:"
echo >&3
await step
take_core after
run coreanalyze types "after.$pid" --limit 6 || exit

say "What came between the two:"
run coreanalyze diff "before.$pid" "after.$pid" --limit 5 || exit

say "Why it leaks and what mends it is told in samples/$sample.py."
printf '%s\n' "Other leaks: make demo ARGS=SAMPLE, with one of" \
	"$(cd "$top/samples" && echo *.py | sed -e 's/\.py//g' -e 's/ worker//')"
