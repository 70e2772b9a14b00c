/* SPDX-License-Identifier: MIT */
/*
 * attn_fwd.cu - attention on tensor cores, forward (Dao 2023,
 * "FlashAttention-2"): 128 queries a block, 16 a warp, keys in tiles that are
 * fetched while those before are computed with.
 */
#include "device/cuda/attn.h"
#include "device/cuda/mma.h"

#include <math.h>

#define WARPS 8
#define ROWS (16 * WARPS)
#define THREADS (32 * WARPS)
#define LOG2E 1.4426950408889634f

/* D: head size rounded up; N: keys of a tile; Q_REGS: queries stay in registers. */
template <int D, int N, bool CAP> __global__ __launch_bounds__(THREADS, D <= 64 ? 2 : 1)
static void fwd(const __grid_constant__ struct pt_attn_call c)
{
	extern __shared__ char shared[];
	const struct pt_k_attn &k = c.k;
	uint32_t sq = pt_shared(shared), sk = sq + ROWS * D * 2, sv = sk + 2 * N * D * 2;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y, g = h / (k.heads / k.kv_heads);
	struct pt_attn_seq s = pt_attn_seq_of(k, blockIdx.z);
	int i0 = (gridDim.x - 1 - blockIdx.x) * ROWS, d = k.head_dim;
	const pt_bf16 *kb = (const pt_bf16 *)k.k + s.k0 * k.ldk + g * d, *vb = (const pt_bf16 *)k.v + s.k0 * k.ldv + g * d;
	int lo, hi, unused, first, tiles, own_lo[2], own_hi[2];
	float o[D / 8][4], m[2] = { -INFINITY, -INFINITY }, l[2] = { 0, 0 };
	/* Scores are x times scale, to the base of 2. */
	float scale = CAP ? LOG2E * k.softcap : k.scale * LOG2E, into_cap = CAP ? k.scale / k.softcap : 0;

	if (i0 >= s.nq)
		return;
	pt_attn_keys(k, s, i0, &lo, &unused);
	pt_attn_keys(k, s, min(i0 + ROWS, s.nq) - 1, &unused, &hi);
	first = lo / N * N;
	tiles = hi > first ? (hi - first + N - 1) / N : 0;
	for (int r = 0; r < 2; r++) {
		int i = i0 + warp * 16 + lane / 4 + 8 * r;

		pt_attn_keys(k, s, i, &own_lo[r], &own_hi[r]);
		if (i >= s.nq)
			own_hi[r] = 0;
	}
#pragma unroll
	for (int t = 0; t < D / 8; t++)
		for (int e = 0; e < 4; e++)
			o[t][e] = 0;
	pt_load_tile<D, ROWS, THREADS>(sq, (const pt_bf16 *)k.q + (s.q0 + i0) * k.ldq + h * d, k.ldq, s.nq - i0, d);
	if (tiles) {
		pt_load_tile<D, N, THREADS>(sk, kb + first * k.ldk, k.ldk, s.nk - first, d);
		pt_load_tile<D, N, THREADS>(sv, vb + first * k.ldv, k.ldv, s.nk - first, d);
	}
	pt_cp_commit();
	for (int t = 0; t < tiles; t++) {
		int j0 = first + t * N, at = (t & 1) * N * D * 2;
		float x[N / 8][4], fix[2];
		bool edge;

		if (t + 1 < tiles) {
			int next = j0 + N, to = ((t + 1) & 1) * N * D * 2;

			pt_load_tile<D, N, THREADS>(sk + to, kb + next * k.ldk, k.ldk, s.nk - next, d);
			pt_load_tile<D, N, THREADS>(sv + to, vb + next * k.ldv, k.ldv, s.nk - next, d);
		}
		pt_cp_commit();
		pt_cp_wait<1>();
		__syncthreads();
#pragma unroll
		for (int n = 0; n < N / 8; n++)
			x[n][0] = x[n][1] = x[n][2] = x[n][3] = 0;
#pragma unroll
		for (int ks = 0; ks < D / 16; ks++) {
			uint32_t a[4], b[4];

			pt_load_a<D>(a, sq, warp * 16, ks);
#pragma unroll
			for (int n = 0; n < N / 16; n++) {
				pt_load_bt<D>(b, sk + at, n * 16, ks);
				pt_mma(x[2 * n], a, b[0], b[1]);
				pt_mma(x[2 * n + 1], a, b[2], b[3]);
			}
		}
		edge = own_lo[0] > j0 || own_lo[1] > j0 || own_hi[0] < j0 + N || own_hi[1] < j0 + N;
#pragma unroll
		for (int n = 0; CAP && n < N / 8; n++)
			for (int e = 0; e < 4; e++)
				x[n][e] = tanhf(x[n][e] * into_cap);
		if (edge) {
#pragma unroll
			for (int n = 0; n < N / 8; n++)
#pragma unroll
				for (int e = 0; e < 4; e++) {
					int j = j0 + n * 8 + (lane % 4) * 2 + (e & 1), r = e >> 1;

					if (j < own_lo[r] || j >= own_hi[r])
						x[n][e] = -INFINITY;
				}
		}
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float high = m[r], sum = 0, base;

#pragma unroll
			for (int n = 0; n < N / 8; n++)
				high = fmaxf(high, fmaxf(x[n][2 * r], x[n][2 * r + 1]));
			high = fmaxf(high, __shfl_xor_sync(~0u, high, 1));
			high = fmaxf(high, __shfl_xor_sync(~0u, high, 2));
			base = high > -INFINITY ? high * scale : 0;
			fix[r] = pt_exp2(m[r] * scale - base);
			m[r] = high;
#pragma unroll
			for (int n = 0; n < N / 8; n++) {
				x[n][2 * r] = pt_exp2(fmaf(x[n][2 * r], scale, -base));
				x[n][2 * r + 1] = pt_exp2(fmaf(x[n][2 * r + 1], scale, -base));
				sum += x[n][2 * r] + x[n][2 * r + 1];
			}
			l[r] = l[r] * fix[r] + sum;
		}
#pragma unroll
		for (int n = 0; n < D / 8; n++) {
			o[n][0] *= fix[0];
			o[n][1] *= fix[0];
			o[n][2] *= fix[1];
			o[n][3] *= fix[1];
		}
#pragma unroll
		for (int ks = 0; ks < N / 16; ks++) {
			uint32_t a[4] = { pt_pack(x[2 * ks][0], x[2 * ks][1]), pt_pack(x[2 * ks][2], x[2 * ks][3]),
					  pt_pack(x[2 * ks + 1][0], x[2 * ks + 1][1]),
					  pt_pack(x[2 * ks + 1][2], x[2 * ks + 1][3]) }, b[4];

#pragma unroll
			for (int n = 0; n < D / 16; n++) {
				pt_load_b<D>(b, sv + at, ks * 16, 2 * n);
				pt_mma(o[2 * n], a, b[0], b[1]);
				pt_mma(o[2 * n + 1], a, b[2], b[3]);
			}
		}
		__syncthreads();
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		int i = i0 + warp * 16 + lane / 4 + 8 * r;
		float inv;

		l[r] += __shfl_xor_sync(~0u, l[r], 1);
		l[r] += __shfl_xor_sync(~0u, l[r], 2);
		inv = l[r] == 0 ? 0 : 1 / l[r];
		if (i >= s.nq)
			continue;
#pragma unroll
		for (int n = 0; n < D / 8; n++) {
			int e = n * 8 + (lane % 4) * 2;

			if (e < d)
				*(uint32_t *)((pt_bf16 *)k.o + (s.q0 + i) * k.ldo + h * d + e) =
					pt_pack(o[n][2 * r] * inv, o[n][2 * r + 1] * inv);
		}
		if (k.lse && lane % 4 == 0)
			k.lse[h * k.nq + s.q0 + i] = l[r] == 0 ? -INFINITY : m[r] * scale / LOG2E + logf(l[r]);
	}
}

template <int D, int N> static void launch(struct pt_device *dev, const struct pt_attn_call *c)
{
	int longest = pt_attn_longest(c->k.host_cu_q, c->k.batch);
	dim3 grid(pt_grid(longest, ROWS), (unsigned)c->k.heads, (unsigned)c->k.batch);
	size_t shared = (size_t)(ROWS + 4 * N) * D * 2;

	if (c->k.softcap > 0) {
		cudaFuncSetAttribute(fwd<D, N, true>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
		fwd<D, N, true><<<grid, THREADS, shared, pt_cuda_stream(dev)>>>(*c);
	} else {
		cudaFuncSetAttribute(fwd<D, N, false>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
		fwd<D, N, false><<<grid, THREADS, shared, pt_cuda_stream(dev)>>>(*c);
	}
}

bool pt_cuda_attn_fwd_mma(struct pt_device *dev, const struct pt_attn_call *c)
{
	const struct pt_k_attn *k = &c->k;

	if (k->type != PT_BF16 || k->bias != PT_BIAS_NONE || k->prefixes || k->dropout > 0 || k->head_dim % 8 ||
	    !pt_attn_even(k->q, k->ldq) || !pt_attn_even(k->k, k->ldk) || !pt_attn_even(k->v, k->ldv) || !pt_attn_even(k->o, k->ldo))
		return false;
	if (k->head_dim <= 64)
		launch<64, 64>(dev, c);
	else if (k->head_dim <= 128)
		launch<128, 64>(dev, c);
	else
		launch<256, 32>(dev, c);
	return true;
}
