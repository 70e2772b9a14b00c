#!/bin/sh
# SPDX-License-Identifier: MIT
# LoRA's relatives as a user has them: what only one of them has.
. "$(dirname "$0")/lib.sh"
cp -R "$DATA/examples/base" "$DATA"/examples/*.jsonl .
peft-tokenize -q -m base sums.jsonl >ex.pts || exit 1
peft-batch -q -b 8 -e 3 -s 1 -o b.pts ex.pts || exit 1
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
test_that 'adalora: equal ranks prune nothing' '
	peft-init -q -m base -t adalora -r 3 --init-rank 3 -o same
	peft-step -q -m base -a same --lr 3e-2 -o equal b.pts >/dev/null
	grep "\"rank_pattern\": null" equal/adapter_config.json'
test_that 'adalora: another number of steps is said, a schedule without pruning refused' '
	peft-init -q -m base -t adalora --total-steps 1000 -o long
	peft-step -q -m base -a long -o longer b.pts 2>err >/dev/null
	grep "before ranks have come down at step 1000" err
	peft-init -q -m base -t adalora --tinit 1000 -o never
	exits 2 peft-step -q -m base -a never -o x b.pts 2>err
	grep "leave no step of .* for pruning" err
	exits 2 peft-init -m base -t adalora -r 20 -o x 2>err
	grep "target_r 20 is above init_r 12" err
	for o in "--rslora" "--rank-pattern q_proj=2" "--target-parameters x"; do
		exits 2 peft-init -m base -t adalora $o -o x 2>err
		grep "is not an option of the method adalora" err
	done'
test_that 'adalora: a file that contradicts itself is refused, named, with 3' '
	peft-batch -q -b 8 -o held.pts ex.pts
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
test_done
