/* SPDX-License-Identifier: MIT */
/*
 * Learning rate schedules: constant, linear and cosine decay to zero, each
 * with a linear warm-up (transformers' optimization.py semantics).
 */
#include "train/schedule.h"

#include <math.h>

#define PT_PI 3.14159265358979323846

double pt_schedule_rate(const struct pt_schedule *s, int64_t t)
{
	double done;

	if (t < s->warmup)
		return s->lr * (double)t / (double)(s->warmup > 1 ? s->warmup : 1);
	if (s->kind == PT_SCHEDULE_CONSTANT)
		return s->lr;
	if (s->total <= s->warmup)
		return t < s->total ? s->lr : 0;
	done = (double)(t - s->warmup) / (double)(s->total - s->warmup);
	if (done >= 1)
		return 0;
	if (s->kind == PT_SCHEDULE_LINEAR)
		return s->lr * (1 - done);
	return s->lr * 0.5 * (1 + cos(PT_PI * done));
}

int64_t pt_schedule_warmup(double ratio, int64_t total)
{
	return (int64_t)ceil(ratio * (double)total);
}
