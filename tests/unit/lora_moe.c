/* SPDX-License-Identifier: MIT */
/*
 * lora_moe.c - golden values of adapters on mixtures of experts (lora_walk.h).
 */
#include "lora_walk.h"

static void test_cases(void **state)
{
	(void)state;
	lwalk_cases("moe");
}

static void test_switch(void **state)
{
	(void)state;
	lwalk_switch("moe");
}

static void test_merge(void **state)
{
	(void)state;
	lwalk_merge("moe");
}

static void test_mutations(void **state)
{
	static const struct lwalk_mutation mutations[] = {
		{ "mixtral-params", false, "lora_alpha", "2.9" },
		{ "mixtral-params", false, "alpha_pattern", "{}" },
		{ "mixtral-split", false, "lora_alpha", "2.9" },
		{ "qwen2-moe-params", false, "use_rslora", "false" },
		{ "qwen3-moe-params", false, "lora_alpha", "3.9" },
	};

	(void)state;
	lwalk_mutations(mutations, sizeof mutations / sizeof mutations[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_switch),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
