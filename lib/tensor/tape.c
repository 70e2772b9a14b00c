/* SPDX-License-Identifier: MIT */
/*
 * tape.c - nodes, gradients of activations, and the walk back.
 */
#include <string.h>

#include "base/mem.h"
#include "tensor/op.h"

void pt_tape_reset(struct pt_tape *tape)
{
	tape->n = 0;
}

struct pt_node *pt_tape_push(struct pt_run *run, const char *name, pt_backward_fn fn, size_t mark,
			     struct pt_tensor *const *in, int nin, struct pt_tensor *const *out,
			     int nout, size_t ctx_bytes)
{
	struct pt_tape *tape = run->tape;
	size_t ptrs = ((size_t)nin * 2 + (size_t)nout * 2) * sizeof *in;
	struct pt_node *node;
	struct pt_tensor **p;

	if (run->err.status)
		return NULL;
	node = pt_pool_alloc(&run->pool, sizeof *node, &run->err);
	p = pt_pool_alloc(&run->pool, ptrs, &run->err);
	if (!node || !p || pt_grow(&tape->node, &tape->cap, tape->n + 1, sizeof *tape->node, &run->err))
		return NULL;
	node->ctx = pt_pool_alloc(&run->pool, ctx_bytes, &run->err);
	if (!node->ctx)
		return NULL;
	node->name = name;
	node->backward = fn;
	node->mark = mark;
	node->in = p;
	node->nin = nin;
	node->out = p + nin;
	node->nout = nout;
	node->saved = p + nin + nout;
	node->max_saved = nin + nout;
	for (int i = 0; i < nin; i++)
		node->in[i] = in[i];
	for (int i = 0; i < nout; i++) {
		node->out[i] = out[i];
		out[i]->node = node;
	}
	tape->node[tape->n++] = node;
	return node;
}

void pt_tape_save(struct pt_run *run, struct pt_node *node, struct pt_tensor *t)
{
	if (node && t)
		t->again = NULL;
	pt_tape_save_again(run, node, t);
}

void pt_tape_save_again(struct pt_run *run, struct pt_node *node, struct pt_tensor *t)
{
	if (!node || !t || !t->owned)
		return;
	if (node->nsaved == node->max_saved) {
		pt_op_fail(run, PT_FAIL, "%s saves more than %d tensors", node->name, node->max_saved);
		return;
	}
	node->saved[node->nsaved++] = t;
	t->saved++;
}

static size_t grad_bytes(const struct pt_tensor *t)
{
	return (size_t)pt_tensor_count(t) * pt_dtype_size(t->grad_type);
}

static void part(struct pt_tensor *t)
{
	if (t->twin)
		t->twin->twin = NULL;
	t->twin = NULL;
}

void *pt_tape_grad_own(struct pt_run *run, struct pt_tensor *t)
{
	void *p;

	if (run->err.status)
		return NULL;
	t->unit_grad = false;
	if (!t->twin)
		return t->grad;
	if (pt_arena_take(&run->arena, grad_bytes(t), &p, &run->err) ||
	    run->dev->k->copy(run->dev, p, t->grad, grad_bytes(t), &run->err))
		return NULL;
	part(t);
	t->grad = p;
	return p;
}

void *pt_tape_grad(struct pt_run *run, struct pt_tensor *t, bool *acc)
{
	void *p;

	*acc = true;
	if (run->err.status || !t || !t->needs_grad)
		return NULL;
	if (t->grad)
		return pt_tape_grad_own(run, t);
	if (t->external) {
		pt_op_fail(run, PT_FAIL, "trainable tensor %s has no gradient memory",
			   t->name ? t->name : "without a name");
		return NULL;
	}
	*acc = false;
	if (pt_arena_take(&run->arena, grad_bytes(t), &p, &run->err))
		return NULL;
	t->grad = p;
	t->unit_grad = false;
	return t->grad;
}

void *pt_tape_grad_add(struct pt_run *run, struct pt_tensor *t)
{
	bool acc;
	void *g = pt_tape_grad(run, t, &acc);

	if (g && !acc && run->dev->k->fill(run->dev, t->grad_type, g, (size_t)pt_tensor_count(t), 0, &run->err))
		return NULL;
	return g;
}

int pt_tape_give(struct pt_run *run, struct pt_tensor *t, const void *g)
{
	const struct pt_kernels *k = run->dev->k;
	bool acc;
	void *to = pt_tape_grad(run, t, &acc);
	size_t n;

	if (!to)
		return run->err.status;
	n = (size_t)pt_tensor_count(t);
	return acc ? k->axpby(run->dev, t->grad_type, n, 1, g, 1, to, &run->err) :
		     k->copy(run->dev, to, g, n * pt_dtype_size(t->grad_type), &run->err);
}

int pt_tape_share(struct pt_run *run, struct pt_tensor *t, struct pt_tensor *from)
{
	if (run->err.status || !t->needs_grad)
		return run->err.status;
	if (t->grad || t->external || from->external || from->twin || t->grad_type != from->grad_type)
		return pt_tape_give(run, t, from->grad);
	t->grad = from->grad;
	t->unit_grad = from->unit_grad;
	t->twin = from;
	from->twin = t;
	return 0;
}

int pt_tape_move(struct pt_run *run, struct pt_tensor *t, struct pt_tensor *out)
{
	if (run->err.status || !t->needs_grad || !out->grad)
		return run->err.status;
	if (t->grad_type != out->grad_type)
		return pt_op_fail(run, PT_FAIL, "a gradient has the type %s, not %s",
				  pt_dtype_name(out->grad_type), pt_dtype_name(t->grad_type));
	if (t->grad || t->external)
		return pt_tape_give(run, t, out->grad);
	t->grad = out->grad;
	t->unit_grad = out->unit_grad;
	t->twin = out->twin;
	if (t->twin)
		t->twin->twin = t;
	out->twin = NULL;
	out->grad = NULL;
	return 0;
}

int pt_tape_check_inplace(struct pt_run *run, const struct pt_tensor *t)
{
	if (!t->owned)
		return pt_op_fail(run, PT_FAIL, "in-place operation on a tensor that is no activation");
	if (t->depth != run->depth)
		return pt_op_fail(run, PT_FAIL, "in-place operation on a tensor from outside the scope");
	if (t->saved)
		return pt_op_fail(run, PT_FAIL, "in-place operation on a tensor that backward reads");
	return 0;
}

static bool has_grad(const struct pt_node *node)
{
	for (int i = 0; i < node->nout; i++)
		if (node->out[i]->grad)
			return true;
	return !node->nout;
}

/* Data of node's tensors that were done with before: made, or what was made let go. */
static int saved_again(struct pt_run *run, struct pt_node *node, bool make)
{
	for (int i = 0; i < node->nsaved && !run->err.status; i++) {
		struct pt_tensor *t = node->saved[i];
		void *p;

		if (!t->again || !t->data != make || !pt_tensor_count(t))
			continue;
		if (!make) {
			pt_arena_drop(&run->arena, t->data);
			t->data = NULL;
		} else if (!pt_arena_take(&run->arena, (size_t)pt_tensor_count(t) * pt_dtype_size(t->type), &p, &run->err) &&
			   !t->again(run, t, p)) {
			t->data = p;
		}
	}
	return run->err.status;
}

/* One node, popped from the tape: its backward, then its outputs and what it kept are gone. */
static int walk_node(struct pt_run *run, struct pt_node *node)
{
	bool runs = has_grad(node);
	int r = runs && !saved_again(run, node, true) ? node->backward(run, node) : 0;

	for (int i = 0; i < node->nout; i++) {
		if (!node->out[i]->twin)
			pt_arena_drop(&run->arena, node->out[i]->grad);
		part(node->out[i]);
		node->out[i]->grad = NULL;
	}
	if (runs)
		saved_again(run, node, false);
	for (int i = 0; i < node->nsaved; i++)
		node->saved[i]->saved--;
	pt_arena_rewind(&run->arena, node->mark);
	if (r && !run->err.status)
		pt_op_fail(run, r, "backward of %s failed", node->name);
	return run->err.status;
}

int pt_tape_walk(struct pt_run *run, size_t floor)
{
	struct pt_tape *tape = run->tape;

	while (tape->n > floor && !run->err.status)
		walk_node(run, tape->node[--tape->n]);
	return run->err.status;
}

int pt_backward_also(struct pt_run *run, struct pt_tensor *t, float weight)
{
	bool acc;
	void *g;

	if (!pt_op_in(run, "backward", t, 1))
		return run->err.status;
	if (!t->needs_grad || !t->node)
		return 0;
	if (t->grad || t->grad_type != PT_F32 || t->shape[0] != 1)
		return pt_op_fail(run, PT_FAIL, "backward: not one more loss");
	g = pt_tape_grad(run, t, &acc);
	return g ? run->dev->k->fill(run->dev, PT_F32, g, 1, weight, &run->err) : run->err.status;
}

int pt_backward(struct pt_run *run, struct pt_tensor *loss, const float *weight, struct pt_error *err)
{
	const struct pt_kernels *k = run->dev->k;
	size_t n;
	bool acc;
	void *g;
	int r;

	if (pt_run_check(run, err))
		return run->err.status;
	if (!loss || !loss->needs_grad || !loss->node)
		return pt_error(err, PT_NUMERIC, "nothing that trains led to the loss");
	n = (size_t)pt_tensor_count(loss);
	g = pt_tape_grad(run, loss, &acc);
	if (!g)
		return pt_run_check(run, err);
	if (weight)
		r = k->convert(run->dev, g, loss->grad_type, weight, PT_F32, n, &run->err);
	else
		r = k->fill(run->dev, loss->grad_type, g, n, 1, &run->err);
	loss->unit_grad = !weight;
	if (!r)
		pt_tape_walk(run, 0);
	return pt_run_check(run, err);
}
