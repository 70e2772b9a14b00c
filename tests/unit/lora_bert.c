/* SPDX-License-Identifier: MIT */
/*
 * lora_bert.c - golden values of adapters on encoders with the modules of BERT (lora_walk.h).
 */
#include "lora_walk.h"

static void test_cases(void **state)
{
	(void)state;
	lwalk_cases("bert");
}

static void test_switch(void **state)
{
	(void)state;
	lwalk_switch("bert");
}

static void test_merge(void **state)
{
	(void)state;
	lwalk_merge("bert");
}

static void test_mutations(void **state)
{
	static const struct lwalk_mutation mutations[] = {
		{ "bert-class", false, "bias", "\"none\"" },
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

	return cmocka_run_group_tests_name("lora_bert", tests, NULL, NULL);
}
