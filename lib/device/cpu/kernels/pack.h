/* SPDX-License-Identifier: MIT */
/*
 * pack.h - copies of operands in the order in which the innermost product
 * reads them: stored types widened, scaled, rounded, dropped on the way.
 */
#ifndef PT_CPU_PACK_H
#define PT_CPU_PACK_H

#include <string.h>

#include "base/rng.h"
#include "device/cpu/cpu.h"
#include "philox.h"

#define PACK_L (PT_VL == 4 ? 4 : 8)	/* lanes of a transposed block */

typedef float pack_f __attribute__((vector_size(4 * PACK_L)));
typedef float pack_fu __attribute__((vector_size(4 * PACK_L), aligned(4), may_alias));
typedef uint32_t pack_u __attribute__((vector_size(4 * PACK_L)));
typedef int32_t pack_i __attribute__((vector_size(4 * PACK_L)));
typedef uint16_t pack_h __attribute__((vector_size(2 * PACK_L), aligned(2), may_alias));

static inline const void *pack_at(const void *p, enum pt_dtype t, int64_t i)
{
	return (const char *)p + i * (int64_t)(t == PT_F32 ? 4 : 2);
}

/* Round to nearest even as bf16; NaN stays NaN (the mantissa's top bit is kept set). */
static inline pack_f pack_round(pack_f f)
{
	pack_u u = (pack_u)f, nan = (pack_u)((u & 0x7fffffff) > 0x7f800000);
	pack_u r = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000;

	return (pack_f)((r & ~nan) | ((u | 0x400000) & 0xffff0000 & nan));
}

/* The half-precision formula of base/dtype.c, on vectors. */
static inline pack_f pack_half(pack_u h)
{
	const pack_u inf = (pack_u){ 0 } + (0x7c00u << 13);
	pack_u u = (h & 0x7fff) << 13, e = u & inf, sign = (h & 0x8000) << 16, is_inf, is_sub;
	pack_f sub = (pack_f)(u + (113u << 23)) - (pack_f)((pack_u){ 0 } + (113u << 23));

	is_inf = (pack_u)(e == inf);
	is_sub = (pack_u)(e == 0);
	u += (127 - 15) << 23;
	u += is_inf & (128u - 16) << 23;
	u = (u & ~is_sub) | ((pack_u)sub & is_sub);
	return (pack_f)(u | sign);
}

static inline pack_f pack_load(const void *p, enum pt_dtype t)
{
	if (t == PT_F32)
		return *(const pack_fu *)p;
	pack_u u = __builtin_convertvector(*(const pack_h *)p, pack_u);

	return t == PT_BF16 ? (pack_f)(u << 16) : pack_half(u);
}

static inline float pack_load1(const void *p, enum pt_dtype t)
{
	uint16_t h[PACK_L] = { 0 };

	if (t == PT_F32)
		return *(const float *)p;
	h[0] = *(const uint16_t *)p;
	return pack_load(h, t)[0];
}

static inline float pack_round1(float f)
{
	return pack_round((pack_f){ f })[0];
}

static inline void pack_round_row(float *d, int64_t n)
{
	int64_t l = 0;

	for (; l + PACK_L <= n; l += PACK_L)
		*(pack_fu *)(d + l) = pack_round(*(pack_fu *)(d + l));
	for (; l < n; l++)
		d[l] = pack_round1(d[l]);
}

/* PACK_L rows of as many values become columns. */
static inline __attribute__((always_inline)) void pack_transpose(pack_f r[PACK_L])
{
#if PT_VL == 4
	const pack_i lo = { 0, 4, 1, 5 }, hi = { 2, 6, 3, 7 }, l2 = { 0, 1, 4, 5 }, h2 = { 2, 3, 6, 7 };
	pack_f a = __builtin_shuffle(r[0], r[1], lo), b = __builtin_shuffle(r[0], r[1], hi);
	pack_f c = __builtin_shuffle(r[2], r[3], lo), d = __builtin_shuffle(r[2], r[3], hi);

	r[0] = __builtin_shuffle(a, c, l2);
	r[1] = __builtin_shuffle(a, c, h2);
	r[2] = __builtin_shuffle(b, d, l2);
	r[3] = __builtin_shuffle(b, d, h2);
#else
	const pack_i lo = { 0, 8, 1, 9, 4, 12, 5, 13 }, hi = { 2, 10, 3, 11, 6, 14, 7, 15 };
	const pack_i l2 = { 0, 1, 8, 9, 4, 5, 12, 13 }, h2 = { 2, 3, 10, 11, 6, 7, 14, 15 };
	const pack_i l4 = { 0, 1, 2, 3, 8, 9, 10, 11 }, h4 = { 4, 5, 6, 7, 12, 13, 14, 15 };
	pack_f t[8], u[8];

	for (int i = 0; i < 8; i += 2) {
		t[i] = __builtin_shuffle(r[i], r[i + 1], lo);
		t[i + 1] = __builtin_shuffle(r[i], r[i + 1], hi);
	}
	for (int i = 0; i < 8; i += 4) {
		u[i] = __builtin_shuffle(t[i], t[i + 2], l2);
		u[i + 1] = __builtin_shuffle(t[i], t[i + 2], h2);
		u[i + 2] = __builtin_shuffle(t[i + 1], t[i + 3], l2);
		u[i + 3] = __builtin_shuffle(t[i + 1], t[i + 3], h2);
	}
	for (int i = 0; i < 4; i++) {
		r[i] = __builtin_shuffle(u[i], u[i + 4], l4);
		r[i + 4] = __builtin_shuffle(u[i], u[i + 4], h4);
	}
#endif
}

/* How values change on the way: rounded as operands of products are, then scaled. */
struct pack_how {
	float scale;
	bool round;
};

static inline __attribute__((always_inline)) pack_f
pack_get(const void *b, const enum pt_dtype t, int64_t at, const struct pack_how *h)
{
	pack_f f = pack_load(pack_at(b, t, at), t);

	if (h->round)
		f = pack_round(f);
	return f * h->scale;
}

static inline float pack_get1(const void *b, enum pt_dtype t, int64_t at, const struct pack_how *h)
{
	float f = pack_load1(pack_at(b, t, at), t);

	return (h->round ? pack_round1(f) : f) * h->scale;
}

/*
 * d[l][0..w) = columns j < n of B stored as [j][l] (rows of ldb elements), l < k; zero for n <= j < w.
 * w is a multiple of PACK_L.
 */
static inline __attribute__((always_inline)) void
pack_rows_t(float *restrict d, int64_t w, const void *restrict b, const enum pt_dtype t, int64_t ldb, int64_t n,
	    int64_t k, const struct pack_how *how)
{
	for (int64_t j = 0; j < w; j += PACK_L) {
		int64_t rows = n - j < PACK_L ? n - j : PACK_L, l = 0;

		for (; l + PACK_L <= k && rows > 0; l += PACK_L) {
			pack_f r[PACK_L];

			for (int i = 0; i < PACK_L; i++)
				r[i] = i < rows ? pack_get(b, t, (j + i) * ldb + l, how) : (pack_f){ 0 };
			pack_transpose(r);
			for (int i = 0; i < PACK_L; i++)
				*(pack_fu *)(d + (l + i) * w + j) = r[i];
		}
		for (; l < k; l++)
			for (int i = 0; i < PACK_L; i++)
				d[l * w + j + i] = i < rows ? pack_get1(b, t, (j + i) * ldb + l, how) : 0;
	}
}

/* The same of B stored as [l][j]. */
static inline __attribute__((always_inline)) void
pack_rows(float *restrict d, int64_t w, const void *restrict b, const enum pt_dtype t, int64_t ldb, int64_t n,
	  int64_t k, const struct pack_how *how)
{
	for (int64_t l = 0; l < k; l++) {
		int64_t j = 0;

		for (; j + PACK_L <= n; j += PACK_L)
			*(pack_f *)(d + l * w + j) = pack_get(b, t, l * ldb + j, how);
		for (; j < w; j++)
			d[l * w + j] = j < n ? pack_get1(b, t, l * ldb + j, how) : 0;
	}
}

#define PACK_BY_TYPE(fn, d, w, b, t, ldb, n, k, how) do { \
	if ((t) == PT_F32) \
		fn(d, w, b, PT_F32, ldb, n, k, how); \
	else if ((t) == PT_BF16) \
		fn(d, w, b, PT_BF16, ldb, n, k, how); \
	else \
		fn(d, w, b, PT_F16, ldb, n, k, how); \
} while (0)

/* Factors of dropout for elements c .. c + n of a row (n <= 512); returned pointer is inside m. */
#define PACK_MASK (512 + 64)

static inline const float *pack_mask(float m[PACK_MASK], const struct pt_k_rows *rng, uint64_t site, int64_t row,
				     int64_t c, int64_t n, float p)
{
	return m + pt_philox_mask(m, pt_rng_mix(rng->key[row], site), (uint32_t)rng->pos[row], 0, c, n, p);
}

#endif
