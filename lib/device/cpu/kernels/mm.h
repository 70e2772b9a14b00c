/* SPDX-License-Identifier: MIT */
/*
 * mm.h - the products of the CPU: lists of C = sum of A_i B_i, and what the
 * kernels need fused into them. mm.c says how.
 */
#ifndef PT_CPU_MM_H
#define PT_CPU_MM_H

#include "device/cpu/cpu.h"

#define pt_cpu_mm		PT_CPU_NAME(pt_cpu_mm)
#define pt_cpu_mm_colsum	PT_CPU_NAME(pt_cpu_mm_colsum)

/* Dropout inside of a product: factors by (row of x, channel of x), as pt_k_dropout has them. */
enum pt_mm_drop {
	PT_MM_DROP_NONE,
	PT_MM_DROP_A,		/* on A [rows, channels], not transposed: drop(x) A' */
	PT_MM_DROP_B,		/* on B [rows, channels]: du' drop(x) */
	PT_MM_DROP_C,		/* on the addend of C [rows, channels]: drop(du A) */
};

/* One addend scale * A[m,k] B[k,n]. */
struct pt_mm_part {
	int64_t k;
	const void *a;		/* A[i,l] at a[i * lda + l], or a[l * lda + i] where ta */
	enum pt_dtype at;
	int64_t lda;
	bool ta;
	const void *b;		/* B[l,j] at b[l * ldb + j], or b[j * ldb + l] where tb */
	enum pt_dtype bt;
	int64_t ldb;
	bool tb;
	float scale;
	enum pt_mm_drop drop;
	struct pt_k_rows rng;
	uint64_t site;
	float p;
};

/* C[m,n] (+)= sum of the parts + bias. Everything f32 but what the parts say. */
struct pt_mm {
	int64_t m, n;
	float *c;
	int64_t ldc;
	bool acc;		/* add to C */
	const float *bias;	/* [n] or NULL */
	const struct pt_mm_part *part;
	int nparts;
	bool round;		/* round A and B as bf16 does */
};

/* All products of the list; outputs do not overlap, none is an input of another. */
void pt_cpu_mm(struct pt_device *dev, const struct pt_mm *list, int n);

/* out[j] += scale * sum over i < m of a[i * lda + j], j < n. */
void pt_cpu_mm_colsum(struct pt_device *dev, const float *a, int64_t m, int64_t n, int64_t lda, float scale,
		      float *out);

#endif
