/* SPDX-License-Identifier: MIT */
/*
 * nll.c - negative log-likelihood of labelled rows.
 *
 * Chunks of rows, so many that their logits take about CHUNK floats: gather x,
 * logits as a linear, softmax row by row, and where gradients are wanted the
 * logits become their own gradient in place and the linear's backward follows
 * at once. Nothing of a chunk stays: backward computes its logits again,
 * unless weights were given to forward.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "device/cpu/cpu.h"
#include "fmath.h"

#define CHUNK ((int64_t)8 << 20)
#define CHUNK_ROWS 128		/* at least, so that W is not read for a few rows */
#define STRIP 512		/* logits summed in f32 */

struct plan {
	int64_t rows;			/* of a chunk */
	float *z, *x, *dx;		/* [rows, V], [rows, C] */
	uint64_t *key;
	int32_t *pos;
	struct pt_k_lowrank *term;
	struct pt_k_linear lin;
	struct pt_k_linear_group g;
	size_t size;
};

static size_t take(struct plan *p, char *base, void *ptr, size_t n)
{
	char *at = base ? base + p->size : NULL;

	memcpy(ptr, &at, sizeof at);
	p->size += (n + 63) & ~(size_t)63;
	return n;
}

static void layout(struct pt_device *dev, const struct pt_k_nll *k, bool grads, char *base, struct plan *p)
{
	int64_t most = CHUNK / (k->v ? k->v : 1);
	size_t fwd, bwd, rows;
	void *inner;

	/* Not even shares: fewer rows must never want more room, since plans are made for the most. */
	most = most < CHUNK_ROWS ? CHUNK_ROWS : most;
	*p = (struct plan){ .rows = k->rows < most ? k->rows : most, .lin = k->head };
	rows = (size_t)p->rows;
	take(p, base, &p->z, rows * (size_t)k->v * sizeof(float));
	take(p, base, &p->x, rows * (size_t)k->c * sizeof(float));
	take(p, base, &p->dx, grads && k->dx ? rows * (size_t)k->c * sizeof(float) : 0);
	take(p, base, &p->key, rows * sizeof *p->key);
	take(p, base, &p->pos, rows * sizeof *p->pos);
	take(p, base, &p->term, (size_t)k->head.nterms * sizeof *p->term);
	p->lin.y = p->z;
	p->lin.dy = p->z;
	p->lin.acc_y = false;
	p->g = (struct pt_k_linear_group){ .rows = p->rows, .k = k->c, .x = p->x, .type = PT_F32,
		.rng = { p->key, p->pos }, .n = 1, .dx = grads && k->dx ? p->dx : NULL, .round_bf16 = k->round_bf16 };
	if (base) {
		p->lin.term = p->term;
		memcpy(p->term, k->head.term, (size_t)k->head.nterms * sizeof *p->term);
		for (int i = 0; i < k->head.nterms; i++)
			p->term[i].u = NULL;
	}
	p->g.lin = &p->lin;
	fwd = pt_cpu_linear_scratch(dev, &p->g, false);
	bwd = grads ? pt_cpu_linear_scratch(dev, &p->g, true) : 0;
	take(p, base, &inner, fwd > bwd ? fwd : bwd);
	p->g.scratch = inner;
}

size_t pt_cpu_nll_scratch(struct pt_device *dev, const struct pt_k_nll *k, bool backward)
{
	struct plan p;

	layout(dev, k, backward || k->weight, NULL, &p);
	return p.size;
}

static float row_max(const float *z, int64_t v)
{
	float m = -FLT_MAX;

#pragma omp simd reduction(max:m)
	for (int64_t i = 0; i < v; i++)
		m = z[i] > m ? z[i] : m;
	return m;
}

/* Sums of exp(z - max) and of z. */
static void row_sums(const float *z, int64_t v, float max, double *exps, double *sum)
{
	*exps = 0;
	*sum = 0;
	for (int64_t at = 0; at < v; at += STRIP) {
		int64_t n = v - at < STRIP ? v - at : STRIP;
		float e = 0, s = 0;

#pragma omp simd safelen(8) reduction(+:e, s)
		for (int64_t i = 0; i < n; i++) {
			e += pt_expf(z[at + i] - max);
			s += z[at + i];
		}
		*exps += (double)e;
		*sum += (double)s;
	}
}

static void row_transform(const struct pt_k_nll *k, float *z)
{
	const float s = k->scale, c = k->cap;

	if (c > 0)
		for (int64_t i = 0; i < k->v; i++)
			z[i] = c * pt_tanhf(z[i] * s / c);
	else if (s < 1 || s > 1)
		for (int64_t i = 0; i < k->v; i++)
			z[i] *= s;
}

/* Logits of labelled row l become their gradient. */
static void row_grad(const struct pt_k_nll *k, int64_t l, float *z, float lse)
{
	const float smooth = k->smoothing / (float)k->v, w = k->weight[l] * k->scale;
	const float c = k->cap > 0 ? 1 / k->cap : 0;
	float *label = &z[k->label[l]], t = *label * c;
	float hit = pt_expf(*label - lse) - smooth - (1 - k->smoothing);

	hit *= w * (1 - t * t);
	for (int64_t i = 0; i < k->v; i++) {
		float u = z[i] * c;

		z[i] = (pt_expf(z[i] - lse) - smooth) * w * (1 - u * u);
	}
	*label = hit;
}

/* Row l of the call from its logits: loss where k->nll is there, gradient where wanted. */
static void row(const struct pt_k_nll *k, int64_t l, float *z, bool grads)
{
	float max, lse;
	double exps, sum;

	row_transform(k, z);
	if (grads && !k->nll && k->lse) {
		row_grad(k, l, z, k->lse[l]);
		return;
	}
	max = row_max(z, k->v);
	row_sums(z, k->v, max, &exps, &sum);
	lse = (float)((double)max + log(exps));
	if (k->nll) {
		double at = (double)max + log(exps), s = (double)k->smoothing;

		k->nll[l] = (float)((1 - s) * (at - (double)z[k->label[l]]) + s * (at - sum / (double)k->v));
		if (k->lse)
			k->lse[l] = lse;
		if (k->argmax) {
			int32_t best = 0;

			/* NaN everywhere: 0 */
			for (int64_t i = 0; i < k->v; i++) {
				if (z[i] >= max) {
					best = (int32_t)i;
					break;
				}
			}
			k->argmax[l] = best;
		}
	}
	if (grads)
		row_grad(k, l, z, lse);
}

static void gather(struct pt_device *dev, const struct pt_k_nll *k, const struct plan *p, int64_t at, int64_t n)
{
	bool rng = false;

	for (int i = 0; i < k->head.nterms; i++)
		rng |= k->head.term[i].dropout > 0;
#pragma omp parallel for num_threads(pt_cpu_threads(dev)) schedule(static)
	for (int64_t i = 0; i < n; i++) {
		int64_t from = k->row[at + i];

		memcpy(p->x + i * k->c, (const float *)k->x + from * k->c, (size_t)k->c * sizeof(float));
		if (rng) {
			p->key[i] = k->rng.key[from];
			p->pos[i] = k->rng.pos[from];
		}
	}
}

/* dx[row[i]] += ; columns are shared out, since a row may come twice. */
static void scatter(struct pt_device *dev, const struct pt_k_nll *k, const struct plan *p, int64_t at, int64_t n)
{
#pragma omp parallel for num_threads(pt_cpu_threads(dev)) schedule(static)
	for (int64_t c = 0; c < k->c; c += 64) {
		int64_t w = k->c - c < 64 ? k->c - c : 64;

		for (int64_t i = 0; i < n; i++) {
			float *to = (float *)k->dx + k->row[at + i] * k->c + c;
			const float *from = p->dx + i * k->c + c;

			for (int64_t j = 0; j < w; j++)
				to[j] += from[j];
		}
	}
}

static int all_chunks(struct pt_device *dev, const struct pt_k_nll *k, bool grads, struct pt_error *err)
{
	struct plan p;
	int status = 0;

	if (k->type != PT_F32)
		return pt_error(err, PT_DEVICE, "token_nll: the CPU computes in F32, not %s", pt_dtype_name(k->type));
	layout(dev, k, grads, k->scratch, &p);
	if (grads && k->dx && !k->acc_dx)
		memset(k->dx, 0, (size_t)(k->n * k->c) * sizeof(float));
	for (int64_t at = 0; at < k->rows && !status; at += p.rows) {
		int64_t n = k->rows - at < p.rows ? k->rows - at : p.rows;

		gather(dev, k, &p, at, n);
		p.g.rows = n;
		status = pt_cpu_linear_fwd(dev, &p.g, err);
		if (status)
			break;
#pragma omp parallel for num_threads(pt_cpu_threads(dev)) schedule(static)
		for (int64_t i = 0; i < n; i++)
			row(k, at + i, p.z + i * k->v, grads);
		if (!grads)
			continue;
		status = pt_cpu_linear_bwd(dev, &p.g, err);
		if (!status && k->dx)
			scatter(dev, k, &p, at, n);
	}
	return status;
}

int pt_cpu_nll_fwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *err)
{
	return all_chunks(dev, k, k->weight != NULL, err);
}

int pt_cpu_nll_bwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *err)
{
	return all_chunks(dev, k, true, err);
}
