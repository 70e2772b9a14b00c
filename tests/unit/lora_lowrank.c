/* SPDX-License-Identifier: MIT */
/*
 * lora_lowrank.c - golden values of LoRA's relatives (lora_walk.h).
 */
#include "lora_walk.h"

static void test_cases(void **state)
{
	(void)state;
	lwalk_cases("lowrank");
}

static void test_switch(void **state)
{
	(void)state;
	lwalk_switch("lowrank");
}

static void test_merge(void **state)
{
	(void)state;
	lwalk_merge("lowrank");
}

static void test_mutations(void **state)
{
	static const struct lwalk_mutation mutations[] = {
		{ "adalora", false, "lora_alpha", "15.9" },
		{ "adalora", false, "tinit", "3" },
		{ "adalora", false, "tfinal", "2" },
		{ "adalora", false, "target_r", "2" },
		{ "adalora-rich", false, "deltaT", "3" },
		{ "adalora-rich", false, "beta1", "0.3" },
		{ "adalora-rich", false, "beta2", "0.2" },
		{ "adalora-rich", false, "orth_reg_weight", "0.29" },
		{ "adalora-rich", false, "total_step", "9" },
		{ "adalora-rich", false, "bias", "\"none\"" },
		{ "adalora-rich", true, "clip", "0.69" },
		{ "vera-bert", false, "bias", "\"none\"" },
		{ "loha", false, "alpha", "4.9" },
		{ "loha", false, "alpha_pattern", "{}" },
		{ "loha-t5", false, "alpha", "1.9" },
		{ "lokr", false, "alpha", "1.4" },
		{ "oft-exact", false, "use_cayley_neumann", "true" },
		{ "coft", false, "eps", "2.4" },
		{ "coft", false, "coft", "false" },
		{ "coft-share", false, "eps", "1.4" },
		{ "lokr-bert", true, "decay", "0" },
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

	return cmocka_run_group_tests_name("lora_lowrank", tests, NULL, NULL);
}
