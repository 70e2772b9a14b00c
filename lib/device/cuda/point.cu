/* SPDX-License-Identifier: MIT */
/*
 * point.cu - activations and gated units, dropout, rotary embedding: each one
 * pass.
 */
#include "device/cuda/act.h"

#define BLOCK 256

template <typename T, int V, int ACT> __global__ static void act_fwd(struct pt_k_act k)
{
	int64_t i = (blockIdx.x * (int64_t)BLOCK + threadIdx.x) * V;
	const T *x = (const T *)k.x, *u = (const T *)k.u;
	pt_vec<T, V> a, b;
	float d;

	if (i >= k.n)
		return;
	a = *(const pt_vec<T, V> *)(x + i);
	if (u)
		b = *(const pt_vec<T, V> *)(u + i);
#pragma unroll
	for (int j = 0; j < V; j++) {
		float v = pt_act_of<ACT>(pt_f(a.e[j]), &d);

		a.e[j] = pt_t<T>(u ? v * pt_f(b.e[j]) : v);
	}
	*(pt_vec<T, V> *)((T *)k.y + i) = a;
}

template <typename T, int V, int ACT> __global__ static void act_bwd(struct pt_k_act k)
{
	int64_t i = (blockIdx.x * (int64_t)BLOCK + threadIdx.x) * V;
	T *dx = (T *)k.dx, *du = (T *)k.du;
	pt_vec<T, V> a, b, g, ox, ou;

	if (i >= k.n)
		return;
	a = *(const pt_vec<T, V> *)((const T *)k.x + i);
	g = *(const pt_vec<T, V> *)((const T *)k.dy + i);
	if (k.u)
		b = *(const pt_vec<T, V> *)((const T *)k.u + i);
	if (dx && k.acc_dx)
		ox = *(pt_vec<T, V> *)(dx + i);
	if (du && k.acc_du)
		ou = *(pt_vec<T, V> *)(du + i);
#pragma unroll
	for (int j = 0; j < V; j++) {
		float d, v = pt_act_of<ACT>(pt_f(a.e[j]), &d), dy = pt_f(g.e[j]);
		float vx = dy * d * (k.u ? pt_f(b.e[j]) : 1), vu = dy * v;

		ox.e[j] = pt_t<T>(k.acc_dx ? pt_f(ox.e[j]) + vx : vx);
		ou.e[j] = pt_t<T>(k.acc_du ? pt_f(ou.e[j]) + vu : vu);
	}
	if (dx)
		*(pt_vec<T, V> *)(dx + i) = ox;
	if (du)
		*(pt_vec<T, V> *)(du + i) = ou;
}

template <typename T, int V, int ACT> static void act_launch(const struct pt_k_act *k, bool back, cudaStream_t s)
{
	if (back)
		act_bwd<T, V, ACT><<<pt_grid(k->n, BLOCK * V), BLOCK, 0, s>>>(*k);
	else
		act_fwd<T, V, ACT><<<pt_grid(k->n, BLOCK * V), BLOCK, 0, s>>>(*k);
}

template <typename T, int V> static void act_choose(const struct pt_k_act *k, bool back, cudaStream_t s)
{
	switch (k->act) {
	case PT_ACT_GELU: return act_launch<T, V, PT_ACT_GELU>(k, back, s);
	case PT_ACT_GELU_TANH: return act_launch<T, V, PT_ACT_GELU_TANH>(k, back, s);
	case PT_ACT_SILU: return act_launch<T, V, PT_ACT_SILU>(k, back, s);
	case PT_ACT_RELU: return act_launch<T, V, PT_ACT_RELU>(k, back, s);
	case PT_ACT_TANH: return act_launch<T, V, PT_ACT_TANH>(k, back, s);
	case PT_ACT_QUICK_GELU: return act_launch<T, V, PT_ACT_QUICK_GELU>(k, back, s);
	case PT_ACT_RELU2: return act_launch<T, V, PT_ACT_RELU2>(k, back, s);
	case PT_ACT_SIGMOID: return act_launch<T, V, PT_ACT_SIGMOID>(k, back, s);
	default: return act_launch<T, V, PT_ACT_NONE>(k, back, s);
	}
}

static int act(struct pt_device *dev, const struct pt_k_act *k, bool back, struct pt_error *err)
{
	uintptr_t all = (uintptr_t)k->x | (uintptr_t)k->u | (uintptr_t)k->y | (uintptr_t)k->dy |
			(uintptr_t)k->dx | (uintptr_t)k->du;

	if (!k->n)
		return 0;
	PT_ACT_TYPE(k->type, {
		if (all % 16 == 0 && k->n % pt_wide<T>::n == 0)
			act_choose<T, pt_wide<T>::n>(k, back, pt_cuda_stream(dev));
		else
			act_choose<T, 1>(k, back, pt_cuda_stream(dev));
	});
	return pt_cuda_launched(err, "activation");
}

int pt_cuda_act_fwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *err)
{
	return act(dev, k, false, err);
}

int pt_cuda_act_bwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *err)
{
	return act(dev, k, true, err);
}

/* Four elements, one block of random numbers, a thread. */
template <typename T> __global__ static void dropout(struct pt_k_dropout k, struct pt_drop d)
{
	int64_t quads = (k.c + 3) / 4, i = blockIdx.x * (int64_t)BLOCK + threadIdx.x;
	int64_t row = i / quads, j = i % quads * 4;
	uint4 u;

	if (row >= k.n)
		return;
	u = pt_philox(pt_mix(k.rows.key[row], k.site), (uint32_t)(j / 4), (uint32_t)k.rows.pos[row], 0);
	for (int e = 0; e < 4 && j + e < k.c; e++) {
		int64_t at = row * k.c + j + e;
		float v = pt_f(((const T *)k.x)[at]) * pt_kept_at(d, u, e);
		T *y = (T *)k.y + at;

		*y = pt_t<T>(k.acc_y ? pt_f(*y) + v : v);
	}
}

int pt_cuda_dropout(struct pt_device *dev, const struct pt_k_dropout *k, struct pt_error *err)
{
	int64_t n = k->n * ((k->c + 3) / 4);

	if (!n)
		return 0;
	PT_ACT_TYPE(k->type, (dropout<T><<<pt_grid(n, BLOCK), BLOCK, 0, pt_cuda_stream(dev)>>>(*k, pt_drop_of(k->p))));
	return pt_cuda_launched(err, "dropout");
}

/* V pairs of a head a thread. */
template <typename T, int V> __global__ static void rope(struct pt_k_rope k, int64_t n)
{
	int half = k.rot_dim / 2, steps = half / V;
	int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x, head = i / steps, row = head / k.heads;
	int j = (int)(i % steps) * V;
	pt_vec<T, V> a, b;
	const float *c, *s;
	T *x;

	if (i >= n)
		return;
	x = (T *)k.x + head * k.head_dim + j;
	c = k.cos + (int64_t)k.pos[row] * half + j;
	s = k.sin + (int64_t)k.pos[row] * half + j;
	a = *(pt_vec<T, V> *)x;
	b = *(pt_vec<T, V> *)(x + half);
#pragma unroll
	for (int e = 0; e < V; e++) {
		float cos_e = c[e], sin_e = k.inverse ? -s[e] : s[e], p = pt_f(a.e[e]), q = pt_f(b.e[e]);

		a.e[e] = pt_t<T>(p * cos_e - q * sin_e);
		b.e[e] = pt_t<T>(q * cos_e + p * sin_e);
	}
	*(pt_vec<T, V> *)x = a;
	*(pt_vec<T, V> *)(x + half) = b;
}

int pt_cuda_rope(struct pt_device *dev, const struct pt_k_rope *k, struct pt_error *err)
{
	int half = k->rot_dim / 2;
	int64_t pairs = k->n * k->heads * half;

	if (!pairs)
		return 0;
	PT_ACT_TYPE(k->type, {
		const int V = pt_wide<T>::n;

		if ((uintptr_t)k->x % 16 == 0 && half % V == 0 && k->head_dim % V == 0)
			rope<T, V><<<pt_grid(pairs / V, BLOCK), BLOCK, 0, pt_cuda_stream(dev)>>>(*k, pairs / V);
		else
			rope<T, 1><<<pt_grid(pairs, BLOCK), BLOCK, 0, pt_cuda_stream(dev)>>>(*k, pairs);
	});
	return pt_cuda_launched(err, "rotary embedding");
}
