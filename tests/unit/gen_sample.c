/* SPDX-License-Identifier: MIT */
/*
 * gen_sample.c - drawing a token: who can be drawn, how often, and that the
 * draw depends on seed, text and position alone.
 */
#include "test.h"

#include <math.h>
#include <string.h>

#include "gen/sample.h"

enum { V = 6 };
/* log of 8, 1, 4, 2, 1, 0: probabilities 1/2, 1/16, 1/4, 1/8, 1/16, 0 */
static const float logits[V] = { 2.0794415f, 0, 1.3862944f, 0.6931472f, 0, -INFINITY };

static void count(const struct pt_sampling *cfg, int n, int *hits)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_sampler s;
	int32_t id;

	memset(hits, 0, V * sizeof *hits);
	assert_ok(pt_sampler_init(&s, cfg, V, &err), &err);
	for (int i = 0; i < n; i++) {
		assert_ok(pt_sample(&s, logits, 7, i, &id, &err), &err);
		assert_in_range(id, 0, V - 1);
		hits[id]++;
	}
	pt_sampler_release(&s);
}

/* Within five standard deviations of n p. */
static void near_share(int hits, int n, double p)
{
	double sd = sqrt(n * p * (1 - p));

	assert_true(fabs(hits - n * p) <= 5 * sd);
}

static void test_greedy(void **state)
{
	const float tie[V] = { -1, 3, 3, 2, 3, 0 }, none[V] = { -INFINITY, -INFINITY, -INFINITY, -INFINITY,
							       -INFINITY, -INFINITY };
	const float nan_last[V] = { 1, 2, 3, 4, 5, NAN };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_sampling cfg = { .top_p = 1 };
	struct pt_sampler s;
	int32_t id;

	(void)state;
	assert_ok(pt_sampler_init(&s, &cfg, V, &err), &err);
	assert_ok(pt_sample(&s, logits, 0, 0, &id, &err), &err);
	assert_int_equal(id, 0);
	assert_ok(pt_sample(&s, tie, 0, 0, &id, &err), &err);
	assert_int_equal(id, 1);
	assert_fails(pt_sample(&s, none, 0, 0, &id, &err), PT_NUMERIC, "no token", &err);
	assert_fails(pt_sample(&s, nan_last, 0, 0, &id, &err), PT_NUMERIC, "token 5", &err);
	pt_sampler_release(&s);
}

static void test_shares(void **state)
{
	struct pt_sampling cfg = { .temperature = 1, .top_p = 1, .seed = 3 };
	int hits[V], n = 20000;

	(void)state;
	count(&cfg, n, hits);
	near_share(hits[0], n, 0.5);
	near_share(hits[1], n, 1.0 / 16);
	near_share(hits[2], n, 0.25);
	near_share(hits[3], n, 0.125);
	near_share(hits[4], n, 1.0 / 16);
	assert_int_equal(hits[5], 0);
	cfg.temperature = 0.5;		/* squares: 64 1 16 4 1 of 86 */
	count(&cfg, n, hits);
	near_share(hits[0], n, 64.0 / 86);
	near_share(hits[3], n, 4.0 / 86);
}

static void test_limits(void **state)
{
	struct pt_sampling cfg = { .temperature = 1, .top_k = 2, .top_p = 1 };
	int hits[V], n = 20000;

	(void)state;
	count(&cfg, n, hits);
	near_share(hits[0], n, 2.0 / 3);
	assert_int_equal(hits[0] + hits[2], n);
	/* The fourth and fifth tie: both stay. */
	cfg.top_k = 4;
	count(&cfg, n, hits);
	near_share(hits[1], n, 1.0 / 16);
	near_share(hits[4], n, 1.0 / 16);
	cfg.top_k = 0;
	cfg.top_p = 0.7;		/* 1/2 does not reach it, 3/4 does */
	count(&cfg, n, hits);
	assert_int_equal(hits[0] + hits[2], n);
	near_share(hits[2], n, 1.0 / 3);
	cfg.top_p = 1e-9;
	count(&cfg, n, hits);
	assert_int_equal(hits[0], n);
	/* top-p acts on what top-k left: 2/3 of 0 and 2. */
	cfg.top_k = 2;
	cfg.top_p = 0.6;
	count(&cfg, n, hits);
	assert_int_equal(hits[0], n);
}

static void test_key(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_sampling cfg = { .temperature = 1, .top_p = 1, .seed = 1 };
	struct pt_sampler s;
	int32_t a[64], b;
	int differs[3] = { 0 };

	(void)state;
	assert_ok(pt_sampler_init(&s, &cfg, V, &err), &err);
	for (int i = 0; i < 64; i++)
		assert_ok(pt_sample(&s, logits, 5, i, &a[i], &err), &err);
	for (int i = 63; i >= 0; i--) {
		assert_ok(pt_sample(&s, logits, 5, i, &b, &err), &err);
		assert_int_equal(a[i], b);
		assert_ok(pt_sample(&s, logits, 6, i, &b, &err), &err);
		differs[0] += a[i] != b;
		assert_ok(pt_sample(&s, logits, 5, i + 64, &b, &err), &err);
		differs[1] += a[i] != b;
		s.cfg.seed = 2;
		assert_ok(pt_sample(&s, logits, 5, i, &b, &err), &err);
		differs[2] += a[i] != b;
		s.cfg.seed = 1;
	}
	for (int i = 0; i < 3; i++)
		assert_true(differs[i] > 20);
	pt_sampler_release(&s);
}

static void test_options(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_sampling cfg = { .temperature = -1, .top_p = 1 };
	struct pt_sampler s;

	(void)state;
	assert_fails(pt_sampler_init(&s, &cfg, V, &err), PT_USAGE, "temperature", &err);
	cfg = (struct pt_sampling){ .temperature = 1, .top_p = 0 };
	assert_fails(pt_sampler_init(&s, &cfg, V, &err), PT_USAGE, "top-p", &err);
	cfg = (struct pt_sampling){ .temperature = 1, .top_p = 1, .top_k = -1 };
	assert_fails(pt_sampler_init(&s, &cfg, V, &err), PT_USAGE, "top-k", &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greedy), cmocka_unit_test(test_shares), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_key), cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
