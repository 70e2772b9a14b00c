# SPDX-License-Identifier: MIT
"""What the tables of cases share, and where they are found.

One module a kin of families, cases_KIN.py, with any of
  MODELS    name: (config, lengths, more)                               for make_models.py
  LORA      name: (config, lengths, more, keys, changed)                for make_lora.py
  EXCHANGE  name: (config, keys[, attn])                                for exchange_peft.py
keys are those of LoraConfig, or of the class of their peft_type. Names are unique over all kins. more:
  task      as pt_task_parse() reads it, "none" for a bare body (default lm); "regression" and
            "multilabel" are sequence classification with that problem_type; "similarity" is contrastive
            with scores
  store     type of the stored weights (default F32); BF16 is also computed in bfloat16
  attn      attention implementation of transformers (default eager)
  prepare   called before a model is made
  types     token type ids are given
  targets   lengths of the decoder's sequences
  own_head  the output embedding is not tied, whatever the class does
  ends      sequences have two end tokens (shorter ones one)
  pads      trailing padding of each sequence
  loraplus  (ratio, rate of embeddings): trained by PEFT's optimizer of LoRA+
  lorafa    trained by PEFT's optimizer of LoRA-FA
  frozen    parts of the names of an adapter's tensors that do not train
  salt      other ids
  split     experts are separate linears, though PEFT puts them together
  idle      parameters that stand in files, though nothing reads them
  drops     in training mode: sites of dropouts (dropouts.py)
  gap       least distance of routers' logits between what is chosen and what is not (default 1e-3)
"""
import glob
import importlib
import json
import os

VOCAB = 53
RAGGED = [7, 1, 19, 2, 12]


def labels(n, **more):
    return dict(num_labels=n, id2label={str(i): f"c{i}" for i in range(n)},
                label2id={f"c{i}": i for i in range(n)}, **more)


def rope(kind, **more):
    return dict(rope_type=kind, **more)


def peft_config(keys):
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    keys = json.loads(json.dumps(keys))
    return PEFT_TYPE_TO_CONFIG_MAPPING[keys.pop("peft_type", "LORA")](**keys)


def kins():
    here = os.path.dirname(os.path.abspath(__file__))
    return [os.path.basename(f)[len("cases_"):-len(".py")] for f in sorted(glob.glob(os.path.join(here, "cases_*.py")))]


def table(which, wanted=()):
    """[(kin, name, case)] of all kins, or those asked for as KIN or NAME."""
    out, seen = [], set()
    for kin in kins():
        for name, case in getattr(importlib.import_module("cases_" + kin), which, {}).items():
            assert name not in seen, name
            seen.add(name)
            if not wanted or kin in wanted or name in wanted:
                out.append((kin, name, case))
    return out
