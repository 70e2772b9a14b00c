/* SPDX-License-Identifier: MIT */
/*
 * rng.h - counter-based random numbers: Philox4x32-10 (Salmon et al. 2011,
 * "Parallel random numbers: as easy as 1, 2, 3").
 *
 * There is no state: a number is a function of a 64-bit key and a 128-bit
 * counter, so that results depend neither on order nor on threads, packing
 * or restarts. Keys are made by pt_rng_mix() from what identifies the use:
 * seed, epoch, example, draw, site.
 */
#ifndef PT_BASE_RNG_H
#define PT_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* out = Philox4x32-10 of counter under key. */
void pt_rng_block(uint64_t key, const uint32_t counter[4], uint32_t out[4]);

/* A new key from a key and a further identifying number (a strong 64-bit mixer). */
uint64_t pt_rng_mix(uint64_t key, uint64_t v);

/* Key of a named use, for example a parameter by its path. */
uint64_t pt_rng_mix_str(uint64_t key, const char *s);

/* [0, 1) with 24 bits, never 1. */
static inline float pt_rng_float(uint32_t u)
{
	return (float)(u >> 8) * 0x1p-24f;
}

/* Uniform integer below n (n > 0) from the i-th number of key; no modulo bias worth naming (64-bit multiply). */
uint64_t pt_rng_below(uint64_t key, uint64_t i, uint64_t n);

/* Fill x[n]: uniform on [lo, hi), or normal by Box-Muller; element i depends on key and i alone. */
void pt_rng_uniform(uint64_t key, float *x, size_t n, float lo, float hi);
void pt_rng_normal(uint64_t key, float *x, size_t n, float mean, float std);

/* A permutation of 0..n-1 (Fisher-Yates), the same on every machine. */
void pt_rng_shuffle(uint64_t key, int64_t *perm, int64_t n);

#endif
