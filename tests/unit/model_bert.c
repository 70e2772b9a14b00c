/* SPDX-License-Identifier: MIT */
/*
 * model_bert.c - golden values of encoders with the modules of BERT (golden_walk.h).
 */
#include "golden_walk.h"

static void test_cases(void **state)
{
	static const char *const guarded[] = { "bert-class", NULL };

	(void)state;
	walk_cases("bert", guarded);
}

static void test_mutations(void **state)
{
	static const struct walk_mutation mutations[] = {
		{ "bert-class", "layer_norm_eps", "1e-6" },
		{ "bert-class", "hidden_act", "\"gelu_new\"" },
		{ "bert-no-types", "hidden_act", "\"gelu\"" },
	};

	(void)state;
	walk_mutations(mutations, sizeof mutations / sizeof mutations[0]);
}

/* What is no key: token types. */
static void test_inputs(void **state)
{
	struct mfix x;
	size_t n;
	float *y;

	(void)state;
	mfix_golden(&x, "bert-class");
	mfix_open(&x, walk_devices[0]);
	x.in.types = NULL;
	y = mfix_out(&x, &n);
	assert_true(golden_result(&x.g, "out", y, n, 0) > 10);
	free(y);
	mfix_close(&x);
	mfix_release(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_inputs),
	};

	return cmocka_run_group_tests_name("model_bert", tests, NULL, NULL);
}
