/* SPDX-License-Identifier: MIT */
/*
 * delta.c - what methods share whose update of a weight is a matrix made of
 * parameters (delta.h).
 */
#include "peft/delta.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

struct call {
	const struct pt_adapter_site *s;
	pt_delta_fn fn;
};

/* D x */
static int inside(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin, struct pt_tensor **out, int nout)
{
	const struct call *c = arg;
	struct pt_compute was = pt_run_exact(run);
	struct pt_linear lin = { .w = c->fn(run, c->s) };

	(void)nin, (void)nout;
	pt_run_resume(run, was);
	out[0] = lin.w ? pt_op_linear(run, in[0], &lin) : NULL;
	pt_tensor_done(run, lin.w);
	return run->err.status;
}

struct pt_tensor *pt_delta_output(struct pt_run *run, const struct pt_adapter_site *s, pt_delta_fn fn, struct pt_tensor *x,
				  struct pt_tensor *y)
{
	struct call c = { s, fn };
	struct pt_shape shape = { .ndim = 2, .dim = { y ? y->shape[0] : 0, s->site->out }, .rows = y ? y->rows : NULL };
	struct pt_tensor *z, *scaled, *sum;

	if (!x || !y || pt_scope(run, PT_SCOPE_RECOMPUTE, inside, &c, sizeof c, &x, 1, &shape, &z, 1))
		return NULL;
	scaled = pt_op_scale(run, z, s->scale);
	pt_tensor_done(run, z);
	sum = pt_op_add(run, y, scaled);
	pt_tensor_done(run, scaled);
	return sum;
}

struct pt_tensor *pt_delta_product(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *y)
{
	struct pt_linear lin = { .w = y, .transposed = true };

	return x && y ? pt_op_linear(run, x, &lin) : NULL;
}

void pt_delta_merge(const struct pt_adapter_site *s, const float *d, float *value)
{
	int64_t in = s->site->in, out = s->site->out;

	for (int64_t o = 0; o < out; o++)
		for (int64_t i = 0; i < in; i++)
			value[s->site->transposed ? i * out + o : o * in + i] += s->scale * d[o * in + i];
}

int pt_delta_scale(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	double alpha;
	int64_t r;

	if (pt_json_int(a->config, "r", 1, 1 << 20, 8, &r, err) || pt_json_double(a->config, "alpha", 8, &alpha, err) ||
	    pt_pattern_rank(a, s, r, &s->rank, err) || pt_pattern_number(a, s, "alpha_pattern", &alpha, err))
		return err->status;
	s->scale = (float)(alpha / s->rank);
	return 0;
}

int pt_delta_stored(const struct pt_adapter *a, struct pt_adapter_site *s, const struct pt_st_tensor *t,
		    struct pt_error *err)
{
	int64_t r;

	if (!t || t->ndim != 2 || t->shape[0] < 1 || t->shape[0] > 1 << 20 || t->shape[0] == s->rank)
		return 0;
	s->scale *= (float)s->rank / (float)t->shape[0];
	if (pt_json_int(a->config, "r", 1, 1 << 20, 8, &r, err))
		return err->status;
	return pt_stored_rank(a, s, r, t->shape[0], &s->rank, err);
}

int pt_delta_no_dropout(const struct pt_adapter *a, struct pt_error *err)
{
	static const char *const key[] = { "rank_dropout", "module_dropout" };

	for (size_t i = 0; i < sizeof key / sizeof key[0]; i++) {
		double p;

		if (pt_json_double(a->config, key[i], 0, &p, err))
			return err->status;
		if (p != 0 && a->trainable)
			return pt_error(err, PT_USAGE, "%s is not supported with %s", key[i], a->method->name);
	}
	return 0;
}

int pt_delta_fresh(struct pt_adapter *a, struct pt_param *p, bool zero, uint64_t seed, struct pt_error *err)
{
	size_t n = (size_t)pt_tensor_count(&p->t);
	float *v = pt_calloc(n, sizeof *v, err), bound = (float)(1 / sqrt((double)p->t.shape[1]));
	int st;

	if (v && !zero)
		pt_rng_uniform(pt_rng_mix_str(seed, p->name), v, n, -bound, bound);
	st = v ? pt_adapter_set(a, p, v, err) : err->status;
	free(v);
	return st;
}

int pt_delta_get(struct pt_adapter *a, const struct pt_adapter_site *s, float **v, struct pt_error *err)
{
	int st = 0;

	memset(v, 0, (size_t)s->nparams * sizeof *v);
	for (int i = 0; i < s->nparams && !st; i++) {
		v[i] = pt_malloc((size_t)pt_tensor_count(&s->param[i]->t), sizeof **v, err);
		st = v[i] ? pt_adapter_get(a, s->param[i], v[i], err) : err->status;
	}
	return st;
}

void pt_delta_put(const struct pt_adapter_site *s, float **v)
{
	for (int i = 0; i < s->nparams; i++)
		free(v[i]);
}

void pt_delta_multiply(const float *x, const float *y, int64_t n, int64_t k, int64_t m, float *c)
{
	memset(c, 0, (size_t)(n * m) * sizeof *c);
	for (int64_t i = 0; i < n; i++)
		for (int64_t l = 0; l < k; l++)
			for (int64_t j = 0; j < m; j++)
				c[i * m + j] += x[i * k + l] * y[l * m + j];
}
