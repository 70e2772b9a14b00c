/* SPDX-License-Identifier: MIT */
/*
 * lora.h - the skinny products of low-rank terms in bf16, each one pass over
 * its large operand. Libraries run them at a third of the memory's speed.
 */
#ifndef PT_DEVICE_CUDA_LORA_H
#define PT_DEVICE_CUDA_LORA_H

#include "device/cuda/cuda.h"

#define PT_LORA_RANKS 16		/* ranks are padded to a multiple */
#define PT_LORA_MOST 64			/* ranks of one call */

/* y [m,n] (+)= u [m,r] p [n,r]'; r a multiple of 16; ldu, ldy in elements. False: addresses do not fit. */
bool pt_lora_up(struct pt_device *dev, int64_t m, int64_t n, int64_t r, const void *u, int64_t ldu, const void *p, void *y,
		int64_t ldy, bool acc);

/*
 * One pass over x [m,n]: du [m,r] = x b where b [n,r] is given, and sums of
 * x' u, u [m,ldu] with r ranks, of blocks of rows, which pt_lora_grad() adds up.
 */
struct pt_lora_back {
	int64_t m, n, r;		/* r a multiple of 16 */
	const void *x;
	const void *u;			/* NULL: no x' u */
	int64_t ldu, ur;		/* columns of u that are there, a multiple of 8 */
	const void *b;			/* NULL: no du */
	void *du;
	int64_t lddu;
	void *scratch;			/* pt_lora_scratch() bytes */
};

size_t pt_lora_scratch(struct pt_device *dev, int64_t m, int64_t n, int64_t r);
bool pt_lora_back(struct pt_device *dev, const struct pt_lora_back *k);

/* After that: to[n,r] += scale * (x' u)[:,from..], or its transpose to[r,n]. */
void pt_lora_grad(struct pt_device *dev, const struct pt_lora_back *k, int64_t from, int64_t r, float scale,
		  bool transposed, float *to);

#endif
