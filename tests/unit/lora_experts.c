/* SPDX-License-Identifier: MIT */
/*
 * lora_experts.c - golden values of the methods on mixtures of experts, beside their experts (lora_walk.h).
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "dora-mixtral", false, "lora_alpha", "3.9" },
	{ "loha-mixtral", false, "alpha", "2.9" },
	{ "lokr-qwen3-moe", false, "alpha", "1.9" },
	{ "adalora-mixtral", false, "orth_reg_weight", "0.45" },
	{ "bitfit-qwen2-moe", false, "bias", "\"lora_only\"" },
	{ "oft-qwen2-moe", true, "decay", "0" },
};

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS,
	};

	lwalk_kin("experts", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_experts", tests, NULL, NULL);
}
