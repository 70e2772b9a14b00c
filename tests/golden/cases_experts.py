# SPDX-License-Identifier: MIT
"""Cases of the methods on mixtures of experts: on the modules that PEFT has there, beside experts and routers, which
are parameters to it and take LoRA alone. "salt" finds inputs for which no choice between experts is a matter of
rounding in any step."""
from cases_lowrank import ADALORA, LOHA, LOKR, OFT, VERA
from cases_methods import ADAM, BITFIT, DORA, IA3, LN, STILL
from cases_moe import LENGTHS, MIXTRAL, QWEN2, QWEN3
from cases_tokens import TOKENS
from cases_virtual import PREFIX, PROMPT, PTUNING

FEW = [5, 2, 4]
# Two layers, both sparse.
SHARED = dict(QWEN2, num_hidden_layers=2, mlp_only_layers=[])
GAP = dict(gap=1e-4)

LORA = {
    "dora-mixtral": (MIXTRAL, LENGTHS, GAP, dict(DORA, r=3, lora_alpha=4, target_modules=["q_proj", "v_proj"]), dict(lr=0.03)),
    # The expert that every row goes through, and its gate.
    "ia3-qwen2-moe": (SHARED, FEW, dict(GAP, salt=11),
                      dict(IA3, target_modules=["k_proj", "v_proj", "shared_expert.down_proj"],
                           feedforward_modules=["shared_expert.down_proj"]), dict(lr=0.2)),
    "ln-mixtral": (MIXTRAL, LENGTHS, GAP, dict(LN, target_modules=["input_layernorm", "post_attention_layernorm", "norm"]),
                   dict(lr=0.1)),
    "vera-qwen2-moe": (SHARED, FEW, dict(GAP, salt=12), dict(VERA, r=6, target_modules=["v_proj", "shared_expert.up_proj"]), dict(lr=0.2)),
    "loha-mixtral": (MIXTRAL, FEW, dict(GAP, salt=13), dict(LOHA, r=2, alpha=3, target_modules=["v_proj", "o_proj"]), dict(lr=0.04)),
    "lokr-qwen3-moe": (QWEN3, LENGTHS, GAP, dict(LOKR, r=2, alpha=2, target_modules=["v_proj", "o_proj"]), dict(lr=0.05)),
    "oft-qwen2-moe": (SHARED, [4, 1, 2], GAP, dict(OFT, oft_block_size=4, target_modules=["v_proj", "shared_expert.gate_proj",
                                                                                      "shared_expert.up_proj"]), dict(lr=0.08)),
    "tokens-mixtral": (MIXTRAL, LENGTHS, GAP, dict(TOKENS, token_indices=list(range(3, 53))), dict(lr=0.1)),
    "prefix-mixtral": (MIXTRAL, [4, 2, 1], GAP, PREFIX, dict(lr=0.1)),
    "prompt-mixtral": (MIXTRAL, [4, 2, 1], GAP, PROMPT, dict(lr=0.1)),
    "ptuning-mixtral": (MIXTRAL, [4, 2, 1], dict(GAP, salt=4), PTUNING, dict(lr=0.03)),
    "adalora-mixtral": (MIXTRAL, LENGTHS, dict(GAP, salt=3), dict(ADALORA, lora_alpha=16, target_modules=["v_proj", "o_proj"]),
                        dict(lr=0.02)),
    "bitfit-qwen2-moe": (SHARED, [4, 1, 2], dict(GAP, salt=2, **STILL), dict(BITFIT, target_modules=["q_proj"]), dict(lr=0.2)),
    "loraplus-mixtral": (MIXTRAL, LENGTHS, dict(GAP, loraplus=(3.0, 0.05), salt=1),
                         dict(r=3, lora_alpha=4, target_modules=["q_proj", "v_proj"]), dict(lr=0.02)),
    "lorafa-mixtral": (MIXTRAL, [4, 1, 2], dict(GAP, lorafa=True, frozen=["lora_A"], salt=2),
                       dict(r=3, lora_alpha=4, target_modules=["q_proj", "v_proj", "o_proj"]), dict(ADAM, lr=0.05)),
}
