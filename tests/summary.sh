#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
#   tests/summary.sh RESULTS
#
# Adds up what the suites appended ("name passed failed skipped" a line). Fails
# when a test failed, or when none ran.
set -eu
exec awk '
	{ passed += $2; failed += $3; skipped += $4 }
	$3 { printf "failed: %s (%d)\n", $1, $3 }
	END {
		printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
		exit failed > 0 || passed == 0
	}
' "$1"
