/* SPDX-License-Identifier: MIT */
/*
 * pairs.cu - rows of length 1, products of listed pairs of rows, cross entropy
 * over the rows of a sequence.
 */
#include "device/cuda/cuda.h"

#include <math.h>

#define BLOCK 256

template <typename T> __global__ static void unit_fwd(struct pt_k_unit k)
{
	__shared__ float part[33];
	int64_t at = blockIdx.x * k.c;
	const T *x = (const T *)k.x + at;
	float s = 0;

	for (int64_t j = threadIdx.x; j < k.c; j += BLOCK)
		s += pt_f(x[j]) * pt_f(x[j]);
	s = fmaxf(sqrtf(pt_block_sum(s, part)), k.eps);
	if (threadIdx.x == 0)
		k.norm[blockIdx.x] = s;
	for (int64_t j = threadIdx.x; j < k.c; j += BLOCK)
		((T *)k.y)[at + j] = pt_t<T>(pt_f(x[j]) / s);
}

int pt_cuda_unit_fwd(struct pt_device *dev, const struct pt_k_unit *k, struct pt_error *err)
{
	if (k->n)
		PT_ACT_TYPE(k->type, (unit_fwd<T><<<(unsigned)k->n, BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "unit rows");
}

template <typename T> __global__ static void unit_bwd(struct pt_k_unit k)
{
	__shared__ float part[33];
	int64_t at = blockIdx.x * k.c;
	const T *y = (const T *)k.y + at, *dy = (const T *)k.dy + at;
	float norm = k.norm[blockIdx.x], s = 0;

	/* Below eps it is a constant that divides. */
	for (int64_t j = threadIdx.x; j < k.c && norm > k.eps; j += BLOCK)
		s += pt_f(y[j]) * pt_f(dy[j]);
	s = pt_block_sum(s, part);
	for (int64_t j = threadIdx.x; j < k.c; j += BLOCK) {
		T *dx = (T *)k.dx + at + j;
		float g = (pt_f(dy[j]) - s * pt_f(y[j])) / norm;

		*dx = pt_t<T>(k.acc_dx ? pt_f(*dx) + g : g);
	}
}

int pt_cuda_unit_bwd(struct pt_device *dev, const struct pt_k_unit *k, struct pt_error *err)
{
	if (k->n)
		PT_ACT_TYPE(k->type, (unit_bwd<T><<<(unsigned)k->n, BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "unit rows");
}

template <typename T> __global__ static void dots_fwd(struct pt_k_dots k)
{
	__shared__ float part[33];
	int64_t i = blockIdx.x;
	const T *a = (const T *)k.x + k.a[i / k.k] * k.c, *b = (const T *)k.x + k.b[i] * k.c;
	float s = 0;

	for (int64_t j = threadIdx.x; j < k.c; j += BLOCK)
		s += pt_f(a[j]) * pt_f(b[j]);
	s = pt_block_sum(s, part);
	if (threadIdx.x == 0)
		((T *)k.z)[i] = pt_t<T>(k.scale * s);
}

int pt_cuda_dots_fwd(struct pt_device *dev, const struct pt_k_dots *k, struct pt_error *err)
{
	if (k->n > 0 && k->k > 0)
		PT_ACT_TYPE(k->type, (dots_fwd<T><<<(unsigned)(k->n * k->k), BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "products of pairs");
}

/* Row of one side of a pair: entries 2i and 2i + 1 are the two sides of pair i. */
static __device__ inline int32_t side(const struct pt_k_dots &k, int64_t e)
{
	return e % 2 ? k.b[e / 2] : k.a[e / 2 / k.k];
}

/* The block of a row's first entry adds up all its entries, in their order. */
template <typename T> __global__ static void dots_bwd(struct pt_k_dots k)
{
	int64_t all = 2 * k.n * k.k, first = blockIdx.x;
	int32_t row = side(k, first);
	bool earlier = false;

	for (int64_t e = threadIdx.x; e < first; e += BLOCK)
		earlier |= side(k, e) == row;
	if (__syncthreads_or(earlier))
		return;
	for (int64_t j = threadIdx.x; j < k.c; j += BLOCK) {
		T *dx = (T *)k.dx + row * k.c + j;
		float s = 0;

		for (int64_t e = first; e < all; e++)
			if (side(k, e) == row)
				s += k.scale * pt_f(((const T *)k.dz)[e / 2]) * pt_f(((const T *)k.x)[side(k, e ^ 1) * k.c + j]);
		*dx = pt_t<T>(pt_f(*dx) + s);
	}
}

int pt_cuda_dots_bwd(struct pt_device *dev, const struct pt_k_dots *k, struct pt_error *err)
{
	if (k->n > 0 && k->k > 0)
		PT_ACT_TYPE(k->type, (dots_bwd<T><<<(unsigned)(2 * k->n * k->k), BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "products of pairs");
}

/* Log-sum-exp of a column over the rows of a sequence, by a block. */
template <typename T> static __device__ float log_sum(const struct pt_k_span &k, int from, int to, int64_t j, float *part)
{
	const T *z = (const T *)k.z;
	float max = -INFINITY, sum = 0;

	for (int i = from; i < to; i++)
		max = fmaxf(max, pt_f(z[i * k.k + j]));
	for (int i = from + threadIdx.x; i < to; i += BLOCK)
		sum += expf(pt_f(z[i * k.k + j]) - max);
	return max + logf(pt_block_sum(sum, part));
}

template <typename T, bool BACK> __global__ static void span(struct pt_k_span k)
{
	__shared__ float part[33];
	int b = blockIdx.x, from = k.cu[b], to = k.cu[b + 1];
	float loss = 0;

	for (int64_t j = 0; j < k.k; j++) {
		int32_t row = k.row[b * k.k + j];
		float lse, w;

		if (row < 0)
			continue;
		lse = log_sum<T>(k, from, to, j, part);
		loss += lse - pt_f(((const T *)k.z)[row * k.k + j]);
		w = BACK ? k.weight[b] / (float)k.k : 0;
		for (int i = from + threadIdx.x; BACK && i < to; i += BLOCK) {
			T *dz = (T *)k.dz + i * k.k + j;

			*dz = pt_t<T>(pt_f(*dz) + w * (expf(pt_f(((const T *)k.z)[i * k.k + j]) - lse) - (i == row)));
		}
	}
	if (!BACK && threadIdx.x == 0)
		k.loss[b] = loss / (float)k.k;
}

int pt_cuda_span_fwd(struct pt_device *dev, const struct pt_k_span *k, struct pt_error *err)
{
	if (k->batch)
		PT_ACT_TYPE(k->type, (span<T, false><<<(unsigned)k->batch, BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "spans");
}

int pt_cuda_span_bwd(struct pt_device *dev, const struct pt_k_span *k, struct pt_error *err)
{
	if (k->batch)
		PT_ACT_TYPE(k->type, (span<T, true><<<(unsigned)k->batch, BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "spans");
}
