/* SPDX-License-Identifier: MIT */
/*
 * cuda.h - the CUDA device: its state, and what its kernels share.
 *
 * One stream: kernels run in the order of the calls, nothing waits for the
 * host but download(). Every kernel checks its launch; an error of the GPU
 * shows at the latest in the next download. Sums run in a fixed order (no
 * floating atomics), so two runs give the same bytes. Activations are f32 or
 * bf16, weights f32, bf16 or f16; arithmetic is f32.
 */
#ifndef PT_DEVICE_CUDA_CUDA_H
#define PT_DEVICE_CUDA_CUDA_H

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

extern "C" {
#include "base/dtype.h"
#include "base/error.h"
#include "device/device.h"
#include "device/kernels.h"
#include "device/open.h"
}

#define PT_CUDA_COPIES 16		/* that can be told apart */
#define PT_CUDA_PARTS 1024		/* partial sums of one reduction at most */

struct pt_cuda_plan;			/* products.cu: algorithms by shape */

struct pt_cuda {
	int index, sms;
	size_t shared;			/* bytes of shared memory that a block can have */
	cudaStream_t stream;
	cublasLtHandle_t lt;
	void *work;			/* of cublasLt */
	size_t work_size;
	double *part;			/* [PT_CUDA_PARTS] */
	/* Pinned memory in two halves; one is filled while the copies from the other run. */
	char *ring;
	size_t ring_half, ring_at;
	int ring_now;
	cudaEvent_t ring_done[2];
	struct pt_cuda_plan *plan;
	bool hopper;			/* the code of hopper.h runs here */
	bool plain;			/* products without cublasLt */
	void *encode;			/* the driver's cuTensorMapEncodeTiled() */
	/* Copies beside the kernels: the t-th is done with copied[t % PT_CUDA_COPIES], or a later one is. */
	cudaStream_t copies;
	cudaEvent_t ready, copied[PT_CUDA_COPIES];
	uint64_t ticket;
};

static inline struct pt_cuda *pt_cuda_of(struct pt_device *dev)
{
	return (struct pt_cuda *)dev->self;
}

static inline cudaStream_t pt_cuda_stream(struct pt_device *dev)
{
	return pt_cuda_of(dev)->stream;
}

/* cuda.cu */
int pt_cuda_error(struct pt_error *err, int status, const char *fmt, ...);
/* 0, or the error of the launch before as PT_DEVICE. */
int pt_cuda_launched(struct pt_error *err, const char *what);

typedef __nv_bfloat16 pt_bf16;

static __host__ __device__ inline size_t pt_cuda_size(enum pt_dtype t)
{
	return t == PT_F32 ? 4 : 2;
}

static __device__ inline float pt_f(float x) { return x; }
static __device__ inline float pt_f(pt_bf16 x) { return __bfloat162float(x); }
static __device__ inline float pt_f(__half x) { return __half2float(x); }

template <typename T> static __device__ inline T pt_t(float x);
template <> __device__ inline float pt_t<float>(float x) { return x; }
template <> __device__ inline pt_bf16 pt_t<pt_bf16>(float x) { return __float2bfloat16(x); }
template <> __device__ inline __half pt_t<__half>(float x) { return __float2half(x); }

/* An element of a stored weight. */
static __device__ inline float pt_weight_at(const void *w, enum pt_dtype type, int64_t i)
{
	return type == PT_F32 ? ((const float *)w)[i] :
	       type == PT_BF16 ? pt_f(((const pt_bf16 *)w)[i]) : pt_f(((const __half *)w)[i]);
}

/* V elements at once; V of 16 bytes is one access. */
template <typename T, int V> struct alignas(sizeof(T) * V) pt_vec {
	T e[V];
};

template <typename T> struct pt_wide {
	static const int n = 16 / sizeof(T);
};

/* Whether 16-byte accesses fit rows of c elements at p. */
template <typename T> static inline bool pt_aligned(const void *p, int64_t c)
{
	return (uintptr_t)p % 16 == 0 && c % pt_wide<T>::n == 0;
}

/* Calls f with T the type of activations. */
#define PT_ACT_TYPE(type, ...) do { \
	if ((type) == PT_F32) { \
		using T = float; \
		__VA_ARGS__; \
	} else { \
		using T = pt_bf16; \
		__VA_ARGS__; \
	} \
} while (0)

static inline unsigned pt_grid(int64_t n, int64_t block)
{
	return (unsigned)((n + block - 1) / block);
}

static __device__ inline float pt_warp_sum(float v)
{
	for (int o = 16; o; o >>= 1)
		v += __shfl_xor_sync(~0u, v, o);
	return v;
}

static __device__ inline float pt_warp_max(float v)
{
	for (int o = 16; o; o >>= 1)
		v = fmaxf(v, __shfl_xor_sync(~0u, v, o));
	return v;
}

/* Sum over a block of at most 1024 threads, the same in all; part [33]. */
static __device__ inline float pt_block_sum(float v, float *part)
{
	int warps = (blockDim.x + 31) / 32;

	v = pt_warp_sum(v);
	__syncthreads();
	if (threadIdx.x % 32 == 0)
		part[threadIdx.x / 32] = v;
	__syncthreads();
	if (threadIdx.x < 32) {
		v = threadIdx.x < warps ? part[threadIdx.x] : 0;
		v = pt_warp_sum(v);
		if (threadIdx.x == 0)
			part[32] = v;
	}
	__syncthreads();
	return part[32];
}

/* Philox4x32-10 (base/rng.h) and the mixing of a key with a site. */
static __device__ inline uint4 pt_philox(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2)
{
	uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32), c3 = 0;

#pragma unroll
	for (int r = 0; r < 10; r++) {
		uint32_t h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
		uint32_t h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;

		c0 = h1 ^ c1 ^ k0;
		c1 = l1;
		c2 = h0 ^ c3 ^ k1;
		c3 = l0;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	return make_uint4(c0, c1, c2, c3);
}

static __device__ inline uint64_t pt_splitmix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static __device__ inline uint64_t pt_mix(uint64_t key, uint64_t v)
{
	return pt_splitmix(pt_splitmix(key + 0x9E3779B97F4A7C15u) + v * 0xD1342543DE82EF95u + 0x632BE59BD9B4E019u);
}

/* Factors of dropout: an element is kept where its number is at least below. */
struct pt_drop {
	uint32_t below;
	float keep;
};

static inline struct pt_drop pt_drop_of(float p)
{
	double scaled = (double)p * 16777216.0;
	uint32_t below = (uint32_t)scaled;
	struct pt_drop d = { below + ((double)below < scaled), (float)(1 / (1 - (double)p)) };

	return d;
}

static __device__ inline float pt_kept(struct pt_drop d, uint32_t u)
{
	return (u >> 8) < d.below ? 0.0f : d.keep;
}

static __device__ inline float pt_kept_at(struct pt_drop d, uint4 u, int i)
{
	return pt_kept(d, i == 0 ? u.x : i == 1 ? u.y : i == 2 ? u.z : u.w);
}

/* products.cu: C[m,n] = alpha op(A) op(B) + beta C [+ bias[n]], row-major. A and B of one type, bias of C's. */
struct pt_product {
	int64_t m, n, k;
	const void *a, *b, *bias;
	void *c;
	enum pt_dtype abt, ct;
	int64_t lda, ldb, ldc;
	bool ta, tb;
	float alpha, beta;
};

int pt_cuda_product(struct pt_device *dev, const struct pt_product *p, struct pt_error *err);
/* Frees the plans. */
void pt_cuda_products_close(struct pt_cuda *c);

/* columns.cu: out[j] += scale * sum over rows of x[i,j]; dw[j] += sum of dy[i,j] (x[i,j] - mean_i) inv_i. */
int pt_cuda_column_sums(struct pt_device *dev, enum pt_dtype type, int64_t rows, int64_t c, const void *x, float scale,
			float *out, struct pt_error *err);
int pt_cuda_column_dots(struct pt_device *dev, enum pt_dtype type, int64_t rows, int64_t c, const void *dy,
			const void *x, const float *stat, float *dw, struct pt_error *err);

/* hopper.cu: whether the code of hopper.h runs here; finds c->encode. */
bool pt_cuda_hopper(struct pt_cuda *c);

/* linear.cu: groups without experts. */
int pt_cuda_linear(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err);
int pt_cuda_linear_grads(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err);

/* Scratch is cut into pieces, 256 bytes each at least; base NULL only counts. */
struct pt_pieces {
	char *base;
	size_t used;
};

static inline void *pt_piece(struct pt_pieces *s, size_t bytes)
{
	void *p = s->base ? s->base + s->used : NULL;

	s->used += (bytes + 255) & ~(size_t)255;
	return p;
}

/* The kernels of the table, by the names of kernels.h. */
#define PT_CUDA_DECLARE(name, params, args) int pt_cuda_##name(struct pt_device *dev, params, struct pt_error *err);
PT_KERNELS(PT_CUDA_DECLARE)
#define PT_CUDA_DECLARE_SCRATCH(name, params, args) size_t pt_cuda_##name(struct pt_device *dev, params);
PT_KERNEL_SCRATCH(PT_CUDA_DECLARE_SCRATCH)

extern const struct pt_kernels pt_cuda_kernels;

#endif
