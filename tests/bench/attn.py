# SPDX-License-Identifier: MIT
"""Torch's forms of causal attention in bf16, to compare with attn.c.

attn.py {HEADS KV_HEADS HEAD_DIM SEQUENCES LENGTH}...
"""
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

RUNS = 30


def seconds(f):
    for _ in range(5):
        f()
    a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    a.record()
    for _ in range(RUNS):
        f()
    b.record()
    torch.cuda.synchronize()
    return a.elapsed_time(b) / 1e3 / RUNS


def measure(name, backend, heads, kv, d, batch, n):
    def rows(h):
        return torch.randn(batch, n, h, d, device='cuda', dtype=torch.bfloat16).transpose(1, 2).requires_grad_()
    q, k, v = rows(heads), rows(kv), rows(kv)
    pairs = batch * n * (n + 1) / 2 * heads * d
    with sdpa_kernel(backend):
        def run():
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv)
        o = run()
        g = torch.randn_like(o)
        with torch.no_grad():
            fwd = seconds(run)
        back = seconds(lambda: torch.autograd.grad(o, (q, k, v), g, retain_graph=True))
    print(f'{name}: {heads}/{kv} heads of {d}, {batch} x {n}: forward {1e6 * fwd:.1f} us, {4e-12 * pairs / fwd:.0f} TFLOP/s; '
          f'backward {1e6 * back:.1f} us, {1e-11 * pairs / back:.0f} TFLOP/s', flush=True)


shapes = list(map(int, sys.argv[1:]))
for at in range(0, len(shapes), 5):
    for det in False, True:
        torch.use_deterministic_algorithms(det)
        for name, backend in ('cudnn', SDPBackend.CUDNN_ATTENTION), ('flash', SDPBackend.FLASH_ATTENTION):
            # Heads of their own for each group as well: torch may spread keys before and sum gradients after.
            h, kv, d, b, n = shapes[at:at + 5]
            for own in (kv, h) if kv != h else (h,):
                try:
                    measure(name + (', deterministic' if det else ''), backend, h, own, d, b, n)
                except Exception as e:
                    print(f'{name}, deterministic {det}, {h}/{own}: {str(e).splitlines()[0]}', flush=True)
