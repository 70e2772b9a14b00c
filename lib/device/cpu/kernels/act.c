/* SPDX-License-Identifier: MIT */
/*
 * act.c - activation functions, gated or not (Shazeer 2020, "GLU variants"),
 * and their derivatives.
 */
#include "device/cpu/cpu.h"

#include "block.h"
#include "fmath.h"

#define CHUNK 2048		/* elements between the function and what is multiplied to it: stays in cache */

/* Each gives the value and, in *d, the derivative; the compiler drops what is not asked for. */
static inline float none(float x, float *d)
{
	*d = 1;
	return x;
}

static inline float gelu(float x, float *d)
{
	float s = 0.5f + 0.5f * pt_erff(x * 0.707106781186547524f);

	*d = s + x * pt_expf(-0.5f * x * x) * 0.398942280401432678f;
	return x * s;
}

/* The logistic function, and its derivative without cancellation where it is near 1. */
static inline float logistic(float x, float *d)
{
	float e = pt_expf(x < 0 ? x : -x), q = 1 / (1 + e);

	*d = e * q * q;
	return x < 0 ? e * q : q;
}

/* 1 + tanh(x) is twice the logistic function of 2 x. */
static inline float gelu_tanh(float x, float *d)
{
	const float r = 1.595769121605730711f, c = 0.044715f;
	float ds, s = logistic(r * (x + c * x * x * x), &ds);

	*d = s + x * ds * r * (1 + 3 * c * x * x);
	return x * s;
}

static inline float silu(float x, float *d)
{
	float ds, s = logistic(x, &ds);

	*d = s + x * ds;
	return x * s;
}

static inline float quick_gelu(float x, float *d)
{
	float ds, s = logistic(1.702f * x, &ds);

	*d = s + 1.702f * x * ds;
	return x * s;
}

static inline float relu(float x, float *d)
{
	*d = x > 0 ? 1.0f : 0.0f;
	return x < 0 ? 0.0f : x;		/* NaN stays */
}

static inline float relu2(float x, float *d)
{
	float r = x < 0 ? 0.0f : x;

	*d = 2 * r;
	return r * r;
}

static inline float tanh_(float x, float *d)
{
	float t = pt_tanhf(x);

	*d = 1 - t * t;
	return t;
}

#define VALUES(fn) \
	for (int64_t i = 0; i < n; i++) { \
		float drop; \
		y[i] = fn(x[i], &drop); \
	} \
	break

#define BOTH(fn) \
	for (int64_t i = 0; i < n; i++) \
		y[i] = fn(x[i], &d[i]); \
	break

#define EACH(DO) \
	case PT_ACT_NONE: DO(none); \
	case PT_ACT_GELU: DO(gelu); \
	case PT_ACT_GELU_TANH: DO(gelu_tanh); \
	case PT_ACT_SILU: DO(silu); \
	case PT_ACT_RELU: DO(relu); \
	case PT_ACT_TANH: DO(tanh_); \
	case PT_ACT_QUICK_GELU: DO(quick_gelu); \
	case PT_ACT_RELU2: DO(relu2); \
	case PT_ACT_SIGMOID: DO(logistic)

static void values(enum pt_act act, const float *x, float *restrict y, int64_t n)
{
	switch (act) {
	EACH(VALUES);
	}
}

static void both(enum pt_act act, const float *restrict x, float *restrict y, float *restrict d, int64_t n)
{
	switch (act) {
	EACH(BOTH);
	}
}

int pt_cpu_act_fwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n > PT_BLOCK)
	for (int64_t b = 0; b < pt_blocks(k->n, CHUNK); b++) {
		int64_t at = b * CHUNK, n = pt_min(CHUNK, k->n - at);
		const float *u = k->u ? (const float *)k->u + at : NULL;
		float *y = (float *)k->y + at, v[CHUNK];

		values(k->act, (const float *)k->x + at, u ? v : y, n);
		for (int64_t i = 0; i < n && u; i++)
			y[i] = v[i] * u[i];
	}
	return 0;
}

/* to (+)= a * b [* c] */
static void store(float *to, bool acc, const float *a, const float *b, const float *c, int64_t n)
{
	if (c && acc)
		for (int64_t i = 0; i < n; i++)
			to[i] += a[i] * b[i] * c[i];
	else if (c)
		for (int64_t i = 0; i < n; i++)
			to[i] = a[i] * b[i] * c[i];
	else if (acc)
		for (int64_t i = 0; i < n; i++)
			to[i] += a[i] * b[i];
	else
		for (int64_t i = 0; i < n; i++)
			to[i] = a[i] * b[i];
}

int pt_cpu_act_bwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n > PT_BLOCK)
	for (int64_t b = 0; b < pt_blocks(k->n, CHUNK); b++) {
		int64_t at = b * CHUNK, n = pt_min(CHUNK, k->n - at);
		const float *dy = (const float *)k->dy + at;
		float y[CHUNK], d[CHUNK];

		both(k->act, (const float *)k->x + at, y, d, n);
		if (k->du)
			store((float *)k->du + at, k->acc_du, dy, y, NULL, n);
		if (k->dx)
			store((float *)k->dx + at, k->acc_dx, dy, d, k->u ? (const float *)k->u + at : NULL, n);
	}
	return 0;
}
