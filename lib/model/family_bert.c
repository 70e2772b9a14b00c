/* SPDX-License-Identifier: MIT */
/*
 * family_bert.c - BERT and its relatives: post-norm encoders with learned
 * positions. RoBERTa counts them from behind the padding's id; DistilBERT has
 * no types, and names of its own.
 */
#include "model/config.h"
#include "model/family_kin.h"

static const struct pt_keys bert_keys = {
	USUAL_KEYS, .ffn = "intermediate_size", .positions = "max_position_embeddings",
	.types = "type_vocab_size", .eps = "layer_norm_eps", .act = "hidden_act",
	.drop_embed = "hidden_dropout_prob", .drop_hidden = "hidden_dropout_prob",
	.drop_attn = "attention_probs_dropout_prob", .drop_class = "classifier_dropout",
};

static const struct pt_part bert_parts[] = {
	{ PT_ROLE_EMBED, "embeddings.word_embeddings" },
	{ PT_ROLE_INPUT, "embeddings.word_embeddings" },
	{ PT_ROLE_POS, "embeddings.position_embeddings" },
	{ PT_ROLE_TYPE, "embeddings.token_type_embeddings" },
	{ PT_ROLE_EMBED_NORM, "embeddings.LayerNorm" },
	{ PT_ROLE_EMBEDDED, "" },
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

static const struct pt_keys distilbert_keys = {
	.hidden = "dim", .layers = "n_layers", .heads = "n_heads", .ffn = "hidden_dim",
	.positions = "max_position_embeddings", .act = "activation", .std = "initializer_range",
	.drop_embed = "dropout", .drop_hidden = "dropout", .drop_attn = "attention_dropout",
};

static const struct pt_part distilbert_parts[] = {
	{ PT_ROLE_EMBED, "embeddings.word_embeddings" },
	{ PT_ROLE_INPUT, "embeddings.word_embeddings" },
	{ PT_ROLE_POS, "embeddings.position_embeddings" },
	{ PT_ROLE_EMBED_NORM, "embeddings.LayerNorm" },
	{ PT_ROLE_EMBEDDED, "" },
	{ PT_ROLE_Q, "transformer.layer.#.attention.q_lin" },
	{ PT_ROLE_K, "transformer.layer.#.attention.k_lin" },
	{ PT_ROLE_V, "transformer.layer.#.attention.v_lin" },
	{ PT_ROLE_KV, "transformer.layer.#.attention" },
	{ PT_ROLE_O, "transformer.layer.#.attention.out_lin" },
	{ PT_ROLE_ATTN_OUT, "transformer.layer.#.attention" },
	{ PT_ROLE_ATTN_NORM, "transformer.layer.#.sa_layer_norm" },
	{ PT_ROLE_UP, "transformer.layer.#.ffn.lin1" },
	{ PT_ROLE_DOWN, "transformer.layer.#.ffn.lin2" },
	{ PT_ROLE_FFN_OUT, "transformer.layer.#.ffn" },
	{ PT_ROLE_FFN_NORM, "transformer.layer.#.output_layer_norm" },
	{ 0, NULL }
};

#define BERT_EMBEDDING \
	{ .task = PT_TASK_CONTRASTIVE, .pool = PT_POOL_MEAN, .dense = "pooler.dense", .dense_in_body = true, \
	  .dense_idle = true }

static const struct pt_head bert_heads[] = {
	BERT_EMBEDDING,
	{ .task = PT_TASK_SEQ_CLS, .pool = PT_POOL_FIRST, .dense = "pooler.dense", .dense_in_body = true,
	  .act = PT_ACT_TANH, .dropout = true, .out = "classifier", .out_bias = true },
	{ .task = PT_TASK_TOKEN_CLS, .dropout = true, .out = "classifier", .out_bias = true },
	HEAD_ANSWERS,
	{ .task = PT_TASK_MASKED_LM, .dense = "cls.predictions.transform.dense",
	  .norm = "cls.predictions.transform.LayerNorm", .out = "cls.predictions.decoder", .out_bias = true,
	  .bias_path = "cls.predictions.bias" },
	{ 0 }
};

static const struct pt_head roberta_heads[] = {
	BERT_EMBEDDING,
	{ .task = PT_TASK_SEQ_CLS, .pool = PT_POOL_FIRST, .dense = "classifier.dense", .act = PT_ACT_TANH,
	  .dropout_dense = true, .dropout = true, .out = "classifier.out_proj", .out_bias = true },
	{ .task = PT_TASK_TOKEN_CLS, .dropout = true, .out = "classifier", .out_bias = true },
	HEAD_ANSWERS,
	{ .task = PT_TASK_MASKED_LM, .dense = "lm_head.dense", .act = PT_ACT_GELU, .norm = "lm_head.layer_norm",
	  .out = "lm_head.decoder", .out_bias = true, .bias_path = "lm_head.bias" },
	{ 0 }
};

static const struct pt_head distilbert_heads[] = {
	{ .task = PT_TASK_SEQ_CLS, .pool = PT_POOL_FIRST, .dense = "pre_classifier", .act = PT_ACT_RELU,
	  .dropout = true, .drop_key = "seq_classif_dropout", .drop = 0.2, .out = "classifier", .out_bias = true },
	{ .task = PT_TASK_TOKEN_CLS, .dropout = true, .drop_key = "dropout", .drop = 0.1, .out = "classifier",
	  .out_bias = true },
	{ .task = PT_TASK_QA, .dropout = true, .drop_key = "qa_dropout", .drop = 0.1, .out = "qa_outputs",
	  .out_bias = true },
	{ .task = PT_TASK_MASKED_LM, .dense = "vocab_transform", .norm = "vocab_layer_norm", .out = "vocab_projector",
	  .out_bias = true },
	{ 0 }
};

/* create_position_ids_from_input_ids(): the first position is the padding's id + 1. */
static int roberta_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	int64_t pad;

	if (pt_json_int(json, "pad_token_id", 0, INT32_MAX, c->family->def.pad, &pad, err))
		return err->status;
	if (pad + 1 >= c->positions)
		return pt_error(err, PT_DATA, "pad_token_id %lld leaves no positions of max_position_embeddings %lld",
				(long long)pad, (long long)c->positions);
	c->pos_offset = (int)pad + 1;
	c->positions -= pad + 1;
	return 0;
}

/* Attention's output has no dropout. */
static int distilbert_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	(void)json;
	(void)err;
	c->drop_attn_out = 0;
	return 0;
}

#define BERT_SHAPE \
	.form = PT_BLOCK_POST, .norm = PT_NORM_LAYER, .position = PT_POS_LEARNED, \
	.ffn = PT_FFN_PLAIN, .bias_qkv = true, .bias_o = true, .bias_ffn = true, .pad_row = true
#define BERT_SIZES \
	.vocab = 30522, .hidden = 768, .heads = 12, .ffn = 3072, .positions = 512, .eps = 1e-12, .act = "gelu", \
	.drop_embed = 0.1, .drop_hidden = 0.1, .drop_attn = 0.1, .tie = true

const struct pt_family pt_families_bert[] = {
	/* BERT, MiniLM, SciBERT */
	{
		.model_type = "bert", .stem = "Bert", .prefix = "bert", .keys = &bert_keys,
		.def = { BERT_SIZES, .layers = 12, .types = 2, .pad = 0, .bos = -1, .eos = -1 }, BERT_SHAPE,
		.hub = PT_HUB_OUTPUT, .part = bert_parts, .head = bert_heads, .idle = "cls.seq_relationship",
		.lora_targets = "query,value", .adalora_targets = "query,value",
		.ia3_targets = "key,value,output.dense", .ia3_feedforward = "output.dense", .ln_targets = "LayerNorm",
	},
	{
		.model_type = "roberta", .stem = "Roberta", .prefix = "roberta", .keys = &bert_keys,
		.def = { BERT_SIZES, .layers = 12, .types = 2, .pad = 1, .bos = 0, .eos = 2 }, BERT_SHAPE,
		.config = roberta_config,
		.hub = PT_HUB_OUTPUT, .part = bert_parts, .head = roberta_heads,
		.lora_targets = "query,value", .adalora_targets = "query,key,value,dense",
		.ia3_targets = "key,value,output.dense", .ia3_feedforward = "output.dense", .ln_targets = "LayerNorm",
	},
	{
		.model_type = "xlm-roberta", .stem = "XLMRoberta", .prefix = "roberta", .keys = &bert_keys,
		.def = { BERT_SIZES, .layers = 12, .types = 2, .pad = 1, .bos = 0, .eos = 2 }, BERT_SHAPE,
		.config = roberta_config,
		.hub = PT_HUB_OUTPUT, .part = bert_parts, .head = roberta_heads, .lora_targets = "query,value",
		.ln_targets = "LayerNorm",
	},
	{
		.model_type = "distilbert", .stem = "DistilBert", .prefix = "distilbert", .keys = &distilbert_keys,
		.def = { BERT_SIZES, .layers = 6, .pad = 0, .bos = -1, .eos = -1 }, BERT_SHAPE,
		.config = distilbert_config,
		.hub = PT_HUB_BLOCK, .part = distilbert_parts, .head = distilbert_heads, .lora_targets = "q_lin,v_lin",
		.ln_targets = "sa_layer_norm,output_layer_norm,LayerNorm",
	},
	{ 0 }
};
