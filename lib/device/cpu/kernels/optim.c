/* SPDX-License-Identifier: MIT */
/*
 * optim.c - AdamW (Loshchilov and Hutter 2019) as torch writes it, and the
 * sums over gradients that come before it.
 */
#include "device/cpu/cpu.h"

#include <math.h>
#include <string.h>

#include "block.h"

static void adamw(struct pt_device *dev, const struct pt_k_adamw *k)
{
	const float b1 = (float)(1 - k->beta1), b2 = (float)k->beta2, b2c = (float)(1 - k->beta2);
	const float keep = (float)(1 - k->lr * k->decay);
	const float step = (float)(k->lr / (1 - pow(k->beta1, (double)k->t)));
	const float root = (float)sqrt(1 - pow(k->beta2, (double)k->t));
	const float eps = (float)k->eps, scale = k->gscale ? *k->gscale : 1;
	const int64_t n = (int64_t)k->n;

	PT_PARALLEL(dev, n > PT_BLOCK)
	for (int64_t b = 0; b < pt_blocks(n, PT_BLOCK); b++) {
		int64_t at = b * PT_BLOCK, len = pt_min(PT_BLOCK, n - at);
		float *restrict p = k->p + at, *restrict m = k->m + at, *restrict v = k->v + at;
		float *restrict gr = k->g + at;

		for (int64_t i = 0; i < len; i++) {
			float g = gr[i] * scale, mi = m[i] + b1 * (g - m[i]), vi = b2 * v[i] + b2c * g * g;

			m[i] = mi;
			v[i] = vi;
			p[i] = p[i] * keep - step * (mi / (sqrtf(vi) / root + eps));
		}
		if (k->clear)
			memset(gr, 0, (size_t)len * sizeof *gr);
	}
}

int pt_cpu_adamw(struct pt_device *dev, int count, const struct pt_k_adamw *k, struct pt_error *err)
{
	(void)err;
	for (int i = 0; i < count; i++)
		adamw(dev, &k[i]);
	return 0;
}

#define PARTS 256		/* partial sums at most, so that they fit a stack */

/* Elements of a part, by n alone. */
static int64_t part_size(int64_t n)
{
	return pt_max(PT_BLOCK, pt_blocks(pt_blocks(n, PARTS), PT_BLOCK) * PT_BLOCK);
}

static double sumsq(struct pt_device *dev, const float *x, size_t n)
{
	const int64_t total = (int64_t)n, size = part_size(total), parts = pt_blocks(total, size);
	double part[PARTS], sum = 0;

	PT_PARALLEL(dev, parts > 1)
	for (int64_t b = 0; b < parts; b++) {
		double s = 0;

#pragma omp simd safelen(8) reduction(+:s)
		for (int64_t i = b * size; i < pt_min(total, (b + 1) * size); i++)
			s += (double)x[i] * (double)x[i];
		part[b] = s;
	}
	for (int64_t b = 0; b < parts; b++)
		sum += part[b];
	return sum;
}

int pt_cpu_sumsq(struct pt_device *dev, int count, const struct pt_k_sumsq *k, struct pt_error *err)
{
	(void)err;
	for (int i = 0; i < count; i++)
		*k[i].out = sumsq(dev, k[i].x, k[i].n);
	return 0;
}

int pt_cpu_inv_norm(struct pt_device *dev, int64_t n, int64_t r, const float *sumsq, const float *b, const float *p,
		    float *inv, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, n * r > 4096)
	for (int64_t i = 0; i < n; i++) {
		double s = sumsq[i];

		for (int64_t k = 0; k < r; k++)
			s += (double)b[i * r + k] * (double)p[i * r + k];
		inv[i] = s > 0 ? (float)(1 / sqrt(s)) : 0;
	}
	return 0;
}

int pt_cpu_nonfinite(struct pt_device *dev, const float *x, size_t n, int64_t *out, struct pt_error *err)
{
	const int64_t total = (int64_t)n, size = part_size(total), parts = pt_blocks(total, size);
	int64_t part[PARTS], sum = 0;

	(void)err;
	PT_PARALLEL(dev, parts > 1)
	for (int64_t b = 0; b < parts; b++) {
		int64_t bad = 0;

		for (int64_t i = b * size; i < pt_min(total, (b + 1) * size); i++) {
			uint32_t u;

			memcpy(&u, &x[i], sizeof u);
			bad += (u & 0x7f800000u) == 0x7f800000u;
		}
		part[b] = bad;
	}
	for (int64_t b = 0; b < parts; b++)
		sum += part[b];
	*out = sum;
	return 0;
}
