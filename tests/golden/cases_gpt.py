# SPDX-License-Identifier: MIT
"""Cases of the decoders before Llama: GPT-2, GPT-NeoX, OPT, BLOOM, Falcon, Phi."""
import transformers

from cases import RAGGED, VOCAB, labels, rope
from golden import unchecked

COMMON = dict(vocab_size=VOCAB, hidden_size=30, num_hidden_layers=2, num_attention_heads=3, initializer_range=0.02,
              pad_token_id=None, bos_token_id=1, eos_token_id=2)
GPT2 = dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], vocab_size=VOCAB, n_embd=30, n_layer=2, n_head=3,
            n_positions=40, n_inner=None, activation_function="gelu_new", layer_norm_epsilon=1e-3,
            initializer_range=0.02, pad_token_id=None, bos_token_id=1, eos_token_id=2)
NEOX = dict(COMMON, model_type="gpt_neox", architectures=["GPTNeoXForCausalLM"], intermediate_size=41,
            max_position_embeddings=64, layer_norm_eps=1e-3, hidden_act="gelu", rotary_pct=0.4, rotary_emb_base=300,
            tie_word_embeddings=False)
OPT = dict(model_type="opt", architectures=["OPTForCausalLM"], vocab_size=VOCAB, hidden_size=30, num_hidden_layers=2,
           num_attention_heads=3, ffn_dim=41, max_position_embeddings=37, activation_function="relu", init_std=0.02,
           dropout=0.1, pad_token_id=1, bos_token_id=2, eos_token_id=2)
BLOOM = dict(model_type="bloom", architectures=["BloomForCausalLM"], vocab_size=VOCAB, hidden_size=30, n_layer=2,
             n_head=3, layer_norm_epsilon=1e-3, initializer_range=0.02, pad_token_id=3, bos_token_id=1, eos_token_id=2)
FALCON = dict(COMMON, model_type="falcon", architectures=["FalconForCausalLM"], layer_norm_epsilon=1e-3,
              max_position_embeddings=64, ffn_hidden_size=41, alibi=False, bias=False, multi_query=True,
              new_decoder_architecture=False, parallel_attn=True, rope_theta=300.0)
# Eleven heads: slopes that bfloat16 rounds.
RW = dict(FALCON, num_attention_heads=11, hidden_size=44, alibi=True, bias=True, multi_query=False,
          parallel_attn=False)
# Two groups of three heads of queries.
NEW = dict(FALCON, num_attention_heads=6, hidden_size=36, num_kv_heads=2, new_decoder_architecture=True)
PHI = dict(COMMON, model_type="phi", architectures=["PhiForCausalLM"], intermediate_size=41, hidden_act="gelu_new",
           max_position_embeddings=64, layer_norm_eps=1e-3, partial_rotary_factor=0.4, rope_theta=300.0,
           tie_word_embeddings=False)


def head(base, cls, n, **more):
    stem = base["architectures"][0].replace("ForCausalLM", "").replace("LMHeadModel", "")
    return dict(base, architectures=[stem + cls], **labels(n), **more)


def score(base, n, **more):
    return head(dict(base, pad_token_id=3), "ForSequenceClassification", n, **more)


def rounded_slopes():
    """Falcon's biases of distance are bfloat16 whatever the model's type is."""
    module = transformers.models.falcon.modeling_falcon
    module.build_alibi_tensor = unchecked(module.build_alibi_tensor)


PADS = dict(task="class", pads=[2, 1, 0, 1, 3])
ALIBI = dict(attn="sdpa", prepare=rounded_slopes)

MODELS = {
    "gpt2": (GPT2, RAGGED, {}),
    "gpt2-scaled": (dict(GPT2, scale_attn_by_inverse_layer_idx=True, n_inner=41, activation_function="relu",
                         tie_word_embeddings=False), [1, 2, 40], {}),
    "gpt2-unscaled": (dict(GPT2, scale_attn_weights=False, n_inner=21, reorder_and_upcast_attn=True), RAGGED, {}),
    "gpt2-bf16": (GPT2, RAGGED, dict(store="BF16")),
    "gpt2-class": (score(GPT2, 3), RAGGED, PADS),
    "neox": (NEOX, RAGGED, {}),
    "neox-serial": (dict(NEOX, use_parallel_residual=False, attention_bias=False, hidden_act="gelu_new",
                         tie_word_embeddings=True), RAGGED, {}),
    "neox-keys": ({**{k: v for k, v in NEOX.items() if not k.startswith("rotary")},
                   "rope_parameters": rope("linear", rope_theta=200.0, partial_rotary_factor=0.6, factor=2.0)},
                  [1, 2, 33], {}),
    "neox-bf16": (NEOX, RAGGED, dict(store="BF16")),
    "neox-class": (score(NEOX, 3), RAGGED, PADS),
    "opt": (OPT, [1, 2, 37, 5], {}),
    # As opt-350m: norms behind, embeddings of another width.
    "opt-post": (dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=14, activation_function="gelu"), RAGGED, {}),
    "opt-plain": (dict(OPT, enable_bias=False, layer_norm_elementwise_affine=False, tie_word_embeddings=False),
                  RAGGED, {}),
    "opt-no-last": (dict(OPT, _remove_final_layer_norm=True, word_embed_proj_dim=14), RAGGED, {}),
    # Not relu: what rounding pushes over its kink is no error of a size.
    "opt-bf16": (dict(OPT, activation_function="gelu"), RAGGED, dict(store="BF16")),
    "opt-class": (score(dict(OPT, word_embed_proj_dim=14), 3), RAGGED, PADS),
    # Three heads: two slopes and one between.
    "bloom": (BLOOM, RAGGED, {}),
    "bloom-after": (dict(BLOOM, n_head=5, apply_residual_connection_post_layernorm=True, tie_word_embeddings=False),
                    [1, 2, 31], {}),
    "bloom-bf16": (BLOOM, RAGGED, dict(store="BF16")),
    "bloom-class": (score(BLOOM, 3), RAGGED, PADS),
    "falcon-7b": (FALCON, RAGGED, {}),
    # num_kv_heads counts in the new layout only.
    "falcon-7b-keys": (dict(FALCON, num_kv_heads=3, ffn_hidden_size=None, hidden_size=18, activation="relu",
                            tie_word_embeddings=False), RAGGED, {}),
    "falcon-rw": (RW, [1, 2, 29], ALIBI),
    "falcon-serial": (dict(FALCON, multi_query=False, parallel_attn=False), RAGGED, {}),
    "falcon-40b": (dict(NEW, bias=True), RAGGED, {}),
    "falcon-11b": (dict(NEW, num_ln_in_parallel_attn=1, multi_query=True), RAGGED, {}),
    "falcon-7b-bf16": (FALCON, RAGGED, dict(store="BF16")),
    "falcon-rw-bf16": (RW, RAGGED, dict(ALIBI, store="BF16")),
    "falcon-40b-bf16": (NEW, RAGGED, dict(store="BF16")),
    "falcon-class": (score(NEW, 3), RAGGED, PADS),
    "phi": (PHI, RAGGED, {}),
    "phi-norms": (dict(PHI, qk_layernorm=True, num_key_value_heads=1, hidden_act="relu"), RAGGED, {}),
    # The default: half of a head turns.
    "phi-half": ({k: v for k, v in dict(PHI, hidden_size=36).items() if k != "partial_rotary_factor"}, RAGGED, {}),
    "phi-bf16": (PHI, RAGGED, dict(store="BF16")),
    "phi-class": (score(PHI, 3), RAGGED, PADS),
}

LORA = {
    "gpt2": (GPT2, [8, 2, 1, 4], {}, dict(r=4, lora_alpha=6, fan_in_fan_out=True, target_modules=["c_attn", "mlp.c_proj"]),
             dict(lr=0.01)),
    "gpt2-linear": (GPT2, RAGGED, {}, dict(r=3, lora_alpha=4, fan_in_fan_out=True, bias="all",
                                           target_modules=["c_attn", "c_proj", "c_fc", "wte"]), {}),
    "gpt2-class": (score(GPT2, 3), RAGGED, dict(task="class"), dict(r=2, lora_alpha=3, fan_in_fan_out=True), {}),
    "neox": (NEOX, RAGGED, {}, dict(r=4, lora_alpha=6), dict(lr=0.02)),
    "neox-linear": (NEOX, [6, 1, 2, 9], {}, dict(r=3, lora_alpha=4, bias="lora_only", target_modules="all-linear"), {}),
    "opt": (OPT, [1, 2, 37, 5], {}, dict(r=4, lora_alpha=6), dict(lr=0.02)),
    "opt-post": (dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=14), RAGGED, {},
                 dict(r=3, lora_alpha=4, target_modules=["project_in", "project_out", "fc1", "v_proj"], bias="all"), {}),
    "bloom": (BLOOM, RAGGED, {}, dict(r=4, lora_alpha=6), dict(lr=0.01)),
    "falcon-7b": (FALCON, RAGGED, {}, dict(r=4, lora_alpha=6), dict(lr=0.02)),
    "falcon-rw": (RW, [1, 2, 29], ALIBI, dict(r=4, lora_alpha=6, bias="lora_only"), dict(lr=0.012)),
    "falcon-40b": (NEW, RAGGED, {}, dict(r=4, lora_alpha=6), dict(lr=0.02)),
    "phi": (dict(PHI, qk_layernorm=True), RAGGED, {}, dict(r=4, lora_alpha=6), {}),
}

EXCHANGE = {
    "gpt2": (GPT2, {}),
    "gpt2-linear": (GPT2, dict(fan_in_fan_out=True, target_modules=["c_attn", "c_fc", "c_proj"], bias="all")),
    "gpt2-class": (score(GPT2, 3), dict(task_type="SEQ_CLS", fan_in_fan_out=True)),
    "neox": (NEOX, {}),
    "neox-head": (NEOX, dict(modules_to_save=["lm_head"], target_modules="all-linear")),
    "opt": (OPT, {}),
    "opt-linear": (dict(OPT, word_embed_proj_dim=14, do_layer_norm_before=False), dict(target_modules="all-linear")),
    "bloom": (BLOOM, {}),
    "bloom-linear": (BLOOM, dict(target_modules="all-linear", bias="all")),
    "bloom-class": (score(BLOOM, 3), dict(task_type="SEQ_CLS")),
    "falcon-7b": (FALCON, {}),
    "falcon-rw": (RW, {}, "sdpa"),
    "falcon-40b": (NEW, dict(target_modules="all-linear")),
    "phi": (PHI, {}),
    "phi-norms": (dict(PHI, qk_layernorm=True), dict(modules_to_save=["lm_head"], bias="all")),
}
