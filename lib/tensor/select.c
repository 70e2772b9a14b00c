/* SPDX-License-Identifier: MIT */
/*
 * select.c - operations on rows: embeddings, gathered rows, means of sequences.
 */
#include "base/mem.h"
#include "tensor/op.h"

static int embed_backward(struct pt_run *run, struct pt_node *node)
{
	struct pt_k_embed k = *(struct pt_k_embed *)node->ctx;

	k.y = NULL;
	k.dy = node->out[0]->grad;
	k.dw = pt_tape_grad_add(run, node->in[0]);
	return k.dw ? run->dev->k->embed_bwd(run->dev, &k, &run->err) : run->err.status;
}

struct pt_tensor *pt_op_embed(struct pt_run *run, struct pt_tensor *w, bool transposed,
			      const int32_t *ids, const struct pt_rows *rows, float scale, int64_t pad)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_node *node;
	struct pt_tensor *y;
	struct pt_k_embed k;
	int64_t shape[2];

	if (!pt_op_in(run, "embed", w, 2))
		return NULL;
	shape[0] = rows->n;
	shape[1] = w->shape[transposed ? 0 : 1];
	y = pt_tensor_new(run, 2, shape, rows);
	if (!y)
		return NULL;
	k = (struct pt_k_embed){ .n = shape[0], .c = shape[1], .v = w->shape[transposed ? 1 : 0],
		.ids = ids, .w = w->data, .wtype = w->type, .transposed = transposed, .scale = scale,
		.pad = pad, .y = y->data, .type = y->type };
	if (run->dev->k->embed_fwd(run->dev, &k, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, w);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_op_node1(run, "embed", embed_backward, mark, w, y, sizeof k);
	if (!node)
		return NULL;
	*(struct pt_k_embed *)node->ctx = k;
	return y;
}

struct select_ctx {
	const int32_t *idx;
	const struct pt_rows *rows;
};

static int gather_backward(struct pt_run *run, struct pt_node *node)
{
	const struct select_ctx *c = node->ctx;
	const struct pt_tensor *y = node->out[0];
	void *dx = pt_tape_grad_add(run, node->in[0]);

	return dx ? run->dev->k->gather_bwd(run->dev, y->type, y->shape[0], y->shape[1], y->grad, c->idx, false, dx,
					    &run->err) : run->err.status;
}

struct pt_tensor *pt_op_gather(struct pt_run *run, struct pt_tensor *x, const int32_t *idx, int64_t n,
			       const struct pt_rows *rows)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_node *node;
	struct pt_tensor *y;
	int64_t shape[2];

	if (!pt_op_in(run, "gather", x, 2) || !pt_op_act_type(run, "gather", x))
		return NULL;
	shape[0] = n;
	shape[1] = x->shape[1];
	y = pt_tensor_new(run, 2, shape, rows);
	if (!y || run->dev->k->gather_fwd(run->dev, n, (size_t)shape[1] * pt_dtype_size(y->type),
					  x->data, idx, y->data, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_op_node1(run, "gather", gather_backward, mark, x, y, sizeof(struct select_ctx));
	if (!node)
		return NULL;
	*(struct select_ctx *)node->ctx = (struct select_ctx){ idx, NULL };
	return y;
}

const int32_t *pt_pieces_index(struct pt_run *run, int64_t rows, int total, const int *piece, int n)
{
	int32_t *idx;
	size_t bytes;

	if (run->err.status)
		return NULL;
	if (rows < 0 || n < 1 || total < 1 || !pt_mul_size((size_t)rows, (size_t)n * sizeof *idx, &bytes) ||
	    rows > INT32_MAX / total) {
		pt_op_fail(run, PT_FAIL, "pieces: %lld rows of %d are too many", (long long)rows, total);
		return NULL;
	}
	idx = pt_pool_alloc(&run->pool, bytes, &run->err);
	for (int64_t i = 0; idx && i < rows; i++)
		for (int j = 0; j < n; j++)
			idx[i * n + j] = (int32_t)(i * total + piece[j]);
	return idx ? pt_run_upload(run, idx, bytes) : NULL;
}

struct pieces_ctx {
	const int32_t *idx;
	int64_t n, width;
};

static int pieces_backward(struct pt_run *run, struct pt_node *node)
{
	const struct pieces_ctx *c = node->ctx;
	void *dx = pt_tape_grad_add(run, node->in[0]);

	return dx ? run->dev->k->gather_bwd(run->dev, node->out[0]->type, c->n, c->width,
					    node->out[0]->grad, c->idx, true, dx, &run->err) : run->err.status;
}

/* A row of x is as many rows of pieces, so this is a gather of those. */
struct pt_tensor *pt_op_pieces(struct pt_run *run, struct pt_tensor *x, int total, const int32_t *index,
			       int n)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pieces_ctx c = { .idx = index };
	struct pt_node *node;
	struct pt_tensor *y;
	int64_t shape[2];

	if (!pt_op_in(run, "pieces", x, 2) || !pt_op_act_type(run, "pieces", x))
		return NULL;
	if (x->shape[1] % total) {
		pt_op_fail(run, PT_FAIL, "pieces: %lld features are not %d of one width",
			   (long long)x->shape[1], total);
		return NULL;
	}
	c.width = x->shape[1] / total;
	c.n = x->shape[0] * n;
	shape[0] = x->shape[0];
	shape[1] = c.width * n;
	y = pt_tensor_new(run, 2, shape, x->rows);
	if (!y || run->dev->k->gather_fwd(run->dev, c.n, (size_t)c.width * pt_dtype_size(y->type),
					  x->data, index, y->data, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_op_node1(run, "pieces", pieces_backward, mark, x, y, sizeof c);
	if (!node)
		return NULL;
	*(struct pieces_ctx *)node->ctx = c;
	return y;
}

static int mean_backward(struct pt_run *run, struct pt_node *node)
{
	const struct select_ctx *c = node->ctx;
	const struct pt_tensor *y = node->out[0];
	bool acc;
	void *dx;

	/* The kernel writes the rows of sequences only: others must be zero. */
	if (node->in[0]->shape[0] != c->rows->host_cu[c->rows->batch]) {
		dx = pt_tape_grad_add(run, node->in[0]);
		acc = true;
	} else {
		dx = pt_tape_grad(run, node->in[0], &acc);
	}
	return dx ? run->dev->k->mean_bwd(run->dev, y->type, c->rows->batch, y->shape[1], y->grad, c->rows->cu, dx,
					  acc, &run->err) : run->err.status;
}

struct pt_tensor *pt_op_mean(struct pt_run *run, struct pt_tensor *x, const struct pt_rows *rows)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_node *node;
	struct pt_tensor *y;
	int64_t shape[2];

	if (!pt_op_in(run, "mean", x, 2) || !pt_op_act_type(run, "mean", x))
		return NULL;
	if (!rows || x->shape[0] < rows->host_cu[rows->batch]) {
		pt_op_fail(run, PT_FAIL, "mean: %lld rows do not fit the sequences", (long long)x->shape[0]);
		return NULL;
	}
	shape[0] = rows->batch;
	shape[1] = x->shape[1];
	y = pt_tensor_new(run, 2, shape, NULL);
	if (!y || run->dev->k->mean_fwd(run->dev, y->type, rows->batch, shape[1], x->data, rows->cu, y->data,
					&run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_op_node1(run, "mean", mean_backward, mark, x, y, sizeof(struct select_ctx));
	if (!node)
		return NULL;
	*(struct select_ctx *)node->ctx = (struct select_ctx){ NULL, rows };
	return y;
}
