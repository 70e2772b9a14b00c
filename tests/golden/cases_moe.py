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
