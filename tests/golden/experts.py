# SPDX-License-Identifier: MIT
"""Mixtures of experts: transformers 5 keeps the experts of a layer in two
parameters of three dimensions, files have each linear by itself. And what the
routers of a model did: their loss, and how clear their choices were.
"""
import re

import torch

STYLE = {"mixtral": ("block_sparse_moe", ("w1", "w3"), "w2")}
OTHER = ("mlp", ("gate_proj", "up_proj"), "down_proj")


def pieces(name, x, model_type):
    """[(name in files, view of x)] of a parameter, or of a gradient of its shape."""
    block, into, out = STYLE.get(model_type, OTHER)
    m = re.fullmatch(r"(.*)\.mlp\.experts\.(gate_up_proj|down_proj)", name)
    if not m:
        return [(re.sub(r"\.mlp\.gate\.weight$", f".{block}.gate.weight", name), x)]
    at = m[1] + f".{block}.experts"
    if m[2] == "down_proj":
        return [(f"{at}.{e}.{out}.weight", x[e]) for e in range(len(x))]
    half = x.shape[1] // 2
    return [(f"{at}.{e}.{into[j]}.weight", x[e, j * half:(j + 1) * half]) for e in range(len(x)) for j in (0, 1)]


def files(named, model_type):
    """The same of many: name -> tensor."""
    return dict(p for name, x in named for p in pieces(name, x, model_type))


def split(key, x, config, model_type):
    """[(key of an adapter of separate linears, view of x)] of A or B of target_parameters, or of a gradient:
    in [2r*E,in] and [2I,2r*E] of gate_up_proj stand the two of w1 and w3, the other two blocks of B are zero."""
    block, into, out = STYLE.get(model_type, OTHER)
    m = re.fullmatch(r"(.*)\.mlp\.experts\.(base_layer\.)?(lora_[AB]\.weight)", key)
    if not m:
        return [(re.sub(r"\.mlp\.gate\.(lora_)", rf".{block}.gate.\1", key), x)]
    at, e = m[1] + f".{block}.experts", config.get("num_local_experts") or config["num_experts"]
    a = m[3].startswith("lora_A")
    x = x.view(e, -1, x.shape[1]) if a else x.view(x.shape[0], -1, e).permute(2, 0, 1)
    if not m[2]:
        return [(f"{at}.{i}.{out}.{m[3]}", x[i]) for i in range(e)]
    r, n = x.shape[1 if a else 2] // 2, x.shape[1] // 2
    half = [(slice(0, r), slice(None)) if a else (slice(0, n), slice(0, r)),
            (slice(r, None), slice(None)) if a else (slice(n, None), slice(r, None))]
    return [(f"{at}.{i}.{into[j]}.{m[3]}", x[i][half[j]]) for i in range(e) for j in (0, 1)]


class Routers:
    """What the routers of a model did in the sequences it was given, in order of layers."""

    def __init__(self, model):
        self.config = model.config
        self.logits = {}
        self.hooks = [m.register_forward_hook(self.hook) for m in model.modules() if type(m).__name__.endswith("TopKRouter")]

    def hook(self, module, args, output):
        self.logits.setdefault(id(module), []).append(output[0])

    def forget(self):
        self.logits = {}

    def layers(self):
        return tuple(torch.cat(z) for z in self.logits.values())

    def loss(self):
        """Of all sequences as one batch; 0 where the configuration does not ask for it."""
        from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func
        c = self.config
        if not self.logits or not c.output_router_logits:
            return 0
        n = getattr(c, "num_local_experts", None) or c.num_experts
        return c.router_aux_loss_coef * load_balancing_loss_func(self.layers(), n, c.num_experts_per_tok)

    def gap(self):
        """Between the last logit that is chosen and the first that is not: the least of all rows."""
        least = float("inf")
        if not self.logits:
            return least
        k = self.config.num_experts_per_tok
        for z in self.layers():
            z = z.detach().sort(dim=-1, descending=True).values
            if k < z.shape[1]:
                least = min(least, (z[:, k - 1] - z[:, k]).min().item())
        return least
