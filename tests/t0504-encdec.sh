#!/bin/sh
# SPDX-License-Identifier: MIT
# Encoder-decoders from text to text: tokenized, batched, trained, evaluated, merged, generated with.
. "$(dirname "$0")/lib.sh"
mkdir base
cp "$DATA"/examples/base/tokenizer* base
cp "$DATA"/examples/sums*.jsonl .
config() {
	printf '{"model_type": "t5", "architectures": ["%s"], "vocab_size": 320, "d_model": 32, "d_kv": 12, "num_heads": 3,
	"d_ff": 48, "num_layers": 2, "num_decoder_layers": 3, "feed_forward_proj": "gated-gelu", "pad_token_id": 0,
	"eos_token_id": 1, "dropout_rate": 0.1%s}\n' "$1" "$2"
}
start=', "decoder_start_token_id": 0'
config T5ForConditionalGeneration "$start" >base/config.json
peft-init -q -m base -t full -s 1 -o model
peft-tokenize -m model sums.jsonl >ex.pts
peft-batch -b 3 -e 40 -s 1 ex.pts >b.pts
peft-tokenize -m model sums-test.jsonl | peft-batch -b 2 >t.pts
test_that 'the class tells the task; LoRA goes to q and v of all three attentions' '
	peft-view ex.pts >head
	grep "^  task  *seq2seq$" head
	peft-view b.pts >head
	grep "^  max_decoder_tokens " head
	peft-init -m model -r 4 -s 2 -o a >out
	grep "\"task_type\": \"SEQ_2_SEQ_LM\"" a/adapter_config.json
	peft-view --stats a/adapter_model.safetensors >list
	test "$(grep -c "lora_A" list)" -eq 16
	grep "decoder.block.2.layer.1.EncDecAttention.v.lora_A.weight" list'
test_that 'the plan is what the step needs, and a run of it learns' '
	peft-step -m model -a a -o no --plan b.pts >plan
	grep "the step fits" plan
	peft-step -m model -a a -o ad --lr 1e-2 b.pts >m.pts
	peft-eval -m model -a ad t.pts >eval
	grep "^targets	" eval
	awk "\$1 == \"loss\" { exit !(\$2 < \$3) }" eval
	grep "^perplexity	" eval
	grep "^accuracy	" eval'
test_that 'threads and recomputed blocks change nothing' '
	peft-step -m model -a a -o ad1 --lr 1e-2 -j 1 b.pts >/dev/null
	peft-cmp ad/adapter_model.safetensors ad1/adapter_model.safetensors
	peft-step -m model -a a -o ad2 --lr 1e-2 --recompute b.pts >/dev/null
	peft-cmp ad/adapter_model.safetensors ad2/adapter_model.safetensors'
test_that 'predictions hold the ids of the targets and the loss of each example' '
	peft-eval -m model -a ad --predictions p.pts --loss t.pts >/dev/null
	peft-view p.pts >p
	grep "^  task  *seq2seq$" p'
test_that 'text is generated from the start token on, the same with any threads' '
	peft-generate -m model -a ad --max-tokens 8 --json sums-test.jsonl >one
	test "$(wc -l <one)" -eq 4
	grep -c "\"end\":\"\(max_tokens\|eos\)\"" one | grep -x 4
	peft-generate -j 1 -m model -a ad --max-tokens 8 --json sums-test.jsonl >two
	cmp one two
	peft-generate -m model --max-tokens 8 --json sums-test.jsonl >bare
	exits 1 cmp one bare
	peft-generate -m model -a ad --ignore-eos --context 5 --json --prompt "1 and 2" >short
	grep "\"end\":\"context\"" short'
test_that 'a source may be longer than the context' '
	awk "BEGIN { for (i = 0; i < 99; i++) printf \"%d and \", i }" >long.txt
	peft-generate -m model -a ad --ignore-eos --context 5 long.txt long.txt >short
	peft-generate -m model -a ad --ignore-eos --context 4000 --max-tokens 5 long.txt long.txt >want
	cmp short want'
test_that 'a merged model says the same; tie_word_embeddings is not touched' '
	peft-merge -q -m model -a ad -o merged
	peft-generate -m merged --max-tokens 8 --json sums-test.jsonl >three
	cmp one three
	exits 1 grep tie_word_embeddings merged/config.json
	peft-eval -m merged t.pts >m
	test "$(awk "\$1 == \"loss\" { printf \"%.4f\", \$2 }" m)" = "$(awk "\$1 == \"loss\" { printf \"%.4f\", \$2 }" eval)"'
test_that 'a class head reads the last end token' '
	printf "{\"input_ids\": [5, 9, 1, 7], \"label\": \"x\"}\n{\"input_ids\": [8, 1], \"label\": \"y\"}\n" >c.jsonl
	peft-init -q -m model --task class --labels x,y -s 2 -o ca
	peft-tokenize -m model -a ca c.jsonl | peft-batch -b 2 -e 30 >c.pts
	peft-step -m model -a ca -o cad --lr 1e-2 c.pts >/dev/null
	peft-eval -m model -a cad c.pts >ce
	grep -E "^accuracy	1(	|$)" ce
	printf "{\"input_ids\": [5, 9], \"label\": \"x\"}\n" | peft-tokenize -m model -a ca - | peft-batch >none.pts
	exits 3 peft-eval -m model -a cad none.pts 2>err
	grep "has no end token" err'
test_that 'what does not fit is refused' '
	exits 2 peft-init -m model --task lm -o x 2>err
	grep "task lm is not supported for model type t5" err
	peft-tokenize -m model --task lm sums.jsonl | peft-batch >lm.pts
	exits 2 peft-step -m model -a a -o x lm.pts 2>err
	grep "the stream is for the task lm" err
	sed "s/\"completion\".*/\"x\": 1}/" sums.jsonl | peft-tokenize -m model --task seq2seq - | peft-batch >none.pts
	exits 3 peft-step -m model -a a -o y none.pts 2>err
	grep "no decoder_ids" err
	mkdir bad
	cp model/* bad
	config T5ForConditionalGeneration >bad/config.json
	exits 3 peft-generate -m bad --prompt x 2>err
	grep "decoder_start_token_id is missing" err'
test_done
