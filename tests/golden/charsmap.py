# SPDX-License-Identifier: MIT
"""A precompiled charsmap as sentencepiece writes it: a double array (Darts-clone) and the replacements."""
import struct
import unicodedata


class DoubleArray:
    """Of byte strings with a number each, none of which has a NUL."""

    def __init__(self, pairs):
        self.unit = [0] * 256
        self.used = {0}
        self.add(0, sorted(pairs), 0)
        while len(self.unit) % 256:
            self.unit.append(0)

    def add(self, at, pairs, depth):
        labels = sorted({key[depth] if depth < len(key) else 0 for key, _ in pairs})
        block = next(b for b in range(1 << 20) if all((b ^ c) not in self.used for c in labels))
        self.unit[at] |= (at ^ block) << 10
        self.used.update(block ^ c for c in labels)
        self.unit += [0] * (max(block ^ c for c in labels) + 1 - len(self.unit))
        for c in labels:
            rest = [p for p in pairs if (p[0][depth] if depth < len(p[0]) else 0) == c]
            if c == 0:
                self.unit[at] |= 1 << 8
                self.unit[block] = rest[0][1] | 1 << 31
            else:
                self.unit[block ^ c] = c
                self.add(block ^ c, rest, depth + 1)


def build(table):
    """{text: replacement} as bytes."""
    text, offset, pairs = b"", {}, []
    for key, to in sorted(table.items()):
        if to not in offset:
            offset[to] = len(text)
            text += to.encode() + b"\0"
        pairs.append((key.encode(), offset[to]))
    unit = DoubleArray(pairs).unit
    return struct.pack(f"<I{len(unit)}I", 4 * len(unit), *unit) + text


def nmt_nfkc():
    """A small table of the kind that T5 has: NFKC, white space, controls."""
    table = {c: " " for c in "\t\n\x0c\r\u00a0\u1680\u2000\u2028\u200b\u200e\u3000\ufeff"}
    table.update({c: "" for c in "\x01\x08\x1f\x7f\u0085\u00ad"})
    compat = "\u00b2\u00b3\u00bd\u2163\ufb01\u2126\uff21\uff42\u33a5\u1e9b\u0344\u212b\u2076\u207f\u2460\uff0c\u01c5\ufdfa"
    table.update({c: unicodedata.normalize("NFKC", c) for c in compat})
    for base in "aeiounAEO":
        for mark in "\u0300\u0301\u0308\u0303":
            c = unicodedata.normalize("NFC", base + mark)
            if len(c) == 1:
                table[base + mark] = c
    table["\u00c5\u0323"] = "X"         # only a beginning of what may stand in a text
    table["q\u0323"] = "long \u00e9 text"
    return table
