/* SPDX-License-Identifier: MIT */
/*
 * pairs.c - see pairs.h.
 */
#include "tensor/pairs.h"

#include "tensor/op.h"

static int unit_backward(struct pt_run *run, struct pt_node *node)
{
	struct pt_k_unit k = *(struct pt_k_unit *)node->ctx;

	k.y = node->out[0]->data;
	k.dy = node->out[0]->grad;
	k.dx = pt_tape_grad(run, node->in[0], &k.acc_dx);
	return k.dx ? run->dev->k->unit_bwd(run->dev, &k, &run->err) : run->err.status;
}

struct pt_tensor *pt_op_unit(struct pt_run *run, struct pt_tensor *x)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_k_unit k = { .eps = PT_UNIT_EPS };
	struct pt_node *node;
	struct pt_tensor *y;
	bool record;

	if (!pt_op_in(run, "unit", x, 2) || !pt_op_act_type(run, "unit", x))
		return NULL;
	y = pt_op_like(run, x);
	if (!y)
		return NULL;
	y->needs_grad = pt_op_wants(run, x);
	record = run->record && y->needs_grad;
	k.n = x->shape[0];
	k.c = x->shape[1];
	k.type = x->type;
	k.x = x->data;
	k.y = y->data;
	if (record)
		k.norm = pt_op_keep(run, k.n, sizeof *k.norm);
	else if (!pt_op_scratch(run, (size_t)k.n * sizeof *k.norm, (void **)&k.norm))
		return NULL;
	if (!k.norm || run->dev->k->unit_fwd(run->dev, &k, &run->err))
		return NULL;
	if (!record) {
		pt_op_scratch_drop(run, k.norm);
		return y;
	}
	node = pt_op_node1(run, "unit", unit_backward, mark, x, y, sizeof k);
	if (!node)
		return NULL;
	*(struct pt_k_unit *)node->ctx = k;
	pt_tape_save(run, node, y);
	return y;
}

static int dots_backward(struct pt_run *run, struct pt_node *node)
{
	struct pt_k_dots k = *(struct pt_k_dots *)node->ctx;

	k.x = node->in[0]->data;
	k.dz = node->out[0]->grad;
	k.dx = pt_tape_grad_add(run, node->in[0]);
	return k.dx ? run->dev->k->dots_bwd(run->dev, &k, &run->err) : run->err.status;
}

struct pt_tensor *pt_op_dots(struct pt_run *run, struct pt_tensor *x, const int32_t *a, const int32_t *b, int64_t n,
			     int64_t k, float scale)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_k_dots dots = { .n = n, .k = k, .a = a, .b = b, .scale = scale };
	const int64_t shape[2] = { n, k };
	struct pt_node *node;
	struct pt_tensor *z;

	if (!pt_op_in(run, "dots", x, 2) || !pt_op_act_type(run, "dots", x))
		return NULL;
	z = pt_tensor_new(run, 2, shape, NULL);
	if (!z)
		return NULL;
	dots.c = x->shape[1];
	dots.type = x->type;
	dots.x = x->data;
	dots.z = z->data;
	if (run->dev->k->dots_fwd(run->dev, &dots, &run->err))
		return NULL;
	z->needs_grad = pt_op_wants(run, x);
	if (!run->record || !z->needs_grad)
		return z;
	node = pt_op_node1(run, "dots", dots_backward, mark, x, z, sizeof dots);
	if (!node)
		return NULL;
	*(struct pt_k_dots *)node->ctx = dots;
	pt_tape_save(run, node, x);
	return z;
}

static int span_backward(struct pt_run *run, struct pt_node *node)
{
	struct pt_k_span k = *(struct pt_k_span *)node->ctx;

	k.z = node->in[0]->data;
	k.weight = node->out[0]->grad;
	k.dz = pt_tape_grad_add(run, node->in[0]);
	return k.dz ? run->dev->k->span_bwd(run->dev, &k, &run->err) : run->err.status;
}

struct pt_tensor *pt_op_span_loss(struct pt_run *run, struct pt_tensor *z, const struct pt_rows *rows,
				  const int32_t *row)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_k_span k = { .batch = rows->batch, .cu = rows->cu, .row = row };
	int64_t batch = rows->batch;
	struct pt_node *node;
	struct pt_tensor *y;

	if (!pt_op_in(run, "span_loss", z, 2) || !pt_op_act_type(run, "span_loss", z))
		return NULL;
	y = pt_tensor_new_f32(run, 1, &batch, NULL);
	if (!y)
		return NULL;
	k.n = z->shape[0];
	k.k = z->shape[1];
	k.type = z->type;
	k.z = z->data;
	k.loss = y->data;
	if (run->dev->k->span_fwd(run->dev, &k, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, z);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_op_node1(run, "span_loss", span_backward, mark, z, y, sizeof k);
	if (!node)
		return NULL;
	*(struct pt_k_span *)node->ctx = k;
	pt_tape_save(run, node, z);
	return y;
}
