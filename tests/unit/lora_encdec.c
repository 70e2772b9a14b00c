/* SPDX-License-Identifier: MIT */
/*
 * lora_encdec.c - golden values of the methods on encoder-decoders (lora_walk.h).
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "dora-t5", false, "lora_alpha", "1.9" },
	{ "lokr-t5", false, "alpha", "1.9" },
	{ "lorafa-t5", false, "lora_alpha", "1.9" },
	{ "loraplus-t5", true, "loraplus", "2.9" },
	{ "oft-t5", true, "decay", "0" },
	{ "dora-t5", true, "decay", "0" },
};

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS,
	};

	lwalk_kin("encdec", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_encdec", tests, NULL, NULL);
}
