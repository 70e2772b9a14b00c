#!/bin/sh
# SPDX-License-Identifier: MIT
# Nothing is lost, in full: a run of 1200 steps killed with -9 fifty times
# (peft-step, every fifth time the middle stage of its pipe), each time between
# two and six steps after its start; and twenty runs killed once, at an instant
# drawn from the whole run. Each must end as if it had never been stopped.
# SEED=N draws other instants. (A killed producer leaves up to 64 KiB in the
# pipe, a hundred steps: so there must be more than 400.)
. "$(dirname "$0")/lib.sh"
if [ -z "$FAULTS" ]; then
	test_skip 'kills in full' 'make test-faults; t0401 has a few'
	test_done
fi
SEED=${SEED:-1}
export SEED
cat >fixture.sh <<'X'
random() { awk -v s="$SEED" -v k="$1" -v n="$2" 'BEGIN { srand(s * 1000 + k); print int(rand() * n) }'; }
now() { date +%s%N; }
newest() { n=$(ls "$1/checkpoints" 2>/dev/null | sed -n 's/^step-0*\([0-9]*\)$/\1/p' | tail -n 1); echo "${n:-0}"; }
# pipe OUT METRICS ...: the three stages, each in the background; pids in OUT.batch and OUT.step.
pipe() {
	out=$1 metrics=$2
	shift 2
	rm -f "$out.fifo1" "$out.fifo2"
	mkfifo "$out.fifo1" "$out.fifo2"
	peft-tokenize -q -m base lines.jsonl >"$out.fifo1" 2>>"$out.err" &
	# The shell starts what runs in the background with INT ignored.
	env --default-signal=INT peft-batch -q -b 2 -e 6 -s 1 <"$out.fifo1" >"$out.fifo2" 2>>"$out.err" &
	echo $! >"$out.batch"
	env --default-signal=INT peft-step -q -m base -a init --lr 1e-2 -o "$out" "$@" <"$out.fifo2" >"$metrics" 2>>"$out.err" &
	echo $! >"$out.step"
}
same_run() {
	for f in adapter_config.json adapter_model.safetensors provenance.json; do
		cmp "whole/$f" "$1/$f" || return 1
	done
	[ "$(ls whole)" = "$(ls "$1")" ] || { ls "$1"; return 1; }
	n=$(printf 'step-%08d' "$(newest whole)")
	for f in training_state.safetensors adapter_model.safetensors; do
		cmp "whole/checkpoints/$n/$f" "$1/checkpoints/$n/$f" || return 1
	done
	[ "$(digest whole.pts)" = "$(digest "$2")" ] || { echo "metrics differ"; return 1; }
}
digest() { tail -c 4096 "$1" | tr -d '\000' | tr , '\n' | sed -n 's/.*"digest":"\([0-9a-f]*\)".*/\1/p' | tail -n 1; }
X
. ./fixture.sh
cp -R "$DATA/examples/base" base
awk 'BEGIN { for (i = 0; i < 400; i++) printf "{\"prompt\": \"%d and %d are \", \"completion\": \"%d.\"}\n", i % 19, i % 23, i % 19 + i % 23 }' >lines.jsonl
peft-init -q -m base -r 4 --dropout 0.1 -o init || exit 1

test_that 'a run of at least 400 steps' '
	. ./fixture.sh
	pipe whole whole.pts --save-steps 1
	wait $(cat whole.step)
	cat whole.err
	newest whole
	test $(newest whole) -ge 400'

test_that 'fifty kills, progress at every restart, the same end' '
	. ./fixture.sh
	kills=0 last=0
	while [ $kills -lt 50 ]; do
		before=$(newest killed)
		pipe killed killed.pts --save-steps 1
		victim=$(cat killed.step)
		[ $((kills % 5)) -eq 4 ] && victim=$(cat killed.batch)
		goal=$((before + 2 + $(random $kills 5)))
		while [ "$(newest killed)" -lt $goal ] && kill -0 $(cat killed.step) 2>/dev/null; do sleep 0.005; done
		kill -9 $victim
		kills=$((kills + 1))
		rc=0
		wait $(cat killed.step) || rc=$?
		[ $((kills % 5)) -ne 0 ] || [ $rc -eq 3 ]
		wait || :
		[ "$(newest killed)" -gt "$before" ]
	done
	echo "$kills kills up to step $(newest killed)"
	[ "$(newest killed)" -lt "$(newest whole)" ]
	pipe killed killed.pts --save-steps 1
	wait $(cat killed.step)
	same_run killed killed.pts'

# Time of a whole run that saves now and then, up to the very end of the process.
test_that 'twenty runs killed once, anywhere' '
	. ./fixture.sh
	t=$(now)
	pipe timed timed.pts --save-steps 50
	wait $(cat timed.step)
	whole=$(($(now) - t))
	early=0 late=0
	for k in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		rm -rf once once.*
		pipe once once.pts --save-steps 50
		pid=$(cat once.step)
		# Every fourth time at the end: around the last saves and renames.
		if [ $((k % 4)) -eq 0 ]; then
			until [ "$(newest once)" -ge "$(newest whole)" ] || ! kill -0 $pid 2>/dev/null; do sleep 0.001; done
			sleep 0.00$(random $k 10)
		else
			sleep $(awk -v w=$whole -v r=$(random $k 1000) "BEGIN { print w * r / 1e12 }")
		fi
		kill -9 $pid 2>/dev/null || :
		wait $pid || :
		wait || :
		[ "$(newest once)" -eq 0 ] && early=$((early + 1))
		[ "$(newest once)" -eq "$(newest whole)" ] && late=$((late + 1))
		pipe once once.pts --save-steps 50
		wait $(cat once.step)
		same_run once once.pts
	done
	echo "$early before the first save, $late after the last"'

test_that 'TERM and INT to the whole pipe: 75 and 130, and the same end' '
	. ./fixture.sh
	for sig in TERM INT; do
		rm -rf stopped stopped.*
		pipe stopped stopped.pts --save-steps 20
		until [ "$(newest stopped)" -gt 50 ]; do sleep 0.01; done
		kill -$sig $(cat stopped.step) $(cat stopped.batch)
		rc=0
		wait $(cat stopped.step) || rc=$?
		wait || :
		cat stopped.err
		[ $sig = INT ] && want=130 || want=75
		[ $rc -eq $want ]
		pipe stopped stopped.pts --save-steps 20
		wait $(cat stopped.step)
		same_run stopped stopped.pts
	done'
test_done
