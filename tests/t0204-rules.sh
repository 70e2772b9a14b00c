#!/bin/sh
# SPDX-License-Identifier: MIT
# pipelines/peft.mk: what is made of what, and what is left when a step fails
# or is interrupted.
. "$(dirname "$0")/lib.sh"
require make

cp -R "$DATA/examples/." . && chmod -R u+w .
# Not those of a make that runs the tests.
unset MAKEFLAGS MFLAGS MAKELEVEL
cat >Makefile <<X
MODEL = base
INIT = --task class --labels bad,good -r 2
TEST = test.pts
include $SRC/pipelines/peft.mk
train.batch.pts: BATCH = -b 4 -e 2 -s 1
X

test_that 'batches of JSON lines, and of text' '
	make train.batch.pts notes.batch.pts
	peft-tokenize -m base train.jsonl | peft-batch -b 4 -e 2 -s 1 >want
	cmp train.batch.pts want
	peft-tokenize -m base notes.txt | peft-batch >want
	cmp notes.batch.pts want
	# What is there is not made again; what is older is.
	make train.batch.pts | grep "up to date"
	sleep 1
	touch train.jsonl
	make train.batch.pts >log
	grep peft-tokenize log
	grep peft-batch log'
test_that 'an adapter, by the file that it is named by' '
	make train/adapter_model.safetensors
	test -s train.init/adapter_model.safetensors
	test -s train/adapter_config.json
	peft-check train.metrics.pts
	make train/adapter_model.safetensors | grep "up to date"'
test_that 'its evaluation on held-out text, which fails when the text cannot be read' '
	make train.eval.txt
	grep accuracy train.eval.txt
	cp test.pts whole.pts
	head -c 1000 whole.pts >test.pts
	exits 2 make train.eval.txt 2>err
	grep "^peft-eval: upstream peft-batch failed" err
	test ! -e train.eval.txt
	mv whole.pts test.pts'
test_that 'a bad line makes no file, and what depends on it fails' '
	echo "{" >broken.jsonl
	exits 2 make broken.batch.pts 2>err
	grep "^peft-tokenize: broken.jsonl:1: " err
	test ! -e broken.pts
	test ! -e broken.batch.pts'
test_that 'half of what a filter wrote to its output is removed' '
	printf "%s\n" "include $SRC/pipelines/peft.mk" "half.pts:" \
		"	peft-tokenize -m base --record 1 train.jsonl >\$@; kill -9 \$\$\$\$" >half.mk
	exits 2 make -f half.mk half.pts 2>err
	test ! -e half.pts'
test_that 'an adapter stays when its training fails or make is interrupted' '
	mkdir -p fake slow.init
	printf "%s\n" "#!/bin/sh" "mkdir -p slow; echo \$WORK >slow/adapter_model.safetensors; \$THEN" >fake/peft-step
	chmod +x fake/peft-step
	touch slow.init/adapter_model.safetensors slow.batch.pts
	export PATH=$PWD/fake:$PATH
	WORK=one THEN="exit 4" exits 2 make slow/adapter_model.safetensors
	grep -x one slow/adapter_model.safetensors
	sleep 1
	touch slow.batch.pts
	WORK=two THEN="sleep 20" env --default-signal=INT setsid make slow/adapter_model.safetensors 2>err &
	pid=$!
	i=0
	until grep -x two slow/adapter_model.safetensors || [ $i -ge 100 ]; do sleep 0.1; i=$((i + 1)); done
	kill -s INT -- -$pid
	got=0
	wait $pid || got=$?
	test $got -ne 0
	grep -x two slow/adapter_model.safetensors'
test_that 'a stage that stops early is no failure' '
	printf "%s\n" "include $SRC/pipelines/peft.mk" "few.pts: train.pts" \
		"	peft-batch -e 1000 train.pts | peft-head -n 2 >\$@" >few.mk
	make -f few.mk few.pts
	peft-check few.pts'
test_done
