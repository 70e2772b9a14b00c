#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden values of whole models: logits, loss and gradients of all parameters.

    make_models.py [DIR]        writes DIR/*.safetensors (default tests/data/models)

Tiny models of odd sizes with the weights of golden.py; each sequence goes
through the model alone, as our packed micro-batch must have it. Computed in
float64; the errors of torch in float32 (and in bfloat16 where the case has it)
against that are stored beside the results.
"""
import os
import sys

import numpy as np
import torch
import transformers
from transformers.loss.loss_utils import ForSequenceClassificationLoss

from golden import Golden, in_type, uniform, weight

VOCAB = 53
LLAMA = dict(model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=VOCAB, hidden_size=30,
             intermediate_size=41, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=64,
             rms_norm_eps=1e-3, hidden_act="silu", tie_word_embeddings=False, initializer_range=0.02,
             pad_token_id=None, bos_token_id=1, eos_token_id=2)
BERT = dict(model_type="bert", architectures=["BertForSequenceClassification"], vocab_size=VOCAB,
            hidden_size=33, intermediate_size=45, num_hidden_layers=2, num_attention_heads=3,
            max_position_embeddings=37, type_vocab_size=3, layer_norm_eps=1e-3, hidden_act="gelu",
            hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, pad_token_id=0)
RAGGED = [7, 1, 19, 2, 12]


def labels(n, **more):
    return dict(num_labels=n, id2label={str(i): f"c{i}" for i in range(n)},
                label2id={f"c{i}": i for i in range(n)}, **more)


def score(n, **more):
    return dict(LLAMA, architectures=["LlamaForSequenceClassification"], pad_token_id=3, **labels(n), **more)


def rope(kind, **more):
    return dict(rope_type=kind, **more)


# name: (config, lengths, more)
CASES = {
    "llama2": (LLAMA, RAGGED, {}),
    "llama2-bf16": (LLAMA, RAGGED, dict(store="BF16")),
    "llama-f16": (dict(LLAMA, num_key_value_heads=1), RAGGED, dict(store="F16")),
    # Biases everywhere, the newer spelling of the rotary keys, heads wider than hidden / heads.
    "llama3": (dict(LLAMA, num_attention_heads=6, num_key_value_heads=2, head_dim=8, attention_bias=True,
                    mlp_bias=True, rope_theta=500.0,
                    rope_parameters=rope("llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0,
                                         high_freq_factor=4.0, original_max_position_embeddings=32)),
               [3, 40, 17], {}),
    "linear": (dict(LLAMA, rope_theta=100.0, rope_scaling=rope("linear", factor=2.5)), [9, 30], {}),
    # Up to 16 positions nothing is scaled, then each length has its own frequencies.
    "dynamic": (dict(LLAMA, max_position_embeddings=16, rope_theta=1000.0,
                     rope_scaling=dict(type="dynamic", factor=3.0)), [5, 16, 17, 31, 24], {}),
    # The ramp from dimension 1 to dimension 4 of 5.
    "yarn": (dict(LLAMA, rope_theta=50.0, num_key_value_heads=1,
                  rope_scaling=rope("yarn", factor=4.0, original_max_position_embeddings=16,
                                    beta_fast=1.0, beta_slow=0.2)), [6, 35], {}),
    "yarn-mscale": (dict(LLAMA, rope_theta=1000.0,
                         rope_scaling=rope("yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=3.0,
                                           beta_slow=0.5, mscale=1.5, mscale_all_dim=0.5, truncate=False)),
                    [33, 4], {}),
    # Window 5: sequences of 1, 2, one less, as many, one more, many.
    "mistral": (dict(LLAMA, model_type="mistral", architectures=["MistralForCausalLM"], num_attention_heads=4,
                     num_key_value_heads=2, head_dim=6, sliding_window=5), [1, 2, 4, 5, 6, 23], {}),
    # The first layer sees all, the second slides.
    "qwen2": (dict(LLAMA, model_type="qwen2", architectures=["Qwen2ForCausalLM"], num_key_value_heads=1,
                   use_sliding_window=True, sliding_window=4, max_window_layers=1), RAGGED, {}),
    "smollm2": (dict(LLAMA, num_key_value_heads=1, tie_word_embeddings=True), RAGGED, {}),
    # Trailing padding is passed over; a sequence of nothing else pools its first row.
    "llama-class": (score(3, num_key_value_heads=1), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3])),
    "llama-regression": (score(2, problem_type="regression"), RAGGED, dict(task="regression")),
    "bert-class": (dict(BERT, **labels(3)), RAGGED, dict(task="class", types=True)),
    "bert-class-bf16": (dict(BERT, **labels(3)), RAGGED, dict(task="class", types=True, store="BF16")),
    "bert-no-types": (dict(BERT, hidden_act="gelu_new", **labels(2)), [5, 37, 1, 11, 8], dict(task="class")),
    "bert-regression": (dict(BERT, **labels(1)), RAGGED, dict(task="regression", types=True)),
    "bert-multilabel": (dict(BERT, **labels(4)), RAGGED, dict(task="multilabel", types=True)),
    "bert-body": (dict(BERT, architectures=["BertModel"]), RAGGED, dict(task="none", types=True)),
}


def integers(name, n, low, high):
    u = (uniform(name, n).astype(np.float64) + 1) / 2
    return (low + np.floor(u * (high - low))).astype(np.int32)


def make_inputs(name, config, lengths, more):
    n, b = sum(lengths), len(lengths)
    cu = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    x = {"in.ids": integers(name + ":ids", n, 4, VOCAB), "in.cu": cu}
    for i, k in enumerate(more.get("pads", [])):
        x["in.ids"][cu[i + 1] - min(k, lengths[i]):cu[i + 1]] = config["pad_token_id"]
    if more.get("types"):
        x["in.types"] = integers(name + ":types", n, 0, config["type_vocab_size"])
    task = more.get("task", "lm")
    if task == "lm":
        y = x["in.ids"].copy()
        y[uniform(name + ":unlabelled", n) < -0.4] = -100
        x["in.labels"] = y
    elif task == "class":
        x["in.class"] = integers(name + ":class", b, 0, config["num_labels"])
    elif task == "regression":
        # Far from the logits: a squared difference doubles the relative error of a small one.
        x["in.target"] = uniform(name + ":target", b * config["num_labels"]).reshape(b, -1) * np.float32(4)
    elif task == "multilabel":
        x["in.target"] = integers(name + ":target", b * config["num_labels"], 0, 2).astype(np.float32).reshape(b, -1)
    return x


def make_model(config, store, dtype):
    c = transformers.AutoConfig.for_model(**{k: v for k, v in config.items() if k != "architectures"})
    c._attn_implementation = "eager"
    c.use_cache = False
    cls = getattr(transformers, config["architectures"][0])
    with in_type(dtype):
        model = cls(c).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            w = torch.from_numpy(weight(name, tuple(p.shape)))
            w = w.to({"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[store])
            p.data = w.to(dtype)
    return model


def fresh_rope(model):
    """Dynamic scaling keeps state from one sequence to the next, and its tables stay float32 in a bfloat16 model."""
    for m in model.modules():
        if hasattr(m, "rotary_emb"):
            m.rotary_emb = type(m.rotary_emb)(m.rotary_emb.config)


def run(config, x, more, dtype):
    """Logits of all rows, loss, gradients."""
    model = make_model(config, more.get("store", "F32"), dtype)
    task = more.get("task", "lm")
    cu, ids = x["in.cu"], torch.from_numpy(x["in.ids"]).long()
    target = torch.from_numpy(x["in.target"]).to(dtype) if "in.target" in x else None
    with in_type(dtype):
        outs = []
        loss = torch.zeros((), dtype=dtype)
        if task == "lm":
            y = torch.from_numpy(x["in.labels"]).long()
            n = sum(int((y[cu[b] + 1:cu[b + 1]] != -100).sum()) for b in range(len(cu) - 1))
        for b in range(len(cu) - 1):
            fresh_rope(model)
            span = slice(cu[b], cu[b + 1])
            kw = dict(input_ids=ids[None, span])
            if "in.types" in x:
                kw["token_type_ids"] = torch.from_numpy(x["in.types"][span]).long()[None]
            if task == "none":
                outs.append(model(**kw).last_hidden_state[0])
                continue
            out = model(**kw).logits[0]
            outs.append(out if task == "lm" else out[None])
            if task == "lm" and cu[b + 1] - cu[b] > 1:
                loss = loss + model.loss_function(out[None], y[None, span], config["vocab_size"],
                                                  num_items_in_batch=torch.tensor(n))
        out = torch.cat(outs)
        if task == "class":
            loss = ForSequenceClassificationLoss(torch.from_numpy(x["in.class"]).long(), out, model.config)
        elif task in ("regression", "multilabel"):
            loss = ForSequenceClassificationLoss(target, out, model.config)
        grads = {}
        if task != "none":
            loss.backward()
            grads = {k: torch.zeros_like(p) if p.grad is None else p.grad for k, p in model.named_parameters()}
    shapes = {k: list(p.shape) for k, p in model.named_parameters()}
    return out.detach(), loss.detach(), grads, shapes


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else "tests/data/models"
    os.makedirs(directory, exist_ok=True)
    torch.set_num_threads(1)
    for name, (config, lengths, more) in CASES.items():
        x = make_inputs(name, config, lengths, more)
        types = {"f32": torch.float32}
        if more.get("store") == "BF16":
            types["bf16"] = torch.bfloat16
        out, loss, grads, shapes = run(config, x, more, torch.float64)
        other = {k: run(config, x, more, t) for k, t in types.items()}
        g = Golden(name, config=config, task=more.get("task", "lm"), store=more.get("store", "F32"),
                   parameters=shapes)
        for k, v in x.items():
            g.put(k, v)
        g.result("out", out, {k: o[0] for k, o in other.items()})
        if grads:
            g.result("loss", loss, {k: o[1] for k, o in other.items()})
        largest = max((v.abs().max().item() for v in grads.values()), default=0)
        for k, v in grads.items():
            g.gradient(k, v, {t: o[2][k] for t, o in other.items()}, largest)
        g.save(directory)
        print(f"{name}: loss {loss.item():.6f}, error of torch "
              + ", ".join(f"{t} {max(e[t] for e in g.about['error'].values()):.1e}" for t in types))


if __name__ == "__main__":
    main()
