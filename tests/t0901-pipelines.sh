#!/bin/sh
# SPDX-License-Identifier: MIT
# The scripts of pipelines/ on small input: each runs, and runs again.
. "$(dirname "$0")/lib.sh"
P=$SRC/pipelines
export P

test_that 'a classifier from labelled text' '
	"$P/reviews" "$DATA/examples/base" "$DATA/examples/train.jsonl" "$DATA/examples/test.jsonl" out >result 2>err && status=0 || status=$?
	# The base of the examples is no BERT: its modules have other names.
	test $status -eq 2
	grep "query" err
	sed "s/--targets query,value/--targets q_proj,v_proj/" "$P/reviews" >reviews
	rm -r out
	sh reviews "$DATA/examples/base" "$DATA/examples/train.jsonl" "$DATA/examples/test.jsonl" out >result
	grep -E "^accuracy	" result
	peft-view --json out/predictions.pts | grep -c "\"label\"" | grep -x 8
	cp -R out before
	sh reviews "$DATA/examples/base" "$DATA/examples/train.jsonl" "$DATA/examples/test.jsonl" out >again
	cmp result again
	cmp before/adapter/adapter_model.safetensors out/adapter/adapter_model.safetensors'
test_that 'labels of a stream' '
	peft-tokenize -m "$DATA/examples/base" --labels bad,good -o t.pts "$DATA/examples/test.jsonl"
	peft-init -q -m "$DATA/examples/base" --task class --labels t.pts -o c
	tr -d " \n" <c/labels.json | grep -x "\[\"bad\",\"good\"\]"
	peft-tokenize -m "$DATA/examples/base" -o lm.pts "$DATA/examples/notes.txt"
	exits 2 peft-init -q -m "$DATA/examples/base" --task class --labels lm.pts -o d 2>err
	grep "has no labels" err'
test_that 'the texts of the demo are the same everywhere' '
	for s in text orders; do
		awk -f "$P/demo/words.awk" -f "$P/demo/$s.awk" -v seed=7 -v n=500 >$s.jsonl
		cksum <$s.jsonl
	done >sums
	cat sums
	diff - sums <<-END
	1927740497 87234
	3353008284 86950
	END'
test_that 'the carried model knows nothing of the task, and is whole' '
	peft-check --finite "$P/demo/base"
	head -n 8 orders.jsonl >few.jsonl
	peft-generate -m "$P/demo/base" --max-tokens 24 --score few.jsonl | grep -E "^right	0$"'
test_done
