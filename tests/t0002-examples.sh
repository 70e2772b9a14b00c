#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the EXAMPLES of the man pages; the convention is in README.md here.
. "$(dirname "$0")/lib.sh"

# split PAGE DIR: DIR/B.C.cmd and DIR/B.C.out of block B, command C; DIR/B.skip;
# prints the number of blocks.
split() {
	awk -v dir="$2" '
	function plain(s) {
		gsub(/\\\(aq/, "\047", s); gsub(/\\\(dq/, "\"", s); gsub(/\\\(ga/, "`", s)
		gsub(/\\\(ha/, "^", s); gsub(/\\\(ti/, "~", s)
		gsub(/\\-/, "-", s); gsub(/\\&/, "", s); gsub(/\\e/, "\\", s)
		return s
	}
	/^\.Sh / { inside = ($2 == "EXAMPLES"); next }
	!inside { next }
	/^\.\\" not run:/ { sub(/^\.\\" not run: */, ""); skip = $0; next }
	/^\.Bd -literal/ {
		literal = 1; block++; command = 0
		if (skip != "") print skip > (dir "/" block ".skip")
		skip = ""; next
	}
	/^\.Ed/ { literal = 0; next }
	!literal { next }
	/^\$ / { command++; print plain(substr($0, 3)) > (dir "/" block "." command ".cmd"); next }
	/^> / && command { print plain(substr($0, 3)) > (dir "/" block "." command ".cmd"); next }
	command { print plain($0) > (dir "/" block "." command ".out") }
	END { print block + 0 }' "$1"
}

# matches WANT GOT: "..." in WANT stands for anything, lines too.
matches() {
	awk '
	function all(file,   line, s) {
		while ((getline line < file) > 0) s = s line "\n"
		return s
	}
	BEGIN {
		want = all(ARGV[1]); got = all(ARGV[2]); from = 1; anchored = 1
		gsub(/\.\.\.\n/, "...", want)
		# Pieces between the dots must follow one another; the first stands at the start, the last at the end.
		while ((i = index(want, "...")) > 0) {
			piece = substr(want, 1, i - 1); want = substr(want, i + 3)
			at = index(substr(got, from), piece)
			if (at == 0 || (anchored && at != 1)) exit 1
			from += at - 1 + length(piece); anchored = 0
		}
		rest = substr(got, from)
		if (anchored) exit rest != want
		exit !(length(rest) >= length(want) && substr(rest, length(rest) - length(want) + 1) == want)
	}' "$1" "$2"
}

# run_block DIR BLOCK: each command must succeed and say what the page says.
run_block() {
	c=1
	while [ -e "$1/$2.$c.cmd" ]; do
		echo "\$ $(cat "$1/$2.$c.cmd")"
		. "$1/$2.$c.cmd" >"$1/got" 2>&1 || { rc=$?; cat "$1/got"; echo "status $rc"; return 1; }
		cat "$1/got"
		if [ -e "$1/$2.$c.out" ] && ! matches "$1/$2.$c.out" "$1/got"; then
			echo "the page says:"
			cat "$1/$2.$c.out"
			return 1
		fi
		c=$((c + 1))
	done
}

# The helpers themselves.
cat >page.1 <<'X'
.Sh DESCRIPTION
.Bd -literal
$ false
.Ed
.Sh EXAMPLES
.Bd -literal -offset indent
$ echo one | sed \(aqs/o/\ex6f/\(aq; x=5
one
$ printf \(aq%s\en\(aq a b \e
> c $x
a
...
5
.Ed
.\" not run: it is long
.Bd -literal
$ false
.Ed
.Bd -literal
$ echo no
yes
.Ed
.Sh SEE ALSO
X
mkdir self
test_that 'blocks are found, run and compared' '
	test "$(split page.1 "$PWD/self")" -eq 3
	run_block "$PWD/self" 1
	grep -x "it is long" self/2.skip
	exits 1 run_block "$PWD/self" 3'
test_that 'dots match anything, else lines match exactly' '
	printf "a\nb\nc\n" >got
	for w in "a\nb\nc\n" "...\n" "a\n...\n" "...\nc\n" "a\n...\nb\n...\nc\n" "a\n...c\n" "a\nb\n...\nc\n"; do
		printf "$w" >want
		matches want got
	done
	for w in "a\nb\n" "b\nc\n" "a\n...\nb\n" "...\nx\n" "" "a\nb\nc\nd\n" "c\n...\na\n"; do
		printf "$w" >want
		exits 1 matches want got
	done'

for page in "$SRC"/man/peft-*.1; do
	[ -e "$page" ] || continue
	name=${page##*/}
	work=$TRASH/$name
	mkdir -p "$work.cmd"
	cp -R "$DATA/examples" "$work"
	chmod -R u+w "$work"
	cd "$work" || exit 1
	blocks=$(split "$page" "$work.cmd")
	b=0
	while [ $b -lt "$blocks" ]; do
		b=$((b + 1))
		if [ -e "$work.cmd/$b.skip" ]; then
			test_skip "$name: example $b" "$(cat "$work.cmd/$b.skip")"
		elif [ -e "$work.cmd/$b.1.cmd" ]; then
			export work b
			test_that "$name: example $b" 'run_block "$work.cmd" $b'
		fi
	done
	export name
	test_that "$name: has examples that run" 'ls "$work.cmd" | grep "\.1\.cmd$"'
done
test_done
