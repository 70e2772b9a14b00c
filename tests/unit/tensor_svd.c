/* SPDX-License-Identifier: MIT */
/*
 * tensor_svd.c - the largest singular values, the first columns of QR, all
 * eigenvectors, Cholesky's factor: what defines them, on exact and on large
 * matrices, of full and of lower rank.
 */
#include "tensor_fix.h"

#include "tensor/eigen.h"
#include "tensor/svd.h"

struct matrix {
	int64_t rows, cols;
	float *v;
};

/* values[n] as singular values of a product of random matrices, or NULL: random. */
static struct matrix make(int64_t rows, int64_t cols, int rank, uint64_t key)
{
	struct matrix m = { rows, cols, calloc((size_t)(rows * cols), sizeof(float)) };
	float *x, *y;

	if (!rank) {
		pt_rng_normal(key, m.v, (size_t)(rows * cols), 0, 1);
		return m;
	}
	x = malloc((size_t)(rows * rank) * sizeof *x);
	y = malloc((size_t)(rank * cols) * sizeof *y);
	pt_rng_normal(key, x, (size_t)(rows * rank), 0, 1);
	pt_rng_normal(key + 1, y, (size_t)(rank * cols), 0, 1);
	for (int64_t i = 0; i < rows; i++)
		for (int k = 0; k < rank; k++)
			for (int64_t j = 0; j < cols; j++)
				m.v[i * cols + j] += x[i * rank + k] * y[k * cols + j] / (float)(1 + k);
	free(x);
	free(y);
	return m;
}

/* The largest singular value of W less its part: by the power method. */
static double rest(const struct matrix *m, const float *u, const float *s, const float *v, int r)
{
	double *x = malloc((size_t)m->cols * sizeof *x), *y = malloc((size_t)m->rows * sizeof *y), norm = 0;

	for (int64_t j = 0; j < m->cols; j++)
		x[j] = 1 + (double)(j % 7);
	for (int step = 0; step < 300; step++) {
		double sum = 0;

		for (int64_t i = 0; i < m->rows; i++) {
			y[i] = 0;
			for (int64_t j = 0; j < m->cols; j++) {
				double w = m->v[i * m->cols + j];

				for (int k = 0; k < r; k++)
					w -= (double)u[i * r + k] * s[k] * v[k * m->cols + j];
				y[i] += w * x[j];
			}
		}
		for (int64_t j = 0; j < m->cols; j++) {
			x[j] = 0;
			for (int64_t i = 0; i < m->rows; i++) {
				double w = m->v[i * m->cols + j];

				for (int k = 0; k < r; k++)
					w -= (double)u[i * r + k] * s[k] * v[k * m->cols + j];
				x[j] += w * y[i];
			}
			sum += x[j] * x[j];
		}
		norm = sqrt(sqrt(sum));
		for (int64_t j = 0; j < m->cols && sum > 0; j++)
			x[j] /= sqrt(sum);
	}
	free(x);
	free(y);
	return norm;
}

static void check(struct pt_device *dev, struct matrix m, int r, bool power)
{
	struct pt_error err = PT_ERROR_INIT;
	float *u = calloc((size_t)(m.rows * r), sizeof *u), *v = calloc((size_t)(m.cols * r), sizeof *v);
	float *s = calloc((size_t)r, sizeof *s);

	assert_ok(pt_svd_largest(dev, m.v, m.rows, m.cols, r, u, s, v, NULL, &err), &err);
	for (int a = 0; a < r; a++) {
		assert_true(s[a] >= 0 && (a == 0 || s[a] <= s[a - 1]));
		for (int b = 0; b < r && s[a] > 1e-4f * s[0] && s[b] > 1e-4f * s[0]; b++) {
			double uu = 0, vv = 0;

			for (int64_t i = 0; i < m.rows; i++)
				uu += (double)u[i * r + a] * u[i * r + b];
			for (int64_t j = 0; j < m.cols; j++)
				vv += (double)v[a * m.cols + j] * v[b * m.cols + j];
			assert_true(fabs(uu - (a == b)) < 1e-5 && fabs(vv - (a == b)) < 1e-5);
		}
		/* W v = s u */
		for (int64_t i = 0; i < m.rows; i++) {
			double sum = 0;

			for (int64_t j = 0; j < m.cols; j++)
				sum += (double)m.v[i * m.cols + j] * v[a * m.cols + j];
			assert_true(fabs(sum - (double)s[a] * u[i * r + a]) < 3e-5 * s[0]);
		}
	}
	if (power)
		assert_true(rest(&m, u, s, v, r) <= s[r - 1] * (1 + 1e-4) + 1e-5 * s[0]);
	free(m.v);
	free(u);
	free(v);
	free(s);
}

static void test_svd(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_device *dev;

	(void)state;
	assert_ok(pt_device_open(&dev, "cpu", &(struct pt_device_options){ .threads = 1 }, &err), &err);
	check(dev, make(9, 7, 0, 1), 3, true);
	check(dev, make(7, 9, 0, 2), 7, false);
	check(dev, make(1, 5, 0, 3), 1, false);
	check(dev, make(30, 41, 4, 4), 6, true);		/* of lower rank than is asked for */
	check(dev, make(20, 20, 0, 5), 8, true);
	check(dev, make(300, 260, 0, 6), 4, true);		/* a flat spectrum, beyond one basis */
	check(dev, make(400, 230, 60, 7), 12, false);
	dev->close(dev);
}

static void test_qr(void **state)
{
	struct matrix m = make(9, 12, 0, 8);
	struct pt_error err = PT_ERROR_INIT;
	float q[9 * 5], r[5 * 12];

	(void)state;
	assert_ok(pt_qr_first(m.v, 9, 12, 5, q, r, &err), &err);
	for (int a = 0; a < 5; a++) {
		for (int b = 0; b < 5; b++) {
			double sum = 0;

			for (int i = 0; i < 9; i++)
				sum += (double)q[i * 5 + a] * q[i * 5 + b];
			assert_true(fabs(sum - (a == b)) < 1e-6);
			assert_true(b >= a || r[a * 12 + b] == 0);
		}
		/* The first columns of W are Q R. */
		for (int i = 0; i < 9; i++) {
			double sum = 0;

			for (int k = 0; k < 5; k++)
				sum += (double)q[i * 5 + k] * r[k * 12 + a];
			assert_true(fabs(sum - m.v[i * 12 + a]) < 1e-5);
		}
	}
	/* LAPACK's first reflection turns the column against its first element. */
	assert_true(r[0] * m.v[0] < 0);
	free(m.v);
}

/* W'W, of full rank where W has as many rows. */
static double *square(const struct matrix *m)
{
	double *a = calloc((size_t)(m->cols * m->cols), sizeof *a);

	for (int64_t k = 0; k < m->rows; k++)
		for (int64_t i = 0; i < m->cols; i++)
			for (int64_t j = 0; j < m->cols; j++)
				a[i * m->cols + j] += (double)m->v[k * m->cols + i] * m->v[k * m->cols + j];
	return a;
}

static void test_eigen(void **state)
{
	static const struct { int64_t n; int rank; } cases[] = { { 1, 0 }, { 2, 0 }, { 7, 0 }, { 40, 0 }, { 60, 9 }, { 128, 0 } };
	struct pt_error err = PT_ERROR_INIT;

	(void)state;
	for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
		int64_t n = cases[c].n;
		struct matrix m = make(n, n, cases[c].rank, 5 + c);
		double *a = square(&m), *v = square(&m), *value = calloc((size_t)n, sizeof *value);

		assert_ok(pt_eigen_symmetric(v, n, value, NULL, &err), &err);
		for (int64_t i = 0; i < n; i++) {
			assert_true(!i || value[i] >= value[i - 1]);
			for (int64_t j = 0; j < n; j++) {
				double dot = 0, sum = 0;

				for (int64_t k = 0; k < n; k++) {
					dot += v[i * n + k] * v[j * n + k];
					sum += a[j * n + k] * v[i * n + k];
				}
				assert_true(fabs(dot - (i == j)) < 1e-12);
				assert_true(fabs(sum - value[i] * v[i * n + j]) < 1e-12 * (1 + value[n - 1]));
			}
		}
		assert_true(!cases[c].rank || fabs(value[n - 1 - cases[c].rank]) < 1e-9 * value[n - 1]);
		free(a);
		free(v);
		free(value);
		free(m.v);
	}
}

static void test_cholesky(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct matrix m = make(50, 50, 0, 3), low = make(50, 50, 4, 3);
	double *a = square(&m), *l = square(&m), *bad = square(&low), x[50], y[50];

	(void)state;
	assert_ok(pt_cholesky(l, 50, NULL, &err), &err);
	for (int i = 0; i < 50; i++)
		x[i] = y[i] = sin(i);
	pt_cholesky_solve(l, 50, x);
	for (int i = 0; i < 50; i++) {
		double sum = 0;

		for (int k = 0; k < 50; k++)
			sum += a[i * 50 + k] * x[k];
		assert_true(fabs(sum - y[i]) < 1e-7);
	}
	bad[0] = -1;
	assert_fails(pt_cholesky(bad, 50, NULL, &err), PT_NUMERIC, "not positive definite", &err);
	free(a);
	free(l);
	free(bad);
	free(m.v);
	free(low.v);
}

static int asked;

static int third(void)
{
	return ++asked > 2;
}

/* Each asks, more than once, and ends as soon as it is told. */
static void test_stop(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	static double a[50 * 50], value[50];
	struct matrix m = make(60, 50, 0, 8);
	float u[60 * 3], s[3], v[50 * 3];
	struct pt_device *dev;

	(void)state;
	assert_ok(pt_device_open(&dev, "cpu", &(struct pt_device_options){ .threads = 1 }, &err), &err);
	assert_fails(pt_svd_largest(dev, m.v, 60, 50, 3, u, s, v, third, &err), PT_FAIL, "stopped", &err);
	assert_int_equal(asked, 3);
	dev->close(dev);
	free(m.v);
	for (int k = 0; k < 2; k++) {
		for (int i = 0; i < 50 * 50; i++)
			a[i] = i % 51 == 0 ? 50 + i : 1;
		err = (struct pt_error)PT_ERROR_INIT;
		asked = 0;
		assert_fails(k ? pt_cholesky(a, 50, third, &err) : pt_eigen_symmetric(a, 50, value, third, &err), PT_FAIL, "stopped", &err);
		assert_int_equal(asked, 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_svd), cmocka_unit_test(test_qr), cmocka_unit_test(test_eigen),
		cmocka_unit_test(test_cholesky), cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests_name("tensor_svd", tests, NULL, NULL);
}
