# SPDX-License-Identifier: MIT
"""Cases of the methods on decoders with fused projections: Conv1D of GPT-2, which some have in PEFT and some not,
GPT-NeoX, Falcon, Phi-3."""
from cases import RAGGED
from cases_gpt import FALCON, GPT2, NEOX, NEW
from cases_llama import PHI3
from cases_lowrank import LOHA, LOKR, OFT, VERA
from cases_methods import ADAM, BITFIT, DORA, IA3, LN, STILL
from cases_virtual import PROMPT, PTUNING

LORA = {
    "dora-gpt2": (GPT2, [8, 2, 1, 4], {}, dict(DORA, r=3, lora_alpha=4, fan_in_fan_out=True, target_modules=["c_attn", "mlp.c_proj"]),
                  dict(lr=0.02)),
    "dora-falcon": (FALCON, RAGGED, {}, dict(DORA, r=4, lora_alpha=6), dict(lr=0.03)),
    "ia3-gpt2": (GPT2, [8, 2, 1, 4], {}, dict(IA3, fan_in_fan_out=True), dict(lr=0.2)),
    # A vector for queries, keys and values together.
    "ia3-neox": (NEOX, RAGGED, {}, dict(IA3, target_modules=["query_key_value", "dense_4h_to_h"], feedforward_modules=["dense_4h_to_h"]),
                 dict(lr=0.2)),
    "ln-gpt2": (GPT2, [8, 2, 1, 4], dict(salt=12), dict(LN, target_modules=["ln_1", "ln_2", "ln_f"]), dict(lr=0.1)),
    "bitfit-gpt2": (GPT2, [8, 2, 1, 4], STILL, BITFIT, dict(lr=0.1)),
    "vera-phi3": (PHI3, [6, 1, 4], dict(salt=12), dict(VERA, r=6, target_modules=["qkv_proj", "down_proj"]), dict(lr=0.3)),
    "loha-phi3": (PHI3, RAGGED, {}, dict(LOHA, r=2, alpha=3, target_modules=["qkv_proj", "gate_up_proj"]), dict(lr=0.04)),
    "lokr-falcon": (NEW, RAGGED, {}, dict(LOKR, r=2, alpha=2, target_modules=["query_key_value", "dense_4h_to_h"]), dict(lr=0.05)),
    "oft-neox": (NEOX, RAGGED, {}, dict(OFT, oft_block_size=6, bias="oft_only", target_modules=["query_key_value", "dense_h_to_4h"]),
                 dict(lr=0.03)),
    "prompt-falcon": (FALCON, [4, 2, 1], {}, dict(PROMPT, num_virtual_tokens=8), dict(lr=0.3)),
    "ptuning-phi3": (PHI3, [4, 2, 1], {}, PTUNING, dict(lr=0.03)),
    "vera-gpt2": (GPT2, [6, 1, 4], dict(salt=2), dict(VERA, r=6, fan_in_fan_out=True, target_modules=["c_attn", "mlp.c_proj"]),
                  dict(lr=0.2)),
    "loraplus-gpt2": (GPT2, [8, 2, 1, 4], dict(loraplus=(3.0, 0.05), salt=1),
                      dict(r=3, lora_alpha=4, fan_in_fan_out=True, target_modules=["wte", "c_attn", "mlp.c_proj"]), dict(lr=0.01)),
    "lorafa-gpt2": (GPT2, [6, 1, 4], dict(lorafa=True, frozen=["lora_A"], salt=3),
                    dict(r=3, lora_alpha=4, fan_in_fan_out=True, target_modules=["c_attn", "mlp.c_proj"]),
                    dict(ADAM, lr=0.04)),
}
