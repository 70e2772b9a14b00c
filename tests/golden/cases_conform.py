# SPDX-License-Identifier: MIT
"""Cases of the conformance suite (make_conform.py): one for each method and variant.

  BASES    name: config
  CONFORM  name: (base, keys[, how]); how: "convert" (what was taken out of the base is made ordinary LoRA), "prune"
           (a few steps, so that ranks come down), "eva", "corda" (first values from the inputs; of the latter made ordinary too)
"""
from cases import labels
from cases_llama import GRANITE, LLAMA, OLMO2
from cases_bert import BERT
from cases_gpt import GPT2, NEOX
from cases_moe import MIXTRAL
from cases_t5 import T5

SMALL = dict(hidden_size=16, intermediate_size=24, num_attention_heads=2)

BASES = {
    "llama": dict(LLAMA, **SMALL, num_key_value_heads=1, attention_bias=True, mlp_bias=True),
    "tied": dict(LLAMA, **SMALL, tie_word_embeddings=True),
    "granite": dict(GRANITE, **SMALL),
    "olmo2": dict(OLMO2, **SMALL),
    "gpt2": dict(GPT2, n_embd=16, n_head=2),
    "neox": dict(NEOX, **SMALL, rotary_pct=0.5),
    "bert": dict(BERT, **SMALL, architectures=["BertForSequenceClassification"], **labels(3)),
    "t5": dict(T5, d_model=16, d_kv=8, num_heads=2, d_ff=24, num_decoder_layers=2, feed_forward_proj="gated-gelu"),
    "mixtral": dict(MIXTRAL, **{**SMALL, "intermediate_size": 12}, num_key_value_heads=1, num_local_experts=4),
}

ADALORA = dict(peft_type="ADALORA", init_r=4, target_r=2, total_step=10, lora_alpha=6)
VERA = dict(peft_type="VERA", r=4)
LOHA = dict(peft_type="LOHA", r=2, alpha=3)
LOKR = dict(peft_type="LOKR", r=2, alpha=3)
OFT = dict(peft_type="OFT", oft_block_size=4)
IA3 = dict(peft_type="IA3")
LN = dict(peft_type="LN_TUNING")
BITFIT = dict(r=1, lora_alpha=0, bias="all")
TOKENS = dict(peft_type="TRAINABLE_TOKENS", token_indices=[5, 17, 3, 42])
PROMPT = dict(peft_type="PROMPT_TUNING", num_virtual_tokens=3)
PREFIX = dict(peft_type="PREFIX_TUNING", num_virtual_tokens=3)
PTUNING = dict(peft_type="P_TUNING", num_virtual_tokens=3, encoder_hidden_size=8)
LINEARS = ["q_proj", "v_proj", "down_proj"]

CONFORM = {
    "lora": ("llama", dict(r=2)),
    "lora-rslora": ("llama", dict(r=4, lora_alpha=6, use_rslora=True)),
    "lora-patterns": ("llama", dict(r=2, lora_alpha=3, target_modules=LINEARS, rank_pattern={"layers.1.*q_proj": 3},
                                    alpha_pattern={"down_proj": 5.5})),
    "lora-all-linear": ("llama", dict(r=2, target_modules="all-linear")),
    "lora-regex": ("llama", dict(r=2, target_modules=r".*\.(k|v)_proj", exclude_modules=r".*layers\.1.*v_proj")),
    "lora-layers": ("llama", dict(r=2, target_modules=["q_proj", "lm_head"], layers_to_transform=[1], layers_pattern="layers")),
    "lora-bias-all": ("llama", dict(r=2, bias="all")),
    "lora-bias-only": ("llama", dict(r=2, bias="lora_only", target_modules=LINEARS)),
    "lora-lora-bias": ("llama", dict(r=2, lora_bias=True)),
    "lora-dropout": ("llama", dict(r=2, lora_dropout=0.1)),
    "lora-saved": ("llama", dict(r=2, modules_to_save=["lm_head", "norm"])),
    "lora-embedding": ("llama", dict(r=2, target_modules=["embed_tokens", "v_proj"])),
    "lora-tokens": ("llama", dict(r=2, trainable_token_indices=[5, 17, 42])),
    "lora-gaussian": ("llama", dict(r=2, init_lora_weights="gaussian")),
    "lora-orthogonal": ("llama", dict(r=2, init_lora_weights="orthogonal")),
    "lora-eva": ("llama", dict(r=2, init_lora_weights="eva", target_modules=["q_proj", "o_proj"]), "eva"),
    "lora-pissa": ("llama", dict(r=2, init_lora_weights="pissa"), "convert"),
    "lora-olora": ("llama", dict(r=2, lora_alpha=3, init_lora_weights="olora"), "convert"),
    "lora-corda": ("llama", dict(r=2, init_lora_weights="corda", target_modules=["q_proj", "down_proj"]), "corda"),
    "lora-tied-ends": ("tied", dict(r=2, target_modules=["embed_tokens", "v_proj"], ensure_weight_tying=True)),
    "lora-tied-saved": ("tied", dict(r=2, modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    "lora-tied-embedding": ("tied", dict(r=2, target_modules=["embed_tokens", "lm_head", "v_proj"])),
    "lora-tied-tokens": ("tied", dict(r=2, trainable_token_indices={"embed_tokens": [5, 17], "lm_head": [3]})),
    "lora-gpt2": ("gpt2", dict(r=2, fan_in_fan_out=True, target_modules=["c_attn", "c_proj"])),
    "lora-neox": ("neox", dict(r=2, bias="lora_only")),
    "lora-bert": ("bert", dict(r=2)),
    "lora-granite": ("granite", dict(r=2, target_modules=["q_proj", "down_proj", "lm_head"])),
    "lora-olmo2": ("olmo2", dict(r=2, target_modules=LINEARS)),
    "lora-t5": ("t5", dict(r=2)),
    "lora-mixtral": ("mixtral", dict(r=2, target_modules=["q_proj", "v_proj"])),
    "lora-mixtral-parameters": ("mixtral", dict(r=2, target_modules=["q_proj"],
                                                target_parameters=["gate_up_proj", "down_proj", "gate.weight"])),
    "dora": ("llama", dict(r=2, use_dora=True, target_modules=LINEARS)),
    "dora-embedding": ("tied", dict(r=2, use_dora=True, target_modules=["embed_tokens", "v_proj"])),
    "dora-gpt2": ("gpt2", dict(r=2, use_dora=True, fan_in_fan_out=True)),
    "dora-bert": ("bert", dict(r=2, use_dora=True)),
    "dora-t5": ("t5", dict(r=2, use_dora=True)),
    "dora-mixtral": ("mixtral", dict(r=2, use_dora=True, target_modules=["q_proj", "v_proj"])),
    "bitfit": ("llama", BITFIT),
    "bitfit-bert": ("bert", dict(BITFIT, bias="lora_only")),
    "adalora": ("llama", ADALORA),
    "adalora-pruned": ("llama", dict(ADALORA, total_step=4, tinit=1, tfinal=1), "prune"),
    "adalora-gpt2": ("gpt2", dict(ADALORA, fan_in_fan_out=True)),
    "adalora-bert": ("bert", dict(ADALORA, bias="all")),
    "adalora-t5": ("t5", dict(ADALORA, target_modules=["q", "v"])),
    "vera": ("llama", VERA),
    "vera-unsaved": ("llama", dict(VERA, save_projection=False, projection_prng_key=77, target_modules=LINEARS)),
    "vera-gpt2": ("gpt2", dict(VERA, fan_in_fan_out=True)),
    "vera-bert": ("bert", dict(VERA, bias="vera_only")),
    "vera-t5": ("t5", dict(VERA, target_modules=["v", "wo"])),
    "loha": ("llama", dict(LOHA, rank_pattern={"v_proj": 3})),
    "loha-bert": ("bert", LOHA),
    "loha-t5": ("t5", LOHA),
    "lokr": ("llama", dict(LOKR, target_modules=LINEARS)),
    "lokr-both": ("llama", dict(LOKR, r=1, decompose_both=True, target_modules=LINEARS)),
    "lokr-factor": ("llama", dict(LOKR, decompose_factor=2, init_weights="lycoris")),
    "lokr-bert": ("bert", dict(LOKR, r=1)),
    "lokr-neox": ("neox", LOKR),
    "lokr-t5": ("t5", LOKR),
    "oft": ("llama", OFT),
    "oft-r": ("llama", dict(OFT, r=4, oft_block_size=0, bias="all")),
    "oft-share": ("llama", dict(OFT, block_share=True, num_cayley_neumann_terms=3)),
    "oft-exact": ("llama", dict(OFT, use_cayley_neumann=False, target_modules=["q_proj", "up_proj"])),
    "coft": ("llama", dict(OFT, coft=True, eps=0.2)),
    "oft-bert": ("bert", OFT),
    "oft-t5": ("t5", OFT),
    "ia3": ("llama", IA3),
    "ia3-lists": ("llama", dict(IA3, target_modules=["q_proj", "k_proj", "up_proj"], feedforward_modules=["up_proj"])),
    "ia3-gpt2": ("gpt2", dict(IA3, fan_in_fan_out=True)),
    "ia3-bert": ("bert", IA3),
    "ia3-t5": ("t5", IA3),
    "ln": ("llama", LN),
    "ln-bert": ("bert", dict(LN, target_modules=["LayerNorm"])),
    "ln-mixtral": ("mixtral", dict(LN, target_modules=["input_layernorm", "norm"])),
    "tokens": ("llama", TOKENS),
    "tokens-tied": ("tied", TOKENS),
    "tokens-both": ("llama", dict(TOKENS, target_modules=["embed_tokens", "lm_head"])),
    "tokens-t5": ("t5", TOKENS),
    "prompt": ("llama", PROMPT),
    "prompt-granite": ("granite", PROMPT),
    "prompt-gpt2": ("gpt2", PROMPT),
    "prompt-bert": ("bert", PROMPT),
    "prompt-t5": ("t5", PROMPT),
    "prefix": ("llama", PREFIX),
    "prefix-projection": ("llama", dict(PREFIX, prefix_projection=True, encoder_hidden_size=8)),
    "prefix-gpt2": ("gpt2", PREFIX),
    "prefix-t5": ("t5", PREFIX),
    "ptuning": ("llama", PTUNING),
    "ptuning-lstm": ("llama", dict(PTUNING, encoder_reparameterization_type="LSTM")),
    "ptuning-bert": ("bert", PTUNING),
    "ptuning-t5": ("t5", PTUNING),
}
