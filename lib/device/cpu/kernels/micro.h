/* SPDX-License-Identifier: MIT */
/*
 * micro.h - the innermost product: MR rows of A times NV vectors of columns,
 * held in registers while k runs. A is read where it lies, row by row, B from
 * a packed panel [k][nv lanes].
 *
 * One function for each number of rows and of vectors, all made of one text
 * with these as constants. (G. Goto, R. van de Geijn 2008, "Anatomy of
 * high-performance matrix multiplication"; no packing of A: rows are short
 * enough to stay in the cache, and packing them costs more than it saves.)
 */
#ifndef PT_CPU_MICRO_H
#define PT_CPU_MICRO_H

#include "device/cpu/cpu.h"

#if PT_VL == 16
#define MICRO_R 8
#define MICRO_V 3
#define MICRO_ALL(v) (pt_vf){ v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v }
#elif PT_VL == 8
#define MICRO_R 6
#define MICRO_V 2
#define MICRO_ALL(v) (pt_vf){ v, v, v, v, v, v, v, v }
#else
#define MICRO_R 4
#define MICRO_V 2
#define MICRO_ALL(v) (pt_vf){ v, v, v, v }
#endif
#define MICRO_N (MICRO_V * PT_VL)	/* columns of a panel */

/* What happens to C: it is overwritten with the product plus bias (or NULL), or added to. */
typedef void micro_fn(const float *a, int64_t lda, const float *b, int64_t k, float *c, int64_t ldc, bool add,
		      const float *bias);

static inline __attribute__((always_inline)) void
micro(const int mr, const int nv, const float *restrict a, int64_t lda, const float *restrict b, int64_t k,
      float *restrict c, int64_t ldc, bool add, const float *restrict bias)
{
	pt_vf s[MICRO_R][MICRO_V], w[MICRO_V];

	for (int i = 0; i < mr; i++)
		for (int j = 0; j < nv; j++)
			s[i][j] = (pt_vf){ 0 };
	for (int64_t l = 0; l < k; l++) {
		for (int j = 0; j < nv; j++)
			w[j] = *(const pt_vf *)(b + (l * nv + j) * PT_VL);
#pragma GCC unroll 8
		for (int i = 0; i < mr; i++) {
			const float x = a[i * lda + l];
			const pt_vf v = MICRO_ALL(x);

			for (int j = 0; j < nv; j++)
				s[i][j] += v * w[j];
		}
	}
	if (bias) {
		for (int j = 0; j < nv; j++)
			w[j] = *(const pt_vf_u *)(bias + j * PT_VL);
		for (int i = 0; i < mr; i++)
			for (int j = 0; j < nv; j++)
				s[i][j] += w[j];
	}
	if (add)
		for (int i = 0; i < mr; i++)
			for (int j = 0; j < nv; j++)
				s[i][j] += *(pt_vf_u *)(c + i * ldc + j * PT_VL);
	for (int i = 0; i < mr; i++)
		for (int j = 0; j < nv; j++)
			*(pt_vf_u *)(c + i * ldc + j * PT_VL) = s[i][j];
}

#define MICRO_ONE(mr, nv) \
	static void micro_##mr##_##nv(const float *a, int64_t lda, const float *b, int64_t k, float *c, \
				      int64_t ldc, bool add, const float *bias) \
	{ \
		micro(mr, nv, a, lda, b, k, c, ldc, add, bias); \
	}
#define MICRO_ROWS4(nv) MICRO_ONE(1, nv) MICRO_ONE(2, nv) MICRO_ONE(3, nv) MICRO_ONE(4, nv)
#define MICRO_NAMES4(nv) micro_1_##nv, micro_2_##nv, micro_3_##nv, micro_4_##nv
#if MICRO_R == 8
#define MICRO_ROWS(nv) MICRO_ROWS4(nv) MICRO_ONE(5, nv) MICRO_ONE(6, nv) MICRO_ONE(7, nv) MICRO_ONE(8, nv)
#define MICRO_NAMES(nv) MICRO_NAMES4(nv), micro_5_##nv, micro_6_##nv, micro_7_##nv, micro_8_##nv
#elif MICRO_R == 6
#define MICRO_ROWS(nv) MICRO_ROWS4(nv) MICRO_ONE(5, nv) MICRO_ONE(6, nv)
#define MICRO_NAMES(nv) MICRO_NAMES4(nv), micro_5_##nv, micro_6_##nv
#else
#define MICRO_ROWS(nv) MICRO_ROWS4(nv)
#define MICRO_NAMES(nv) MICRO_NAMES4(nv)
#endif

MICRO_ROWS(1)
MICRO_ROWS(2)
#if MICRO_V == 3
MICRO_ROWS(3)
#endif

/* By vectors and rows, each less one. */
static micro_fn *const micro_table[MICRO_V][MICRO_R] = {
	{ MICRO_NAMES(1) },
	{ MICRO_NAMES(2) },
#if MICRO_V == 3
	{ MICRO_NAMES(3) },
#endif
};

#endif
