/* SPDX-License-Identifier: MIT */
/*
 * mix.cu - products with several pairs of operands (mix.h), by wgmma. As many
 * blocks as there are processors walk over the tiles; in each one warp fetches
 * operands, two groups of four warps take 64 rows of a tile each, and leave
 * their results to the copy engine while the next tile begins. What else is
 * made of the results is made of the numbers in registers: half of a tile of a
 * gated unit are columns of the gate, half the same ones of its other input.
 */
#include "device/cuda/mix.h"

#include "device/cuda/act.h"
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
	struct {
		const int32_t *pos;
		const float *cos, *sin;	/* [positions,head/2]; NULL: not rotated */
		int32_t head;		/* 64 or 128 */
	} turn[PT_MIX_OUTS];
	/* A gated unit is one output of N/2 columns a tile: of part i b[2i] is the gate's, b[2i+1] the other's, shift columns on. */
	int32_t shift[PT_MIX_PARTS];
	enum pt_act act;
};

enum form { PLAIN, ACROSS, GATED };

template <int N> struct area {
	static const int a = ROWS * 128, b = N * 128;
	static const int stages = N == 128 ? 6 : N == 320 ? 3 : 4;	/* 320: across only */
	static const int out = stages * (a + b), bars = out + 4 * PANEL;
	static const int bytes = bars + 16 * stages + 1024;	/* what aligning takes */
};

#ifdef PT_HOPPER

/* Where tile number i stands: output, its first column, first row. */
struct place {
	int out, col, row;
};

template <int W> static __device__ inline struct place place_of(const struct maps &p, int i)
{
	int across = p.tiles[p.outs], below = (p.m + ROWS - 1) / ROWS, band = i / (STRIDE * across);
	int high = min(STRIDE, below - band * STRIDE), in = i - band * STRIDE * across, n = in / high, out = 0;

	while (n >= p.tiles[out + 1])
		out++;
	return { out, (n - p.tiles[out]) * W, (band * STRIDE + in % high) * ROWS };
}

template <int N, enum form F> static __device__ inline void fetch(const struct maps &p, uint32_t base, uint32_t full,
								  uint32_t free)
{
	using A = area<N>;
	int total = p.tiles[p.outs] * ((p.m + ROWS - 1) / ROWS), st = 0;
	uint32_t parity = 1;

	for (int i = blockIdx.x; i < total; i += gridDim.x) {
		struct place at = place_of<F == GATED ? N / 2 : N>(p, i);

		for (int part = p.first[at.out]; part < p.first[at.out + 1]; part++)
			for (int k = 0; k < p.k[part]; k += STEP) {
				uint32_t sa = base + st * (A::a + A::b), sb = sa + A::a, bar = full + 8 * st;

				pt_bar_wait(free + 8 * st, parity);
				pt_bar_expect(bar, A::a + A::b);
				pt_tile_load(sa, &p.a[part], k, at.row, bar);
				if (F == ACROSS)
					for (int c = 0; c < N / 64; c++)
						pt_tile_load(sb + c * PANEL, &p.b[part], at.col + c * 64, k, bar);
				else
					pt_tile_load(sb, &p.b[F == GATED ? 2 * part : part], k, at.col, bar);
				if (F == GATED)
					pt_tile_load(sb + N / 2 * 128, &p.b[2 * part + 1], k - p.shift[part], at.col, bar);
				if (++st == A::stages) {
					st = 0;
					parity ^= 1;
				}
			}
	}
}

/* A number that is known when code is made. */
template <int N> struct count {
	static const int n = N;
};

/* One step of 16 of the inner size. */
template <int N, enum form F> static __device__ inline void step(float (&d)[N / 2], uint32_t sa, uint32_t sb, int ks)
{
	if constexpr (N > 256) {
		/* More columns than one product has. */
		pt_wgmma<1>(*(float (*)[96])&d[0], pt_operand(sa + ks * 32), pt_operand_across(sb + ks * 2048, PANEL), true);
		pt_wgmma<1>(*(float (*)[N / 2 - 96])&d[96], pt_operand(sa + ks * 32),
			    pt_operand_across(sb + 3 * PANEL + ks * 2048, PANEL), true);
	} else if (F == ACROSS)
		pt_wgmma<1>(d, pt_operand(sa + ks * 32), pt_operand_across(sb + ks * 2048, PANEL), true);
	else
		pt_wgmma<0>(d, pt_operand(sa + ks * 32), pt_operand(sb + ks * 32), true);
}

/* 64 columns of a group's 64 rows to memory, by way of one of its two panels in turn; of(n, r): two columns of a row. */
template <class V> static __device__ inline void put(const CUtensorMap *to, int col, int row, int group, uint32_t panel, V of)
{
	int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
	uint32_t v[8][2];

#pragma unroll
	for (int n = 0; n < 8; n++)
#pragma unroll
		for (int r = 0; r < 2; r++)
			v[n][r] = of(n, r);
	if (threadIdx.x % 128 == 0)
		asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
	asm volatile("bar.sync %0, 128;" :: "r"(1 + group) : "memory");
#pragma unroll
	for (int n = 0; n < 8; n++)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			int i = warp * 16 + lane / 4 + 8 * r;

			asm volatile("st.shared.b32 [%0], %1;" :: "r"(panel + i * 128 + ((n ^ i) & 7) * 16 + lane % 4 * 4),
				     "r"(v[n][r]) : "memory");
		}
	asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
	asm volatile("bar.sync %0, 128;" :: "r"(1 + group) : "memory");
	if (threadIdx.x % 128 == 0) {
		asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];"
			     :: "l"(to), "r"(col), "r"(row), "r"(panel) : "memory");
		asm volatile("cp.async.bulk.commit_group;" ::: "memory");
	}
}

/* Pairs of a head of H, half of it apart, of all heads of a tile. */
template <int N, int H> static __device__ inline void turn_heads(float (&d)[N / 2], const float *cos, const float *sin, int r)
{
#pragma unroll
	for (int n = 0; n < H / 16; n++) {
		float2 c = *(const float2 *)(cos + n * 8), s = *(const float2 *)(sin + n * 8);

#pragma unroll
		for (int h = 0; h < N / H; h++)
#pragma unroll
			for (int e = 0; e < 2; e++) {
				float &x = d[h * H / 2 + n * 4 + 2 * r + e], &y = d[h * H / 2 + (n + H / 16) * 4 + 2 * r + e];
				float p = x, ce = e ? c.y : c.x, se = e ? s.y : s.x;

				x = p * ce - y * se;
				y = y * ce + p * se;
			}
	}
}

/* Rotary embedding of a group's 64 rows. */
template <int N> static __device__ inline void turn(const struct maps &p, const struct place &at, float (&d)[N / 2], int group)
{
	const auto &t = p.turn[at.out];
	int lane = threadIdx.x % 32, first = at.row + group * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;

	if (!t.cos)
		return;
#pragma unroll
	for (int r = 0; r < 2; r++) {
		int row = first + 8 * r;
		int64_t from = (row < p.m ? t.pos[row] : 0) * (int64_t)(t.head / 2) + lane % 4 * 2;

		if (t.head == 64)
			turn_heads<N, 64>(d, t.cos + from, t.sin + from, r);
		else if (N % 128 == 0)
			turn_heads<N, N % 128 ? 64 : 128>(d, t.cos + from, t.sin + from, r);
	}
}

/* A group's 64 rows to memory; of a gated unit both inputs as they are stored, and what it makes of them. */
template <int N, enum form F> static __device__ inline void store(const struct maps &p, const struct place &at,
								  const float (&d)[N / 2], int group, uint32_t out)
{
	int lane = threadIdx.x % 32, row = at.row + group * 64, first = row + threadIdx.x / 32 % 4 * 16 + lane / 4, turns = 0;
	const pt_bf16 *old = p.old[at.out];

#pragma unroll
	for (int c = 0; c < N / 64; c++) {
		bool up = F == GATED && c >= N / 128;
		int col = at.col + (up ? c - N / 128 : c) * 64;

		put(&p.y[up ? 1 : at.out], col, row, group, out + (turns++ & 1) * PANEL, [&](int n, int r) {
			float a = d[c * 32 + n * 4 + 2 * r], b = d[c * 32 + n * 4 + 2 * r + 1];
			int i = first + 8 * r, j = col + n * 8 + lane % 4 * 2;

			if (F != GATED && old && i < p.m && j < p.n[at.out]) {
				float2 v = __bfloat1622float2(*(const __nv_bfloat162 *)(old + (int64_t)i * p.n[at.out] + j));

				a += v.x;
				b += v.y;
			}
			return pt_pack(a, b);
		});
	}
#pragma unroll
	for (int c = 0; c < N / 128 && F == GATED; c++)
		put(&p.y[2], at.col + c * 64, row, group, out + (turns++ & 1) * PANEL, [&](int n, int r) {
			float v[2], slope;

#pragma unroll
			for (int e = 0; e < 2; e++)
				v[e] = pt_f(pt_t<pt_bf16>(d[N / 4 + c * 32 + n * 4 + 2 * r + e])) *
				       pt_act_fast(p.act, pt_f(pt_t<pt_bf16>(d[c * 32 + n * 4 + 2 * r + e])), &slope);
			return pt_pack(v[0], v[1]);
		});
}

#endif

template <int N, enum form F> __global__ __launch_bounds__(THREADS, 1)
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
			fetch<N, F>(p, base, full, free);
	} else {
		pt_regs_more<240>();
		int group = threadIdx.x / 128 - 1, lane = threadIdx.x % 32, st = 0, last = -1;
		int total = p.tiles[p.outs] * ((p.m + ROWS - 1) / ROWS);
		uint32_t parity = 0;

		for (int i = blockIdx.x; i < total; i += gridDim.x) {
			struct place at = place_of<F == GATED ? N / 2 : N>(p, i);
			float d[N / 2];

#pragma unroll
			for (int e = 0; e < N / 2; e++)
				d[e] = 0;
			/* Committed without a branch before it: behind one the compiler puts an empty product, and waits for all but that. */
			auto stage = [&](auto steps) {
				uint32_t sa = base + st * (A::a + A::b) + group * PANEL, sb = sa - group * PANEL + A::a;

				pt_bar_wait(full + 8 * st, parity);
				pt_wgmma_fence();
#pragma unroll
				for (int ks = 0; ks < decltype(steps)::n; ks++)
					step<N, F>(d, sa, sb, ks);
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
			};
			for (int part = p.first[at.out]; part < p.first[at.out + 1]; part++) {
				int k = p.k[part];

				for (; k > STEP - 16; k -= STEP)
					stage(count<4>());
				if (k > 32)
					stage(count<3>());
				else if (k > 16)
					stage(count<2>());
				else if (k > 0)
					stage(count<1>());
			}
			pt_wgmma_wait<0>();
			if (lane == 0)
				pt_bar_arrive(free + 8 * last);
			last = -1;
			if (F == PLAIN)
				turn<N>(p, at, d, group);
			store<N, F>(p, at, d, group, base + A::out + group * 2 * PANEL);
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

template <int N, enum form F> static bool start(struct pt_device *dev, const struct maps *m)
{
	using A = area<N>;
	int64_t tiles = m->tiles[m->outs] * (int64_t)pt_grid(m->m, ROWS), sms = pt_cuda_of(dev)->sms;

	cudaFuncSetAttribute(mix<N, F>, cudaFuncAttributeMaxDynamicSharedMemorySize, A::bytes);
	mix<N, F><<<(unsigned)(tiles < sms ? tiles : sms), THREADS, A::bytes, pt_cuda_stream(dev)>>>(*m);
	return true;
}

template <int N> static bool launch(struct pt_device *dev, const struct pt_mix *p)
{
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
		const struct pt_k_rope *turn = p->out[i].turn;

		m.n[i] = (int32_t)p->out[i].n;
		m.first[i] = p->out[i].first;
		m.first[i + 1] = end;
		m.tiles[i + 1] = m.tiles[i] + (int32_t)pt_grid(p->out[i].n, N);
		m.old[i] = p->acc ? (pt_bf16 *)p->out[i].y : NULL;
		if (turn)
			m.turn[i] = { turn->pos, turn->cos, turn->sin, turn->head_dim };
		if (!pt_tiles(dev, &m.y[i], p->out[i].y, p->m, p->out[i].n, p->out[i].n, 64))
			return false;
		for (int j = p->out[i].first; j < end; j++)
			if (!(p->across ? pt_tiles(dev, &m.b[j], p->part[j].b, p->part[j].k, p->out[i].n, p->part[j].ldb, STEP) :
					  pt_tiles(dev, &m.b[j], p->part[j].b, p->out[i].n, p->part[j].k, p->part[j].ldb, N)))
				return false;
	}
	if constexpr (N > 256)
		return start<N, ACROSS>(dev, &m);
	else
		return p->across ? start<N, ACROSS>(dev, &m) : start<N, PLAIN>(dev, &m);
}

/*
 * A gated unit, whose two linears are [x] or [x, u]: those of u are columns of one matrix, so that one tile of them
 * is for both, with zeros where a term is the other's.
 */
static bool launch_gated(struct pt_device *dev, const struct pt_mix *p)
{
	const int N = 256;
	int each = p->parts / 2;
	struct maps m;

	if (p->outs != 2 || p->out[0].n != p->out[1].n || p->out[1].first != each || p->parts != 2 * each || each > 2 ||
	    p->acc || p->out[0].turn || p->out[1].turn || (p->act != PT_ACT_SILU && p->act != PT_ACT_GELU_TANH))
		return false;
	memset(&m, 0, sizeof m);
	m.outs = 1;
	m.m = (int32_t)p->m;
	m.act = p->act;
	m.n[0] = (int32_t)p->out[0].n;
	m.first[1] = each;
	m.tiles[1] = (int32_t)pt_grid(p->out[0].n, N / 2);
	for (int i = 0; i < each; i++) {
		const auto &gate = p->part[i], &up = p->part[each + i];

		m.shift[i] = i ? (int32_t)gate.k : 0;
		m.k[i] = m.shift[i] + (int32_t)up.k;
		if (up.lda != gate.lda || up.a != (const char *)gate.a + 2 * (size_t)m.shift[i] ||
		    !pt_tiles(dev, &m.a[i], gate.a, p->m, m.k[i], gate.lda, ROWS) ||
		    !pt_tiles(dev, &m.b[2 * i], gate.b, p->out[0].n, gate.k, gate.ldb, N / 2) ||
		    !pt_tiles(dev, &m.b[2 * i + 1], up.b, p->out[0].n, up.k, up.ldb, N / 2))
			return false;
	}
	for (int i = 0; i < 3; i++)
		if (!pt_tiles(dev, &m.y[i], i < 2 ? p->out[i].y : p->z, p->m, p->out[0].n, p->out[0].n, 64))
			return false;
	return start<N, GATED>(dev, &m);
}

/* What widths of tiles are multiples of, so that a tile has whole heads where they are rotated; 0: not for them. */
static int whole_heads(const struct pt_mix *p)
{
	int most = 64;

	for (int i = 0; i < p->outs; i++) {
		const struct pt_k_rope *t = p->out[i].turn;

		if (!t)
			continue;
		if (p->across || p->acc || t->rot_dim != t->head_dim || (t->head_dim != 64 && t->head_dim != 128) ||
		    (uintptr_t)t->cos % 8 || (uintptr_t)t->sin % 8)
			return 0;
		most = t->head_dim > most ? t->head_dim : most;
	}
	return most;
}

bool pt_mix(struct pt_device *dev, const struct pt_mix *p)
{
	int64_t c320 = cost(dev, p, 320), c256 = cost(dev, p, 256), c192 = cost(dev, p, 192), c128 = cost(dev, p, 128);
	int head = whole_heads(p);

	if (!pt_cuda_of(dev)->hopper || p->m >= (int64_t)1 << 30 || !head)
		return false;
	for (int i = 0; i < p->outs; i++)
		if (p->out[i].n % 8 || p->out[i].n >= (int64_t)1 << 30)
			return false;
	for (int i = 0; i < p->parts; i++)
		if (p->part[i].k < 1 || p->part[i].k >= (int64_t)1 << 30)
			return false;
	if (p->z)
		return launch_gated(dev, p);
	if (head == 128)
		return c256 <= c128 ? launch<256>(dev, p) : launch<128>(dev, p);
	if (p->across && c320 < c256 && c320 < c192 && c320 < c128)
		return launch<320>(dev, p);
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
