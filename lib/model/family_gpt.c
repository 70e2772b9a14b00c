/* SPDX-License-Identifier: MIT */
/*
 * family_gpt.c - the decoders before Llama: LayerNorms with biases, plain
 * feed-forwards, mostly one projection for queries, keys and values; blocks
 * in turn or parallel, positions learned, rotated or as slopes.
 */
#include <math.h>

#include "model/config.h"
#include "model/family_kin.h"

static const struct pt_keys gpt2_keys = {
	.hidden = "n_embd|hidden_size", .layers = "n_layer|num_hidden_layers", .heads = "n_head|num_attention_heads",
	.ffn = "n_inner", .positions = "n_positions|max_position_embeddings", .eps = "layer_norm_epsilon",
	.act = "activation_function", .std = "initializer_range", .drop_embed = "embd_pdrop",
	.drop_hidden = "resid_pdrop", .drop_attn = "attn_pdrop",
};

static const struct pt_keys neox_keys = {
	USUAL_KEYS, .ffn = "intermediate_size", .positions = "max_position_embeddings", .eps = "layer_norm_eps",
	.act = "hidden_act", .drop_embed = "hidden_dropout", .drop_hidden = "hidden_dropout",
	.drop_attn = "attention_dropout", ATTENTION_BIAS, .theta = "rotary_emb_base", .partial = "rotary_pct",
};

static const struct pt_keys opt_keys = {
	.hidden = "hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads",
	.ffn = "ffn_dim", .positions = "max_position_embeddings", .act = "activation_function",
	.std = "init_std", .drop_hidden = "dropout", .drop_attn = "attention_dropout",
	.bias_qkv = "enable_bias", .bias_o = "enable_bias", .bias_ffn = "enable_bias",
};

static const struct pt_keys bloom_keys = {
	.hidden = "n_embed|hidden_size", .layers = "n_layer|num_hidden_layers", .heads = "n_head|num_attention_heads",
	.eps = "layer_norm_epsilon", .std = "initializer_range", .drop_hidden = "hidden_dropout",
	.drop_attn = "attention_dropout", .drop_class = "classifier_dropout",
};

static const struct pt_keys falcon_keys = {
	.hidden = "n_embed|hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads",
	.ffn = "ffn_hidden_size", .positions = "max_position_embeddings", .eps = "layer_norm_epsilon",
	.act = "activation", .std = "initializer_range", .drop_hidden = "hidden_dropout",
	.drop_attn = "attention_dropout", .drop_class = "classifier_dropout",
	.bias_qkv = "bias", .bias_o = "bias", .bias_ffn = "bias",
};

static const struct pt_keys phi_keys = {
	USUAL_KEYS, .kv_heads = "num_key_value_heads", .ffn = "intermediate_size",
	.positions = "max_position_embeddings", .eps = "layer_norm_eps", .act = "hidden_act",
	.drop_embed = "embd_pdrop", .drop_hidden = "resid_pdrop", .drop_attn = "attention_dropout",
};

static const struct pt_part gpt2_parts[] = {
	{ PT_ROLE_EMBED, "wte" },
	{ PT_ROLE_INPUT, "wte" },
	{ PT_ROLE_POS, "wpe" },
	{ PT_ROLE_EMBEDDED, "" },
	{ PT_ROLE_ATTN_NORM, "h.#.ln_1" },
	{ PT_ROLE_QKV, "h.#.attn.c_attn" },
	{ PT_ROLE_O, "h.#.attn.c_proj" },
	{ PT_ROLE_KV, "h.#.attn" },
	{ PT_ROLE_ATTN_OUT, "h.#.attn" },
	{ PT_ROLE_FFN_NORM, "h.#.ln_2" },
	{ PT_ROLE_UP, "h.#.mlp.c_fc" },
	{ PT_ROLE_DOWN, "h.#.mlp.c_proj" },
	{ PT_ROLE_FFN_OUT, "h.#.mlp" },
	{ PT_ROLE_FINAL_NORM, "ln_f" },
	{ 0, NULL }
};

static const struct pt_part neox_parts[] = {
	{ PT_ROLE_EMBED, "embed_in" },
	{ PT_ROLE_INPUT, "embed_in" },
	{ PT_ROLE_EMBEDDED, "" },
	{ PT_ROLE_ATTN_NORM, "layers.#.input_layernorm" },
	{ PT_ROLE_FFN_NORM, "layers.#.post_attention_layernorm" },
	{ PT_ROLE_QKV, "layers.#.attention.query_key_value" },
	{ PT_ROLE_O, "layers.#.attention.dense" },
	{ PT_ROLE_KV, "layers.#.attention" },
	{ PT_ROLE_ATTN_OUT, "layers.#.attention" },
	{ PT_ROLE_UP, "layers.#.mlp.dense_h_to_4h" },
	{ PT_ROLE_DOWN, "layers.#.mlp.dense_4h_to_h" },
	{ PT_ROLE_FFN_OUT, "layers.#.mlp" },
	{ PT_ROLE_FINAL_NORM, "final_layer_norm" },
	{ 0, NULL }
};

static const struct pt_part opt_parts[] = {
	{ PT_ROLE_EMBED, "decoder.embed_tokens" },
	{ PT_ROLE_INPUT, "decoder.embed_tokens" },
	{ PT_ROLE_POS, "decoder.embed_positions" },
	{ PT_ROLE_PROJ_OUT, "decoder.project_out" },
	{ PT_ROLE_PROJ_IN, "decoder.project_in" },
	{ PT_ROLE_FINAL_NORM, "decoder.final_layer_norm" },
	{ PT_ROLE_K, "decoder.layers.#.self_attn.k_proj" },
	{ PT_ROLE_V, "decoder.layers.#.self_attn.v_proj" },
	{ PT_ROLE_Q, "decoder.layers.#.self_attn.q_proj" },
	{ PT_ROLE_O, "decoder.layers.#.self_attn.out_proj" },
	{ PT_ROLE_KV, "decoder.layers.#.self_attn" },
	{ PT_ROLE_ATTN_OUT, "decoder.layers.#.self_attn" },
	{ PT_ROLE_ATTN_NORM, "decoder.layers.#.self_attn_layer_norm" },
	{ PT_ROLE_UP, "decoder.layers.#.fc1" },
	{ PT_ROLE_DOWN, "decoder.layers.#.fc2" },
	{ PT_ROLE_FFN_OUT, "decoder.layers.#" },
	{ PT_ROLE_FFN_NORM, "decoder.layers.#.final_layer_norm" },
	{ 0, NULL }
};

/* Falcon has them, too. */
#define BLOOM_EMBED \
	{ PT_ROLE_EMBED, "word_embeddings" }, \
	{ PT_ROLE_INPUT, "word_embeddings" }, \
	{ PT_ROLE_EMBEDDED, "" }

#define BLOOM_ATTENTION \
	{ PT_ROLE_QKV, "h.#.self_attention.query_key_value" }, \
	{ PT_ROLE_O, "h.#.self_attention.dense" }, \
	{ PT_ROLE_KV, "h.#.self_attention" }, \
	{ PT_ROLE_ATTN_OUT, "h.#.self_attention" }

#define BLOOM_MLP \
	{ PT_ROLE_UP, "h.#.mlp.dense_h_to_4h" }, \
	{ PT_ROLE_DOWN, "h.#.mlp.dense_4h_to_h" }, \
	{ PT_ROLE_FFN_OUT, "h.#.mlp" }

static const struct pt_part bloom_parts[] = {
	BLOOM_EMBED,
	{ PT_ROLE_EMBED_NORM, "word_embeddings_layernorm" },
	{ PT_ROLE_ATTN_NORM, "h.#.input_layernorm" },
	BLOOM_ATTENTION,
	{ PT_ROLE_FFN_NORM, "h.#.post_attention_layernorm" },
	BLOOM_MLP,
	{ PT_ROLE_FINAL_NORM, "ln_f" },
	{ 0, NULL }
};

/* Of the 7B and of rw, whose blocks are not parallel and have the second norm. */
static const struct pt_part falcon_parts[] = {
	BLOOM_EMBED,
	BLOOM_ATTENTION,
	BLOOM_MLP,
	{ PT_ROLE_FFN_NORM, "h.#.post_attention_layernorm" },
	{ PT_ROLE_ATTN_NORM, "h.#.input_layernorm" },
	{ PT_ROLE_FINAL_NORM, "ln_f" },
	{ 0, NULL }
};

/* Of the 40B and 180B: two norms of the same sum. */
static const struct pt_part falcon_two_norms[] = {
	BLOOM_EMBED,
	BLOOM_ATTENTION,
	BLOOM_MLP,
	{ PT_ROLE_ATTN_NORM, "h.#.ln_attn" },
	{ PT_ROLE_FFN_NORM, "h.#.ln_mlp" },
	{ PT_ROLE_FINAL_NORM, "ln_f" },
	{ 0, NULL }
};

static const struct pt_part phi_parts[] = {
	{ PT_ROLE_EMBED, "embed_tokens" },
	{ PT_ROLE_INPUT, "embed_tokens" },
	{ PT_ROLE_EMBEDDED, "" },
	{ PT_ROLE_Q, "layers.#.self_attn.q_proj" },
	{ PT_ROLE_K, "layers.#.self_attn.k_proj" },
	{ PT_ROLE_V, "layers.#.self_attn.v_proj" },
	{ PT_ROLE_O, "layers.#.self_attn.dense" },
	{ PT_ROLE_Q_NORM, "layers.#.self_attn.q_layernorm" },
	{ PT_ROLE_K_NORM, "layers.#.self_attn.k_layernorm" },
	{ PT_ROLE_KV, "layers.#.self_attn" },
	{ PT_ROLE_ATTN_OUT, "layers.#.self_attn" },
	{ PT_ROLE_UP, "layers.#.mlp.fc1" },
	{ PT_ROLE_DOWN, "layers.#.mlp.fc2" },
	{ PT_ROLE_FFN_OUT, "layers.#.mlp" },
	{ PT_ROLE_ATTN_NORM, "layers.#.input_layernorm" },
	{ PT_ROLE_FINAL_NORM, "final_layernorm" },
	{ 0, NULL }
};

static const struct pt_head gpt2_heads[] = {
	{ .task = PT_TASK_CAUSAL_LM, .class_name = "GPT2LMHeadModel", .out = "lm_head" },
	HEAD_SCORE,
	HEAD_TOKENS("classifier"),
	HEAD_ANSWERS,
	{ 0 }
};

/* Files keep the name of older releases. */
static const struct pt_head neox_heads[] = {
	{ .task = PT_TASK_CAUSAL_LM, .out = "lm_head", .file = "embed_out" },
	HEAD_SCORE,
	HEAD_TOKENS("classifier"),
	HEAD_ANSWERS,
	{ 0 }
};

/* No class for tokens. */
static const struct pt_head opt_heads[] = {
	HEAD_LM,
	HEAD_SCORE,
	HEAD_ANSWERS,
	{ 0 }
};

/* BLOOM, Falcon: a token's classifier has the dropout of the blocks. */
static const struct pt_head bloom_heads[] = {
	HEAD_LM,
	HEAD_SCORE,
	{ .task = PT_TASK_TOKEN_CLS, .dropout = true, .out = "classifier", .out_bias = true },
	HEAD_ANSWERS,
	{ 0 }
};

static const struct pt_head phi_heads[] = {
	{ .task = PT_TASK_CAUSAL_LM, .out = "lm_head", .out_bias = true },
	HEAD_SCORE,
	HEAD_TOKENS("score"),
	{ 0 }
};

static int gpt2_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	struct pt_stack_config *s = &c->stack[0];
	bool cross, scaled, by_layer;
	int st;

	if ((st = pt_json_bool(json, "add_cross_attention", false, &cross, err)) ||
	    (st = pt_json_bool(json, "scale_attn_weights", true, &scaled, err)) ||
	    (st = pt_json_bool(json, "scale_attn_by_inverse_layer_idx", false, &by_layer, err)))
		return st;
	if (cross)
		return pt_error(err, PT_DATA, "add_cross_attention is not supported for model type gpt2");
	for (int i = 0; i < s->layers; i++) {
		if (!scaled)
			s->layer[i].scale = 1;
		if (by_layer)
			s->layer[i].scale /= (float)(i + 1);
	}
	return 0;
}

/* What writes to the sum is smaller, by the root of how many there are. */
static double gpt2_std(const struct pt_config *c, enum pt_task task, enum pt_role role)
{
	(void)task;
	return role == PT_ROLE_O || role == PT_ROLE_DOWN ? c->init_std / sqrt(2.0 * c->stack[0].layers) : c->init_std;
}

static int neox_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	bool parallel;
	int st = pt_json_bool(json, "use_parallel_residual", true, &parallel, err);

	if (st == 0 && !parallel)
		c->form = PT_BLOCK_PRE;
	return st;
}

static int opt_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	bool before, no_last;
	double layerdrop;
	int st;

	if ((st = pt_json_bool(json, "do_layer_norm_before", true, &before, err)) ||
	    (st = pt_json_bool(json, "_remove_final_layer_norm", false, &no_last, err)) ||
	    (st = pt_json_bool(json, "layer_norm_elementwise_affine", true, &c->norm_weight, err)) ||
	    (st = pt_json_double(json, "layerdrop", 0, &layerdrop, err)) ||
	    (st = pt_json_int(json, "word_embed_proj_dim", 1, 1 << 24, c->hidden, &c->embed_width, err)))
		return st;
	if (layerdrop != 0)
		return pt_error(err, PT_DATA, "layerdrop %g is not supported (0 is)", layerdrop);
	if (!before)
		c->form = PT_BLOCK_POST;
	if (!before || no_last)
		pt_config_lacks(c, PT_ROLE_FINAL_NORM);
	if (c->embed_width == c->hidden) {
		pt_config_lacks(c, PT_ROLE_PROJ_IN);
		pt_config_lacks(c, PT_ROLE_PROJ_OUT);
	}
	c->norm_bias = c->norm_weight;
	c->pos_offset = 2;
	return 0;
}

static int bloom_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	return pt_json_bool(json, "apply_residual_connection_post_layernorm", false, &c->normed_residual, err);
}

/* Slopes in place of rotation, rounded as the first files were trained. */
static void falcon_slopes(struct pt_config *c)
{
	c->position = PT_POS_SLOPES;
	c->key_slopes = true;
	for (int i = 0; i < c->stack[0].layers; i++)
		c->stack[0].layer[i].rope = -1;
}

static int falcon_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	bool grouped, one, parallel, alibi;
	int64_t groups, norms;
	int st;

	if ((st = pt_json_bool(json, "new_decoder_architecture", false, &grouped, err)) ||
	    (st = pt_json_bool(json, "multi_query", true, &one, err)) ||
	    (st = pt_json_bool(json, "parallel_attn", true, &parallel, err)) ||
	    (st = pt_json_bool(json, "alibi", false, &alibi, err)) ||
	    (st = pt_json_int(json, "num_kv_heads", 1, 1 << 24, c->heads, &groups, err)) ||
	    (st = pt_json_int(json, "num_ln_in_parallel_attn", 1, 2, grouped ? 2 : 1, &norms, err)))
		return st;
	/* The first that applies: num_kv_heads counts in the newest layout only. */
	c->kv_heads = grouped ? (int)groups : one ? 1 : c->heads;
	if (c->heads % c->kv_heads)
		return pt_error(err, PT_DATA, "num_attention_heads %d is not a multiple of num_kv_heads %d", c->heads,
				c->kv_heads);
	if (grouped && norms == 2)
		c->stack[0].part = falcon_two_norms;
	else if (grouped || parallel)
		pt_config_lacks(c, PT_ROLE_FFN_NORM);
	if (grouped || parallel) {
		/* One dropout of both outputs. */
		c->drop_sum = c->drop_ffn_out;
		c->drop_attn_out = c->drop_ffn_out = 0;
	} else {
		c->form = PT_BLOCK_PRE;
		c->drop_attn_out = c->drop_attn;	/* transformers takes this one for both */
	}
	if (alibi)
		falcon_slopes(c);
	else
		c->drop_attn = 0;	/* transformers has it with slopes only */
	return 0;
}

static int phi_config(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	bool norms;
	int st = pt_json_bool(json, "qk_layernorm", false, &norms, err);

	if (st == 0 && !norms) {
		pt_config_lacks(c, PT_ROLE_Q_NORM);
		pt_config_lacks(c, PT_ROLE_K_NORM);
	}
	return st;
}

const struct pt_family pt_families_gpt[] = {
	{
		.model_type = "gpt2", .stem = "GPT2", .prefix = "transformer", .keys = &gpt2_keys,
		.def = { .vocab = 50257, .hidden = 768, .layers = 12, .heads = 12, .positions = 1024,
			 .eps = 1e-5, .act = "gelu_new", .drop_embed = 0.1, .drop_hidden = 0.1,
			 .drop_attn = 0.1, .tie = true, .pad = -1, .bos = 50256, .eos = 50256 },
		.causal = true, .form = PT_BLOCK_PRE, .norm = PT_NORM_LAYER,
		.position = PT_POS_LEARNED, .ffn = PT_FFN_PLAIN, .qkv = PT_QKV_ROWS,
		.bias_qkv = true, .bias_o = true, .bias_ffn = true, .transposed = true,
		.config = gpt2_config, .std = gpt2_std, .hub = PT_HUB_BLOCK, .part = gpt2_parts, .head = gpt2_heads,
		.lora_targets = "c_attn",
		.adalora_targets = "c_attn",
		.ia3_targets = "c_attn,mlp.c_proj", .ia3_feedforward = "mlp.c_proj",
		.ln_targets = "ln_1,ln_2,ln_f",
		.idle = "h.#.attn.bias,h.#.attn.masked_bias,multiple_choice_head",
	},
	/* GPT-NeoX, Pythia */
	{
		.model_type = "gpt_neox", .stem = "GPTNeoX", .prefix = "gpt_neox", .keys = &neox_keys,
		.def = { .vocab = 50432, .hidden = 6144, .layers = 44, .heads = 64, .ffn = 24576,
			 .positions = 2048, .eps = 1e-5, .partial = 0.25, .act = "gelu", .pad = -1,
			 .bos = 0, .eos = 2 },
		.causal = true, .form = PT_BLOCK_PARALLEL, .norm = PT_NORM_LAYER,
		.position = PT_POS_ROPE, .ffn = PT_FFN_PLAIN, .qkv = PT_QKV_GROUPS,
		.bias_qkv = true, .bias_o = true, .bias_ffn = true, .config = neox_config,
		.hub = PT_HUB_HOOKED,
		.part = neox_parts, .head = neox_heads, .idle = "layers.#.attention.bias,layers.#.attention.masked_bias",
		.lora_targets = "query_key_value",
		.adalora_targets = "query_key_value",
		.ia3_targets = "query_key_value,dense_4h_to_h", .ia3_feedforward = "dense_4h_to_h",
		.ln_targets = "input_layernorm,post_attention_layernorm,final_layer_norm",
	},
	{
		.model_type = "opt", .stem = "OPT", .prefix = "model", .keys = &opt_keys,
		.def = { .vocab = 50272, .hidden = 768, .layers = 12, .heads = 12, .ffn = 3072,
			 .positions = 2048, .eps = 1e-5, .act = "relu", .drop_hidden = 0.1,
			 .tie = true, .pad = 1, .bos = 2, .eos = 2 },
		.causal = true, .form = PT_BLOCK_PRE, .norm = PT_NORM_LAYER,
		.position = PT_POS_LEARNED, .ffn = PT_FFN_PLAIN, .pad_row = true,
		.bias_qkv = true, .bias_o = true, .bias_ffn = true,
		.config = opt_config, .hub = PT_HUB_HOOKED,
		.part = opt_parts, .head = opt_heads, .lora_targets = "q_proj,v_proj",
		.adalora_targets = "q_proj,k_proj,v_proj,out_proj,fc1,fc2",
		.ia3_targets = "q_proj,k_proj,fc2", .ia3_feedforward = "fc2",
		.ln_targets = "self_attn_layer_norm,final_layer_norm",
	},
	{
		.model_type = "bloom", .stem = "Bloom", .prefix = "transformer", .keys = &bloom_keys,
		.def = { .vocab = 250880, .hidden = 64, .layers = 2, .heads = 8, .eps = 1e-5,
			 .act = "gelu_new", .tie = true, .pad = -1, .bos = 1, .eos = 2 },
		.causal = true, .form = PT_BLOCK_PRE, .norm = PT_NORM_LAYER,
		.position = PT_POS_SLOPES, .ffn = PT_FFN_PLAIN, .qkv = PT_QKV_GROUPS,
		.bias_qkv = true, .bias_o = true, .bias_ffn = true,
		.config = bloom_config, .hub = PT_HUB_HOOKED, .part = bloom_parts, .head = bloom_heads,
		.lora_targets = "query_key_value",
		.adalora_targets = "query_key_value",
		.ia3_targets = "query_key_value,mlp.dense_4h_to_h", .ia3_feedforward = "mlp.dense_4h_to_h",
		.ln_targets = "input_layernorm,post_attention_layernorm,ln_f",
	},
	/* 7B and rw; 40B, 180B and 11B */
	{
		.model_type = "falcon", .stem = "Falcon", .prefix = "transformer", .keys = &falcon_keys,
		.def = { .vocab = 65024, .hidden = 4544, .layers = 32, .heads = 71, .positions = 2048,
			 .eps = 1e-5, .act = "gelu", .tie = true, .pad = -1, .bos = 11, .eos = 11 },
		.causal = true, .form = PT_BLOCK_PARALLEL, .norm = PT_NORM_LAYER,
		.position = PT_POS_ROPE, .ffn = PT_FFN_PLAIN, .qkv = PT_QKV_GROUPS,
		.config = falcon_config, .hub = PT_HUB_HOOKED, .part = falcon_parts, .head = bloom_heads,
		.lora_targets = "query_key_value",
		.ia3_targets = "query_key_value,dense_4h_to_h", .ia3_feedforward = "dense_4h_to_h",
		.ln_targets = "input_layernorm,post_attention_layernorm,ln_f",
	},
	/* Phi-1, 1.5 and 2 */
	{
		.model_type = "phi", .stem = "Phi", .prefix = "model", .keys = &phi_keys,
		.def = { .vocab = 51200, .hidden = 2048, .layers = 24, .heads = 32, .ffn = 8192,
			 .positions = 2048, .eps = 1e-5, .partial = 0.5, .act = "gelu_new", .pad = -1,
			 .bos = 1, .eos = 2 },
		.causal = true, .form = PT_BLOCK_PARALLEL, .norm = PT_NORM_LAYER,
		.position = PT_POS_ROPE, .ffn = PT_FFN_PLAIN,
		.bias_qkv = true, .bias_o = true, .bias_ffn = true, .pad_row = true,
		.config = phi_config, .hub = PT_HUB_HOOKED, .part = phi_parts, .head = phi_heads,
		.lora_targets = "q_proj,v_proj,fc1,fc2",
		.ia3_targets = "q_proj,v_proj,fc2", .ia3_feedforward = "fc2",
		.ln_targets = "input_layernorm,final_layernorm",
	},
	{ 0 }
};
