/* SPDX-License-Identifier: MIT */
/*
 * model_gemma.c - golden values of Gemma 1, 2 and 3 (golden_walk.h).
 */
#include "golden_walk.h"

static const char *const guarded[] = { "gemma2", "gemma3", NULL };

static const struct walk_mutation mutations[] = {
	{ "gemma", "hidden_act", "\"relu\"" },
	{ "gemma", "rms_norm_eps", "1e-6" },
	{ "gemma", "rope_theta", "9000" },
	{ "gemma-biased", "attention_bias", "false" },
	{ "gemma-biased", "hidden_act", "\"gelu\"" },
	{ "gemma2", "query_pre_attn_scalar", "100" },
	{ "gemma2", "attn_logit_softcapping", "3.1" },
	{ "gemma2", "attn_logit_softcapping", "null" },
	{ "gemma2", "attn_logit_softcapping", NULL },
	{ "gemma2", "final_logit_softcapping", "4.1" },
	{ "gemma2", "final_logit_softcapping", "null" },
	{ "gemma2", "final_logit_softcapping", NULL },
	{ "gemma2", "sliding_window", "4" },
	{ "gemma2", "sliding_window", "6" },
	{ "gemma2", "sliding_window", NULL },
	{ "gemma2", "hidden_activation", "\"gelu\"" },
	{ "gemma2", "layer_types", "[\"full_attention\",\"sliding_attention\"]" },
	{ "gemma2-types", "layer_types", NULL },
	{ "gemma3", "rope_theta", "850" },
	{ "gemma3", "rope_theta", NULL },
	{ "gemma3", "rope_local_base_freq", "44" },
	{ "gemma3", "rope_local_base_freq", NULL },
	{ "gemma3", "sliding_window_pattern", "3" },
	{ "gemma3", "sliding_window", "4" },
	{ "gemma3", "sliding_window", "6" },
	{ "gemma3", "query_pre_attn_scalar", NULL },
	{ "gemma3", "rope_scaling.factor", "2.8" },
	{ "gemma3-keys", "layer_types", "[\"full_attention\",\"full_attention\",\"full_attention\"]" },
	{ "gemma3-keys", "final_logit_softcapping", "5.1" },
	{ "gemma3-keys", "rope_parameters", NULL },
	{ "gemma3-both-ways", "use_bidirectional_attention", "false" },
	{ "gemma3-both-ways", "sliding_window", "6" },
	{ "gemma3-both-ways", "sliding_window", "3" },
	{ "gemma3-class", "pad_token_id", "null" },
};

int main(void)
{
	const struct CMUnitTest tests[] = {
		WALK_TESTS,
	};

	walk_kin("gemma", guarded, mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("model_gemma", tests, NULL, NULL);
}
