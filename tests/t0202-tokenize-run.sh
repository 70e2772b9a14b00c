#!/bin/sh
# SPDX-License-Identifier: MIT
# peft-tokenize as a command: bad lines, threads, records, early stop, signals,
# what a wrong input is called, history. What it makes is in t0201.
. "$(dirname "$0")/lib.sh"
PATH=$BUILD/tests/aux:$PATH
M=$DATA/examples/base
export M

# head_has KEY VALUE FILE (spelled as in JSON)
head_has() {
	dd if="$3" bs=4096 count=1 2>/dev/null | tr -d '\0' | grep -aqF "\"$1\":\"$2\""
}

# many N: lines of different lengths, as JSON.
many() {
	awk -v n="$1" 'BEGIN { for (i = 1; i <= n; i++) {
		s = "line " i
		for (k = 0; k < i * 7 % 23; k++) s = s " of the kettle " (i * k % 91)
		printf "{\"text\": \"%s\", \"label\": \"%s\"}\n", s, i % 3 ? "good" : "bad"
	} }'
}
many 6000 >many.jsonl

test_that 'the same bytes with any number of threads, from files and pipes' '
	peft-tokenize -m "$M" -j 1 many.jsonl >a
	for j in 2 3 7; do
		peft-tokenize -m "$M" -j $j many.jsonl >b
		cmp a b
	done
	peft-tokenize -m "$M" many.jsonl >b
	cmp a b
	head_has labels "[\\\"bad\\\",\\\"good\\\"]" a
	cat many.jsonl | peft-tokenize -m "$M" --labels bad,good >b
	cmp a b
	# In small pieces.
	dd if=many.jsonl bs=1000 2>/dev/null | peft-tokenize -m "$M" --labels bad,good - >b
	cmp a b
	peft-tokenize -m "$M" -o b many.jsonl
	cmp a b
	peft-tokenize -m "$M" -z many.jsonl | zstd -dcq >b
	cmp a b'
test_that 'records are about 1 MiB; their size does not change what is in them' '
	peft-tokenize -m "$M" many.jsonl | peft-cat -o a
	peft-tokenize -m "$M" --record 5000 many.jsonl | peft-cat -o b
	show a >a.txt
	show b >b.txt
	cmp a.txt b.txt
	test "$(wc -l <a.txt)" -eq 6000
	# The digest at END is that of the examples.
	tail -c 4096 a | tr -d "\0" | grep -ao "\"digest\":\"[0-9a-f]*\"" | head -n 1 >a.digest
	tail -c 4096 b | tr -d "\0" | grep -ao "\"digest\":\"[0-9a-f]*\"" | head -n 1 >b.digest
	test -s a.digest
	cmp a.digest b.digest'
test_that 'live input: with --record 1 a line goes through at once' '
	mkfifo fifo
	{ echo "a text"; exec sleep 60; } >fifo &
	holder=$!
	timeout 50 sh -c "peft-tokenize -m \"$M\" --record 1 <fifo 2>/dev/null | { peft-head -n 1 >one; kill $holder; }"
	show one >one.txt
	test "$(wc -l <one.txt)" -eq 1'
test_that 'a bad line ends it, with file and line, and no file is left' '
	head -n 5 many.jsonl >good.jsonl
	{ cat good.jsonl; cat; } >bad.jsonl <<-X

	{"text": 3, "label": "good"}
	X
	exits 3 peft-tokenize -m "$M" -o out good.jsonl bad.jsonl 2>err
	grep "^peft-tokenize: bad.jsonl:7: \"text\" is not a string$" err
	test "$(wc -l <err)" -eq 1
	test ! -e out
	exits 3 sh -c "peft-tokenize -m \"$M\" bad.jsonl 2>/dev/null | peft-cat -o out 2>err"
	grep "upstream peft-tokenize failed: bad.jsonl:7: " err
	test ! -e out'
test_that 'the first bad line is named whatever the threads do' '
	{ head -n 5000 many.jsonl; echo "{"; head -n 40 many.jsonl; echo "["; } >bad2.jsonl
	for j in 1 2 5; do
		exits 3 peft-tokenize -m "$M" --labels bad,good -j $j -o out bad2.jsonl 2>err
		grep "^peft-tokenize: bad2.jsonl:5001: not valid JSON" err
	done'
test_that 'what a line may be bad for' '
	while read -r part line; do
		printf "%b\n" "$line" >one.jsonl
		l=
		case $line in *label*) l="--labels good,fine" ;; esac
		exits 3 peft-tokenize -m "$M" --format jsonl $l -o out one.jsonl 2>err
		grep -e "^peft-tokenize: one.jsonl:1: .*$part" err
	done <<-"X"
	chat {"messages":[{"role":"user","content":"x"}]}
	chat {"conversations":[]}
	chat {"prompt":[{"role":"user","content":"x"}],"completion":[]}
	object "x"
	valid text
	valid {"text":"x","text":"y"}
	none {"txt":"x"}
	none {"text":null}
	without {"prompt":"x"}
	without {"completion":"x"}
	without {"text_pair":"x"}
	more {"text":"x","input_ids":[1]}
	UTF-8 {"text":"\0377"}
	UTF-8 {"text":"\0355\0240\0200"}
	surrogate {"text":"\\ud800"}
	empty {"text":"","label":"good"}
	X'
test_that '--skip-bad counts them and says so' '
	peft-tokenize -m "$M" --labels bad,good --skip-bad -j 3 bad2.jsonl >a 2>err
	grep "^peft-tokenize: warning: 2 bad lines passed over; the first: bad2.jsonl:5001: " err
	head_has options "--task class --max-length 128 --skip-bad" a
	tail -c 4096 a | grep -aq "\"bad_lines\":\"2\""
	show a | wc -l | grep -x 5040
	# The first lines, too.
	{ echo "nonsense"; echo "{\"text\":\"x\"}"; } | peft-tokenize -m "$M" --format jsonl --skip-bad >a 2>err
	grep "1 bad lines passed over; the first: standard input:1: " err
	show a | wc -l | grep -x 1
	# Labels of bad lines are none.
	{ echo "{\"text\":1,\"label\":\"worse\"}"; head -n 4 many.jsonl; } >l.jsonl
	peft-tokenize -m "$M" --skip-bad -o a l.jsonl 2>err
	head_has labels "[\\\"bad\\\",\\\"good\\\"]" a'
test_that '--replace puts U+FFFD for what is not UTF-8' '
	printf "a\377b\n" >latin.txt
	exits 3 peft-tokenize -m "$M" -o out latin.txt 2>err
	grep "^peft-tokenize: latin.txt:1: invalid UTF-8 at byte 2 (--replace puts U+FFFD)" err
	peft-tokenize -m "$M" --replace latin.txt | show >a
	printf "a\357\277\275b\n" | peft-tokenize -m "$M" | show >b
	cmp a b
	printf "{\"text\":\"a\377b\"}\n" | peft-tokenize -m "$M" --replace | show >b
	cmp a b'
test_that 'an empty input is an error' '
	exits 3 peft-tokenize -m "$M" -o out </dev/null 2>err
	grep "^peft-tokenize: standard input: no examples: the input is empty$" err
	: >void
	exits 3 peft-tokenize -m "$M" -o out void 2>err
	grep "^peft-tokenize: void: no examples: the input is empty$" err
	exits 3 peft-tokenize -m "$M" -o out void void 2>err
	grep "^peft-tokenize: void and 1 more: no examples" err
	echo | exits 3 peft-tokenize -m "$M" -o out 2>err
	echo "{" | exits 3 peft-tokenize -m "$M" --skip-bad -o out 2>err
	grep "but for bad lines" err
	test ! -e out'
test_that 'wrong inputs are named for what they are' '
	printf "\211PNG\r\n" >good.png
	exits 3 peft-tokenize -m "$M" -o out good.png 2>err
	grep "good.png: this is a PNG picture, not text" err
	peft-tokenize -m "$M" -o t.pts good.jsonl
	exits 3 peft-tokenize -m "$M" -o out t.pts 2>err
	grep "t.pts: this is a tensor stream, not text" err
	echo "[{}]" >array.json
	exits 3 peft-tokenize -m "$M" -o out array.json 2>err
	grep "jq -c" err
	exits 1 peft-tokenize -m "$M" -o out missing.jsonl 2>err
	grep "missing.jsonl: No such file" err
	exits 1 peft-tokenize -m "$M" -o out . 2>err
	grep "is a directory" err'
test_that 'wrong models are named, with the cure' '
	exits 2 peft-tokenize -o out good.jsonl 2>err
	grep -e "-m DIR" err
	mkdir -p none
	exits 3 peft-tokenize -m none -o out good.jsonl 2>err
	grep "none: no tokenizer there (tokenizer.json, .*--tokenizer" err
	peft-tokenize -m none --tokenizer "$M" -o a good.jsonl
	peft-tokenize --tokenizer "$M/tokenizer.json" --max-length 128 -o b good.jsonl
	peft-tokenize -m "$M" -o c good.jsonl
	show a >a.txt; show b >b.txt; show c >c.txt
	cmp a.txt b.txt
	cmp a.txt c.txt
	exits 2 peft-tokenize -m "$M" --task poetry -o out good.jsonl 2>err
	grep "lm, class, regression" err
	exits 2 peft-tokenize -m "$M" --whole --format jsonl -o out good.jsonl'
test_that '-n ends early and says so' '
	peft-tokenize -m "$M" -n 17 -j 3 --labels bad,good bad2.jsonl >a
	grep -aq "\"limited\":\"1\"" a
	show a | wc -l | grep -x 17
	yes "{\"text\":\"x\"}" | peft-tokenize -m "$M" -n 3000 >a
	show a | wc -l | grep -x 3000
	# A bad line beyond the end is not reached.
	{ head -n 3 many.jsonl; echo "{"; } | peft-tokenize -m "$M" --labels bad,good -n 3 | show | wc -l | grep -x 3'
test_that 'a reader that goes away ends it silently' '
	{ yes x | peft-tokenize -m "$M" --record 100 2>err || echo $? >status; } | head -c 1000 >/dev/null
	test "$(cat status)" -eq 141
	test ! -s err'
test_that 'a signal makes FAIL and kills' '
	rm -f fifo && mkfifo fifo
	{ echo x; exec sleep 60; } >fifo &
	holder=$!
	peft-tokenize -m "$M" --record 1 <fifo 2>err >out.pts &
	pid=$!
	i=0
	until [ -s out.pts ] || [ $i -ge 300 ]; do sleep 0.1; i=$((i + 1)); done
	kill -s TERM $pid
	got=0
	wait $pid || got=$?
	kill $holder
	test $got -eq 143
	grep -aq "\"signal\":\"TERM\"" out.pts
	rm out.pts'
test_that 'the history names the files by their content' '
	cp good.jsonl same.jsonl
	peft-tokenize -m "$M" -o a good.jsonl
	peft-tokenize -m "$M" -o b same.jsonl
	cmp a b
	grep -aq "{.\"source.\":.\"file.\",.\"digest.\":" a
	exits 1 grep -aq good.jsonl a'
test_that 'any number of lines and bytes in a line' '
	awk "BEGIN { for (i = 0; i < 60000; i++) printf \"kettle \"; print \"\" }" >long.txt
	peft-tokenize -m "$M" --chunk 128 long.txt | show | wc -l | grep -xE "[0-9]{3,}"
	printf "x" | peft-tokenize -m "$M" | show | wc -l | grep -x 1'
test_that 'options that only other tasks have a use for are refused' '
	echo ab >line
	for o in "--max-target 4" "--labels a,b"; do
		exits 2 peft-tokenize -m "$M" $o line 2>err >out
		grep "^peft-tokenize: ${o% *} has no effect with --task lm" err
	done
	exits 2 peft-tokenize -m "$M" --task class --labels a,b --eos line 2>err >out
	grep "^peft-tokenize: --eos has no effect with --task class" err
	peft-tokenize -m "$M" --task class --labels a,b --no-eos line >out'
test_done
