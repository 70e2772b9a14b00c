/* SPDX-License-Identifier: MIT */
/*
 * tensor_fix.h - what the tests of operations share: a run on a device, named
 * trainable tensors of random values, packed rows, and the comparison of
 * backward with finite differences.
 */
#ifndef PT_TENSOR_FIX_H
#define PT_TENSOR_FIX_H

#include "test.h"

#include <math.h>

#include "base/rng.h"
#include "ref_device.h"
#include "tensor/ops.h"
#include "tensor/param.h"

#define FIX_ARENA ((size_t)2 << 20)
#define FIX_MAX 24

struct fix {
	struct pt_device *dev;
	struct pt_run run;
	struct pt_params params;
	struct pt_error err;
	struct pt_rows rows, rows_k;
	struct pt_tensor leaf;		/* a frozen tensor of the test */
	void *mem[64];			/* device memory of the test */
	size_t mem_size[64];
	int nmem;
	void *host[16];			/* host arrays of the rows */
	int nhost;
	struct pt_tensor *made[16];	/* by act(), in one call of the formula */
	int nmade;
	bool frozen;			/* activations without a node stay until reset */
	int variant;			/* for formulas with switches */
	const void *arg;
};

typedef struct pt_tensor *(*fix_fn)(struct fix *f);

static int fix_threads REF_UNUSED = 1;

/* PEFT_TEST_DEVICE names another device to test in place of the CPU. */
static struct pt_device *fix_device(const char *name)
{
	const char *other = getenv("PEFT_TEST_DEVICE");
	struct pt_error err = PT_ERROR_INIT;
	struct pt_device *d = NULL;

	if (!strcmp(name, "ref"))
		return ref_device_new();
	if (!strcmp(name, "plan") && other) {
		static struct pt_device *real;

		if (!real)
			assert_ok(pt_device_open(&real, other, NULL, &err), &err);
		assert_ok(pt_device_plan(&d, real, &err), &err);
		return d;
	}
	if (!strcmp(name, "cpu") && other)
		name = other;
	assert_ok(pt_device_open(&d, name, &(struct pt_device_options){ .threads = fix_threads }, &err), &err);
	return d;
}

static void fix_init(struct fix *f, const char *device, size_t arena) REF_UNUSED;
static void fix_init(struct fix *f, const char *device, size_t arena)
{
	void *all, *nan;

	memset(f, 0, sizeof *f);
	f->dev = fix_device(device);
	assert_ok(pt_run_init(&f->run, f->dev, arena, &f->err), &f->err);
	assert_ok(pt_params_init(&f->params, f->dev), &f->err);
	if (f->dev->plan)
		return;
	/* Whoever reads what nobody wrote shall see it. */
	nan = malloc(f->run.arena.capacity);
	memset(nan, 0xff, f->run.arena.capacity);
	assert_ok(pt_arena_take(&f->run.arena, f->run.arena.capacity, &all, &f->err), &f->err);
	assert_ok(f->dev->upload(f->dev, all, nan, f->run.arena.capacity, &f->err), &f->err);
	pt_run_reset(&f->run);
	f->run.arena.peak = 0;
	free(nan);
}

static void fix_release(struct fix *f) REF_UNUSED;
static void fix_release(struct fix *f)
{
	pt_run_release(&f->run);
	pt_params_release(&f->params);
	while (f->nmem--)
		f->dev->free(f->dev, f->mem[f->nmem], f->mem_size[f->nmem]);
	while (f->nhost--)
		free(f->host[f->nhost]);
	assert_int_equal(f->dev->used, 0);
	f->dev->close(f->dev);
}

/* A copy of host bytes in device memory that lives as long as the fixture. */
static void *fix_put(struct fix *f, const void *host, size_t n) REF_UNUSED;
static void *fix_put(struct fix *f, const void *host, size_t n)
{
	void *p;

	assert_true(f->nmem < 64);
	assert_ok(f->dev->alloc(f->dev, n, &p, &f->err), &f->err);
	assert_ok(f->dev->upload(f->dev, p, host, n, &f->err), &f->err);
	f->mem[f->nmem] = p;
	f->mem_size[f->nmem++] = n;
	return p;
}

/* Packed rows of sequences of these lengths, with tail rows of no sequence behind them. */
static void fix_rows(struct fix *f, struct pt_rows *r, const int *len, int batch, int tail) REF_UNUSED;
static void fix_rows(struct fix *f, struct pt_rows *r, const int *len, int batch, int tail)
{
	int32_t *cu = calloc((size_t)batch + 1, sizeof *cu), *pos;
	uint64_t *key;
	int64_t n = 0, max = 0;

	for (int b = 0; b < batch; b++) {
		n += len[b];
		max = len[b] > max ? len[b] : max;
		cu[b + 1] = (int32_t)n;
	}
	n += tail;
	pos = calloc((size_t)n + 1, sizeof *pos);
	key = calloc((size_t)n + 1, sizeof *key);
	for (int b = 0; b < batch; b++) {
		for (int i = cu[b]; i < cu[b + 1]; i++) {
			pos[i] = i - cu[b];
			key[i] = pt_rng_mix(77, (uint64_t)b);
		}
	}
	*r = (struct pt_rows){ .n = n, .batch = batch, .max_len = (int)max, .host_cu = cu };
	r->cu = fix_put(f, cu, ((size_t)batch + 1) * sizeof *cu);
	r->pos = fix_put(f, pos, (size_t)n * sizeof *pos);
	r->key = fix_put(f, key, (size_t)n * sizeof *key);
	free(pos);
	free(key);
	f->host[f->nhost++] = cu;
}

/* A trainable tensor with random values of this spread, made from its name. */
static struct pt_tensor *fix_param(struct fix *f, const char *name, int64_t a, int64_t b, float std)
	REF_UNUSED;
static struct pt_tensor *fix_param(struct fix *f, const char *name, int64_t a, int64_t b, float std)
{
	int64_t shape[2] = { a, b };
	struct pt_param *p;
	float *v;

	assert_ok(pt_params_add(&f->params, name, b ? 2 : 1, shape, &p, &f->err), &f->err);
	v = calloc((size_t)pt_tensor_count(&p->t) + 1, sizeof *v);
	pt_rng_normal(pt_rng_mix_str(1, name), v, (size_t)pt_tensor_count(&p->t), 0, std);
	assert_ok(pt_param_write(&f->params, p, v, &f->err), &f->err);
	free(v);
	return &p->t;
}

static struct pt_tensor *par(struct fix *f, const char *name) REF_UNUSED;
static struct pt_tensor *par(struct fix *f, const char *name)
{
	struct pt_param *p = pt_params_find(&f->params, name);

	return p ? &p->t : NULL;
}

/* An activation that needs a gradient, with the values of a trainable tensor and these rows. */
static struct pt_tensor *act(struct fix *f, const char *name, const struct pt_rows *rows) REF_UNUSED;
static struct pt_tensor *act(struct fix *f, const char *name, const struct pt_rows *rows)
{
	struct pt_tensor *t = pt_op_scale(&f->run, par(f, name), 1);

	if (!t)
		return NULL;
	t->rows = rows;
	assert_true(f->nmade < 16);
	f->made[f->nmade++] = t;
	return t;
}

/* Say that all activations of the formula are done with, and spoil what is free at the low end. */
static void fix_spoil(struct fix *f, struct pt_tensor *y)
{
	struct pt_arena_end *e = &f->run.arena.low;
	size_t at = 0;

	for (int i = 0; i < f->nmade; i++)
		pt_tensor_done(&f->run, f->made[i]);
	pt_tensor_done(&f->run, y);
	for (size_t i = 0; i < e->n; i++) {
		size_t n = e->block[i].off - at;
		char *nan = malloc(n + 1);

		memset(nan, 0xff, n);
		if (n && !f->run.arena.poison)
			f->dev->upload(f->dev, f->run.arena.base + at, nan, n, &f->err);
		free(nan);
		at = e->block[i].off + e->block[i].size;
	}
}

static float *fix_read(struct fix *f, const struct pt_tensor *t)
{
	float *v = calloc((size_t)pt_tensor_count(t) + 1, sizeof *v);

	assert_ok(pt_tensor_read(&f->run, t, v, &f->err), &f->err);
	return v;
}

static float *fix_grad(struct fix *f, const struct pt_param *p)
{
	size_t n = (size_t)pt_tensor_count(&p->t);
	float *v = calloc(n + 1, sizeof *v);

	assert_ok(f->dev->download(f->dev, v, p->t.grad, n * sizeof *v, &f->err), &f->err);
	return v;
}

/* Weights of the scalar that is differentiated: sum of seed * output. */
static float *fix_seed(int64_t n)
{
	float *s = calloc((size_t)n + 1, sizeof *s);

	pt_rng_uniform(99, s, (size_t)n, 0.5f, 1.5f);
	for (int64_t i = 0; i < n; i += 2)
		s[i] = -s[i];
	return s;
}

static double fix_value(struct fix *f, fix_fn fn)
{
	struct pt_tensor *y;
	float *v, *s;
	double sum = 0;

	pt_run_reset(&f->run);
	f->run.record = false;
	f->nmade = 0;
	y = fn(f);
	assert_ok(pt_run_check(&f->run, &f->err), &f->err);
	v = fix_read(f, y);
	s = fix_seed(pt_tensor_count(y));
	for (int64_t i = 0; i < pt_tensor_count(y); i++)
		sum += (double)v[i] * s[i];
	free(v);
	free(s);
	return sum;
}

struct fix_call {
	struct fix *f;
	fix_fn fn;
};

static int fix_inside(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
		      struct pt_tensor **out, int nout)
{
	const struct fix_call *c = arg;

	(void)run, (void)in, (void)nin, (void)nout;
	c->f->nmade = 0;
	out[0] = c->fn(c->f);
	return 0;
}

/*
 * Gradients of all trainable tensors, one after the other; with the whole
 * formula in a recomputed scope if asked, or with all done with before backward.
 */
enum fix_how { PLAIN, SCOPE, DONE };

static float *fix_backward(struct fix *f, fix_fn fn, enum fix_how how)
{
	bool scope = how == SCOPE;
	size_t n = (size_t)pt_params_count(&f->params), at = 0;
	float *all = calloc(n + 1, sizeof *all), *seed;
	struct fix_call call = { f, fn };
	struct pt_tensor *y;
	struct pt_shape shape = { 0 };

	assert_ok(pt_params_zero_grad(&f->params, &f->err), &f->err);
	pt_run_reset(&f->run);
	f->nmade = 0;
	if (scope) {
		f->run.record = false;
		y = fn(f);
		assert_ok(pt_run_check(&f->run, &f->err), &f->err);
		shape.ndim = y->ndim;
		memcpy(shape.dim, y->shape, sizeof y->shape);
		pt_run_reset(&f->run);
	}
	f->run.record = true;
	f->nmade = 0;
	if (scope)
		pt_scope(&f->run, PT_SCOPE_RECOMPUTE, fix_inside, &call, sizeof call, NULL, 0, &shape, &y, 1);
	else
		y = fn(f);
	assert_ok(pt_run_check(&f->run, &f->err), &f->err);
	assert_int_equal(f->run.depth, 0);
	if (how == DONE)
		fix_spoil(f, y);
	seed = fix_seed(pt_tensor_count(y));
	assert_ok(pt_backward(&f->run, y, pt_run_upload(&f->run, seed, (size_t)pt_tensor_count(y) * 4),
			      &f->err), &f->err);
	assert_int_equal(f->run.tape->n, 0);
	if (!f->frozen)
		assert_int_equal(f->run.arena.low.n, 0);
	assert_int_equal(f->run.arena.high.n, 1);	/* the seeds */
	for (int i = 0; i < f->params.n; i++) {
		float *g = fix_grad(f, f->params.item[i]);

		memcpy(all + at, g, (size_t)pt_tensor_count(&f->params.item[i]->t) * sizeof *g);
		at += (size_t)pt_tensor_count(&f->params.item[i]->t);
		free(g);
	}
	free(seed);
	return all;
}

/* Value with parameter p moved by h along direction d. */
static double fix_moved(struct fix *f, fix_fn fn, struct pt_param *p, const float *v, const float *d, double h)
{
	size_t n = (size_t)pt_tensor_count(&p->t);
	float *w = calloc(n + 1, sizeof *w);
	double out;

	for (size_t i = 0; i < n; i++)
		w[i] = (float)(v[i] + h * d[i]);
	assert_ok(pt_param_write(&f->params, p, w, &f->err), &f->err);
	out = fix_value(f, fn);
	assert_ok(pt_param_write(&f->params, p, v, &f->err), &f->err);
	free(w);
	return out;
}

/*
 * Directional derivatives of fn along two random directions per trainable
 * tensor, by central differences with one extrapolation, against backward;
 * and backward through a recomputed scope, or when all was said to be done
 * with, must give the same bits.
 */
static void fix_check(struct fix *f, fix_fn fn, double h, double tol) REF_UNUSED;
static void fix_check(struct fix *f, fix_fn fn, double h, double tol)
{
	float *g = fix_backward(f, fn, PLAIN), *g2 = fix_backward(f, fn, SCOPE);
	float *g3 = fix_backward(f, fn, DONE);
	size_t at = 0;

	assert_memory_equal(g, g2, (size_t)pt_params_count(&f->params) * sizeof *g);
	assert_memory_equal(g, g3, (size_t)pt_params_count(&f->params) * sizeof *g);
	for (int i = 0; i < f->params.n; i++) {
		struct pt_param *p = f->params.item[i];
		size_t n = (size_t)pt_tensor_count(&p->t);
		float *v = fix_read(f, &p->t), *d = calloc(n + 1, sizeof *d);

		for (uint64_t dir = 0; dir < 2 && n; dir++) {
			double want = 0, norm = 0, d1, d2, got;

			pt_rng_normal(pt_rng_mix(pt_rng_mix_str(5, p->name), dir), d, n, 0, 1);
			for (size_t j = 0; j < n; j++) {
				want += (double)g[at + j] * d[j];
				norm += (double)g[at + j] * g[at + j];
			}
			d1 = (fix_moved(f, fn, p, v, d, h) - fix_moved(f, fn, p, v, d, -h)) / (2 * h);
			d2 = (fix_moved(f, fn, p, v, d, h / 2) - fix_moved(f, fn, p, v, d, -h / 2)) / h;
			got = (4 * d2 - d1) / 3;
			if (!(fabs(got - want) <= tol * (sqrt(norm) + 1e-3)))
				fail_msg("%s: derivative %.9g, backward %.9g, gradient's norm %.3g", p->name,
					 got, want, sqrt(norm));
		}
		at += n;
		free(v);
		free(d);
	}
	free(g);
	free(g2);
	free(g3);
}

#endif
