#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Directories of bottleneck adapters to AdapterHub's library and back, tried with the library itself.

    exchange_adapters.py BUILD [NAME ...]       BUILD/tests/aux/adapter

To be run where `adapters` 1.3.0 is installed. For each case of cases_bottleneck.py whose files
safetensors takes, on the model of the case: the library writes an adapter with random values -> we
compute its logits and write it again -> tensors bitwise, configurations equal -> it loads ours: the
same logits. Prints a line a case; status 1 when something differs.
"""
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings

import adapters
import torch
import transformers
from safetensors.torch import load_file, save_file

from cases_bottleneck import CASES
from make_bottleneck import open_model
from make_models import OUTPUT

LENGTHS = [7, 1, 12, 4]
FILES = ["adapter.safetensors", "model_head.safetensors", "adapter_config.json", "head_config.json"]


def make(config, more, base):
    """A model with random weights in base, and the class that it is of."""
    c = transformers.AutoConfig.for_model(**{k: v for k, v in config.items() if k != "architectures"})
    cls = getattr(adapters if "flex" in more else transformers, config["architectures"][0])
    model = cls(c)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * (0.3 / p.shape[-1] ** 0.5))
    model.save_pretrained(base)
    return cls


def logits(model, ids, task):
    out, at = [], 0
    with torch.no_grad():
        for n in LENGTHS:
            x = ids[None, at:at + n]
            more = dict(decoder_input_ids=model._shift_right(x)) if model.config.is_encoder_decoder else {}
            y, at = OUTPUT.get(task, lambda o: o.logits)(model(input_ids=x, **more)), at + n
            out.append(y[0] if y.dim() == 3 else y)
    return torch.cat(out)


def read(directory, name):
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        return {}
    if name.endswith(".json"):
        with open(path) as f:
            return json.load(f)
    return {k: (v.shape, v.numpy().tobytes()) for k, v in load_file(path).items()}


def near(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def exchange(build, top, name, config, more, preset, keys):
    base, theirs, ours = (os.path.join(top, name + end) for end in (".base", ".theirs", ".ours"))
    torch.manual_seed(len(name))
    cls = make(config, more, base)
    model = cls.from_pretrained(base).eval()
    below = open_model(model, config, more, preset, keys)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if any(f".{own}." in n for own in ("x", *below)):
                p.copy_(torch.randn_like(p) * 0.3)
    model.eval()
    model.save_adapter(theirs, "x", use_safetensors=True)
    for b in below:
        model.save_adapter(os.path.join(top, name + "." + b), b, use_safetensors=True, with_head=False)
    ids = torch.randint(4, 53, (sum(LENGTHS),))
    want = logits(model, ids, more.get("task"))
    cu = torch.tensor([0] + torch.tensor(LENGTHS).cumsum(0).tolist()).int()
    save_file({"ids": ids.int(), "cu": cu}, os.path.join(top, "in"))
    stack = [os.path.join(top, name + "." + b) for b in below]
    subprocess.run([os.path.join(build, "tests/aux/adapter"), base, ":".join([*stack, theirs]), os.path.join(top, "in"),
                    os.path.join(top, "out"), ours], check=True)
    for f in FILES:
        assert read(theirs, f) == read(ours, f), f
    again = cls.from_pretrained(base).eval()
    if "flex" not in more:
        adapters.init(again)
    for d in [*stack, ours]:
        again.load_adapter(d, use_safetensors=True)
    again.set_active_adapters(adapters.Stack(*below, "x") if below else "x")
    again.eval()
    far = near(load_file(os.path.join(top, "out"))["logits"], want), near(logits(again, ids, more.get("task")), want)
    assert max(far) < 2e-5, far
    print(f"{name}: ours {far[0]:.1e}, back {far[1]:.1e}", flush=True)


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    failed = 0
    with tempfile.TemporaryDirectory() as top:
        for name, (config, _, more, (preset, keys), _) in CASES.items():
            # Two names of one tensor, which safetensors refuses.
            if keys.get("ln_before") or (sys.argv[2:] and name not in sys.argv[2:]):
                continue
            try:
                exchange(sys.argv[1], top, name, config, more, preset, keys)
            except (AssertionError, subprocess.CalledProcessError) as e:
                failed += 1
                print(f"{name}: {e}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
