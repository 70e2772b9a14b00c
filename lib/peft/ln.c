/* SPDX-License-Identifier: MIT */
/*
 * ln.c - LN tuning: norms, or any other modules that are named, train as
 * copies that stand in for them.
 *
 * Zhao et al. 2023, "Tuning LayerNorm in Attention: Towards Efficient
 * Multi-Modal LLM Finetuning".
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/adapter.h"

static const char defaults[] =
	"{\"auto_mapping\":null,\"base_model_name_or_path\":null,\"exclude_modules\":null,\"inference_mode\":true,"
	"\"modules_to_save\":null,\"peft_type\":\"LN_TUNING\",\"revision\":null,\"target_modules\":null,"
	"\"task_type\":null}";

static const struct pt_option options[] = { PT_OPTIONS_TARGETS, { 0 } };

static const char *targets(const struct pt_model *m)
{
	return m->cfg.family->ln_targets;
}

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	(void)a, (void)err;
	return 0;
}

static int replace(struct pt_adapter *a, const struct pt_site *s, struct pt_weight *w, struct pt_error *err)
{
	char *key = pt_format(err, "base_model.model.%s.ln_tuning_layers%s", s->path, strrchr(w->path, '.'));
	int st = key ? pt_adapter_replace(a, w, key, 0, err) : err->status;

	free(key);
	return st;
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	int st = replace(a, s->site, s->site->weight, err);

	return st || !s->site->bias ? st : replace(a, s->site, s->site->bias, err);
}

/* The copies are merged as all weights that stand in for the base's. */
static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	(void)a, (void)s, (void)w, (void)value, (void)err;
	return 0;
}

const struct pt_method pt_method_ln = {
	.name = "ln",
	.peft_type = "LN_TUNING",
	.paper = "Zhao et al. 2023, Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning",
	.kinds = 1u << PT_SITE_LINEAR | 1u << PT_SITE_EMBEDDING | 1u << PT_SITE_NORM,
	.merges = true,
	.defaults = defaults,
	.options = options,
	.targets = targets,
	.parse = parse,
	.create = create,
	.merge = merge,
};
