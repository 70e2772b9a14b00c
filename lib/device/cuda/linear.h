/* SPDX-License-Identifier: MIT */
/*
 * linear.h - what the two halves of linears that share one input have in
 * common: linear.cu forward, linear_bwd.cu backward.
 */
#ifndef PT_DEVICE_CUDA_LINEAR_H
#define PT_DEVICE_CUDA_LINEAR_H

#include "device/cuda/lora.h"
#include "device/cuda/mix.h"

#define PT_MIX_ROWS 256			/* fewer rows are a library's business */

static inline int64_t pt_linear_rank(const struct pt_k_linear *l)
{
	int64_t r = 0;

	for (int t = 0; t < l->nterms; t++)
		r += l->term[t].r;
	return (r + PT_LORA_RANKS - 1) / PT_LORA_RANKS * PT_LORA_RANKS;
}

/* Where everything of a call stands in its scratch. */
struct pt_linear_work {
	int64_t ranks;			/* of the group */
	char *a;			/* [ranks,K] */
	char *u;			/* [N,ranks]: A x, or its gradient */
	char *b;			/* [outputs,ranks] of each linear */
	char *w;			/* the largest weight of another type */
	char *bias;			/* the largest bias of another type */
	char *x;			/* [N,K] x or dx of a term with dropout */
	char *u2;			/* [N,rank]: u where backward was given none */
	char *at;			/* [K,ranks]: a transposed, for backward; NULL: not wanted */
	char *lora;			/* of the kernels of lora.h */
	size_t bytes;
};

/* Where a linear's parts stand in the areas: its first rank, and bytes into u and b. */
struct pt_linear_place {
	int64_t rank;
	size_t u, b;
};

static inline void pt_linear_next(const struct pt_k_linear_group *g, const struct pt_k_linear *l, struct pt_linear_place *at)
{
	int64_t r = pt_linear_rank(l);
	size_t size = pt_cuda_size(g->type);

	at->rank += r;
	at->u += (size_t)r * size;
	at->b += (size_t)(l->n * r) * size;
}

static inline bool pt_linear_drops(const struct pt_k_linear_group *g)
{
	for (int i = 0; i < g->n; i++)
		for (int t = 0; t < g->lin[i].nterms; t++)
			if (g->lin[i].term[t].dropout > 0)
				return true;
	return false;
}

/* Whether linears and their terms are one product each (mix.h). */
static inline bool pt_linear_mixes(struct pt_device *dev, const struct pt_k_linear_group *g,
				   const struct pt_linear_work *w)
{
	if (!pt_cuda_of(dev)->hopper || g->type != PT_BF16 || !w->ranks || w->ranks > PT_LORA_MOST ||
	    g->n > PT_MIX_OUTS || g->rows < PT_MIX_ROWS || pt_linear_drops(g))
		return false;
	for (int i = 0; i < g->n; i++)
		if (g->lin[i].wtype != PT_BF16 || g->lin[i].transposed)
			return false;
	return true;
}

/* linear.cu */
struct pt_linear_work pt_linear_layout(struct pt_device *dev, const struct pt_k_linear_group *g, bool back, void *base);
/* A and B of all terms in the type of activations. */
int pt_linear_pack(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w, struct pt_error *err);
/* y (+)= x under the term's dropout. */
int pt_linear_drop(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_lowrank *m, const void *x,
		   void *y, bool acc, struct pt_error *err);
/* The weight in the type of activations. */
int pt_linear_weight(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_linear *l,
		     const struct pt_linear_work *w, const void **out, struct pt_error *err);

/* linear_bwd.cu: bytes that its calls of lora.h take. */
size_t pt_linear_lora_scratch(struct pt_device *dev, const struct pt_k_linear_group *g, int64_t ranks);

#endif
