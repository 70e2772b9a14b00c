#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden values of adapters that are combined, as PEFT's add_weighted_adapter combines them.

    make_combine.py [-o DIR] [NAME ...]      writes DIR/weighted/NAME.safetensors (default tests/data/combine)

A tiny Llama and adapters whose values come from their names, the name of the
adapter first. Kinds that end in _svd are compared by the product B A, since
signs of singular vectors are arbitrary. What drops values at random is
compared where it drops none. Computed in float64.
"""
import argparse
import json
import os

import torch
from peft import get_peft_model

from cases import peft_config
from cases_llama import LLAMA
from golden import Golden, each_way, in_type, weight
from make_lora import file_key
from make_models import make_model

CONFIG = dict(LLAMA, num_key_value_heads=1, vocab_size=40)
LORA = {
    "n1": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "embed_tokens"]),
    "n2": dict(r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"], use_rslora=True),
    "n3": dict(r=4, lora_alpha=4, target_modules=["v_proj", "down_proj"], alpha_pattern={"down_proj": 7}),
    # Another rank, and one layer of another.
    "n4": dict(r=3, lora_alpha=5, target_modules=["q_proj", "up_proj"], rank_pattern={"layers.1.mlp.up_proj": 5}),
}
IA3 = {
    "n1": dict(peft_type="IA3", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "n2": dict(peft_type="IA3", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
}
ALL = ("n1", "n2", "n3", "n4")
SAME, THREE = ("n1", "n2", "n3"), (0.7, -0.4, 1.1)
# adapters, their names and weights, kind, density, more of add_weighted_adapter
CASES = {
    "cat": (LORA, ALL, (0.7, -0.4, 1.1, 0.5), "cat", None, {}),
    "svd": (LORA, ALL, (0.7, -0.4, 1.1, 0.5), "svd", None, {}),
    "svd-rank": (LORA, ("n1", "n2", "n4"), (0.7, -0.4, 0.5), "svd", None, dict(svd_rank=6)),
    "linear": (LORA, SAME, THREE, "linear", None, {}),
    "ties": (LORA, SAME, THREE, "ties", 0.6, {}),
    "ties-frequency": (LORA, SAME, THREE, "ties", 0.45, dict(majority_sign_method="frequency")),
    "ties-svd": (LORA, ALL, (0.7, -0.4, 1.1, 0.5), "ties_svd", 0.6, {}),
    "dare-linear": (LORA, SAME, THREE, "dare_linear", 1.0, {}),
    "dare-ties": (LORA, SAME, THREE, "dare_ties", 1.0, {}),
    "dare-ties-svd": (LORA, SAME, THREE, "dare_ties_svd", 1.0, {}),
    "dare-linear-svd": (LORA, SAME, THREE, "dare_linear_svd", 1.0, {}),
    "magnitude": (LORA, SAME, THREE, "magnitude_prune", 0.3, {}),
    "magnitude-svd": (LORA, SAME, THREE, "magnitude_prune_svd", 0.3, {}),
    "scales": (IA3, ("n1", "n2"), (0.7, 0.4), "linear", None, {}),
}


def fill(model, name, shapes):
    for key, p in model.named_parameters():
        if f".{name}" in key and ("lora_" in key or "ia3_" in key):
            key = file_key(key.replace(f".{name}", ""))
            shapes[key] = list(p.shape)
            p.data = torch.from_numpy(weight(f"{name}:{key}", tuple(p.shape))).to(p.dtype)


def combined(case, dtype):
    adapters, names, weights, kind, density, more = CASES[case]
    tables = {}
    model = make_model(CONFIG, {}, dtype)
    with in_type(dtype):
        model = get_peft_model(model, peft_config(adapters[names[0]]), names[0])
        for n in names[1:]:
            model.add_adapter(n, peft_config(adapters[n]))
    for n in names:
        fill(model, n, tables.setdefault(n, {}))
    model = model.to(dtype)
    with in_type(dtype):
        if adapters is IA3:
            model.base_model.add_weighted_adapter(list(names), list(weights), "out")
        else:
            model.base_model.add_weighted_adapter(list(names), list(weights), "out", combination_type=kind, density=density,
                                                  **more)
    out = {file_key(k.replace(".out", "")): p.detach() for k, p in model.named_parameters()
           if ".out" in k and ("lora_" in k or "ia3_" in k)}
    if "svd" in kind:
        out = {k.replace("_B", "_BA"): b @ out[k.replace("_B", "_A")] for k, b in out.items() if "_B" in k}
    # A module that an adapter does not act on is multiplied by one.
    if adapters is IA3:
        for i, n in enumerate(names):
            for k in out:
                if k not in tables[n]:
                    out[k] = out[k] + weights[i]
    return out, tables, model


def written(config):
    c = json.loads(json.dumps(config.to_dict(), default=lambda v: sorted(v) if isinstance(v, set) else str(v.value)))
    c.pop("runtime_config", None)
    return c


def make(case, directory, others):
    adapters, names, weights, kind, density, more = CASES[case]
    out, tables, model = combined(case, torch.float64)
    base = {k: list(p.shape) for k, p in make_model(CONFIG, {}, torch.float32).named_parameters()}
    g = Golden(case, config=CONFIG, task="lm", store="F32", parameters=base, adapters=list(names), weights=list(weights), kind=kind,
               density=density or 0, rank=more.get("svd_rank", 0), frequency="majority_sign_method" in more,
               adapter={n: written(model.peft_config[n]) for n in [*names, "out"]}, tensors=tables)
    for k, v in out.items():
        g.result(k, v.reshape(-1), {"f32": [o[k].reshape(-1) for o in others]})
    g.save(directory)
    print(f"{case}: {len(out)} tensors, error of torch f32 {max(e['f32'] for e in g.about['error'].values()):.1e}")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-o", default="tests/data/combine")
    a.add_argument("--rounded", metavar="DIR", help="float32 alone, for the process that asks (each_way)")
    a.add_argument("case", nargs="*")
    a = a.parse_args()
    torch.set_num_threads(1)
    names = a.case or list(CASES)
    if a.rounded:
        for name in names:
            torch.save(combined(name, torch.float32)[0], os.path.join(a.rounded, name + ".pt"))
        return
    directory = os.path.join(a.o, "weighted")
    os.makedirs(directory, exist_ok=True)
    with each_way(names) as others:
        for name in names:
            make(name, directory, others(name))


if __name__ == "__main__":
    main()
