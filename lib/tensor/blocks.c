/* SPDX-License-Identifier: MIT */
/*
 * blocks.c - products with the blocks of a block-diagonal matrix, one small
 * product a block (Qiu et al. 2023, "Controlling Text-to-Image Diffusion by
 * Orthogonal Finetuning").
 */
#include "tensor/op.h"

struct blocks_ctx {
	struct pt_tensor *x, *m, *y;
	int64_t b, n, rows;		/* size and number of blocks; rows of each block of x */
	int64_t step, ld;		/* elements from block to block of x and y, and from row to row */
	bool round_bf16;
};

static size_t size_of(const struct pt_tensor *t)
{
	return pt_dtype_size(t->type);
}

static char *part(void *data, size_t size, int64_t at)
{
	return (char *)data + (size_t)at * size;
}

/* The block of m at i: the only one where all share it. */
static int64_t of_m(const struct blocks_ctx *c, int64_t i)
{
	return c->m->shape[0] == 1 ? 0 : i * c->b * c->b;
}

static int blocks_backward(struct pt_run *run, struct pt_node *node)
{
	const struct blocks_ctx *c = node->ctx;
	void *dx = pt_tape_grad_add(run, c->x), *dm = pt_tape_grad_add(run, c->m);
	size_t sx = size_of(c->x), sy = size_of(c->y);
	int64_t b = c->b;

	for (int64_t i = 0; i < c->n && !run->err.status; i++) {
		struct pt_k_gemm back = {
			.m = c->rows, .n = b, .k = b, .a = part(c->y->grad, sy, i * c->step), .at = c->y->grad_type, .lda = c->ld,
			.b = part(c->m->data, sizeof(float), of_m(c, i)), .bt = PT_F32, .ldb = b, .tb = true, .ct = c->x->grad_type,
			.ldc = c->ld, .alpha = 1, .beta = 1, .round_bf16 = c->round_bf16,
		};
		struct pt_k_gemm turn = {
			.m = b, .n = b, .k = c->rows, .a = part(c->x->data, sx, i * c->step), .at = c->x->type, .lda = c->ld,
			.ta = true, .b = back.a, .bt = c->y->grad_type, .ldb = c->ld, .ct = PT_F32, .ldc = b, .alpha = 1, .beta = 1,
			.round_bf16 = c->round_bf16,
		};

		if (dx) {
			back.c = part(dx, pt_dtype_size(c->x->grad_type), i * c->step);
			run->dev->k->gemm(run->dev, &back, &run->err);
		}
		if (dm && !run->err.status) {
			turn.c = part(dm, sizeof(float), of_m(c, i));
			run->dev->k->gemm(run->dev, &turn, &run->err);
		}
	}
	return run->err.status;
}

struct pt_tensor *pt_op_blocks(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *m, int64_t b, bool stacked)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct blocks_ctx c = { .x = x, .m = m, .b = b, .round_bf16 = run->round_bf16 };
	struct pt_tensor *in[2] = { x, m };
	struct pt_node *node;

	if (!pt_op_in(run, "blocks", x, 2) || !pt_op_in(run, "blocks", m, 2) || !pt_op_act_type(run, "blocks", x))
		return NULL;
	c.n = stacked ? x->shape[0] : x->shape[1] / b;
	c.rows = stacked ? b : x->shape[0];
	c.step = stacked ? b * b : b;
	c.ld = stacked ? b : x->shape[1];
	if (m->type != PT_F32 || m->shape[1] != b * b || (m->shape[0] != c.n && m->shape[0] != 1) ||
	    (stacked ? x->shape[1] != b * b : x->shape[1] % b != 0)) {
		pt_op_fail(run, PT_FAIL, "blocks: %lld blocks of %lld do not fit %lld features", (long long)m->shape[0],
			   (long long)b, (long long)x->shape[1]);
		return NULL;
	}
	c.y = pt_op_like(run, x);
	for (int64_t i = 0; c.y && i < c.n; i++) {
		struct pt_k_gemm g = {
			.m = c.rows, .n = b, .k = b, .a = part(x->data, size_of(x), i * c.step), .at = x->type, .lda = c.ld,
			.b = part(m->data, sizeof(float), of_m(&c, i)), .bt = PT_F32, .ldb = b,
			.c = part(c.y->data, size_of(c.y), i * c.step), .ct = c.y->type, .ldc = c.ld, .alpha = 1,
			.round_bf16 = c.round_bf16,
		};

		if (run->dev->k->gemm(run->dev, &g, &run->err))
			return NULL;
	}
	if (!c.y)
		return NULL;
	c.y->needs_grad = pt_op_wants(run, x) || pt_op_wants(run, m);
	if (!run->record || !c.y->needs_grad)
		return c.y;
	node = pt_tape_push(run, "blocks", blocks_backward, mark, in, 2, &c.y, 1, sizeof c);
	if (!node)
		return NULL;
	*(struct blocks_ctx *)node->ctx = c;
	if (pt_op_wants(run, m))
		pt_tape_save(run, node, x);
	pt_tape_save(run, node, m);
	return c.y;
}
