/* SPDX-License-Identifier: MIT */
/*
 * columns.cu - sums down the columns of a matrix, in a fixed order: each of 32
 * rows of threads takes every 32nd row, and their sums are added in order.
 */
#include "device/cuda/cuda.h"

#define LANES 32
#define STRIPES 32

/* In f32 sums are in f64: there are as many terms as rows. */
template <typename T> struct sum_of {
	typedef float type;
};

template <> struct sum_of<float> {
	typedef double type;
};

/* Mode 0: sum of a; 1: of a * b; 2: of a * (b - mean) * inv, by row. */
template <typename T, int MODE> __global__ static void columns(int64_t rows, int64_t c, const T *a, const T *b,
							       const float *stat, float scale, float *out)
{
	__shared__ typename sum_of<T>::type part[STRIPES][LANES + 1];
	int64_t j = blockIdx.x * (int64_t)LANES + threadIdx.x;
	typename sum_of<T>::type sum = 0;

	for (int64_t i = threadIdx.y; i < rows && j < c; i += STRIPES) {
		float v = pt_f(a[i * c + j]);

		if (MODE == 1)
			v *= pt_f(b[i * c + j]);
		else if (MODE == 2)
			v *= (pt_f(b[i * c + j]) - stat[2 * i]) * stat[2 * i + 1];
		sum += v;
	}
	part[threadIdx.y][threadIdx.x] = sum;
	__syncthreads();
	if (threadIdx.y || j >= c)
		return;
	for (int k = 1; k < STRIPES; k++)
		sum += part[k][threadIdx.x];
	out[j] += scale * (float)sum;
}

int pt_cuda_column_sums(struct pt_device *dev, enum pt_dtype type, int64_t rows, int64_t c, const void *x, float scale,
			float *out, struct pt_error *err)
{
	if (!rows || !c)
		return 0;
	PT_ACT_TYPE(type, (columns<T, 0><<<pt_grid(c, LANES), dim3(LANES, STRIPES), 0, pt_cuda_stream(dev)>>>(
		rows, c, (const T *)x, NULL, NULL, scale, out)));
	return pt_cuda_launched(err, "column sums");
}

int pt_cuda_column_dots(struct pt_device *dev, enum pt_dtype type, int64_t rows, int64_t c, const void *dy,
			const void *x, const float *stat, float *dw, struct pt_error *err)
{
	dim3 block(LANES, STRIPES);

	if (!rows || !c)
		return 0;
	if (stat)
		PT_ACT_TYPE(type, (columns<T, 2><<<pt_grid(c, LANES), block, 0, pt_cuda_stream(dev)>>>(
			rows, c, (const T *)dy, (const T *)x, stat, 1, dw)));
	else
		PT_ACT_TYPE(type, (columns<T, 1><<<pt_grid(c, LANES), block, 0, pt_cuda_stream(dev)>>>(
			rows, c, (const T *)dy, (const T *)x, NULL, 1, dw)));
	return pt_cuda_launched(err, "column sums");
}
