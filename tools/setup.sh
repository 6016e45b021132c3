#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
#   tools/setup.sh need GROUP...      name the missing Debian packages; fail if there are any
#   tools/setup.sh install GROUP...   install them when root, else as `need`
#
# Touches the network only when something is missing.
set -eu

packages() {
	case $1 in
	build) echo gcc libc6-dev binutils-dev libarchive-dev libzstd-dev libsmartcols-dev libjansson-dev libunicorn-dev libseccomp-dev ;;
	check) echo libcunit1-dev gdb gdbserver python3 python3-yaml libpython3-dev ;;
	demo) echo gdb python3 ;;
	*)
		echo "tools/setup.sh: no group '$1'" >&2
		exit 2
		;;
	esac
}

installed() {
	dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

verb=${1-}
case $verb:$# in
need:[2-9] | install:[2-9]) shift ;;
*)
	echo 'usage: tools/setup.sh need|install GROUP...' >&2
	exit 2
	;;
esac

wanted=
for group; do
	wanted="$wanted $(packages "$group")"
done

if ! command -v dpkg-query >/dev/null; then
	echo "tools/setup.sh: not a Debian system; this needs what Debian calls:$wanted" >&2
	exit 0
fi

missing=
for package in $wanted; do
	installed "$package" || case " $missing " in
	*" $package "*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$verb" = need ] || [ "$(id -u)" -ne 0 ]; then
	echo "Packages are missing. As root:" >&2
	echo "    apt-get update && $install" >&2
	exit 1
fi

echo "Installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q || echo 'tools/setup.sh: apt-get update failed; trying with the old lists' >&2
exec $install -q
