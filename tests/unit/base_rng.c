/* SPDX-License-Identifier: MIT */
/*
 * Philox against the vectors that its authors distribute (Random123,
 * kat_vectors), keys, and the distributions made of it.
 */
#include "test.h"

#include <math.h>

#include "base/rng.h"

static void known_answers(void **state)
{
	static const struct { uint32_t counter[4]; uint64_t key; uint32_t out[4]; } kat[] = {
		{ { 0, 0, 0, 0 }, 0, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
		{ { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, 0xffffffffffffffff,
		  { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
		{ { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, 0x299f31d0a4093822,
		  { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof kat / sizeof *kat; i++) {
		uint32_t out[4];

		pt_rng_block(kat[i].key, kat[i].counter, out);
		assert_memory_equal(out, kat[i].out, sizeof out);
	}
}

/* Results are part of what a resumed run must find again: fixed here. */
static void fixed_for_good(void **state)
{
	int64_t perm[8];
	static const int64_t want[8] = { 5, 6, 3, 2, 0, 1, 7, 4 };
	float u[2], z[2];

	(void)state;
	assert_true(pt_rng_mix(0, 0) == UINT64_C(0x74bffc1f1533ed0c));
	assert_true(pt_rng_mix(1, 2) == UINT64_C(0xcfa79aacf2c633d0));
	assert_true(pt_rng_mix_str(7, "model.layers.0") == UINT64_C(0x818fea4679d52eda));
	assert_true(pt_rng_below(3, 4, 1000000) == 518175);
	pt_rng_shuffle(5, perm, 8);
	assert_memory_equal(perm, want, sizeof want);
	pt_rng_uniform(1, u, 2, -1, 1);
	assert_true(u[0] == 0.780518293f && u[1] == 0.789369345f);
	pt_rng_normal(1, z, 2, 0, 1);
	assert_true(fabsf(z[0] - 0.380400747f) < 1e-6f && fabsf(z[1] - -0.296277881f) < 1e-6f);
}

static void keys_differ(void **state)
{
	(void)state;
	assert_true(pt_rng_mix(1, 2) != pt_rng_mix(2, 1));
	assert_true(pt_rng_mix(pt_rng_mix(0, 1), 2) != pt_rng_mix(pt_rng_mix(0, 2), 1));
	/* One bit of either input changes about half of the bits. */
	for (int bit = 0; bit < 64; bit++) {
		int a = __builtin_popcountll(pt_rng_mix(123, 456) ^ pt_rng_mix(123 ^ UINT64_C(1) << bit, 456));
		int b = __builtin_popcountll(pt_rng_mix(123, 456) ^ pt_rng_mix(123, 456 ^ UINT64_C(1) << bit));

		assert_in_range(a, 12, 52);
		assert_in_range(b, 12, 52);
	}
}

/* Element i depends on key and i alone: not on how many are asked for. */
static void prefixes_agree(void **state)
{
	float a[37], b[37];

	(void)state;
	pt_rng_uniform(9, a, 37, 0, 1);
	for (size_t n = 0; n <= 37; n++) {
		pt_rng_uniform(9, b, n, 0, 1);
		assert_memory_equal(a, b, n * sizeof *a);
	}
	pt_rng_normal(9, a, 37, 0, 1);
	for (size_t n = 0; n <= 37; n++) {
		pt_rng_normal(9, b, n, 0, 1);
		assert_memory_equal(a, b, n * sizeof *a);
	}
}

static void moments(void **state)
{
	enum { N = 200000 };
	float *x = malloc(N * sizeof *x);
	double m = 0, v = 0, k = 0, c = 0;
	float lo = 2, hi = -2;

	(void)state;
	pt_rng_uniform(11, x, N, -1, 1);
	for (int i = 0; i < N; i++) {
		m += x[i];
		v += x[i] * x[i];
		lo = x[i] < lo ? x[i] : lo;
		hi = x[i] > hi ? x[i] : hi;
	}
	assert_true(fabs(m / N) < 5 / sqrt(3.0 * N));
	assert_true(fabs(v / N - 1.0 / 3) < 0.005);
	assert_true(lo >= -1 && hi < 1 && lo < -0.999f && hi > 0.999f);

	pt_rng_normal(12, x, N, 3, 2);
	m = v = 0;
	for (int i = 0; i < N; i++) {
		double z = (x[i] - 3) / 2;

		m += z;
		v += z * z;
		k += z * z * z * z;
		c += i ? z * (x[i - 1] - 3) / 2 : 0;
	}
	assert_true(fabs(m / N) < 5 / sqrt(N));
	assert_true(fabs(v / N - 1) < 5 * sqrt(2.0 / N));
	assert_true(fabs(k / N - 3) < 5 * sqrt(96.0 / N));
	assert_true(fabs(c / N) < 5 / sqrt(N));
	free(x);
}

static void below(void **state)
{
	int count[7] = { 0 };

	(void)state;
	for (uint64_t i = 0; i < 70000; i++)
		count[pt_rng_below(13, i, 7)]++;
	for (int i = 0; i < 7; i++)
		assert_in_range(count[i], 9600, 10400);
	assert_true(pt_rng_below(13, 0, 1) == 0);
	for (uint64_t i = 0; i < 100; i++)
		assert_true(pt_rng_below(13, i, UINT64_MAX) < UINT64_MAX);
}

static void shuffle(void **state)
{
	int64_t p[1000], q[1000];
	int fixed = 0, first[4] = { 0 };
	char seen[1000] = { 0 };

	(void)state;
	pt_rng_shuffle(1, p, 1000);
	pt_rng_shuffle(2, q, 1000);
	for (int i = 0; i < 1000; i++) {
		assert_in_range(p[i], 0, 999);
		assert_false(seen[p[i]]);
		seen[p[i]] = 1;
		fixed += p[i] == i;
	}
	assert_true(fixed < 10);
	assert_true(memcmp(p, q, sizeof p) != 0);
	for (uint64_t k = 0; k < 4000; k++) {
		pt_rng_shuffle(k, p, 4);
		first[p[0]]++;
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(first[i], 850, 1150);
	pt_rng_shuffle(1, p, 0);
	pt_rng_shuffle(1, p, 1);
	assert_int_equal(p[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(fixed_for_good),
		cmocka_unit_test(keys_differ),
		cmocka_unit_test(prefixes_agree),
		cmocka_unit_test(moments),
		cmocka_unit_test(below),
		cmocka_unit_test(shuffle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
