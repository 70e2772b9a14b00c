#!/bin/sh
# SPDX-License-Identifier: MIT
# The GPU: the unit tests over it in place of the CPU, and the tools. Without
# one: what is said then.
. "$(dirname "$0")/lib.sh"
cp -R "$DATA/examples/base" base
cp "$DATA"/examples/*.jsonl .
mkdir none

test_that 'without a GPU: one line and status 5; auto is the CPU, silently' '
	CUDA_VISIBLE_DEVICES= exits 5 "$BUILD/tests/aux/device" cuda 2>err
	test "$(wc -l <err)" -eq 1
	CUDA_VISIBLE_DEVICES= exits 5 peft-generate -d cuda -m base --max-tokens 2 --prompt x 2>err
	test "$(wc -l <err)" -eq 1
	"$BUILD/tests/aux/device" auto >out 2>err
	grep "^cpu: " out
	test ! -s err'
test_that 'without the plug-in: where it was looked for' '
	PEFT_PLUGIN_DIR=$PWD/none
	export PEFT_PLUGIN_DIR
	exits 5 "$BUILD/tests/aux/device" cuda >out 2>err
	grep "no plug-in peft-cuda.so in .PEFT_PLUGIN_DIR\|CUDA: no device" err'
test_that 'a file that is no plug-in is refused' '
	mkdir -p bad
	echo nothing >bad/peft-cuda.so
	PEFT_PLUGIN_DIR=$PWD/bad exits 5 "$BUILD/tests/aux/device" cuda 2>err
	grep "cannot load the plug-in" err
	echo "const struct { unsigned abi; const char *name; void *open; } pt_plugin_entry = { 6, \"cuda\", 0 };" >a.c
	if command -v cc >/dev/null; then
		cc -shared -fPIC -o bad/peft-cuda.so a.c
		PEFT_PLUGIN_DIR=$PWD/bad exits 5 "$BUILD/tests/aux/device" cuda 2>err
		grep "has interface 6, this program [0-9]*: build both from one source" err
	fi
	PEFT_PLUGIN_DIR=$PWD/bad exits 2 "$BUILD/tests/aux/device" cuda:x 2>err
	grep "cuda:N has a number" err'

unset CUDA_VISIBLE_DEVICES
PEFT_PLUGIN_DIR=$BUILD/lib/peft
export PEFT_PLUGIN_DIR
if ! "$BUILD/tests/aux/device" cuda >gpu 2>why; then
	test_skip 'the GPU' "$(cat why)"
	test_done
	exit
fi
test_that 'a Hopper runs the code that is for it, not what others fall back to' '
	case $(cat gpu) in
	*H[12]00*) grep "code for Hopper" gpu ;;
	esac'
for unit in ${GPU_UNITS-$(sh "$SRC/.ci/gpu-units" "$BUILD")}; do
	test_that "$unit on the GPU" "
		cd '$SRC'
		PEFT_TEST_DEVICE=cuda '$BUILD/tests/unit/$unit'"
done

peft-tokenize -m base sums.jsonl | peft-batch -b 4 -e 4 -s 1 -o sums.pts
peft-init -q -m base -r 4 -s 1 -o init
test_that 'training: two runs have the same bytes, and end where the CPU ends' '
	peft-step -d cuda -m base -a init -o one --lr 1e-3 sums.pts >one.pts
	peft-step -d cuda -m base -a init -o two --lr 1e-3 sums.pts >two.pts
	cmp one/adapter_model.safetensors two/adapter_model.safetensors
	peft-step -d cpu -m base -a init -o cpu --lr 1e-3 sums.pts >cpu.pts
	peft-view --tsv one.pts | awk "\$1 + 0 > 0 { print \$2 }" >one.loss
	peft-view --tsv cpu.pts | awk "\$1 + 0 > 0 { print \$2 }" >cpu.loss
	test -s one.loss
	test "$(wc -l <one.loss)" -eq "$(wc -l <cpu.loss)"
	paste one.loss cpu.loss | awk "{ d = \$1 - \$2; if (d < 0) d = -d; if (d > 0.02 * \$2) exit 1 }"'
test_that 'a run that was cut off goes on to the same bytes' '
	head -c $(($(wc -c <sums.pts) * 2 / 3)) sums.pts >cut.pts
	exits 3 peft-step -d cuda -m base -a init -o half --lr 1e-3 cut.pts >/dev/null
	peft-step -d cuda -m base -a init -o half --lr 1e-3 sums.pts >/dev/null
	cmp half/adapter_model.safetensors one/adapter_model.safetensors'
test_that 'evaluation and text' '
	peft-eval -d cuda -m base -a one sums.pts >eval
	peft-eval -d cpu -m base -a one sums.pts >eval.cpu
	for f in eval eval.cpu; do awk "/^loss/ { print \$2 }" $f; done >losses
	awk "NR == 1 { a = \$1 } NR == 2 { d = \$1 - a; exit !(d * d < 1e-4 * a * a) }" losses
	peft-generate -d cuda -m base -a one --max-tokens 8 --prompt "1 and 2" >text
	test -s text'
test_that 'merging gives the bytes of the CPU' '
	peft-merge -d cuda -m base -a one -o merged
	peft-merge -d cpu -m base -a one -o merged.cpu
	cmp merged/model.safetensors merged.cpu/model.safetensors'
test_done
