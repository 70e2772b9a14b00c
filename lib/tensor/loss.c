/* SPDX-License-Identifier: MIT */
/*
 * loss.c - losses: token by token without whole logits, and of classes.
 *
 * With weights given while recording, token_nll computes its gradients in the
 * forward pass, where x is still at hand: x need not stay, only its gradient,
 * which backward hands on.
 */
#include "tensor/op.h"

struct nll_ctx {
	struct pt_k_nll k;
	struct pt_linear head;
	struct pt_tensor *x, *nll;
	void *dx;			/* written by forward; NULL: backward computes */
	bool forward_written;
};

/* x's gradient is there already, in a pushed block: it becomes x's, or is added to it. */
static int hand_over(struct pt_run *run, struct nll_ctx *c)
{
	if (!c->nll->unit_grad)
		return pt_op_fail(run, PT_FAIL, "token_nll: weights were given to the forward pass, "
				  "backward can have no others");
	if (!c->dx)
		return 0;
	if (c->x->grad || c->x->external)
		return pt_tape_give(run, c->x, c->dx);
	pt_arena_keep(&run->arena, c->dx);
	c->x->grad = c->dx;
	return 0;
}

static int nll_backward(struct pt_run *run, struct pt_node *node)
{
	struct nll_ctx *c = node->ctx;
	struct pt_k_nll k = c->k;

	if (c->forward_written)
		return hand_over(run, c);
	k.nll = NULL;
	k.argmax = NULL;
	k.x = c->x->data;
	k.weight = c->nll->grad;
	k.dx = pt_tape_grad(run, c->x, &k.acc_dx);
	pt_op_linear_grads(run, &c->head, &k.head);
	if (pt_op_scratch(run, run->dev->k->nll_scratch(run->dev, &k, true), &k.scratch))
		run->dev->k->nll_bwd(run->dev, &k, &run->err);
	pt_op_scratch_drop(run, k.scratch);
	return run->err.status;
}

static bool nll_record(struct pt_run *run, size_t mark, struct nll_ctx *c)
{
	struct pt_tensor **in;
	struct pt_node *node;
	int nin = 0;

	in = pt_pool_alloc(&run->pool, (size_t)(3 + 3 * c->head.nterms) * sizeof *in, &run->err);
	if (!in)
		return false;
	in[nin++] = c->x;
	nin = pt_op_linear_inputs(&c->head, in, nin);
	node = pt_tape_push(run, "token_nll", nll_backward, mark, in, nin, &c->nll, 1, sizeof *c);
	if (!node)
		return false;
	*(struct nll_ctx *)node->ctx = *c;
	for (int i = 0; i < nin && !c->forward_written; i++)
		pt_tape_save(run, node, in[i]);
	return true;
}

/* What the forward pass leaves for backward: x's gradient itself, or the log-sum-exp of each row. */
static bool nll_keep(struct pt_run *run, struct nll_ctx *c, const float *weight)
{
	if (!weight) {
		c->k.lse = pt_op_keep(run, c->k.rows, sizeof *c->k.lse);
		return c->k.lse;
	}
	c->forward_written = true;
	c->k.weight = weight;
	if (c->x->needs_grad) {
		c->dx = pt_op_keep(run, pt_tensor_count(c->x), pt_dtype_size(c->x->grad_type));
		if (!c->dx)
			return false;
	}
	c->k.dx = c->dx;
	pt_op_linear_grads(run, &c->head, &c->k.head);
	return !run->err.status;
}

struct pt_tensor *pt_op_token_nll(struct pt_run *run, struct pt_tensor *x, const struct pt_nll *n)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct nll_ctx c = { .x = x };
	struct pt_k_lowrank *term;
	float drop = 0;

	if (!pt_op_in(run, "token_nll", x, 2) || !pt_op_act_type(run, "token_nll", x))
		return NULL;
	if (n->head.nterms > PT_NLL_MAX_TERMS) {
		pt_error(&run->err, PT_USAGE, "%d adapters' terms at the head of a vocabulary: %d are the most",
			 n->head.nterms, PT_NLL_MAX_TERMS);
		return NULL;
	}
	term = pt_pool_alloc(&run->pool, (size_t)n->head.nterms * sizeof *term, &run->err);
	if (!term || !pt_op_linear_copy(run, &n->head, &c.head) ||
	    !pt_op_linear_fill(run, "token_nll", &c.head, x->shape[1], &c.k.head, term))
		return NULL;
	for (int i = 0; i < n->head.nterms; i++)
		drop = term[i].dropout > drop ? term[i].dropout : drop;
	if (!pt_op_rng(run, "token_nll", x->rows, drop, &c.k.rng))
		return NULL;
	c.nll = pt_tensor_new_f32(run, 1, &n->rows, NULL);
	if (!c.nll)
		return NULL;
	c.nll->needs_grad = pt_op_wants(run, x) || pt_op_linear_trains(run, &c.head);
	c.k.rows = n->rows;
	c.k.c = x->shape[1];
	c.k.v = c.k.head.n;
	c.k.x = x->data;
	c.k.n = x->shape[0];
	c.k.type = x->type;
	c.k.row = n->row;
	c.k.label = n->label;
	c.k.scale = n->scale;
	c.k.cap = n->cap;
	c.k.smoothing = n->smoothing;
	c.k.nll = c.nll->data;
	c.k.argmax = n->argmax;
	c.k.round_bf16 = run->round_bf16;
	if (run->record && c.nll->needs_grad && !nll_keep(run, &c, n->weight))
		return NULL;
	if (pt_op_scratch(run, run->dev->k->nll_scratch(run->dev, &c.k, false), &c.k.scratch))
		run->dev->k->nll_fwd(run->dev, &c.k, &run->err);
	pt_op_scratch_drop(run, c.k.scratch);
	c.k.scratch = NULL;
	if (run->err.status)
		return NULL;
	if (run->record && c.nll->needs_grad && !nll_record(run, mark, &c))
		return NULL;
	return c.nll;
}

static int class_backward(struct pt_run *run, struct pt_node *node)
{
	struct pt_k_class k = *(struct pt_k_class *)node->ctx;

	k.loss = NULL;
	k.z = node->in[0]->data;
	k.weight = node->out[0]->grad;
	k.dz = pt_tape_grad(run, node->in[0], &k.acc_dz);
	return k.dz ? run->dev->k->class_bwd(run->dev, &k, &run->err) : run->err.status;
}

struct pt_tensor *pt_op_class_loss(struct pt_run *run, struct pt_tensor *logits,
				   const struct pt_class *c)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_tensor *y;
	struct pt_node *node;
	struct pt_k_class k;

	if (!pt_op_in(run, "class_loss", logits, 2))
		return NULL;
	if (!pt_op_act_type(run, "class_loss", logits))
		return NULL;
	if (c->kind == PT_LOSS_CE ? !c->cls : !c->target) {
		pt_op_fail(run, PT_FAIL, "class_loss: targets are needed");
		return NULL;
	}
	y = pt_tensor_new_f32(run, 1, &logits->shape[0], NULL);
	if (!y)
		return NULL;
	k = (struct pt_k_class){ .kind = c->kind, .n = logits->shape[0], .k = logits->shape[1],
		.type = logits->type, .z = logits->data, .cls = c->cls, .target = c->target, .smoothing = c->smoothing,
		.loss = y->data };
	if (run->dev->k->class_fwd(run->dev, &k, &run->err))
		return NULL;
	y->needs_grad = pt_op_wants(run, logits);
	if (!run->record || !y->needs_grad)
		return y;
	node = pt_op_node1(run, "class_loss", class_backward, mark, logits, y, sizeof k);
	if (!node)
		return NULL;
	*(struct pt_k_class *)node->ctx = k;
	pt_tape_save(run, node, logits);
	return y;
}
