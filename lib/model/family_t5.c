/* SPDX-License-Identifier: MIT */
/*
 * family_t5.c - T5 (Raffel et al. 2020), T5 v1.1, Flan-T5 and mT5:
 * encoder-decoders without biases whose scores are not scaled, with one table
 * of relative positions in the first block of each stack.
 */
#include <math.h>
#include <string.h>

#include "model/config.h"
#include "model/family_kin.h"

static const struct pt_keys t5_keys = {
	.hidden = "d_model", .layers = "num_layers", .heads = "num_heads", .head_dim = "d_kv",
	.ffn = "d_ff", .eps = "layer_norm_epsilon", .std = "initializer_factor",
	.drop_embed = "dropout_rate", .drop_hidden = "dropout_rate", .drop_attn = "dropout_rate",
};

#define SELF_ATTENTION(stack) \
	{ PT_ROLE_Q, stack ".block.#.layer.0.SelfAttention.q" }, \
	{ PT_ROLE_K, stack ".block.#.layer.0.SelfAttention.k" }, \
	{ PT_ROLE_V, stack ".block.#.layer.0.SelfAttention.v" }, \
	{ PT_ROLE_O, stack ".block.#.layer.0.SelfAttention.o" }, \
	{ PT_ROLE_REL_BIAS, stack ".block.^.layer.0.SelfAttention.relative_attention_bias" }, \
	{ PT_ROLE_KV, stack ".block.#.layer.0.SelfAttention" }, \
	{ PT_ROLE_ATTN_OUT, stack ".block.#.layer.0.SelfAttention" }, \
	{ PT_ROLE_ATTN_NORM, stack ".block.#.layer.0.layer_norm" }

#define CROSS_ATTENTION \
	{ PT_ROLE_CROSS_Q, "decoder.block.#.layer.1.EncDecAttention.q" }, \
	{ PT_ROLE_CROSS_K, "decoder.block.#.layer.1.EncDecAttention.k" }, \
	{ PT_ROLE_CROSS_V, "decoder.block.#.layer.1.EncDecAttention.v" }, \
	{ PT_ROLE_CROSS_O, "decoder.block.#.layer.1.EncDecAttention.o" }, \
	{ PT_ROLE_CROSS_KV, "decoder.block.#.layer.1.EncDecAttention" }, \
	{ PT_ROLE_CROSS_OUT, "decoder.block.#.layer.1.EncDecAttention" }, \
	{ PT_ROLE_CROSS_NORM, "decoder.block.#.layer.1.layer_norm" }

#define GATED(layer) \
	{ PT_ROLE_GATE, layer ".DenseReluDense.wi_0" }, \
	{ PT_ROLE_UP, layer ".DenseReluDense.wi_1" }, \
	{ PT_ROLE_DOWN, layer ".DenseReluDense.wo" }, \
	{ PT_ROLE_FFN_OUT, layer ".DenseReluDense" }, \
	{ PT_ROLE_FFN_NORM, layer ".layer_norm" }

#define PLAIN(layer) \
	{ PT_ROLE_UP, layer ".DenseReluDense.wi" }, \
	{ PT_ROLE_DOWN, layer ".DenseReluDense.wo" }, \
	{ PT_ROLE_FFN_OUT, layer ".DenseReluDense" }, \
	{ PT_ROLE_FFN_NORM, layer ".layer_norm" }

#define ENCODER(ffn) { \
	{ PT_ROLE_SHARED, "shared" }, \
	{ PT_ROLE_EMBED, "encoder.embed_tokens" }, \
	{ PT_ROLE_INPUT, "encoder.embed_tokens" }, \
	{ PT_ROLE_EMBEDDED, "encoder" }, \
	SELF_ATTENTION("encoder"), \
	ffn("encoder.block.#.layer.1"), \
	{ PT_ROLE_FINAL_NORM, "encoder.final_layer_norm" }, \
	{ 0, NULL } \
}

#define DECODER(ffn) { \
	{ PT_ROLE_EMBED, "decoder.embed_tokens" }, \
	{ PT_ROLE_INPUT, "decoder.embed_tokens" }, \
	SELF_ATTENTION("decoder"), \
	CROSS_ATTENTION, \
	ffn("decoder.block.#.layer.2"), \
	{ PT_ROLE_FINAL_NORM, "decoder.final_layer_norm" }, \
	{ 0, NULL } \
}

static const struct pt_part encoder_gated[] = ENCODER(GATED), encoder_plain[] = ENCODER(PLAIN);
static const struct pt_part decoder_gated[] = DECODER(GATED), decoder_plain[] = DECODER(PLAIN);

static const struct pt_head t5_heads[] = {
	{ .task = PT_TASK_SEQ2SEQ_LM, .out = "lm_head" },
	{ .task = PT_TASK_SEQ_CLS, .prefix = "transformer", .pool = PT_POOL_EOS,
	  .dropout_dense = true, .drop_key = "classifier_dropout", .dense = "classification_head.dense", .act = PT_ACT_TANH,
	  .dropout = true, .out = "classification_head.out_proj", .out_bias = true },
	{ .task = PT_TASK_TOKEN_CLS, .prefix = "transformer", .first_stack = true, .dropout = true,
	  .drop_key = "classifier_dropout", .out = "classifier", .out_bias = true },
	HEAD_ANSWERS,
	{ 0 }
};

/* "relu", "gated-gelu" (which is gelu_new), "gated-silu" ... */
static int feed_forward(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	const char *s, *name;
	int act, st = pt_json_str(json, "feed_forward_proj", c->family->ffn == PT_FFN_GATED ? "gated-gelu" : "relu",
				  &s, err);

	if (st)
		return st;
	c->ffn_form = !strncmp(s, "gated-", 6) ? PT_FFN_GATED : PT_FFN_PLAIN;
	name = c->ffn_form == PT_FFN_GATED ? s + 6 : s;
	act = pt_act_parse(!strcmp(s, "gated-gelu") ? "gelu_new" : name);
	if (act < 0)
		return pt_error(err, PT_DATA, "feed_forward_proj \"%.40s\" is not supported", s);
	c->act = (enum pt_act)act;
	return 0;
}

static int positions(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	int64_t buckets, distance;
	int st;

	if ((st = pt_json_int(json, "relative_attention_num_buckets", 4, 1 << 16, 32, &buckets, err)) ||
	    (st = pt_json_int(json, "relative_attention_max_distance", 1, 1 << 24, 128, &distance, err)))
		return st;
	/* Of the near half each distance has a bucket of its own. */
	if (distance <= buckets / 2)
		return pt_error(err, PT_DATA, "relative_attention_max_distance %lld is not above half of relative_attention_num_buckets %lld",
				(long long)distance, (long long)buckets);
	c->buckets = (int)buckets;
	c->max_distance = (int)distance;
	return 0;
}

static int decoder(struct pt_config *c, const cJSON *json, int64_t start, struct pt_error *err)
{
	bool gated = c->ffn_form == PT_FFN_GATED;
	int64_t layers;
	int st;

	if ((st = pt_json_int(json, "num_decoder_layers", 1, PT_MAX_LAYERS, c->stack[0].layers, &layers, err)) ||
	    (st = pt_json_int(json, "decoder_start_token_id", 0, c->vocab - 1, start, &start, err)) ||
	    (st = pt_config_stack(c, 1, gated ? decoder_gated : decoder_plain, true, (int)layers, err)))
		return st;
	c->stack[0].part = gated ? encoder_gated : encoder_plain;
	c->decoder_start = (int)start;
	for (int s = 0; s < 2; s++) {
		for (int i = 0; i < c->stack[s].layers; i++)
			c->stack[s].layer[i].scale = 1;
	}
	return 0;
}

/* What T5 and mT5 share; start: the id that a decoder begins with where nothing says so, -1: none. */
static int shared_config(struct pt_config *c, const cJSON *json, int64_t start, struct pt_error *err)
{
	int st;

	if ((st = feed_forward(c, json, err)) || (st = positions(c, json, err)) ||
	    (st = decoder(c, json, start, err)))
		return st;
	c->drop_act = c->drop_final = c->drop_ffn_out;
	/* Whatever tie_word_embeddings says: a head of its own is in the file. */
	c->tie = c->tie_forced = true;
	return 0;
}

/* What tie_word_embeddings does say: v1.0 scales the decoder's outputs, v1.1 does not. */
static int t5_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	bool tied, scale;
	int st;

	if ((st = pt_json_bool(json, "tie_word_embeddings", true, &tied, err)) ||
	    (st = pt_json_bool(json, "scale_decoder_outputs", tied, &scale, err)))
		return st;
	c->logit_scale = scale ? (float)(1 / sqrt((double)c->hidden)) : 1;
	return shared_config(c, json, -1, err);
}

static int mt5_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	return shared_config(c, json, 0, err);
}

/* Mesh TensorFlow's initialisation, init_std being initializer_factor. */
static double t5_std(const struct pt_config *c, enum pt_task task, enum pt_role role)
{
	double hidden = 1 / sqrt((double)c->hidden);

	switch (role) {
	case PT_ROLE_SHARED:
	case PT_ROLE_EMBED:
		return c->init_std;
	case PT_ROLE_Q:
	case PT_ROLE_CROSS_Q:
		return c->init_std * hidden / sqrt((double)c->head_dim);
	case PT_ROLE_O:
	case PT_ROLE_CROSS_O:
		return c->init_std / sqrt((double)c->heads * c->head_dim);
	case PT_ROLE_DOWN:
		return c->init_std / sqrt((double)c->ffn);
	case PT_ROLE_HEAD_OUT:
		return task == PT_TASK_TOKEN_CLS || pt_task_vocab(task) ? c->init_std : c->init_std * hidden;
	default:
		return c->init_std * hidden;
	}
}

const struct pt_family pt_families_t5[] = {
	/* T5, T5 v1.1, Flan-T5 */
	{
		.model_type = "t5", .stem = "T5", .prefix = "", .keys = &t5_keys,
		.def = { .vocab = 32128, .hidden = 512, .layers = 6, .heads = 8, .head_dim = 64,
			 .ffn = 2048, .eps = 1e-6, .std = 1, .act = "relu", .drop_embed = 0.1,
			 .drop_hidden = 0.1, .drop_attn = 0.1, .tie = true, .pad = 0, .bos = -1,
			 .eos = 1 },
		.form = PT_BLOCK_PRE, .norm = PT_NORM_RMS, .position = PT_POS_BUCKETS,
		.ffn = PT_FFN_PLAIN, .config = t5_config, .std = t5_std,
		.hub = PT_HUB_AROUND, .part = encoder_plain, .head = t5_heads, .lora_targets = "q,v",
		.adalora_targets = "q,k,v,o,wi,wo",
		.ia3_targets = "k,v,wo", .ia3_feedforward = "wo",
		.ln_targets = "layer_norm,final_layer_norm",
		.idle = "decoder.block.#.layer.1.EncDecAttention.relative_attention_bias",
	},
	{
		.model_type = "mt5", .stem = "MT5", .prefix = "", .keys = &t5_keys,
		.def = { .vocab = 250112, .hidden = 512, .layers = 8, .heads = 6, .head_dim = 64,
			 .ffn = 1024, .eps = 1e-6, .std = 1, .act = "gelu_new", .drop_embed = 0.1,
			 .drop_hidden = 0.1, .drop_attn = 0.1, .tie = true, .pad = 0, .bos = -1,
			 .eos = 1 },
		.form = PT_BLOCK_PRE, .norm = PT_NORM_RMS, .position = PT_POS_BUCKETS,
		.ffn = PT_FFN_GATED, .config = mt5_config, .std = t5_std,
		.hub = PT_HUB_AROUND, .part = encoder_gated, .head = t5_heads, .lora_targets = "q,v",
		.adalora_targets = "q,k,v,o,wi_0,wi_1,wo",
		.ia3_targets = "k,v,wi_1", .ia3_feedforward = "",
		.ln_targets = "layer_norm,final_layer_norm",
		.idle = "decoder.block.#.layer.1.EncDecAttention.relative_attention_bias",
	},
	{ 0 }
};
