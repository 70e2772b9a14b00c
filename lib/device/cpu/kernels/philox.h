/* SPDX-License-Identifier: MIT */
/*
 * philox.h - factors of dropout for a stretch of one row: the numbers of
 * pt_rng_block(), several counters at a time.
 *
 * The product of 32 by 32 bits is an intrinsic: the compiler makes it from
 * products of 64 bits, at a quarter of the speed.
 */
#ifndef PT_CPU_PHILOX_H
#define PT_CPU_PHILOX_H

#include <math.h>
#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "device/cpu/cpu.h"

#define PHILOX_LANES (PT_VL / 2)	/* counters at a time: four numbers each */

/* 32-bit numbers in the low halves; the high halves may hold anything. */
typedef uint64_t philox_v __attribute__((vector_size(4 * PT_VL)));

static inline philox_v philox_mul(philox_v a, uint32_t by)
{
	philox_v b = (philox_v){ 0 } + by;

#if defined(PT_ISA_AVX512)
	return (philox_v)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(PT_ISA_AVX2)
	return (philox_v)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
	return (philox_v)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
	return (a & 0xffffffffu) * b;
#endif
}

/* The factors of two vectors of numbers, stored as a[0] b[0] a[1] b[1] ... by pairs of numbers. */
static inline void philox_store(float *m, philox_v a, philox_v b, int32_t least, float keep)
{
#if PT_VL == 16
	philox_v lo = __builtin_shuffle(a, b, (philox_v){ 0, 8, 1, 9, 2, 10, 3, 11 });
	philox_v hi = __builtin_shuffle(a, b, (philox_v){ 4, 12, 5, 13, 6, 14, 7, 15 });
#elif PT_VL == 8
	philox_v lo = __builtin_shuffle(a, b, (philox_v){ 0, 4, 1, 5 });
	philox_v hi = __builtin_shuffle(a, b, (philox_v){ 2, 6, 3, 7 });
#else
	philox_v lo = __builtin_shuffle(a, b, (philox_v){ 0, 2 });
	philox_v hi = __builtin_shuffle(a, b, (philox_v){ 1, 3 });
#endif
	pt_vi x = (pt_vi)lo >> 8 & 0xffffff, y = (pt_vi)hi >> 8 & 0xffffff;
	pt_vf k = (pt_vf){ 0 } + keep;

	*(pt_vf_u *)m = (pt_vf)((x >= least) & (pt_vi)k);
	*(pt_vf_u *)(m + PT_VL) = (pt_vf)((y >= least) & (pt_vi)k);
}

/*
 * m[i] for i < n: 0 where the number of element from + i is below p, else 1 / (1 - p).
 * Element j takes word j % 4 of counter (j / 4, pos, c2, 0) under key. m has room for
 * n + 3 elements rounded up to 4 PT_VL; what stands behind n is undefined.
 * Returns where the first element stands in m (from % 4).
 */
static inline int64_t pt_philox_mask(float *m, uint64_t key, uint32_t pos, uint32_t c2, int64_t from, int64_t n,
				     float p)
{
	const float keep = (float)(1 / (1 - (double)p));
	const int32_t least = (int32_t)ceil((double)p * 0x1p24);	/* of pt_rng_float()'s 24 bits, to be kept */
	philox_v first = { 0 };

	for (int i = 0; i < PHILOX_LANES; i++)
		first[i] = (uint64_t)(from / 4 + i);
	/* Two vectors of counters at once: a round waits for its product. */
	for (int64_t at = 0; at < n + from % 4; at += 4 * PT_VL, first += 2 * PHILOX_LANES) {
		philox_v x0[2] = { first, first + PHILOX_LANES }, x1[2], x2[2], x3[2];
		uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);

		for (int i = 0; i < 2; i++) {
			x1[i] = (philox_v){ 0 } + pos;
			x2[i] = (philox_v){ 0 } + c2;
			x3[i] = (philox_v){ 0 };
		}
#pragma GCC unroll 10
		for (int r = 0; r < 10; r++) {
			for (int i = 0; i < 2; i++) {
				philox_v p0 = philox_mul(x0[i], 0xD2511F53), p1 = philox_mul(x2[i], 0xCD9E8D57);

				x0[i] = (p1 >> 32) ^ x1[i] ^ k0;
				x1[i] = p1;
				x2[i] = (p0 >> 32) ^ x3[i] ^ k1;
				x3[i] = p0;
			}
			k0 += 0x9E3779B9;
			k1 += 0xBB67AE85;
		}
		for (int i = 0; i < 2; i++)
			philox_store(m + at + i * 2 * PT_VL, (x0[i] & 0xffffffffu) | x1[i] << 32,
				     (x2[i] & 0xffffffffu) | x3[i] << 32, least, keep);
	}
	return from % 4;
}

#endif
