/* SPDX-License-Identifier: MIT */
/*
 * lora_lowrank.c - golden values of LoRA's relatives (lora_walk.h).
 */
#include "lora_walk.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = { LWALK_TESTS };

	lwalk_kin("lowrank", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_lowrank", tests, NULL, NULL);
}
