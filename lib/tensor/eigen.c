/* SPDX-License-Identifier: MIT */
/*
 * eigen.c - symmetric eigenvectors by Householder's tridiagonal form and the
 * implicit QL algorithm, as EISPACK's tred2 and tql2 (Bowdler, Martin, Reinsch
 * and Wilkinson 1968); Cholesky's factor.
 */
#include "tensor/eigen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { SWEEPS = 60 };

/* v becomes the product of reflections, d the diagonal, e what is below it. A vector is a row of v. */
static int tridiagonal(double *v, int64_t n, double *d, double *e, int (*stop)(void), struct pt_error *err)
{
	for (int64_t j = 0; j < n; j++)
		d[j] = v[j * n + n - 1];
	for (int64_t i = n - 1; i > 0; i--) {
		double scale = 0, h = 0, f, g;

		if (pt_stopped(stop, err))
			return err->status;
		for (int64_t k = 0; k < i; k++)
			scale += fabs(d[k]);
		if (scale == 0) {
			e[i] = d[i - 1];
			for (int64_t j = 0; j < i; j++) {
				d[j] = v[j * n + i - 1];
				v[j * n + i] = v[i * n + j] = 0;
			}
			d[i] = 0;
			continue;
		}
		for (int64_t k = 0; k < i; k++) {
			d[k] /= scale;
			h += d[k] * d[k];
		}
		f = d[i - 1];
		g = f > 0 ? -sqrt(h) : sqrt(h);
		e[i] = scale * g;
		h -= f * g;
		d[i - 1] = f - g;
		memset(e, 0, (size_t)i * sizeof *e);
		for (int64_t j = 0; j < i; j++) {
			f = d[j];
			v[i * n + j] = f;
			g = e[j] + v[j * n + j] * f;
			for (int64_t k = j + 1; k < i; k++) {
				g += v[j * n + k] * d[k];
				e[k] += v[j * n + k] * f;
			}
			e[j] = g;
		}
		f = 0;
		for (int64_t j = 0; j < i; j++) {
			e[j] /= h;
			f += e[j] * d[j];
		}
		for (int64_t j = 0; j < i; j++)
			e[j] -= f / (h + h) * d[j];
		for (int64_t j = 0; j < i; j++) {
			f = d[j];
			g = e[j];
			for (int64_t k = j; k < i; k++)
				v[j * n + k] -= f * e[k] + g * d[k];
			d[j] = v[j * n + i - 1];
			v[j * n + i] = 0;
		}
		d[i] = h;
	}
	for (int64_t i = 0; i < n - 1; i++) {
		double h = d[i + 1];

		if (pt_stopped(stop, err))
			return err->status;
		v[i * n + n - 1] = v[i * n + i];
		v[i * n + i] = 1;
		for (int64_t k = 0; k <= i && h != 0; k++)
			d[k] = v[(i + 1) * n + k] / h;
		for (int64_t j = 0; j <= i && h != 0; j++) {
			double g = 0;

			for (int64_t k = 0; k <= i; k++)
				g += v[(i + 1) * n + k] * v[j * n + k];
			for (int64_t k = 0; k <= i; k++)
				v[j * n + k] -= g * d[k];
		}
		for (int64_t k = 0; k <= i; k++)
			v[(i + 1) * n + k] = 0;
	}
	for (int64_t j = 0; j < n; j++) {
		d[j] = v[j * n + n - 1];
		v[j * n + n - 1] = 0;
	}
	v[n * n - 1] = 1;
	e[0] = 0;
	return 0;
}

/* One implicit step on l..m; below is what stood on the diagonal there. */
static void step(double *w, int64_t n, double *d, double *e, int64_t l, int64_t m, double below)
{
	double p = d[m], c = 1, c2 = 1, c3 = 1, el1 = e[l + 1], s = 0, s2 = 0;

	for (int64_t i = m - 1; i >= l; i--) {
		double g, h, r;

		c3 = c2;
		c2 = c;
		s2 = s;
		g = c * e[i];
		h = c * p;
		r = hypot(p, e[i]);
		e[i + 1] = s * r;
		s = e[i] / r;
		c = p / r;
		p = c * d[i] - s * g;
		d[i + 1] = h + s * (c * g + s * d[i]);
		for (int64_t k = 0; k < n; k++) {
			h = w[(i + 1) * n + k];
			w[(i + 1) * n + k] = s * w[i * n + k] + c * h;
			w[i * n + k] = c * w[i * n + k] - s * h;
		}
	}
	p = -s * s2 * c3 * el1 * e[l] / below;
	e[l] = s * p;
	d[l] = c * p;
}

static int diagonal(double *w, int64_t n, double *d, double *e, int (*stop)(void), struct pt_error *err)
{
	double shift = 0, most = 0;

	for (int64_t i = 1; i < n; i++)
		e[i - 1] = e[i];
	e[n - 1] = 0;
	for (int64_t l = 0; l < n; l++) {
		int64_t m = l;
		int sweep = 0;

		if (pt_stopped(stop, err))
			return err->status;
		most = fmax(most, fabs(d[l]) + fabs(e[l]));
		while (m < n - 1 && fabs(e[m]) > 2.3e-16 * most)
			m++;
		while (m > l) {
			double g = d[l], p = (d[l + 1] - g) / (2 * e[l]), r = p < 0 ? -hypot(p, 1) : hypot(p, 1), by;

			if (++sweep > SWEEPS)
				return pt_error(err, PT_NUMERIC, "eigenvalues do not converge");
			d[l] = e[l] / (p + r);
			d[l + 1] = e[l] * (p + r);
			by = g - d[l];
			for (int64_t i = l + 2; i < n; i++)
				d[i] -= by;
			shift += by;
			step(w, n, d, e, l, m, d[l + 1]);
			if (fabs(e[l]) <= 2.3e-16 * most)
				break;
		}
		d[l] += shift;
		e[l] = 0;
	}
	return 0;
}

int pt_eigen_symmetric(double *a, int64_t n, double *value, int (*stop)(void), struct pt_error *err)
{
	double *e = pt_malloc((size_t)n, sizeof *e, err);
	int st = e ? 0 : err->status;

	if (!st)
		st = tridiagonal(a, n, value, e, stop, err);
	if (!st)
		st = diagonal(a, n, value, e, stop, err);
	/* Selection: as many swaps of rows as there are values. */
	for (int64_t i = 0; i < n - 1 && !st; i++) {
		int64_t k = i;
		double t;

		for (int64_t j = i + 1; j < n; j++)
			k = value[j] < value[k] ? j : k;
		if (k == i)
			continue;
		t = value[i], value[i] = value[k], value[k] = t;
		for (int64_t j = 0; j < n; j++)
			t = a[i * n + j], a[i * n + j] = a[k * n + j], a[k * n + j] = t;
	}
	free(e);
	return st;
}

int pt_cholesky(double *a, int64_t n, int (*stop)(void), struct pt_error *err)
{
	for (int64_t i = 0; i < n; i++) {
		if (pt_stopped(stop, err))
			return err->status;
		for (int64_t j = 0; j <= i; j++) {
			double sum = a[i * n + j];

			for (int64_t k = 0; k < j; k++)
				sum -= a[i * n + k] * a[j * n + k];
			if (j < i)
				a[i * n + j] = sum / a[j * n + j];
			else if (sum > 0)
				a[i * n + i] = sqrt(sum);
			else
				return pt_error(err, PT_NUMERIC, "a matrix is not positive definite");
		}
	}
	return 0;
}

void pt_cholesky_solve(const double *l, int64_t n, double *x)
{
	for (int64_t i = 0; i < n; i++) {
		for (int64_t k = 0; k < i; k++)
			x[i] -= l[i * n + k] * x[k];
		x[i] /= l[i * n + i];
	}
	for (int64_t i = n; i--; ) {
		x[i] /= l[i * n + i];
		for (int64_t k = 0; k < i; k++)
			x[k] -= l[i * n + k] * x[i];
	}
}
