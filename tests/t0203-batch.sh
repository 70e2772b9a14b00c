#!/bin/sh
# SPDX-License-Identifier: MIT
# peft-batch as a command: how it fails, stops and ends, options, threads and
# memory. What its batches hold is in unit/data_batch.c.
. "$(dirname "$0")/lib.sh"
PATH=$BUILD/tests/aux:$PATH

sample -n 60 -o in.pts examples

# head_has KEY VALUE FILE: the text stands in the HEAD of a plain stream.
head_has() {
	dd if="$3" bs=4096 count=1 2>/dev/null | tr -d '\0' | grep -aqF "\"$1\":\"$2\""
}

test_that 'standard input, operands, - and -o give the same' '
	peft-batch <in.pts >a
	peft-batch - <in.pts >b
	peft-batch in.pts >c
	peft-batch -o d in.pts
	cmp a b
	cmp a c
	cmp a d
	head_has options "-b 8" a
	head_has total_steps 8 a
	head_has max_seqs 8 a
	head_has task lm a
	head_has tokenizer 0123456789abcdef a'
test_that 'the bytes depend on options, not on memory, threads or TMPDIR' '
	mkdir -p tmp
	peft-batch -b 4 -e 3 -s 5 in.pts >a
	TMPDIR=$PWD/tmp OMP_NUM_THREADS=3 peft-batch -b 4 -e 3 -s 5 --memory 0 in.pts >b
	cmp a b
	peft-batch -b 4 -e 3 -s 6 in.pts >c
	exits 1 cmp -s a c
	# Larger than what is written to the file at once.
	sample -n 5000 --length 200 -o large.pts examples
	peft-batch --tokens 400 -s 5 large.pts >a
	TMPDIR=$PWD/tmp peft-batch --tokens 400 -s 5 --memory 100k large.pts >b
	cmp a b
	test -z "$(ls tmp)"'
test_that 'records of the input may end anywhere' '
	sample -n 60 --per 64 -o whole.pts examples
	sample -n 60 --per 7 -z -o packed.pts examples
	for f in whole.pts packed.pts; do
		peft-batch --tokens 40 -s 1 $f >b
		peft-batch --tokens 40 -s 1 in.pts >a
		tail -c +4097 a >a.tail
		tail -c +4097 b >b.tail
	done
	test "$(wc -c <a)" -eq "$(wc -c <b)"'
test_that 'several inputs and joined streams are as peft-cat makes one of them' '
	sample -n 10 -o one.pts examples
	sample -n 7 -o two.pts examples
	peft-cat one.pts two.pts >cat.pts
	cat one.pts two.pts >joined.pts
	peft-batch -b 4 cat.pts >a
	peft-batch -b 4 one.pts two.pts >b
	peft-batch -b 4 joined.pts >c
	cmp b c
	# But for the history they are the same.
	peft-head -n 99 a >/dev/null
	head_has total_steps 5 a
	head_has total_steps 5 b'
test_that 'zstd in, zstd out' '
	sample -n 60 -z -o in.zst examples
	peft-batch -z in.zst >a.zst
	zstd -dcq a.zst >a
	peft-batch in.pts >b
	cmp a b'
test_that 'misuse is refused' '
	exits 2 peft-batch -b 4 --tokens 100 in.pts 2>err
	grep "^peft-batch: --tokens and --batch-size do not go together" err
	exits 2 peft-batch --split 0.1 in.pts 2>err
	grep -e "--part train or --part held" err
	exits 2 peft-batch --part train in.pts 2>err
	grep -e "--split" err
	exits 2 peft-batch --split 1.5 --part held in.pts 2>err
	exits 2 peft-batch --stream -e 2 in.pts >x 2>err
	grep -e "--stream" err
	exits 2 peft-batch --stream -s 1 in.pts >x 2>err
	grep -e "-s needs all" err
	exits 2 peft-batch -b 0 in.pts'
test_that 'a wrong or missing input is named, and leaves no file' '
	echo text >text
	exits 3 peft-batch -o out text 2>err
	grep "^peft-batch: text: this is text, not a tensor stream; make a stream of it with peft-tokenize" err
	sample -n 4 batch >batch.pts
	exits 3 peft-batch -o out batch.pts 2>err
	grep "already" err
	exits 1 peft-batch -o out missing.pts 2>err
	grep "^peft-batch: missing.pts: " err
	exits 3 peft-batch -o out </dev/null 2>err
	grep "nothing" err
	test ! -e out'
test_that 'every cut is refused; what reads the output learns it' '
	size=$(wc -c <in.pts)
	for n in 1 7 8 100 1000 4096 $((size / 2)) $((size - 64)) $((size - 1)); do
		head -c $n in.pts >cut.pts
		exits 3 peft-batch -o out cut.pts 2>err
		grep "^peft-batch: cut.pts: " err
		test ! -e out
		exits 3 sh -c "peft-batch cut.pts 2>err | peft-cat -o out 2>err2"
		grep "upstream peft-batch failed: cut.pts" err2
		test ! -e out
	done
	exits 3 sh -c "head -c 5000 in.pts | peft-batch --stream 2>/dev/null | peft-cat -o out 2>err2"
	grep "upstream peft-batch failed" err2'
test_that 'the first cause travels down' '
	exits 3 sh -c "sample -n 50 --fail-after 3 examples 2>/dev/null | peft-batch 2>err | peft-cat -o out 2>err2"
	grep "^peft-batch: upstream sample failed: this sample fails" err
	grep "upstream sample failed: this sample fails" err2
	test ! -e out'
test_that 'tensors that do not agree in two segments are refused' '
	sample -n 4 --task class examples >class.pts
	exits 3 peft-batch -o x in.pts class.pts 2>err
	grep "another task" err'
test_that 'a full TMPDIR or a missing one is named with the cure' '
	exits 1 env TMPDIR=/nonexistent peft-batch --memory 10 -o out large.pts 2>err
	grep "TMPDIR names another directory" err
	test ! -e out'
test_that 'a reader that goes away ends it silently' '
	sample -n 3000 -o many.pts examples
	{ peft-batch -b 1 many.pts 2>err || echo $? >status; } | head -c 100 >/dev/null
	test "$(cat status)" -eq 141
	test ! -s err'
test_that '-n ends early, says so, and its producer may end' '
	peft-batch -b 4 -n 3 in.pts >a
	head_has total_steps 3 a
	grep -aq "\"limited\":\"1\"" a
	peft-batch -b 4 -n 99 in.pts >b
	exits 1 grep -aq "\"limited\"" b
	sample -n 1000 examples 2>err | peft-batch --stream -n 2 >c
	grep -aq "\"limited\":\"1\"" c
	test ! -s err'
test_that '--stream writes a step as soon as it is complete' '
	mkfifo fifo
	sample -n 10000 --per 8 --wait 100 examples >fifo 2>/dev/null &
	producer=$!
	# All of it would take two minutes.
	timeout 50 peft-batch --stream -b 4 <fifo 2>/dev/null | timeout 50 peft-head -n 2 >two
	test -s two
	kill $producer 2>/dev/null || true'
test_that '--stream has no total; its bounds come from the input' '
	peft-batch --stream -b 4 in.pts >a 2>err
	grep "warning: the input does not say how long" err
	exits 1 head_has total_steps 15 a
	head_has max_seqs 4 a
	peft-batch --stream --tokens 30 in.pts >a 2>err
	test ! -s err
	head_has max_tokens 30 a'
test_that 'a signal makes FAIL and kills' '
	rm -f fifo && mkfifo fifo
	sample -n 1000 --per 4 --wait 100 examples >fifo 2>/dev/null &
	holder=$!
	env --default-signal=INT peft-batch --stream --tokens 8 <fifo 2>err >out.pts &
	pid=$!
	i=0
	until [ -s out.pts ] || [ $i -ge 300 ]; do sleep 0.1; i=$((i + 1)); done
	kill -s INT $pid
	got=0
	wait $pid || got=$?
	kill $holder 2>/dev/null || true
	test $got -eq 130
	grep -aq "\"signal\":\"INT\"" out.pts'
test_that 'an empty stream of examples is one of no batches, with a warning' '
	sample -n 0 -o none.pts examples
	peft-batch none.pts >a 2>err
	grep "warning: no examples" err
	head_has total_steps 0 a
	peft-batch --split 0 --part held in.pts 2>err >a
	grep "warning: no examples in this part" err'
test_that 'an input is never the output' '
	cp in.pts same.pts 2>/dev/null || peft-tokenize -m "$DATA/examples/base" -o same.pts "$DATA/examples/notes.txt"
	ln -s same.pts link.pts
	cp same.pts kept.pts
	for t in peft-batch peft-head peft-cat; do
		exits 2 $t -o link.pts same.pts 2>err
		grep "same.pts is input and output" err
	done
	# Appended to itself it would not end.
	exits 2 timeout 20 peft-cat same.pts >>same.pts 2>err
	grep "same.pts is input and output" err
	cmp same.pts kept.pts
	cp "$DATA/examples/notes.txt" notes.txt
	exits 2 peft-tokenize -m "$DATA/examples/base" -o notes.txt notes.txt
	cmp notes.txt "$DATA/examples/notes.txt"
	cmp same.pts kept.pts'
test_that 'options without effect are refused' '
	exits 2 peft-batch --part held in.pts 2>err
	grep "has no effect without --split" err
	exits 2 peft-batch --split-seed 1 in.pts 2>err
	grep "has no effect without --split" err
	exits 2 peft-batch -b 2 --tokens 8 in.pts 2>err
	exits 2 peft-batch --mask-random 0 in.pts 2>err
	grep "^peft-batch: in.pts: --mask-prob, .* of the task mlm" err'
test_done
