#!/bin/sh
# SPDX-License-Identifier: MIT
# The frame of all tools: signals, temporary files, closed descriptors, messages.
. "$(dirname "$0")/lib.sh"
PATH=$BUILD/tests/aux:$PATH

# alive FILE: waits until it exists, at most 5 s.
alive() {
	i=0
	until [ -e "$1" ]; do
		i=$((i + 1))
		[ $i -lt 500 ] || return 1
		sleep 0.01
	done
}

# killed SIGNAL STATUS ARGS...: frame reads a pipe that stays open, gets the signal once it works.
killed() {
	signal=$1 want=$2
	shift 2
	rm -f pipe && mkfifo pipe
	sleep 20 >pipe &
	holder=$!
	# Shells start background jobs with INT ignored.
	env --default-signal=INT frame "$@" <pipe 2>err &
	pid=$!
	alive ".out.tmp.$pid" || return 1
	# The handler of "stop" is installed before the file is opened.
	kill -s "$signal" $pid
	got=0
	wait $pid || got=$?
	kill $holder
	cat err
	echo "status $got"
	[ $got -eq "$want" ] && [ -z "$(ls -A | grep 'out')" ]
}

test_that 'a signal that kills leaves no temporary file' '
	killed TERM 143 -o out copy
	killed HUP 129 -o out copy
	killed INT 130 -o out copy
	killed USR1 138 -o out copy'
test_that 'a caught signal ends a read that waits' '
	for s in TERM HUP USR1 INT; do
		killed $s 75 -o out stop
		grep "stopped by $s" err
	done'
test_that 'dying of a signal shows as such, without a trace' '
	exits 130 sh -c "frame -o out die; exit \$?"
	test -z "$(ls -A | grep out)"'
test_that 'a closed pipe ends a filter silently' '
	{ yes | frame copy 2>err || echo $? >status; } | head -n 1
	test "$(cat status)" -eq 141
	rm status
	test ! -s err'
test_that 'an ignored SIGPIPE is not inherited' '
	(trap "" PIPE; yes 2>/dev/null | frame copy 2>err || echo $? >status) | head -n 1
	test "$(cat status)" -eq 141
	rm status
	test ! -s err'
test_that 'nohup stays in force' '
	rm -f pipe && mkfifo pipe
	(sleep 1 >pipe) &
	(trap "" HUP; exec frame -o out copy) <pipe &
	pid=$!
	alive ".out.tmp.$pid"
	kill -s HUP $pid
	wait $pid
	test -f out
	rm out'
test_that 'errors of the output are reported' '
	exits 1 sh -c "echo x | frame copy >/dev/full" 2>err
	grep "^frame: standard output: .*No space left" err
	exits 1 sh -c "frame print >/dev/full" 2>err
	grep "^frame: standard output" err
	exits 1 sh -c "frame print >&-" 2>err
	grep "^frame: standard output" err
	exits 1 sh -c "ulimit -f 1; yes | head -c 10000 | frame -o out copy" 2>err
	grep "out: .*File too large" err
	test -z "$(ls -A | grep out)"'
test_that 'closed standard descriptors are not given to files' '
	frame fds <&- >&- 2>err
	grep -x "fds ok" err
	exits 1 sh -c "frame copy <&-" 2>err
	grep "^frame: standard input" err'
test_that 'warnings always, facts with -v, details with -vv' '
	frame log 2>err
	printf "frame: warning: a warning\n" | diff - err
	frame -v log 2>err
	printf "frame: warning: a warning\nframe: a fact\n" | diff - err
	frame -vv log 2>err
	test "$(wc -l <err)" -eq 3
	frame -q log 2>err
	printf "frame: warning: a warning\n" | diff - err'
test_that 'messages are one line, without control characters' '
	exits 3 frame bad 2>err
	printf "%s\n" "frame: bad \\x1B[31m name\\x0Awith lines" | diff - err'
test_that 'devices, FIFOs and /dev/stdout are written through' '
	echo a | frame -o /dev/null copy
	rm -f fifo && mkfifo fifo
	cat fifo >got &
	echo through | frame -o fifo copy
	wait
	grep -x through got
	test -p fifo
	{ echo first; echo second | frame -o /dev/stdout copy; } >both
	printf "first\nsecond\n" | diff - both'
test_done
