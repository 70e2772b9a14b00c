# SPDX-License-Identifier: MIT
"""Cases of decoders with the modules of Llama."""
from cases import RAGGED, VOCAB, labels, rope

LLAMA = dict(model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=VOCAB, hidden_size=30,
             intermediate_size=41, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=64,
             rms_norm_eps=1e-3, hidden_act="silu", tie_word_embeddings=False, initializer_range=0.02,
             pad_token_id=None, bos_token_id=1, eos_token_id=2)
BIASED = dict(LLAMA, num_key_value_heads=1, attention_bias=True, mlp_bias=True)
TIED = dict(LLAMA, num_key_value_heads=1, tie_word_embeddings=True)
QWEN3 = dict(LLAMA, model_type="qwen3", architectures=["Qwen3ForCausalLM"], num_key_value_heads=1, head_dim=8)
MISTRAL = dict(LLAMA, model_type="mistral", architectures=["MistralForCausalLM"], num_attention_heads=4,
               num_key_value_heads=2, head_dim=6, sliding_window=5)
# The first layer sees all, the second slides.
QWEN2 = dict(LLAMA, model_type="qwen2", architectures=["Qwen2ForCausalLM"], num_key_value_heads=1,
             use_sliding_window=True, sliding_window=4, max_window_layers=1)
# Every second layer has no positions.
SMOLLM3 = dict(LLAMA, model_type="smollm3", architectures=["SmolLM3ForCausalLM"], num_key_value_heads=1,
               no_rope_layer_interval=2, pad_token_id=3, tie_word_embeddings=True)
PHI3 = dict(LLAMA, model_type="phi3", architectures=["Phi3ForCausalLM"], num_key_value_heads=1, pad_token_id=3)

# Factors in four places.
GRANITE = dict(LLAMA, model_type="granite", architectures=["GraniteForCausalLM"], num_key_value_heads=1,
               embedding_multiplier=2.7, residual_multiplier=0.37, attention_multiplier=0.43, logits_scaling=1.7)

# Norms behind the sub-blocks alone, and of all heads together.
OLMO2 = dict(LLAMA, model_type="olmo2", architectures=["Olmo2ForCausalLM"], num_key_value_heads=1, pad_token_id=3)


def score(n, base=LLAMA, **more):
    name = base["architectures"][0].replace("ForCausalLM", "ForSequenceClassification")
    return dict(base, **{**dict(architectures=[name], pad_token_id=3), **labels(n), **more})


CLASS = score(3, num_key_value_heads=1)

MODELS = {
    "llama2": (LLAMA, RAGGED, {}),
    "llama2-bf16": (LLAMA, RAGGED, dict(store="BF16")),
    "llama-f16": (dict(LLAMA, num_key_value_heads=1), RAGGED, dict(store="F16")),
    # Biases everywhere, the newer spelling of the rotary keys, heads wider than hidden / heads.
    "llama3": (dict(LLAMA, num_attention_heads=6, num_key_value_heads=2, head_dim=8, attention_bias=True,
                    mlp_bias=True, rope_theta=500.0,
                    rope_parameters=rope("llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0,
                                         high_freq_factor=4.0, original_max_position_embeddings=32)),
               [3, 40, 17], {}),
    "linear": (dict(LLAMA, rope_theta=100.0, rope_scaling=rope("linear", factor=2.5)), [9, 30], {}),
    # Up to 16 positions nothing is scaled, then each length has its own frequencies.
    "dynamic": (dict(LLAMA, max_position_embeddings=16, rope_theta=1000.0,
                     rope_scaling=dict(type="dynamic", factor=3.0)), [5, 16, 17, 31, 24], {}),
    # The ramp from dimension 1 to dimension 4 of 5.
    "yarn": (dict(LLAMA, rope_theta=50.0, num_key_value_heads=1,
                  rope_scaling=rope("yarn", factor=4.0, original_max_position_embeddings=16,
                                    beta_fast=1.0, beta_slow=0.2)), [6, 35], {}),
    "yarn-mscale": (dict(LLAMA, rope_theta=1000.0,
                         rope_scaling=rope("yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=3.0,
                                           beta_slow=0.5, mscale=1.5, mscale_all_dim=0.5, truncate=False)),
                    [33, 4], {}),
    # Window 5: sequences of 1, 2, one less, as many, one more, many.
    "mistral": (MISTRAL, [1, 2, 4, 5, 6, 23], {}),
    "mistral-bf16": (MISTRAL, [1, 2, 4, 5, 6, 23], dict(store="BF16")),
    "qwen2": (QWEN2, [1, 2, 3, 4, 5, 17], dict(salt="b")),
    "qwen2-bf16": (QWEN2, [1, 2, 3, 4, 5, 17], dict(store="BF16", salt="b")),
    "smollm2": (dict(LLAMA, num_key_value_heads=1, tie_word_embeddings=True), RAGGED, {}),
    # Trailing padding is passed over; a sequence of nothing else pools its first row.
    "llama-class": (score(3, num_key_value_heads=1), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3])),
    "qwen3": (QWEN3, RAGGED, {}),
    "qwen3-biased": (dict(QWEN3, attention_bias=True, use_sliding_window=True, sliding_window=4,
                          max_window_layers=1), [1, 2, 3, 4, 5, 17], {}),
    "qwen3-bf16": (QWEN3, RAGGED, dict(store="BF16")),
    "qwen3-class": (score(3, QWEN3), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3])),
    "smollm3": (SMOLLM3, RAGGED, {}),
    # Layers without positions slide; biases everywhere.
    "smollm3-window": (dict(SMOLLM3, no_rope_layers=[0, 1], use_sliding_window=True, sliding_window=4,
                            attention_bias=True, mlp_bias=True, tie_word_embeddings=False), [1, 2, 3, 4, 5, 17], {}),
    "smollm3-bf16": (SMOLLM3, [8, 1, 17, 3, 11], dict(store="BF16")),
    "smollm3-class": (score(3, SMOLLM3), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3])),
    "phi3": (dict(PHI3, sliding_window=5, partial_rotary_factor=0.6), [1, 2, 4, 5, 6, 23], {}),
    # Up to 16 positions the short factors, beyond the long ones.
    "phi3-long": (dict(PHI3, max_position_embeddings=64, original_max_position_embeddings=16,
                       rope_theta=300.0, partial_rotary_factor=0.8,
                       rope_scaling=rope("longrope", short_factor=[1.1, 1.3, 1.6, 2.0],
                                         long_factor=[1.5, 2.5, 4.0, 7.0])), [1, 2, 16, 17, 24], {}),
    # The same rule of factors where nothing is read anew when a text grows.
    "llama-long": (dict(LLAMA, max_position_embeddings=64, rope_theta=200.0,
                        rope_scaling=rope("longrope", short_factor=[1.0, 1.2, 1.5, 1.9, 2.2], factor=4.0,
                                          long_factor=[1.4, 2.0, 3.5, 6.0, 8.0], original_max_position_embeddings=16)),
                   [1, 2, 16, 17, 24], {}),
    # Original positions beyond the piece in which a prompt is read: for texts of make_generate.py.
    "dynamic-far": (dict(LLAMA, max_position_embeddings=275, rope_theta=1000.0,
                         rope_scaling=dict(type="dynamic", factor=3.0)), [2, 281], {}),
    "phi3-far": (dict(PHI3, max_position_embeddings=400, original_max_position_embeddings=275, rope_theta=300.0,
                      rope_scaling=rope("longrope", short_factor=[1.1, 1.2, 1.3, 1.6, 2.0],
                                        long_factor=[1.5, 2.0, 2.5, 4.0, 7.0])), [2, 281], {}),
    "llama-far": (dict(LLAMA, max_position_embeddings=400, rope_theta=200.0,
                       rope_scaling=rope("longrope", short_factor=[1.0, 1.2, 1.5, 1.9, 2.2], factor=1.5,
                                         long_factor=[1.4, 2.0, 3.5, 6.0, 8.0], original_max_position_embeddings=275)),
                  [2, 281], {}),
    "phi3-bf16": (PHI3, RAGGED, dict(store="BF16")),
    "phi3-class": (score(3, PHI3), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3])),
    "granite": (GRANITE, RAGGED, {}),
    "granite-biased": (dict(GRANITE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), RAGGED, {}),
    "granite-bf16": (GRANITE, RAGGED, dict(store="BF16")),
    "olmo2": (OLMO2, RAGGED, {}),
    "olmo2-biased": (dict(OLMO2, attention_bias=True, tie_word_embeddings=True, num_attention_heads=5, num_key_value_heads=5), RAGGED, {}),
    "olmo2-bf16": (OLMO2, RAGGED, dict(store="BF16")),
    "olmo2-class": (score(3, OLMO2), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3])),
    "llama-regression": (score(2, problem_type="regression"), RAGGED, dict(task="regression")),
}

LORA = {
    "llama": (LLAMA, RAGGED, {}, dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"]), dict(lr=0.015)),
    # A rank and an alpha of their own, biases everywhere, a norm that trains whole, the output embedding.
    "llama-rich": (BIASED, RAGGED, {},
                   dict(r=5, lora_alpha=1.5, use_rslora=True, bias="all", modules_to_save=["model.norm"],
                        target_modules=["q_proj", "k_proj", "o_proj", "gate_proj", "down_proj", "lm_head"],
                        rank_pattern={"layers.1.*q_proj": 3, "down_proj": 2}, alpha_pattern={"gate_proj": 0.75}), {}),
    # Both ends of a tied embedding adapted, each on its own.
    "llama-embed": (TIED, RAGGED, {},
                    dict(r=3, lora_alpha=4, target_modules=["embed_tokens", "lm_head", "up_proj"]), {}),
    # One end of a tied embedding trains, the other stays; B with a bias; biases of the targets.
    "llama-saved": (dict(BIASED, tie_word_embeddings=True), RAGGED, {},
                    dict(r=2, lora_alpha=1.5, lora_bias=True, bias="lora_only", target_modules=["o_proj", "v_proj"],
                         modules_to_save=["embed_tokens"]), {}),
    # Both ends train as one.
    "llama-tied": (TIED, RAGGED, {},
                   dict(r=2, lora_alpha=3, target_modules=["o_proj"], modules_to_save=["embed_tokens"],
                        ensure_weight_tying=True), {}),
    # A table with both of its ends, which have one update.
    "llama-ends": (TIED, RAGGED, {}, dict(r=3, lora_alpha=4, target_modules=["embed_tokens", "o_proj"], ensure_weight_tying=True),
                   dict(lr=0.02)),
    "mistral": (MISTRAL, [4, 5, 6, 17], {}, dict(r=4, lora_alpha=6), dict(lr=0.02)),
    "qwen2": (QWEN2, [3, 4, 5, 17], {}, dict(r=4, lora_alpha=6), dict(lr=0.02)),
    "qwen3": (QWEN3, RAGGED, {}, dict(r=4, lora_alpha=6), dict(lr=0.02)),
    "smollm3": (SMOLLM3, RAGGED, {}, dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"]), dict(lr=0.02)),
    "granite": (GRANITE, RAGGED, {}, dict(r=4, lora_alpha=6, target_modules=["embed_tokens", "q_proj", "o_proj", "lm_head"]),
                dict(lr=0.02)),
    "olmo2": (OLMO2, RAGGED, dict(salt=1), dict(r=4, lora_alpha=6, target_modules="all-linear", modules_to_save=["q_norm"]), dict(lr=0.02)),
    "phi3": (PHI3, [12, 5, 9], {}, dict(r=6, lora_alpha=9, target_modules=["qkv_proj", "o_proj"]), dict(lr=0.015)),
    "phi3-linear": (PHI3, RAGGED, {}, dict(r=4, lora_alpha=3, target_modules="all-linear"), dict(lr=0.012)),
    "llama-class": (score(3, num_key_value_heads=1), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3]),
                    dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], layers_to_transform=[1]), {}),
}

EXCHANGE = {
    "defaults": (LLAMA, {}),
    "mistral-defaults": (MISTRAL, {}),
    "qwen2-defaults": (QWEN2, {}),
    "list": (LLAMA, dict(r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"])),
    "regex": (LLAMA, dict(r=3, target_modules=r".*\.(k|v)_proj")),
    "all-linear": (LLAMA, dict(r=2, target_modules="all-linear")),
    "exclude": (LLAMA, dict(target_modules="all-linear", exclude_modules=["layers.0.mlp.up_proj", "q_proj"])),
    "exclude-regex": (LLAMA, dict(target_modules=["q_proj", "up_proj"], exclude_modules=".*layers.1.*")),
    "layers": (LLAMA, dict(target_modules=["q_proj", "lm_head"], layers_to_transform=[1], layers_pattern="layers")),
    "patterns": (LLAMA, dict(r=4, lora_alpha=3, rank_pattern={"layers.1.*q_proj": 2}, alpha_pattern={"v_proj": 5.5})),
    "rslora": (LLAMA, dict(r=4, use_rslora=True)),
    "bias-all": (BIASED, dict(bias="all")),
    "bias-only": (BIASED, dict(bias="lora_only", target_modules=["q_proj", "down_proj"])),
    "lora-bias": (BIASED, dict(lora_bias=True)),
    "saved": (TIED, dict(modules_to_save=["embed_tokens", "norm"])),
    "saved-tied": (TIED, dict(modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    "saved-both": (LLAMA, dict(modules_to_save=["embed_tokens", "lm_head"])),
    "ends": (TIED, dict(r=3, target_modules=["embed_tokens", "v_proj"], ensure_weight_tying=True)),
    "ends-head": (TIED, dict(r=3, target_modules=["lm_head", "v_proj"], ensure_weight_tying=True, use_rslora=True)),
    "ends-regex": (TIED, dict(r=3, target_modules=r".*(embed_tokens|v_proj)", ensure_weight_tying=True, lora_dropout=0.1)),
    "embedding": (TIED, dict(r=3, target_modules=["embed_tokens", "lm_head", "v_proj"])),
    "gaussian": (LLAMA, dict(init_lora_weights="gaussian")),
    "orthogonal": (LLAMA, dict(init_lora_weights="orthogonal", r=6)),
    "kaiming": (LLAMA, dict(init_lora_weights=False)),
    "class": (CLASS, dict(task_type="SEQ_CLS")),
    "class-linear": (CLASS, dict(task_type="SEQ_CLS", target_modules="all-linear")),
    "qwen3": (QWEN3, {}),
    "qwen3-linear": (dict(QWEN3, attention_bias=True), dict(target_modules="all-linear", bias="all")),
    "smollm3": (SMOLLM3, dict(target_modules=["q_proj", "v_proj"])),
    "granite": (GRANITE, dict(target_modules=["q_proj", "down_proj", "lm_head"])),
    "olmo2": (OLMO2, dict(target_modules="all-linear")),
    "phi3": (PHI3, dict(target_modules=["qkv_proj"])),
    "phi3-linear": (PHI3, dict(target_modules="all-linear")),
    "phi3-class": (score(3, PHI3), dict(task_type="SEQ_CLS", target_modules=["qkv_proj", "down_proj"])),
    "class-bias": (dict(CLASS, attention_bias=True), dict(task_type="SEQ_CLS", bias="all")),
}
