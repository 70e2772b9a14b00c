# SPDX-License-Identifier: MIT
"""What the golden scripts share: weights made from names and indices (the C
side is tests/unit/golden.h), float64 under the name of float32, torch's error
in smaller types, and what is stored of a large gradient.
"""
import concurrent.futures
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.numpy import save_file
from torch.utils._python_dispatch import TorchDispatchMode

FULL = 128      # gradients of at most so many elements are stored whole
SOME = 48       # of larger ones so many elements, evenly spaced

# Ways in which torch computes, chosen by what it reads as it starts. Which comes nearest to the golden value
# is luck, another one for each tensor and machine: torch's error is that of the farthest.
WAYS = [dict(ATEN_CPU_CAPABILITY="default", MKL_CBWR="COMPATIBLE"), dict(ATEN_CPU_CAPABILITY="default", MKL_CBWR="SSE4_2"),
        dict(ATEN_CPU_CAPABILITY="avx2", MKL_CBWR="AVX"), dict(ATEN_CPU_CAPABILITY="avx2", MKL_CBWR="AVX2"),
        dict(ATEN_CPU_CAPABILITY="avx2")]


def uniform(name, n):
    """n float32 on [-1, 1), multiples of 2^-23: splitmix64 of FNV-1a of the name plus the index."""
    h = 0xcbf29ce484222325
    for c in name.encode():
        h = (h ^ c) * 0x100000001b3 & 0xffffffffffffffff
    with np.errstate(over="ignore"):
        z = np.uint64(h) + (np.arange(n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9e3779b97f4a7c15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0 ** -23) - np.float32(1)


def weight(name, shape):
    """A parameter: norms around one, biases up to 1/4, embeddings up to 1, linears by their width."""
    x = uniform(name, math.prod(shape))
    if name.endswith("bias"):
        x = x * np.float32(0.25)
    elif len(shape) == 1:
        x = x * np.float32(0.5) + np.float32(1)
    elif "embed" not in name and not name.endswith("shared.weight"):
        x = x * np.float32(1.75 / math.sqrt(shape[1]))
        if "Attention.q." in name:
            x = x * np.float32(0.3125)      # T5 does not scale scores
    return x.reshape(shape)


class OnlyFloat64(TorchDispatchMode):
    """No operation may make a smaller floating type than float64."""
    paused = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if OnlyFloat64.paused:
            return out
        for t in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(t, torch.Tensor) and t.is_floating_point():
                assert t.dtype == torch.float64, (func, t.dtype)
        return out


def unchecked(function):
    """The function with its own types: for what is defined as rounded."""
    def call(*args, **kwargs):
        OnlyFloat64.paused = True
        try:
            return function(*args, **kwargs)
        finally:
            OnlyFloat64.paused = False
    return call


@contextlib.contextmanager
def float32_means_float64():
    """Libraries compute norms, tables, softmax and loss in float32 whatever the model's type: here that is float64."""
    old = torch.float32, torch.float, torch.Tensor.float, torch.get_default_dtype()
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        with OnlyFloat64():
            yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = old[:3]
        torch.set_default_dtype(old[3])


def in_type(dtype):
    """The context to build and run a model in: exact for float64."""
    return float32_means_float64() if dtype == torch.float64 else contextlib.nullcontext()


@contextlib.contextmanager
def each_way(names):
    """Runs the script that calls this once in each way as `script --rounded DIR NAME...`, where it is to leave
    torch.save(..., DIR/NAME.pt); gives a function from a name to the list of what was saved."""
    with tempfile.TemporaryDirectory() as top:
        dirs = [os.path.join(top, str(i)) for i in range(len(WAYS))]

        def one(way, directory):
            os.mkdir(directory)
            subprocess.run([sys.executable, sys.argv[0], "--rounded", directory, *names], check=True,
                           env={**os.environ, **way}, stdout=subprocess.DEVNULL)

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(one, WAYS, dirs))
        yield lambda name: [torch.load(os.path.join(d, name + ".pt")) for d in dirs]


def error(got, want, top=None):
    """max|a-b| / max|b|, or by the scale top."""
    if top is None:
        top = want.abs().max().item() if want.numel() else 0
    return (got.double() - want).abs().max().item() / top if top else 0.0


def some(n):
    """Indices of the elements that are stored of n."""
    return [i * (n - 1) // (SOME - 1) for i in range(SOME)]


class Golden:
    """One file: inputs, results in float64, and the errors of torch in smaller types beside them."""

    def __init__(self, name, **about):
        self.name, self.tensors, self.about = name, {}, about
        self.about["error"] = {}
        self.about["large"] = {}
        self.about["scale"] = {}

    def put(self, name, x):
        self.tensors[name] = np.ascontiguousarray(x)

    def result(self, name, want, others, top=None):
        """others: type name -> the same tensor as torch computes it in that type, each way."""
        want = want.detach()
        if top is not None:
            self.about["scale"][name] = top
        self.about["error"][name] = {k: max(error(v, want, top) for v in vs) for k, vs in others.items()}
        self.put(name, want.numpy().astype(np.float64 if want.dim() == 0 else np.float32))

    def gradient(self, name, want, others, largest):
        """largest: of all gradients of the model. One that is zero but for rounding (of a bias of
        keys: softmax does not feel it) is measured by that."""
        key = "grad." + name
        want = want.detach().reshape(-1)
        n = want.numel()
        zero = want.abs().max().item() < 1e-12 * largest
        if n <= FULL:
            self.result(key, want, {k: [v.reshape(-1) for v in vs] for k, vs in others.items()},
                        largest if zero else None)
            return
        assert not zero, name
        direction = torch.from_numpy(uniform("direction:" + name, n)).double()
        norm, top = want.norm().item(), want.abs().max().item()
        dot = (want @ direction).item()
        self.about["large"][name] = {"norm": norm, "dot": dot, "max": top}
        self.put(key, want[some(n)].numpy().astype(np.float32))
        errors = {}
        for k, vs in others.items():
            vs = [v.reshape(-1).double() for v in vs]
            errors[k] = max(max(error(v, want), abs(v.norm().item() - norm) / norm,
                                abs((v @ direction).item() - dot) / norm) for v in vs)
        self.about["error"][key] = errors

    def learned(self, got, others, each=lambda what, k, v: None):
        """What training gives: out, loss, losses, and by key grads and after. others: of each way, by type, the same,
        or a part of it. each: called behind each gradient and each tensor."""
        def other(part, *key):
            return {t: [o[t][part][key[0]] if key else o[t][part] for o in others] for t in others[0] if part in others[0][t]}

        for k in "out", "loss", "losses":
            self.result(k, got[k], other(k))
        largest = max(v.abs().max().item() for v in got["grads"].values())
        for what, top, part in (("", largest, "grads"), ("after.", 1, "after")):
            for k, v in got[part].items():
                self.gradient(what + k, v, other(part, k), top)
                each(what, k, v)

    def save_learned(self, losses, directory):
        """And a line that tells of it."""
        self.save(directory)
        errors = self.about["error"].values()
        print(f"{self.name}: loss {losses[0].item():.4f} to {losses[-1].item():.4f}, -{100 * self.about['fall']:.0f}%; "
              "error of torch " + ", ".join(f"{t} {max(e[t] for e in errors if t in e):.1e}"
                                            for t in self.about["error"]["out"])
              + f"; {os.path.getsize(os.path.join(directory, self.name + '.safetensors'))} bytes")

    def save(self, directory):
        path = os.path.join(directory, self.name + ".safetensors")
        save_file(self.tensors, path, {"golden": json.dumps(self.about)})
        os.chmod(path, 0o644)
