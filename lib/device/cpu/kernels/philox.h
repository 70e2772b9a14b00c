/* SPDX-License-Identifier: MIT */
/*
 * philox.h - factors of dropout for a stretch of one row: the numbers of
 * pt_rng_block(), several counters at a time, each in a 64-bit lane. Lanes of
 * 64 bits with the widening multiply of x86 take half the time of a loop over
 * counters that the compiler vectorises (1.4 and 3.0 ns a number on a Zen 3).
 */
#ifndef PT_CPU_PHILOX_H
#define PT_CPU_PHILOX_H

#include <stdint.h>
#include <string.h>

#include "device/cpu/cpu.h"

#define PHILOX_L (PT_VL / 2)	/* counters of a vector */

typedef uint64_t philox_v __attribute__((vector_size(8 * PHILOX_L)));
typedef uint32_t philox_w __attribute__((vector_size(8 * PHILOX_L)));
typedef int32_t philox_i __attribute__((vector_size(8 * PHILOX_L)));
typedef philox_w philox_u __attribute__((aligned(4), may_alias));

/* Low halves multiplied. */
#if defined(__x86_64__)
#include <immintrin.h>
#endif
static inline philox_v philox_mul(philox_v a, uint64_t b)
{
	const philox_v v = (philox_v){ 0 } + b;

#if PT_VL == 16
	return (philox_v)_mm512_mul_epu32((__m512i)a, (__m512i)v);
#elif PT_VL == 8
	return (philox_v)_mm256_mul_epu32((__m256i)a, (__m256i)v);
#elif defined(__x86_64__)
	return (philox_v)_mm_mul_epu32((__m128i)a, (__m128i)v);
#else
	return (a & 0xffffffff) * v;
#endif
}

#define PHILOX_N (8 / PHILOX_L)	/* vectors at a time: more are slower */

/* Factors of 32 elements from counter first on. */
static inline void philox_factors(float *m, uint64_t key, uint32_t first, uint32_t pos, uint32_t c2, uint32_t below,
				  float keep)
{
#if PT_VL == 16
	const philox_v lanes = { 0, 1, 2, 3, 4, 5, 6, 7 };
#elif PT_VL == 8
	const philox_v lanes = { 0, 1, 2, 3 };
#else
	const philox_v lanes = { 0, 1 };
#endif
	const philox_v low = (philox_v){ 0 } + 0xffffffffu;
	const philox_w kept = (philox_w)((pt_vf){ 0 } + keep);
	philox_v c[4][PHILOX_N];
	uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);

	for (int v = 0; v < PHILOX_N; v++) {
		c[0][v] = lanes + (first + (uint32_t)(v * PHILOX_L));
		c[1][v] = (philox_v){ 0 } + pos;
		c[2][v] = (philox_v){ 0 } + c2;
		c[3][v] = (philox_v){ 0 };
	}
	/* The upper halves of lanes hold what the multiplication does not read. */
	for (int r = 0; r < 10; r++) {
		for (int v = 0; v < PHILOX_N; v++) {
			philox_v p0 = philox_mul(c[0][v], 0xD2511F53), p1 = philox_mul(c[2][v], 0xCD9E8D57);

			c[0][v] = (p1 >> 32) ^ c[1][v] ^ k0;
			c[1][v] = p1;
			c[2][v] = (p0 >> 32) ^ c[3][v] ^ k1;
			c[3][v] = p0;
		}
		k0 += 0x9E3779B9;
		k1 += 0xBB67AE85;
	}
	for (int v = 0; v < PHILOX_N; v++) {
		philox_v a = (c[0][v] & low) | c[1][v] << 32, b = (c[2][v] & low) | c[3][v] << 32;
		/* Counters in order, each with its four words. */
#if PT_VL == 16
		const philox_v one = { 0, 8, 1, 9, 2, 10, 3, 11 }, two = { 4, 12, 5, 13, 6, 14, 7, 15 };
#elif PT_VL == 8
		const philox_v one = { 0, 4, 1, 5 }, two = { 2, 6, 3, 7 };
#else
		const philox_v one = { 0, 2 }, two = { 1, 3 };
#endif
		philox_w x = (philox_w)__builtin_shuffle(a, b, one) >> 8, y = (philox_w)__builtin_shuffle(a, b, two) >> 8;
		philox_u *to = (philox_u *)(m + v * 4 * PHILOX_L);

		to[0] = kept & ~(philox_w)((philox_i)x < (philox_i)((philox_w){ 0 } + below));
		to[1] = kept & ~(philox_w)((philox_i)y < (philox_i)((philox_w){ 0 } + below));
	}
}

/*
 * m[i] for i < n: 0 where the number of element from + i is below p, else 1 / (1 - p).
 * Element j takes word j % 4 of counter (j / 4, pos, c2, 0) under key. m has room for
 * n + 3 elements rounded up to 32; what stands behind n is undefined.
 * Returns where the first element stands in m (from % 4).
 */
static inline int64_t pt_philox_mask(float *m, uint64_t key, uint32_t pos, uint32_t c2, int64_t from, int64_t n,
				     float p)
{
	const float keep = (float)(1 / (1 - (double)p));
	const double scaled = (double)p * 0x1p24;
	/* pt_rng_float(u) < p, in integers: (u >> 8) < p 2^24, rounded up. */
	uint32_t below = (uint32_t)scaled + ((double)(uint32_t)scaled < scaled), first = (uint32_t)(from / 4);
	int64_t skip = from % 4;

	for (int64_t at = 0; at < n + skip; at += 32, first += 8)
		philox_factors(m + at, key, first, pos, c2, below, keep);
	return skip;
}

#endif
