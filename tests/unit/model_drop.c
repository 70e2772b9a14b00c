/* SPDX-License-Identifier: MIT */
/*
 * model_drop.c - golden values in training mode (golden_walk.h): the masks
 * are those that our dropouts draw, given to transformers, so that each of
 * them acts where it acts there.
 */
#include "golden_walk.h"

static void test_cases(void **state)
{
	static const char *const guarded[] = { "gpt2-drop", "t5-drop", "roberta-class-drop", NULL };

	(void)state;
	walk_cases("drop", guarded);
}

static void test_mutations(void **state)
{
	static const struct walk_mutation mutations[] = {
		{ "gpt2-drop", "embd_pdrop", "0.25" },
		{ "gpt2-drop", "resid_pdrop", "0.125" },
		{ "gpt2-drop", "attn_pdrop", "0.25" },
		{ "gpt2-tags-drop", "classifier_dropout", "0.375" },
		{ "neox-drop", "hidden_dropout", "0.375" },
		{ "neox-drop", "attention_dropout", "0.25" },
		{ "opt-drop", "dropout", "0.375" },
		{ "opt-drop", "attention_dropout", "0.25" },
		{ "bloom-drop", "hidden_dropout", "0.375" },
		{ "bloom-drop", "attention_dropout", "0.25" },
		{ "bloom-tags-drop", "classifier_dropout", NULL },
		{ "falcon-7b-drop", "hidden_dropout", "0.375" },
		{ "falcon-rw-drop", "attention_dropout", "0.25" },
		{ "falcon-tags-drop", "classifier_dropout", NULL },
		{ "phi-drop", "embd_pdrop", "0.25" },
		{ "phi-drop", "resid_pdrop", "0.125" },
		{ "phi3-drop", "resid_pdrop", "0.125" },
		{ "phi3-drop", "attention_dropout", NULL },
		{ "llama-tags-drop", "classifier_dropout", NULL },
		{ "gemma2-drop", "attention_dropout", NULL },
		{ "mixtral-drop", "attention_dropout", NULL },
		{ "t5-drop", "dropout_rate", "0.125" },
		{ "t5-class-drop", "classifier_dropout", "0.25" },
		{ "t5-tags-drop", "classifier_dropout", NULL },
		{ "roberta-class-drop", "hidden_dropout_prob", "0.125" },
		{ "roberta-class-drop", "attention_probs_dropout_prob", "0.25" },
		{ "roberta-class-drop", "classifier_dropout", NULL },
		{ "roberta-tags-drop", "classifier_dropout", NULL },
		{ "distil-class-drop", "dropout", "0.125" },
		{ "distil-class-drop", "attention_dropout", "0.25" },
		{ "distil-class-drop", "seq_classif_dropout", NULL },
		{ "distil-qa-drop", "qa_dropout", NULL },
	};

	(void)state;
	walk_mutations(mutations, sizeof mutations / sizeof mutations[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests_name("model_drop", tests, NULL, NULL);
}
