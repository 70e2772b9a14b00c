/* SPDX-License-Identifier: MIT */
/*
 * family_kin.h - pieces of rows that many families have alike, most of them as
 * Llama has them, in the order in which they stand in tables; for family_*.c.
 */
#ifndef PT_MODEL_FAMILY_KIN_H
#define PT_MODEL_FAMILY_KIN_H

/* Of struct pt_keys. */
#define USUAL_KEYS \
	.hidden = "hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads", \
	.std = "initializer_range"

#define LLAMA_KEYS \
	USUAL_KEYS, .kv_heads = "num_key_value_heads", .head_dim = "head_dim", .ffn = "intermediate_size", \
	.positions = "max_position_embeddings", .eps = "rms_norm_eps", .drop_attn = "attention_dropout"

#define ATTENTION_BIAS \
	.bias_qkv = "attention_bias", .bias_o = "attention_bias"

/* Of struct pt_part tables. */
#define LLAMA_EMBED \
	{ PT_ROLE_EMBED, "embed_tokens" }, \
	{ PT_ROLE_INPUT, "embed_tokens" }, \
	{ PT_ROLE_EMBEDDED, "" }

#define LLAMA_PROJECTIONS \
	{ PT_ROLE_Q, "layers.#.self_attn.q_proj" }, \
	{ PT_ROLE_K, "layers.#.self_attn.k_proj" }, \
	{ PT_ROLE_V, "layers.#.self_attn.v_proj" }, \
	{ PT_ROLE_O, "layers.#.self_attn.o_proj" }

/* A norm of every head of queries and keys. */
#define LLAMA_HEAD_NORMS \
	{ PT_ROLE_Q_NORM, "layers.#.self_attn.q_norm" }, \
	{ PT_ROLE_K_NORM, "layers.#.self_attn.k_norm" }

#define LLAMA_ATTENTION \
	{ PT_ROLE_KV, "layers.#.self_attn" }, \
	{ PT_ROLE_ATTN_OUT, "layers.#.self_attn" }

#define LLAMA_MLP \
	{ PT_ROLE_GATE, "layers.#.mlp.gate_proj" }, \
	{ PT_ROLE_UP, "layers.#.mlp.up_proj" }, \
	{ PT_ROLE_DOWN, "layers.#.mlp.down_proj" }

#define LLAMA_MLP_OUT \
	{ PT_ROLE_FFN_OUT, "layers.#.mlp" }

#define LLAMA_NORMS \
	{ PT_ROLE_ATTN_NORM, "layers.#.input_layernorm" }, \
	{ PT_ROLE_FFN_NORM, "layers.#.post_attention_layernorm" }, \
	{ PT_ROLE_FINAL_NORM, "norm" }

/* Llama's own table. */
#define LLAMA_PARTS \
	LLAMA_EMBED, LLAMA_PROJECTIONS, LLAMA_ATTENTION, LLAMA_MLP, LLAMA_MLP_OUT, LLAMA_NORMS, { 0, NULL }

/* Of struct pt_head tables: transformers' general classes on a decoder. */
#define HEAD_LM \
	{ .task = PT_TASK_CAUSAL_LM, .out = "lm_head" }

#define HEAD_SCORE \
	{ .task = PT_TASK_SEQ_CLS, .pool = PT_POOL_LAST, .out = "score" }

#define HEAD_TOKENS(path) \
	{ .task = PT_TASK_TOKEN_CLS, .dropout = true, .drop_key = "classifier_dropout", .drop = 0.1, .out = path, \
	  .out_bias = true }

#define HEAD_ANSWERS \
	{ .task = PT_TASK_QA, .out = "qa_outputs", .out_bias = true }

/* The same where its class calls the body so. */
#define HEAD_ANSWERS_ON(name) \
	{ .task = PT_TASK_QA, .prefix = name, .out = "qa_outputs", .out_bias = true }

/* Of struct pt_family: all but the norm. */
#define LLAMA_SHAPE \
	.causal = true, .form = PT_BLOCK_PRE, .position = PT_POS_ROPE, .ffn = PT_FFN_GATED, .pad_row = true

#endif
