/* SPDX-License-Identifier: MIT */
/*
 * cayley.c - rotations from skew matrices: R = (I - Q) (I + Q)^-1, block by
 * block. I + Q always has an inverse, M, which is found in double on the host,
 * since blocks are small; R = 2 M - I, and the gradient of Q is
 * -2 M' G M'.
 */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tensor/op.h"

struct cayley_ctx {
	struct pt_tensor *q, *y;
	float *inverse;			/* [n,b*b] */
	int64_t b;
};

/* I + Q becomes its inverse: Gauss-Jordan, whose pivots are at least 1, the rest being skew. */
static void invert(double *m, int64_t b)
{
	for (int64_t c = 0; c < b; c++) {
		double f = 1 / m[c * b + c];

		m[c * b + c] = 1;
		for (int64_t j = 0; j < b; j++)
			m[c * b + j] *= f;
		for (int64_t i = 0; i < b; i++) {
			f = m[i * b + c];
			if (i == c || f == 0)
				continue;
			m[i * b + c] = 0;
			for (int64_t j = 0; j < b; j++)
				m[i * b + j] -= f * m[c * b + j];
		}
	}
}

int pt_cayley_inverses(const float *q, int64_t n, int64_t b, float *inverse, float *turn, struct pt_error *err)
{
	double *m = pt_malloc((size_t)(b * b), sizeof *m, err);

	if (!m)
		return err->status;
	for (int64_t k = 0; k < n; k++) {
		for (int64_t i = 0; i < b * b; i++)
			m[i] = (double)q[k * b * b + i] + (i % (b + 1) == 0);
		invert(m, b);
		for (int64_t i = 0; i < b * b; i++) {
			double eye = i % (b + 1) == 0;

			if (inverse)
				inverse[k * b * b + i] = (float)m[i];
			turn[k * b * b + i] = (float)(2 * (m[i] - eye));
		}
	}
	free(m);
	return 0;
}

static int cayley_backward(struct pt_run *run, struct pt_node *node)
{
	const struct cayley_ctx *c = node->ctx;
	float *dq = pt_tape_grad_add(run, c->q);
	int64_t b = c->b, n = c->q->shape[0];
	void *scratch;

	if (!dq || !pt_op_scratch(run, (size_t)(b * b) * sizeof(float), &scratch))
		return run->err.status;
	for (int64_t k = 0; k < n && !run->err.status; k++) {
		struct pt_k_gemm g = {
			.m = b, .n = b, .k = b, .at = PT_F32, .bt = PT_F32, .ct = PT_F32, .lda = b, .ldb = b, .ldc = b,
			.a = c->inverse + k * b * b, .ta = true, .b = (float *)c->y->grad + k * b * b, .c = scratch, .alpha = -2,
		};

		run->dev->k->gemm(run->dev, &g, &run->err);
		g.a = scratch;
		g.ta = false;
		g.b = c->inverse + k * b * b;
		g.tb = true;
		g.c = dq + k * b * b;
		g.alpha = g.beta = 1;
		if (!run->err.status)
			run->dev->k->gemm(run->dev, &g, &run->err);
	}
	pt_op_scratch_drop(run, scratch);
	return run->err.status;
}

struct pt_tensor *pt_op_cayley(struct pt_run *run, struct pt_tensor *q, int64_t b)
{
	size_t mark = pt_arena_mark(&run->arena), count;
	struct cayley_ctx c = { .q = q, .b = b };
	float *host, *inverse, *turn;
	struct pt_node *node;
	bool records;

	if (!pt_op_in(run, "cayley", q, 2))
		return NULL;
	if (q->type != PT_F32 || q->shape[1] != b * b) {
		pt_op_fail(run, PT_FAIL, "cayley: no f32 blocks of %lld", (long long)b);
		return NULL;
	}
	count = (size_t)pt_tensor_count(q);
	c.y = pt_tensor_new_f32(run, 2, q->shape, NULL);
	if (!c.y)
		return NULL;
	c.y->needs_grad = pt_op_wants(run, q);
	records = run->record && c.y->needs_grad;
	if (records && !(c.inverse = pt_op_keep(run, (int64_t)count, sizeof *c.inverse)))
		return NULL;
	host = pt_malloc(3 * count, sizeof *host, &run->err);
	inverse = host ? host + count : NULL;
	turn = host ? host + 2 * count : NULL;
	if (host && !run->dev->download(run->dev, host, q->data, count * sizeof *host, &run->err) &&
	    !pt_cayley_inverses(host, q->shape[0], b, inverse, turn, &run->err) &&
	    !run->dev->upload(run->dev, c.y->data, turn, count * sizeof *host, &run->err) && records)
		run->dev->upload(run->dev, c.inverse, inverse, count * sizeof *host, &run->err);
	free(host);
	if (run->err.status || !records)
		return run->err.status ? NULL : c.y;
	node = pt_op_node1(run, "cayley", cayley_backward, mark, q, c.y, sizeof c);
	if (!node)
		return NULL;
	*(struct cayley_ctx *)node->ctx = c;
	return c.y;
}
