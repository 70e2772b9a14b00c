/* SPDX-License-Identifier: MIT */
/*
 * bitfit.c - BitFit: the biases of the base train, of all modules or of the
 * targets alone, and nothing else.
 *
 * PEFT has no such method: the file is LoRA's with a bias of "all" or
 * "lora_only", and lora_alpha 0, A and B zero, which PEFT loads with the same
 * logits and in which its own training would move the biases alone too.
 *
 * Ben Zaken et al. 2022, "BitFit: Simple Parameter-efficient Fine-tuning for
 * Transformer-based Masked Language-models".
 */
#include <string.h>

#include "peft/lora.h"

static const struct pt_option options[] = {
	{ .name = "bias", .key = "bias", .kind = PT_OPTION_WORD, .arg = "WHICH", .words = "all|lora_only",
	  .help = "biases that train: all, or lora_only, those of the targets" },
	PT_OPTIONS_TARGETS,
	PT_OPTIONS_LAYERS,
	{ 0 }
};

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_model *m = a->model;
	const char *bias;
	bool found = false;

	if (pt_lora_parse(a, err) || pt_json_str(a->config, "bias", "none", &bias, err))
		return err->status;
	if (((struct pt_lora *)a->state)->bias)
		return pt_error(err, PT_USAGE, "lora_bias does not go with lora_alpha 0, which trains biases of the base");
	for (int i = 0; i < m->nweights; i++)
		found |= m->weight[i].bias;
	if (a->fresh && !strcmp(bias, "none"))
		return pt_error(err, PT_USAGE, "bias none: nothing would train");
	if (a->fresh && !found)
		return pt_error(err, PT_USAGE, "the model has no biases to train");
	return 0;
}

/* The tensors of the file, which do not act; biases are the configuration's, as with LoRA. */
static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	int st = pt_lora_create(a, s, PT_TENSOR_FROZEN, err);

	s->hook.ops = NULL;
	return st;
}

static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	(void)a, (void)s, (void)w, (void)value, (void)err;
	return 0;
}

const struct pt_method pt_method_bitfit = {
	.name = "bitfit",
	.peft_type = "LORA",
	.sets = "{\"lora_alpha\":0,\"alpha_pattern\":{},\"use_dora\":false}",
	.paper = "Ben Zaken et al. 2022, BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
	.kinds = 1u << PT_SITE_LINEAR | 1u << PT_SITE_EMBEDDING,
	.merges = true,
	.defaults = PT_LORA_DEFAULTS("\"all\"", "0", "1", "false"),
	.options = options,
	.targets = pt_lora_targets,
	.parse = parse,
	.create = create,
	.merge = merge,
	.release = pt_lora_release,
};
