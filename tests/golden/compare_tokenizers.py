#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares our tokenizers with the Python package `tokenizers`.

    python3 tests/golden/compare_tokenizers.py [-n 100000] [-s SEED] [--small] DIR|FILE ...
    python3 tests/golden/compare_tokenizers.py --trained TEXT [--only NAME,...]
    python3 tests/golden/compare_tokenizers.py --random N
    python3 tests/golden/compare_tokenizers.py --time TEXT DIR|FILE ...

Generates strings (all scripts, emoji, control characters, invalid UTF-8,
pieces of the vocabulary, special tokens typed in the text, runs of spaces and
digits, empty ones, one of 1 MB without a space), sends them through
build/tests/aux/tokens and through the package, and compares ids, types, the
decoded text and the text decoded token by token; with and without special
tokens, alone and in pairs, truncated or not. Ends with status 1 and shows the
first differences if there are any. --trained does so with the tokenizers of
make_tokenizers.py that are built like those of well-known models, trained on
TEXT to some thousands of tokens. --time compares processor time on the lines
of a text instead, one thread each. Build first: make units.
"""
import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers
from tokenizers import AddedToken, Tokenizer

SPECIAL, PLAIN, LEFT, RIGHT, ONLY_FIRST, ONLY_SECOND, ORIGIN = 1, 2, 4, 8, 16, 32, 64
NAMES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]


def read_json(path):
    return json.load(open(path)) if os.path.exists(path) else {}


def added(j, **more):
    keep = {k: j[k] for k in ("single_word", "lstrip", "rstrip", "normalized", "special") if k in j}
    return AddedToken(j["content"], **{**keep, **more})


def load(path):
    """What lib/text/tokenizer.h says that a directory means, in terms of the package."""
    if os.path.isfile(path):
        tok, config, smap = Tokenizer.from_file(path), {}, {}
    else:
        config = read_json(path + "/tokenizer_config.json")
        smap = read_json(path + "/special_tokens_map.json")
        if os.path.exists(path + "/tokenizer.json"):
            tok = Tokenizer.from_file(path + "/tokenizer.json")
        elif os.path.exists(path + "/merges.txt"):
            tok = tokenizers.ByteLevelBPETokenizer(path + "/vocab.json", path + "/merges.txt")._tokenizer
        else:
            lower = config.get("do_lower_case", True)
            tok = tokenizers.BertWordPieceTokenizer(
                path + "/vocab.txt", lowercase=lower, strip_accents=config.get("strip_accents"),
                handle_chinese_chars=config.get("tokenize_chinese_chars", True))._tokenizer
    tok.no_truncation()
    tok.no_padding()

    def known():
        return {t.content: t for t in tok.get_added_tokens_decoder().values()}

    for _, j in sorted(config.get("added_tokens_decoder", {}).items(), key=lambda x: int(x[0])):
        t = added(j)
        if known().get(t.content) != t or known()[t.content].special != t.special:
            (tok.add_special_tokens if t.special else tok.add_tokens)([t])
    named = [config.get(k) or smap.get(k) for k in NAMES]
    named += config.get("additional_special_tokens", []) or []
    for t in named:
        content = t["content"] if isinstance(t, dict) else t
        if content and content not in known():
            tok.add_special_tokens([added(t, special=True) if isinstance(t, dict) else
                                    AddedToken(t, special=True, normalized=False)])
    return tok


BLOCKS = [(0x20, 0x7E)] * 6 + [
    (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F),
    (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x8FF), (0x900, 0xDFF), (0xE00, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x109F),
    (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x167F), (0x1680, 0x18AF), (0x1900, 0x1CFF),
    (0x1D00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x20D0, 0x214F), (0x2150, 0x2BFF),
    (0x2C00, 0x2FFF), (0x3000, 0x30FF), (0x3100, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xABFF),
    (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE6F), (0xFE70, 0xFFFF),
    (0x10000, 0x107FF), (0x10800, 0x10FFF), (0x11000, 0x11FFF), (0x12000, 0x16FFF), (0x17000, 0x1CFFF),
    (0x1D000, 0x1DFFF), (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x1FB00, 0x1FFFF), (0x20000, 0x2FFFF),
    (0x30000, 0x323FF), (0xE0000, 0xE01FF), (0x10FF00, 0x10FFFF),
]
SPACES = [" ", " ", " ", "\n", "\t", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\u200b", "\ufeff", "\u180e", "\u0085",
          "\x0b", "\x0c", "\x1c", "\x00", "\u2581", "  ", "   ", "\n\n", "\u202f", "\u1680"]
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f", "\U0001f44d\U0001f3fd",
         "\U0001f1e9\U0001f1ea", "\u0031\ufe0f\u20e3"]
TRICKY = ["'s", "'S", "'re", "'ll", "don't", "I'M", "\u017f", "'\u017f", "\u212a", "\u0130", "\u0131", "\u00df", "\u1e9e",
          "e\u0301", "\u00e9", "\u1100\u1161\u11a8", "\u0958", "\ufb01", "\u2126", "\u0344", "a\u0328\u0301", "\u1885",
          "\u111c9", "\u0323\u0307", "\u09bf", "\u094d", "\u0e33", "\ufdfa", "\u00b2\u00b3\u00b9", "\u00bd", "\u0660\u0661",
          "1234567", "3.14159", "-", "--", "...", "(x)", "<0x41>", "\u2581\u2581", "\u0120", "</w>", "##", "#", "[UNK]",
          "http://a.b/c?d=e&f", "_", "__init__", "\u203f", "\u4e2d\u6587", "\u65e5\u672c\u8a9e\u30c6\u30b9\u30c8",
          "\ud55c\uad6d\uc5b4", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e44\u0e17\u0e22", "\u05e9\u05dc\u05d5\u05dd",
          "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "\u0440\u0443\u0441\u0441\u043a\u0438\u0439", "\u03a3\u03c2"]


class Strings:
    """An endless supply of nasty byte strings."""

    def __init__(self, tok, seed):
        self.rnd = random.Random(seed)
        vocab = tok.get_vocab(with_added_tokens=False)
        self.pieces = sorted(vocab)
        self.specials = [t.content for t in tok.get_added_tokens_decoder().values()]
        self.specials += ["<s>", "</s>", "<unk>", "<mask>", "[CLS]", "[SEP]", "[MASK]", "<|endoftext|>", "<pad>"]

    def cp(self):
        lo, hi = self.rnd.choice(BLOCKS)
        return chr(self.rnd.randint(lo, hi) if not 0xD800 <= lo <= 0xDFFF else 0x41)

    def word(self):
        r = self.rnd
        k = r.randrange(14)
        if k < 4:
            return "".join(chr(r.randint(97, 122)) for _ in range(r.randint(1, 9)))
        if k == 4:
            return "".join(chr(r.choice([r.randint(65, 90), r.randint(48, 57), r.randint(33, 126)]))
                           for _ in range(r.randint(1, 8)))
        if k == 5:
            lo, hi = r.choice(BLOCKS)
            return "".join(chr(r.randint(lo, hi)) for _ in range(r.randint(1, 8)))
        if k == 6:
            return "".join(self.cp() for _ in range(r.randint(1, 6)))
        if k == 7:
            return r.choice(EMOJI) * r.randint(1, 3)
        if k == 8:
            return r.choice(self.specials)
        if k == 9:
            return r.choice(TRICKY)
        if k == 10:
            s = r.choice(self.specials)
            i = r.randrange(len(s) + 1)
            return r.choice([s + s, s[:i], s[i:] + s[:i], s.upper(), s + r.choice(SPACES) + s])
        if k == 11:
            return "".join(r.choice(TRICKY) for _ in range(r.randint(1, 4)))
        return r.choice(self.pieces)

    def bytes(self):
        r = self.rnd
        k = r.randrange(100)
        if k == 0:
            return b""
        if k < 4:
            return "".join(r.choice(SPACES) for _ in range(r.randint(1, 12))).encode()
        if k < 8:
            return bytes(r.choice([r.randrange(256), r.randint(32, 126), r.randint(0x80, 0xF7)])
                         for _ in range(r.randint(1, 30)))
        if k == 8:
            return (self.word() * r.randint(2, 60)).encode()
        out = []
        for _ in range(r.choice([1, 1, 2, 3, 5, 8, 13, 21])):
            out.append(self.word())
            if r.random() < 0.75:
                out.append(r.choice(SPACES) * r.choice([1, 1, 1, 1, 2, 3, 7]))
        s = "".join(out).encode()
        if k < 16 and s:
            b = bytearray(s)
            for _ in range(r.randint(1, 3)):
                b[r.randrange(len(b))] = r.randrange(256)
            return bytes(b)
        return s[:r.randrange(len(s) + 1)] if k < 22 else s


def requests(tok, n, seed, small):
    st = Strings(tok, seed)
    r = st.rnd
    big = [b"a" * 1000000, "".join(r.choice("abcdefgh\u00e9\u4e2d1.") for _ in range(700000)).encode()[:1000000],
           bytes(r.randrange(33, 127) for _ in range(1000000))]
    if small:
        big = []
    for i in range(n):
        a = big.pop() if i % 7 == 3 and big else st.bytes()
        b = st.bytes() if r.random() < 0.1 else None
        flags = r.choice([SPECIAL, SPECIAL, SPECIAL, 0, SPECIAL | PLAIN, PLAIN])
        limit = 0
        if r.random() < 0.1:
            limit = r.randint(1, 20)
            flags |= r.choice([LEFT, RIGHT])
            if b is not None:
                flags |= r.choice([0, ONLY_FIRST, ONLY_SECOND])
        if r.random() < 0.4:
            flags |= ORIGIN
        yield flags, limit, a, b


def ours(path, reqs):
    with tempfile.TemporaryFile() as f, tempfile.TemporaryFile() as g:
        for flags, limit, a, b in reqs:
            f.write(struct.pack("=III", flags, limit, len(a)) + a)
            f.write(struct.pack("=I", 0xFFFFFFFF) if b is None else struct.pack("=I", len(b)) + b)
        f.seek(0)
        subprocess.run(["build/tests/aux/tokens", path], stdin=f, stdout=g, check=True)
        g.seek(0)
        data = g.read()
    at = 0

    def u32():
        nonlocal at
        at += 4
        return struct.unpack_from("=I", data, at - 4)[0]

    def text():
        nonlocal at
        n = u32()
        at += n
        return data[at - n:at].decode()

    for flags, _, _, _ in reqs:
        if u32():
            yield None, text(), None, None, None
            continue
        n = u32()
        ids = list(struct.unpack_from(f"={n}i", data, at))
        types = list(struct.unpack_from(f"={n}i", data, at + 4 * n))
        at += 8 * n
        places = None
        if flags & ORIGIN:
            p = struct.unpack_from(f"={3 * n}i", data, at)
            places = list(zip(p[::3], p[1::3], p[2::3]))
            at += 12 * n
        yield ids, types, text(), text(), places


def in_bytes(text):
    """Byte offsets of the characters of a text, and of its end."""
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return at


def origins(e, a, b):
    """Places in bytes and the text of each token, as lib/text/tokenizer.h has them."""
    at = [in_bytes(a), in_bytes(b or "")]

    def place(x, y, s):
        if s is None:
            return 0, 0, -1
        return (at[s][x], at[s][y], s) if y < len(at[s]) else None
    return [place(x, y, s) for (x, y), s in zip(e.offsets, e.sequence_ids)]


def same(want, got):
    """A place that lies outside of the text, as the package has it now and then, says nothing."""
    return want[:4] == got[:4] and (not want[4] or all(x in (None, y) for x, y in zip(want[4], got[4])))


def cleaned(text):
    """What transformers 5 does for clean_up_tokenization_spaces."""
    for x, y in ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
                 (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")):
        text = text.replace(x, y)
    return text


def theirs(tok, specials, cleans, req):
    flags, limit, a, b = req
    a = a.decode(errors="replace")
    b = None if b is None else b.decode(errors="replace")
    tok.encode_special_tokens = bool(flags & PLAIN)
    tok.no_truncation()
    if limit:
        if limit < (tok.num_special_tokens_to_add(b is not None) if flags & SPECIAL else 0):
            return None, "no room", None, None, None
        only = flags & (ONLY_FIRST | ONLY_SECOND)
        strategy = {0: "longest_first", ONLY_FIRST: "only_first", ONLY_SECOND: "only_second"}[only]
        tok.enable_truncation(limit, strategy=strategy, direction="left" if flags & LEFT else "right")
    try:
        e = tok.encode(a, b, add_special_tokens=bool(flags & SPECIAL))
    except Exception as x:
        return None, str(x), None, None, None
    except BaseException as x:      # a panic
        return None, "panic: " + str(x)[:80], None, None, None
    text = tok.decode(e.ids, skip_special_tokens=False)
    return (e.ids, e.type_ids, cleaned(text) if cleans else text,
            tok.decode([i for i in e.ids if i not in specials], skip_special_tokens=False),
            origins(e, a, b) if flags & ORIGIN else None)


def compare(path, n, seed, show, small, name=None):
    t = load(path)
    name = name or path
    specials = {i for i, x in t.get_added_tokens_decoder().items() if x.special}
    cleans = (read_json(path + "/tokenizer_config.json").get("clean_up_tokenization_spaces", False)
              and not isinstance(t.model, tokenizers.models.BPE))
    bad = tokens = size = refused = 0
    start = time.time()
    reqs = list(requests(t, n, seed, small))
    # The package counts the bytes of prefix and suffix as text where they fall back to bytes.
    counts = getattr(t.model, "byte_fallback", False) and (getattr(t.model, "continuing_subword_prefix", None) or
                                                           getattr(t.model, "end_of_word_suffix", None))
    for req, got in zip(reqs, ours(path, reqs)):
        want = theirs(t, specials, cleans, req)
        if counts and want[4]:
            want = want[:4] + ([None] * len(want[4]),)
        tokens += len(want[0] or [])
        size += len(req[2]) + len(req[3] or b"")
        if want[0] is None and got[0] is None:
            refused += 1
            continue
        if same(want, got):
            continue
        bad += 1
        if bad <= show:
            flags, limit, a, b = req
            print(f"{name}: flags {flags} limit {limit} {a[:200]!r} {b[:200] if b else b!r}")
            for part, x, y in zip(("ids", "types", "text", "stream", "places"), want, got):
                if x != y:
                    i = 0
                    while x and y and i < min(len(x), len(y)) and x[i] == y[i]:
                        i += 1
                    i = max(0, i - 3)
                    print(f"  {part} from {i}: want {x[i:i + 20] if x else x!r}\n  {' ' * len(part)}        have {y[i:i + 20] if y else y!r}")
                    if part == "ids" and x and y:
                        print("   ", [t.id_to_token(k) for k in x[i:i + 20]], [t.id_to_token(k) for k in y[i:i + 20]])
                    break
    print(f"{name}: {n} requests, {size / 1e6:.1f} MB, {tokens} tokens, {refused} refused by both, "
          f"{bad} differences ({time.time() - start:.0f} s)", flush=True)
    return bad


def combinations(count, n, seed, show):
    """So many tokenizers with components drawn at random; the file of one that differs is kept."""
    import combine_tokenizers
    bad = drawn = 0
    while drawn < count:
        seed += 1
        draw = combine_tokenizers.Draw(random.Random(seed))
        try:
            tok = draw.tokenizer()
        except BaseException as x:      # not every combination can be trained
            print(f"seed {seed}: {str(x)[:100]}")
            continue
        drawn += 1
        path = f"{tempfile.gettempdir()}/combination-{seed}.json"
        tok.save(path)
        differ = compare(path, n, seed, show, True, f"seed {seed}: {combine_tokenizers.describe(tok)}")
        bad += differ
        if not differ:
            os.remove(path)
    print(f"{drawn} combinations, {drawn * n} requests, {bad} differences")
    return bad


def trained(text, only, n, seed, show):
    """Tokenizers with the components of well-known models that have learned from a text."""
    import make_tokenizers as make
    make.MORE_LINES, make.MORE_TOKENS = open(text).read().splitlines(), 4000
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, tok in make.real():
            if only and name not in only:
                continue
            path = f"{folder}/{name}.json"
            open(path, "w").write(tok if isinstance(tok, str) else tok.to_str())
            bad += compare(path, n, seed, show, True, f"{name}, {load(path).get_vocab_size()} tokens")
    return bad


def measure(path, text, rounds=3):
    lines = open(text, newline="\n").read().split("\n")[:-1]
    size = os.path.getsize(text) / 1e6
    start = time.process_time()
    t = load(path)
    opened = time.process_time() - start
    best = {}
    for name, run in (("encode", lambda: [t.encode(x) for x in lines]),
                      ("encode_batch_fast", lambda: t.encode_batch_fast(lines))):
        for _ in range(rounds):
            start = time.process_time()
            run()
            best[name] = min(best.get(name, 1e9), time.process_time() - start)
    print(f"{path}: tokenizers opened in {1e3 * opened:.1f} ms, "
          + ", ".join(f"{k} {size / v:.2f} MB/s" for k, v in best.items()))
    for n in (1, 10):
        out = [subprocess.run(["build/tests/aux/tokens", "--time", path, str(n)], stdin=open(text), capture_output=True,
                              check=True, text=True).stdout.strip() for _ in range(rounds)]
        print(f"{path}: ours " + max(out, key=lambda x: float(x.split()[-2])), flush=True)
    return 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-n", type=int, default=100000)
    p.add_argument("-s", "--seed", type=int, default=0)
    p.add_argument("--show", type=int, default=5)
    p.add_argument("--small", action="store_true", help="leave out the strings of 1 MB")
    p.add_argument("--time", metavar="TEXT")
    p.add_argument("--random", type=int, metavar="N", help="N tokenizers with components drawn at random, -n requests each")
    p.add_argument("--trained", metavar="TEXT", help="tokenizers like those of well-known models, trained on the lines of TEXT")
    p.add_argument("--only", type=lambda x: x.split(","), help="these of them")
    p.add_argument("paths", nargs="*")
    a = p.parse_args()
    if a.trained:
        sys.exit(bool(trained(a.trained, a.only, a.n, a.seed, a.show)))
    if a.random:
        sys.exit(bool(combinations(a.random, a.n, a.seed, a.show)))
    if a.time:
        sys.exit(any([measure(path, a.time) for path in a.paths]))
    sys.exit(any([compare(path, a.n, a.seed, a.show, a.small) for path in a.paths]))


if __name__ == "__main__":
    main()
