/* SPDX-License-Identifier: MIT */
/*
 * model_bert.c - golden values of encoders with the modules of BERT (golden_walk.h).
 */
#include "golden_walk.h"

static const char *const guarded[] = { "bert-class", NULL };

static const struct walk_mutation mutations[] = {
	{ "bert-class", "layer_norm_eps", "1e-6" },
	{ "bert-class", "hidden_act", "\"gelu_new\"" },
	{ "bert-no-types", "hidden_act", "\"gelu\"" },
	{ "roberta-class", "layer_norm_eps", "1e-6" },
	{ "roberta-class", "hidden_act", "\"gelu_new\"" },
	/* Positions count from behind it. */
	{ "roberta-class", "pad_token_id", "0" },
	{ "roberta-tags", "layer_norm_eps", "1e-6" },
	{ "roberta-qa", "hidden_act", "\"relu\"" },
	{ "roberta-mlm", "layer_norm_eps", "1e-6" },
	{ "roberta-mlm", "hidden_act", "\"gelu_new\"" },
	{ "roberta-sets", "pad_token_id", "0" },
	{ "xlmr-class", "pad_token_id", "1" },
	{ "xlmr-class", "layer_norm_eps", "1e-3" },
	{ "distil-class", "activation", "\"relu\"" },
	{ "distil-tags", "activation", "\"gelu_new\"" },
	{ "distil-qa", "activation", "\"relu\"" },
	{ "distil-mlm", "activation", "\"gelu_new\"" },
	{ "distil-sets", "activation", "\"relu\"" },
};

/* What is no key: token types. */
static void without_types(struct mfix *x)
{
	x->in.types = NULL;
}

static void test_inputs(void **state)
{
	(void)state;
	assert_true(walk_share("bert-class", without_types) > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WALK_TESTS,
		cmocka_unit_test(test_inputs),
	};

	walk_kin("bert", guarded, mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("model_bert", tests, NULL, NULL);
}
