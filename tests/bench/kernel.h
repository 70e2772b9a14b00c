/* SPDX-License-Identifier: MIT */
/*
 * kernel.h - what benches of one kernel on a device share: the device, memory
 * on it, random numbers there.
 */
#ifndef PT_BENCH_KERNEL_H
#define PT_BENCH_KERNEL_H

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rng.h"
#include "device/device.h"
#include "device/kernels.h"

static struct pt_device *dev;
static struct pt_error err;

static void check(int status)
{
	if (!status)
		return;
	fprintf(stderr, "%s\n", err.msg);
	exit(status);
}

static void *on_device(size_t bytes, const void *host)
{
	void *p;

	check(dev->alloc(dev, bytes, &p, &err));
	if (host)
		check(dev->upload(dev, p, host, bytes, &err));
	return p;
}

/* n normal numbers of bf16, or f32; the same again after each million. */
static void *numbers(int64_t n, float sd, bool bf16)
{
	int64_t some = n < 1 << 20 ? n : 1 << 20;
	float *x = malloc((size_t)some * sizeof *x);
	char *host = malloc((size_t)n * 4);
	void *p;

	pt_rng_normal(pt_rng_mix(1, (uint64_t)n), x, (size_t)some, 0, sd);
	for (int64_t i = 0; i < n; i++) {
		if (bf16)
			((uint16_t *)host)[i] = pt_f32_to_bf16(x[i % some]);
		else
			((float *)host)[i] = x[i % some];
	}
	p = on_device((size_t)n * (bf16 ? 2 : 4), host);
	free(host);
	free(x);
	return p;
}

#endif
