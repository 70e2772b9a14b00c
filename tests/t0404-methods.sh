#!/bin/sh
# SPDX-License-Identifier: MIT
# Every method of the registry: made, trained, gone on with, merged, shown.
. "$(dirname "$0")/lib.sh"
cp "$DATA"/examples/*.jsonl .
# A model with biases, from its description alone.
mkdir bare
cp "$DATA"/examples/base/tokenizer* bare
sed 's/"attention_bias": false/"attention_bias": true/' "$DATA/examples/base/config.json" >bare/config.json
peft-init -q -m bare -t full -o base 2>/dev/null || exit 1
rm base/full.json base/provenance.json
peft-tokenize -q -m base sums.jsonl >ex.pts || exit 1
peft-batch -q -b 8 -e 3 -s 1 -o b.pts ex.pts || exit 1
peft-batch -q -b 8 -o held.pts ex.pts || exit 1

cat >fixture.sh <<'X'
methods=$(peft-init --help | sed -n 's/^  -t, --method NAME *\([a-z0-9, ]*\) or full (lora)$/\1/p' | tr -d ,)
# As the table of the page says, which is the registry's: peft_registry.
merging=$(sed -n 's/^\.It \([a-z0-9]*\) Ta [^(]* Ta yes Ta [a-z]* Ta .*/\1/p' "$SRC/man/peft-methods.7" | tr '\n' ' ')
# What a method cannot do without.
wants() { case $1 in tokens) echo "--tokens 5-260" ;; esac; }
loss() { peft-eval -m "$1" ${2:+-a "$2" --no-base} held.pts | awk '$1 == "loss" { print $2 }'; }
X
. ./fixture.sh

test_that 'the help and the man page name the same methods' '
	. ./fixture.sh
	printf "%s\n" $methods | sort >known
	sed -n "s/^\.It Cm //p" "$SRC/man/peft-methods.7" | sort | diff known -
	printf "%s\n" $merging | sort | comm -13 known - | grep -c . | grep -x 0
	test "$(printf "%s\n" $merging | wc -l)" -ge 11
	for m in $methods; do
		grep -q "	-t $m " "$SRC/pipelines/methods.tsv" || grep -q "	-t $m	" "$SRC/pipelines/methods.tsv" || { echo "methods.tsv: no $m"; exit 1; }
	done'
for m in $methods; do
	echo "m=$m" >method
	test_that "$m: learns" '
		. ./fixture.sh
		. ./method
		peft-init -q -m base -t $m $(wants $m) -o init-$m
		peft-step -q -m base -a init-$m --lr 3e-2 -o $m b.pts >/dev/null
		less "$(loss base $m)" "$(loss base init-$m)"'
	test_that "$m: cut short and gone on with, the end is the same" '
		. ./method
		head -c $(($(wc -c <b.pts) / 2)) b.pts >cut.pts
		exits 3 peft-step -q -m base -a init-$m --lr 3e-2 -o cut-$m cut.pts
		test -n "$(ls cut-$m/checkpoints)"
		test ! -e cut-$m/adapter_model.safetensors -a ! -e cut-$m/adapter.safetensors
		peft-step -q -m base -a init-$m --lr 3e-2 -o cut-$m b.pts >/dev/null
		for f in $m/*.*; do cmp $f cut-$m/${f#*/}; done'
done
test_that 'a pattern that is no good is refused, and what was begun goes away' '
	. ./fixture.sh
	for m in $methods; do
		for p in "--rank-pattern q_proj=2000000" "--rank-pattern q_proj=0.5" "--alpha-pattern q_proj=x"; do
			st=0
			peft-init -q -m base -t $m --targets q_proj $p -o no-$m 2>err || st=$?
			case $st in 2 | 3) ;; *) echo "$m $p: $st"; exit 1 ;; esac
			test ! -e no-$m
		done
	done
	exits 2 peft-init -q -m base --rank-pattern q_proj=2 --rank-pattern q_proj=3 -o no 2>err
	grep "q_proj. is there twice" err
	cp -R init-dora odd
	sed "s/\"alpha_pattern\": {}/\"alpha_pattern\": {\"q_proj\": \"x\"}/; s/\"lora_dropout\": 0.0/\"lora_dropout\": 0.1/" \
		init-dora/adapter_config.json >odd/adapter_config.json
	exits 3 peft-eval -m base -a odd held.pts 2>err
	grep alpha_pattern err'
for m in $merging; do
	echo "m=$m" >method
	test_that "$m: a fresh one does nothing; merged is unmerged" '
		. ./fixture.sh
		. ./method
		near "$(loss base)" "$(loss base init-$m)"
		peft-merge -q -m base -a $m -o merged-$m
		near "$(loss merged-$m)" "$(loss base $m)"'
done
test_that 'what is no change of weights is not merged' '
	. ./fixture.sh
	for m in $methods; do
		case " $merging " in *" $m "*) continue ;; esac
		exits 2 peft-merge -q -m base -a $m -o none 2>err
		grep "$m cannot be merged into a model" err
		test ! -e none
	done'
test_that 'encoders of virtual tokens: kept for going on; without them the table trains' '
	for o in "prefix --projection" "ptuning --encoder lstm --encoder-size 6"; do
		rm -rf init e one two
		peft-init -q -m base -t $o --virtual-tokens 3 --save-modules model.norm -o init
		test -s init/peft_state.safetensors
		peft-step -q -m base -a init --lr 1e-2 -o one b.pts >/dev/null
		peft-step -q -m base -a one --lr 1e-2 -o two b.pts >/dev/null
		exits 1 cmp one/peft_state.safetensors two/peft_state.safetensors
		exits 1 cmp one/adapter_model.safetensors two/adapter_model.safetensors
		cp -R one e
		rm e/peft_state.safetensors
		peft-eval -m base -a one --no-base held.pts >a
		peft-eval -m base -a e --no-base held.pts >b
		cmp a b
		rm -rf two
		peft-step -q -m base -a e --lr 1e-2 -o two b.pts >/dev/null
		test ! -e two/peft_state.safetensors
		exits 1 cmp e/adapter_model.safetensors two/adapter_model.safetensors
	done'
test_that 'virtual tokens: room is left for them, text goes on behind them, and their first values are as told' '
	peft-tokenize -q -m base -a init-prompt sums.jsonl -o a.pts
	peft-tokenize -q -m base --reserve 20 sums.jsonl -o b20.pts
	cmp a.pts b20.pts
	for m in prefix prompt ptuning; do
		peft-generate -q -m base -a $m -n 5 --prompt 1+1= >text
		test -s text
	done
	peft-init -q -m base -t prompt --init text --init-text "1 2" -o said
	peft-init -q -m base -t prompt --init vocab -o vocab
	exits 1 cmp said/adapter_model.safetensors vocab/adapter_model.safetensors
	exits 2 peft-init -q -m base -t prompt --init text -o none 2>err
	grep "wants --init-text" err
	exits 2 peft-init -q -m base -t prompt --init-text x -o none 2>err
	grep "no effect without --init text" err
	peft-init -q -m base -t prefix --init text --init-text "1 + 2 = 3, 2 + 3 = 5" --virtual-tokens 6 -o read
	exits 1 grep init_text read/adapter_config.json
	grep "\"init_weights\": null" read/adapter_config.json
	peft-eval -m base -a read --no-base held.pts >text
	peft-init -q -m base -t prefix --init zero --virtual-tokens 6 -o zero
	peft-eval -m base -a zero --no-base held.pts >zeros
	exits 1 cmp -s text zeros
	exits 2 peft-init -q -m base -t prefix --init text --init-text x --virtual-tokens 100 -o none 2>err
	grep "tokens for 100 virtual ones" err
	exits 2 peft-init -q -m base -t prefix --init text -o none 2>err
	grep "^peft-init: --init text and --init-text go together" err
	exits 2 peft-init -q -m base -t prefix --init text --init-text x --projection -o none 2>err
	grep "without a projection" err
	exits 2 peft-init -q -m base -t prompt --virtual-tokens 100000 -o none 2>err
	grep "virtual-tokens is 100000, the model has" err'
test_that 'a prompt that contradicts itself is refused, named, with 3' '
	cp -R init-prompt badprompt
	sed "s/\"token_dim\": 16/\"token_dim\": 12/" init-prompt/adapter_config.json >badprompt/adapter_config.json
	exits 3 peft-eval -m base -a badprompt held.pts 2>err
	grep "badprompt: token_dim is 12, the model wants 16" err
	sed "s/\"num_virtual_tokens\": 20/\"num_virtual_tokens\": 19/" init-prompt/adapter_config.json >badprompt/adapter_config.json
	exits 3 peft-eval -m base -a badprompt held.pts 2>err
	grep "prompt_embeddings is F32\[20,16\], this model and configuration want \[19,16\]" err
	sed "s/RANDOM/SOME/" init-prompt/adapter_config.json >badprompt/adapter_config.json
	exits 3 peft-eval -m base -a badprompt held.pts 2>err
	grep "prompt_tuning_init .SOME." err
	grep -v num_virtual_tokens init-prompt/adapter_config.json >badprompt/adapter_config.json
	exits 3 peft-eval -m base -a badprompt held.pts 2>err
	grep "num_virtual_tokens is missing" err'
test_that 'LoRA+: another run, gone on with only as it was begun; refused where there is no B' '
	peft-step -q -m base -a init-lora --lr 3e-2 --loraplus 4 -o plus b.pts >/dev/null
	exits 1 cmp plus/adapter_model.safetensors lora/adapter_model.safetensors
	exits 2 peft-step -q -m base -a init-lora --lr 3e-2 --loraplus 2 -o plus b.pts 2>err
	grep loraplus err
	exits 2 peft-step -q -m base -a init-ia3 --loraplus 4 -o refused b.pts 2>err
	grep "LoRA+ is for adapters that train a lora_B; ia3 has none" err
	exits 2 peft-step -q -m base -a init-lora --loraplus-embedding 1 -o refused b.pts 2>err
	grep "has no effect without --loraplus" err'
test_that 'what has no effect with the other options is refused, and keys are named as options' '
	while read -r o; do
		exits 2 peft-init -m base ${o%%:*} -o none 2>err
		grep -F "peft-init: ${o#*:}" err
		test ! -e none
	done <<-END
	-t prompt --init-text x:--init-text has no effect without --init text
	-t prompt --init vocab --init-text x:--init-text has no effect without --init text
	-t prompt --init text:--init TEXT wants --init-text
	-t prefix --encoder-size 4:--encoder-size has no effect without --projection
	-t prefix --no-projection --encoder-size 4:--encoder-size has no effect without --projection
	-t ptuning --encoder-layers 2:--encoder-layers has no effect without --encoder lstm
	--layers-pattern h:--layers-pattern has no effect without --layers
	--layers 99:--layers: the model has no layer 99
	--rank-pattern x=3:--rank-pattern:
	--targets nope:--targets:
	END
	echo "{\"peft_type\": \"LORA\", \"layers_to_transform\": [99]}" >given.json
	exits 2 peft-init -m base --config given.json -o none 2>err
	grep "layers_to_transform: the model has no layer 99" err'
test_that 'what cannot act on the output embedding says so where it is made, all else trains there' '
	. ./fixture.sh
	for m in $methods; do
		st=0
		peft-init -q -m base -t $m $(wants $m) --targets lm_head $(test $m != ia3 || echo --feedforward lm_head) -o head-$m 2>err || st=$?
		case $st in
		0)
			near "$(loss base)" "$(loss base head-$m)"
			peft-step -q -m base -a head-$m --lr 3e-2 -o headed-$m b.pts >/dev/null
			less "$(loss base headed-$m)" "$(loss base)"
			echo $m >>heads ;;
		2)
			grep "lm_head is the output embedding: $m cannot act on it" err ||
				grep "^peft-init: --targets is not an option of the method $m$" err
			test ! -e head-$m ;;
		*) exit 1 ;;
		esac
	done
	grep -x lora heads'
test_that 'what a method has not is refused by name' '
	for o in "ia3 --rank 4" "ia3 --alpha 2" "ln --layers 1" "bitfit --rank 2" "dora --feedforward x" "lora --feedforward x"; do
		exits 2 peft-init -m base -t $o -o none 2>err
		grep -E "^peft-init: --[a-z]+ is not an option of the method ${o%% *}$" err
		test ! -e none
	done
	exits 2 peft-init -m base -t ia3 --targets k_proj --feedforward down_proj -o none 2>err
	grep "feedforward: .down_proj. is not among --targets" err
	exits 2 peft-init -m base -t ia3 --targets embed_tokens --feedforward embed_tokens -o none 2>err
	grep "ia3 cannot act on it" err
	exits 2 peft-init -m base -t bitfit --bias none -o none 2>err
	grep "all|lora_only" err
	exits 2 peft-init -m "$DATA/examples/base" -t bitfit -o none 2>err
	grep "no biases to train" err
	exits 2 peft-init -m base -t lora --config init-ia3/adapter_config.json -o none 2>err
	grep "is of the method ia3, not lora" err'
test_that 'of a directory that contradicts itself nothing is made, whatever reads it' '
	. ./fixture.sh
	for m in $methods; do
		for wrong in config cut other; do
			rm -rf wrong
			cp -R init-$m wrong
			weights=$(basename wrong/adapter*.safetensors)
			case $wrong in
			config) sed "s/\"peft_type\": \"[A-Z_0-9]*\"/\"peft_type\": \"NOTHING\"/; s/\"model_type\": \"llama\"/\"model_type\": \"NOTHING\"/" \
				init-$m/adapter_config.json >wrong/adapter_config.json ;;
			cut) head -c 500 init-$m/$weights >wrong/$weights ;;
			other) cp init-$(test $m = vera && echo loha || echo vera)/adapter_model.safetensors wrong/$weights ;;
			esac
			exits 3 peft-eval -m base -a wrong held.pts 2>err
			grep "^peft-eval: wrong" err
			exits 3 peft-step -m base -a wrong -o none b.pts 2>err
			grep "^peft-step: wrong" err
			exits 3 peft-merge -m base -a wrong -o none 2>err
			grep "^peft-merge: wrong" err
			exits 3 peft-merge -m base -a init-$m -a wrong --combine linear -o none 2>err
			grep "^peft-merge: wrong" err
			test ! -e none
		done
	done'
test_that 'a file that contradicts itself is refused, named, with 3' '
	cp -R init-dora bad
	sed "s/\"use_dora\": true/\"use_dora\": false/" init-dora/adapter_config.json >bad/adapter_config.json
	exits 3 peft-eval -m base -a bad held.pts 2>err
	grep "bad: nothing uses .*lora_magnitude_vector" err
	sed "s/\"use_dora\": false/\"use_dora\": true/" init-lora/adapter_config.json >bad/adapter_config.json
	cp init-lora/adapter_model.safetensors bad
	exits 3 peft-eval -m base -a bad held.pts 2>err
	grep "bad: adapter_model.safetensors lacks .*lora_magnitude_vector" err
	sed "s/\"lora_bias\": false/\"lora_bias\": true/" init-dora/adapter_config.json >bad/adapter_config.json
	exits 3 peft-eval -m base -a bad held.pts 2>err
	grep "lora_bias does not go with use_dora" err
	cp init-ia3/adapter_model.safetensors bad
	tr "\n" " " <init-ia3/adapter_config.json | sed "s/\"feedforward_modules\": [^]]*\]/\"feedforward_modules\": [\"v_proj\"]/" >bad/adapter_config.json
	exits 3 peft-eval -m base -a bad held.pts 2>err
	grep "v_proj.ia3_l is F32\[8,1\]*, this model and configuration want \[1,16\]" err'
test_done
