/* SPDX-License-Identifier: MIT */
/*
 * model_llama.c - golden values of decoders with the modules of Llama (golden_walk.h).
 */
#include "golden_walk.h"

static const char *const guarded[] = { "mistral", "llama-class", NULL };

static const struct walk_mutation mutations[] = {
	{ "llama2", "rms_norm_eps", "1e-6" },
	{ "llama2", "hidden_act", "\"gelu\"" },
	{ "llama2", "rope_theta", "9000" },
	{ "llama3", "rope_parameters.rope_theta", "400" },
	{ "llama3", "rope_parameters.rope_type", "\"default\"" },
	{ "llama3", "rope_parameters.factor", "7" },
	{ "llama3", "rope_parameters.low_freq_factor", "1.1" },
	{ "llama3", "rope_parameters.high_freq_factor", "3.9" },
	{ "llama3", "rope_parameters.original_max_position_embeddings", "31" },
	{ "llama3", "original_max_position_embeddings", "31" },
	{ "llama3", "attention_bias", "false" },
	{ "llama3", "mlp_bias", "false" },
	{ "linear", "rope_scaling.factor", "2.4" },
	{ "linear", "rope_scaling", "null" },
	{ "dynamic", "rope_scaling.factor", "2.9" },
	{ "dynamic", "max_position_embeddings", "17" },
	{ "dynamic", "max_position_embeddings", "15" },
	{ "yarn", "rope_scaling.factor", "3.9" },
	{ "yarn", "rope_scaling.beta_fast", "2" },
	{ "yarn", "rope_scaling.beta_slow", "0.6" },
	{ "yarn", "rope_scaling.attention_factor", "1.1" },
	{ "yarn", "rope_scaling.truncate", "false" },
	{ "yarn", "rope_scaling.original_max_position_embeddings", "12" },
	{ "yarn-mscale", "rope_scaling.mscale", "1.4" },
	{ "yarn-mscale", "rope_scaling.mscale_all_dim", "0.4" },
	{ "yarn-mscale", "rope_scaling.truncate", NULL },
	{ "yarn-mscale", "rope_scaling.beta_slow", "1" },
	{ "mistral", "sliding_window", "null" },
	{ "mistral", "sliding_window", "4" },
	{ "mistral", "sliding_window", "6" },
	{ "qwen2", "sliding_window", "5" },
	{ "qwen2", "use_sliding_window", "false" },
	{ "qwen2", "max_window_layers", "0" },
	{ "qwen2", "max_window_layers", "2" },
	{ "qwen2", "layer_types", "[\"sliding_attention\", \"full_attention\"]" },
	{ "qwen3", "rms_norm_eps", "1e-6" },
	{ "qwen3-biased", "attention_bias", "false" },
	{ "qwen3-biased", "sliding_window", "5" },
	{ "qwen3-biased", "use_sliding_window", "false" },
	{ "qwen3-biased", "max_window_layers", "0" },
	{ "smollm3", "no_rope_layer_interval", "4" },
	{ "smollm3", "no_rope_layers", "[0, 1]" },
	{ "smollm3", "rope_theta", "10000" },
	{ "smollm3-window", "no_rope_layers", NULL },
	{ "smollm3-window", "use_sliding_window", "false" },
	{ "smollm3-window", "sliding_window", "5" },
	{ "smollm3-window", "layer_types", "[\"full_attention\", \"sliding_attention\"]" },
	{ "smollm3-window", "mlp_bias", "false" },
	{ "granite", "embedding_multiplier", "2.6" },
	{ "granite", "residual_multiplier", "0.36" },
	{ "granite", "attention_multiplier", "0.42" },
	{ "granite", "logits_scaling", "1.6" },
	{ "granite-biased", "attention_bias", "false" },
	{ "granite-biased", "mlp_bias", "false" },
	{ "olmo2", "rms_norm_eps", "1e-6" },
	{ "olmo2", "rope_theta", "9000" },
	{ "olmo2-biased", "attention_bias", "false" },
	{ "olmo2-class", "pad_token_id", "0" },
	{ "phi3", "sliding_window", "4" },
	{ "phi3", "sliding_window", "6" },
	{ "phi3", "sliding_window", NULL },
	{ "phi3", "partial_rotary_factor", "0.8" },
	{ "phi3-long", "original_max_position_embeddings", "17" },
	{ "phi3-long", "original_max_position_embeddings", NULL },
	{ "phi3-long", "max_position_embeddings", "60" },
	{ "phi3-long", "rope_scaling.short_factor", "[1.1, 1.3, 1.6, 2.1]" },
	{ "phi3-long", "rope_scaling.long_factor", "[1.5, 2.5, 4.1, 7.0]" },
	{ "phi3-long", "rope_scaling.factor", "3" },
	{ "phi3-long", "rope_scaling.attention_factor", "1" },
	{ "llama-class", "pad_token_id", "null" },
	{ "llama-class", "pad_token_id", "0" },
};

/* What is no key: two sequences run together see each other. */
static void run_together(struct mfix *x)
{
	fix_rows(&x->f, &x->in.rows, (int[]){ 8, 19, 14 }, 3, 0);
}

static void test_inputs(void **state)
{
	(void)state;
	assert_true(walk_share("llama2", run_together) > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WALK_TESTS,
		cmocka_unit_test(test_inputs),
	};

	walk_kin("llama", guarded, mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("model_llama", tests, NULL, NULL);
}
