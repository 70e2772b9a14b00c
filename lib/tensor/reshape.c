/* SPDX-License-Identifier: MIT */
/*
 * reshape.c - the same elements under another shape, and what is made of it: a
 * transpose, the Kronecker product (LoKr).
 */
#include <string.h>

#include "tensor/op.h"

static int reshape_backward(struct pt_run *run, struct pt_node *node)
{
	return pt_tape_give(run, node->in[0], node->out[0]->grad);
}

struct pt_tensor *pt_op_reshape(struct pt_run *run, struct pt_tensor *x, int64_t rows, int64_t cols)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_tensor *y;

	if (!pt_op_in(run, "reshape", x, 0) || !pt_op_act_type(run, "reshape", x))
		return NULL;
	if (rows * cols != pt_tensor_count(x)) {
		pt_op_fail(run, PT_FAIL, "reshape: %lld elements are not [%lld,%lld]", (long long)pt_tensor_count(x),
			   (long long)rows, (long long)cols);
		return NULL;
	}
	y = pt_tensor_new(run, 2, (int64_t[]){ rows, cols }, NULL);
	if (!y || run->dev->k->copy(run->dev, y->data, x->data, (size_t)(rows * cols) * pt_dtype_size(y->type), &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x);
	if (run->record && y->needs_grad && !pt_op_node1(run, "reshape", reshape_backward, mark, x, y, 0))
		return NULL;
	return y;
}

/* Piece k*m+j is piece j*n+k: [m,n] pieces to [n,m]. */
static struct pt_tensor *swap(struct pt_run *run, struct pt_tensor *x, int m, int n)
{
	int64_t all = (int64_t)m * n, count = x ? x->shape[0] * all : 0;
	int32_t *host = x ? pt_pool_alloc(&run->pool, (size_t)count * sizeof *host, &run->err) : NULL;
	/* Where backward finds it, and gone behind it. */
	int32_t *index = host ? pt_op_keep(run, count, sizeof *index) : NULL;

	for (int64_t i = 0; index && i < count; i++)
		host[i] = (int32_t)(i / all * all + i % all % m * n + i % all / m);
	if (!index || run->dev->upload(run->dev, index, host, (size_t)count * sizeof *host, &run->err))
		return NULL;
	return pt_op_pieces(run, x, m * n, index, m * n);
}

struct pt_tensor *pt_op_transpose(struct pt_run *run, struct pt_tensor *x)
{
	struct pt_tensor *row, *y, *z;
	int64_t rows, cols;

	if (!pt_op_in(run, "transpose", x, 2))
		return NULL;
	rows = x->shape[0], cols = x->shape[1];
	if (rows * cols > INT32_MAX) {
		pt_op_fail(run, PT_FAIL, "transpose: %lld elements are too many", (long long)(rows * cols));
		return NULL;
	}
	row = pt_op_reshape(run, x, 1, rows * cols);
	y = swap(run, row, (int)rows, (int)cols);
	pt_tensor_done(run, row);
	z = y ? pt_op_reshape(run, y, cols, rows) : NULL;
	pt_tensor_done(run, y);
	return z;
}

/* All products, a row for each element of a, brought to the order of the block matrix. */
struct pt_tensor *pt_op_kron(struct pt_run *run, struct pt_tensor *a, struct pt_tensor *b)
{
	struct pt_linear outer = { 0 };
	struct pt_tensor *x, *y, *z;
	int64_t l, m, k, n;

	if (!pt_op_in(run, "kron", a, 2) || !pt_op_in(run, "kron", b, 2))
		return NULL;
	l = a->shape[0], m = a->shape[1], k = b->shape[0], n = b->shape[1];
	x = pt_op_reshape(run, a, l * m, 1);
	outer.w = y = pt_op_reshape(run, b, k * n, 1);
	if (!x || !y)
		return NULL;
	z = pt_op_linear(run, x, &outer);
	pt_tensor_done(run, x);
	pt_tensor_done(run, y);
	x = pt_op_reshape(run, z, l, m * k * n);
	pt_tensor_done(run, z);
	y = swap(run, x, (int)m, (int)k);
	pt_tensor_done(run, x);
	z = pt_op_reshape(run, y, l * k, m * n);
	pt_tensor_done(run, y);
	return z;
}
