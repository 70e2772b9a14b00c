# SPDX-License-Identifier: MIT
"""Cases of methods other than LoRA, on one decoder and one encoder."""
from cases import RAGGED
from cases_bert import ENCODER
from cases_llama import BIASED, CLASS, LLAMA, TIED

DORA = dict(use_dora=True)
IA3 = dict(peft_type="IA3")
LN = dict(peft_type="LN_TUNING")
BITFIT = dict(r=1, lora_alpha=0, bias="all")
STILL = dict(frozen=["lora_"])
# AdamW of LoRA-FA adds eps to what is not yet corrected, and decays after the step: neither counts here.
ADAM = dict(eps=1e-10, decay=0.0)

LORA = {
    "dora": (LLAMA, RAGGED, dict(salt=1), dict(DORA, r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"]), dict(lr=0.03)),
    "dora-rich": (BIASED, RAGGED, {},
                  dict(DORA, r=5, lora_alpha=1.5, use_rslora=True, bias="all", modules_to_save=["model.norm"],
                       target_modules=["embed_tokens", "k_proj", "o_proj", "gate_proj", "down_proj"],
                       rank_pattern={"layers.1.*k_proj": 3, "down_proj": 2}, alpha_pattern={"gate_proj": 0.75}), {}),
    "dora-bert": (ENCODER, RAGGED, dict(task="class", types=True),
                  dict(DORA, r=4, lora_alpha=4, bias="lora_only", target_modules=["query", "output.dense"]), {}),
    "loraplus": (BIASED, RAGGED, dict(loraplus=(3.0, 0.05)),
                 dict(r=3, lora_alpha=4, bias="lora_only", target_modules=["embed_tokens", "q_proj", "down_proj"]),
                 dict(lr=0.008)),
    "lorafa": (BIASED, [6, 1, 4], dict(lorafa=True, frozen=["lora_A"]),
               dict(r=3, lora_alpha=4, bias="lora_only", target_modules=["q_proj", "v_proj", "down_proj"]),
               dict(ADAM, lr=0.04)),
    "loraplus-bert": (ENCODER, RAGGED, dict(task="class", types=True, loraplus=(3.0, 0.05), salt=1),
                      dict(r=3, lora_alpha=4, target_modules=["word_embeddings", "query", "output.dense"]), dict(lr=0.005)),
    "lorafa-bert": (ENCODER, RAGGED, dict(task="class", types=True, lorafa=True, frozen=["lora_A"]),
                    dict(r=3, lora_alpha=4, target_modules=["query", "output.dense"]), dict(ADAM, lr=0.01)),
    "ia3": (LLAMA, RAGGED, {}, dict(IA3), dict(lr=0.2)),
    # An expression for the feed-forward modules; a bias is scaled with its output.
    "ia3-rich": (BIASED, RAGGED, dict(salt=13),
                 dict(IA3, target_modules=["k_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
                      feedforward_modules=r".*\.(o_proj|down_proj)", modules_to_save=["model.norm"]), dict(lr=0.12)),
    "ia3-bert": (ENCODER, RAGGED, dict(task="class", types=True), dict(IA3), {}),
    "bitfit": (ENCODER, RAGGED, dict(task="class", types=True, **STILL), BITFIT, {}),
    # Norms have a weight of one type and a bias of another.
    "bitfit-bf16": (ENCODER, RAGGED, dict(task="class", types=True, store="BF16", **STILL), BITFIT, {}),
    # Of queries and the feed-forward's first half alone.
    "bitfit-only": (ENCODER, RAGGED, dict(task="class", types=True, **STILL),
                    dict(BITFIT, bias="lora_only", target_modules=["query", "intermediate.dense"]), {}),
    "bitfit-llama": (BIASED, RAGGED, dict(STILL, salt=1), BITFIT, dict(lr=0.1)),
    "ln": (LLAMA, RAGGED, {}, dict(LN), dict(lr=0.12)),
    # A norm with a bias; a module of another kind.
    "ln-bert": (ENCODER, RAGGED, dict(task="class", types=True),
                dict(LN, target_modules=["LayerNorm", "pooler.dense"]), {}),
}

CLASSIFIES = dict(task_type="SEQ_CLS")
EXCHANGE = {
    "dora": (LLAMA, DORA),
    "dora-linear": (BIASED, dict(DORA, r=3, target_modules="all-linear", bias="all", use_rslora=True)),
    "dora-embedding": (TIED, dict(DORA, r=3, target_modules=["embed_tokens", "v_proj"])),
    "dora-random": (LLAMA, dict(DORA, init_lora_weights=False)),
    "dora-class": (CLASS, dict(DORA, **CLASSIFIES)),
    "dora-encoder": (ENCODER, dict(DORA, **CLASSIFIES)),
    "ia3": (LLAMA, IA3),
    "ia3-list": (BIASED, dict(IA3, target_modules=["q_proj", "k_proj", "up_proj"], feedforward_modules=["up_proj"])),
    "ia3-regex": (LLAMA, dict(IA3, target_modules=r".*\.(k|v|down)_proj", feedforward_modules=r".*layers\.0.*down_proj")),
    "ia3-one-list": (LLAMA, dict(IA3, target_modules=["k_proj", "down_proj"])),
    "ia3-encoder": (ENCODER, dict(IA3, **CLASSIFIES)),
    "bitfit": (ENCODER, dict(BITFIT, **CLASSIFIES)),
    "bitfit-only": (BIASED, dict(BITFIT, bias="lora_only")),
    "ln": (LLAMA, LN),
    "ln-class": (CLASS, dict(LN, **CLASSIFIES)),
    "ln-encoder": (ENCODER, dict(LN, target_modules=["LayerNorm", "attention.self.query"], **CLASSIFIES)),
}
