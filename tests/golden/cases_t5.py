# SPDX-License-Identifier: MIT
"""Cases of encoder-decoders: T5 v1.0, v1.1 (Flan) and mT5."""
from cases import RAGGED, VOCAB, labels

# Heads that do not make up the width, stacks of different depth, buckets that short sequences fill.
T5 = dict(model_type="t5", architectures=["T5ForConditionalGeneration"], vocab_size=VOCAB, d_model=30, d_kv=7,
          num_heads=3, d_ff=41, num_layers=2, num_decoder_layers=3, relative_attention_num_buckets=8,
          relative_attention_max_distance=12, layer_norm_epsilon=1e-3, dropout_rate=0.1, feed_forward_proj="relu",
          pad_token_id=0, eos_token_id=1, decoder_start_token_id=3)
FLAN = dict(T5, d_kv=12, num_decoder_layers=2, relative_attention_num_buckets=12, relative_attention_max_distance=20,
            feed_forward_proj="gated-gelu", tie_word_embeddings=False)
MT5 = dict(T5, model_type="mt5", architectures=["MT5ForConditionalGeneration"], num_layers=3, num_decoder_layers=None,
           feed_forward_proj="gated-gelu", tie_word_embeddings=False)
CLASS = dict(T5, architectures=["T5ForSequenceClassification"], num_decoder_layers=2, **labels(3))
TARGETS = [3, 11, 1, 2, 24]

MODELS = {
    "t5": (T5, RAGGED, dict(task="seq2seq", targets=TARGETS)),
    "t5-bf16": (dict(FLAN, d_kv=7), [9, 4, 17, 6], dict(task="seq2seq", targets=[5, 14, 8, 2], store="BF16")),
    "t5-flan": (FLAN, RAGGED, dict(task="seq2seq", targets=TARGETS, own_head=True)),
    "mt5": ({k: v for k, v in MT5.items() if k != "decoder_start_token_id"}, [2, 21, 1, 9],
            dict(task="seq2seq", targets=[1, 2, 13, 8], own_head=True)),
    "mt5-bf16": (MT5, [9, 4, 17, 6], dict(task="seq2seq", targets=[5, 14, 8, 2], store="BF16", own_head=True)),
    "t5-class": (CLASS, [7, 1, 16, 2, 12, 9], dict(task="class", ends=True)),
    "t5-multilabel": (dict(FLAN, architectures=["T5ForSequenceClassification"], **labels(4)), [5, 1, 13],
                      dict(task="multilabel", ends=True)),
}

# No ReLU: what ten steps move across zero is a matter of rounding.
LORA = {
    "t5": (dict(T5, feed_forward_proj="gelu_new"), [9, 3, 12], dict(task="seq2seq", targets=[6, 2, 5]),
           dict(r=4, lora_alpha=1.5, target_modules=["q", "v"]), dict(lr=0.03)),
    # Cross attention apart, all of the feed-forward, both embeddings; norms and one relative bias that train whole.
    "t5-rich": (FLAN, [7, 5, 12], dict(task="seq2seq", targets=[6, 3, 7], own_head=True),
                dict(r=3, lora_alpha=0.75, use_rslora=True,
                     target_modules=["EncDecAttention.k", "EncDecAttention.o", "wi_0", "wo", "embed_tokens"],
                     modules_to_save=["final_layer_norm",
                                      "decoder.block.0.layer.0.SelfAttention.relative_attention_bias"],
                     rank_pattern={"decoder.*wo": 2}), dict(lr=0.01)),
    "mt5": (MT5, [9, 3, 12], dict(task="seq2seq", targets=[6, 2, 5], own_head=True, salt=13), dict(r=4, lora_alpha=1.5), dict(lr=0.03)),
    "t5-class": (dict(CLASS, feed_forward_proj="gated-silu"), [7, 1, 16, 2, 12, 9], dict(task="class", ends=True),
                 dict(r=4, lora_alpha=8, target_modules=["q", "v"]), {}),
}

EXCHANGE = {
    "t5-defaults": (T5, dict(task_type="SEQ_2_SEQ_LM")),
    "t5-linear": (FLAN, dict(task_type="SEQ_2_SEQ_LM", r=2, target_modules="all-linear")),
    "t5-layers": (T5, dict(task_type="SEQ_2_SEQ_LM", target_modules=["k", "wi"], layers_to_transform=[1])),
    "t5-block": (T5, dict(task_type="SEQ_2_SEQ_LM", target_modules=["q", "o"], layers_to_transform=[1],
                          layers_pattern="block")),
    "t5-saved": (T5, dict(task_type="SEQ_2_SEQ_LM", modules_to_save=["final_layer_norm", "lm_head"])),
    "t5-embedding": (FLAN, dict(task_type="SEQ_2_SEQ_LM", r=3, target_modules=["embed_tokens", "lm_head", "q"])),
    "mt5-defaults": (MT5, dict(task_type="SEQ_2_SEQ_LM")),
    "t5-class-lora": (CLASS, dict(task_type="SEQ_CLS")),
}
