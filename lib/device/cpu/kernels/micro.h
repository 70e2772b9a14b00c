/* SPDX-License-Identifier: MIT */
/*
 * micro.h - the innermost product: MR rows of A times NV vectors of columns,
 * held in registers while k runs. A is read where it lies (its rows, or its
 * columns where it is stored transposed), B from a packed panel [k][nv lanes].
 *
 * One function for each number of rows, of vectors and order of A, all made of
 * one text with these as constants. (G. Goto, R. van de Geijn 2008, "Anatomy of
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
micro(const int mr, const int nv, const bool ta, const float *restrict a, int64_t lda, const float *restrict b,
      int64_t k, float *restrict c, int64_t ldc, bool add, const float *restrict bias)
{
	pt_vf s[MICRO_R][MICRO_V];

	for (int i = 0; i < mr; i++)
		for (int j = 0; j < nv; j++)
			s[i][j] = (pt_vf){ 0 };
	for (int64_t l = 0; l < k; l++) {
		pt_vf w[MICRO_V];

		for (int j = 0; j < nv; j++)
			w[j] = *(const pt_vf *)(b + (l * nv + j) * PT_VL);
#pragma GCC unroll 8
		for (int i = 0; i < mr; i++) {
			const float x = ta ? a[l * lda + i] : a[i * lda + l];
			const pt_vf v = MICRO_ALL(x);

			for (int j = 0; j < nv; j++)
				s[i][j] += v * w[j];
		}
	}
	for (int i = 0; i < mr; i++) {
		for (int j = 0; j < nv; j++) {
			pt_vf_u *to = (pt_vf_u *)(c + i * ldc + j * PT_VL);

			if (add)
				s[i][j] += *to;
			if (bias)
				s[i][j] += *(const pt_vf_u *)(bias + j * PT_VL);
			*to = s[i][j];
		}
	}
}

#define MICRO_ONE(mr, nv, ta) \
	static void micro_##mr##_##nv##_##ta(const float *a, int64_t lda, const float *b, int64_t k, float *c, \
					     int64_t ldc, bool add, const float *bias) \
	{ \
		micro(mr, nv, ta, a, lda, b, k, c, ldc, add, bias); \
	}
#define MICRO_ROWS4(nv, ta) MICRO_ONE(1, nv, ta) MICRO_ONE(2, nv, ta) MICRO_ONE(3, nv, ta) MICRO_ONE(4, nv, ta)
#define MICRO_NAMES4(nv, ta) micro_1_##nv##_##ta, micro_2_##nv##_##ta, micro_3_##nv##_##ta, micro_4_##nv##_##ta
#if MICRO_R == 8
#define MICRO_ROWS(nv, ta) MICRO_ROWS4(nv, ta) MICRO_ONE(5, nv, ta) MICRO_ONE(6, nv, ta) MICRO_ONE(7, nv, ta) \
	MICRO_ONE(8, nv, ta)
#define MICRO_NAMES(nv, ta) MICRO_NAMES4(nv, ta), micro_5_##nv##_##ta, micro_6_##nv##_##ta, micro_7_##nv##_##ta, \
	micro_8_##nv##_##ta
#elif MICRO_R == 6
#define MICRO_ROWS(nv, ta) MICRO_ROWS4(nv, ta) MICRO_ONE(5, nv, ta) MICRO_ONE(6, nv, ta)
#define MICRO_NAMES(nv, ta) MICRO_NAMES4(nv, ta), micro_5_##nv##_##ta, micro_6_##nv##_##ta
#else
#define MICRO_ROWS(nv, ta) MICRO_ROWS4(nv, ta)
#define MICRO_NAMES(nv, ta) MICRO_NAMES4(nv, ta)
#endif

MICRO_ROWS(1, 0)
MICRO_ROWS(1, 1)
MICRO_ROWS(2, 0)
MICRO_ROWS(2, 1)
#if MICRO_V == 3
MICRO_ROWS(3, 0)
MICRO_ROWS(3, 1)
#endif

/* By order of A, vectors, rows. */
static micro_fn *const micro_table[2][MICRO_V][MICRO_R] = {
	{ { MICRO_NAMES(1, 0) }, { MICRO_NAMES(2, 0) },
#if MICRO_V == 3
	  { MICRO_NAMES(3, 0) },
#endif
	}, { { MICRO_NAMES(1, 1) }, { MICRO_NAMES(2, 1) },
#if MICRO_V == 3
	     { MICRO_NAMES(3, 1) },
#endif
	},
};

#endif
