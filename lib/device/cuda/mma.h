/* SPDX-License-Identifier: MIT */
/*
 * mma.h - tensor cores by mma.sync (bf16 operands, f32 sums), and tiles in
 * shared memory for them: rows of D elements in pieces of 16 bytes, the places
 * of pieces exchanged by row so that eight rows lie in different banks.
 */
#ifndef PT_DEVICE_CUDA_MMA_H
#define PT_DEVICE_CUDA_MMA_H

#include "device/cuda/cuda.h"

/* Address of piece c (8 elements) of row r. */
template <int D> static __device__ inline uint32_t pt_tile_at(uint32_t base, int r, int c)
{
	return base + (uint32_t)((r * (D / 8) + (c ^ (r & 7))) * 16);
}

static __device__ inline uint32_t pt_shared(const void *p)
{
	return (uint32_t)__cvta_generic_to_shared(p);
}

/* 16 bytes to shared memory, zeros where not in. */
static __device__ inline void pt_cp_async(uint32_t to, const void *from, bool in)
{
	int n = in ? 16 : 0;

	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(to), "l"(from), "r"(n));
}

static __device__ inline void pt_cp_commit(void)
{
	asm volatile("cp.async.commit_group;");
}

template <int N> static __device__ inline void pt_cp_wait(void)
{
	asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
}

static __device__ inline void pt_ldm4(uint32_t *r, uint32_t at)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
		     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

static __device__ inline void pt_ldm4t(uint32_t *r, uint32_t at)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
		     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

static __device__ inline float pt_exp2(float x)
{
	float y;

	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

/* c [16,8] += a [16,16] b [16,8] */
static __device__ inline void pt_mma(float *c, const uint32_t *a, uint32_t b0, uint32_t b1)
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
		     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

static __device__ inline uint32_t pt_pack(float lo, float hi)
{
	__nv_bfloat162 v = __floats2bfloat162_rn(lo, hi);

	return *(uint32_t *)&v;
}

/* A operand [16,16] of rows r0.., k-step ks, of a tile stored row by row. */
template <int D> static __device__ inline void pt_load_a(uint32_t *a, uint32_t tile, int r0, int ks)
{
	int lane = threadIdx.x % 32;

	pt_ldm4(a, pt_tile_at<D>(tile, r0 + (lane & 15), ks * 2 + (lane >> 4)));
}

/* B operands of two column groups (rows r0.. and r0 + 8.. of the tile are columns), k-step ks: b[0..1], b[2..3]. */
template <int D> static __device__ inline void pt_load_bt(uint32_t *b, uint32_t tile, int r0, int ks)
{
	int lane = threadIdx.x % 32;

	pt_ldm4(b, pt_tile_at<D>(tile, r0 + (lane & 7) + ((lane >> 4) << 3), ks * 2 + ((lane >> 3) & 1)));
}

/* B operands of two column groups n8, n8 + 1 (columns of the tile), k-rows r0..r0 + 15: b[0..1], b[2..3]. */
template <int D> static __device__ inline void pt_load_b(uint32_t *b, uint32_t tile, int r0, int n8)
{
	int lane = threadIdx.x % 32;

	pt_ldm4t(b, pt_tile_at<D>(tile, r0 + (lane & 7) + (((lane >> 3) & 1) << 3), n8 + (lane >> 4)));
}

/* Rows of a matrix to a tile of R rows by THREADS threads; rows from n on and channels from d on are zero. */
template <int D, int R, int THREADS> static __device__ inline void pt_load_tile(uint32_t tile, const pt_bf16 *from,
										int64_t ld, int n, int d)
{
#pragma unroll
	for (int i = threadIdx.x; i < R * (D / 8); i += THREADS) {
		int r = i / (D / 8), c = i % (D / 8);
		bool in = r < n && c * 8 < d;

		pt_cp_async(pt_tile_at<D>(tile, r, c), in ? from + r * ld + c * 8 : from, in);
	}
}

#endif
