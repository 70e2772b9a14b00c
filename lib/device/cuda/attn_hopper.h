/* SPDX-License-Identifier: MIT */
/*
 * attn_hopper.h - what attention forward and backward on Hopper share: a block
 * has rows of its own, 64 for each group of four warps, and tiles of two other
 * matrices, a and b, that one warp fetches in turn.
 */
#ifndef PT_DEVICE_CUDA_ATTN_HOPPER_H
#define PT_DEVICE_CUDA_ATTN_HOPPER_H

#include "device/cuda/attn.h"
#include "device/cuda/hopper.h"
#include "device/cuda/mma.h"

#define PT_ATTN_STAGES 2

/* Registers of a thread of the W groups, and of the warps that fetch. */
template <int W> struct pt_attn_regs {
	static const int own = W == 2 ? 240 : 160, fetch = W == 2 ? 24 : 32;
};

#ifdef PT_HOPPER

/* Barriers: own rows, then the two tiles of a stage full and free. */
struct pt_attn_bars {
	uint32_t own, a, b, a_free, b_free;
};

static __device__ inline struct pt_attn_bars pt_attn_bars_at(uint32_t at)
{
	return { at, at + 8, at + 8 + 8 * PT_ATTN_STAGES, at + 8 + 16 * PT_ATTN_STAGES, at + 8 + 24 * PT_ATTN_STAGES };
}

/* fetchers: threads that say that a tile a is on its way. */
static __device__ inline void pt_attn_bars_make(const struct pt_attn_bars &b, int groups, int fetchers)
{
	if (threadIdx.x == 0) {
		pt_bar_init(b.own, 1);
		for (int st = 0; st < PT_ATTN_STAGES; st++) {
			pt_bar_init(b.a + 8 * st, fetchers);
			pt_bar_init(b.b + 8 * st, 1);
			pt_bar_init(b.a_free + 8 * st, 4 * groups);
			pt_bar_init(b.b_free + 8 * st, 4 * groups);
		}
		pt_bar_ready();
	}
	__syncthreads();
}

/* R rows of a head of D. */
template <int D, int R> static __device__ inline void pt_attn_load(uint32_t to, const CUtensorMap *map, int col, int row,
								   uint32_t bar)
{
	for (int p = 0; p < D / 64; p++)
		pt_tile_load(to + p * R * 128, map, col + p * 64, row, bar);
}

/* x [64,N] = own rows (panels of R rows) times the tile's */
template <int D, int N, int R> static __device__ inline void pt_attn_rows(float (&x)[N / 2], uint32_t own, uint32_t tile)
{
#pragma unroll
	for (int ks = 0; ks < D / 16; ks++)
		pt_wgmma<0>(x, pt_operand(own + ks / 4 * R * 128 + ks % 4 * 32),
			    pt_operand(tile + ks / 4 * N * 128 + ks % 4 * 32), ks > 0);
	pt_wgmma_commit();
}

/* d [64,D] += p [64,N] tile */
template <int D, int N> static __device__ inline void pt_attn_add(float (&d)[D / 2], const uint32_t (&p)[N / 16][4],
								  uint32_t tile)
{
#pragma unroll
	for (int ks = 0; ks < N / 16; ks++)
		pt_wgmma_r<1>(d, p[ks], pt_operand_across(tile + ks * 2048, N * 128));
	pt_wgmma_commit();
}

/* Numbers of a product as the left operand of the next. */
template <int N> static __device__ inline void pt_attn_pack(uint32_t (&p)[N / 16][4], const float (&x)[N / 2])
{
#pragma unroll
	for (int ks = 0; ks < N / 16; ks++)
#pragma unroll
		for (int e = 0; e < 4; e++)
			p[ks][e] = pt_pack(x[ks * 8 + 2 * e], x[ks * 8 + 2 * e + 1]);
}

#endif

#endif
