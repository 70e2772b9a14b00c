/* SPDX-License-Identifier: MIT */
/*
 * mm.c - products as lists of C = sum of A_i B_i + bias.
 *
 * B is packed into panels, A copied where its stored form will not do, both
 * shared by all threads; then blocks of C are computed, each by one thread:
 * BLOCK_M rows by some panels, k in steps of at most STEP_K, so that a panel's
 * step stays in the first cache and a block of A in the second. What does not
 * fit into the device's pack buffer is done in chunks of columns (and of rows,
 * where A is copied) and, beyond ROUND_K, in rounds of k. All of this depends
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
#define ROUND_K 2048
#define SPANS 16
#define PACK_ROWS 96		/* pieces of packing */
#define PACK_PANELS 8
#define SMALL 100000	/* multiplications that are not worth a second thread */

_Static_assert(BLOCK_M * MICRO_N <= PT_CPU_WORK, "a panel's block of C fits into a thread's buffer");
_Static_assert(ROUND_K * 4 * MICRO_N <= PT_CPU_PACK / 2, "a block of columns fits into half of the pack buffer");
_Static_assert(ROUND_K * BLOCK_M <= PT_CPU_PACK / 2, "a block of rows fits into the other half");
_Static_assert(STEP_K + 64 <= PACK_MASK, "factors of one step's row");

/* What of one product is done at once: some rows, some panels, a round of k. */
struct span {
	const struct pt_mm *mm;
	int64_t k0, k1;		/* of the concatenated k of its parts */
	int64_t i0, m;		/* rows */
	int64_t panel0, panels;
	int64_t rows, cols;	/* blocks of C */
	int64_t per;		/* panels of a block */
	int64_t packs;		/* pieces of packing: rows of A's copy, then panels */
	float *a;		/* copy of A, each step [m][its padded k]; NULL: not copied */
	float *b;		/* panels */
};

struct chunk {
	struct span span[SPANS];
	int n;
	int64_t packs, tiles, work;
};

/* A stretch of one part's k. */
struct step {
	const struct pt_mm_part *part;
	int i;			/* number of the part */
	int64_t base;		/* k of the parts before it */
	int64_t at, k;		/* in the part */
	int64_t off;		/* padded k of the steps before it, for the copy of A */
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

/* Whether A is read where it lies. Parts are alike in this but for the low-rank ones, which are small. */
static bool in_place(const struct pt_mm *mm)
{
	bool yes = !mm->round;

	for (int i = 0; i < mm->nparts; i++) {
		const struct pt_mm_part *p = &mm->part[i];

		yes &= p->at == PT_F32 && !p->ta && p->drop != PT_MM_DROP_A;
	}
	return yes;
}

/* Panels of a block: wide where that leaves enough blocks to share out. */
static int64_t block_panels(const struct pt_mm *mm)
{
	int64_t blocks = ceil_div(mm->n, MICRO_N) * ceil_div(mm->m, BLOCK_M);

	return blocks >= 1024 ? 4 : blocks >= 96 ? 2 : 1;
}

/* Length of a row of A's copy. */
static int64_t padded(int64_t k)
{
	return (k + 7) / 8 * 8;
}

/* The next step of span's round; start with a zeroed step. */
static bool next_step(const struct span *s, struct step *t)
{
	if (!t->part)
		t->part = s->mm->part;
	t->at += t->k;
	t->off += padded(t->k);
	for (; t->i < s->mm->nparts; t->i++, t->base += t->part->k, t->part++, t->at = 0) {
		int64_t from = max64(t->base, s->k0), to = min64(t->base + t->part->k, s->k1), n;

		t->at = max64(t->at, from - t->base);
		if (t->base + t->at >= to)
			continue;
		/* Equal steps, so that none is short. */
		n = ceil_div(to - from, STEP_K);
		t->k = min64(padded(ceil_div(to - from, n)), to - t->base - t->at);
		return true;
	}
	return false;
}

static void panel_drop(const struct pt_mm_part *p, float *d, int64_t w, int64_t at, int64_t k, int64_t j0, int64_t n,
		       bool round)
{
	float m[PACK_MASK];

	for (int64_t l = 0; l < k; l++) {
		const float *f = pack_mask(m, &p->rng, p->site, at + l, j0, n, p->p);

		for (int64_t j = 0; j < n; j++) {
			float v = d[l * w + j] * f[j];

			d[l * w + j] = (round ? pack_round1(v) : v) * p->scale;
		}
	}
}

/* Panels from i to end of a span, all steps of its round. */
static void pack_panels(const struct span *s, int64_t i, int64_t end)
{
	int64_t k = s->k1 - s->k0;
	struct step t = { 0 };

	while (next_step(s, &t)) {
		const struct pt_mm_part *p = t.part;
		bool drop = p->drop == PT_MM_DROP_B;
		struct pack_how how = { drop ? 1 : p->scale, s->mm->round && !drop };
		/* Rows of B are read a piece at a time, so that all panels take theirs while they are at hand. */
		int64_t strip = p->tb ? t.k : 8;

		for (int64_t l = 0; l < t.k; l += strip) {
			for (int64_t j = i; j < end; j++) {
				int64_t j0 = (s->panel0 + j) * MICRO_N, n = min64(s->mm->n - j0, MICRO_N);
				int64_t w = ceil_div(n, PT_VL) * PT_VL, at = t.at + l, kk = min64(strip, t.k - l);
				float *d = s->b + j * MICRO_N * k + (t.base + at - s->k0) * w;
				const void *b = pack_at(p->b, p->bt, p->tb ? j0 * p->ldb + at : at * p->ldb + j0);

				if (p->tb)
					PACK_BY_TYPE(pack_rows_t, d, w, b, p->bt, p->ldb, n, kk, &how);
				else
					PACK_BY_TYPE(pack_rows, d, w, b, p->bt, p->ldb, n, kk, &how);
				if (drop)
					panel_drop(p, d, w, at, kk, j0, n, s->mm->round);
			}
		}
	}
}

/* Rows from i of a span's copy of A: steps behind each other. */
static void copy_a(const struct span *s, int64_t i, int64_t m)
{
	const struct pack_how plain = { 1, false };
	struct step t = { 0 };
	float mask[PACK_MASK];

	while (next_step(s, &t)) {
		const struct pt_mm_part *p = t.part;
		int64_t i0 = s->i0 + i, w = padded(t.k);
		float *d = s->a + t.off * s->m + i * w;

		if (p->ta)
			PACK_BY_TYPE(pack_rows_t, d, w, pack_at(p->a, p->at, t.at * p->lda + i0), p->at, p->lda,
				     t.k, m, &plain);
		for (int64_t r = 0; r < m; r++, d += w) {
			if (!p->ta)
				pt_to_f32(d, pack_at(p->a, p->at, (i0 + r) * p->lda + t.at), p->at, (size_t)t.k);
			if (p->drop == PT_MM_DROP_A) {
				const float *f = pack_mask(mask, &p->rng, p->site, i0 + r, t.at, t.k, p->p);

				for (int64_t l = 0; l < t.k; l++)
					d[l] *= f[l];
			}
			if (s->mm->round)
				pack_round_row(d, t.k);
		}
	}
}

/* Piece number i of a span's packing. */
static void pack(const struct span *s, int64_t i)
{
	int64_t rows = s->a ? ceil_div(s->m, PACK_ROWS) : 0;

	if (i < rows)
		copy_a(s, i * PACK_ROWS, min64(PACK_ROWS, s->m - i * PACK_ROWS));
	else
		pack_panels(s, (i - rows) * PACK_PANELS, min64((i - rows + 1) * PACK_PANELS, s->panels));
}

/* One group of rows by one panel, of which n columns exist. */
static void group(int rows, const float *a, int64_t lda, const float *b, int64_t k, float *c, int64_t ldc,
		  int64_t n, bool add, const float *bias)
{
	int64_t nv = ceil_div(n, PT_VL);
	micro_fn *fn = micro_table[nv - 1][rows - 1];
	float edge[MICRO_R * MICRO_N];

	if (n == nv * PT_VL) {
		fn(a, lda, b, k, c, ldc, add, bias);
		return;
	}
	fn(a, lda, b, k, edge, nv * PT_VL, false, NULL);
	for (int i = 0; i < rows; i++)
		for (int64_t j = 0; j < n; j++) {
			float *to = &c[i * ldc + j], v = edge[i * nv * PT_VL + j];

			/* In the order of micro(): which columns are here depends on the lanes. */
			if (bias)
				v += bias[j];
			if (add)
				v += *to;
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

/* One step of one block: m rows from i of the span, panels from p0 up to p1. */
static void block_step(const struct span *s, const struct step *t, int64_t i, int64_t m, int64_t p0, int64_t p1,
		       float *work)
{
	const struct pt_mm *mm = s->mm;
	bool first = t->base + t->at == 0, drop = t->part->drop == PT_MM_DROP_C;
	int64_t groups = ceil_div(m, MICRO_R), lda = s->a ? padded(t->k) : t->part->lda, i0 = s->i0 + i;
	const float *a = s->a ? s->a + t->off * s->m + i * lda :
			 (const float *)t->part->a + i0 * lda + t->at;

	for (int64_t p = p0; p < p1; p++) {
		int64_t j0 = (s->panel0 + p) * MICRO_N, n = min64(mm->n - j0, MICRO_N);
		int64_t w = ceil_div(n, PT_VL) * PT_VL, ldc = drop ? n : mm->ldc;
		const float *b = s->b + p * MICRO_N * (s->k1 - s->k0) + (t->base + t->at - s->k0) * w;
		float *c = drop ? work : mm->c + i0 * mm->ldc + j0;

		for (int64_t g = 0; g < groups; g++) {
			int64_t r = m * g / groups, rows = m * (g + 1) / groups - r;

			group((int)rows, a + r * lda, lda, b, t->k, c + r * ldc, ldc, n, (!first || mm->acc) && !drop,
			      first && mm->bias ? mm->bias + j0 : NULL);
		}
		if (drop)
			add_dropped(t->part, c, mm->c + i0 * mm->ldc + j0, mm->ldc, i0, m, j0, n);
	}
}

/* Block number i of a span: blocks of columns follow each other, since those of A are larger. */
static void tile(const struct span *s, int64_t i, float *work)
{
	int64_t c = i % s->cols, r = i / s->cols;
	int64_t i0 = cut(s->m, s->rows, r, MICRO_R), i1 = cut(s->m, s->rows, r + 1, MICRO_R);
	struct step t = { 0 };

	while (next_step(s, &t))
		block_step(s, &t, i0, i1 - i0, c * s->per, min64((c + 1) * s->per, s->panels), work);
}

static void run_chunk(struct pt_device *dev, const struct chunk *c)
{
	bool many = c->work > SMALL;

#pragma omp parallel num_threads(pt_cpu_threads(dev)) if (many)
	{
		float *work = pt_cpu_work(dev, omp_get_thread_num());

#pragma omp for schedule(dynamic)
		for (int64_t i = 0; i < c->packs; i++) {
			const struct span *s = c->span;
			int64_t at = i;

			for (; at >= s->packs; s++)
				at -= s->packs;
			pack(s, at);
		}
#pragma omp for schedule(dynamic)
		for (int64_t i = 0; i < c->tiles; i++) {
			const struct span *s = c->span;
			int64_t at = i;

			for (; at >= s->rows * s->cols; s++)
				at -= s->rows * s->cols;
			tile(s, at, work);
		}
	}
}

/* What is left of the pack buffer, and the chunk that fills it. */
struct packer {
	struct pt_device *dev;
	struct chunk c;
	float *at;
	int64_t room;
};

static void flush(struct packer *p)
{
	if (p->c.n)
		run_chunk(p->dev, &p->c);
	p->c.n = 0;
	p->c.packs = p->c.tiles = p->c.work = 0;
	p->at = pt_cpu_pack(p->dev);
	p->room = PT_CPU_PACK;
}

/* Rows i0.. of a product in one round of k, in as many chunks as it takes. */
static void add_spans(struct packer *p, const struct pt_mm *mm, int64_t k0, int64_t k, int64_t i0, int64_t m,
		      bool copy)
{
	int64_t per = block_panels(mm), panels = ceil_div(mm->n, MICRO_N), at = 0;
	int64_t a = copy ? ceil_div(m * (k + 8 * mm->nparts), MICRO_N) * MICRO_N : 0;

	while (at < panels) {
		int64_t fit = p->room > a ? (p->room - a) / (MICRO_N * k) : 0;
		struct span *s = &p->c.span[p->c.n];

		if (p->c.n == SPANS || fit < min64(per, panels - at)) {
			flush(p);
			continue;
		}
		fit = fit < panels - at ? fit / per * per : panels - at;
		*s = (struct span){ .mm = mm, .k0 = k0, .k1 = k0 + k, .i0 = i0, .m = m, .panel0 = at, .panels = fit,
			.rows = ceil_div(m, BLOCK_M), .cols = ceil_div(fit, per), .per = per,
			.packs = (copy ? ceil_div(m, PACK_ROWS) : 0) + ceil_div(fit, PACK_PANELS),
			.a = copy ? p->at : NULL, .b = p->at + a };
		p->c.n++;
		p->c.packs += s->packs;
		p->c.tiles += s->rows * s->cols;
		p->c.work += m * fit * MICRO_N * k;
		p->room -= a + fit * MICRO_N * k;
		p->at += a + fit * MICRO_N * k;
		at += fit;
	}
}

void pt_cpu_mm(struct pt_device *dev, const struct pt_mm *list, int n)
{
	struct packer p = { .dev = dev };
	bool more = true;

	p.c.n = 0;
	flush(&p);
	for (int64_t k0 = 0; more; k0 += ROUND_K) {
		more = false;
		for (int i = 0; i < n; i++) {
			int64_t total = total_k(&list[i]), k = min64(total - k0, ROUND_K);
			bool copy = !in_place(&list[i]);
			/* A copy takes at most half of the buffer. */
			int64_t most = copy ? PT_CPU_PACK / 2 / (max64(k, 1) + 8 * list[i].nparts) : list[i].m;

			most = most > BLOCK_M ? most / BLOCK_M * BLOCK_M : max64(most, 1);
			for (int64_t i0 = 0; k > 0 && i0 < list[i].m; i0 += most)
				add_spans(&p, &list[i], k0, k, i0, min64(most, list[i].m - i0), copy);
			more |= total > k0 + ROUND_K;
		}
		flush(&p);
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
