#!/bin/sh
# SPDX-License-Identifier: MIT
# The tasks of encoders from text to results: tags of words, answers, masked
# tokens, sets of texts; learned by a tiny model on generated data.
. "$(dirname "$0")/lib.sh"

mkdir m
{
	printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'
	for c in a b c d e f g h i j k l m n o p q r s t u v w x y z; do echo "$c"; done
} >m/vocab.txt
echo '{"do_lower_case":true,"model_max_length":32,"tokenizer_class":"BertTokenizer"}' >m/tokenizer_config.json
cat >m/config.json <<-END
	{"architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": 31, "hidden_size": 32,
	 "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 32,
	 "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.2}
END
peft-init -q -t full -m m --task mlm -s 1 -o base
cp m/vocab.txt m/tokenizer_config.json base/

# value KEY FILE: a result of peft-eval; beats KEY FILE X: is it more than X?
value() {
	awk -v k="$1" '$1 == k { print $2 }' "$2"
}
beats() {
	value "$1" "$2" | awk -v x="$3" '{ exit !($1 > x) }' && test -n "$(value "$1" "$2")"
}

test_that 'tags of words: entities are learned, the adapter keeps their names' '
	# x begins a name, y goes on with it
	awk "BEGIN { srand(3); for (i = 0; i < 60; i++) { t = g = \"\"; for (k = 0; k < 6; k++) {
		w = substr(\"abcdxy\", 1 + int(rand() * 6), 1)
		t = t (k ? \",\" : \"\") \"\\\"\" w \"\\\"\"
		g = g (k ? \",\" : \"\") \"\\\"\" (w == \"x\" ? \"B-N\" : w == \"y\" ? \"I-N\" : \"O\") \"\\\"\" }
		print \"{\\\"tokens\\\":[\" t \"],\\\"ner_tags\\\":[\" g \"]}\" } }" >tags.jsonl
	peft-init -q -m base --task token-class --labels O,B-N,I-N --targets query,value,dense --save-modules embeddings -o tags0
	peft-tokenize -m base -a tags0 tags.jsonl >tags.pts
	peft-batch -b 10 -e 12 -s 1 tags.pts | peft-step -q -m base -a tags0 -o tags --lr 1e-2 >/dev/null
	peft-batch -b 7 tags.pts -o tags.b
	peft-eval -m base -a tags --classes --predictions p.pts tags.b >out
	test "$(cut -f 1 out | head -n 9 | tr "\n" " ")" = "metric examples tokens targets loss accuracy f1 precision recall "
	test "$(value targets out)" -eq 360
	beats f1 out 0.99
	beats accuracy out 0.99
	grep "^B-N	" out
	peft-check p.pts
	peft-view p.pts | grep "ids.*I32\[360\]"
	peft-view p.pts | grep "labels.*B-N"
	peft-view -m base --tsv --tensor ids p.pts | sed 1d >ids
	cut -f 1 ids | sed "s/0/O/g; s/1/B-N/g; s/2/I-N/g" >want
	cut -f 2 ids | cmp - want
	grep B-N want
	peft-view -m base tags.pts | grep "x→B-N"'

test_that 'from data, the pooler of a classifier too; a stream of another task is refused' '
	awk "BEGIN { srand(4); for (i = 0; i < 120; i++) { n = 3 + int(rand() * 5); t = \"\"
		for (k = 0; k < n; k++) t = t (k ? \" \" : \"\") substr(\"abcdefgh\", 1 + int(rand() * 8), 1)
		print \"{\\\"text\\\":\\\"\" t \"\\\",\\\"label\\\":\\\"\" (t ~ /a/ ? \"yes\" : \"no\") \"\\\"}\" } }" >has.jsonl
	peft-tokenize -q -m base --task class has.jsonl >has.pts
	peft-batch -q -b 12 -e 6 -s 1 has.pts >has.b
	peft-init -q -t full -m m --task class --labels no,yes -s 1 -o whole
	cp m/vocab.txt m/tokenizer_config.json whole/
	for i in eva corda; do
		peft-init -q -m whole --targets all-linear -r 2 --init $i -o $i has.b
		peft-view $i/adapter_model.safetensors | grep "pooler.dense.lora_A.weight"
		peft-step -q -m whole -a $i -o $i-on --lr 1e-2 has.b >/dev/null
		peft-eval -m whole -a $i-on has.b >out
		beats accuracy out 0.8
	done
	exits 2 peft-init -m base --task mlm --init eva -o none has.b 2>err
	grep "^peft-init: the stream is for the task class, base for mlm; use --task class or peft-tokenize --task mlm" err
	test ! -e none'

test_that 'tags that nobody knows yet: a class for each token' '
	echo "{\"tokens\":[\"a\",\"x\",\"y\"]}" | peft-tokenize -m base -a tags | peft-batch |
		peft-eval -m base -a tags --predictions q.pts >out
	exits 1 grep loss out
	peft-view --json q.pts | grep "\"ids\":\[[0-9],0,1,2,[0-9]\]"'

test_that 'answers: exact match and F1 by the best of the pieces' '
	# the answer is what follows q
	awk "BEGIN { srand(5); for (i = 0; i < 60; i++) { c = \"\"; n = 3 + int(rand() * 9); at = int(rand() * n)
		for (k = 0; k <= n; k++) { w = k == at ? \"q\" : substr(\"abcdefg\", 1 + int(rand() * 7), 1)
			c = c (k ? \" \" : \"\") w; if (k == at + 1) a = w }
		if (at + 1 > n) continue
		print \"{\\\"question\\\":\\\"z\\\",\\\"context\\\":\\\"\" c \"\\\",\\\"answers\\\":{\\\"text\\\":[\\\"\" a \"\\\"],\\\"answer_start\\\":[\" 2 * at + 2 \"]}}\" } }" >qa.jsonl
	peft-init -q -m base --task qa --targets query,value,dense --save-modules embeddings -o qa0
	peft-tokenize -m base qa.jsonl >qa.pts
	peft-batch -b 10 -e 25 -s 1 qa.pts | peft-step -q -m base -a qa0 -o qa --lr 1e-2 >/dev/null
	peft-batch qa.pts -o qa.b
	peft-eval -m base -a qa0 qa.b >before
	peft-eval -m base -a qa --predictions p.pts --loss qa.b >out
	test "$(cut -f 1 out | tr "\n" " ")" = "metric examples tokens targets loss exact f1 "
	beats exact out 0.9
	beats f1 out "$(value f1 before)"
	# in pieces: as many questions as there are
	peft-tokenize -m base --max-length 10 --stride 3 qa.jsonl | peft-batch | peft-eval -m base -a qa >pieces
	test "$(value targets pieces)" -eq "$(wc -l <qa.jsonl)"
	# Virtual tokens in front are no part of the text that answers are counted in.
	peft-init -q -m base -t prompt --virtual-tokens 3 --task qa --save-modules embeddings,encoder -o virtual0
	peft-tokenize -m base -a virtual0 qa.jsonl >virtual.pts
	peft-batch -b 10 -e 25 -s 1 virtual.pts | peft-step -q -m base -a virtual0 -o virtual --lr 3e-3 >/dev/null
	peft-batch virtual.pts | peft-eval -m base -a virtual >out
	beats f1 out 0.9
	test "$(value examples pieces)" -gt "$(value examples out)"
	beats exact pieces 0.5
	peft-check p.pts'

test_that 'masked tokens: perplexity falls; the adapter names the class of its model' '
	awk "BEGIN { for (i = 0; i < 60; i++) { for (k = 0; k < 12; k++) printf \"%c \", 97 + (i + k) % 5; print \"\" } }" >t.txt
	peft-init -q -m base --targets query,value,dense -o mlm0
	grep "\"base_model_class\": \"BertForMaskedLM\"" mlm0/adapter_config.json
	peft-tokenize -m base t.txt >t.pts
	peft-batch -b 10 -e 20 -s 1 t.pts | peft-step -q -m base -a mlm0 -o mlm --lr 2e-2 >/dev/null
	peft-batch -s 7 t.pts | peft-eval -m base -a mlm >out
	test "$(cut -f 1 out | tr "\n" " ")" = "metric examples tokens targets loss perplexity accuracy "
	awk "\$1 == \"perplexity\" { exit !(\$2 < \$3 / 4) }" out'

test_that 'sets of texts: an anchor finds its own; pairs with scores' '
	for a in a b c d e f g h; do
		for b in p q r; do echo "{\"anchor\":\"$a $b\",\"positive\":\"$b $a $a\",\"negative\":\"$b $b z\"}"; done
	done >s.jsonl
	peft-init -q -m base --task contrastive --targets query,value,dense -o sets0
	grep "FEATURE_EXTRACTION" sets0/adapter_config.json
	peft-tokenize -m base s.jsonl >s.pts
	peft-batch -b 24 -e 20 -s 1 s.pts | peft-step -q -m base -a sets0 -o sets --lr 1e-2 >/dev/null
	peft-batch -b 24 s.pts -o s.b
	peft-eval -m base -a sets --predictions p.pts s.b >out
	test "$(cut -f 1 out | tr "\n" " ")" = "metric examples tokens targets loss accuracy mrr "
	test "$(value targets out)" -eq 24
	awk "\$1 == \"loss\" { exit !(\$2 < \$3) }" out
	beats mrr out 0.9
	peft-view p.pts | grep "logits.*F32\[72,32\]"
	i=0
	for a in a b c d; do for b in a b c d; do
		if test $a = $b; then v=1.0; else v=0.0; fi
		echo "{\"sentence1\":\"$a $a\",\"sentence2\":\"$b\",\"score\":$v}"
	done; done >score.jsonl
	peft-tokenize -m base --task contrastive score.jsonl | peft-batch -b 6 -o score.b
	peft-eval -m base -a sets score.b >out
	test "$(cut -f 1 out | tr "\n" " ")" = "metric examples tokens targets loss spearman pearson "'

test_that 'pooling by the files of sentence-transformers; what is not known is refused' '
	cp -r base st
	mkdir st/1_Pooling
	modules() {
		printf "[{\"type\":\"sentence_transformers.models.Transformer\",\"path\":\"\"},"
		printf "{\"type\":\"sentence_transformers.models.Pooling\",\"path\":\"1_Pooling\"}%s]" "$1"
	}
	modules "" >st/modules.json
	embed() {
		peft-batch -b 24 s.pts | peft-eval -m "$1" --predictions e.pts >/dev/null
		peft-view --values e.pts 2>/dev/null || peft-view --json e.pts
	}
	embed base >plain
	echo "{\"pooling_mode_mean_tokens\":true}" >st/1_Pooling/config.json
	embed st | cmp plain -
	echo "{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}" >st/1_Pooling/config.json
	embed st >first
	exits 1 cmp -s plain first
	modules ",{\"type\":\"sentence_transformers.models.Normalize\",\"path\":\"2_Normalize\"}" >st/modules.json
	embed st >unit
	exits 1 cmp -s first unit
	echo "{\"pooling_mode_max_tokens\":true}" >st/1_Pooling/config.json
	peft-batch s.pts | exits 3 peft-eval -m st 2>err
	grep "1_Pooling/config.json: pooling_mode_max_tokens is not supported" err
	modules ",{\"type\":\"sentence_transformers.models.Dense\",\"path\":\"2_Dense\"}" >st/modules.json
	echo "{\"pooling_mode_mean_tokens\":true}" >st/1_Pooling/config.json
	peft-batch s.pts | exits 3 peft-eval -m st 2>err
	grep "modules.json: a module Dense is not supported" err'

test_done
