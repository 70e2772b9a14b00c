/* SPDX-License-Identifier: MIT */
/*
 * adalora.c - AdaLoRA: y += s/init_r B diag(E) A drop(x), as a singular value
 * decomposition whose components are pruned while it trains, the least
 * important of all modules first; a loss keeps A and B near orthonormal.
 *
 * PEFT's file holds what pruning left. Until the run is over all components
 * train, for one may come back to life between two prunings; they and what is
 * remembered of their importance stand in peft_state.safetensors, so that a
 * run goes on where it was, which PEFT cannot.
 *
 * Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for
 * Parameter-Efficient Fine-Tuning".
 */
#include "peft/adalora.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"

enum { A = PT_ADALORA_A, B = PT_ADALORA_B, E = PT_ADALORA_E, PARAMS = PT_ADALORA_PARAMS };

static const struct pt_option options[] = {
	{ .name = "rank", .letter = 'r', .key = "target_r", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1 << 20,
	  .help = "rank of the update (8); of adalora the mean rank at the end" },
	{ .name = "init-rank", .key = "init_r", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1 << 20,
	  .help = "rank at the start (12)" },
	{ .name = "total-steps", .key = "total_step", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1e15,
	  .help = "steps of the schedule (those of the run)" },
	{ .name = "tinit", .key = "tinit", .kind = PT_OPTION_INT, .arg = "N", .max = 1e15,
	  .help = "steps before pruning (0)" },
	{ .name = "tfinal", .key = "tfinal", .kind = PT_OPTION_INT, .arg = "N", .max = 1e15,
	  .help = "steps after pruning (0)" },
	{ .name = "delta-t", .key = "deltaT", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1e15,
	  .help = "prune every N steps (1)" },
	{ .name = "beta1", .key = "beta1", .kind = PT_OPTION_FLOAT, .arg = "F", .min = 1e-9, .max = 0.999999999,
	  .help = "smoothing of the sensitivity (0.85)" },
	{ .name = "beta2", .key = "beta2", .kind = PT_OPTION_FLOAT, .arg = "F", .min = 1e-9, .max = 0.999999999,
	  .help = "smoothing of its uncertainty (0.85)" },
	{ .name = "orthogonal", .key = "orth_reg_weight", .kind = PT_OPTION_FLOAT, .arg = "F", .max = 1e9,
	  .help = "weight of the loss that keeps A and B orthonormal (0.5)" },
	PT_LORA_OPTION_ALPHA,
	PT_LORA_OPTION_DROPOUT,
	PT_OPTIONS_TARGETS,
	PT_OPTIONS_LAYERS,
	{ .name = "init", .key = "init_lora_weights", .kind = PT_OPTION_WORD, .arg = "HOW", .words = "default=true|false",
	  .help = "default or false" },
	PT_LORA_OPTION_BIAS,
	PT_LORA_OPTION_TOKENS,
	{ 0 }
};

static const char *targets(const struct pt_model *m)
{
	const struct pt_family *f = m->cfg.family;

	return f->adalora_targets ? f->adalora_targets : f->lora_targets;
}

/* Keys of LoRA that PEFT ignores here: a fresh configuration that sets them does not mean what it says. */
static int refuse_ignored(const struct pt_adapter *a, struct pt_error *err)
{
	static const char *const key[] = { "use_rslora", "use_dora", "lora_bias", "alpha_pattern", "target_parameters" };

	for (size_t i = 0; i < sizeof key / sizeof key[0]; i++) {
		const cJSON *v = pt_json_get(a->config, key[i]);

		if (cJSON_IsTrue(v) || ((cJSON_IsObject(v) || cJSON_IsArray(v)) && v->child))
			return pt_error(err, PT_USAGE, "%s does not go with adalora", key[i]);
	}
	return 0;
}

static int check(const struct pt_adapter *a, const struct pt_adalora *l, struct pt_error *err)
{
	if (!(l->beta1 > 0 && l->beta1 < 1 && l->beta2 > 0 && l->beta2 < 1))
		return pt_error(err, PT_USAGE, "beta1 %g and beta2 %g are not both in (0, 1)", l->beta1, l->beta2);
	if (!(l->orth >= 0))
		return pt_error(err, PT_USAGE, "orth_reg_weight %g is negative", l->orth);
	if (l->total && l->tinit >= l->total - l->tfinal)
		return pt_error(err, PT_USAGE, "tinit %lld and tfinal %lld leave no step of %lld for pruning",
				(long long)l->tinit, (long long)l->tfinal, (long long)l->total);
	if (!a->fresh)
		return 0;
	if (l->target_r > l->init_r)
		return pt_error(err, PT_USAGE, "target_r %lld is above init_r %lld: ranks only come down",
				(long long)l->target_r, (long long)l->init_r);
	return refuse_ignored(a, err);
}

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	const int64_t most = INT64_C(1) << 50;
	struct pt_adalora *l = pt_calloc(1, sizeof *l, err);
	const cJSON *pattern = pt_json_get(a->config, "rank_pattern"), *total = pt_json_get(a->config, "total_step");

	a->state = l;
	if (!l || pt_lora_read(a, &l->lora, err) ||
	    pt_json_int(a->config, "init_r", 1, 1 << 20, 12, &l->init_r, err) ||
	    pt_json_int(a->config, "target_r", 1, 1 << 20, 8, &l->target_r, err) ||
	    pt_json_int(a->config, "tinit", 0, most, 0, &l->tinit, err) ||
	    pt_json_int(a->config, "tfinal", 0, most, 0, &l->tfinal, err) ||
	    pt_json_int(a->config, "deltaT", 1, most, 1, &l->delta, err) ||
	    (total && pt_json_int(a->config, "total_step", 1, most, 0, &l->total, err)) ||
	    pt_json_double(a->config, "beta1", 0.85, &l->beta1, err) ||
	    pt_json_double(a->config, "beta2", 0.85, &l->beta2, err) ||
	    pt_json_double(a->config, "orth_reg_weight", 0.5, &l->orth, err))
		return err->status;
	if (pattern && !cJSON_IsObject(pattern))
		return pt_error(err, PT_USAGE, "rank_pattern: not an object of lists");
	if (a->fresh && pattern)
		return pt_error(err, PT_USAGE, "rank_pattern is a result of training, not given beforehand");
	l->patterned = pattern;
	return check(a, l, err);
}

static struct pt_lowrank term_of(struct pt_run *run, const struct pt_adapter_site *s)
{
	const struct pt_adalora_site *x = s->state;
	struct pt_compute was = pt_run_exact(run);
	struct pt_tensor *b = pt_op_affine(run, &s->param[B]->t, &s->param[E]->t, NULL);

	pt_run_resume(run, was);
	return (struct pt_lowrank){ .a = &s->param[A]->t, .b = b, .scale = s->scale,
				    .dropout = (float)x->l->lora.dropout, .site = s->rng };
}

/* y + s B diag(E) A x, inside the product. */
static int terms(struct pt_run *run, struct pt_hook *h, struct pt_lowrank *term, int max)
{
	if (max > 0)
		term[0] = term_of(run, h->state);
	return 1;
}

static const struct pt_hook_ops hook = { .terms = terms };

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	struct pt_adalora_site *x = pt_calloc(1, sizeof *x, err);
	bool stored;
	int64_t rank;
	int flags;

	s->state = x;
	if (!x || pt_adalora_stored(a, s, &stored, &rank, err))
		return err->status;
	x->l = l;
	x->whole = stored || a->trainable;
	s->rank = (int)(x->whole ? l->init_r : rank);
	s->scale = (float)((l->lora.alpha > 0 ? l->lora.alpha : (double)l->init_r) / ((double)l->init_r + 1e-5));
	/* Where all of it is pruned there is nothing to add. */
	s->hook.ops = s->rank ? &hook : NULL;
	flags = !x->whole ? 0 : PT_TENSOR_STATE | (stored ? 0 : PT_TENSOR_OPTIONAL);
	if (pt_adalora_tensors(a, s, flags, err) || !x->whole)
		return err->status;
	return pt_adalora_remember(a, s, flags, err);
}

static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	bool plain = l->lora.init == PT_LORA_DEFAULT;
	int st = pt_adalora_mask(a, s, NULL, err);

	if (!plain && l->lora.init != PT_LORA_FALSE)
		return pt_error(err, PT_USAGE, "init_lora_weights of adalora is true or false");
	for (int i = 0; i < PARAMS && !st; i++) {
		size_t n = (size_t)pt_tensor_count(&s->param[i]->t);
		float *v = pt_calloc(n, sizeof *v, err);

		if (v && !(plain && i == E))
			pt_rng_normal(pt_rng_mix_str(seed, s->param[i]->name), v, n, 0, plain ? 0.02f : 1);
		st = v ? pt_adapter_set(a, s->param[i], v, err) : err->status;
		free(v);
	}
	return st;
}

static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	int64_t r = s->rank;
	float *v[PARAMS];
	int st;

	if (w == s->site->bias || !r)
		return 0;
	st = pt_adalora_get(a, s, v, err);
	for (int64_t i = 0; !st && i < s->site->out * r; i++)
		v[B][i] *= v[E][i % r];
	if (!st)
		st = pt_lora_merge_values(s, v[A], v[B], value, err);
	pt_adalora_put(v);
	return st;
}

/* The mean over all A and B of how far they are from orthonormal. */
static struct pt_tensor *loss(struct pt_run *run, struct pt_adapter *a)
{
	const struct pt_adalora *l = a->state;
	struct pt_compute was = pt_run_exact(run);
	struct pt_tensor *sum = NULL;

	for (int i = 0; i < a->nsites && l->orth > 0 && !run->err.status; i++) {
		for (int k = A; k <= B; k++) {
			struct pt_tensor *t = pt_op_orthogonality(run, &a->site[i].param[k]->t, k == B);

			sum = sum ? pt_op_add(run, sum, t) : t;
		}
	}
	if (sum)
		sum = pt_op_scale(run, sum, (float)(l->orth / (2 * a->nsites)));
	pt_run_resume(run, was);
	return sum;
}

static void release(struct pt_adapter *a)
{
	struct pt_device *dev = a->model->dev;
	struct pt_adalora *l = a->state;

	for (int i = 0; i < a->nsites; i++) {
		free(a->site[i].state);
		if (l && l->kept)
			pt_adalora_put(l->kept + PARAMS * i);
	}
	for (int i = 0; l && i < 2; i++) {
		if (l->tmp[i])
			dev->free(dev, l->tmp[i], l->room * sizeof(float));
	}
	if (l)
		free(l->kept);
	free(l);
}

const struct pt_method pt_method_adalora = {
	.name = "adalora",
	.peft_type = "ADALORA",
	.paper = "Zhang et al. 2023, AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
	.kinds = 1u << PT_SITE_LINEAR,
	.merges = true,
	.lowrank = true,
	.defaults = PT_LORA_DEFAULTS_OF("ADALORA", "\"none\"", "8", "8", "false", "null",
		"\"beta1\":0.85,\"beta2\":0.85,\"deltaT\":1,\"init_r\":12,\"orth_reg_weight\":0.5,\"target_r\":8,"
		"\"tfinal\":0,\"tinit\":0,\"total_step\":null,"),
	.options = options,
	.targets = targets,
	.parse = parse,
	.create = create,
	.init = init,
	.load = pt_adalora_load,
	.merge = merge,
	.save = pt_adalora_save,
	.begin = pt_adalora_begin,
	.plan = pt_adalora_plan,
	.loss = loss,
	.after_step = pt_adalora_after_step,
	.release = release,
};
