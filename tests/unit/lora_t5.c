/* SPDX-License-Identifier: MIT */
/*
 * lora_t5.c - golden values of adapters on encoder-decoders (lora_walk.h).
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "t5", false, "lora_alpha", "1.4" },
	{ "t5-rich", false, "use_rslora", "false" },
	{ "t5-rich", false, "modules_to_save", "[\"final_layer_norm\"]" },
	{ "t5-rich", false, "modules_to_save", "[\"decoder.block.0.layer.0.SelfAttention.relative_attention_bias\"]" },
	{ "t5", true, "lr", "0.031" },
};

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS,
	};

	lwalk_kin("t5", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_t5", tests, NULL, NULL);
}
