/* SPDX-License-Identifier: MIT */
/*
 * family_kin.h - pieces of rows that many families have as Llama has them, in
 * the order in which they stand in tables; for family_*.c.
 */
#ifndef PT_MODEL_FAMILY_KIN_H
#define PT_MODEL_FAMILY_KIN_H

/* Of struct pt_keys. */
#define LLAMA_KEYS \
	.hidden = "hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads", \
	.kv_heads = "num_key_value_heads", .head_dim = "head_dim", .ffn = "intermediate_size", \
	.positions = "max_position_embeddings", .eps = "rms_norm_eps", .std = "initializer_range", \
	.drop_attn = "attention_dropout"

/* Of struct pt_part tables. */
#define LLAMA_EMBED \
	{ PT_ROLE_EMBED, "embed_tokens" }, \
	{ PT_ROLE_INPUT, "embed_tokens" }

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

#define LLAMA_NORMS \
	{ PT_ROLE_ATTN_NORM, "layers.#.input_layernorm" }, \
	{ PT_ROLE_FFN_NORM, "layers.#.post_attention_layernorm" }, \
	{ PT_ROLE_FINAL_NORM, "norm" }

#endif
