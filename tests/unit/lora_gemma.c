/* SPDX-License-Identifier: MIT */
/*
 * lora_gemma.c - golden values of adapters on Gemma 1, 2 and 3 (lora_walk.h).
 */
#include "lora_walk.h"

static void test_cases(void **state)
{
	(void)state;
	lwalk_cases("gemma");
}

static void test_switch(void **state)
{
	(void)state;
	lwalk_switch("gemma");
}

static void test_merge(void **state)
{
	(void)state;
	lwalk_merge("gemma");
}

static void test_mutations(void **state)
{
	static const struct lwalk_mutation mutations[] = {
		{ "gemma", false, "lora_alpha", "5.9" },
		{ "gemma2", true, "clip", "0" },
		{ "gemma3", false, "bias", "\"none\"" },
		{ "gemma3-class", false, "modules_to_save", "null" },
	};

	(void)state;
	lwalk_mutations(mutations, sizeof mutations / sizeof mutations[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases), cmocka_unit_test(test_mutations), cmocka_unit_test(test_switch),
		cmocka_unit_test(test_merge),
	};

	return cmocka_run_group_tests_name("lora_gemma", tests, NULL, NULL);
}
