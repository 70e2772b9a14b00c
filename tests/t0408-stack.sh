#!/bin/sh
# SPDX-License-Identifier: MIT
# Adapters one on the other: what acts, trains, resumes, and what is refused.
. "$(dirname "$0")/lib.sh"
cp -R "$DATA"/examples/* .
peft-tokenize -q -m base --task class --labels bad,good train.jsonl >ex.pts || exit 1
peft-batch -q -b 8 -e 4 -s 1 -o b.pts ex.pts || exit 1
peft-batch -q -b 8 -o held.pts ex.pts || exit 1
peft-tokenize -q -m base notes.txt | peft-batch -q -b 4 -e 3 -s 1 -o lm.pts || exit 1
# A language's adapter, and a fresh one for a task.
peft-init -q -m base -t bottleneck --preset double_seq_bn --dropout 0.1 -o fresh || exit 1
peft-step -q -m base -a fresh --lr 3e-2 -o lang lm.pts >/dev/null || exit 1
peft-init -q -m base -t bottleneck --dropout 0.1 --labels bad,good -o task || exit 1
peft-init -q -m base -r 4 -o lora0 || exit 1
peft-step -q -m base -a lora0 --lr 3e-2 -o lora lm.pts >/dev/null || exit 1

test_that 'the last trains on what is below, which stays as it is; each file is that of a single adapter' '
	cp -R lang before
	peft-step -q -m base -a lang -a task --lr 1e-2 -o out b.pts >/dev/null
	peft-cmp -q lang before
	peft-step -q -m base -a task --lr 1e-2 -o alone b.pts >/dev/null
	exits 1 peft-cmp -q out alone
	peft-eval -m base -a lang -a out held.pts >two
	peft-eval -m base -a out held.pts >one
	exits 1 cmp -s one two
	exits 1 grep -q lang out/adapter_config.json
	test "$(ls out/adapter.safetensors task/adapter.safetensors | wc -l)" -eq 2
	peft-view --tsv task | cut -f 1,2 >a
	peft-view --tsv out | cut -f 1,2 | cmp - a
	peft-check out/checkpoints/step-* >/dev/null
	test "$(grep -c "\"tool\":\"peft-step\"" out/provenance.json)" -ge 1
	tr "{" "\n" <out/provenance.json | grep -c "tool.*peft-step" | grep -x 2'
test_that 'one that was trained on others says so where it stands alone, on others, in another order' '
	peft-step -q -m base -a lang -a lora0 --lr 1e-2 -o second lm.pts 2>err >/dev/null
	peft-step -q -m base -a lang -a second -a task --lr 1e-2 -o third b.pts 2>>err >/dev/null
	peft-eval -m base -a lang -a out held.pts 2>>err >x
	peft-eval -m base -a lang -a second -a third held.pts 2>>err >x
	peft-generate -q -m base -a lang -a second --max-tokens 2 --prompt x 2>>err >x
	exits 1 grep "was trained on" err
	peft-eval -m base -a out held.pts 2>err >x
	grep "^peft-eval: warning: out was trained on 1 adapter below it, and stands alone here" err
	peft-generate -q -m base -a second --max-tokens 2 --prompt x 2>err >x
	grep "^peft-generate: warning: second was trained on 1 adapter below it, and stands alone here" err
	peft-merge -q -m base -a second -o alone.m 2>err
	grep "^peft-merge: warning: second was trained on 1 adapter below it, and stands alone here" err
	peft-step -q -m base -a lora -a out -o on --lr 1e-2 b.pts 2>err >/dev/null
	grep "^peft-step: warning: out was trained on 1 adapter below it, and stands on others here, or in another order" err
	peft-eval -m base -a second -a lang -a third held.pts 2>err >x
	grep "^peft-eval: warning: third was trained on 2 adapters below it, and stands on others" err
	peft-eval -m base -a second -a third held.pts 2>err >x
	grep "^peft-eval: warning: third was trained on 2 adapters" err'
test_that 'order counts' '
	peft-eval -m base -a lang -a lora lm.pts >x
	peft-eval -m base -a lora lm.pts >y
	exits 1 cmp -s x y
	peft-init -q -m base -t bottleneck -o seq
	peft-step -q -m base -a seq --lr 3e-2 -o other lm.pts >/dev/null
	peft-eval -m base -a lang -a other lm.pts >x
	peft-eval -m base -a other -a lang lm.pts >y
	exits 1 cmp -s x y'
test_that 'LoRAs add up: what is merged below acts as what stands below' '
	peft-init -q -m base -r 2 -s 5 --init gaussian -o up0
	peft-step -q -m base -a lora -a up0 --lr 3e-2 -o up lm.pts >/dev/null
	peft-merge -q -m base -a lora -o merged
	want=$(peft-eval -m merged -a up lm.pts 2>/dev/null | sed -n "s/^loss.//p" | cut -f 1)
	near "$(peft-eval -m base -a lora -a up lm.pts | sed -n "s/^loss.//p" | cut -f 1)" "$want"
	near "$(peft-eval -m base -a up -a lora lm.pts | sed -n "s/^loss.//p" | cut -f 1)" "$want"'
test_that 'a bottleneck on a LoRA, and a LoRA on a bottleneck; text of a stack' '
	peft-step -q -m base -a lora -a task --lr 1e-2 -o mixed b.pts >/dev/null
	peft-eval -m base -a lora -a mixed held.pts >/dev/null
	peft-step -q -m base -a lang -a lora0 --lr 1e-2 -o mixed2 lm.pts >/dev/null
	peft-generate -q -m base -a lang -a mixed2 --max-tokens 8 --prompt "The lamp" >x
	peft-generate -q -m base -a mixed2 --max-tokens 8 --prompt "The lamp" >y
	test -s x && test -s y'
test_that 'stopped and gone on with, it ends the same to the bit; checkpoints name what is below' '
	peft-step -q -m base -a lang -a lora -a task --lr 1e-2 --save-steps 2 --steps 8 -o whole b.pts >whole.pts
	peft-head -n 9 b.pts >cut.pts
	head -c 200000 b.pts | head -c "$(($(wc -c <b.pts) / 2))" >half.pts
	exits 3 peft-step -q -m base -a lang -a lora -a task --lr 1e-2 --save-steps 2 --steps 8 -o parts half.pts >/dev/null 2>&1
	test ! -e parts/adapter.safetensors
	c=$(ls -d parts/checkpoints/step-* | tail -n 1)
	tr -d " \n" <$c/training_state.json | grep "\"below\":\[{\"adapter\":\"lang\",\"digest\":\"[0-9a-f]*\"},{\"adapter\":\"lora\",\"digest\":\"[0-9a-f]*\"}\]"
	peft-step -q -m base -a lang -a lora -a task --lr 1e-2 --save-steps 2 --steps 8 -o parts b.pts >parts.pts
	for f in adapter.safetensors adapter_config.json head_config.json model_head.safetensors; do cmp whole/$f parts/$f; done
	cmp whole/checkpoints/step-00000008/training_state.safetensors parts/checkpoints/step-00000008/training_state.safetensors'
test_that 'another stack is refused where a run goes on' '
	exits 2 peft-step -q -m base -a lang -a task --lr 1e-2 --save-steps 2 --steps 8 -o whole b.pts 2>err >/dev/null
	grep "was begun on a stack of 3 adapters, not 2: give the same -a" err
	exits 2 peft-step -q -m base -a lora -a lang -a task --lr 1e-2 --save-steps 2 --steps 8 -o whole b.pts 2>err >/dev/null
	grep "was begun on another adapter than lora is now, which was then lang" err
	mv lora kept
	cp -R lora0 lora
	exits 2 peft-step -q -m base -a lang -a lora -a task --lr 1e-2 --save-steps 2 --steps 8 -o whole b.pts 2>err >/dev/null
	rm -r lora
	mv kept lora
	grep "was begun on another adapter than lora is now, which was then lora" err
	mv lang moved
	peft-step -q -m base -a moved -a lora -a task --lr 1e-2 --save-steps 2 --steps 8 -o whole b.pts >again.pts
	mv moved lang
	cmp whole.pts again.pts'
test_that 'what is below leaves its head to what is above' '
	peft-init -q -m base -t bottleneck --labels no,maybe,yes -o three
	peft-init -q -m base -r 2 --labels no,maybe,yes -o three2
	for a in three three2; do
		peft-eval -m base -a $a -a out held.pts >x
		peft-eval -m base -a lang -a $a -a out held.pts >y
	done
	peft-eval -m base -a three -a lora lm.pts >x'
test_that 'sixteen adapters have terms at the head of a vocabulary, one more is refused' '
	peft-init -q -m base -r 1 --targets lm_head -o head1
	set --
	while [ $# -lt 32 ]; do
		cp -R head1 h$#
		set -- "$@" -a h$#
	done
	peft-eval -m base "$@" --no-base lm.pts >x
	exits 2 peft-eval -m base "$@" -a head1 lm.pts 2>err
	grep -x "peft-eval: 17 adapters. terms at the head of a vocabulary: 16 are the most" err
	exits 2 peft-step -q -m base "$@" -a head1 -o none lm.pts 2>err >x
	grep "17 adapters. terms" err
	test ! -e none/adapter_model.safetensors'
test_that 'what cannot stand so is refused, named, before anything is made' '
	peft-init -q -m base -t prompt --virtual-tokens 2 -o prompt
	peft-init -q -m base -t ln -o ln
	peft-init -q -m base -t full -o full
	peft-init -q -m base -r 2 --save-modules embed_tokens -o e1
	peft-init -q -m base -r 2 -s 2 --save-modules embed_tokens -o e2
	for a in prompt ln; do
		exits 2 peft-eval -q -m base -a $a -a lora lm.pts 2>err
		grep "$a: $a does not stand in a stack with others" err
		exits 2 peft-step -q -m base -a lora -a $a -o none lm.pts 2>err
		grep "$a: $a does not stand in a stack with others" err
	done
	exits 2 peft-eval -q -m base -a full -a lora lm.pts 2>err
	grep "full is a model that was trained itself" err
	exits 2 peft-eval -q -m base -a lora -a full lm.pts 2>err
	grep "full is a model that was trained itself" err
	exits 2 peft-generate -q -m base -a lora -a ./lora --prompt x 2>err
	grep "lora and -a ./lora are the same directory" err
	exits 2 peft-eval -q -m base -a e1 -a e2 lm.pts 2>err
	grep "e1 and e2 both replace model.embed_tokens.weight" err
	exits 2 peft-step -q -m base -a lora -a lang -o lora lm.pts 2>err
	grep "is the directory of -a" err
	exits 1 peft-eval -q -m base -a missing -a lang lm.pts 2>err
	grep "missing: no such directory" err
	test ! -e none/adapter_config.json'
test_done
