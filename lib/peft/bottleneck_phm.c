/* SPDX-License-Identifier: MIT */
/*
 * bottleneck_phm.c - the linears of the Compacter: y = x H + b with H the sum
 * of n Kronecker products of a rule [n,n] and a matrix of rank r, the rules
 * shared by all places (phm_layer, shared_phm_rule).
 *
 * H is made for each use, and again in backward.
 *
 * Karimi Mahabadi et al. 2021, "Compacter: Efficient Low-Rank Hypercomplex
 * Adapter Layers".
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "peft/bottleneck.h"

/* Matrix i of a stack of n, [rows,cols]. */
static struct pt_tensor *matrix(struct pt_run *run, struct pt_tensor *all, int i, int64_t n, int64_t rows, int64_t cols)
{
	struct pt_tensor *flat = pt_op_reshape(run, all, n, rows * cols), *row, *y;
	int32_t *host = pt_pool_alloc(&run->pool, sizeof *host, &run->err);
	const int32_t *index;

	if (!flat || !host)
		return NULL;
	*host = i;
	index = pt_run_upload(run, host, sizeof *host);
	row = index ? pt_op_gather(run, flat, index, 1, NULL) : NULL;
	pt_tensor_done(run, flat);
	y = row ? pt_op_reshape(run, row, rows, cols) : NULL;
	pt_tensor_done(run, row);
	return y;
}

/* kron(rule i, W i) */
static struct pt_tensor *product(struct pt_run *run, const struct pt_phm *p, int i)
{
	int64_t n = p->n, in = p->in / n, out = p->out / n;
	struct pt_tensor *rule = matrix(run, &p->rule->t, i, n, n, n), *w, *right, *y;

	w = matrix(run, &p->left->t, i, n, in, p->right ? p->left->t.shape[2] : out);
	if (p->right) {
		struct pt_tensor *left = w;
		struct pt_linear lin = { .transposed = true };

		lin.w = right = matrix(run, &p->right->t, i, n, p->right->t.shape[1], out);
		w = left && right ? pt_op_linear(run, left, &lin) : NULL;
		pt_tensor_done(run, left);
		pt_tensor_done(run, right);
	}
	y = rule && w ? pt_op_kron(run, rule, w) : NULL;
	pt_tensor_done(run, rule);
	pt_tensor_done(run, w);
	return y;
}

static int inside(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin, struct pt_tensor **out, int nout)
{
	const struct pt_phm *p = arg;
	struct pt_compute was = pt_run_exact(run);
	struct pt_linear lin = { .transposed = true, .bias = p->bias ? &p->bias->t : NULL };
	struct pt_tensor *h = product(run, p, 0);

	(void)nin, (void)nout;
	for (int i = 1; i < p->n && h; i++) {
		struct pt_tensor *more = product(run, p, i), *sum = pt_op_add(run, h, more);

		pt_tensor_done(run, h);
		pt_tensor_done(run, more);
		h = sum;
	}
	pt_run_resume(run, was);
	lin.w = h;
	out[0] = h ? pt_op_linear(run, in[0], &lin) : NULL;
	pt_tensor_done(run, h);
	return run->err.status;
}

struct pt_tensor *pt_phm_linear(struct pt_run *run, const struct pt_phm *p, struct pt_tensor *x)
{
	struct pt_shape shape = { .ndim = 2, .dim = { x ? x->shape[0] : 0, p->out }, .rows = x ? x->rows : NULL };
	struct pt_phm copy = *p;
	struct pt_tensor *y;

	return x && !pt_scope(run, PT_SCOPE_RECOMPUTE, inside, &copy, sizeof copy, &x, 1, &shape, &y, 1) ? y : NULL;
}

int pt_phm_init(struct pt_adapter *a, struct pt_param *p, uint64_t key, struct pt_error *err)
{
	int64_t rows = p->t.shape[1], cols = p->t.shape[2];
	size_t n = (size_t)pt_tensor_count(&p->t);
	float *v = pt_malloc(n, sizeof *v, err);
	int st;

	if (!v)
		return err->status;
	pt_rng_normal(key, v, n, 0, (float)sqrt(2.0 / (double)(rows + cols)));
	st = pt_adapter_set(a, p, v, err);
	free(v);
	return st;
}
