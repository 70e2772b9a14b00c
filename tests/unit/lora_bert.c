/* SPDX-License-Identifier: MIT */
/*
 * lora_bert.c - golden values of adapters on encoders with the modules of BERT (lora_walk.h).
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "bert-class", false, "bias", "\"none\"" },
};

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS,
	};

	lwalk_kin("bert", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_bert", tests, NULL, NULL);
}
