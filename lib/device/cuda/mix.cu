/* SPDX-License-Identifier: MIT */
/*
 * mix.cu - products with several pairs of operands (mix.h), by wgmma. As many
 * blocks as there are processors walk over the tiles; in each one warp fetches
 * operands, two groups of four warps take 64 rows of a tile each, and leave
 * their results to the copy engine while the next tile begins.
 */
#include "device/cuda/mix.h"

#include "device/cuda/hopper.h"
#include "device/cuda/mma.h"

#include <string.h>

#define ROWS 128			/* of a tile */
#define STEP 64				/* of the inner size */
#define THREADS 384
#define STRIDE 16			/* tiles below each other that are computed together */
#define PANEL (64 * 128)		/* bytes of 64 rows */

struct maps {
	CUtensorMap a[PT_MIX_PARTS], b[PT_MIX_PARTS], y[PT_MIX_OUTS];
	int32_t k[PT_MIX_PARTS], n[PT_MIX_OUTS], first[PT_MIX_OUTS + 1], tiles[PT_MIX_OUTS + 1];
	int32_t outs, m;
	pt_bf16 *old[PT_MIX_OUTS];	/* added to the results; NULL: not */
};

template <int N> struct area {
	static const int a = ROWS * 128, b = N * 128;
	static const int stages = N == 128 ? 6 : 4;
	static const int out = stages * (a + b), bars = out + 4 * PANEL;
	static const int bytes = bars + 16 * stages + 1024;	/* what aligning takes */
};

#ifdef PT_HOPPER

/* Where tile number i stands: output, its first column, first row. */
struct place {
	int out, col, row;
};

template <int N> static __device__ inline struct place place_of(const struct maps &p, int i)
{
	int across = p.tiles[p.outs], below = (p.m + ROWS - 1) / ROWS, band = i / (STRIDE * across);
	int high = min(STRIDE, below - band * STRIDE), in = i - band * STRIDE * across, n = in / high, out = 0;

	while (n >= p.tiles[out + 1])
		out++;
	return { out, (n - p.tiles[out]) * N, (band * STRIDE + in % high) * ROWS };
}

template <int N, bool ACROSS> static __device__ inline void fetch(const struct maps &p, uint32_t base, uint32_t full,
								  uint32_t free)
{
	using A = area<N>;
	int total = p.tiles[p.outs] * ((p.m + ROWS - 1) / ROWS), st = 0;
	uint32_t parity = 1;

	for (int i = blockIdx.x; i < total; i += gridDim.x) {
		struct place at = place_of<N>(p, i);

		for (int part = p.first[at.out]; part < p.first[at.out + 1]; part++)
			for (int k = 0; k < p.k[part]; k += STEP) {
				uint32_t sa = base + st * (A::a + A::b), sb = sa + A::a, bar = full + 8 * st;

				pt_bar_wait(free + 8 * st, parity);
				pt_bar_expect(bar, A::a + A::b);
				pt_tile_load(sa, &p.a[part], k, at.row, bar);
				if (ACROSS)
					for (int c = 0; c < N / 64; c++)
						pt_tile_load(sb + c * PANEL, &p.b[part], at.col + c * 64, k, bar);
				else
					pt_tile_load(sb, &p.b[part], k, at.col, bar);
				if (++st == A::stages) {
					st = 0;
					parity ^= 1;
				}
			}
	}
}

/* One step of 16 of the inner size. */
template <int N, bool ACROSS> static __device__ inline void step(float (&d)[N / 2], uint32_t sa, uint32_t sb, int ks)
{
	if (ACROSS)
		pt_wgmma<1>(d, pt_operand(sa + ks * 32), pt_operand_across(sb + ks * 2048, PANEL), true);
	else
		pt_wgmma<0>(d, pt_operand(sa + ks * 32), pt_operand(sb + ks * 32), true);
}

/* A group's 64 rows to memory by way of two panels in turn. */
template <int N> static __device__ inline void store(const struct maps &p, const struct place &at, const float (&d)[N / 2],
						     int group, uint32_t out)
{
	int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, row = at.row + group * 64;
	const pt_bf16 *old = p.old[at.out];

#pragma unroll
	for (int c = 0; c < N / 64; c++) {
		uint32_t panel = out + (c & 1) * PANEL;

		if (threadIdx.x % 128 == 0)
			asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
		asm volatile("bar.sync %0, 128;" :: "r"(1 + group) : "memory");
#pragma unroll
		for (int n = 0; n < 8; n++)
#pragma unroll
			for (int r = 0; r < 2; r++) {
				int i = warp * 16 + lane / 4 + 8 * r;
				float a = d[c * 32 + n * 4 + 2 * r], b = d[c * 32 + n * 4 + 2 * r + 1];
				int col = at.col + c * 64 + n * 8 + lane % 4 * 2;

				if (old && row + i < p.m && col < p.n[at.out]) {
					float2 v = __bfloat1622float2(*(const __nv_bfloat162 *)(
						old + (int64_t)(row + i) * p.n[at.out] + col));

					a += v.x;
					b += v.y;
				}
				asm volatile("st.shared.b32 [%0], %1;" :: "r"(panel + i * 128 + ((n ^ i) & 7) * 16 + lane % 4 * 4),
					     "r"(pt_pack(a, b)) : "memory");
			}
		asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
		asm volatile("bar.sync %0, 128;" :: "r"(1 + group) : "memory");
		if (threadIdx.x % 128 == 0) {
			asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];"
				     :: "l"(&p.y[at.out]), "r"(at.col + c * 64), "r"(row), "r"(panel) : "memory");
			asm volatile("cp.async.bulk.commit_group;" ::: "memory");
		}
	}
}

#endif

template <int N, bool ACROSS> __global__ __launch_bounds__(THREADS, 1)
static void mix(const __grid_constant__ struct maps p)
{
#ifdef PT_HOPPER
	using A = area<N>;
	extern __shared__ char shared[];
	uint32_t base = (pt_shared(shared) + 1023) & ~1023u, full = base + A::bars, free = full + 8 * A::stages;

	if (threadIdx.x == 0) {
		for (int st = 0; st < A::stages; st++) {
			pt_bar_init(full + 8 * st, 1);
			pt_bar_init(free + 8 * st, 8);
		}
		pt_bar_ready();
	}
	__syncthreads();
	if (threadIdx.x < 128) {
		pt_regs_less<24>();
		if (threadIdx.x == 0)
			fetch<N, ACROSS>(p, base, full, free);
	} else {
		pt_regs_more<240>();
		int group = threadIdx.x / 128 - 1, lane = threadIdx.x % 32, st = 0, last = -1;
		int total = p.tiles[p.outs] * ((p.m + ROWS - 1) / ROWS);
		uint32_t parity = 0;

		for (int i = blockIdx.x; i < total; i += gridDim.x) {
			struct place at = place_of<N>(p, i);
			float d[N / 2];

#pragma unroll
			for (int e = 0; e < N / 2; e++)
				d[e] = 0;
			for (int part = p.first[at.out]; part < p.first[at.out + 1]; part++)
				for (int k = p.k[part]; k > 0; k -= STEP) {
					uint32_t sa = base + st * (A::a + A::b) + group * PANEL, sb = sa - group * PANEL + A::a;

					pt_bar_wait(full + 8 * st, parity);
					if (k > STEP - 16) {
						pt_wgmma_fence();
						step<N, ACROSS>(d, sa, sb, 0);
						step<N, ACROSS>(d, sa, sb, 1);
						step<N, ACROSS>(d, sa, sb, 2);
						step<N, ACROSS>(d, sa, sb, 3);
					} else {
						for (int ks = 0; ks * 16 < k; ks++) {
							pt_wgmma_fence();
							step<N, ACROSS>(d, sa, sb, ks);
						}
					}
					pt_wgmma_commit();
					pt_wgmma_wait<1>();
					/* The stage before is free. */
					if (last >= 0 && lane == 0)
						pt_bar_arrive(free + 8 * last);
					last = st;
					if (++st == A::stages) {
						st = 0;
						parity ^= 1;
					}
				}
			pt_wgmma_wait<0>();
			if (lane == 0)
				pt_bar_arrive(free + 8 * last);
			last = -1;
			store<N>(p, at, d, group, base + A::out + group * 2 * PANEL);
		}
		if (threadIdx.x % 128 == 0)
			asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
	}
#endif
}

/* What a tiling costs: rounds of all processors, by the width of a tile and what comes around it. */
static int64_t cost(struct pt_device *dev, const struct pt_mix *p, int n)
{
	int64_t tiles = 0, sms = pt_cuda_of(dev)->sms;

	for (int i = 0; i < p->outs; i++)
		tiles += (p->out[i].n + n - 1) / n;
	tiles *= (p->m + ROWS - 1) / ROWS;
	return (tiles + sms - 1) / sms * (n + 24);
}

template <int N> static bool launch(struct pt_device *dev, const struct pt_mix *p)
{
	using A = area<N>;
	int64_t tiles;
	struct maps m;

	memset(&m, 0, sizeof m);
	m.outs = p->outs;
	m.m = (int32_t)p->m;
	for (int i = 0; i < p->parts; i++) {
		m.k[i] = (int32_t)p->part[i].k;
		if (!pt_tiles(dev, &m.a[i], p->part[i].a, p->m, p->part[i].k, p->part[i].lda, ROWS))
			return false;
	}
	for (int i = 0; i < p->outs; i++) {
		int end = i + 1 < p->outs ? p->out[i + 1].first : p->parts;

		m.n[i] = (int32_t)p->out[i].n;
		m.first[i] = p->out[i].first;
		m.first[i + 1] = end;
		m.tiles[i + 1] = m.tiles[i] + (int32_t)pt_grid(p->out[i].n, N);
		m.old[i] = p->acc ? (pt_bf16 *)p->out[i].y : NULL;
		if (!pt_tiles(dev, &m.y[i], p->out[i].y, p->m, p->out[i].n, p->out[i].n, 64))
			return false;
		for (int j = p->out[i].first; j < end; j++)
			if (!(p->across ? pt_tiles(dev, &m.b[j], p->part[j].b, p->part[j].k, p->out[i].n, p->part[j].ldb, STEP) :
					  pt_tiles(dev, &m.b[j], p->part[j].b, p->out[i].n, p->part[j].k, p->part[j].ldb, N)))
				return false;
	}
	tiles = m.tiles[p->outs] * (int64_t)pt_grid(p->m, ROWS);
	if (tiles > pt_cuda_of(dev)->sms)
		tiles = pt_cuda_of(dev)->sms;
	if (p->across) {
		cudaFuncSetAttribute(mix<N, true>, cudaFuncAttributeMaxDynamicSharedMemorySize, A::bytes);
		mix<N, true><<<(unsigned)tiles, THREADS, A::bytes, pt_cuda_stream(dev)>>>(m);
	} else {
		cudaFuncSetAttribute(mix<N, false>, cudaFuncAttributeMaxDynamicSharedMemorySize, A::bytes);
		mix<N, false><<<(unsigned)tiles, THREADS, A::bytes, pt_cuda_stream(dev)>>>(m);
	}
	return true;
}

bool pt_mix(struct pt_device *dev, const struct pt_mix *p)
{
	int64_t c256 = cost(dev, p, 256), c192 = cost(dev, p, 192), c128 = cost(dev, p, 128);

	if (!pt_cuda_of(dev)->hopper || p->m >= (int64_t)1 << 30)
		return false;
	for (int i = 0; i < p->outs; i++)
		if (p->out[i].n % 8 || p->out[i].n >= (int64_t)1 << 30)
			return false;
	for (int i = 0; i < p->parts; i++)
		if (p->part[i].k < 1 || p->part[i].k >= (int64_t)1 << 30)
			return false;
	if (c256 <= c192 && c256 <= c128)
		return launch<256>(dev, p);
	return c192 <= c128 ? launch<192>(dev, p) : launch<128>(dev, p);
}

/* pt_mix_down: one group of four warps takes 64 rows. */
#define DOWN_STAGES 6
#define DOWN_THREADS 160
#define DOWN_BYTES (DOWN_STAGES * 2 * PANEL + 16 * DOWN_STAGES + 1024)

struct down_call {
	CUtensorMap x, a;
	struct pt_mix_down k;
};

__global__ __launch_bounds__(DOWN_THREADS, 2) static void down(const __grid_constant__ struct down_call c)
{
#ifdef PT_HOPPER
	extern __shared__ char shared[];
	uint32_t base = (pt_shared(shared) + 1023) & ~1023u, full = base + DOWN_STAGES * 2 * PANEL, free = full + 8 * DOWN_STAGES;
	int steps = (int)((c.k.k + STEP - 1) / STEP), row = blockIdx.x * 64, lane = threadIdx.x % 32;

	if (threadIdx.x == 0) {
		for (int st = 0; st < DOWN_STAGES; st++) {
			pt_bar_init(full + 8 * st, 1);
			pt_bar_init(free + 8 * st, 4);
		}
		pt_bar_ready();
	}
	__syncthreads();
	if (threadIdx.x >= 128) {
		for (int t = 0; t < steps && threadIdx.x == 128; t++) {
			int st = t % DOWN_STAGES;
			uint32_t at = base + st * 2 * PANEL;

			pt_bar_wait(free + 8 * st, (t / DOWN_STAGES & 1) ^ 1);
			pt_bar_expect(full + 8 * st, 2 * PANEL);
			pt_tile_load(at, &c.x, t * STEP, row, full + 8 * st);
			pt_tile_load(at + PANEL, &c.a, t * STEP, 0, full + 8 * st);
		}
	} else {
		float d[32];

		for (int t = 0; t < steps; t++) {
			int st = t % DOWN_STAGES;
			uint32_t at = base + st * 2 * PANEL;

			pt_bar_wait(full + 8 * st, t / DOWN_STAGES & 1);
			pt_wgmma_fence();
			for (int ks = 0; ks < 4; ks++)
				pt_wgmma<0>(d, pt_operand(at + ks * 32), pt_operand(at + PANEL + ks * 32), t || ks);
			pt_wgmma_commit();
			pt_wgmma_wait<1>();
			if (t && lane == 0)
				pt_bar_arrive(free + 8 * ((t - 1) % DOWN_STAGES));
		}
		pt_wgmma_wait<0>();
#pragma unroll
		for (int n = 0; n < 8; n++)
#pragma unroll
			for (int r = 0; r < 2; r++) {
				int64_t i = row + threadIdx.x / 32 * 16 + lane / 4 + 8 * r;
				int col = n * 8 + lane % 4 * 2;
				uint32_t v = pt_pack(d[4 * n + 2 * r], d[4 * n + 2 * r + 1]);

				if (i >= c.k.m || col >= c.k.r)
					continue;
				*(uint32_t *)((pt_bf16 *)c.k.u + i * c.k.r + col) = v;
				for (int e = 0; e < c.k.copies; e++) {
					int at = col - (int)c.k.copy[e].first, width = (int)c.k.copy[e].r;
					pt_bf16 *to = (pt_bf16 *)c.k.copy[e].to + i * width + at;

					if (at < 0 || at >= width)
						continue;
					to[0] = ((pt_bf16 *)&v)[0];
					if (at + 1 < width)
						to[1] = ((pt_bf16 *)&v)[1];
				}
			}
	}
#endif
}

bool pt_mix_down(struct pt_device *dev, const struct pt_mix_down *p)
{
	struct down_call c;

	if (!pt_cuda_of(dev)->hopper || p->r > 64 || p->r % 16 || !pt_tiles(dev, &c.x, p->x, p->m, p->k, p->k, 64) ||
	    !pt_tiles(dev, &c.a, p->a, p->r, p->k, p->k, 64))
		return false;
	c.k = *p;
	cudaFuncSetAttribute(down, cudaFuncAttributeMaxDynamicSharedMemorySize, DOWN_BYTES);
	down<<<pt_grid(p->m, 64), DOWN_THREADS, DOWN_BYTES, pt_cuda_stream(dev)>>>(c);
	return true;
}
