/* SPDX-License-Identifier: MIT */
/*
 * attn.h - what forward and backward of attention share: sequences cut into
 * blocks of keys, which keys a query sees, scores from products.
 */
#ifndef PT_CPU_ATTN_H
#define PT_CPU_ATTN_H

#include <math.h>

#include "attn_tile.h"
#include "base/rng.h"
#include "block.h"
#include "fmath.h"
#include "philox.h"

#define ATTN_BLOCK 96		/* queries of a task, keys of a block: whole tiles in every vector length */
#define ATTN_LINE (2 * ATTN_BLOCK + 64)		/* biases of all distances in a pair of blocks */
#define ATTN_MASK (ATTN_BLOCK + 64)		/* what pt_philox_mask() may write */

/* One sequence; query i stands at key position i + off. */
struct attn_seq {
	int64_t q0, nq, k0, nk, p0, np, off;
};

static inline struct attn_seq attn_seq(const struct pt_k_attn *k, int64_t b)
{
	struct attn_seq s = { .q0 = k->host_cu_q[b], .k0 = k->host_cu_k[b] };
	int e = k->prefixes ? k->host_prefix_index[b] : -1;

	s.nq = k->host_cu_q[b + 1] - s.q0;
	s.nk = k->host_cu_k[b + 1] - s.k0;
	s.off = s.nk - s.nq;
	if (e >= 0) {
		s.p0 = k->host_cu_prefix[e];
		s.np = k->host_cu_prefix[e + 1] - s.p0;
	}
	return s;
}

/* Some keys of one head that a task takes at once: of the prefix, or of the sequence. */
struct attn_keys {
	bool prefix;
	int64_t at, n;			/* first key in the prefix or the sequence */
	int64_t index;			/* of the first among all keys, those of the prefix included */
	const float *k, *v;
	int64_t ldk, ldv;
};

static inline struct attn_keys attn_keys(const struct pt_k_attn *k, const struct attn_seq *s, bool prefix,
					 int64_t at, int g)
{
	int64_t d = k->head_dim, ldp = d * k->kv_heads, row = prefix ? s->p0 + at : s->k0 + at;
	struct attn_keys x = { .prefix = prefix, .at = at, .index = prefix ? at : s->np + at,
			       .ldk = prefix ? ldp : k->ldk, .ldv = prefix ? ldp : k->ldv };

	x.n = pt_min(ATTN_BLOCK, (prefix ? s->np : s->nk) - at);
	x.k = (const float *)(prefix ? k->prefix_k : k->k) + row * x.ldk + g * d;
	x.v = (const float *)(prefix ? k->prefix_v : k->v) + row * x.ldv + g * d;
	return x;
}

/* The keys of x, counted from its first, that query i sees: *lo to *hi, which do not fall with i. */
static inline void attn_range(const struct pt_k_attn *k, const struct attn_seq *s, const struct attn_keys *x,
			      int64_t i, int64_t *lo, int64_t *hi)
{
	int64_t at = i + s->off - x->at;

	*lo = 0;
	*hi = x->n;
	if (x->prefix)
		return;
	if (k->causal)
		*hi = at + 1;
	else if (k->window)
		*hi = at + k->window;
	if (k->window)
		*lo = at - k->window + 1;
	*hi = pt_max(0, pt_min(*hi, x->n));
	*lo = pt_max(0, pt_min(*lo, *hi));
}

/* T5's bucket of the distance key - query, with the float arithmetic of transformers. */
static inline int32_t attn_bucket(const struct pt_k_attn *k, int64_t rel)
{
	int n = k->buckets, out = 0, exact, far;
	int64_t d = rel > 0 ? 0 : -rel;

	if (k->bidirectional) {
		n /= 2;
		out = rel > 0 ? n : 0;
		d = rel < 0 ? -rel : rel;
	}
	exact = n / 2;
	if (d < exact)
		return out + (int32_t)d;
	far = exact + (int)(logf((float)d / (float)exact) /
			    (float)log((double)k->max_distance / exact) * (float)(n - exact));
	return out + (far < n - 1 ? far : n - 1);
}

/* Buckets of all distances from -attn_reach() to attn_reach(); those farther away are as these. */
static inline int64_t attn_reach(const struct pt_k_attn *k)
{
	int64_t prefix = k->prefixes ? k->host_cu_prefix[k->prefixes] : 0;

	return k->bias == PT_BIAS_BUCKETS ? pt_min(k->max_distance, k->nq + k->nk + prefix) : 0;
}

static inline void attn_buckets(const struct pt_k_attn *k, int32_t *bucket)
{
	int64_t reach = attn_reach(k);

	for (int64_t r = -reach; r <= reach && k->bias == PT_BIAS_BUCKETS; r++)
		bucket[r + reach] = attn_bucket(k, r);
}

static inline int32_t attn_bucket_of(const struct pt_k_attn *k, const int32_t *bucket, int64_t rel)
{
	int64_t reach = attn_reach(k);

	return bucket[pt_max(-reach, pt_min(rel, reach)) + reach];
}

/* Distance of key 0 of x from the last of the queries up to i1, or its position: where the line of biases begins. */
static inline int64_t attn_line_start(const struct pt_k_attn *k, const struct attn_seq *s, const struct attn_keys *x,
				      int64_t i1)
{
	return k->bias == PT_BIAS_KEY_SLOPES ? x->index : x->index - s->np - (i1 - 1 + s->off);
}

/* Where it begins for the query so many before the last. */
static inline int64_t attn_line_shift(const struct pt_k_attn *k, int64_t before)
{
	return k->bias == PT_BIAS_KEY_SLOPES ? 0 : before;
}

/* The biases that head h gives to the distances or positions from start on. */
static inline void attn_line(const struct pt_k_attn *k, const int32_t *bucket, int h, int64_t start, float *line)
{
	for (int64_t r = 0; r < ATTN_LINE; r++) {
		int64_t rel = start + r;

		if (k->bias == PT_BIAS_BUCKETS)
			line[r] = k->bias_table[(int64_t)attn_bucket_of(k, bucket, rel) * k->heads + h];
		else if (k->bias == PT_BIAS_KEY_SLOPES)
			line[r] = k->scale * pt_round_bf16(pt_round_bf16(k->bias_table[h]) * pt_round_bf16((float)rel));
		else
			line[r] = -k->bias_table[h] * (float)(rel < 0 ? -rel : rel);
	}
}

/*
 * Products s[from..to) of one query become scores: scaled, capped (with the
 * tanh in t, if that is given), biased (bias[j] for key j, or NULL), and -inf
 * outside lo..hi.
 */
static inline void attn_scores(const struct pt_k_attn *k, float *restrict s, int64_t from, int64_t to, int64_t lo,
			       int64_t hi, const float *restrict bias, float *restrict t)
{
	if (k->softcap > 0) {
		float in = k->scale / k->softcap;

		for (int64_t j = from; j < to; j++) {
			float x = pt_tanhf(s[j] * in);

			if (t)
				t[j] = x;
			s[j] = x * k->softcap;
		}
	} else {
		for (int64_t j = from; j < to; j++)
			s[j] *= k->scale;
	}
	for (int64_t j = from; j < to && bias; j++)
		s[j] += bias[j];
	for (int64_t j = from; j < lo; j++)
		s[j] = -INFINITY;
	for (int64_t j = hi; j < to; j++)
		s[j] = -INFINITY;
}

/* Factors of dropout of query row i of head h for all keys of x; m has ATTN_MASK elements. */
static inline const float *attn_mask(const struct pt_k_attn *k, const struct attn_keys *x, int64_t row, int h,
				     float *m)
{
	uint64_t key = pt_rng_mix(k->rng.key[row], k->site);

	return m + pt_philox_mask(m, key, (uint32_t)k->rng.pos[row], (uint32_t)h, x->index, x->n, k->dropout);
}

/* Blocks of queries, or of queries or keys, whichever are more. */
static inline int64_t attn_blocks(const struct pt_k_attn *k, int64_t b, bool keys)
{
	struct attn_seq s = attn_seq(k, b);

	return pt_blocks(keys ? pt_max(s.nq, s.nk) : s.nq, ATTN_BLOCK);
}

static inline int64_t attn_count(const struct pt_k_attn *k, bool keys)
{
	int64_t n = 0;

	for (int b = 0; b < k->batch; b++)
		n += attn_blocks(k, b, keys);
	return n;
}

/* Which sequence block t of all these belongs to; t becomes its number there. */
static inline int64_t attn_find(const struct pt_k_attn *k, bool keys, int64_t *t)
{
	int64_t b = 0, n;

	while (*t >= (n = attn_blocks(k, b, keys))) {
		*t -= n;
		b++;
	}
	return b;
}

/* Whether there is enough to do for more than one thread. */
static inline bool attn_many(const struct pt_k_attn *k)
{
	int64_t work = 0;

	for (int b = 0; b < k->batch; b++) {
		struct attn_seq s = attn_seq(k, b);

		work += s.nq * (s.np + s.nk);
	}
	return work * k->heads * k->head_dim > 1 << 18;
}

#endif
