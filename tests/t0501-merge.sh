#!/bin/sh
# SPDX-License-Identifier: MIT
# peft-merge: the merged model computes what base and adapter compute.
. "$(dirname "$0")/lib.sh"
cp -R "$DATA/examples/base" base
cp "$DATA"/examples/*.jsonl .
peft-tokenize -m base sums.jsonl | peft-batch -o sums.pts
# A fresh adapter whose update is not zero.
peft-init -q -m base -r 4 --targets all-linear --init false -s 3 -o a

# loss DIR [ADAPTER]: of the model on sums.pts
loss() { peft-eval -m "$1" ${2:+-a "$2" --no-base} sums.pts | awk '$1 == "loss" { print $2 }'; }

differs() { awk -v x="$1" -v y="$2" 'BEGIN { d = x - y; exit !((d > 2e-5 || d < -2e-5) && x != "" && y != "") }'; }

test_that 'merged equals unmerged, and not the base' '
	peft-merge -m base -a a -o merged
	near "$(loss merged)" "$(loss base a)"
	exits 1 near "$(loss merged)" "$(loss base)"'
test_that 'a device merges without the base in its memory' '
	peft-merge -d guard -m base -a a -o guard
	cmp merged/model.safetensors guard/model.safetensors'
test_that 'the files are those of a model' '
	test -e merged/tokenizer.json
	test -e merged/generation_config.json
	peft-check merged
	grep "\"architectures\"" merged/config.json
	grep peft-merge merged/provenance.json
	grep peft-init merged/provenance.json'
test_that 'only adapted tensors differ from the base' '
	exits 1 peft-cmp base merged >out
	exits 1 grep -E "embed_tokens|norm" out
	grep q_proj out'
test_that 'the same again is left alone, another model refused' '
	touch -d 2001-01-01 merged/model.safetensors
	touch mark
	peft-merge -v -m base -a a -o merged 2>err
	grep "left alone" err
	test mark -nt merged/model.safetensors
	exits 1 peft-merge -m base -a a --dtype bf16 -o merged
	peft-merge -q -f -m base -a a --dtype bf16 -o merged
	grep bfloat16 merged/config.json'
test_that 'nothing of an earlier model or adapter is left to be read' '
	cp -R base old
	cp a/adapter_* old
	touch old/note old/model.safetensors.index.json old/model-00001-of-00002.safetensors old/full.json
	exits 1 peft-merge -m base -a a -o old
	peft-merge -q -f -m base -a a -o old
	test "$(cd old && ls | grep -E "safetensors|adapter|full|note")" = "$(printf "model.safetensors\nnote")"
	near "$(loss old)" "$(loss base a)"
	# A leftover beside the same files is not the same.
	touch old/model.safetensors.index.json
	exits 1 peft-merge -m base -a a -o old
	peft-merge -q -f -m base -a a -o old
	test ! -e old/model.safetensors.index.json'
test_that 'shards in the place of a single file are what is read' '
	mkdir x
	touch x/config.json x/model.safetensors x/adapter_model.safetensors x/model-00003-of-00003.safetensors x/note
	set -- config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json
	"$BUILD/tests/aux/newdir" x "$@"
	test "$(ls x)" = "$(printf "%s\n" "$@" note)"
	test -z "$(find . -name ".*tmp*")"'
test_that 'a replacement that is cut short leaves nothing that looks whole' '
	mkdir -p y/tokenizer.json
	echo old | tee y/config.json y/model.safetensors y/adapter_model.safetensors
	exits 1 "$BUILD/tests/aux/newdir" y config.json tokenizer.json model.safetensors
	test ! -e y/model.safetensors
	test ! -e y/adapter_model.safetensors'
test_that 'an adapter in the place of a model is no model' '
	peft-init -q -f -m base -r 4 --targets all-linear --init false -s 3 -o old
	test ! -e old/config.json
	test ! -e old/model.safetensors
	near "$(loss base old)" "$(loss base a)"
	for t in lora full; do
		exits 2 peft-init -f -t $t -m base -o ./base/ 2>err
		grep "is the base itself" err
	done
	exits 2 peft-merge -f -m base -a a -o ./base/ 2>err
	grep "is the base itself" err
	exits 2 peft-merge -f -m base -a a -o a 2>err
	grep "is the adapter itself" err
	peft-check base a
	test -e base/model.safetensors'
test_that 'bf16 is rounded once' '
	peft-merge -m base -a a --dtype f32 -o wide
	peft-cmp --rtol 0.004 --atol 1e-8 wide merged'
test_that 'an adapted embedding unties the head' '
	peft-init -q -m base -r 4 --targets embed_tokens,q_proj --init false -s 3 -o emb
	peft-merge -m base -a emb -o untied
	grep "\"tie_word_embeddings\": false" untied/config.json
	peft-view untied >list
	grep lm_head.weight list
	near "$(loss untied)" "$(loss base emb)"'
test_that 'a head trained whole comes along with the labels' '
	peft-init -q -m base --task class --labels bad,good -s 5 -o cls
	peft-merge -m base -a cls -o model
	grep ForSequenceClassification model/config.json
	grep "\"0\": \"bad\"" model/config.json
	peft-tokenize -m base -a cls test.jsonl | peft-batch -o test.pts
	peft-eval -m base -a cls test.pts | cut -f 1,2 | tail -n +2 >one
	peft-eval -m model test.pts | cut -f 1,2 | tail -n +2 >two
	diff one two'
test_that 'values beyond the range of the type are refused, nothing is left' '
	peft-init -q -m base -r 4 --alpha 1e9 --init false -s 3 -o huge
	exits 4 peft-merge -m base -a huge --dtype f16 -o over 2>err
	grep "beyond the range" err
	test "$(wc -l <err)" -eq 1
	test ! -e over
	test -z "$(find . -name ".*tmp*")"'
test_that 'misuse' '
	exits 2 peft-merge -m base -o x
	exits 2 peft-merge -m base -a a
	exits 2 peft-merge -m base -a a -o x y
	exits 1 peft-merge -m base -a nowhere -o x 2>err
	grep nowhere err'

peft-init -q -m base -r 2 --alpha 6 --targets q_proj,up_proj --init false -s 5 -o b
test_that 'adapters become one: the sum of their updates' '
	peft-merge -v -m base -a a=0.5 -a b=-2 --combine cat -o cat 2>err
	grep "^peft-merge: cat: 2 adapters combined" err
	peft-check cat
	# The same twice: one after the other into the base.
	peft-merge -q -m base -a a=0.5 --combine cat -o half
	peft-merge -q -m base -a half -o once
	peft-merge -q -m once -a b=-2 --combine cat -o minus
	peft-merge -q -m once -a minus -o twice
	near "$(loss base cat)" "$(loss twice)"
	differs "$(loss twice)" "$(loss once)"
	peft-merge -q -m base -a a=0.5 -a b=-2 --combine svd -r 6 -o svd
	near "$(loss base svd)" "$(loss twice)"
	grep "peft-merge" cat/provenance.json
	test "$(grep -o "peft-init" cat/provenance.json | wc -l)" -ge 2'
test_that 'the same again is left alone; an adapter is never written over its inputs' '
	peft-merge -v -m base -a a=0.5 -a b=-2 --combine cat -o cat 2>err
	grep "left alone" err
	exits 2 peft-merge -f -m base -a a -a b --combine cat -o b 2>err
	grep "adapter" err
	exits 2 peft-merge -f -m base -a a -a b --combine cat -o a 2>err
	peft-check a b'
test_that 'what cannot be combined is refused, and leaves nothing' '
	peft-init -q -m base -t ia3 -o i
	no() { exits 2 peft-merge -m base "$@" -o no 2>err && test ! -e no; }
	no -a a -a i --combine cat
	grep "lora and ia3 are not combined" err
	no -a a -a b
	grep -e "--combine" err
	no -a a=2
	no -a a -r 3
	no -a a -a b=x --combine cat
	no -a a -a b --combine sum
	grep "none of cat, svd" err
	no -a a -a b --combine linear
	grep "one rank" err
	peft-init -q -m base -r 4 --targets q_proj,v_proj --rank-pattern v_proj=2 --init false -s 5 -o uneven
	peft-init -q -m base -r 4 --targets q_proj,v_proj --init false -s 6 -o even
	no -a even -a uneven --combine linear
	grep "one rank, and that of .*v_proj is 4 and 2" err
	no -a a -a b --combine ties_svd
	grep -e "--density" err
	no -a a -a b --combine cat --density 0.5
	grep "no meaning" err
	no -a a -a b --combine cat -r 3
	no -a a -a b --combine svd -s 3
	no -a a -a b --combine dare_linear_svd --density 0.5 --sign total
	no -a a -a b --combine cat --dtype bf16'
test_that 'a seed decides what is dropped' '
	for s in 1 2; do
		peft-merge -q -m base -a a -a b --combine dare_ties_svd --density 0.5 -s $s -o dare$s
		peft-merge -q -m base -a a -a b --combine dare_ties_svd --density 0.5 -s $s -o again$s
		cmp dare$s/adapter_model.safetensors again$s/adapter_model.safetensors
	done
	exits 1 cmp dare1/adapter_model.safetensors dare2/adapter_model.safetensors'
test_done
