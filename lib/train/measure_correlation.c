/* SPDX-License-Identifier: MIT */
/*
 * measure_correlation.c - Pearson's and Spearman's.
 */
#include "train/measure_priv.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

double pt_measure_pearson(const double *x, const double *y, size_t n)
{
	double mx = 0, my = 0, xy = 0, xx = 0, yy = 0;

	for (size_t i = 0; i < n; i++) {
		mx += x[i] / (double)n;
		my += y[i] / (double)n;
	}
	for (size_t i = 0; i < n; i++) {
		xy += (x[i] - mx) * (y[i] - my);
		xx += (x[i] - mx) * (x[i] - mx);
		yy += (y[i] - my) * (y[i] - my);
	}
	return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

struct ranked {
	double v;
	size_t at;
};

static int by_value(const void *a, const void *b)
{
	double x = ((const struct ranked *)a)->v, y = ((const struct ranked *)b)->v;

	return (x > y) - (x < y);
}

static void to_ranks(struct ranked *r, double *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		r[i] = (struct ranked){ x[i], i };
	qsort(r, n, sizeof *r, by_value);
	for (size_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && !(r[end].v > r[i].v); end++)
			;
		for (size_t j = i; j < end; j++)
			x[r[j].at] = (double)(i + end - 1) / 2;
	}
}

int pt_measure_spearman(double *x, double *y, size_t n, double *out, struct pt_error *err)
{
	struct ranked *r = pt_malloc(n + 1, sizeof *r, err);

	if (!r)
		return err->status;
	to_ranks(r, x, n);
	to_ranks(r, y, n);
	free(r);
	*out = pt_measure_pearson(x, y, n);
	return 0;
}
