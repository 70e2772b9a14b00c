# SPDX-License-Identifier: MIT
"""Cases of decoders with mixtures of experts.

A choice between experts that rounding could change would make any result right, so
the scripts want a gap in the routers' logits; "salt" finds inputs that have it.
"""
from cases import VOCAB, labels

MIXTRAL = dict(model_type="mixtral", architectures=["MixtralForCausalLM"], vocab_size=VOCAB, hidden_size=24,
               intermediate_size=13, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
               max_position_embeddings=64, rms_norm_eps=1e-3, hidden_act="silu", tie_word_embeddings=False,
               initializer_range=0.02, pad_token_id=None, bos_token_id=1, eos_token_id=2, num_local_experts=5,
               num_experts_per_tok=2)
# Three layers, the second dense; the shared expert; the first layer slides.
QWEN2 = dict(model_type="qwen2_moe", architectures=["Qwen2MoeForCausalLM"], vocab_size=VOCAB, hidden_size=24,
             intermediate_size=29, moe_intermediate_size=11, shared_expert_intermediate_size=17, num_hidden_layers=3,
             num_attention_heads=3, num_key_value_heads=1, max_position_embeddings=64, rms_norm_eps=1e-3,
             hidden_act="silu", tie_word_embeddings=False, initializer_range=0.02, num_experts=6,
             num_experts_per_tok=3, mlp_only_layers=[1], use_sliding_window=True, sliding_window=4,
             max_window_layers=2)
# Two layers, the second sparse; heads wider than hidden / heads, their norms.
QWEN3 = dict(model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"], vocab_size=VOCAB, hidden_size=24,
             intermediate_size=29, moe_intermediate_size=11, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=8, max_position_embeddings=64, rms_norm_eps=1e-3, hidden_act="silu",
             tie_word_embeddings=False, initializer_range=0.02, num_experts=6, num_experts_per_tok=3,
             decoder_sparse_step=2, norm_topk_prob=True)
# Window 4: sequences of 1, 2, one less, as many, one more, many.
LENGTHS = [1, 2, 3, 4, 5, 14]
FEW = [6, 1, 9]

MODELS = {
    "mixtral": (dict(MIXTRAL, output_router_logits=True, router_aux_loss_coef=0.3), LENGTHS, {}),
    "mixtral-window": (dict(MIXTRAL, sliding_window=4, head_dim=10), LENGTHS, {}),
    "mixtral-bf16": (MIXTRAL, FEW, dict(store="BF16", gap=0.05, salt=12)),
    "mixtral-class": (dict(MIXTRAL, architectures=["MixtralForSequenceClassification"], pad_token_id=3, **labels(3)),
                      LENGTHS, dict(task="class", pads=[0, 1, 0, 1, 0, 2], salt=5)),
    "qwen2-moe": (QWEN2, LENGTHS, {}),
    "qwen2-moe-norm": (dict(QWEN2, norm_topk_prob=True, qkv_bias=False, mlp_only_layers=[], num_hidden_layers=2,
                            layer_types=["full_attention", "sliding_attention"], output_router_logits=True,
                            router_aux_loss_coef=0.2), LENGTHS, {}),
    "qwen2-moe-bf16": (dict(QWEN2, num_hidden_layers=2), FEW, dict(store="BF16", gap=0.05, salt=13)),
    "qwen3-moe": (dict(QWEN3, attention_bias=True), LENGTHS, {}),
    "qwen3-moe-plain": (dict(QWEN3, norm_topk_prob=False, decoder_sparse_step=1, use_sliding_window=True,
                             sliding_window=4, tie_word_embeddings=True), LENGTHS, {}),
    "qwen3-moe-bf16": (QWEN3, FEW, dict(store="BF16", gap=0.05, salt=9)),
}

# The order in which PEFT's patterns stand is that of their names.
LORA = {
    # Experts and router as parameters; the loss of the routers is part of what is learned.
    "mixtral-params": (dict(MIXTRAL, output_router_logits=True, router_aux_loss_coef=0.3), LENGTHS, dict(gap=1e-4),
                       dict(r=2, lora_alpha=3, target_modules=["q_proj"],
                            target_parameters=["gate_up_proj", "down_proj", "gate.weight"],
                            rank_pattern={r".*\.gate_up_proj": 4}, alpha_pattern={r".*\.gate_up_proj": 5}), {}),
    # The same as separate linears, as transformers 4 has them.
    "mixtral-split": (MIXTRAL, LENGTHS, dict(gap=1e-4, split=True, salt=2),
                      dict(r=2, lora_alpha=3, target_modules=["v_proj", "gate", "w1", "w2", "w3"]), dict(lr=0.014)),
    "qwen2-moe-params": (dict(QWEN2, num_hidden_layers=2), LENGTHS, dict(gap=1e-4, salt=1),
                         dict(r=3, lora_alpha=6, use_rslora=True, target_modules=["v_proj", "shared_expert_gate"],
                              target_parameters=["experts.gate_up_proj"]), dict(lr=0.015)),
    "qwen3-moe-params": (QWEN3, LENGTHS, dict(gap=1e-4, salt=3),
                         dict(r=2, lora_alpha=4, target_modules=["o_proj", "lm_head"], target_parameters=["mlp.experts.down_proj"]),
                         dict(lr=0.02)),
}

PARAMETERS = ["gate_up_proj", "down_proj", "gate.weight"]

EXCHANGE = {
    "mixtral-params": (MIXTRAL, dict(r=2, lora_alpha=3, target_modules=["q_proj"], target_parameters=PARAMETERS,
                                     rank_pattern={r".*\.gate_up_proj": 4}, alpha_pattern={r".*\.gate_up_proj": 6})),
    "mixtral-one": (MIXTRAL, dict(r=3, target_modules=["v_proj"], target_parameters=["gate_up_proj"])),
    "mixtral-random": (MIXTRAL, dict(r=2, use_rslora=True, target_modules=["v_proj"], init_lora_weights=False,
                                     target_parameters=["experts.down_proj", "experts.gate_up_proj"])),
    # Separate linears, as transformers 4 has them: PEFT makes parameters of them when it loads.
    "mixtral-linears": (MIXTRAL, dict(r=2, lora_alpha=3, target_modules=["q_proj", "gate", "w1", "w2", "w3"])),
    "mixtral-all": (MIXTRAL, dict(r=2, target_modules="all-linear")),
    "qwen2-moe-params": (QWEN2, dict(r=3, target_modules=["v_proj", "shared_expert_gate"], target_parameters=PARAMETERS)),
    # Names mean modules: experts and routers are none.
    "qwen2-moe-linear": (QWEN2, dict(r=2, target_modules="all-linear")),
    "qwen2-moe-names": (QWEN2, dict(r=2, target_modules=["q_proj", "gate_proj", "up_proj", "down_proj"])),
    "qwen3-moe-params": (QWEN3, dict(r=2, target_modules=["o_proj"], target_parameters=PARAMETERS)),
    "qwen3-moe-gaussian": (dict(QWEN3, decoder_sparse_step=1),
                           dict(r=2, target_modules=["o_proj"], target_parameters=["down_proj"],
                                init_lora_weights="gaussian")),
    # Bases that keep their experts as parameters.
    "mixtral-packed": (MIXTRAL, dict(r=2, lora_alpha=3, target_modules=["q_proj"], target_parameters=PARAMETERS), "eager",
                       True),
    "mixtral-packed-linears": (MIXTRAL, dict(r=2, target_modules=["q_proj", "gate", "w1", "w2", "w3"]), "eager", True),
    "qwen2-moe-packed": (QWEN2, dict(r=3, target_modules=["v_proj", "shared_expert_gate"],
                                     target_parameters=PARAMETERS), "eager", True),
    "qwen3-moe-packed": (dict(QWEN3, tie_word_embeddings=True), dict(r=2, target_modules=["o_proj"],
                                                                    target_parameters=["down_proj", "gate_up_proj"]),
                         "eager", True),
    "mixtral-packed-class": (dict(MIXTRAL, architectures=["MixtralForSequenceClassification"], pad_token_id=3,
                                  **labels(3)),
                             dict(task_type="SEQ_CLS", target_modules=["q_proj"], target_parameters=["down_proj"]), "eager",
                             True),
    "mixtral-class": (dict(MIXTRAL, architectures=["MixtralForSequenceClassification"], pad_token_id=3, **labels(3)),
                      dict(task_type="SEQ_CLS", target_modules=["q_proj"], target_parameters=["down_proj"])),
}
