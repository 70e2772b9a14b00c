/* SPDX-License-Identifier: MIT */
/*
 * elem.c - operations element by element: sums, factors, dropout (Srivastava
 * et al. 2014), activations and gated units (Shazeer 2020).
 */
#include "tensor/op.h"

static bool same_shape(struct pt_run *run, const char *op, const struct pt_tensor *a,
		       const struct pt_tensor *b)
{
	if (!pt_op_in(run, op, a, 0) || !pt_op_in(run, op, b, a->ndim) || !pt_op_act_type(run, op, a) ||
	    !pt_op_act_type(run, op, b))
		return false;
	for (int i = 0; i < a->ndim; i++) {
		if (a->shape[i] == b->shape[i])
			continue;
		pt_op_fail(run, PT_FAIL, "%s: extents %lld and %lld differ", op, (long long)a->shape[i],
			   (long long)b->shape[i]);
		return false;
	}
	return true;
}

static int add_backward(struct pt_run *run, struct pt_node *node)
{
	struct pt_tensor *a = node->in[0], *b = node->in[1], *y = node->out[0];

	if (a->needs_grad && b->needs_grad)
		pt_tape_share(run, b, y);
	return run->err.status ? run->err.status : pt_tape_move(run, a->needs_grad ? a : b, y);
}

struct pt_tensor *pt_op_add(struct pt_run *run, struct pt_tensor *a, struct pt_tensor *b)
{
	size_t mark = pt_arena_mark(&run->arena);
	const struct pt_kernels *k = run->dev->k;
	struct pt_tensor *y, *in[2] = { a, b };
	size_t n;

	if (!same_shape(run, "add", a, b))
		return NULL;
	y = pt_op_like(run, a);
	if (!y)
		return NULL;
	n = (size_t)pt_tensor_count(y);
	if (k->copy(run->dev, y->data, a->data, n * pt_dtype_size(y->type), &run->err) ||
	    k->axpby(run->dev, y->type, n, 1, b->data, 1, y->data, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, a) || pt_op_wants(run, b);
	if (run->record && y->needs_grad &&
	    !pt_tape_push(run, "add", add_backward, mark, in, 2, &y, 1, 0))
		return NULL;
	return y;
}

static int scale_backward(struct pt_run *run, struct pt_node *node)
{
	struct pt_tensor *x = node->in[0], *y = node->out[0];
	bool acc;
	void *dx = pt_tape_grad(run, x, &acc);

	if (!dx)
		return run->err.status;
	return run->dev->k->axpby(run->dev, y->type, (size_t)pt_tensor_count(x), *(float *)node->ctx,
				  y->grad, acc ? 1 : 0, dx, &run->err);
}

struct pt_tensor *pt_op_scale(struct pt_run *run, struct pt_tensor *x, float s)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_node *node;
	struct pt_tensor *y;

	if (!pt_op_in(run, "scale", x, 0) || !pt_op_act_type(run, "scale", x))
		return NULL;
	y = pt_op_like(run, x);
	if (!y || run->dev->k->axpby(run->dev, y->type, (size_t)pt_tensor_count(x), s, x->data, 0,
				     y->data, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_op_node1(run, "scale", scale_backward, mark, x, y, sizeof s);
	if (!node)
		return NULL;
	*(float *)node->ctx = s;
	return y;
}

struct affine_ctx {
	struct pt_tensor *x, *w, *b, *y;
};

static int affine_backward(struct pt_run *run, struct pt_node *node)
{
	const struct affine_ctx *c = node->ctx;
	bool acc;
	float *dw = pt_tape_grad_add(run, c->w);
	float *db = pt_tape_grad_add(run, c->b);
	void *dx = pt_tape_grad(run, c->x, &acc);

	if (run->err.status)
		return run->err.status;
	return run->dev->k->affine_bwd(run->dev, c->y->type, c->x->shape[0], c->x->shape[1], c->x->data,
				       c->w ? c->w->data : NULL, c->y->grad, dx, acc, dw, db, &run->err);
}

struct pt_tensor *pt_op_affine(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *w,
			       struct pt_tensor *b)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_tensor *y, *in[3];
	struct pt_node *node;
	int nin = 0;

	if (!pt_op_in(run, "affine", x, 2) || !pt_op_act_type(run, "affine", x) || (w && !pt_op_in(run, "affine", w, 0)) ||
	    (b && !pt_op_in(run, "affine", b, 0)))
		return NULL;
	if ((w && (pt_tensor_count(w) != x->shape[1] || w->type != PT_F32)) ||
	    (b && (pt_tensor_count(b) != x->shape[1] || b->type != PT_F32))) {
		pt_op_fail(run, PT_FAIL, "affine: a vector does not fit %lld features",
			   (long long)x->shape[1]);
		return NULL;
	}
	y = pt_op_like(run, x);
	if (!y || run->dev->k->affine_fwd(run->dev, y->type, x->shape[0], x->shape[1], x->data,
					  w ? w->data : NULL, b ? b->data : NULL, y->data, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x) || pt_op_wants(run, w) || pt_op_wants(run, b);
	if (!run->record || !y->needs_grad)
		return y;
	in[nin++] = x;
	if (w)
		in[nin++] = w;
	if (b)
		in[nin++] = b;
	node = pt_tape_push(run, "affine", affine_backward, mark, in, nin, &y, 1, sizeof(struct affine_ctx));
	if (!node)
		return NULL;
	*(struct affine_ctx *)node->ctx = (struct affine_ctx){ x, w, b, y };
	if (pt_op_wants(run, w))
		pt_tape_save(run, node, x);
	pt_tape_save(run, node, w);
	return y;
}

static int dropout_backward(struct pt_run *run, struct pt_node *node)
{
	struct pt_k_dropout k = *(struct pt_k_dropout *)node->ctx;

	k.x = node->out[0]->grad;
	k.y = pt_tape_grad(run, node->in[0], &k.acc_y);
	return k.y ? run->dev->k->dropout(run->dev, &k, &run->err) : run->err.status;
}

struct pt_tensor *pt_op_dropout(struct pt_run *run, struct pt_tensor *x, float p, uint64_t site)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_k_dropout k = { .p = p, .site = site };
	struct pt_node *node;
	struct pt_tensor *y;

	if (!pt_op_in(run, "dropout", x, 2) || !pt_op_act_type(run, "dropout", x))
		return NULL;
	if (!run->train || p <= 0)
		return x;
	if (!pt_op_rng(run, "dropout", x->rows, p, &k.rows))
		return NULL;
	y = pt_op_like(run, x);
	if (!y)
		return NULL;
	k.x = x->data;
	k.y = y->data;
	k.type = x->type;
	k.n = x->shape[0];
	k.c = x->shape[1];
	if (run->dev->k->dropout(run->dev, &k, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_op_node1(run, "dropout", dropout_backward, mark, x, y, sizeof k);
	if (!node)
		return NULL;
	*(struct pt_k_dropout *)node->ctx = k;
	return y;
}

struct act_ctx {
	struct pt_tensor *x, *u, *y;
	enum pt_act act;
};

static int act_backward(struct pt_run *run, struct pt_node *node)
{
	const struct act_ctx *c = node->ctx;
	struct pt_k_act k = { .act = c->act, .n = pt_tensor_count(c->x), .type = c->x->type,
		.x = c->x->data, .u = c->u ? c->u->data : NULL, .dy = c->y->grad };

	k.dx = pt_tape_grad(run, c->x, &k.acc_dx);
	k.du = pt_tape_grad(run, c->u, &k.acc_du);
	return run->err.status ? run->err.status : run->dev->k->act_bwd(run->dev, &k, &run->err);
}

static struct pt_tensor *act(struct pt_run *run, const char *name, struct pt_tensor *x,
			     struct pt_tensor *u, enum pt_act kind)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_tensor *in[2] = { x, u }, *y;
	struct pt_node *node;
	struct pt_k_act k;

	y = pt_op_like(run, x);
	if (!y)
		return NULL;
	k = (struct pt_k_act){ .act = kind, .n = pt_tensor_count(x), .type = x->type, .x = x->data,
		.u = u ? u->data : NULL, .y = y->data };
	if (run->dev->k->act_fwd(run->dev, &k, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, x) || pt_op_wants(run, u);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_tape_push(run, name, act_backward, mark, in, u ? 2 : 1, &y, 1, sizeof(struct act_ctx));
	if (!node)
		return NULL;
	*(struct act_ctx *)node->ctx = (struct act_ctx){ x, u, y, kind };
	pt_tape_save(run, node, x);
	pt_tape_save(run, node, u);
	return y;
}

struct pt_tensor *pt_op_act(struct pt_run *run, struct pt_tensor *x, enum pt_act kind)
{
	if (!pt_op_in(run, "act", x, 0) || !pt_op_act_type(run, "act", x))
		return NULL;
	return act(run, "act", x, NULL, kind);
}

struct pt_tensor *pt_op_glu(struct pt_run *run, struct pt_tensor *gate, struct pt_tensor *up,
			    enum pt_act kind)
{
	if (!same_shape(run, "glu", gate, up))
		return NULL;
	if (gate == up) {
		pt_op_fail(run, PT_FAIL, "glu: gate and up are one tensor");
		return NULL;
	}
	return act(run, "glu", gate, up, kind);
}
