#!/bin/sh
# SPDX-License-Identifier: MIT
# peft-cat and peft-head: joining, cutting short, renumbering; how filters end.
. "$(dirname "$0")/lib.sh"
PATH=$BUILD/tests/aux:$PATH
kinds='examples batch metrics predictions other'
export kinds

# The digest that peft-check names.
digest_of() {
	peft-check "$1" | sed 's/.*digest \([0-9a-f]*\).*/\1/'
}

test_that 'samples of each kind are what the independent reader says' '
	for k in $kinds; do
		sample -o $k.pts $k
		sample -z -o $k.zst $k
		read_stream <$k.pts >one
		read_stream <$k.zst >two
		cmp one two
		grep "^$k: .* digest $(digest_of $k.pts), END\$" one
		# without -o, the same bytes
		sample $k | cmp - $k.pts
	done'
test_that 'the independent reader refuses what is cut, damaged, out of order' '
	size=$(wc -c <examples.pts)
	for n in 0 5 9 1000 $((size - 64)) $((size - 1)); do
		head -c $n examples.pts >cut
		exits 3 read_stream <cut
	done
	head -c $(($(wc -c <examples.zst) - 10)) examples.zst >cut
	exits 3 read_stream <cut
	{ head -c 900 examples.pts; printf x; tail -c +902 examples.pts; } >flipped
	exits 3 read_stream <flipped
	cat examples.pts batch.pts | read_stream'
test_that 'one segment stays as it is, its digest too' '
	for k in $kinds; do
		peft-cat -o copy $k.pts
		peft-cmp copy $k.pts
		test "$(digest_of copy)" = "$(digest_of $k.pts)"
		peft-cat <$k.zst | cmp - copy
		peft-cat -z $k.pts >copy.zst
		test "$(digest_of copy.zst)" = "$(digest_of $k.pts)"
		head -c 4 copy.zst | od -An -tx1 | grep "28 b5 2f fd"
	done
	peft-check batch.pts | grep "1 steps, 3 micro_batches"'
test_that 'several streams become one, index, group and source moved' '
	sample -n 3 -o a.pts examples
	sample -n 2 -o b.pts -z examples
	peft-cat -o ab.pts a.pts b.pts a.pts
	peft-check ab.pts | grep "examples, 3 records, 8 examples"
	peft-view --tsv --tensor index --tensor group --tensor source --tensor row ab.pts >got
	printf "%s\t%s\t%s\t%s\n" index group source row 0 0 0 1 1 0 1 1 2 1 0 2 3 2 2 1 4 2 3 1 5 3 4 1 6 3 5 1 7 4 4 2 >want
	diff want got
	# by pipe, from segments, in any mixture: the same
	cat a.pts b.pts a.pts | peft-cat | peft-cmp - ab.pts
	cat b.pts a.pts | peft-cat a.pts - | peft-cmp - ab.pts
	cat a.pts b.pts a.pts | peft-check | grep "3 segments"'
test_that 'more operands than files can be open' '
	set --
	i=0
	while [ $i -lt 100 ]; do set -- "$@" b.pts; i=$((i + 1)); done
	(ulimit -n 32; exec peft-cat -o many.pts "$@")
	peft-check many.pts | grep "200 examples"'
test_that 'an index with gaps is moved past the largest, not by the count' '
	sample -n 2 --first 7 -o gap.pts examples
	peft-cat gap.pts gap.pts | peft-view --tsv --tensor index | tr "\n" " " | grep "index 7 8 16 17"'
test_that 'steps of joined batches go on counting, bounds and totals are joined' '
	sample -n 8 --per 2 --length 5 --total 2 -o a.pts batch
	sample -n 8 --per 2 --length 9 --total 2 -o b.pts batch
	peft-cat -o ab.pts a.pts b.pts
	peft-check ab.pts | grep "16 examples, .* 4 steps, 8 micro_batches"
	peft-view --json ab.pts | head -n 1 >head
	grep "\"max_len\":\"9\"" head
	grep "\"max_tokens\":\"18\"" head
	grep "\"total_steps\":\"4\"" head
	peft-view --json --tensor index ab.pts | tail -n 3 | head -n 1 >got
	grep "{\"step\":4,\"micro\":2,\"micros\":2,\"epoch\":1,\"index\":14}" got
	# what HEAD has promised cannot grow afterwards
	cat a.pts b.pts | exits 3 peft-cat -o no.pts 2>err
	grep "a larger max_len than the 5 that was promised: name all streams" err
	cat a.pts a.pts | exits 3 peft-cat -o no.pts 2>err
	grep "more steps than the 2 that were promised" err
	test ! -e no.pts'
test_that 'another kind, tokenizer or label set is refused, naming both' '
	exits 3 peft-cat -o no.pts examples.pts batch.pts 2>err
	grep "peft-cat: batch.pts: another kind than the segment before (examples.pts): batch, not examples" err
	sample --vocab 200 -o v.pts examples
	exits 3 peft-cat -o no.pts examples.pts v.pts 2>err
	grep "v.pts: another vocab_size .*: 200, not 100" err
	sample --tokenizer 0123456789abcde0 -o t.pts examples
	exits 3 peft-cat -o no.pts examples.pts t.pts 2>err
	grep "t.pts: another tokenizer" err
	sample --task class -o c.pts examples
	exits 3 peft-cat -o no.pts examples.pts c.pts 2>err
	grep "another task than" err
	test "$(wc -l <err)" -eq 1
	test ! -e no.pts'
test_that 'unknown keys and options are passed on' '
	sample --options "--max-length 7" --extra "some thing" -n 4 examples | peft-head -n 3 | peft-cat -o x.pts
	peft-view --json x.pts | head -n 1 >head
	grep "\"options\":\"--max-length 7\"" head
	grep "\"extra\":\"some thing\"" head
	strings -n 3 x.pts | grep -c "\"extra\":\"some thing\"" | grep -x 2
	peft-view x.pts | tail -n 3 >tree
	grep "^[0-9a-f]* peft-cat 0.* limited" tree || grep "^[0-9a-f]* peft-cat" tree
	grep "^  [0-9a-f]* peft-head .* -n 3" tree
	grep "^    [0-9a-f]* sample .* --max-length 7" tree'
test_that 'the first n of each kind, and END says so' '
	sample -n 40 -z -o batch.zst batch
	for n in 0 1 2 5 6; do
		for k in $kinds; do
			peft-head -n $n -o h.pts $k.zst
			read_stream <h.pts | grep ", $n of the kind, .* END (limited)"
		done
	done'
test_that 'fewer than n: all of it, and END as it was' '
	peft-head -n 100 -o h.pts examples.pts
	test "$(digest_of h.pts)" = "$(digest_of examples.pts)"
	peft-check h.pts | exits 1 grep limited
	peft-head -n 3 examples.pts | peft-cat | peft-check | grep "3 examples.* limited"
	peft-head -n 3 examples.pts | peft-head -n 9 | peft-check | grep "3 examples.* limited"'
test_that 'the first n are the first n' '
	peft-head -n 7 -o h.pts examples.pts
	peft-view --tsv examples.pts | head -n 8 >want
	peft-view --tsv h.pts >got
	diff want got
	peft-head -n 4 batch.pts | peft-cmp - batch.pts
	cat examples.pts examples.pts | peft-head -n 15 | peft-check | grep "15 examples"'
test_that 'peft-head lets its producer end, and does not wait for one that goes on' '
	status_to status sample -n 3000 examples | peft-head -n 1 -o h.pts
	grep -x 0 status
	# an endless one dies of SIGPIPE within two seconds
	start=$(date +%s)
	status_to status sample --wait 20 -n 100000 examples 2>err | peft-head -n 1 -o h.pts
	grep -x 141 status
	test ! -s err
	test $(($(date +%s) - start)) -le 5'
test_that 'a producer that fails makes all stages fail, naming the first' '
	status_to s0 sample --fail-after 2 examples 2>/dev/null | status_to s1 peft-cat 2>/dev/null |
		status_to s2 peft-head -n 100 -o no.pts 2>err
	grep -x 1 s0
	grep -x 3 s1
	grep -x 3 s2
	grep -x "peft-head: upstream sample failed: this sample fails" err
	test ! -e no.pts
	test -z "$(ls -A | grep tmp)"'
test_that 'a producer that is killed makes the last stage fail and publish nothing' '
	echo old >old.pts
	mkfifo f1
	sample --wait 30 -n 1000 examples >f1 2>/dev/null & victim=$!
	peft-cat f1 2>cat.err | exits 3 peft-head -n 100000 -o old.pts 2>err & last=$!
	sleep 1
	kill -9 $victim
	wait $last
	grep "^peft-head: upstream peft-cat failed: f1: cut short" err
	grep -x old old.pts'
test_that 'a filter that is stopped writes FAIL and dies of the signal' '
	for s in TERM:143 HUP:129 USR1:138; do
		rm -f f1 pid && mkfifo f1
		sample --wait 30 -n 100000 examples >f1 2>/dev/null & victim=$!
		status_to status sh -c "echo \$\$ >pid; exec peft-cat f1" 2>/dev/null |
			status_to last peft-head -n 100000 -o no.pts 2>err & all=$!
		sleep 0.7
		kill -s ${s%:*} $(cat pid)
		wait $all
		kill $victim 2>/dev/null || :
		grep -x ${s#*:} status
		grep -x 3 last
		grep -x "peft-head: upstream peft-cat failed: stopped by ${s%:*}" err
		test ! -e no.pts
	done'
test_that 'a filter that is stopped while nobody reads is gone in a second' '
	rm -f f2 pid && mkfifo f2
	sleep 8 <f2 & holder=$!
	sample -n 100000 --per 64 -o big.pts examples
	status_to status sh -c "echo \$\$ >pid; exec peft-cat big.pts >f2" & all=$!
	sleep 0.7
	start=$(date +%s)
	kill -s TERM $(cat pid)
	wait $all
	test $(($(date +%s) - start)) -le 3
	grep -x 143 status
	kill $holder
	rm big.pts'
test_that 'no binary to a terminal or from one' '
	# Needs pseudo-terminals, which a bare root may lack.
	script -qec true /dev/null </dev/null >out 2>&1 || exit 0
	script -qec "peft-cat examples.pts" /dev/null </dev/null >out 2>&1 || :
	grep "peft-cat: standard output is a terminal: give -o FILE or a pipe" out
	script -qec "peft-cat >x.pts" /dev/null </dev/null >out 2>&1 || :
	grep "peft-cat: standard input is a terminal: give a FILE or a pipe" out'
test_that 'FIFOs in and out' '
	rm -f in out && mkfifo in out
	sample examples >in &
	peft-cat -o out in &
	peft-check out | grep "12 examples"
	wait
	test -p out'
test_that 'output that cannot be written is an error' '
	exits 1 peft-cat -o nowhere/x examples.pts 2>err
	grep "^peft-cat: nowhere/x" err
	exits 1 sh -c "peft-cat examples.pts >/dev/full" 2>err
	grep "^peft-cat: standard output: cannot write: No space" err
	exits 1 peft-cat -o x examples.pts missing.pts 2>err
	grep -x "peft-cat: missing.pts: No such file or directory" err
	test ! -e x'
test_done
