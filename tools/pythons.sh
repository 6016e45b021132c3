#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
#   tools/pythons.sh [DIR]
#
# Unpacks the Pythons of Debian's other suites under DIR (build/pythons), each
# as DIR/SUITE-VERSION with a wrapper `python` that runs it through that suite's
# own loader and libraries; a suite's default Python with its numpy. And some of
# their gdbs, as DIR/gdb-SUITE-VERSION with a wrapper `gdb`. Nothing is installed.
#
# The archive, its keys and any proxy are those of this machine's apt; only the
# name of the suite changes. A suite that cannot be had is reported, and is no
# error. What DIR has stays as it is: remove DIR to get newer versions.
set -u

suites="bullseye bookworm trixie sid forky"
gdb_suites=" bullseye trixie sid " # one that is too old, one in use, the newest

say() { echo "pythons: $*" >&2; }

top=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$top/build/pythons}
mkdir -p "$dir" && dir=$(cd "$dir" && pwd) || exit 1
exec 9>"$dir/.lock"
flock 9

# ---- what is there

# runs NAME: whether what is in DIR/NAME does.
runs() {
	case $1 in
	gdb-*) "$dir/$1/gdb" -batch -nx -ex 'python import json; print("runs")' ;;
	*) "$dir/$1/python" -c 'import ctypes, ssl, sqlite3; print("runs")' ;;
	esac >"$dir/.log" 2>&1
	grep -qx runs "$dir/.log"
}

if grep -qs ^gdb- "$dir/.complete"; then
	whole=yes
	while read -r name; do
		runs "$name" || whole=no
	done <"$dir/.complete"
	[ $whole = yes ] && exit 0
fi

codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")
arch=$(dpkg --print-architecture 2>/dev/null)
if [ "$arch" != amd64 ] || ! command -v apt-get >/dev/null; then
	say "not an amd64 Debian: no other Pythons to test with"
	exit 0
fi

# ---- the archive that this machine uses

# Prints "URI<tab>KEYRING" of the first source of a Debian release of its own
# (not of its updates, security or other vendors), in either format of apt.
find_archive() {
	awk -v codename="$codename" '
		function found(uri, suites, components, keys,   n, i, s) {
			n = split(suites, s, " ")
			for (i = 1; i <= n; i++)
				if ((s[i] == codename || s[i] ~ /^(oldstable|stable|testing|unstable|sid)$/) \
				    && (" " components " ") ~ / main /) {
					print uri "\t" (keys ~ /^\// ? keys : "")
					done = 1
					exit
				}
		}
		function paragraph() {
			if (types ~ /(^| )deb( |$)/ && enabled !~ /^(no|false|0)$/)
				found(uris, suites, components, keys)
			types = uris = suites = components = keys = enabled = ""
		}
		FNR == 1 { paragraph(); sources = FILENAME ~ /\.sources$/ }
		/^[ \t]*#/ { next }
		sources && /^[ \t]*$/ { paragraph(); next }
		sources {
			key = tolower($1)
			value = $0
			sub(/^[^:]*:[ \t]*/, "", value)
			if (key == "types:") types = value
			else if (key == "uris:") { split(value, u, " "); uris = u[1] }
			else if (key == "suites:") suites = value
			else if (key == "components:") components = value
			else if (key == "signed-by:") keys = value
			else if (key == "enabled:") enabled = tolower(value)
			next
		}
		$1 == "deb" {
			keys = ""
			if (match($0, /\[[^]]*\]/)) {
				options = substr($0, RSTART + 1, RLENGTH - 2)
				if (match(options, /signed-by=[^ ]*/))
					keys = substr(options, RSTART + 10, RLENGTH - 10)
				sub(/\[[^]]*\]/, "")
			}
			components = ""
			for (i = 4; i <= NF; i++)
				components = components " " $i
			found($2, $3, components, keys)
			keys = components = ""
		}
		END { if (!done) paragraph() }
	' "$@" /dev/null
}

shopt -s nullglob
IFS=$'\t' read -r archive keyring < <(find_archive /etc/apt/sources.list.d/*.sources \
	/etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null)
if [ -z "${archive:-}" ]; then
	say "no Debian archive among this machine's apt sources: no other Pythons to test with"
	exit 0
fi
for keys in "$keyring" /usr/share/keyrings/debian-archive-keyring.gpg; do
	[ -r "$keys" ] && keyring=$keys && break
done

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# ---- one suite at a time, with an apt of its own

# configure SUITE OPTION: an apt that knows that suite only, and no installed
# package, so that it resolves as on an empty machine.
configure() {
	local suite=$1 option=$2 home=$work/$1
	mkdir -p "$home"/{lists/partial,cache/archives/partial,log}
	echo "deb [arch=amd64 $option] $archive $suite main" >"$home/sources.list"
	cat >"$home/apt.conf" <<-END
		Dir::Etc::sourcelist "$home/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State "$home";
		Dir::State::Lists "$home/lists";
		Dir::State::status "/dev/null";
		Dir::Cache "$home/cache";
		Dir::Log "$home/log";
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Install-Recommends "false";
		APT::Sandbox::User "";
		Acquire::Languages "none";
		Acquire::Check-Valid-Until "false";
		Acquire::http::Timeout "15";
		Acquire::https::Timeout "15";
		Acquire::Retries "2";
		Debug::NoLocking "true";
	END
}

# update SUITE: gets its list of packages, by its signature if that can be told.
update() {
	local suite=$1 home=$work/$1
	if [ -n "$keyring" ]; then
		configure "$suite" "signed-by=$keyring"
		lists_of "$suite" && return
	fi
	# This machine's keys may be older than the suite's. It is only read here.
	configure "$suite" trusted=yes
	if lists_of "$suite"; then
		[ -n "$keyring" ] && say "$suite: not signed by a key this machine has; used all the same"
		return
	fi
	say "$suite: not reachable: $(grep -m1 '^[EW]:' "$home/update.log")"
	return 1
}

lists_of() {
	apt_of "$1" apt-get update >"$work/$1/update.log" 2>&1 || return 1
	compgen -G "$work/$1/lists/*Packages*" >/dev/null
}

apt_of() {
	local suite=$1
	shift
	APT_CONFIG=$work/$suite/apt.conf "$@"
}

# company SUITE PACKAGE: what goes with it: the suite's numpy, if PACKAGE is its default
# Python; CPython's own commands for gdb, which are among its examples.
company() {
	if [ "$2" = gdb ]; then
		echo python3-examples
	elif apt_of "$1" apt-cache depends python3 | grep -qx "  Depends: $2"; then
		echo python3-numpy
	fi
}

# unpack SUITE PACKAGE NAME: PACKAGE (python3.x) and all it needs to DIR/NAME.
unpack() {
	local suite=$1 package=$2 name=$3 home=$work/$1 root=$dir/$3/root deb loader
	rm -rf "$home/cache/archives" "${dir:?}/$name"
	mkdir -p "$home/cache/archives/partial" "$root"
	# shellcheck disable=SC2046
	if ! apt_of "$suite" apt-get install -qq -y --download-only "$package" \
		$(company "$suite" "$package") >"$home/install.log" 2>&1; then
		say "$name: $(grep -m1 '^E:' "$home/install.log")"
		rm -rf "${dir:?}/$name"
		return 1
	fi
	for deb in "$home"/cache/archives/*.deb; do
		case ${deb##*/} in
		perl-base_* | debconf_* | tzdata_* | dpkg_* | tar_*) ;;
		*-examples_*) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --wildcards \
			'*/examples/gdb/libpython.py' 2>/dev/null ;;
		*) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --exclude='./usr/share/doc' \
			--exclude='./usr/share/man' --exclude='./usr/share/locale' \
			--exclude='./usr/lib/x86_64-linux-gnu/gconv' ;;
		esac
	done
	loader=$(find "$root" -type f \( -name 'ld-linux-x86-64.so.2' -o -name 'ld-2.*.so' \) |
		head -n 1)
	wrap "$package" "$root" "$loader" >"$dir/$name/${package%%[0-9]*}"
	chmod +x "$dir/$name/${package%%[0-9]*}"
	if ! runs "$name"; then
		say "$name: does not run: $(tail -n 1 "$dir/.log")"
		rm -rf "${dir:?}/$name"
		return 1
	fi
}

# wrap PACKAGE ROOT LOADER: the script that runs it.
wrap() {
	cat <<-END
		#!/bin/sh
		root=$2
		libraries=\$root/usr/lib/x86_64-linux-gnu
		export PYTHONHOME="\$root/usr"
		exec "$3" --library-path \\
			"\$root/lib/x86_64-linux-gnu:\$libraries:\$libraries/blas:\$libraries/lapack" \\
			"\$root/usr/bin/$1" \\
	END
	# What a gdb starts, in its first inferior and in others, is to find its own Python.
	[ "$1" = gdb ] && cat <<-'END'
			--data-directory "$root/usr/share/gdb" -iex "unset environment PYTHONHOME" \
			-iex "python import os; del os.environ['PYTHONHOME']" \
	END
	echo '	"$@"'
}

# programs_of SUITE: "python3.14 3.14.10" for each that the suite has, and its gdb.
programs_of() {
	local names
	names=$(apt_of "$1" apt-cache pkgnames python3. | grep -x 'python3\.[0-9]*' | sort -t. -k2n)
	case $gdb_suites in *" $1 "*) names+=" gdb" ;; esac
	# shellcheck disable=SC2086
	apt_of "$1" apt-cache show --no-all-versions $names | awk '
		$1 == "Package:" { package = $2 }
		$1 == "Version:" { sub(/[^0-9.].*/, "", $2); print package, $2 }'
}

declare -A updates
for suite in $suites; do
	[ "$suite" = "$codename" ] && continue
	mkdir -p "$work/$suite"
	update "$suite" &
	updates[$suite]=$!
done

: >"$work/complete"
all=yes
had=" "
for suite in $suites; do
	[ -n "${updates[$suite]:-}" ] || continue
	if ! wait "${updates[$suite]}"; then
		all=no
		continue
	fi
	while read -r package version; do
		case $had in *" $version "*) continue ;; esac
		name=$suite-$version
		[ "$package" = gdb ] && name=gdb-$name
		if runs "$name" || unpack "$suite" "$package" "$name"; then
			echo "$name" >>"$work/complete"
			had+="$version "
		else
			all=no
		fi
	done < <(programs_of "$suite")
done

# Only when nothing is missing: else the next run tries again.
if [ $all = yes ]; then
	mv "$work/complete" "$dir/.complete"
fi
exit 0
