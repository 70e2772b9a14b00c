# SPDX-License-Identifier: MIT
"""Cases of Gemma 1, 2 and 3: norms of 1 + w, scaled embeddings, sandwich norms, soft caps, two rotary bases."""
from cases import RAGGED, VOCAB, labels, rope

GEMMA = dict(model_type="gemma", architectures=["GemmaForCausalLM"], vocab_size=VOCAB, hidden_size=30,
             intermediate_size=41, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1, head_dim=8,
             hidden_act="gelu_pytorch_tanh", max_position_embeddings=64, rms_norm_eps=1e-3, initializer_range=0.02,
             pad_token_id=0, bos_token_id=2, eos_token_id=1)
GEMMA2 = {**GEMMA, "model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"], "num_attention_heads": 6,
          "num_key_value_heads": 2, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 90,
          "sliding_window": 5, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0}
GEMMA3 = {**GEMMA2, "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "num_hidden_layers": 3,
          "sliding_window_pattern": 2, "attn_logit_softcapping": None, "final_logit_softcapping": None,
          "rope_theta": 900.0, "rope_scaling": rope("linear", factor=3.0), "rope_local_base_freq": 40.0}
for _c in GEMMA2, GEMMA3:
    del _c["hidden_act"]
WINDOW = [1, 2, 4, 5, 6, 23]


def score(base, n, **more):
    name = base["architectures"][0].replace("ForCausalLM", "ForSequenceClassification")
    name = name.replace("Gemma3For", "Gemma3TextFor")
    return dict(base, architectures=[name], **labels(n), **more)


MODELS = {
    # The old name of the activation means its approximation.
    "gemma": (dict(GEMMA, hidden_act="gelu"), [13, 2, 1, 7], {}),
    "gemma-biased": (dict(GEMMA, attention_bias=True, tie_word_embeddings=False, hidden_act="silu"),
                     RAGGED, {}),
    # The scale of the embedding is rounded as its weights are.
    "gemma-bf16": (GEMMA, RAGGED, dict(store="BF16")),
    "gemma-class": (score(GEMMA, 3), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3])),
    # Window 5 on the first layer: sequences of 1, 2, one less, as many, one more, many.
    "gemma2": (GEMMA2, WINDOW, {}),
    "gemma2-types": (dict(GEMMA2, layer_types=["full_attention", "sliding_attention"], attn_logit_softcapping=None,
                          final_logit_softcapping=None), WINDOW, {}),
    "gemma2-bf16": (dict(GEMMA2, tie_word_embeddings=False), WINDOW, dict(store="BF16")),
    "gemma2-class": (score(GEMMA2, 2), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3])),
    # Sliding, full, sliding; one rotary base for each.
    "gemma3": (GEMMA3, WINDOW, {}),
    # The keys of transformers 5.
    "gemma3-keys": ({**{k: v for k, v in GEMMA3.items() if "rope" not in k},
                     "layer_types": ["full_attention", "sliding_attention", "full_attention"],
                     "rope_parameters": {"full_attention": rope("linear", rope_theta=700.0, factor=2.0),
                                         "sliding_attention": rope("default", rope_theta=30.0)},
                     "final_logit_softcapping": 5.0, "attn_logit_softcapping": 4.0, "attention_bias": True,
                     "tie_word_embeddings": False}, [1, 2, 4, 5, 6, 9], {}),
    "gemma3-bf16": (dict(GEMMA3, tie_word_embeddings=False), WINDOW, dict(store="BF16")),
    "gemma3-class": (score(GEMMA3, 3), RAGGED, dict(task="class", pads=[2, 1, 0, 1, 3])),
    # EmbeddingGemma: each sees all, on sliding layers 3 to each side.
    "gemma3-both-ways": (dict(GEMMA3, architectures=["Gemma3TextModel"], use_bidirectional_attention=True),
                         [1, 2, 3, 4, 5, 19], dict(task="none")),
}

TARGETS = ["q_proj", "v_proj"]
LORA = {
    "gemma": (dict(GEMMA, tie_word_embeddings=False), [9, 1, 2, 6], {}, dict(r=4, lora_alpha=6), dict(lr=0.012)),
    "gemma2": (GEMMA2, WINDOW, {}, dict(r=4, lora_alpha=6), dict(lr=0.02)),
    "gemma3": (dict(GEMMA3, attention_bias=True), WINDOW, {},
               dict(r=3, lora_alpha=6, bias="lora_only"), dict(lr=0.01)),
    "gemma3-class": (score(GEMMA3, 3), [5, 1, 9, 2], dict(task="class"),
                     dict(r=3, lora_alpha=3, target_modules="all-linear", modules_to_save=["model.norm"]), dict(lr=0.003)),
}

EXCHANGE = {
    "gemma": (GEMMA, {}),
    "gemma-linear": (dict(GEMMA, attention_bias=True), dict(target_modules="all-linear", bias="all")),
    "gemma2": (GEMMA2, {}),
    "gemma2-linear": (GEMMA2, dict(target_modules="all-linear", modules_to_save=["embed_tokens"])),
    "gemma3": (GEMMA3, {}),
    "gemma3-linear": (GEMMA3, dict(r=3, target_modules="all-linear")),
    "gemma3-class": (score(GEMMA3, 3), dict(task_type="SEQ_CLS")),
}
