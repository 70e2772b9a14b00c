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

#define PT_LORA_JOBS 4
#define PT_LORA_GRADS 16

/*
 * One pass over each job's x [m,n]: du [m,r] = x b where b [n,r] is given, and
 * sums of x' u, u [m,ldu] with r ranks, of which some columns are added to
 * gradients: to[n,r] += scale * (x' u)[:,from..], or its transpose to[r,n].
 */
struct pt_lora_back {
	int64_t m, r;			/* r a multiple of 16 */
	int jobs, grads;
	struct {
		int64_t n;
		void *x;		/* read, unless dz is given */
		const void *u;		/* NULL: no x' u, in all jobs */
		int64_t ldu, ur;	/* columns of u that are there, a multiple of 8 */
		const void *b;		/* NULL: no du, in all jobs */
		void *du;
		int64_t lddu;
	} job[PT_LORA_JOBS];
	/*
	 * dz [m,n] given: x of the two jobs, which have all of the above, are made first: the gradients of gate and up
	 * [m,n] where dz is that of act(gate) * up. x of the first may be dz.
	 */
	enum pt_act act;
	const void *dz, *gate, *up;
	struct {
		int job;
		bool transposed;
		int64_t from, r;
		float scale;
		float *to;
	} grad[PT_LORA_GRADS];
	void *scratch;			/* pt_lora_scratch() bytes */
};

/* Of m, r, the n of all jobs, and whether dz is given; fewer rows take no more. */
size_t pt_lora_scratch(struct pt_device *dev, const struct pt_lora_back *k);
/* False: addresses or sizes do not fit, nothing was done. */
bool pt_lora_back(struct pt_device *dev, const struct pt_lora_back *k);

#endif
