/* SPDX-License-Identifier: MIT */
/*
 * lora.cu - the skinny products of low-rank terms on tensor cores (lora.h).
 *
 * Backward: a block takes 512 channels and some of the rows, in tiles of 32
 * rows. Of each tile it makes its share of du (over its channels) and adds to
 * x' u (over its rows, in registers). Shares of du by channels and of x' u by
 * rows are stored and summed in order by a second kernel. Of a gated unit a
 * block takes the same 256 channels of both linears, and makes their gradients.
 */
#include "device/cuda/lora.h"

#include "device/cuda/act.h"
#include "device/cuda/mma.h"

#define THREADS 256
#define TILE 128			/* of pt_lora_up: rows and columns */
#define STRIP 512			/* of pt_lora_back: channels of a tile */
#define HALF 256			/* where two linears are taken together */
#define ROWS 32				/* of a tile */
#define CHUNKS 16			/* parts of the rows at most */

template <int R, bool ACC> __global__ __launch_bounds__(THREADS)
static void up(int64_t m, int64_t n, const pt_bf16 *u, int64_t ldu, const pt_bf16 *p, pt_bf16 *y, int64_t ldy)
{
	const int LD = (R + 8) * 2, LDO = (TILE + 8) * 2;	/* bytes of a row in shared memory */
	__shared__ __align__(16) char shared[TILE * LDO > 2 * TILE * LD ? TILE * LDO : 2 * TILE * LD];
	uint32_t su = pt_shared(shared), sp = su + TILE * LD;
	int64_t i0 = blockIdx.y * (int64_t)TILE, j0 = blockIdx.x * (int64_t)TILE;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, wm = warp % 4 * 32, wn = warp / 4 * 64;
	float c[2][8][4] = { 0 };

	for (int i = threadIdx.x; i < TILE * (R / 8); i += THREADS) {
		int row = i / (R / 8), piece = i % (R / 8);

		pt_cp_async(su + row * LD + piece * 16, i0 + row < m ? u + (i0 + row) * ldu + piece * 8 : u, i0 + row < m);
		pt_cp_async(sp + row * LD + piece * 16, j0 + row < n ? p + (j0 + row) * R + piece * 8 : p, j0 + row < n);
	}
	pt_cp_commit();
	pt_cp_wait<0>();
	__syncthreads();
#pragma unroll
	for (int ks = 0; ks < R / 16; ks++) {
		uint32_t a[2][4], b[4];

		for (int g = 0; g < 2; g++)
			pt_ldm4(a[g], su + (wm + g * 16 + (lane & 15)) * LD + (ks * 2 + (lane >> 4)) * 16);
#pragma unroll
		for (int t = 0; t < 4; t++) {
			pt_ldm4(b, sp + (wn + t * 16 + (lane & 7) + ((lane >> 4) << 3)) * LD + (ks * 2 + ((lane >> 3) & 1)) * 16);
			for (int g = 0; g < 2; g++) {
				pt_mma(c[g][2 * t], a[g], b[0], b[1]);
				pt_mma(c[g][2 * t + 1], a[g], b[2], b[3]);
			}
		}
	}
	__syncthreads();
#pragma unroll
	for (int g = 0; g < 2; g++)
#pragma unroll
		for (int t = 0; t < 8; t++)
#pragma unroll
			for (int h = 0; h < 2; h++)
				*(uint32_t *)(shared + (wm + g * 16 + lane / 4 + 8 * h) * LDO + (wn + t * 8 + lane % 4 * 2) * 2) =
					pt_pack(c[g][t][2 * h], c[g][t][2 * h + 1]);
	__syncthreads();
	for (int i = threadIdx.x; i < TILE * (TILE / 8); i += THREADS) {
		int row = i / (TILE / 8), piece = i % (TILE / 8);
		pt_vec<pt_bf16, 8> v, *to;

		if (i0 + row >= m || j0 + piece * 8 >= n)
			continue;
		v = *(pt_vec<pt_bf16, 8> *)(shared + row * LDO + piece * 16);
		to = (pt_vec<pt_bf16, 8> *)(y + (i0 + row) * ldy + j0 + piece * 8);
		if (ACC) {
			pt_vec<pt_bf16, 8> old = *to;

			for (int e = 0; e < 8; e++)
				v.e[e] = pt_t<pt_bf16>(pt_f(v.e[e]) + pt_f(old.e[e]));
		}
		*to = v;
	}
}

template <int R> static void up_launch(struct pt_device *dev, int64_t m, int64_t n, const void *u, int64_t ldu,
				       const void *p, void *y, int64_t ldy, bool acc)
{
	dim3 grid(pt_grid(n, TILE), pt_grid(m, TILE));
	cudaStream_t s = pt_cuda_stream(dev);

	if (acc)
		up<R, true><<<grid, THREADS, 0, s>>>(m, n, (const pt_bf16 *)u, ldu, (const pt_bf16 *)p, (pt_bf16 *)y, ldy);
	else
		up<R, false><<<grid, THREADS, 0, s>>>(m, n, (const pt_bf16 *)u, ldu, (const pt_bf16 *)p, (pt_bf16 *)y, ldy);
}

static bool even(const void *p, int64_t ld)
{
	return (uintptr_t)p % 16 == 0 && ld % 8 == 0;
}

bool pt_lora_up(struct pt_device *dev, int64_t m, int64_t n, int64_t r, const void *u, int64_t ldu, const void *p, void *y,
		int64_t ldy, bool acc)
{
	if (!even(u, ldu) || !even(p, r) || !even(y, ldy) || n % 8 || m > (int64_t)65535 * TILE)
		return false;
	switch (r) {
	case 16: up_launch<16>(dev, m, n, u, ldu, p, y, ldy, acc); return true;
	case 32: up_launch<32>(dev, m, n, u, ldu, p, y, ldy, acc); return true;
	case 48: up_launch<48>(dev, m, n, u, ldu, p, y, ldy, acc); return true;
	case 64: up_launch<64>(dev, m, n, u, ldu, p, y, ldy, acc); return true;
	default: return false;
	}
}

/* Shares of a call; strip: the first strip of each job. */
struct shares {
	int strip[PT_LORA_JOBS + 1];
	int64_t chunks, rows;		/* rows of a chunk */
	float *du[PT_LORA_JOBS], *xu[PT_LORA_JOBS];	/* [strips,M,R], [chunks,N,R] */
	size_t bytes;
};

/* Rows of a chunk, so that the rounds of all processors are few and full. */
static int64_t rows_of(struct pt_device *dev, const struct pt_lora_back *k, int64_t across)
{
	int64_t at_once = pt_cuda_of(dev)->sms * (k->r == 16 ? 2 : 1), tiles = (k->m + ROWS - 1) / ROWS, best = tiles, least = 0;

	for (int64_t chunks = 1; chunks <= CHUNKS; chunks++) {
		int64_t each = (tiles + chunks - 1) / chunks, cost = (across * chunks + at_once - 1) / at_once * (each + 2);

		if (least && cost >= least)
			continue;
		least = cost;
		best = each;
	}
	return best * ROWS;
}

static struct shares shares_of(struct pt_device *dev, const struct pt_lora_back *k)
{
	struct pt_pieces p = { (char *)k->scratch, 0 };
	int64_t wide = k->dz ? HALF : STRIP, most = (k->m + ROWS - 1) / ROWS;
	struct shares s = { { 0 } };

	for (int i = 0; i < k->jobs; i++)
		s.strip[i + 1] = s.strip[i] + (int)((k->job[i].n + wide - 1) / wide);
	s.rows = rows_of(dev, k, s.strip[k->dz ? 1 : k->jobs]);
	s.chunks = (k->m + s.rows - 1) / s.rows;
	/* Not the chunks that there are: fewer rows, which may have more of them, take no more room. */
	most = most < CHUNKS ? most : CHUNKS;
	for (int i = 0; i < k->jobs; i++) {
		s.du[i] = (float *)pt_piece(&p, (size_t)((s.strip[i + 1] - s.strip[i]) * k->m * k->r) * sizeof(float));
		s.xu[i] = (float *)pt_piece(&p, (size_t)(most * k->job[i].n * k->r) * sizeof(float));
	}
	s.bytes = p.used;
	return s;
}

size_t pt_lora_scratch(struct pt_device *dev, const struct pt_lora_back *k)
{
	return k->m ? shares_of(dev, k).bytes : 0;
}

template <int R> struct layout {
	static const int ld = (R + 8) * 2, tile = ROWS * STRIP * 2, us = ROWS * ld, strip = STRIP * ld;
	static const int red = 4 * ROWS * R * 4;
	/* Two blocks on a processor where there is room. */
	static const int blocks = R == 16 ? 2 : 1, stages = R == 16 ? 2 : 3;
	static const int bytes = stages * (tile + us) + strip + red;
};

static __device__ inline int job_of(const struct shares &s, int strip)
{
	int job = 0;

	while (strip >= s.strip[job + 1])
		job++;
	return job;
}

/* x' u of a tile of W channels, of which each warp has an eighth, added to c. */
template <int R, int W> static __device__ inline void add_xu(float (&c)[W / 128][R / 8][4], uint32_t tx, uint32_t tu)
{
	const int LD = layout<R>::ld;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

#pragma unroll
	for (int ks = 0; ks < ROWS / 16; ks++) {
		uint32_t bu[R / 16][4], a[4];

#pragma unroll
		for (int r = 0; r < R / 16; r++)
			pt_ldm4t(bu[r], tu + (ks * 16 + (lane & 7) + (((lane >> 3) & 1) << 3)) * LD + (r * 2 + (lane >> 4)) * 16);
#pragma unroll
		for (int i = 0; i < W / 128; i++) {
			pt_ldm4t(a, pt_tile_at<W>(tx, ks * 16 + (lane & 7) + ((lane >> 4) << 3),
						  warp * (W / 64) + i * 2 + ((lane >> 3) & 1)));
#pragma unroll
			for (int r = 0; r < R / 16; r++) {
				pt_mma(c[i][2 * r], a, bu[r][0], bu[r][1]);
				pt_mma(c[i][2 * r + 1], a, bu[r][2], bu[r][3]);
			}
		}
	}
}

/* x b of a tile of W channels, by quarters of them: red [4,ROWS,R]. */
template <int R, int W> static __device__ inline void make_du(float *red, uint32_t tx, uint32_t sb)
{
	const int LD = layout<R>::ld;
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, mg = warp % 2, quarter = warp / 2;
	float d[R / 8][4];

#pragma unroll
	for (int r = 0; r < R / 8; r++)
		d[r][0] = d[r][1] = d[r][2] = d[r][3] = 0;
#pragma unroll
	for (int ks = 0; ks < W / 64; ks++) {
		uint32_t a[4], b[4];

		pt_load_a<W>(a, tx, mg * 16, quarter * (W / 64) + ks);
#pragma unroll
		for (int r = 0; r < R / 16; r++) {
			pt_ldm4t(b, sb + (quarter * (W / 4) + ks * 16 + (lane & 7) + (((lane >> 3) & 1) << 3)) * LD +
				 (r * 2 + (lane >> 4)) * 16);
			pt_mma(d[2 * r], a, b[0], b[1]);
			pt_mma(d[2 * r + 1], a, b[2], b[3]);
		}
	}
#pragma unroll
	for (int r = 0; r < R / 8; r++)
#pragma unroll
		for (int e = 0; e < 4; e++)
			red[(quarter * ROWS + mg * 16 + lane / 4 + 8 * (e >> 1)) * R + r * 8 + lane % 4 * 2 + (e & 1)] = d[r][e];
}

/* The quarters added up: n rows of a share of du. */
template <int R> static __device__ inline void store_du(float *to, const float *red, int n)
{
	for (int i = threadIdx.x; i < n * R; i += THREADS)
		to[i] = red[i] + red[ROWS * R + i] + red[2 * ROWS * R + i] + red[3 * ROWS * R + i];
}

/* A share of x' u: columns from j0 on of n. */
template <int R, int W> static __device__ inline void store_xu(float *to, const float (&c)[W / 128][R / 8][4], int64_t j0, int64_t n)
{
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

#pragma unroll
	for (int i = 0; i < W / 128; i++)
#pragma unroll
		for (int r = 0; r < R / 8; r++)
#pragma unroll
			for (int h = 0; h < 2; h++) {
				int64_t col = j0 + warp * (W / 8) + i * 16 + lane / 4 + 8 * h;

				if (col < n)
					*(float2 *)&to[col * R + r * 8 + lane % 4 * 2] = make_float2(c[i][r][2 * h], c[i][r][2 * h + 1]);
			}
}

/* Rows of u and of b to shared memory. */
template <int R, class J> static __device__ inline void fetch_u(uint32_t to, const J &o, int64_t row0, int64_t last)
{
	for (int i = threadIdx.x; i < ROWS * (R / 8); i += THREADS) {
		int row = i / (R / 8), piece = i % (R / 8);
		bool in = row0 + row < last && piece * 8 < o.ur;

		pt_cp_async(to + row * layout<R>::ld + piece * 16,
			    in ? (const pt_bf16 *)o.u + (row0 + row) * o.ldu + piece * 8 : o.u, in);
	}
}

template <int R, int W, class J> static __device__ inline void fetch_b(uint32_t to, const J &o, int64_t j0)
{
	for (int i = threadIdx.x; i < W * (R / 8); i += THREADS) {
		int row = i / (R / 8), piece = i % (R / 8);

		pt_cp_async(to + row * layout<R>::ld + piece * 16,
			    j0 + row < o.n ? (const pt_bf16 *)o.b + (j0 + row) * R + piece * 8 : o.b, j0 + row < o.n);
	}
}

template <int R, bool DU, bool XU> __global__ __launch_bounds__(THREADS, layout<R>::blocks)
static void back(const __grid_constant__ struct pt_lora_back k, const __grid_constant__ struct shares s)
{
	using L = layout<R>;
	extern __shared__ __align__(16) char shared[];
	uint32_t sx = pt_shared(shared), su = sx + L::stages * L::tile, sb = su + L::stages * L::us;
	float *red = (float *)(shared + L::stages * (L::tile + L::us) + L::strip);
	int job = job_of(s, blockIdx.x), strip = blockIdx.x - s.strip[job];
	const auto &o = k.job[job];
	int64_t j0 = strip * (int64_t)STRIP, first = blockIdx.y * s.rows, last = min(first + s.rows, k.m), n = o.n;
	int tiles = (int)((last - first + ROWS - 1) / ROWS);
	const pt_bf16 *x = (const pt_bf16 *)o.x;
	float c[STRIP / 128][R / 8][4] = { 0 };

	auto fetch = [&](int t) {
		int64_t i0 = first + t * ROWS;
		int st = t % L::stages;

		for (int i = threadIdx.x; i < ROWS * (STRIP / 8); i += THREADS) {
			int row = i / (STRIP / 8), piece = i % (STRIP / 8);
			bool in = i0 + row < last && j0 + piece * 8 < n;

			pt_cp_async(pt_tile_at<STRIP>(sx + st * L::tile, row, piece),
				    in ? x + (i0 + row) * n + j0 + piece * 8 : x, in);
		}
		if (XU)
			fetch_u<R>(su + st * L::us, o, i0, last);
	};
	if (DU)
		fetch_b<R, STRIP>(sb, o, j0);
	for (int t = 0; t < L::stages - 1; t++) {
		if (t < tiles)
			fetch(t);
		pt_cp_commit();
	}
	for (int t = 0; t < tiles; t++) {
		uint32_t tx = sx + t % L::stages * L::tile, tu = su + t % L::stages * L::us;
		int64_t row = first + t * ROWS;

		pt_cp_wait<L::stages - 2>();
		__syncthreads();
		if (t + L::stages - 1 < tiles)
			fetch(t + L::stages - 1);
		pt_cp_commit();
		if (XU)
			add_xu<R, STRIP>(c, tx, tu);
		if (DU) {
			make_du<R, STRIP>(red, tx, sb);
			__syncthreads();
			store_du<R>(s.du[job] + (strip * k.m + row) * R, red, (int)min(last - row, (int64_t)ROWS));
		}
	}
	if (XU)
		store_xu<R, STRIP>(s.xu[job] + blockIdx.y * n * R, c, j0, n);
}

template <int R> struct pair {
	static const int tile = ROWS * HALF * 2, us = ROWS * layout<R>::ld, strip = HALF * layout<R>::ld, red = layout<R>::red;
	static const int bytes = 4 * (tile + us) + 2 * (strip + red);
};

/* A gated unit's two: of each tile their gradients are made, stored and used; the next tile's numbers wait in registers. */
template <int R> __global__ __launch_bounds__(THREADS, layout<R>::blocks)
static void back_pair(const __grid_constant__ struct pt_lora_back k, const __grid_constant__ struct shares s)
{
	using L = pair<R>;
	const int EACH = ROWS * (HALF / 8) / THREADS;
	extern __shared__ __align__(16) char shared[];
	uint32_t sx = pt_shared(shared), su = sx + 4 * L::tile, sb = su + 4 * L::us;
	float *red = (float *)(shared + 4 * (L::tile + L::us) + 2 * L::strip);
	int64_t j0 = blockIdx.x * (int64_t)HALF, first = blockIdx.y * s.rows, last = min(first + s.rows, k.m), n = k.job[0].n;
	int tiles = (int)((last - first + ROWS - 1) / ROWS), piece = threadIdx.x % (HALF / 8), from = threadIdx.x / (HALF / 8);
	uint4 gate[EACH], up[EACH], dz[EACH];
	float c[2][HALF / 128][R / 8][4] = { 0 };

	/* Of the thread's e-th piece: its row in the tile, whether it is there, its place. */
	auto row_of = [&](int e) { return from + e * (THREADS / (HALF / 8)); };
	auto in = [&](int64_t i0, int e) { return i0 + row_of(e) < last && j0 + piece * 8 < n; };
	auto at = [&](int64_t i0, int e) { return ((i0 + row_of(e)) * n + j0) / 8 + piece; };
	auto load = [&](int64_t i0) {
#pragma unroll
		for (int e = 0; e < EACH; e++) {
			gate[e] = up[e] = dz[e] = make_uint4(0, 0, 0, 0);
			if (!in(i0, e))
				continue;
			gate[e] = ((const uint4 *)k.gate)[at(i0, e)];
			up[e] = ((const uint4 *)k.up)[at(i0, e)];
			dz[e] = ((const uint4 *)k.dz)[at(i0, e)];
		}
	};
	auto make = [&](int64_t i0, uint32_t tile) {
#pragma unroll
		for (int e = 0; e < EACH; e++) {
			const __nv_bfloat162 *x = (const __nv_bfloat162 *)&gate[e], *u = (const __nv_bfloat162 *)&up[e],
					     *g = (const __nv_bfloat162 *)&dz[e];
			uint4 a, b;

#pragma unroll
			for (int j = 0; j < 4; j++) {
				float2 vx = __bfloat1622float2(x[j]), vu = __bfloat1622float2(u[j]), dy = __bfloat1622float2(g[j]), d;
				float y0 = pt_act_fast(k.act, vx.x, &d.x), y1 = pt_act_fast(k.act, vx.y, &d.y);

				(&a.x)[j] = pt_pack(dy.x * d.x * vu.x, dy.y * d.y * vu.y);
				(&b.x)[j] = pt_pack(dy.x * y0, dy.y * y1);
			}
			*(uint4 *)(shared + (pt_tile_at<HALF>(tile, row_of(e), piece) - sx)) = a;
			*(uint4 *)(shared + (pt_tile_at<HALF>(tile + L::tile, row_of(e), piece) - sx)) = b;
			if (!in(i0, e))
				continue;
			((uint4 *)k.job[0].x)[at(i0, e)] = a;
			((uint4 *)k.job[1].x)[at(i0, e)] = b;
		}
	};
	auto fetch = [&](int t) {
		for (int l = 0; l < 2; l++)
			fetch_u<R>(su + (t % 2 * 2 + l) * L::us, k.job[l], first + t * ROWS, last);
		load(first + t * ROWS);
	};
	for (int l = 0; l < 2; l++)
		fetch_b<R, HALF>(sb + l * L::strip, k.job[l], j0);
	fetch(0);
	for (int t = 0; t < tiles; t++) {
		uint32_t tile = sx + t % 2 * 2 * L::tile, tu = su + t % 2 * 2 * L::us;
		int64_t row = first + t * ROWS;

		make(row, tile);
		pt_cp_commit();
		pt_cp_wait<0>();
		__syncthreads();
		if (t + 1 < tiles)
			fetch(t + 1);
#pragma unroll
		for (int l = 0; l < 2; l++) {
			add_xu<R, HALF>(c[l], tile + l * L::tile, tu + l * L::us);
			make_du<R, HALF>(red + l * (L::red / 4), tile + l * L::tile, sb + l * L::strip);
		}
		__syncthreads();
		for (int l = 0; l < 2; l++)
			store_du<R>(s.du[l] + (blockIdx.x * k.m + row) * R, red + l * (L::red / 4),
				    (int)min(last - row, (int64_t)ROWS));
	}
#pragma unroll
	for (int l = 0; l < 2; l++)
		store_xu<R, HALF>(s.xu[l] + blockIdx.y * n * R, c[l], j0, n);
}

#define SLICES 8			/* of the chunks of a gradient, by the threads of a block */
#define QUADS (THREADS / SLICES)	/* groups of four ranks of a gradient that a block takes */

static __device__ inline float4 plus(float4 a, float4 b)
{
	return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

/* Four ranks of a row of du of a job. */
static __device__ inline void sum_du(const struct pt_lora_back &k, const struct shares &s, int job)
{
	int per = (int)k.r / 4, strips = s.strip[job + 1] - s.strip[job];
	int64_t i = blockIdx.x * (int64_t)THREADS + threadIdx.x, size = k.m * per;
	const float4 *from = (const float4 *)s.du[job];
	float4 v = make_float4(0, 0, 0, 0);
	uint2 out;

	if (i >= size)
		return;
#pragma unroll 4
	for (int t = 0; t < strips; t++)
		v = plus(v, from[t * size + i]);
	out = make_uint2(pt_pack(v.x, v.y), pt_pack(v.z, v.w));
	*(uint2 *)((pt_bf16 *)k.job[job].du + i / per * k.job[job].lddu + i % per * 4) = out;
}

/* Four ranks of some channels of a gradient; the slices in order. */
static __device__ inline void sum_grad(const struct pt_lora_back &k, const struct shares &s, int grad)
{
	__shared__ float4 part[SLICES][QUADS];
	const auto &g = k.grad[grad];
	int64_t n = k.job[g.job].n, i = blockIdx.x * (int64_t)QUADS + threadIdx.x % QUADS;
	int per = (int)(g.r + 3) / 4, slice = threadIdx.x / QUADS;
	int64_t col = g.transposed ? i % n : i / per, rank = (g.transposed ? i / n : i % per) * 4;
	bool in = i < n * per;
	float4 v = make_float4(0, 0, 0, 0);
	float out[4];

	if (blockIdx.x * (int64_t)QUADS >= n * per)
		return;
#pragma unroll 4
	for (int64_t t = slice; t < s.chunks && in; t += SLICES) {
		const float *from = s.xu[g.job] + (t * n + col) * k.r + g.from + rank;

		if (g.from % 4 == 0)
			v = plus(v, *(const float4 *)from);
		else
			for (int e = 0; e < 4 && rank + e < g.r; e++)
				(&v.x)[e] += from[e];
	}
	part[slice][threadIdx.x % QUADS] = v;
	__syncthreads();
	if (slice || !in)
		return;
	for (int t = 1; t < SLICES; t++)
		v = plus(v, part[t][threadIdx.x]);
	out[0] = v.x;
	out[1] = v.y;
	out[2] = v.z;
	out[3] = v.w;
#pragma unroll
	for (int e = 0; e < 4; e++)
		if (rank + e < g.r)
			g.to[g.transposed ? (rank + e) * n + col : col * g.r + rank + e] += g.scale * out[e];
}

/* Shares added up: du of a job, or one gradient behind them. */
__global__ static void sums(const __grid_constant__ struct pt_lora_back k, const __grid_constant__ struct shares s, int dus)
{
	if (blockIdx.y < dus)
		sum_du(k, s, blockIdx.y);
	else
		sum_grad(k, s, blockIdx.y - dus);
}

/* False: more shared memory than there is. */
template <int R> static bool back_launch(struct pt_device *dev, const struct pt_lora_back *k, const struct shares *s)
{
	dim3 grid((unsigned)s->strip[k->dz ? 1 : k->jobs], (unsigned)s->chunks);
	int bytes = k->dz ? pair<R>::bytes : layout<R>::bytes;
	void (*fn)(struct pt_lora_back, struct shares) = k->dz ? back_pair<R> : k->job[0].b && k->job[0].u ? back<R, true, true> :
							 k->job[0].b ? back<R, true, false> : back<R, false, true>;

	if ((size_t)bytes > pt_cuda_of(dev)->shared)
		return false;
	cudaFuncSetAttribute(fn, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
	fn<<<grid, THREADS, bytes, pt_cuda_stream(dev)>>>(*k, *s);
	return true;
}

bool pt_lora_back(struct pt_device *dev, const struct pt_lora_back *k)
{
	struct shares s = shares_of(dev, k);
	int dus = k->job[0].b ? k->jobs : 0;
	int64_t most = dus ? (k->m * (k->r / 4) + THREADS - 1) / THREADS : 0;	/* blocks */

	if (k->dz && (k->jobs != 2 || k->job[0].n != k->job[1].n || (k->act != PT_ACT_SILU && k->act != PT_ACT_GELU_TANH) ||
		      !k->job[0].b || !k->job[0].u || !even(k->dz, k->job[0].n) || !even(k->gate, 8) || !even(k->up, 8)))
		return false;
	for (int i = 0; i < k->jobs; i++)
		if (!even(k->job[i].x, k->job[i].n) || (k->job[i].b && !even(k->job[i].b, k->r)) ||
		    (k->job[i].u && (!even(k->job[i].u, k->job[i].ldu) || k->job[i].ur % 8)))
			return false;
	if (k->r == 16 ? !back_launch<16>(dev, k, &s) : k->r == 32 ? !back_launch<32>(dev, k, &s) :
	    k->r == 48 ? !back_launch<48>(dev, k, &s) : k->r != 64 || !back_launch<64>(dev, k, &s))
		return false;
	for (int i = 0; i < k->grads; i++) {
		int64_t n = (k->job[k->grad[i].job].n * ((k->grad[i].r + 3) / 4) + QUADS - 1) / QUADS;

		most = n > most ? n : most;
	}
	if (most)
		sums<<<dim3((unsigned)most, (unsigned)(dus + k->grads)), THREADS, 0, pt_cuda_stream(dev)>>>(*k, s, dus);
	return true;
}
