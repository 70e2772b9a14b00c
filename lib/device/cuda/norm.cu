/* SPDX-License-Identifier: MIT */
/*
 * norm.cu - LayerNorm and RMSNorm with the residual sum before them. Where
 * rows allow 16-byte accesses a warp or a block takes a row, which stays in its
 * registers; else a block keeps it in shared memory as f32.
 */
#include "device/cuda/cuda.h"

#define MAX_BLOCK 512

struct norm {
	struct pt_k_norm k;
	bool cached;			/* a row fits into shared memory */
};

static __device__ inline float factor(const struct pt_k_norm &k, int64_t j)
{
	float w = k.w ? pt_weight_at(k.w, k.wtype, j) : k.kind == PT_NORM_RMS1P ? 0 : 1;

	return k.kind == PT_NORM_RMS1P ? w + 1 : w;
}

template <typename T, int V> __global__ static void norm_fwd(struct norm n)
{
	extern __shared__ float row[];
	__shared__ float part[33];
	const struct pt_k_norm &k = n.k;
	const T *x = (const T *)k.x + blockIdx.x * k.c, *delta = (const T *)k.delta;
	T *y = (T *)k.y + blockIdx.x * k.c, *sum = (T *)k.sum + blockIdx.x * k.c;
	const T *again = k.delta ? sum : x;
	float mean = 0, s = 0, inv;

	for (int64_t j = threadIdx.x * V; j < k.c; j += blockDim.x * V) {
		pt_vec<T, V> a = *(const pt_vec<T, V> *)(x + j);

		if (delta) {
			pt_vec<T, V> d = *(const pt_vec<T, V> *)(delta + blockIdx.x * k.c + j);

#pragma unroll
			for (int i = 0; i < V; i++)
				a.e[i] = pt_t<T>(pt_f(a.e[i]) + pt_f(d.e[i]));
			*(pt_vec<T, V> *)(sum + j) = a;
		}
#pragma unroll
		for (int i = 0; i < V; i++) {
			float v = pt_f(a.e[i]);

			if (n.cached)
				row[j + i] = v;
			s += k.kind == PT_NORM_LAYER ? v : v * v;
		}
	}
	s = pt_block_sum(s, part) / (float)k.c;
	if (k.kind == PT_NORM_LAYER) {
		mean = s;
		s = 0;
		for (int64_t j = threadIdx.x * V; j < k.c; j += blockDim.x * V)
			for (int i = 0; i < V; i++) {
				float v = (n.cached ? row[j + i] : pt_f(again[j + i])) - mean;

				s += v * v;
			}
		s = pt_block_sum(s, part) / (float)k.c;
	}
	inv = 1.0f / sqrtf(s + k.eps);
	if (k.stat && threadIdx.x == 0) {
		k.stat[2 * blockIdx.x] = mean;
		k.stat[2 * blockIdx.x + 1] = inv;
	}
	for (int64_t j = threadIdx.x * V; j < k.c; j += blockDim.x * V) {
		pt_vec<T, V> o;

#pragma unroll
		for (int i = 0; i < V; i++) {
			float v = ((n.cached ? row[j + i] : pt_f(again[j + i])) - mean) * inv * factor(k, j + i);

			o.e[i] = pt_t<T>(v + (k.b ? pt_weight_at(k.b, k.btype, j + i) : 0));
		}
		*(pt_vec<T, V> *)(y + j) = o;
	}
}

template <typename T, int V> __global__ static void norm_bwd(struct norm n)
{
	__shared__ float part[33];
	const struct pt_k_norm &k = n.k;
	const T *x = (const T *)k.x + blockIdx.x * k.c, *dy = (const T *)k.dy + blockIdx.x * k.c;
	T *dx = (T *)k.dx + blockIdx.x * k.c;
	float mean = k.stat[2 * blockIdx.x], inv = k.stat[2 * blockIdx.x + 1], sg = 0, sgx = 0;

	for (int64_t j = threadIdx.x * V; j < k.c; j += blockDim.x * V) {
		pt_vec<T, V> a = *(const pt_vec<T, V> *)(x + j), d = *(const pt_vec<T, V> *)(dy + j);

#pragma unroll
		for (int i = 0; i < V; i++) {
			float g = pt_f(d.e[i]) * factor(k, j + i);

			sg += g;
			sgx += g * (pt_f(a.e[i]) - mean) * inv;
		}
	}
	sgx = pt_block_sum(sgx, part) / (float)k.c;
	sg = k.kind == PT_NORM_LAYER ? pt_block_sum(sg, part) / (float)k.c : 0;
	for (int64_t j = threadIdx.x * V; j < k.c; j += blockDim.x * V) {
		pt_vec<T, V> a = *(const pt_vec<T, V> *)(x + j), d = *(const pt_vec<T, V> *)(dy + j), o;

		if (k.acc_dx)
			o = *(pt_vec<T, V> *)(dx + j);
#pragma unroll
		for (int i = 0; i < V; i++) {
			float g = pt_f(d.e[i]) * factor(k, j + i);
			float v = inv * (g - sg - (pt_f(a.e[i]) - mean) * inv * sgx);

			o.e[i] = pt_t<T>(k.acc_dx ? pt_f(o.e[i]) + v : v);
		}
		*(pt_vec<T, V> *)(dx + j) = o;
	}
}

/* V elements of a weight in f32; ones where there is none, and one more for RMS1P. */
template <typename WT, int V> static __device__ inline void factors(const struct pt_k_norm &k, int64_t j, float *w)
{
	pt_vec<WT, V> v;

	if (k.w)
		v = *(const pt_vec<WT, V> *)((const WT *)k.w + j);
#pragma unroll
	for (int i = 0; i < V; i++) {
		w[i] = k.w ? pt_f(v.e[i]) : k.kind == PT_NORM_RMS1P ? 0 : 1;
		w[i] += k.kind == PT_NORM_RMS1P;
	}
}

/* Sum over the threads of a row: a warp, or the block. */
static __device__ inline float row_sum(float s, float *part)
{
	return blockDim.x == 32 ? pt_warp_sum(s) : pt_block_sum(s, part);
}

/* PER: pieces of V elements of each thread. Blocks of 32 by some rows, or of one row. */
template <typename T, typename WT, int PER> __global__ static void fast_fwd(const __grid_constant__ struct pt_k_norm k)
{
	const int V = pt_wide<T>::n;
	__shared__ float part[33];
	int64_t at = blockIdx.x * (int64_t)blockDim.y + threadIdx.y;
	const T *x = (const T *)k.x + at * k.c, *delta = (const T *)k.delta + at * k.c;
	T *y = (T *)k.y + at * k.c, *sum = (T *)k.sum + at * k.c;
	pt_vec<T, V> a[PER], d[PER];
	float mean = 0, s = 0, inv;

	if (at >= k.n)
		return;
#pragma unroll
	for (int p = 0; p < PER; p++) {
		int64_t j = (p * (int)blockDim.x + (int)threadIdx.x) * V;

		if (j < k.c)
			a[p] = *(const pt_vec<T, V> *)(x + j);
		if (j < k.c && k.delta)
			d[p] = *(const pt_vec<T, V> *)(delta + j);
	}
#pragma unroll
	for (int p = 0; p < PER; p++) {
		int64_t j = (p * (int)blockDim.x + (int)threadIdx.x) * V;

		if (j >= k.c)
			continue;
#pragma unroll
		for (int i = 0; i < V && k.delta; i++)
			a[p].e[i] = pt_t<T>(pt_f(a[p].e[i]) + pt_f(d[p].e[i]));
		if (k.delta)
			*(pt_vec<T, V> *)(sum + j) = a[p];
#pragma unroll
		for (int i = 0; i < V; i++) {
			float v = pt_f(a[p].e[i]);

			s += k.kind == PT_NORM_LAYER ? v : v * v;
		}
	}
	s = row_sum(s, part) / (float)k.c;
	if (k.kind == PT_NORM_LAYER) {
		mean = s;
		s = 0;
#pragma unroll
		for (int p = 0; p < PER; p++)
			if ((p * (int)blockDim.x + (int)threadIdx.x) * V < k.c)
#pragma unroll
				for (int i = 0; i < V; i++) {
					float v = pt_f(a[p].e[i]) - mean;

					s += v * v;
				}
		s = row_sum(s, part) / (float)k.c;
	}
	inv = 1.0f / sqrtf(s + k.eps);
	if (k.stat && threadIdx.x == 0) {
		k.stat[2 * at] = mean;
		k.stat[2 * at + 1] = inv;
	}
#pragma unroll
	for (int p = 0; p < PER; p++) {
		int64_t j = (p * (int)blockDim.x + (int)threadIdx.x) * V;
		float w[V];

		if (j >= k.c)
			continue;
		factors<WT, V>(k, j, w);
#pragma unroll
		for (int i = 0; i < V; i++)
			a[p].e[i] = pt_t<T>((pt_f(a[p].e[i]) - mean) * inv * w[i] + (k.b ? pt_f(((const WT *)k.b)[j + i]) : 0));
		*(pt_vec<T, V> *)(y + j) = a[p];
	}
}

template <typename T, typename WT, int PER> __global__ static void fast_bwd(const __grid_constant__ struct pt_k_norm k)
{
	const int V = pt_wide<T>::n;
	__shared__ float part[33];
	int64_t at = blockIdx.x * (int64_t)blockDim.y + threadIdx.y;
	const T *x = (const T *)k.x + at * k.c, *dy = (const T *)k.dy + at * k.c;
	T *dx = (T *)k.dx + at * k.c;
	pt_vec<T, V> a[PER], d[PER], o[PER];
	float mean, inv, sg = 0, sgx = 0;

	if (at >= k.n)
		return;
	mean = k.stat[2 * at];
	inv = k.stat[2 * at + 1];
#pragma unroll
	for (int p = 0; p < PER; p++) {
		int64_t j = (p * (int)blockDim.x + (int)threadIdx.x) * V;

		if (j >= k.c)
			continue;
		a[p] = *(const pt_vec<T, V> *)(x + j);
		d[p] = *(const pt_vec<T, V> *)(dy + j);
		if (k.acc_dx)
			o[p] = *(const pt_vec<T, V> *)(dx + j);
	}
#pragma unroll
	for (int p = 0; p < PER; p++) {
		int64_t j = (p * (int)blockDim.x + (int)threadIdx.x) * V;
		float w[V];

		if (j >= k.c)
			continue;
		factors<WT, V>(k, j, w);
#pragma unroll
		for (int i = 0; i < V; i++) {
			float g = pt_f(d[p].e[i]) * w[i];

			sg += g;
			sgx += g * (pt_f(a[p].e[i]) - mean) * inv;
		}
	}
	sgx = row_sum(sgx, part) / (float)k.c;
	sg = k.kind == PT_NORM_LAYER ? row_sum(sg, part) / (float)k.c : 0;
#pragma unroll
	for (int p = 0; p < PER; p++) {
		int64_t j = (p * (int)blockDim.x + (int)threadIdx.x) * V;
		float w[V];

		if (j >= k.c)
			continue;
		factors<WT, V>(k, j, w);
#pragma unroll
		for (int i = 0; i < V; i++) {
			float v = inv * (pt_f(d[p].e[i]) * w[i] - sg - (pt_f(a[p].e[i]) - mean) * inv * sgx);

			o[p].e[i] = pt_t<T>(k.acc_dx ? pt_f(o[p].e[i]) + v : v);
		}
		*(pt_vec<T, V> *)(dx + j) = o[p];
	}
}

/* PER pieces a thread. */
template <typename T, typename WT, int PER> static void fast_launch(struct pt_device *dev, const struct pt_k_norm *k, bool back,
								    unsigned threads)
{
	dim3 block(threads, threads == 32 ? 8 : 1);
	unsigned grid = pt_grid(k->n, block.y);

	if (back)
		fast_bwd<T, WT, PER><<<grid, block, 0, pt_cuda_stream(dev)>>>(*k);
	else
		fast_fwd<T, WT, PER><<<grid, block, 0, pt_cuda_stream(dev)>>>(*k);
}

template <typename T, typename WT> static bool fast(struct pt_device *dev, const struct pt_k_norm *k, bool back)
{
	int64_t pieces = k->c / pt_wide<T>::n;

	if (((uintptr_t)k->w | (uintptr_t)k->b) % (sizeof(WT) * pt_wide<T>::n) || pieces > 4 * MAX_BLOCK ||
	    (k->b && k->btype != k->wtype))
		return false;
	if (pieces <= 32)
		fast_launch<T, WT, 1>(dev, k, back, 32);
	else if (pieces <= 128)
		fast_launch<T, WT, 1>(dev, k, back, (unsigned)((pieces + 31) / 32 * 32));
	else if (pieces <= 1024)
		fast_launch<T, WT, 2>(dev, k, back, (unsigned)((pieces + 63) / 64 * 32));
	else
		fast_launch<T, WT, 4>(dev, k, back, (unsigned)((pieces + 127) / 128 * 32));
	return true;
}

static unsigned block_of(int64_t c, int v)
{
	int64_t n = (c + v - 1) / v;

	n = (n + 31) / 32 * 32;
	return (unsigned)(n > MAX_BLOCK ? MAX_BLOCK : n);
}

static bool wide(const struct pt_k_norm *k)
{
	uintptr_t all = (uintptr_t)k->x | (uintptr_t)k->delta | (uintptr_t)k->sum | (uintptr_t)k->y |
			(uintptr_t)k->dy | (uintptr_t)k->dx;

	return all % 16 == 0 && k->c * (int64_t)pt_cuda_size(k->type) % 16 == 0;
}

int pt_cuda_norm_fwd(struct pt_device *dev, const struct pt_k_norm *k, struct pt_error *err)
{
	struct norm n = { *k, k->c <= 12000 };
	size_t shared = n.cached ? (size_t)k->c * sizeof(float) : 0;
	cudaStream_t s = pt_cuda_stream(dev);

	if (!k->n)
		return 0;
	PT_ACT_TYPE(k->type, {
		const int V = pt_wide<T>::n;

		if (wide(k) && (k->wtype == PT_BF16 ? fast<T, pt_bf16>(dev, k, false) :
				k->wtype == PT_F32 && fast<T, float>(dev, k, false)))
			return pt_cuda_launched(err, "norm");
		if (wide(k))
			norm_fwd<T, V><<<(unsigned)k->n, block_of(k->c, V), shared, s>>>(n);
		else
			norm_fwd<T, 1><<<(unsigned)k->n, block_of(k->c, 1), shared, s>>>(n);
	});
	return pt_cuda_launched(err, "norm");
}

int pt_cuda_norm_bwd(struct pt_device *dev, const struct pt_k_norm *k, struct pt_error *err)
{
	struct norm n = { *k, false };
	cudaStream_t s = pt_cuda_stream(dev);

	if (!k->n)
		return 0;
	if (k->dx)
		PT_ACT_TYPE(k->type, {
			const int V = pt_wide<T>::n;

			if (wide(k) && (k->wtype == PT_BF16 ? fast<T, pt_bf16>(dev, k, true) :
					k->wtype == PT_F32 && fast<T, float>(dev, k, true)))
				;
			else if (wide(k))
				norm_bwd<T, V><<<(unsigned)k->n, block_of(k->c, V), 0, s>>>(n);
			else
				norm_bwd<T, 1><<<(unsigned)k->n, block_of(k->c, 1), 0, s>>>(n);
		});
	if (pt_cuda_launched(err, "norm") ||
	    (k->dw && pt_cuda_column_dots(dev, k->type, k->n, k->c, k->dy, k->x, k->stat, k->dw, err)) ||
	    (k->db && pt_cuda_column_sums(dev, k->type, k->n, k->c, k->dy, 1, k->db, err)))
		return err->status;
	return 0;
}
