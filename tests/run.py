#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the tests of tests/*/test_*.py against the built command.

    tests/run.py [-j N] [-v] [TEXT...]

TEXT: only the tests with one of these in their name, as "live/", "test_types",
"pyenv-3.8" or "[sid-3.15.2 kernel]". --list shows the names.

The last line is "N passed, N failed, N skipped"; the status is 0 when none
failed and some passed.

CA_BIN=FILE      the command (build/coreanalyze)
CA_PYTHON=TEXT   only interpreters with this in their name (TEXT,TEXT: any)
CA_PYTHONS=DIR   other interpreters (build/pythons: tools/pythons.sh gets them)
CA_RESULTS=FILE  append "passed failed skipped" to it
CA_SOAK=1        what is done often is done as often as `make soak` does it
"""

from __future__ import annotations

import argparse
import os
import sys

TESTS = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(TESTS, "support"))
sys.dont_write_bytecode = True

import debugger         # noqa: E402
import interpreters     # noqa: E402
import runner           # noqa: E402
import tool             # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("filters", nargs="*", metavar="TEXT")
    parser.add_argument("-j", type=int, default=os.cpu_count(), dest="parallel",
                        metavar="N", help="jobs at a time")
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="a line for each passed test too")
    parser.add_argument("--list", action="store_true", help="only show the names")
    parser.add_argument("--job-limit", type=float, default=240, metavar="S",
                        help="seconds that a job may take (%(default)s)")
    parser.add_argument("--total-limit", type=float, default=2400, metavar="S",
                        help="seconds that all may take (%(default)s)")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    jobs = runner.discover(args.filters)
    if args.list:
        for job in jobs:
            for test in job.tests:
                print(job.name(test.__name__))
        return 0
    report = runner.Report(args.verbose)
    if not os.access(tool.path(), os.X_OK):
        report.result("the command", "failed", f"{tool.path()} is not there: run make", 0)
        jobs = []
    if not args.filters and not os.environ.get("CA_PYTHON"):
        for minor in interpreters.missing():
            report.result(f"CPython {minor}", "skipped", "no interpreter of it here", 0)
        for kind in debugger.missing():
            report.result(kind, "skipped", "there is none here", 0)
    runner.run(jobs, report, args.parallel, args.job_limit, args.total_limit)
    if not args.filters:
        print("\nthe slowest, over all they ran on:", report.slowest(), sep="\n    ")
    if report.failed:
        print("\nfailed:", *report.failed, sep="\n    ")
    if os.environ.get("CA_RESULTS"):
        with open(os.environ["CA_RESULTS"], "a") as f:
            f.write("%d %d %d\n" % tuple(
                report.counts[s] for s in ("passed", "failed", "skipped")))
    print(report.closing_line())
    return 1 if report.counts["failed"] or not report.counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
