/* SPDX-License-Identifier: MIT */
/*
 * attn_bwd.c - attention backward, probabilities made again from the stored
 * log-sum-exp (Dao et al. 2022), in five products.
 *
 * Queries and keys of a sequence are cut into n blocks of ATTN_BLOCK. A task is
 * one block of keys of one key/value head; in phase p it meets block
 * (own number + p) mod n of the queries, so that no two tasks of a phase write
 * to the same rows of dq, dk or dv, and every row gets its terms in the order
 * of the phases; in the first one it is written, unless it is added to.
 * Prefixes, whose rows several sequences share, have the last phase, with one
 * task for each entry and head.
 */
#include "device/cpu/cpu.h"

#include <omp.h>

#include "attn_work.h"

/* Part of a pair: one head's queries i0.. of a sequence, at most ATTN_SUB, and the keys x. */
struct sub {
	const struct attn_seq *s;
	const struct attn_keys *x;
	int h;
	int64_t i0, n;			/* queries */
	int64_t end;			/* behind the last query of the pair: where the line of biases begins */
	bool whole;			/* x are all keys of the sequence */
	int64_t from[ATTN_SUB / TILE_M], to[ATTN_SUB / TILE_M];	/* whole tiles of keys that each tile of queries sees */
};

/*
 * Row r: scores in p and gradients of probabilities in ds become probabilities
 * and gradients of products. These add up to zero over all keys. Where the row
 * is whole, probabilities are made to add up to one, and the mean that is taken
 * off is that of the very numbers it is taken off from, so that they do to the
 * last bits, also where keys are much alike.
 */
static void row_bwd(const struct attn_call *c, const struct sub *u, int64_t r, const struct attn_bwd *w, int64_t from,
		    int64_t to)
{
	const struct pt_k_attn *k = c->k;
	int64_t i = u->i0 + r, row = u->s->q0 + i, end = pt_min(to, u->x->n), lo, hi;
	bool bias = k->bias, cap = k->softcap > 0;
	float lse = k->lse[u->h * k->nq + row], delta = w->delta[r], one = 1, all = 0, sum = 0;
	float *restrict p = w->p + r * ATTN_BLOCK, *restrict ds = w->ds + r * ATTN_BLOCK;
	const float *mask = NULL, *line = w->line + attn_line_shift(k, u->end - 1 - i);
	float *restrict t = w->t;

	attn_range(k, u->s, u->x, i, &lo, &hi);
	attn_scores(k, p, from, to, lo, hi, bias ? line : NULL, cap ? t : NULL);
	if (lse == -INFINITY)
		lse = 0;		/* nothing is seen: all scores are -inf */
	if (k->dropout > 0)
		mask = attn_mask(k, u->x, row, u->h, w->mask);
	for (int64_t j = from; j < end && mask; j++)
		ds[j] *= mask[j];
#pragma omp simd safelen(8) reduction(+:all, sum)
	for (int64_t j = from; j < to; j++) {
		p[j] = pt_expf(p[j] - lse);
		all += p[j];
		sum += p[j] * ds[j];
	}
	if (u->whole) {
		one = all > 0 ? 1 / all : 0;
		delta = sum * one;
	}
	for (int64_t j = from; j < to; j++) {
		p[j] *= one;
		ds[j] = p[j] * (ds[j] - delta);
	}
	for (int64_t j = from; j < end && mask; j++)
		p[j] *= mask[j];
	for (int64_t j = from; j < end && bias && k->dbias; j++)
		w->dline[j + u->end - 1 - i] += ds[j];
	for (int64_t j = from; j < to && cap; j++)
		ds[j] *= 1 - t[j] * t[j];
	for (int64_t j = from; j < to; j++)
		ds[j] *= k->scale;
}

/* p and ds of the sub-block. What no query of a tile sees is zero. */
static void sub_scores(const struct attn_call *c, struct sub *u, const struct attn_bwd *w)
{
	const struct pt_k_attn *k = c->k;
	int64_t d = k->head_dim, q0 = u->s->q0 + u->i0, other;

	for (int64_t r = 0; r < u->n; r += TILE_M) {
		int64_t m = pt_min(TILE_M, u->n - r), from, to;
		float *p = w->p + r * ATTN_BLOCK, *ds = w->ds + r * ATTN_BLOCK;

		attn_range(k, u->s, u->x, u->i0 + r, &from, &other);
		attn_range(k, u->s, u->x, u->i0 + r + m - 1, &other, &to);
		from -= from % TILE_N;
		to = pt_max(from, tile_up(to, TILE_N));
		u->from[r / TILE_M] = from;
		u->to[r / TILE_M] = to;
		tile_rows((const float *)k->q + (q0 + r) * k->ldq + u->h * d, k->ldq, 1, m, w->kc, d * TILE_N,
			  from / TILE_N, to / TILE_N, d, p, ATTN_BLOCK, false);
		tile_rows((const float *)k->doo + (q0 + r) * k->ldo + u->h * d, k->ldo, 1, m, w->vc,
			  d * TILE_N, from / TILE_N, to / TILE_N, d, ds, ATTN_BLOCK, false);
		for (int64_t i = 0; i < m; i++) {
			memset(p + i * ATTN_BLOCK, 0, (size_t)from * sizeof *p);
			memset(ds + i * ATTN_BLOCK, 0, (size_t)from * sizeof *ds);
			memset(p + i * ATTN_BLOCK + to, 0, (size_t)(ATTN_BLOCK - to) * sizeof *p);
			memset(ds + i * ATTN_BLOCK + to, 0, (size_t)(ATTN_BLOCK - to) * sizeof *ds);
			if (from < to)
				row_bwd(c, u, r + i, w, from, to);
		}
	}
}

/* out[keys][dp] (+)= transposed a[ATTN_SUB][ATTN_BLOCK] * b, packed rows, leaving out tiles of zeros. */
static void sub_keys(const struct sub *u, const float *a, const float *b, int64_t dp, float *out, bool add)
{
	int64_t tiles = pt_blocks(u->n, TILE_M);

	for (int64_t j = 0; j < u->x->n; j += TILE_M) {
		int64_t t0 = 0, t1 = tiles, from, to;

		while (t0 < t1 && (u->to[t0] <= j || u->from[t0] >= j + TILE_M))
			t0++;
		while (t1 > t0 && (u->to[t1 - 1] <= j || u->from[t1 - 1] >= j + TILE_M))
			t1--;
		from = t0 * TILE_M;
		to = pt_min(t1 * TILE_M, u->n);
		tile_rows(a + from * ATTN_BLOCK + j, 1, ATTN_BLOCK, pt_min(TILE_M, u->x->n - j),
			  b + from * TILE_N, u->n * TILE_N, 0, dp / TILE_N, pt_max(to - from, 0), out + j * dp,
			  dp, add);
	}
}

/* Rows of a packed tile to memory, added or written. */
static void put_rows(float *restrict to, int64_t ld, const float *restrict from, int64_t dp, int64_t n, int64_t d,
		     bool add)
{
	for (int64_t i = 0; i < n; i++, to += ld, from += dp) {
		if (add)
			for (int64_t j = 0; j < d; j++)
				to[j] += from[j];
		else
			for (int64_t j = 0; j < d; j++)
				to[j] = from[j];
	}
}

static void zero_rows(float *to, int64_t ld, int64_t n, int64_t d)
{
	for (int64_t i = 0; i < n; i++)
		memset(to + i * ld, 0, (size_t)d * sizeof *to);
}

/* dq of the sub-block's rows. */
static void sub_queries(const struct attn_call *c, const struct sub *u, const struct attn_bwd *w, bool add)
{
	const struct pt_k_attn *k = c->k;
	int64_t d = k->head_dim, dp = tile_up(d, TILE_N);

	for (int64_t r = 0; r < u->n; r += TILE_M) {
		int64_t from = u->from[r / TILE_M], to = pt_min(u->to[r / TILE_M], u->x->n);
		int64_t m = pt_min(TILE_M, u->n - r);
		float *dq = (float *)k->dq + (u->s->q0 + u->i0 + r) * k->ldq + u->h * d;

		if (from < to) {
			tile_rows(w->ds + r * ATTN_BLOCK + from, ATTN_BLOCK, 1, m, w->kr + from * TILE_N,
				  u->x->n * TILE_N, 0, dp / TILE_N, to - from, w->dq, dp, false);
			put_rows(dq, k->ldq, w->dq, dp, m, d, add);
		} else if (!add) {
			zero_rows(dq, k->ldq, m, d);
		}
	}
}

/* Sums of doo * o over the sub-block's rows. */
static void sub_deltas(const struct pt_k_attn *k, const struct sub *u, const struct attn_bwd *w)
{
	for (int64_t r = 0; r < u->n; r++) {
		int64_t at = (u->s->q0 + u->i0 + r) * k->ldo + (int64_t)u->h * k->head_dim;
		const float *o = (const float *)k->o + at, *g = (const float *)k->doo + at;
		float sum = 0;

#pragma omp simd safelen(8) reduction(+:sum)
		for (int64_t j = 0; j < k->head_dim; j++)
			sum += o[j] * g[j];
		w->delta[r] = sum;
	}
}

/* Gradients of biases by distance, start being the first, added up by bucket. */
static void add_line(const struct attn_call *c, int64_t start, const float *dline, float *part)
{
	for (int64_t r = 0; r < ATTN_LINE; r++)
		part[attn_bucket_of(c->k, c->bucket, start + r)] += dline[r];
}

/* Where the gradients of a block of keys go (NULL: not wanted), the distance of its rows, what is added to. */
struct grad {
	float *dk, *dv, *part;
	int64_t ldk, ldv;
	bool add_q, add_k, add_v;
};

/* Queries i0..i1 of all heads of group g and the keys x, some of which they see. */
static void pair_bwd(const struct attn_call *c, const struct attn_seq *s, const struct attn_keys *x, int g,
		     int64_t i0, int64_t i1, const struct grad *to, const struct attn_bwd *w)
{
	const struct pt_k_attn *k = c->k;
	int64_t d = k->head_dim, dp = tile_up(d, TILE_N), start = attn_line_start(k, s, x, i1);
	int group = k->heads / k->kv_heads;
	bool bias = k->bias, add = false;

	pack_columns(w->kc, x->k, x->ldk, x->n, d);
	pack_columns(w->vc, x->v, x->ldv, x->n, d);
	if (k->dq)
		pack_rows(w->kr, x->k, x->ldk, x->n, d);
	for (int h = g * group; h < (g + 1) * group; h++) {
		if (bias)
			attn_line(k, c->bucket, h, start, w->line);
		if (to->part)
			memset(w->dline, 0, ATTN_LINE * sizeof *w->dline);
		for (int64_t i = i0; i < i1; i += ATTN_SUB) {
			struct sub u = { .s = s, .x = x, .h = h, .i0 = i, .n = pt_min(ATTN_SUB, i1 - i), .end = i1,
					 .whole = !s->np && x->n == s->nk };
			int64_t row = s->q0 + i;

			if (!u.whole)
				sub_deltas(k, &u, w);
			sub_scores(c, &u, w);
			if (to->dv) {
				pack_rows(w->gr, (const float *)k->doo + row * k->ldo + h * d, k->ldo, u.n, d);
				sub_keys(&u, w->p, w->gr, dp, w->dv, add);
			}
			if (to->dk) {
				pack_rows(w->qr, (const float *)k->q + row * k->ldq + h * d, k->ldq, u.n, d);
				sub_keys(&u, w->ds, w->qr, dp, w->dk, add);
			}
			if (k->dq)
				sub_queries(c, &u, w, to->add_q);
			add = true;
		}
		if (to->part)
			add_line(c, start, w->dline, to->part + (int64_t)h * k->buckets);
	}
	if (to->dk)
		put_rows(to->dk, to->ldk, w->dk, dp, x->n, d, to->add_k);
	if (to->dv)
		put_rows(to->dv, to->ldv, w->dv, dp, x->n, d, to->add_v);
}

/* Whether one of the queries i0..i1 sees one of the keys x. */
static bool pair_sees(const struct pt_k_attn *k, const struct attn_seq *s, const struct attn_keys *x, int64_t i0,
		      int64_t i1)
{
	int64_t first, last, other;

	if (i0 >= i1 || x->n <= 0)
		return false;
	attn_range(k, s, x, i0, &first, &other);
	attn_range(k, s, x, i1 - 1, &other, &last);
	return first < last;
}

/* Block kb of the keys of a sequence meets a block of its queries; either may be empty. */
static void task_bwd(const struct attn_call *c, int64_t block, int64_t phase, int g, const struct attn_bwd *w)
{
	const struct pt_k_attn *k = c->k;
	int64_t kb = block, b = attn_find(k, true, &kb), d = k->head_dim, n = attn_blocks(k, b, true);
	int64_t group = k->heads / k->kv_heads, i0 = (kb + phase) % n * ATTN_BLOCK, i1;
	struct attn_seq s = attn_seq(k, b);
	struct attn_keys x;
	struct grad to = { .ldk = k->ldk, .ldv = k->ldv, .add_q = phase || k->acc_dq,
			   .add_k = phase || k->acc_dk, .add_v = phase || k->acc_dv };

	if (phase >= n)
		return;
	i1 = pt_min(s.nq, i0 + ATTN_BLOCK);
	x = attn_keys(k, &s, false, pt_min(kb * ATTN_BLOCK, s.nk), g);
	if (k->dk)
		to.dk = (float *)k->dk + (s.k0 + x.at) * k->ldk + g * d;
	if (k->dv)
		to.dv = (float *)k->dv + (s.k0 + x.at) * k->ldv + g * d;
	if (k->dbias && c->blocks)
		to.part = c->part + block * k->heads * k->buckets;
	if (pair_sees(k, &s, &x, i0, i1)) {
		pair_bwd(c, &s, &x, g, i0, i1, &to, w);
		return;
	}
	if (k->dq && !to.add_q)
		zero_rows((float *)k->dq + (s.q0 + i0) * k->ldq + g * group * d, k->ldq, i1 - i0, group * d);
	if (k->dk && !to.add_k)
		zero_rows(to.dk, k->ldk, x.n, d);
	if (k->dv && !to.add_v)
		zero_rows(to.dv, k->ldv, x.n, d);
}

/* Entry e of the prefix table and all the sequences that have it. */
static void task_prefix(const struct attn_call *c, int e, int g, float *part, const struct attn_bwd *w)
{
	const struct pt_k_attn *k = c->k;
	int64_t ldp = (int64_t)k->kv_heads * k->head_dim, d = k->head_dim;

	for (int b = 0; b < k->batch; b++) {
		struct attn_seq s = attn_seq(k, b);

		if (k->host_prefix_index[b] != e)
			continue;
		for (int64_t at = 0; at < s.np; at += ATTN_BLOCK) {
			struct attn_keys x = attn_keys(k, &s, true, at, g);
			int64_t to_row = (s.p0 + at) * ldp + g * d;
			struct grad to = { .part = part, .ldk = ldp, .ldv = ldp, .add_q = true, .add_k = true,
					   .add_v = true };

			if (k->dprefix_k)
				to.dk = (float *)k->dprefix_k + to_row;
			if (k->dprefix_v)
				to.dv = (float *)k->dprefix_v + to_row;
			for (int64_t i = 0; i < s.nq; i += ATTN_BLOCK)
				pair_bwd(c, &s, &x, g, i, pt_min(s.nq, i + ATTN_BLOCK), &to, w);
		}
	}
}

/* The table's gradient: its parts in the order of blocks. */
static void add_parts(const struct attn_call *c, int64_t blocks)
{
	const struct pt_k_attn *k = c->k;

	for (int h = 0; h < k->heads; h++) {
		for (int n = 0; n < k->buckets; n++) {
			double sum = 0;

			for (int64_t b = 0; b < blocks; b++)
				sum += (double)c->part[(b * k->heads + h) * k->buckets + n];
			k->dbias[n * k->heads + h] += (float)sum;
		}
	}
}

static int turn_back(struct pt_device *dev, const struct pt_k_rope *turn, void *x, int64_t n, struct pt_error *err)
{
	struct pt_k_rope k;

	if (!turn || !x)
		return 0;
	k = *turn;
	k.n = n;
	k.x = x;
	k.inverse = true;
	return pt_cpu_rope(dev, &k, err);
}

int pt_cpu_attn_bwd(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *err)
{
	int64_t blocks = attn_count(k, true), phases = 0;
	struct attn_call c;
	float *base = (float *)k->scratch + attn_lay_call(k, k->scratch, true, &c);
	bool bias = k->dbias && c.blocks, many = attn_many(k);

	attn_buckets(k, c.bucket);
	for (int b = 0; b < k->batch; b++)
		phases = pt_max(phases, attn_blocks(k, b, true));
	if (bias)
		memset(c.part, 0, (size_t)((blocks + k->prefixes) * k->heads * k->buckets) * sizeof *c.part);
#pragma omp parallel num_threads(pt_cpu_threads(dev)) if (many)
	{
		struct attn_bwd w;

		attn_lay_bwd(k, base + omp_get_thread_num() * attn_lay_bwd(k, NULL, &w), &w);
		for (int64_t p = 0; p < phases; p++) {
#pragma omp for schedule(dynamic)
			for (int64_t t = 0; t < blocks * k->kv_heads; t++)
				task_bwd(&c, t / k->kv_heads, p, (int)(t % k->kv_heads), &w);
		}
#pragma omp for schedule(dynamic)
		for (int64_t t = 0; t < (int64_t)k->prefixes * k->kv_heads; t++) {
			int64_t e = t / k->kv_heads;

			task_prefix(&c, (int)e, (int)(t % k->kv_heads),
				    bias ? c.part + (blocks + e) * k->heads * k->buckets : NULL, &w);
		}
	}
	if (bias)
		add_parts(&c, blocks + k->prefixes);
	return turn_back(dev, k->turn_q, k->dq, k->nq, err) || turn_back(dev, k->turn_k, k->dk, k->nk, err) ? err->status : 0;
}
