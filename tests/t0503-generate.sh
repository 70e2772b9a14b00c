#!/bin/sh
# SPDX-License-Identifier: MIT
# peft-generate: text from prompts, greedy and drawn.
. "$(dirname "$0")/lib.sh"
cp -R "$DATA/examples/base" base
cp "$DATA"/examples/*.jsonl .
peft-init -q -m base -r 4 --init false -s 3 -o a

test_that 'greedy text is the same from options, lines and JSON, with any threads' '
	peft-generate -m base --max-tokens 12 --prompt "The lamp" --prompt "1 and 2" >one
	printf "The lamp\n1 and 2\n" | peft-generate -j 1 -m base --max-tokens 12 >two
	cmp one two
	printf "{\"prompt\": \"The lamp\"}\n{\"text\": \"1 and 2\"}\n" >p.jsonl
	peft-generate -j 3 -m base --max-tokens 12 p.jsonl >three
	cmp one three
	test -s one'
test_that 'an adapter changes the text' '
	peft-generate -m base -a a --max-tokens 12 --prompt "The lamp" --prompt "1 and 2" >with
	exits 1 cmp one with'
test_that 'an input without a prompt is named' '
	: >void
	exits 3 peft-generate -m base void 2>err
	grep "^peft-generate: void: no prompt: the input is empty" err
	exits 3 peft-generate -m base 2>err
	grep "^peft-generate: standard input: no prompt" err'
test_that 'JSON: prompt, completion, text, why it ended' '
	peft-generate -m base --max-tokens 5 --json sums-test.jsonl >out
	test "$(wc -l <out)" -eq 4
	grep -c "^{\"prompt\":.*\"completion\":.*\"text\":.*\"end\":\"\(max_tokens\|eos\)\"}$" out | grep -x 4'
test_that 'draws depend on seed and prompt alone' '
	peft-generate -m base --temperature 1 -s 1 --max-tokens 12 p.jsonl >s1
	peft-generate -j 3 -m base --temperature 1 -s 1 --max-tokens 12 p.jsonl >again
	cmp s1 again
	peft-generate -m base --temperature 1 -s 2 --max-tokens 12 p.jsonl >s2
	exits 1 cmp s1 s2
	peft-generate -m base --temperature 1 --top-k 1 -s 2 --max-tokens 12 p.jsonl >k1
	cmp one k1'
test_that 'a long prompt is read in pieces: the text is that of one piece' '
	awk "BEGIN { for (i = 0; i < 100; i++) printf \"a\" }" >long.txt
	peft-generate -m base --max-tokens 6 --context 128 long.txt >out
	exits 3 peft-generate -m base --context 20 long.txt 2>err
	grep "^peft-generate: long.txt:1: a prompt of" err'
test_that 'the context ends a text' '
	peft-generate -m base --ignore-eos --json --context 30 --prompt "The lamp" | grep "\"end\":\"context\""'
test_that 'a score counts equal texts' '
	peft-generate -m base --max-tokens 3 --json sums-test.jsonl |
	sed "s/\"completion\":\"[^\"]*\",\"text\"/\"completion\"/; s/,\"end\".*/}/" >same.jsonl
	head -n 3 sums-test.jsonl >>same.jsonl
	peft-generate -m base --max-tokens 3 --score same.jsonl >out
	grep -E "^right	4$" out
	grep -E "^prompts	7$" out
	exits 3 peft-generate -m base --score prompts.jsonl 2>err
	grep "no \"completion\"" err'
test_that '-n stops, also an endless input' '
	yes "The lamp" | peft-generate -n 2 -m base --max-tokens 4 >out
	test "$(sed "s/.*/x/" out | wc -l)" -ge 2'
test_that 'misuse and bad input' '
	exits 2 peft-generate --prompt x
	exits 2 peft-generate -m base --json --score x.jsonl
	exits 2 peft-generate -m base --seed 1 --prompt x
	exits 2 peft-generate -m base --top-p 0 --temperature 1 --prompt x
	printf "{\"prompt\": 1}\n" >bad.jsonl
	exits 3 peft-generate -m base bad.jsonl 2>err
	grep "bad.jsonl:1" err
	exits 3 peft-generate -m base --prompt "" 2>err
	test "$(wc -l <err)" -eq 1'
test_done
