/* SPDX-License-Identifier: MIT */
/*
 * family_llama.c - Llama and its relatives: pre-norm decoders with rotary
 * positions and gated feed-forwards, under Llama's names.
 */
#include "model/config.h"
#include "model/family_kin.h"

static const struct pt_keys llama_keys = {
	LLAMA_KEYS, .act = "hidden_act",
	ATTENTION_BIAS, .bias_ffn = "mlp_bias",
};

static const struct pt_keys qwen3_keys = {
	LLAMA_KEYS, .act = "hidden_act", ATTENTION_BIAS,
};

/* Llama's without biases: Mistral and Qwen2 have no such keys. */
static const struct pt_keys mistral_keys = {
	LLAMA_KEYS, .act = "hidden_act",
};

/* Phi-3 has dropouts behind the sub-blocks; that of the embeddings is a key that transformers never reads. */
static const struct pt_keys phi3_keys = {
	LLAMA_KEYS, .act = "hidden_act", .drop_hidden = "resid_pdrop",
};

static const struct pt_part llama_parts[] = {
	LLAMA_PARTS
};

/* With a norm of every head of queries and keys. */
static const struct pt_part qwen3_parts[] = {
	LLAMA_EMBED,
	LLAMA_PROJECTIONS,
	LLAMA_HEAD_NORMS,
	LLAMA_ATTENTION,
	LLAMA_MLP,
	LLAMA_MLP_OUT,
	LLAMA_NORMS,
	{ 0, NULL }
};

/* Norms behind the sub-blocks alone. */
static const struct pt_part olmo2_parts[] = {
	LLAMA_EMBED,
	LLAMA_PROJECTIONS,
	LLAMA_HEAD_NORMS,
	LLAMA_ATTENTION,
	LLAMA_MLP,
	LLAMA_MLP_OUT,
	{ PT_ROLE_ATTN_POST_NORM, "layers.#.post_attention_layernorm" },
	{ PT_ROLE_FFN_POST_NORM, "layers.#.post_feedforward_layernorm" },
	{ PT_ROLE_FINAL_NORM, "norm" },
	{ 0, NULL }
};

static const struct pt_part phi3_parts[] = {
	LLAMA_EMBED,
	{ PT_ROLE_O, "layers.#.self_attn.o_proj" },
	{ PT_ROLE_QKV, "layers.#.self_attn.qkv_proj" },
	LLAMA_ATTENTION,
	{ PT_ROLE_GATE_UP, "layers.#.mlp.gate_up_proj" },
	{ PT_ROLE_DOWN, "layers.#.mlp.down_proj" },
	LLAMA_MLP_OUT,
	LLAMA_NORMS,
	{ 0, NULL }
};

static const struct pt_head llama_heads[] = {
	HEAD_LM,
	HEAD_SCORE,
	HEAD_TOKENS("score"),
	HEAD_ANSWERS_ON("transformer"),
	{ 0 }
};

static const struct pt_head mistral_heads[] = {
	HEAD_LM,
	HEAD_SCORE,
	HEAD_TOKENS("score"),
	HEAD_ANSWERS,
	{ 0 }
};

/* No class answers questions. */
static const struct pt_head phi3_heads[] = {
	HEAD_LM,
	HEAD_SCORE,
	HEAD_TOKENS("score"),
	{ 0 }
};

static const struct pt_head olmo2_heads[] = {
	HEAD_LM,
	HEAD_SCORE,
	{ 0 }
};

static const struct pt_head granite_heads[] = {
	HEAD_LM,
	{ 0 }
};

/* Which layers have no positions; those are the ones that may slide. */
static int smollm3_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	const cJSON *list = pt_json_get(json, "no_rope_layers");
	struct pt_stack_config *s = &c->stack[0];
	int64_t every;
	int st = pt_json_int(json, "no_rope_layer_interval", 1, INT32_MAX, 4, &every, err);

	if (st)
		return st;
	if (list && cJSON_GetArraySize(list) < s->layers)
		return pt_error(err, PT_DATA, "no_rope_layers has fewer entries than the model has layers (%d)",
				s->layers);
	for (int i = 0; i < s->layers; i++) {
		int64_t on = (i + 1) % every != 0;

		if (list && (st = pt_json_to_int(cJSON_GetArrayItem(list, i), 0, 1, &on, err)))
			return pt_error_prefix(err, "no_rope_layers");
		s->layer[i].rope = on ? 0 : -1;
		if (!pt_json_get(json, "layer_types"))
			s->layer[i].slides = !on;
	}
	return 0;
}

/* A factor of Granite's; not 0. */
static int multiplier(const cJSON *json, const char *key, float *out, struct pt_error *err)
{
	double v;

	if (pt_json_double(json, key, 1, &v, err))
		return err->status;
	if (!(v > 1e-9 && v < 1e9))
		return pt_error(err, PT_DATA, "%s %g is out of range", key, v);
	*out = (float)v;
	return 0;
}

/* Llama with factors in four places. */
static int granite_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	float scale, divisor;

	if (multiplier(json, "embedding_multiplier", &c->input_scale, err) ||
	    multiplier(json, "residual_multiplier", &c->residual_scale, err) ||
	    multiplier(json, "attention_multiplier", &scale, err) || multiplier(json, "logits_scaling", &divisor, err))
		return err->status;
	c->logit_scale = 1 / divisor;
	for (int i = 0; i < c->stack[0].layers; i++)
		c->stack[0].layer[i].scale = scale;
	return 0;
}

static int olmo2_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	(void)json;
	(void)err;
	c->wide_head_norms = true;
	return 0;
}

const struct pt_family pt_families_llama[] = {
	/* Llama 1-3, TinyLlama, SmolLM2, Vicuna */
	{
		.model_type = "llama", .stem = "Llama", .prefix = "model", .keys = &llama_keys,
		.def = { .vocab = 32000, .hidden = 4096, .layers = 32, .heads = 32, .ffn = 11008,
			 .positions = 2048, .eps = 1e-6, .act = "silu", .pad = -1, .bos = 1,
			 .eos = 2 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS,
		.hub = PT_HUB_BLOCK, .part = llama_parts, .head = llama_heads,
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
		LLAMA_SHAPE, .norm = PT_NORM_RMS, .window = PT_WINDOW_ALL,
		.hub = PT_HUB_BLOCK, .part = llama_parts, .head = mistral_heads,
		.lora_targets = "q_proj,v_proj",
		.ia3_targets = "k_proj,v_proj,down_proj", .ia3_feedforward = "down_proj",
		.ln_targets = "input_layernorm,post_attention_layernorm,norm",
	},
	{
		.model_type = "qwen2", .stem = "Qwen2", .prefix = "model", .keys = &mistral_keys,
		.def = { .vocab = 151936, .hidden = 4096, .layers = 32, .heads = 32,
			 .kv_heads = 32, .ffn = 22016, .positions = 32768, .window = 4096,
			 .eps = 1e-6, .act = "silu", .pad = -1, .bos = -1, .eos = -1 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS, .bias_qkv = true,
		.window = PT_WINDOW_FROM,
		.hub = PT_HUB_HOOKED, .part = llama_parts, .head = llama_heads,
		.lora_targets = "q_proj,v_proj", .adalora_targets = "q_proj,v_proj",
		.ia3_targets = "q_proj,v_proj,down_proj", .ia3_feedforward = "down_proj",
		.ln_targets = "post_attention_layernorm",
	},
	{
		.model_type = "qwen3", .stem = "Qwen3", .prefix = "model", .keys = &qwen3_keys,
		.def = { .vocab = 151936, .hidden = 4096, .layers = 32, .heads = 32,
			 .kv_heads = 32, .head_dim = 128, .ffn = 22016, .positions = 32768,
			 .window = 4096, .eps = 1e-6, .act = "silu", .pad = -1, .bos = -1,
			 .eos = -1 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS, .window = PT_WINDOW_FROM,
		.hub = PT_HUB_HOOKED, .part = qwen3_parts, .head = llama_heads,
		.lora_targets = "q_proj,v_proj",
		.adalora_targets = "q_proj,v_proj",
		.ia3_targets = "q_proj,v_proj,down_proj", .ia3_feedforward = "down_proj",
		.ln_targets = "post_attention_layernorm",
	},
	{
		.model_type = "smollm3", .stem = "SmolLM3", .prefix = "model", .keys = &llama_keys,
		.def = { .vocab = 128256, .hidden = 2048, .layers = 36, .heads = 16, .kv_heads = 4,
			 .ffn = 11008, .positions = 32768, .eps = 1e-6, .theta = 2e6,
			 .act = "silu", .tie = true, .pad = 128004, .bos = 128000, .eos = 128001 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS, .window = PT_WINDOW_OWN,
		.config = smollm3_config, .hub = PT_HUB_HOOKED, .part = llama_parts,
		.head = llama_heads, .lora_targets = "q_proj,v_proj",
		.ln_targets = "input_layernorm,post_attention_layernorm,norm",
	},
	/* Phi-3, Phi-3.5, Phi-4 */
	{
		.model_type = "phi3", .stem = "Phi3", .prefix = "model", .keys = &phi3_keys,
		.def = { .vocab = 32064, .hidden = 3072, .layers = 32, .heads = 32, .ffn = 8192,
			 .positions = 4096, .original = 4096, .eps = 1e-5, .partial = 1,
			 .act = "silu", .pad = 32000, .bos = 1, .eos = 32000 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS, .qkv = PT_QKV_ROWS,
		.window = PT_WINDOW_ALL, .long_restart = true, .hub = PT_HUB_HOOKED, .part = phi3_parts,
		.head = phi3_heads, .lora_targets = "qkv_proj",
		.ln_targets = "input_layernorm,post_attention_layernorm,norm",
	},
	/* Granite 3 */
	{
		.model_type = "granite", .stem = "Granite", .prefix = "model", .keys = &llama_keys,
		.def = { .vocab = 32000, .hidden = 4096, .layers = 32, .heads = 32, .ffn = 11008,
			 .positions = 2048, .eps = 1e-6, .act = "silu", .pad = -1, .bos = 1, .eos = 2 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS, .config = granite_config, .hub = PT_HUB_HOOKED,
		.part = llama_parts, .head = granite_heads, .lora_targets = "q_proj,v_proj",
		.ln_targets = "input_layernorm,post_attention_layernorm,norm",
	},
	{
		.model_type = "olmo2", .stem = "Olmo2", .prefix = "model", .keys = &qwen3_keys,
		.def = { .vocab = 50304, .hidden = 4096, .layers = 32, .heads = 32, .ffn = 11008,
			 .positions = 2048, .eps = 1e-5, .act = "silu", .pad = 1, .bos = -1, .eos = 50279 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS, .config = olmo2_config, .hub = PT_HUB_HOOKED,
		.part = olmo2_parts, .head = olmo2_heads, .lora_targets = "q_proj,v_proj",
		.ln_targets = "post_attention_layernorm,post_feedforward_layernorm,norm",
	},
	{ 0 }
};
