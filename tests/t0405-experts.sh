#!/bin/sh
# SPDX-License-Identifier: MIT
# Mixtures of experts: trained with the loss of their routers, evaluated, merged.
. "$(dirname "$0")/lib.sh"
cp "$DATA"/examples/sums*.jsonl .
mkdir bare
cp "$DATA"/examples/base/tokenizer* bare
cat >bare/config.json <<'X2'
{"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "vocab_size": 320, "hidden_size": 24,
 "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
 "max_position_embeddings": 128, "initializer_range": 0.2, "num_local_experts": 5, "num_experts_per_tok": 2,
 "router_aux_loss_coef": 0.25, "output_router_logits": true}
X2
peft-init -q -m bare -t full -s 3 -o base || exit 1
rm base/full.json base/provenance.json
mkdir quiet
cp base/* quiet
sed 's/"output_router_logits": *true/"output_router_logits": false/' base/config.json >quiet/config.json
peft-tokenize -q -m base sums.jsonl >ex.pts || exit 1
peft-batch -q -b 4 --accumulate 2 -e 8 -s 1 -o b.pts ex.pts || exit 1
peft-tokenize -q -m base sums-test.jsonl | peft-batch -q -b 2 -o t.pts || exit 1
peft-init -q -m base -r 4 --targets q_proj --target-parameters gate_up_proj,down_proj,gate.weight -s 1 -o a || exit 1

cat >fixture.sh <<'X2'
# A column of the metrics, a value a line.
column() { peft-view --tsv "$1" | awk -F '\t' -v c="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) k = i; next } k { print $k }'; }
first() { column "$1" "$2" | head -n 1; }
X2
. ./fixture.sh

test_that 'config.json asks for it: the loss has it, the metrics show it, the routers learn' '
	. ./fixture.sh
	peft-step -m base -a a -o on --lr 3e-2 b.pts >on.pts
	peft-step -m base -a a -o off --lr 3e-2 --router-loss=0 b.pts >off.pts
	column on.pts router_loss >router
	test "$(wc -l <router)" -eq 16
	test -z "$(column off.pts router_loss)"
	near "$(first on.pts loss)" "$(awk -v t="$(first off.pts loss)" -v r="$(head -n 1 router)" "BEGIN { print t + 0.25 * r }")"
	awk "NR == 1 { a = \$1 } END { exit !(\$1 < a && \$1 > 1.9) }" router
	exits 1 peft-cmp -q on/adapter_model.safetensors off/adapter_model.safetensors'
test_that '--router-loss asks for it too, with a factor of its own; the option is part of the run' '
	. ./fixture.sh
	peft-step -q -m quiet -a a -o on2 --lr 3e-2 --router-loss b.pts >on2.pts
	peft-cmp on/adapter_model.safetensors on2/adapter_model.safetensors
	peft-step -q -m quiet -a a -o off2 --lr 3e-2 b.pts >off2.pts
	peft-cmp off/adapter_model.safetensors off2/adapter_model.safetensors
	exits 1 grep router-loss off2/provenance.json
	grep "router-loss=0.25" on2/provenance.json
	peft-step -q -m base -a a -o more --lr 3e-2 --router-loss=2 b.pts >more.pts
	awk -v a="$(column on.pts router_loss | tail -n 1)" -v b="$(column more.pts router_loss | tail -n 1)" "BEGIN { exit !(b < a) }"
	exits 2 peft-step -m base -a a -o on --lr 3e-2 --router-loss=0.5 b.pts 2>err >/dev/null
	grep "begun with router-loss=0.25, not router-loss=0.5" err
	exits 2 peft-step -m base -a a -o on --lr 3e-2 --router-loss=0 b.pts 2>err >/dev/null
	grep "begun with router-loss=0.25: give the same options" err
	exits 2 peft-step -m base -a a -o off --lr 3e-2 b.pts 2>err >/dev/null
	grep "begun without router-loss=0.25" err'
test_that 'recomputed blocks and threads change nothing; nor does a stop in the middle' '
	. ./fixture.sh
	peft-step -q -m base -a a -o re --lr 3e-2 --recompute -j 1 b.pts >re.pts
	peft-cmp on/adapter_model.safetensors re/adapter_model.safetensors
	column re.pts router_loss | diff router -
	peft-head -n 14 b.pts | head -c -100 >cut.pts
	exits 3 peft-step -q -m base -a a -o cut --lr 3e-2 cut.pts >c.pts 2>err
	peft-step -q -m base -a a -o cut --lr 3e-2 b.pts >c.pts
	peft-cmp on/adapter_model.safetensors cut/adapter_model.safetensors
	column c.pts router_loss | diff router -'
test_that 'evaluations show it beside the loss of the task' '
	. ./fixture.sh
	peft-eval -m base -a on t.pts >e
	tail -n 1 e | grep "^router_loss	"
	awk "\$1 == \"loss\" { l = \$2 } \$1 == \"perplexity\" { p = \$2 } END { d = p / exp(l); exit !(d < 1.0001 && d > 0.9999) }" e
	peft-eval -m quiet -a on t.pts >f
	exits 1 grep router_loss f
	sed \$d e | diff - f
	peft-step -q -m base -a a -o ev --lr 3e-2 --eval t.pts --eval-steps 16 b.pts >ev.pts
	near "$(column ev.pts eval_router_loss | tail -n 1)" "$(sed -n "s/^router_loss	\([^	]*\).*/\1/p" e)"
	near "$(column ev.pts eval_loss | tail -n 1)" "$(sed -n "s/^loss	\([^	]*\).*/\1/p" e)"'
test_that 'what can only add to a linear is refused at experts where it is made' '
	for t in dora oft ia3; do
		exits 2 peft-init -q -m base -t $t --targets w1,q_proj $([ $t != ia3 ] || echo --feedforward w1) -o no 2>err
		grep "w1 is of an expert: $t cannot act on it" err
		test ! -e no
	done
	peft-init -q -m base -t dora -r 2 --targets q_proj -o dora'
test_that 'what HF PEFT computes otherwise at experts is said, once' '
	for o in "--rslora" "--dropout 0.1" "--rank-pattern w1=2" "--alpha-pattern w2=4"; do
		peft-init -q -f -m base -r 2 --targets w1,w2,w3 $o -o said 2>err
		grep -c "HF PEFT does not compute the same for experts" err | grep -x 1
	done
	peft-init -q -f -m base -r 2 --targets w1,w2,w3 -o said 2>err
	exits 1 grep "HF PEFT" err'
test_that 'what has no experts has no such loss' '
	peft-init -q -m "$DATA/examples/base" -r 2 -o plain
	exits 2 peft-step -m "$DATA/examples/base" -a plain -o no --router-loss b.pts 2>err >/dev/null
	grep "router-loss: .*base has no experts" err
	sed -i "s/\"router_aux_loss_coef\": *0.25/\"router_aux_loss_coef\": 0/" quiet/config.json
	exits 2 peft-step -m quiet -a a -o no --router-loss b.pts 2>err >/dev/null
	grep "router_aux_loss_coef of quiet is 0" err'
test_that 'a dry run and the plan know it' '
	peft-step -m base -a a --dry-run b.pts >dry
	grep "^loss .*  router_loss " dry
	peft-step -m base -a a --plan b.pts | grep "the step fits"'

for type in qwen2 qwen3; do
	mkdir bare-$type
	cp "$DATA"/examples/base/tokenizer* bare-$type
	Type=$(echo $type | sed s/q/Q/)
	sed "s/mixtral/${type}_moe/; s/Mixtral/${Type}Moe/; s/num_local_experts/num_experts/" bare/config.json |
		sed "s/}\$/, \"moe_intermediate_size\": 16, \"shared_expert_intermediate_size\": 20, \"head_dim\": 6, \"decoder_sparse_step\": 1}/" \
		>bare-$type/config.json
	peft-init -q -m bare-$type -t full -s 3 -o $type || exit 1
	rm $type/full.json $type/provenance.json
done
test_that 'modules are those that PEFT sees: experts and routers are parameters, but where it is said or a file has them' '
	peft-init -m qwen2 -r 2 --targets all-linear -o linear2 >sites
	exits 1 grep -E "experts|mlp\.gate " sites
	grep shared_expert.gate_proj sites
	grep shared_expert_gate sites
	peft-init -m qwen2 -r 2 --targets q_proj,gate_proj,up_proj,down_proj --init false -o named2 >sites
	exits 1 grep experts sites
	grep shared_expert.down_proj sites
	peft-eval --no-base -m qwen2 -a named2 t.pts | grep loss
	peft-init -q -m qwen3 -r 2 --targets all-linear -o linear3
	exits 2 peft-init -m qwen3 -r 2 --targets q_proj,gate_proj -o no 2>err
	grep "gate_proj. is of experts or a router, which are parameters to PEFT: --target-parameters" err
	exits 2 peft-init -m qwen3 -r 2 --targets gate -o no 2>err
	grep "gate. is of experts" err
	# As transformers 4 has them.
	peft-init -m qwen3 -r 2 --targets experts.0.gate_proj,mlp.gate --init false -o old >sites
	grep experts.0.gate_proj sites
	exits 1 grep experts.1 sites
	peft-step -q -m qwen3 -a old -o old3 b.pts >old.pts
	peft-eval --no-base -m qwen3 -a old3 t.pts | grep loss
	# Mixtral keeps its linears: PEFT makes parameters of them.
	peft-init -m base -r 2 --targets q_proj,w1,gate -o linear1 >sites
	grep experts.4.w1 sites
	grep gate sites'
test_done
