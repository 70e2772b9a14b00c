#!/bin/sh
# SPDX-License-Identifier: MIT
# LoRA's relatives as a user has them: what only one of them has.
. "$(dirname "$0")/lib.sh"
cp -R "$DATA/examples/base" "$DATA"/examples/*.jsonl .
peft-tokenize -q -m base sums.jsonl >ex.pts || exit 1
peft-batch -q -b 8 -e 3 -s 1 -o b.pts ex.pts || exit 1
peft-batch -q -b 8 -o held.pts ex.pts || exit 1
cat >fixture.sh <<'X'
loss() { peft-eval -m base ${1:+-a "$1" --no-base} held.pts | awk '$1 == "loss" { print $2 }'; }
pattern() { tr -d ' \n' <"$1/adapter_config.json" | grep -o '"rank_pattern":{[^}]*}'; }
X

test_that 'adalora: the budget over time beforehand, and what is left is what it said' '
	. ./fixture.sh
	peft-init -q -m base -t adalora -r 2 --init-rank 4 --tfinal 1 -o init
	peft-step -m base -a init -o never --plan b.pts >plan
	test ! -e never
	grep -x " *0 *16 *4.00" plan
	tail -n 1 plan | grep " 8 *2.00$"
	peft-step -q -m base -a init --lr 3e-2 -o ad b.pts >/dev/null
	test "$(pattern ad | grep -o true | wc -l)" -eq 8
	test "$(pattern ad | grep -o false | wc -l)" -eq 8
	grep "\"total_step\": [1-9]" ad/adapter_config.json'
test_that 'adalora: what a checkpoint keeps goes on; without its state the pruned file trains on' '
	. ./fixture.sh
	cp -R ad peft
	rm -R peft/peft_state.safetensors peft/checkpoints
	peft-step -q -m base -a peft --lr 1e-2 -o on b.pts >/dev/null
	test "$(pattern on | grep -o true | wc -l)" -eq 8
	test "$(pattern ad)" = "$(pattern on)"'
test_that 'adalora: equal ranks prune nothing, nor need the configuration name the steps' '
	peft-init -q -m base -t adalora -r 3 --init-rank 3 -o same
	peft-step -q -m base -a same --lr 3e-2 -o equal b.pts >/dev/null
	grep "\"rank_pattern\": null" equal/adapter_config.json
	sed -i "/total_step/d" same/adapter_config.json
	peft-step -q -m base -a same --lr 3e-2 -o unnamed b.pts >/dev/null
	cmp unnamed/adapter_model.safetensors equal/adapter_model.safetensors
	grep "\"total_step\": [1-9]" unnamed/adapter_config.json'
test_that 'adalora: another number of steps is said, a schedule without pruning refused' '
	peft-init -q -m base -t adalora --total-steps 1000000000000000 --delta-t 900000000000000 -o eon
	timeout 20 peft-step -q -m base -a eon -o never --plan b.pts | grep "^1000000000000000 *32 *8.00$"
	peft-init -q -m base -t adalora --total-steps 1000 -o long
	peft-step -q -m base -a long -o longer b.pts 2>err >/dev/null
	grep "before ranks have come down at step 1000" err
	peft-init -q -m base -t adalora --tinit 1000 -o never
	exits 2 peft-step -q -m base -a never -o x b.pts 2>err
	grep "leave no step of .* for pruning" err
	exits 2 peft-init -m base -t adalora -r 20 -o x 2>err
	grep "^peft-init: --rank 20 is above --init-rank 12" err
	for o in "--rslora" "--rank-pattern q_proj=2" "--target-parameters x"; do
		exits 2 peft-init -m base -t adalora $o -o x 2>err
		grep "is not an option of the method adalora" err
	done'
test_that 'adalora: a file that contradicts itself is refused, named, with 3' '
	cp -R peft bad
	sed "s/\"init_r\": 4/\"init_r\": 5/" peft/adapter_config.json >bad/adapter_config.json
	exits 3 peft-eval -m base -a bad held.pts 2>err
	grep "rank_pattern of model.layers.0.self_attn.q_proj has 4 entries, init_r is 5" err
	tr "\n" " " <peft/adapter_config.json | sed "s/\"rank_pattern\": {.*} *}/\"rank_pattern\": null}/" >bad/adapter_config.json
	exits 3 peft-eval -m base -a bad held.pts 2>err
	grep "lora_A has [0-3] rows, rank_pattern and init_r say 4" err
	sed "s/\"beta1\": 0.85/\"beta1\": 1.5/" peft/adapter_config.json >bad/adapter_config.json
	exits 3 peft-eval -m base -a bad held.pts 2>err
	grep "beta1 1.5" err'
for i in pissa olora; do
	echo "i=$i" >init.sh
	test_that "$i: starts at the base, learns, goes on bit by bit, is an ordinary file on the original base" '
		. ./fixture.sh
		. ./init.sh
		peft-init -q -m base -r 3 --alpha 6 --init $i -o init-$i
		near "$(loss init-$i)" "$(loss)"
		peft-step -q -m base -a init-$i --lr 1e-2 -o $i b.pts >/dev/null
		less "$(loss $i)" "$(loss)"
		head -c $(($(wc -c <b.pts) / 2)) b.pts >cut.pts
		exits 3 peft-step -q -m base -a init-$i --lr 1e-2 -o cut-$i cut.pts
		peft-step -q -m base -a init-$i --lr 1e-2 -o cut-$i b.pts >/dev/null
		for f in $i/*.*; do cmp $f cut-$i/${f#*/}; done
		grep "\"init_lora_weights\": true" $i/adapter_config.json
		grep "\"r\": 6" $i/adapter_config.json
		grep "\"lora_alpha\": 12" $i/adapter_config.json
		cp -R $i plain-$i
		rm -R plain-$i/peft_state.safetensors plain-$i/checkpoints
		near "$(loss $i)" "$(loss plain-$i)"
		peft-merge -q -m base -a $i -o merged-$i
		near "$(loss $i)" "$(peft-eval -m merged-$i held.pts | sed -n "s/^loss[^0-9]*\([0-9.]*\).*/\1/p")"'
done
# Largest difference of two files of tensors is below 1e-4.
cat >>fixture.sh <<'X'
about() { peft-cmp "$1" "$2" >differ || :; sed 's/.*max |a-b| \([^ ]*\) .*/\1/' differ | awk '$1 + 0 > 1e-4 { bad = 1 } END { exit bad }'; }
X
test_that 'eva: from batches, the same with any threads and nearly with any batches; ranks move, nothing changes yet' '
	. ./fixture.sh
	peft-init -q -m base -r 4 --init eva --targets all-linear -o eva <held.pts
	peft-init -q -m base -r 4 --init eva --targets all-linear -j 1 -o eva1 held.pts
	for f in eva/*.*; do cmp $f eva1/${f#*/}; done
	peft-batch -q -b 3 -o three.pts ex.pts
	peft-init -q -m base -r 4 --init eva --targets all-linear -o eva3 three.pts
	cmp eva/adapter_config.json eva3/adapter_config.json
	about eva/adapter_model.safetensors eva3/adapter_model.safetensors
	pattern eva | grep ":[0-9]"
	grep "\"rho\": 2" eva/adapter_config.json
	grep "\"init_lora_weights\": \"eva\"" eva/adapter_config.json
	near "$(loss eva)" "$(loss)"
	peft-step -q -m base -a eva --lr 1e-2 -o eva-on b.pts >/dev/null
	less "$(loss eva-on)" "$(loss)"
	peft-init -q -m base -r 4 --init eva --rho 1 -o even held.pts
	pattern even | grep "{}"'
test_that 'eva with dora: the same directions, and lengths that change nothing yet' '
	. ./fixture.sh
	peft-init -q -m base -t dora -r 4 --init eva --targets all-linear -o eva-dora held.pts
	near "$(loss eva-dora)" "$(loss)"
	test "$(pattern eva-dora)" = "$(pattern eva)"
	peft-cmp eva/adapter_model.safetensors eva-dora/adapter_model.safetensors >differ || :
	grep lora_magnitude_vector differ
	exits 1 grep lora_A differ'
for mode in ipm kpm; do
	echo "mode=$mode" >mode.sh
	test_that "corda $mode: from batches, starts at the base, learns, is an ordinary file" '
		. ./fixture.sh
		. ./mode.sh
		peft-init -q -m base -r 3 --alpha 6 --init corda --corda $mode -o corda-$mode held.pts
		peft-init -q -m base -r 3 --alpha 6 --init corda --corda $mode -j 1 -o one-$mode held.pts
		for f in corda-$mode/*.*; do cmp $f one-$mode/${f#*/}; done
		peft-init -q -m base -r 3 --alpha 6 --init corda --corda $mode -o three-$mode three.pts
		about corda-$mode/peft_state.safetensors three-$mode/peft_state.safetensors
		near "$(loss corda-$mode)" "$(loss)"
		peft-step -q -m base -a corda-$mode --lr 1e-2 -o on-$mode b.pts >/dev/null
		less "$(loss on-$mode)" "$(loss)"
		grep "\"init_lora_weights\": true" on-$mode/adapter_config.json
		grep "\"corda_config\": null" on-$mode/adapter_config.json
		cp -R on-$mode plain-$mode
		rm -R plain-$mode/peft_state.safetensors plain-$mode/checkpoints
		near "$(loss on-$mode)" "$(loss plain-$mode)"'
done
test_that 'what is initialised from data says what it lacks' '
	peft-head -q -n 1 three.pts >few.pts
	exits 2 peft-init -m base --init eva -r 16 --rho 60 -o none few.pts 2>err
	grep "tokens are too few for" err
	exits 3 peft-init -m base --init eva -o none </dev/null 2>err
	head -c 2000 held.pts >cut.pts
	exits 3 peft-init -m base --init corda -o none cut.pts
	exits 2 peft-init -m base -o none held.pts 2>err
	grep "nothing here is initialised from data" err
	exits 2 peft-init -m base --init pissa --rho 3 -o none 2>err
	grep "^peft-init: --rho has no effect without --init eva" err
	echo "{\"peft_type\":\"LORA\",\"corda_config\":{}}" >c.json
	exits 2 peft-init -m base --config c.json -o none 2>err
	grep "corda_config goes with init_lora_weights corda" err
	exits 2 peft-init -m base --init eva --targets lm_head -o none held.pts 2>err
	grep "lm_head reads nothing of the batches" err
	exits 2 peft-init -m base -t dora --init corda -o none held.pts 2>err
	grep "not supported with use_dora" err
	test ! -e none'
test_that 'a tied table has one update at both ends: it learns, goes on bit by bit, is merged tied' '
	. ./fixture.sh
	echo "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":[\"embed_tokens\",\"v_proj\"],\"ensure_weight_tying\":true}" >tie.json
	peft-init -m base --config tie.json -o tie0 >out
	grep "^lm_head " out
	near "$(loss tie0)" "$(loss)"
	peft-step -q -m base -a tie0 --lr 1e-2 -o tie b.pts >/dev/null
	less "$(loss tie)" "$(loss)"
	exits 3 peft-step -q -m base -a tie0 --lr 1e-2 -o cut-tie cut.pts
	peft-step -q -m base -a tie0 --lr 1e-2 -o cut-tie b.pts >/dev/null
	cmp tie/adapter_model.safetensors cut-tie/adapter_model.safetensors
	peft-view tie/adapter_model.safetensors | grep -c "lm_head.lora_[AB].weight" | grep -x 2
	peft-merge -q -m base -a tie -o merged-tie
	near "$(loss tie)" "$(peft-eval -m merged-tie held.pts | sed -n "s/^loss[^0-9]*\([0-9.]*\).*/\1/p")"
	grep "\"tie_word_embeddings\": true" merged-tie/config.json
	for how in cat svd; do
		peft-merge -q -m base -a tie=0.75 -a cut-tie=0.25 --combine $how -o sum-$how
		near "$(loss sum-$how)" "$(loss tie)"
		peft-view sum-$how/adapter_model.safetensors | grep "lm_head.lora_A"
	done
	sed "s/true/true,\"use_dora\":true/" tie.json >dora.json
	exits 2 peft-init -m base --config dora.json -o none 2>err
	grep "lm_head is tied to model.embed_tokens: ensure_weight_tying does not go with use_dora" err'
test_that 'what takes its start out of the base is refused where it cannot' '
	exits 2 peft-init -m base -t dora --init pissa -o x 2>err
	grep "not supported with use_dora" err
	exits 2 peft-init -m base --init olora -r 9 -o x 2>err
	grep "a rank of 9 is more than the module has" err
	exits 2 peft-init -m base --init pissa --targets embed_tokens -o x 2>err
	grep "for linears" err'
test_that 'LoRA-FA: A stands still, B learns; gone on with only as it was begun' '
	. ./fixture.sh
	peft-init -q -m base -o lora
	peft-step -q -m base -a lora --lr 1e-2 --lora-fa -o fa b.pts >/dev/null
	less "$(loss fa)" "$(loss)"
	peft-cmp lora/adapter_model.safetensors fa/adapter_model.safetensors >differ || :
	grep lora_B differ
	exits 1 grep lora_A differ
	exits 2 peft-step -q -m base -a lora --lr 1e-2 -o fa b.pts 2>err
	grep "was begun with lora-fa" err
	peft-init -q -m base -t ia3 -o ia3
	exits 2 peft-step -q -m base -a ia3 --lora-fa -o x b.pts 2>err
	grep "LoRA-FA is for adapters" err'
test_that 'oft: a size that divides no features is said once' '
	peft-init -q -m base -t oft --block-size 8 -o oft8 2>err
	test ! -s err
	peft-init -q -m base -t oft -o oft 2>err
	grep -x "peft-init: warning: oft_block_size 32 does not divide the features of 4 modules: the nearest that does is taken (model.layers.0.self_attn.q_proj: 16 for 16)" err
	test "$(wc -l <err)" -eq 1
	peft-eval -m base -a oft held.pts 2>err >out
	test ! -s err'
test_that 'vera, loha, lokr: what cannot be is refused' '
	printf "{\"peft_type\":\"LOHA\",\"rank_dropout\":0.1}" >c.json
	exits 2 peft-init -m base --config c.json -o x 2>err
	grep "rank_dropout is not supported with loha" err
	peft-init -q -m base -t vera -r 4 -o vera
	peft-init -q -m base -t vera -r 4 --no-save-projection -o small
	test "$(wc -c <small/adapter_model.safetensors)" -lt "$(wc -c <vera/adapter_model.safetensors)"
	rm -R bad
	cp -R vera bad
	sed "s/\"r\": 4/\"r\": 5/" vera/adapter_config.json >bad/adapter_config.json
	exits 3 peft-eval -m base -a bad held.pts 2>err
	grep "vera_A is F32" err'
test_that 'rows of tokens: beside LoRA, seen, generated with, and refused where they cannot be' '
	. ./fixture.sh
	peft-init -m base --tokens 4,20-60 -o rows >table
	grep -E "embed_tokens +Embedding .* 42 of [0-9]+ x 16 " table
	peft-step -q -m base -a rows --lr 3e-2 -o trained b.pts >/dev/null
	peft-cmp rows/adapter_model.safetensors trained/adapter_model.safetensors >differ || :
	grep token_adapter.trainable_tokens_delta differ
	grep lora_B differ
	peft-generate -q -m base -a trained -n 5 --prompt 1+1= >text
	test -s text
	peft-merge -q -m base -a trained -o merged-rows
	near "$(loss trained)" "$(peft-eval -m merged-rows held.pts | sed -n "s/^loss[^0-9]*\([0-9.]*\).*/\1/p")"
	for o in "5,5:named twice" "5,99999:token 99999 is no row of model.embed_tokens" "5-x:is not numbers"; do
		exits 2 peft-init -m base -t tokens --tokens ${o%%:*} -o none 2>err
		grep "${o#*:}" err
	done
	exits 2 peft-init -m base -t tokens -o none 2>err
	grep -e "--tokens: no list of ids" err
	exits 2 peft-init -m base -t tokens --tokens 5 --targets q_proj -o none 2>err
	grep "only rows of embeddings can train alone" err
	exits 2 peft-init -m base --tokens 5 --targets embed_tokens -o none 2>err
	grep "model.embed_tokens is both a target and in --tokens" err
	exits 2 peft-init -m base --tokens 5 --save-modules embed_tokens -o none 2>err
	grep "model.embed_tokens trains whole" err
	test ! -e none'
test_done
