#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden values of whole models: logits, loss and gradients of all parameters.

    make_models.py [-o DIR] [KIN | NAME ...]    writes DIR/KIN/NAME.safetensors (default tests/data/models)

The cases stand in cases_KIN.py. Tiny models of odd sizes with the weights of
golden.py; each sequence goes through the model alone, as our packed micro-batch
must have it. Computed in float64; the errors of torch in float32 (and in
bfloat16 where the case has it) against that are stored beside the results.
"""
import argparse
import contextlib
import copy
import inspect
import os

import numpy as np
import torch
import transformers
from transformers.loss.loss_utils import ForSequenceClassificationLoss

from cases import VOCAB, table
from dropouts import masks
from experts import Routers, files, pieces
from golden import Golden, each_way, error, in_type, uniform, weight


def integers(name, n, low, high):
    u = (uniform(name, n).astype(np.float64) + 1) / 2
    return (low + np.floor(u * (high - low))).astype(np.int32)


def token_labels(name, x, config):
    y = x["in.ids"].copy()
    y[uniform(name + ":unlabelled", len(y)) < -0.4] = -100
    return {"in.labels": y}


def class_labels(name, x, config):
    return {"in.class": integers(name + ":class", len(x["in.cu"]) - 1, 0, config["num_labels"])}


def regression_targets(name, x, config):
    # Far from the logits: a squared difference doubles the relative error of a small one.
    n, k = len(x["in.cu"]) - 1, config["num_labels"]
    return {"in.target": uniform(name + ":target", n * k).reshape(n, -1) * np.float32(4)}


def multilabel_targets(name, x, config):
    n, k = len(x["in.cu"]) - 1, config["num_labels"]
    return {"in.target": integers(name + ":target", n * k, 0, 2).astype(np.float32).reshape(n, -1)}


def decoder_labels(name, x, config):
    n = int(x["in.decoder_cu"][-1])
    ids = integers(name + ":decoder_ids", n, 4, VOCAB)
    y = ids.copy()
    y[uniform(name + ":unlabelled", n) < -0.6] = -100
    return {"in.decoder_ids": ids, "in.decoder_labels": y}


def lm_loss(model, outs, x):
    """Of labels that the model shifts; one denominator for all sequences."""
    y, cu = x["in.labels"], x["in.cu"]
    n = sum(int((y[cu[b] + 1:cu[b + 1]] != -100).sum()) for b in range(len(outs)))
    loss = torch.zeros((), dtype=outs[0].dtype)
    for b, out in enumerate(outs):
        if len(out) > 1:
            loss = loss + model.loss_function(out[None], y[None, cu[b]:cu[b + 1]], model.config.vocab_size,
                                              num_items_in_batch=torch.tensor(n))
    return loss


def decoder_loss(model, outs, x):
    """Of all targets: what the decoder reads was shifted."""
    return torch.nn.functional.cross_entropy(torch.cat(outs), x["in.decoder_labels"], ignore_index=-100)


def class_loss(model, outs, x):
    return ForSequenceClassificationLoss(x["in.class" if "in.class" in x else "in.target"], torch.stack(outs), model.config)


def token_classes(name, x, config):
    y = integers(name + ":class", len(x["in.ids"]), 0, config["num_labels"])
    y[uniform(name + ":unlabelled", len(y)) < -0.4] = -100
    return {"in.labels": y}


def unshifted_loss(model, outs, x):
    """Of labels at their own tokens; one denominator for all sequences."""
    return torch.nn.functional.cross_entropy(torch.cat(outs), x["in.labels"], ignore_index=-100)


def spans(name, x, config):
    lengths = np.diff(x["in.cu"])
    u = (np.sort(uniform(name + ":span", 2 * len(lengths)).reshape(-1, 2), axis=1) + 1) / 2
    return {"in.span": np.floor(u * lengths[:, None]).astype(np.int64)}


def span_loss(model, outs, x):
    """As ForQuestionAnsweringLoss takes it, of each sequence without padding."""
    ce = torch.nn.functional.cross_entropy
    return sum(ce(out.T, x["in.span"][b]) for b, out in enumerate(outs)) / len(outs)


def sets(name, x, config):
    """Anchor and positive; of every third set two negatives, as many as there are sequences for."""
    n, group, i = len(x["in.cu"]) - 1, [], 0
    while len(group) < n:
        group += [i] * (4 if i % 3 == 1 else 2)
        i += 1
    assert len(group) == n, (name, n)
    return {"in.group": np.array(group, np.int64)}


def scored_pairs(name, x, config):
    n = len(x["in.cu"]) - 1
    return {"in.group": np.arange(n, dtype=np.int64) // 2, "in.target": uniform(name + ":target", n // 2).reshape(-1, 1)}


def set_loss(model, outs, x):
    """MultipleNegativesRankingLoss, or CosineSimilarityLoss, of sentence-transformers."""
    e = torch.nn.functional.normalize(torch.stack(outs))
    group = x["in.group"].tolist()
    rows = {g: [i for i, k in enumerate(group) if k == g] for g in group}
    first, second = [r[0] for r in rows.values()], [r[1] for r in rows.values()]
    if "in.target" in x:
        return ((e[first] * e[second]).sum(1) - x["in.target"][:, 0]).square().mean()
    candidates = second + [i for r in rows.values() for i in r[2:]]
    z = e[first] @ e[candidates].T * 20
    return torch.nn.functional.cross_entropy(z, torch.arange(len(first)))


# task: (what is learned, its loss from the outputs of all sequences)
TASKS = {
    "lm": (token_labels, lm_loss),
    "seq2seq": (decoder_labels, decoder_loss),
    "class": (class_labels, class_loss),
    "regression": (regression_targets, class_loss),
    "multilabel": (multilabel_targets, class_loss),
    "mlm": (token_labels, unshifted_loss),
    "token-class": (token_classes, unshifted_loss),
    "qa": (spans, span_loss),
    "contrastive": (sets, set_loss),
    "similarity": (scored_pairs, set_loss),
    "none": (lambda name, x, config: {}, None),
}
# A row a token of the first stack.
ROWS = {"lm", "mlm", "token-class"}
# What a task has beside logits.
OUTPUT = {
    "none": lambda out: out.last_hidden_state,
    "qa": lambda out: torch.stack([out.start_logits, out.end_logits], -1),
    "contrastive": lambda out: out.last_hidden_state.mean(1),
    "similarity": lambda out: out.last_hidden_state.mean(1),
}


def make_inputs(name, config, lengths, more):
    n = sum(lengths)
    cu = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    x = {"in.ids": integers(name + f":ids{more.get('salt', '')}", n, 4, VOCAB), "in.cu": cu}
    for i, k in enumerate(more.get("pads", [])):
        x["in.ids"][cu[i + 1] - min(k, lengths[i]):cu[i + 1]] = config["pad_token_id"]
    for i in range(len(lengths) if more.get("ends") else 0):
        x["in.ids"][[cu[i] + lengths[i] // 3, cu[i] + 2 * lengths[i] // 3]] = config["eos_token_id"]
    if "targets" in more:
        x["in.decoder_cu"] = np.concatenate([[0], np.cumsum(more["targets"])]).astype(np.int32)
    if more.get("types"):
        x["in.types"] = integers(name + ":types", n, 0, config["type_vocab_size"])
    return {**x, **TASKS[more.get("task", "lm")][0](name, x, config)}


def parameters(model):
    """[(name, parameter)]; a tied pair by the name of the embedding, also where the head comes first."""
    listed = dict(model.named_parameters())
    tied = model._tied_weights_keys if isinstance(model._tied_weights_keys, dict) else {}
    return [(tied[k] if k in tied and tied[k] not in listed else k, p) for k, p in listed.items()]


def make_model(config, more, dtype):
    store, attn = more.get("store", "F32"), more.get("attn", "eager")
    # A copy: dictionaries of rotations are filled up in place.
    c = transformers.AutoConfig.for_model(**{k: v for k, v in copy.deepcopy(config).items() if k != "architectures"})
    c._attn_implementation = attn
    c._experts_implementation = "eager"
    c.use_cache = False
    cls = getattr(transformers, config["architectures"][0])
    more.get("prepare", lambda: None)()
    # Embeddings are means: a pooler would have no gradient.
    bare = "add_pooling_layer" in inspect.signature(cls).parameters and more.get("task") in ("contrastive", "similarity")
    with in_type(dtype):
        model = (cls(c, add_pooling_layer=False) if bare else cls(c)).eval()
        if more.get("own_head"):
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    with torch.no_grad():
        for name, p in parameters(model):
            p.data = torch.empty_like(p, dtype=dtype)
            for file_name, piece in pieces(name, p.data, c.model_type):
                w = torch.from_numpy(weight(file_name, tuple(piece.shape)))
                piece.copy_(w.to({"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[store]))
        for m in model.modules():
            # Gemma rounds it to the type of the weights.
            if store == "BF16" and hasattr(m, "embed_scale"):
                m.embed_scale = m.embed_scale.to(torch.bfloat16).to(dtype)
    model.routers = Routers(model)
    model.masks = masks(model, more["drops"]) if "drops" in more else None
    return model.train(model.masks is not None)


def fresh_rope(model):
    """Dynamic scaling keeps state from one sequence to the next, and its tables stay float32 in a bfloat16 model."""
    for m in model.modules():
        if hasattr(m, "rotary_emb"):
            m.rotary_emb = type(m.rotary_emb)(m.rotary_emb.config)


def to_torch(x, dtype):
    """Before float32 means float64: no operation may see another type."""
    x = {k: torch.from_numpy(v) for k, v in x.items()}
    return {k: v.to(dtype) if v.is_floating_point() else v.long() for k, v in x.items()}


def forward(model, x, more, peft=None):
    """Outputs of each sequence alone, and the loss (None of a bare body); x from to_torch(). peft: an adapter with
    virtual tokens, which acts in its own forward; what is learned is of the rows behind them."""
    task, cu, ids = more.get("task", "lm"), x["in.cu"], x["in.ids"]
    outs = []
    model.routers.forget()
    for b in range(len(cu) - 1):
        fresh_rope(model)
        span = slice(cu[b], cu[b + 1])
        kw = dict(input_ids=ids[None, span])
        if "in.types" in x:
            kw["token_type_ids"] = x["in.types"][None, span]
        if "in.decoder_cu" in x:
            d = slice(x["in.decoder_cu"][b], x["in.decoder_cu"][b + 1])
            kw["decoder_input_ids"] = model._shift_right(x["in.decoder_ids"][None, d])
        with model.masks.sequence(int(b)) if model.masks else contextlib.nullcontext():
            out = (peft or model)(**kw)
        outs.append(OUTPUT.get(task, lambda o: o.logits)(out)[0])
    assert model.routers.gap() > more.get("gap", 1e-3), f"gap {model.routers.gap()}"
    loss = TASKS[task][1]
    rows = [out[len(out) - (cu[b + 1] - cu[b]):] for b, out in enumerate(outs)] if task in ROWS else outs
    return outs, loss and loss(model, rows, x) + model.routers.loss()


def join(outs):
    """Rows of all sequences; of one row a sequence: those."""
    return torch.stack(outs) if outs[0].dim() == 1 else torch.cat(outs)


def run(config, x, more, dtype, scale=1):
    """Logits of all rows or sequences, loss, gradients: of the loss times scale, divided by that."""
    model, x = make_model(config, more, dtype), to_torch(x, dtype)
    with in_type(dtype):
        outs, loss = forward(model, x, more)
        grads = {}
        if loss is not None:
            (loss if scale == 1 else loss * scale).backward()
            grads = files([(k, torch.zeros_like(p) if p.grad is None else p.grad) for k, p in parameters(model)],
                          config["model_type"])
    shapes = {k: list(p.shape) for k, p in files(parameters(model), config["model_type"]).items()}
    grads = grads if scale == 1 else {k: g.double() / scale for k, g in grads.items()}
    return join(outs).detach(), loss if loss is None else loss.detach(), grads, shapes


def attentions(config, x, more):
    """Of torch's two attentions those that compute this model: the case's own, and the other, which some families refuse
    or mean something else by (Falcon's slopes): its outputs may be as far off, in either type, as ours may."""
    own = more.get("attn", "eager")
    other = "eager" if own == "sdpa" else "sdpa"

    def out(attn, dtype):
        return run(config, x, dict(more, attn=attn), dtype)[0]

    exact = out(own, torch.float32).double()
    try:
        alike = all(error(out(other, t), exact) <= max(floor, 2 * error(out(own, t), exact))
                    for t, floor in ((torch.float32, 1e-5), (torch.bfloat16, 2e-3)))
    except ValueError:
        alike = False
    return [own, other] if alike else [own]


def rounded(name, config, lengths, more):
    """{type: [(out, loss, gradients)]} in the smaller types that a case has. In bfloat16 the ways of golden.py are
    nearly all one: there they are its attentions, and losses of several sizes, as accumulation and scaling make them."""
    x = make_inputs(name, config, lengths, more)
    got = {"f32": [run(config, x, more, torch.float32)[:3]]}
    if more.get("store") == "BF16":
        got["bf16"] = [run(config, x, dict(more, attn=a), torch.bfloat16, scale)[:3]
                       for a in attentions(config, x, more) for scale in (1, 1.25, 1.5, 1.75)]
    return got


def make(name, config, lengths, more, directory, others):
    """others: of rounded(), each way."""
    x = make_inputs(name, config, lengths, more)
    out, loss, grads, shapes = run(config, x, more, torch.float64)

    def other(get):
        return {k: [get(*v) for o in others for v in o[k]] for k in others[0]}

    g = Golden(name, config=config, task=more.get("task", "lm"), store=more.get("store", "F32"), parameters=shapes,
               train="drops" in more, idle=more.get("idle", []))
    for k, v in x.items():
        g.put(k, v)
    g.result("out", out, other(lambda out, loss, grads: out))
    if grads:
        g.result("loss", loss, other(lambda out, loss, grads: loss))
    largest = max((v.abs().max().item() for v in grads.values()), default=0)
    for k, v in ((k, v) for k, v in grads.items() if k not in more.get("idle", [])):
        g.gradient(k, v, other(lambda out, loss, grads: grads[k]), largest)
    g.save(directory)
    print(f"{name}: loss {0 if loss is None else loss.item():.6f}, error of torch "
          + ", ".join(f"{t} {max(e[t] for e in g.about['error'].values()):.1e}" for t in others[0]))


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-o", default="tests/data/models")
    a.add_argument("--rounded", metavar="DIR", help="smaller types alone, for the process that asks (each_way)")
    a.add_argument("case", nargs="*")
    a = a.parse_args()
    torch.set_num_threads(1)
    cases = table("MODELS", a.case)
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
