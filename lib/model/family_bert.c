/* SPDX-License-Identifier: MIT */
/*
 * family_bert.c - BERT and its relatives: post-norm encoders with learned
 * positions.
 */
#include "model/config.h"

static const struct pt_keys bert_keys = {
	.hidden = "hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads",
	.ffn = "intermediate_size", .positions = "max_position_embeddings",
	.types = "type_vocab_size", .eps = "layer_norm_eps", .act = "hidden_act",
	.std = "initializer_range", .drop_embed = "hidden_dropout_prob",
	.drop_hidden = "hidden_dropout_prob", .drop_attn = "attention_probs_dropout_prob",
	.drop_class = "classifier_dropout",
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

static const struct pt_head bert_heads[] = {
	{ .task = PT_TASK_SEQ_CLS, .pool = PT_POOL_FIRST, .dense = "pooler.dense", .dense_in_body = true,
	  .act = PT_ACT_TANH, .dropout = true, .out = "classifier", .out_bias = true },
	{ 0 }
};

const struct pt_family pt_families_bert[] = {
	/* BERT, MiniLM, SciBERT */
	{
		.model_type = "bert", .stem = "Bert", .prefix = "bert", .keys = &bert_keys,
		.def = { .vocab = 30522, .hidden = 768, .layers = 12, .heads = 12, .ffn = 3072,
			 .positions = 512, .types = 2, .eps = 1e-12, .act = "gelu",
			 .drop_embed = 0.1, .drop_hidden = 0.1, .drop_attn = 0.1, .tie = true,
			 .pad = 0, .bos = -1, .eos = -1 },
		.form = PT_BLOCK_POST, .norm = PT_NORM_LAYER, .position = PT_POS_LEARNED,
		.ffn = PT_FFN_PLAIN, .bias_qkv = true, .bias_o = true, .bias_ffn = true,
		.pad_row = true, .part = bert_parts, .head = bert_heads,
		.lora_targets = "query,value", .adalora_targets = "query,value",
		.ia3_targets = "key,value,output.dense", .ia3_feedforward = "output.dense",
	},
	{ 0 }
};
