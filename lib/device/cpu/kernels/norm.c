/* SPDX-License-Identifier: MIT */
/*
 * norm.c - RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba et al. 2016),
 * with the residual sum before them.
 *
 * A block of rows small enough for the cache is read twice: for its
 * statistics, and, strip by strip of channels, for the result, so that
 * weights are converted once a block.
 */
#include "device/cpu/cpu.h"

#include <math.h>

#include "block.h"
#include "column.h"

#define ROWS 16

static int64_t block_rows(int64_t c)
{
	return pt_max(1, pt_min(ROWS, PT_BLOCK / pt_max(c, 1)));
}

/* Sums in strips, so that the error does not grow with the number of channels. */
static double sum_of(const float *x, int64_t c)
{
	double sum = 0;

	for (int64_t at = 0; at < c; at += PT_TILE) {
		float s = 0;

#pragma omp simd safelen(8) reduction(+:s)
		for (int64_t j = at; j < pt_min(c, at + PT_TILE); j++)
			s += x[j];
		sum += (double)s;
	}
	return sum;
}

static double squares_of(const float *x, float mean, int64_t c)
{
	double sum = 0;

	for (int64_t at = 0; at < c; at += PT_TILE) {
		float s = 0;

#pragma omp simd safelen(8) reduction(+:s)
		for (int64_t j = at; j < pt_min(c, at + PT_TILE); j++)
			s += (x[j] - mean) * (x[j] - mean);
		sum += (double)s;
	}
	return sum;
}

/* May be in place. */
static void add_rows(float *sum, const float *x, const float *delta, int64_t n)
{
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
		sum[j] = x[j] + delta[j];
}

/* y = (x - mean) * inv * w + b of one strip; w and b may be NULL, plus is added to w. */
static void apply(const float *x, float mean, float inv, const float *w, float plus, const float *b,
		  float *y, int64_t n)
{
	if (w && b)
		for (int64_t j = 0; j < n; j++)
			y[j] = (x[j] - mean) * inv * (w[j] + plus) + b[j];
	else if (w)
		for (int64_t j = 0; j < n; j++)
			y[j] = (x[j] - mean) * inv * (w[j] + plus);
	else
		for (int64_t j = 0; j < n; j++)
			y[j] = (x[j] - mean) * inv + (b ? b[j] : 0);
}

int pt_cpu_norm_fwd(struct pt_device *dev, const struct pt_k_norm *k, struct pt_error *err)
{
	const int64_t c = k->c, rows = block_rows(c);
	const float plus = k->kind == PT_NORM_RMS1P && k->w ? 1 : 0;
	const float *x = k->delta ? k->sum : k->x;

	(void)err;
	PT_PARALLEL(dev, k->n * c > PT_BLOCK)
	for (int64_t b = 0; b < pt_blocks(k->n, rows); b++) {
		int64_t from = b * rows, n = pt_min(rows, k->n - from);
		float mean[ROWS], inv[ROWS], wbuf[PT_TILE], bbuf[PT_TILE];

		if (k->delta)
			add_rows((float *)k->sum + from * c, (const float *)k->x + from * c,
				 (const float *)k->delta + from * c, n * c);
		for (int64_t i = 0; i < n; i++) {
			const float *xi = x + (from + i) * c;

			mean[i] = k->kind == PT_NORM_LAYER ? (float)(sum_of(xi, c) / (double)c) : 0;
			inv[i] = (float)(1 / sqrt(squares_of(xi, mean[i], c) / (double)c + (double)k->eps));
			if (k->stat) {
				k->stat[2 * (from + i)] = mean[i];
				k->stat[2 * (from + i) + 1] = inv[i];
			}
		}
		for (int64_t at = 0; at < c; at += PT_TILE) {
			int64_t m = pt_min(PT_TILE, c - at);
			const float *w = k->w ? pt_weights(k->w, k->wtype, at, m, wbuf) : NULL;
			const float *bias = k->b ? pt_weights(k->b, k->btype, at, m, bbuf) : NULL;

			for (int64_t i = 0; i < n; i++)
				apply(x + (from + i) * c + at, mean[i], inv[i], w, plus, bias,
				      (float *)k->y + (from + i) * c + at, m);
		}
	}
	return 0;
}

/* Sums over one strip of g and g * xhat, where g = dy * (w + plus). */
static void strip_sums(const float *x, const float *dy, float mean, float inv, const float *w, float plus,
		       int64_t n, double *sg, double *sgx)
{
	float a = 0, b = 0;

#pragma omp simd safelen(8) reduction(+:a, b)
	for (int64_t j = 0; j < n; j++) {
		float g = w ? dy[j] * (w[j] + plus) : dy[j];

		a += g;
		b += g * ((x[j] - mean) * inv);
	}
	*sg += (double)a;
	*sgx += (double)b;
}

static void strip_dx(const float *x, const float *dy, float mean, float inv, const float *w, float plus,
		     float mg, float mgx, float *dx, bool acc, int64_t n)
{
	for (int64_t j = 0; j < n; j++) {
		float g = w ? dy[j] * (w[j] + plus) : dy[j];
		float v = inv * (g - mg - (x[j] - mean) * inv * mgx);

		dx[j] = acc ? dx[j] + v : v;
	}
}

static void block_dx(const struct pt_k_norm *k, int64_t from, int64_t n, float plus)
{
	const int64_t c = k->c;
	const float *x = (const float *)k->x + from * c, *dy = (const float *)k->dy + from * c;
	const float *stat = k->stat + 2 * from;
	double sg[ROWS] = { 0 }, sgx[ROWS] = { 0 };
	float wbuf[PT_TILE];

	for (int64_t at = 0; at < c; at += PT_TILE) {
		int64_t m = pt_min(PT_TILE, c - at);
		const float *w = k->w ? pt_weights(k->w, k->wtype, at, m, wbuf) : NULL;

		for (int64_t i = 0; i < n; i++)
			strip_sums(x + i * c + at, dy + i * c + at, stat[2 * i], stat[2 * i + 1], w, plus, m,
				   &sg[i], &sgx[i]);
	}
	for (int64_t at = 0; at < c; at += PT_TILE) {
		int64_t m = pt_min(PT_TILE, c - at);
		const float *w = k->w ? pt_weights(k->w, k->wtype, at, m, wbuf) : NULL;

		for (int64_t i = 0; i < n; i++)
			strip_dx(x + i * c + at, dy + i * c + at, stat[2 * i], stat[2 * i + 1], w, plus,
				 k->kind == PT_NORM_LAYER ? (float)(sg[i] / (double)c) : 0,
				 (float)(sgx[i] / (double)c), (float *)k->dx + (from + i) * c + at,
				 k->acc_dx, m);
	}
}

int pt_cpu_norm_bwd(struct pt_device *dev, const struct pt_k_norm *k, struct pt_error *err)
{
	const int64_t c = k->c, rows = block_rows(c);
	const float plus = k->kind == PT_NORM_RMS1P && k->w ? 1 : 0;

	(void)err;
	/* Weights first: dx may take the place of dy. */
	if (k->dw || k->db) {
		PT_PARALLEL(dev, k->n * c > PT_BLOCK)
		for (int64_t t = 0; t < pt_blocks(c, PT_COLUMNS); t++) {
			int64_t at = t * PT_COLUMNS;

			pt_columns(k->n, c, at, k->dy, k->x, k->stat, k->dw ? k->dw + at : NULL,
				   k->db ? k->db + at : NULL);
		}
	}
	if (k->dx) {
		PT_PARALLEL(dev, k->n * c > PT_BLOCK)
		for (int64_t b = 0; b < pt_blocks(k->n, rows); b++)
			block_dx(k, b * rows, pt_min(rows, k->n - b * rows), plus);
	}
	return 0;
}
