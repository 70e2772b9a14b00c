/* SPDX-License-Identifier: MIT */
/*
 * svd.c - block Krylov with Rayleigh-Ritz and restarts (Musco and Musco 2015,
 * "Randomized Block Krylov Methods for Stronger and Faster Approximate
 * Singular Value Decomposition"): a basis of the row space grows by products
 * with W'W, f32 on the device; what is small is done in double on the host.
 * Where the basis fills the space the result is exact.
 */
#include "tensor/svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "device/kernels.h"

enum { MORE = 8, BLOCKS = 4, LEAST = 160, RESTARTS = 30, SWEEPS = 40 };

#define CLOSE 1e-5		/* of W'u - s v, in units of the largest s */

struct svd {
	struct pt_device *dev;
	int (*stop)(void);
	int64_t rows, cols;
	int b, cap, m;			/* vectors of a block, most of the basis, now */
	float *w, *x, *y;		/* device: W, [cols,b], [rows,b] */
	float *hx, *hy;			/* host copies */
	double *q;			/* [cap,cols] orthonormal */
	double *wq;			/* [cap,rows] their images */
	double *block;			/* [b,cols] */
	double *gram, *turn;		/* [cap,cap]: of wq; its eigenvectors, columns in falling order */
	double *value;			/* [cap] */
};

static double dot(const double *a, const double *b, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* y = W x, or x = W' y, of n vectors. */
static int multiply(struct svd *s, bool back, int n, struct pt_error *err)
{
	struct pt_k_gemm g = {
		.m = back ? s->cols : s->rows, .n = n, .k = back ? s->rows : s->cols, .a = s->w, .b = back ? s->y : s->x,
		.c = back ? s->x : s->y, .at = PT_F32, .bt = PT_F32, .ct = PT_F32, .lda = s->cols, .ldb = n, .ldc = n,
		.ta = back, .alpha = 1,
	};
	size_t in = (size_t)(g.k * n) * sizeof(float), out = (size_t)(g.m * n) * sizeof(float);
	void *from = back ? s->y : s->x, *to = back ? s->x : s->y;

	if (pt_stopped(s->stop, err) || s->dev->upload(s->dev, from, back ? s->hy : s->hx, in, err) || s->dev->k->gemm(s->dev, &g, err))
		return err->status;
	return s->dev->download(s->dev, back ? s->hx : s->hy, to, out, err);
}

/* The block's vectors that are new, orthonormal, behind the basis; their number. */
static int take_block(struct svd *s, int n)
{
	int first = s->m;

	for (int i = 0; i < n && s->m < s->cap; i++) {
		double *v = s->block + i * s->cols, before = sqrt(dot(v, v, s->cols)), norm;

		/* Twice is enough. */
		for (int pass = 0; pass < 2; pass++) {
			for (int k = 0; k < s->m; k++) {
				const double *u = s->q + k * s->cols;
				double d = dot(u, v, s->cols);

				for (int64_t j = 0; j < s->cols; j++)
					v[j] -= d * u[j];
			}
		}
		norm = sqrt(dot(v, v, s->cols));
		if (!(norm > 1e-6 * before))
			continue;
		for (int64_t j = 0; j < s->cols; j++)
			s->q[s->m * s->cols + j] = v[j] / norm;
		s->m++;
	}
	return s->m - first;
}

/* Images of the last n of the basis, and W'W of them as the next block. */
static int grow(struct svd *s, int n, struct pt_error *err)
{
	int first = s->m - n;

	for (int i = 0; i < n; i++)
		for (int64_t j = 0; j < s->cols; j++)
			s->hx[j * n + i] = (float)s->q[(first + i) * s->cols + j];
	if (multiply(s, false, n, err))
		return err->status;
	for (int i = 0; i < n; i++)
		for (int64_t j = 0; j < s->rows; j++)
			s->wq[(first + i) * s->rows + j] = s->hy[j * n + i];
	if (multiply(s, true, n, err))
		return err->status;
	for (int i = 0; i < n; i++)
		for (int64_t j = 0; j < s->cols; j++)
			s->block[i * s->cols + j] = s->hx[j * n + i];
	return 0;
}

/* Eigenvalues of gram by Jacobi's rotations, and eigenvectors; unordered. */
static int jacobi(struct svd *s, struct pt_error *err)
{
	int m = s->m;
	double *a = s->gram, *v = s->turn;

	for (int i = 0; i < m * m; i++)
		v[i] = i % (m + 1) == 0;
	for (int sweep = 0; sweep < SWEEPS; sweep++) {
		double off = 0, all = 0;

		for (int i = 0; i < m; i++) {
			for (int j = 0; j < m; j++) {
				all += a[i * m + j] * a[i * m + j];
				off += i == j ? 0 : a[i * m + j] * a[i * m + j];
			}
		}
		if (off <= 1e-30 * all)
			break;
		if (pt_stopped(s->stop, err))
			return err->status;
		for (int p = 0; p < m; p++) {
			for (int q = p + 1; q < m; q++) {
				double apq = a[p * m + q], t, c, z;

				if (apq * apq <= 1e-34 * fabs(a[p * m + p] * a[q * m + q]))
					continue;
				z = (a[q * m + q] - a[p * m + p]) / (2 * apq);
				t = (z >= 0 ? 1 : -1) / (fabs(z) + sqrt(z * z + 1));
				c = 1 / sqrt(t * t + 1);
				z = t * c;
				for (int k = 0; k < m; k++) {
					double x = a[k * m + p], y = a[k * m + q];

					a[k * m + p] = c * x - z * y;
					a[k * m + q] = z * x + c * y;
				}
				for (int k = 0; k < m; k++) {
					double x = a[p * m + k], y = a[q * m + k];

					a[p * m + k] = c * x - z * y;
					a[q * m + k] = z * x + c * y;
				}
				for (int k = 0; k < m; k++) {
					double x = v[k * m + p], y = v[k * m + q];

					v[k * m + p] = c * x - z * y;
					v[k * m + q] = z * x + c * y;
				}
			}
		}
	}
	for (int i = 0; i < m; i++)
		s->value[i] = a[i * m + i];
	return 0;
}

/* Eigenvalues falling. Insertion: there are few. */
static void sort_values(struct svd *s)
{
	int m = s->m;

	for (int i = 1; i < m; i++) {
		for (int j = i; j > 0 && s->value[j] > s->value[j - 1]; j--) {
			double t = s->value[j];

			s->value[j] = s->value[j - 1];
			s->value[j - 1] = t;
			for (int k = 0; k < m; k++) {
				t = s->turn[k * m + j];
				s->turn[k * m + j] = s->turn[k * m + j - 1];
				s->turn[k * m + j - 1] = t;
			}
		}
	}
}

static int ritz(struct svd *s, struct pt_error *err)
{
	int m = s->m;

	for (int i = 0; i < m; i++)
		for (int j = 0; j <= i; j++)
			s->gram[i * m + j] = s->gram[j * m + i] = dot(s->wq + i * s->rows, s->wq + j * s->rows, s->rows);
	if (jacobi(s, err))
		return err->status;
	sort_values(s);
	return 0;
}

/* Vector i of the basis (n long each) turned: out[n] with a stride. */
static void turned(const struct svd *s, const double *basis, int64_t n, int i, double *out)
{
	memset(out, 0, (size_t)n * sizeof *out);
	for (int k = 0; k < s->m; k++) {
		double t = s->turn[k * s->m + i];

		for (int64_t j = 0; j < n; j++)
			out[j] += t * basis[k * n + j];
	}
}

/* The r first as results, with tmp [max(rows,cols)]. */
static void give(const struct svd *s, int r, float *u, float *sv, float *v, double *tmp)
{
	for (int i = 0; i < r; i++) {
		double value = i < s->m && s->value[i] > 0 ? sqrt(s->value[i]) : 0;

		sv[i] = (float)value;
		if (i < s->m)
			turned(s, s->q, s->cols, i, tmp);
		for (int64_t j = 0; j < s->cols; j++)
			v[i * s->cols + j] = i < s->m ? (float)tmp[j] : 0;
		if (value > 0)
			turned(s, s->wq, s->rows, i, tmp);
		for (int64_t j = 0; j < s->rows; j++)
			u[j * r + i] = value > 0 ? (float)(tmp[j] / value) : 0;
	}
}

/* Whether W'u = s v for all r, which are taken a block at a time. */
static int check(struct svd *s, int r, const float *u, const float *sv, const float *v, bool *close,
		 struct pt_error *err)
{
	*close = true;
	for (int from = 0; from < r; from += s->b) {
		int n = r - from < s->b ? r - from : s->b;

		for (int i = 0; i < n; i++)
			for (int64_t j = 0; j < s->rows; j++)
				s->hy[j * n + i] = u[j * r + from + i];
		if (multiply(s, true, n, err))
			return err->status;
		for (int i = 0; i < n; i++) {
			double sum = 0;

			for (int64_t j = 0; j < s->cols; j++) {
				double d = s->hx[j * n + i] - (double)sv[from + i] * v[(from + i) * s->cols + j];

				sum += d * d;
			}
			*close &= sqrt(sum) <= CLOSE * sv[0];
		}
	}
	return 0;
}

static int start(struct svd *s, const float *w, int r, struct pt_error *err)
{
	int64_t least = s->rows < s->cols ? s->rows : s->cols, most = s->rows > s->cols ? s->rows : s->cols, cap;
	struct pt_device *dev = s->dev;
	size_t n;
	void *p;

	s->b = (int)(r + MORE < least ? r + MORE : least);
	cap = (int64_t)s->b * BLOCKS > LEAST ? (int64_t)s->b * BLOCKS : LEAST;
	s->cap = (int)(cap < least ? cap : least);
	n = (size_t)(s->rows * s->cols);
	if (dev->alloc(dev, n * sizeof(float), &p, err))
		return err->status;
	s->w = p;
	if (dev->alloc(dev, (size_t)(s->cols * s->b) * sizeof(float), &p, err))
		return err->status;
	s->x = p;
	if (dev->alloc(dev, (size_t)(s->rows * s->b) * sizeof(float), &p, err))
		return err->status;
	s->y = p;
	s->hx = pt_malloc((size_t)(s->cols * s->b), sizeof *s->hx, err);
	s->hy = pt_malloc((size_t)(s->rows * s->b), sizeof *s->hy, err);
	s->q = pt_malloc((size_t)(s->cap * s->cols), sizeof *s->q, err);
	s->wq = pt_malloc((size_t)(s->cap * s->rows), sizeof *s->wq, err);
	s->block = pt_malloc((size_t)(s->b * most), sizeof *s->block, err);
	s->gram = pt_malloc((size_t)(s->cap * s->cap), sizeof *s->gram, err);
	s->turn = pt_malloc((size_t)(s->cap * s->cap), sizeof *s->turn, err);
	s->value = pt_malloc((size_t)s->cap, sizeof *s->value, err);
	if (err->status || dev->upload(dev, s->w, w, n * sizeof(float), err))
		return err->status;
	/* The first block: W' times random vectors, so that it is of the row space. */
	pt_rng_normal(1, s->hy, (size_t)(s->rows * s->b), 0, 1);
	if (multiply(s, true, s->b, err))
		return err->status;
	for (int i = 0; i < s->b; i++)
		for (int64_t j = 0; j < s->cols; j++)
			s->block[i * s->cols + j] = s->hx[j * s->b + i];
	return 0;
}

static void release(struct svd *s)
{
	struct pt_device *dev = s->dev;

	if (s->w)
		dev->free(dev, s->w, (size_t)(s->rows * s->cols) * sizeof(float));
	if (s->x)
		dev->free(dev, s->x, (size_t)(s->cols * s->b) * sizeof(float));
	if (s->y)
		dev->free(dev, s->y, (size_t)(s->rows * s->b) * sizeof(float));
	free(s->hx);
	free(s->hy);
	free(s->q);
	free(s->wq);
	free(s->block);
	free(s->gram);
	free(s->turn);
	free(s->value);
}

/* The best vectors so far begin the next basis. */
static void restart(struct svd *s)
{
	int n = s->b < s->m ? s->b : s->m;
	double *block = s->block;

	for (int i = 0; i < n; i++)
		turned(s, s->q, s->cols, i, block + i * s->cols);
	s->m = 0;
}

int pt_svd_largest(struct pt_device *dev, const float *w, int64_t rows, int64_t cols, int r, float *u, float *sv,
		   float *v, int (*stop)(void), struct pt_error *err)
{
	struct svd s = { .dev = dev, .stop = stop, .rows = rows, .cols = cols };
	double *tmp = pt_malloc((size_t)(rows > cols ? rows : cols), sizeof *tmp, err);
	bool close = false, full = false;
	int n, status = tmp ? start(&s, w, r, err) : err->status;

	n = s.b;
	for (int i = 0; i < RESTARTS && !close && !full && !status; i++) {
		while (!status && s.m < s.cap && (n = take_block(&s, n)) > 0)
			status = grow(&s, n, err);
		if (status)
			break;
		/* Nothing new, or all there is. */
		full = n == 0 || s.m == (rows < cols ? rows : cols);
		if ((status = ritz(&s, err)))
			break;
		give(&s, r, u, sv, v, tmp);
		status = check(&s, r, u, sv, v, &close, err);
		n = s.b < s.m ? s.b : s.m;
		if (!close && !full)
			restart(&s);
	}
	release(&s);
	free(tmp);
	return status;
}

/* Householder's reflections of the first columns m [r,rows] (a column in a row), as LAPACK makes them. */
static void reflect(double *m, int64_t rows, int r, double *tau)
{
	for (int k = 0; k < r; k++) {
		double *x = m + k * rows, alpha = x[k], rest = k + 1 < rows ? dot(x + k + 1, x + k + 1, rows - k - 1) : 0, beta;

		tau[k] = 0;
		if (rest == 0)
			continue;
		beta = alpha >= 0 ? -sqrt(alpha * alpha + rest) : sqrt(alpha * alpha + rest);
		tau[k] = (beta - alpha) / beta;
		for (int64_t i = k + 1; i < rows; i++)
			x[i] /= alpha - beta;
		x[k] = 1;
		for (int j = k + 1; j < r; j++) {
			double d = tau[k] * dot(x + k, m + j * rows + k, rows - k);

			for (int64_t i = k; i < rows; i++)
				m[j * rows + i] -= d * x[i];
		}
	}
}

int pt_qr_first(const float *w, int64_t rows, int64_t cols, int r, float *q, float *rr, struct pt_error *err)
{
	double *m = pt_malloc((size_t)(r * rows), sizeof *m, err), *tau = pt_malloc((size_t)r, sizeof *tau, err);
	double *e = pt_malloc((size_t)rows, sizeof *e, err), *sum = pt_malloc((size_t)cols, sizeof *sum, err);
	int st = m && tau && e && sum ? 0 : err->status;

	for (int k = 0; !st && k < r; k++)
		for (int64_t i = 0; i < rows; i++)
			m[k * rows + i] = w[i * cols + k];
	if (!st)
		reflect(m, rows, r, tau);
	for (int k = 0; !st && k < r; k++) {
		for (int64_t i = 0; i < rows; i++)
			e[i] = i == k;
		for (int j = r; j--; ) {
			double d = tau[j] * (tau[j] != 0 ? dot(m + j * rows + j, e + j, rows - j) : 0);

			for (int64_t i = j; i < rows && d != 0; i++)
				e[i] -= d * m[j * rows + i];
		}
		memset(sum, 0, (size_t)cols * sizeof *sum);
		for (int64_t i = 0; i < rows; i++) {
			q[i * r + k] = (float)e[i];
			for (int64_t j = 0; j < cols; j++)
				sum[j] += e[i] * (double)w[i * cols + j];
		}
		/* R is upper triangular. */
		for (int64_t j = 0; j < cols; j++)
			rr[k * cols + j] = j < k ? 0 : (float)sum[j];
	}
	free(m);
	free(tau);
	free(e);
	free(sum);
	return st;
}
