/* SPDX-License-Identifier: MIT */
/*
 * attn_work.h - how attention lays out its scratch: what a thread needs, which
 * depends on the head size and on the blocks that there can be, and what all
 * threads share.
 */
#ifndef PT_CPU_ATTN_WORK_H
#define PT_CPU_ATTN_WORK_H

#include "attn.h"

/* Pieces of 64 bytes: n floats at *at, which moves on. Without a base only the size is counted. */
static inline float *attn_take(float *base, int64_t *at, int64_t n)
{
	float *x = base ? base + *at : NULL;

	*at += tile_up(n, 16);
	return x;
}

/* Queries and keys of the largest block, in whole tiles. */
static inline int64_t attn_most_queries(const struct pt_k_attn *k)
{
	return pt_min(ATTN_BLOCK, tile_up(k->nq, TILE_M));
}

static inline int64_t attn_most_keys(const struct pt_k_attn *k)
{
	int64_t prefix = k->prefixes ? k->host_cu_prefix[k->prefixes] : 0;

	return pt_min(ATTN_BLOCK, tile_up(pt_max(k->nk, prefix), TILE_N));
}

/* A thread's share of forward. dp: the head size in whole tiles. */
struct attn_fwd {
	float *k, *v;			/* packed keys, by columns, and values, by rows */
	float *o;			/* [ATTN_BLOCK][dp], not yet divided */
	float *s;			/* [TILE_M][ATTN_BLOCK] scores */
	float *max, *sum;		/* [ATTN_BLOCK] */
	float *line, *mask;		/* biases by distance, factors of dropout of a row */
};

static inline int64_t attn_lay_fwd(const struct pt_k_attn *k, float *base, struct attn_fwd *w)
{
	int64_t d = k->head_dim, dp = tile_up(d, TILE_N), at = 0;
	int64_t queries = attn_most_queries(k), keys = attn_most_keys(k);

	w->k = attn_take(base, &at, keys * d);
	w->v = attn_take(base, &at, keys * dp);
	w->o = attn_take(base, &at, queries * dp);
	w->s = attn_take(base, &at, TILE_M * ATTN_BLOCK);
	w->max = attn_take(base, &at, ATTN_BLOCK);
	w->sum = attn_take(base, &at, ATTN_BLOCK);
	w->line = attn_take(base, &at, ATTN_LINE);
	w->mask = attn_take(base, &at, ATTN_MASK);
	return at;
}

#define ATTN_SUB 48			/* queries whose scores backward keeps at once */

/* A thread's share of backward. */
struct attn_bwd {
	float *kc, *vc, *kr;		/* packed keys and values, by columns; keys by rows */
	float *qr, *gr;			/* packed queries and gradients of o, by rows, [ATTN_SUB] */
	float *p, *ds;			/* [ATTN_SUB][ATTN_BLOCK] probabilities (dropped), gradients of products */
	float *dk, *dv;			/* [ATTN_BLOCK][dp] */
	float *dq;			/* [TILE_M][dp] */
	float *line, *dline;		/* biases by distance, their gradients */
	float *delta;			/* [ATTN_SUB] sum of doo * o, of rows in pieces */
	float *t, *mask;		/* tanh of the soft cap, factors of dropout of a row */
};

static inline int64_t attn_lay_bwd(const struct pt_k_attn *k, float *base, struct attn_bwd *w)
{
	int64_t d = k->head_dim, dp = tile_up(d, TILE_N), at = 0;
	int64_t queries = pt_min(ATTN_SUB, attn_most_queries(k)), keys = attn_most_keys(k);

	w->kc = attn_take(base, &at, keys * d);
	w->vc = attn_take(base, &at, keys * d);
	w->kr = attn_take(base, &at, keys * dp);
	w->qr = attn_take(base, &at, queries * dp);
	w->gr = attn_take(base, &at, queries * dp);
	w->p = attn_take(base, &at, queries * ATTN_BLOCK);
	w->ds = attn_take(base, &at, queries * ATTN_BLOCK);
	w->dk = attn_take(base, &at, tile_up(keys, TILE_M) * dp);
	w->dv = attn_take(base, &at, tile_up(keys, TILE_M) * dp);
	w->dq = attn_take(base, &at, TILE_M * dp);
	w->line = attn_take(base, &at, ATTN_LINE);
	w->dline = attn_take(base, &at, ATTN_LINE);
	w->delta = attn_take(base, &at, ATTN_SUB);
	w->t = attn_take(base, &at, ATTN_BLOCK);
	w->mask = attn_take(base, &at, ATTN_MASK);
	return at;
}

/* What all threads share; the threads' parts stand behind it. */
struct attn_call {
	const struct pt_k_attn *k;
	int32_t *bucket;		/* of distances from -attn_reach() on */
	float *part;			/* backward: gradients of the bias table by task, [blocks][H][buckets], prefixes last */
	int64_t blocks;			/* at most, by shapes alone */
};

static inline int64_t attn_lay_call(const struct pt_k_attn *k, float *base, bool backward, struct attn_call *c)
{
	int64_t at = 0;

	c->k = k;
	c->blocks = backward && k->bias == PT_BIAS_BUCKETS ? (k->nq + k->nk) / ATTN_BLOCK + k->batch + k->prefixes : 0;
	c->bucket = (int32_t *)attn_take(base, &at, 2 * attn_reach(k) + 1);
	c->part = attn_take(base, &at, c->blocks * k->heads * k->buckets);
	return at;
}

#endif
