/* SPDX-License-Identifier: MIT */
/*
 * philox.h - factors of dropout for a stretch of one row: the numbers of
 * pt_rng_block(), several counters at a time.
 */
#ifndef PT_CPU_PHILOX_H
#define PT_CPU_PHILOX_H

#include <stdint.h>

#define PHILOX_LANES 8		/* counters at a time: four numbers each */

/*
 * m[i] for i < n: 0 where the number of element from + i is below p, else 1 / (1 - p).
 * Element j takes word j % 4 of counter (j / 4, pos, c2, 0) under key. m has room for
 * n + 7 elements rounded up to 32; what stands behind n is undefined.
 * Returns where the first element stands in m (from % 4).
 */
static inline int64_t pt_philox_mask(float *m, uint64_t key, uint32_t pos, uint32_t c2, int64_t from, int64_t n,
				     float p)
{
	const float keep = (float)(1 / (1 - (double)p));
	uint32_t first = (uint32_t)(from / 4);
	int64_t skip = from % 4;

	for (int64_t at = 0; at < n + skip; at += 4 * PHILOX_LANES, first += PHILOX_LANES) {
		uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32), c[4][PHILOX_LANES];

		for (uint32_t l = 0; l < PHILOX_LANES; l++) {
			c[0][l] = first + l;
			c[1][l] = pos;
			c[2][l] = c2;
			c[3][l] = 0;
		}
		for (int r = 0; r < 10; r++) {
			for (int l = 0; l < PHILOX_LANES; l++) {
				uint64_t p0 = (uint64_t)0xD2511F53 * c[0][l];
				uint64_t p1 = (uint64_t)0xCD9E8D57 * c[2][l];

				c[0][l] = (uint32_t)(p1 >> 32) ^ c[1][l] ^ k0;
				c[1][l] = (uint32_t)p1;
				c[2][l] = (uint32_t)(p0 >> 32) ^ c[3][l] ^ k1;
				c[3][l] = (uint32_t)p0;
			}
			k0 += 0x9E3779B9;
			k1 += 0xBB67AE85;
		}
		for (int l = 0; l < PHILOX_LANES; l++)
			for (int w = 0; w < 4; w++)
				m[at + 4 * l + w] = (float)(int32_t)(c[w][l] >> 8) * 0x1p-24f < p ? 0 : keep;
	}
	return skip;
}

#endif
