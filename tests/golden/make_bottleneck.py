#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden values of bottleneck adapters: logits, loss, gradients, and ten steps of AdamW.

    make_bottleneck.py [-o DIR] [NAME ...]      writes DIR/KIN/NAME.safetensors (default tests/data/lora)

To be run where AdapterHub's library `adapters` 1.3.0 is installed, with the transformers that
it asks for. The cases stand in cases_bottleneck.py; all else is as in make_lora.py.
"""
import argparse
import json
import os
import tempfile
import warnings

import adapters
import torch
import transformers
from transformers.loss.loss_utils import ForCausalLMLoss

from cases_bottleneck import BOTTLENECK, HUB
from golden import Golden, each_way, in_type, weight
from make_lora import HYPER, train
from make_models import forward, join, make_inputs, make_model, parameters, to_torch

NAME = "x"


def is_own(key, name=NAME):
    return any(f"{kind}.{name}." in key for kind in ("adapters", "shared_parameters"))


def add_head(model, config, flex):
    """A head of the library's own: a keyword of add_KIND_head() is its kind."""
    kind = flex.get("kind", "classification")
    keys = {k: v for k, v in flex.items() if k != "kind"}
    if not kind.endswith("_lm"):
        keys["num_labels"] = 2 if kind == "qa" else config["num_labels"]
    getattr(model, f"add_{kind}_head")(NAME, **keys)


def add_adapter(model, name, preset, keys):
    # A copy: layers are looked up in place.
    model.add_adapter(name, config=adapters.AdapterConfig.load(preset, **json.loads(json.dumps(keys))))


def has_head(more):
    return "flex" in more or more.get("task", "lm") not in ("lm", "seq2seq")


def open_model(model, config, more, preset, keys):
    """The adapter x on the model, with the head and those below it; active."""
    if "flex" in more:
        add_head(model, config, more["flex"])
        model.loss_function = ForCausalLMLoss
    else:
        adapters.init(model)
    below = [f"b{i}" for i in range(len(more.get("below", [])))]
    for name, (own, changed) in zip(below, more.get("below", [])):
        add_adapter(model, name, own, changed)
    add_adapter(model, NAME, preset, keys)
    model.set_active_adapters(adapters.Stack(*below, NAME) if below else NAME)
    return below


def saved(model, name, with_head):
    """What the library writes of an adapter beside its tensors. The norm before a bottleneck has two names, which
    safetensors refuses."""
    about = {}
    with tempfile.TemporaryDirectory() as d:
        model.save_adapter(d, name, with_head=with_head)
        for f in "adapter_config", "head_config":
            if os.path.exists(os.path.join(d, f + ".json")):
                with open(os.path.join(d, f + ".json")) as file:
                    about[f] = json.load(file)
    return about


def trains(model, name, more):
    """As the library has it: what writes words stands still."""
    words = model.get_output_embeddings() if has_head(more) else None
    if words is not None and any(model.get_parameter(name) is p for p in words.parameters()):
        return False
    return is_own(name) or (has_head(more) and not name.startswith(model.base_model_prefix))


def make_adapter(config, more, preset, keys, dtype):
    """The model, what trains by its key, what of its files does not, those below, and the configurations."""
    cls = config["architectures"][0]
    if "flex" in more:
        setattr(transformers, cls, getattr(adapters, cls))
    model = make_model(config, more, dtype)
    # Its own types: values are put in below.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = open_model(model, config, more, preset, keys)
    model.eval()
    params, still, below = {}, {}, {name: {} for name in names}
    with torch.no_grad():
        for name, p in model.named_parameters():
            learned = p.requires_grad           # rules of the Compacter may not be
            p.requires_grad_(False)
            owner = [b for b in names if is_own(name, b)]
            if not owner and not is_own(name) and (not has_head(more) or name.startswith(model.base_model_prefix)):
                continue
            p.data = torch.from_numpy(weight(name, tuple(p.shape))).to(dtype)
            if not owner:
                p.requires_grad_(learned and trains(model, name, more))
            (below[owner[0]] if owner else params if p.requires_grad else still)[name] = p
    about = saved(model, NAME, has_head(more))
    about["below"] = [dict(adapter=saved(model, b, False)["adapter_config"],
                           tensors={k: list(p.shape) for k, p in below[b].items()}) for b in names]
    return model, params, still, about


def run(model, x, more):
    return forward(model, x, more)


def compute(config, more, preset, keys, h, x, dtype):
    model, params, still, about = make_adapter(config, more, preset, keys, dtype)
    x = to_torch(x, dtype)
    with in_type(dtype):
        outs, loss = run(model, x, more)
        loss.backward()
        got = dict(out=join(outs).detach(), loss=loss.detach(), grads={k: p.grad.clone() for k, p in params.items()})
        # Steps in bfloat16 are nobody's.
        decays = None
        if dtype != torch.bfloat16:
            got["losses"], decays = train(model, params, x, more, h, run)
            got["after"] = {k: p.detach().clone() for k, p in params.items()}
    return got, about, decays, {k: list(p.shape) for k, p in still.items()}


def rounded(name, config, lengths, more, bottleneck, changed):
    """The results in the smaller types that a case has."""
    types = {"f32": torch.float32}
    if more.get("store") == "BF16":
        types["bf16"] = torch.bfloat16
    x = make_inputs(name, config, lengths, more)
    return {k: compute(config, more, *bottleneck, dict(HYPER, **changed), x, t)[0] for k, t in types.items()}


def make(name, config, lengths, more, bottleneck, changed, directory, others):
    """others: of rounded(), each way."""
    h = dict(HYPER, **changed)
    x = make_inputs(name, config, lengths, more)
    got, about, decays, still = compute(config, more, *bottleneck, h, x, torch.float64)
    losses = got["losses"]
    fall = 1 - losses[-1].item() / losses[0].item()
    assert fall >= 0.3, (name, losses)
    shapes = {**{k: list(p.shape) for k, p in got["after"].items()}, **still}
    base = {k: list(p.shape) for k, p in parameters(make_model(config, more, torch.float32))}
    g = Golden(name, config=config, task=more.get("task", "lm"), store=more.get("store", "F32"), parameters=base,
               adapter=about["adapter_config"], head=about.get("head_config"), below=about["below"],
               tensors={k: s for k, s in shapes.items() if is_own(k)},
               head_tensors={k: s for k, s in shapes.items() if not is_own(k)},
               hyper=h, decays=decays, fall=fall)
    for k, v in x.items():
        g.put(k, v)
    g.learned(got, others)
    g.save_learned(losses, directory)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-o", default="tests/data/lora")
    a.add_argument("--rounded", metavar="DIR", help="float32 alone, for the process that asks (each_way)")
    a.add_argument("case", nargs="*")
    a = a.parse_args()
    torch.set_num_threads(1)
    cases = [(kin, name, case) for kin, table in (("bottleneck", BOTTLENECK), ("hub", HUB)) for name, case in table.items()
             if not a.case or name in a.case]
    if a.rounded:
        for kin, name, case in cases:
            torch.save(rounded(name, *case), os.path.join(a.rounded, name + ".pt"))
        return
    with each_way([name for kin, name, case in cases]) as others:
        for kin, name, case in cases:
            directory = os.path.join(a.o, kin)
            os.makedirs(directory, exist_ok=True)
            make(name, *case, directory, others(name))


if __name__ == "__main__":
    main()
