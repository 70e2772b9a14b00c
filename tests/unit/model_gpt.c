/* SPDX-License-Identifier: MIT */
/*
 * model_gpt.c - golden values of the decoders before Llama (golden_walk.h).
 */
#include "golden_walk.h"

static const char *const guarded[] = { "gpt2", "neox", "opt-post", "bloom", "falcon-rw", "phi-norms", NULL };

static const struct walk_mutation mutations[] = {
	{ "gpt2", "layer_norm_epsilon", "1e-5" },
	{ "gpt2", "activation_function", "\"gelu\"" },
	{ "gpt2", "scale_attn_weights", "false" },
	{ "gpt2-scaled", "scale_attn_by_inverse_layer_idx", "false" },
	{ "gpt2-scaled", "activation_function", "\"gelu_new\"" },
	{ "gpt2-unscaled", "scale_attn_weights", NULL },
	{ "gpt2-class", "pad_token_id", "null" },
	{ "neox", "rotary_pct", "0.6" },
	{ "neox", "rotary_pct", NULL },
	{ "neox", "rotary_emb_base", "250" },
	{ "neox", "use_parallel_residual", "false" },
	{ "neox", "hidden_act", "\"gelu_new\"" },
	{ "neox", "layer_norm_eps", "1e-5" },
	{ "neox", "attention_bias", "false" },
	{ "neox-serial", "use_parallel_residual", NULL },
	{ "neox-keys", "rope_parameters.partial_rotary_factor", "0.8" },
	{ "neox-keys", "rope_parameters.rope_theta", "100" },
	{ "neox-keys", "rope_parameters.factor", "1.9" },
	{ "opt", "do_layer_norm_before", "false" },
	{ "opt", "_remove_final_layer_norm", "true" },
	{ "opt", "enable_bias", "false" },
	{ "opt", "layer_norm_elementwise_affine", "false" },
	{ "opt", "activation_function", "\"gelu\"" },
	{ "opt-post", "activation_function", "\"relu\"" },
	{ "bloom", "apply_residual_connection_post_layernorm", "true" },
	{ "bloom", "n_head", "5" },
	{ "bloom", "layer_norm_epsilon", "1e-5" },
	{ "bloom-after", "apply_residual_connection_post_layernorm", NULL },
	{ "bloom-class", "pad_token_id", "null" },
	{ "falcon-7b", "rope_theta", "250" },
	{ "falcon-7b", "alibi", "true" },
	{ "falcon-7b", "layer_norm_epsilon", "1e-5" },
	{ "falcon-7b", "activation", "\"relu\"" },
	{ "falcon-rw", "alibi", "false" },
	{ "falcon-rw", "bias", "false" },
	{ "falcon-40b", "bias", "false" },
	{ "falcon-class", "pad_token_id", "null" },
	{ "phi", "partial_rotary_factor", "0.6" },
	{ "phi", "rope_theta", "250" },
	{ "phi", "hidden_act", "\"gelu\"" },
	{ "phi", "layer_norm_eps", "1e-5" },
	{ "phi-norms", "qk_layernorm", "false" },
	{ "phi-half", "partial_rotary_factor", "0.7" },
};

/* What is no key: Falcon's slopes are rounded at every key, BLOOM's are not. */
static void other_slopes(struct mfix *x)
{
	x->m->cfg.key_slopes = !x->m->cfg.key_slopes;
}

static void test_slopes(void **state)
{
	(void)state;
	assert_true(walk_share("falcon-rw", other_slopes) > 10);
	assert_true(walk_share("bloom", other_slopes) > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WALK_TESTS,
		cmocka_unit_test(test_slopes),
	};

	walk_kin("gpt", guarded, mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("model_gpt", tests, NULL, NULL);
}
