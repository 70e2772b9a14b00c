# SPDX-License-Identifier: MIT
"""The masks that our dropouts draw, for models of transformers: so a golden shows where each of them stands.

Ours are functions of the row's key and position, of the dropout's site (XXH64
of the path of a module) and of the channel (lib/base/rng.h, Philox4x32-10;
tests/unit/ref_device.h, ref_mask()); the key of sequence b is mix(77, b)
(tests/unit/tensor_fix.h). A case says whose site each call of dropout() in
transformers draws with, in the order of the calls: a path; or a list of those
of a block, repeated for each, '#' being its number.
"""
import contextlib

import numpy as np
import torch

M = 0xffffffffffffffff
P = [0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5]


def rotl(x, r):
    return (x << r | x >> (64 - r)) & M


def xxh64(data):
    """With seed 0."""
    def word(at, n):
        return int.from_bytes(data[at:at + n], "little")

    def mixed(acc, v):
        return rotl((acc + v * P[1]) & M, 31) * P[0] & M

    n, at = len(data), 0
    h = P[4]
    if n >= 32:
        v = [(P[0] + P[1]) & M, P[1], 0, -P[0] & M]
        while at + 32 <= n:
            v = [mixed(v[i], word(at + 8 * i, 8)) for i in range(4)]
            at += 32
        h = (rotl(v[0], 1) + rotl(v[1], 7) + rotl(v[2], 12) + rotl(v[3], 18)) & M
        for x in v:
            h = ((h ^ mixed(0, x)) * P[0] + P[3]) & M
    h = (h + n) & M
    while at + 8 <= n:
        h = (rotl(h ^ mixed(0, word(at, 8)), 27) * P[0] + P[3]) & M
        at += 8
    if at + 4 <= n:
        h = (rotl(h ^ word(at, 4) * P[0] & M, 23) * P[1] + P[2]) & M
        at += 4
    for c in data[at:]:
        h = rotl(h ^ c * P[4] & M, 11) * P[0] & M
    h = (h ^ h >> 33) * P[1] & M
    h = (h ^ h >> 29) * P[2] & M
    return h ^ h >> 32


def mix(key, v):
    def strong(z):
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & M
        z = (z ^ z >> 27) * 0x94D049BB133111EB & M
        return z ^ z >> 31
    return strong((strong((key + 0x9E3779B97F4A7C15) & M) + v * 0xD1342543DE82EF95 + 0x632BE59BD9B4E019) & M)


def site(path):
    return mix(mix(0, xxh64(path.encode())), xxh64(b"dropout"))


def philox(key, *counter):
    """Four words for each counter; its parts broadcast."""
    k0, k1 = np.uint64(key & 0xffffffff), np.uint64(key >> 32)
    c = [np.asarray(x, np.uint64) for x in np.broadcast_arrays(*counter)]
    low, half = np.uint64(0xffffffff), np.uint64(32)
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(b >> half) ^ c[1] ^ k0, b & low, (a >> half) ^ c[3] ^ k1, a & low]
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack(c, -1)


def mask(b, path, p, heads, rows, channels):
    """Factors [heads, rows, channels] of sequence b."""
    w = philox(mix(mix(77, b), site(path)), np.arange((channels + 3) // 4), np.arange(rows)[:, None],
               np.arange(heads)[:, None, None], 0)
    u = (w >> np.uint64(8)).reshape(heads, rows, -1)[:, :, :channels] * 2.0 ** -24
    return np.where(u < np.float32(p), 0, 1 / (1 - float(np.float32(p))))


def expand(sites, layers):
    for s in sites:
        if isinstance(s, list):
            for i in range(layers):
                yield from (x.replace("#", str(i)) for x in s)
        else:
            yield s


class Masks:
    """Stands in for dropout() while one sequence goes through."""

    def __init__(self, sites, layers):
        self.sites, self.layers = sites, layers
        self.seen = set()

    def dropout(self, x, p=0.5, training=True, inplace=False):
        if not training or p == 0:
            return x
        path = next(self.left)
        self.seen.add((path, p))
        # Rows, pooled ones too; those of one sequence; its heads.
        assert x.dim() == 2 or x.shape[0] == 1
        shape = [1, *x.shape] if x.dim() == 2 else x.shape if x.dim() == 3 else x.shape[1:]
        return x * torch.from_numpy(mask(self.b, path, p, *shape)).to(x.dtype).reshape(x.shape)

    def attention(self, q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        """scaled_dot_product_attention() with shares that dropout() sees."""
        assert attn_mask is not None and not is_causal and not enable_gqa
        z = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale) + attn_mask
        return self.dropout(torch.softmax(z, -1), dropout_p) @ v

    @contextlib.contextmanager
    def sequence(self, b):
        self.b, self.left = b, expand(self.sites, self.layers)
        f = torch.nn.functional
        old = f.dropout, f.scaled_dot_product_attention
        f.dropout, f.scaled_dot_product_attention = self.dropout, self.attention
        try:
            yield
        finally:
            f.dropout, f.scaled_dot_product_attention = old
        rest = list(self.left)
        assert not rest, f"no dropout for {rest}"


def masks(model, sites):
    return Masks(sites, getattr(model.config, "num_layers", None) or model.config.num_hidden_layers)
