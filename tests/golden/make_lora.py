#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden values of LoRA: logits, loss, gradients, and ten steps of AdamW.

    make_lora.py [DIR]          writes DIR/*.safetensors (default tests/data/lora)

The tiny models of make_models.py with adapters of HF PEFT whose values come
from their names. Ten steps on one batch as the Trainer makes them: clipping,
no decay on biases and norms, a linear schedule with warm-up; Adam's eps is
1e-3, since a smaller one magnifies the rounding of gradients near zero.
Computed in float64, with the errors of torch in float32 beside the results.
"""
import json
import os
import sys
import warnings

import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers.loss.loss_utils import ForSequenceClassificationLoss
from transformers.trainer_pt_utils import get_parameter_names

from golden import Golden, in_type, weight
from make_models import BERT, LLAMA, RAGGED, labels, make_inputs, make_model, score

HYPER = dict(lr=0.01, beta1=0.8, beta2=0.95, eps=1e-3, decay=0.3, clip=0.7, warmup=3, total=14, steps=10)
BIASED = dict(LLAMA, num_key_value_heads=1, attention_bias=True, mlp_bias=True)
TIED = dict(LLAMA, num_key_value_heads=1, tie_word_embeddings=True)

# name: (config, lengths, more, keys of LoraConfig, changed hyper-parameters)
CASES = {
    "llama": (LLAMA, RAGGED, {}, dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"]), dict(lr=0.015)),
    # A rank and an alpha of their own, biases everywhere, a norm that trains whole, the output embedding.
    "llama-rich": (BIASED, RAGGED, {},
                   dict(r=5, lora_alpha=1.5, use_rslora=True, bias="all", modules_to_save=["model.norm"],
                        target_modules=["q_proj", "k_proj", "o_proj", "gate_proj", "down_proj", "lm_head"],
                        rank_pattern={"layers.1.*q_proj": 3, "down_proj": 2}, alpha_pattern={"gate_proj": 0.75}), {}),
    # Both ends of a tied embedding adapted, each on its own.
    "llama-embed": (TIED, RAGGED, {},
                    dict(r=3, lora_alpha=4, target_modules=["embed_tokens", "lm_head", "up_proj"]), {}),
    # One end of a tied embedding trains, the other stays; B with a bias; biases of the targets.
    "llama-saved": (dict(BIASED, tie_word_embeddings=True), RAGGED, {},
                    dict(r=2, lora_alpha=1.5, lora_bias=True, bias="lora_only", target_modules=["o_proj", "v_proj"],
                         modules_to_save=["embed_tokens"]), {}),
    # Both ends train as one.
    "llama-tied": (TIED, RAGGED, {},
                   dict(r=2, lora_alpha=3, target_modules=["o_proj"], modules_to_save=["embed_tokens"],
                        ensure_weight_tying=True), {}),
    "llama-class": (score(3, num_key_value_heads=1), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3]),
                    dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], layers_to_transform=[1]), {}),
    "bert-class": (dict(BERT, **labels(3)), RAGGED, dict(task="class", types=True),
                   dict(r=4, lora_alpha=4, bias="lora_only", target_modules=["query", "value"]), {}),
    "bert-all": (dict(BERT, **labels(4)), [4, 9], dict(task="multilabel", types=True),
                 dict(r=3, lora_alpha=1.5, use_rslora=True, bias="all", target_modules="all-linear",
                      exclude_modules=["pooler.dense"]), {}),
}


def file_key(name):
    """The key in the file of a parameter of the model in memory."""
    name = name.replace(".default", "")
    return name.replace(".modules_to_save", "") if ".modules_to_save" in name else name


def make_adapter(config, more, keys, dtype):
    model = make_model(config, more.get("store", "F32"), dtype)
    keys = dict(keys, task_type="CAUSAL_LM" if more.get("task", "lm") == "lm" else "SEQ_CLS")
    with in_type(dtype), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(model, LoraConfig(**json.loads(json.dumps(keys))))
    model.eval()
    params = {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not p.requires_grad or ".original_module." in name:
                p.requires_grad_(False)
                continue
            params[file_key(name)] = p
            p.data = torch.from_numpy(weight(file_key(name), tuple(p.shape))).to(dtype)
    return model, params


def run(model, x, more, dtype, target):
    """Logits of all rows and the loss, each sequence alone."""
    task = more.get("task", "lm")
    base = model.get_base_model()
    cu, ids = x["in.cu"], torch.from_numpy(x["in.ids"]).long()
    outs, loss = [], torch.zeros((), dtype=dtype)
    if task == "lm":
        y = torch.from_numpy(x["in.labels"]).long()
        n = sum(int((y[cu[b] + 1:cu[b + 1]] != -100).sum()) for b in range(len(cu) - 1))
    for b in range(len(cu) - 1):
        span = slice(cu[b], cu[b + 1])
        kw = dict(input_ids=ids[None, span])
        if "in.types" in x:
            kw["token_type_ids"] = torch.from_numpy(x["in.types"][span]).long()[None]
        out = base(**kw).logits[0]
        outs.append(out if task == "lm" else out[None])
        if task == "lm" and cu[b + 1] - cu[b] > 1:
            loss = loss + base.loss_function(out[None], y[None, span], base.config.vocab_size,
                                             num_items_in_batch=torch.tensor(n))
    out = torch.cat(outs)
    if task == "class":
        loss = ForSequenceClassificationLoss(torch.from_numpy(x["in.class"]).long(), out, base.config)
    elif task == "multilabel":
        loss = ForSequenceClassificationLoss(target, out, base.config)
    return out, loss


def train(model, params, x, more, h, dtype, target):
    """Losses of the steps, as the Trainer makes them."""
    decays = set(get_parameter_names(model, [torch.nn.LayerNorm],
                                     [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]))
    name_of = {id(p): n for n, p in model.named_parameters()}
    groups = [dict(params=[p for p in params.values() if name_of[id(p)] in decays], weight_decay=h["decay"]),
              dict(params=[p for p in params.values() if name_of[id(p)] not in decays], weight_decay=0.0)]
    opt = torch.optim.AdamW([g for g in groups if g["params"]], lr=h["lr"], betas=(h["beta1"], h["beta2"]), eps=h["eps"])
    schedule = transformers.get_linear_schedule_with_warmup(opt, h["warmup"], h["total"])
    losses = []
    for _ in range(h["steps"]):
        _, loss = run(model, x, more, dtype, target)
        losses.append(loss.detach())
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params.values(), h["clip"])
        opt.step()
        schedule.step()
    return torch.stack(losses), {n: name_of[id(p)] in decays for n, p in params.items()}


def compute(config, lengths, more, keys, h, x, dtype):
    model, params = make_adapter(config, more, keys, dtype)
    target = torch.from_numpy(x["in.target"]).to(dtype) if "in.target" in x else None
    with in_type(dtype):
        out, loss = run(model, x, more, dtype, target)
        loss.backward()
        grads = {k: torch.zeros_like(p) if p.grad is None else p.grad.clone() for k, p in params.items()}
        losses, decays = train(model, params, x, more, h, dtype, target)
    after = {k: p.detach().clone() for k, p in params.items()}
    return model, out.detach(), loss.detach(), grads, losses, after, decays


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else "tests/data/lora"
    os.makedirs(directory, exist_ok=True)
    torch.set_num_threads(1)
    for name, (config, lengths, more, keys, changed) in CASES.items():
        h = dict(HYPER, **changed)
        x = make_inputs(name, config, lengths, more)
        model, out, loss, grads, losses, after, decays = compute(config, lengths, more, keys, h, x, torch.float64)
        _, out32, loss32, grads32, losses32, after32, _ = compute(config, lengths, more, keys, h, x, torch.float32)
        fall = 1 - losses[-1].item() / losses[0].item()
        assert fall >= 0.3, (name, losses)
        adapter = model.peft_config["default"].to_dict()
        adapter = json.loads(json.dumps(adapter, default=lambda v: sorted(v) if isinstance(v, set) else str(v.value)))
        adapter.pop("runtime_config", None)
        base = {k.replace("base_model.model.", "").replace(".base_layer", "").replace(".original_module", ""): list(p.shape)
                for k, p in model.named_parameters()
                if "lora_" not in k and ".modules_to_save." not in k}
        g = Golden(name, config=config, task=more.get("task", "lm"), store=more.get("store", "F32"), parameters=base,
                   adapter=adapter, tensors={k: list(v.shape) for k, v in after.items()}, hyper=h,
                   decays=decays, fall=fall)
        for k, v in x.items():
            g.put(k, v)
        g.result("out", out, {"f32": out32})
        g.result("loss", loss, {"f32": loss32})
        g.result("losses", losses, {"f32": losses32})
        largest = max(v.abs().max().item() for v in grads.values())
        for k, v in grads.items():
            g.gradient(k, v, {"f32": grads32[k]}, largest)
        for k, v in after.items():
            g.gradient("after." + k, v, {"f32": after32[k]}, 1)
        g.save(directory)
        print(f"{name}: loss {losses[0].item():.4f} to {losses[-1].item():.4f}, -{100 * fall:.0f}%; error of torch f32 "
              f"{max(e['f32'] for e in g.about['error'].values()):.1e}; "
              f"{os.path.getsize(os.path.join(directory, name + '.safetensors'))} bytes")


if __name__ == "__main__":
    main()
