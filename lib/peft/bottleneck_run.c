/* SPDX-License-Identifier: MIT */
/*
 * bottleneck_run.c - the formulas of bottleneck adapters, as AdapterHub's
 * library computes them: with h the output of a sub-block, x the residual
 * stream and LN the norm behind (none: nothing is normed),
 *
 *     h' = LN(h + x) with original_ln_before, else h' = h
 *     z = up(act(down(h'))) * scaling, dropped out, gated
 *     o = z + residual
 *
 * and LN(o + x) goes on, or o itself where original_ln_after is false. A
 * parallel one reads x, o = h + z.
 */
#include "peft/bottleneck.h"

/* Layer norms of its own have torch's default. */
#define EPS 1e-5f

static struct pt_tensor *own_norm(struct pt_run *run, struct pt_param *w, struct pt_param *b, struct pt_tensor *x)
{
	struct pt_norm norm = { .kind = PT_NORM_LAYER, .w = &w->t, .b = &b->t, .eps = EPS };

	return pt_op_norm(run, x, &norm);
}

static struct pt_tensor *linear(struct pt_run *run, struct pt_param *w, struct pt_param *b, struct pt_tensor *x)
{
	struct pt_linear lin = { .w = &w->t, .bias = &b->t };

	return pt_op_linear(run, x, &lin);
}

/* y, made of x, which is not needed any more; keep is the caller's. */
static struct pt_tensor *next(struct pt_run *run, struct pt_tensor *y, struct pt_tensor *x, const struct pt_tensor *keep)
{
	if (x != y && x != keep)
		pt_tensor_done(run, x);
	return y;
}

/* z times one learned number: spread over the features, exactly. */
static struct pt_tensor *scale_by(struct pt_run *run, const struct pt_bottleneck_site *p, struct pt_tensor *z)
{
	struct pt_linear spread = { .w = (struct pt_tensor *)(uintptr_t)&p->b->ones };
	struct pt_compute was = pt_run_exact(run);
	struct pt_tensor *one = pt_op_reshape(run, &p->scaling->t, 1, 1), *all = pt_op_linear(run, one, &spread);

	pt_tensor_done(run, one);
	pt_run_resume(run, was);
	z = pt_op_affine(run, z, all, NULL);
	pt_tensor_done(run, all);
	return z;
}

static struct pt_tensor *scaled(struct pt_run *run, const struct pt_bottleneck_site *p, struct pt_tensor *z)
{
	switch (p->b->scaling) {
	case PT_SCALING_LEARNED:
		return scale_by(run, p, z);
	case PT_SCALING_CHANNEL:
		return pt_op_affine(run, z, &p->scaling->t, NULL);
	default:
		return p->b->scale == 1 ? z : pt_op_scale(run, z, p->b->scale);
	}
}

/* The sequence of each row; rows of none see the first's. */
static const int32_t *sequences(struct pt_run *run, const struct pt_rows *rows)
{
	int32_t *at = pt_pool_alloc(&run->pool, (size_t)rows->n * sizeof *at, &run->err);

	if (!at)
		return NULL;
	for (int64_t i = 0; i < rows->n; i++)
		at[i] = 0;
	for (int b = 0; b < rows->batch; b++)
		for (int32_t i = rows->host_cu[b]; i < rows->host_cu[b + 1]; i++)
			at[i] = b;
	return pt_run_upload(run, at, (size_t)rows->n * sizeof *at);
}

/* z times the mean over each sequence of sigmoid(gate(x)). */
static struct pt_tensor *gated(struct pt_run *run, const struct pt_bottleneck_site *p, struct pt_tensor *x,
			       struct pt_tensor *z)
{
	struct pt_linear spread = { .w = (struct pt_tensor *)(uintptr_t)&p->b->ones };
	const struct pt_rows *rows = x ? x->rows : NULL;
	const int32_t *index = rows ? sequences(run, rows) : NULL;
	struct pt_tensor *g = linear(run, p->gate, p->gate_bias, x), *y;

	if (!index)
		return NULL;
	g = next(run, pt_op_act(run, g, PT_ACT_SIGMOID), g, NULL);
	g = next(run, pt_op_mean(run, g, rows), g, NULL);
	g = next(run, pt_op_gather(run, g, index, rows->n, rows), g, NULL);
	g = next(run, pt_op_linear(run, g, &spread), g, NULL);
	y = pt_op_glu(run, g, z, PT_ACT_NONE);
	pt_tensor_done(run, g);
	return y;
}

static struct pt_tensor *down(struct pt_run *run, const struct pt_bottleneck_site *p, struct pt_tensor *x)
{
	return p->b->phm ? pt_phm_linear(run, &p->down_phm, x) : linear(run, p->down, p->down_bias, x);
}

static struct pt_tensor *up(struct pt_run *run, const struct pt_bottleneck_site *p, struct pt_tensor *x)
{
	return p->b->phm ? pt_phm_linear(run, &p->up_phm, x) : linear(run, p->up, p->up_bias, x);
}

/* z of x. */
static struct pt_tensor *squeeze(struct pt_run *run, const struct pt_bottleneck_site *p, struct pt_tensor *x)
{
	const struct pt_bottleneck *b = p->b;
	struct pt_tensor *z = x;

	if (b->ln_before)
		z = own_norm(run, p->before, p->before_bias, z);
	z = next(run, down(run, p, z), z, x);
	z = next(run, pt_op_act(run, z, b->act), z, NULL);
	z = next(run, up(run, p, z), z, NULL);
	z = next(run, scaled(run, p, z), z, NULL);
	z = next(run, pt_op_dropout(run, z, b->dropout, p->rng), z, NULL);
	return b->gating ? next(run, gated(run, p, x, z), z, NULL) : z;
}

static struct pt_tensor *sum(struct pt_run *run, struct pt_tensor *z, struct pt_tensor *residual)
{
	return next(run, pt_op_add(run, z, residual), z, NULL);
}

static struct pt_tensor *join(struct pt_run *run, struct pt_hook *h, struct pt_joint *at, struct pt_tensor *y)
{
	const struct pt_bottleneck_site *p = ((struct pt_adapter_site *)h->state)->state;
	const struct pt_bottleneck *b = p->b;
	struct pt_tensor *in = y, *both = y, *residual = y, *z;

	at->whole = !b->original_after;
	if (b->parallel) {
		in = at->x;
	} else if (b->original_before) {
		if (at->x)
			both = pt_op_add(run, y, at->x);
		in = pt_joint_norm(run, at, both);
		residual = b->residual == PT_RESIDUAL_OUTPUT ? y : b->residual == PT_RESIDUAL_NORM ? in : both;
		if (both != y && both != in && both != residual)
			pt_tensor_done(run, both);
	}
	z = squeeze(run, p, in);
	if (in != y && in != at->x && in != residual)
		pt_tensor_done(run, in);
	if (b->residual_first && !b->parallel)
		z = sum(run, z, residual);
	if (b->ln_after)
		z = next(run, own_norm(run, p->after, p->after_bias, z), z, NULL);
	if (!b->residual_first || b->parallel)
		z = sum(run, z, residual);
	if (residual != y)
		pt_tensor_done(run, residual);
	return z;
}

const struct pt_hook_ops pt_bottleneck_hook = { .join = join };
