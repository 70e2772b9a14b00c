/* SPDX-License-Identifier: MIT */
/*
 * orth.c - how far the rows or columns of a parameter are from orthonormal:
 * the regulariser of AdaLoRA (Zhang et al. 2023).
 */
#include "tensor/op.h"

struct orth_ctx {
	struct pt_tensor *t, *y;
	float *rest;			/* [R,R] T T' - I */
	float *inv;			/* [1] 1 / || rest ||; 0 where that is 0, as torch's gradient is */
	int64_t r;
	bool columns;
};

/* T T' - I, or T' T - I. */
static int gram(struct pt_run *run, const struct orth_ctx *c)
{
	int64_t cols = c->t->shape[1], r = c->r;
	struct pt_k_gemm g = {
		.m = r, .n = r, .k = c->columns ? c->t->shape[0] : cols, .a = c->t->data, .b = c->t->data, .c = c->rest,
		.at = PT_F32, .bt = PT_F32, .ct = PT_F32, .lda = cols, .ldb = cols, .ldc = r, .ta = c->columns,
		.tb = !c->columns, .alpha = 1, .beta = -1,
	};
	float *one = pt_pool_alloc(&run->pool, (size_t)(r * r) * sizeof *one, &run->err);

	for (int64_t i = 0; one && i < r * r; i++)
		one[i] = i % (r + 1) == 0;
	if (!one || run->dev->upload(run->dev, c->rest, one, (size_t)(r * r) * sizeof *one, &run->err))
		return run->err.status;
	return run->dev->k->gemm(run->dev, &g, &run->err);
}

/* The norm is the sum of squares times what divides it. */
static int norm(struct pt_run *run, const struct orth_ctx *c)
{
	const struct pt_kernels *k = run->dev->k;
	int64_t n = c->r * c->r;
	struct pt_k_gemm g = {
		.m = 1, .n = 1, .k = n, .a = c->rest, .b = c->rest, .at = PT_F32, .bt = PT_F32, .ct = PT_F32, .lda = n,
		.ldb = n, .ldc = 1, .tb = true, .alpha = 1,
	};

	if (!pt_op_scratch(run, sizeof(float), &g.c))
		return run->err.status;
	if (!k->fill(run->dev, PT_F32, c->y->data, 1, 0, &run->err) &&
	    !k->inv_norm(run->dev, 1, n, c->y->data, c->rest, c->rest, c->inv, &run->err) &&
	    !k->gemm(run->dev, &g, &run->err))
		k->affine_fwd(run->dev, PT_F32, 1, 1, g.c, c->inv, NULL, c->y->data, &run->err);
	pt_op_scratch_drop(run, g.c);
	return run->err.status;
}

/* dT += 2 dy inv (T T' - I) T */
static int orth_backward(struct pt_run *run, struct pt_node *node)
{
	const struct orth_ctx *c = node->ctx;
	const struct pt_kernels *k = run->dev->k;
	int64_t rows = c->t->shape[0], cols = c->t->shape[1], r = c->r;
	struct pt_k_gemm g = {
		.m = rows, .n = cols, .k = r, .at = PT_F32, .bt = PT_F32, .ct = PT_F32, .lda = c->columns ? cols : r,
		.ldb = c->columns ? r : cols, .ldc = cols, .alpha = 2, .beta = 1,
	};
	void *scratch;
	float *factor;

	g.c = pt_tape_grad_add(run, c->t);
	if (!g.c || !pt_op_scratch(run, (size_t)(r * r + 1) * sizeof(float), &scratch))
		return run->err.status;
	factor = (float *)scratch + r * r;
	g.a = c->columns ? c->t->data : scratch;
	g.b = c->columns ? scratch : c->t->data;
	if (!k->affine_fwd(run->dev, PT_F32, 1, 1, c->y->grad, c->inv, NULL, factor, &run->err) &&
	    !k->affine_fwd(run->dev, PT_F32, r * r, 1, c->rest, factor, NULL, scratch, &run->err))
		k->gemm(run->dev, &g, &run->err);
	pt_op_scratch_drop(run, scratch);
	return run->err.status;
}

struct pt_tensor *pt_op_orthogonality(struct pt_run *run, struct pt_tensor *t, bool columns)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct orth_ctx c = { .t = t, .columns = columns };
	struct pt_node *node;
	void *scratch = NULL;
	bool records;

	if (!pt_op_in(run, "orthogonality", t, 2))
		return NULL;
	if (t->type != PT_F32) {
		pt_op_fail(run, PT_FAIL, "orthogonality: a tensor of another type than f32");
		return NULL;
	}
	c.r = t->shape[columns ? 1 : 0];
	c.y = pt_tensor_new_f32(run, 1, (int64_t[]){ 1 }, NULL);
	if (!c.y)
		return NULL;
	c.y->needs_grad = pt_op_wants(run, t);
	records = run->record && c.y->needs_grad;
	if (records)
		c.rest = pt_op_keep(run, c.r * c.r + 1, sizeof *c.rest);
	else if (pt_op_scratch(run, (size_t)(c.r * c.r + 1) * sizeof *c.rest, &scratch))
		c.rest = scratch;
	if (!c.rest)
		return NULL;
	c.inv = c.rest + c.r * c.r;
	if (!gram(run, &c))
		norm(run, &c);
	pt_op_scratch_drop(run, scratch);
	if (run->err.status || !records)
		return run->err.status ? NULL : c.y;
	node = pt_op_node1(run, "orthogonality", orth_backward, mark, t, c.y, sizeof c);
	if (!node)
		return NULL;
	*(struct orth_ctx *)node->ctx = c;
	pt_tape_save(run, node, t);
	return c.y;
}
