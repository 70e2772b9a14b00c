#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden values of adapters: logits, loss, gradients, and ten steps of AdamW.

    make_lora.py [-o DIR] [KIN | NAME ...]      writes DIR/KIN/NAME.safetensors (default tests/data/lora)

The cases stand in cases_KIN.py: tiny models with adapters of HF PEFT whose values come
from their names. Ten steps on one batch as the Trainer makes them: clipping,
no decay on biases and norms, a linear schedule with warm-up; Adam's eps is
1e-3, since a smaller one magnifies the rounding of gradients near zero.
Computed in float64, with the errors of torch in float32 beside the results.
"""
import argparse
import json
import os
import warnings

import torch
import transformers
from transformers.trainer_pt_utils import get_parameter_names

from cases import peft_config, table
from experts import files, split
from golden import Golden, each_way, in_type, weight
from make_models import forward, join, make_inputs, make_model, to_torch

PEFT_TASK = {"lm": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM", "mlm": None, "token-class": "TOKEN_CLS", "qa": "QUESTION_ANS",
             "contrastive": "FEATURE_EXTRACTION", "similarity": "FEATURE_EXTRACTION"}
HYPER = dict(lr=0.01, beta1=0.8, beta2=0.95, eps=1e-3, decay=0.3, clip=0.7, warmup=3, total=14, steps=10)


def has_encoder(model):
    """Whether the rows of virtual tokens are what an encoder makes; PEFT's file holds those, and not the encoder."""
    return any(n.startswith("prompt_encoder.") and ".embedding." not in n for n, _ in model.named_parameters())


def file_key(name, encoder=False):
    """The key in the file of a parameter of the model in memory."""
    name = name.replace(".lora_magnitude_vector.default.weight", ".lora_magnitude_vector").replace(".default", "")
    name = "prompt_embeddings" if name == "prompt_encoder.embedding.weight" and not encoder else name
    return name.replace(".modules_to_save", "") if ".modules_to_save" in name else name


def pieces(key, x, config, more):
    """[(key in the file, view)] of a tensor of the adapter: more than one where PEFT put separate linears together."""
    return split(key, x, config, config["model_type"]) if more.get("split") else [(key, x)]


def only_pieces(key, p, config, more):
    """What is in no piece stays zero, and does not train."""
    mask = torch.zeros_like(p)
    for _, piece in pieces(key, mask, config, more):
        piece.fill_(1)
    p.mul_(mask)
    p.register_hook(lambda g: g * mask)


def put_pieces(g, what, k, v, config, more):
    """Of separate linears: measured by the size and the error of the tensor that PEFT makes of them."""
    parts, error = pieces(k, v, config, more), g.about["error"]
    if parts[0][0] == k:
        return
    whole = error.pop(f"grad.{what}{k}")
    g.tensors.pop(f"grad.{what}{k}")
    g.about["large"].pop(what + k, None)
    g.about["scale"].pop(f"grad.{what}{k}", None)
    for key, piece in parts:
        g.result(f"grad.{what}{key}", piece.reshape(-1), {}, v.abs().max().item())
        error[f"grad.{what}{key}"] = whole


def tie_ends(model):
    """What PEFT makes two parameters of one memory, which its optimiser steps one after the other, is one here."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not getattr(model.peft_config["default"], "target_modules_to_tie", None) or not hasattr(head, "lora_A"):
        return
    pairs = [(head.lora_A["default"], table.lora_embedding_B), (head.lora_B["default"], table.lora_embedding_A)]
    for linear, _ in pairs:
        del linear._parameters["weight"]

    def turn(*_):
        for linear, of in pairs:
            linear.weight = of["default"].t()

    turn()
    head.register_forward_pre_hook(turn)


def make_adapter(config, more, keys, dtype):
    from peft import get_peft_model

    model = make_model(config, more, dtype)
    keys = dict(keys, task_type=PEFT_TASK.get(more.get("task", "lm"), "SEQ_CLS"))
    with in_type(dtype), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(model, peft_config(keys))
        tie_ends(model)
    model.eval()
    params, still, encoder = {}, {}, has_encoder(model)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not p.requires_grad or ".original_module." in name:
                p.requires_grad_(False)
                continue
            frozen = any(part in name for part in more.get("frozen", ()))
            p.requires_grad_(not frozen)
            (still if frozen else params)[file_key(name, encoder)] = p
            p.data = torch.zeros_like(p, dtype=dtype)
            for key, piece in pieces(file_key(name, encoder), p.data, config, more):
                piece.copy_(torch.from_numpy(weight(key, tuple(piece.shape))))
            if more.get("split"):
                only_pieces(file_key(name, encoder), p, config, more)
        for name, b in model.named_buffers():
            if ".vera_" in name:        # one for all modules, found at the first
                key = "base_model." + file_key(name, encoder).rsplit(".", 1)[-1]
                still[key] = b.copy_(torch.from_numpy(weight(key, tuple(b.shape))))
    return model, params, still


class Nothing:
    """What a model gives that computes nothing."""
    loss = None


def method_loss(model):
    """The loss of parameters alone that PEFT adds to the model's."""
    tuner = model.base_model
    if not hasattr(tuner, "rankallocator"):
        return 0
    out, inner = Nothing(), tuner.model.forward
    out.loss = torch.zeros((), dtype=next(model.parameters()).dtype)
    tuner.model.forward = lambda: out
    try:
        return tuner.forward().loss
    finally:
        tuner.model.forward = inner


def after_step(model, t):
    """Steps count from 1. What is pruned is not a matter of rounding; what COFT constrains is constrained now, not
    in the next forward pass."""
    for m in model.modules():
        if getattr(m, "coft", False) is True and hasattr(m, "_project_batch"):
            m.weight.data = m._project_batch(m.weight.data, eps=m.eps)
    if not hasattr(model.base_model, "rankallocator"):
        return
    kthvalue = torch.kthvalue

    def checked(x, k):
        s = x.sort()[0].tolist()
        assert k == len(s) or s[k] > s[k - 1] * 1.001, (t, s[k - 1:k + 1])
        return kthvalue(x, k)

    torch.kthvalue = checked
    try:
        model.base_model.update_and_allocate(t)
    finally:
        torch.kthvalue = kthvalue


def run(model, x, more):
    outs, loss = forward(model.get_base_model(), x, more, model if model.active_peft_config.is_prompt_learning else None)
    return outs, loss + method_loss(model)


def train(model, params, x, more, h, run=run):
    """Losses of the steps, as the Trainer makes them."""
    decays = set(get_parameter_names(model, [torch.nn.LayerNorm],
                                     [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]))
    name_of = {id(p): n for n, p in model.named_parameters()}
    groups = [dict(params=[p for p in params.values() if name_of[id(p)] in decays], weight_decay=h["decay"]),
              dict(params=[p for p in params.values() if name_of[id(p)] not in decays], weight_decay=0.0)]
    if "loraplus" in more:
        from peft.optimizers import create_loraplus_optimizer

        ratio, embedding = more["loraplus"]
        opt = create_loraplus_optimizer(model, torch.optim.AdamW, lr=h["lr"], loraplus_lr_ratio=ratio,
                                        loraplus_lr_embedding=embedding, loraplus_weight_decay=h["decay"],
                                        betas=(h["beta1"], h["beta2"]), eps=h["eps"])
    elif more.get("lorafa"):
        from peft.optimizers import lorafa

        # It rounds the product to bfloat16 where the machine has that, whatever the model's type is.
        lorafa.is_bf16_available = lambda: False
        opt = lorafa.create_lorafa_optimizer(model, r=1, lora_alpha=1, lr=h["lr"], weight_decay=h["decay"])
        opt.param_groups[0].update(betas=(h["beta1"], h["beta2"]), eps=h["eps"])
    else:
        opt = torch.optim.AdamW([g for g in groups if g["params"]], lr=h["lr"], betas=(h["beta1"], h["beta2"]),
                                eps=h["eps"])
    schedule = transformers.get_linear_schedule_with_warmup(opt, h["warmup"], h["total"])
    losses = []
    for t in range(h["steps"]):
        _, loss = run(model, x, more)
        losses.append(loss.detach())
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params.values(), h["clip"])
        opt.step()
        after_step(model, t + 1)
        schedule.step()
    return torch.stack(losses), {n: name_of[id(p)] in decays for n, p in params.items()}


def compute(config, lengths, more, keys, h, x, dtype):
    model, params, still = make_adapter(config, more, keys, dtype)
    x = to_torch(x, dtype)
    with in_type(dtype):
        outs, loss = run(model, x, more)
        loss.backward()
        grads = {k: torch.zeros_like(p) if p.grad is None else p.grad.clone() for k, p in params.items()}
        losses, decays = train(model, params, x, more, h)
    after = {k: p.detach().clone() for k, p in params.items()}
    return dict(out=join(outs).detach(), loss=loss.detach(), grads=grads, losses=losses, after=after), model, decays, still


def rounded(name, config, lengths, more, keys, changed):
    """The results in float32."""
    return {"f32": compute(config, lengths, more, keys, dict(HYPER, **changed), make_inputs(name, config, lengths, more),
                           torch.float32)[0]}


def make(name, config, lengths, more, keys, changed, directory, others):
    """others: of rounded(), each way."""
    h = dict(HYPER, **changed)
    if "loraplus" in more:
        h["loraplus"], h["loraplus_embedding"] = more["loraplus"]
    if more.get("lorafa"):
        h["lorafa"] = True
    x = make_inputs(name, config, lengths, more)
    got, model, decays, still = compute(config, lengths, more, keys, h, x, torch.float64)
    losses, after = got["losses"], got["after"]
    fall = 1 - losses[-1].item() / losses[0].item()
    assert fall >= 0.3, (name, losses)
    adapter = model.peft_config["default"].to_dict()
    adapter = json.loads(json.dumps(adapter, default=lambda v: sorted(v) if isinstance(v, set) else str(v.value)))
    adapter.pop("runtime_config", None)
    if adapter["peft_type"] == "ADALORA":
        adapter["rank_pattern"] = None      # that of after the steps
    if more.get("split"):
        adapter.update(dict(rank_pattern={}, alpha_pattern={}, target_parameters=None), **keys)
    shapes = {key: list(x.shape) for k, v in {**after, **still}.items() for key, x in pieces(k, v, config, more)}
    if has_encoder(model):
        shapes["prompt_embeddings"] = list(model.get_prompt_embedding_to_save("default").shape)
    base = files(make_model(config, more, torch.float32).named_parameters(), config["model_type"])
    base = {k: list(p.shape) for k, p in base.items()}
    g = Golden(name, config=config, task=more.get("task", "lm"), store=more.get("store", "F32"), parameters=base,
               adapter=adapter, tensors={key: s for key, s in shapes.items() if not key.startswith("prompt_encoder.")},
               state={key: s for key, s in shapes.items() if key.startswith("prompt_encoder.")},
               hyper=h, decays={key: decays[k] for k, v in after.items() for key, _ in pieces(k, v, config, more)},
               fall=fall)
    for k, v in x.items():
        g.put(k, v)
    g.learned(got, others, lambda what, k, v: more.get("split") and put_pieces(g, what, k, v, config, more))
    g.save_learned(losses, directory)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-o", default="tests/data/lora")
    a.add_argument("--rounded", metavar="DIR", help="float32 alone, for the process that asks (each_way)")
    a.add_argument("case", nargs="*")
    a = a.parse_args()
    torch.set_num_threads(1)
    cases = table("LORA", a.case)
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
