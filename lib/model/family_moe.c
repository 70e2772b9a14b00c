/* SPDX-License-Identifier: MIT */
/*
 * family_moe.c - decoders whose feed-forwards are mixtures of experts, under
 * the names of their files; transformers 5 keeps the experts of a layer in
 * two parameters of three dimensions.
 */
#include "model/config.h"
#include "model/family_kin.h"

#define MAX_FFN (1 << 24)

static const struct pt_keys mixtral_keys = {
	LLAMA_KEYS, .act = "hidden_act",
};

static const struct pt_keys qwen2_keys = {
	LLAMA_KEYS, .act = "hidden_act", .bias_qkv = "qkv_bias",
};

static const struct pt_keys qwen3_keys = {
	LLAMA_KEYS, .act = "hidden_act", ATTENTION_BIAS,
};

/* Of the newer classes. */
#define EXPERT_PARAMETERS \
	{ PT_ROLE_ROUTER_PARAM, "layers.#.mlp.gate:weight" }, \
	{ PT_ROLE_EXPERTS_IN, "layers.#.mlp.experts:gate_up_proj" }, \
	{ PT_ROLE_EXPERTS_OUT, "layers.#.mlp.experts:down_proj" }

#define QWEN_EXPERTS \
	{ PT_ROLE_ROUTER, "layers.#.mlp.gate" }, \
	{ PT_ROLE_EXPERT_GATE, "layers.#.mlp.experts.@.gate_proj" }, \
	{ PT_ROLE_EXPERT_UP, "layers.#.mlp.experts.@.up_proj" }, \
	{ PT_ROLE_EXPERT_DOWN, "layers.#.mlp.experts.@.down_proj" }

static const struct pt_part mixtral_parts[] = {
	LLAMA_EMBED,
	LLAMA_PROJECTIONS,
	LLAMA_ATTENTION,
	{ PT_ROLE_ROUTER, "layers.#.block_sparse_moe.gate" },
	{ PT_ROLE_EXPERT_GATE, "layers.#.block_sparse_moe.experts.@.w1" },
	{ PT_ROLE_EXPERT_DOWN, "layers.#.block_sparse_moe.experts.@.w2" },
	{ PT_ROLE_EXPERT_UP, "layers.#.block_sparse_moe.experts.@.w3" },
	{ PT_ROLE_FFN_OUT, "layers.#.block_sparse_moe" },
	EXPERT_PARAMETERS,
	LLAMA_NORMS,
	{ 0, NULL }
};

static const struct pt_part qwen2_parts[] = {
	LLAMA_EMBED,
	LLAMA_PROJECTIONS,
	LLAMA_ATTENTION,
	LLAMA_MLP,
	QWEN_EXPERTS,
	{ PT_ROLE_SHARED_GATE, "layers.#.mlp.shared_expert.gate_proj" },
	{ PT_ROLE_SHARED_UP, "layers.#.mlp.shared_expert.up_proj" },
	{ PT_ROLE_SHARED_DOWN, "layers.#.mlp.shared_expert.down_proj" },
	{ PT_ROLE_SHARED_MIX, "layers.#.mlp.shared_expert_gate" },
	LLAMA_MLP_OUT,
	EXPERT_PARAMETERS,
	LLAMA_NORMS,
	{ 0, NULL }
};

static const struct pt_part qwen3_parts[] = {
	LLAMA_EMBED,
	LLAMA_PROJECTIONS,
	LLAMA_HEAD_NORMS,
	LLAMA_ATTENTION,
	LLAMA_MLP,
	QWEN_EXPERTS,
	LLAMA_MLP_OUT,
	EXPERT_PARAMETERS,
	LLAMA_NORMS,
	{ 0, NULL }
};

#define HEAD_LM_ROUTED { .task = PT_TASK_CAUSAL_LM, .out = "lm_head", .router_loss = true }

static const struct pt_head heads[] = {
	HEAD_LM_ROUTED,
	HEAD_SCORE,
	HEAD_TOKENS("score"),
	HEAD_ANSWERS,
	{ 0 }
};

static const struct pt_head qwen3_heads[] = {
	HEAD_LM_ROUTED,
	HEAD_SCORE,
	HEAD_TOKENS("score"),
	HEAD_ANSWERS_ON("transformer"),
	{ 0 }
};

/* What missing keys mean; other_key: a second name for the number of experts. */
struct mixture {
	const char *key, *other_key, *width;
	int64_t experts, choices, ffn;
};

static int read_numbers(struct pt_config *c, const cJSON *json, const struct mixture *m, struct pt_error *err)
{
	int64_t experts = m->experts, choices;
	double scale;

	if (pt_json_int(json, m->other_key, 1, PT_EXPERTS_MAX, experts, &experts, err) ||
	    pt_json_int(json, m->key, 1, PT_EXPERTS_MAX, experts, &experts, err) ||
	    pt_json_int(json, "num_experts_per_tok", 1, PT_EXPERTS_MAX, m->choices, &choices, err) ||
	    pt_json_bool(json, "output_router_logits", false, &c->router_loss_on, err) ||
	    pt_json_double(json, "router_aux_loss_coef", 0.001, &scale, err))
		return err->status;
	if (choices > experts)
		return pt_error(err, PT_DATA, "num_experts_per_tok %lld is more than %s %lld", (long long)choices, m->key,
				(long long)experts);
	if (!(scale >= 0 && scale <= 1e6))
		return pt_error(err, PT_DATA, "router_aux_loss_coef %g is out of range", scale);
	c->experts = (int)experts;
	c->expert_choices = (int)choices;
	c->expert_ffn = c->ffn;
	c->router_loss = scale;
	return m->width ? pt_json_int(json, m->width, 1, MAX_FFN, m->ffn, &c->expert_ffn, err) : 0;
}

static int mixtral_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	static const struct mixture m = { .key = "num_local_experts", .other_key = "num_experts", .experts = 8,
					  .choices = 2 };
	double noise;

	if (read_numbers(c, json, &m, err) || pt_json_double(json, "router_jitter_noise", 0, &noise, err))
		return err->status;
	if (noise != 0)
		return pt_error(err, PT_DATA, "router_jitter_noise %g is not supported (0 is)", noise);
	c->expert_renorm = true;
	for (int i = 0; i < c->stack[0].layers; i++)
		c->stack[0].layer[i].sparse = true;
	return 0;
}

/* Every decoder_sparse_step-th layer, but for those of mlp_only_layers. */
static int sparse_layers(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	const cJSON *list = pt_json_get(json, "mlp_only_layers"), *v;
	struct pt_stack_config *s = &c->stack[0];
	int64_t step;

	if (pt_json_int(json, "decoder_sparse_step", 1, INT32_MAX, 1, &step, err))
		return err->status;
	for (int i = 0; i < s->layers; i++)
		s->layer[i].sparse = (i + 1) % step == 0;
	if (list && !cJSON_IsArray(list))
		return pt_error(err, PT_DATA, "mlp_only_layers is not a list");
	cJSON_ArrayForEach(v, list) {
		int64_t n;

		if (pt_json_to_int(v, 0, INT32_MAX, &n, err))
			return pt_error_prefix(err, "mlp_only_layers");
		if (n < s->layers)
			s->layer[n].sparse = false;
	}
	return 0;
}

static int qwen_config(struct pt_config *c, const cJSON *json, const struct mixture *m, struct pt_error *err)
{
	int st = read_numbers(c, json, m, err);

	if (!st)
		st = sparse_layers(c, json, err);
	return st ? st : pt_json_bool(json, "norm_topk_prob", false, &c->expert_renorm, err);
}

/* Every second layer below max_window_layers slides, beginning with the first, unless layer_types says which. */
static int qwen2_slides(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	int64_t below;

	if (pt_json_int(json, "max_window_layers", 0, INT32_MAX, 28, &below, err) || pt_json_get(json, "layer_types"))
		return err->status;
	for (int i = 0; i < c->stack[0].layers; i++)
		c->stack[0].layer[i].slides = i % 2 == 0 && i < below;
	return 0;
}

static int qwen2_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	static const struct mixture m = { .key = "num_experts", .other_key = "num_local_experts",
					  .width = "moe_intermediate_size", .experts = 60, .choices = 4, .ffn = 1408 };
	int st = qwen_config(c, json, &m, err);

	if (!st)
		st = pt_json_int(json, "shared_expert_intermediate_size", 1, MAX_FFN, 5632, &c->shared_ffn, err);
	return st ? st : qwen2_slides(c, json, err);
}

static int qwen3_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	static const struct mixture m = { .key = "num_experts", .other_key = "num_local_experts",
					  .width = "moe_intermediate_size", .experts = 128, .choices = 8, .ffn = 768 };

	for (int i = 0; i < c->stack[0].layers; i++)
		c->stack[0].layer[i].slides = true;
	return qwen_config(c, json, &m, err);
}

const struct pt_family pt_families_moe[] = {
	/* Mixtral 8x7B, 8x22B */
	{
		.model_type = "mixtral", .stem = "Mixtral", .prefix = "model", .keys = &mixtral_keys,
		.def = { .vocab = 32000, .hidden = 4096, .layers = 32, .heads = 32, .kv_heads = 8,
			 .ffn = 14336, .positions = 131072, .eps = 1e-5, .theta = 1e6, .act = "silu",
			 .pad = -1, .bos = 1, .eos = 2 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS, .window = PT_WINDOW_ALL, .linear_experts = true,
		.config = mixtral_config,
		.hub = PT_HUB_HOOKED, .part = mixtral_parts, .head = heads,
		.lora_targets = "q_proj,v_proj",
		.ln_targets = "input_layernorm,post_attention_layernorm,norm",
	},
	/* Qwen1.5-MoE, Qwen2-57B-A14B */
	{
		.model_type = "qwen2_moe", .stem = "Qwen2Moe", .prefix = "model", .keys = &qwen2_keys,
		.def = { .vocab = 151936, .hidden = 2048, .layers = 24, .heads = 16, .kv_heads = 16,
			 .ffn = 5632, .positions = 32768, .window = 4096, .eps = 1e-6, .act = "silu",
			 .pad = -1, .bos = -1, .eos = -1 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS, .bias_qkv = true,
		.window = PT_WINDOW_OWN, .config = qwen2_config,
		.hub = PT_HUB_HOOKED, .part = qwen2_parts, .head = heads,
		.ln_targets = "input_layernorm,post_attention_layernorm,norm",
	},
	/* Qwen3-30B-A3B, Qwen3-235B-A22B */
	{
		.model_type = "qwen3_moe", .stem = "Qwen3Moe", .prefix = "model", .keys = &qwen3_keys,
		.def = { .vocab = 151936, .hidden = 2048, .layers = 24, .heads = 32, .kv_heads = 4,
			 .ffn = 6144, .positions = 32768, .window = 4096, .eps = 1e-6, .act = "silu",
			 .pad = -1, .bos = -1, .eos = -1 },
		LLAMA_SHAPE, .norm = PT_NORM_RMS, .window = PT_WINDOW_OWN, .config = qwen3_config,
		.hub = PT_HUB_HOOKED, .part = qwen3_parts, .head = qwen3_heads,
		.ln_targets = "input_layernorm,post_attention_layernorm,norm",
	},
	{ 0 }
};
