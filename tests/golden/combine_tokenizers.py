# SPDX-License-Identifier: MIT
"""Tokenizers with components drawn at random, trained on a few lines: for compare_tokenizers.py --random."""
import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import charsmap
import make_tokenizers as make

N, P, D = normalizers, pre_tokenizers, decoders
BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
REGEXES = [make.R_LLAMA3, make.R_QWEN2, make.R_TEKKEN, make.R_O200K, make.R_BLOOM, make.R_CLIP, *make.R_DEEPSEEK3,
           "[0-9][0-9][0-9]", r"\s+", r"\w+|[^\w\s]+", r"\p{N}", r"(?=[A-Z])", r"\p{P}+", r"x*", r"^\s|\s$", "[a-c]{2}"]
TOKENS = ["<s>", "</s>", "<unk>", "<pad>", "<mask>", "<m>", "<w>", "[UNK]", "[CLS]", "[SEP]", "AddedTok", "\n", "  ", "    ",
          "\u2581\u2581", "sea shells", "\u00e9", "<|x|>", "don't", "123"]
MAP = charsmap.build(charsmap.nmt_nfkc())


class Draw:
    def __init__(self, rnd):
        self.r = rnd

    def flag(self, p=0.5):
        return self.r.random() < p

    def pattern(self):
        return Regex(self.r.choice(REGEXES)) if self.flag(0.6) else self.r.choice([" ", "a", "--", "\u2581", "e", "", "\u00e9", "1"])

    def normalizer(self):
        r = self.r
        return r.choice([
            N.NFC, N.NFD, N.NFKC, N.NFKD, N.Lowercase, N.StripAccents, N.Nmt, N.ByteLevel,
            lambda: N.Strip(self.flag(), self.flag()), lambda: N.Prepend(r.choice(["\u2581", "_x", " "])),
            lambda: N.Replace(self.pattern(), r.choice(["", " ", "\u2581", "-", "\u00e9b"])),
            lambda: N.BertNormalizer(self.flag(), self.flag(), r.choice([None, True, False]), self.flag()),
            lambda: N.Precompiled(MAP), lambda: N.Precompiled(MAP)])()

    def pre_tokenizer(self):
        r = self.r
        return r.choice([
            lambda: P.ByteLevel(add_prefix_space=self.flag(), use_regex=self.flag()),
            lambda: P.ByteLevel(add_prefix_space=self.flag(), use_regex=self.flag()),
            lambda: P.Split(self.pattern(), r.choice(BEHAVIORS), self.flag(0.3)),
            lambda: P.Split(Regex(r.choice(REGEXES)), "isolated"),
            lambda: P.Metaspace(r.choice(["\u2581", "_"]), r.choice(["always", "first", "never"]), self.flag()),
            P.Whitespace, P.WhitespaceSplit, P.BertPreTokenizer, P.UnicodeScripts,
            lambda: P.Punctuation(r.choice(BEHAVIORS)), lambda: P.Digits(self.flag()),
            lambda: P.CharDelimiterSplit(r.choice(" -a\u00e9")), lambda: P.FixedLength(r.randint(1, 9))])()

    def decoder(self):
        r = self.r
        return r.choice([
            D.ByteLevel, D.ByteFallback, D.Fuse, lambda: D.WordPiece(r.choice(["##", "", "a"]), self.flag()),
            lambda: D.Metaspace(r.choice(["\u2581", "_"]), r.choice(["always", "first", "never"]), self.flag()),
            lambda: D.BPEDecoder(r.choice(["</w>", "e"])), lambda: D.CTC(r.choice(["<pad>", "e"]), r.choice(["|", "a"]), self.flag()),
            lambda: D.Replace(self.pattern(), r.choice(["", " ", "x"])), lambda: D.Replace("\u2581", " "),
            lambda: D.Strip(r.choice([" ", "a", "\u2581"]), r.randint(0, 2), 0)])()

    def some(self, one, sequence, most=3):
        """None, one component, a sequence, or a sequence of sequences."""
        k = self.r.choice([0, 1, 1, 2, 2, most])
        if k < 2:
            return one() if k else None
        parts = [one() for _ in range(k)]
        return sequence([parts[0], sequence(parts[1:])] if self.flag(0.2) else parts)

    def post(self, tok):
        r = self.r
        ids = {t: tok.token_to_id(t) for t in ("<s>", "</s>", "<unk>")}
        pair = ("</s>", ids["</s>"]), ("<s>", ids["<s>"])
        template = processors.TemplateProcessing(
            single=r.choice(["<s> $A", "$A </s>", "<s> $A:1 </s>:2", "$A", "<m> $A <m> </s>"]),
            pair=r.choice(["<s> $A </s> $B:1 </s>:1", "$B:1 </s> $A", "$A $B", "<m>:3 $A <s> $B:1"]),
            special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"]),
                            {"id": "<m>", "ids": [ids["<s>"], ids["<unk>"]], "tokens": ["<s>", "<unk>"]}])
        level = processors.ByteLevel(trim_offsets=self.flag(0.7), add_prefix_space=self.flag())
        return r.choice([None, template, level, processors.BertProcessing(*pair),
                         processors.RobertaProcessing(*pair, trim_offsets=self.flag(), add_prefix_space=self.flag()),
                         processors.Sequence([level, template]), processors.Sequence([level, processors.Sequence([template])])])

    def model(self):
        """A model that has learned nothing yet, and its trainer."""
        r = self.r
        named = ["<unk>", "<s>", "</s>"]
        raw = make.BYTES if self.flag(0.3) else []
        alphabet = sorted(P.ByteLevel.alphabet()) if self.flag(0.4) else []
        kind = r.choice(["bpe", "bpe", "unigram", "unigram", "wordpiece", "wordlevel"])
        if kind == "bpe":
            more = {"continuing_subword_prefix": "##"} if self.flag(0.2) else {}
            more.update({"end_of_word_suffix": "</w>"} if self.flag(0.2) else {})
            model = models.BPE(unk_token="<unk>" if self.flag(0.7) else None, fuse_unk=self.flag(), byte_fallback=bool(raw),
                               ignore_merges=self.flag(0.2), **more)
            return model, trainers.BpeTrainer(vocab_size=280 + len(raw), special_tokens=named + raw, show_progress=False,
                                              initial_alphabet=alphabet, limit_alphabet=r.choice([60, 1000]), **more)
        if kind == "unigram":
            return models.Unigram(), trainers.UnigramTrainer(vocab_size=260 + len(raw), special_tokens=named + raw, unk_token="<unk>",
                                                             initial_alphabet=alphabet, show_progress=False)
        if kind == "wordpiece":
            model = models.WordPiece(unk_token="<unk>", max_input_chars_per_word=r.choice([5, 20, 100]))
            return model, trainers.WordPieceTrainer(vocab_size=300, special_tokens=named, show_progress=False)
        return models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(vocab_size=300, special_tokens=named,
                                                                               show_progress=False)

    def tokenizer(self):
        r = self.r
        model, trainer = self.model()
        tok = Tokenizer(model)
        norm, pre = self.some(self.normalizer, N.Sequence), self.some(self.pre_tokenizer, P.Sequence)
        if norm:
            tok.normalizer = norm
        if pre:
            tok.pre_tokenizer = pre
        tok.train_from_iterator(make.CORPUS, trainer)
        j = json.loads(tok.to_str())
        j["added_tokens"] = []
        if j["model"]["type"] == "Unigram" and "<0x00>" in dict(j["model"]["vocab"]):
            j["model"]["byte_fallback"] = self.flag(0.8)
        if self.flag(0.3):
            del j["model"]["type"]
        tok = Tokenizer.from_str(json.dumps(j))
        dec, post = self.some(self.decoder, D.Sequence), self.post(tok)
        if dec:
            tok.decoder = dec
        if post:
            tok.post_processor = post
        patterns = set()
        for t in r.sample(TOKENS, r.randint(0, 6)):
            token = AddedToken(t, single_word=self.flag(0.2), lstrip=self.flag(0.2), rstrip=self.flag(0.2), normalized=self.flag(),
                               special=self.flag())
            shown = norm.normalize_str(t) if norm and token.normalized else t
            if not shown or (shown, token.normalized) in patterns:
                continue        # refused, or not decided in the package
            patterns.add((shown, token.normalized))
            (tok.add_special_tokens if token.special else tok.add_tokens)([token])
        return tok


def describe(tok):
    """One line."""
    j = json.loads(tok.to_str())

    def name(c):
        if not c:
            return "-"
        inner = [c[k] for k in ("normalizers", "pretokenizers", "processors", "decoders") if k in c]
        return "[" + " ".join(map(name, inner[0])) + "]" if inner else c["type"]
    return " | ".join([name(j["normalizer"]), name(j["pre_tokenizer"]), type(tok.model).__name__, name(j["post_processor"]),
                       name(j["decoder"])])
