/* SPDX-License-Identifier: MIT */
/*
 * measure_pairs.c - how near texts are: whether an anchor finds its own among
 * the candidates of its micro-batch (the first of equal ones counts against
 * it), and how cosines go with scores.
 */
#include "train/measure_priv.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

int pt_measure_pairs(struct pt_measure *m, const struct pt_feed *f, const float *z, struct pt_error *err)
{
	const struct pt_feed_pairs *p = &f->pairs;

	for (int64_t i = 0; i < p->n; i++) {
		const float *row = z + i * p->k;
		int64_t rank = 1;

		if (p->scored) {
			if (pt_grow(&m->score, &m->cap_score, 2 * (m->nscores + 1), sizeof *m->score, err))
				return err->status;
			m->score[2 * m->nscores] = (double)f->target[i];
			m->score[2 * m->nscores++ + 1] = (double)row[0];
		}
		for (int64_t j = 0; j < p->k && !p->scored; j++)
			rank += j != f->label[i] && row[j] >= row[f->label[i]];
		m->targets++;
		m->correct += rank == 1;
		m->reciprocal += 1 / (double)rank;
	}
	return 0;
}

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
