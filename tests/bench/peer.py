# SPDX-License-Identifier: MIT
"""HF PEFT on the model and the examples of step.sh: tokens (without padding) a second of the median step."""
import json
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

base, data, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.manual_seed(1)
model = AutoModelForSequenceClassification.from_pretrained(base)
model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"]))
model.train()
params = [p for p in model.parameters() if p.requires_grad]
opt = torch.optim.AdamW(params, lr=5e-5, weight_decay=0)
rows = [json.loads(line) for line in open(data)]
rate = []
for at in range(0, len(rows), 16):
    batch = rows[at:at + 16]
    start = time.perf_counter()
    longest = max(len(r["input_ids"]) for r in batch)
    ids = torch.tensor([r["input_ids"] + [0] * (longest - len(r["input_ids"])) for r in batch])
    mask = torch.tensor([[1] * len(r["input_ids"]) + [0] * (longest - len(r["input_ids"])) for r in batch])
    labels = torch.tensor([0 if r["label"] == "a" else 1 for r in batch])
    model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    opt.step()
    opt.zero_grad()
    rate.append(int(mask.sum()) / (time.perf_counter() - start))
rate.sort()
r = rate[len(rate) // 2]
print(f"HF PEFT     {r:8.0f} tokens/s, {r * 42.5e-3:6.1f} GFLOP/s (torch {torch.__version__})")
