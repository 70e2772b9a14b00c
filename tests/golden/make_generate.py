#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden texts: what generate() of transformers makes, greedily, of tiny models.

    make_generate.py [-o FILE]      writes FILE (default tests/data/generate.json)

The models are cases of make_models.py that decode; a text has one prompt that
is shorter than windows and original positions, and one that is longer; of FAR
both are read in more than one piece. In
float64; where the likeliest token is not likeliest by far, another prompt is
tried, so that no rounding decides.
"""
import argparse
import json

import torch
import transformers

from cases import table
from golden import in_type
from make_models import fresh_rope, integers, make_model

PROMPTS, NEW, GAP = [3, 6, 21], 14, 2e-3
# Original positions are 275.
FAR = dict.fromkeys(["dynamic-far", "phi3-far", "llama-far"], [268, 300])
# Of which a text is made: decoding shows nothing new of the others.
NAMES = """gpt2-scaled neox neox-serial opt-plain opt-post bloom-after falcon-7b-keys falcon-rw falcon-40b phi
           llama2 llama3 llama-long dynamic yarn mistral qwen2 qwen3 qwen3-biased smollm3-window granite olmo2-biased phi3 phi3-long
           gemma-biased gemma2-bf16 gemma3-keys mixtral mixtral-window qwen2-moe qwen3-moe-plain t5-flan mt5""".split()


def text(model, prompt):
    """The new ids, and how far the likeliest was above the next at least, as a share of the largest logit."""
    c = transformers.GenerationConfig(max_new_tokens=NEW, do_sample=False, use_cache=True, eos_token_id=None, pad_token_id=0,
                                      bos_token_id=None, output_logits=True, return_dict_in_generate=True,
                                      decoder_start_token_id=model.config.decoder_start_token_id
                                      if model.config.is_encoder_decoder else None)
    fresh_rope(model)
    model.config.use_cache = True
    # What a given configuration leaves open comes from the model's.
    model.generation_config.eos_token_id = None
    out = model.generate(torch.tensor([prompt]), generation_config=c, attention_mask=torch.ones(1, len(prompt), dtype=torch.long))
    z = torch.cat(out.logits)
    assert len(z) == NEW
    best = z.topk(2).values
    return out.sequences[0, -NEW:].tolist(), ((best[:, 0] - best[:, 1]) / z.abs().max(1).values).min().item()


def texts(name, config, lengths, more):
    model = make_model(config, more, torch.float64)
    out = []
    for n in FAR.get(name, PROMPTS):
        best = None
        # Texts that do not run in circles.
        for salt in range(5):
            prompt = integers(f"{name}:prompt{n}:{salt}", n, 4, config["vocab_size"]).tolist()
            with in_type(torch.float64):
                made, gap = text(model, prompt)
            if gap > GAP and (best is None or len(set(made)) > len(set(best["text"]))):
                best = dict(prompt=prompt, text=made)
        assert best, name
        print(f"{name}: {len(set(best['text']))} of {NEW} differ")
        out.append(best)
    return out


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-o", default="tests/data/generate.json")
    a = a.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    found = {name: texts(name, *case) for _, name, case in table("MODELS") if name in [*NAMES, *FAR]}
    assert sorted(found) == sorted([*NAMES, *FAR])
    with open(a.o, "w") as f:
        f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in found.items()) + "\n}\n")


if __name__ == "__main__":
    main()
