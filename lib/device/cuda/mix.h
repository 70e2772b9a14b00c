/* SPDX-License-Identifier: MIT */
/*
 * mix.h - products of bf16 on Hopper whose inner size runs through several
 * pairs of operands: a linear with its low-rank term is one product, and so is
 * the gradient of the input of several linears with all their terms.
 */
#ifndef PT_DEVICE_CUDA_MIX_H
#define PT_DEVICE_CUDA_MIX_H

#include "device/cuda/cuda.h"

#define PT_MIX_OUTS 4
#define PT_MIX_PARTS 8

/* y [m,n] = sum over its parts of a [m,k] b' with b [n,k], or a b with b [k,n] where across. */
struct pt_mix {
	int64_t m;
	bool across;
	bool acc;			/* adds to what is there */
	int outs, parts;
	struct {
		int64_t n;
		void *y;		/* [m,n] */
		int first;		/* part; the next one's first ends them */
		const struct pt_k_rope *turn;	/* y is rotated; NULL: not */
	} out[PT_MIX_OUTS];
	enum pt_act act;
	void *z;			/* [m,n] act(y of the first) * y of the second, of two; NULL: not wanted */
	struct {
		const void *a, *b;
		int64_t k, lda, ldb;
	} part[PT_MIX_PARTS];
};

/* False: processor, addresses or sizes do not fit, nor what is asked for beside the products; nothing was done. */
bool pt_mix(struct pt_device *dev, const struct pt_mix *p);

/* u [m,r] = x [m,k] a', a [r,k]; r a multiple of 16, at most 64. Columns from copy.first on go to copy.to [m,copy.r] too. */
struct pt_mix_down {
	int64_t m, k, r;
	const void *x, *a;
	void *u;
	int copies;
	struct {
		int64_t first, r;
		void *to;
	} copy[PT_MIX_OUTS];
};

bool pt_mix_down(struct pt_device *dev, const struct pt_mix_down *p);

#endif
