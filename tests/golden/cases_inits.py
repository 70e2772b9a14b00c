# SPDX-License-Identifier: MIT
"""Cases of LoRA's first values that are made of weights or of data (make_inits.py): each kind on each shape of model.

INITS  name: (config, lengths, more, keys, changed), as LORA; of EVA all sequences are of one length: one batch, without
       padding
"""
from cases_bert import ENCODER
from cases_gpt import FALCON, GPT2
from cases_llama import BIASED, LLAMA, PHI3
from cases_lowrank import SEQ2SEQ
from cases_moe import MIXTRAL
from cases_t5 import T5

RAGGED = [7, 4, 12, 9]
SMOOTH = dict(T5, feed_forward_proj="gelu_new")
CLASS = dict(task="class", types=True)

PISSA = dict(init_lora_weights="pissa")
OLORA = dict(init_lora_weights="olora")
IPM = dict(init_lora_weights="corda", corda_config=dict(corda_method="ipm"))
KPM = dict(init_lora_weights="corda", corda_config=dict(corda_method="kpm"))
EVA = dict(init_lora_weights="eva", eva_config=dict(rho=2.0))

INITS = {
    "pissa": (LLAMA, RAGGED, {}, dict(PISSA, r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"]), dict(lr=0.02)),
    "pissa-patterns": (BIASED, RAGGED, dict(salt=1), dict(PISSA, r=4, lora_alpha=3, target_modules=["q_proj", "v_proj"],
                                                rank_pattern={"v_proj": 2}, alpha_pattern={"q_proj": 5}), dict(lr=0.03)),
    "pissa-gpt2": (GPT2, RAGGED, {}, dict(PISSA, r=3, lora_alpha=4, fan_in_fan_out=True, target_modules=["c_attn", "mlp.c_proj"]),
                   dict(lr=0.03)),
    "pissa-bert": (ENCODER, RAGGED, CLASS, dict(PISSA, r=3, lora_alpha=3, target_modules=["query", "output.dense"]), {}),
    "pissa-t5": (SMOOTH, [9, 3, 12], SEQ2SEQ, dict(PISSA, r=3, lora_alpha=2, target_modules=["EncDecAttention.v", "wo"]), dict(lr=0.04)),
    "pissa-mixtral": (MIXTRAL, RAGGED, dict(gap=1e-4), dict(PISSA, r=3, lora_alpha=4, target_modules=["q_proj", "v_proj"]),
                      dict(lr=0.03)),
    "olora": (LLAMA, RAGGED, {}, dict(OLORA, r=3, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "down_proj"]),
              dict(lr=0.015)),
    # PEFT's fails on Conv1D.
    "olora-phi3": (PHI3, RAGGED, {}, dict(OLORA, r=3, lora_alpha=3, target_modules=["qkv_proj", "down_proj"]), dict(lr=0.02)),
    "olora-bert": (ENCODER, RAGGED, CLASS, dict(OLORA, r=3, lora_alpha=3, target_modules=["query", "output.dense"]), {}),
    "olora-t5": (SMOOTH, [9, 3, 12], SEQ2SEQ, dict(OLORA, r=3, lora_alpha=2, target_modules=["SelfAttention.v", "wo"]), dict(lr=0.04)),
    "olora-mixtral": (MIXTRAL, RAGGED, dict(gap=1e-4), dict(OLORA, r=3, lora_alpha=3, target_modules=["q_proj", "v_proj"]),
                      dict(lr=0.05)),
    "corda-ipm": (LLAMA, RAGGED, {}, dict(IPM, r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"]), dict(lr=0.02)),
    "corda-kpm": (LLAMA, RAGGED, {}, dict(KPM, r=3, lora_alpha=6, target_modules=["v_proj", "up_proj"]), dict(lr=0.04)),
    "corda-gpt2": (GPT2, RAGGED, {}, dict(IPM, r=3, lora_alpha=4, fan_in_fan_out=True, target_modules=["c_attn", "mlp.c_proj"]),
                   dict(lr=0.03)),
    "corda-falcon": (FALCON, RAGGED, {}, dict(KPM, r=3, lora_alpha=4, target_modules=["query_key_value"]), dict(lr=0.03)),
    "corda-bert": (ENCODER, RAGGED, CLASS, dict(KPM, r=3, lora_alpha=3, target_modules=["query", "output.dense"]), {}),
    "corda-t5": (SMOOTH, [9, 3, 12], SEQ2SEQ, dict(IPM, r=3, lora_alpha=2, target_modules=["SelfAttention.v", "wo"]), dict(lr=0.03)),
    "corda-mixtral": (MIXTRAL, RAGGED, dict(gap=1e-4, salt=1), dict(IPM, r=3, lora_alpha=4, target_modules=["q_proj", "v_proj"]),
                      dict(lr=0.03)),
    # As PEFT has it, whose approximation is exact where as many components are asked for as there are features.
    "eva": (BIASED, [12] * 4, dict(whole=True), dict(EVA, r=5, lora_alpha=6, eva_config=dict(rho=3.0),
                                                     target_modules=["q_proj", "v_proj", "o_proj", "up_proj"]), dict(lr=0.02)),
    # The pooler reads a row of each sequence.
    "eva-bert": (ENCODER, [7] * 9, dict(CLASS, salt=2), dict(EVA, r=2, lora_alpha=3, target_modules=["query", "output.dense", "pooler.dense"]),
                 {}),
    "eva-t5": (SMOOTH, [9] * 4, dict(task="seq2seq", targets=[6] * 4, salt=1),
               dict(EVA, r=2, lora_alpha=2, target_modules=["SelfAttention.v", "wo"]), dict(lr=0.07)),
    # A small alpha: what ten steps do to components is not a matter of rounding.
    "eva-gpt2": (GPT2, [7] * 3, dict(salt=19),
                 dict(EVA, r=2, lora_alpha=1, fan_in_fan_out=True, target_modules=["c_attn", "c_fc", "mlp.c_proj"]), dict(lr=0.02)),
    "eva-phi3": (PHI3, [7] * 3, dict(salt=9), dict(EVA, r=2, lora_alpha=1, target_modules=["qkv_proj", "gate_up_proj", "down_proj"]),
                 dict(lr=0.02)),
    "eva-mixtral": (MIXTRAL, [7] * 3, dict(gap=1e-4, salt=22),
                    dict(EVA, r=2, lora_alpha=1, target_modules=["q_proj", "v_proj", "o_proj"]), dict(lr=0.04)),
    "eva-dora": (LLAMA, [9] * 3, dict(salt=1), dict(EVA, use_dora=True, r=2, lora_alpha=1, target_modules=["q_proj", "v_proj", "o_proj"]),
                 dict(lr=0.04)),
}
