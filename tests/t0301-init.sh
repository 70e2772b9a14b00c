#!/bin/sh
# SPDX-License-Identifier: MIT
# peft-init: adapter directories and model directories to be trained.
. "$(dirname "$0")/lib.sh"
base=$DATA/examples/base
cp -R "$base" base

test_that 'the table names what was matched, with the share' '
	peft-init -m base -o a >out
	grep -E "^model.layers.#.self_attn.q_proj +Linear +0-1 +16 -> 16 +8 +2 +512$" out
	grep -x "trainable parameters: 896 of 10704 (8.371%)" out
	test "$(ls a)" = "$(printf "adapter_config.json\nadapter_model.safetensors\nprovenance.json")"
	test -z "$(find . -name ".*.tmp.*")"'
test_that 'the configuration is that of PEFT, keys sorted' '
	grep -o "^  \"[^\"]*\"" a/adapter_config.json >list
	LC_ALL=C sort -c list
	test "$(wc -l <list)" -eq 40
	grep -x "  \"peft_type\": \"LORA\"," a/adapter_config.json
	grep -x "  \"task_type\": \"CAUSAL_LM\"," a/adapter_config.json
	grep -x "  \"base_model_name_or_path\": \"base\"," a/adapter_config.json
	grep -x "  \"lora_alpha\": 16," a/adapter_config.json
	# PEFT's file of that is BitFit's.
	exits 2 peft-init -m base -t lora --alpha 0 -o none 2>err
	grep "no longer lora: its file would be read as bitfit" err'
test_that 'equal options and seeds give equal bytes, another seed others' '
	peft-init -q -m base -o b
	diff -r a b
	peft-init -q -m base -s 1 -o c
	exits 1 cmp a/adapter_model.safetensors c/adapter_model.safetensors'
test_that 'the same directory is left alone, another one refused' '
	cp a/adapter_model.safetensors before
	touch -d 2001-01-01 a/adapter_model.safetensors a/note
	peft-init -v -m base -o a >out 2>err
	grep "left alone" err
	test before -nt a/adapter_model.safetensors
	exits 1 peft-init -m base -r 4 -o a 2>err
	grep "^peft-init: a exists and holds something else; -f replaces it$" err
	cmp before a/adapter_model.safetensors
	peft-init -q -f -m base -r 4 -o a
	exits 1 cmp before a/adapter_model.safetensors
	test -e a/note
	test -z "$(find . -name ".*.tmp.*")"'
test_that 'the same under another name of the base is the same' '
	peft-init -q -m base -o b --base-name org/name
	grep "\"base\"" b/adapter_config.json
	peft-init -q -m base -o named --base-name org/name
	grep "org/name" named/adapter_config.json
	cmp named/adapter_model.safetensors b/adapter_model.safetensors
	cmp named/provenance.json b/provenance.json'
test_that 'an empty directory is filled, a file refused' '
	mkdir empty
	peft-init -q -m base -o empty/
	diff -r b empty
	echo x >file
	exits 1 peft-init -m base -o file 2>err
	grep "file is not a directory" err'
test_that 'what holds the directory that it runs in is not replaced, nor the root' '
	mkdir -p in/it
	cd in/it
	for o in / // .. ../.. /../ "$(dirname "$PWD")" ../../in; do
		exits 2 peft-init -q -m ../../base -f -o "$o" 2>err
		grep "^peft-init: .* holds the directory that this runs in: it is not replaced$" err
	done
	cd ../..
	ls -a .. | grep -c tmp | grep -x 0
	peft-init -q -m base -f -o in/it
	(cd in && exits 2 peft-merge -q -m ../base -a ../b -f -o .. 2>err && grep "^peft-merge: .. holds" err)'
test_that 'a rank above the smaller side of modules is said, once' '
	peft-init -q -m base -r 8 -o full8 2>err
	test ! -s err
	peft-init -q -m base -r 9 -o wide 2>err
	grep -x "peft-init: warning: rank 9 is more than the smaller side of 2 modules (model.layers.0.self_attn.v_proj: 8 x 16): what is above it adds nothing" err
	test "$(wc -l <err)" -eq 1
	peft-init -q -m base -t loha -r 2 --rank-pattern layers.1.self_attn.v_proj=17 -o wide2 2>err
	grep "rank 17 is more than the smaller side of 1 module (model.layers.1.self_attn.v_proj: 8 x 16)" err
	peft-init -q -m base -t vera -r 99 -o wide3 2>err
	test ! -s err'
test_that 'options become keys' '
	peft-init -q -m base --targets "q_proj,up_proj" --exclude layers.0.mlp.up_proj --layers 0-1 --layers-pattern layers \
		-r 4 --alpha 3.5 --dropout 0.1 --rslora --init gaussian --bias all --save-modules norm \
		--rank-pattern ".*up_proj=2" --alpha-pattern "q_proj=5" -o keys 2>err
	grep "bias all: the model has no such biases" err
	tr -d " \n" <keys/adapter_config.json >flat
	for k in "\"alpha_pattern\":{\"q_proj\":5}" "\"bias\":\"all\"" "\"exclude_modules\":\[\"layers.0.mlp.up_proj\"\]" \
		"\"init_lora_weights\":\"gaussian\"" "\"layers_pattern\":\"layers\"" "\"layers_to_transform\":\[0,1\]" \
		"\"lora_alpha\":3.5" "\"lora_dropout\":0.1" "\"modules_to_save\":\[\"norm\"\]" "\"r\":4" \
		"\"rank_pattern\":{\".\*up_proj\":2}" "\"target_modules\":\[\"q_proj\",\"up_proj\"\]" "\"use_rslora\":true"; do
		grep -q "$k" flat || { echo "no $k"; exit 1; }
	done
	peft-init -m base --targets ".*\.(q|k)_proj" -o regex | grep -c Linear | grep -x 2
	peft-init -m base --targets all-linear -o all | grep -c Linear | grep -x 7'
test_that 'an adapter_config.json to start from, options override it' '
	peft-init -q --config keys/adapter_config.json -m base -o again 2>err
	diff keys/adapter_config.json again/adapter_config.json
	cmp keys/adapter_model.safetensors again/adapter_model.safetensors
	sed "s/{/{\"zz\": {\"b\": 1, \"a\": 2},/" keys/adapter_config.json | sed "1!s/{\"zz.*2},/{/" >other.json
	peft-init -q --config other.json --no-rslora -r 6 -m base -o over 2>err
	tr -d " \n" <over/adapter_config.json >flat
	grep "\"zz\":{\"b\":1,\"a\":2}" flat
	grep "\"use_rslora\":false" flat
	grep "\"r\":6" flat'
test_that 'a head is made for a task, trained and saved; labels beside it' '
	peft-init -m base --labels "neg,pos,neu" -o cls >out
	grep -E "^score.weight +trained +- +3 x 16 +48$" out
	printf "[\n  \"neg\",\n  \"pos\",\n  \"neu\"\n]\n" | diff - cls/labels.json
	grep -x "  \"task_type\": \"SEQ_CLS\"," cls/adapter_config.json
	printf "neg\npos\r\nneu\n" >names
	peft-init -q -m base --labels names -o cls
	peft-init -m base --task regression -o reg | grep "1 x 16"
	exits 2 peft-init -m base --task class -o x 2>err
	grep "give --labels A,B or --num-labels N" err
	exits 2 peft-init -m base --task class --labels nofile.txt -o x 2>err
	grep "nofile.txt. is no file" err
	exits 2 peft-init -m base --labels "a,,b" -o x 2>err
	grep "label 2 is empty" err
	exits 2 peft-init -m base --labels "a,a" -o x 2>err
	grep "label .a. is there twice" err
	exits 2 peft-init -m base --task lm --num-labels 2 -o x 2>err
	grep "of no use to the task lm" err'
test_that 'full training: named modules train, all is saved' '
	peft-init -m base -t full --modules layers.1,model.norm -o full >out
	grep -x "trainable parameters: 2352 of 9808 (23.98%)" out
	test "$(ls full)" = "$(printf "config.json\nfull.json\ngeneration_config.json\nmodel.safetensors\nprovenance.json\ntokenizer.json\ntokenizer_config.json")"
	cmp full/tokenizer.json base/tokenizer.json
	peft-init -q -m base -t full --modules layers.1,model.norm -o full'
test_that 'full training from a description alone: random, by seed' '
	mkdir bare
	cp base/config.json base/tokenizer.json bare
	peft-init -m bare -t full -o r1 | grep -x "trainable parameters: 9808 of 9808 (100%)"
	peft-init -q -m bare -t full -o r2
	cmp r1/model.safetensors r2/model.safetensors
	peft-init -q -m bare -t full -s 1 -o r3
	exits 1 cmp r1/model.safetensors r3/model.safetensors
	exits 3 peft-init -m bare -o x 2>err'
test_that 'what matches nothing is an error, nothing is made' '
	for o in "--targets q_proj,qproj" "--exclude x" "--save-modules x" "--layers 2" "--rank-pattern x=2" \
		"--targets .*x" "--targets (" "--targets norm" "-t full --modules x" "-t full -r 4" "-t nope" \
		"--layers 1-x" "--rank-pattern q_proj" "--init orthogonal -r 3" "--modules norm" "extra"; do
		exits 2 peft-init -m base -o none $o 2>err
		test "$(wc -l <err)" -le 2
		test ! -e none
	done
	exits 2 peft-init -m base --targets q_proj,qproj -o none 2>err
	grep -x "peft-init: --targets: .qproj. matches no module of the model" err
	exits 2 peft-init -o none 2>err
	exits 2 peft-init -m base 2>err
	test -z "$(find . -name ".*.tmp.*")"'
test_that 'a stop signal leaves nothing' '
	peft-init -q -m base -t full -o stopped &
	kill -s TERM $! 2>/dev/null || :
	wait $! || test ! -e stopped
	test -z "$(find . -name ".*.tmp.*")"'
test_that 'messages name what was given: no temporary names, no empty names, no lines in labels' '
	exits 1 peft-init -q -m base -o none/at/all 2>err
	grep "^peft-init: none/at/all: cannot make the directory" err
	exits 2 peft-init -q -m "" -o none 2>err
	grep "^peft-init: option -m: the argument is empty$" err
	test "$(wc -l <err)" -eq 1
	exits 2 peft-init -q -m base --task class --labels "$(printf "a\nb"),c" -o none 2>err
	grep "has a control character" err
	test "$(wc -l <err)" -eq 1
	exits 3 peft-init -q -m base --config base/config.json -o none 2>err
	grep "^peft-init: base/config.json: neither peft_type nor config in it: not the configuration of an adapter" err'
test_done
