/* SPDX-License-Identifier: MIT */
/*
 * lora.cu - the skinny products of low-rank terms on tensor cores (lora.h).
 *
 * Backward: a block takes 512 channels and some of the rows, in tiles of 32
 * rows. Of each tile it makes its share of du (over its channels) and adds to
 * x' u (over its rows, in registers). Shares of du by channels and of x' u by
 * rows are stored and summed in order by a second kernel.
 */
#include "device/cuda/lora.h"

#include "device/cuda/mma.h"

#define THREADS 256
#define TILE 128			/* of pt_lora_up: rows and columns */
#define STRIP 512			/* of pt_lora_back: channels and rows of a tile */
#define ROWS 32

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

static struct shares shares_of(struct pt_device *dev, const struct pt_lora_back *k)
{
	struct pt_pieces p = { (char *)k->scratch, 0 };
	int64_t want;
	struct shares s = { { 0 } };

	for (int i = 0; i < k->jobs; i++)
		s.strip[i + 1] = s.strip[i] + (int)((k->job[i].n + STRIP - 1) / STRIP);
	want = 2 * pt_cuda_of(dev)->sms / (s.strip[k->jobs] ? s.strip[k->jobs] : 1);
	s.rows = (k->m + want) / (want + 1);
	s.rows = s.rows < 2 * ROWS ? 2 * ROWS : s.rows;
	s.rows = (s.rows + ROWS - 1) / ROWS * ROWS;
	s.chunks = (k->m + s.rows - 1) / s.rows;
	for (int i = 0; i < k->jobs; i++) {
		s.du[i] = (float *)pt_piece(&p, (size_t)((s.strip[i + 1] - s.strip[i]) * k->m * k->r) * sizeof(float));
		s.xu[i] = (float *)pt_piece(&p, (size_t)(s.chunks * k->job[i].n * k->r) * sizeof(float));
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
	int warp = threadIdx.x / 32, lane = threadIdx.x % 32, mg = warp % 2, quarter = warp / 2;
	int tiles = (int)((last - first + ROWS - 1) / ROWS);
	const pt_bf16 *x = (const pt_bf16 *)o.x, *u = (const pt_bf16 *)o.u, *b = (const pt_bf16 *)o.b;
	float c[4][R / 8][4];

#pragma unroll
	for (int i = 0; i < 4; i++)
		for (int t = 0; t < R / 8; t++)
			for (int e = 0; e < 4; e++)
				c[i][t][e] = 0;
	auto fetch = [&](int t) {
		int64_t i0 = first + t * ROWS;
		int st = t % L::stages;

		for (int i = threadIdx.x; i < ROWS * (STRIP / 8); i += THREADS) {
			int row = i / (STRIP / 8), piece = i % (STRIP / 8);
			bool in = i0 + row < last && j0 + piece * 8 < n;

			pt_cp_async(pt_tile_at<STRIP>(sx + st * L::tile, row, piece),
				    in ? x + (i0 + row) * n + j0 + piece * 8 : x, in);
		}
		for (int i = threadIdx.x; XU && i < ROWS * (R / 8); i += THREADS) {
			int row = i / (R / 8), piece = i % (R / 8);
			bool in = i0 + row < last && piece * 8 < o.ur;

			pt_cp_async(su + st * L::us + row * L::ld + piece * 16,
				    in ? u + (i0 + row) * o.ldu + piece * 8 : u, in);
		}
	};
	for (int i = threadIdx.x; DU && i < STRIP * (R / 8); i += THREADS) {
		int row = i / (R / 8), piece = i % (R / 8);

		pt_cp_async(sb + row * L::ld + piece * 16, j0 + row < n ? b + (j0 + row) * R + piece * 8 : b,
			    j0 + row < n);
	}
	for (int t = 0; t < L::stages - 1; t++) {
		if (t < tiles)
			fetch(t);
		pt_cp_commit();
	}
	for (int t = 0; t < tiles; t++) {
		uint32_t tx = sx + t % L::stages * L::tile, tu = su + t % L::stages * L::us;

		pt_cp_wait<L::stages - 2>();
		__syncthreads();
		if (t + L::stages - 1 < tiles)
			fetch(t + L::stages - 1);
		pt_cp_commit();
		if (XU) {
#pragma unroll
			for (int ks = 0; ks < ROWS / 16; ks++) {
				uint32_t bu[R / 16][4], a[4];

#pragma unroll
				for (int r = 0; r < R / 16; r++)
					pt_ldm4t(bu[r], tu + (ks * 16 + (lane & 7) + (((lane >> 3) & 1) << 3)) * L::ld +
						 (r * 2 + (lane >> 4)) * 16);
#pragma unroll
				for (int i = 0; i < 4; i++) {
					pt_ldm4t(a, pt_tile_at<STRIP>(tx, ks * 16 + (lane & 7) + ((lane >> 4) << 3),
								      warp * 8 + i * 2 + ((lane >> 3) & 1)));
#pragma unroll
					for (int r = 0; r < R / 16; r++) {
						pt_mma(c[i][2 * r], a, bu[r][0], bu[r][1]);
						pt_mma(c[i][2 * r + 1], a, bu[r][2], bu[r][3]);
					}
				}
			}
		}
		if (DU) {
			float d[R / 8][4];

#pragma unroll
			for (int r = 0; r < R / 8; r++)
				d[r][0] = d[r][1] = d[r][2] = d[r][3] = 0;
#pragma unroll
			for (int ks = 0; ks < 8; ks++) {
				uint32_t a[4], bb[4];

				pt_load_a<STRIP>(a, tx, mg * 16, quarter * 8 + ks);
#pragma unroll
				for (int r = 0; r < R / 16; r++) {
					pt_ldm4t(bb, sb + (quarter * 128 + ks * 16 + (lane & 7) + (((lane >> 3) & 1) << 3)) * L::ld +
						 (r * 2 + (lane >> 4)) * 16);
					pt_mma(d[2 * r], a, bb[0], bb[1]);
					pt_mma(d[2 * r + 1], a, bb[2], bb[3]);
				}
			}
#pragma unroll
			for (int r = 0; r < R / 8; r++)
#pragma unroll
				for (int e = 0; e < 4; e++)
					red[(quarter * ROWS + mg * 16 + lane / 4 + 8 * (e >> 1)) * R + r * 8 + lane % 4 * 2 + (e & 1)] = d[r][e];
			__syncthreads();
			for (int i = threadIdx.x; i < ROWS * R; i += THREADS) {
				int64_t row = first + t * ROWS + i / R;

				if (row < last)
					s.du[job][(strip * k.m + row) * R + i % R] =
						red[i] + red[ROWS * R + i] + red[2 * ROWS * R + i] + red[3 * ROWS * R + i];
			}
		}
	}
#pragma unroll
	for (int i = 0; i < 4; i++)
#pragma unroll
		for (int r = 0; r < R / 8; r++)
#pragma unroll
			for (int h = 0; h < 2; h++) {
				int64_t col = j0 + warp * 64 + i * 16 + lane / 4 + 8 * h;

				if (XU && col < n)
					*(float2 *)&s.xu[job][(blockIdx.y * n + col) * R + r * 8 + lane % 4 * 2] =
						make_float2(c[i][r][2 * h], c[i][r][2 * h + 1]);
			}
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

template <int R> static void back_launch(struct pt_device *dev, const struct pt_lora_back *k, const struct shares *s)
{
	dim3 grid((unsigned)s->strip[k->jobs], (unsigned)s->chunks);
	cudaStream_t st = pt_cuda_stream(dev);
	void (*fn)(struct pt_lora_back, struct shares) = k->job[0].b && k->job[0].u ? back<R, true, true> :
							 k->job[0].b ? back<R, true, false> : back<R, false, true>;

	cudaFuncSetAttribute(fn, cudaFuncAttributeMaxDynamicSharedMemorySize, layout<R>::bytes);
	fn<<<grid, THREADS, layout<R>::bytes, st>>>(*k, *s);
}

bool pt_lora_back(struct pt_device *dev, const struct pt_lora_back *k)
{
	struct shares s = shares_of(dev, k);
	int dus = k->job[0].b ? k->jobs : 0;
	int64_t most = dus ? (k->m * (k->r / 4) + THREADS - 1) / THREADS : 0;	/* blocks */

	for (int i = 0; i < k->jobs; i++)
		if (!even(k->job[i].x, k->job[i].n) || (k->job[i].b && !even(k->job[i].b, k->r)) ||
		    (k->job[i].u && (!even(k->job[i].u, k->job[i].ldu) || k->job[i].ur % 8)))
			return false;
	switch (k->r) {
	case 16: back_launch<16>(dev, k, &s); break;
	case 32: back_launch<32>(dev, k, &s); break;
	case 48: back_launch<48>(dev, k, &s); break;
	case 64: back_launch<64>(dev, k, &s); break;
	default: return false;
	}
	for (int i = 0; i < k->grads; i++) {
		int64_t n = (k->job[k->grad[i].job].n * ((k->grad[i].r + 3) / 4) + QUADS - 1) / QUADS;

		most = n > most ? n : most;
	}
	if (most)
		sums<<<dim3((unsigned)most, (unsigned)(dus + k->grads)), THREADS, 0, pt_cuda_stream(dev)>>>(*k, s, dus);
	return true;
}
