/* SPDX-License-Identifier: MIT */
/*
 * elem.cu - fill, copy, scale and add, convert; rows picked, averaged, scaled
 * by channel. 16 bytes an access where addresses allow it.
 */
#include "device/cuda/cuda.h"

#define BLOCK 256

template <typename T, int V> __global__ static void fill(T *x, int64_t n, float value)
{
	int64_t i = (blockIdx.x * (int64_t)BLOCK + threadIdx.x) * V;
	pt_vec<T, V> v;

	for (int k = 0; k < V; k++)
		v.e[k] = pt_t<T>(value);
	if (i + V <= n)
		*(pt_vec<T, V> *)(x + i) = v;
	else
		for (; i < n; i++)
			x[i] = v.e[0];
}

int pt_cuda_fill(struct pt_device *dev, enum pt_dtype type, void *x, size_t n, float value, struct pt_error *err)
{
	cudaStream_t s = pt_cuda_stream(dev);

	if (!n)
		return 0;
	if (value == 0) {
		if (cudaMemsetAsync(x, 0, n * pt_cuda_size(type), s))
			return pt_cuda_launched(err, "fill");
		return 0;
	}
	PT_ACT_TYPE(type, {
		const int V = pt_wide<T>::n;

		if ((uintptr_t)x % 16 == 0)
			fill<T, V><<<pt_grid((int64_t)n, BLOCK * V), BLOCK, 0, s>>>((T *)x, (int64_t)n, value);
		else
			fill<T, 1><<<pt_grid((int64_t)n, BLOCK), BLOCK, 0, s>>>((T *)x, (int64_t)n, value);
	});
	return pt_cuda_launched(err, "fill");
}

int pt_cuda_copy(struct pt_device *dev, void *dst, const void *src, size_t bytes, struct pt_error *err)
{
	if (bytes && cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, pt_cuda_stream(dev)))
		return pt_cuda_launched(err, "copy");
	return 0;
}

template <typename T, int V> __global__ static void axpby(int64_t n, float alpha, const T *x, float beta, T *y)
{
	int64_t i = (blockIdx.x * (int64_t)BLOCK + threadIdx.x) * V;

	if (i + V <= n) {
		pt_vec<T, V> a = *(const pt_vec<T, V> *)(x + i), b;

		if (beta != 0)
			b = *(pt_vec<T, V> *)(y + i);
#pragma unroll
		for (int k = 0; k < V; k++)
			b.e[k] = pt_t<T>(beta != 0 ? alpha * pt_f(a.e[k]) + beta * pt_f(b.e[k]) : alpha * pt_f(a.e[k]));
		*(pt_vec<T, V> *)(y + i) = b;
	} else {
		for (; i < n; i++)
			y[i] = pt_t<T>(beta != 0 ? alpha * pt_f(x[i]) + beta * pt_f(y[i]) : alpha * pt_f(x[i]));
	}
}

int pt_cuda_axpby(struct pt_device *dev, enum pt_dtype type, size_t n, float alpha, const void *x, float beta, void *y,
		  struct pt_error *err)
{
	cudaStream_t s = pt_cuda_stream(dev);

	if (!n)
		return 0;
	PT_ACT_TYPE(type, {
		const int V = pt_wide<T>::n;

		if (((uintptr_t)x | (uintptr_t)y) % 16 == 0)
			axpby<T, V><<<pt_grid((int64_t)n, BLOCK * V), BLOCK, 0, s>>>((int64_t)n, alpha, (const T *)x,
										    beta, (T *)y);
		else
			axpby<T, 1><<<pt_grid((int64_t)n, BLOCK), BLOCK, 0, s>>>((int64_t)n, alpha, (const T *)x, beta,
										(T *)y);
	});
	return pt_cuda_launched(err, "axpby");
}

template <typename D> __global__ static void convert(D *dst, const void *src, enum pt_dtype st, int64_t n)
{
	int64_t i = (blockIdx.x * (int64_t)BLOCK + threadIdx.x) * 4;

	for (int k = 0; k < 4 && i + k < n; k++)
		dst[i + k] = pt_t<D>(pt_weight_at(src, st, i + k));
}

int pt_cuda_convert(struct pt_device *dev, void *dst, enum pt_dtype dt, const void *src, enum pt_dtype st, size_t n,
		    struct pt_error *err)
{
	cudaStream_t s = pt_cuda_stream(dev);
	unsigned grid = pt_grid((int64_t)n, BLOCK * 4);

	if (dt == st)
		return pt_cuda_copy(dev, dst, src, n * pt_cuda_size(dt), err);
	if (!n)
		return 0;
	if (dt == PT_F32)
		convert<float><<<grid, BLOCK, 0, s>>>((float *)dst, src, st, (int64_t)n);
	else if (dt == PT_BF16)
		convert<pt_bf16><<<grid, BLOCK, 0, s>>>((pt_bf16 *)dst, src, st, (int64_t)n);
	else
		convert<__half><<<grid, BLOCK, 0, s>>>((__half *)dst, src, st, (int64_t)n);
	return pt_cuda_launched(err, "convert");
}

template <typename T> __global__ static void affine(int64_t c, const T *x, const float *w, const float *b, T *y,
						    bool acc)
{
	int64_t row = blockIdx.x * c;

	for (int64_t j = threadIdx.x; j < c; j += blockDim.x) {
		float v = pt_f(x[row + j]) * (w ? w[j] : 1) + (b ? b[j] : 0);

		y[row + j] = pt_t<T>(acc ? pt_f(y[row + j]) + v : v);
	}
}

int pt_cuda_affine_fwd(struct pt_device *dev, enum pt_dtype type, int64_t n, int64_t c, const void *x, const float *w,
		       const float *b, void *y, struct pt_error *err)
{
	if (!n)
		return 0;
	PT_ACT_TYPE(type, (affine<T><<<(unsigned)n, BLOCK, 0, pt_cuda_stream(dev)>>>(c, (const T *)x, w, b, (T *)y,
										     false)));
	return pt_cuda_launched(err, "affine");
}

int pt_cuda_affine_bwd(struct pt_device *dev, enum pt_dtype type, int64_t n, int64_t c, const void *x, const float *w,
		       const void *dy, void *dx, bool acc_dx, float *dw, float *db, struct pt_error *err)
{
	if (!n)
		return 0;
	if (dx)
		PT_ACT_TYPE(type, (affine<T><<<(unsigned)n, BLOCK, 0, pt_cuda_stream(dev)>>>(c, (const T *)dy, w, NULL,
											     (T *)dx, acc_dx)));
	if (pt_cuda_launched(err, "affine") ||
	    (dw && pt_cuda_column_dots(dev, type, n, c, dy, x, NULL, dw, err)) ||
	    (db && pt_cuda_column_sums(dev, type, n, c, dy, 1, db, err)))
		return err->status;
	return 0;
}

template <typename V> __global__ static void gather(int64_t n, const V *x, const int32_t *idx, V *y)
{
	const V *from = x + idx[blockIdx.x] * n;
	V *to = y + blockIdx.x * n;

	for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
		to[j] = from[j];
}

int pt_cuda_gather_fwd(struct pt_device *dev, int64_t n, size_t bytes, const void *x, const int32_t *idx, void *y,
		       struct pt_error *err)
{
	cudaStream_t s = pt_cuda_stream(dev);

	if (!n || !bytes)
		return 0;
	if (((uintptr_t)x | (uintptr_t)y | bytes) % 16 == 0)
		gather<<<(unsigned)n, BLOCK, 0, s>>>((int64_t)(bytes / 16), (const uint4 *)x, idx, (uint4 *)y);
	else
		gather<<<(unsigned)n, BLOCK, 0, s>>>((int64_t)(bytes / 2), (const uint16_t *)x, idx, (uint16_t *)y);
	return pt_cuda_launched(err, "gather");
}

template <typename T> __global__ static void scatter_add(int64_t c, const T *dy, const int32_t *idx, T *dx)
{
	T *to = dx + idx[blockIdx.x] * c;

	for (int64_t j = threadIdx.x; j < c; j += blockDim.x)
		to[j] = pt_t<T>(pt_f(to[j]) + pt_f(dy[blockIdx.x * c + j]));
}

/* The block of an index's first row adds up all rows of that index, in their order. */
template <typename T> __global__ static void scatter_sum(int64_t n, int64_t c, const T *dy, const int32_t *idx, T *dx)
{
	int32_t own = idx[blockIdx.x];
	bool earlier = false;

	for (int64_t i = threadIdx.x; i < blockIdx.x; i += BLOCK)
		earlier |= idx[i] == own;
	if (__syncthreads_or(earlier))
		return;
	for (int64_t j0 = 0; j0 < c; j0 += BLOCK) {
		int64_t j = j0 + threadIdx.x;
		float sum = j < c ? pt_f(dx[own * c + j]) : 0;

		for (int64_t i = blockIdx.x; i < n && j < c; i++)
			if (idx[i] == own)
				sum += pt_f(dy[i * c + j]);
		if (j < c)
			dx[own * c + j] = pt_t<T>(sum);
	}
}

int pt_cuda_gather_bwd(struct pt_device *dev, enum pt_dtype type, int64_t n, int64_t c, const void *dy,
		       const int32_t *idx, bool distinct, void *dx, struct pt_error *err)
{
	if (!n)
		return 0;
	if (distinct)
		PT_ACT_TYPE(type, (scatter_add<T><<<(unsigned)n, BLOCK, 0, pt_cuda_stream(dev)>>>(c, (const T *)dy, idx,
												  (T *)dx)));
	else
		PT_ACT_TYPE(type, (scatter_sum<T><<<(unsigned)n, BLOCK, 0, pt_cuda_stream(dev)>>>(n, c, (const T *)dy, idx,
												  (T *)dx)));
	return pt_cuda_launched(err, "gather");
}

template <typename T> __global__ static void mean(int64_t c, const T *x, const int32_t *cu, T *y)
{
	int64_t j = blockIdx.y * (int64_t)BLOCK + threadIdx.x;
	int from = cu[blockIdx.x], to = cu[blockIdx.x + 1];
	float sum = 0;

	if (j >= c)
		return;
	for (int i = from; i < to; i++)
		sum += pt_f(x[i * c + j]);
	y[blockIdx.x * c + j] = pt_t<T>(to > from ? sum / (float)(to - from) : 0);
}

int pt_cuda_mean_fwd(struct pt_device *dev, enum pt_dtype type, int batch, int64_t c, const void *x, const int32_t *cu,
		     void *y, struct pt_error *err)
{
	dim3 grid((unsigned)batch, pt_grid(c, BLOCK));

	if (!batch)
		return 0;
	PT_ACT_TYPE(type, (mean<T><<<grid, BLOCK, 0, pt_cuda_stream(dev)>>>(c, (const T *)x, cu, (T *)y)));
	return pt_cuda_launched(err, "mean");
}

template <typename T> __global__ static void mean_back(int64_t c, const T *dy, const int32_t *cu, T *dx, bool acc)
{
	int64_t j = blockIdx.y * (int64_t)BLOCK + threadIdx.x;
	int from = cu[blockIdx.x], to = cu[blockIdx.x + 1];
	float g;

	if (j >= c || to <= from)
		return;
	g = pt_f(dy[blockIdx.x * c + j]) * (1.0f / (float)(to - from));
	for (int i = from; i < to; i++)
		dx[i * c + j] = pt_t<T>(acc ? pt_f(dx[i * c + j]) + g : g);
}

int pt_cuda_mean_bwd(struct pt_device *dev, enum pt_dtype type, int batch, int64_t c, const void *dy, const int32_t *cu,
		     void *dx, bool acc_dx, struct pt_error *err)
{
	dim3 grid((unsigned)batch, pt_grid(c, BLOCK));

	if (!batch)
		return 0;
	PT_ACT_TYPE(type, (mean_back<T><<<grid, BLOCK, 0, pt_cuda_stream(dev)>>>(c, (const T *)dy, cu, (T *)dx, acc_dx)));
	return pt_cuda_launched(err, "mean");
}
