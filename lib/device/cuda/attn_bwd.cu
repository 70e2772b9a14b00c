/* SPDX-License-Identifier: MIT */
/*
 * attn_bwd.cu - attention on tensor cores, backward: one kernel for the
 * gradients of keys and values (a block takes 128 keys, a warp 16 of them, and
 * goes through the queries that see them, head by head of the group), one for
 * those of queries. Scores are made twice; nothing is added to by two blocks,
 * so the order of sums is fixed. Over few keys the second looks at them a first
 * time for delta: from o, rounded, it would be off by more than all the rest.
 */
#include "device/cuda/attn.h"
#include "device/cuda/mma.h"

#include <math.h>

#define WARPS 8
#define ROWS (16 * WARPS)
#define THREADS (32 * WARPS)
#define LOG2E 1.4426950408889634f

/* delta = sum of do * o: a warp for each row and head. */
__global__ static void deltas(const __grid_constant__ struct pt_attn_call c)
{
	const struct pt_k_attn &k = c.k;
	int row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y;
	const pt_bf16 *o = (const pt_bf16 *)k.o + row * k.ldo + h * k.head_dim;
	const pt_bf16 *g = (const pt_bf16 *)k.doo + row * k.ldo + h * k.head_dim;
	float s = 0;

	if (row >= k.cu_q[k.batch])
		return;
	for (int e = lane * 2; e < k.head_dim; e += 64) {
		float2 a = __bfloat1622float2(*(const __nv_bfloat162 *)(o + e));
		float2 b = __bfloat1622float2(*(const __nv_bfloat162 *)(g + e));

		s += a.x * b.x + a.y * b.y;
	}
	s = pt_warp_sum(s);
	if (lane == 0)
		c.delta[h * k.nq + row] = s;
}

/* p from a product q k, and the factor that turns p (dp - delta) into the gradient of the product. */
template <bool CAP> static __device__ inline float prob(float x, float scale, float softcap, float lse2, float *slope)
{
	if (CAP) {
		float t = tanhf(x * scale / softcap);

		*slope = scale * (1 - t * t);
		return pt_exp2(fmaf(softcap * LOG2E, t, -lse2));
	}
	*slope = scale;
	return pt_exp2(fmaf(x, scale * LOG2E, -lse2));
}

static __device__ inline void store2(pt_bf16 *to, bool acc, float a, float b)
{
	if (acc) {
		float2 v = __bfloat1622float2(*(__nv_bfloat162 *)to);

		a += v.x;
		b += v.y;
	}
	*(uint32_t *)to = pt_pack(a, b);
}

/* M: queries of a tile. */
template <int D, int M, bool CAP> __global__ __launch_bounds__(THREADS, D <= 64 ? 2 : 1)
static void bwd_k(const __grid_constant__ struct pt_attn_call c)
{
	extern __shared__ char shared[];
	const struct pt_k_attn &k = c.k;
	uint32_t sk = pt_shared(shared), sv = sk + ROWS * D * 2, sq = sv + ROWS * D * 2, sg = sq + 2 * M * D * 2;
	float *stat = (float *)(shared + (2 * ROWS + 4 * M) * D * 2);	/* [2 tiles][lse, delta][M] */
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = blockIdx.y, group = k.heads / k.kv_heads;
	struct pt_attn_seq s = pt_attn_seq_of(k, blockIdx.z);
	int j0 = blockIdx.x * ROWS, d = k.head_dim, lo, hi, unused, first, per, total, own_lo[2], own_hi[2];
	float dk[D / 8][4], dv[D / 8][4];

	if (j0 >= s.nk)
		return;
	pt_attn_queries(k, s, j0, &lo, &unused);
	pt_attn_queries(k, s, min(j0 + ROWS, s.nk) - 1, &unused, &hi);
	first = lo / M * M;
	per = hi > first ? (hi - first + M - 1) / M : 0;
	total = per * group;
	for (int r = 0; r < 2; r++) {
		int j = j0 + warp * 16 + lane / 4 + 8 * r;

		pt_attn_queries(k, s, j, &own_lo[r], &own_hi[r]);
		if (j >= s.nk)
			own_hi[r] = 0;
	}
#pragma unroll
	for (int t = 0; t < D / 8; t++)
		for (int e = 0; e < 4; e++)
			dk[t][e] = dv[t][e] = 0;
	auto fetch = [&](int t) {
		int h = g * group + t / per, i0 = first + t % per * M, at = (t & 1) * M * D * 2;
		int64_t row = s.q0 + i0;
		float *st = stat + (t & 1) * 2 * M;

		pt_load_tile<D, M, THREADS>(sq + at, (const pt_bf16 *)k.q + row * k.ldq + h * d, k.ldq, s.nq - i0, d);
		pt_load_tile<D, M, THREADS>(sg + at, (const pt_bf16 *)k.doo + row * k.ldo + h * d, k.ldo, s.nq - i0, d);
		if (threadIdx.x < M) {
			bool in = i0 + (int)threadIdx.x < s.nq;

			st[threadIdx.x] = in ? k.lse[h * k.nq + row + threadIdx.x] * LOG2E : 0;
			st[M + threadIdx.x] = in ? c.delta[h * k.nq + row + threadIdx.x] : 0;
		}
	};
	pt_load_tile<D, ROWS, THREADS>(sk, (const pt_bf16 *)k.k + (s.k0 + j0) * k.ldk + g * d, k.ldk, s.nk - j0, d);
	pt_load_tile<D, ROWS, THREADS>(sv, (const pt_bf16 *)k.v + (s.k0 + j0) * k.ldv + g * d, k.ldv, s.nk - j0, d);
	if (total)
		fetch(0);
	pt_cp_commit();
	for (int t = 0; t < total; t++) {
		int i0 = first + t % per * M, at = (t & 1) * M * D * 2;
		const float *st = stat + (t & 1) * 2 * M;
		float x[M / 8][4], y[M / 8][4];
		bool edge = own_lo[0] > i0 || own_lo[1] > i0 || own_hi[0] < i0 + M || own_hi[1] < i0 + M;

		if (t + 1 < total)
			fetch(t + 1);
		pt_cp_commit();
		pt_cp_wait<1>();
		__syncthreads();
#pragma unroll
		for (int n = 0; n < M / 8; n++)
			for (int e = 0; e < 4; e++)
				x[n][e] = y[n][e] = 0;
#pragma unroll
		for (int ks = 0; ks < D / 16; ks++) {
			uint32_t a[4], v[4], b[4];

			pt_load_a<D>(a, sk, warp * 16, ks);
			pt_load_a<D>(v, sv, warp * 16, ks);
#pragma unroll
			for (int n = 0; n < M / 16; n++) {
				pt_load_bt<D>(b, sq + at, n * 16, ks);
				pt_mma(x[2 * n], a, b[0], b[1]);
				pt_mma(x[2 * n + 1], a, b[2], b[3]);
				pt_load_bt<D>(b, sg + at, n * 16, ks);
				pt_mma(y[2 * n], v, b[0], b[1]);
				pt_mma(y[2 * n + 1], v, b[2], b[3]);
			}
		}
#pragma unroll
		for (int n = 0; n < M / 8; n++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				int i = n * 8 + (lane % 4) * 2 + (e & 1);
				float slope, p = prob<CAP>(x[n][e], k.scale, k.softcap, st[i], &slope);

				x[n][e] = p;
				y[n][e] = p * (y[n][e] - st[M + i]) * slope;
			}
		if (edge) {
#pragma unroll
			for (int n = 0; n < M / 8; n++)
#pragma unroll
				for (int e = 0; e < 4; e++) {
					int i = i0 + n * 8 + (lane % 4) * 2 + (e & 1), r = e >> 1;

					if (i < own_lo[r] || i >= own_hi[r])
						x[n][e] = y[n][e] = 0;
				}
		}
#pragma unroll
		for (int ks = 0; ks < M / 16; ks++) {
			uint32_t p[4] = { pt_pack(x[2 * ks][0], x[2 * ks][1]), pt_pack(x[2 * ks][2], x[2 * ks][3]),
					  pt_pack(x[2 * ks + 1][0], x[2 * ks + 1][1]),
					  pt_pack(x[2 * ks + 1][2], x[2 * ks + 1][3]) };
			uint32_t q[4] = { pt_pack(y[2 * ks][0], y[2 * ks][1]), pt_pack(y[2 * ks][2], y[2 * ks][3]),
					  pt_pack(y[2 * ks + 1][0], y[2 * ks + 1][1]),
					  pt_pack(y[2 * ks + 1][2], y[2 * ks + 1][3]) };
			uint32_t b[4];

#pragma unroll
			for (int n = 0; n < D / 16; n++) {
				pt_load_b<D>(b, sg + at, ks * 16, 2 * n);
				pt_mma(dv[2 * n], p, b[0], b[1]);
				pt_mma(dv[2 * n + 1], p, b[2], b[3]);
				pt_load_b<D>(b, sq + at, ks * 16, 2 * n);
				pt_mma(dk[2 * n], q, b[0], b[1]);
				pt_mma(dk[2 * n + 1], q, b[2], b[3]);
			}
		}
		__syncthreads();
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		int j = j0 + warp * 16 + lane / 4 + 8 * r;

		if (j >= s.nk)
			continue;
#pragma unroll
		for (int n = 0; n < D / 8; n++) {
			int e = n * 8 + (lane % 4) * 2;

			if (e >= d)
				continue;
			if (k.dk)
				store2((pt_bf16 *)k.dk + (s.k0 + j) * k.ldk + g * d + e, k.acc_dk, dk[n][2 * r],
				       dk[n][2 * r + 1]);
			if (k.dv)
				store2((pt_bf16 *)k.dv + (s.k0 + j) * k.ldv + g * d + e, k.acc_dv, dv[n][2 * r],
				       dv[n][2 * r + 1]);
		}
	}
}

/* Products of a warp's 16 rows of q and g with a tile of keys and values. */
template <int D, int N> static __device__ inline void look(float (&x)[N / 8][4], float (&y)[N / 8][4], uint32_t sq, uint32_t sg,
							   uint32_t sk, uint32_t sv)
{
	int warp = threadIdx.x / 32;

#pragma unroll
	for (int n = 0; n < N / 8; n++)
		for (int e = 0; e < 4; e++)
			x[n][e] = y[n][e] = 0;
#pragma unroll
	for (int ks = 0; ks < D / 16; ks++) {
		uint32_t a[4], v[4], b[4];

		pt_load_a<D>(a, sq, warp * 16, ks);
		pt_load_a<D>(v, sg, warp * 16, ks);
#pragma unroll
		for (int n = 0; n < N / 16; n++) {
			pt_load_bt<D>(b, sk, n * 16, ks);
			pt_mma(x[2 * n], a, b[0], b[1]);
			pt_mma(x[2 * n + 1], a, b[2], b[3]);
			pt_load_bt<D>(b, sv, n * 16, ks);
			pt_mma(y[2 * n], v, b[0], b[1]);
			pt_mma(y[2 * n + 1], v, b[2], b[3]);
		}
	}
}

/* N: keys of a tile; EXACT: a first round over the tiles sums delta. */
template <int D, int N, bool CAP, bool EXACT> __global__ __launch_bounds__(THREADS, D <= 64 ? 2 : 1)
static void bwd_q(const __grid_constant__ struct pt_attn_call c)
{
	extern __shared__ char shared[];
	const struct pt_k_attn &k = c.k;
	uint32_t sq = pt_shared(shared), sg = sq + ROWS * D * 2, sk = sg + ROWS * D * 2, sv = sk + 2 * N * D * 2;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y, g = h / (k.heads / k.kv_heads);
	struct pt_attn_seq s = pt_attn_seq_of(k, blockIdx.z);
	int i0 = (gridDim.x - 1 - blockIdx.x) * ROWS, d = k.head_dim, lo, hi, unused, first, tiles, own_lo[2], own_hi[2];
	const pt_bf16 *kb = (const pt_bf16 *)k.k + s.k0 * k.ldk + g * d, *vb = (const pt_bf16 *)k.v + s.k0 * k.ldv + g * d;
	float dq[D / 8][4], lse[2], delta[2], sum[2] = { 0, 0 }, dots[2] = { 0, 0 };

	if (i0 >= s.nq)
		return;
	pt_attn_keys(k, s, i0, &lo, &unused);
	pt_attn_keys(k, s, min(i0 + ROWS, s.nq) - 1, &unused, &hi);
	first = lo / N * N;
	tiles = hi > first ? (hi - first + N - 1) / N : 0;
	for (int r = 0; r < 2; r++) {
		int i = i0 + warp * 16 + lane / 4 + 8 * r;
		bool in = i < s.nq;

		pt_attn_keys(k, s, i, &own_lo[r], &own_hi[r]);
		if (!in)
			own_hi[r] = 0;
		lse[r] = in ? k.lse[h * k.nq + s.q0 + i] * LOG2E : 0;
		delta[r] = in && !EXACT ? c.delta[h * k.nq + s.q0 + i] : 0;
	}
#pragma unroll
	for (int t = 0; t < D / 8; t++)
		for (int e = 0; e < 4; e++)
			dq[t][e] = 0;
	pt_load_tile<D, ROWS, THREADS>(sq, (const pt_bf16 *)k.q + (s.q0 + i0) * k.ldq + h * d, k.ldq, s.nq - i0, d);
	pt_load_tile<D, ROWS, THREADS>(sg, (const pt_bf16 *)k.doo + (s.q0 + i0) * k.ldo + h * d, k.ldo, s.nq - i0, d);
	if (tiles) {
		pt_load_tile<D, N, THREADS>(sk, kb + first * k.ldk, k.ldk, s.nk - first, d);
		pt_load_tile<D, N, THREADS>(sv, vb + first * k.ldv, k.ldv, s.nk - first, d);
	}
	pt_cp_commit();
	for (int t = EXACT ? -tiles : 0, step = 0; t < tiles; t++, step++) {
		int tile = t < 0 ? t + tiles : t, j0 = first + tile * N, at = (step & 1) * N * D * 2;
		float x[N / 8][4], y[N / 8][4];
		bool edge = own_lo[0] > j0 || own_lo[1] > j0 || own_hi[0] < j0 + N || own_hi[1] < j0 + N;

		if (t + 1 < tiles) {
			int next = first + (tile + 1) % tiles * N, to = ((step + 1) & 1) * N * D * 2;

			pt_load_tile<D, N, THREADS>(sk + to, kb + next * k.ldk, k.ldk, s.nk - next, d);
			pt_load_tile<D, N, THREADS>(sv + to, vb + next * k.ldv, k.ldv, s.nk - next, d);
		}
		pt_cp_commit();
		pt_cp_wait<1>();
		__syncthreads();
		look<D, N>(x, y, sq, sg, sk + at, sv + at);
#pragma unroll
		for (int n = 0; n < N / 8; n++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				int r = e >> 1;
				float slope, p = prob<CAP>(x[n][e], k.scale, k.softcap, lse[r], &slope);

				x[n][e] = p;
				y[n][e] = t < 0 ? p * y[n][e] : p * (y[n][e] - delta[r]) * slope;
			}
		if (edge) {
#pragma unroll
			for (int n = 0; n < N / 8; n++)
#pragma unroll
				for (int e = 0; e < 4; e++) {
					int j = j0 + n * 8 + (lane % 4) * 2 + (e & 1), r = e >> 1;

					if (j < own_lo[r] || j >= own_hi[r])
						x[n][e] = y[n][e] = 0;
				}
		}
		if (EXACT && t < 0) {
			for (int r = 0; r < 2; r++) {
#pragma unroll
				for (int n = 0; n < N / 8; n++) {
					sum[r] += x[n][2 * r] + x[n][2 * r + 1];
					dots[r] += y[n][2 * r] + y[n][2 * r + 1];
				}
				if (t < -1)
					continue;
				for (int o = 1; o < 4; o *= 2) {
					sum[r] += __shfl_xor_sync(~0u, sum[r], o);
					dots[r] += __shfl_xor_sync(~0u, dots[r], o);
				}
				delta[r] = sum[r] > 0 ? dots[r] / sum[r] : 0;
			}
			__syncthreads();
			continue;
		}
#pragma unroll
		for (int ks = 0; ks < N / 16; ks++) {
			uint32_t q[4] = { pt_pack(y[2 * ks][0], y[2 * ks][1]), pt_pack(y[2 * ks][2], y[2 * ks][3]),
					  pt_pack(y[2 * ks + 1][0], y[2 * ks + 1][1]),
					  pt_pack(y[2 * ks + 1][2], y[2 * ks + 1][3]) }, b[4];

#pragma unroll
			for (int n = 0; n < D / 16; n++) {
				pt_load_b<D>(b, sk + at, ks * 16, 2 * n);
				pt_mma(dq[2 * n], q, b[0], b[1]);
				pt_mma(dq[2 * n + 1], q, b[2], b[3]);
			}
		}
		__syncthreads();
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		int i = i0 + warp * 16 + lane / 4 + 8 * r;

		if (i >= s.nq)
			continue;
		if (EXACT && lane % 4 == 0)
			c.delta[h * k.nq + s.q0 + i] = delta[r];
#pragma unroll
		for (int n = 0; n < D / 8; n++) {
			int e = n * 8 + (lane % 4) * 2;

			if (e < d && k.dq)
				store2((pt_bf16 *)k.dq + (s.q0 + i) * k.ldq + h * d + e, k.acc_dq, dq[n][2 * r],
				       dq[n][2 * r + 1]);
		}
	}
}

template <int D, int M, int N, bool CAP> static void launch(struct pt_device *dev, const struct pt_attn_call *c)
{
	const struct pt_k_attn *k = &c->k;
	int queries = pt_attn_longest(k->host_cu_q, k->batch), keys = pt_attn_longest(k->host_cu_k, k->batch);
	size_t for_k = (size_t)(2 * ROWS + 4 * M) * D * 2 + 4 * M * sizeof(float), for_q = (size_t)(2 * ROWS + 4 * N) * D * 2;
	void (*fn)(struct pt_attn_call) = c->exact ? bwd_q<D, N, CAP, true> : bwd_q<D, N, CAP, false>;
	cudaStream_t s = pt_cuda_stream(dev);

	if (!queries && !keys)
		return;
	cudaFuncSetAttribute(bwd_k<D, M, CAP>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)for_k);
	cudaFuncSetAttribute(fn, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)for_q);
	if (queries && !c->exact)
		deltas<<<dim3(pt_grid(k->host_cu_q[k->batch], WARPS), (unsigned)k->heads), THREADS, 0, s>>>(*c);
	if (queries && (k->dq || c->exact))
		fn<<<dim3(pt_grid(queries, ROWS), (unsigned)k->heads, (unsigned)k->batch), THREADS, for_q, s>>>(*c);
	if (keys && (k->dk || k->dv))
		bwd_k<D, M, CAP><<<dim3(pt_grid(keys, ROWS), (unsigned)k->kv_heads, (unsigned)k->batch), THREADS, for_k,
				   s>>>(*c);
}

bool pt_cuda_attn_bwd_mma(struct pt_device *dev, const struct pt_attn_call *c)
{
	const struct pt_k_attn *k = &c->k;

	if (k->type != PT_BF16 || k->bias != PT_BIAS_NONE || k->prefixes || k->dropout > 0 || k->head_dim % 8 ||
	    k->head_dim > 128 || !pt_attn_even(k->q, k->ldq) || !pt_attn_even(k->k, k->ldk) || !pt_attn_even(k->v, k->ldv) ||
	    !pt_attn_even(k->doo, k->ldo) || !pt_attn_even(k->o, k->ldo))
		return false;
	if (k->head_dim <= 64 && k->softcap > 0)
		launch<64, 32, 32, true>(dev, c);
	else if (k->head_dim <= 64)
		launch<64, 32, 32, false>(dev, c);
	else if (k->softcap > 0)
		launch<128, 32, 64, true>(dev, c);
	else
		launch<128, 32, 64, false>(dev, c);
	return true;
}
