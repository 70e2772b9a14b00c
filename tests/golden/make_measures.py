#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tests/data/measures/cases.json: random and awkward predictions, and what the usual packages say of them.

    python3 tests/golden/make_measures.py

Entities by seqeval (its default, and its strict mode with IOB2, which we are
not), classes, several labels and numbers by scikit-learn, correlations by
scipy, answers by the rules of SQuAD's evaluate-v2.0.py, which are repeated
here. A value that a package does not define is null. Run with seqeval 1.2.2,
scikit-learn 1.9.1, scipy 1.17.1.
"""
import collections
import json
import math
import os
import random
import re
import string
import struct
import warnings

import numpy as np
from scipy import stats
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from sklearn import metrics

OUT = "tests/data/measures"
warnings.simplefilter("ignore")
rnd = random.Random(5)


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def known(x):
    return float(x) if math.isfinite(x) else None


def entities():
    """Tags of which many break the scheme: I- behind O, behind another type, E- and S- among them."""
    sets = [["O", "B-N", "I-N"], ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], ["I-A", "O", "I-B"],
            ["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y"], ["B-A-1", "I-A-1", "B-A-2", "I-A-2", "O"]]
    for i in range(60):
        labels = sets[i % len(sets)]
        lengths = [rnd.choice([1, 2, 3, 7, 12]) for _ in range(rnd.randint(1, 6))]
        weights = [1 if t != "O" or i % 3 else 8 for t in labels]
        true = [rnd.choices(labels, weights, k=n) for n in lengths]
        right = rnd.choice([0, 0.5, 0.8, 0.95])
        pred = [[t if rnd.random() < right else rnd.choice(labels) for t in s] for s in true]
        if i >= 55:     # nothing predicted, nothing there, all right
            pred = [["O"] * len(s) for s in true] if i < 58 else true
            true = [["O"] * len(s) for s in true] if i == 57 else true
        number = {t: k for k, t in enumerate(labels)}
        yield {"labels": labels, "true": [[number[t] for t in s] for s in true], "pred": [[number[t] for t in s] for s in pred],
               "accuracy": accuracy_score(true, pred), "f1": f1_score(true, pred), "precision": precision_score(true, pred),
               "recall": recall_score(true, pred),
               "strict_f1": None if "E-X" in labels else f1_score(true, pred, mode="strict", scheme=IOB2)}


def classes():
    for i in range(40):
        k, n = rnd.choice([2, 2, 3, 5, 9]), rnd.choice([1, 2, 5, 40])
        some = rnd.sample(range(k), rnd.randint(1, k))      # classes that do not occur count for nothing
        true = [rnd.choice(some) for _ in range(n)]
        pred = [t if rnd.random() < 0.5 else rnd.randrange(k) for t in true]
        if i % 8 == 0:
            pred = [rnd.randrange(k)] * n
        each = metrics.precision_recall_fscore_support(true, pred, labels=range(k), zero_division=0)
        c = {"k": k, "true": true, "pred": pred, "accuracy": metrics.accuracy_score(true, pred),
             "f1_macro": metrics.f1_score(true, pred, average="macro", zero_division=0),
             "each": [[float(x) for x in row] for row in zip(*each)]}
        if k == 2:
            c["f1"] = metrics.f1_score(true, pred, labels=[0, 1], pos_label=1, zero_division=0)
        yield c


def labels():
    for i in range(20):
        k, n = rnd.randint(2, 6), rnd.choice([1, 3, 30])
        true = [[int(rnd.random() < 0.3) for _ in range(k)] for _ in range(n)]
        z = [[f32(rnd.gauss(2 * t - 1, 1.5)) if i else -1.0 for t in row] for row in true]
        pred = [[int(x > 0) for x in row] for row in z]
        yield {"k": k, "true": true, "logits": z, "f1": metrics.f1_score(np.array(true), np.array(pred), average="micro", zero_division=0),
               "accuracy": metrics.accuracy_score(np.array(true), np.array(pred))}


def numbers():
    for i in range(20):
        k, n = rnd.choice([1, 1, 3]), rnd.choice([2, 5, 60])
        far = rnd.choice([0, 0, 1000, 1e6])     # far from zero squares cancel
        true = [[f32(far + rnd.gauss(0, 1 + j)) for j in range(k)] for _ in range(n)]
        pred = [[f32(x + rnd.gauss(0, 0.7)) for x in row] for row in true]
        if i == 18:
            true = pred = [[f32(0.1)] * k] * n          # all equal, all met
        if i == 19:
            true = [[f32(0.1)] * k] * n                 # all equal, none met
            pred = [[f32(0.2)] * k] * n
        yield {"true": true, "pred": pred, "mae": metrics.mean_absolute_error(true, pred), "r2": metrics.r2_score(true, pred)}


def pairs():
    for i in range(30):
        n = rnd.choice([2, 3, 10, 80])
        x = [f32(rnd.gauss(0, 1)) for _ in range(n)]
        y = [f32(a + rnd.gauss(0, 0.5)) for a in x]
        if i % 3 == 1:      # ties in both, as scores of people have them
            x, y = [float(round(a)) for a in x], [round(2 * a) / 2 for a in y]
        if i % 3 == 2:      # nearly equal cosines
            y = [f32(0.75 + a / 1e4) for a in y]
        if i == 27:
            y = [0.5] * n
        if i == 28:
            x = y
        if i == 29:
            x = [-a for a in y]
        yield {"x": x, "y": y, "spearman": known(stats.spearmanr(x, y).statistic), "pearson": known(stats.pearsonr(x, y).statistic)}


def normalize(s):
    s = "".join(c for c in s.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s, flags=re.UNICODE).split())


def exact_f1(gold, pred):
    a, b = normalize(gold).split(), normalize(pred).split()
    same = sum((collections.Counter(a) & collections.Counter(b)).values())
    if not a or not b:
        return int(a == b), float(a == b)
    if not same:
        return int(a == b), 0.0
    precision, recall = same / len(b), same / len(a)
    return int(normalize(gold) == normalize(pred)), 2 * precision * recall / (precision + recall)


WORDS = ["The", "the", "a", "An", "an", "A", "cat", "Cat", "cats", "U.S.", "US", "$1,000", "1000", "multi-word", "multi word", "A.", "\u0130",
         "i\u0307", "\u00c9", "\u00e9", "e\u0301", "\u201cthe\u201d", "a\u2013b", "b", "the_end", "theend", "\x1c", "\u3000", "\u00a0", "the\u0301", "\u4e2d\u6587",
         "\u00bd", "\uff12", "a\u00b2", "don't", "dont", "THE", "Theater", "a\u200bcat", "\u01c5", "\u01c6", "a1", "\u00aaa", "--", "...", "(", "a\tb", "a|an", "an.the",
         "\u2163", "a\u2163", "\u0430n", "\U0001f642the", "\u1e9e", "\u00df"]


def answers():
    """Of few bytes: the test has them as tokens of one byte, of which an answer has 30."""
    def text(n):
        return "".join(rnd.choice(WORDS) + rnd.choice([" ", " ", " ", "", "  "]) for _ in range(n))
    out = [["", ""], ["", "the"], ["the", ""], ["the", "a"], [" ", "cat"], ["\u0130 x", "i\u0307 x"]]
    while len(out) < 400:
        gold = text(rnd.randint(1, 5))
        pred = rnd.choice([text(rnd.randint(1, 5)), gold.upper(), gold.replace(" ", "  the "), gold[1:], gold + rnd.choice(WORDS), gold + gold])
        if len(gold.encode()) <= 30 and len(pred.encode()) <= 30 and gold and pred:
            out.append([gold, pred])
    return [[g, p, *exact_f1(g, p)] for g, p in out]


def main():
    os.makedirs(OUT, exist_ok=True)
    cases = {f.__name__: list(f()) for f in (entities, classes, labels, numbers, pairs, answers)}
    with open(OUT + "/cases.json", "w") as f:
        f.write("{" + ",\n".join(f'"{k}": [\n' + ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in v) + "]"
                                 for k, v in cases.items()) + "}\n")


if __name__ == "__main__":
    main()
