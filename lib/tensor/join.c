/* SPDX-License-Identifier: MIT */
/*
 * join.c - activations one behind the other in memory, under a new shape.
 */
#include "tensor/op.h"

static int join_backward(struct pt_run *run, struct pt_node *node)
{
	const struct pt_tensor *y = node->out[0];
	size_t at = 0;

	for (int i = 0; i < node->nin && !run->err.status; i++) {
		if (node->in[i]->needs_grad)
			pt_tape_give(run, node->in[i], (const char *)y->grad + at);
		at += (size_t)pt_tensor_count(node->in[i]) * pt_dtype_size(y->grad_type);
	}
	return run->err.status;
}

struct pt_tensor *pt_op_join(struct pt_run *run, struct pt_tensor *const *x, int n, int64_t rows, int64_t cols)
{
	size_t mark = pt_arena_mark(&run->arena), at = 0;
	int64_t count = 0;
	struct pt_tensor *y;
	bool grad = false;

	for (int i = 0; i < n; i++) {
		if (!pt_op_in(run, "join", x[i], 2) || !pt_op_act_type(run, "join", x[i]))
			return NULL;
		count += pt_tensor_count(x[i]);
		grad |= pt_op_wants(run, x[i]);
	}
	if (n < 1 || count != rows * cols) {
		pt_op_fail(run, PT_FAIL, "join: %lld elements are not %lld rows of %lld", (long long)count,
			   (long long)rows, (long long)cols);
		return NULL;
	}
	y = pt_tensor_new(run, 2, (int64_t[]){ rows, cols }, NULL);
	for (int i = 0; i < n && y; i++) {
		size_t bytes = (size_t)pt_tensor_count(x[i]) * pt_dtype_size(y->type);

		if (run->dev->k->copy(run->dev, (char *)y->data + at, x[i]->data, bytes, &run->err))
			return NULL;
		at += bytes;
	}
	if (!y)
		return NULL;
	y->needs_grad = grad;
	if (run->record && grad && !pt_tape_push(run, "join", join_backward, mark, x, n, &y, 1, 1))
		return NULL;
	return y;
}
