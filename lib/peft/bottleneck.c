/* SPDX-License-Identifier: MIT */
/*
 * bottleneck.c - bottleneck adapters: a small network, down to few features
 * and up again, behind the sub-blocks of every layer or beside them; as
 * AdapterHub's library (`adapters`) names, stores and computes them. The
 * formulas are in bottleneck_run.c, the configuration in bottleneck_config.c.
 *
 * Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP";
 * Pfeiffer et al. 2021, "AdapterFusion"; He et al. 2022, "Towards a Unified
 * View of Parameter-Efficient Transfer Learning"; Karimi Mahabadi et al. 2021,
 * "Compacter".
 */
#include "peft/bottleneck.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

static bool match(const struct pt_adapter *a, const struct pt_site *s)
{
	const struct pt_bottleneck *b = a->state;

	if (pt_invert_match(a, s))
		return true;
	if (s->kind != PT_SITE_BLOCK || !b->at[s->sub])
		return false;
	for (const cJSON *v = b->leave_out ? b->leave_out->child : NULL; v; v = v->next) {
		if (cJSON_IsNumber(v) && v->valuedouble == pt_bottleneck_layer(a, s))
			return false;
	}
	return true;
}

/* The part of path that is the module of its block: up to the block's number. */
static size_t block_end(const char *path, int layer)
{
	char number[24];
	size_t n;

	snprintf(number, sizeof number, ".%d", layer);
	n = strlen(number);
	for (const char *at = path; (at = strstr(at, number)); at++) {
		if (!at[n] || at[n] == '.')
			return (size_t)(at - path) + n;
	}
	return strlen(path);
}

/* How keys of a site begin, without the prefix of the body: "encoder.layer.0.output.adapters.NAME." */
static char *start_of(const struct pt_adapter *a, const struct pt_site *s, struct pt_error *err)
{
	static const char *const module[] = { [PT_SUB_ATTENTION] = "attention_adapters", [PT_SUB_CROSS] = "attention_adapters",
					      [PT_SUB_FFN] = "output_adapters" };
	const struct pt_bottleneck *b = a->state;
	const char *path = s->path + strlen(pt_model_prefix(a->model));

	path += *path == '.';
	if (s->kind == PT_SITE_STREAM)
		return pt_format(err, "%s%sinvertible_adapters.%s.", path, *path ? "." : "", b->name);
	switch (a->model->cfg.family->hub) {
	case PT_HUB_OUTPUT:
		return pt_format(err, "%s.adapters.%s.", path, b->name);
	case PT_HUB_AROUND:
		return pt_format(err, "%.*s.adapters.%s.", (int)(strrchr(path, '.') - path), path, b->name);
	default:
		return pt_format(err, "%.*s.%s.adapters.%s.", (int)block_end(path, s->layer), path, module[s->sub], b->name);
	}
}

/* The body has the prefix of this task's class; an adapter may come from a class where it has another, or none. */
static int find_prefix(struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_st *file = a->file[PT_IN_WEIGHTS];
	const char *own = pt_model_prefix(a->model);
	struct pt_bottleneck *b = a->state;
	char *start = start_of(a, a->site[0].site, err);

	for (size_t i = 0; start && file && i < file->ntensors && !b->prefix; i++) {
		const char *name = file->tensor[i].name, *at = strstr(name, start);

		if (at && (at == name || at[-1] == '.'))
			b->prefix = pt_strndup(name, (size_t)(at - name), err);
	}
	free(start);
	if (!b->prefix && !err->status)
		b->prefix = pt_format(err, "%s%s", own, *own ? "." : "");
	return err->status;
}

static int make_ones(struct pt_adapter *a, struct pt_bottleneck *b, struct pt_error *err)
{
	struct pt_device *dev = a->model->dev;
	int64_t c = a->model->cfg.hidden;
	float *one = pt_malloc((size_t)c, sizeof *one, err);
	void *p = NULL;
	int st = one ? dev->alloc(dev, (size_t)c * sizeof *one, &p, err) : err->status;

	for (int64_t i = 0; one && i < c; i++)
		one[i] = 1;
	if (!st) {
		pt_tensor_init(&b->ones, PT_F32, 2, (int64_t[]){ c, 1 }, p);
		st = dev->upload(dev, p, one, (size_t)c * sizeof *one, err);
	}
	free(one);
	return st;
}

/* The Compacter's rules, which all places share. */
static int make_rule(struct pt_adapter *a, struct pt_bottleneck *b, struct pt_error *err)
{
	char *key = pt_format(err, "%sshared_parameters.%s.phm_rule", b->prefix, b->name);
	int64_t n[3] = { b->phm, b->phm, b->phm };
	int st = key ? pt_adapter_tensor(a, key, b->phm_learn ? 0 : PT_TENSOR_FROZEN, 3, n, &b->rule, err) : err->status;

	free(key);
	return st;
}

static int prepare(struct pt_adapter *a, struct pt_error *err)
{
	struct pt_bottleneck *b = a->state;

	if (!a->nsites)
		return pt_error(err, PT_USAGE, "no place of the model is left for an adapter: see mh_adapter, output_adapter, cross_adapter, leave_out");
	if (find_prefix(a, err) || (b->phm && b->phm_shared && make_rule(a, b, err)))
		return err->status;
	return b->gating || b->scaling == PT_SCALING_LEARNED ? make_ones(a, b, err) : 0;
}

static int add_shape(struct pt_adapter *a, struct pt_adapter_site *s, const char *start, const char *name, int flags,
		     int ndim, const int64_t *shape, struct pt_param **out, struct pt_error *err)
{
	const struct pt_bottleneck *b = a->state;
	char *key = pt_format(err, "%s%s%s", b->prefix, start, name);
	int st = key ? pt_adapter_tensor(a, key, flags, ndim, shape, out, err) : err->status;

	free(key);
	if (!st)
		s->param[s->nparams++] = *out;
	return st;
}

/* A tensor of the site under startNAME. */
static int add(struct pt_adapter *a, struct pt_adapter_site *s, const char *start, const char *name, int64_t rows,
	       int64_t cols, struct pt_param **out, struct pt_error *err)
{
	int64_t shape[2] = { rows, cols };

	return add_shape(a, s, start, name, 0, cols ? 2 : 1, shape, out, err);
}

/* A linear of the Compacter, named so. */
static int add_phm(struct pt_adapter *a, struct pt_adapter_site *s, const char *start, const char *name, int64_t in,
		   int64_t out, struct pt_phm *p, struct pt_error *err)
{
	const struct pt_bottleneck *b = a->state;
	int64_t n = b->phm, r = b->phm_rank, left[3] = { n, in / n, r ? r : out / n }, right[3] = { n, r, out / n };
	int64_t rule[3] = { n, n, n };
	char key[60];
	int st;

	*p = (struct pt_phm){ .rule = b->rule, .in = in, .out = out, .n = b->phm };
	snprintf(key, sizeof key, "%s.%s", name, r ? "W_left" : "W");
	st = add_shape(a, s, start, key, 0, 3, left, &p->left, err);
	snprintf(key, sizeof key, "%s.W_right", name);
	if (!st && r)
		st = add_shape(a, s, start, key, 0, 3, right, &p->right, err);
	snprintf(key, sizeof key, "%s.b", name);
	if (!st && b->phm_bias)
		st = add(a, s, start, key, out, 0, &p->bias, err);
	snprintf(key, sizeof key, "%s.phm_rule", name);
	if (!st && !b->phm_shared)
		st = add_shape(a, s, start, key, b->phm_learn ? 0 : PT_TENSOR_FROZEN, 3, rule, &p->rule, err);
	return st;
}

/* Down and up, of either kind. */
static int add_linears(struct pt_adapter *a, struct pt_adapter_site *s, const char *start, struct pt_bottleneck_site *p,
		       int64_t c, int64_t k, struct pt_error *err)
{
	const char *down = p->b->ln_before ? "adapter_down.1" : "adapter_down.0";
	char key[40];
	int st;

	if (p->b->phm) {
		st = add_phm(a, s, start, down, c, k, &p->down_phm, err);
		return st ? st : add_phm(a, s, start, "adapter_up", k, c, &p->up_phm, err);
	}
	snprintf(key, sizeof key, "%s.weight", down);
	st = add(a, s, start, key, k, c, &p->down, err);
	snprintf(key, sizeof key, "%s.bias", down);
	if (!st)
		st = add(a, s, start, key, k, 0, &p->down_bias, err);
	if (!st)
		st = add(a, s, start, "adapter_up.weight", c, k, &p->up, err);
	return st ? st : add(a, s, start, "adapter_up.bias", c, 0, &p->up_bias, err);
}

/* A layer norm of its own, whose weights never decay. */
static int add_norm(struct pt_adapter *a, struct pt_adapter_site *s, const char *start, const char *name,
		    struct pt_param **w, struct pt_param **bias, struct pt_error *err)
{
	char key[40];
	int st;

	snprintf(key, sizeof key, "%s.weight", name);
	st = add(a, s, start, key, s->site->in, 0, w, err);
	if (st)
		return st;
	(*w)->decay = false;
	snprintf(key, sizeof key, "%s.bias", name);
	return add(a, s, start, key, s->site->in, 0, bias, err);
}

/* The norm before the bottleneck is the first module of adapter_down too. */
static int add_before(struct pt_adapter *a, struct pt_adapter_site *s, const char *start, struct pt_bottleneck_site *p,
		      struct pt_error *err)
{
	const struct pt_bottleneck *b = a->state;
	static const char *const second[2] = { "adapter_down.0.weight", "adapter_down.0.bias" };
	int st = add_norm(a, s, start, "adapter_norm_before", &p->before, &p->before_bias, err);

	for (int i = 0; i < 2 && !st; i++) {
		char *key = pt_format(err, "%s%s%s", b->prefix, start, second[i]);

		st = key ? pt_adapter_twin(a, key, i ? p->before_bias : p->before, err) : err->status;
		free(key);
	}
	return st;
}

static int add_tensors(struct pt_adapter *a, struct pt_adapter_site *s, const char *start, struct pt_bottleneck_site *p,
		       struct pt_error *err)
{
	const struct pt_bottleneck *b = p->b;
	int64_t c = s->site->in, k;
	int st = pt_bottleneck_width(a, s->site, &k, err);

	s->rank = (int)k;
	s->scale = b->scale;
	if (!st && b->ln_before)
		st = add_before(a, s, start, p, err);
	if (!st)
		st = add_linears(a, s, start, p, c, k, err);
	if (!st && b->scaling != PT_SCALING_FIXED)
		st = add(a, s, start, "scaling", b->scaling == PT_SCALING_LEARNED ? 1 : c, 0, &p->scaling, err);
	if (!st && b->ln_after)
		st = add_norm(a, s, start, "adapter_norm_after", &p->after, &p->after_bias, err);
	if (!st && b->gating)
		st = add(a, s, start, "gate.weight", 1, c, &p->gate, err);
	if (!st && b->gating)
		st = add(a, s, start, "gate.bias", 1, 0, &p->gate_bias, err);
	return st;
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	struct pt_bottleneck_site *p = pt_calloc(1, sizeof *p, err);
	char *start;
	int st;

	s->state = p;
	if (!p)
		return err->status;
	p->b = a->state;
	start = s->site->stack < 0 ? pt_strdup("", err) : start_of(a, s->site, err);
	if (!start)
		return err->status;
	p->rng = pt_rng_mix_str(s->rng, p->b->name);
	if (s->site->kind == PT_SITE_STREAM) {
		st = pt_invert_create(a, s, start, err);
	} else {
		s->hook.ops = &pt_bottleneck_hook;
		st = add_tensors(a, s, start, p, err);
	}
	free(start);
	return st;
}

/* How values of one tensor are drawn. */
enum draw { ZEROS, ONES, NORMAL, UNIFORM, TRUNCATED, GLOROT, RULE };

/* Normal of deviation 0.01, what is beyond two of them drawn again. */
static void truncated(uint64_t key, float *v, size_t n)
{
	bool again = true;

	for (uint64_t round = 0; again; round++) {
		float next[1024];

		again = false;
		for (size_t at = 0; at < n; at += 1024) {
			size_t m = n - at < 1024 ? n - at : 1024;

			pt_rng_normal(pt_rng_mix(pt_rng_mix(key, round), at), next, m, 0, 0.01f);
			for (size_t i = 0; i < m; i++) {
				if (round == 0 || fabsf(v[at + i]) > 0.02f)
					v[at + i] = next[i];
				again |= fabsf(v[at + i]) > 0.02f;
			}
		}
	}
}

/* With a seed in the configuration all adapters begin alike. */
static int draw(struct pt_adapter *a, struct pt_param *p, enum draw how, uint64_t seed, struct pt_error *err)
{
	const struct pt_bottleneck *b = a->state;
	const char *name = strrchr(p->name, '.') - 1;
	size_t n = (size_t)pt_tensor_count(&p->t);
	float *v, bound = 1 / sqrtf((float)a->model->cfg.hidden);
	uint64_t key = pt_rng_mix_str(seed, p->name);
	int st;

	/* By the last two parts of its name. */
	while (name > p->name && *name != '.')
		name--;
	if (b->seed >= 0)
		key = pt_rng_mix_str((uint64_t)b->seed, name);
	if (how == ZEROS)
		return 0;
	if (how == GLOROT)
		return pt_phm_init(a, p, key, err);
	v = pt_malloc(n, sizeof *v, err);
	if (!v)
		return err->status;
	if (how == RULE && b->phm_uniform)
		pt_rng_uniform(key, v, n, b->phm_shared ? -1 : -0.01f, b->phm_shared ? 1 : 0.01f);
	else if (how == RULE)
		pt_rng_normal(key, v, n, 0, b->phm_shared ? (float)b->phm_range : 0.01f);
	else if (how == NORMAL)
		pt_rng_normal(key, v, n, 0, 0.02f);
	else if (how == UNIFORM)
		pt_rng_uniform(key, v, n, -bound, bound);
	else if (how == TRUNCATED)
		truncated(key, v, n);
	for (size_t i = 0; how == ONES && i < n; i++)
		v[i] = 1;
	st = pt_adapter_set(a, p, v, err);
	free(v);
	return st;
}

static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	static const enum draw down[] = { [PT_INIT_BERT] = NORMAL, [PT_INIT_MAM] = UNIFORM, [PT_INIT_HOULSBY] = TRUNCATED };
	static const enum draw up[] = { [PT_INIT_BERT] = NORMAL, [PT_INIT_MAM] = ZEROS, [PT_INIT_HOULSBY] = TRUNCATED };
	const struct pt_bottleneck_site *p = s->state;
	enum pt_bottleneck_init how = p->b->init;
	bool inv = s->site->kind == PT_SITE_STREAM && s->site->stack >= 0;
	/* Houlsby's leaves the gate as torch makes linears. */
	const struct {
		struct pt_param *p;
		enum draw how;
	} all[] = {
		{ p->down, down[how] }, { p->up, up[how] }, { p->scaling, ONES }, { p->before, ONES }, { p->after, ONES },
		{ p->gate, how == PT_INIT_HOULSBY ? UNIFORM : NORMAL },
		{ p->gate_bias, how == PT_INIT_HOULSBY ? UNIFORM : ZEROS },
		{ p->down_phm.left, GLOROT }, { p->down_phm.right, GLOROT }, { p->up_phm.left, GLOROT }, { p->up_phm.right, GLOROT },
		{ p->down_phm.rule != p->b->rule ? p->down_phm.rule : NULL, RULE },
		{ p->up_phm.rule != p->b->rule ? p->up_phm.rule : NULL, RULE },
		{ s == a->site ? p->b->rule : NULL, RULE },
		{ inv ? p->b->couple[0][0] : NULL, NORMAL }, { inv ? p->b->couple[0][2] : NULL, NORMAL },
		{ inv ? p->b->couple[1][0] : NULL, NORMAL }, { inv ? p->b->couple[1][2] : NULL, NORMAL },
	};
	int st = 0;

	for (size_t i = 0; i < sizeof all / sizeof all[0] && !st; i++)
		st = all[i].p ? draw(a, all[i].p, all[i].how, seed, err) : 0;
	return st;
}

static void release(struct pt_adapter *a)
{
	struct pt_device *dev = a->model->dev;
	struct pt_bottleneck *b = a->state;

	for (int i = 0; i < a->nsites; i++)
		free(a->site[i].state);
	if (!b)
		return;
	if (b->ones.data)
		dev->free(dev, b->ones.data, (size_t)a->model->cfg.hidden * sizeof(float));
	free(b->prefix);
	free(b);
}

const struct pt_method pt_method_bottleneck = {
	.name = "bottleneck",
	.peft_type = "BOTTLENECK",
	.paper = "Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP",
	.kinds = 1u << PT_SITE_BLOCK | 1u << PT_SITE_STREAM,
	.stacks = true,
	.prefix = "",
	.layout = &pt_layout_hub,
	.defaults = pt_bottleneck_defaults,
	.options = pt_bottleneck_options,
	.preset = pt_bottleneck_preset,
	.match = match,
	.parse = pt_bottleneck_parse,
	.prepare = prepare,
	.create = create,
	.init = init,
	.release = release,
};
