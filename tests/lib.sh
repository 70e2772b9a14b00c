# SPDX-License-Identifier: MIT
# Sourced by tests/t*.sh: numbered cases in TAP, a temporary directory, the
# built tools on PATH. See README.md here.
#
#   test_that 'what holds' 'commands'   each in a subshell under set -e
#   test_skip 'what holds' 'why not'
#   require COMMAND ...                 skip the whole script where one is missing
#   exits STATUS COMMAND ...            true when it ends with this status
#   near X Y                            two losses that differ by rounding alone
#   less X Y                            X is a number below Y
#   status_to FILE COMMAND ...          its status into FILE: for a stage of a pipe
#   test_done                           last line: the plan
#
# $SRC is the repository, $BUILD the build, $DATA is tests/data. A case may set
# no variable for a later one, but leave files for it.

SRC=$(cd "$(dirname "$0")/.." && pwd)
BUILD=${BUILD:-$SRC/build}
case $BUILD in /*) ;; *) BUILD=$SRC/$BUILD ;; esac
DATA=$SRC/tests/data
PATH=$BUILD/bin:$PATH
export SRC BUILD DATA PATH LC_ALL=C.UTF-8
unset POSIXLY_CORRECT PEFT_CPU CDPATH
# What is tested is the CPU, but where a script asks for the GPU by unsetting this.
CUDA_VISIBLE_DEVICES=
export CUDA_VISIBLE_DEVICES
# Threads that wait leave the cores to the other stages of a pipeline.
OMP_WAIT_POLICY=passive
export OMP_WAIT_POLICY

test_count=0
TRASH=$(mktemp -d "${TMPDIR:-/tmp}/peft-test.XXXXXX") || exit 1
trap 'cd /; [ -n "$KEEP" ] && echo "# kept $TRASH" || { chmod -R u+w "$TRASH"; rm -rf "$TRASH"; }' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$TRASH/work" && cd "$TRASH/work" || exit 1

test_that() {
	test_count=$((test_count + 1))
	# Not in a condition: set -e would be off in it.
	(
		set -e
		eval "$2"
	) >"$TRASH/log" 2>&1 </dev/null
	if [ $? -eq 0 ]; then
		echo "ok $test_count - $1"
	else
		echo "not ok $test_count - $1"
		printf '%s\n' "$2" | sed 's/^/#   /'
		sed 's/^/# | /' "$TRASH/log"
	fi
}

test_skip() {
	test_count=$((test_count + 1))
	echo "ok $test_count - $1 # SKIP $2"
}

require() {
	for c; do
		command -v "$c" >/dev/null && continue
		echo "1..1"
		echo "ok 1 - all of it # SKIP $c is missing"
		exit 0
	done
}

exits() {
	want=$1
	shift
	got=0
	"$@" || got=$?
	[ "$got" -eq "$want" ] && return 0
	echo "status $got instead of $want: $*"
	return 1
}

near() {
	awk -v x="$1" -v y="$2" 'BEGIN { d = x - y; exit !(d < 2e-5 && d > -2e-5 && x != "" && y != "") }'
}

less() {
	awk -v x="$1" -v y="$2" 'BEGIN { exit !(x != "" && y != "" && x + 0 < y + 0) }'
}

status_to() {
	to=$1 rc=0
	shift
	"$@" || rc=$?
	echo $rc >"$to"
}

test_done() {
	echo "1..$test_count"
	exit 0
}
