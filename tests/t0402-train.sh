# SPDX-License-Identifier: MIT
# peft-step: classes and labels, full training, bf16, what is not finite, what
# has no gradient.
. "$(dirname "$0")/lib.sh"
cp -R "$DATA/examples" work
cd work || exit 1

# f32 at offset (from the end of the file) becomes NaN, with the sign that x86 makes.
cat >nan.sh <<'X'
poison() {
	size=$(wc -c <"$1")
	printf '\000\000\300\377' | dd of="$1" bs=1 seek=$((size - $2)) conv=notrunc 2>/dev/null
}
X
peft-init -q -m base --labels bad,good -r 4 -o class || exit 1
peft-init -q -m base -r 4 -o lm || exit 1
peft-tokenize -m base -a class train.jsonl | peft-batch -b 4 -e 2 -s 1 -o class.pts
peft-tokenize -m base sums.jsonl | peft-batch -b 4 -e 2 -s 1 -o lm.pts

test_that 'classes are learned' '
	peft-step -m base -a class -o c1 --lr 1e-2 class.pts >c1.pts
	test -f c1/labels.json
	cmp class/labels.json c1/labels.json
	peft-view --tsv c1.pts >c1.tsv
	head -n 1 c1.tsv | grep loss'

test_that 'the dry run shows the first example with its class, or with what is learned marked' '
	peft-step -m base -a class --dry-run class.pts >dry
	grep "^first example, class \(bad\|good\): The " dry
	peft-step -m base -a lm --dry-run lm.pts >dry
	grep "^first example: . and . are⟦ [0-9]*.</s>⟧" dry'

test_that 'labels are mapped by name, in whatever order the stream has them' '
	peft-tokenize -m base --labels good,bad train.jsonl | peft-batch -b 4 -e 2 -s 1 -o turned.pts
	peft-step -m base -a class -o c2 --lr 1e-2 turned.pts >c2.pts
	cmp c1/adapter_model.safetensors c2/adapter_model.safetensors'

test_that 'a label that the adapter lacks is refused by name' '
	sed "s/\"bad\"/\"awful\"/" train.jsonl >awful.jsonl
	peft-tokenize -m base --labels awful,good awful.jsonl | peft-batch -o awful.pts
	exits 2 peft-step -m base -a class -o c3 awful.pts 2>err
	grep "no label .awful.; it has: bad, good" err'

test_that 'the task of the stream must be that of the adapter' '
	exits 2 peft-step -m base -a lm -o c4 class.pts 2>err
	grep "for the task class" err
	grep -e "--task" err'

test_that 'full training of named modules and of all' '
	peft-init -q -t full -m base --modules layers.1,model.norm -o part
	peft-step -m base -a part -o f1 --lr 1e-3 lm.pts >f1.pts
	test -f f1/model.safetensors
	test -f f1/config.json
	exits 1 cmp part/model.safetensors f1/model.safetensors
	peft-init -q -t full -m base -o all
	peft-step -m base -a all -o f2 --lr 1e-3 lm.pts >f2.pts
	touch -d 2001-01-01 f2/model.safetensors
	peft-step -m base -a all -o f2 --lr 1e-3 lm.pts | cmp - f2.pts
	test -z "$(find f2/model.safetensors -newermt 2001-02-01)"'

test_that 'full training resumes to the bit' '
	size=$(wc -c <lm.pts)
	head -c $((size * 2 / 3)) lm.pts >cut.pts
	exits 3 peft-step -m base -a all -o f3 --lr 1e-3 cut.pts >f3.pts
	peft-step -m base -a all -o f3 --lr 1e-3 lm.pts >f3.pts
	cmp f2/model.safetensors f3/model.safetensors'

test_that 'a checkpoint is an adapter to start from' '
	n=$(ls c1/checkpoints | grep step-)
	peft-step -m base -a c1/checkpoints/$n -o c5 class.pts >/dev/null
	test -f c5/adapter_model.safetensors'

test_that 'bf16 by name works and is near' '
	peft-step -m base -a lm -o b1 --lr 1e-2 --dtype bf16 lm.pts >b1.pts
	peft-step -m base -a lm -o b2 --lr 1e-2 --dtype f32 lm.pts >b2.pts
	exits 1 cmp -s b1/adapter_model.safetensors b2/adapter_model.safetensors
	grep "\"dtype\": \"bf16\"" b1/checkpoints/*/training_state.json
	exits 2 peft-step -m base -a lm -o b1 --lr 1e-2 --dtype f32 lm.pts 2>err
	grep "dtype=bf16, not dtype=f32" err'

test_that 'a NaN stops before the update and names tensor, examples and file' '
	. ./nan.sh
	cp -R lm sick
	poison sick/adapter_model.safetensors 40
	exits 4 peft-step -m base -a sick -o n1 lm.pts >/dev/null 2>err
	cat err
	grep "step 1: .*the loss is nan .*in example" err
	grep "first bad tensor: the value of model.*lora_" err
	test ! -e n1/adapter_model.safetensors
	exits 4 peft-step -m base -a sick -o n2 n1/nan-step-00000001.pts >/dev/null 2>err
	peft-step -m base -a lm -o n3 n1/nan-step-00000001.pts >/dev/null
	cp -R base sickbase
	poison sickbase/model.safetensors 400
	exits 4 peft-step -m sickbase -a lm -o n4 lm.pts >/dev/null 2>err
	grep "first bad tensor: the base.s " err'

test_that 'a loss that overflows later: what was trained before is saved' '
	exits 4 peft-step -m base -a all -o n5 --lr 1e9 --clip 0 --schedule constant lm.pts >/dev/null 2>err
	cat err
	n=$(ls n5/checkpoints | grep -c step-)
	test $n -eq 1'

test_that 'nothing has a gradient: status 4, nothing saved' '
	sed "s/}/, \"weight\": 0}/" sums.jsonl | peft-tokenize -m base | peft-batch -b 1 -o none.pts
	exits 4 peft-step -m base -a lm -o z1 none.pts >/dev/null 2>err
	grep "no gradient reached any" err
	test "$(ls z1/checkpoints | grep -c step-)" -eq 0'

test_that 'a tensor without a gradient is listed by its path' '
	peft-step -m base -a lm -o z2 --lr 0 --schedule constant lm.pts >/dev/null 2>err
	cat err
	grep -e "--lr 0 learns nothing" err
	grep "no gradient has reached .*lora_A" err'
test_done
