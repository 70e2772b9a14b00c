#!/bin/sh
# SPDX-License-Identifier: MIT
# A whole training step: a random BERT of MiniLM's shape, LoRA 8 on query and
# value, 16 sequences of 8 to 48 tokens a step, as a share of the peak that
# kernels measures. With PYTHON=..., HF PEFT with the same model and batches.
#
# usage: step.sh [threads]; BUILD says where the tools are
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${BUILD:-build}" && pwd)
threads=${1:-$(nproc)}
PATH=$build/bin:$PATH
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
set -e

mkdir shape
cat >shape/config.json <<'JSON'
{"model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": 384,
 "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536, "vocab_size": 30522,
 "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
 "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02, "pad_token_id": 0}
JSON
awk 'BEGIN {
	split("[PAD] [UNK] [CLS] [SEP] [MASK]", s, " ")
	for (i = 0; i < 30522; i++) print i < 5 ? s[i + 1] : "w" i
}' >shape/vocab.txt
awk 'BEGIN {
	srand(1)
	for (i = 0; i < 480; i++) {
		n = 8 + int(rand() * 41)
		s = ""
		for (j = 0; j < n; j++) s = s (j ? "," : "") 1000 + int(rand() * 29000)
		printf "{\"input_ids\":[%s],\"label\":\"%s\"}\n", s, i % 2 ? "b" : "a"
	}
}' >data.jsonl
peft-init -q -t full --task class --labels a,b -m shape -s 1 -o base
peft-init -q -m base -r 8 --targets query,value --task class --labels a,b -s 1 -o init
peft-tokenize --task class --labels a,b -m base data.jsonl | peft-batch -b 16 -o batches.pts
peft-step -q -j "$threads" -m base -a init -o out batches.pts >log.pts

# Four times the frozen weights of the blocks a token; the median step.
peak=$("$build/tests/bench/kernels" "$threads" peak)
echo "MiniLM, LoRA 8 on query and value, $threads threads:"
peft-view --tsv log.pts | awk '$1 + 0 > 0 { print $7 / $5 }' | sort -g | awk -v peak="$peak" '
	{ t[NR] = $1 }
	END {
		r = 1 / t[int((NR + 1) / 2)]
		printf "peft-step   %8.0f tokens/s, %6.1f GFLOP/s, %.0f%% of %.0f\n", r, r * 42.5e-3, r * 4.25 / peak, peak
	}'
if [ -n "$PYTHON" ]; then
	OMP_NUM_THREADS=$threads "$PYTHON" "$here/peer.py" base data.jsonl "$threads"
fi
