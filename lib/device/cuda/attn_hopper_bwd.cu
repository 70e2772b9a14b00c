/* SPDX-License-Identifier: MIT */
/*
 * attn_hopper_bwd.cu - attention backward on Hopper. As in attn_bwd.cu one
 * kernel makes the gradients of keys and values, one those of queries; no two
 * blocks add to the same numbers, so the order of sums is fixed. Scores of the
 * first stand with keys in rows, so that powers and their gradients go from
 * registers into the next products in both.
 */
#include "device/cuda/attn_hopper.h"

#include <math.h>

#define LOG2E 1.4426950408889634f
#define DELTAS 256			/* threads of a block */

/*
 * D: head size; W: groups of four warps, 64 rows each, whose gradients stay in
 * registers; N: rows of a tile of the others that go by. Bytes in shared memory.
 */
template <int D, int W, int N> struct area {
	static const int rows = 64 * W, threads = 128 * (W + 1);
	static const int own = rows * D * 2, tile = N * D * 2;
	static const int stat = 2 * own + 2 * PT_ATTN_STAGES * tile;	/* [stages][lse, delta][N] */
	static const int bars = stat + PT_ATTN_STAGES * 2 * N * 4;
	static const int bytes = bars + 128 + 1024;		/* barriers; what aligning takes */
};

/* delta = sum of do * o, and lse to the base of 2 in its place: D/8 threads for each row and head. */
template <int D> __global__ static void deltas(const __grid_constant__ struct pt_attn_call c)
{
	const struct pt_k_attn &k = c.k;
	int64_t i = (blockIdx.x * (int64_t)DELTAS + threadIdx.x) / (D / 8), row = i / k.heads;
	int h = (int)(i % k.heads), piece = threadIdx.x % (D / 8);
	bool in = row < k.cu_q[k.batch];
	float s = 0;

	if (in) {
		pt_vec<pt_bf16, 8> a = *(const pt_vec<pt_bf16, 8> *)((const pt_bf16 *)k.o + row * k.ldo + h * D + piece * 8);
		pt_vec<pt_bf16, 8> b = *(const pt_vec<pt_bf16, 8> *)((const pt_bf16 *)k.doo + row * k.ldo + h * D + piece * 8);

#pragma unroll
		for (int e = 0; e < 8; e++)
			s += pt_f(a.e[e]) * pt_f(b.e[e]);
	}
	for (int o = D / 16; o; o >>= 1)
		s += __shfl_xor_sync(~0u, s, o);
	if (in && piece == 0)
		c.delta[h * k.nq + row] = s;
}

#ifdef PT_HOPPER

static __device__ inline bool at_edge(const int *lo, const int *hi, int from, int n)
{
	return lo[0] > from || lo[1] > from || hi[0] < from + n || hi[1] < from + n;
}

/* Numbers of the tile from row from on that own rows have nothing to do with are zero. */
template <int N> static __device__ inline void mask(float (&x)[N / 2], const int *lo, const int *hi, int from)
{
	int lane = threadIdx.x % 32;

#pragma unroll
	for (int i = 0; i < N / 2; i++) {
		int j = from + i / 4 * 8 + (lane % 4) * 2 + (i & 1), r = i >> 1 & 1;

		if (j < lo[r] || j >= hi[r])
			x[i] = 0;
	}
}

/* One row of a thread back from its rotation. */
template <int D> static __device__ inline void turn_back(const struct pt_attn_turn &t, int64_t row, int r, float (&d)[D / 2])
{
	int64_t from = t.pos[row] * (int64_t)(D / 2) + threadIdx.x % 4 * 2;

#pragma unroll
	for (int n = 0; n < D / 16; n++) {
		float2 c = *(const float2 *)(t.cos + from + n * 8), s = *(const float2 *)(t.sin + from + n * 8);

#pragma unroll
		for (int e = 0; e < 2; e++) {
			float &x = d[4 * n + 2 * r + e], &y = d[4 * (n + D / 16) + 2 * r + e];
			float p = x, ce = e ? c.y : c.x, se = e ? s.y : s.x;

			x = p * ce + y * se;
			y = y * ce - p * se;
		}
	}
}

/* A group's 64 gradients to memory, where row is the first of them; rows: how many are there. */
template <int D> static __device__ inline void store(pt_bf16 *to, int64_t ld, int64_t row, int rows, bool acc,
						     const struct pt_attn_turn &turn, float (&d)[D / 2])
{
	int lane = threadIdx.x % 32, first = threadIdx.x / 32 % 4 * 16 + lane / 4;

#pragma unroll
	for (int r = 0; r < 2; r++) {
		pt_bf16 *p = to + (row + first + 8 * r) * ld + lane % 4 * 2;

		if (first + 8 * r >= rows)
			continue;
		if (turn.cos)
			turn_back<D>(turn, row + first + 8 * r, r, d);
#pragma unroll
		for (int n = 0; n < D / 8; n++) {
			float a = d[4 * n + 2 * r], b = d[4 * n + 2 * r + 1];

			if (acc) {
				float2 v = __bfloat1622float2(*(__nv_bfloat162 *)(p + n * 8));

				a += v.x;
				b += v.y;
			}
			*(uint32_t *)(p + n * 8) = pt_pack(a, b);
		}
	}
}

#endif

/* Own rows are keys; queries go by, head by head of the group. */
template <int D, int W, int N> __global__ __launch_bounds__(128 * (W + 1), 1)
static void bwd_k(const __grid_constant__ struct pt_attn_call c, const __grid_constant__ CUtensorMap mq,
		  const __grid_constant__ CUtensorMap mg, const __grid_constant__ CUtensorMap mk,
		  const __grid_constant__ CUtensorMap mv)
{
#ifdef PT_HOPPER
	using A = area<D, W, N>;
	/* Threads that read tiles, lse and delta, and the warp that brings the next: a stage is free when they met. */
	const int ALL = 128 * W + 32;
	extern __shared__ char shared[];
	uint32_t pad = -pt_shared(shared) & 1023, base = pt_shared(shared) + pad;
	uint32_t sk = base, sv = sk + A::own, sq = sv + A::own, sg = sq + PT_ATTN_STAGES * A::tile;
	float *stat = (float *)(shared + pad + A::stat);
	struct pt_attn_bars b = pt_attn_bars_at(base + A::bars);
	const struct pt_k_attn &k = c.k;
	int g = blockIdx.x, group = k.heads / k.kv_heads, j0 = blockIdx.z * A::rows, lo, hi, unused, first, per, total;
	struct pt_attn_seq s = pt_attn_seq_of(k, blockIdx.y);

	if (j0 >= s.nk)
		return;
	pt_attn_queries(k, s, j0, &lo, &unused);
	pt_attn_queries(k, s, min(j0 + A::rows, s.nk) - 1, &unused, &hi);
	first = lo / N * N;
	per = hi > first ? (hi - first + N - 1) / N : 0;
	total = per * group;
	/* Of a warp each thread writes lse and delta. */
	pt_attn_bars_make(b, W, 32);
	if (threadIdx.x < 128) {
		pt_regs_less<pt_attn_regs<W>::fetch>();
		if (threadIdx.x >= 32)
			return;
		if (threadIdx.x == 0) {
			pt_bar_expect(b.own, 2 * A::own);
			pt_attn_load<D, A::rows>(sk, &mk, g * D, s.k0 + j0, b.own);
			pt_attn_load<D, A::rows>(sv, &mv, g * D, s.k0 + j0, b.own);
		}
		for (int t = 0; t < total; t++) {
			int h = g * group + t / per, i0 = first + t % per * N, st = t % PT_ATTN_STAGES;
			float lse[N / 32], delta[N / 32];

#pragma unroll
			for (int e = 0; e < N / 32; e++) {
				int i = i0 + e * 32 + threadIdx.x;
				bool in = i < s.nq;

				lse[e] = in ? k.lse[h * k.nq + s.q0 + i] * LOG2E : 0;
				delta[e] = in ? c.delta[h * k.nq + s.q0 + i] : 0;
			}
			if (t >= PT_ATTN_STAGES)
				pt_meet(1 + st, ALL);
#pragma unroll
			for (int e = 0; e < N / 32; e++) {
				stat[st * 2 * N + e * 32 + threadIdx.x] = lse[e];
				stat[st * 2 * N + N + e * 32 + threadIdx.x] = delta[e];
			}
			if (threadIdx.x) {
				pt_bar_arrive(b.a + 8 * st);
			} else {
				pt_bar_expect(b.a + 8 * st, 2 * A::tile);
				pt_attn_load<D, N>(sq + st * A::tile, &mq, h * D, s.q0 + i0, b.a + 8 * st);
				pt_attn_load<D, N>(sg + st * A::tile, &mg, h * D, s.q0 + i0, b.a + 8 * st);
			}
			__syncwarp();
		}
	} else {
		pt_regs_more<pt_attn_regs<W>::own>();
		int w = threadIdx.x / 128 - 1, lane = threadIdx.x % 32, own = j0 + w * 64, own_lo[2], own_hi[2];
		uint32_t ok = sk + w * 64 * 128, ov = sv + w * 64 * 128;
		float dk[D / 2], dv[D / 2], x[N / 2], y[N / 2];
		uint32_t p[N / 16][4], q[N / 16][4];

		for (int r = 0; r < 2; r++) {
			int j = own + threadIdx.x / 32 % 4 * 16 + lane / 4 + 8 * r;

			pt_attn_queries(k, s, j, &own_lo[r], &own_hi[r]);
			if (j >= s.nk)
				own_hi[r] = 0;
		}
#pragma unroll
		for (int i = 0; i < D / 2; i++)
			dk[i] = dv[i] = 0;
		pt_bar_wait(b.own, 0);
		for (int t = 0; t < total; t++) {
			int i0 = first + t % per * N, st = t % PT_ATTN_STAGES;
			const float *lse = stat + st * 2 * N + lane % 4 * 2, *delta = lse + N;
			uint32_t tq = sq + st * A::tile, tg = sg + st * A::tile;
			bool edge = at_edge(own_lo, own_hi, i0, N);

			pt_bar_wait(b.a + 8 * st, t / PT_ATTN_STAGES & 1);
			pt_wgmma_fence();
			pt_attn_rows<D, N, A::rows>(x, ok, tq);
			pt_attn_rows<D, N, A::rows>(y, ov, tg);
			pt_wgmma_wait<1>();
#pragma unroll
			for (int i = 0; i < N / 2; i++)
				x[i] = pt_exp2(fmaf(x[i], k.scale * LOG2E, -lse[i / 4 * 8 + (i & 1)]));
			if (edge)
				mask<N>(x, own_lo, own_hi, i0);
			pt_attn_pack<N>(p, x);
			pt_wgmma_wait<0>();
			pt_wgmma_fence();
			pt_attn_add<D, N>(dv, p, tg);
#pragma unroll
			for (int i = 0; i < N / 2; i++)
				y[i] = x[i] * (y[i] - delta[i / 4 * 8 + (i & 1)]) * k.scale;
			pt_attn_pack<N>(q, y);
			pt_wgmma_fence();
			pt_attn_add<D, N>(dk, q, tq);
			pt_wgmma_wait<0>();
			if (t + PT_ATTN_STAGES < total)
				pt_meet_on(1 + st, ALL);
		}
		if (k.dk)
			store<D>((pt_bf16 *)k.dk + g * D, k.ldk, s.k0 + own, s.nk - own, k.acc_dk, c.turn_k, dk);
		if (k.dv)
			store<D>((pt_bf16 *)k.dv + g * D, k.ldv, s.k0 + own, s.nk - own, k.acc_dv, pt_attn_turn(), dv);
	}
#endif
}

/* Own rows are queries; keys go by. */
template <int D, int W, int N> __global__ __launch_bounds__(128 * (W + 1), 1)
static void bwd_q(const __grid_constant__ struct pt_attn_call c, const __grid_constant__ CUtensorMap mq,
		  const __grid_constant__ CUtensorMap mg, const __grid_constant__ CUtensorMap mk,
		  const __grid_constant__ CUtensorMap mv)
{
#ifdef PT_HOPPER
	using A = area<D, W, N>;
	extern __shared__ char shared[];
	uint32_t base = (pt_shared(shared) + 1023) & ~1023u;
	uint32_t sq = base, sg = sq + A::own, sk = sg + A::own, sv = sk + PT_ATTN_STAGES * A::tile;
	struct pt_attn_bars b = pt_attn_bars_at(base + A::bars);
	const struct pt_k_attn &k = c.k;
	int h = blockIdx.x, g = h / (k.heads / k.kv_heads), i0 = (gridDim.z - 1 - blockIdx.z) * A::rows;
	int lo, hi, unused, first, tiles;
	struct pt_attn_seq s = pt_attn_seq_of(k, blockIdx.y);

	if (i0 >= s.nq)
		return;
	pt_attn_keys(k, s, i0, &lo, &unused);
	pt_attn_keys(k, s, min(i0 + A::rows, s.nq) - 1, &unused, &hi);
	first = lo / N * N;
	tiles = hi > first ? (hi - first + N - 1) / N : 0;
	pt_attn_bars_make(b, W, 1);
	if (threadIdx.x < 128) {
		pt_regs_less<pt_attn_regs<W>::fetch>();
		if (threadIdx.x)
			return;
		pt_bar_expect(b.own, 2 * A::own);
		pt_attn_load<D, A::rows>(sq, &mq, h * D, s.q0 + i0, b.own);
		pt_attn_load<D, A::rows>(sg, &mg, h * D, s.q0 + i0, b.own);
		for (int t = 0; t < tiles; t++) {
			int st = t % PT_ATTN_STAGES, row = s.k0 + first + t * N, old = (t / PT_ATTN_STAGES - 1) & 1;

			if (t >= PT_ATTN_STAGES)
				pt_bar_wait(b.a_free + 8 * st, old);
			pt_bar_expect(b.a + 8 * st, A::tile);
			pt_attn_load<D, N>(sk + st * A::tile, &mk, g * D, row, b.a + 8 * st);
			if (t >= PT_ATTN_STAGES)
				pt_bar_wait(b.b_free + 8 * st, old);
			pt_bar_expect(b.b + 8 * st, A::tile);
			pt_attn_load<D, N>(sv + st * A::tile, &mv, g * D, row, b.b + 8 * st);
		}
	} else {
		pt_regs_more<pt_attn_regs<W>::own>();
		int w = threadIdx.x / 128 - 1, lane = threadIdx.x % 32, own = i0 + w * 64, own_lo[2], own_hi[2];
		uint32_t oq = sq + w * 64 * 128, og = sg + w * 64 * 128;
		float dq[D / 2], x[N / 2], y[N / 2], lse[2], delta[2];
		uint32_t p[N / 16][4];

		for (int r = 0; r < 2; r++) {
			int i = own + threadIdx.x / 32 % 4 * 16 + lane / 4 + 8 * r;
			bool in = i < s.nq;

			pt_attn_keys(k, s, i, &own_lo[r], &own_hi[r]);
			if (!in)
				own_hi[r] = 0;
			lse[r] = in ? k.lse[h * k.nq + s.q0 + i] * LOG2E : 0;
			delta[r] = in ? c.delta[h * k.nq + s.q0 + i] : 0;
		}
#pragma unroll
		for (int i = 0; i < D / 2; i++)
			dq[i] = 0;
		pt_bar_wait(b.own, 0);
		for (int t = 0; t < tiles; t++) {
			int j0 = first + t * N, st = t % PT_ATTN_STAGES;
			bool edge = at_edge(own_lo, own_hi, j0, N);

			pt_bar_wait(b.a + 8 * st, t / PT_ATTN_STAGES & 1);
			pt_wgmma_fence();
			pt_attn_rows<D, N, A::rows>(x, oq, sk + st * A::tile);
			pt_bar_wait(b.b + 8 * st, t / PT_ATTN_STAGES & 1);
			pt_wgmma_fence();
			pt_attn_rows<D, N, A::rows>(y, og, sv + st * A::tile);
			pt_wgmma_wait<1>();
#pragma unroll
			for (int i = 0; i < N / 2; i++)
				x[i] = pt_exp2(fmaf(x[i], k.scale * LOG2E, -lse[i >> 1 & 1]));
			pt_wgmma_wait<0>();
			if (lane == 0)
				pt_bar_arrive(b.b_free + 8 * st);
#pragma unroll
			for (int i = 0; i < N / 2; i++)
				y[i] = x[i] * (y[i] - delta[i >> 1 & 1]) * k.scale;
			if (edge)
				mask<N>(y, own_lo, own_hi, j0);
			pt_attn_pack<N>(p, y);
			pt_wgmma_fence();
			pt_attn_add<D, N>(dq, p, sk + st * A::tile);
			pt_wgmma_wait<0>();
			if (lane == 0)
				pt_bar_arrive(b.a_free + 8 * st);
		}
		store<D>((pt_bf16 *)k.dq + h * D, k.ldq, s.q0 + own, s.nq - own, k.acc_dq, c.turn_q, dq);
	}
#endif
}

/* Tensor maps of the four inputs, the queries' with boxes of q rows, the keys' with boxes of kv rows. */
struct maps {
	CUtensorMap q, g, k, v;
};

static bool maps_make(struct pt_device *dev, const struct pt_k_attn *k, struct maps *m, int q, int kv)
{
	int64_t d = k->head_dim, nq = k->host_cu_q[k->batch], nk = k->host_cu_k[k->batch];

	return pt_tiles(dev, &m->q, k->q, nq, k->heads * d, k->ldq, q) &&
	       pt_tiles(dev, &m->g, k->doo, nq, k->heads * d, k->ldo, q) &&
	       pt_tiles(dev, &m->k, k->k, nk, k->kv_heads * d, k->ldk, kv) &&
	       pt_tiles(dev, &m->v, k->v, nk, k->kv_heads * d, k->ldv, kv);
}

/* WK, NK: of bwd_k; WQ, NQ: of bwd_q. */
template <int D, int WK, int NK, int WQ, int NQ> static bool launch(struct pt_device *dev, const struct pt_attn_call *c)
{
	using K = area<D, WK, NK>;
	using Q = area<D, WQ, NQ>;
	const struct pt_k_attn *k = &c->k;
	int64_t nq = k->host_cu_q[k->batch];
	dim3 keys((unsigned)k->kv_heads, (unsigned)k->batch, pt_grid(pt_attn_longest(k->host_cu_k, k->batch), K::rows));
	dim3 queries((unsigned)k->heads, (unsigned)k->batch, pt_grid(pt_attn_longest(k->host_cu_q, k->batch), Q::rows));
	cudaStream_t s = pt_cuda_stream(dev);
	struct maps m, mq;

	if (k->batch > 65535 || keys.z > 65535 || queries.z > 65535 || !maps_make(dev, k, &m, NK, K::rows) ||
	    (k->dq && !maps_make(dev, k, &mq, Q::rows, NQ)))
		return false;
	cudaFuncSetAttribute(bwd_k<D, WK, NK>, cudaFuncAttributeMaxDynamicSharedMemorySize, K::bytes);
	cudaFuncSetAttribute(bwd_q<D, WQ, NQ>, cudaFuncAttributeMaxDynamicSharedMemorySize, Q::bytes);
	deltas<D><<<pt_grid(nq * k->heads * (D / 8), DELTAS), DELTAS, 0, s>>>(*c);
	if (k->dk || k->dv)
		bwd_k<D, WK, NK><<<keys, K::threads, K::bytes, s>>>(*c, m.q, m.g, m.k, m.v);
	if (k->dq)
		bwd_q<D, WQ, NQ><<<queries, Q::threads, Q::bytes, s>>>(*c, mq.q, mq.g, mq.k, mq.v);
	return true;
}

/* Whether a rotation goes into the kernels: of whole heads. */
static bool whole(const struct pt_k_attn *k, const struct pt_k_rope *r)
{
	return !r || (r->rot_dim == k->head_dim && (uintptr_t)r->cos % 8 == 0 && (uintptr_t)r->sin % 8 == 0);
}

bool pt_cuda_attn_bwd_hopper(struct pt_device *dev, const struct pt_attn_call *call)
{
	const struct pt_k_rope *q = call->k.turn_q, *k = call->k.turn_k;
	struct pt_attn_call c = *call;

	if (!whole(&c.k, q) || !whole(&c.k, k))
		return false;
	if (q)
		c.turn_q = { q->pos, q->cos, q->sin };
	if (k)
		c.turn_k = { k->pos, k->cos, k->sin };
	return c.k.head_dim == 64 ? launch<64, 2, 64, 2, 128>(dev, &c) : launch<128, 2, 64, 2, 128>(dev, &c);
}
