/* SPDX-License-Identifier: MIT */
/*
 * act.h - activations and their derivatives.
 */
#ifndef PT_DEVICE_CUDA_ACT_H
#define PT_DEVICE_CUDA_ACT_H

#include "device/cuda/cuda.h"

/* The logistic function, and its derivative without cancellation where it is near 1. */
static __device__ inline float pt_logistic(float x, float *d)
{
	float e = expf(-fabsf(x)), q = 1 / (1 + e);

	*d = e * q * q;
	return x < 0 ? e * q : q;
}

/* Value and derivative, as in the CPU's act.c; 1 + tanh(x) is twice the logistic function of 2 x. */
template <int ACT> static __device__ inline float pt_act_of(float x, float *d)
{
	const float r = 1.5957691216057308f;
	float s, t;

	switch (ACT) {
	case PT_ACT_GELU:
		s = 0.5f * (1 + erff(x * 0.7071067811865476f));
		*d = s + x * expf(-x * x / 2) * 0.3989422804014327f;
		return x * s;
	case PT_ACT_GELU_TANH:
		s = pt_logistic(r * (x + 0.044715f * x * x * x), &t);
		*d = s + x * t * r * (1 + 3 * 0.044715f * x * x);
		return x * s;
	case PT_ACT_SILU:
		s = pt_logistic(x, &t);
		*d = s + x * t;
		return x * s;
	case PT_ACT_QUICK_GELU:
		s = pt_logistic(1.702f * x, &t);
		*d = s + 1.702f * x * t;
		return x * s;
	case PT_ACT_RELU:
		*d = x > 0;
		return x > 0 ? x : 0;
	case PT_ACT_TANH:
		t = tanhf(x);
		*d = 1 - t * t;
		return t;
	case PT_ACT_RELU2:
		*d = x > 0 ? 2 * x : 0;
		return x > 0 ? x * x : 0;
	case PT_ACT_SIGMOID:
		return pt_logistic(x, d);
	default:
		*d = 1;
		return x;
	}
}

/*
 * SILU or GELU_TANH, which are x times a logistic function, by the fast instructions (errors of some 1e-7 of 1): for
 * results in bf16, where products wait for them.
 */
static __device__ inline float pt_act_fast(enum pt_act act, float x, float *d)
{
	const float r = 1.5957691216057308f, c = 0.044715f;
	bool silu = act == PT_ACT_SILU;
	float s, e;

	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(-1.4426950408889634f * (silu ? x : r * (x + c * x * x * x))));
	asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(s) : "f"(1 + e));
	*d = s + x * s * (1 - s) * (silu ? 1 : r * (1 + 3 * c * x * x));
	return x * s;
}

#endif
