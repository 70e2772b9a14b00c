/* SPDX-License-Identifier: MIT */
/* lora_bottleneck.c - golden values of bottleneck adapters (lora_walk.h). */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "bn-bert", false, "original_ln_before", "false" },
	{ "bn-bert", false, "residual_before_ln", "false" },
	{ "bn-bert", false, "residual_before_ln", "\"post_add\"" },
	{ "bn-bert", false, "original_ln_after", "false" },
	{ "bn-bert", false, "non_linearity", "\"gelu_new\"" },
	{ "bn-bert", false, "is_parallel", "true" },
	{ "bn-bert-norms", false, "original_ln_after", "true" },
	{ "bn-bert-norms", false, "residual_before_ln", "true" },
	{ "bn-bert-norms", false, "adapter_residual_before_ln", "true" },
	{ "bn-bert-gate", false, "adapter_residual_before_ln", "false" },
	{ "bn-bert-gate", false, "residual_before_ln", "true" },
	{ "bn-roberta", false, "scaling", "1.49" },
	{ "bn-roberta", false, "is_parallel", "false" },
	{ "bn-llama", false, "original_ln_before", "false" },
	{ "bn-llama-par", true, "decay", "0" },
	{ "bn-phi", false, "original_ln_before", "false" },
	{ "bn-llama-compacter", false, "learn_phm", "false" },
};

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lwalk_test_cases),
		cmocka_unit_test(lwalk_test_mutations),
		cmocka_unit_test(lwalk_test_switch),
	};

	lwalk_kin("bottleneck", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_bottleneck", tests, NULL, NULL);
}
