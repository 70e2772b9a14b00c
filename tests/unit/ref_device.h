/* SPDX-License-Identifier: MIT */
/*
 * ref_device.h - a device of plain loops that add up in double: the oracle
 * that other devices are compared with, and what the operations are tested
 * on.
 *
 * Scratch is asked for and filled with NaN, so that a wrong size or lifetime
 * shows.
 */
#ifndef PT_REF_DEVICE_H
#define PT_REF_DEVICE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "device/device.h"
#include "device/kernels.h"

#define REF_UNUSED __attribute__((unused))

static size_t ref_allocs REF_UNUSED;	/* calls of alloc(), all devices together */

static int ref_alloc(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	size_t size = (n + 255) / 256 * 256;

	ref_allocs++;
	*out = aligned_alloc(256, size ? size : 256);
	if (!*out)
		return pt_error(err, PT_FAIL, "no memory");
	memset(*out, 0xff, size);
	dev->used += n;
	if (dev->used > dev->peak)
		dev->peak = dev->used;
	return 0;
}

static void ref_free(struct pt_device *dev, void *p, size_t n)
{
	dev->used -= n;
	free(p);
}

static size_t ref_memory(struct pt_device *dev)
{
	(void)dev;
	return SIZE_MAX;
}

static int ref_move(struct pt_device *dev, void *dst, const void *src, size_t n, struct pt_error *err)
{
	(void)dev, (void)err;
	if (n)
		memcpy(dst, src, n);
	return 0;
}

static int ref_pin(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	(void)dev, (void)err;
	*out = malloc(n);
	return 0;
}

static void ref_unpin(struct pt_device *dev, void *p, size_t n)
{
	(void)dev, (void)n;
	free(p);
}

static int ref_copy_now(struct pt_device *dev, void *dst, const void *src, size_t n, uint64_t *ticket,
			struct pt_error *err)
{
	*ticket = 0;
	return ref_move(dev, dst, src, n, err);
}

static int ref_wait(struct pt_device *dev, uint64_t ticket, struct pt_error *err)
{
	(void)dev, (void)ticket, (void)err;
	return 0;
}

static void ref_close(struct pt_device *dev)
{
	free(dev);
}

static double *ref_new(int64_t n)
{
	return calloc((size_t)(n > 0 ? n : 1), sizeof(double));
}

static double ref_at(const void *w, enum pt_dtype t, int64_t i)
{
	if (t == PT_BF16)
		return (double)pt_bf16_to_f32(((const uint16_t *)w)[i]);
	if (t == PT_F16)
		return (double)pt_f16_to_f32(((const uint16_t *)w)[i]);
	return (double)((const float *)w)[i];
}

static void ref_put(float *p, bool acc, double v)
{
	*p = (float)(acc ? (double)*p + v : v);
}

/* Factor of dropout for one element: 0 or 1/(1-p). */
static double ref_mask(const struct pt_k_rows *r, int64_t row, uint64_t site, uint32_t c2, int64_t j, float p)
{
	uint32_t out[4], ctr[4] = { 0, 0, c2, 0 };

	if (p <= 0)
		return 1;
	ctr[0] = (uint32_t)(j / 4);
	ctr[1] = (uint32_t)r->pos[row];
	pt_rng_block(pt_rng_mix(r->key[row], site), ctr, out);
	return pt_rng_float(out[j % 4]) < p ? 0 : 1 / (1 - (double)p);
}

static int ref_fill(struct pt_device *dev, enum pt_dtype type, void *to, size_t n, float value,
		    struct pt_error *err)
{
	float *x = to;

	(void)dev, (void)type, (void)err;
	for (size_t i = 0; i < n; i++)
		x[i] = value;
	return 0;
}

static int ref_axpby(struct pt_device *dev, enum pt_dtype type, size_t n, float alpha, const void *from,
		     float beta, void *to, struct pt_error *err)
{
	const float *x = from;
	float *y = to;

	(void)dev, (void)type, (void)err;
	for (size_t i = 0; i < n; i++)
		y[i] = (float)((double)alpha * x[i] + (beta == 0 ? 0 : (double)beta * y[i]));
	return 0;
}

static int ref_affine_fwd(struct pt_device *dev, enum pt_dtype type, int64_t n, int64_t c, const void *from,
			  const float *w, const float *b, void *to, struct pt_error *err)
{
	const float *x = from;
	float *y = to;

	(void)dev, (void)type, (void)err;
	for (int64_t i = 0; i < n * c; i++)
		y[i] = (float)((double)x[i] * (w ? w[i % c] : 1) + (b ? b[i % c] : 0));
	return 0;
}

static int ref_affine_bwd(struct pt_device *dev, enum pt_dtype type, int64_t n, int64_t c, const void *from,
			  const float *w, const void *back, void *to, bool acc_dx, float *dw, float *db,
			  struct pt_error *err)
{
	const float *x = from, *dy = back;
	float *dx = to;

	(void)dev, (void)type, (void)err;
	for (int64_t j = 0; j < c; j++) {
		double sw = 0, sb = 0;

		for (int64_t i = j; i < n * c; i += c) {
			if (dx)
				ref_put(&dx[i], acc_dx, (double)dy[i] * (w ? w[j] : 1));
			if (dw)
				sw += (double)dy[i] * x[i];
			sb += dy[i];
		}
		if (dw)
			ref_put(&dw[j], true, sw);
		if (db)
			ref_put(&db[j], true, sb);
	}
	return 0;
}

static int ref_gather_fwd(struct pt_device *dev, int64_t n, size_t bytes, const void *x, const int32_t *idx,
			  void *y, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < n; i++)
		memcpy((char *)y + (size_t)i * bytes, (const char *)x + (size_t)idx[i] * bytes, bytes);
	return 0;
}

static int ref_gather_bwd(struct pt_device *dev, enum pt_dtype type, int64_t n, int64_t c, const void *back,
			  const int32_t *idx, bool distinct, void *to, struct pt_error *err)
{
	const float *dy = back;
	float *dx = to;

	(void)dev, (void)type, (void)distinct, (void)err;
	for (int64_t i = 0; i < n * c; i++)
		dx[idx[i / c] * c + i % c] += dy[i];
	return 0;
}

static int ref_mean_fwd(struct pt_device *dev, enum pt_dtype type, int batch, int64_t c, const void *from,
			const int32_t *cu, void *to, struct pt_error *err)
{
	const float *x = from;
	float *y = to;

	(void)dev, (void)type, (void)err;
	for (int64_t b = 0; b < batch; b++) {
		for (int64_t j = 0; j < c; j++) {
			double s = 0;

			for (int64_t i = cu[b]; i < cu[b + 1]; i++)
				s += x[i * c + j];
			y[b * c + j] = cu[b + 1] > cu[b] ? (float)(s / (cu[b + 1] - cu[b])) : 0;
		}
	}
	return 0;
}

static int ref_mean_bwd(struct pt_device *dev, enum pt_dtype type, int batch, int64_t c, const void *back,
			const int32_t *cu, void *to, bool acc_dx, struct pt_error *err)
{
	const float *dy = back;
	float *dx = to;

	(void)dev, (void)type, (void)err;
	for (int64_t b = 0; b < batch; b++)
		for (int64_t i = cu[b] * c; i < cu[b + 1] * c; i++)
			ref_put(&dx[i], acc_dx, (double)dy[b * c + i % c] / (cu[b + 1] - cu[b]));
	return 0;
}

static int ref_convert(struct pt_device *dev, void *dst, enum pt_dtype dt, const void *src,
		       enum pt_dtype st, size_t n, struct pt_error *err)
{
	(void)dev, (void)err;
	for (size_t i = 0; i < n; i++) {
		float v = (float)ref_at(src, st, (int64_t)i);

		pt_from_f32((char *)dst + i * pt_dtype_size(dt), dt, &v, 1);
	}
	return 0;
}

static int ref_gemm(struct pt_device *dev, const struct pt_k_gemm *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < k->m; i++) {
		for (int64_t j = 0; j < k->n; j++) {
			float *c = (float *)k->c + i * k->ldc + j;
			double s = 0;

			for (int64_t l = 0; l < k->k; l++)
				s += ref_at(k->a, k->at, k->ta ? l * k->lda + i : i * k->lda + l) *
				     ref_at(k->b, k->bt, k->tb ? j * k->ldb + l : l * k->ldb + j);
			*c = (float)(k->alpha * s + (k->beta == 0 ? 0 : (double)k->beta * *c));
		}
	}
	return 0;
}

static int ref_dropout(struct pt_device *dev, const struct pt_k_dropout *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++)
		for (int64_t j = 0; j < k->c; j++)
			ref_put((float *)k->y + i * k->c + j, k->acc_y,
				((const float *)k->x)[i * k->c + j] *
				ref_mask(&k->rows, i, k->site, 0, j, k->p));
	return 0;
}

static int ref_rope(struct pt_device *dev, const struct pt_k_rope *k, struct pt_error *err);
static int ref_act_fwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *err);
static int ref_act_bwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *err);

/* A rotation that belongs to another operation; NULL: none. */
static void ref_turn(const struct pt_k_rope *turn, void *x, int64_t n, bool inverse)
{
	struct pt_k_rope k;

	if (!turn || !x)
		return;
	k = *turn;
	k.x = x;
	k.n = n;
	k.inverse = inverse;
	ref_rope(NULL, &k, NULL);
}

#include "ref_linear.h"
#include "ref_pairs.h"
#include "ref_attn.h"

static int ref_norm_fwd(struct pt_device *dev, const struct pt_k_norm *k, struct pt_error *err)
{
	double plus = k->kind == PT_NORM_RMS1P;

	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++) {
		const float *x = (const float *)k->x + i * k->c;
		float *s = k->delta ? (float *)k->sum + i * k->c : (float *)(uintptr_t)x;
		double mean = 0, var = 0, inv;

		for (int64_t j = 0; j < k->c && k->delta; j++)
			s[j] = (float)((double)x[j] + ((const float *)k->delta)[i * k->c + j]);
		for (int64_t j = 0; j < k->c && k->kind == PT_NORM_LAYER; j++)
			mean += s[j] / (double)k->c;
		for (int64_t j = 0; j < k->c; j++)
			var += (s[j] - mean) * (s[j] - mean) / (double)k->c;
		inv = 1 / sqrt(var + (double)k->eps);
		for (int64_t j = 0; j < k->c; j++)
			((float *)k->y)[i * k->c + j] = (float)((s[j] - mean) * inv *
				((k->w ? ref_at(k->w, k->wtype, j) : 1 - plus) + plus) +
				(k->b ? ref_at(k->b, k->btype, j) : 0));
		if (k->stat) {
			k->stat[2 * i] = (float)mean;
			k->stat[2 * i + 1] = (float)inv;
		}
	}
	return 0;
}

static int ref_norm_bwd(struct pt_device *dev, const struct pt_k_norm *k, struct pt_error *err)
{
	double plus = k->kind == PT_NORM_RMS1P, c = (double)k->c;

	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++) {
		const float *x = (const float *)k->x + i * k->c, *dy = (const float *)k->dy + i * k->c;
		double mean = k->stat[2 * i], inv = k->stat[2 * i + 1], sg = 0, sgx = 0;

		for (int64_t j = 0; j < k->c; j++) {
			double w = (k->w ? ref_at(k->w, k->wtype, j) : 1 - plus) + plus;
			double xh = (x[j] - mean) * inv;

			sg += dy[j] * w / c;
			sgx += dy[j] * w * xh / c;
			if (k->dw)
				ref_put(&k->dw[j], true, dy[j] * xh);
			if (k->db)
				ref_put(&k->db[j], true, dy[j]);
		}
		for (int64_t j = 0; j < k->c && k->dx; j++) {
			double w = (k->w ? ref_at(k->w, k->wtype, j) : 1 - plus) + plus;

			ref_put((float *)k->dx + i * k->c + j, k->acc_dx, inv * (dy[j] * w -
				(k->kind == PT_NORM_LAYER ? sg : 0) - (x[j] - mean) * inv * sgx));
		}
	}
	return 0;
}

static int ref_rope(struct pt_device *dev, const struct pt_k_rope *k, struct pt_error *err)
{
	int half = k->rot_dim / 2;

	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n * k->heads; i++) {
		float *x = (float *)k->x + i * k->head_dim;

		for (int j = 0; j < half; j++) {
			int64_t at = (int64_t)k->pos[i / k->heads] * half + j;
			double c = k->cos[at], s = k->inverse ? -(double)k->sin[at] : (double)k->sin[at];
			double a = x[j], b = x[j + half];

			x[j] = (float)(a * c - b * s);
			x[j + half] = (float)(b * c + a * s);
		}
	}
	return 0;
}

/* Value and derivative of an activation. */
static double ref_act(enum pt_act act, double x, double *d)
{
	const double r = 0.79788456080286535588;	/* sqrt(2/pi) */
	double s, t;

	switch (act) {
	case PT_ACT_GELU:
		s = 0.5 * (1 + erf(x * 0.70710678118654752440));
		*d = s + x * exp(-x * x / 2) * r / 2;
		return x * s;
	case PT_ACT_GELU_TANH:
		t = tanh(r * (x + 0.044715 * x * x * x));
		*d = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * r * (1 + 3 * 0.044715 * x * x);
		return 0.5 * x * (1 + t);
	case PT_ACT_SILU:
	case PT_ACT_QUICK_GELU:
		t = act == PT_ACT_SILU ? 1 : 1.702;
		s = 1 / (1 + exp(-t * x));
		*d = s + x * t * s * (1 - s);
		return x * s;
	case PT_ACT_RELU:
		*d = x > 0;
		return x > 0 ? x : 0;
	case PT_ACT_TANH:
		t = tanh(x);
		*d = 1 - t * t;
		return t;
	case PT_ACT_RELU2:
		*d = x > 0 ? 2 * x : 0;
		return x > 0 ? x * x : 0;
	case PT_ACT_SIGMOID:
		s = 1 / (1 + exp(-x));
		*d = s * (1 - s);
		return s;
	default:
		*d = 1;
		return x;
	}
}

static int ref_act_fwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *err)
{
	const float *x = k->x, *u = k->u;
	double d;

	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++)
		((float *)k->y)[i] = (float)(ref_act(k->act, x[i], &d) * (u ? u[i] : 1));
	return 0;
}

static int ref_act_bwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *err)
{
	const float *x = k->x, *u = k->u, *dy = k->dy;

	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++) {
		double d, y = ref_act(k->act, x[i], &d);

		if (k->du)
			ref_put((float *)k->du + i, k->acc_du, dy[i] * y);
		if (k->dx)
			ref_put((float *)k->dx + i, k->acc_dx, dy[i] * d * (u ? u[i] : 1));
	}
	return 0;
}

static int ref_embed_fwd(struct pt_device *dev, const struct pt_k_embed *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++)
		for (int64_t j = 0; j < k->c; j++)
			ref_put((float *)k->y + i * k->c + j, k->acc_y, (double)k->scale *
				ref_at(k->w, k->wtype, k->transposed ? j * k->v + k->ids[i] :
				       k->ids[i] * k->c + j));
	return 0;
}

static int ref_embed_bwd(struct pt_device *dev, const struct pt_k_embed *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++)
		for (int64_t j = 0; j < k->c && k->ids[i] != k->pad; j++)
			ref_put(k->dw + (k->transposed ? j * k->v + k->ids[i] : k->ids[i] * k->c + j), true,
				(double)k->scale * ((const float *)k->dy)[i * k->c + j]);
	return 0;
}

static int ref_copy(struct pt_device *dev, void *dst, const void *src, size_t bytes, struct pt_error *err)
{
	return ref_move(dev, dst, src, bytes, err);
}

static void ref_adamw_one(const struct pt_k_adamw *k)
{
	double c1 = 1 - pow(k->beta1, (double)k->t), c2 = 1 - pow(k->beta2, (double)k->t);

	for (size_t i = 0; i < k->n; i++) {
		double g = (double)k->g[i] * (k->gscale ? *k->gscale : 1), p = k->p[i] * (1 - k->lr * k->decay);

		k->m[i] = (float)(k->beta1 * k->m[i] + (1 - k->beta1) * g);
		k->v[i] = (float)(k->beta2 * k->v[i] + (1 - k->beta2) * g * g);
		k->p[i] = (float)(p - k->lr * (k->m[i] / c1) / (sqrt(k->v[i] / c2) + k->eps));
		k->g[i] = k->clear ? 0 : k->g[i];
	}
}

static int ref_adamw(struct pt_device *dev, int count, const struct pt_k_adamw *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int i = 0; i < count; i++)
		ref_adamw_one(&k[i]);
	return 0;
}

static int ref_sumsq(struct pt_device *dev, int count, const struct pt_k_sumsq *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int t = 0; t < count; t++) {
		*k[t].out = 0;
		for (size_t i = 0; i < k[t].n; i++)
			*k[t].out += (double)k[t].x[i] * k[t].x[i];
	}
	return 0;
}

static int ref_inv_norm(struct pt_device *dev, int64_t n, int64_t r, const float *sumsq, const float *b, const float *p,
			float *inv, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < n; i++) {
		double s = sumsq[i];

		for (int64_t k = 0; k < r; k++)
			s += (double)b[i * r + k] * p[i * r + k];
		inv[i] = s > 0 ? (float)(1 / sqrt(s)) : 0;
	}
	return 0;
}

static const struct pt_kernels ref_kernels = {
	.fill = ref_fill, .copy = ref_copy, .axpby = ref_axpby,
	.affine_fwd = ref_affine_fwd, .affine_bwd = ref_affine_bwd, .gather_fwd = ref_gather_fwd,
	.gather_bwd = ref_gather_bwd, .mean_fwd = ref_mean_fwd, .mean_bwd = ref_mean_bwd,
	.convert = ref_convert, .gemm = ref_gemm, .dropout = ref_dropout,
	.linear_scratch = ref_linear_scratch, .linear_fwd = ref_linear_fwd, .linear_bwd = ref_linear_bwd,
	.route_fwd = ref_route_fwd, .route_bwd = ref_route_bwd, .combine_fwd = ref_combine_fwd,
	.combine_bwd = ref_combine_bwd, .gate_fwd = ref_gate_fwd, .gate_bwd = ref_gate_bwd, .norm_fwd = ref_norm_fwd, .norm_bwd = ref_norm_bwd, .rope = ref_rope, .act_fwd = ref_act_fwd,
	.act_bwd = ref_act_bwd, .attn_scratch = ref_attn_scratch, .attn_fwd = ref_attn_fwd,
	.attn_bwd = ref_attn_bwd, .nll_scratch = ref_nll_scratch, .nll_fwd = ref_nll_fwd,
	.nll_bwd = ref_nll_bwd, .class_fwd = ref_class_fwd, .class_bwd = ref_class_bwd,
	.unit_fwd = ref_unit_fwd, .unit_bwd = ref_unit_bwd, .dots_fwd = ref_dots_fwd, .dots_bwd = ref_dots_bwd,
	.span_fwd = ref_span_fwd, .span_bwd = ref_span_bwd, .embed_fwd = ref_embed_fwd, .embed_bwd = ref_embed_bwd, .adamw = ref_adamw, .sumsq = ref_sumsq,
	.inv_norm = ref_inv_norm,
};

static struct pt_device *ref_device_new(void) REF_UNUSED;
static struct pt_device *ref_device_new(void)
{
	struct pt_device *d = calloc(1, sizeof *d);

	strcpy(d->name, "cpu");
	strcpy(d->path, "plain loops");
	d->k = &ref_kernels;
	d->alloc = ref_alloc;
	d->free = ref_free;
	d->memory = ref_memory;
	d->upload = ref_move;
	d->download = ref_move;
	d->pin = ref_pin;
	d->unpin = ref_unpin;
	d->fetch = d->store = ref_copy_now;
	d->wait = ref_wait;
	d->close = ref_close;
	return d;
}

#endif
