/* SPDX-License-Identifier: MIT */
/*
 * lora_tokens.c - golden values of rows of embeddings that train alone (lora_walk.h).
 */
#include "lora_walk.h"

int main(void)
{
	static const struct lwalk_mutation mutations[] = {
		{ "tokens", false, "token_indices", "[4,3,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,"
		  "31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52]" },
		{ "tokens-tied", true, "decay", "0" },
		{ "lora-tokens", false, "trainable_token_indices", "[3,52,9,17,4,30,31,8,22,45,40,11]" },
		{ "dora-tokens", false, "trainable_token_indices", "{\"embed_tokens\":[3,52,9,17,4,30,31,8,22,45,11,40],"
		  "\"lm_head\":[3,5,52,6]}" },
	};
	const struct CMUnitTest tests[] = { LWALK_TESTS };

	lwalk_kin("tokens", mutations, sizeof mutations / sizeof mutations[0]);
	return cmocka_run_group_tests_name("lora_tokens", tests, NULL, NULL);
}
