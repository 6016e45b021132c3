#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Who may know whom. Fails on an include that goes upward or sideways, on one
# that reaches behind another layer's interface header, on <bfd.h> outside
# image/, on printing to stdout anywhere but in report/ and the two main.c, and
# on an export that the public header does not declare.
#
#   tests/layers.sh [TREE]      TREE: default is the one this script is in
# shellcheck disable=SC2086 # $sources is split into words on purpose
set -eu
cd "${1:-$(dirname "$0")/..}"

# A layer, and the layers below it that it may include. A layer is a folder of
# coreanalyze/, or a file right in it; `public` is include/coreanalyze.h.
below_graph='base image runtime heap object open'
edges="
base
image     base
watch     base image
runtime   base image
heap      base image runtime
object    base image runtime
open      base image runtime heap object
capture   base image runtime
graph     $below_graph
store     $below_graph graph
analysis  $below_graph graph
report    base
session   $below_graph graph store analysis public
library   $below_graph graph store analysis public session
command   $below_graph graph store analysis public session library report capture watch
main      $below_graph graph store analysis public session library report watch command
public
"
# X/X.h is a folder's interface; these are more of them.
interfaces='coreanalyze/image/live.h coreanalyze/runtime/layout.h coreanalyze/runtime/keys.h coreanalyze/object/emulate.h'

sources=$(find coreanalyze include -name '*.[ch]' | LC_ALL=C sort)
[ -n "$sources" ] || exit 2

# Each rule prints its offenders as FILE:LINE: WHY.

includes() {
	EDGES=$edges INTERFACES=$interfaces awk '
	BEGIN {
		rows = split(ENVIRON["EDGES"], row, "\n")
		for (i = 1; i <= rows; i++) {
			n = split(row[i], word, " ")
			if (n)
				known[word[1]] = 1
			for (j = 2; j <= n; j++)
				edge[word[1], word[j]] = 1
		}
		n = split(ENVIRON["INTERFACES"], word, " ")
		for (i = 1; i <= n; i++)
			interface[word[i]] = 1
	}
	function layer_of(path) {
		if (path ~ /^include\//)
			return "public"
		sub(/^coreanalyze\//, "", path)
		sub(/\/.*|\..*/, "", path)
		return path
	}
	function is_interface(path, layer) {
		return path in interface || path == "coreanalyze/" layer "/" layer ".h" ||
			path == "coreanalyze/" layer ".h" || layer == "public"
	}
	function resolve(from, name) {
		if (name == "coreanalyze.h")
			return "include/coreanalyze.h"
		sub(/[^\/]*$/, "", from)
		name = from name
		gsub(/\/\.\//, "/", name)
		while (sub(/[^\/.]+\/\.\.\//, "", name))
			;
		return name
	}
	/^[ \t]*#[ \t]*include[ \t]*"/ {
		split($0, part, "\"")
		path = resolve(FILENAME, part[2])
		from = layer_of(FILENAME)
		to = layer_of(path)
		where = FILENAME ":" FNR ": "
		if (!(from in known))
			print where "the layer " from " is not in the table of tests/layers.sh"
		else if (from == to)
			next
		else if (!((from, to) in edge))
			print where from " may not include " to
		else if (!is_interface(path, to))
			print where path " is private to " to
	}' $sources
}

# Lines of code that match a pattern, as FILE:LINE:TEXT.
code() {
	grep -nE "$1" $sources | grep -vE '^[^:]*:[0-9]*:[[:space:]]*(/?\*|//)'
}

# Those outside the files $2, with the reason $3 instead of the text.
code_outside() {
	code "$1" | grep -vE "^($2)" | sed "s|^\([^:]*:[0-9]*\):.*|\1: $3|"
}

bfd_in_image() {
	code_outside '#[[:space:]]*include[[:space:]]*[<"]bfd\.h' 'coreanalyze/image/' \
		'<bfd.h> is for image/ alone'
}

printing_in_report() {
	start='(^|[^[:alnum:]_])'
	code_outside "$start(v?printf|puts|putchar|putchar_unlocked) *\(|\
${start}v?fprintf *\( *stdout|$start(fputs|fputc|putc|fwrite) *\(.*[ ,]stdout *\)|\
${start}v?dprintf *\( *(1|STDOUT_FILENO)[ ,]" \
		'coreanalyze/(report/|(command/)?main\.c:)' \
		'only report/, main.c and command/main.c print to stdout'
}

exports_in_public_header() {
	code_outside '(^|[^[:alnum:]_])CA_API([^[:alnum:]_]|$)|visibility *\( *"default"' \
		'include/coreanalyze\.h:' 'exports are declared in include/coreanalyze.h alone'
}

passed=0 failed=0
for rule in includes bfd_in_image printing_in_report exports_in_public_header; do
	offenders=$($rule)
	if [ -z "$offenders" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s\n' "$offenders"
	fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
