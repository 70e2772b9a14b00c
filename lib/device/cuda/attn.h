/* SPDX-License-Identifier: MIT */
/*
 * attn.h - what the kernels of attention share: which keys a query sees, and
 * what is done to a score (scale, soft cap, bias).
 */
#ifndef PT_DEVICE_CUDA_ATTN_H
#define PT_DEVICE_CUDA_ATTN_H

#include "device/cuda/cuda.h"

#define PT_ATTN_DIM 256			/* head sizes to here */
#define PT_ATTN_BUCKETS 128
#define PT_ATTN_EXACT 128		/* keys to which a second look at them in backward costs little */

/* By which rows were rotated before; cos NULL: not, or not these kernels' business. */
struct pt_attn_turn {
	const int32_t *pos;
	const float *cos, *sin;		/* [positions,D/2] */
};

struct pt_attn_call {
	struct pt_k_attn k;
	struct pt_attn_turn turn_q, turn_k;
	struct pt_drop drop;
	float *delta;			/* [H,Nq] backward: sum of do * o */
	float *fix;			/* [H,Nq] backward: what powers by lse are multiplied with to add up to 1 */
	bool exact;			/* delta is summed over the keys: o may be rounded, and lse is */
	float *table;			/* [Nq,H,buckets] gradient of the bias by row; NULL: not wanted */
	int16_t far[PT_ATTN_BUCKETS];	/* the least distance of each bucket of its half */
	int half;			/* buckets of a half (all, unless bidirectional) */
};

/* One sequence as the kernels see it. */
struct pt_attn_seq {
	int q0, nq, k0, nk;		/* rows of queries and keys */
	int p0, np;			/* rows of its prefix */
	int ahead;			/* nk - nq: key position of query 0 */
};

static __device__ inline struct pt_attn_seq pt_attn_seq_of(const struct pt_k_attn &k, int b)
{
	struct pt_attn_seq s = { k.cu_q[b], k.cu_q[b + 1] - k.cu_q[b], k.cu_k[b], k.cu_k[b + 1] - k.cu_k[b], 0, 0, 0 };
	int e = k.prefixes ? k.prefix_index[b] : -1;

	s.ahead = s.nk - s.nq;
	if (e >= 0) {
		s.p0 = k.cu_prefix[e];
		s.np = k.cu_prefix[e + 1] - s.p0;
	}
	return s;
}

/* Keys [lo, hi) that query i sees, prefix aside. */
static __device__ inline void pt_attn_keys(const struct pt_k_attn &k, const struct pt_attn_seq &s, int i, int *lo, int *hi)
{
	int at = i + s.ahead;

	*lo = 0;
	*hi = s.nk;
	if (k.causal && at + 1 < *hi)
		*hi = at + 1;
	if (k.window) {
		if (at - k.window + 1 > *lo)
			*lo = at - k.window + 1;
		if (at + k.window < *hi)
			*hi = at + k.window;
	}
}

/* Queries [lo, hi) that see key j. */
static __device__ inline void pt_attn_queries(const struct pt_k_attn &k, const struct pt_attn_seq &s, int j, int *lo,
					      int *hi)
{
	int at = j - s.ahead;

	*lo = 0;
	*hi = s.nq;
	if (k.causal && at > *lo)
		*lo = at;
	if (k.window) {
		if (at - k.window + 1 > *lo)
			*lo = at - k.window + 1;
		if (at + k.window < *hi)
			*hi = at + k.window;
	}
}

/* attn.cu: scratch and arguments that all forms share. */
int pt_cuda_attn_call(struct pt_device *dev, const struct pt_k_attn *k, bool back, struct pt_attn_call *c,
		      struct pt_error *err);

/* attn_fwd.cu, attn_bwd.cu: on tensor cores; false: not for this call. */
bool pt_cuda_attn_fwd_mma(struct pt_device *dev, const struct pt_attn_call *c);
bool pt_cuda_attn_bwd_mma(struct pt_device *dev, const struct pt_attn_call *c);

/* attn_hopper_*.cu: heads of 64 and 128, nothing but masks; the same. */
bool pt_cuda_attn_fwd_hopper(struct pt_device *dev, const struct pt_attn_call *c);
bool pt_cuda_attn_bwd_hopper(struct pt_device *dev, const struct pt_attn_call *c);

/* Whether rows at p may be read 16 bytes at once. */
static inline bool pt_attn_even(const void *p, int64_t ld)
{
	return (uintptr_t)p % 16 == 0 && ld % 8 == 0;
}

static inline int pt_attn_longest(const int32_t *cu, int n)
{
	int max = 0;

	for (int b = 0; b < n; b++)
		max = cu[b + 1] - cu[b] > max ? cu[b + 1] - cu[b] : max;
	return max;
}

#endif
