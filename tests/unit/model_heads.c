/* SPDX-License-Identifier: MIT */
/*
 * model_heads.c - golden values of heads for tokens, answers, classes and
 * sentence embeddings on bodies of every family (golden_walk.h).
 */
#include "golden_walk.h"

static const char *const guarded[] = { "llama-qa", "t5-qa", "mt5-tags", NULL };

static const struct walk_mutation mutations[] = {
	{ "mistral-class", "pad_token_id", "null" },
	{ "mistral-class", "sliding_window", "4" },
	{ "mistral-tags", "sliding_window", "6" },
	{ "qwen2-qa", "max_window_layers", "2" },
	{ "smollm3-tags", "no_rope_layer_interval", "4" },
	{ "qwen2-moe-class", "num_experts_per_tok", "2" },
	{ "qwen3-moe-qa", "norm_topk_prob", "false" },
	/* What the decoder reads is the source, one place to the right. */
	{ "t5-qa", "decoder_start_token_id", "4" },
	{ "mt5-class", "decoder_start_token_id", "4" },
	{ "xlmr-tags", "pad_token_id", "1" },
};

/* A head that is in the file, with a bias of its own, counts whatever tie_word_embeddings says. */
static void test_untied(void **state)
{
	static const char *const names[] = { "bert-mlm-untied", "roberta-mlm-untied", "distil-mlm-untied" };

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct mfix x;
		size_t n;
		float *y;

		mfix_golden(&x, names[i]);
		walk_change(x.config, "tie_word_embeddings", "true");
		mfix_open(&x, walk_devices[0]);
		y = mfix_out(&x, &n);
		walk_right(&x, "out", golden_result(&x.g, "out", y, n, 0));
		free(y);
		mfix_close(&x);
		mfix_release(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WALK_TESTS,
		cmocka_unit_test(test_untied),
	};

	walk_kin("heads", guarded, mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("model_heads", tests, NULL, NULL);
}
