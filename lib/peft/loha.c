/* SPDX-License-Identifier: MIT */
/*
 * loha.c - LoHa: the update is the product, element by element, of two
 * matrices of rank r: y += alpha/r ((A1 B1) * (A2 B2)) x, of rank r^2.
 *
 * Hyeon-Woo et al. 2022, "FedPara: Low-Rank Hadamard Product for
 * Communication-Efficient Federated Learning"; Yeh et al. 2024, "Navigating
 * Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation".
 */
#include <stdlib.h>

#include "base/mem.h"
#include "peft/delta.h"
#include "peft/lora.h"

enum { A1, B1, A2, B2, PARAMS };

static const char *const names[PARAMS] = { "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b" };

static const char defaults[] =
	"{\"alpha\":8,\"alpha_pattern\":{},\"auto_mapping\":null,\"base_model_name_or_path\":null,\"exclude_modules\":null,"
	"\"inference_mode\":true,\"init_weights\":true,\"layers_pattern\":null,\"layers_to_transform\":null,"
	"\"module_dropout\":0.0,\"modules_to_save\":null,\"peft_type\":\"LOHA\",\"r\":8,\"rank_dropout\":0.0,"
	"\"rank_pattern\":{},\"revision\":null,\"target_modules\":null,\"task_type\":null,\"use_effective_conv2d\":false}";

static const struct pt_option options[] = {
	PT_DELTA_OPTIONS,
	{ 0 }
};

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	bool plain;

	if (pt_json_bool(a->config, "init_weights", true, &plain, err))
		return err->status;
	return pt_delta_no_dropout(a, err);
}

static struct pt_tensor *delta(struct pt_run *run, const struct pt_adapter_site *s)
{
	struct pt_tensor *one = pt_delta_product(run, &s->param[A1]->t, &s->param[B1]->t);
	struct pt_tensor *two = pt_delta_product(run, &s->param[A2]->t, &s->param[B2]->t);
	struct pt_tensor *d = one && two ? pt_op_glu(run, one, two, PT_ACT_NONE) : NULL;

	pt_tensor_done(run, one);
	pt_tensor_done(run, two);
	return d;
}

static struct pt_tensor *output(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x, struct pt_tensor *y)
{
	return pt_delta_output(run, h->state, delta, x, y);
}

static const struct pt_hook_ops hook = { .output = output };

static int find_rank(const struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	char *key = pt_format(err, PT_KEY_PREFIX "%s.%s", s->site->path, names[B1]);
	const struct pt_st_tensor *t = key ? pt_adapter_stored(a, key) : NULL;

	free(key);
	return err->status ? err->status : pt_delta_stored(a, s, t, err);
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	int st = pt_delta_scale(a, s, err);

	if (st || (st = find_rank(a, s, err)))
		return st;
	s->hook.ops = &hook;
	for (int i = 0; i < PARAMS && !st; i++) {
		int64_t shape[2] = { i % 2 ? s->rank : s->site->out, i % 2 ? s->site->in : s->rank };

		st = pt_adapter_tensor_at(a, s, names[i], 0, 2, shape, err);
	}
	return st;
}

static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	bool plain = !cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(a->config, "init_weights"));
	int st = 0;

	for (int i = 0; i < PARAMS && !st; i++)
		st = pt_delta_fresh(a, s->param[i], plain && i == B2, seed, err);
	return st;
}

static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	int64_t in = s->site->in, out = s->site->out;
	float *v[PARAMS], *one, *two;
	int st;

	if (w == s->site->bias)
		return 0;
	one = pt_malloc((size_t)(in * out), sizeof *one, err);
	two = pt_malloc((size_t)(in * out), sizeof *two, err);
	st = pt_delta_get(a, s, v, err);
	if (!st && one && two) {
		pt_delta_multiply(v[A1], v[B1], out, s->rank, in, one);
		pt_delta_multiply(v[A2], v[B2], out, s->rank, in, two);
		for (int64_t i = 0; i < in * out; i++)
			one[i] *= two[i];
		pt_delta_merge(s, one, value);
	}
	pt_delta_put(s, v);
	free(one);
	free(two);
	return err->status;
}

const struct pt_method pt_method_loha = {
	.name = "loha",
	.peft_type = "LOHA",
	.paper = "Hyeon-Woo et al. 2022, FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning",
	.kinds = 1u << PT_SITE_LINEAR,
	.merges = true,
	.lowrank = true,
	.no_conv1d = true,
	.defaults = defaults,
	.options = options,
	.targets = pt_lora_targets,
	.parse = parse,
	.create = create,
	.init = init,
	.merge = merge,
};
