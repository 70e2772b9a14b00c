#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden values of the operations of lib/tensor, computed by torch in float64.

    make_ops.py [DIR]           writes DIR/*.safetensors (default tests/data/ops)

Every case runs twice: in float64, whose results are stored (rounded once to
float32), and in float32, whose error against the first is stored beside them:
the test asks for at most twice that, and never for less than 2e-6. Tensors are
named CASE/in.X, CASE/seed.Y, CASE/out.Y, CASE/grad.X; the scalar differentiated
is the sum of seed * out. A dispatch mode checks that nothing smaller than
float64 takes part in the first run.
"""
import json
import math
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.t5.modeling_t5 import T5Attention


class OnlyFloat64(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(t, torch.Tensor) and t.is_floating_point():
                assert t.dtype == torch.float64, (func, t.dtype)
        return out


class File:
    def __init__(self, name):
        self.name, self.tensors, self.cases, self.error = name, {}, {}, {}
        self.gen = torch.Generator().manual_seed(sum(map(ord, name)))

    def randn(self, *shape, std=1.0):
        return torch.randn(*shape, generator=self.gen, dtype=torch.float64).mul(std).float()

    def case(self, name, config, inputs, fn, fixed=()):
        """inputs: float32 or integer tensors; fn(dict) -> dict of outputs; fixed: those without gradient."""
        results = []
        seeds = {}
        for dtype in (torch.float64, torch.float32):
            leaf = {}
            for k, v in inputs.items():
                leaf[k] = v.to(dtype).clone() if v.is_floating_point() else v
                if v.is_floating_point() and k not in fixed:
                    leaf[k].requires_grad_(True)
            mode = OnlyFloat64 if dtype == torch.float64 else torch.enable_grad
            with mode():
                out = fn(leaf)
            if not seeds:
                for k, v in out.items():
                    s = torch.rand(v.shape, generator=self.gen, dtype=torch.float64) + 0.5
                    s.view(-1)[::2] *= -1
                    seeds[k] = s.float()
            weight = {k: v.to(dtype) for k, v in seeds.items()}
            with mode():
                sum((v * weight[k]).sum() for k, v in out.items()).backward()
            r = {"out." + k: v.detach() for k, v in out.items()}
            r.update({"grad." + k: v.grad if v.grad is not None else torch.zeros_like(v)
                      for k, v in leaf.items() if v.requires_grad})
            results.append(r)
        self.cases[name] = config
        for k, v in inputs.items():
            self.tensors[f"{name}/in.{k}"] = v.clone().contiguous()
        for k, v in seeds.items():
            self.tensors[f"{name}/seed.{k}"] = v
        for k, v in results[0].items():
            top = v.abs().max().item() if v.numel() else 0
            err = (results[1][k].double() - v).abs().max().item() / top if top else 0.0
            self.tensors[f"{name}/{k}"] = v.float().contiguous()
            self.error[f"{name}/{k}"] = err

    def save(self, directory):
        meta = {"cases": json.dumps(self.cases), "error": json.dumps(self.error)}
        path = os.path.join(directory, self.name + ".safetensors")
        save_file(self.tensors, path, meta)
        os.chmod(path, 0o644)


def attention(c, t):
    """One sequence and head at a time; nothing but matrix products, masks and softmax."""
    h, g, d = c["heads"], c["kv_heads"], c["head_dim"]
    cu_q, cu_k = t["cu_q"].tolist(), t["cu_k"].tolist()
    q = t["q"].view(-1, h, d)
    k, v = t["k"].view(-1, g, d), t["v"].view(-1, g, d)
    rows = []
    for b in range(len(cu_q) - 1):
        lq, lk = cu_q[b + 1] - cu_q[b], cu_k[b + 1] - cu_k[b]
        kk, vv, np = k[cu_k[b]:cu_k[b + 1]], v[cu_k[b]:cu_k[b + 1]], 0
        if "prefix_k" in t and t["prefix_index"][b] >= 0:
            i = int(t["prefix_index"][b])
            lo, hi = t["cu_prefix"][i:i + 2].tolist()
            np = hi - lo
            kk = torch.cat([t["prefix_k"].view(-1, g, d)[lo:hi], kk])
            vv = torch.cat([t["prefix_v"].view(-1, g, d)[lo:hi], vv])
        # A prefix stands at positions too, and is always seen.
        at = torch.arange(lq)[:, None] + (lk - lq)
        rel = torch.arange(-np, lk)[None, :] - at
        seen = torch.ones(lq, np + lk, dtype=torch.bool)
        if c["causal"]:
            seen &= rel <= 0
        if c["window"]:
            seen &= rel.abs() < c["window"]
        seen[:, :np] = True
        for j in range(h):
            s = q[cu_q[b]:cu_q[b + 1], j] @ kk[:, j // (h // g)].T * c["scale"]
            if c["softcap"]:
                s = torch.tanh(s / c["softcap"]) * c["softcap"]
            if c["bias"] == "buckets":
                bucket = T5Attention._relative_position_bucket(rel, c["bidirectional"], c["buckets"],
                                                               c["max_distance"])
                s = s + t["table"][bucket, j]
            elif c["bias"] == "slopes":
                s = s - t["slopes"][j] * rel.abs()
            s = s.masked_fill(~seen, -math.inf)
            p = torch.softmax(s, -1).masked_fill(~seen.any(-1, keepdim=True), 0) if np + lk else s
            rows.append((cu_q[b], j, p @ vv[:, j // (h // g)]))
    out = torch.zeros_like(q)
    for at, j, o in rows:
        out = out.index_put((torch.arange(at, at + o.shape[0]), torch.tensor(j)), o)
    return out.view(q.shape[0], h * d)


def bucket_without_float32():
    """The bucket function makes float32 from integers to decide on integers: keep it out of the check."""
    plain = T5Attention._relative_position_bucket

    def f(rel, bidirectional, n, far):
        with torch.utils._python_dispatch._disable_current_modes():
            return plain(rel, bidirectional, n, far)
    T5Attention._relative_position_bucket = staticmethod(f)


def make_attention(directory):
    f = File("attn")
    base = dict(heads=4, kv_heads=4, head_dim=8, causal=False, window=0, scale=8 ** -0.5, softcap=0.0,
                bias="none", buckets=0, max_distance=0, bidirectional=False)
    odd, cross = [5, 1, 0, 18], [3, 7, 4, 0]
    forms = {
        "plain": (dict(), odd, None),
        "causal": (dict(causal=True), odd, None),
        "gqa": (dict(causal=True, heads=6, kv_heads=2, head_dim=5, scale=0.4), odd, None),
        "window": (dict(causal=True, window=4), odd, None),
        "window_both": (dict(window=3), odd, None),
        "softcap": (dict(causal=True, softcap=2.0, scale=1.0, heads=2, kv_heads=1), odd, None),
        "buckets": (dict(bias="buckets", buckets=8, max_distance=12, bidirectional=True, scale=1.0, heads=3,
                         kv_heads=3), odd, None),
        "buckets_causal": (dict(bias="buckets", causal=True, buckets=8, max_distance=12, scale=1.0), odd, None),
        "slopes": (dict(bias="slopes", causal=True, heads=4), odd, None),
        "cross": (dict(heads=2, kv_heads=2), odd, cross),
        "cross_causal": (dict(heads=2, kv_heads=1, causal=True), [2, 3, 1], [6, 3, 9]),
        "prefix": (dict(causal=True, heads=4, kv_heads=2), odd, None),
        "prefix_bias": (dict(bias="buckets", buckets=4, max_distance=6, scale=1.0, softcap=3.0, window=5), odd,
                        None),
        "long": (dict(causal=True, heads=2, kv_heads=1, head_dim=16, scale=0.25), [131, 70], None),
        "long_both": (dict(heads=1, kv_heads=1, head_dim=12, scale=0.3, window=40), [3, 150], None),
    }
    for name, (change, lq, lk) in forms.items():
        c = dict(base, **change)
        cu = lambda n: torch.tensor([0] + torch.tensor(n).cumsum(0).tolist(), dtype=torch.int32)
        t = dict(cu_q=cu(lq), cu_k=cu(lk or lq))
        t["q"] = f.randn(sum(lq), c["heads"] * c["head_dim"])
        t["k"] = f.randn(sum(lk or lq), c["kv_heads"] * c["head_dim"])
        t["v"] = f.randn(sum(lk or lq), c["kv_heads"] * c["head_dim"])
        if c["bias"] == "buckets":
            t["table"] = f.randn(c["buckets"], c["heads"])
        if c["bias"] == "slopes":
            t["slopes"] = torch.tensor([2.0 ** -(i + 1) for i in range(c["heads"])])
        if name.startswith("prefix"):
            t["cu_prefix"] = torch.tensor([0, 3, 3, 10], dtype=torch.int32)
            t["prefix_index"] = torch.tensor([2, 0, -1, 2], dtype=torch.int32)
            for k in ("prefix_k", "prefix_v"):
                t[k] = f.randn(10, c["kv_heads"] * c["head_dim"])
        if name == "causal":        # the formula above is the usual one
            q, k, v = (t[x].double().view(-1, 4, 8)[6:].transpose(0, 1) for x in "qkv")
            usual = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).reshape(18, 32)
            mine = attention(c, {x: y.double() if y.is_floating_point() else y for x, y in t.items()})[6:]
            assert (usual - mine).abs().max() < 1e-14
        f.case(name, c, t, lambda x, c=c: {"o": attention(c, x)}, fixed=("slopes",))
    f.save(directory)


def make_nll(directory):
    f = File("nll")
    forms = {
        "plain": dict(), "scale": dict(scale=0.25), "cap": dict(cap=4.0), "smoothing": dict(smoothing=0.1),
        "lowrank": dict(rank=3, term_scale=1.5), "bias": dict(bias=True),
        "all": dict(scale=0.5, cap=3.0, smoothing=0.2, rank=2, term_scale=0.5, bias=True),
        "wide": dict(v=700, smoothing=0.1), "transposed": dict(transposed=True),
    }
    for name, change in forms.items():
        c = dict(dict(n=13, c=10, v=31, scale=1.0, cap=0.0, smoothing=0.0, rank=0, term_scale=0.0, bias=False,
                      transposed=False), **change)
        t = dict(x=f.randn(c["n"], c["c"]), w=f.randn(c["v"], c["c"]))
        if c["transposed"]:
            t["w"] = t["w"].T.contiguous()
        if c["bias"]:
            t["bias"] = f.randn(c["v"])
        if c["rank"]:
            t["a"], t["b"] = f.randn(c["rank"], c["c"]), f.randn(c["v"], c["rank"], std=0.5)
        t["row"] = torch.tensor([0, 1, 4, 5, 6, 9, 12], dtype=torch.int32)
        t["label"] = torch.randint(0, c["v"], (7,), generator=f.gen, dtype=torch.int32)

        def nll(x, c=c):
            z = F.linear(x["x"], x["w"].T if c["transposed"] else x["w"], x.get("bias"))
            if c["rank"]:
                z = z + c["term_scale"] * F.linear(F.linear(x["x"], x["a"]), x["b"])
            z = z * c["scale"]
            if c["cap"]:
                z = torch.tanh(z / c["cap"]) * c["cap"]
            return {"nll": F.cross_entropy(z[x["row"].long()], x["label"].long(), reduction="none",
                                           label_smoothing=c["smoothing"])}
        f.case(name, c, t, nll)
    f.save(directory)


def make_norm(directory):
    f = File("norm")
    for kind in ("rms", "rms1p", "layer"):
        for fused in (False, True):
            c = dict(kind=kind, fused=fused, eps=1e-5)
            t = dict(x=f.randn(9, 37) + 0.5, w=f.randn(37))
            if kind == "layer":
                t["b"] = f.randn(37)
            if fused:
                t["delta"] = f.randn(9, 37)

            def norm(x, c=c):
                s = x["x"] + x["delta"] if c["fused"] else x["x"]
                if c["kind"] == "layer":
                    y = F.layer_norm(s, (37,), x["w"], x["b"], c["eps"])
                else:       # LlamaRMSNorm, GemmaRMSNorm, without their conversion to float32
                    y = s * torch.rsqrt(s.pow(2).mean(-1, keepdim=True) + c["eps"])
                    y = y * (x["w"] + 1 if c["kind"] == "rms1p" else x["w"])
                return {"y": y, "sum": s} if c["fused"] else {"y": y}
            f.case(kind + ("_add" if fused else ""), c, t, norm)
    f.save(directory)


def make_rope(directory):
    f = File("rope")
    for name, heads, d, rot in (("whole", 3, 8, 8), ("partial", 2, 10, 4)):
        pos = torch.tensor([0, 1, 2, 0, 5, 11, 12], dtype=torch.int32)
        inv = 1.0 / 10000 ** (torch.arange(0, rot, 2, dtype=torch.float64) / rot)
        angle = torch.arange(13, dtype=torch.float64)[:, None] * inv
        t = dict(x=f.randn(7, heads * d), pos=pos, cos=angle.cos().float(), sin=angle.sin().float())

        def rope(x, heads=heads, d=d, rot=rot):
            cos = torch.cat([x["cos"], x["cos"]], -1)[x["pos"].long()][None]
            sin = torch.cat([x["sin"], x["sin"]], -1)[x["pos"].long()][None]
            y = x["x"].view(1, 7, heads, d).transpose(1, 2)
            r, _ = apply_rotary_pos_emb(y[..., :rot], y[..., :rot], cos, sin)
            return {"y": torch.cat([r, y[..., rot:]], -1).transpose(1, 2).reshape(7, heads * d)}
        f.case(name, dict(heads=heads, head_dim=d, rot_dim=rot), t, rope, fixed=("cos", "sin"))
    f.save(directory)


def make_act(directory):
    f = File("act")
    for i, name in enumerate(("gelu", "gelu_pytorch_tanh", "silu", "relu", "tanh", "quick_gelu", "relu2",
                              "sigmoid")):
        fn = ACT2FN[name]
        x = torch.cat([f.randn(5, 41, std=2), torch.linspace(-30, 30, 41)[None]])
        f.case(name, dict(act=i + 1, gated=False), dict(x=x), lambda t, fn=fn: {"y": fn(t["x"])})
        f.case(name + "_glu", dict(act=i + 1, gated=True), dict(x=x, u=f.randn(6, 41)),
               lambda t, fn=fn: {"y": fn(t["x"]) * t["u"]})
    f.save(directory)


def make_class(directory):
    f = File("class")
    z = f.randn(6, 5, std=3)
    cls = torch.tensor([0, 4, -100, 2, 2, 1], dtype=torch.int32)
    for smoothing in (0.0, 0.1):
        f.case("ce" if not smoothing else "ce_smooth", dict(kind=0, smoothing=smoothing), dict(z=z, cls=cls),
               lambda t, s=smoothing: {"loss": F.cross_entropy(t["z"], t["cls"].long(), reduction="none",
                                                               label_smoothing=s)})
    f.case("mse", dict(kind=1, smoothing=0.0), dict(z=z, target=f.randn(6, 5)),
           lambda t: {"loss": F.mse_loss(t["z"], t["target"], reduction="none").mean(-1)}, fixed=("target",))
    target = (torch.rand(6, 5, generator=f.gen) > 0.5).float()
    f.case("bce", dict(kind=2, smoothing=0.0), dict(z=z, target=target),
           lambda t: {"loss": F.binary_cross_entropy_with_logits(t["z"], t["target"], reduction="none").mean(-1)},
           fixed=("target",))
    f.save(directory)


def make_linear(directory):
    f = File("linear")
    for name, n, k, outs, rank, transposed, kind in (
            ("plain", 7, 13, (5, 9), 0, False, "F32"), ("lora", 11, 33, (17, 8, 20), 3, False, "F32"),
            ("conv1d", 6, 10, (12,), 2, True, "F32"), ("one", 1, 40, (40,), 8, False, "F32"),
            ("bf16", 9, 24, (30, 7), 2, False, "BF16"), ("f16", 9, 24, (30,), 2, True, "F16"),
            ("large", 150, 96, (130, 70), 4, False, "F32")):
        c = dict(n=n, k=k, outs=list(outs), rank=rank, transposed=transposed, scale=1.5)
        t = dict(x=f.randn(n, k))
        for i, o in enumerate(outs):
            w = f.randn(*((k, o) if transposed else (o, k)), std=k ** -0.5)
            t[f"w{i}"] = w.to({"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[kind])
            if i != 1:
                t[f"bias{i}"] = f.randn(o)
            if rank and i != 1:
                t[f"a{i}"], t[f"b{i}"] = f.randn(rank, k, std=k ** -0.5), f.randn(o, rank)

        def group(x, c=c):
            out = {}
            for i in range(len(c["outs"])):
                w = x[f"w{i}"]
                y = F.linear(x["x"], w.T if c["transposed"] else w, x.get(f"bias{i}"))
                if f"a{i}" in x:
                    y = y + c["scale"] * F.linear(F.linear(x["x"], x[f"a{i}"]), x[f"b{i}"])
                out[f"y{i}"] = y
            return out
        f.case(name, c, t, group)
    f.save(directory)


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "data", "ops")
    os.makedirs(directory, exist_ok=True)
    torch.set_num_threads(1)
    bucket_without_float32()
    for make in (make_attention, make_nll, make_norm, make_rope, make_act, make_class, make_linear):
        make(directory)


main()
