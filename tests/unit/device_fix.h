/* SPDX-License-Identifier: MIT */
/*
 * device_fix.h - what the tests of the CPU's kernels share: the paths that this
 * machine has, random operands, and comparison with the plain loops.
 */
#ifndef PT_DEVICE_FIX_H
#define PT_DEVICE_FIX_H

#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "ref_device.h"

/* A CPU device capped at this path; NULL where the machine has not that path. */
static struct pt_device *fix_cpu(const char *path, int threads) REF_UNUSED;
static struct pt_device *fix_cpu(const char *path, int threads)
{
	struct pt_device_options o = { .threads = threads };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_device *dev;

	setenv("PEFT_CPU", path, 1);
	assert_ok(pt_device_open(&dev, "cpu", &o, &err), &err);
	unsetenv("PEFT_CPU");
	if (!strncmp(dev->path, path, strlen(path)))
		return dev;
	pt_device_close(dev);
	return NULL;
}

/* Devices of every path with 1, 2 and 4 threads. */
struct fix_cpus {
	struct pt_device *dev[9];
	int n;
};

static void fix_cpus_open(struct fix_cpus *c) REF_UNUSED;
static void fix_cpus_open(struct fix_cpus *c)
{
	static const char *const path[] = { "generic", "avx2", "avx512" };

	c->n = 0;
	for (int p = 0; p < 3; p++) {
		for (int threads = 1; threads <= 4; threads *= 2) {
			c->dev[c->n] = fix_cpu(path[p], threads);
			if (c->dev[c->n])
				c->n++;
		}
	}
	assert_true(c->n >= 3);
}

/*
 * Whether device i has the bytes of the one before it: threads do not matter,
 * nor does AVX-512, which computes what AVX2 computes.
 */
static bool fix_again(const struct fix_cpus *c, int i) REF_UNUSED;
static bool fix_again(const struct fix_cpus *c, int i)
{
	return i > 0 && (!strcmp(c->dev[i]->path, c->dev[i - 1]->path) || !strcmp(c->dev[i - 1]->path, "avx2"));
}

static void fix_cpus_close(struct fix_cpus *c) REF_UNUSED;
static void fix_cpus_close(struct fix_cpus *c)
{
	while (c->n)
		pt_device_close(c->dev[--c->n]);
}

/* Numbers of one random case: the next below n, or true once in n. */
struct fix_rnd {
	uint64_t key, i;
};

static int64_t fix_pick(struct fix_rnd *r, int64_t n) REF_UNUSED;
static int64_t fix_pick(struct fix_rnd *r, int64_t n)
{
	return (int64_t)pt_rng_below(r->key, r->i++, (uint64_t)n);
}

static bool fix_once_in(struct fix_rnd *r, int n) REF_UNUSED;
static bool fix_once_in(struct fix_rnd *r, int n)
{
	return fix_pick(r, n) == 0;
}

static float *fix_floats(struct fix_rnd *r, int64_t n, float std) REF_UNUSED;
static float *fix_floats(struct fix_rnd *r, int64_t n, float std)
{
	float *x = malloc(((size_t)n + 1) * sizeof *x);

	pt_rng_normal(pt_rng_mix(r->key, ++r->i), x, (size_t)n, 0, std);
	return x;
}

static void *fix_dup(const void *x, size_t bytes) REF_UNUSED;
static void *fix_dup(const void *x, size_t bytes)
{
	return x ? memcpy(malloc(bytes + 1), x, bytes) : NULL;
}

/* Largest difference as a share of the largest value; a NaN is infinitely far. */
static double fix_off(const float *got, const float *want, int64_t n) REF_UNUSED;
static double fix_off(const float *got, const float *want, int64_t n)
{
	double top = 0, off = 0;

	for (int64_t i = 0; i < n; i++) {
		double d = fabs((double)got[i] - (double)want[i]);

		top = fmax(top, fabs((double)want[i]));
		if (!(d <= off))
			off = isnan(d) ? INFINITY : d;
	}
	return top > 0 ? off / top : off;
}

#define fix_near(what, got, want, n, tol) do { \
	double off_ = fix_off(got, want, n); \
	if (!(off_ <= (tol))) \
		fail_msg("%s: off by %.3g", what, off_); \
} while (0)

#endif
