/* SPDX-License-Identifier: MIT */
/*
 * lora_fused.c - golden values of the methods on decoders with fused projections (lora_walk.h).
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "dora-gpt2", false, "lora_alpha", "3.9" },
	{ "bitfit-gpt2", false, "bias", "\"lora_only\"" },
	{ "loha-phi3", false, "alpha", "2.9" },
	{ "lokr-falcon", false, "alpha", "1.9" },
	{ "oft-neox", false, "bias", "\"none\"" },
	{ "ia3-neox", true, "decay", "0" },
};

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS,
	};

	lwalk_kin("fused", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_fused", tests, NULL, NULL);
}
