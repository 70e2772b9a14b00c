/* SPDX-License-Identifier: MIT */
/*
 * dora.c - DoRA: W' = m (W + s B A) / || W + s B A ||, row by row, with the
 * norm held constant in backward; LoRA's configuration with use_dora. Of an
 * embedding the rows are those of its transpose.
 *
 * On the output that is a factor m / norm beside LoRA's term. With dropout
 * the base's part of the difference sees the input that was dropped too, as
 * in PEFT, which costs a second product with W.
 *
 * Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation".
 */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"
#include "peft/lora.h"

enum { MAGNITUDE = PT_LORA_PARAMS };

struct dora {
	const struct pt_lora *lora;
	const struct pt_adapter *a;
	float *sumsq, *inv;		/* device [out]: || W ||^2 of each row; 1 / || W + s B A || */
	uint64_t version;		/* of the values that inv was computed from */
	bool computed;
};

static bool drops(const struct pt_run *run, const struct dora *d)
{
	return run->train && d->lora->dropout > 0;
}

/* The norms for the values as they are; they change with the step alone. */
static const float *norms(struct pt_run *run, const struct pt_adapter_site *s)
{
	struct dora *d = s->state;
	struct pt_lowrank term = pt_lora_term(d->lora, s);
	struct pt_linear lin = {
		.w = s->site->weight->use, .transposed = s->site->transposed || s->site->kind == PT_SITE_EMBEDDING,
		.term = &term, .nterms = 1,
	};
	bool plan = run->dev->plan;

	if (!plan && d->computed && d->version == d->a->params.version)
		return d->inv;
	if (!pt_op_row_norms(run, &lin, d->sumsq, d->inv) && !plan) {
		d->computed = true;
		d->version = d->a->params.version;
	}
	return d->inv;
}

static int terms(struct pt_run *run, struct pt_hook *h, struct pt_lowrank *term, int max)
{
	const struct pt_adapter_site *s = h->state;
	const struct dora *d = s->state;

	if (drops(run, d))
		return 0;
	if (max > 0)
		term[0] = pt_lora_term(d->lora, s);
	return 1;
}

static struct pt_tensor *rescale(struct pt_run *run, const struct pt_adapter_site *s, struct pt_tensor *y,
				 struct pt_tensor *bias)
{
	const float *inv = norms(run, s);

	return run->err.status ? NULL : pt_op_rescale(run, y, &s->param[MAGNITUDE]->t, inv, bias);
}

/* y + factor (W x + s B A x) - W x, of x dropped. */
static struct pt_tensor *dropped(struct pt_run *run, const struct pt_adapter_site *s, struct pt_tensor *x,
				 struct pt_tensor *y)
{
	const struct dora *d = s->state;
	struct pt_linear base = { .w = s->site->weight->use, .transposed = s->site->transposed };
	struct pt_linear down = { .w = &s->param[PT_LORA_A]->t }, up = { .w = &s->param[PT_LORA_B]->t };
	struct pt_tensor *xd = pt_op_dropout(run, x, (float)d->lora->dropout, s->rng);
	struct pt_tensor *u = pt_op_linear(run, xd, &base), *v = pt_op_linear(run, xd, &down), *sum, *diff;

	pt_tensor_done(run, xd);
	v = pt_then(run, pt_op_linear(run, v, &up), v);
	v = pt_then(run, pt_op_scale(run, v, s->scale), v);
	sum = pt_then(run, pt_op_add(run, u, v), v);
	sum = pt_then(run, rescale(run, s, sum, NULL), sum);
	u = pt_then(run, pt_op_scale(run, u, -1), u);
	diff = pt_then(run, pt_op_add(run, sum, u), u);
	pt_tensor_done(run, sum);
	return pt_then(run, pt_op_add(run, y, diff), diff);
}

static struct pt_tensor *output(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x, struct pt_tensor *y)
{
	const struct pt_adapter_site *s = h->state;

	if (drops(run, s->state))
		return dropped(run, s, x, y);
	return rescale(run, s, y, s->site->bias ? s->site->bias->use : NULL);
}

static struct pt_tensor *embed(struct pt_run *run, struct pt_hook *h, const int32_t *ids, const struct pt_rows *rows,
			       struct pt_tensor *y)
{
	const struct pt_adapter_site *s = h->state;

	return rescale(run, s, pt_lora_embed(run, s, ids, rows, y), NULL);
}

static const struct pt_hook_ops linear_hook = { .terms = terms, .output = output };
static const struct pt_hook_ops embed_hook = { .embed = embed };

static bool flipped(const struct pt_site *s)
{
	return s->transposed || s->kind == PT_SITE_EMBEDDING;
}

/* || row of W ||^2, of a weight in f32 as stored: the sums of its rows or, stored the other way, its columns. */
static void sum_squares(const struct pt_site *s, const float *w, double *sum)
{
	int64_t rows = flipped(s) ? s->in : s->out, cols = flipped(s) ? s->out : s->in;

	for (int64_t o = 0; o < s->out; o++)
		sum[o] = 0;
	for (int64_t i = 0; i < rows; i++) {
		const float *row = w + i * cols;

		for (int64_t j = 0; j < cols; j++)
			sum[flipped(s) ? j : i] += (double)row[j] * (double)row[j];
	}
}

/* The same, of the base alone or with the update. */
static int row_norms(struct pt_adapter *a, const struct pt_adapter_site *s, bool update, double *sum,
		     struct pt_error *err)
{
	const struct pt_weight *base = s->site->weight;
	float *w = pt_malloc((size_t)pt_tensor_count(&base->t), sizeof *w, err);
	int st = w ? pt_weight_value(a->model, base, w, err) : err->status;

	if (!st && update)
		st = pt_lora_merge(a, s, base, w, err);
	if (!st)
		sum_squares(s->site, w, sum);
	free(w);
	return st;
}

/* Device memory of a site, and the norms of its base. */
static int make_state(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	struct dora *d = pt_calloc(1, sizeof *d, err);
	struct pt_device *dev = a->model->dev;
	size_t n = (size_t)s->site->out;
	double *sum = NULL;
	float *f = NULL;
	void *p;
	int st;

	s->state = d;
	if (!d)
		return err->status;
	d->lora = a->state;
	d->a = a;
	st = dev->alloc(dev, 2 * n * sizeof(float), &p, err);
	if (st)
		return st;
	d->sumsq = p;
	d->inv = d->sumsq + n;
	sum = pt_malloc(n, sizeof *sum, err);
	f = pt_malloc(n, sizeof *f, err);
	st = sum && f ? row_norms(a, s, false, sum, err) : err->status;
	for (size_t i = 0; !st && i < n; i++)
		f[i] = (float)sum[i];
	if (!st)
		st = dev->upload(dev, d->sumsq, f, n * sizeof *f, err);
	free(sum);
	free(f);
	return st;
}

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	int st = pt_lora_parse(a, err);

	if (!st && ((struct pt_lora *)a->state)->bias)
		return pt_error(err, PT_USAGE, "lora_bias does not go with use_dora");
	if (!st && pt_lora_takes_out(a->state))
		return pt_error(err, PT_USAGE, "pissa, olora and corda are not supported with use_dora");
	return st;
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	int st = pt_lora_tied_wanted(a, s, err);

	if (!st && s->twin)
		return pt_error(err, PT_USAGE, "%s is tied to %s: ensure_weight_tying does not go with use_dora there",
				s->site->path, s->twin->site->path);
	if (!st)
		st = pt_lora_create(a, s, 0, err);
	if (!st)
		st = pt_adapter_tensor_at(a, s, "lora_magnitude_vector", 0, 1, &s->site->out, err);
	if (!st)
		st = make_state(a, s, err);
	s->hook.ops = s->site->kind == PT_SITE_EMBEDDING ? &embed_hook : &linear_hook;
	return st;
}

/* m = || W + s B A ||: the adapter starts as LoRA does. */
static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	size_t n = (size_t)s->site->out;
	double *sum;
	float *m;
	int st = pt_lora_init(a, s, seed, err);

	if (st)
		return st;
	sum = pt_malloc(n, sizeof *sum, err);
	m = pt_malloc(n, sizeof *m, err);
	st = sum && m ? row_norms(a, s, true, sum, err) : err->status;
	for (size_t i = 0; !st && i < n; i++)
		m[i] = (float)sqrt(sum[i]);
	if (!st)
		st = pt_adapter_set(a, s->param[MAGNITUDE], m, err);
	free(sum);
	free(m);
	return st;
}

static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	int64_t out = s->site->out, in = s->site->in;
	double *sum;
	float *m;
	int st;

	if (w == s->site->bias)
		return 0;
	sum = pt_malloc((size_t)out, sizeof *sum, err);
	m = pt_malloc((size_t)out, sizeof *m, err);
	st = sum && m ? pt_lora_merge(a, s, w, value, err) : err->status;
	if (!st)
		st = pt_adapter_get(a, s->param[MAGNITUDE], m, err);
	if (!st)
		sum_squares(s->site, value, sum);
	for (int64_t o = 0; !st && o < out; o++) {
		double factor = sum[o] > 0 ? (double)m[o] / sqrt(sum[o]) : 0;

		for (int64_t i = 0; i < in; i++) {
			float *v = flipped(s->site) ? &value[i * out + o] : &value[o * in + i];

			*v = (float)((double)*v * factor);
		}
	}
	free(sum);
	free(m);
	return st;
}

static void release(struct pt_adapter *a)
{
	struct pt_device *dev = a->model->dev;

	for (int i = 0; i < a->nsites; i++) {
		struct dora *d = a->site[i].state;

		if (d && d->sumsq)
			dev->free(dev, d->sumsq, 2 * (size_t)a->site[i].site->out * sizeof(float));
		free(d);
	}
	pt_lora_release(a);
}

const struct pt_method pt_method_dora = {
	.name = "dora",
	.peft_type = "LORA",
	.sets = "{\"use_dora\":true}",
	.paper = "Liu et al. 2024, DoRA: Weight-Decomposed Low-Rank Adaptation",
	.kinds = 1u << PT_SITE_LINEAR | 1u << PT_SITE_EMBEDDING,
	.merges = true,
	.lowrank = true,
	.defaults = PT_LORA_DEFAULTS("\"none\"", "8", "8", "true"),
	.options = pt_lora_options,
	.targets = pt_lora_targets,
	.parse = parse,
	.observe = pt_lora_observe,
	.create = create,
	.init = init,
	.merge = merge,
	.release = release,
};
