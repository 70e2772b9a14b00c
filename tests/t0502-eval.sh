#!/bin/sh
# SPDX-License-Identifier: MIT
# peft-eval: results, predictions, what it refuses.
. "$(dirname "$0")/lib.sh"
cp -R "$DATA/examples/base" base
cp "$DATA"/examples/*.jsonl .
peft-tokenize -m base sums.jsonl | peft-batch -o sums.pts
peft-init -q -m base -r 4 --init false -s 3 -o a
peft-init -q -m base --task class --labels bad,good -s 5 -o cls
peft-tokenize -m base -a cls test.jsonl | peft-batch -b 3 -o test.pts

test_that 'a language model: loss, perplexity, accuracy, beside the base' '
	peft-eval -m base -a a sums.pts >out
	test "$(head -n 1 out)" = "$(printf "metric\tadapter\tbase")"
	test "$(cut -f 1 out | tr "\n" " ")" = "metric examples tokens targets loss perplexity accuracy "
	awk "\$1 == \"loss\" { l = \$2 } \$1 == \"perplexity\" { d = \$2 - exp(l) } END { exit !(d < 0.01 && d > -0.01) }" out
	peft-eval -m base sums.pts >bare
	test "$(awk "\$1 == \"loss\" { print \$3 }" out)" = "$(awk "\$1 == \"loss\" { print \$2 }" bare)"'
test_that 'a fresh adapter changes nothing' '
	peft-init -q -m base -o zero
	peft-eval -m base -a zero sums.pts | awk "NF == 3 && NR > 1 && \$2 != \$3 { exit 1 }"'
test_that 'any threads, any micro-batches, any path of the input: the same' '
	peft-eval -j 1 -m base -a a sums.pts >one
	peft-eval -j 3 -m base -a a sums.pts >three
	cmp one three
	peft-tokenize -m base sums.jsonl | peft-batch -b 1 | peft-eval -m base -a a | sed "s/\(\.[0-9]\{4\}\)[0-9]*/\1/g" >small
	sed "s/\(\.[0-9]\{4\}\)[0-9]*/\1/g" one | diff - small'
test_that 'in less memory: weights in turns, or one line' '
	mkdir deep && cp base/config.json base/tokenizer*.json deep
	sed -i "s/\"num_hidden_layers\": *[0-9]*/\"num_hidden_layers\": 8/" deep/config.json
	peft-init -q -m deep -t full -s 2 -o d8
	peft-eval -m d8 sums.pts >all
	peft-eval -v -m d8 -d guard sums.pts >guard 2>err
	exits 1 grep "take turns" err
	cmp all guard
	exits 2 peft-eval -m d8 -d guard --mem 1k sums.pts 2>err
	test "$(wc -l <err)" -eq 1
	least=$(awk "{ for (i = 1; i < NF; i++) { if (\$i == \"needs\") n += \$(i + 1); if (\$i == \"least\") n += \$(i + 1) } print n }" err)
	peft-eval -v -m d8 -d guard --mem "$least" sums.pts >turns 2>err
	grep "the weights of 8 of 8 blocks take turns on guard" err
	cmp all turns
	exits 2 peft-eval -m d8 -d guard --mem $((least - 1)) sums.pts
	exits 2 peft-eval -m d8 --mem 1k sums.pts 2>err
	grep "needs [0-9]* bytes, 1000 are left: use peft-batch with a smaller -b" err
	peft-generate -m d8 --max-tokens 9 --context 40 --prompt "1 and" >all
	exits 2 peft-generate -d guard -m d8 --mem 1k --max-tokens 9 --context 40 --prompt "1 and" 2>err
	grep "shorter texts than of 40 tokens take less" err
	peft-generate -v -d guard -m d8 --mem 120000 --max-tokens 9 --context 40 --prompt "1 and" >turns 2>err
	grep "take turns on guard" err
	cmp all turns'
test_that 'classes: accuracy and F1 beside the majority' '
	peft-eval --classes -m base -a cls test.pts >out
	test "$(head -n 1 out)" = "$(printf "metric\tadapter\tmajority")"
	grep -E "^accuracy	[0-9.]+	0.[56]" out
	grep -E "^f1	" out
	grep -E "^good	[0-9]+	" out'
test_that 'a model directory without the head of the task has not trained one' '
	cp -R base plain && chmod -R u+w plain
	sed -i "s/LlamaForCausalLM/LlamaModel/" plain/config.json
	exits 3 peft-eval -m base -a plain test.pts 2>err
	grep "the checkpoint has no score.weight (class head)" err'
test_that 'predictions: class by name, probability, logits, loss' '
	peft-eval -m base -a cls --predictions p.pts --logits --loss test.pts >/dev/null
	peft-check p.pts
	peft-view --json p.pts >rows
	grep -c "\"probability\"" rows | grep -x 8
	grep logits rows
	grep loss rows
	peft-eval -m base -a cls --predictions - test.pts 2>err | peft-view --json >rows2
	grep accuracy err'
test_that 'unlabelled text is predicted' '
	sed "s/, \"label\": \"[a-z]*\"//" test.jsonl >plain.jsonl
	exits 1 grep label plain.jsonl
	peft-tokenize -m base -a cls plain.jsonl | peft-batch -b 3 | peft-eval -m base -a cls --predictions q.pts >out
	exits 1 grep accuracy out
	peft-eval -m base -a cls --predictions p.pts test.pts >/dev/null
	peft-cmp p.pts q.pts'
test_that 'a cut stream: status 3, no predictions' '
	head -c 3000 test.pts >cut.pts
	exits 3 peft-eval -m base -a cls --predictions r.pts cut.pts >out 2>err
	test ! -e r.pts
	test ! -s out
	test "$(wc -l <err)" -eq 1'
test_that 'bounds that only --stream cannot keep: said, gone on; else refused' '
	peft-tokenize -m base sums.jsonl | peft-batch --stream -b 4 >live.pts
	peft-eval -m base -a a live.pts >whole
	peft-eval -m base -a a --mem 300k live.pts 2>err >out
	grep "^peft-eval: warning: the work needs [0-9]* bytes, [0-9]* are left: .*the stream may never hold such a micro-batch: going on$" err
	test "$(wc -l <err)" -eq 1
	cmp whole out
	peft-tokenize -m base sums.jsonl | peft-batch -b 16 >true.pts
	exits 2 peft-eval -m base -a a --mem 30k true.pts 2>err
	grep "^peft-eval: .*use peft-batch with a smaller -b" err'
test_that 'what does not belong together is refused' '
	exits 2 peft-eval -m base -a cls sums.pts 2>err
	grep "task" err
	peft-tokenize -m base --labels bad,good,odd test.jsonl | peft-batch -o odd.pts
	exits 2 peft-eval -m base -a cls odd.pts 2>err
	grep "odd" err
	exits 2 peft-eval sums.pts
	exits 2 peft-eval -m base --logits sums.pts
	exits 2 peft-eval -m base --predictions r.pts --logits sums.pts 2>err
	grep -e "--logits: predictions of the task lm hold none" err
	test ! -e r.pts
	exits 3 peft-eval -m base sums.jsonl 2>err
	grep -i "text\|json" err'
test_that 'a loss that is no number is shown, and is a failure' '
	cp -R a nan
	chmod u+w nan/*
	printf "\\0\\0\\300\\377" | dd of=nan/adapter_model.safetensors bs=1 conv=notrunc \
		seek=$(($(wc -c <a/adapter_model.safetensors) - 4)) 2>/dev/null
	exits 4 peft-eval --no-base -m base -a nan sums.pts >out 2>err
	grep -x "loss	nan" out
	grep "the loss is not finite" err'
test_done
