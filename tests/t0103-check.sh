#!/bin/sh
# SPDX-License-Identifier: MIT
# peft-check and peft-cmp.
. "$(dirname "$0")/lib.sh"
PATH=$BUILD/tests/aux:$PATH
cp -R "$DATA/examples/base" base && chmod -R u+w base
sample -o a.safetensors bare
sample -o b.safetensors --first 1 bare
sample -o nan.safetensors --nan-at 5 bare
sample -n 20 -o e.pts examples
sample -n 20 --per 3 -z -o e.zst examples

test_that 'one line for each operand, the worst status at the end' '
	head -c 1000 e.pts >cut.pts
	exits 3 peft-check e.pts cut.pts missing base a.safetensors >out 2>err
	test "$(wc -l <out)" -eq 3
	test "$(wc -l <err)" -eq 2
	grep "^e.pts: ok: examples, 4 records, 20 examples, 81 tokens, digest [0-9a-f]*$" out
	grep "^base: ok: model llama, 1 shard, base [0-9a-f]*, 20 tensors, 39232 bytes, digest" out
	grep "^peft-check: cut.pts: cut short in record" err
	grep "^peft-check: missing: No such file" err
	exits 1 peft-check missing e.pts 2>err
	peft-check -q e.pts base >out 2>err
	test ! -s out
	test ! -s err
	exits 3 peft-check -q cut.pts 2>err
	test "$(wc -l <err)" -eq 1'
test_that 'digests do not depend on records, compression, the spread over shards' '
	peft-check <e.pts >one
	peft-check <e.zst >two
	test "$(sed "s/.*digest//" one)" = "$(sed "s/.*digest//" two)"
	peft-check base >one
	peft-check base/model.safetensors >two
	test "$(sed "s/.*digest//" one)" = "$(sed "s/.*digest//" two)"'
test_that 'NaN is refused by --finite alone' '
	peft-check nan.safetensors
	exits 3 peft-check --finite nan.safetensors 2>err
	grep "^peft-check: nan.safetensors: tensor layer.weight has 1 NaN and 0 infinities, the first at \[1,1\]$" err
	peft-check --finite a.safetensors e.pts base'
test_that 'what only the whole segment shows: indices, steps' '
	sample -n 3 -o one.pts examples
	sample -n 20 -o b.pts batch
	peft-check b.pts
	# a stream whose micro-batches are out of order, or whose index is there twice
	sample -n 20 --repeat -o twice.pts examples
	exits 3 peft-check twice.pts 2>err
	grep "twice.pts: two examples have the index 0" err
	sample -n 20 --repeat -o twice.pts batch
	exits 3 peft-check twice.pts 2>err
	grep "twice.pts: record 3: micro-batch 1 of 2 of step 1 follows 2 of 2 of step 1" err
	cat one.pts one.pts | peft-check
	# more, or fewer steps than HEAD promises
	sample -n 20 --total 1 -o more.pts batch
	exits 3 peft-check more.pts 2>err
	grep "more.pts: record 3: HEAD promises a total_steps of 1, here are 2" err
	sample -n 20 --total 3 -o fewer.pts batch
	exits 3 peft-check fewer.pts 2>err
	grep "fewer.pts: HEAD promises 3 steps, the last one is 2" err
	peft-head -n 4 fewer.pts | peft-check
	sample -n 20 --promise 5 -o longer.pts batch
	exits 3 peft-check longer.pts 2>err
	grep "longer.pts: record 1: HEAD promises a max_len of 5, here are 7" err'
test_that 'a directory: each file in it, and shards against the index' '
	cp -R base bad && printf x >>bad/model.safetensors
	exits 3 peft-check bad 2>err
	grep "bad/model.safetensors: bytes follow the last tensor" err
	cp base/model.safetensors bad
	echo "{" >bad/tokenizer.json
	exits 3 peft-check bad 2>err
	grep "bad/tokenizer.json" err
	mkdir sharded && cp base/config.json sharded
	cp base/model.safetensors sharded/model-00001-of-00001.safetensors
	names=$(peft-view --tsv base | tail -n +2 | cut -f 1)
	{
		printf "{\"metadata\": {}, \"weight_map\": {"
		for n in $names; do printf "\"%s\": \"model-00001-of-00001.safetensors\", " "$n"; done
		printf "\"LAST\": \"model-00001-of-00001.safetensors\"}}\n"
	} >index
	sed "s/, \"LAST\": [^}]*//" index >sharded/model.safetensors.index.json
	peft-check sharded >out
	peft-cmp base sharded
	cp index sharded/model.safetensors.index.json
	exits 3 peft-check sharded 2>err
	grep "has no tensor LAST" err
	rm sharded/model-00001-of-00001.safetensors
	sed "s/, \"LAST\": [^}]*//" index >sharded/model.safetensors.index.json
	exits 1 peft-check sharded 2>err
	grep "model-00001-of-00001.safetensors" err
	mkdir empty
	exits 3 peft-check empty 2>err
	grep "empty: neither an adapter (adapter_config.json) nor a model (config.json)" err'
test_that 'an adapter directory; a pickle in it is never read' '
	mkdir ad
	echo "{\"peft_type\": \"LORA\", \"r\": 4}" >ad/adapter_config.json
	cp a.safetensors ad/adapter_model.safetensors
	peft-check ad | grep "^ad: ok: adapter LORA, 4 tensors, 84 bytes, digest"
	peft-view ad | grep "^  peft_type      \"LORA\""
	peft-cmp ad a.safetensors
	echo "{\"id\": \"0123456789abcdef\", \"nodes\": {\"0123456789abcdef\": {\"tool\": \"x\"}}}" >ad/provenance.json
	exits 3 peft-check ad 2>err
	grep "provenance.json: 0123456789abcdef is not the id of what it names" err
	rm ad/provenance.json
	mv ad/adapter_model.safetensors ad/adapter_model.bin
	exits 3 peft-check ad 2>err
	grep "ad/adapter_model.bin is a Python pickle, which is never read; convert it" err
	rm ad/adapter_model.bin
	exits 1 peft-check ad 2>err
	grep "ad/adapter_model.safetensors: No such file" err'

test_that 'cmp: equal is 0 and silent, different is 1 and says what, where and how much' '
	peft-cmp e.pts e.zst >out
	peft-cmp a.safetensors a.safetensors >>out
	peft-cmp base base/model.safetensors >>out
	test ! -s out
	exits 1 peft-cmp a.safetensors b.safetensors >out
	printf "layer.weight: max |a-b| 0.125 at [0,0]: -0.5 and -0.375 (12 of 12 values differ)\n" | diff - out
	exits 1 peft-cmp -q a.safetensors b.safetensors >out
	test ! -s out
	exits 1 peft-cmp a.safetensors nan.safetensors >out
	printf "layer.weight: max |a-b| NaN at [1,1]: 0.125 and NaN (1 of 12 values differ)\n" | diff - out
	exits 1 peft-cmp a.safetensors base >out
	grep -x "layer.weight: only in a.safetensors" out
	grep -x "model.norm.weight: only in base" out'
test_that 'cmp: tolerances' '
	peft-cmp --atol 0.125 a.safetensors b.safetensors
	exits 1 peft-cmp --atol 0.12 a.safetensors b.safetensors
	exits 1 peft-cmp --rtol 0.9 a.safetensors b.safetensors >out	# a zero has no relative room
	grep "(3 of 12 values differ)" out
	peft-cmp --rtol 0.9 --atol 0.13 a.safetensors b.safetensors
	peft-cmp --atol 1 nan.safetensors nan.safetensors
	exits 1 peft-cmp --atol 1 a.safetensors nan.safetensors'
test_that 'cmp: streams by example, not by record' '
	sample -n 21 -o more.pts examples
	exits 1 peft-cmp e.zst more.pts >out
	printf "more.pts: has more than the 20 of e.zst\n" | diff - out
	sample -n 20 --length 6 -o f.pts examples
	exits 1 peft-cmp e.pts f.pts >out
	grep "^input_ids: example 2 has 4 and 5 (and " out
	sample --task class -n 20 -o c.pts examples
	exits 1 peft-cmp e.pts c.pts >out
	grep -x "HEAD.s task: lm and class" out
	grep "^labels: example 0: only in e.pts" out
	grep "^class: example 0: only in c.pts" out
	peft-cmp - e.pts <e.zst'
test_that 'cmp: seconds of metrics count only when asked for' '
	sample -n 9 -o m.pts metrics
	sample -n 9 --slower -o n.pts metrics
	peft-cmp m.pts n.pts
	exits 1 peft-cmp --seconds m.pts n.pts >out
	grep "^seconds: max |a-b| 9 at row 8: 2.25 and 11.25 (9 of 9 values differ)" out
	sample -n 20 --per 4 -o p.pts predictions
	sample -n 20 --per 7 -o q.pts predictions
	peft-cmp p.pts q.pts'
test_that 'cmp: trouble is 2 or more' '
	exits 2 peft-cmp e.pts 2>err
	grep "two operands" err
	exits 2 peft-cmp e.pts missing 2>err
	exits 2 peft-cmp e.pts a.safetensors 2>err
	grep "e.pts is a stream, a.safetensors is a safetensors file" err
	exits 2 peft-cmp - - </dev/null 2>err
	exits 3 peft-cmp e.pts m.pts 2>err
	grep "e.pts is of kind examples, m.pts of kind metrics" err
	head -c 2000 e.pts >cut.pts
	exits 3 peft-cmp cut.pts e.pts 2>err
	exits 3 peft-cmp c.pts cut.pts 2>err
	exits 2 sh -c "peft-cmp a.safetensors b.safetensors >/dev/full" 2>err'
test_done
