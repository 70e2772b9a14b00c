/* SPDX-License-Identifier: MIT */
/*
 * norm.c - LayerNorm (Ba et al. 2016) and RMSNorm (Zhang & Sennrich 2019),
 * alone or fused with the residual sum before it.
 */
#include "tensor/op.h"

struct norm_ctx {
	struct pt_k_norm k;
	struct pt_tensor *x, *delta, *sum, *y;	/* delta NULL: sum is x */
	struct pt_tensor *w, *b;
};

static bool norm_fill(struct pt_run *run, const struct pt_tensor *x, const struct pt_norm *n,
		      struct pt_k_norm *k)
{
	int64_t c = n->w && n->w->ndim == 1 ? n->w->shape[0] : x->shape[1];

	if (!pt_op_act_type(run, "norm", x) || (n->w && !pt_op_in(run, "norm", n->w, 1)) || (n->b && !pt_op_in(run, "norm", n->b, 1)))
		return false;
	if (c < 1 || x->shape[1] % c || (n->b && n->b->shape[0] != c)) {
		pt_op_fail(run, PT_FAIL, "norm: weight %s does not fit %lld features",
			   n->w && n->w->name ? n->w->name : "", (long long)x->shape[1]);
		return false;
	}
	*k = (struct pt_k_norm){ .kind = n->kind, .n = x->shape[0] * (x->shape[1] / c), .c = c, .type = x->type,
		.x = x->data, .w = n->w ? n->w->data : NULL, .b = n->b ? n->b->data : NULL,
		.wtype = n->w ? n->w->type : PT_F32, .btype = n->b ? n->b->type : PT_F32, .eps = n->eps };
	return true;
}

static int norm_backward(struct pt_run *run, struct pt_node *node)
{
	struct norm_ctx *c = node->ctx;
	struct pt_k_norm k = c->k;
	struct pt_tensor *s = c->sum;

	if (c->y->grad) {
		k.x = s->data;
		k.delta = NULL;
		k.sum = NULL;
		k.y = NULL;
		k.dy = c->y->grad;
		k.dw = pt_tape_grad_add(run, c->w);
		k.db = pt_tape_grad_add(run, c->b);
		k.dx = pt_tape_grad(run, s, &k.acc_dx);
		if (!run->err.status)
			run->dev->k->norm_bwd(run->dev, &k, &run->err);
	}
	/* The sum's gradient is that of both its terms. */
	if (c->delta && s->grad && !run->err.status) {
		if (c->delta->needs_grad && c->x->needs_grad)
			pt_tape_share(run, c->delta, s);
		pt_tape_move(run, c->x->needs_grad ? c->x : c->delta, s);
	}
	return run->err.status;
}

static int norm_again(struct pt_run *run, const struct pt_tensor *y, void *data)
{
	const struct norm_ctx *c = y->node->ctx;
	struct pt_k_norm k = c->k;

	k.x = c->sum->data;
	k.delta = NULL;
	k.sum = NULL;
	k.y = data;
	return run->dev->k->norm_fwd(run->dev, &k, &run->err);
}

void pt_op_norm_again(struct pt_tensor *y)
{
	if (y && y->node && y->node->backward == norm_backward)
		y->again = norm_again;
}

static struct pt_tensor *norm(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *delta,
			      const struct pt_norm *n, struct pt_tensor **sum)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_tensor *y, *s = x, *in[4], *out[2];
	bool wants = pt_op_wants(run, x) || pt_op_wants(run, delta);
	bool trains = pt_op_wants(run, n->w) || pt_op_wants(run, n->b);
	struct pt_node *node;
	struct pt_k_norm k;
	int nin = 0, nout = 0;

	if (!norm_fill(run, x, n, &k))
		return NULL;
	if (delta) {
		s = pt_op_like(run, x);
		if (!s)
			return NULL;
		s->needs_grad = wants;
		k.delta = delta->data;
		k.sum = s->data;
		out[nout++] = s;
	}
	y = pt_op_like(run, x);
	if (!y)
		return NULL;
	y->needs_grad = wants || trains;
	out[nout++] = y;
	k.y = y->data;
	if (run->record && y->needs_grad) {
		k.stat = pt_op_keep(run, k.n * 2, sizeof *k.stat);
		if (!k.stat)
			return NULL;
	}
	if (run->dev->k->norm_fwd(run->dev, &k, &run->err))
		return NULL;
	if (sum)
		*sum = s;
	if (!run->record || !y->needs_grad)
		return y;
	in[nin++] = x;
	if (delta)
		in[nin++] = delta;
	if (n->w)
		in[nin++] = n->w;
	if (n->b)
		in[nin++] = n->b;
	node = pt_tape_push(run, delta ? "add_norm" : "norm", norm_backward, mark, in, nin, out, nout,
			    sizeof(struct norm_ctx));
	if (!node)
		return NULL;
	*(struct norm_ctx *)node->ctx = (struct norm_ctx){ k, x, delta, s, y, n->w, n->b };
	pt_tape_save(run, node, s);
	return y;
}

struct pt_tensor *pt_op_norm(struct pt_run *run, struct pt_tensor *x, const struct pt_norm *n)
{
	if (!pt_op_in(run, "norm", x, 2))
		return NULL;
	return norm(run, x, NULL, n, NULL);
}

struct pt_tensor *pt_op_add_norm(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *delta,
				 const struct pt_norm *n, struct pt_tensor **sum)
{
	struct pt_tensor *y;

	*sum = NULL;
	if (!pt_op_in(run, "add_norm", x, 2) || !pt_op_in(run, "add_norm", delta, 2))
		return NULL;
	if (x->shape[0] != delta->shape[0] || x->shape[1] != delta->shape[1]) {
		pt_op_fail(run, PT_FAIL, "add_norm: shapes differ");
		return NULL;
	}
	y = norm(run, x, delta, n, sum);
	if (!y)
		*sum = NULL;
	return y;
}
