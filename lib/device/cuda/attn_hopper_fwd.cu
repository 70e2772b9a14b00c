/* SPDX-License-Identifier: MIT */
/*
 * attn_hopper_fwd.cu - attention forward on Hopper (Shah and others 2024,
 * "FlashAttention-3"): one warp fetches tiles of keys and values, groups of
 * four warps take 64 queries each; while a group makes the softmax of a tile
 * of scores, the product of the tile before with its values runs.
 */
#include "device/cuda/attn_hopper.h"

#include <math.h>

#define LOG2E 1.4426950408889634f

/* D: head size; W: groups of warps; N: keys of a tile. Bytes in shared memory. */
template <int D, int W, int N> struct area {
	static const int rows = 64 * W, threads = 128 * (W + 1);
	static const int q = rows * D * 2, tile = N * D * 2;
	static const int bars = q + 2 * PT_ATTN_STAGES * tile;
	static const int bytes = bars + 128 + 1024;	/* barriers; what aligning takes */
};

#ifdef PT_HOPPER

template <int D, int W, int N> static __device__ inline void fetch(const CUtensorMap *mq, const CUtensorMap *mk,
								   const CUtensorMap *mv, uint32_t base, struct pt_attn_bars b,
								   int q_row, int k_row, int q_col, int k_col, int tiles)
{
	using A = area<D, W, N>;

	pt_bar_expect(b.own, A::q);
	pt_attn_load<D, A::rows>(base, mq, q_col, q_row, b.own);
	for (int t = 0; t < tiles; t++) {
		int st = t % PT_ATTN_STAGES, old = (t / PT_ATTN_STAGES - 1) & 1;
		uint32_t sk = base + A::q + st * A::tile, sv = sk + PT_ATTN_STAGES * A::tile;

		if (t >= PT_ATTN_STAGES)
			pt_bar_wait(b.a_free + 8 * st, old);
		pt_bar_expect(b.a + 8 * st, A::tile);
		pt_attn_load<D, N>(sk, mk, k_col, k_row + t * N, b.a + 8 * st);
		if (t >= PT_ATTN_STAGES)
			pt_bar_wait(b.b_free + 8 * st, old);
		pt_bar_expect(b.b + 8 * st, A::tile);
		pt_attn_load<D, N>(sv, mv, k_col, k_row + t * N, b.b + 8 * st);
	}
}

/* x [64,N] = q k' */
template <int D, int N, int R> static __device__ inline void scores(float (&x)[N / 2], uint32_t sq, uint32_t sk)
{
	pt_wgmma_fence();
	pt_attn_rows<D, N, R>(x, sq, sk);
}

/* o [64,D] += p v */
template <int D, int N> static __device__ inline void values(float (&o)[D / 2], const uint32_t (&p)[N / 16][4], uint32_t sv)
{
	pt_wgmma_fence();
	pt_attn_add<D, N>(o, p, sv);
}

/* Scores of keys j0.. to their powers; m, l: largest so far and the sum; fix: by what sums before are multiplied. */
template <int N> static __device__ inline void softmax(float (&x)[N / 2], int j0, const int *lo, const int *hi, float scale,
						       float *m, float *l, float *fix)
{
	int lane = threadIdx.x % 32;

	if (lo[0] > j0 || lo[1] > j0 || hi[0] < j0 + N || hi[1] < j0 + N) {
#pragma unroll
		for (int i = 0; i < N / 2; i++) {
			int j = j0 + i / 4 * 8 + (lane % 4) * 2 + (i & 1), r = i >> 1 & 1;

			if (j < lo[r] || j >= hi[r])
				x[i] = -INFINITY;
		}
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		float high = m[r], sum = 0, base;

#pragma unroll
		for (int n = 0; n < N / 8; n++)
			high = fmaxf(high, fmaxf(x[4 * n + 2 * r], x[4 * n + 2 * r + 1]));
		high = fmaxf(high, __shfl_xor_sync(~0u, high, 1));
		high = fmaxf(high, __shfl_xor_sync(~0u, high, 2));
		base = high > -INFINITY ? high * scale : 0;
		fix[r] = pt_exp2(m[r] * scale - base);
		m[r] = high;
#pragma unroll
		for (int n = 0; n < N / 8; n++) {
			float a = pt_exp2(fmaf(x[4 * n + 2 * r], scale, -base));
			float b = pt_exp2(fmaf(x[4 * n + 2 * r + 1], scale, -base));

			x[4 * n + 2 * r] = a;
			x[4 * n + 2 * r + 1] = b;
			sum += a + b;
		}
		l[r] = l[r] * fix[r] + sum;
	}
}

/* A group's 64 rows to memory, by way of shared memory that no one reads any more: 16 bytes at once. */
template <int D> static __device__ inline void store(const struct pt_k_attn &k, const float (&o)[D / 2], const float *inv,
						     uint32_t tile, int panel, int64_t row, int64_t col, int rows)
{
	int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;

#pragma unroll
	for (int n = 0; n < D / 8; n++)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			int i = warp * 16 + lane / 4 + 8 * r;
			uint32_t at = tile + n / 8 * panel + i * 128 + ((n % 8) ^ (i & 7)) * 16 + lane % 4 * 4;
			uint32_t v = pt_pack(o[4 * n + 2 * r] * inv[r], o[4 * n + 2 * r + 1] * inv[r]);

			asm volatile("st.shared.b32 [%0], %1;" :: "r"(at), "r"(v) : "memory");
		}
	__syncwarp();
#pragma unroll
	for (int e = lane; e < 16 * (D / 8); e += 32) {
		int i = warp * 16 + e / (D / 8), c = e % (D / 8);
		uint32_t at = tile + c / 8 * panel + i * 128 + ((c % 8) ^ (i & 7)) * 16;
		uint4 v;

		asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at));
		if (i < rows)
			*(uint4 *)((pt_bf16 *)k.o + (row + i) * k.ldo + col + c * 8) = v;
	}
}

#endif

template <int D, int W, int N> __global__ __launch_bounds__(128 * (W + 1), 1)
static void fwd(const __grid_constant__ struct pt_attn_call c, const __grid_constant__ CUtensorMap mq,
		const __grid_constant__ CUtensorMap mk, const __grid_constant__ CUtensorMap mv)
{
#ifdef PT_HOPPER
	using A = area<D, W, N>;
	extern __shared__ char shared[];
	uint32_t base = (pt_shared(shared) + 1023) & ~1023u;
	struct pt_attn_bars b = pt_attn_bars_at(base + A::bars);
	const struct pt_k_attn &k = c.k;
	int h = blockIdx.x, g = h / (k.heads / k.kv_heads), i0 = (gridDim.z - 1 - blockIdx.z) * A::rows;
	struct pt_attn_seq s = pt_attn_seq_of(k, blockIdx.y);
	int lo, hi, unused, first, tiles;

	if (i0 >= s.nq)
		return;
	pt_attn_keys(k, s, i0, &lo, &unused);
	pt_attn_keys(k, s, min(i0 + A::rows, s.nq) - 1, &unused, &hi);
	first = lo / N * N;
	tiles = hi > first ? (hi - first + N - 1) / N : 0;
	pt_attn_bars_make(b, W, 1);
	if (threadIdx.x < 128) {
		pt_regs_less<pt_attn_regs<W>::fetch>();
		if (threadIdx.x == 0)
			fetch<D, W, N>(&mq, &mk, &mv, base, b, s.q0 + i0, s.k0 + first, h * D, g * D, tiles);
	} else {
		pt_regs_more<pt_attn_regs<W>::own>();
		int group = threadIdx.x / 128 - 1, lane = threadIdx.x % 32, own = i0 + group * 64;
		uint32_t sq = base + group * 64 * 128, sk = base + A::q, sv = sk + PT_ATTN_STAGES * A::tile;
		float o[D / 2], x[N / 2], m[2] = { -INFINITY, -INFINITY }, l[2] = { 0, 0 }, fix[2], inv[2];
		float scale = k.scale * LOG2E;
		uint32_t p[N / 16][4];
		int own_lo[2], own_hi[2];

		for (int r = 0; r < 2; r++) {
			int i = own + threadIdx.x / 32 % 4 * 16 + lane / 4 + 8 * r;

			pt_attn_keys(k, s, i, &own_lo[r], &own_hi[r]);
			if (i >= s.nq)
				own_hi[r] = 0;
		}
#pragma unroll
		for (int i = 0; i < D / 2; i++)
			o[i] = 0;
		pt_bar_wait(b.own, 0);
		if (tiles) {
			pt_bar_wait(b.a, 0);
			scores<D, N, A::rows>(x, sq, sk);
			pt_wgmma_wait<0>();
			if (lane == 0)
				pt_bar_arrive(b.a_free);
			softmax<N>(x, first, own_lo, own_hi, scale, m, l, fix);
			pt_attn_pack<N>(p, x);
		}
		for (int t = 1; t < tiles; t++) {
			int st = t % PT_ATTN_STAGES, old = (t - 1) % PT_ATTN_STAGES;

			pt_bar_wait(b.a + 8 * st, t / PT_ATTN_STAGES & 1);
			scores<D, N, A::rows>(x, sq, sk + st * A::tile);
			pt_bar_wait(b.b + 8 * old, (t - 1) / PT_ATTN_STAGES & 1);
			values<D, N>(o, p, sv + old * A::tile);
			pt_wgmma_wait<1>();
			if (lane == 0)
				pt_bar_arrive(b.a_free + 8 * st);
			softmax<N>(x, first + t * N, own_lo, own_hi, scale, m, l, fix);
			pt_wgmma_wait<0>();
			if (lane == 0)
				pt_bar_arrive(b.b_free + 8 * old);
#pragma unroll
			for (int i = 0; i < D / 2; i++)
				o[i] *= fix[i >> 1 & 1];
			pt_attn_pack<N>(p, x);
		}
		if (tiles) {
			pt_bar_wait(b.b + 8 * ((tiles - 1) % PT_ATTN_STAGES), (tiles - 1) / PT_ATTN_STAGES & 1);
			values<D, N>(o, p, sv + (tiles - 1) % PT_ATTN_STAGES * A::tile);
			pt_wgmma_wait<0>();
		}
		for (int r = 0; r < 2; r++) {
			int i = own + threadIdx.x / 32 % 4 * 16 + lane / 4 + 8 * r;

			l[r] += __shfl_xor_sync(~0u, l[r], 1);
			l[r] += __shfl_xor_sync(~0u, l[r], 2);
			inv[r] = l[r] == 0 ? 0 : 1 / l[r];
			if (k.lse && lane % 4 == 0 && i < s.nq)
				k.lse[h * k.nq + s.q0 + i] = l[r] == 0 ? -INFINITY : m[r] * scale / LOG2E + logf(l[r]);
		}
		/* Into the queries' place, rows that this group alone has read. */
		asm volatile("bar.sync %0, 128;" :: "r"(1 + group) : "memory");
		store<D>(k, o, inv, sq, A::rows * 128, s.q0 + own, h * D, s.nq - own);
	}
#endif
}

template <int D, int W, int N> static bool launch(struct pt_device *dev, const struct pt_attn_call *c)
{
	using A = area<D, W, N>;
	const struct pt_k_attn *k = &c->k;
	int64_t nq = k->host_cu_q[k->batch], nk = k->host_cu_k[k->batch];
	dim3 grid((unsigned)k->heads, (unsigned)k->batch, pt_grid(pt_attn_longest(k->host_cu_q, k->batch), A::rows));
	CUtensorMap q, kk, v;

	if (k->batch > 65535 || grid.z > 65535 || !pt_tiles(dev, &q, k->q, nq, (int64_t)k->heads * D, k->ldq, A::rows) ||
	    !pt_tiles(dev, &kk, k->k, nk, (int64_t)k->kv_heads * D, k->ldk, N) ||
	    !pt_tiles(dev, &v, k->v, nk, (int64_t)k->kv_heads * D, k->ldv, N))
		return false;
	cudaFuncSetAttribute(fwd<D, W, N>, cudaFuncAttributeMaxDynamicSharedMemorySize, A::bytes);
	fwd<D, W, N><<<grid, A::threads, A::bytes, pt_cuda_stream(dev)>>>(*c, q, kk, v);
	return true;
}

bool pt_cuda_attn_fwd_hopper(struct pt_device *dev, const struct pt_attn_call *c)
{
	return c->k.head_dim == 64 ? launch<64, 3, 128>(dev, c) : launch<128, 2, 128>(dev, c);
}
