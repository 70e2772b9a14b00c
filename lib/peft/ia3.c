/* SPDX-License-Identifier: MIT */
/*
 * ia3.c - (IA)3: a vector l on the output of a linear, y = l (W x + b), or on
 * the input of a feed-forward module, y = W (l x) + b.
 *
 * Which of the targets are feed-forward modules, feedforward_modules says: an
 * expression for the whole path, or a list of endings, which as in PEFT need
 * not begin at a dot.
 *
 * Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and
 * Cheaper than In-Context Learning".
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"
#include "peft/combine.h"

static const char defaults[] =
	"{\"auto_mapping\":null,\"base_model_name_or_path\":null,\"exclude_modules\":null,\"fan_in_fan_out\":false,"
	"\"feedforward_modules\":null,\"inference_mode\":true,\"init_ia3_weights\":true,\"modules_to_save\":null,"
	"\"peft_type\":\"IA3\",\"revision\":null,\"target_modules\":null,\"task_type\":null}";

static const struct pt_option options[] = {
	PT_OPTIONS_TARGETS,
	{ .name = "feedforward", .key = "feedforward_modules", .kind = PT_OPTION_TARGETS, .arg = "LIST|REGEX",
	  .help = "targets that are scaled at their input (by model)" },
	{ 0 }
};

static const char *targets(const struct pt_model *m)
{
	return m->cfg.family->ia3_targets;
}

/* feedforward_modules, by default the family's; a list of them must be part of a list of targets. */
static int parse(struct pt_adapter *a, struct pt_error *err)
{
	static const char key[] = "feedforward_modules";
	const cJSON *list = pt_json_get(a->config, "target_modules"), *own = pt_json_get(a->config, key);
	const char *given = a->model->cfg.family->ia3_feedforward, *name, *have;
	bool ones;

	if (pt_json_bool(a->config, "init_ia3_weights", true, &ones, err))
		return err->status;
	if (a->fresh && !ones)
		return pt_error(err, PT_USAGE, "init_ia3_weights false is not supported: its values are random");
	if (!own) {
		if (!given)
			return pt_error(err, PT_USAGE, "ia3 has no default feedforward_modules for model type %s: name target_modules and feedforward_modules",
					a->model->cfg.family->model_type);
		return pt_config_set_names(a->config, key, given, err);
	}
	if (!cJSON_IsString(own) && !cJSON_IsArray(own))
		return pt_error(err, PT_USAGE, "%s: neither a list of names nor an expression", key);
	for (int i = 0; cJSON_IsArray(own) && cJSON_IsArray(list) && (name = pt_config_item(own, i)); i++) {
		bool found = false;

		for (int k = 0; (have = pt_config_item(list, k)); k++)
			found |= !strcmp(have, name);
		if (!found)
			return pt_error(err, PT_USAGE, "%s: '%s' is not among target_modules", key, name);
	}
	return 0;
}

static int is_feedforward(const struct pt_adapter *a, const char *path, bool *yes, struct pt_error *err)
{
	const cJSON *v = pt_json_get(a->config, "feedforward_modules");
	size_t n = strlen(path);
	const char *name;

	*yes = false;
	if (cJSON_IsString(v))
		return pt_regex_match(v->valuestring, path, yes, err);
	for (int i = 0; !*yes && (name = pt_config_item(v, i)); i++)
		*yes = n >= strlen(name) && !strcmp(path + n - strlen(name), name);
	return 0;
}

static struct pt_tensor *scale_input(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x)
{
	const struct pt_adapter_site *s = h->state;

	return pt_op_affine(run, x, &s->param[0]->t, NULL);
}

static struct pt_tensor *scale_output(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x, struct pt_tensor *y)
{
	const struct pt_adapter_site *s = h->state;

	(void)x;
	return pt_op_affine(run, y, &s->param[0]->t, NULL);
}

static const struct pt_hook_ops input_hook = { .input = scale_input };
static const struct pt_hook_ops output_hook = { .output = scale_output };

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	int64_t shape[2] = { s->site->out, 1 };
	bool ff;
	int st = is_feedforward(a, s->site->path, &ff, err);

	if (ff) {
		shape[0] = 1;
		shape[1] = s->site->in;
	}
	s->hook.ops = ff ? &input_hook : &output_hook;
	return st ? st : pt_adapter_tensor_at(a, s, "ia3_l", 0, 2, shape, err);
}

static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	size_t n = (size_t)pt_tensor_count(&s->param[0]->t);
	float *l = pt_malloc(n, sizeof *l, err);
	int st = l ? 0 : err->status;

	(void)seed;
	for (size_t i = 0; !st && i < n; i++)
		l[i] = 1;
	if (!st)
		st = pt_adapter_set(a, s->param[0], l, err);
	free(l);
	return st;
}

/* Of W rows, and of the bias elements, or columns of W where the input is scaled. */
static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	bool ff = s->hook.ops == &input_hook, bias = w == s->site->bias;
	int64_t n = ff ? s->site->in : s->site->out, count = pt_tensor_count(&w->t);
	/* Elements that follow each other under one factor: stored [out,in], those of a row. */
	int64_t run = bias || ff != s->site->transposed ? 1 : count / n;
	float *l;
	int st;

	if (ff && bias)
		return 0;
	l = pt_malloc((size_t)n, sizeof *l, err);
	st = l ? pt_adapter_get(a, s->param[0], l, err) : err->status;
	for (int64_t i = 0; !st && i < count; i++)
		value[i] *= l[i / run % n];
	free(l);
	return st;
}

static int combine_config(cJSON *config, struct pt_adapter *const *a, int n, const struct pt_combine_options *o,
			  struct pt_error *err)
{
	if (o->kind->form != PT_COMBINE_FACTORS || o->kind->drop != PT_DROP_NONE)
		return pt_error(err, PT_USAGE, "adapters of ia3 are combined by linear, not by %s", o->kind->name);
	for (int i = 0; i < n; i++) {
		if (!cJSON_IsArray(pt_json_get(a[i]->config, "feedforward_modules")))
			return pt_error(err, PT_USAGE, "feedforward_modules is an expression: not combined");
	}
	return pt_combine_names(config, "feedforward_modules", a, n, err);
}

/* The weighted sum; an adapter that does not act here has ones. */
static int combine_site(struct pt_adapter *to, struct pt_adapter_site *s, struct pt_adapter *const *a,
			const struct pt_adapter_site *const *part, int n, const struct pt_combine_options *o,
			struct pt_error *err)
{
	size_t count = (size_t)pt_tensor_count(&s->param[0]->t);
	float *sum = pt_calloc(count, sizeof *sum, err), *l = pt_malloc(count, sizeof *l, err);
	int st = sum && l ? 0 : err->status;

	for (int i = 0; i < n && !st; i++) {
		if (part[i] && part[i]->hook.ops != s->hook.ops)
			st = pt_error(err, PT_USAGE, "scaled at its input by one adapter, at its output by another");
		else if (part[i])
			st = pt_adapter_get(a[i], part[i]->param[0], l, err);
		for (size_t k = 0; k < count && !st; k++)
			sum[k] += (float)o->weight[i] * (part[i] ? l[k] : 1);
	}
	if (!st)
		st = pt_adapter_set(to, s->param[0], sum, err);
	free(sum);
	free(l);
	return st;
}

const struct pt_combiner pt_ia3_combiner = { .config = combine_config, .site = combine_site };

const struct pt_method pt_method_ia3 = {
	.name = "ia3",
	.peft_type = "IA3",
	.paper = "Liu et al. 2022, Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
	.kinds = 1u << PT_SITE_LINEAR,
	.merges = true,
	.defaults = defaults,
	.options = options,
	.targets = targets,
	.parse = parse,
	.create = create,
	.init = init,
	.merge = merge,
	.combiner = &pt_ia3_combiner,
};
