#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tests/data/tokenizers: small tokenizers and what the Python package `tokenizers` does with them.

    python3 tests/golden/make_tokenizers.py

Two kinds: tokenizers built like those of well-known models, trained on the few
lines below; and probes, which show a chain of normalizers and pre-tokenizers:
their model knows single characters, those at the end of a word with "</w>"
behind, so that the ids say exactly what text came out and where it was divided.
golden.json holds strings (in hexadecimal: they may have any byte), and for each
tokenizer runs [flags, limit, a, b, ids, types, decoded, streamed, places], where texts
are indices into the strings (b -1: no pair), types is 0 where all are 0, ids is
a string where the package refuses, streamed is the text without special
tokens, and places says for each id where it comes from: "-" from no text, "3" the
3 bytes behind those of the id before, "-2+3" 3 bytes that begin 2 earlier, "3b"
in the second text; and facts: number of tokens, largest id, special ids, named ids. The flags are those of lib/text/tokenizer.h. Run with tokenizers 0.23.3.
"""
import json
import os
import shutil
import struct

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import charsmap

SPECIAL, PLAIN, LEFT, RIGHT, ONLY_FIRST, ONLY_SECOND = 1, 2, 4, 8, 16, 32
OUT = "tests/data/tokenizers"

CORPUS = """\
The quick brown fox jumps over the lazy dog. It's what they're saying: we'll see, I'm sure you've heard.
She sells sea shells by the sea shore, and the shells that she sells are sea shells, I'm sure.
In 2019 there were 1234567 people in 42 cities; prices rose by 3.5% to $1,299.99 (or less).
def main(args):\n    for i in range(10):\n        print(i, args[i] + "x")\n    return 0
The weather was neither good nor bad, and nobody walked in the rain without an umbrella.
Der Käse schmeckt süß. Où est la bibliothèque? El niño está aquí. Größe, naïve, façade.
Быстрая коричневая лиса прыгает через ленивую собаку. Привет, мир!
敏捷的棕色狐狸跳过懒狗。 日本語のテキスト、カタカナとひらがな。 한국어 텍스트입니다.
नमस्ते दुनिया। สวัสดีชาวโลก שלום עולם مرحبا بالعالم Γειά σου Κόσμε
unbelievable, international, tokenization, internationalization, unhappiness, happily, walking, walked
aaaaaaaaaaaaaaaa aaaaaaaa aaaa hahahahahahahaha hahahaha aaaaaaaaaaaaaaaaaaaaaaaa
""".splitlines()
# More lines to learn from, and tokens for them: compare_tokenizers.py --trained sets both.
MORE_LINES, MORE_TOKENS = [], 0

STRINGS = [
    "", " ", "  ", "a", "Hello world", " Hello  world ", "It's what they're SAYING: I'LL see. '\u017f 'S", "don't won't",
    "1234567 and 12 345, 3.14159; \u0661\u0662\u0663\u0664 \u00b2\u00b3\u00bd\u2163", "a1b22c333d4444", "tabs\tand\nnewlines\r\n\r\n  x \n",
    "   leading", "trailing   ", "a    b     c", "\n\n\n", " \n \n", "word\u00a0nbsp\u3000wide\u2003em\u180emvs\u200bzw\ufeffbom",
    "\u0085next\u2028line\u2029para", "\x00nul\x01\x1f\x7f\x9f", "e\u0301 \u00e9 E\u0301 \u00c5\u212b \u0344 a\u0328\u0301 q\u0307\u0323 q\u0323\u0307",
    "\u1e9e \u00df \u0130\u0131 \u03a3\u03c3\u03c2 \u01c5 \ufb01 \u2126 \uff21\uff42 \u33a5", "K\u00e4se s\u00fc\u00df na\u00efve fa\u00e7ade \u00d1and\u00fa",
    "\u0411\u044b\u0441\u0442\u0440\u0430\u044f \u043b\u0438\u0441\u0430 \u0451\u0439", "\u4e2d\u6587\u5b57\u7b26 \u65e5\u672c\u8a9e\u30c6\u30ad\u30b9\u30c8\u3002\u3072\u3089\u304c\u306a", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u05e9\u05dc\u05d5\u05dd \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f\U0001f44d\U0001f3fd", "\U00020000\U0002b820\U0002b920\U0002f800\uf900 \U0001d400\U00010400",
    "\u1885\u1886 \ua9bd \U000111c9 \u1734 \u166d \u1cf2\u1cf3 \U00011930\U00011935 \U0001e4ec\u0301 \u0ccd", "\U00032000 \U0001f6d8 \u1c89 \U00016d63",
    "(hello), [world]! {x} <y> a_b __init__ x\u203fy #tag @me $5 50% a+b=c ~ ` ^ \u00a7 \u20ac \u2212 \u2014 \u201cq\u201d",
    "the-final--countdown", "...", "!?!?", "\u3002\uff0c\u0964", "http://a.b/c?d=e&f#g", "print(\"x\", y[0])\n    return -1\n",
    "\u2581", "\u2581\u2581a \u2581b", "a\u2581\u2581b \u2581 c", "\u0120x \u010a", "<0x41><0xE2>", "a</w> ##b [UNK] <unk>",
    "<s>", "</s>", "a</s>b", "a </s> b", "<s> <s>", "</s></s>", "x<s", "<s>Hello</s>\u4e2d", "</S> <S>",
    "<mask>", "a <mask> b", "a  <mask>  b", "a<mask>b", "<m>\n\nb", "a<m>\n\nb", "a <m> \n b", "<m><m> <m>", "<m>  <mask> x", "a <w> b", "a<w> <w>b", "<w>,<w>", "\u00e9<w>\u0301",
    "[CLS] a [SEP]", "AddedTok addedtok ADDEDTOK xAddedTok", "  \n\n  <|x|>  y", "x" * 101, "ab" * 60, "aaaha" * 21, "\u00e9" * 101, "\u4e00" * 51, "a" * 300 + " b",
    "unbelievable internationalization unhappiness walked", "The THE the tHE", "\u00c0\u00c9\u00ce\u00d5\u00dc \u00e0\u00e9\u00ee\u00f5\u00fc", "\r\nCRLF\r\n", "x\u0301\u0301y \u0301", "a\u0300\u200d\u200c",
    "e\u0301\u0301 a\u0308 o\u0300x", "\u00a0\u0300\u0300 \u00a0\u094d \u00a0\u0300 x\u00a0y",
    "a\u0301\u00ad\x1fb \x08c \ufb01\u0301 \u00c5\u0323 \u00c5\u0323\u0301", "V" + 17 * "0" + " VIII0000000000 000000 000", "abcabcaaaaab 9.z zz",
    "o\u1ae2x e\u1ae2\u0301", "half \u00bd \u3000wide\uff0cq\u0323z", "he and ll \u00e9 x",
]

R_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
R_QWEN2 = R_LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
R_TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
R_O200K = R_TEKKEN.replace("]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|", "]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|").replace(
    "\\p{M}]+|[^", "\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^").replace(r"\p{N}|", r"\p{N}{1,3}|")
R_BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
R_CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
R_DEEPSEEK3 = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
               r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
               r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]

N, P, D = normalizers, pre_tokenizers, decoders
BYTES = [f"<0x{b:02X}>" for b in range(256)]
LLAMA_DECODER = D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
TEKKEN_SPLIT = P.Sequence([P.Split(Regex(R_TEKKEN), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)])


def special(s, **flags):
    return AddedToken(s, special=True, **{"normalized": False, **flags})


def isolated(*patterns):
    return P.Sequence([P.Split(Regex(p), "isolated") for p in patterns]
                      + [P.ByteLevel(add_prefix_space=False, use_regex=False)])


def template(single, pair=None, **ids):
    return processors.TemplateProcessing(single=single, pair=pair or "$A $B", special_tokens=list(ids.items()))


def bytelevel(pre, norm=None, post=None, size=360, specials=(), prefix="", **model):
    """A byte-level BPE."""
    tok = Tokenizer(models.BPE(**model))
    tok.pre_tokenizer, tok.decoder = pre, D.ByteLevel()
    if norm:
        tok.normalizer = norm
    tok.train_from_iterator(CORPUS + MORE_LINES, trainers.BpeTrainer(
        vocab_size=size + MORE_TOKENS, special_tokens=list(specials), initial_alphabet=sorted(P.ByteLevel.alphabet()), show_progress=False))
    tok.post_processor = post or processors.ByteLevel(trim_offsets=False)
    return tok


def fallback(norm, pre, specials, post=None, decoder=LLAMA_DECODER, fuse=True, some=256):
    """A BPE with byte fallback, as sentencepiece makes them; its vocabulary lacks most of the corpus' scripts."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse, byte_fallback=some > 0))
    if norm:
        tok.normalizer = norm
    if pre:
        tok.pre_tokenizer = pre
    tok.train_from_iterator(CORPUS[:6] + CORPUS[-1:] + MORE_LINES, trainers.BpeTrainer(
        vocab_size=330 + MORE_TOKENS, special_tokens=["<unk>", "<s>", "</s>"] + BYTES[:some], show_progress=False))
    j = json.loads(tok.to_str())
    j["added_tokens"] = []
    if not pre:     # trained on whole lines: keep merges inside words
        keep = [m for m in j["model"]["merges"] if "\u2581" not in m[1] and "\u2581" not in m[0][1:]]
        j["model"]["merges"] = keep
        results = {a + b for a, b in keep}
        vocab = [t for t in j["model"]["vocab"] if len(t) == 1 or t in results or t.startswith("<")]
        j["model"]["vocab"] = {t: i for i, t in enumerate(vocab)}
    tok = Tokenizer.from_str(json.dumps(j))
    tok.add_special_tokens(specials)
    tok.decoder = decoder
    if post:
        tok.post_processor = post
    return tok


def unigram(norm, pre, post=None, size=330, named=("<pad>", "</s>", "<unk>", "<s>"), decoder=None, **model):
    tok = Tokenizer(models.Unigram())
    if norm:
        tok.normalizer = norm
    if pre:
        tok.pre_tokenizer = pre
    tok.train_from_iterator(CORPUS[:6] + CORPUS[-2:] + MORE_LINES, trainers.UnigramTrainer(
        vocab_size=size + MORE_TOKENS, special_tokens=list(named), unk_token="<unk>", show_progress=False))
    j = json.loads(tok.to_str())
    j["model"].update(model)
    tok = Tokenizer.from_str(json.dumps(j))
    tok.decoder = decoder or D.Metaspace()
    if post:
        tok.post_processor = post
    return tok


def ties():
    """Scores that are float32 values, many equal, some of which serde_json reads one bit off: the last bit decides."""
    def f32(x):
        return struct.unpack("f", struct.pack("f", x))[0]
    vocab = [["<unk>", 0.0], ["\u2581", -2.25], ["V", -3.9567267894744873], ["0", -6.657047748565674]]
    vocab += [[c, f32(-4.1 - i / 7)] for i, c in enumerate("123456789abcI.")]
    vocab += [["000", -10.996471405029297], ["0000", -9.265891075134277]]
    vocab += [["aa", f32(-8.2)], ["aaa", f32(-12.3)], ["ab", -8.342857142857143], ["abc", -12.871428571428572], ["bc", -8.628571]]
    text = json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581",
                       "prepend_scheme": "always", "split": True}, "model": {"type": "Unigram", "unk_id": 0, "vocab": vocab}})
    # Numbers of more digits than 64 bits hold, with exponents, and whole ones.
    return text.replace("-2.25]", "-2.2500000000000000000000000001]").replace("-8.628571]", "-8628571e-6]").replace(
        "[\"9\", ", "[\"zz\", -7], [\"z\", -3], [\"9\", ")


def wordpiece(norm, pre, post=None, limit=100, specials=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), cleanup=True):
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=limit))
    tok.normalizer, tok.pre_tokenizer, tok.decoder = norm, pre, D.WordPiece(cleanup=cleanup)
    tok.train_from_iterator(CORPUS + MORE_LINES, trainers.WordPieceTrainer(vocab_size=420 + MORE_TOKENS, special_tokens=list(specials), show_progress=False))
    if post:
        tok.post_processor = post
    return tok


def probe(norm=None, pre=None, added=()):
    """Single characters, with "</w>" at the end of a word."""
    def pieces(s):
        if norm:
            s = norm.normalize_str(s)
        return [p for p, _ in pre.pre_tokenize_str(s)] if pre else [s]

    # Pieces between added tokens differ from those of whole strings: take prefixes and parts in, too.
    texts = STRINGS + [p for s in STRINGS for p in s.replace("<", " <").replace(">", "> ").split(" ")]
    chars = sorted({c for s in texts for p in pieces(s) for c in p} | set("<>/|smwx\u2581 ab\n"))
    vocab = {"[UNK]": 0}
    for c in chars:
        for t in (c, c + "</w>"):
            vocab[t] = len(vocab)
    tok = Tokenizer(models.BPE(vocab, [], unk_token="[UNK]", end_of_word_suffix="</w>"))
    if norm:
        tok.normalizer = norm
    if pre:
        tok.pre_tokenizer = pre
    tok.decoder = D.BPEDecoder("</w>")
    for t in added:
        (tok.add_special_tokens if t.special else tok.add_tokens)([t])
    # Characters that are in no result need not be in the vocabulary.
    used = {i for s in STRINGS for i in tok.encode(s).ids} | {0}
    keep = {t: i for t, i in tok.get_vocab(with_added_tokens=False).items() if i in used}
    order = sorted(keep, key=keep.get)
    j = json.loads(tok.to_str())
    j["model"]["vocab"] = {t: i for i, t in enumerate(order)}
    for a in j["added_tokens"]:
        a["id"] = 0
    j["added_tokens"] = []
    tok = Tokenizer.from_str(json.dumps(j))
    for t in added:
        (tok.add_special_tokens if t.special else tok.add_tokens)([t])
    return tok


def real():
    yield "gpt2", bytelevel(P.ByteLevel(add_prefix_space=False), specials=["<|x|>"])
    roberta = bytelevel(P.ByteLevel(add_prefix_space=True), specials=["<s>", "<pad>", "</s>", "<unk>"],
                        post=processors.RobertaProcessing(("</s>", 2), ("<s>", 0)))
    roberta.add_special_tokens([special("<mask>", lstrip=True)])
    yield "roberta", roberta
    llama = N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")])
    bos = template("<s> $A", "<s> $A <s>:1 $B:1", **{"<s>": 1})
    names = ["<unk>", "<s>", "</s>"]
    yield "llama2", fallback(llama, None, [special(t, normalized=True) for t in names], bos)
    yield "llama2-raw", fallback(llama, None, [special(t) for t in names], template("<s> $A </s>", **{"<s>": 1, "</s>": 2}))
    phi = fallback(llama, None, [special("<unk>"), special("<s>"), special("</s>", rstrip=True), special("<m>", rstrip=True)], bos)
    phi.add_tokens([AddedToken("\n", normalized=False)])
    yield "phi3", phi
    yield "mistral", fallback(None, P.Metaspace("\u2581", "first", split=False), [special(t) for t in names], bos)
    gemma = fallback(N.Replace(" ", "\u2581"), P.Split(" ", "merged_with_previous"), [special(t) for t in names], bos,
                     decoder=D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse()]))
    gemma.add_tokens([AddedToken(t, normalized=False) for t in ("\n\n", "\u2581\u2581", "\u2581\u2581\u2581")])
    yield "gemma", gemma
    yield "unk", fallback(None, P.Whitespace(), [special(t) for t in names], fuse=False, some=0)
    yield "unk-fused", fallback(None, P.WhitespaceSplit(), [special(t) for t in names], some=0)
    yield "unk-bytes", fallback(None, P.WhitespaceSplit(), [special(t) for t in names], fuse=False, some=0xd0)
    llama3 = bytelevel(isolated(R_LLAMA3), specials=["<s>", "</s>", "<|x|>"], ignore_merges=True)
    llama3.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                                 template("<s> $A", "<s> $A <s>:1 $B:1", **{"<s>": 0})])
    yield "llama3", llama3
    yield "qwen2", bytelevel(isolated(R_QWEN2), N.NFC(), specials=["<|x|>"])
    yield "tekken", bytelevel(isolated(R_TEKKEN))
    yield "deepseek3", bytelevel(isolated(*R_DEEPSEEK3))
    yield "bloom", bytelevel(isolated(R_BLOOM))
    yield "falcon", bytelevel(P.Sequence([P.Punctuation("contiguous"), P.ByteLevel(add_prefix_space=False),
                                          P.Digits(False), P.Split(Regex("[0-9][0-9][0-9]"), "isolated")]))
    neox = bytelevel(P.ByteLevel(add_prefix_space=False), N.NFC(), specials=["<|x|>"])
    neox.add_tokens([AddedToken(" " * n, normalized=True) for n in (4, 3, 2)])
    yield "neox", neox
    yield "smollm", bytelevel(P.Sequence([P.Digits(True), P.ByteLevel(add_prefix_space=False)]), specials=["<|x|>"])
    clip = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    clip.normalizer = N.Sequence([N.NFC(), N.Replace(Regex(r"\s+"), " "), N.Lowercase()])
    clip.pre_tokenizer = P.Sequence([P.Split(Regex(R_CLIP), "removed", invert=True), P.ByteLevel(add_prefix_space=False)])
    clip.decoder = D.ByteLevel()
    clip.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, end_of_word_suffix="</w>", special_tokens=["[UNK]"],
                                                         show_progress=False))
    yield "clip", clip
    prefixed = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##"))
    prefixed.pre_tokenizer, prefixed.decoder = P.WhitespaceSplit(), D.WordPiece()
    prefixed.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, continuing_subword_prefix="##",
                                                             special_tokens=["[UNK]"], show_progress=False))
    yield "prefixed", prefixed
    bert = template("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", **{"[CLS]": 2, "[SEP]": 3})
    yield "bert", wordpiece(N.BertNormalizer(), P.BertPreTokenizer(), bert)
    cased = wordpiece(N.BertNormalizer(strip_accents=False, lowercase=False), P.BertPreTokenizer(),
                      processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)))
    cased.enable_truncation(5)
    cased.enable_padding(length=128)
    yield "bert-cased", cased       # what is baked in is ignored
    yield "short", wordpiece(N.Sequence([N.NFD(), N.Lowercase(), N.StripAccents()]), P.Whitespace(), limit=10, cleanup=False)
    spm = N.Precompiled(charsmap.build(charsmap.nmt_nfkc()))
    words = P.Sequence([P.WhitespaceSplit(), P.Metaspace()])
    ends = template("$A </s>", "$A </s> $B </s>", **{"</s>": 1})
    t5 = unigram(spm, words, ends)
    t5.add_special_tokens([special(t, normalized=False) for t in ("</s>", "<pad>", "<unk>", "<extra_id_0>")])
    yield "t5", t5      # no BOS; newlines and tabs vanish
    yield "t5-strip", unigram(N.Sequence([spm, N.Strip(False, True), N.Replace(Regex(" {2,}"), "\u2581")]), P.Metaspace(), ends)
    xlmr = unigram(spm, words, template("<s> $A </s>", "<s> $A </s> </s> $B </s>", **{"<s>": 0, "</s>": 2}),
                   named=("<s>", "<pad>", "</s>", "<unk>"))
    xlmr.add_special_tokens([special("<s>"), special("</s>"), special("<mask>", lstrip=True)])
    yield "xlm-r", xlmr
    yield "albert", unigram(N.Sequence([N.Replace("``", '"'), N.NFKD(), N.StripAccents(), N.Lowercase(), spm]),
                            P.Metaspace("\u2581", "first"), template("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1",
                                                                    **{"[CLS]": 1, "[SEP]": 2}),
                            named=("<pad>", "[CLS]", "[SEP]", "<unk>"))
    yield "unigram-bytes", unigram(N.Replace(" ", "\u2581"), None, size=560, named=["<unk>", *BYTES], byte_fallback=True,
                                   decoder=LLAMA_DECODER)
    yield "unigram-null", unigram(None, words, unk_id=None)
    yield "unigram-ties", ties()
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer, words.normalizer = P.Whitespace(), N.Lowercase()
    words.train_from_iterator(CORPUS, trainers.WordLevelTrainer(vocab_size=90, special_tokens=["[UNK]", "<pad>"], show_progress=False))
    words.decoder = D.CTC("<pad>", "the")
    yield "wordlevel", words
    # Files without the type of their model.
    for name, tok in (("gpt2", bytelevel(P.ByteLevel(add_prefix_space=False), size=300)), ("words", words),
                      ("pieces", wordpiece(N.BertNormalizer(), P.BertPreTokenizer())), ("unigram", unigram(None, P.Metaspace()))):
        j = json.loads(tok.to_str())
        del j["model"]["type"]
        yield f"untyped-{name}", json.dumps(j, ensure_ascii=False)
    # Tokens with spaces, which merges can only name in pairs; a token that no merge makes; one special token of two ids.
    spaced = bytelevel(P.Split(Regex("s"), "removed"), size=300, ignore_merges=True)
    j = json.loads(spaced.to_str())
    j["decoder"], j["pre_tokenizer"]["behavior"] = None, "Isolated"
    j["model"].update(merges=[["e", " "], ["a", "n"], ["an", "d"], ["and", " "]], ignore_merges=True)
    j["model"]["vocab"] = {t: i for i, t in enumerate([*map(chr, range(32, 127)), "e ", "an", "and", "and ", "\u00e9 x", "he", "ll"])}
    j["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "two", "type_id": 3}}, {"Sequence": {"id": "A", "type_id": 1}}],
         "pair": [{"Sequence": {"id": "B", "type_id": 2}}, {"SpecialToken": {"id": "two", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
         "special_tokens": {"two": {"id": "two", "ids": [1, 2], "tokens": ["!", '"']}}}]}
    yield "spaced", json.dumps(j, ensure_ascii=False)
    none = bytelevel(P.ByteLevel(add_prefix_space=False), size=320)
    j = json.loads(none.to_str())   # characters without a symbol vanish; of equal keys the last wins
    for t in ("\u0100", "\u0101", "\u00e4", "\u00ef"):
        j["model"]["vocab"].pop(t, None)
    j["model"]["merges"].append(j["model"]["merges"][0])    # of equal merges the last rank counts
    vocab = json.dumps(j["model"]["vocab"], ensure_ascii=False)
    j["model"]["merges"] = [m for m in j["model"]["merges"] if not {"\u00e4", "\u00ef"} & set("".join(m))]
    more = max(400, len(j["model"]["vocab"]) + 80)         # an id of two tokens would be spelled as either
    text = json.dumps(j, ensure_ascii=False).replace(vocab, f'{{"x": 7, {vocab[1:-1]}, "!": {more}, "~": {more + 1}}}')
    assert text.count('"x":') == 2
    yield "none", text


def probes():
    flags = [special("<s>"), special("</s>", normalized=True), special("<mask>", lstrip=True), special("<m>", rstrip=True),
             special("<w>", single_word=True), AddedToken("AddedTok", normalized=True), AddedToken("\n", normalized=False)]
    yield "added", probe(added=flags)
    yield "added-lower", probe(N.Lowercase(), P.Metaspace(prepend_scheme="first"), added=flags)
    yield "added-strip", probe(N.Strip(), P.Metaspace(prepend_scheme="first", split=False),
                               added=[special("<s>"), special("<w>", single_word=True, normalized=True),
                                      special("<mask>", lstrip=True, rstrip=True)])
    for name in ("NFC", "NFD", "NFKC", "NFKD"):
        yield name.lower(), probe(getattr(N, name)())
    yield "lowercase", probe(N.Lowercase())
    yield "nmt", probe(N.Nmt(), P.WhitespaceSplit())
    yield "strip-accents", probe(N.Sequence([N.StripAccents(), N.Strip(left=False, right=True)]))
    yield "bert-norm", probe(N.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True))
    yield "bert-clean", probe(N.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=True),
                              P.BertPreTokenizer())
    yield "bert-accents", probe(N.BertNormalizer(clean_text=False, handle_chinese_chars=True, strip_accents=True, lowercase=False),
                                P.Sequence([P.WhitespaceSplit(), P.Metaspace(prepend_scheme="first")]))
    yield "replace", probe(N.Sequence([N.Replace("a", "bb"), N.Replace(Regex(r"\s+"), " "), N.Replace(Regex("x*"), "-"),
                                       N.Replace(Regex(r"\p{P}"), ""), N.Prepend("_"),
                                       N.Replace("", "")]))
    yield "replace-first", probe(N.Sequence([N.Replace("He", "J"), N.Replace(Regex("^a"), "bb"), N.Replace("T", "")]),
                                 P.Metaspace(prepend_scheme="first"))
    yield "bytelevel", probe(N.ByteLevel(), P.ByteLevel(add_prefix_space=True, use_regex=True))
    yield "whitespace", probe(None, P.Whitespace())
    yield "metaspace", probe(None, P.Metaspace(), [special("<s>"), special("<mask>", lstrip=True)])
    yield "metaspace-never", probe(N.Strip(left=True, right=False), P.Metaspace("_", "never"))
    yield "metaspace-split", probe(None, P.Sequence([P.WhitespaceSplit(), P.Metaspace(prepend_scheme="first")]))
    yield "prefix-space", probe(None, P.Sequence([P.Split("-", "merged_with_next"), P.ByteLevel(add_prefix_space=True)]),
                                [special("<s>")])
    yield "digits", probe(None, P.Sequence([P.ByteLevel(add_prefix_space=False, use_regex=False), P.Digits(True)]))
    yield "digits-run", probe(None, P.Sequence([P.Digits(False), P.Punctuation("merged_with_next")]))
    for b in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        yield f"split-{b}", probe(None, P.Split(Regex(r"\w|\d+|-"), b))
        yield f"punct-{b}", probe(None, P.Sequence([P.Punctuation(b), P.Split(Regex(r"(?=b)|\s"), b, invert=b == "removed")]))
    yield "split-string", probe(None, P.Sequence([P.Split("b", "isolated"), P.Split("--", "merged_with_previous"),
                                                  P.Split("e", "removed"), P.Split("he", "contiguous", invert=True)]))
    yield "split-empty", probe(None, P.Split("", "isolated"))
    yield "gpt2-words", probe(None, P.ByteLevel(add_prefix_space=False))
    yield "llama3-words", probe(None, P.Split(Regex(R_LLAMA3), "isolated"))
    yield "tekken-words", probe(None, P.Split(Regex(R_TEKKEN), "isolated"))
    spm = N.Precompiled(charsmap.build(charsmap.nmt_nfkc()))
    yield "precompiled", probe(spm)
    yield "precompiled-nfd", probe(N.Sequence([N.NFD(), spm, N.NFC()]), P.WhitespaceSplit())
    yield "scripts", probe(None, P.UnicodeScripts())
    yield "delimiter", probe(None, P.Sequence([P.CharDelimiterSplit("a"), P.Sequence([P.FixedLength(3), P.Split("l", "removed")])]))
    yield "o200k-words", probe(None, P.Split(Regex(R_O200K), "isolated"))
    yield "qwen2-words", probe(N.NFC(), P.Split(Regex(R_QWEN2), "removed", invert=True))
    yield "bloom-words", probe(None, P.Split(Regex(R_BLOOM), "isolated"))


class Goldens:
    def __init__(self):
        self.index = {}
        self.texts = []
        for s in STRINGS:
            self.text(s)

    def text(self, s):
        b = s.encode()
        if b not in self.index:
            self.index[b] = len(self.texts)
            self.texts.append(b.hex())
        return self.index[b]

    def run(self, tok, flags, limit, a, b):
        specials = {i for i, t in tok.get_added_tokens_decoder().items() if t.special}
        tok.encode_special_tokens = bool(flags & PLAIN)
        tok.no_truncation()
        if limit:
            strategy = {0: "longest_first", ONLY_FIRST: "only_first", ONLY_SECOND: "only_second"}[flags & 48]
            tok.enable_truncation(limit, strategy=strategy, direction="left" if flags & LEFT else "right")
        head = [flags, limit, self.text(a), -1 if b is None else self.text(b)]
        try:
            e = tok.encode(a, b, add_special_tokens=bool(flags & SPECIAL))
        except BaseException as x:
            return head + [str(x)[:60]]
        return head + [e.ids, e.type_ids if any(e.type_ids) else 0, self.text(tok.decode(e.ids, skip_special_tokens=False)),
                       self.text(tok.decode([i for i in e.ids if i not in specials], skip_special_tokens=False)),
                       self.places(e, a, b or "")]

    def places(self, e, a, b):
        at = [[len(s[:i].encode()) for i in range(len(s) + 1)] for s in (a, b)]
        out, end = [], [0, 0]
        for (x, y), text in zip(e.offsets, e.sequence_ids):
            if text is None:
                out.append("-")
                continue
            x, y = at[text][x], at[text][y]
            out.append((f"{x - end[text]}+" if x != end[text] else "") + str(y - x) + "b" * text)
            end[text] = y
        return ",".join(out)

    def case(self, name, tok):
        text = tok if isinstance(tok, str) else json.dumps(json.loads(tok.to_str()), ensure_ascii=False, separators=(",", ":"))
        with open(f"{OUT}/{name}.json", "w") as f:
            f.write(text)
        tok = Tokenizer.from_str(text)
        tok.no_padding()
        return self.golden(f"{name}.json", tok)

    def golden(self, name, tok, named=()):
        ids = tok.get_vocab().values()
        special = sorted(i for i, t in tok.get_added_tokens_decoder().items() if t.special)
        return {"name": name, "facts": [len(ids), max(ids), special, list(named)], "runs": self.runs(tok)}

    def runs(self, tok):
        s = STRINGS
        if not json.loads(tok.to_str())["model"].get("merges", True):
            return [self.run(tok, SPECIAL, 0, x, None) for x in s if len(x) < 100]  # a probe
        runs = [self.run(tok, SPECIAL, 0, x, None) for x in s]
        for k in range(0, len(s), 11):
            runs.append(self.run(tok, 0, 0, s[k], s[k + 1] if k % 2 else None))
        for k in (4, 45, 47, 52, 60):
            runs.append(self.run(tok, SPECIAL | PLAIN, 0, s[k], None))
        room = tok.num_special_tokens_to_add(True)
        for k, flags in ((6, LEFT), (32, RIGHT), (70, ONLY_FIRST | RIGHT), (5, ONLY_SECOND | LEFT)):
            runs.append(self.run(tok, SPECIAL | flags, room + k % 7, s[k], s[k + 3]))
            if not flags & 48:
                runs.append(self.run(tok, SPECIAL | flags, room + 3, s[k], None))
        return runs


NAMES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]


def named_ids(tok):
    return [-1 if getattr(tok, n) is None else tok.convert_tokens_to_ids(getattr(tok, n)) for n in NAMES]


def directories(g):
    """vocab.json + merges.txt, vocab.txt, and tokenizer.json with what transformers adds to it."""
    d = f"{OUT}/gpt2-files"
    os.makedirs(d)
    Tokenizer.from_file(f"{OUT}/gpt2.json").model.save(d)
    yield g.golden("gpt2-files", tokenizers.ByteLevelBPETokenizer(f"{d}/vocab.json", f"{d}/merges.txt")._tokenizer,
                   [-1] * 7)
    d = f"{OUT}/bert-files"
    os.makedirs(d)
    Tokenizer.from_file(f"{OUT}/bert.json").model.save(d)
    with open(f"{d}/tokenizer_config.json", "w") as f:
        json.dump({"do_lower_case": False, "model_max_length": 512}, f)
    yield g.golden("bert-files", tokenizers.BertWordPieceTokenizer(f"{d}/vocab.txt", lowercase=False)._tokenizer,
                   [-1, -1, 1, 3, 0, 2, 4])
    d = f"{OUT}/opt-files"      # without a tokenizer.json add_bos_token and add_eos_token count
    os.makedirs(d)
    shutil.copy(f"{OUT}/gpt2-files/merges.txt", d)
    vocab = json.load(open(f"{OUT}/gpt2-files/vocab.json"))
    vocab.update({"</s>": len(vocab), "<pad>": len(vocab) + 1})
    with open(f"{d}/vocab.json", "w") as f:
        json.dump(vocab, f, ensure_ascii=False)
    with open(f"{d}/tokenizer_config.json", "w") as f:
        json.dump({"add_bos_token": True, "add_eos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "</s>",
                   "pad_token": "<pad>", "tokenizer_class": "GPT2Tokenizer"}, f)
    from transformers import GPT2Tokenizer, PreTrainedTokenizerFast
    tok = GPT2Tokenizer.from_pretrained(d)
    yield g.golden("opt-files", tok._tokenizer, named_ids(tok))
    for name, config in (
            # Beside a tokenizer.json they do not.
            ("llama2-config", {"add_bos_token": False, "add_eos_token": True, "bos_token": "<s>", "eos_token": "</s>",
                               "unk_token": "<unk>", "model_max_length": 10 ** 30, "legacy": False}),
            ("t5-config", {"additional_special_tokens": ["<extra_id_0>", "<extra_id_1>"], "eos_token": "</s>", "unk_token": "<unk>",
                           "pad_token": "<pad>", "extra_ids": 2, "model_max_length": 512}),
            ("xlm-r-config", {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>",
                              "pad_token": "<pad>", "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True,
                                                                   "normalized": True, "rstrip": False, "single_word": False}})):
        d = f"{OUT}/{name}"
        os.makedirs(d)
        shutil.copy(f"{OUT}/{name.removesuffix('-config')}.json", f"{d}/tokenizer.json")
        with open(f"{d}/tokenizer_config.json", "w") as f:
            json.dump({**config, "tokenizer_class": "PreTrainedTokenizerFast"}, f)
        tok = PreTrainedTokenizerFast.from_pretrained(d)
        yield g.golden(name, tok._tokenizer, named_ids(tok))
    os.makedirs(f"{OUT}/slow")      # refused, with the command that writes a tokenizer.json
    with open(f"{OUT}/slow/spiece.model", "wb") as f:
        f.write(b"\n\x0e\n\x05<unk>")
    d = f"{OUT}/config"
    os.makedirs(d)
    shutil.copy(f"{OUT}/neox.json", f"{d}/tokenizer.json")
    flags = {"lstrip": False, "rstrip": False, "single_word": False}
    with open(f"{d}/tokenizer_config.json", "w") as f:
        json.dump({
            "added_tokens_decoder": {
                "999": {"content": "<w>", "normalized": False, "special": False, **flags, "single_word": True},
                "0": {"content": "<|x|>", "normalized": False, "special": True, **flags, "rstrip": True},
                "361": {"content": "   ", "normalized": True, "special": False, **flags},
                "998": {"content": "<mask>", "normalized": True, "special": True, **flags, "lstrip": True}},
            "bos_token": {"__type": "AddedToken", "content": "<s>", "normalized": False, **flags},
            "eos_token": "</s>", "mask_token": "<mask>", "pad_token": None, "extra_special_tokens": ["<m>"],
            "model_max_length": 10 ** 30, "tokenizer_class": "PreTrainedTokenizerFast"}, f)
    tok = PreTrainedTokenizerFast.from_pretrained(d)
    yield g.golden("config", tok._tokenizer, named_ids(tok))


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    g = Goldens()
    cases = [g.case(name, tok) for name, tok in list(real()) + list(probes())]
    cases += list(directories(g))
    with open(f"{OUT}/golden.json", "w") as f:
        f.write('{"strings":[\n' + ",\n".join(json.dumps(t) for t in g.texts) + '],\n"cases":[\n')
        f.write(",\n".join('{"name":"%s","facts":%s,"runs":[\n%s]}' % (c["name"], json.dumps(c["facts"]), ",\n".join(
            json.dumps(r, separators=(",", ":")) for r in c["runs"])) for c in cases) + "]}\n")


if __name__ == "__main__":
    main()
