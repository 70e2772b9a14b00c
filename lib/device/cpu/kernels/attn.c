/* SPDX-License-Identifier: MIT */
/*
 * attn.c - attention forward (Vaswani et al. 2017), blocked with a running
 * maximum and sum as Dao et al. 2022, "FlashAttention".
 *
 * A task is one head and up to ATTN_BLOCK queries of one sequence. It goes
 * over the keys in blocks, packs a block once, and works on TILE_M queries at
 * a time, whose scores never leave the first cache.
 */
#include "device/cpu/cpu.h"

#include <omp.h>

#include "attn_work.h"

size_t pt_cpu_attn_scratch(struct pt_device *dev, const struct pt_k_attn *k, bool backward)
{
	struct attn_call c;
	struct attn_fwd f;
	struct attn_bwd b;
	int64_t share = backward ? attn_lay_bwd(k, NULL, &b) : attn_lay_fwd(k, NULL, &f);

	return sizeof(float) * (size_t)(attn_lay_call(k, NULL, backward, &c) + pt_cpu_threads(dev) * share);
}

/* Scores s[from..to) of a query become exp(s - max); the maximum and sum so far are brought up to date. */
static float soften(float *restrict s, int64_t from, int64_t to, float *max, float *sum)
{
	float m = *max, old = *max, add = 0, f;

#pragma omp simd reduction(max:m)
	for (int64_t j = from; j < to; j++)
		m = s[j] > m ? s[j] : m;
	if (m == -INFINITY && old == -INFINITY) {
		for (int64_t j = from; j < to; j++) {
			s[j] = s[j] == -INFINITY ? 0 : s[j];	/* NaN stays, and shows in the sum */
			*sum += s[j];
		}
		return 1;
	}
#pragma omp simd safelen(8) reduction(+:add)
	for (int64_t j = from; j < to; j++) {
		s[j] = pt_expf(s[j] - m);
		add += s[j];
	}
	f = old == -INFINITY ? 0 : expf(old - m);
	*max = m;
	*sum = *sum * f + add;
	return f;
}

/* Queries r.. of the task's block (at most TILE_M) over the keys x. */
static void tile_fwd(const struct pt_k_attn *k, const struct attn_seq *s, const struct attn_keys *x, int h,
		     int64_t i0, int64_t i1, int64_t r, const struct attn_fwd *w, bool *begun)
{
	int64_t d = k->head_dim, dp = tile_up(d, TILE_N), m = pt_min(TILE_M, i1 - i0 - r), from, to, lo, hi;
	const float *q = (const float *)k->q + (s->q0 + i0 + r) * k->ldq + h * d;
	float *o = w->o + r * dp;

	attn_range(k, s, x, i0 + r, &from, &hi);
	attn_range(k, s, x, i0 + r + m - 1, &lo, &to);
	if (from >= to)
		return;
	from -= from % TILE_N;
	to = tile_up(to, TILE_N);
	tile_rows(q, k->ldq, 1, m, w->k, d * TILE_N, from / TILE_N, to / TILE_N, d, w->s, ATTN_BLOCK, false);
	for (int64_t i = 0; i < m; i++) {
		const float *bias = k->bias ? w->line + attn_line_shift(k, i1 - 1 - i0 - r - i) : NULL;
		float *p = w->s + i * ATTN_BLOCK, f;

		attn_range(k, s, x, i0 + r + i, &lo, &hi);
		attn_scores(k, p, from, to, lo, hi, bias, NULL);
		f = soften(p, from, to, &w->max[r + i], &w->sum[r + i]);
		for (int64_t c = 0; c < dp && f != 1 && *begun; c++)
			o[i * dp + c] *= f;
		if (k->dropout > 0) {
			const float *mask = attn_mask(k, x, s->q0 + i0 + r + i, h, w->mask);

			for (int64_t j = from; j < pt_min(to, x->n); j++)
				p[j] *= mask[j];
		}
	}
	tile_rows(w->s + from, ATTN_BLOCK, 1, TILE_M, w->v + from * TILE_N, x->n * TILE_N, 0, dp / TILE_N,
		  pt_min(to, x->n) - from, o, dp, *begun);
	*begun = true;
}

static float dot(const float *a, const float *b, int64_t n)
{
	float sum = 0;

#pragma omp simd safelen(8) reduction(+:sum)
	for (int64_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* o += p[0] v[0] + ... + p[n-1] v[n-1], rows of d elements. */
static void add_values(float *restrict o, const float *p, const float *v, int64_t ld, int64_t n, int64_t d)
{
	for (; n >= 4; n -= 4, p += 4, v += 4 * ld)
		for (int64_t c = 0; c < d; c++)
			o[c] += p[0] * v[c] + p[1] * v[ld + c] + p[2] * v[2 * ld + c] + p[3] * v[3 * ld + c];
	for (; n > 0; n--, p++, v += ld)
		for (int64_t c = 0; c < d; c++)
			o[c] += p[0] * v[c];
}

/*
 * A task of one query, over the keys x where they stand: when decoding, packing
 * keys and values would be most of the work.
 */
static void query_fwd(const struct pt_k_attn *k, const struct attn_seq *s, const struct attn_keys *x, int h,
		      int64_t i, const struct attn_fwd *w)
{
	int64_t d = k->head_dim, row = s->q0 + i, lo, hi, from, to;
	const float *q = (const float *)k->q + row * k->ldq + h * d;
	float f;

	attn_range(k, s, x, i, &lo, &hi);
	if (lo >= hi)
		return;
	from = lo - lo % TILE_N;
	to = tile_up(hi, TILE_N);
	for (int64_t j = from; j < to; j++)
		w->s[j] = j < lo || j >= hi ? 0 : dot(q, x->k + j * x->ldk, d);
	attn_scores(k, w->s, from, to, lo, hi, k->bias ? w->line : NULL, NULL);
	f = soften(w->s, from, to, w->max, w->sum);
	for (int64_t c = 0; c < d; c++)
		w->o[c] *= f;
	if (k->dropout > 0) {
		const float *mask = attn_mask(k, x, row, h, w->mask);

		for (int64_t j = lo; j < hi; j++)
			w->s[j] *= mask[j];
	}
	add_values(w->o, w->s + lo, x->v + lo * x->ldv, x->ldv, hi - lo, d);
}

static void store_rows(const struct pt_k_attn *k, const struct attn_seq *s, int h, int64_t i0, int64_t i1,
		       const struct attn_fwd *w)
{
	int64_t d = k->head_dim, dp = tile_up(d, TILE_N);

	for (int64_t r = 0; r < i1 - i0; r++) {
		int64_t row = s->q0 + i0 + r;
		float *o = (float *)k->o + row * k->ldo + h * d, f = 1 / w->sum[r];

		if (w->sum[r] == 0)
			memset(o, 0, (size_t)d * sizeof *o);
		else
			for (int64_t c = 0; c < d; c++)
				o[c] = w->o[r * dp + c] * f;
		if (k->lse)
			k->lse[h * k->nq + row] = w->max[r] + logf(w->sum[r]);
	}
}

static void task_fwd(const struct pt_k_attn *k, const struct attn_seq *s, int h, int64_t i0, int64_t i1,
		     const int32_t *bucket, const struct attn_fwd *w)
{
	bool begun[ATTN_BLOCK / TILE_M] = { false };
	int64_t nkeys[2] = { s->nk, s->np };
	int g = h / (k->heads / k->kv_heads);
	bool one = i1 - i0 == 1;

	for (int64_t r = 0; r < i1 - i0; r++) {
		w->max[r] = -INFINITY;
		w->sum[r] = 0;
	}
	if (one)
		memset(w->o, 0, (size_t)k->head_dim * sizeof *w->o);
	for (int prefix = 1; prefix >= 0; prefix--) {
		for (int64_t at = 0; at < nkeys[prefix]; at += ATTN_BLOCK) {
			struct attn_keys x = attn_keys(k, s, prefix, at, g);
			int64_t from, to, other;

			attn_range(k, s, &x, i0, &from, &other);
			attn_range(k, s, &x, i1 - 1, &other, &to);
			if (from >= to)
				continue;
			if (k->bias)
				attn_line(k, bucket, h, attn_line_start(k, s, &x, i1), w->line);
			if (one) {
				query_fwd(k, s, &x, h, i0, w);
				continue;
			}
			pack_columns(w->k, x.k, x.ldk, x.n, k->head_dim);
			pack_rows(w->v, x.v, x.ldv, x.n, k->head_dim);
			for (int64_t r = 0; r < i1 - i0; r += TILE_M)
				tile_fwd(k, s, &x, h, i0, i1, r, w, &begun[r / TILE_M]);
		}
	}
	store_rows(k, s, h, i0, i1, w);
}

int pt_cpu_attn_fwd(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *err)
{
	const int64_t tasks = attn_count(k, false) * k->heads;
	const bool many = attn_many(k);
	struct attn_call c;
	float *base = (float *)k->scratch + attn_lay_call(k, k->scratch, false, &c);

	(void)err;
	attn_buckets(k, c.bucket);
#pragma omp parallel num_threads(pt_cpu_threads(dev)) if (many)
	{
		struct attn_fwd w;

		attn_lay_fwd(k, base + omp_get_thread_num() * attn_lay_fwd(k, NULL, &w), &w);
#pragma omp for schedule(dynamic)
		for (int64_t t = 0; t < tasks; t++) {
			/* The last queries, which see most keys where attention is causal, come first. */
			int64_t n = (tasks - 1 - t) / k->heads, b = attn_find(k, false, &n);
			struct attn_seq s = attn_seq(k, b);

			task_fwd(k, &s, (int)(t % k->heads), n * ATTN_BLOCK,
				 pt_min(s.nq, (n + 1) * ATTN_BLOCK), c.bucket, &w);
		}
	}
	return 0;
}
