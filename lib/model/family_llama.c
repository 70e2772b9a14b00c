/* SPDX-License-Identifier: MIT */
/*
 * family_llama.c - Llama and its relatives: pre-norm decoders with rotary
 * positions and gated feed-forwards, under Llama's names.
 */
#include "model/config.h"

static const struct pt_keys llama_keys = {
	.hidden = "hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads",
	.kv_heads = "num_key_value_heads", .head_dim = "head_dim", .ffn = "intermediate_size",
	.positions = "max_position_embeddings", .eps = "rms_norm_eps", .act = "hidden_act",
	.std = "initializer_range", .drop_attn = "attention_dropout",
	.bias_attn = "attention_bias", .bias_ffn = "mlp_bias",
};

/* Llama's without biases: Mistral and Qwen2 have no such keys. */
static const struct pt_keys mistral_keys = {
	.hidden = "hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads",
	.kv_heads = "num_key_value_heads", .head_dim = "head_dim", .ffn = "intermediate_size",
	.positions = "max_position_embeddings", .eps = "rms_norm_eps", .act = "hidden_act",
	.std = "initializer_range", .drop_attn = "attention_dropout",
};

static const struct pt_part llama_parts[] = {
	{ PT_ROLE_EMBED, "embed_tokens" },
	{ PT_ROLE_INPUT, "embed_tokens" },
	{ PT_ROLE_Q, "layers.#.self_attn.q_proj" },
	{ PT_ROLE_K, "layers.#.self_attn.k_proj" },
	{ PT_ROLE_V, "layers.#.self_attn.v_proj" },
	{ PT_ROLE_O, "layers.#.self_attn.o_proj" },
	{ PT_ROLE_KV, "layers.#.self_attn" },
	{ PT_ROLE_ATTN_OUT, "layers.#.self_attn" },
	{ PT_ROLE_GATE, "layers.#.mlp.gate_proj" },
	{ PT_ROLE_UP, "layers.#.mlp.up_proj" },
	{ PT_ROLE_DOWN, "layers.#.mlp.down_proj" },
	{ PT_ROLE_FFN_OUT, "layers.#.mlp" },
	{ PT_ROLE_ATTN_NORM, "layers.#.input_layernorm" },
	{ PT_ROLE_FFN_NORM, "layers.#.post_attention_layernorm" },
	{ PT_ROLE_FINAL_NORM, "norm" },
	{ 0, NULL }
};

static const struct pt_head llama_heads[] = {
	{ .task = PT_TASK_CAUSAL_LM, .out = "lm_head" },
	{ .task = PT_TASK_SEQ_CLS, .pool = PT_POOL_LAST, .out = "score" },
	{ .task = PT_TASK_QA, .prefix = "transformer", .out = "qa_outputs", .out_bias = true },
	{ 0 }
};

const struct pt_family pt_families_llama[] = {
	/* Llama 1-3, TinyLlama, SmolLM2, Vicuna */
	{
		.model_type = "llama", .stem = "Llama", .prefix = "model", .keys = &llama_keys,
		.def = { .vocab = 32000, .hidden = 4096, .layers = 32, .heads = 32, .ffn = 11008,
			 .positions = 2048, .eps = 1e-6, .act = "silu", .pad = -1, .bos = 1,
			 .eos = 2 },
		.causal = true, .form = PT_BLOCK_PRE, .norm = PT_NORM_RMS,
		.position = PT_POS_ROPE, .ffn = PT_FFN_GATED,
		.pad_row = true, .part = llama_parts, .head = llama_heads,
		.lora_targets = "q_proj,v_proj", .adalora_targets = "q_proj,v_proj",
		.ia3_targets = "k_proj,v_proj,down_proj", .ia3_feedforward = "down_proj",
		.ln_targets = "input_layernorm,post_attention_layernorm,norm",
	},
	{
		.model_type = "mistral", .stem = "Mistral", .prefix = "model",
		.keys = &mistral_keys,
		.def = { .vocab = 32000, .hidden = 4096, .layers = 32, .heads = 32, .kv_heads = 8,
			 .ffn = 14336, .positions = 131072, .window = 4096, .eps = 1e-6,
			 .act = "silu", .pad = -1, .bos = 1, .eos = 2 },
		.causal = true, .form = PT_BLOCK_PRE, .norm = PT_NORM_RMS,
		.position = PT_POS_ROPE, .ffn = PT_FFN_GATED, .window = PT_WINDOW_ALL,
		.pad_row = true, .part = llama_parts, .head = llama_heads,
		.lora_targets = "q_proj,v_proj",
		.ia3_targets = "k_proj,v_proj,down_proj", .ia3_feedforward = "down_proj",
		.ln_targets = "input_layernorm,post_attention_layernorm,norm",
	},
	{
		.model_type = "qwen2", .stem = "Qwen2", .prefix = "model", .keys = &mistral_keys,
		.def = { .vocab = 151936, .hidden = 4096, .layers = 32, .heads = 32,
			 .kv_heads = 32, .ffn = 22016, .positions = 32768, .window = 4096,
			 .eps = 1e-6, .act = "silu", .pad = -1, .bos = -1, .eos = -1 },
		.causal = true, .form = PT_BLOCK_PRE, .norm = PT_NORM_RMS,
		.position = PT_POS_ROPE, .ffn = PT_FFN_GATED, .bias_qkv = true,
		.window = PT_WINDOW_FROM,
		.pad_row = true, .part = llama_parts, .head = llama_heads,
		.lora_targets = "q_proj,v_proj", .adalora_targets = "q_proj,v_proj",
		.ia3_targets = "q_proj,v_proj,down_proj", .ia3_feedforward = "down_proj",
		.ln_targets = "post_attention_layernorm",
	},
	{ 0 }
};
