/* SPDX-License-Identifier: MIT */
/*
 * run.c - the run of a step: its tensors, uploads, and the first failure.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/op.h"

int pt_run_init(struct pt_run *run, struct pt_device *dev, size_t capacity, struct pt_error *err)
{
	int r;

	memset(run, 0, sizeof *run);
	run->dev = dev;
	pt_run_compute(run, false);
	run->tape = pt_calloc(1, sizeof *run->tape, err);
	if (!run->tape)
		return PT_FAIL;
	r = pt_arena_init(&run->arena, dev, capacity, err);
	if (r) {
		free(run->tape);
		run->tape = NULL;
	}
	return r;
}

void pt_run_compute(struct pt_run *run, bool bf16)
{
	run->round_bf16 = bf16;
	run->act_type = bf16 && run->dev->bf16_act ? PT_BF16 : PT_F32;
}

struct pt_compute pt_run_exact(struct pt_run *run)
{
	struct pt_compute was = { run->act_type, run->round_bf16 };

	run->act_type = PT_F32;
	run->round_bf16 = false;
	return was;
}

void pt_run_resume(struct pt_run *run, struct pt_compute was)
{
	run->act_type = was.act_type;
	run->round_bf16 = was.round_bf16;
}

void pt_run_release(struct pt_run *run)
{
	if (run->tape)
		free(run->tape->node);
	free(run->tape);
	pt_away_close(run);
	if (run->arena.dev)
		pt_arena_release(&run->arena);
	pt_pool_release(&run->pool);
	free(run->upload);
	memset(run, 0, sizeof *run);
}

int pt_run_once(struct pt_device *dev, void (*fn)(struct pt_run *run, void *arg, bool real), void *arg, struct pt_error *err)
{
	struct pt_device *plan = NULL;
	size_t bytes = 0;
	int st = pt_device_plan(&plan, dev, err);

	for (int real = 0; real < 2 && !st; real++) {
		struct pt_run run;

		st = pt_run_init(&run, real ? dev : plan, bytes, err);
		if (st)
			break;
		fn(&run, arg, real);
		st = pt_run_check(&run, err);
		bytes = run.arena.peak;
		pt_run_release(&run);
	}
	if (plan)
		pt_device_close(plan);
	return st;
}

void pt_run_reset(struct pt_run *run)
{
	run->err.status = 0;
	run->err.msg[0] = '\0';
	pt_away_reset(run);
	pt_tape_reset(run->tape);
	pt_arena_reset(&run->arena);
	pt_pool_rewind(&run->pool, (struct pt_pool_mark){ 0, 0 });
	run->nuploads = 0;
	run->depth = 0;
	run->trace = false;
}

int pt_run_check(struct pt_run *run, struct pt_error *err)
{
	if (run->err.status && err && err != &run->err)
		*err = run->err;
	return run->err.status;
}

int pt_op_fail(struct pt_run *run, int status, const char *fmt, ...)
{
	char msg[sizeof run->err.msg / 2];
	va_list ap;

	if (run->err.status)
		return run->err.status;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	return pt_error(&run->err, status, "%s", msg);
}

void pt_tensor_init(struct pt_tensor *t, enum pt_dtype type, int ndim, const int64_t *shape, void *data)
{
	memset(t, 0, sizeof *t);
	t->type = type;
	t->ndim = ndim;
	for (int i = 0; i < ndim; i++)
		t->shape[i] = shape[i];
	t->data = data;
	t->grad_type = PT_F32;
}

struct pt_tensor *pt_tensor_new_as(struct pt_run *run, enum pt_dtype type, int ndim, const int64_t *shape,
				   const struct pt_rows *rows)
{
	struct pt_tensor *t;
	size_t bytes = pt_dtype_size(type);

	if (run->err.status)
		return NULL;
	for (int i = 0; i < ndim; i++) {
		if (shape[i] < 0 || !pt_mul_size(bytes, (size_t)shape[i], &bytes)) {
			pt_op_fail(run, PT_FAIL, "a tensor's size overflows");
			return NULL;
		}
	}
	t = pt_pool_alloc(&run->pool, sizeof *t, &run->err);
	if (!t)
		return NULL;
	pt_tensor_init(t, type, ndim, shape, NULL);
	if (pt_arena_push(&run->arena, bytes, &t->data, &run->err))
		return NULL;
	t->rows = rows;
	t->grad_type = type;
	t->owned = true;
	t->depth = run->depth;
	return t;
}

struct pt_tensor *pt_tensor_new(struct pt_run *run, int ndim, const int64_t *shape,
				const struct pt_rows *rows)
{
	return pt_tensor_new_as(run, run->act_type, ndim, shape, rows);
}

struct pt_tensor *pt_tensor_new_f32(struct pt_run *run, int ndim, const int64_t *shape,
				    const struct pt_rows *rows)
{
	return pt_tensor_new_as(run, PT_F32, ndim, shape, rows);
}

void pt_tensor_done(struct pt_run *run, struct pt_tensor *t)
{
	if (run->err.status || !t || !t->owned || t->depth != run->depth || (t->saved && !t->again))
		return;
	pt_arena_drop(&run->arena, t->data);
	t->data = NULL;
}

void *pt_run_upload(struct pt_run *run, const void *host, size_t bytes)
{
	void *p;

	if (run->err.status)
		return NULL;
	if (pt_grow(&run->upload, &run->cap_uploads, run->nuploads + 1, sizeof *run->upload, &run->err))
		return NULL;
	if (pt_arena_take(&run->arena, bytes, &p, &run->err))
		return NULL;
	run->upload[run->nuploads++] = p;
	if (bytes && run->dev->upload(run->dev, p, host, bytes, &run->err))
		return NULL;
	return p;
}

int pt_tensor_read(struct pt_run *run, const struct pt_tensor *t, float *host, struct pt_error *err)
{
	size_t n, size;
	void *tmp;
	int r;

	if (run->err.status || !t)
		return pt_run_check(run, err) ? run->err.status : pt_error(err, PT_FAIL, "no tensor to read");
	if (!t->data)
		return pt_error(err, PT_FAIL, "tensor read after it was done with");
	n = (size_t)pt_tensor_count(t);
	size = pt_dtype_size(t->type);
	if (!n)
		return 0;
	if (t->type == PT_F32)
		return run->dev->download(run->dev, host, t->data, n * size, err);
	tmp = pt_malloc(n, size, err);
	if (!tmp)
		return PT_FAIL;
	r = run->dev->download(run->dev, tmp, t->data, n * size, err);
	if (!r)
		pt_to_f32(host, tmp, t->type, n);
	free(tmp);
	return r;
}

bool pt_op_in(struct pt_run *run, const char *op, const struct pt_tensor *t, int ndim)
{
	if (run->err.status)
		return false;
	if (!t)
		pt_op_fail(run, PT_FAIL, "%s: an input is missing", op);
	else if (!t->data && pt_tensor_count(t))
		pt_op_fail(run, PT_FAIL, "%s: tensor %s is used after it was done with", op,
			   t->name ? t->name : "of the run");
	else if (ndim && t->ndim != ndim)
		pt_op_fail(run, PT_FAIL, "%s: tensor %s has %d dimensions, not %d", op,
			   t->name ? t->name : "of the run", t->ndim, ndim);
	return !run->err.status;
}

bool pt_op_act_type(struct pt_run *run, const char *op, const struct pt_tensor *x)
{
	if (x->type != run->act_type)
		pt_op_fail(run, PT_FAIL, "%s: tensor %s is of type %s, activations are %s", op,
			   x->name ? x->name : "of the run", pt_dtype_name(x->type),
			   pt_dtype_name(run->act_type));
	return !run->err.status;
}

bool pt_op_wants(const struct pt_run *run, const struct pt_tensor *t)
{
	return t && t->needs_grad && (run->record || run->trace);
}

bool pt_op_scratch(struct pt_run *run, size_t bytes, void **p)
{
	*p = NULL;
	if (run->err.status)
		return false;
	return !bytes || !pt_arena_take(&run->arena, bytes, p, &run->err);
}

void pt_op_scratch_drop(struct pt_run *run, void *p)
{
	pt_arena_drop(&run->arena, p);
}

void *pt_op_keep(struct pt_run *run, int64_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (run->err.status)
		return NULL;
	if (n < 0 || !pt_mul_size((size_t)n, size, &bytes)) {
		pt_op_fail(run, PT_FAIL, "a tensor's size overflows");
		return NULL;
	}
	return pt_arena_push(&run->arena, bytes, &p, &run->err) ? NULL : p;
}

struct pt_tensor *pt_op_like(struct pt_run *run, const struct pt_tensor *x)
{
	return pt_tensor_new(run, x->ndim, x->shape, x->rows);
}

struct pt_node *pt_op_node1(struct pt_run *run, const char *name, pt_backward_fn fn, size_t mark,
			    struct pt_tensor *in, struct pt_tensor *out, size_t ctx_bytes)
{
	return pt_tape_push(run, name, fn, mark, &in, 1, &out, 1, ctx_bytes);
}

bool pt_op_rng(struct pt_run *run, const char *op, const struct pt_rows *rows, float p,
	       struct pt_k_rows *out)
{
	out->key = rows ? rows->key : NULL;
	out->pos = rows ? rows->pos : NULL;
	if (p > 0 && (!out->key || !out->pos) && !(rows && rows->n == 0)) {
		pt_op_fail(run, PT_FAIL, "%s: dropout on rows without random keys", op);
		return false;
	}
	return true;
}
