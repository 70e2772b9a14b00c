/* SPDX-License-Identifier: MIT */
/*
 * loraplus.c - LoRA+: B and vectors learn at a multiple of the rate, the
 * tensors of adapted embeddings at a rate of their own, as in PEFT.
 *
 * Hayou et al. 2024, "LoRA+: Efficient Low Rank Adaptation of Large Models".
 */
#include "peft/adapter_priv.h"

int pt_adapter_loraplus(struct pt_adapter *a, double ratio, double embedding, struct pt_error *err)
{
	bool found = false;

	for (size_t i = 0; i < a->ntensors; i++) {
		const struct pt_adapter_tensor *t = &a->tensor[i];

		if (!t->param->t.needs_grad)
			continue;
		found |= t->up && !t->table;
		if (t->table)
			t->param->lr_scale = (float)embedding;
		else if (t->up || t->param->t.ndim == 1)
			t->param->lr_scale = (float)ratio;
	}
	if (!found)
		return pt_error(err, PT_USAGE, "LoRA+ is for adapters that train a lora_B; %s has none",
				a->method ? a->method->name : "full training");
	return 0;
}
