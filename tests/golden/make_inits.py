#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden values of LoRA's first values: PiSSA, OLoRA, CorDA and EVA as HF PEFT makes them, and ten steps from there.

    make_inits.py [-o DIR] [NAME ...]      writes DIR/lora/NAME.safetensors (default tests/data/inits)

The cases stand in cases_inits.py. A and B as they begin are stored whole; logits, loss, gradients, losses and the
tensors after ten steps as make_lora.py stores them. Signs of singular vectors are arbitrary: those of every other
computation are turned to those of the golden file, row by row of A and column by column of B.

EVA's components are PEFT's of one batch, whose randomised SVD is taken exactly, but for cases with "whole": there it
is exact as it stands. Computed in float64.
"""
import argparse
import dataclasses
import os
import sys
import types
import warnings

import torch

from cases import table
from experts import files
from golden import Golden, each_way, in_type, weight
from make_lora import HYPER, PEFT_TASK, file_key, run, train
from make_models import forward, join, make_inputs, make_model, to_torch


# What PEFT's CorDA takes of a package that it does not ask for.
sys.modules.setdefault("attr", types.SimpleNamespace(dataclass=dataclasses.dataclass))


def lora_config(keys, task):
    from peft import EvaConfig, LoraConfig
    from peft.tuners.lora.config import CordaConfig

    keys = dict(keys, task_type=PEFT_TASK.get(task, "SEQ_CLS"))
    for name, cls in ("eva_config", EvaConfig), ("corda_config", CordaConfig):
        if name in keys:
            keys[name] = cls(**keys[name])
    return LoraConfig(**keys)


def eva(model, x, more):
    from peft.tuners.lora import eva as peft_eva
    from peft.utils import incremental_pca

    n = len(x["in.cu"]) - 1
    batch = {"input_ids": x["in.ids"].view(n, -1)}
    if "in.types" in x:
        batch["token_type_ids"] = x["in.types"].view(n, -1)
    if more.get("task", "lm") == "lm":
        batch["labels"] = x["in.labels"].view(n, -1)
    fns = {}
    if "in.decoder_ids" in x:
        batch["decoder_input_ids"] = model.get_base_model()._shift_right(x["in.decoder_ids"].view(n, -1))
        # The rows of two stacks: all count.
        fns = dict(prepare_model_inputs_fn=None, prepare_layer_inputs_fn=None)
    if more.get("task") == "class":
        # Those of tokens and, in the head, of sequences; a pooler's are no contiguous ones, on which PEFT's hash fails.
        fns = dict(prepare_model_inputs_fn=None, prepare_layer_inputs_fn=None)
        peft_eva.HashHook.hash_fn = staticmethod(lambda x: hash(tuple(x.reshape(-1).tolist())))
    pca = incremental_pca.IncrementalPCA

    class Exact(pca):
        def __init__(self, *args, **kw):
            super().__init__(*args, **dict(kw, lowrank=False))

    if not more.get("whole"):
        peft_eva.IncrementalPCA = Exact
    try:
        peft_eva.initialize_lora_eva_weights(model, [batch], show_progress_bar=False, **fns)
    finally:
        peft_eva.IncrementalPCA = pca


def make_adapter(config, more, keys, x, dtype):
    """(model, {key of the file: parameter that trains})"""
    from peft import get_peft_model
    from peft.tuners.lora.corda import preprocess_corda

    model = make_model(config, more, dtype)
    adapter = lora_config(keys, more.get("task", "lm"))
    with in_type(dtype), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if keys["init_lora_weights"] == "corda":
            preprocess_corda(model, adapter, run_model=lambda: forward(model, x, more))
        model = get_peft_model(model, adapter)
        # Its own generator, and its own type.
        for p in model.parameters():
            if p.requires_grad:
                p.data = p.data.to(dtype)
        if keys["init_lora_weights"] == "eva":
            eva(model, x, more)
    model.eval()
    params = {}
    for name, p in model.named_parameters():
        if p.requires_grad and ".original_module." not in name:
            params[file_key(name)] = p
        else:
            p.requires_grad_(False)
    return model, params


def compute(config, lengths, more, keys, h, x, dtype):
    x = to_torch(x, dtype)
    model, params = make_adapter(config, more, keys, x, dtype)
    first = {k: p.detach().clone() for k, p in params.items()}
    # A zero B would leave A without a gradient.
    for k, p in params.items():
        if keys["init_lora_weights"] == "eva" and ".lora_B." in k:
            p.data.copy_(torch.from_numpy(weight(k, tuple(p.shape))))
    with in_type(dtype):
        outs, loss = run(model, x, more)
        loss.backward()
        grads = {k: p.grad.clone() for k, p in params.items()}
        losses, decays = train(model, params, x, more, h)
    after = {k: p.detach().clone() for k, p in params.items()}
    return dict(first=first, out=join(outs).detach(), loss=loss.detach(), grads=grads, losses=losses, after=after), model, decays


def rounded(name, config, lengths, more, keys, changed):
    return compute(config, lengths, more, keys, dict(HYPER, **changed), make_inputs(name, config, lengths, more),
                   torch.float32)[0]


def turn(other, want):
    """The tensors of other with the signs of want's first ones."""
    for key in [k for k in want["first"] if k.endswith(".lora_A.weight")]:
        sign = torch.sign((other["first"][key].double() * want["first"][key]).sum(1)).to(other["first"][key].dtype)
        for part in "first", "grads", "after":
            other[part][key] = other[part][key] * sign[:, None]
            b = key.replace(".lora_A.", ".lora_B.")
            other[part][b] = other[part][b] * sign
    return other


def make(name, config, lengths, more, keys, changed, directory, others):
    h = dict(HYPER, **changed)
    x = make_inputs(name, config, lengths, more)
    got, model, decays = compute(config, lengths, more, keys, h, x, torch.float64)
    others = [turn(o, got) for o in others]
    fall = 1 - got["losses"][-1].item() / got["losses"][0].item()
    assert fall >= 0.3, (name, got["losses"])
    made = model.peft_config["default"]
    base = files(make_model(config, more, torch.float32).named_parameters(), config["model_type"])
    base = {k: list(p.shape) for k, p in base.items()}
    wants = dict(rank_pattern=dict(made.rank_pattern), alpha_pattern=dict(made.alpha_pattern),
                 target_modules=sorted(made.target_modules)) if keys["init_lora_weights"] == "eva" else None
    g = Golden(name, config=config, task=more.get("task", "lm"), store="F32", parameters=base,
               adapter=dict(keys, peft_type="LORA"), wants=wants, hyper=h, decays=decays, fall=fall)
    for k, v in x.items():
        g.put(k, v)
    for k, v in got["first"].items():
        g.result("first." + k, v, {"f32": [o["first"][k] for o in others]})
    for k in "out", "loss", "losses":
        g.result(k, got[k], {"f32": [o[k] for o in others]})
    largest = max(v.abs().max().item() for v in got["grads"].values())
    for what, top, part in (("", largest, "grads"), ("after.", 1, "after")):
        for k, v in got[part].items():
            g.gradient(what + k, v, {"f32": [o[part][k] for o in others]}, top)
    g.save(directory)
    worst = max(g.about["error"], key=lambda k: g.about["error"][k]["f32"])
    print(f"{name}: loss {got['losses'][0].item():.4f}, -{100 * fall:.0f}%; error of torch f32 "
          f"{g.about['error'][worst]['f32']:.1e} ({worst}); {os.path.getsize(os.path.join(directory, name + '.safetensors'))} bytes")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-o", default="tests/data/inits")
    a.add_argument("--rounded", metavar="DIR", help="float32 alone, for the process that asks (each_way)")
    a.add_argument("case", nargs="*")
    a = a.parse_args()
    torch.set_num_threads(1)
    cases = table("INITS", a.case)
    if a.rounded:
        for _, name, case in cases:
            torch.save(rounded(name, *case), os.path.join(a.rounded, name + ".pt"))
        return
    directory = os.path.join(a.o, "lora")
    os.makedirs(directory, exist_ok=True)
    with each_way([name for _, name, _ in cases]) as others:
        for _, name, case in cases:
            make(name, *case, directory, others(name))


if __name__ == "__main__":
    main()
