/* SPDX-License-Identifier: MIT */
/*
 * family_gemma.c - Gemma 1, 2 and 3: norms of 1 + w, embeddings scaled by the
 * root of their width; from 2 on norms on both sides of a sub-block, soft
 * caps, layers that slide; in 3 a rotation of its own for those.
 */
#include <math.h>

#include "model/config.h"
#include "model/family_kin.h"

static const struct pt_keys gemma_keys = {
	LLAMA_KEYS, .act = "hidden_act", ATTENTION_BIAS,
};

static const struct pt_keys gemma2_keys = {
	LLAMA_KEYS, .act = "hidden_activation", ATTENTION_BIAS,
};

static const struct pt_keys gemma3_keys = {
	LLAMA_KEYS, .act = "hidden_activation", ATTENTION_BIAS,
	.theta_local = "rope_local_base_freq",
};

static const struct pt_part gemma_parts[] = {
	LLAMA_PARTS
};

static const struct pt_part gemma2_parts[] = {
	LLAMA_EMBED,
	LLAMA_PROJECTIONS,
	LLAMA_HEAD_NORMS,
	LLAMA_ATTENTION,
	LLAMA_MLP,
	LLAMA_MLP_OUT,
	{ PT_ROLE_ATTN_NORM, "layers.#.input_layernorm" },
	{ PT_ROLE_ATTN_POST_NORM, "layers.#.post_attention_layernorm" },
	{ PT_ROLE_FFN_NORM, "layers.#.pre_feedforward_layernorm" },
	{ PT_ROLE_FFN_POST_NORM, "layers.#.post_feedforward_layernorm" },
	{ PT_ROLE_FINAL_NORM, "norm" },
	{ 0, NULL }
};

static const struct pt_head gemma_heads[] = {
	HEAD_LM,
	HEAD_SCORE,
	HEAD_TOKENS("score"),
	{ 0 }
};

static const struct pt_head gemma3_heads[] = {
	{ .task = PT_TASK_CAUSAL_LM, .class_name = "Gemma3ForCausalLM", .out = "lm_head" },
	HEAD_SCORE,
	{ .task = PT_TASK_CONTRASTIVE, .pool = PT_POOL_MEAN },
	{ 0 }
};

static int read_both(const cJSON *json, bool *both, struct pt_error *err)
{
	return pt_json_bool(json, "use_bidirectional_attention", false, both, err);
}

static int refuse_both(const cJSON *json, struct pt_error *err)
{
	bool both;
	int st = read_both(json, &both, err);

	if (st == 0 && both)
		st = pt_error(err, PT_DATA, "use_bidirectional_attention is supported with gemma3_text only");
	return st;
}

static void scale_embeddings(struct pt_config *c)
{
	c->embed_scale = (float)sqrt((double)c->hidden);
}

static int gemma_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	scale_embeddings(c);
	/* "gelu" in the first files means its approximation. */
	if (c->act == PT_ACT_GELU)
		c->act = PT_ACT_GELU_TANH;
	return refuse_both(json, err);
}

static int cap(const cJSON *json, const char *key, double def, float *out, struct pt_error *err)
{
	double v = 0;

	if (!cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json, key)) && pt_json_double(json, key, def, &v, err))
		return err->status;
	/* None is null: of 0, transformers makes NaN. */
	if (!(v >= 0 && v < 1e6) || (v == 0 && pt_json_get(json, key)))
		return pt_error(err, PT_DATA, "%s %g is out of range", key, v);
	*out = (float)v;
	return 0;
}

/* final: the cap of logits where the key is missing. */
static int gemma23_config(struct pt_config *c, const cJSON *json, double final, struct pt_error *err)
{
	double scalar;
	int st;

	scale_embeddings(c);
	if ((st = cap(json, "final_logit_softcapping", final, &c->final_softcap, err)) ||
	    (st = pt_json_double(json, "query_pre_attn_scalar", 256, &scalar, err)))
		return st;
	if (!(scalar > 0 && scalar < 1e9))
		return pt_error(err, PT_DATA, "query_pre_attn_scalar %g is out of range", scalar);
	for (int i = 0; i < c->stack[0].layers; i++)
		c->stack[0].layer[i].scale = (float)(1 / sqrt(scalar));
	return 0;
}

static int gemma2_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	pt_config_lacks(c, PT_ROLE_Q_NORM);
	pt_config_lacks(c, PT_ROLE_K_NORM);
	if (refuse_both(json, err))
		return err->status;
	if (cap(json, "attn_logit_softcapping", 50, &c->attn_softcap, err))
		return err->status;
	return gemma23_config(c, json, 30, err);
}

static int gemma3_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	struct pt_stack_config *s = &c->stack[0];
	bool both;
	int st;

	/* attn_logit_softcapping is a key that transformers never reads. */
	if ((st = gemma23_config(c, json, 0, err)) || (st = read_both(json, &both, err)))
		return st;
	for (int i = 0; i < s->layers; i++)
		s->layer[i].rope = s->layer[i].slides;
	if (!both)
		return 0;
	/* Each way half of the window. */
	s->causal = false;
	if (c->window)
		c->window = c->window / 2 + 1;
	return 0;
}

const struct pt_family pt_families_gemma[] = {
	{
		.model_type = "gemma", .stem = "Gemma", .prefix = "model", .keys = &gemma_keys,
		.def = { .vocab = 256000, .hidden = 3072, .layers = 28, .heads = 16, .kv_heads = 16,
			 .head_dim = 256, .ffn = 24576, .positions = 8192, .eps = 1e-6,
			 .act = "gelu_pytorch_tanh", .tie = true, .pad = 0, .bos = 2, .eos = 1 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS1P,
		.config = gemma_config, .hub = PT_HUB_HOOKED, .part = gemma_parts, .head = gemma_heads,
		.lora_targets = "q_proj,v_proj",
		.adalora_targets = "q_proj,v_proj",
		.ia3_targets = "q_proj,v_proj,down_proj", .ia3_feedforward = "down_proj",
		.ln_targets = "input_layernorm,post_attention_layernorm,norm",
	},
	{
		.model_type = "gemma2", .stem = "Gemma2", .prefix = "model", .keys = &gemma2_keys,
		.def = { .vocab = 256000, .hidden = 2304, .layers = 26, .heads = 8, .kv_heads = 4,
			 .head_dim = 256, .ffn = 9216, .positions = 8192, .window = 4096,
			 .pattern = 2, .eps = 1e-6, .act = "gelu_pytorch_tanh", .tie = true,
			 .pad = 0, .bos = 2, .eos = 1 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS1P,
		.window = PT_WINDOW_PATTERN, .config = gemma2_config,
		.hub = PT_HUB_HOOKED, .part = gemma2_parts, .head = gemma_heads, .lora_targets = "q_proj,v_proj",
		.adalora_targets = "q_proj,v_proj",
		.ia3_targets = "q_proj,v_proj,down_proj", .ia3_feedforward = "down_proj",
		.ln_targets = "input_layernorm,post_attention_layernorm,pre_feedforward_layernorm,post_feedforward_layernorm,norm",
	},
	/* Gemma 3's 270M and 1B, EmbeddingGemma */
	{
		.model_type = "gemma3_text", .stem = "Gemma3Text", .prefix = "model",
		.keys = &gemma3_keys,
		.def = { .vocab = 262208, .hidden = 2304, .layers = 26, .heads = 8, .kv_heads = 4,
			 .head_dim = 256, .ffn = 9216, .positions = 131072, .window = 4096,
			 .pattern = 6, .eps = 1e-6, .theta = 1e6, .act = "gelu_pytorch_tanh",
			 .tie = true, .pad = 0, .bos = 2, .eos = 1 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS1P,
		.window = PT_WINDOW_PATTERN, .config = gemma3_config,
		.hub = PT_HUB_HOOKED, .part = gemma2_parts, .head = gemma3_heads, .lora_targets = "q_proj,v_proj",
		.adalora_targets = "q_proj,v_proj",
		.ia3_targets = "q_proj,v_proj,down_proj", .ia3_feedforward = "down_proj",
		.ln_targets = "input_layernorm,post_attention_layernorm,pre_feedforward_layernorm,post_feedforward_layernorm,norm",
	},
	{ 0 }
};
