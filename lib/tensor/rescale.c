/* SPDX-License-Identifier: MIT */
/*
 * rescale.c - a linear's rows brought to lengths that train (Liu et al. 2024,
 * "DoRA: Weight-Decomposed Low-Rank Adaptation"): the lengths that they have,
 * found without forming the product of the low-rank term, and the factor on
 * the output.
 */
#include "tensor/op.h"

/*
 * || W + s B A ||^2 of a row is ||W||^2 + B . (2 s W A' + s^2 B A A'): a
 * product with W of as many columns as the term's rank.
 */
int pt_op_row_norms(struct pt_run *run, const struct pt_linear *lin, const float *sumsq, float *inv)
{
	const struct pt_lowrank *t = lin->term;
	const struct pt_kernels *k = run->dev->k;
	int64_t r = t->a->shape[0], in = t->a->shape[1], n = t->b->shape[0];
	struct pt_k_gemm p = {
		.m = n, .n = r, .k = in, .a = lin->w->data, .at = lin->w->type, .lda = lin->transposed ? n : in,
		.ta = lin->transposed, .b = t->a->data, .bt = PT_F32, .ldb = in, .tb = true, .ct = PT_F32, .ldc = r,
		.alpha = 2 * t->scale,
	};
	struct pt_k_gemm gram = {
		.m = r, .n = r, .k = in, .a = t->a->data, .at = PT_F32, .lda = in, .b = t->a->data, .bt = PT_F32,
		.ldb = in, .tb = true, .ct = PT_F32, .ldc = r, .alpha = 1,
	};
	struct pt_k_gemm more = {
		.m = n, .n = r, .k = r, .a = t->b->data, .at = PT_F32, .lda = r, .bt = PT_F32, .ldb = r, .ct = PT_F32,
		.ldc = r, .alpha = t->scale * t->scale, .beta = 1,
	};

	if (!pt_op_scratch(run, (size_t)(n * r) * sizeof(float), &p.c) ||
	    !pt_op_scratch(run, (size_t)(r * r) * sizeof(float), &gram.c))
		return run->err.status;
	more.b = gram.c;
	more.c = p.c;
	if (!k->gemm(run->dev, &p, &run->err) && !k->gemm(run->dev, &gram, &run->err) &&
	    !k->gemm(run->dev, &more, &run->err))
		k->inv_norm(run->dev, n, r, sumsq, t->b->data, p.c, inv, &run->err);
	pt_op_scratch_drop(run, gram.c);
	pt_op_scratch_drop(run, p.c);
	return run->err.status;
}

struct rescale_ctx {
	struct pt_tensor *x, *m, *bias, *y;
	const float *inv;
};

/* Vectors of the width of the output that a call works with. */
enum { FACTOR, BIAS, SHIFT, D_FACTOR, D_SHIFT, VECTORS };

/* factor = m inv, and the bias as f32. */
static int factors(struct pt_run *run, const struct rescale_ctx *c, int64_t n, float *v)
{
	const struct pt_kernels *k = run->dev->k;

	if (k->affine_fwd(run->dev, PT_F32, 1, n, c->m->data, c->inv, NULL, v + FACTOR * n, &run->err))
		return run->err.status;
	return c->bias ? k->convert(run->dev, v + BIAS * n, PT_F32, c->bias->data, c->bias->type, (size_t)n, &run->err) : 0;
}

/* to += g - g w */
static int add_rest(struct pt_run *run, int64_t n, const float *g, const float *w, float *tmp, float *to)
{
	const struct pt_kernels *k = run->dev->k;

	if (k->affine_fwd(run->dev, PT_F32, 1, n, g, w, NULL, tmp, &run->err) ||
	    k->axpby(run->dev, PT_F32, (size_t)n, 1, g, 1, to, &run->err))
		return run->err.status;
	return k->axpby(run->dev, PT_F32, (size_t)n, -1, tmp, 1, to, &run->err);
}

/* dm += inv (d_factor - bias d_shift) */
static int magnitude_grad(struct pt_run *run, const struct rescale_ctx *c, int64_t n, float *v, float *dm)
{
	const struct pt_kernels *k = run->dev->k;
	float *tmp = v + SHIFT * n, *df = v + D_FACTOR * n;

	if (c->bias && (k->affine_fwd(run->dev, PT_F32, 1, n, v + D_SHIFT * n, v + BIAS * n, NULL, tmp, &run->err) ||
			k->axpby(run->dev, PT_F32, (size_t)n, -1, tmp, 1, df, &run->err)))
		return run->err.status;
	if (k->affine_fwd(run->dev, PT_F32, 1, n, df, c->inv, NULL, tmp, &run->err))
		return run->err.status;
	return k->axpby(run->dev, PT_F32, (size_t)n, 1, tmp, 1, dm, &run->err);
}

static int rescale_backward(struct pt_run *run, struct pt_node *node)
{
	const struct rescale_ctx *c = node->ctx;
	const struct pt_kernels *k = run->dev->k;
	int64_t n = c->x->shape[1];
	float *dm = pt_tape_grad_add(run, c->m), *db = pt_tape_grad_add(run, c->bias), *v, *df, *ds;
	bool acc;
	void *dx = pt_tape_grad(run, c->x, &acc), *scratch;

	if (!pt_op_scratch(run, (size_t)(VECTORS * n) * sizeof(float), &scratch) || factors(run, c, n, v = scratch))
		return run->err.status;
	df = dm ? v + D_FACTOR * n : NULL;
	ds = (dm && c->bias) || db ? v + D_SHIFT * n : NULL;
	if (!k->fill(run->dev, PT_F32, v + D_FACTOR * n, (size_t)n, 0, &run->err) &&
	    !k->fill(run->dev, PT_F32, v + D_SHIFT * n, (size_t)n, 0, &run->err) &&
	    !k->affine_bwd(run->dev, c->y->type, c->x->shape[0], n, c->x->data, v + FACTOR * n, c->y->grad, dx, acc, df,
			   ds, &run->err) &&
	    !(db && add_rest(run, n, ds, v + FACTOR * n, v + SHIFT * n, db)) && dm)
		magnitude_grad(run, c, n, v, dm);
	pt_op_scratch_drop(run, scratch);
	return run->err.status;
}

struct pt_tensor *pt_op_rescale(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *m, const float *inv,
				struct pt_tensor *bias)
{
	size_t mark = pt_arena_mark(&run->arena);
	const struct pt_kernels *k = run->dev->k;
	struct rescale_ctx c = { .x = x, .m = m, .bias = bias, .inv = inv };
	struct pt_tensor *in[3] = { x, m, bias };
	struct pt_node *node;
	void *scratch;
	float *v;
	int64_t n;

	if (!pt_op_in(run, "rescale", x, 2) || !pt_op_act_type(run, "rescale", x) || !pt_op_in(run, "rescale", m, 1) ||
	    (bias && !pt_op_in(run, "rescale", bias, 1)))
		return NULL;
	n = x->shape[1];
	if (m->shape[0] != n || m->type != PT_F32 || (bias && bias->shape[0] != n)) {
		pt_op_fail(run, PT_FAIL, "rescale: a vector does not fit %lld features", (long long)n);
		return NULL;
	}
	c.y = pt_op_like(run, x);
	if (!c.y || !pt_op_scratch(run, (size_t)(VECTORS * n) * sizeof(float), &scratch))
		return NULL;
	v = scratch;
	/* What is left of the bias: bias - bias factor. */
	if (!factors(run, &c, n, v) && bias && !k->fill(run->dev, PT_F32, v + SHIFT * n, (size_t)n, 0, &run->err))
		add_rest(run, n, v + BIAS * n, v + FACTOR * n, v + D_SHIFT * n, v + SHIFT * n);
	if (!run->err.status)
		k->affine_fwd(run->dev, c.y->type, x->shape[0], n, x->data, v + FACTOR * n, bias ? v + SHIFT * n : NULL,
			      c.y->data, &run->err);
	pt_op_scratch_drop(run, scratch);
	if (run->err.status)
		return NULL;
	c.y->needs_grad = pt_op_wants(run, x) || pt_op_wants(run, m) || pt_op_wants(run, bias);
	if (!run->record || !c.y->needs_grad)
		return c.y;
	node = pt_tape_push(run, "rescale", rescale_backward, mark, in, bias ? 3 : 2, &c.y, 1, sizeof c);
	if (!node)
		return NULL;
	*(struct rescale_ctx *)node->ctx = c;
	if (pt_op_wants(run, m))
		pt_tape_save(run, node, x);
	return c.y;
}
