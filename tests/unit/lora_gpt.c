/* SPDX-License-Identifier: MIT */
/*
 * lora_gpt.c - golden values of adapters on the decoders before Llama (lora_walk.h).
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "gpt2", false, "lora_alpha", "5.9" },
	{ "gpt2-linear", false, "bias", "\"none\"" },
	{ "neox-linear", false, "bias", "\"none\"" },
	{ "opt-post", false, "bias", "\"none\"" },
	{ "falcon-40b", false, "use_rslora", "true" },
	{ "falcon-rw", false, "bias", "\"none\"" },
	{ "phi", true, "eps", "1e-8" },
	{ "bloom", true, "decay", "0" },
};

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS,
	};

	lwalk_kin("gpt", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_gpt", tests, NULL, NULL);
}
