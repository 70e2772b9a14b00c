/* SPDX-License-Identifier: MIT */
/*
 * family.c - the rows. Defaults are those of the configuration classes of
 * transformers 5; orders are those of named_modules() there.
 */
#include "model/family.h"

#include <stdio.h>
#include <string.h>

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

static const struct pt_keys bert_keys = {
	.hidden = "hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads",
	.ffn = "intermediate_size", .positions = "max_position_embeddings",
	.types = "type_vocab_size", .eps = "layer_norm_eps", .act = "hidden_act",
	.std = "initializer_range", .drop_embed = "hidden_dropout_prob",
	.drop_hidden = "hidden_dropout_prob", .drop_attn = "attention_probs_dropout_prob",
	.drop_class = "classifier_dropout",
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

static const struct pt_part bert_parts[] = {
	{ PT_ROLE_EMBED, "embeddings.word_embeddings" },
	{ PT_ROLE_INPUT, "embeddings.word_embeddings" },
	{ PT_ROLE_POS, "embeddings.position_embeddings" },
	{ PT_ROLE_TYPE, "embeddings.token_type_embeddings" },
	{ PT_ROLE_EMBED_NORM, "embeddings.LayerNorm" },
	{ PT_ROLE_Q, "encoder.layer.#.attention.self.query" },
	{ PT_ROLE_K, "encoder.layer.#.attention.self.key" },
	{ PT_ROLE_V, "encoder.layer.#.attention.self.value" },
	{ PT_ROLE_KV, "encoder.layer.#.attention.self" },
	{ PT_ROLE_O, "encoder.layer.#.attention.output.dense" },
	{ PT_ROLE_ATTN_OUT, "encoder.layer.#.attention.output" },
	{ PT_ROLE_ATTN_NORM, "encoder.layer.#.attention.output.LayerNorm" },
	{ PT_ROLE_UP, "encoder.layer.#.intermediate.dense" },
	{ PT_ROLE_DOWN, "encoder.layer.#.output.dense" },
	{ PT_ROLE_FFN_OUT, "encoder.layer.#.output" },
	{ PT_ROLE_FFN_NORM, "encoder.layer.#.output.LayerNorm" },
	{ 0, NULL }
};

static const struct pt_head_row score_head = {
	.pool = PT_POOL_LAST, .out = "score",
};

static const struct pt_head_row bert_head = {
	.pool = PT_POOL_FIRST, .dense = "pooler.dense", .dense_in_body = true, .act = PT_ACT_TANH,
	.dropout = true, .out = "classifier", .out_bias = true,
};

static const struct pt_family families[] = {
	/* Llama 1-3, TinyLlama, SmolLM2, Vicuna */
	{
		.model_type = "llama", .stem = "Llama", .prefix = "model", .keys = &llama_keys,
		.def = { .vocab = 32000, .hidden = 4096, .layers = 32, .heads = 32, .ffn = 11008,
			 .positions = 2048, .eps = 1e-6, .act = "silu", .pad = -1, .bos = 1,
			 .eos = 2 },
		.causal = true, .form = PT_BLOCK_PRE, .norm = PT_NORM_RMS,
		.position = PT_POS_ROPE, .ffn = PT_FFN_GATED,
		.part = llama_parts, .lm_head = "lm_head", .seq_cls = &score_head,
		.lora_targets = "q_proj,v_proj",
	},
	{
		.model_type = "mistral", .stem = "Mistral", .prefix = "model",
		.keys = &mistral_keys,
		.def = { .vocab = 32000, .hidden = 4096, .layers = 32, .heads = 32, .kv_heads = 8,
			 .ffn = 14336, .positions = 131072, .window = 4096, .eps = 1e-6,
			 .act = "silu", .pad = -1, .bos = 1, .eos = 2 },
		.causal = true, .form = PT_BLOCK_PRE, .norm = PT_NORM_RMS,
		.position = PT_POS_ROPE, .ffn = PT_FFN_GATED, .window = PT_WINDOW_ALL,
		.part = llama_parts, .lm_head = "lm_head", .seq_cls = &score_head,
		.lora_targets = "q_proj,v_proj",
	},
	{
		.model_type = "qwen2", .stem = "Qwen2", .prefix = "model", .keys = &mistral_keys,
		.def = { .vocab = 151936, .hidden = 4096, .layers = 32, .heads = 32,
			 .kv_heads = 32, .ffn = 22016, .positions = 32768, .window = 4096,
			 .eps = 1e-6, .act = "silu", .pad = -1, .bos = -1, .eos = -1 },
		.causal = true, .form = PT_BLOCK_PRE, .norm = PT_NORM_RMS,
		.position = PT_POS_ROPE, .ffn = PT_FFN_GATED, .bias_qkv = true,
		.window = PT_WINDOW_FROM,
		.part = llama_parts, .lm_head = "lm_head", .seq_cls = &score_head,
		.lora_targets = "q_proj,v_proj",
	},
	/* BERT, MiniLM, SciBERT */
	{
		.model_type = "bert", .stem = "Bert", .prefix = "bert", .keys = &bert_keys,
		.def = { .vocab = 30522, .hidden = 768, .layers = 12, .heads = 12, .ffn = 3072,
			 .positions = 512, .types = 2, .eps = 1e-12, .act = "gelu",
			 .drop_embed = 0.1, .drop_hidden = 0.1, .drop_attn = 0.1, .tie = true,
			 .pad = 0, .bos = -1, .eos = -1 },
		.form = PT_BLOCK_POST, .norm = PT_NORM_LAYER, .position = PT_POS_LEARNED,
		.ffn = PT_FFN_PLAIN, .bias_qkv = true, .bias_o = true, .bias_ffn = true,
		.part = bert_parts, .seq_cls = &bert_head,
		.lora_targets = "query,value",
	},
};

enum { NFAMILIES = sizeof families / sizeof families[0] };

const struct pt_family *pt_family_at(int i)
{
	return i >= 0 && i < NFAMILIES ? &families[i] : NULL;
}

const struct pt_family *pt_family_find(const char *model_type)
{
	for (int i = 0; i < NFAMILIES; i++) {
		if (!strcmp(families[i].model_type, model_type))
			return &families[i];
	}
	return NULL;
}

const char *pt_family_class(const struct pt_family *f, enum pt_task task, char *buf, int size)
{
	if (task == PT_TASK_CAUSAL_LM ? !f->lm_head : task == PT_TASK_SEQ_CLS ? !f->seq_cls :
	    task != PT_TASK_NONE)
		return NULL;
	snprintf(buf, (size_t)size, "%s%s", f->stem, pt_task_class(task));
	return buf;
}
