#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden values of bottleneck adapters: logits, loss, gradients, and ten steps of AdamW.

    make_bottleneck.py [-o DIR] [NAME ...]      writes DIR/NAME.safetensors (default tests/data/lora/bottleneck)

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

from cases_bottleneck import BOTTLENECK
from golden import Golden, each_way, in_type, weight
from make_lora import HYPER, train
from make_models import forward, join, make_inputs, make_model, parameters, to_torch

NAME = "x"


def is_own(key):
    return f".adapters.{NAME}." in key or f"shared_parameters.{NAME}." in key


def make_adapter(config, more, preset, keys, dtype):
    """The model, what trains by its key, and the configurations as files have them."""
    cls = config["architectures"][0]
    if "flex" in more:
        setattr(transformers, cls, getattr(adapters, cls))
    model = make_model(config, more, dtype)
    # Its own types: values are put in below.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "flex" in more:
            model.add_classification_head(NAME, num_labels=config["num_labels"], **more["flex"])
        else:
            adapters.init(model)
        # A copy: layers are looked up in place.
        model.add_adapter(NAME, config=adapters.AdapterConfig.load(preset, **json.loads(json.dumps(keys))))
    model.set_active_adapters(NAME)
    model.eval()
    params, still, has_head = {}, {}, more.get("task", "lm") not in ("lm", "seq2seq")
    with torch.no_grad():
        for name, p in model.named_parameters():
            own = is_own(name)
            if own and not p.requires_grad:         # rules that are not learned
                still[name] = p
                p.data = torch.from_numpy(weight(name, tuple(p.shape))).to(dtype)
                continue
            p.requires_grad_(own or (has_head and not name.startswith(model.base_model_prefix)))
            if p.requires_grad:
                params[name] = p
                p.data = torch.from_numpy(weight(name, tuple(p.shape))).to(dtype)
    with tempfile.TemporaryDirectory() as d:
        # The norm before a bottleneck has two names, which safetensors refuses.
        model.save_adapter(d, NAME, with_head=has_head)
        about = {}
        for f in "adapter_config", "head_config":
            if os.path.exists(os.path.join(d, f + ".json")):
                with open(os.path.join(d, f + ".json")) as file:
                    about[f] = json.load(file)
    return model, params, still, about


def compute(config, more, preset, keys, h, x, dtype):
    model, params, still, about = make_adapter(config, more, preset, keys, dtype)
    x = to_torch(x, dtype)

    def run(model, x, more):
        return forward(model, x, more)

    with in_type(dtype):
        outs, loss = run(model, x, more)
        loss.backward()
        grads = {k: p.grad.clone() for k, p in params.items()}
        losses, decays = train(model, params, x, more, h, run)
    after = {k: p.detach().clone() for k, p in params.items()}
    return dict(out=join(outs).detach(), loss=loss.detach(), grads=grads, losses=losses, after=after), about, decays, {k: list(p.shape) for k, p in still.items()}


def rounded(name, config, lengths, more, bottleneck, changed):
    """The results in float32."""
    x = make_inputs(name, config, lengths, more)
    return compute(config, more, *bottleneck, dict(HYPER, **changed), x, torch.float32)[0]


def make(name, config, lengths, more, bottleneck, changed, directory, others):
    """others: of rounded(), each way."""
    h = dict(HYPER, **changed)
    x = make_inputs(name, config, lengths, more)
    got, about, decays, still = compute(config, more, *bottleneck, h, x, torch.float64)
    losses = got["losses"]
    fall = 1 - losses[-1].item() / losses[0].item()
    assert fall >= 0.3, (name, losses)
    shapes = {k: list(p.shape) for k, p in got["after"].items()}
    base = {k: list(p.shape) for k, p in parameters(make_model(config, more, torch.float32))}
    g = Golden(name, config=config, task=more.get("task", "lm"), store=more.get("store", "F32"), parameters=base,
               adapter=about["adapter_config"], head=about.get("head_config"),
               tensors={**{k: s for k, s in shapes.items() if is_own(k)}, **still},
               head_tensors={k: s for k, s in shapes.items() if not is_own(k)},
               hyper=h, decays=decays, fall=fall)
    for k, v in x.items():
        g.put(k, v)
    for k in "out", "loss", "losses":
        g.result(k, got[k], {"f32": [o[k] for o in others]})
    largest = max(v.abs().max().item() for v in got["grads"].values())
    for what, top, part in (("", largest, "grads"), ("after.", 1, "after")):
        for k, v in got[part].items():
            g.gradient(what + k, v, {"f32": [o[part][k] for o in others]}, top)
    g.save(directory)
    print(f"{name}: loss {losses[0].item():.4f} to {losses[-1].item():.4f}, -{100 * fall:.0f}%; error of torch f32 "
          f"{max(e['f32'] for e in g.about['error'].values()):.1e}; "
          f"{os.path.getsize(os.path.join(directory, name + '.safetensors'))} bytes")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-o", default="tests/data/lora/bottleneck")
    a.add_argument("--rounded", metavar="DIR", help="float32 alone, for the process that asks (each_way)")
    a.add_argument("case", nargs="*")
    a = a.parse_args()
    torch.set_num_threads(1)
    cases = [(name, case) for name, case in BOTTLENECK.items() if not a.case or name in a.case]
    if a.rounded:
        for name, case in cases:
            torch.save(rounded(name, *case), os.path.join(a.rounded, name + ".pt"))
        return
    os.makedirs(a.o, exist_ok=True)
    with each_way([name for name, _ in cases]) as others:
        for name, case in cases:
            make(name, *case, a.o, others(name))


if __name__ == "__main__":
    main()
