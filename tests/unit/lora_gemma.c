/* SPDX-License-Identifier: MIT */
/*
 * lora_gemma.c - golden values of adapters on Gemma 1, 2 and 3 (lora_walk.h).
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "gemma", false, "lora_alpha", "5.9" },
	{ "gemma2", true, "clip", "0" },
	{ "gemma3", false, "bias", "\"none\"" },
	{ "gemma3-class", false, "modules_to_save", "null" },
};

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS,
	};

	lwalk_kin("gemma", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_gemma", tests, NULL, NULL);
}
