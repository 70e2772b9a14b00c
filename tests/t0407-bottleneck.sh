#!/bin/sh
# SPDX-License-Identifier: MIT
# Bottleneck adapters: the directory of AdapterHub's library, its presets and keys, and what is refused.
. "$(dirname "$0")/lib.sh"
cp -R "$DATA"/examples/* .
peft-tokenize -q -m base --task class --labels bad,good train.jsonl >ex.pts || exit 1
peft-batch -q -b 8 -e 8 -s 1 -o b.pts ex.pts || exit 1
peft-batch -q -b 8 -o held.pts ex.pts || exit 1
peft-tokenize -q -m base notes.txt | peft-batch -q -b 4 -e 3 -s 1 -o lm.pts || exit 1

test_that 'each preset, by either name; a classifier trains, and its head stands apart' '
	for p in seq_bn=pfeiffer double_seq_bn=houlsby par_bn=parallel scaled_par_bn=scaled_parallel seq_bn_inv=pfeiffer+inv \
		double_seq_bn_inv=houlsby+inv; do
		rm -rf i j o
		peft-init -q -m base -t bottleneck --preset ${p%=*} --labels bad,good -o i
		peft-init -q -m base -t bottleneck --preset ${p#*=} --labels bad,good -o j
		peft-cmp -q i j
		cmp i/adapter_config.json j/adapter_config.json
		test "$(ls i | tr "\n" " ")" = "adapter.safetensors adapter_config.json head_config.json model_head.safetensors provenance.json "
		grep "\"bad\": 0" i/head_config.json
		peft-step -q -m base -a i --lr 3e-2 -o o b.pts >/dev/null
		exits 1 peft-cmp -q i o
		exits 1 cmp -s i/model_head.safetensors o/model_head.safetensors
		test "$(peft-eval -m base -a i held.pts)" != "$(peft-eval -m base -a o held.pts)"
	done
	peft-check i o | grep "adapter llama"
	peft-view o | grep "score.weight"'
test_that 'the Compacter: few parameters, which learn' '
	peft-init -q -m base -t bottleneck --preset compacter --reduction-factor 2 -o cc
	peft-view --tsv cc >list
	grep "^model.shared_parameters.default.phm_rule.F32\[4,4,4\]" list
	grep "^model.layers.1.attention_adapters.adapters.default.adapter_down.0.W_left.F32\[4,4,1\]" list
	peft-step -q -m base -a cc --lr 3e-2 -o dd lm.pts >/dev/null
	exits 1 peft-cmp -q cc dd'
test_that 'on a base that has read such texts it learns their classes, and tells those of others' '
	sed -n "s/.*\"text\": \"\(.*\)\", \"label.*/\1/p" train.jsonl >txt
	peft-init -q -m base -t full -o f0
	peft-tokenize -q -m base txt notes.txt | peft-batch -q -b 4 -e 60 -s 1 -o pre.pts
	peft-step -q -m base -a f0 --lr 1e-2 -o pre pre.pts >/dev/null
	peft-batch -q -b 8 -e 40 -s 1 -o many.pts ex.pts
	peft-tokenize -q -m base --task class --labels bad,good test.jsonl | peft-batch -q -b 8 -o new.pts
	for p in seq_bn double_seq_bn par_bn; do
		rm -rf i o
		peft-init -q -m pre -t bottleneck --preset $p --reduction-factor 1 --labels bad,good -o i
		peft-step -q -m pre -a i --lr 3e-2 -o o many.pts >/dev/null
		peft-eval -m pre -a o new.pts >x
		less "$(sed -n "s/^loss.//p" x)" 0.3
		grep "^accuracy.1.0.625" x
	done'
test_that 'an invertible one of the embeddings learns too' '
	peft-init -q -m base -t bottleneck --inv-adapter nice --inv-reduction-factor 4 -o inv
	peft-view --tsv inv >list
	grep "^model.invertible_adapters.default.F.0.weight.F32\[2,8\]" list
	grep "^model.invertible_adapters.default.G.2.bias.F32\[8\]" list
	peft-step -q -m base -a inv --lr 1e-2 -o inverted lm.pts >/dev/null 2>err
	exits 1 grep "no gradient" err
	peft-eval -m base -a inverted lm.pts >x
	less "$(sed -n "s/^loss.//p" x | cut -f 1)" "$(sed -n "s/^loss.//p" x | cut -f 2)"
	test -n "$(peft-generate -q -m base -a inverted --max-tokens 8 --prompt "The lamp")"'
test_that 'heads that the library describes: what is not supported is named' '
	peft-init -q -m base -t bottleneck --labels bad,good -o h
	for e in "head_type\": \"multiple_choice\", \"num_labels\": 2=multiple_choice is not supported" \
		"head_type\": \"classification\", \"num_labels\": 2, \"layers\": 2, \"activation_function\": \"leakyrelu\"=leakyrelu" \
		"head_type\": \"causal_lm\", \"vocab_size\": 9, \"embedding_size\": 8=embedding_size 8 is not the model.s 16"; do
		rm -rf bad
		cp -R h bad
		sed "s/\"config\": null/\"config\": {\"${e%%=*}}/" h/head_config.json >bad/head_config.json
		exits 3 peft-eval -q -m base -a bad held.pts 2>err
		grep "${e##*=}" err
	done'
test_that 'a checkpoint is such a directory' '
	rm -rf i o
	peft-init -q -m base -t bottleneck --labels bad,good -o i
	peft-step -q -m base -a i --save-steps 4 -o o b.pts >/dev/null
	c=$(ls -d o/checkpoints/step-* | sed 1q)
	for f in adapter.safetensors adapter_config.json head_config.json model_head.safetensors; do test -s $c/$f; done
	peft-eval -q -m base -a $c held.pts >/dev/null'
test_that 'the keys of its configuration: options change them, numbers of scaling have a point' '
	peft-init -q -m base -t bottleneck --scaling 2 --reduction-by-layer 0=2 --reduction-by-layer default=4 --gating \
		--ln-before --ln-after --adapter-residual-before-ln --no-original-ln-before --residual-before-ln post_add \
		--mh-adapter --no-output-adapter --non-linearity swish --dropout 0.1 --init houlsby --adapter-name mine \
		--leave-out 1 -o keys >/dev/null
	for k in "\"scaling\": 2.0" "\"use_gating\": true" "\"ln_before\": true" "\"residual_before_ln\": \"post_add\"" \
		"\"output_adapter\": false" "\"init_weights\": \"houlsby\"" "\"name\": \"mine\"" "\"non_linearity\": \"swish\""; do
		grep "^ *$k,*$" keys/adapter_config.json
	done
	peft-view --tsv keys >list
	grep "^model.layers.0.attention_adapters.adapters.mine.adapter_down.1.weight.F32\[8,16\]" list
	grep "^model.layers.0.attention_adapters.adapters.mine.adapter_norm_before.weight.F32\[16\]" list
	exits 1 grep "layers.1" list
	peft-init -q -m base --config keys/adapter_config.json -o again
	sed "s/\"model_name\": .*//" keys/adapter_config.json >one
	sed "s/\"model_name\": .*//" again/adapter_config.json | cmp - one'
test_that 'it writes text; gone on with by a stream of text' '
	peft-init -q -m base -t bottleneck --preset houlsby -o text
	test ! -e text/head_config.json
	peft-step -q -m base -a text --lr 1e-2 -o told lm.pts >/dev/null
	test -n "$(peft-generate -q -m base -a told --max-tokens 8 --prompt "The lamp")"
	exits 1 peft-cmp -q text told'
test_that 'keys that nobody knows survive a run' '
	cp -R text known
	sed "s/\"config\": {/\"zz_outer\": [1], \"config\": {\"zz_inner\": {\"b\": 1},/" text/adapter_config.json >known/adapter_config.json
	peft-step -q -m base -a known -o kept lm.pts >/dev/null
	grep zz_outer kept/adapter_config.json
	grep zz_inner kept/adapter_config.json'
test_that 'a run does not write over one' '
	exits 2 peft-step -q -m base -a text -o known lm.pts 2>err
	grep "which no run has left there" err'
cat >fixture.sh <<'X2'
refused() {
	exits 3 peft-eval -q -m base -a bad held.pts 2>err
	grep -- "$1" err
	exits 3 peft-step -q -m base -a bad -o none held.pts 2>err
	grep -- "$1" err
	test ! -e none/adapter_config.json
}
edit() {
	rm -rf bad none
	cp -R i bad
	sed "$1" i/adapter_config.json >bad/adapter_config.json
}
X2
test_that 'configurations that say nothing that can be done are refused, named, with 3' '
	. ./fixture.sh
	edit "s/\"mh_adapter\": .*//"
	refused "mh_adapter is missing"
	edit "s/\"scaling\": .*/\"scaling\": \"both\",/"
	refused "scaling: neither a number nor"
	edit "s/\"non_linearity\": .*/\"non_linearity\": \"leakyrelu\",/"
	refused "non_linearity .leakyrelu. is not supported"
	edit "s/\"reduction_factor\": .*/\"reduction_factor\": {\"0\": 16},/"
	refused "reduction_factor has neither layer 1 nor a default"
	edit "s/\"reduction_factor\": .*/\"reduction_factor\": 0,/"
	refused "reduction_factor of layer 0 is no number above 0"
	edit "s/\"residual_before_ln\": .*/\"residual_before_ln\": 1,/"
	refused "residual_before_ln: neither true, false nor"
	edit "s/\"inv_adapter\": .*/\"inv_adapter\": \"glow\",/"
	refused "inv_adapter .glow. is not supported"
	edit "s/\"inv_adapter\": .*/\"inv_adapter\": \"nice\",/"
	refused "inv_adapter_reduction_factor is no number above 0"
	edit "s/\"inv_adapter\": .*/\"inv_adapter\": \"nice\",/; s/\"inv_adapter_reduction_factor\": .*/\"inv_adapter_reduction_factor\": 2,/"
	refused "lacks model.invertible_adapters.default.F.0.weight"
	edit "s/\"phm_layer\": .*/\"phm_layer\": true,/"
	refused "lacks .*phm"
	exits 2 peft-init -m base -t bottleneck --preset compacter -o none 2>err
	grep "phm_dim 4 divides not both widths, 16 and 1" err
	edit "s/\"phm_layer\": .*/\"phm_layer\": true,/; s/\"shared_W_phm\": .*/\"shared_W_phm\": true,/"
	refused "shared_W_phm true is not supported"
	edit "s/\"config\": {/\"config\": {\"architecture\": \"lora\",/"
	refused "architecture lora is not supported"
	edit "s/\"config\": {/\"config\": {\"peft_type\": \"LORA\",/"
	refused "config has the key peft_type"
	edit "s/\"hidden_size\": .*/\"hidden_size\": 17,/"
	refused "hidden_size 17: the model has 16"
	edit "s/\"model_type\": .*/\"model_type\": \"bert\",/"
	refused "model_type bert: the model is a llama"
	edit "s/\"name\": .*/\"name\": \"a.b\",/"
	refused "a word without points"
	edit "s/\"output_adapter\": .*/\"output_adapter\": false,/"
	refused "no place of the model is left"'
test_that 'tensors that lack, are of another shape, or that nothing uses' '
	. ./fixture.sh
	edit "s/\"reduction_factor\": .*/\"reduction_factor\": 8,/"
	refused "adapter_down.0.weight is F32\[1,16\], this model and configuration want \[2,16\]"
	edit "s/\"mh_adapter\": .*/\"mh_adapter\": true,/"
	refused "adapter.safetensors lacks model.layers.0.attention_adapters.adapters.default.adapter_down.0.weight"
	edit "s/\"leave_out\": .*/\"leave_out\": [1],/"
	refused "nothing uses model.layers.1.output_adapters.adapters.default"
	edit ""
	rm bad/model_head.safetensors
	refused "neither the base nor the adapter has score.weight"
	edit ""
	sed "s/\"bad\": 0/\"bad\": 1/" i/head_config.json >bad/head_config.json
	refused "label2id names 1 twice"'
test_that 'a pickle is never read' '
	. ./fixture.sh
	edit ""
	mv bad/adapter.safetensors bad/pytorch_adapter.bin
	refused "pytorch_adapter.bin is a Python pickle, which is never read; convert it: .*use_safetensors=True"
	exits 3 peft-check bad 2>err
	grep "pytorch_adapter.bin is a Python pickle" err
	edit ""
	mv bad/model_head.safetensors bad/pytorch_model_head.bin
	refused "pytorch_model_head.bin is a Python pickle"'
test_that 'options that contradict the model are misuse' '
	exits 2 peft-init -q -m base -t bottleneck --preset unipelt -o none 2>err
	grep "none of seq_bn" err
	exits 2 peft-init -q -m base -t bottleneck --scaling much -o none 2>err
	grep "scaling .much." err
	exits 2 peft-init -q -m base -t bottleneck --adapter-name a/b -o none 2>err
	grep "a word without points" err
	exits 2 peft-init -q -m base -t bottleneck --rank 8 -o none 2>err
	grep "not an option of the method bottleneck" err
	exits 2 peft-init -q -m base -t lora --preset houlsby -o none 2>err
	grep "not an option of the method lora" err
	test ! -e none'
test_done
