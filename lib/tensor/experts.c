/* SPDX-License-Identifier: MIT */
/*
 * experts.c - mixtures of experts: rows are routed, sorted by expert, and what
 * the experts made of them is put together again (Shazeer et al. 2017). Shapes
 * depend on the numbers of rows, experts and choices alone, never on where the
 * rows go.
 */
#include "tensor/experts.h"

#include <string.h>

#include "base/mem.h"
#include "tensor/op.h"

struct route_ctx {
	struct pt_k_route k;
	struct pt_tensor *weight, *stat;
};

static int route_backward(struct pt_run *run, struct pt_node *node)
{
	struct route_ctx *c = node->ctx;
	struct pt_k_route k = c->k;

	k.dweight = c->weight->grad;
	k.dstat = c->stat ? c->stat->grad : NULL;
	k.dz = pt_tape_grad(run, node->in[0], &k.acc_dz);
	return k.dz ? run->dev->k->route_bwd(run->dev, &k, &run->err) : run->err.status;
}

/* The integers of a route, as one tensor of bytes. */
static bool make_index(struct pt_run *run, struct pt_route *r, struct pt_k_route *k, const struct pt_rows *rows)
{
	int64_t pairs = r->n * r->k, bytes = 0, at[5];
	bool random = rows && rows->key && rows->pos;
	int64_t size[5] = { random ? pairs * 8 : 0, random ? pairs * 4 : 0, pairs * 4, pairs * 4,
			    ((int64_t)r->experts + 1) * 4 };
	char *p;

	for (int i = 0; i < 5; i++) {
		at[i] = bytes;
		bytes += size[i];
	}
	r->index = pt_tensor_new_as(run, PT_U8, 1, &bytes, NULL);
	if (!r->index)
		return false;
	p = r->index->data;
	r->rows = (struct pt_rows){ .n = pairs };
	if (random) {
		k->rng = (struct pt_k_rows){ rows->key, rows->pos };
		r->rows.key = k->key = (uint64_t *)(void *)(p + at[0]);
		r->rows.pos = k->pos = (int32_t *)(void *)(p + at[1]);
	}
	r->place = k->place = (int32_t *)(void *)(p + at[2]);
	r->row = k->row = (int32_t *)(void *)(p + at[3]);
	r->offset = k->offset = (int32_t *)(void *)(p + at[4]);
	return true;
}

static bool record_route(struct pt_run *run, struct pt_tensor *z, struct pt_route *r, const struct pt_k_route *k,
			 size_t mark)
{
	struct pt_tensor *out[2] = { r->weight, r->stat };
	struct pt_node *node = pt_tape_push(run, "route", route_backward, mark, &z, 1, out, r->stat ? 2 : 1,
					    sizeof(struct route_ctx));

	if (!node)
		return false;
	*(struct route_ctx *)node->ctx = (struct route_ctx){ *k, r->weight, r->stat };
	pt_tape_save(run, node, r->weight);
	return true;
}

struct pt_route *pt_op_route(struct pt_run *run, struct pt_tensor *z, int k, bool renorm, bool stat)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_k_route c = { .k = k, .renorm = renorm };
	struct pt_route *r;
	bool wants;

	if (!pt_op_in(run, "route", z, 2) || !pt_op_act_type(run, "route", z))
		return NULL;
	if (k < 1 || k > z->shape[1] || z->shape[1] > PT_EXPERTS_MAX || z->shape[0] > INT32_MAX / k) {
		pt_op_fail(run, PT_FAIL, "route: %lld rows to %d of %lld experts", (long long)z->shape[0], k,
			   (long long)z->shape[1]);
		return NULL;
	}
	r = pt_pool_alloc(&run->pool, sizeof *r, &run->err);
	if (!r)
		return NULL;
	r->n = c.n = z->shape[0];
	r->experts = c.experts = (int)z->shape[1];
	r->k = k;
	c.live = z->rows && z->rows->host_cu ? z->rows->host_cu[z->rows->batch] : c.n;
	c.type = z->type;
	c.z = z->data;
	wants = pt_op_wants(run, z);
	r->weight = pt_tensor_new_f32(run, 2, (int64_t[]){ c.n, k }, NULL);
	if (stat)
		r->stat = pt_tensor_new_f32(run, 2, (int64_t[]){ 2, c.experts }, NULL);
	if (!r->weight || (stat && !r->stat) || !make_index(run, r, &c, z->rows))
		return NULL;
	c.weight = r->weight->data;
	c.stat = stat ? r->stat->data : NULL;
	c.expert = pt_op_keep(run, c.n * k, sizeof *c.expert);
	c.p = pt_op_keep(run, c.n * c.experts, sizeof *c.p);
	if (!c.expert || !c.p || run->dev->k->route_fwd(run->dev, &c, &run->err))
		return NULL;
	r->weight->needs_grad = wants;
	if (stat)
		r->stat->needs_grad = wants;
	if (run->record && wants)
		return record_route(run, z, r, &c, mark) ? r : NULL;
	pt_arena_drop(&run->arena, c.p);
	pt_arena_drop(&run->arena, c.expert);
	return r;
}

void pt_op_route_done(struct pt_run *run, struct pt_route *r)
{
	if (!r)
		return;
	pt_tensor_done(run, r->weight);
	pt_tensor_done(run, r->index);
}

static int dispatch_backward(struct pt_run *run, struct pt_node *node)
{
	const struct pt_route *r = *(struct pt_route **)node->ctx;
	struct pt_tensor *x = node->in[0];
	struct pt_k_combine k = { .n = r->n, .c = x->shape[1], .k = r->k, .type = x->type, .x = node->out[0]->grad,
		.place = r->place };

	k.y = pt_tape_grad(run, x, &k.acc_y);
	return k.y ? run->dev->k->combine_fwd(run->dev, &k, &run->err) : run->err.status;
}

static bool fits(struct pt_run *run, const char *op, const struct pt_tensor *x, const struct pt_route *r, int64_t rows)
{
	if (!r)
		pt_op_fail(run, PT_FAIL, "%s: no route", op);
	else if (pt_op_in(run, op, x, 2) && pt_op_act_type(run, op, x) && pt_op_in(run, op, r->index, 1) &&
		 x->shape[0] != rows)
		pt_op_fail(run, PT_FAIL, "%s: %lld rows, the route has %lld", op, (long long)x->shape[0],
			   (long long)rows);
	return !run->err.status;
}

struct pt_tensor *pt_op_dispatch(struct pt_run *run, struct pt_tensor *x, struct pt_route *r)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_node *node;
	struct pt_tensor *y;

	if (run->err.status || !fits(run, "dispatch", x, r, r ? r->n : 0))
		return NULL;
	y = pt_tensor_new(run, 2, (int64_t[]){ r->rows.n, x->shape[1] }, &r->rows);
	if (!y || run->dev->k->gather_fwd(run->dev, r->rows.n, (size_t)x->shape[1] * pt_dtype_size(x->type),
					  x->data, r->row, y->data, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_op_node1(run, "dispatch", dispatch_backward, mark, x, y, sizeof r);
	if (!node)
		return NULL;
	*(struct pt_route **)node->ctx = r;
	pt_tape_save(run, node, r->index);
	return y;
}

static int combine_backward(struct pt_run *run, struct pt_node *node)
{
	const struct pt_route *r = *(struct pt_route **)node->ctx;
	struct pt_tensor *x = node->in[0];
	struct pt_k_combine k = { .n = r->n, .c = x->shape[1], .k = r->k, .type = x->type, .x = x->data,
		.place = r->place, .weight = r->weight->data, .dy = node->out[0]->grad };

	k.dx = pt_tape_grad(run, x, &k.acc_dx);
	k.dweight = pt_tape_grad(run, r->weight, &k.acc_dweight);
	return run->err.status ? run->err.status : run->dev->k->combine_bwd(run->dev, &k, &run->err);
}

struct pt_tensor *pt_op_combine(struct pt_run *run, struct pt_tensor *x, struct pt_route *r,
				const struct pt_rows *rows)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_tensor *y, *in[2] = { x, r ? r->weight : NULL };
	struct pt_k_combine k;
	struct pt_node *node;

	if (run->err.status || !fits(run, "combine", x, r, r ? r->rows.n : 0) || !pt_op_in(run, "combine", r->weight, 2))
		return NULL;
	y = pt_tensor_new(run, 2, (int64_t[]){ r->n, x->shape[1] }, rows);
	if (!y)
		return NULL;
	k = (struct pt_k_combine){ .n = r->n, .c = x->shape[1], .k = r->k, .type = x->type, .x = x->data,
		.place = r->place, .weight = r->weight->data, .y = y->data };
	if (run->dev->k->combine_fwd(run->dev, &k, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x) || pt_op_wants(run, r->weight);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_tape_push(run, "combine", combine_backward, mark, in, 2, &y, 1, sizeof r);
	if (!node)
		return NULL;
	*(struct pt_route **)node->ctx = r;
	pt_tape_save(run, node, r->index);
	pt_tape_save(run, node, r->weight);
	if (pt_op_wants(run, r->weight))
		pt_tape_save(run, node, x);
	return y;
}

static int gate_backward(struct pt_run *run, struct pt_node *node)
{
	struct pt_tensor *x = node->in[0], *g = node->in[1];
	struct pt_k_gate k = { .n = x->shape[0], .c = x->shape[1], .type = x->type, .x = x->data, .g = g->data,
		.dy = node->out[0]->grad };

	k.dx = pt_tape_grad(run, x, &k.acc_dx);
	k.dg = pt_tape_grad(run, g, &k.acc_dg);
	return run->err.status ? run->err.status : run->dev->k->gate_bwd(run->dev, &k, &run->err);
}

struct pt_tensor *pt_op_gate_rows(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *g)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_tensor *y, *in[2] = { x, g };
	struct pt_k_gate k;
	struct pt_node *node;

	if (!pt_op_in(run, "gate", x, 2) || !pt_op_in(run, "gate", g, 2) || !pt_op_act_type(run, "gate", x) ||
	    !pt_op_act_type(run, "gate", g))
		return NULL;
	if (g->shape[0] != x->shape[0] || g->shape[1] != 1) {
		pt_op_fail(run, PT_FAIL, "gate: [%lld,%lld] for %lld rows", (long long)g->shape[0],
			   (long long)g->shape[1], (long long)x->shape[0]);
		return NULL;
	}
	y = pt_op_like(run, x);
	if (!y)
		return NULL;
	k = (struct pt_k_gate){ .n = x->shape[0], .c = x->shape[1], .type = x->type, .x = x->data, .g = g->data,
		.y = y->data };
	if (run->dev->k->gate_fwd(run->dev, &k, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x) || pt_op_wants(run, g);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_tape_push(run, "gate", gate_backward, mark, in, 2, &y, 1, 0);
	pt_tape_save(run, node, g);
	if (pt_op_wants(run, g))
		pt_tape_save(run, node, x);
	return node ? y : NULL;
}

struct balance_ctx {
	float *sum;		/* [2,E] of all layers */
	int64_t experts;
	float scale;
};

/* Counts are constants. */
static int balance_backward(struct pt_run *run, struct pt_node *node)
{
	const struct balance_ctx *c = node->ctx;

	for (int i = 0; i < node->nin; i++) {
		float *d = pt_tape_grad_add(run, node->in[i]);
		struct pt_k_gemm g = { .m = 1, .n = c->experts, .k = 1, .a = node->out[0]->grad,
			.b = c->sum + c->experts, .c = d, .at = PT_F32, .bt = PT_F32, .ct = PT_F32, .lda = 1,
			.ldb = c->experts, .ldc = c->experts, .alpha = c->scale, .beta = 1 };

		if (d)
			run->dev->k->gemm(run->dev, &g, &run->err);
	}
	return run->err.status;
}

static bool add_up(struct pt_run *run, struct pt_tensor *const *stat, int n, float *sum)
{
	size_t count;

	for (int i = 0; i < n; i++) {
		if (!pt_op_in(run, "balance", stat[i], 2))
			return false;
		count = (size_t)pt_tensor_count(stat[i]);
		if (stat[i]->shape[1] != stat[0]->shape[1])
			pt_op_fail(run, PT_FAIL, "balance: %lld and %lld experts", (long long)stat[0]->shape[1],
				   (long long)stat[i]->shape[1]);
		else
			run->dev->k->axpby(run->dev, PT_F32, count, 1, stat[i]->data, i ? 1 : 0, sum, &run->err);
	}
	return !run->err.status;
}

struct pt_tensor *pt_op_balance(struct pt_run *run, struct pt_tensor *const *stat, int n, float scale)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct balance_ctx c = { .scale = scale };
	struct pt_k_gemm g = { .m = 1, .n = 1, .at = PT_F32, .bt = PT_F32, .ct = PT_F32, .ldb = 1, .ldc = 1,
		.alpha = scale };
	struct pt_node *node;
	struct pt_tensor *y;

	if (n < 1 || !pt_op_in(run, "balance", stat[0], 2))
		return NULL;
	c.experts = stat[0]->shape[1];
	y = pt_tensor_new_f32(run, 1, (int64_t[]){ 1 }, NULL);
	c.sum = pt_op_keep(run, 2 * c.experts, sizeof *c.sum);
	if (!y || !c.sum || !add_up(run, stat, n, c.sum))
		return NULL;
	g.k = g.lda = c.experts;
	g.a = c.sum;
	g.b = c.sum + c.experts;
	g.c = y->data;
	if (run->dev->k->gemm(run->dev, &g, &run->err))
		return NULL;
	for (int i = 0; i < n; i++)
		y->needs_grad |= pt_op_wants(run, stat[i]);
	if (!run->record || !y->needs_grad) {
		pt_arena_drop(&run->arena, c.sum);
		return y;
	}
	node = pt_tape_push(run, "balance", balance_backward, mark, stat, n, &y, 1, sizeof c);
	if (!node)
		return NULL;
	*(struct balance_ctx *)node->ctx = c;
	return y;
}
