#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes base/tokenizer.json: byte-level BPE with 511 merges, single digits.

    awk -f words.awk -f text.awk -v seed=1 -v n=60000 | ./tokenizer.py base/tokenizer.json

The one part of the carried model that its own tools do not make; wants the package tokenizers.
"""
import json
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
tok = Tokenizer(models.BPE())
tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
tok.decoder = decoders.ByteLevel()
tok.train_from_iterator(
    (json.loads(line)["text"] for line in sys.stdin),
    trainers.BpeTrainer(vocab_size=768, special_tokens=["<|endoftext|>"],
                        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
tok.save(sys.argv[1])
