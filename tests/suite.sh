#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
#   tests/suite.sh RESULTS NAME COMMAND...
#
# Runs one suite and appends its counts to the file RESULTS. A suite's last
# words are "N passed, N failed, N skipped"; one that dies without them, or
# fails without a failed test, counts as one failure. Always succeeds: it is
# tests/summary.sh that fails.
set -u
results=$1 name=$2
shift 2

log=$results.$name.log
{
	"$@" 2>&1
	echo $? >"$log.status"
} | tee "$log" | sed -u "s/^[0-9]* passed, [0-9]* failed, [0-9]* skipped\$/$name: &/"
read -r status <"$log.status"
rm -f "$log.status"

counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$log" |
	tail -n 1)
case "$status $counts" in
"0 "[0-9]*) ;;
*" 0 "[0-9]*)
	echo "$name: exit status $status, but no test failed: counted as a failure"
	counts="${counts%% *} 1 ${counts##* }"
	;;
*" ")
	echo "$name: ended with status $status and without its counts: counted as a failure"
	counts="0 1 0"
	;;
esac
echo "$name $counts" >>"$results"
