/* SPDX-License-Identifier: MIT */
/*
 * scope.c - a function run apart: what it makes inside is released when it
 * ends, and with PT_SCOPE_RECOMPUTE backward runs it again to record it
 * (Chen et al. 2016, "Training deep nets with sublinear memory cost").
 */
#include <string.h>

#include "tensor/op.h"

struct scope_ctx {
	pt_scope_fn fn;
	void *arg;
	bool train, round_bf16;
	struct pt_parked *parked;	/* in[0], where it waits in host memory */
};

/* State of the run around a scope. */
struct frame {
	bool record, trace, train, round_bf16;
	size_t uploads, mark;
	struct pt_pool_mark pool;
};

static void frame_open(struct pt_run *run, struct frame *f)
{
	f->record = run->record;
	f->trace = run->trace;
	f->train = run->train;
	f->round_bf16 = run->round_bf16;
	f->uploads = run->nuploads;
	f->mark = pt_arena_mark(&run->arena);
	f->pool = pt_pool_mark(&run->pool);
	run->depth++;
}

static void frame_close(struct pt_run *run, const struct frame *f)
{
	run->depth--;
	while (run->nuploads > f->uploads)
		pt_arena_drop(&run->arena, run->upload[--run->nuploads]);
	pt_arena_rewind(&run->arena, f->mark);
	pt_pool_rewind(&run->pool, f->pool);
	run->record = f->record;
	run->trace = f->trace;
	run->train = f->train;
	run->round_bf16 = f->round_bf16;
}

static bool same_shape(const struct pt_tensor *a, const struct pt_tensor *b)
{
	if (a->ndim != b->ndim)
		return false;
	for (int i = 0; i < a->ndim; i++)
		if (a->shape[i] != b->shape[i])
			return false;
	return true;
}

/* Run fn without recording and copy what it returns into the reserved outputs. */
static int run_inside(struct pt_run *run, int flags, pt_scope_fn fn, void *arg,
		      struct pt_tensor *const *in, int nin, struct pt_tensor **out,
		      struct pt_tensor **inner, int nout)
{
	struct frame f;
	int r;

	frame_open(run, &f);
	run->trace = flags & PT_SCOPE_RECOMPUTE && (f.record || f.trace);
	run->record = false;
	r = fn(run, arg, in, nin, inner, nout);
	if (r)
		pt_op_fail(run, r, "a scope's function failed");
	for (int i = 0; i < nout && !run->err.status; i++) {
		if (!pt_op_in(run, "scope", inner[i], 0))
			break;
		if (!same_shape(inner[i], out[i]) || inner[i]->type != out[i]->type) {
			pt_op_fail(run, PT_FAIL, "a scope's output %d is not of the declared shape", i);
			break;
		}
		out[i]->needs_grad = run->trace && inner[i]->needs_grad;
		run->dev->k->copy(run->dev, out[i]->data, inner[i]->data,
				  (size_t)pt_tensor_count(out[i]) * pt_dtype_size(out[i]->type),
				  &run->err);
	}
	frame_close(run, &f);
	return run->err.status;
}

/* Run fn again with recording on, hand it the outputs' gradients, and walk back what it recorded. */
static int scope_backward(struct pt_run *run, struct pt_node *node)
{
	const struct scope_ctx *c = node->ctx;
	size_t floor = run->tape->n;
	struct pt_tensor **inner;
	struct frame f;
	int r;

	if (pt_away_back(run, c->parked))
		return run->err.status;
	frame_open(run, &f);
	run->record = true;
	run->trace = false;
	run->train = c->train;
	run->round_bf16 = c->round_bf16;
	inner = pt_pool_alloc(&run->pool, (size_t)node->nout * sizeof *inner, &run->err);
	r = inner ? c->fn(run, c->arg, node->in, node->nin, inner, node->nout) : PT_FAIL;
	if (r)
		pt_op_fail(run, r, "a scope's function failed");
	for (int i = 0; i < node->nout && !run->err.status; i++)
		if (pt_op_in(run, "scope", inner[i], 0))
			pt_tape_move(run, inner[i], node->out[i]);
	if (!run->err.status)
		pt_tape_walk(run, floor);
	run->tape->n = floor;
	frame_close(run, &f);
	pt_away_release(run, c->parked);
	return run->err.status;
}

static int push_node(struct pt_run *run, size_t mark, const struct scope_ctx *ctx,
		     struct pt_tensor *const *in, int nin, struct pt_tensor **out, int nout)
{
	struct pt_node *node;
	bool needs = false;

	for (int i = 0; i < nout; i++)
		needs |= out[i]->needs_grad;
	if (!needs)
		return 0;
	node = pt_tape_push(run, "scope", scope_backward, mark, in, nin, out, nout, sizeof *ctx);
	if (!node)
		return run->err.status;
	*(struct scope_ctx *)node->ctx = *ctx;
	for (int i = 0; i < nin; i++)
		pt_tape_save(run, node, in[i]);
	return run->err.status;
}

int pt_scope(struct pt_run *run, int flags, pt_scope_fn fn, const void *arg, size_t arg_bytes,
	     struct pt_tensor *const *in, int nin, const struct pt_shape *shape,
	     struct pt_tensor **out, int nout)
{
	struct scope_ctx ctx = { fn, NULL, run->train, run->round_bf16, NULL };
	size_t mark = pt_arena_mark(&run->arena);
	struct pt_tensor **inner;

	for (int i = 0; i < nout; i++)
		out[i] = NULL;
	for (int i = 0; i < nin; i++)
		if (!pt_op_in(run, "scope", in[i], 0))
			return run->err.status;
	for (int i = 0; i < nout; i++) {
		out[i] = shape[i].f32 ? pt_tensor_new_f32(run, shape[i].ndim, shape[i].dim, shape[i].rows) :
					pt_tensor_new(run, shape[i].ndim, shape[i].dim, shape[i].rows);
		if (!out[i])
			goto fail;
	}
	ctx.arg = pt_pool_alloc(&run->pool, arg_bytes, &run->err);
	inner = pt_pool_alloc(&run->pool, (size_t)nout * sizeof *inner, &run->err);
	if (!ctx.arg || !inner)
		goto fail;
	if (arg_bytes)
		memcpy(ctx.arg, arg, arg_bytes);
	if (flags & PT_SCOPE_RECOMPUTE && flags & PT_SCOPE_AWAY && run->record)
		ctx.parked = pt_away_begin(run, in[0]);
	if (run_inside(run, flags, fn, ctx.arg, in, nin, out, inner, nout))
		goto fail;
	if (flags & PT_SCOPE_RECOMPUTE && run->record && push_node(run, mark, &ctx, in, nin, out, nout))
		goto fail;
	if (ctx.parked && pt_away_end(run, ctx.parked))
		goto fail;
	return 0;
fail:
	for (int i = 0; i < nout; i++)
		out[i] = NULL;
	return run->err.status;
}
