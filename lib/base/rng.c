/* SPDX-License-Identifier: MIT */
/*
 * rng.c - Philox4x32-10 and what is made of it.
 */
#include "base/rng.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"

void pt_rng_block(uint64_t key, const uint32_t counter[4], uint32_t out[4])
{
	uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
	uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];

	for (int r = 0; r < 10; r++) {
		uint64_t p0 = (uint64_t)0xD2511F53 * c0, p1 = (uint64_t)0xCD9E8D57 * c2;

		c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
		c1 = (uint32_t)p1;
		c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
		c3 = (uint32_t)p0;
		k0 += 0x9E3779B9;
		k1 += 0xBB67AE85;
	}
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
}

/* The finaliser of SplitMix64 (Steele et al. 2014): every input bit reaches every output bit. */
static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

uint64_t pt_rng_mix(uint64_t key, uint64_t v)
{
	/* Two rounds with the value between them: (key, v) and (v, key) differ, and 0, 0 is not a fixed point. */
	return mix(mix(key + 0x9E3779B97F4A7C15u) + v * 0xD1342543DE82EF95u + 0x632BE59BD9B4E019u);
}

uint64_t pt_rng_mix_str(uint64_t key, const char *s)
{
	return pt_rng_mix(key, pt_hash64(s, strlen(s)));
}

static void block_at(uint64_t key, uint64_t i, uint32_t out[4])
{
	uint32_t counter[4] = { (uint32_t)i, (uint32_t)(i >> 32), 0, 0 };

	pt_rng_block(key, counter, out);
}

uint64_t pt_rng_below(uint64_t key, uint64_t i, uint64_t n)
{
	uint32_t w[4];
	uint64_t x;

	block_at(key, i, w);
	x = (uint64_t)w[1] << 32 | w[0];
	return (uint64_t)((unsigned __int128)x * n >> 64);
}

void pt_rng_uniform(uint64_t key, float *x, size_t n, float lo, float hi)
{
	uint32_t w[4];

	for (size_t i = 0; i < n; i += 4) {
		block_at(key, i / 4, w);
		for (size_t k = 0; k < 4 && i + k < n; k++) {
			float v = lo + (hi - lo) * pt_rng_float(w[k]);

			/* The addition may round up to hi, which the interval excludes. */
			x[i + k] = v < hi || hi <= lo ? v : nextafterf(hi, lo);
		}
	}
}

void pt_rng_normal(uint64_t key, float *x, size_t n, float mean, float std)
{
	const double two_pi = 6.283185307179586476925;
	uint32_t w[4];

	for (size_t i = 0; i < n; i += 4) {
		double z[4];

		block_at(key, i / 4, w);
		for (int k = 0; k < 4; k += 2) {
			/* In (0, 1]: the logarithm is finite. */
			double u = (w[k] + 1.0) * 0x1p-32, a = two_pi * 0x1p-32 * w[k + 1];
			double r = sqrt(-2.0 * log(u));

			z[k] = r * cos(a);
			z[k + 1] = r * sin(a);
		}
		for (size_t k = 0; k < 4 && i + k < n; k++)
			x[i + k] = (float)(mean + std * z[k]);
	}
}

void pt_rng_shuffle(uint64_t key, int64_t *perm, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		perm[i] = i;
	for (int64_t i = n - 1; i > 0; i--) {
		int64_t j = (int64_t)pt_rng_below(key, (uint64_t)i, (uint64_t)i + 1);
		int64_t t = perm[i];

		perm[i] = perm[j];
		perm[j] = t;
	}
}
