/* SPDX-License-Identifier: MIT */
/*
 * prepend.c - the same rows put before those of every sequence: virtual tokens.
 */
#include "tensor/op.h"

/* Random keys as those of each sequence's first row. */
static const uint64_t *lengthen_keys(struct pt_run *run, const struct pt_rows *rows, const struct pt_rows *more,
				     int front)
{
	int32_t *from = pt_pool_alloc(&run->pool, (size_t)more->n * sizeof *from, &run->err);
	uint64_t *zero = pt_pool_alloc(&run->pool, (size_t)more->n * sizeof *zero, &run->err), *key;
	const int32_t *idx;

	if (!from || !zero)
		return NULL;
	for (int b = 0; b < rows->batch; b++) {
		int32_t first = rows->host_cu[b], at = more->host_cu[b];

		for (int32_t i = at; i < more->host_cu[b + 1]; i++)
			from[i] = i < at + front ? first : first + i - at - front;
	}
	for (int64_t i = more->host_cu[rows->batch], t = rows->host_cu[rows->batch]; i < more->n; i++, t++)
		from[i] = (int32_t)t;
	/* Of an empty last sequence. */
	for (int64_t i = 0; i < more->n; i++)
		from[i] = from[i] < rows->n ? from[i] : (int32_t)rows->n - 1;
	idx = pt_run_upload(run, from, (size_t)more->n * sizeof *from);
	key = pt_run_upload(run, zero, (size_t)more->n * sizeof *key);
	if (run->err.status || run->dev->k->gather_fwd(run->dev, more->n, sizeof *key, rows->key, idx, key, &run->err))
		return NULL;
	return key;
}

const struct pt_rows *pt_rows_lengthen(struct pt_run *run, const struct pt_rows *rows, int front)
{
	struct pt_rows *more = pt_pool_alloc(&run->pool, sizeof *more, &run->err);
	int64_t n = rows->n + (int64_t)front * rows->batch;
	int32_t *cu, *pos;

	if (!more)
		return NULL;
	if (n > INT32_MAX) {
		pt_op_fail(run, PT_DATA, "%d rows before each of %d sequences are too many", front, rows->batch);
		return NULL;
	}
	cu = pt_pool_alloc(&run->pool, ((size_t)rows->batch + 1) * sizeof *cu, &run->err);
	pos = pt_pool_alloc(&run->pool, (size_t)n * sizeof *pos, &run->err);
	if (!cu || !pos)
		return NULL;
	for (int b = 0; b < rows->batch; b++) {
		cu[b + 1] = rows->host_cu[b + 1] + front * (b + 1);
		for (int32_t i = cu[b]; i < cu[b + 1]; i++)
			pos[i] = i - cu[b];
	}
	*more = (struct pt_rows){ .n = n, .batch = rows->batch, .max_len = rows->max_len + front, .host_cu = cu };
	more->cu = pt_run_upload(run, cu, ((size_t)rows->batch + 1) * sizeof *cu);
	more->pos = pt_run_upload(run, pos, (size_t)n * sizeof *pos);
	if (rows->key && rows->n)
		more->key = lengthen_keys(run, rows, more, front);
	return run->err.status ? NULL : more;
}

struct prepend_ctx {
	const struct pt_rows *from, *to;
	int64_t front;
};

static void *at_row(const struct pt_tensor *t, void *base, int64_t row)
{
	return (char *)base + (size_t)(row * t->shape[1]) * pt_dtype_size(t->type);
}

/* to[0..rows) (+)= from[0..rows), rows of t. */
static int move(struct pt_run *run, const struct pt_tensor *t, void *to, const void *from, int64_t rows, bool add)
{
	size_t n = (size_t)(rows * t->shape[1]);

	if (!n)
		return 0;
	return add ? run->dev->k->axpby(run->dev, t->type, n, 1, from, 1, to, &run->err) :
		     run->dev->k->copy(run->dev, to, from, n * pt_dtype_size(t->type), &run->err);
}

/* The sum over sequences, in f32. */
static int front_backward(struct pt_run *run, const struct prepend_ctx *c, struct pt_tensor *front,
			  const struct pt_tensor *y)
{
	size_t n = (size_t)pt_tensor_count(front), bytes = n * sizeof(float);
	const struct pt_kernels *k = run->dev->k;
	void *sum = NULL, *one = NULL;

	if (!front->needs_grad || !pt_op_scratch(run, bytes, &sum) || !pt_op_scratch(run, bytes, &one))
		return run->err.status;
	k->fill(run->dev, PT_F32, sum, n, 0, &run->err);
	for (int b = 0; b < c->to->batch && !run->err.status; b++) {
		const void *g = at_row(y, y->grad, c->to->host_cu[b]);

		if (k->convert(run->dev, one, PT_F32, g, y->type, n, &run->err) == 0)
			k->axpby(run->dev, PT_F32, n, 1, one, 1, sum, &run->err);
	}
	if (!run->err.status && k->convert(run->dev, one, front->grad_type, sum, PT_F32, n, &run->err) == 0)
		pt_tape_give(run, front, one);
	pt_op_scratch_drop(run, one);
	pt_op_scratch_drop(run, sum);
	return run->err.status;
}

static int prepend_backward(struct pt_run *run, struct pt_node *node)
{
	const struct prepend_ctx *c = node->ctx;
	struct pt_tensor *front = node->in[0], *x = node->in[1], *y = node->out[0];
	int32_t end = c->from->host_cu[c->from->batch];
	bool acc;
	void *dx;

	if (front_backward(run, c, front, y) || !x->needs_grad)
		return run->err.status;
	dx = pt_tape_grad(run, x, &acc);
	for (int b = 0; dx && b < c->from->batch; b++) {
		int32_t at = c->from->host_cu[b];

		if (move(run, x, at_row(x, dx, at), at_row(y, y->grad, c->to->host_cu[b] + c->front),
			 c->from->host_cu[b + 1] - at, acc))
			return run->err.status;
	}
	return dx ? move(run, x, at_row(x, dx, end), at_row(y, y->grad, c->to->host_cu[c->to->batch]),
			 c->from->n - end, acc) : run->err.status;
}

struct pt_tensor *pt_op_prepend(struct pt_run *run, struct pt_tensor *front, struct pt_tensor *x,
				const struct pt_rows *rows)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_tensor *in[2] = { front, x }, *y;
	struct prepend_ctx c = { .to = rows };
	struct pt_node *node;
	int32_t end;

	if (!pt_op_in(run, "prepend", front, 2) || !pt_op_in(run, "prepend", x, 2) ||
	    !pt_op_act_type(run, "prepend", front) || !pt_op_act_type(run, "prepend", x))
		return NULL;
	c.from = x->rows;
	c.front = front->shape[0];
	if (!rows || !c.from || front->shape[1] != x->shape[1] || rows->batch != c.from->batch ||
	    rows->n != c.from->n + c.front * rows->batch || x->shape[0] != c.from->n) {
		pt_op_fail(run, PT_FAIL, "prepend: %lld rows of %lld features do not fit before rows of %lld",
			   (long long)c.front, (long long)front->shape[1], (long long)x->shape[1]);
		return NULL;
	}
	y = pt_tensor_new(run, 2, (int64_t[]){ rows->n, x->shape[1] }, rows);
	for (int b = 0; y && b < rows->batch; b++) {
		int32_t from = c.from->host_cu[b], to = rows->host_cu[b];

		if (move(run, x, at_row(y, y->data, to), front->data, c.front, false) ||
		    move(run, x, at_row(y, y->data, to + c.front), at_row(x, x->data, from),
			 c.from->host_cu[b + 1] - from, false))
			return NULL;
	}
	end = c.from->host_cu[c.from->batch];
	if (!y || move(run, x, at_row(y, y->data, rows->host_cu[rows->batch]), at_row(x, x->data, end),
		       c.from->n - end, false))
		return NULL;
	y->needs_grad = pt_op_wants(run, front) || pt_op_wants(run, x);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_tape_push(run, "prepend", prepend_backward, mark, in, 2, &y, 1, sizeof c);
	if (!node)
		return NULL;
	*(struct prepend_ctx *)node->ctx = c;
	return y;
}
