/* SPDX-License-Identifier: MIT */
/*
 * attn_tile.h - the small products of attention: a tile of TILE_M rows and
 * TILE_N columns held in registers, and the packing of operands for it.
 *
 * OpenBLAS is no use here: a head of a short sequence is a product of 28 by
 * 28 by 32, of which its call and its packing would be the larger part.
 */
#ifndef PT_CPU_ATTN_TILE_H
#define PT_CPU_ATTN_TILE_H

#include <stdbool.h>
#include <string.h>

#include "device/cpu/cpu.h"

#define TILE_M 6
#define TILE_N (2 * PT_VL)

static inline int64_t tile_up(int64_t n, int64_t to)
{
	return (n + to - 1) / to * to;
}

static inline pt_vf tile_load(const float *p)
{
	return *(const pt_vf_u *)p;
}

static inline void tile_store(float *p, pt_vf v)
{
	*(pt_vf_u *)p = v;
}

/*
 * c[r][0..TILE_N) (+)= sum over t < n of a[r][t * step] * b[t * TILE_N ..], for TILE_M rows.
 * The first row of c and the distance of the others are given; a[] points at the rows.
 */
static inline void tile(const float *const *a, int64_t step, const float *b, int64_t n, float *c, int64_t ldc,
			bool add)
{
	pt_vf c0[TILE_M], c1[TILE_M];

	for (int r = 0; r < TILE_M; r++) {
		c0[r] = add ? tile_load(c + r * ldc) : (pt_vf){ 0 };
		c1[r] = add ? tile_load(c + r * ldc + PT_VL) : (pt_vf){ 0 };
	}
	for (int64_t t = 0; t < n; t++) {
		pt_vf b0 = tile_load(b + t * TILE_N), b1 = tile_load(b + t * TILE_N + PT_VL);

#pragma GCC unroll 6
		for (int r = 0; r < TILE_M; r++) {
			float x = a[r][t * step];

			c0[r] += x * b0;
			c1[r] += x * b1;
		}
	}
	for (int r = 0; r < TILE_M; r++) {
		tile_store(c + r * ldc, c0[r]);
		tile_store(c + r * ldc + PT_VL, c1[r]);
	}
}

/*
 * c[m rows][panels p0..p1) (+)= a * b, where a(r, t) = a[r * lda + t * step] and
 * panel p of b stands at b + p * panel. c has room for whole tiles of rows;
 * of a, nothing is read outside the m rows.
 */
static inline void tile_rows(const float *a, int64_t lda, int64_t step, int64_t m, const float *b, int64_t panel,
			     int64_t p0, int64_t p1, int64_t n, float *c, int64_t ldc, bool add)
{
	const float *row[TILE_M];

	for (int64_t r = 0; r < TILE_M; r++)
		row[r] = a + (r < m ? r : m - 1) * lda;
	for (int64_t p = p0; p < p1; p++)
		tile(row, step, b + p * panel, n, c + p * TILE_N, ldc, add);
}

typedef float tile_v4 __attribute__((vector_size(16)));
typedef float tile_v4u __attribute__((vector_size(16), aligned(4), may_alias));
typedef int tile_i4 __attribute__((vector_size(16)));

/* Four rows of four columns at src, transposed to dst[c * TILE_N]. */
static inline void transpose4(const float *src, int64_t ld, float *dst)
{
	tile_v4 r0 = *(const tile_v4u *)src, r1 = *(const tile_v4u *)(src + ld);
	tile_v4 r2 = *(const tile_v4u *)(src + 2 * ld), r3 = *(const tile_v4u *)(src + 3 * ld);
	tile_v4 a = __builtin_shuffle(r0, r1, (tile_i4){ 0, 4, 1, 5 });
	tile_v4 b = __builtin_shuffle(r2, r3, (tile_i4){ 0, 4, 1, 5 });
	tile_v4 c = __builtin_shuffle(r0, r1, (tile_i4){ 2, 6, 3, 7 });
	tile_v4 d = __builtin_shuffle(r2, r3, (tile_i4){ 2, 6, 3, 7 });

	*(tile_v4u *)dst = __builtin_shuffle(a, b, (tile_i4){ 0, 1, 4, 5 });
	*(tile_v4u *)(dst + TILE_N) = __builtin_shuffle(a, b, (tile_i4){ 2, 3, 6, 7 });
	*(tile_v4u *)(dst + 2 * TILE_N) = __builtin_shuffle(c, d, (tile_i4){ 0, 1, 4, 5 });
	*(tile_v4u *)(dst + 3 * TILE_N) = __builtin_shuffle(c, d, (tile_i4){ 2, 3, 6, 7 });
}

/* Rows src[n][d] as panels of TILE_N rows, transposed: dst[p][d][TILE_N], zeros behind the last row. */
static inline void pack_columns(float *dst, const float *src, int64_t ld, int64_t n, int64_t d)
{
	for (int64_t p = 0; p < n; p += TILE_N, dst += d * TILE_N) {
		int64_t rows = n - p < TILE_N ? n - p : TILE_N, whole = rows / 4 * 4;

		for (int64_t j = 0; j < whole; j += 4) {
			const float *s = src + (p + j) * ld;
			int64_t c = 0;

			for (; c + 4 <= d; c += 4)
				transpose4(s + c, ld, dst + c * TILE_N + j);
			for (; c < d; c++)
				for (int64_t i = 0; i < 4; i++)
					dst[c * TILE_N + j + i] = s[i * ld + c];
		}
		for (int64_t c = 0; c < d && whole < TILE_N; c++)
			for (int64_t j = whole; j < TILE_N; j++)
				dst[c * TILE_N + j] = j < rows ? src[(p + j) * ld + c] : 0;
	}
}

/* Rows src[n][d] as panels of TILE_N columns: dst[p][n][TILE_N], zeros behind the last column. */
static inline void pack_rows(float *dst, const float *src, int64_t ld, int64_t n, int64_t d)
{
	for (int64_t c = 0; c < d; c += TILE_N, dst += n * TILE_N) {
		if (c + TILE_N <= d) {
			for (int64_t i = 0; i < n; i++) {
				const float *s = src + i * ld + c;
				float *t = dst + i * TILE_N;

				tile_store(t, tile_load(s));
				tile_store(t + PT_VL, tile_load(s + PT_VL));
			}
			continue;
		}
		for (int64_t i = 0; i < n; i++)
			for (int64_t j = 0; j < TILE_N; j++)
				dst[i * TILE_N + j] = c + j < d ? src[i * ld + c + j] : 0;
	}
}

#endif
