#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
#   tools/programs.sh [DIR]
#
# Unpacks what real programs are made of, for the Python of this Debian: numpy,
# lxml, Django, Sphinx and some extensions, with what they need and this machine
# lacks, under DIR (build/programs). Nothing is installed. Prints the environment
# to run a Python in, a line NAME=VALUE each. What cannot be had is said on stderr.
set -eu

packages='python3-numpy python3-lxml python3-django python3-sphinx python3-multidict python3-greenlet python3-yaml'

say() { echo "programs: $*" >&2; }

top=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$top/build/programs}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir/.lock"
flock 9

if [ ! -e "$dir/.complete" ]; then
	if ! command -v apt-get >/dev/null; then
		say 'not a Debian system'
		exit 1
	fi
	mkdir -p "$dir/debs/partial"
	# shellcheck disable=SC2086
	if ! apt-get -q -y -o "Dir::Cache::archives=$dir/debs" -o APT::Sandbox::User= -o Debug::NoLocking=true \
		install --download-only --no-install-recommends $packages >"$dir/apt.log" 2>&1; then
		say "$(grep -m1 '^E:' "$dir/apt.log")"
		exit 1
	fi
	for deb in "$dir"/debs/*.deb; do
		[ ! -e "$deb" ] || dpkg-deb -x "$deb" "$dir/root"
	done
	rm -rf "$dir/debs"
	mkdir -p "$dir/root"
	: >"$dir/.complete"
fi

libraries=$dir/root/usr/lib/x86_64-linux-gnu
echo "PYTHONPATH=$dir/root/usr/lib/python3/dist-packages"
echo "LD_LIBRARY_PATH=$libraries:$libraries/blas:$libraries/lapack"
