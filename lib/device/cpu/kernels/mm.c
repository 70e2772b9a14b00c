/* SPDX-License-Identifier: MIT */
/*
 * mm.c - products as lists of C = sum of A_i B_i + bias.
 *
 * B is packed into panels, shared by all threads, and then blocks of C are
 * computed, each by one thread: BLOCK_M rows by some panels, k in steps of at
 * most STEP_K, so that a panel's step stays in the first cache and a block of
 * A in the second. What does not fit into the device's pack buffer is done in
 * chunks of columns and, beyond ROUND_K, in rounds of k. All of this depends
 * on shapes alone, and each element of C is summed in one order.
 *
 * Why not a library: OpenBLAS 0.3.21 reaches 83 to 89 GFLOP/s on one core of
 * a Zen 3 for the shapes of a small encoder and 43 to 66 where one side is 16;
 * this reaches 90 to 97 for both, since stored types, bias, low-rank terms
 * and dropout need no passes of their own and A is not copied.
 */
#include "mm.h"

#include <omp.h>

#include "micro.h"
#include "pack.h"

#define BLOCK_M 96
#define STEP_K 384
#define ROUND_K 4096
#define SPANS 16
#define SMALL 100000	/* multiplications that are not worth a second thread */

_Static_assert(BLOCK_M * (STEP_K + MICRO_N) <= PT_CPU_WORK, "a block of A and one of C fit into a thread's buffer");
_Static_assert(ROUND_K * 4 * MICRO_N <= PT_CPU_PACK, "a block of columns fits into the pack buffer");
_Static_assert(STEP_K + 64 <= PACK_MASK, "factors of one step's row");

/* Columns of one product that are packed at once. */
struct span {
	const struct pt_mm *mm;
	int64_t k0, k1;		/* round of the concatenated k of its parts */
	int64_t panel0;		/* first panel of the product */
	int64_t panels, blocks;	/* panels, and blocks of columns, in this span */
	int64_t rows;		/* blocks of rows */
	int64_t per;		/* panels of a block */
	float *pack;
};

struct chunk {
	struct span span[SPANS];
	int n;
	int64_t panels, tiles, work;
};

/* A stretch of one part's k. */
struct step {
	const struct pt_mm_part *part;
	int i;			/* number of the part */
	int64_t base;		/* k of the parts before it */
	int64_t at, k;		/* in the part */
};

static int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t total_k(const struct pt_mm *mm)
{
	int64_t k = 0;

	for (int i = 0; i < mm->nparts; i++)
		k += mm->part[i].k;
	return k;
}

/* The i-th of count nearly equal pieces of n, in units of unit. */
static int64_t cut(int64_t n, int64_t count, int64_t i, int64_t unit)
{
	return min64(ceil_div(n, unit) * i / count * unit, n);
}

/* Panels of a block: wide where that leaves enough blocks to share out. */
static int64_t block_panels(const struct pt_mm *mm)
{
	int64_t panels = ceil_div(mm->n, MICRO_N), rows = ceil_div(mm->m, BLOCK_M);

	return panels * rows >= 1024 ? 4 : panels * rows >= 96 ? 2 : 1;
}

/* The next step of span's round; start with a zeroed step. */
static bool next_step(const struct span *s, struct step *t)
{
	if (!t->part)
		t->part = s->mm->part;
	t->at += t->k;
	for (; t->i < s->mm->nparts; t->i++, t->base += t->part->k, t->part++, t->at = 0) {
		int64_t from = max64(t->base, s->k0), to = min64(t->base + t->part->k, s->k1), n;

		t->at = max64(t->at, from - t->base);
		if (t->base + t->at >= to)
			continue;
		/* Equal steps, so that none is short. */
		n = ceil_div(to - from, STEP_K);
		t->k = min64(ceil_div(ceil_div(to - from, n), 8) * 8, to - t->base - t->at);
		return true;
	}
	return false;
}

static void panel_drop(const struct pt_mm_part *p, float *d, int64_t w, const struct step *t, int64_t j0, int64_t n,
		       bool round)
{
	float m[PACK_MASK];

	for (int64_t l = 0; l < t->k; l++) {
		const float *f = pack_mask(m, &p->rng, p->site, t->at + l, j0, n, p->p);

		for (int64_t j = 0; j < n; j++) {
			float v = d[l * w + j] * f[j];

			d[l * w + j] = (round ? pack_round1(v) : v) * p->scale;
		}
	}
}

/* Panel number i of a span, all steps of its round. */
static void pack_panel(const struct span *s, int64_t i)
{
	int64_t j0 = (s->panel0 + i) * MICRO_N, n = min64(s->mm->n - j0, MICRO_N);
	int64_t w = ceil_div(n, PT_VL) * PT_VL;
	float *d = s->pack + i * MICRO_N * (s->k1 - s->k0);
	struct step t = { 0 };

	for (; next_step(s, &t); d += t.k * w) {
		const struct pt_mm_part *p = t.part;
		bool drop = p->drop == PT_MM_DROP_B;
		struct pack_how how = { drop ? 1 : p->scale, s->mm->round && !drop };
		const void *b = pack_at(p->b, p->bt, p->tb ? j0 * p->ldb + t.at : t.at * p->ldb + j0);

		if (p->tb)
			PACK_BY_TYPE(pack_rows_t, d, w, b, p->bt, p->ldb, n, t.k, &how);
		else
			PACK_BY_TYPE(pack_rows, d, w, b, p->bt, p->ldb, n, t.k, &how);
		if (drop)
			panel_drop(p, d, w, &t, j0, n, s->mm->round);
	}
}

/* Rows i0.. of a step's A as the innermost product takes it: in place, or copied with changes into work. */
static const float *block_a(const struct pt_mm *mm, const struct step *t, int64_t i0, int64_t m, float *work,
			    int64_t *lda, bool *ta)
{
	const struct pt_mm_part *p = t->part;
	bool drop = p->drop == PT_MM_DROP_A;
	float mask[PACK_MASK];

	*lda = p->lda;
	*ta = p->ta;
	if (p->at == PT_F32 && !mm->round && !drop)
		return (const float *)p->a + (p->ta ? t->at * p->lda + i0 : i0 * p->lda + t->at);
	for (int64_t i = 0; i < m; i++) {
		const float *f = drop ? pack_mask(mask, &p->rng, p->site, i0 + i, t->at, t->k, p->p) : NULL;
		float *d = work + i * t->k;

		if (p->ta)
			for (int64_t l = 0; l < t->k; l++)
				d[l] = pack_load1(pack_at(p->a, p->at, (t->at + l) * p->lda + i0 + i), p->at);
		else
			pt_to_f32(d, pack_at(p->a, p->at, (i0 + i) * p->lda + t->at), p->at, (size_t)t->k);
		for (int64_t l = 0; l < t->k && drop; l++)
			d[l] *= f[l];
		if (mm->round)
			pack_round_row(d, t->k);
	}
	*lda = t->k;
	*ta = false;
	return work;
}

/* One group of rows by one panel, of which n columns exist. */
static void group(bool ta, int rows, const float *a, int64_t lda, const float *b, int64_t k, float *c, int64_t ldc,
		  int64_t n, bool add, const float *bias)
{
	int64_t nv = ceil_div(n, PT_VL);
	micro_fn *fn = micro_table[ta][nv - 1][rows - 1];
	float edge[MICRO_R * MICRO_N];

	if (n == nv * PT_VL) {
		fn(a, lda, b, k, c, ldc, add, bias);
		return;
	}
	fn(a, lda, b, k, edge, nv * PT_VL, false, NULL);
	for (int i = 0; i < rows; i++)
		for (int64_t j = 0; j < n; j++) {
			float *to = &c[i * ldc + j], v = edge[i * nv * PT_VL + j];

			if (add)
				v += *to;
			if (bias)
				v += bias[j];
			*to = v;
		}
}

/* C += factors * addend, the addend [m][n] in work. */
static void add_dropped(const struct pt_mm_part *p, const float *work, float *c, int64_t ldc, int64_t i0, int64_t m,
			int64_t j0, int64_t n)
{
	float mask[PACK_MASK];

	for (int64_t i = 0; i < m; i++) {
		const float *f = pack_mask(mask, &p->rng, p->site, i0 + i, j0, n, p->p);

		for (int64_t j = 0; j < n; j++)
			c[i * ldc + j] += f[j] * work[i * n + j];
	}
}

/* One step of one block: m rows from i0, panels from p0 up to p1 of the span. */
static void block_step(const struct span *s, const struct step *t, const float *pack, int64_t i0, int64_t m,
		       int64_t p0, int64_t p1, bool first, float *work)
{
	const struct pt_mm *mm = s->mm;
	bool add = !first || mm->acc, drop = t->part->drop == PT_MM_DROP_C, ta;
	int64_t groups = ceil_div(m, MICRO_R), lda;
	const float *a = block_a(mm, t, i0, m, work, &lda, &ta);

	for (int64_t p = p0; p < p1; p++) {
		int64_t j0 = (s->panel0 + p) * MICRO_N, n = min64(mm->n - j0, MICRO_N);
		const float *b = pack + p * MICRO_N * (s->k1 - s->k0);
		float *c = drop ? work + BLOCK_M * STEP_K : mm->c + i0 * mm->ldc + j0;
		int64_t ldc = drop ? n : mm->ldc, w = ceil_div(n, PT_VL) * PT_VL;

		b += (t->base + t->at - s->k0) * w;
		for (int64_t g = 0; g < groups; g++) {
			int64_t i = m * g / groups, rows = m * (g + 1) / groups - i;

			group(ta, (int)rows, a + (ta ? i : i * lda), lda, b, t->k, c + i * ldc, ldc, n, add && !drop,
			      first && mm->bias && !drop ? mm->bias + j0 : NULL);
		}
		if (drop)
			add_dropped(t->part, c, mm->c + i0 * mm->ldc + j0, mm->ldc, i0, m, j0, n);
	}
}

/* Block number i of a span: the blocks of rows of a block of columns follow each other. */
static void tile(const struct span *s, int64_t i, float *work)
{
	int64_t r = i % s->rows, b = i / s->rows;
	int64_t i0 = cut(s->mm->m, s->rows, r, MICRO_R), i1 = cut(s->mm->m, s->rows, r + 1, MICRO_R);
	struct step t = { 0 };

	while (next_step(s, &t))
		block_step(s, &t, s->pack, i0, i1 - i0, b * s->per, min64((b + 1) * s->per, s->panels),
			   t.base + t.at == 0, work);
}

static void run_chunk(struct pt_device *dev, const struct chunk *c)
{
	bool many = c->work > SMALL;

#pragma omp parallel num_threads(pt_cpu_threads(dev)) if (many)
	{
		float *work = pt_cpu_work(dev, omp_get_thread_num());

#pragma omp for schedule(dynamic)
		for (int64_t i = 0; i < c->panels; i++) {
			const struct span *s = c->span;
			int64_t at = i;

			for (; at >= s->panels; s++)
				at -= s->panels;
			pack_panel(s, at);
		}
#pragma omp for schedule(dynamic)
		for (int64_t i = 0; i < c->tiles; i++) {
			const struct span *s = c->span;
			int64_t at = i;

			for (; at >= s->rows * s->blocks; s++)
				at -= s->rows * s->blocks;
			tile(s, at, work);
		}
	}
}

void pt_cpu_mm(struct pt_device *dev, const struct pt_mm *list, int n)
{
	float *buffer = pt_cpu_pack(dev);
	bool more = true;

	for (int64_t k0 = 0; more; k0 += ROUND_K) {
		struct chunk c = { .n = 0 };
		int64_t room = PT_CPU_PACK;

		more = false;
		for (int i = 0; i < n; i++) {
			const struct pt_mm *mm = &list[i];
			int64_t k = total_k(mm), panels = ceil_div(mm->n, MICRO_N), at = 0;

			if (k0 >= k || !mm->m)
				continue;
			more |= k > k0 + ROUND_K;
			k = min64(k - k0, ROUND_K);
			while (at < panels) {
				int64_t per = block_panels(mm), fit = room / (MICRO_N * k);
				struct span *s = &c.span[c.n];

				if (c.n == SPANS || fit < min64(per, panels - at)) {
					run_chunk(dev, &c);
					c = (struct chunk){ .n = 0 };
					room = PT_CPU_PACK;
					continue;
				}
				fit = min64(fit / per * per, panels - at);
				if (!fit)
					fit = panels - at;
				*s = (struct span){ .mm = mm, .k0 = k0, .k1 = k0 + k, .panel0 = at,
					.panels = fit, .blocks = ceil_div(fit, per),
					.rows = ceil_div(mm->m, BLOCK_M), .per = per,
					.pack = buffer + (PT_CPU_PACK - room) };
				c.n++;
				c.panels += fit;
				c.tiles += s->rows * s->blocks;
				c.work += mm->m * fit * MICRO_N * k;
				room -= fit * MICRO_N * k;
				at += fit;
			}
		}
		if (c.n)
			run_chunk(dev, &c);
	}
}

void pt_cpu_mm_colsum(struct pt_device *dev, const float *a, int64_t m, int64_t n, int64_t lda, float scale,
		      float *out)
{
	int64_t blocks = ceil_div(n, 64);

#pragma omp parallel for num_threads(pt_cpu_threads(dev)) schedule(static) if (m * n > SMALL)
	for (int64_t b = 0; b < blocks; b++) {
		int64_t w = min64(64, n - b * 64);
		float s[64] = { 0 };

		for (int64_t i = 0; i < m; i++)
			for (int64_t j = 0; j < w; j++)
				s[j] += a[i * lda + b * 64 + j];
		for (int64_t j = 0; j < w; j++)
			out[b * 64 + j] += scale * s[j];
	}
}
