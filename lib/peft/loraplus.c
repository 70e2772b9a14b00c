/* SPDX-License-Identifier: MIT */
/*
 * loraplus.c - LoRA+: B and vectors learn at a multiple of the rate, the
 * tensors of adapted embeddings at a rate of their own, as in PEFT.
 *
 * Hayou et al. 2024, "LoRA+: Efficient Low Rank Adaptation of Large Models".
 */
#include <string.h>

#include "peft/adapter_priv.h"

int pt_adapter_loraplus(struct pt_adapter *a, double ratio, double embedding, struct pt_error *err)
{
	bool found = false;

	for (size_t i = 0; i < a->ntensors; i++) {
		struct pt_param *p = a->tensor[i].param;
		const char *at = strstr(a->tensor[i].key, ".lora_B");
		bool b = at && (at[strlen(".lora_B")] == '.' || !at[strlen(".lora_B")]);

		if (!p->t.needs_grad)
			continue;
		found |= b;
		if (strstr(a->tensor[i].key, ".lora_embedding_"))
			p->lr_scale = (float)embedding;
		else if (b || p->t.ndim == 1)
			p->lr_scale = (float)ratio;
	}
	if (!found)
		return pt_error(err, PT_USAGE, "LoRA+ is for adapters that train a lora_B; %s has none",
				a->method ? a->method->name : "full training");
	return 0;
}
