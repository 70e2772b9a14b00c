#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains a classifier with HF PEFT on the batches of a stream, for comparison with peft-step.

    hf_class.py MODEL ADAPTER TRAIN.pts VALID.pts OUT [--lr 1e-3] [--seed N] [--steps N] [--device cpu] [--no-dropout]

ADAPTER is what peft-init wrote; each micro-batch of the stream is a step. Writes OUT.losses, a loss a line, and
OUT.classes, the predicted class of each validation example by its index; prints seconds, accuracy and peak memory.
Wants torch, transformers and peft.
"""
import argparse
import json
import resource
import struct
import time

started = time.time()
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

KINDS = {"I64": ("q", torch.int64), "I32": ("i", torch.int32), "F32": ("f", torch.float32)}


def batches(path):
    """Each DATA record of a plain stream as a dict of tensors."""
    with open(path, "rb") as f:
        while head := f.read(8):
            meta = json.loads(f.read(struct.unpack("<Q", head)[0]))
            kind = meta.pop("__metadata__")["pts"]
            data = f.read(max(t["data_offsets"][1] for t in meta.values()))
            if kind == "data":
                yield {k: torch.frombuffer(bytearray(data[slice(*t["data_offsets"])]), dtype=KINDS[t["dtype"]][1])
                       for k, t in meta.items() if t["dtype"] in KINDS and t["data_offsets"][0] < t["data_offsets"][1]}


def padded(b, device):
    cu = b["cu_seqlens"].tolist()
    n, length = len(cu) - 1, max(y - x for x, y in zip(cu, cu[1:]))
    out = {k: torch.zeros(n, length, dtype=torch.int64) for k in ("input_ids", "attention_mask", "token_type_ids")}
    for i in range(n):
        m = cu[i + 1] - cu[i]
        out["input_ids"][i, :m] = b["input_ids"][cu[i]:cu[i + 1]]
        out["attention_mask"][i, :m] = 1
        if "token_type_ids" in b:
            out["token_type_ids"][i, :m] = b["token_type_ids"][cu[i]:cu[i + 1]]
    return {k: v.to(device) for k, v in out.items()}


p = argparse.ArgumentParser()
for name in ("model", "adapter", "train", "valid", "out"):
    p.add_argument(name)
p.add_argument("--lr", type=float, default=1e-3)
p.add_argument("--seed", type=int, default=0)
p.add_argument("--steps", type=int, default=0)
p.add_argument("--device", default="cpu")
p.add_argument("--no-dropout", action="store_true")
a = p.parse_args()
torch.manual_seed(a.seed)
labels = json.load(open(a.adapter + "/labels.json"))
base = AutoModelForSequenceClassification.from_pretrained(a.model, num_labels=len(labels), dtype=torch.float32)
model = PeftModel.from_pretrained(base, a.adapter, is_trainable=True).to(a.device)
model.train(not a.no_dropout)
steps = list(batches(a.train))
params = [x for x in model.parameters() if x.requires_grad]
optimizer = torch.optim.AdamW(params, lr=a.lr, weight_decay=0)
schedule = get_linear_schedule_with_warmup(optimizer, 0, len(steps))
ready = time.time()
losses = []
for b in steps[:a.steps or None]:
    loss = model(**padded(b, a.device), labels=b["class"].long().to(a.device)).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    losses.append(loss.detach())
    if len(losses) == 1:
        losses[0].item()
        first = time.time()
open(a.out + ".losses", "w").writelines(f"{x.item():.9g}\n" for x in losses)
done = time.time()
model.eval()
found, right, n = {}, 0, 0
with torch.no_grad():
    for b in batches(a.valid):
        c = model(**padded(b, a.device)).logits.argmax(-1).cpu()
        right += (c == b["class"].long()).sum().item()
        n += len(c)
        found.update(zip(b["index"].tolist(), c.tolist()))
open(a.out + ".classes", "w").writelines(f"{i}\t{found[i]}\n" for i in sorted(found))
print(json.dumps({"steps": len(losses), "start_s": round(first - started, 2), "train_s": round(done - ready, 2),
                  "accuracy": right / n, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
