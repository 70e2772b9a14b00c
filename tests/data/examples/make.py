#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes what the examples of the man pages work on (run here: ./make.py).

A random Llama of two layers with a byte-level tokenizer of few merges, some
labelled sentences, prompts with completions and a plain text. All of it is
committed; tests need no Python. Wants torch, transformers and tokenizers.
"""
import itertools
import json

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

things = ["kettle", "lamp", "chair", "radio", "knife", "coat", "clock", "bag"]
good = ["works well", "was worth the money", "still looks new"]
bad = ["broke at once", "is too heavy", "smells of glue"]
rows = []
for i, (thing, k) in enumerate(itertools.product(things, range(3))):
    label, words = ("good", good) if (i * 7 + k) % 2 else ("bad", bad)
    rows.append({"text": f"The {thing} {words[k]}.", "label": label})
pairs = [{"prompt": f"{a} and {b} are ", "completion": f"{a + b}."} for a in range(1, 6) for b in range(1, 5)]


def jsonl(name, items):
    with open(name, "w") as f:
        f.writelines(json.dumps(x) + "\n" for x in items)


jsonl("train.jsonl", rows[:16])
jsonl("test.jsonl", rows[16:])
jsonl("sums.jsonl", pairs[:16])
jsonl("sums-test.jsonl", pairs[16:])
jsonl("prompts.jsonl", [{"prompt": p["prompt"]} for p in pairs[16:]])
with open("notes.txt", "w") as f:
    f.writelines(f"A {t} stands on the table.\nNobody has moved the {t} for days.\n" for t in things)

tok = Tokenizer(models.BPE())
tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tok.decoder = decoders.ByteLevel()
tok.post_processor = processors.ByteLevel(trim_offsets=False)
tok.train_from_iterator(
    [r["text"] for r in rows] + [p["prompt"] + p["completion"] for p in pairs] + open("notes.txt").read().split("\n"),
    trainers.BpeTrainer(vocab_size=320, special_tokens=["<s>", "</s>"],
                        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
config = LlamaConfig(vocab_size=tok.get_vocab_size(), hidden_size=16, intermediate_size=32,
                     num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                     max_position_embeddings=128, tie_word_embeddings=True,
                     bos_token_id=0, eos_token_id=1, pad_token_id=1)
torch.manual_seed(0)
model = LlamaForCausalLM(config)
model.save_pretrained("base")
tok.save("base/tokenizer.json")
with open("base/tokenizer_config.json", "w") as f:
    json.dump({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>",
               "model_max_length": 128, "tokenizer_class": "PreTrainedTokenizerFast"}, f, indent=2)
    f.write("\n")
