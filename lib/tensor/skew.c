/* SPDX-License-Identifier: MIT */
/*
 * skew.c - skew matrices from what is above their diagonals: elements are put
 * to their places by an index, which costs as much as they do.
 */
#include "base/mem.h"
#include "tensor/op.h"

struct skew_ctx {
	struct pt_tensor *v, *y;
	const int32_t *above, *below;
};

int32_t *pt_skew_places(int64_t n, int64_t b, struct pt_error *err)
{
	int64_t e = b * (b - 1) / 2, k = 0;
	int32_t *place;

	if (b > INT32_MAX / b || n > INT32_MAX / (b * b)) {
		pt_error(err, PT_FAIL, "skew: %lld blocks of %lld are too many", (long long)n, (long long)b);
		return NULL;
	}
	place = pt_malloc((size_t)(2 * n * e), sizeof *place, err);
	for (int64_t m = 0; place && m < n; m++) {
		for (int64_t i = 0; i < b; i++) {
			for (int64_t j = i + 1; j < b; j++, k++) {
				place[k] = (int32_t)(m * b * b + i * b + j);
				place[n * e + k] = (int32_t)(m * b * b + j * b + i);
			}
		}
	}
	return place;
}

static int skew_backward(struct pt_run *run, struct pt_node *node)
{
	const struct skew_ctx *c = node->ctx;
	float *dv = pt_tape_grad_add(run, c->v);
	int64_t n = pt_tensor_count(c->v);
	void *picked;

	if (!dv || !pt_op_scratch(run, (size_t)n * sizeof(float), &picked))
		return run->err.status;
	for (int i = 0; i < 2 && !run->err.status; i++) {
		if (!run->dev->k->gather_fwd(run->dev, n, sizeof(float), c->y->grad, i ? c->below : c->above, picked, &run->err))
			run->dev->k->axpby(run->dev, PT_F32, (size_t)n, i ? -1 : 1, picked, 1, dv, &run->err);
	}
	pt_op_scratch_drop(run, picked);
	return run->err.status;
}

struct pt_tensor *pt_op_skew(struct pt_run *run, struct pt_tensor *v, int64_t b, const int32_t *places)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct skew_ctx c = { .v = v };
	struct pt_node *node;
	void *minus;
	int64_t n;

	if (!pt_op_in(run, "skew", v, 2))
		return NULL;
	n = pt_tensor_count(v);
	if (v->type != PT_F32 || v->shape[1] != b * (b - 1) / 2) {
		pt_op_fail(run, PT_FAIL, "skew: no f32 triangles of %lld", (long long)b);
		return NULL;
	}
	c.above = places;
	c.below = places + n;
	c.y = pt_tensor_new_f32(run, 2, (int64_t[]){ v->shape[0], b * b }, NULL);
	if (!c.y || !pt_op_scratch(run, (size_t)n * sizeof(float), &minus))
		return NULL;
	if (!run->dev->k->fill(run->dev, PT_F32, c.y->data, (size_t)pt_tensor_count(c.y), 0, &run->err) &&
	    !run->dev->k->gather_bwd(run->dev, PT_F32, n, 1, v->data, c.above, true, c.y->data, &run->err) &&
	    !run->dev->k->axpby(run->dev, PT_F32, (size_t)n, -1, v->data, 0, minus, &run->err))
		run->dev->k->gather_bwd(run->dev, PT_F32, n, 1, minus, c.below, true, c.y->data, &run->err);
	pt_op_scratch_drop(run, minus);
	if (run->err.status)
		return NULL;
	c.y->needs_grad = pt_op_wants(run, v);
	if (!run->record || !c.y->needs_grad)
		return c.y;
	node = pt_op_node1(run, "skew", skew_backward, mark, v, c.y, sizeof c);
	if (!node)
		return NULL;
	*(struct skew_ctx *)node->ctx = c;
	return c.y;
}
